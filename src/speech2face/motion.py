"""How a face moves while a voice speaks, from the sound alone: jaw, lips, lids, brows and head, 25 poses a second.

A pose waits for `LOOKAHEAD_SECONDS` of sound after its own 40 ms, so that it can be had while somebody speaks. Jaw and
lips follow what a short piece of sound tells: how loud it is beside the voice's own loudest, its first two formants
(linear prediction of 0 to 4 kHz alone; Makhoul 1975, "Spectral linear prediction"), hiss, and closures, which are short
dips of energy after something voiced. Lids and head are made up: they follow time and loudness, the same in every run.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, fields
from typing import Final

import numpy as np
from numpy.typing import NDArray

from speech2face.audio.spectrogram import HOP, SAMPLE_RATE, FloatArray

FRAMES_PER_SECOND: Final = 25
FRAME: Final = SAMPLE_RATE // FRAMES_PER_SECOND  # 640 samples
HOPS: Final = FRAME // HOP  # of 10 ms, in a frame
WINDOW: Final = 512  # 32 ms: two periods of a low voice
ASIDE: Final = (WINDOW - HOP) // 2  # samples of a window on either side of its hop
NEAR: Final = 2  # hops before and after its own that a frame's jaw is smoothed over
LOOKAHEAD_SECONDS: Final = (NEAR * HOP + ASIDE) / SAMPLE_RATE  # 31 ms

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Pose:
    """How a face is held for one frame; all zeros is a face at rest, its mouth closed.

    From 0 to 1: `jaw` is how far it is open, `spread` how wide the mouth is, `rounding` how round the lips are,
    `blink_left` and `blink_right` how far the lids on the picture's left and right are closed, `brow` how far the brows
    are raised. `right` and `down` say how far the head has moved, in parts of the picture's width, `roll` how far it
    leans to the picture's right, in degrees.
    """

    jaw: float = 0.0
    spread: float = 0.0
    rounding: float = 0.0
    blink_left: float = 0.0
    blink_right: float = 0.0
    brow: float = 0.0
    right: float = 0.0
    down: float = 0.0
    roll: float = 0.0

    @classmethod
    def of(cls, row: FloatArray) -> Pose:
        """Return the pose of a row of poses, (9,)."""
        return cls(*row.tolist())


POSE_NAMES: Final = tuple(each.name for each in fields(Pose))


def find_poses(waveform: FloatArray) -> FloatArray:
    """Return the poses of a waveform (samples,), one for each 40 ms begun: (frames, 9), columns as in `POSE_NAMES`."""
    stream = PoseStream()
    return np.concatenate([stream.push(waveform), stream.finish()])


def poses_json(poses: FloatArray) -> bytes:
    """Return poses (frames, 9) as a JSON document for those who move a face of their own."""
    rows = [[round(value, 4) for value in row] for row in poses.astype(float).tolist()]
    said = {"frames_per_second": FRAMES_PER_SECOND, "names": POSE_NAMES, "poses": rows}
    return (json.dumps(said) + "\n").encode()


class PoseStream:
    """Poses while the sound comes in; the poses of a whole recording are the stream fed once, to the last bit."""

    def __init__(self, *, seed: int = 0) -> None:
        """Begin in silence; faces of different seeds blink and sway at different times."""
        early = HOPS - NEAR  # hops before the sound, so that the last one a frame waits for ends a block
        self._samples = np.zeros(ASIDE + early * HOP, np.float32)
        self._fed = self._given = 0
        self._voice = _Voice()
        self._hops = np.zeros(
            (NEAR - early, 5)
        )  # those that the next frame's own are smoothed with, and come before them
        self._life = _Life(seed)

    def push(self, waveform: FloatArray) -> FloatArray:
        """Take the next samples, (samples,) at 16 kHz; return the poses that they make known, (frames, 9)."""
        self._fed += waveform.size
        self._samples = np.concatenate([self._samples, waveform])
        return self._take()

    def finish(self) -> FloatArray:
        """End the sound; return the poses that are left, so that there is one for each 40 ms begun."""
        wanted = -(-self._fed // FRAME) - self._given
        self._samples = np.concatenate([self._samples, np.zeros(3 * FRAME, np.float32)])
        return self._take()[:wanted]

    def _take(self) -> FloatArray:
        poses = []
        needed = WINDOW + (HOPS - 1) * HOP
        while self._samples.size >= needed:
            # Always four windows at once: sums of other shapes round otherwise, and a stream is the whole to the bit.
            windows = np.lib.stride_tricks.sliding_window_view(self._samples[:needed], WINDOW)[::HOP]
            self._hops = np.concatenate([self._hops, self._voice.hops(windows)])
            self._samples = self._samples[FRAME:]
            if len(self._hops) >= 2 * NEAR + HOPS:
                poses.append(self._pose(self._hops[: 2 * NEAR + HOPS]))
                self._hops = self._hops[HOPS:]
        self._given += len(poses)
        return np.array(poses, np.float32).reshape(-1, len(POSE_NAMES))

    def _pose(self, hops: Array) -> Array:
        """The pose of a frame by its own hops and `NEAR` more on either side, (8, 5)."""
        jaw, spread, rounding, _, level = NEIGHBOURS @ hops
        # Lips close for a frame or two, which smoothing would take away: 20 ms of a closure are enough.
        shut = np.minimum(hops[NEAR - 1 : -NEAR - 1, 3], hops[NEAR:-NEAR, 3]).max()
        return np.array([jaw * (1 - shut), spread, rounding, *self._life.next(level)])


def _neighbours() -> Array:
    """Weights of the hops of a frame and those around it, (8,): every hop of the frame smoothed over 5."""
    kernel = np.concatenate([np.arange(1, NEAR + 2), np.arange(NEAR, 0, -1)]) / (NEAR + 1) ** 2
    return np.convolve(kernel, np.full(HOPS, 1 / HOPS))


NEIGHBOURS: Final = _neighbours()


# --- What a hop of 10 ms tells about the mouth.

ORDER: Final = 10  # of the prediction: four resonances under 4 kHz, and the slope of the voice
BINS: Final = np.arange(WINDOW // 2 + 1) * SAMPLE_RATE / WINDOW  # Hz
LOW_BINS: Final = WINDOW // 4 + 1  # up to 4 kHz
HANN: Final = np.hanning(WINDOW)
POWER: Final = 2 / (WINDOW * (HANN**2).sum())  # a sine of amplitude 1 has a mean square of 1/2
PRE_EMPHASIS: Final = np.abs(1 - 0.95 * np.exp(-1j * np.pi * BINS[:LOW_BINS] / 4000)) ** 2
# Twice as fine, for the period: noise that falls with frequency, as of a room, resembles itself unless it is levelled.
LEVELLED: Final = np.abs(1 - 0.7 * np.exp(-1j * np.pi * np.arange(WINDOW + 1) / WINDOW)) ** 2
VOWEL_BAND: Final = (BINS >= 450) & (BINS < 3500)  # without the murmur of closed lips
HISS_BAND: Final = BINS >= 4000
LAGS: Final = np.arange(SAMPLE_RATE // 400, SAMPLE_RATE // 70)  # of voices between 70 and 400 Hz
OWN: Final = np.fft.irfft(np.abs(np.fft.rfft(HANN, 2 * WINDOW)) ** 2)[:WINDOW]
QUIETEST_DB: Final = -62.0  # no voice is drawn from less
FIRST_PEAK_DB: Final = -20.0  # of a voice, until one is heard
PEAK_FALLS_DB: Final = 0.015  # a hop, while a voice is heard: 1.5 dB a second
SETTLING_FALLS_DB, SETTLING_HOPS = 0.2, 100  # in the first second of a voice, which may be a quiet one
RECENT_FALLS_DB: Final = 0.35  # a hop: a closure is over in a third of a second, or it is silence
FLOOR_RISES_DB: Final = 0.05  # a hop; the floor of the noise falls at once
NEUTRAL_PITCH: Final = 150.0  # Hz; between men's and women's, whose formants lie a sixth higher


def _ramp(value: float, start: float, end: float) -> float:
    """How far a value has come from start to end, 0 to 1."""
    return min(max((value - start) / (end - start), 0.0), 1.0)


class _Voice:
    """The loudness, pitch and closures of a voice so far, and what a hop means beside them."""

    def __init__(self) -> None:
        self._peak, self._loudest, self._floor = FIRST_PEAK_DB, FIRST_PEAK_DB, QUIETEST_DB
        self._recent = np.full(2, QUIETEST_DB)  # of vowels' band and of all, the loudest of the last hops
        self._pitch = NEUTRAL_PITCH
        self._spread = self._rounding = 0.0
        self._voiced_hops = 0

    def hops(self, windows: FloatArray) -> Array:
        """Jaw, spread, rounding, closure and loudness, each 0 to 1, of windows (4, 512): (4, 5)."""
        power = np.abs(np.fft.rfft(windows * HANN, axis=1)) ** 2 * POWER  # (4, 257)
        vowel, hiss, whole = (
            10 * np.log10(power[:, band].sum(1) + 1e-10) for band in (VOWEL_BAND, HISS_BAND, BINS > 70)
        )
        lagged = np.fft.irfft(np.abs(np.fft.rfft(windows * HANN, 2 * WINDOW, axis=1)) ** 2 * LEVELLED, axis=1)[
            :, :WINDOW
        ]
        period = lagged[:, LAGS] / OWN[LAGS] / np.maximum(lagged[:, :1] / OWN[0], 1e-9)
        shortest = (period > 0.95 * period.max(1, keepdims=True)).argmax(1)  # two periods are as alike as one
        first, second = _formants(power[:, :LOW_BINS])
        rows = zip(vowel, hiss, whole, period.max(1), SAMPLE_RATE / LAGS[shortest], first, second, strict=True)
        return np.array([self._hop(*map(float, row)) for row in rows])

    def _hop(
        self, vowel: float, hiss: float, whole: float, voiced: float, pitch: float, first: float, second: float
    ) -> tuple[float, float, float, float, float]:
        self._floor = min(whole, self._floor + FLOOR_RISES_DB) if whole > QUIETEST_DB else self._floor
        heard = _ramp(whole, max(self._floor + 4, QUIETEST_DB), max(self._floor + 9, QUIETEST_DB + 6))
        voice = heard * _ramp(voiced, 0.3, 0.55)
        if voice > 0.5:
            falls = SETTLING_FALLS_DB if self._voiced_hops < SETTLING_HOPS else PEAK_FALLS_DB
            self._peak = max(self._peak - falls, self._peak + 0.5 * (vowel - self._peak))
            self._loudest = max(self._loudest - falls, self._loudest + 0.5 * (whole - self._loudest))
            self._voiced_hops += 1
            self._pitch += 0.02 * (pitch - self._pitch)
        taller = 1 + 0.17 * _ramp(self._pitch, 130, 200)  # formants of shorter vocal tracts lie higher
        first, second = first / taller, second / taller
        front = _ramp(second, 1750, 2000)  # i and its like have next to nothing between their first two formants
        open_by = max(
            _ramp(vowel, self._peak - 24, self._peak - 8), front * _ramp(whole, self._loudest - 20, self._loudest - 8)
        )
        loud = _ramp(whole, self._loudest - 18, self._loudest)
        hissing = heard * _ramp(hiss - vowel, 2, 10) * _ramp(hiss, self._peak - 35, self._peak - 20)
        jaw = voice * open_by * (0.26 + 0.74 * _ramp(first, 290, 720)) * (0.7 + 0.3 * loud)
        jaw = max(jaw, 0.16 * hissing)
        shut = self._closure(vowel, whole, hissing)
        if voice > 0.5:  # the tongue's own closures, n and d, have a second resonance where it is; vowels like i too
            shut *= (1 - 0.6 * _ramp(second, 1400, 1500)) * (1 - front)
        if voice * open_by > 0.3 and shut < 0.5 and first > 0:  # vowels and their like shape the lips; others keep them
            self._spread = _ramp(second, 1750, 2200) * _ramp(first, 620, 480)
            rounded = 1500 - 1.6 * (first - 300)  # F2 of a vowel neither rounded nor spread, by its F1
            self._rounding = _ramp(rounded - second, -150, 200)
        elif hissing > 0.5:
            self._spread, self._rounding = 0.35, self._rounding * 0.7
        elif heard < 0.5:
            self._spread, self._rounding = self._spread * 0.9, self._rounding * 0.9
        return jaw, self._spread, self._rounding, shut, heard * loud

    def _closure(self, vowel: float, whole: float, hissing: float) -> float:
        """How far the lips are shut, as for m, b or p: all much quieter than a moment ago, formants above all."""
        levels = np.array([vowel, whole])
        self._recent = np.maximum(levels, self._recent - RECENT_FALLS_DB)
        fallen = self._recent - levels
        return min(_ramp(fallen[0], 9, 15), _ramp(fallen[1], 2.5, 5.5)) * (1 - hissing)


def _formants(power: Array) -> tuple[Array, Array]:
    """The first two resonances in Hz, (windows,) each, 0 where there is none, of power spectra up to 4 kHz."""
    lags = np.fft.irfft(power * PRE_EMPHASIS, axis=1)[:, : ORDER + 1]
    lags[:, 0] = lags[:, 0] * 1.0005 + 1e-13  # a little white noise: silence has a solution too
    toeplitz = lags[:, np.abs(np.arange(ORDER)[:, None] - np.arange(ORDER))]
    companion = np.zeros((len(power), ORDER, ORDER))
    companion[:, 0] = np.linalg.solve(toeplitz, lags[:, 1:, None])[..., 0]
    companion[:, np.arange(1, ORDER), np.arange(ORDER - 1)] = 1.0
    poles = np.linalg.eigvals(companion)
    hertz = np.angle(poles) * 4000 / np.pi
    narrow = (hertz > 180) & (np.abs(poles) > 0.76)  # under 700 Hz wide
    found = np.sort(np.where(narrow, hertz, np.inf), axis=1)[:, :2]
    found[np.isinf(found)] = 0.0
    return found[:, 0], found[:, 1]


# --- What no sound tells: lids, brows and head, the same in every run.

BLINK: Final = (0.45, 1.0, 0.9, 0.55, 0.2)  # of the lids, frame by frame: down in 80 ms, up in twice that
BLINK_SECONDS: Final = (2.2, 5.4)  # from one to the next


class _Life:
    """Lids, brows and head, frame by frame."""

    def __init__(self, seed: int) -> None:
        self._chance = np.random.default_rng(seed)
        self._frame, self._phase = 0, 2.4 * seed
        self._blink_at = self._pause() // 2
        self._active = self._slow = self._quick = 0.0

    def _pause(self) -> int:
        return round(float(self._chance.uniform(*BLINK_SECONDS)) * FRAMES_PER_SECOND)

    def next(self, level: float) -> tuple[float, float, float, float, float, float]:
        """Both lids, brows, head right, down and roll of the next frame, by how loud it is, 0 to 1."""
        since = self._frame - self._blink_at
        blink = BLINK[since] if 0 <= since < len(BLINK) else 0.0
        if since >= len(BLINK):
            self._blink_at = self._frame + self._pause()
        self._active += 0.06 * (float(level > 0.05) - self._active)
        self._slow += 0.05 * (level - self._slow)
        self._quick += 0.35 * (level - self._quick)
        accent = max(self._quick - self._slow, 0.0)
        time = self._frame / FRAMES_PER_SECOND + self._phase
        self._frame += 1
        sway = 0.25 + 0.75 * self._active
        right = 0.006 * sway * (np.sin(1.1 * time) + 0.6 * np.sin(2.3 * time + 1.0))
        down = 0.0035 * sway * (np.sin(0.8 * time + 2.0) + 0.5 * np.sin(1.9 * time)) + 0.014 * accent
        roll = 0.9 * sway * (np.sin(0.7 * time + 0.5) + 0.5 * np.sin(1.7 * time + 3.0))
        return blink, blink, min(0.9 * accent, 1.0), float(right), float(down), float(roll)
