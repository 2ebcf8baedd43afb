"""Random phonetic content: what the articulators do, frame by frame, for a voice that says nothing in particular."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from speech2face.planted.traits import MEAN_RATE, MovingVoice, Voice

FloatArray = NDArray[np.float64]

FRAME_RATE = 200  # frames a second: formants glide within 5 ms
SMOOTHING_SECONDS = 0.05  # an articulator's glide
VOWELS_HZ = np.array(  # Peterson and Barney 1952, men: first three formants
    [
        [270, 2290, 3010], [390, 1990, 2550], [530, 1840, 2480], [660, 1720, 2410], [730, 1090, 2440],
        [570, 840, 2410], [440, 1020, 2240], [300, 870, 2240], [640, 1190, 2390], [490, 1350, 1690],
    ],
    dtype=np.float64,
)  # fmt: skip
VOWEL_SPREAD = 0.04  # of a formant from one token to the next, as a share of it
SIBILANTS = (1.0, 0.62)  # s and sh: centre of the noise relative to the speaker's s
MURMUR = 0.05  # voicing that a moving voice keeps throughout, 26 dB down: where nothing sounds, edges would be heard
CONSONANTS = ("none", "sibilant", "sibilant", "breath", "stop", "weak")


@dataclass
class Score:
    """Tracks of the synthesiser's controls, a row a frame."""

    formants_hz: FloatArray
    """(frames, 3), of the reference tract."""
    voicing: FloatArray
    """(frames,) amplitude of the glottal source."""
    aspiration: FloatArray
    """(frames,) amplitude of breath noise beside what goes with voicing."""
    frication: FloatArray
    """(frames,) amplitude of noise at a narrow place."""
    frication_hz: FloatArray
    """(frames,) its centre."""
    frication_octaves: FloatArray
    """(frames,) its half width."""
    pitch_hz: FloatArray
    """(frames,)"""


def _smooth(track: FloatArray, seconds: float = SMOOTHING_SECONDS) -> FloatArray:
    """Moving average under a Hann window along the first axis; the ends are held."""
    size = max(3, round(seconds * FRAME_RATE) | 1)
    window = np.hanning(size + 2)[1:-1]
    padded = np.pad(track, [(size // 2, size // 2)] + [(0, 0)] * (track.ndim - 1), mode="edge")
    cut = np.lib.stride_tricks.sliding_window_view(padded, size, axis=0)
    return np.asarray(cut @ (window / window.sum()))


def _consonant(score: Score, start: int, stop: int, voice: Voice, rng: np.random.Generator) -> None:
    """Write one consonant into frames start to stop."""
    kind = CONSONANTS[rng.integers(len(CONSONANTS))]
    part = slice(start, stop)
    score.voicing[part] = 1.0 if kind == "none" else 0.0
    if kind == "sibilant":
        place = SIBILANTS[rng.integers(2)] * voice.sibilant_hz * (1 + 0.03 * rng.standard_normal())
        score.frication[part], score.frication_hz[part] = rng.uniform(0.25, 0.5), place
        score.frication_octaves[part] = 0.28
    elif kind == "weak":  # f, th: faint and wide
        score.frication[part], score.frication_hz[part], score.frication_octaves[part] = 0.06, 6000.0, 1.2
    elif kind == "breath":
        score.aspiration[part] = 1.0


def _phrase_pitch(frames: int, voice: Voice, rng: np.random.Generator) -> FloatArray:
    """Octaves relative to the speaker's median: a fall over the phrase, accents, and how the phrase was begun."""
    accents = _smooth(rng.standard_normal(frames), 0.5)
    accents /= max(float(accents.std()), 1e-6)
    fall = np.linspace(0.5, -0.5, frames)
    return np.asarray(voice.intonation_octaves * (0.6 * accents + 1.2 * fall) + 0.05 * rng.standard_normal())


def _glides(voice: MovingVoice, frames: int, rng: np.random.Generator) -> FloatArray:
    """Formants that move from vowel to vowel all the time, (frames, 3), syllables being laid over it (Ohman 1966).

    A rise and a fall between the same two vowels take the same way and together always the same time. So speed and
    direction change nothing about how often a place is passed: only in what order, and how fast.
    """
    mean = FRAME_RATE / voice.glides_per_second
    starts, targets = [-mean * rng.uniform(4, 8)], [_vowel(rng)]
    while starts[-1] < frames:
        targets.append(_vowel(rng))
        share = voice.rise_share if targets[-1][1] > targets[-2][1] else 1 - voice.rise_share
        starts.append(starts[-1] + 2 * share * mean * rng.uniform(0.7, 1.3))
    at, log_hz = np.array(starts), np.log(np.array(targets))
    glide = np.searchsorted(at, np.arange(frames), side="right") - 1
    done = (np.arange(frames) - at[glide]) / (at[glide + 1] - at[glide])
    eased = 0.5 - 0.5 * np.cos(np.pi * done)
    return np.asarray(np.exp(log_hz[glide] + eased[:, None] * (log_hz[glide + 1] - log_hz[glide])))


def _vowel(rng: np.random.Generator) -> FloatArray:
    """One token of a vowel drawn at random, (3,) formants in Hz."""
    return np.asarray(VOWELS_HZ[rng.integers(len(VOWELS_HZ))] * (1 + VOWEL_SPREAD * rng.standard_normal(3)))


def write_score(voice: Voice, frames: int, rng: np.random.Generator) -> Score:
    """Syllables of consonant and vowel in phrases with pauses, `frames` frames of them.

    A moving voice begins in the middle, and all times go with the syllables': how much of the time is a consonant or a
    pause tells nothing of the rate.
    """
    if not isinstance(voice, MovingVoice):
        return _syllables(voice, frames, rng, stretch=1.0)
    stretch = MEAN_RATE / voice.syllables_per_second
    before = round(FRAME_RATE * stretch * rng.uniform(2, 6))
    whole = _syllables(voice, before + frames, rng, stretch=stretch)
    score = Score(*(track[before:] for track in vars(whole).values()))
    score.voicing = np.maximum(score.voicing, MURMUR)
    score.formants_hz = _glides(voice, frames, rng)
    return score


def _syllables(voice: Voice, frames: int, rng: np.random.Generator, *, stretch: float) -> Score:
    """The tracks of syllables from the beginning of a phrase; `stretch` is of the pauses and the smoothing."""
    score = Score(*(np.zeros((frames, 3) if n == 0 else frames) for n in range(7)))
    score.frication_hz[:], score.frication_octaves[:] = 5000.0, 0.3
    octaves = np.zeros(frames)
    at = 0
    while at < frames:
        phrase = at
        for _ in range(rng.integers(4, 10)):
            length = FRAME_RATE / voice.syllables_per_second * rng.uniform(0.6, 1.4)
            opening, end = at + round(length * rng.uniform(0.25, 0.45)), at + round(length)
            score.formants_hz[at:end] = _vowel(rng)
            _consonant(score, at, opening, voice, rng)
            score.voicing[opening:end] = rng.uniform(0.6, 1.0)
            at = end
        octaves[phrase:at] = _phrase_pitch(at - phrase, voice, rng)[: frames - phrase]
        pause = round(FRAME_RATE * stretch * rng.uniform(0.1, 0.35))
        score.formants_hz[at : at + pause] = (500.0, 1500.0, 2500.0)
        at += pause
    score.formants_hz = _smooth(score.formants_hz, 0.08)
    for track in ("voicing", "aspiration", "frication"):
        setattr(score, track, _smooth(getattr(score, track), SMOOTHING_SECONDS * stretch))
    score.pitch_hz = voice.pitch_hz * 2 ** _smooth(octaves)
    return score
