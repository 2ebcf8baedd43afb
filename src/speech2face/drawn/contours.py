"""The lines of a face that a drawing needs, by name, whichever landmarks they come from.

All points are (points, 2) in units of the drawing, which is `UNITS` wide and high. Left and right are the picture's.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any
from xml.etree import ElementTree

import numpy as np
from numpy.typing import NDArray
from PIL import Image

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


# --- Shapes of a drawing: smooth curves through points, tapered lines, named groups as SVG, and their pixels.
#
# Everything that is drawn is a filled path in a named group, so that both writers are short: the SVG, and the pixels.

SEGMENT = "C%.1f %.1f %.1f %.1f %.1f %.1f"
SVG = "http://www.w3.org/2000/svg"


def curve(points: Points, *, closed: bool = False, go_on: bool = False) -> str:
    """A Catmull-Rom spline through points (points, 2) as cubic Bezier segments; `go_on` draws a line to its start."""
    p = np.asarray(points, np.float64)
    around = np.concatenate([p[-1:], p, p[:1]] if closed else [p[:1], p, p[-1:]])
    slope = (around[2:] - around[:-2]) / 6.0
    ends, end_slopes = (around[2:], np.concatenate([slope[1:], slope[:1]])) if closed else (p[1:], slope[1:])
    begins = len(ends)
    segments = np.concatenate([(p + slope)[:begins], ends - end_slopes, ends], axis=1)  # (segments, 6)
    x, y = p[0]
    text = f"{'L' if go_on else 'M'}{x:.1f} {y:.1f}" + SEGMENT * begins % tuple(segments.ravel().tolist())
    return text + "Z" * closed


def area(pieces: Sequence[Points]) -> str:
    """The closed area inside smooth pieces, each joined to the next by a corner."""
    if len(pieces) == 1:
        return curve(pieces[0], closed=True)
    return curve(pieces[0]) + "".join(curve(piece, go_on=True) for piece in pieces[1:]) + "Z"


def normals(points: Points, *, closed: bool = False) -> Points:
    """Unit vectors to the left of a line's way, on a screen whose y goes down: (points, 2) -> (points, 2)."""
    if closed:
        along = np.roll(points, -1, axis=0) - np.roll(points, 1, axis=0)
    else:
        along = np.concatenate([points[1:2] - points[:1], points[2:] - points[:-2], points[-1:] - points[-2:-1]])
    length = np.maximum(np.hypot(along[:, 0], along[:, 1]), 1e-9)
    return np.stack([along[:, 1], -along[:, 0]], axis=1) / length[:, None]


def taper(count: int, first: float = 0.0, last: float = 0.0) -> NDArray[np.float64]:
    """Widths of a line drawn with a brush, 1 in the middle, `first` and `last` at its ends."""
    along = np.linspace(0, 1, count)
    ends = np.where(along < 0.5, first, last)
    return np.asarray(ends + (1 - ends) * np.sin(np.pi * along) ** 0.75)


def ribbon(points: Points, widths: NDArray[np.float64]) -> list[Points]:
    """A line of the given widths, (points,), as the two sides of an area."""
    aside = normals(points) * widths[:, None] / 2
    return [points + aside, (points - aside)[::-1]]


def smoothed(points: Points, per_segment: int = 3) -> Points:
    """More points on the same Catmull-Rom spline: (points, 2) -> (per_segment * (points - 1) + 1, 2)."""
    p = np.concatenate([2 * points[:1] - points[1:2], points, 2 * points[-1:] - points[-2:-1]])
    t = (np.arange(per_segment) / per_segment)[None, :, None]
    a, b, c, d = (p[k : len(p) - 3 + k, None] for k in range(4))
    inside = b + 0.5 * t * (c - a + t * (2 * a - 5 * b + 4 * c - d + t * (3 * (b - c) + d - a)))
    return np.concatenate([inside.reshape(-1, 2), points[-1:]])


def disc(centre: Points, radius: float, *, high: float = 1.0, count: int = 12) -> Points:
    """A closed ring of points around a centre, `high` times as high as wide."""
    turn = np.linspace(0, 2 * np.pi, count, endpoint=False)
    return centre + radius * np.stack([np.cos(turn), high * np.sin(turn)], axis=1)


class Canvas:
    """A drawing in the making: groups in groups, each moved to its own centre, paths relative to it."""

    def __init__(self, title: str, description: str) -> None:
        """Begin an empty drawing, `UNITS` wide and high; both texts are for those who cannot see it."""
        size = f"{UNITS:.0f}"
        self.root = ElementTree.Element(
            "svg", {"xmlns": SVG, "width": size, "height": size, "viewBox": f"0 0 {size} {size}", "role": "img"}
        )
        for name, text in (("title", title), ("desc", description)):
            if text:
                ElementTree.SubElement(self.root, name).text = text
        self._group, self._origin = self.root, np.zeros(2)

    @contextmanager
    def group(self, name: str, centre: Points, **data: str) -> Iterator[None]:
        """What is drawn meanwhile belongs to a group of that id, whose one transform is a move to its centre (2,)."""
        outer, before = self._group, self._origin
        rounded = np.round(centre, 1)
        x, y = rounded - before
        values = {"id": name, "transform": f"translate({x:.1f} {y:.1f})"}
        values |= {f"data-{key}": value for key, value in data.items()}
        self._group, self._origin = ElementTree.SubElement(outer, "g", values), rounded
        try:
            yield
        finally:
            self._group, self._origin = outer, before

    def fill(self, colour: str, *pieces: Points) -> None:
        """Fill the area inside smooth pieces, joined by corners."""
        self.fill_all(colour, [pieces])

    def fill_all(self, colour: str, shapes: Sequence[Sequence[Points]]) -> None:
        """Fill several such areas of one colour as one path."""
        data = "".join(area([piece - self._origin for piece in pieces]) for pieces in shapes)
        ElementTree.SubElement(self._group, "path", {"fill": colour, "d": data})

    def svg(self) -> str:
        """The file's text."""
        return ElementTree.tostring(self.root, encoding="unicode")


MOVE = re.compile(r"translate\((\S+) (\S+)\)")


def rasterise(svg: str, pixels: int) -> NDArray[np.uint8]:
    """The pixels of a drawing that a `Canvas` wrote, (pixels, pixels, 3).

    Only filled paths in moved groups are read, which is all that a drawing has: a general SVG renderer gives its
    picture as PNG alone, and packing and unpacking that took longer than the drawing itself.
    """
    import aggdraw

    picture = Image.new("RGB", (pixels, pixels))
    draw = aggdraw.Draw(picture)
    scale = pixels / UNITS

    def paint(element: ElementTree.Element, x: float, y: float) -> None:
        for child in element:
            if child.tag.endswith("}g"):
                move = MOVE.fullmatch(child.get("transform", ""))
                dx, dy = (float(move[1]), float(move[2])) if move else (0.0, 0.0)
                paint(child, x + dx, y + dy)
            elif child.tag.endswith("}path"):
                draw.settransform((scale, 0.0, x * scale, 0.0, scale, y * scale))
                brush = aggdraw.Brush(child.attrib["fill"])
                for part in child.attrib["d"].split("M")[1:]:  # it takes a second move for a line
                    draw.symbol((0, 0), aggdraw.Symbol(f"M{part}"), None, brush)

    paint(ElementTree.fromstring(svg), 0.0, 0.0)
    draw.flush()
    return np.asarray(picture)


# --- The few flat colours of a drawing, taken from the canonical face where they stand and cleaned in CIE Lab.

Lab = NDArray[np.float64]
TO_XYZ = np.array(
    [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750], [0.0193339, 0.1191920, 0.9503041]]
)
FROM_XYZ: list[list[float]] = np.linalg.inv(TO_XYZ).tolist()
WHITE = (0.95047, 1.0, 1.08883)  # D65
GROUND = np.array([92.0, -2.5, -6.0])
INK, PAPER = np.array([19.0, 3.0, -8.0]), np.array([97.5, 0.3, 2.2])
MOUTH, TONGUE = np.array([17.0, 16.0, 7.0]), np.array([45.0, 30.0, 14.0])  # inside; everybody's are drawn alike
WARM = np.array([0.0, 4.0, 8.0])  # of brown irises, which are next to grey in a small dark place of a picture
SKIN_HUES = (46.0, 59.0)  # degrees; a face lit from one side reads greener or redder than skin is painted
SKIN_CHROMA = (21.0, 33.0)
SILVER = np.array([80.0, -0.5, 1.0])  # what hair turns to
GREY_YEARS = (42.0, 84.0)  # from the first grey to all of it, beyond what the canonical face's own hair has
BEARD_YEARS = (18.0, 26.0)  # no beard before, all that the face has after
SAME_AS_SKIN = 14.0  # a place of the hair nearer than this to the skin, in CIE 1976 difference, is a bald one
STUBBLE_STEPS = (6.0, 24.0)  # how much darker chin than cheek begins to be a beard, and is a whole one; in L*


def to_lab(srgb: NDArray[np.floating]) -> Lab:
    """CIE Lab of sRGB in [0, 255], (3,) -> (3,); IEC 61966-2-1 and CIE 15."""
    share = np.asarray(srgb, np.float64) / 255
    linear = np.where(share <= 0.04045, share / 12.92, ((share + 0.055) / 1.055) ** 2.4)
    x = TO_XYZ @ linear / np.array(WHITE)
    f = np.where(x > 0.008856, np.cbrt(x), 7.787 * x + 16 / 116)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


def to_hex(lab: Lab) -> str:
    """The nearest sRGB colour, as SVG writes it."""
    lightness, a, b = map(float, lab)  # plain numbers: a drawing needs some thirty colours, each a handful of sums
    middle = (lightness + 16) / 116
    spread = [middle + a / 500, middle, middle - b / 200]
    x = [white * (f**3 if f**3 > 0.008856 else (f - 16 / 116) / 7.787) for f, white in zip(spread, WHITE, strict=True)]
    text = "#"
    for row in FROM_XYZ:
        linear = min(max(sum(weight * value for weight, value in zip(row, x, strict=True)), 0.0), 1.0)
        share = 12.92 * linear if linear <= 0.0031308 else 1.055 * linear ** (1 / 2.4) - 0.055
        text += f"{round(255 * min(max(share, 0.0), 1.0)):02x}"
    return text


def mix(one: Lab, other: Lab, share: float) -> Lab:
    """A colour between two, the other's at a share of 1."""
    return np.asarray(one + (other - one) * share)


def between(value: float, first: float, last: float) -> float:
    """Where a value lies from first to last, as 0 to 1."""
    return min(max((value - first) / (last - first), 0.0), 1.0)


def painted_skin(lab: Lab) -> Lab:
    """A skin colour as a painter mixes it: a little lighter, its hue and chroma within what skin has."""
    hue = np.clip(np.degrees(np.arctan2(lab[2], lab[1])), *SKIN_HUES)
    chroma = np.clip(1.2 * np.hypot(lab[1], lab[2]), *SKIN_CHROMA)
    lightness = min(lab[0] + 3.0 + 4.0 * between(lab[0], 45, 75), 88.0)
    return np.array([lightness, chroma * np.cos(np.radians(hue)), chroma * np.sin(np.radians(hue))])


def shift(lab: Lab, lighter: float = 0.0, *, chroma: float = 1.0, redder: float = 0.0) -> Lab:
    """A colour lighter by so much L*, with so many times the chroma, redder by so much a*."""
    return np.array([np.clip(lab[0] + lighter, 2, 98), lab[1] * chroma + redder, lab[2] * chroma])


@dataclass(frozen=True, eq=False)
class Tones:
    """Colours in CIE Lab; `stubble` is 0 for a shaven face to 1 for a full beard."""

    skin: Lab
    hair: Lab
    brow: Lab
    lips: Lab
    iris: Lab
    shirt: Lab
    stubble: float


def read_tones(
    picture: NDArray[np.uint8], contours: FaceContours, *, age: float | None = None, femininity: float = 0.5
) -> Tones:
    """The tones of a canonical face (height, width, 3), hair greyed by age in years.

    A beard needs a face believed to be a man's, of an age to have one; None is such an age.
    """
    scale = picture.shape[1] / UNITS

    def at(points: Points, radius: float) -> Lab:
        """Median colour around some places."""
        reach = max(1, round(radius * scale))
        pieces = []
        for x, y in np.rint(points * scale - 0.5).astype(int).tolist():
            x, y = min(max(x, 0), picture.shape[1] - 1), min(max(y, 0), picture.shape[0] - 1)
            piece = picture[max(0, y - reach) : y + reach + 1, max(0, x - reach) : x + reach + 1]
            pieces.append(piece.reshape(-1, 3))
        return to_lab(np.median(np.concatenate(pieces), axis=0))

    c = contours
    crown = (c.hair[len(c.hair) // 2] + c.hairline[len(c.hairline) // 2]) / 2
    sides = [(c.hair[k] + c.hairline[j]) / 2 for k, j in ((4, 3), (-5, -4), (2, 1), (-3, -2))]
    forehead = c.hairline[len(c.hairline) // 2] * 0.65 + np.mean([brow.mean(0) for brow in c.brows], 0) * 0.35
    sides_of_face = [c.jaw[k] * 0.6 + cheek * 0.4 for k, cheek in ((1, c.cheeks[0]), (-2, c.cheeks[1]))]
    seen = at(np.stack([*c.cheeks, forehead, *sides_of_face]), 6)
    skin = painted_skin(seen)
    brow = at(np.stack([np.mean(b[1:4], 0) * 0.5 + np.mean(b[-2:], 0) * 0.5 for b in c.brows]), 2)
    hair = at(np.stack([crown, *sides]), 7)
    if np.linalg.norm(hair - seen) < SAME_AS_SKIN:
        hair = shift(brow, -8)
    warm = np.array([1.0, 1.2, 2.6])  # of brown; what is darkest in a photograph has next to no colour left
    hair = mix(shift(hair, chroma=1.4) + warm, SILVER, 0.0 if age is None else 0.85 * between(age, *GREY_YEARS))
    mouth = np.concatenate(
        [(c.upper_lip[2:5] + c.lip_line[2:5].mean(0)) / 2, (c.lower_lip[1:4] + c.lip_line[2:5].mean(0)) / 2]
    )
    ring = [eye.iris + eye.iris_radius * 0.68 * np.array([x, 0.25]) for eye in c.eyes for x in (-1, 1)]
    low = UNITS - 12.0
    shirt = at(np.array([[c.centre - 110, low], [c.centre + 110, low]]), 5)
    chin = c.jaw[len(c.jaw) // 2]
    under_lip, under_nose = c.lower_lip[2] * 0.45 + chin * 0.55, c.upper_lip[3] * 0.5 + c.nose_base[1] * 0.5
    reach = np.array([0.09 * c.width, 0.0])
    bearded = np.stack([under_lip - reach, under_lip, under_lip + reach, under_nose])
    darker = at(c.cheeks, 6)[0] - at(bearded, 4)[0]
    old_enough = 1.0 if age is None else between(age, *BEARD_YEARS)
    return Tones(
        skin=skin,
        hair=hair,
        brow=brow,
        lips=at(mouth, 2.5) - seen + skin,
        iris=at(np.stack(ring), 2),
        shirt=shift(shirt, 2, chroma=1.7),
        stubble=between(darker, *STUBBLE_STEPS) * old_enough * between(1 - 2 * femininity, 0, 0.6),
    )


@dataclass(frozen=True, eq=False)
class Palette:
    """The colours that a drawing is filled with, as SVG writes them."""

    skin: str
    light: str
    shade: str
    deep: str
    blush: str
    stubble: str
    lips: str
    lips_dark: str
    lips_light: str
    mouth: str
    tongue: str
    hair: str
    hair_behind: str
    hair_light: str
    brow: str
    lash: str
    white: str
    iris: str
    iris_dark: str
    shirt: str
    shirt_shade: str
    shirt_light: str
    ground: str


def flat_palette(tones: Tones, feminine: float, old: float, child: float, thin: float) -> Palette:
    """Flat tones: each argument from 0 to 1, `thin` how much of the skin shows through the hair."""
    skin, dark_skin = tones.skin, between(tones.skin[0], 60, 35)
    hair = mix(tones.hair, skin, thin)
    red = 12.0 + 10.0 * feminine * (1 - 0.5 * old) * (1 - 0.8 * child)
    lips = mix(np.array([skin[0] - 16 + 3 * dark_skin, skin[1] + red, skin[2] * 0.75]), tones.lips, 0.25)
    if not feminine:
        lips = mix(skin, lips, 0.75)
    brow = mix(shift(tones.hair, -6 - 8 * between(tones.hair[0], 20, 70)), tones.brow, 0.25)
    light_hair = between(tones.hair[0], 35, 70)
    return Palette(
        skin=to_hex(skin),
        light=to_hex(shift(skin, 4.5, chroma=0.9)),
        shade=to_hex(shift(skin, -9, chroma=1.12, redder=1.5)),
        deep=to_hex(shift(skin, -22, chroma=1.15, redder=2)),
        blush=to_hex(shift(skin, -1.5, redder=5.0 * max(feminine, child))),
        stubble=to_hex(mix(skin, shift(tones.hair, 4, redder=2), 0.06 + 0.13 * tones.stubble)),
        lips=to_hex(lips),
        lips_dark=to_hex(shift(lips, -20, chroma=0.9)),
        lips_light=to_hex(shift(lips, 9, chroma=0.85)),
        mouth=to_hex(MOUTH),
        tongue=to_hex(TONGUE),
        hair=to_hex(hair),
        hair_behind=to_hex(shift(hair, -7)),
        hair_light=to_hex(shift(hair, 8 + 2 * light_hair, chroma=1.05)),
        brow=to_hex(brow),
        lash="#231815",
        white=to_hex(np.array([95.0 - 5 * dark_skin, 0.8, 2.5])),
        iris=to_hex(shift(tones.iris, 6, chroma=1.5) + WARM),
        iris_dark=to_hex(shift(tones.iris, -12) + WARM),
        shirt=to_hex(tones.shirt),
        shirt_shade=to_hex(shift(tones.shirt, -9)),
        shirt_light=to_hex(shift(tones.shirt, 7)),
        ground=to_hex(GROUND),
    )


def ink_palette(tones: Tones, thin: float) -> Palette:
    """The palette of a line drawing: paper and ink, and hair as dark as it is."""
    paper, ink, grey = to_hex(PAPER), to_hex(INK), to_hex(mix(PAPER, INK, 0.22))
    darkness = 1.0 - 0.97 * between(tones.hair[0], 20, 74)
    hair = mix(PAPER, INK, max(darkness * (1 - thin), 0.04))
    return Palette(
        skin=paper,
        light=paper,
        shade=grey,
        deep=ink,
        blush=to_hex(mix(PAPER, np.array([75.0, 26.0, 14.0]), 0.4)),
        stubble=to_hex(mix(PAPER, INK, 0.05 + 0.1 * tones.stubble)),
        lips=to_hex(mix(PAPER, np.array([58.0, 38.0, 20.0]), 0.75)),
        lips_dark=ink,
        lips_light=paper,
        mouth=ink,
        tongue=to_hex(mix(INK, PAPER, 0.4)),
        hair=to_hex(hair),
        hair_behind=to_hex(mix(hair, INK, 0.25)),
        hair_light=to_hex(mix(hair, PAPER if darkness > 0.45 else INK, 0.45)),
        brow=to_hex(mix(INK, PAPER, 0.3 * (1 - darkness))),
        lash=ink,
        white=paper,
        iris=ink,
        iris_dark=ink,
        shirt=paper,
        shirt_shade=ink,
        shirt_light=paper,
        ground=paper,
    )
