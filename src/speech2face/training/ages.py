"""Ages as a distribution over bins, learned from intervals: a decade, an exact age, an annotator's impression."""

import numpy as np
import torch
from torch import Tensor

from speech2face.training.corpus import Speaker
from speech2face.voice.age import BIN_EDGES

EXACT_SPREAD_YEARS = 2  # an exact age is taken as itself and two years on both sides


def interval_masses(speakers: list[Speaker]) -> np.ndarray:
    """Share of each bin that lies in a speaker's age interval, (speakers, bins); all ones where no age is known."""
    masses = np.ones((len(speakers), BIN_EDGES.size - 1), np.float32)
    for row, speaker in enumerate(speakers):
        if speaker.age is None:
            continue
        low, high = speaker.age
        if high - low == 1:
            low, high = low - EXACT_SPREAD_YEARS, high + EXACT_SPREAD_YEARS
        overlap = np.minimum(high, BIN_EDGES[1:]) - np.maximum(low, BIN_EDGES[:-1])
        masses[row] = np.clip(overlap, 0, None) / np.diff(BIN_EDGES)
    return masses


def interval_loss(logits: Tensor, masses: Tensor) -> Tensor:
    """Negative log likelihood of "the age lies in this interval", (batch, bins) twice -> (batch,)."""
    return -torch.logsumexp(torch.log_softmax(logits, 1) + masses.clamp(min=1e-6).log(), 1)
