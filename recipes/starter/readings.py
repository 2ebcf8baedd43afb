"""Readings of the starter's speakers from packed statistics, by channel and duration."""

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
import torch

from recipes.starter.features import Packed
from speech2face.training.pretrained import FRAMES_PER_SECOND, VoiceHead


@dataclass(frozen=True)
class Readings:
    """What the heads say of some speakers, (speakers, ...)."""

    speaker: np.ndarray  # places in the list of speakers
    seconds: np.ndarray
    gender_logit: np.ndarray
    voice_logit: np.ndarray
    child_logit: np.ndarray
    distance: np.ndarray
    age_logits: np.ndarray  # (speakers, bins)

    def where(self, kept: np.ndarray) -> "Readings":
        """The readings of some speakers, `kept` (speakers,) bool."""
        return Readings(*(getattr(self, field.name)[kept] for field in fields(self)))


def moments_of(statistics: np.ndarray, seconds: np.ndarray) -> torch.Tensor:
    """Moments of so many seconds, (batch,), with such statistics, (batch, 2 * channels) -> (batch, 3, channels)."""
    mean, deviation = torch.from_numpy(statistics).chunk(2, 1)
    frames = torch.from_numpy(seconds.astype(np.float32) * FRAMES_PER_SECOND)[:, None, None]
    return frames * torch.stack([torch.ones_like(mean), mean, deviation.square() + mean.square()], 1)


def read_packed(head: VoiceHead, packed: Packed, rows: Sequence[int], seconds: float | None = None) -> Readings:
    """Read the first `seconds` of each speaker who said as much, segments added up as in use; None reads all."""
    found = [(row, pooled) for row in rows if (pooled := packed.pooled(row, seconds)) is not None]
    lengths = np.array([heard for _, (_, heard) in found])
    with torch.inference_mode():
        said = head(moments_of(np.stack([statistics for _, (statistics, _) in found]), lengths))
    return Readings(
        np.array([row for row, _ in found]),
        lengths,
        said.gender_logit.numpy(),
        said.voice_logit.numpy(),
        said.child_logit.numpy(),
        said.distance.numpy(),
        said.age_logits.numpy(),
    )
