"""Readings of the starter's speakers from packed features, by channel and duration."""

from dataclasses import dataclass

import numpy as np
import torch

from recipes.starter.batches import Packed
from recipes.starter.voices import recording_moments
from speech2face.voice.compact import CompactVoiceEncoder


@dataclass(frozen=True)
class Readings:
    """What the encoder says of each speaker, (speakers, ...)."""

    gender_logit: np.ndarray
    age_logits: np.ndarray  # (speakers, bins)
    voice_logit: np.ndarray
    child_logit: np.ndarray
    embedding: np.ndarray
    seconds: np.ndarray

    def where(self, kept: np.ndarray) -> "Readings":
        """The readings of some speakers, `kept` (speakers,) bool."""
        return Readings(
            self.gender_logit[kept],
            self.age_logits[kept],
            self.voice_logit[kept],
            self.child_logit[kept],
            self.embedding[kept],
            self.seconds[kept],
        )


def read_packed(
    model: CompactVoiceEncoder, packed: Packed, rows: list[int], max_seconds: float | None = None
) -> Readings:
    """Run the encoder on the first `max_seconds` of each recording, segment by segment as in inference."""
    outputs, seconds = [], []
    with torch.inference_mode():
        for row in rows:
            mel = packed.whole(row, None if max_seconds is None else int(max_seconds * 100) - 2)
            outputs.append([value[0].numpy() for value in model.head(recording_moments(model, mel))])
            seconds.append(len(mel) / 100)
    embedding, gender, age, voice, child = (np.stack(column) for column in zip(*outputs, strict=True))
    return Readings(gender, age, voice, child, embedding, np.array(seconds))
