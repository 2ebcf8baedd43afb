"""Where the points of a landmark scheme lie among the control points of the face model: 68, 189 or 468 of them.

Every point is a weighted mean of controls, named by anatomy (a corner of an eye, the tip of the chin), so that no
landmarker has its own idea of a face here. What one does otherwise is its error; `sd_pixels` says how large.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from speech2face.errors import InvalidOption
from speech2face.face.align import Points
from speech2face.face.landmarks import COUNT, HAND_PLACED_COUNT, HEAD_TEMPLATE, MESH_COUNT, SAME_PLACE
from speech2face.inputs import read_json

HAND_PLACED = tuple(k for k in range(HAND_PLACED_COUNT) if k not in HEAD_TEMPLATE)
"""The hand-placed landmarks that are controls of the face model, in its order; the outline's points follow them."""
CONTROL_OF = {landmark: control for control, landmark in enumerate(HAND_PLACED)}
Weights = dict[int, float]


@dataclass(frozen=True, eq=False)
class LandmarkScheme:
    """Points of one kind of landmarker, as the face model sees them."""

    count: int
    """Points a face, those that say nothing included."""
    used: NDArray[np.intp]
    """(points,): numbers of those that are on the face model"""
    carry: Points
    """(points, hand-placed controls): each row a weighted mean, summing to one"""
    sd_pixels: Points
    """(points,): how far a point lies from where the face model has it, in pixels of a portrait of 512"""
    pose: Mapping[int, int]
    """Point of the 68 by which a head's pose is judged -> this scheme's own point."""
    lips: tuple[tuple[int, int], ...]
    """Inner lips, upper and lower; empty where a scheme does not tell them apart."""
    mouth_corners: tuple[int, int]


# --------------------------------------------------------------------------------------------------
# The 68 points of the iBUG scheme, on the picture's left and in the middle; the right mirrors them.
# --------------------------------------------------------------------------------------------------

LEFT_OF_68: dict[int, Weights] = {
    0: {109: 1}, 1: {110: 0.7, 185: 0.3}, 2: {186: 0.85, 111: 0.15}, 3: {111: 0.5, 125: 0.5},  # from ear to chin
    4: {125: 0.4, 126: 0.6}, 5: {126: 0.5, 127: 0.5}, 6: {127: 0.7, 128: 0.3}, 7: {128: 0.9, 129: 0.1}, 8: {129: 1},
    17: {71: 1}, 18: {72: 1}, 19: {73: 0.6, 74: 0.4}, 20: {74: 0.6, 75: 0.4}, 21: {75: 0.85, 50: 0.15},  # brow
    27: {50: 0.25, 51: 0.25, 56: 0.25, 57: 0.25}, 28: {51: 0.15, 52: 0.35, 57: 0.15, 58: 0.35}, 29: {53: 0.5, 59: 0.5},
    30: {54: 0.42, 60: 0.42, 55: 0.16},
    31: {64: 0.6, 65: 0.4}, 32: {64: 0.5, 180: 0.5}, 33: {55: 1},  # base of the nose
    36: {18: 1}, 37: {19: 0.7, 20: 0.3}, 38: {21: 0.7, 20: 0.3}, 39: {22: 1}, 40: {30: 0.6, 29: 0.4},
    41: {28: 0.6, 29: 0.4}, 48: {87: 1}, 49: {88: 1}, 50: {89: 1}, 51: {90: 1}, 57: {106: 1},
    58: {105: 0.7, 106: 0.3}, 59: {104: 0.7, 105: 0.3},
    60: {87: 0.6, 94: 0.4}, 61: {95: 1}, 62: {96: 1}, 66: {101: 1}, 67: {100: 1},
}  # fmt: skip
MIRRORED_68 = {
    **{k: 16 - k for k in range(8)}, **{k: 43 - k for k in range(17, 22)}, 31: 35, 32: 34,
    36: 45, 37: 44, 38: 43, 39: 42, 40: 47, 41: 46, 48: 54, 49: 53, 50: 52, 58: 56, 59: 55, 60: 64, 61: 63, 67: 65,
}  # fmt: skip
MIRRORED_LANDMARKS = {
    109: 112, 110: 113, 185: 187, 186: 188, 111: 114, 125: 133, 126: 132, 127: 131, 128: 130, 129: 129,
    71: 82, 72: 81, 73: 80, 74: 79, 75: 78, 50: 56, 76: 77, 83: 86, 84: 85, 64: 69, 65: 70, 180: 181, 62: 67, 63: 68,
    18: 27, 19: 26, 20: 25, 21: 24, 22: 23, 28: 33, 29: 32, 30: 31, 38: 39,
    87: 93, 88: 92, 89: 91, 104: 108, 105: 107, 94: 98, 95: 97, 100: 102, 106: 106, 90: 90, 96: 96, 55: 55,
}  # fmt: skip
JAW_SD_PIXELS, BROW_SD_PIXELS, SD_PIXELS = 8.0, 4.5, 3.0
"""Of dlib's 68 points on the London set, beside its hand-placed ones: points of the jaw slide along it."""
HAND_SD_PIXELS = 3.0  # of hand placement, and of what a model of few components leaves of a shape
HAIRLINE_SD_PIXELS = 10.0  # and ears and neck, which hair and collars hide
MESH_SD_PIXELS, MESH_JAW_SD_PIXELS = 4.0, 7.0


def _scheme_68() -> LandmarkScheme:
    rows = dict(LEFT_OF_68)
    for left, right in MIRRORED_68.items():
        rows[right] = {MIRRORED_LANDMARKS[landmark]: share for landmark, share in LEFT_OF_68[left].items()}
    sd = [JAW_SD_PIXELS if k < 17 and k != 8 else BROW_SD_PIXELS if k < 27 else SD_PIXELS for k in range(COUNT)]
    return LandmarkScheme(
        count=COUNT,
        used=np.arange(COUNT),
        carry=_carry([rows[k] for k in range(COUNT)]),
        sd_pixels=np.array(sd),
        pose={k: k for k in (36, 45, 39, 42, 27, 30, 33, 48, 54)},
        lips=((61, 67), (62, 66), (63, 65)),
        mouth_corners=(60, 64),
    )


def _scheme_189() -> LandmarkScheme:
    loose = {*range(134, 145), *range(115, 125), 145, 157, 183, 184}
    sd = [HAIRLINE_SD_PIXELS if k in loose else HAND_SD_PIXELS for k in HAND_PLACED]
    return LandmarkScheme(
        count=HAND_PLACED_COUNT,
        used=np.array(HAND_PLACED),
        carry=_carry([{k: 1.0} for k in HAND_PLACED]),
        sd_pixels=np.array(sd),
        pose={36: 18, 45: 27, 39: 22, 42: 23, 27: 51, 30: 54, 33: 55, 48: 87, 54: 93},
        lips=((95, 100), (96, 101), (97, 102)),
        mouth_corners=(87, 93),
    )


# --------------------------------------------------------------------------------------------------
# Of the 468 points of the canonical face mesh those that name the same place as a landmark.
# --------------------------------------------------------------------------------------------------

MIRRORED_MESH = {
    33: 263, 133: 362, 159: 386, 145: 374, 221: 441, 61: 291, 37: 267, 129: 358, 98: 327, 105: 334, 66: 296, 107: 336,
    55: 285, 53: 283, 176: 400, 150: 379, 172: 397, 58: 288, 132: 361, 127: 356,
}  # fmt: skip


LOOSE_MESH = (221, 127)
"""The crease above an eye and the temple: the mesh has them 6 to 9 pixels from where the London set has them."""


def _scheme_468() -> LandmarkScheme:
    marks = {point: landmark for point, landmark in SAME_PLACE.items() if point not in LOOSE_MESH}
    marks |= {MIRRORED_MESH[point]: MIRRORED_LANDMARKS[marks[point]] for point in MIRRORED_MESH if point in marks}
    marks |= {13: 96, 14: 101}  # inner lips
    jaw = {*range(109, 115), *range(125, 134)}
    return LandmarkScheme(
        count=MESH_COUNT,
        used=np.array(list(marks)),
        carry=_carry([{landmark: 1.0} for landmark in marks.values()]),
        sd_pixels=np.array([MESH_JAW_SD_PIXELS if mark in jaw else MESH_SD_PIXELS for mark in marks.values()]),
        pose={36: 33, 45: 263, 39: 133, 42: 362, 27: 168, 30: 1, 33: 2, 48: 61, 54: 291},
        lips=((13, 14),),
        mouth_corners=(78, 308),
    )


def _carry(rows: list[Weights]) -> Points:
    carry = np.zeros((len(rows), len(HAND_PLACED)))
    for row, weights in enumerate(rows):
        for landmark, share in weights.items():
            carry[row, CONTROL_OF[landmark]] += share
    return carry


@cache
def scheme_of(count: int) -> LandmarkScheme | None:
    """The scheme that has so many points a face; None where none is known."""
    made = {COUNT: _scheme_68, HAND_PLACED_COUNT: _scheme_189, MESH_COUNT: _scheme_468}.get(count)
    return None if made is None else made()


# --------------------------------------------------------------------------------------------------
# Landmarks that a user has: a JSON file with `landmarks`, points by the photograph's name, and `image_size` if known.
# --------------------------------------------------------------------------------------------------


def read_landmarks(path: Path, photograph: str, size_pixels: tuple[int, int]) -> Points:
    """The points (points, 2) of a photograph, by its name without ending, in pixels of a picture (width, height).

    A file of one face needs no name. Where it states another `image_size`, the points are scaled.

    Raises:
        InvalidOption: the file cannot be read, has no such photograph, or its points are of no known scheme.
    """
    stored = read_json(path, InvalidOption)
    faces = stored.get("landmarks") if isinstance(stored, dict) else None
    if not isinstance(faces, dict) or not faces:
        raise InvalidOption(f'{path} has no faces under "landmarks"; give points by the photograph\'s name')
    name = photograph if photograph in faces else next(iter(faces)) if len(faces) == 1 else None
    if name is None:
        raise InvalidOption(f'{path} has no landmarks of "{photograph}" among its {len(faces)} faces; add them')
    try:
        points = np.array(faces[name], np.float64)
        width, height = (float(side) for side in stored.get("image_size", size_pixels))
    except (TypeError, ValueError) as error:
        raise InvalidOption(f"{path}: the landmarks of {name!r:.80} are no points (x, y)") from error
    if points.ndim != 2 or points.shape[1] != 2 or scheme_of(len(points)) is None or not np.isfinite(points).all():
        known = f"{COUNT}, {HAND_PLACED_COUNT} or {MESH_COUNT}"
        raise InvalidOption(f"{path}: the landmarks of {name!r:.80} are no {known} points (x, y)")
    if not (width > 0 and height > 0):
        raise InvalidOption(f"{path} states an image_size of {width:g} x {height:g}; give the photograph's")
    return np.asarray((points + 0.5) * (np.array(size_pixels) / [width, height]) - 0.5)
