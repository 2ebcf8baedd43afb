"""The attribute model's encoder on speech as it comes: whole segments once, and the moments of all of them added up."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from speech2face.audio.spectrogram import WINDOW, FloatArray
from speech2face.models.attribute_runtime import Moments
from speech2face.voice.segments import SEGMENT_SAMPLES

if TYPE_CHECKING:
    from speech2face.models.attribute_model import AttributeHearing, AttributeModel


class AttributeListening:
    """One speaker's speech so far: the moments of its whole segments, and what is not yet a segment."""

    def __init__(self, model: AttributeModel) -> None:
        self._model = model
        self._moments: list[Moments] = []
        self._tail = np.zeros(0, np.float32)

    def push(self, speech: FloatArray) -> None:
        """Hear the next stretch, (samples,); a segment is encoded once another whole one has followed it."""
        self._tail = np.concatenate([self._tail, speech])
        while self._tail.size >= 2 * SEGMENT_SAMPLES:
            self._moments.append(self._model.runtime.segment_moments(self._tail[:SEGMENT_SAMPLES]))
            self._tail = self._tail[SEGMENT_SAMPLES:]

    def hearing(self) -> AttributeHearing:
        """What is read from all speech so far, the last segment taking the remainder.

        Raises:
            NoSpeech: the encoder hears no voice in it.
        """
        moments = list(self._moments)
        if self._tail.size >= WINDOW or not moments:
            moments.append(self._model.runtime.segment_moments(self._tail))
        return self._model.heard(moments)
