"""The lines of a face that a drawing needs, by name, whichever landmarks they come from.

All points are (points, 2) in units of the drawing, which is `UNITS` wide and high. Left and right are the picture's.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from speech2face.errors import InvalidOption

Points = NDArray[np.float64]
UNITS = 512.0
CONTROLS, POINTS_68 = DRAWABLE_LANDMARKS = 207, 68
EYE_FACTOR = 1.08  # irises a little larger than life still look like eyes at 64 pixels


@dataclass(frozen=True, eq=False)
class Eye:
    """One eye; `upper` and `crease` run from the outer corner to the inner, `lower` back."""

    upper: Points
    lower: Points
    crease: Points
    iris: Points
    """(2,), its centre"""
    iris_radius: float
    bag: Points
    outwards: float
    """-1 where the outer corner is on the left, else 1."""


@dataclass(frozen=True, eq=False)
class FaceContours:
    """Everything that is drawn, as curves through points."""

    hair: Points
    """Silhouette from the left ear over the crown to the right one."""
    hairline: Points
    """From the left temple to the right one."""
    jaw: Points
    """From under the left ear over the chin to the right one."""
    temples: tuple[Points, Points]
    """Where the face meets hair and ear, downwards; left, right."""
    ears: tuple[Points, Points]
    """Closed with the temple; left, right."""
    eyes: tuple[Eye, Eye]
    brows: tuple[Points, Points]
    """Closed."""
    bridge: Points
    """The shaded side of the nose, from its root down to the wing."""
    wings: tuple[Points, Points]
    nostrils: tuple[Points, Points]
    """(2, 2): outer and inner end."""
    nose_base: Points
    nose_light: Points
    upper_lip: Points
    """Its upper edge, left to right."""
    lip_line: Points
    """Left to right, with the corners."""
    lower_lip: Points
    """Its lower edge, right to left."""
    folds: tuple[Points, Points]
    """From nose to mouth, downwards."""
    neck: tuple[Points, Points]
    """Downwards, from behind the jaw to the shirt."""
    shoulders: tuple[Points, Points]
    """From the shirt's neckline outwards."""
    cheeks: Points
    """(2, 2), middle of both."""

    @property
    def width(self) -> float:
        """Of the face between the ends of the jaw."""
        return float(self.jaw[-1, 0] - self.jaw[0, 0])

    @property
    def centre(self) -> float:
        """x of the chin."""
        return float(self.jaw[len(self.jaw) // 2, 0])


def face_contours(landmarks: NDArray[np.floating], pixels: int) -> FaceContours:
    """The contours of landmarks (landmarks, 2) in pixels of a square picture.

    The starter's control points (207) and the 68 points of dlib are known; where a landmark set does not hold hair,
    ears and neck, they follow the proportions of the face.

    Raises:
        InvalidOption: landmarks of another kind.
    """
    points = (np.asarray(landmarks, np.float64) + 0.5) * (UNITS / pixels)
    if len(points) == CONTROLS:
        return _of_controls(points)
    if len(points) == POINTS_68:
        return _of_points68(points)
    raise InvalidOption(
        f"a face of {len(points)} landmarks cannot be drawn; models of {CONTROLS} or {POINTS_68} landmarks can"
    )


def _of_controls(p: Points) -> FaceContours:
    """Numbering of the Face Research Lab London Set without its head template, then head and shoulders."""

    def at(*numbers: int) -> Points:
        return p[list(numbers)]

    def eye(
        upper: tuple[int, ...],
        lower: tuple[int, ...],
        iris: range,
        crease: tuple[int, ...],
        bag: tuple[int, ...],
        outwards: float,
    ) -> Eye:
        ring = p[iris]
        centre = ring.mean(0)
        radius = float(np.linalg.norm(ring - centre, axis=1).mean()) * EYE_FACTOR
        return Eye(at(*upper), at(*lower), at(*crease), centre, max(radius, 7.0), at(*bag), outwards)

    return FaceContours(
        hair=p[178:197],
        hairline=p[134:145],
        jaw=p[125:134],
        temples=(at(109, 110, 111), at(112, 113, 114)),
        ears=(at(109, 115, 116, 117, 118, 119, 111), at(112, 120, 121, 122, 123, 124, 114)),
        eyes=(
            eye((18, 19, 20, 21, 22), (30, 29, 28), range(2, 10), (34, 35, 36, 37, 38), (46, 45, 44), -1.0),
            eye((27, 26, 25, 24, 23), (31, 32, 33), range(10, 18), (43, 42, 41, 40, 39), (47, 48, 49), 1.0),
        ),
        brows=(at(71, 72, 73, 74, 75, 76, 84, 83), at(82, 81, 80, 79, 78, 77, 85, 86)),
        bridge=at(57, 58, 59, 66, 67, 68, 69, 161, 55, 60),
        wings=(at(62, 63, 64), at(67, 68, 69)),
        nostrils=(at(64, 168), at(69, 171)),
        nose_base=at(159, 55, 161),
        nose_light=(at(53, 54) * 2 + at(59, 60)) / 3,
        upper_lip=p[87:94],
        lip_line=at(87, 94, 95, 96, 97, 98, 93),
        lower_lip=at(108, 107, 106, 105, 104),
        folds=(at(147, 148, 149), at(150, 151, 152)),
        neck=(at(126, 145, 198), at(132, 146, 203)),
        shoulders=(at(198, 199, 200), at(203, 204, 205)),
        cheeks=at(155, 158),
    )


class _Face68:
    """Lines of a face with the 68 points of iBUG 300-W, and places by proportion for what they do not hold."""

    def __init__(self, points: Points) -> None:
        self.p = points
        self.width = points[16, 0] - points[0, 0]
        self.middle = (points[0, 0] + points[16, 0]) / 2

    def arc(self, half: float, height: float, start: float, count: int) -> Points:
        """Hair from left to right: `half` its width at `start`, and `height` above it in the middle."""
        turn = np.linspace(-np.pi / 2, np.pi / 2, count)
        lift = np.clip(np.cos(turn), 0, 1) ** 0.85  # a little squarer than an ellipse, as heads are
        return np.stack([self.middle + half * np.sin(turn), start - height * lift], axis=1)

    def eye(self, corner: int, upper: list[int], inner: int, lower: list[int], outwards: float) -> Eye:
        """An eye of its corners and lids; iris, crease and bag are placed by its size."""
        p = self.p
        top_line = p[[corner, *upper, inner]]
        length = float(np.linalg.norm(p[inner] - p[corner]))
        open_by = float(np.abs(p[lower, 1].mean() - p[upper, 1].mean()))
        centre = p[[*upper, *lower]].mean(0)
        crease = top_line - [0.0, 0.22 * length]
        crease[0, 1] += 0.12 * length
        bag = np.stack([p[inner], p[lower].mean(0), p[corner]]) + np.array([0.0, 0.42 * length])
        return Eye(top_line, p[lower], crease, centre, max(0.26 * length, 0.55 * open_by), bag, outwards)

    def brow(self, line: Points) -> Points:
        """A closed brow under its upper line, given from the tail inwards."""
        under = line[::-1] + np.array([[0.0, 0.048 * self.width * t] for t in (0.9, 1.0, 0.8, 0.55, 0.1)])
        return np.concatenate([line, under])

    def ear(self, number: int, outwards: float) -> Points:
        """An ear beside the upper end of the jaw."""
        start, end = self.p[number], self.p[2 if number == 0 else 14]
        reach = np.array([outwards * 0.085 * self.width, 0.0])
        bulges = ((-0.2, 0.75), (0.25, 1.0), (0.6, 0.8), (0.95, 0.45))
        return np.array([start, *(start + (end - start) * t + reach * bulge for t, bulge in bulges), end])

    def fold(self, wing: int, corner: int, outwards: float) -> Points:
        """The fold from a wing of the nose to a corner of the mouth."""
        start = self.p[wing] + [outwards * 0.05 * self.width, 0.0]
        end = self.p[corner] + [outwards * 0.06 * self.width, 0.0]
        return np.stack([start, (start + end) / 2 + [outwards * 0.025 * self.width, 0.0], end])

    def neck(self, number: int, outwards: float) -> Points:
        """One side of the neck, from the jaw down to the shirt."""
        chin, half = self.p[8, 1], 0.37 * self.width
        low = chin + 0.24 * self.width
        below = ((half, chin), (half * 1.08, low - 12), (half * 1.35, low))
        return np.array([self.p[number], *([self.middle + outwards * aside, down] for aside, down in below)])

    def shoulder(self, neck: Points, outwards: float) -> Points:
        """A shoulder from the end of a side of the neck outwards."""
        falls = ((0.0, 0.0), (0.35, 0.12), (0.75, 0.34))
        return np.array([neck[-1] + [outwards * aside * self.width, down * self.width] for aside, down in falls])

    def nose(self) -> dict[str, Any]:
        """The lines of the nose, by their names in `FaceContours`."""
        p = self.p
        bridge = [p[27] + [3, 0], p[28] + [4, 0], p[29] + [5, 0], p[30] + [0.05 * self.width, 0], p[35] - [0, 4]]
        return {
            "bridge": np.stack([*bridge, p[35], p[34], p[33], p[30] + [2, 4]]),
            "wings": (
                np.stack([p[31] + [-2, -7], p[31] + [-2, 0], p[31] + [2, 4]]),
                np.stack([p[35] + [2, -7], p[35] + [2, 0], p[35] + [-2, 4]]),
            ),
            "nostrils": (np.stack([p[31] + [3, 1], p[32] + [2, 0]]), np.stack([p[35] - [3, -1], p[34] - [2, 0]])),
            "nose_base": p[32:35],
            "nose_light": np.stack([p[29], p[30]]) - [2.0, 0.0],
        }


def _of_points68(p: Points) -> FaceContours:
    """Numbering of iBUG 300-W. Hair, ears, neck and shoulders are placed by proportion: nothing was seen of them."""
    face = _Face68(p)
    width, brow_y, temple_y = face.width, p[17:27, 1].mean(), (p[0, 1] + p[16, 1]) / 2
    top = brow_y - 0.95 * (p[33, 1] - brow_y)  # the face's thirds: hairline to brow is brow to nose
    neck = face.neck(4, -1.0), face.neck(12, 1.0)
    return FaceContours(
        hair=face.arc(0.56 * width, temple_y - top + 0.22 * width, temple_y, 19),
        hairline=face.arc(0.5 * width, temple_y - top, temple_y - 0.02 * width, 13)[1:-1],
        jaw=p[2:15],
        temples=(p[[0, 1]], p[[16, 15]]),
        ears=(face.ear(0, -1.0), face.ear(16, 1.0)),
        eyes=(face.eye(36, [37, 38], 39, [40, 41], -1.0), face.eye(45, [44, 43], 42, [47, 46], 1.0)),
        brows=(face.brow(p[17:22]), face.brow(p[26:21:-1])),
        upper_lip=p[48:55],
        lip_line=np.concatenate([p[48:49], (p[61:64] + p[67:64:-1]) / 2, p[54:55]]),
        lower_lip=p[55:60],
        folds=(face.fold(31, 48, -1.0), face.fold(35, 54, 1.0)),
        neck=neck,
        shoulders=(face.shoulder(neck[0], -1.0), face.shoulder(neck[1], 1.0)),
        cheeks=np.stack([(p[3] + p[31]) / 2, (p[13] + p[35]) / 2]) - [0.0, 0.04 * width],
        **face.nose(),
    )


# --- What an illustrator changes, so that a woman, a man and a child are told apart in a small picture.

MAN_JAW, WOMAN_JAW = 0.01, 0.14  # how much narrower a chin is drawn than it lies on the canonical face
CHILD_SHORTER, CHILD_LOWER = 0.24, 20.0  # share of the face under the eyes; units that the features sink
LOWERED_LINES = ("bridge", "nose_base", "nose_light", "upper_lip", "lip_line", "lower_lip", "cheeks")
LOWERED_PAIRS = ("ears", "wings", "nostrils", "folds", "brows")


def stylised(c: FaceContours, *, femininity: float, child: float) -> FaceContours:
    """The contours with a jaw by femininity, 0 to 1, and with the proportions of a child's face, 0 none to 1 all."""
    top, chin = c.temples[0][0, 1], c.jaw[len(c.jaw) // 2, 1]
    eyes = float(c.eyes[0].iris[1] + c.eyes[1].iris[1]) / 2

    def lowered(points: Points) -> Points:
        """A child's features sit lower under a higher forehead, and nearer to each other."""
        below = points[:, 1] - eyes
        y = eyes + np.where(below > 0, below * (1 - CHILD_SHORTER * child), below) + CHILD_LOWER * child
        return np.stack([points[:, 0], y], axis=1)

    def shaped(points: Points) -> Points:
        """Narrower below for a woman; a child's cheeks are full."""
        down = np.clip((points[:, 1] - top) / (chin - top), 0, 1)
        slimmer = (MAN_JAW + (WOMAN_JAW - MAN_JAW) * femininity) * (1 - 0.5 * child) * down**1.5
        x = c.centre + (points[:, 0] - c.centre) * (1 - slimmer + 0.07 * child * np.sin(np.pi * down))
        return np.stack([x, lowered(points)[:, 1]], axis=1)

    def eye(one: Eye) -> Eye:
        lines = {name: lowered(getattr(one, name)) for name in ("upper", "lower", "crease", "bag")}
        return Eye(iris=lowered(one.iris[None])[0], iris_radius=one.iris_radius, outwards=one.outwards, **lines)

    changed: dict[str, Any] = {name: lowered(getattr(c, name)) for name in LOWERED_LINES}
    for name in LOWERED_PAIRS:
        left, right = getattr(c, name)
        changed[name] = (lowered(left), lowered(right))
    temples = shaped(c.temples[0]), shaped(c.temples[1])
    return replace(c, jaw=shaped(c.jaw), temples=temples, eyes=(eye(c.eyes[0]), eye(c.eyes[1])), **changed)


JAW_DROP = 15.0  # units that the chin of the widest mouth sinks


def opened(points: Points, c: FaceContours, jaw: float) -> Points:
    """Points of a face at rest as they lie with the jaw open, 0 to 1: they sink the more, the nearer to the chin."""
    mouth, chin = float(c.lip_line[:, 1].mean()), c.jaw[len(c.jaw) // 2, 1]
    share = np.clip((points[:, 1] - mouth + 40) / (chin - mouth + 40), 0, 1) ** 1.5
    return np.asarray(points + np.stack([0 * share, JAW_DROP * jaw * share], axis=1))
