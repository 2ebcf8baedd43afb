"""The 68 landmarks of the iBUG scheme (Sagonas et al. 2013): who finds them, and what they say about a face.

dlib's predictor was trained on iBUG 300-W, whose licence excludes commercial use: so does what is made with it. Another
predictor of the same points can stand in its place.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from speech2face.errors import InvalidOption, SeveralFaces
from speech2face.face.appearance import Points, border_points, fit_similarity, generalised_procrustes, spline_map
from speech2face.face.detect import (
    SIXTY_EIGHT_POINT_FILE,
    DlibDetector,
    DlibPoints,
    FaceBox,
    FaceDetector,
    Picture,
    check_sole,
)
from speech2face.inputs import read_json

COUNT = 68
JAW = slice(0, 17)
NOSE_TIP, CHIN = 30, 8
LEFT_EYE, RIGHT_EYE = slice(36, 42), slice(42, 48)  # left and right in the picture
MOUTH_CORNERS = (60, 64)  # of the inner lips
INNER_LIPS = ((61, 67), (62, 66), (63, 65))  # upper and lower
EYE_LIDS = ((1, 5), (2, 4))  # upper and lower, counted from the eye's first corner
EYE_CORNERS = (0, 3)


class FaceLandmarker(Protocol):
    """Anything that finds the 68 points of a face whose box is known."""

    def find(self, picture: Picture, box: FaceBox) -> Points:
        """(68, 2), (x, y) in pixels of the picture (height, width, 3), pixel centres at integers."""
        ...


class DlibLandmarker(DlibPoints):
    """dlib's predictor of the 68 points; not for commercial use, see the module."""

    def __init__(self) -> None:
        super().__init__(SIXTY_EIGHT_POINT_FILE)


def eyes(points: Points) -> Points:
    """Centres of the eye on the picture's left and of the other, (2, 2)."""
    return np.stack([points[LEFT_EYE].mean(0), points[RIGHT_EYE].mean(0)])


def eye_opening(points: Points) -> float:
    """Height over width of the less open eye, the eye aspect ratio of Soukupova and Cech (2016): shut under 0.2."""
    return min(_openness(points[LEFT_EYE]), _openness(points[RIGHT_EYE]))


def _openness(eye: Points) -> float:
    heights = [np.linalg.norm(eye[upper] - eye[lower]) for upper, lower in EYE_LIDS]
    width = np.linalg.norm(eye[EYE_CORNERS[0]] - eye[EYE_CORNERS[1]])
    return float(np.mean(heights) / max(width, 1e-9))


def mouth_opening(points: Points) -> float:
    """Height over width of what lies between the inner lips; 0 in a shut mouth."""
    heights = [np.linalg.norm(points[upper] - points[lower]) for upper, lower in INNER_LIPS]
    width = np.linalg.norm(points[MOUTH_CORNERS[0]] - points[MOUTH_CORNERS[1]])
    return float(np.mean(heights) / max(width, 1e-9))


# --------------------------------------------------------------------------------------------------
# Find the 68 landmarks of a picture's one face, asking again at other sizes where a detector passes it over.
# A clip that counts as without a face should do so for its picture's sake, not for the size it was searched at; and a
# small picture is enlarged before its landmarks are placed, which dlib rounds to whole pixels.
# --------------------------------------------------------------------------------------------------

SEARCHED_PIXELS = (320, 400, 512, 768)
"""Longest side that is searched, one after the other until a face is found."""
FINE_PIXELS = 1024
"""Longest side on which landmarks are placed. On faces drawn at 224 and at 512 pixels the same lips' measurements
correlate by 0.46 where dlib works on the picture as it is, by 0.73 at 640 and by 0.86 here."""


class FacePointFinder:
    """Detector and landmarker in one; dlib's where none is given (its 68 points are not for commercial use)."""

    def __init__(self, detector: FaceDetector | None = None, landmarker: FaceLandmarker | None = None) -> None:
        """Raises:
        MissingExtra: dlib is not installed.
        """
        self._detector = DlibDetector(enlargements=0) if detector is None else detector
        self._landmarker = DlibLandmarker() if landmarker is None else landmarker

    def find(self, picture: Picture) -> Points | None:
        """(68, 2) in pixels of the picture (height, width, 3), pixel centres at integers; None without a face.

        Raises:
            SeveralFaces: more than one person could be meant.
        """
        box = find_box(picture, self._detector)
        if box is None:
            return None
        fine = _resized(picture, FINE_PIXELS)
        points = self._landmarker.find(fine, _scaled(box, max(fine.shape) / max(picture.shape)))
        scale = np.array(picture.shape[1::-1]) / np.array(fine.shape[1::-1])
        return np.asarray((points + 0.5) * scale - 0.5)


def drawn_points(finder: FacePointFinder, picture: Picture) -> Points | None:
    """The landmarks (68, 2) of a face that was drawn; None where none is seen in it, or more than one."""
    try:
        return finder.find(picture)
    except SeveralFaces:
        return None


def find_box(picture: Picture, detector: FaceDetector) -> FaceBox | None:
    """The box of the one face in pixels of the picture (height, width, 3), None without a face.

    Raises:
        SeveralFaces: more than one person could be meant.
    """
    for pixels in SEARCHED_PIXELS:
        searched = _resized(picture, pixels)
        if boxes := detector.detect(searched):
            check_sole(boxes)
            return _scaled(boxes[0], max(picture.shape) / max(searched.shape))
    return None


def _scaled(box: FaceBox, factor: float) -> FaceBox:
    return FaceBox(*(round(side * factor) for side in (box.left, box.top, box.right, box.bottom)))


def _resized(picture: Picture, pixels: int) -> Picture:
    """The picture with its longest side so many pixels."""
    factor = pixels / max(picture.shape[:2])
    if factor == 1.0:
        return picture
    size = (max(1, round(picture.shape[1] * factor)), max(1, round(picture.shape[0] * factor)))
    return np.asarray(Image.fromarray(picture).resize(size, Image.Resampling.LANCZOS), dtype=np.uint8)


# --------------------------------------------------------------------------------------------------
# Where a head looks, from its 68 landmarks: scaled orthography (Tomasi and Kanade 1992) of an average head.
# An estimate: nobody's nose is the average one. Of 102 people who look straight ahead it says 3 degrees aside and 7
# up or down, in the root mean square. Enough to leave out what is turned away.
# --------------------------------------------------------------------------------------------------

# Points that expression hardly moves, in mm: x to the picture's right, y down, z towards the camera. Rounded from
# common adult measurements (Farkas 1994): pupils 63 apart, eyes' outer corners 88, mouth 52.
AVERAGE_HEAD = {
    36: (-44, 0, 0), 45: (44, 0, 0),  # outer corners of the eyes
    39: (-18, 1, 8), 42: (18, 1, 8),  # inner ones
    27: (0, -5, 20), 30: (0, 30, 44), 33: (0, 44, 30),  # bridge, tip and base of the nose
    48: (-26, 67, 17), 54: (26, 67, 17),  # corners of the mouth
}  # fmt: skip
ASIDE_GAIN = 1.2
"""By which the sine of a turn aside comes out too large with dlib's landmarks: they move on as if the head were turned
further. Measured with photographs turned by known angles: 20, 25 and 30 degrees aside came out as 24, 33 and 38, while
turns down came out right (benchmarks/head_pose.csv)."""
_PLACES = list(AVERAGE_HEAD)
_HEAD = np.array(list(AVERAGE_HEAD.values()), dtype=np.float64)
_HEAD -= _HEAD.mean(0)
_TO_AXES = np.linalg.pinv(_HEAD)  # (3, points)


@dataclass(frozen=True)
class HeadPose:
    """Degrees by which a head is turned away from the camera."""

    yaw_degrees: float
    """Positive: towards the picture's right."""
    pitch_degrees: float
    """Positive: downwards."""
    roll_degrees: float
    """In the picture's plane, positive: the eye on the right lies lower."""

    @property
    def turn_degrees(self) -> float:
        """Angle between where the head looks and the camera; roll does not count, alignment undoes it."""
        x, y = np.sin(np.radians([self.yaw_degrees, self.pitch_degrees]))
        return float(np.degrees(np.arcsin(min(1.0, float(np.hypot(x, y))))))


def head_pose(points: Points) -> HeadPose:
    """Of a face with landmarks (68, 2) in pixels, (x, y), y downwards; the turn is measured in the levelled face."""
    seen = points[_PLACES]
    # The axes of the head as they appear in the picture: their shortening is the turn.
    axes = _TO_AXES @ (seen - seen.mean(0))  # (3, 2)
    eyes = points[[45, 42]].mean(0) - points[[36, 39]].mean(0)
    roll = float(np.arctan2(eyes[1], eyes[0]))
    level = axes @ np.array([[np.cos(roll), -np.sin(roll)], [np.sin(roll), np.cos(roll)]])
    scale = max(float(np.linalg.svd(axes, compute_uv=False).mean()), 1e-9)
    yaw, pitch = np.degrees(np.arcsin(np.clip(level[2] / scale / [ASIDE_GAIN, 1.0], -1, 1)))
    return HeadPose(float(yaw), float(pitch), float(np.degrees(roll)))


# --------------------------------------------------------------------------------------------------
# The 189 hand-placed landmarks of the Face Research Lab London Set (DeBruine and Jones 2017), and their mirror.
# --------------------------------------------------------------------------------------------------

HAND_PLACED_COUNT = 189
PUPILS = (0, 1)
HAND_PLACED_INNER_LIPS = ((94, 99), (95, 100), (96, 101), (97, 102), (98, 103))
"""Upper and lower inner lip: one line in a closed mouth."""
HEAD_TEMPLATE = tuple(range(146, 157))
"""Left on the template around the head, not placed on anything seen: neither aligned nor warped."""
HAIRLINE = tuple(range(134, 145))
EARS = tuple(range(115, 125))
NECK = (145, 157, 183, 184)
HAND_PLACED_JAW = tuple(range(125, 134))
INNER_FACE = tuple(k for k in range(HAND_PLACED_COUNT) if k not in {*HEAD_TEMPLATE, *HAIRLINE, *EARS, *NECK})
"""Points that decide the similarity alignment."""


def close_mouths(shapes: Points) -> Points:
    """Join upper and lower inner lip in their middle: shapes (shapes, 189, 2) in the same order.

    Two controls of a spline on one spot that move apart would fold the picture there.
    """
    closed = shapes.copy()
    for upper, lower in HAND_PLACED_INNER_LIPS:
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


# --------------------------------------------------------------------------------------------------
# Where the 468 points of the canonical face mesh lie among the 189 landmarks of the London set.
# Some mesh points name the same place as a landmark (a corner of an eye); the rest are carried along by a spline.
# --------------------------------------------------------------------------------------------------

MESH_COUNT = 468
SAME_PLACE = {
    33: 18, 133: 22, 159: 20, 145: 29, 221: 38,  # eye: outer and inner corner, lids, crease
    61: 87, 0: 90, 17: 106, 13: 96, 37: 89,  # mouth: corner, bow, lower rim, parting, peak
    2: 55, 129: 62, 98: 63,  # nose: base, wing
    105: 73, 66: 74, 107: 75, 55: 76, 53: 83,  # brow, from the tail inwards
    152: 129, 176: 128, 150: 127, 172: 126, 58: 125, 132: 111, 127: 109,  # chin and jaw to the ear
}  # fmt: skip
"""Mesh point -> landmark, on the picture's left side; the other side follows from the mirror pairs."""
MESH_STIFFNESS = 1e-3


def place_mesh(
    mesh: Points, landmarks: Points, *, landmark_pairs: np.ndarray, size_pixels: float
) -> tuple[Points, Points]:
    """Mesh shapes (faces, 468, 2) of any scale on the place of the mean landmarks (189, 2), which lie on a canvas.

    Returns the mean mesh laid exactly onto the landmarks, (468, 2), and every face's displacement from the mean mesh
    in canvas pixels, (faces, 468, 2), position, turn and size removed.
    """
    pairs = mirror_pairs(mesh)
    mean, aligned = generalised_procrustes(mesh)
    flipped = mirror(mean, pairs, 0.0)
    mean = (mean + fit_similarity(flipped, mean).apply(flipped)) / 2
    place = dict(SAME_PLACE)
    for point, landmark in SAME_PLACE.items():
        place[int(pairs[point])] = int(landmark_pairs[landmark])
    points, marks = np.array(list(place)), np.array(list(place.values()))
    to_canvas = fit_similarity(mean[points], landmarks[marks])
    laid = to_canvas.apply(mean)
    fixed = border_points(size_pixels, margin_pixels=64.0, per_side=6)
    carry = spline_map(laid[points], laid, fixed=fixed, stiffness=MESH_STIFFNESS)
    return laid + carry @ (landmarks[marks] - laid[points]), to_canvas.apply(aligned) - laid


# --- Where the points of a landmark scheme lie among the control points of the face model: 68, 189 or 468 of them.
#
# Every point is a weighted mean of controls, named by anatomy (a corner of an eye, the tip of the chin), so that no
# landmarker has its own idea of a face here. What one does otherwise is its error; `sd_pixels` says how large.

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
