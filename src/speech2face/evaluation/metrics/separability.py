"""How well an attribute can be told from embeddings: by a straight line, and by how they lie in clusters.

Sources: Alain and Bengio, "Understanding intermediate layers using linear classifier probes", 2016 (the line);
Rousseeuw, "Silhouettes", 1987. Both in few principal dimensions, as is usual before t-SNE.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from speech2face.evaluation.metrics.matching import Singles
from speech2face.evaluation.metrics.similarity import unit

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
