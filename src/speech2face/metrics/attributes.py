"""How right the attribute readings of a voice are; each with direction, range and what a trivial
baseline scores: a constant answer.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import spearmanr

from speech2face.metrics.embeddings import Floats, unit
from speech2face.metrics.matching import Singles


def balanced_accuracy(predicted: np.ndarray, reference: np.ndarray) -> float:
    """Mean of the two classes' recalls, (speakers,) bool twice; higher is better, 0..1, chance and a constant 0.5."""
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
    """Mean absolute error, (speakers,) twice; lower is better, from 0; the median for everybody earns least."""
    return float(np.mean(np.abs(predicted - reference)))


def covered(low: np.ndarray, high: np.ndarray, age: np.ndarray) -> Floats:
    """Share of each labelled age (speakers, 2) inside the stated interval (speakers,) twice; NaN where one is unknown.

    A label that is itself an interval (a decade) counts by the share of it inside, its ages taken as equally likely.
    """
    first, last = age[:, 0], np.maximum(age[:, 1], age[:, 0] + 1e-6)
    inside = np.minimum(high, last) - np.maximum(low, first)
    return np.asarray(np.clip(inside, 0, None) / (last - first))


def coverage(low: np.ndarray, high: np.ndarray, reference_low: np.ndarray, reference_high: np.ndarray) -> float:
    """Share of speakers whose age lies in the stated interval, (speakers,) each; see `covered`.

    The stated share is best; the trivial baseline of an endless interval scores 1.
    """
    return float(np.mean(covered(low, high, np.stack([reference_low, reference_high], 1))))


# --- How two readings of the same faces agree: confusion matrices as in the paper's Figure 4, and what is in them.
# Source: Oh et al., CVPR 2019, section 4.1 and Figure 4. Everything takes a matrix of counts (reference, read), which
# may be sums of weights; classes that the reference never has are rows of zeros, and are left out of what is a mean
# of rows.

Places = NDArray[np.int64]
DECADE_YEARS = 10
OLDEST_DECADE = 80
DECADES = tuple(f"{low}" for low in range(0, OLDEST_DECADE + 1, DECADE_YEARS))
"""Of apparent age, by their first year; the last one is open. The paper does not say where its decades begin."""


def decade_places(years: ArrayLike) -> Places:
    """Which of DECADES ages (clips,) fall into, -1 for NaN and below 0: 29.9 years are in the twenties."""
    ages = np.asarray(years, np.float64)
    within = np.clip(np.where(np.isnan(ages), -1.0, ages), -1.0, OLDEST_DECADE)
    return np.asarray(within // DECADE_YEARS, np.int64)


def class_places(names: Sequence[str], classes: Sequence[str]) -> Places:
    """Place of each name (clips,) among the classes, -1 where it is none of them."""
    place = {name: number for number, name in enumerate(classes)}
    return np.array([place.get(name, -1) for name in names], np.int64)


def confusion(reference: Places, read: Places, classes: int, weights: ArrayLike | None = None) -> Floats:
    """Counts (classes, classes) of clips whose reference is the row and whose reading is the column; -1 on either side
    is left out, for the caller to count. `weights` (clips,) count a clip more than once, or not at all."""
    known = (reference >= 0) & (read >= 0)
    weight = None if weights is None else np.asarray(weights, np.float64)[known]
    flat = reference[known] * classes + read[known]
    return np.bincount(flat, weight, minlength=classes * classes).astype(np.float64).reshape(classes, classes)


def row_normalised(counts: Floats) -> Floats:
    """Of each reference class, the share read as each class: rows sum to 1; a class that never occurs is a row of NaN.

    The diagonal is best at 1. A reader blind to the picture has all rows alike.
    """
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(counts / counts.sum(1, keepdims=True))


def agreement(counts: Floats) -> float:
    """trace / total: the share of clips read as their reference; higher is better, 0..1, NaN of no clips.

    Chance is `chance_agreement`; who always says the commonest class earns `majority`.
    """
    return _share(float(np.trace(counts)), float(counts.sum()))


def balanced_agreement(counts: Floats) -> float:
    """Mean of the diagonal of the row-normalised matrix over the classes that occur; higher is better, 0..1.

    A constant answer earns 1 / classes that occur, however rare these are: the paper's ages earn .25 by it.
    """
    rows = np.diagonal(row_normalised(counts))
    there = rows[np.isfinite(rows)]
    return float(there.mean()) if len(there) else float("nan")


def agreement_within_one(counts: Floats) -> float:
    """Share of clips at most one class away from their reference, for ordered classes such as decades; 0..1.

    The trivial baseline is `best_constant_within_one`: the thirties for everybody are within a decade of most adults.
    """
    near = np.abs(np.subtract.outer(np.arange(len(counts)), np.arange(len(counts)))) <= 1
    return _share(float(counts[near].sum()), float(counts.sum()))


def chance_agreement(counts: Floats) -> float:
    """sum over classes of the reference's share times the reading's: what these answers earn dealt out at random."""
    total = float(counts.sum())
    return _share(float(counts.sum(1) @ counts.sum(0)), total * total)


def chance_within_one(counts: Floats) -> float:
    """The same for being at most one class away."""
    expected = np.outer(counts.sum(1), counts.sum(0))
    return agreement_within_one(expected)


def majority(counts: Floats) -> float:
    """What the commonest class of the reference earns in `agreement`, said of everybody."""
    return _share(float(counts.sum(1).max(initial=0.0)), float(counts.sum()))


def best_constant_within_one(counts: Floats) -> float:
    """What the best constant answer earns in `agreement_within_one`."""
    rows = counts.sum(1)
    padded = np.concatenate([[0.0], rows, [0.0]])
    return _share(float((padded[:-2] + padded[1:-1] + padded[2:]).max(initial=0.0)), float(rows.sum()))


def _share(part: float, whole: float | Any) -> float:
    return part / whole if whole > 0 else float("nan")


# --- How well an attribute can be told from embeddings: by a straight line, and by how they lie in clusters.
# Sources: Alain and Bengio, "Understanding intermediate layers using linear classifier probes", 2016 (the line);
# Rousseeuw, "Silhouettes", 1987. Both in few principal dimensions, as is usual before t-SNE.

FOLDS = 5
DIMENSIONS = 50
RIDGE = 1e-2
"""Of the mean variance of a dimension: keeps the covariance invertible."""


def principal_coordinates(face_embedding: NDArray[np.floating[Any]], dimensions: int = DIMENSIONS) -> Singles:
    """Unit-length embeddings (clips, K) along their principal axes, largest variance first, (clips, <= dimensions)."""
    from sklearn.decomposition import PCA

    units = unit(face_embedding)
    most = min(dimensions, *units.shape)
    with np.errstate(invalid="ignore", divide="ignore"):  # shares of a variance of nothing
        return np.asarray(PCA(most, svd_solver="randomized", random_state=0).fit_transform(units), np.float32)


def recalled(
    coordinates: Singles, label: NDArray[np.str_], speaker: NDArray[Any], *, seed: int = 0
) -> NDArray[np.float64]:
    """Whether a linear classifier that never heard the speaker names each clip's label, (clips,) 0 or 1.

    Linear discriminant analysis with equal priors for all labels, in folds over speakers; NaN where a label has fewer
    than two speakers or is the only one. The mean of the labels' shares is the balanced accuracy: chance and any
    constant answer 1 / labels.
    """
    found = np.full(len(label), np.nan)
    names = [name for name in np.unique(label) if name != "" and len(np.unique(speaker[label == name])) > 1]
    people = np.unique(speaker)
    fold_of = np.random.default_rng(seed).permutation(len(people)) % FOLDS
    fold = fold_of[np.searchsorted(people, speaker)]
    known = np.isin(label, names)
    for number in range(FOLDS if len(names) > 1 else 0):
        learn, asked = known & (fold != number), known & (fold == number)
        if asked.any() and len(np.unique(label[learn])) == len(names):
            found[asked] = _nearest_mean(coordinates[learn], label[learn], coordinates[asked]) == label[asked]
    return found


def _nearest_mean(learn: Singles, label: NDArray[np.str_], asked: Singles) -> NDArray[np.str_]:
    """The label whose mean is nearest, in units of the spread around the means."""
    names, place = np.unique(label, return_inverse=True)
    means = np.stack([learn[place == number].mean(0, dtype=np.float64) for number in range(len(names))])
    around = learn - means[place]
    spread = around.T @ around / len(around)
    spread += RIDGE * max(np.trace(spread) / len(spread), 1e-12) * np.eye(len(spread))
    weights = np.linalg.solve(spread, means.T)  # (dimensions, labels)
    return np.asarray(names[(asked @ weights - 0.5 * (means.T * weights).sum(0)).argmax(1)])


def silhouette(coordinates: Singles, label: NDArray[np.str_]) -> NDArray[np.float64]:
    """Of each clip (clips,), -1..1: is it nearer to its own label's clips than to those of the nearest other label?

    (b - a) / max(a, b) of mean distances; higher is more separate; chance 0 or just below, 0 where all are the
    same; NaN where the label is unknown.
    """
    from sklearn.metrics import silhouette_samples

    found = np.full(len(label), np.nan)
    names, counts = np.unique(label[label != ""], return_counts=True)
    known = np.isin(label, names[counts > 1])
    if len(np.unique(label[known])) > 1:
        found[known] = silhouette_samples(coordinates[known], label[known])
    return found
