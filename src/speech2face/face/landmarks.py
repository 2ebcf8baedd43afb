"""The 189 hand-placed landmarks of the Face Research Lab London Set (DeBruine and Jones 2017), and their mirror."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from speech2face.face.alignment import Points, fit_similarity

COUNT = 189
PUPILS = (0, 1)
INNER_LIPS = ((94, 99), (95, 100), (96, 101), (97, 102), (98, 103))
"""Upper and lower inner lip: one line in a closed mouth."""
HEAD_TEMPLATE = tuple(range(146, 157))
"""Left on the template around the head, not placed on anything seen: neither aligned nor warped."""
HAIRLINE = tuple(range(134, 145))
EARS = tuple(range(115, 125))
NECK = (145, 157, 183, 184)
JAW = tuple(range(125, 134))
INNER_FACE = tuple(k for k in range(COUNT) if k not in {*HEAD_TEMPLATE, *HAIRLINE, *EARS, *NECK})
"""Points that decide the similarity alignment."""


def close_mouths(shapes: Points) -> Points:
    """Join upper and lower inner lip in their middle: shapes (shapes, 189, 2) in the same order.

    Two controls of a spline on one spot that move apart would fold the picture there.
    """
    closed = shapes.copy()
    for upper, lower in INNER_LIPS:
        closed[:, upper] = closed[:, lower] = (shapes[:, upper] + shapes[:, lower]) / 2
    return closed


def mirror_pairs(shapes: Points, *, rounds: int = 10) -> NDArray[np.intp]:
    """For each landmark the one it becomes in a mirror, (landmarks,); found from the shapes (shapes, landmarks, 2).

    The mean shape is reflected, moved onto itself and matched by a least-squares assignment. One lopsided face does
    not sway a mean, and points that lie nearly on one spot (a pupil in its iris) still get partners one to one.
    """
    from scipy.optimize import linear_sum_assignment  # needed in training only; the base install has no scipy

    mean = shapes.mean(0)
    reflected = mean * np.array([-1.0, 1.0])
    moved = reflected - reflected.mean(0) + mean.mean(0)
    partner = np.arange(len(mean))
    for _ in range(rounds):
        squared = ((moved[:, None] - mean[None]) ** 2).sum(-1)
        partner = linear_sum_assignment(squared + squared.T)[1]
        moved = fit_similarity(reflected, mean[partner]).apply(reflected)
    if not np.array_equal(partner[partner], np.arange(len(mean))):
        raise ValueError("the landmarks have no mirror pairs: found a partner whose partner is another point")
    return np.asarray(partner, dtype=np.intp)


def mirror(shapes: Points, pairs: NDArray[np.intp], width_pixels: float) -> Points:
    """Shapes, (..., landmarks, 2), as seen in a mirror; x runs from -0.5 to width - 0.5 at the pictures' edges."""
    swapped = np.take(shapes, pairs, axis=-2)
    return np.stack([width_pixels - 1 - swapped[..., 0], swapped[..., 1]], axis=-1)
