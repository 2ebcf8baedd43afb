"""The Inception score's formula (Salimans et al., NeurIPS 2016), with any classifier: the VGGFace score is one."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

SPLITS = 10  # Salimans et al.
VGGFACE_SPLITS = 5  # SF2F (Bai et al., ACM MM 2022): VGGFace2's ResNet-50, 8,631 people


def inception_score(probabilities: ArrayLike, splits: int = SPLITS) -> tuple[float, float]:
    """Mean and standard deviation over splits of exp(E KL(p(y | x) || p(y))); probabilities (pictures, classes).

    Higher is taken as better: sure of each picture, and of another class each time. 1 to the number of classes, and
    never more than the pictures of a split. One face for everybody earns 1; so do pictures of nothing, of which a
    classifier is never sure. A cheat: one clear picture a class, whoever spoke, earns the most. The same pictures earn
    less in more splits: only scores of the same number of pictures and splits are compared. NaN without pictures.
    """
    p = np.asarray(probabilities, np.float64)
    assert p.ndim == 2 and splits >= 1
    if len(p) < splits:
        return float("nan"), float("nan")
    scores = []
    for part in np.array_split(p, splits):
        mean = part.mean(0, keepdims=True)
        with np.errstate(divide="ignore", invalid="ignore"):
            terms = np.where(part > 0, part * (np.log(part) - np.log(mean)), 0.0)
        scores.append(float(np.exp(terms.sum(1).mean())))
    return float(np.mean(scores)), float(np.std(scores))


def softmax(logits: ArrayLike) -> np.ndarray:
    """Probabilities of logits (pictures, classes)."""
    values = np.asarray(logits, np.float64)
    powers = np.exp(values - values.max(1, keepdims=True))
    return np.asarray(powers / powers.sum(1, keepdims=True))
