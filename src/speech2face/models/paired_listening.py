"""The paired model's encoder on speech as it comes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from speech2face.audio.spectrogram import FloatArray

if TYPE_CHECKING:
    from speech2face.models.paired_model import PairedHearing, PairedModel


class PairedListening:
    """One speaker's speech so far."""

    def __init__(self, model: PairedModel) -> None:
        self._model = model
        self._speech = np.zeros(0, np.float32)

    def push(self, speech: FloatArray) -> None:
        """Hear the next stretch, (samples,)."""
        self._speech = np.concatenate([self._speech, speech])

    def hearing(self) -> PairedHearing:
        """What is read from all speech so far."""
        return self._model.hear(self._speech)
