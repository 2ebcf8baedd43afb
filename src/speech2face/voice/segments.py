"""How long speech is cut for the compact voice encoder."""

from collections.abc import Callable
from typing import TypeVar

import numpy as np

from speech2face.audio.spectrogram import HOP, SAMPLE_RATE, FloatArray

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
