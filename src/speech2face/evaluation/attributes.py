"""How right the attribute readings of a voice are; each with direction, range and what a cheat scores.

The cheat of all of them is a constant answer.
"""

import numpy as np
from scipy.stats import spearmanr


def balanced_accuracy(predicted: np.ndarray, reference: np.ndarray) -> float:
    """Mean of the two classes' recalls, (speakers,) bool twice; higher is better, 0..1, chance and cheat 0.5."""
    recalls = [
        float(np.mean(predicted[reference == value] == value)) for value in (False, True) if (reference == value).any()
    ]
    return float(np.mean(recalls)) if len(recalls) == 2 else float("nan")


def spearman(predicted: np.ndarray, reference: np.ndarray) -> float:
    """Rank correlation, (speakers,) twice; higher is better, -1..1, chance 0, a constant scores 0."""
    if np.ptp(predicted) == 0 or np.ptp(reference) == 0:
        return 0.0
    return float(spearmanr(predicted, reference).statistic)


def mean_absolute_error(predicted: np.ndarray, reference: np.ndarray) -> float:
    """Mean absolute error, (speakers,) twice; lower is better, from 0; the cheat is the median age for everybody."""
    return float(np.mean(np.abs(predicted - reference)))


def coverage(low: np.ndarray, high: np.ndarray, reference_low: np.ndarray, reference_high: np.ndarray) -> float:
    """Share of speakers whose age lies in the stated interval, (speakers,) each.

    A reference that is itself an interval (a decade) counts by the share of it inside, its ages taken as equally
    likely; the stated share is best, the cheat of an endless interval scores 1.
    """
    inside = np.minimum(high, reference_high) - np.maximum(low, reference_low)
    return float(np.mean(np.clip(inside, 0, None) / (reference_high - reference_low)))
