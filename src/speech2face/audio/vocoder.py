"""A voice taken apart into pitch, breath and vocal tract, changed, and put together again; numpy alone.

The parts are those of WORLD (Morise et al. 2016, "WORLD: a vocoder-based high-quality speech synthesis system"): pitch,
here by autocorrelation and the best path through its peaks (Boersma 1993); the spectral envelope by CheapTrick (Morise
2015); how much of each band is noise. Nothing of the recorded source is kept: pulses and noise are made anew, so no
jitter, phase or breath of the speaker's own is left in the result. The envelope is moved as the McAdams coefficient
moves the poles of a linear prediction (Patino et al. 2021, baseline B2 of the VoicePrivacy challenge), by its axis of
frequency instead of by poles.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from speech2face.audio.spectrogram import SAMPLE_RATE, FloatArray

Doubles = NDArray[np.float64]
HOP = SAMPLE_RATE * 5 // 1000  # 5 ms, a frame each
FFT_SIZE = 1024
FREQUENCIES = FFT_SIZE // 2 + 1
HERTZ = np.arange(FREQUENCIES) * (SAMPLE_RATE / FFT_SIZE)
NYQUIST = SAMPLE_RATE / 2
BLOCK_FRAMES = 500  # 2.5 seconds are worked on at once: what that takes does not grow with the recording

LOWEST_PITCH_HZ, HIGHEST_PITCH_HZ = 65.0, 500.0  # of talking men to crying children
PITCH_WINDOW = SAMPLE_RATE * 45 // 1000  # three periods of the lowest pitch, which autocorrelation needs
PITCH_STEP = 2  # in frames; between, pitch is interpolated
CANDIDATES = 6
VOICING_THRESHOLD, SILENCE_THRESHOLD = 0.45, 0.03  # Boersma's, as are the costs
OCTAVE_COST, OCTAVE_JUMP_COST, VOICING_COST = 0.01, 0.35, 0.14
UNVOICED_HZ = 500.0  # CheapTrick's window where there is no pitch: that of this one
COMPENSATION = 1.18, -0.09  # CheapTrick's, for what its smoothing took from the peaks
LEAST_POWER = 1e-10
KNEE = 0.8  # of all frequencies, old and new: resonances beyond are drawn together instead of moved
BAND_EDGES_HZ = (0.0, 1000.0, 2000.0, 3200.0)  # of how much is noise; above the last as in the last
BREATH_SAMPLES = SAMPLE_RATE * 20 // 1000
EDGE_HZ, FILTER_SAMPLES = 200.0, SAMPLE_RATE * 100 // 1000  # how soft a band's edge is, and how long its filter


@dataclass(frozen=True)
class Voice:
    """Some frames of a voice, every 5 ms: `pitch_hz` (frames,), 0 where it has none; `breath` (frames, bands), the
    share of each band's power that is noise; `envelope` (frames, frequencies), the natural logarithm of power."""

    pitch_hz: FloatArray
    breath: FloatArray
    envelope: FloatArray


@dataclass(frozen=True)
class VoiceChange:
    """What is done to a voice; the plain one changes nothing but puts the voice together anew.

    `pitch_hz` is the new median pitch, None the old one, and `pitch_range` the share of its rise and fall that stays;
    `formants` is by which factor the vocal tract's resonances move; `mcadams` the exponent of McAdams, of frequencies
    in radians a sample; `breath` is the share of what is not noise that becomes noise, 1 a whisper; `colour`
    (frequencies,) is added to the envelope, in natural logarithms of power.
    """

    pitch_hz: float | None = None
    pitch_range: float = 1.0
    formants: float = 1.0
    mcadams: float = 1.0
    breath: float = 0.0
    colour: FloatArray | None = None


# --- Taking apart.


def frame_count(samples: int) -> int:
    """Number of frames that cover so many samples; the first is centred on the first sample."""
    return samples // HOP + 1


def _frames(waveform: FloatArray, centres: NDArray[np.int64], size: int) -> FloatArray:
    """Stretches of `size` samples around each centre, (frames, size); zeros beyond the ends."""
    first = int(centres[0]) - size // 2
    last = int(centres[-1]) - size // 2 + size
    inside = waveform[max(0, first) : max(0, last)]
    front = max(0, -first)
    padded = np.pad(inside, (front, last - first - front - inside.size))
    windows = np.lib.stride_tricks.sliding_window_view(padded, size)
    return np.asarray(windows[centres - centres[0]], np.float32)


def track_pitch(waveform: FloatArray) -> FloatArray:
    """Pitch of every frame in hertz, 0 where there is none, (samples,) -> (frames,).

    The best path through the peaks of the autocorrelation (Boersma 1993, "Accurate short-term analysis of the
    fundamental frequency").
    """
    count = frame_count(waveform.size)
    centres = np.arange(0, count, PITCH_STEP) * HOP
    window = np.hanning(PITCH_WINDOW + 2)[1:-1].astype(np.float32)
    size = 1 << (2 * PITCH_WINDOW - 1).bit_length()
    own = np.fft.irfft(np.abs(np.fft.rfft(window, size)) ** 2)
    lags = np.arange(int(SAMPLE_RATE / HIGHEST_PITCH_HZ), int(SAMPLE_RATE / LOWEST_PITCH_HZ) + 1)
    loudest = float(np.abs(waveform).max()) + 1e-9
    hertz, strength, quiet = [], [], []
    for start in range(0, centres.size, BLOCK_FRAMES):
        part = _frames(waveform, centres[start : start + BLOCK_FRAMES], PITCH_WINDOW)
        part = part - part.mean(1, keepdims=True)
        power = np.square(np.abs(np.fft.rfft(part * window, size)))
        found = np.fft.irfft(power)[:, : lags[-1] + 2]
        found = found / np.maximum(found[:, :1], 1e-12) * (own[0] / own[: lags[-1] + 2])
        at, height = _peaks(found, lags)
        hertz.append(SAMPLE_RATE / at)
        strength.append(height - OCTAVE_COST * np.log2(LOWEST_PITCH_HZ * at / SAMPLE_RATE))
        quiet.append(np.abs(part).max(1) / loudest)
    path = _best_path(np.concatenate(hertz), np.concatenate(strength), np.concatenate(quiet))
    return _between(path, count)


def _peaks(correlation: Doubles, lags: NDArray[np.int64]) -> tuple[Doubles, Doubles]:
    """Lags and heights of the highest peaks, (frames, CANDIDATES) twice; -inf where there are fewer."""
    middle, left, right = correlation[:, lags], correlation[:, lags - 1], correlation[:, lags + 1]
    is_peak = (middle > left) & (middle >= right) & (middle > 0.5 * VOICING_THRESHOLD)
    order = np.argsort(np.where(is_peak, middle, -np.inf), axis=1)[:, ::-1][:, :CANDIDATES]
    rows = np.arange(len(order))[:, None]
    a, b, c = left[rows, order], middle[rows, order], right[rows, order]
    shift = np.clip(0.5 * (a - c) / np.minimum(a - 2 * b + c, -1e-9), -0.5, 0.5)
    height = np.minimum(b - 0.25 * (a - c) * shift, 1.0)
    return lags[order] + shift, np.where(is_peak[rows, order], height, -np.inf)


def _best_path(hertz: Doubles, strength: Doubles, quiet: Doubles) -> Doubles:
    """Pitch of each frame, 0 unvoiced, (frames, CANDIDATES) -> (frames,): Viterbi over candidates and "no pitch"."""
    unvoiced = VOICING_THRESHOLD + np.maximum(0, 2 - quiet / SILENCE_THRESHOLD * (1 + VOICING_THRESHOLD))
    octaves = np.concatenate([np.log2(hertz), np.zeros((len(hertz), 1))], 1)
    local = np.concatenate([strength, unvoiced[:, None]], 1)
    voiced = np.arange(CANDIDATES + 1) < CANDIDATES
    switch = VOICING_COST * (voiced[:, None] != voiced[None])
    both = voiced[:, None] & voiced[None]
    total, came = local[0], np.zeros(local.shape, np.int64)
    for frame in range(1, len(local)):
        jump = np.abs(octaves[frame][:, None] - octaves[frame - 1][None])
        reached = total[None] - switch - OCTAVE_JUMP_COST * jump * both
        came[frame] = reached.argmax(1)
        total = local[frame] + reached.max(1)
    state = int(total.argmax())
    path = np.zeros(len(local))
    for frame in range(len(local) - 1, -1, -1):
        path[frame] = hertz[frame, state] if state < CANDIDATES else 0.0
        state = int(came[frame, state])
    return path


def _between(path: Doubles, count: int) -> FloatArray:
    """Pitch of every frame from that of every `PITCH_STEP`-th, (steps,) -> (count,)."""
    at = np.arange(count) / PITCH_STEP
    before = np.minimum(at.astype(int), path.size - 1)
    after = np.minimum(before + 1, path.size - 1)
    share = at - before
    mean = (1 - share) * path[before] + share * path[after]
    nearest = np.where(share < 0.5, path[before], path[after])
    return np.asarray(np.where((path[before] > 0) & (path[after] > 0), mean, nearest), np.float32)


def take_apart(waveform: FloatArray, pitch_hz: FloatArray) -> Iterator[Voice]:
    """The voice of a waveform, (samples,), block by block; `pitch_hz` (frames,) is `track_pitch`'s."""
    for start in range(0, pitch_hz.size, BLOCK_FRAMES):
        pitch = pitch_hz[start : start + BLOCK_FRAMES]
        centres = (start + np.arange(pitch.size)) * HOP
        yield Voice(pitch, _breath(waveform, centres, pitch), _envelope(waveform, centres, pitch))


def _envelope(waveform: FloatArray, centres: NDArray[np.int64], pitch_hz: FloatArray) -> FloatArray:
    """CheapTrick's envelope, (frames, frequencies), as the natural logarithm of power."""
    pitch = np.where(pitch_hz > 0, pitch_hz, UNVOICED_HZ)[:, None]
    half = 1.5 * SAMPLE_RATE / pitch
    offset = np.arange(FFT_SIZE) - FFT_SIZE // 2
    window = np.where(np.abs(offset) < half, 0.5 + 0.5 * np.cos(np.pi * offset / half), 0.0)
    window /= np.sqrt(np.square(window).sum(1, keepdims=True))
    frames = _frames(waveform, centres, FFT_SIZE) * window
    frames -= window * (frames.sum(1, keepdims=True) / window.sum(1, keepdims=True))
    power = np.square(np.abs(np.fft.rfft(frames))) + LEAST_POWER
    # A mean over two thirds of the distance of harmonics: the integral, at both of its ends.
    mirrored = np.concatenate([power[:, 1 : FREQUENCIES - 1][:, ::-1], power, power[:, 1:-1][:, ::-1]], 1)
    integral = np.cumsum(mirrored, 1)
    reach = pitch / 3 / (SAMPLE_RATE / FFT_SIZE)
    bins = np.arange(FREQUENCIES)[None] + FREQUENCIES - 2
    smooth = (_at(integral, bins + reach - 0.5) - _at(integral, bins - reach - 0.5)) / (2 * reach)
    quefrency = np.minimum(np.arange(FFT_SIZE), FFT_SIZE - np.arange(FFT_SIZE)) / SAMPLE_RATE
    turn = pitch * quefrency[None]
    lifter = np.sinc(turn) * (COMPENSATION[0] + 2 * COMPENSATION[1] * np.cos(2 * np.pi * turn))
    cepstrum = np.fft.irfft(np.log(np.maximum(smooth, LEAST_POWER))) * lifter
    return np.fft.rfft(cepstrum).real.astype(np.float32)


def _at(rows: Doubles, place: Doubles) -> Doubles:
    """Values of rows between their entries, (frames, n) at (frames, m) -> (frames, m)."""
    before = np.floor(place).astype(np.int64)
    share = place - before
    index = np.arange(len(rows))[:, None]
    before = np.clip(before, 0, rows.shape[1] - 2)
    return (1 - share) * rows[index, before] + share * rows[index, before + 1]


def _breath(waveform: FloatArray, centres: NDArray[np.int64], pitch_hz: FloatArray) -> FloatArray:
    """Share of noise in each band's power, (frames, bands): one less the band's correlation with a period before."""
    size, most = BREATH_SAMPLES, int(SAMPLE_RATE / LOWEST_PITCH_HZ) + FILTER_SAMPLES
    whole = _frames(waveform, centres[[0]] + (centres[-1] - centres[0]) // 2,
                    int(centres[-1] - centres[0]) + 2 * (size + most))[0]  # fmt: skip
    spectrum = np.fft.rfft(whole)
    hertz = np.fft.rfftfreq(whole.size, 1 / SAMPLE_RATE)
    lag = np.rint(SAMPLE_RATE / np.where(pitch_hz > 0, pitch_hz, UNVOICED_HZ)).astype(int)
    start = centres - centres[0] + most + size // 2
    shares = []
    for low, high in pairwise(BAND_EDGES_HZ):
        # Soft edges: what is filtered must not depend on where the block ends.
        passed = np.clip(0.5 + (hertz - low) / EDGE_HZ, 0, 1) * np.clip(0.5 - (hertz - high) / EDGE_HZ, 0, 1)
        band = np.fft.irfft(spectrum * passed, whole.size).astype(np.float32)
        windows = np.lib.stride_tricks.sliding_window_view(band, size)
        now = windows[start]
        best = np.zeros(pitch_hz.size)
        for near in range(-2, 3):
            then = windows[start - lag - near]
            norm = np.sqrt(np.einsum("ij,ij->i", now, now) * np.einsum("ij,ij->i", then, then)) + 1e-9
            best = np.maximum(best, np.einsum("ij,ij->i", now, then) / norm)
        shares.append(np.where(pitch_hz > 0, 1 - np.clip(best, 0, 1), 1.0))
    return np.stack(shares, 1).astype(np.float32)


# --- Changing, and putting together.


def source_radians(change: VoiceChange) -> Doubles:
    """Where the envelope at each frequency of the changed voice is taken from, (frequencies,), in radians a sample.

    Up to a knee by the factor and the exponent, from there straight to the end, as in vocal tract length normalisation
    (Wegmann et al. 1996): so that nothing is missing above, and hissing sounds keep their place.
    """
    radians = np.pi * HERTZ / NYQUIST
    knee = min(KNEE * np.pi, change.formants * (KNEE * np.pi) ** change.mcadams)
    reached = (knee / change.formants) ** (1 / change.mcadams)
    beyond = reached + (radians - knee) * (np.pi - reached) / (np.pi - knee)
    return np.where(radians <= knee, (radians / change.formants) ** (1 / change.mcadams), beyond)


def moved_envelope(envelope: FloatArray, change: VoiceChange) -> FloatArray:
    """The envelope with its resonances moved, (frames, frequencies) -> the same shape, as loud as before in each frame.

    Without that a colour that is meant for vowels makes hissing sounds twenty decibels louder.
    """
    before_power = _power(envelope)
    if change.formants != 1.0 or change.mcadams != 1.0:
        place = source_radians(change) / np.pi * (FREQUENCIES - 1)
        before = np.clip(place.astype(int), 0, FREQUENCIES - 2)
        share = (place - before).astype(np.float32)
        envelope = (1 - share) * envelope[:, before] + share * envelope[:, before + 1]
    if change.colour is not None:
        envelope = envelope + change.colour
    return envelope + (before_power - _power(envelope))


def _power(envelope: FloatArray) -> FloatArray:
    """Natural logarithm of each frame's power, (frames, frequencies) -> (frames, 1)."""
    return np.asarray(np.log(np.exp(envelope).sum(1, keepdims=True)), np.float32)


def moved_pitch(pitch_hz: FloatArray, median_hz: float, change: VoiceChange) -> FloatArray:
    """The pitch around its new median, (frames,) -> (frames,); 0 stays."""
    target = median_hz if change.pitch_hz is None else change.pitch_hz
    octaves = np.log2(np.where(pitch_hz > 0, pitch_hz, median_hz) / median_hz) * change.pitch_range
    return np.where(pitch_hz > 0, np.clip(target * 2**octaves, 50.0, 1000.0), 0.0).astype(np.float32)


def median_pitch(pitch_hz: FloatArray) -> float | None:
    """Median of the frames that have a pitch, in hertz; None where none has."""
    voiced = pitch_hz[pitch_hz > 0]
    return float(np.median(voiced)) if voiced.size else None


def put_together(voices: Iterator[Voice], samples: int, median_hz: float | None, change: VoiceChange) -> FloatArray:
    """The changed voice as a waveform, (samples,); `median_hz` is the pitch around which it rises and falls."""
    out = np.zeros(samples + 2 * FFT_SIZE + HOP, np.float32)
    rng = np.random.default_rng(0)  # the same breath for everybody
    phase, at = 0.0, 0
    window = np.hanning(2 * HOP + 1)[:-1].astype(np.float32)
    held, noise = 150.0, rng.standard_normal(HOP).astype(np.float32)
    tail_voiced = np.zeros(HOP, np.float32)
    for voice in voices:
        count = voice.pitch_hz.size
        pitch = moved_pitch(voice.pitch_hz, median_hz or held, change)
        hertz, held = _held(pitch, held)
        pulses, phase = _pulses(hertz, phase)
        noise = np.concatenate([noise[-HOP:], rng.standard_normal(count * HOP).astype(np.float32)])
        pulses = np.concatenate([tail_voiced, pulses])
        tail_voiced = pulses[-HOP:]
        response = _minimum_phase(moved_envelope(voice.envelope, change))
        share = _over_bands(voice.breath + change.breath * (1 - voice.breath))
        cut = np.arange(count)[:, None] * HOP + np.arange(2 * HOP)[None]
        made = np.fft.rfft(pulses[cut] * window, FFT_SIZE) * np.sqrt(1 - share)
        made += np.fft.rfft(noise[cut] * window, FFT_SIZE) * np.sqrt(share)
        parts = np.fft.irfft(made * response).astype(np.float32)
        for number, part in enumerate(parts):
            first = (at + number) * HOP
            out[first : first + FFT_SIZE] += part
        at += count
    return out[HOP : HOP + samples]


def _held(pitch: FloatArray, before: float) -> tuple[Doubles, float]:
    """Pitch of every frame, the last one going on where there is none, (frames,), and the last of all."""
    index = np.maximum.accumulate(np.where(pitch > 0, np.arange(pitch.size), -1))
    held = np.where(index >= 0, pitch[np.maximum(index, 0)], before)
    return held, float(held[-1])


def _pulses(hertz: Doubles, phase: float) -> tuple[FloatArray, float]:
    """Pulses of unit power without aliases at a pitch a frame, (frames * HOP,), and the phase after them."""
    per_sample = np.repeat(hertz.astype(np.float64), HOP)  # in single precision the phase would drift
    turned = phase + 2 * np.pi * np.cumsum(per_sample) / SAMPLE_RATE
    harmonics = np.floor(0.98 * NYQUIST / per_sample)
    half = np.sin(turned / 2)
    near = np.abs(half) < 1e-6
    total = np.sin((harmonics + 0.5) * turned) / np.where(near, 1, 2 * half) - 0.5
    total = np.where(near, harmonics, total)
    return (total * np.sqrt(2 / harmonics)).astype(np.float32), float(turned[-1] % (2 * np.pi))


def _minimum_phase(envelope: FloatArray) -> NDArray[np.complex128]:
    """Frequency response whose power is the envelope's and whose energy comes earliest, (frames, frequencies)."""
    cepstrum = np.fft.irfft(0.5 * envelope)
    cepstrum[:, 1 : FFT_SIZE // 2] *= 2
    cepstrum[:, FFT_SIZE // 2 + 1 :] = 0
    return np.exp(np.fft.rfft(cepstrum))


def _over_bands(breath: FloatArray) -> FloatArray:
    """The share of noise at each frequency, (frames, bands) -> (frames, frequencies), straight between bands."""
    edges = np.array(BAND_EDGES_HZ)
    middles = (edges[:-1] + edges[1:]) / 2
    place = np.interp(HERTZ, middles, np.arange(middles.size))
    before = np.minimum(place.astype(int), middles.size - 2)
    share = (place - before).astype(np.float32)
    return np.asarray(np.clip((1 - share) * breath[:, before] + share * breath[:, before + 1], 0, 1), np.float32)
