"""The fingerprint of a recording: whether two recordings hold the same sound, whatever was done to the file.

After Haitsma and Kalker, "A Highly Robust Audio Fingerprinting System", ISMIR 2002, section 4: 32 bits a frame, the
signs of differences of band energies along frequency and time, of long windows that overlap so much that a shift of the
frames hardly matters. Ours differ in window and hop, and frames near silence have none. Level, noise, codecs, and
another beginning leave most bits as they are (benchmarks/duplicates.csv); another speed or pitch does not, and another
speaker with the same words is another recording.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.fft import rfft
from scipy.signal import resample_poly

from speech2face.audio.spectrogram import SAMPLE_RATE
from speech2face.data.members import Samples

Fingerprint = NDArray[np.uint32]
"""(frames,), one word a frame; 0 where there is no sound to speak of."""

DECIMATION = 3  # the bands end at 2 kHz
WINDOW = 2048  # 384 ms of the decimated sound
HOP = 96  # 18 ms
BANDS = 33  # one more than bits
LOWEST_HZ, HIGHEST_HZ = 300.0, 2000.0  # the paper's

SECONDS = 10.0  # of a recording that are looked at
FRAMES = (round(SECONDS * SAMPLE_RATE / DECIMATION) - WINDOW) // HOP  # the first window has no predecessor

QUIET = 1e-4  # of the loudest frame's energy: below, bits are noise

_EDGES = np.round(np.geomspace(LOWEST_HZ, HIGHEST_HZ, BANDS + 1) * WINDOW * DECIMATION / SAMPLE_RATE).astype(int)
_HANN = np.hanning(WINDOW).astype(np.float32)
_PLACES = np.left_shift(np.uint32(1), np.arange(BANDS - 1, dtype=np.uint32))
_ONES = np.array([bin(number).count("1") for number in range(2**16)], dtype=np.uint8)


def fingerprint(samples: Samples) -> Fingerprint:
    """Of int16 samples at 16 kHz, (samples,); up to `FRAMES` words, none where there is less than a window."""
    sound = samples[: round(SECONDS * SAMPLE_RATE)].astype(np.float32)
    sound = resample_poly(sound, 1, DECIMATION).astype(np.float32)
    frames = (sound.size - WINDOW) // HOP + 1
    if frames < 2:
        return np.zeros(0, np.uint32)
    windows = np.lib.stride_tricks.sliding_window_view(sound, WINDOW)[::HOP] * _HANN  # (frames, window)
    power = np.abs(rfft(windows)[:, : _EDGES[-1]]) ** 2  # (frames, frequency)
    energy = np.add.reduceat(power, _EDGES[:-1], axis=1)  # (frames, bands)
    slope = energy[:, :-1] - energy[:, 1:]
    words = ((slope[1:] > slope[:-1]) * _PLACES).sum(1, dtype=np.uint32)
    loudness = energy.sum(1)[1:]
    words[loudness <= QUIET * loudness.max()] = 0
    return np.asarray(words[:FRAMES], dtype=np.uint32)


def ones(words: NDArray[np.uint32]) -> NDArray[np.uint8]:
    """Number of bits set in each word."""
    return np.asarray(_ONES[words & np.uint32(0xFFFF)] + _ONES[words >> np.uint32(16)], dtype=np.uint8)


def keys(words: Fingerprint, share: int) -> tuple[NDArray[np.uint32], NDArray[np.int64]]:
    """About one word in `share` and the frame it is first at, chosen by the word itself: the same ones of any copy."""
    found, first = np.unique(words, return_index=True)
    chosen = (_mixed(found) % np.uint64(share) == 0) & (found != 0)
    return found[chosen], first[chosen]


def _mixed(words: NDArray[np.uint32]) -> NDArray[np.uint64]:
    """Well spread numbers from words; splitmix64's finaliser (Steele et al. 2014)."""
    mixed = words.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    return mixed ^ (mixed >> np.uint64(31))


def differing_share(one: NDArray[np.uint32], other: NDArray[np.uint32], *, least_frames: int) -> NDArray[np.float32]:
    """Share of bits that differ, (pairs,), of words (pairs, frames) frame by frame; frames without a word are left out.

    0 for copies, near 0.5 for different recordings; 1 where fewer than `least_frames` can be compared.
    """
    both = (one != 0) & (other != 0)
    differing = np.where(both, ones(one ^ other), 0).sum(1, dtype=np.int64)
    compared = both.sum(1)
    return np.where(compared >= least_frames, differing / np.maximum(32 * compared, 1), 1.0).astype(np.float32)
