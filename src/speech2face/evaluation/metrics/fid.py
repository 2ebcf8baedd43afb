"""Frechet distance between two sets of pictures, in the features of a network (Heusel et al., NeurIPS 2017)."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]


def frechet_distance(mean: Floats, covariance: Floats, other_mean: Floats, other_covariance: Floats) -> float:
    """Squared Frechet distance of two Gaussians (Dowson and Landau 1982), means (D,) and covariances (D, D).

    |m1 - m2|^2 + tr(C1 + C2 - 2 (C1 C2)^(1/2)). Lower is better, from 0, no upper end, in squared units of the
    features. The trace of the root is the sum of roots of the eigenvalues of C1^(1/2) C2 C1^(1/2), which is symmetric:
    no complex parts to cut off, and singular covariances do no harm.
    """
    values, vectors = np.linalg.eigh(covariance)
    root = (vectors * np.sqrt(np.clip(values, 0, None))) @ vectors.T
    crossed = np.linalg.eigvalsh(root @ other_covariance @ root)
    trace = np.trace(covariance) + np.trace(other_covariance) - 2 * np.sqrt(np.clip(crossed, 0, None)).sum()
    return max(float(((mean - other_mean) ** 2).sum() + trace), 0.0)


def fid(features: ArrayLike, other: ArrayLike) -> float:
    """Frechet distance of two sets of features, (pictures, D) and (others, D), at least two pictures each, else NaN.

    Lower is better; 0 for the same set. It has a bias that falls as one over the number of pictures, so that sets are
    only compared at the same number, and beside two parts of the reference at that number; under some thousands of
    pictures, or fewer than D, its value means nothing by itself. One picture for everybody earns |m1 - m2|^2 + tr C,
    C being the covariance of the reference.

    With fewer pictures than features the root is had from the pictures: with centred rows A and B, C1 = A'A and
    C2 = B'B, and tr (C1 C2)^(1/2) is the sum of the singular values of A B'.
    """
    first, second = np.asarray(features, np.float64), np.asarray(other, np.float64)
    assert first.ndim == second.ndim == 2
    assert first.shape[1] == second.shape[1]
    if min(len(first), len(second)) < 2:
        return float("nan")
    mean, other_mean = first.mean(0), second.mean(0)
    a, b = _root(first - mean), _root(second - other_mean)
    if min(len(a), len(b)) >= a.shape[1]:
        return frechet_distance(mean, a.T @ a, other_mean, b.T @ b)
    crossed = np.linalg.svd(a @ b.T, compute_uv=False).sum()
    return max(float(((mean - other_mean) ** 2).sum() + (a**2).sum() + (b**2).sum() - 2 * crossed), 0.0)


def _root(centred: Floats) -> Floats:
    """Rows (distinct pictures, D) whose product with themselves is the unbiased covariance, as in the authors' code.

    Rows that are there several times stand once with that weight: sets of a few mean faces cost next to nothing.
    """
    first: dict[bytes, int] = {}  # numpy's unique would sort the rows, which takes longer than the distance
    places = np.array([first.setdefault(row.tobytes(), number) for number, row in enumerate(centred)])
    times = np.bincount(places, minlength=len(centred))
    distinct = times > 0
    return np.asarray(centred[distinct] * np.sqrt(times[distinct] / (len(centred) - 1))[:, None])
