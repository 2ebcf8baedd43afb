"""The attribute model's encoder on speech as it comes: whole segments once, and the moments of all of them added up."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from speech2face.audio.spectrogram import SAMPLE_RATE, FloatArray
from speech2face.models.attribute_runtime import Moments
from speech2face.models.stretches import merge_oldest
from speech2face.voice.segments import SEGMENT_SAMPLES

if TYPE_CHECKING:
    from speech2face.models.attribute_model import AttributeHearing, AttributeModel

LEAST_SAMPLES = SAMPLE_RATE // 2  # a remainder under half a second is poorly levelled alone: it waits


class AttributeListening:
    """One speaker's speech so far: the moments of its whole segments, and what is not yet a segment.

    Where a recording's last segment takes the remainder, here the remainder is one of its own: every look would have
    to encode up to six seconds again.
    """

    def __init__(self, model: AttributeModel) -> None:
        self._model = model
        self._moments: list[Moments] = []
        self._tail = np.zeros(0, np.float32)

    def push(self, heard: FloatArray, spoken_seconds: float | None = None) -> None:
        """Hear the next stretch of speech, (samples,); all of it is spoken."""
        self._tail = np.concatenate([self._tail, heard])
        while self._tail.size >= SEGMENT_SAMPLES:
            self._moments.append(self._model.runtime.segment_moments(self._tail[:SEGMENT_SAMPLES]))
            self._tail = self._tail[SEGMENT_SAMPLES:].copy()
        self._moments = merge_oldest(self._moments, join, lambda moments: moments.seconds)

    def hearing(self) -> AttributeHearing:
        """What is read from all speech so far.

        Raises:
            NoSpeech: the encoder hears no voice in it.
        """
        moments = list(self._moments)
        if self._tail.size >= LEAST_SAMPLES or not moments:
            remainder = self._model.runtime.segment_moments(self._tail)
            # Too short to be compared with other voices: as in a recording it goes with the segment before.
            moments[-1:] = [join(moments[-1], remainder)] if moments else [remainder]
        return self._model.heard(moments)


def join(first: Moments, second: Moments) -> Moments:
    """Two stretches as one."""
    return Moments(first.sums + second.sums, first.seconds + second.seconds)
