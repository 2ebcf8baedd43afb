"""Similarity alignment and generalised Procrustes analysis of landmarks (Gower 1975; Goodall 1991)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Points = NDArray[np.float64]


@dataclass(frozen=True)
class Similarity:
    """A turn, a scale and a shift of the plane, without reflection: points @ linear + shift."""

    linear: Points
    """(2, 2), scale times rotation, applied from the right."""
    shift: Points
    """(2,)"""

    @property
    def scale(self) -> float:
        """The factor by which lengths grow."""
        return float(np.sqrt(np.linalg.det(self.linear)))

    def apply(self, points: Points) -> Points:
        """Move points, (..., 2)."""
        return points @ self.linear + self.shift

    def inverse(self) -> Similarity:
        """The similarity that undoes this one."""
        linear = np.asarray(np.linalg.inv(self.linear), dtype=np.float64)
        return Similarity(linear, -self.shift @ linear)


def fit_similarity(source: Points, target: Points) -> Similarity:
    """Least-squares similarity from source to target, (points, 2) each (Umeyama 1991)."""
    assert source.shape == target.shape
    assert source.ndim == 2
    source_mean, target_mean = source.mean(0), target.mean(0)
    left, right = source - source_mean, target - target_mean
    u, singular, vt = np.linalg.svd(left.T @ right)
    sign = np.array([1.0, np.sign(np.linalg.det(u @ vt))])  # a mirror image must not count as a turn
    scale = float((singular * sign).sum() / (left**2).sum())
    linear = scale * (u * sign) @ vt
    return Similarity(linear, target_mean - source_mean @ linear)


def align(shapes: Points, target: Points, *, anchors: NDArray[np.intp] | None = None) -> Points:
    """Move every shape, (shapes, points, 2), onto the target; only the anchor points decide how."""
    chosen = np.arange(target.shape[0]) if anchors is None else anchors
    return np.stack([fit_similarity(shape[chosen], target[chosen]).apply(shape) for shape in shapes])


def generalised_procrustes(
    shapes: Points, *, anchors: NDArray[np.intp] | None = None, rounds: int = 10
) -> tuple[Points, Points]:
    """The mean shape, (points, 2), and all shapes moved onto it, (shapes, points, 2).

    The mean keeps the position, turn and mean size of the plain mean of the shapes, so that it stays in pixels.
    """
    start = shapes.mean(0)
    mean = start
    for _ in range(rounds):
        mean = align(shapes, mean, anchors=anchors).mean(0)
        mean = fit_similarity(mean, start).apply(mean)
    return mean, align(shapes, mean, anchors=anchors)
