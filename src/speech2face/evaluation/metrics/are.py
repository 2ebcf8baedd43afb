"""Absolute ratio errors of four widths of a face, after Cross-Modal Perceptionist (Wu et al., CVPR 2022, table 1).

There, vertices of a fitted 3-D head are measured; here the nearest landmarks of a frontal picture stand for them. The
numbers are those of a flat stand-in: they may be compared with each other, and not with the published ones.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Shapes = NDArray[np.float64]
Floats = NDArray[np.float64]

OUTER_EYES = (36, 45)
"""Between the outer corners of the eyes: the unit, as the original's OICD."""


@dataclass(frozen=True)
class Width:
    """A width of the head, as a share of the distance between the eyes' outer corners."""

    name: str
    title: str
    points: tuple[int, int]
    """iBUG numbers."""
    vertices: tuple[int, int]
    """Of the Basel face model, in the original; not used here."""
    published: float
    """Mean error of the original's supervised model."""


WIDTHS = (
    Width("ear_ratio", "Ear ratio (ER)", (0, 16), (20636, 34153), 0.0152),
    Width("forehead_ratio", "Forehead ratio (FR), by the tails of the brows", (17, 26), (1678, 42117), 0.0186),
    Width("midline_ratio", "Midline ratio (MR)", (2, 14), (2130, 15003), 0.0169),
    Width("cheek_ratio", "Cheek ratio (CR)", (4, 12), (2294, 13635), 0.0457),
)


def width_ratios(shapes: Shapes) -> dict[str, Floats]:
    """Each width over the distance between the eyes' outer corners, of landmarks (faces, 68, 2): (faces,) each."""
    unit = np.linalg.norm(shapes[:, OUTER_EYES[0]] - shapes[:, OUTER_EYES[1]], axis=-1)
    unit = np.where(unit > 0, unit, np.nan)
    return {
        one.name: np.linalg.norm(shapes[:, one.points[0]] - shapes[:, one.points[1]], axis=-1) / unit for one in WIDTHS
    }


def absolute_ratio_error(predicted: Floats, reference: Floats) -> Floats:
    """|predicted - reference|, (faces,) each; lower is better, from 0. The mean ratio for everybody is the cheat."""
    return np.asarray(np.abs(predicted - reference))
