"""The log-mel energies that the starter's voice encoder hears, by numpy alone: the front end of OpenAI's Whisper.

Radford et al. 2022 take 80 mel bands of a power spectrum, its logarithm cut at eight decades under the loudest value.
Here every stretch of speech is first brought to one mean energy, so that a louder voice gives the same numbers.
The paper's own spectrogram is `audio/spectrogram.py`; it serves the paper's encoder.
"""

from collections.abc import Callable
from functools import cache
from typing import TypeVar

import numpy as np

from speech2face.audio.spectrogram import SAMPLE_RATE, FloatArray

FFT_SIZE = SAMPLE_RATE * 25 // 1000  # 25 ms
HOP = SAMPLE_RATE * 10 // 1000  # 10 ms
BANDS = 80
FREQUENCIES = FFT_SIZE // 2 + 1
HIGHEST_HZ = SAMPLE_RATE / 2
DECADES = 8  # of energy under the loudest value are told apart
MEAN_ENERGY = 0.1  # of a stretch, the median of speech whose peak is 1: what Whisper was trained on is about as loud
LEAST_ENERGY = 1e-10

# Slaney's mel scale (Auditory Toolbox, 1998): linear up to 1 kHz, then logarithmic.
LINEAR_HZ = 200 / 3
BREAK_HZ, BREAK_MEL = 1000.0, 15.0
LOG_STEP = np.log(6.4) / 27


def mel_to_hertz(mel: np.ndarray) -> np.ndarray:
    """Frequencies in hertz of values on Slaney's mel scale, of the same shape."""
    return np.where(mel < BREAK_MEL, mel * LINEAR_HZ, BREAK_HZ * np.exp(LOG_STEP * (mel - BREAK_MEL)))


@cache
def mel_filters() -> FloatArray:
    """Triangular filters of equal area from 0 to 8 kHz, (BANDS, FREQUENCIES)."""
    highest = BREAK_MEL + np.log(HIGHEST_HZ / BREAK_HZ) / LOG_STEP
    edges = mel_to_hertz(np.linspace(0, highest, BANDS + 2))[:, None]  # (BANDS + 2, 1)
    hertz = np.arange(FREQUENCIES) * (SAMPLE_RATE / FFT_SIZE)
    rising = (hertz - edges[:-2]) / (edges[1:-1] - edges[:-2])
    falling = (edges[2:] - hertz) / (edges[2:] - edges[1:-1])
    triangles = np.clip(np.minimum(rising, falling), 0, None)  # (BANDS, FREQUENCIES)
    return np.asarray(triangles * 2 / (edges[2:] - edges[:-2]), np.float32)


@cache
def _window() -> FloatArray:
    """A periodic Hann window, (FFT_SIZE,)."""
    return np.asarray(0.5 - 0.5 * np.cos(2 * np.pi * np.arange(FFT_SIZE) / FFT_SIZE), np.float32)


def mel_energies(waveform: FloatArray) -> FloatArray:
    """Mel energies of a waveform, (samples,) -> (frames, BANDS); frames are centred, the ends mirrored."""
    padded = np.pad(waveform, FFT_SIZE // 2, mode="reflect")
    frames = np.lib.stride_tricks.sliding_window_view(padded, FFT_SIZE)[::HOP][: max(1, waveform.size // HOP)]
    spectrum = np.fft.rfft(frames * _window(), axis=1)  # (frames, FREQUENCIES)
    power = np.square(spectrum.real) + np.square(spectrum.imag)
    # Not by a matrix product: OpenBLAS's threads would wait for more of them on the core that the encoder is to have.
    return np.asarray(np.einsum("fk,bk->fb", power.astype(np.float32), mel_filters()), np.float32)


def log_mel(waveform: FloatArray) -> FloatArray:
    """What the encoder hears of one stretch of speech, (samples,) -> (BANDS, frames)."""
    energies = mel_energies(waveform)
    levelled = energies * np.float32(MEAN_ENERGY / max(float(energies.mean()), 1e-20))
    logarithm = np.log10(np.maximum(levelled, LEAST_ENERGY))
    return np.asarray((np.maximum(logarithm, logarithm.max() - DECADES) + 4) / 4, np.float32).T.copy()


# --- How long speech is cut for the compact voice encoder.

SEGMENT_SECONDS = 3  # what the encoder was trained to hear at once
SEGMENT_SAMPLES = SEGMENT_SECONDS * SAMPLE_RATE
SEGMENT_HOPS = SEGMENT_SAMPLES // HOP
LEAST_VARIANCE = 1e-5  # over time, of an output of the encoder's layers: a constant one has no smaller spread


def segment_spans(length: int, segment: int = SEGMENT_SAMPLES) -> list[tuple[int, int]]:
    """Half-open ranges that cover `length`: whole segments, the last one taking the remainder (up to twice as long).

    A range never changes once more speech than two segments has followed its start, so a live encoder computes it once.
    """
    count = max(1, length // segment)
    return [(i * segment, length if i == count - 1 else (i + 1) * segment) for i in range(count)]


# --------------------------------------------------------------------------------------------------
# The made voice whose readings are stored beside every release: the same on every machine.
# --------------------------------------------------------------------------------------------------


def golden_speech() -> FloatArray:
    """Four seconds of a made voice, a buzz through three formants: the same on every machine, (samples,)."""
    time = np.arange(4 * SAMPLE_RATE) / SAMPLE_RATE
    phase = 2 * np.pi * np.cumsum(130 + 20 * np.sin(2 * np.pi * 2.5 * time)) / SAMPLE_RATE
    waveform = np.zeros_like(time)
    for harmonic in range(1, 50):
        hertz = 130.0 * harmonic
        gain = sum(a / (1 + ((hertz - f) / w) ** 2) for f, w, a in ((600, 90, 1.0), (1300, 120, 0.5), (2600, 200, 0.3)))
        waveform += gain * np.sin(harmonic * phase)
    waveform *= 0.6 + 0.4 * np.sin(2 * np.pi * 3 * time)
    return np.asarray(0.3 * waveform / np.abs(waveform).max(), np.float32)


# --------------------------------------------------------------------------------------------------
# A call of any length as a few stretches: the longer ago, the longer.
# --------------------------------------------------------------------------------------------------

Stretch = TypeVar("Stretch")
MOST_STRETCHES = 32  # over a minute and a half in segments of three seconds before the first are joined
RECENT_STRETCHES = 16  # stay as fine as they came: somebody else taking over is noticed within one or two of them


def merge_oldest(
    stretches: list[Stretch], join: Callable[[Stretch, Stretch], Stretch], length: Callable[[Stretch], float]
) -> list[Stretch]:
    """At most `MOST_STRETCHES` of them: of those that are not recent, the shortest neighbours are joined."""
    kept = list(stretches)
    while len(kept) > MOST_STRETCHES:
        old = range(len(kept) - RECENT_STRETCHES - 1)
        at = min(old, key=lambda place: length(kept[place]) + length(kept[place + 1]))
        kept[at : at + 2] = [join(kept[at], kept[at + 1])]
    return kept
