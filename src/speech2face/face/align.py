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


# --------------------------------------------------------------------------------------------------
# Thin-plate spline in the plane as one linear map from displacements of control points (Bookstein 1989).
# --------------------------------------------------------------------------------------------------


def border_points(size_pixels: float, *, margin_pixels: float, per_side: int) -> Points:
    """Points around the picture, outside it by the margin, that hold the spline still, (4 * per_side, 2)."""
    steps = np.linspace(-margin_pixels, size_pixels + margin_pixels, per_side + 1)[:-1]
    low, high = np.full(per_side, -margin_pixels), np.full(per_side, size_pixels + margin_pixels)
    back = size_pixels - steps
    return np.concatenate(
        [np.stack(pair, axis=-1) for pair in ((steps, low), (high, steps), (back, high), (low, back))]
    )


def _kernel(points: Points, controls: Points) -> Points:
    """r^2 log r between points and controls, (points, controls)."""
    squared = ((points[:, None] - controls[None]) ** 2).sum(-1)
    return np.asarray(0.5 * squared * np.log(np.maximum(squared, 1e-12)))


def spline_map(controls: Points, points: Points, *, fixed: Points, stiffness: float = 0.0) -> Points:
    """The matrix, (points, controls), that turns displacements of the controls into displacements of the points.

    controls (controls, 2) move, fixed (fixed, 2) stay. stiffness 0 passes exactly through all displacements; a
    greater one gives way where neighbouring controls disagree, which is what keeps near-coincident ones from folding.
    """
    everything = np.concatenate([controls, fixed])
    scale = float(np.ptp(everything, axis=0).max())  # kernel values near one keep the system well conditioned
    everything, points = everything / scale, points / scale
    count = len(everything)
    affine = np.concatenate([np.ones((count, 1)), everything], axis=1)
    system = np.zeros((count + 3, count + 3))
    system[:count, :count] = _kernel(everything, everything) + stiffness * np.eye(count)
    system[:count, count:], system[count:, :count] = affine, affine.T
    unit = np.zeros((count + 3, len(controls)))
    unit[: len(controls)] = np.eye(len(controls))
    weights = np.linalg.solve(system, unit)
    basis = np.concatenate([_kernel(points, everything), np.ones((len(points), 1)), points], axis=1)
    return np.asarray(basis @ weights)


def pixel_grid(size_pixels: int, nodes: int) -> Points:
    """Pixel coordinates (x, y) of a nodes x nodes grid over the centres of the picture's pixels, (nodes**2, 2)."""
    steps = (np.arange(nodes) + 0.5) * (size_pixels / nodes) - 0.5
    across, down = np.meshgrid(steps, steps)
    return np.stack([across.ravel(), down.ravel()], axis=-1)


def bilinear(picture: NDArray[np.floating], points: Points) -> NDArray[np.float64]:
    """Values of a picture (height, width, channels) at points (points, 2), edges repeated: (points, channels)."""
    inside = np.clip(points, 0.0, np.array(picture.shape[1::-1]) - 1.0 - 1e-6)
    low = inside.astype(np.intp)
    right, down = (inside - low).T[..., None]
    x, y = low.T
    above = picture[y, x] * (1 - right) + picture[y, x + 1] * right
    below = picture[y + 1, x] * (1 - right) + picture[y + 1, x + 1] * right
    return np.asarray(above * (1 - down) + below * down)
