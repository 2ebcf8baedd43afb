"""Twelve measurements of a face by its 68 landmarks, and how they go together in two pictures of it (paper's Figure 5).

Source: Oh et al., CVPR 2019, section 4.2 and Figure 5c; definitions after Farkas (1994) as in Merler et al. (2019),
"Diversity in Faces", table 2. The paper's landmarker (DEST) had points of its own; here the nearest ones of the iBUG
scheme stand for them, and the nose's area is width times height, the paper not saying how it took it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from speech2face.face.landmarks import COUNT, LEFT_EYE, RIGHT_EYE

Shapes = NDArray[np.float64]
Floats = NDArray[np.float64]
SUBNASALE, NASION = 33, 27
WING_LEFT, WING_RIGHT = 31, 35
LIP_PEAK_LEFT, LIP_PEAK_RIGHT = 50, 52
UPPER_LIP, LOWER_LIP = 51, 57
STOMION = (62, 66)  # where closed lips meet: the middle of the inner ones
MOUTH_LEFT, MOUTH_RIGHT = 48, 54
GNATHION = 8
JAW_LEFT, JAW_RIGHT = 4, 12
FACE_LEFT, FACE_RIGHT = 1, 15
INNER_EYES, OUTER_EYES = (39, 42), (36, 45)


@dataclass(frozen=True)
class Measurement:
    """One measurement of shapes (faces, 68, 2), with what the paper found."""

    name: str
    title: str
    definition: str
    """By Farkas's points, then by iBUG numbers."""
    measure: Callable[[Shapes], Floats]
    published: float
    """Pearson's r of face-to-face and voice-to-face pictures, Figure 5c."""
    dimension: int
    """1 a length, 2 an area, 0 a ratio: what the size of the picture does to it."""


def _middle(shapes: Shapes, pair: tuple[int, int]) -> Shapes:
    return np.asarray(shapes[:, pair].mean(1))


def _between(first: Shapes, second: Shapes) -> Floats:
    return np.asarray(np.linalg.norm(first - second, axis=-1))


def _length(first: int, second: int) -> Callable[[Shapes], Floats]:
    return lambda shapes: _between(shapes[:, first], shapes[:, second])


def _ratio(above: Callable[[Shapes], Floats], below: Callable[[Shapes], Floats]) -> Callable[[Shapes], Floats]:
    def share(shapes: Shapes) -> Floats:
        lower = below(shapes)
        return np.asarray(above(shapes) / np.where(lower > 0, lower, np.nan))

    return share


def _to_stomion(point: int) -> Callable[[Shapes], Floats]:
    return lambda shapes: _between(shapes[:, point], _middle(shapes, STOMION))


def _lateral_lips(shapes: Shapes) -> Floats:
    left = _between(shapes[:, WING_LEFT], shapes[:, LIP_PEAK_LEFT])
    return np.asarray((left + _between(shapes[:, WING_RIGHT], shapes[:, LIP_PEAK_RIGHT])) / 2)


_JAW = _length(JAW_LEFT, JAW_RIGHT)
_NOSE_HEIGHT, _NOSE_WIDTH = _length(NASION, SUBNASALE), _length(WING_LEFT, WING_RIGHT)
_MOUTH = _length(MOUTH_LEFT, MOUTH_RIGHT)
MEASUREMENTS = (
    Measurement("upper_lip_height", "Upper lip height", "sn-sto: 33 to mid(62, 66)", _to_stomion(SUBNASALE), 0.16, 1),
    Measurement(
        "lateral_upper_lip_heights",
        "Lateral upper lip heights",
        "sbal-ls', mean of both sides: 31 to 50, 35 to 52",
        _lateral_lips,
        0.26,
        1,
    ),
    Measurement("jaw_width", "Jaw width", "go-go: 4 to 12", _JAW, 0.11, 1),
    Measurement("nose_height", "Nose height", "n-sn: 27 to 33", _NOSE_HEIGHT, 0.14, 1),
    Measurement("nose_width", "Nose width", "al-al: 31 to 35", _NOSE_WIDTH, 0.35, 1),
    Measurement("labio_oral_region", "Labio oral region", "ch-ch: 48 to 54", _MOUTH, 0.17, 1),
    Measurement(
        "mandibular_index",
        "Mandibular index",
        "(sto-gn) / (go-go): mid(62, 66) to 8 / 4 to 12",
        _ratio(_to_stomion(GNATHION), _JAW),
        0.20,
        0,
    ),
    Measurement(
        "intercanthal_index",
        "Intercanthal index",
        "(en-en) / (ex-ex): 39 to 42 / 36 to 45",
        _ratio(_length(*INNER_EYES), _length(*OUTER_EYES)),
        0.21,
        0,
    ),
    Measurement(
        "nasal_index",
        "Nasal index",
        "(al-al) / (n-sn): 31 to 35 / 27 to 33",
        _ratio(_NOSE_WIDTH, _NOSE_HEIGHT),
        0.38,
        0,
    ),
    Measurement(
        "vermilion_height_index",
        "Vermilion height index",
        "(ls-sto) / (sto-li): 51 to mid(62, 66) / mid(62, 66) to 57",
        _ratio(_to_stomion(UPPER_LIP), _to_stomion(LOWER_LIP)),
        0.29,
        0,
    ),
    Measurement(
        "mouth_face_width_index",
        "Mouth-face width index",
        "(ch-ch) / (zy-zy): 48 to 54 / 1 to 15",
        _ratio(_MOUTH, _length(FACE_LEFT, FACE_RIGHT)),
        0.20,
        0,
    ),
    Measurement(
        "nose_area",
        "Nose area",
        "nose width x nose height",
        lambda shapes: np.asarray(_NOSE_WIDTH(shapes) * _NOSE_HEIGHT(shapes)),
        0.28,
        2,
    ),
)


def interocular(shapes: Shapes) -> Floats:
    """Distance between the middles of both eyes, (faces,), in the shapes' units."""
    return _between(shapes[:, LEFT_EYE].mean(1), shapes[:, RIGHT_EYE].mean(1))


def measurements(shapes: Shapes, *, to_scale: bool = True) -> dict[str, Floats]:
    """All twelve of landmarks (faces, 68, 2), (faces,) each; NaN where a length that divides is 0.

    `to_scale` takes the distance between the eyes as the unit, so that the size of the pictures does not matter; False
    leaves pixels, as the paper's pictures of one canonical frame allow.
    """
    assert shapes.ndim == 3 and shapes.shape[1:] == (COUNT, 2)
    unit = interocular(shapes) if to_scale else np.ones(len(shapes))
    unit = np.where(unit > 0, unit, np.nan)
    return {one.name: one.measure(shapes) / unit**one.dimension for one in MEASUREMENTS}


@dataclass(frozen=True)
class Correlation:
    """Pearson's r, and how often unrelated numbers reach it."""

    r: float
    """-1..1; 0 is what unrelated faces have; one picture for everybody has none (NaN)."""
    p: float
    """Two-sided; NaN where r is."""


def correlate(x: Floats, y: Floats, *, independent: int | None = None) -> Correlation:
    """Pearson's correlation of (faces,) and (faces,), its p by Student's t with `independent` - 2 degrees of freedom.

    Clips of one speaker are no independent faces: give the number of speakers. NaN on either side is left out.
    """
    there = np.isfinite(x) & np.isfinite(y)
    a, b = x[there], y[there]
    count = len(a) if independent is None else min(independent, len(a))
    if count < 3 or np.ptp(a) == 0 or np.ptp(b) == 0:
        return Correlation(float("nan"), float("nan"))
    r = float(np.clip(np.corrcoef(a, b)[0, 1], -1, 1))
    if abs(r) == 1:
        return Correlation(r, 0.0)
    t = r * np.sqrt((count - 2) / (1 - r * r))
    return Correlation(r, float(2 * stats.t.sf(abs(t), count - 2)))


# --- Absolute ratio errors of four widths of a face, after Cross-Modal Perceptionist (Wu et al., CVPR 2022, table 1).
# There, vertices of a fitted 3-D head are measured; here the nearest landmarks of a frontal picture stand for them.
# The numbers are those of a flat stand-in: they may be compared with each other, and not with the published ones.

OUTER_EYE_CORNERS = (36, 45)
"""Between the outer corners of the eyes: the unit, as the original's OICD."""


@dataclass(frozen=True)
class Width:
    """A width of the head, as a share of the distance between the eyes' outer corners."""

    name: str
    title: str
    points: tuple[int, int]
    """iBUG numbers."""
    published: float
    """Mean error of the original's supervised model."""


WIDTHS = (
    Width("ear_ratio", "Ear ratio (ER)", (0, 16), 0.0152),
    Width("forehead_ratio", "Forehead ratio (FR), by the tails of the brows", (17, 26), 0.0186),
    Width("midline_ratio", "Midline ratio (MR)", (2, 14), 0.0169),
    Width("cheek_ratio", "Cheek ratio (CR)", (4, 12), 0.0457),
)


def width_ratios(shapes: Shapes) -> dict[str, Floats]:
    """Each width over the distance between the eyes' outer corners, of landmarks (faces, 68, 2): (faces,) each."""
    unit = np.linalg.norm(shapes[:, OUTER_EYE_CORNERS[0]] - shapes[:, OUTER_EYE_CORNERS[1]], axis=-1)
    unit = np.where(unit > 0, unit, np.nan)
    return {
        one.name: np.linalg.norm(shapes[:, one.points[0]] - shapes[:, one.points[1]], axis=-1) / unit for one in WIDTHS
    }


def absolute_ratio_error(predicted: Floats, reference: Floats) -> Floats:
    """|predicted - reference|, (faces,) each; lower is better, from 0; the mean ratio for everybody is hard to beat."""
    return np.asarray(np.abs(predicted - reference))
