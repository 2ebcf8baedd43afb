"""The drawn avatar: a canonical face as an illustrator would draw it, flat or in lines, at rest or in a pose."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from speech2face.drawn.contours import (
    UNITS,
    Canvas,
    Eye,
    FaceContours,
    Palette,
    Points,
    Tones,
    between,
    disc,
    face_contours,
    flat_palette,
    ink_palette,
    mix,
    normals,
    opened,
    read_tones,
    ribbon,
    shift,
    smoothed,
    stylised,
    taper,
    to_hex,
)
from speech2face.face.appearance import HairStyle, most_frequent_hair
from speech2face.limits import Style
from speech2face.motion import Pose

FIRST_LINES, ALL_LINES = 38.0, 78.0  # years at which age lines begin and are full
CHILD, GROWN = 7.0, 16.0  # years of the roundest face, and of the first that is drawn like an adult's
PUPIL, EYE_LIGHT = "#16100e", "#ffffff"
OUTLINE = 4.6  # units; of a line drawing's outlines where they are widest is half as much again
EAR = (  # from the temple, in parts of the face's half width and the ear's height
    *((-0.12, 0.1), (0.0, 0.02), (0.17, -0.05), (0.225, 0.14), (0.215, 0.4)),
    *((0.17, 0.68), (0.12, 0.93), (0.03, 1.0), (-0.12, 0.95)),
)
SHELL = ((0.07, 0.2), (0.14, 0.18), (0.155, 0.36), (0.11, 0.55), (0.09, 0.72))
TITLE = "Synthetic face, drawn"
GAPE = 0.135  # between the lips of the widest mouth, in parts of the face's width
BROW_LIFT = 6.0  # units


def draw_avatar(
    picture: NDArray[np.uint8],
    landmarks: NDArray[np.floating],
    *,
    age: float | None = None,
    femininity: float = 0.5,
    description: str = "",
    hair: HairStyle | None = None,
    style: Style = Style.drawn,
) -> str:
    """The drawing of a canonical face as SVG; the same face gives the same text.

    Args:
        picture: the canonical face, (size, size, 3), which lends its colours.
        landmarks: (landmarks, 2) in its pixels: what is where.
        age: years, for lines, grey hair and the beard; under 16 a child is drawn. None draws an adult without lines.
        femininity: 0 to 1, for jaw, brows, lashes, lips and beard.
        description: put into the file, for those who cannot see it and for what is said of its origin.
        hair: the hair style; None takes the most frequent one.
        style: `drawn`, in flat tones, or `line`, in ink.

    Raises:
        InvalidOption: landmarks that are not known.
    """
    artist = artist_for(
        picture, landmarks, age=age, femininity=femininity, description=description, hair=hair, style=style
    )
    return artist.drawing()


def artist_for(
    picture: NDArray[np.uint8],
    landmarks: NDArray[np.floating],
    *,
    age: float | None = None,
    femininity: float = 0.5,
    description: str = "",
    hair: HairStyle | None = None,
    style: Style = Style.drawn,
) -> Artist:
    """The artist of a face, who can draw it in any pose; the arguments and errors are those of `draw_avatar`."""
    contours = face_contours(landmarks, picture.shape[1])
    tones = read_tones(picture, contours, age=age, femininity=femininity)
    return Artist(contours, tones, age, femininity, hair or most_frequent_hair(age, femininity), style, description)


def _moved(points: Points, right: float, down: float) -> Points:
    return np.asarray(points + np.array([right, down]))


def _inside(places: Points, outline: Points) -> NDArray[np.bool_]:
    """Which places, (places, 2), lie inside a closed outline: those with an odd number of its edges to their right."""
    (x, y), (x0, y0), (x1, y1) = places.T[..., None], outline.T, np.roll(outline, -1, axis=0).T
    spans = (y0 > y) != (y1 > y)
    with np.errstate(divide="ignore", invalid="ignore"):
        crossing = x0 + (y - y0) / (y1 - y0) * (x1 - x0)
    return np.asarray((spans & (x < crossing)).sum(1) % 2 == 1)


def _y_at(line: Points, x: NDArray[np.float64]) -> NDArray[np.float64]:
    """Heights of a line, (points, 2), that runs sideways, at places x."""
    order = np.argsort(line[:, 0])
    return np.asarray(np.interp(x, line[order, 0], line[order, 1]))


def _spine(brow: Points) -> Points:
    """The middle of a closed brow, whose first five points are its upper line: five points from the tail inwards."""
    places = np.linspace(0, 1, 5)
    under = np.concatenate([brow[:1], brow[:4:-1]])
    along = np.linspace(0, 1, len(under))
    lower = np.stack([np.interp(places, along, under[:, k]) for k in (0, 1)], axis=1)
    return np.asarray((brow[:5] + lower) / 2)


class Artist:
    """One drawing in the making."""

    def __init__(
        self,
        contours: FaceContours,
        tones: Tones,
        age: float | None,
        femininity: float,
        hair: HairStyle,
        style: Style,
        description: str,
    ) -> None:
        self.canvas = Canvas(TITLE, description)
        self.feminine = femininity
        self.old = 0.0 if age is None else between(age, FIRST_LINES, ALL_LINES)
        self.child = 0.0 if age is None else between(age, GROWN, CHILD)
        self.line = style is Style.line
        self.tones = tones
        self.worn = hair
        self.cut: Coiffure = coiffure(hair, femininity)
        self.c = stylised(contours, femininity=femininity, child=self.child)
        thin = self.cut.thin
        flat = flat_palette(tones, femininity, self.old, self.child, thin)
        self.p: Palette = ink_palette(tones, thin) if self.line else flat
        self.grid = face_grid(self.c)
        self.pose, self.rest = Pose(), self.c
        self.same_paths = False  # whether every pose is drawn with the same paths, so that one can become another
        eye_line = (self.c.eyes[0].iris + self.c.eyes[1].iris) / 2
        self.centre = np.array([self.c.centre, float(eye_line[1]) + 0.2 * (self.grid.heights[6] - eye_line[1])])

    def posed(self, pose: Pose, *, same_paths: bool = False) -> Artist:
        """The artist of the same face in another pose, with an empty canvas; to be asked of one at rest."""
        other = copy.copy(self)
        other.same_paths = same_paths
        other.canvas, other.pose = Canvas(TITLE, ""), pose
        other.c = replace(self.c, jaw=opened(self.c.jaw, self.c, pose.jaw))
        return other

    def drawing(self) -> str:
        """The whole drawing as SVG."""
        self.ground()
        self.hair_behind()
        self.body()
        self.head()
        return self.canvas.svg()

    # --- The brush.

    def shape(self, colour: str, *pieces: Points, width: float = OUTLINE) -> None:
        """A part of the picture: its area, in a line drawing with an outline, wider below and on the right."""
        if self.line and width:
            whole = np.concatenate(pieces)
            closed = whole[np.concatenate([[True], np.abs(np.diff(whole, axis=0)).sum(1) > 0.5])]
            middle = closed.mean(0)
            out = normals(closed, closed=True)
            if ((closed - middle) * out).sum() < 0:
                out = -out
            heavy = 0.62 + 0.25 * (out @ np.array([0.5, 0.8]))
            self.canvas.fill(self.p.lash, *self._grown(pieces, closed, out * (width * heavy)[:, None]))
        self.canvas.fill(colour, *pieces)

    @staticmethod
    def _grown(pieces: Sequence[Points], closed: Points, by: Points) -> list[Points]:
        """The same pieces, each point moved outwards."""
        near = [np.abs(closed[None] - piece[:, None]).sum(2).argmin(1) for piece in pieces]
        return [piece + by[found] for piece, found in zip(pieces, near, strict=True)]

    def other_side(self, points: Points) -> Points:
        """The same on the other side of the face, in the opposite order."""
        return np.stack([2 * self.c.centre - points[::-1, 0], points[::-1, 1]], axis=1)

    def stroke(self, colour: str, points: Points, width: float, *, first: float = 0.1, last: float = 0.1) -> None:
        """A line drawn with a brush."""
        line = smoothed(points, 3)
        self.canvas.fill(colour, *ribbon(line, width * taper(len(line), first, last)))

    # --- From the ground to the hair.

    def ground(self) -> None:
        """A plain, light ground."""
        corners = [np.array([[0.0, 0.0], [UNITS, 0.0]]), np.array([[UNITS, UNITS], [0.0, UNITS]])]
        with self.canvas.group("ground", np.array([UNITS / 2, UNITS / 2])):
            self.canvas.fill(self.p.ground, *corners)

    def hair_behind(self) -> None:
        """The mass of hair that head and body hide in part."""
        if not self.cut.behind:
            return
        with self.canvas.group("hair-behind", self.centre):
            for shape in self.cut.behind:
                self.shape(self.p.hair_behind, *self._locks(shape))

    def _locks(self, shape: Sequence[Sequence[tuple[float, float]]]) -> list[Points]:
        """A shape of the hair style, with its curls."""
        pieces = [self.grid.at(tuple(piece)) for piece in shape]
        if not self.cut.curls:
            return pieces
        spacing = self.cut.curls * self.grid.half_width
        return [curl for piece in pieces for curl in curled(smoothed(piece, 3), spacing)]

    def body(self) -> None:
        """Neck with the head's shadow on it, then the shirt over its end."""
        c, p = self.c, self.p
        x, chin, half = c.centre, self.grid.heights[6], self.grid.half_width
        slim = 1 - 0.13 * self.feminine * (1 - self.child) - 0.3 * self.child
        neck = half * 0.75 * slim
        low = c.neck[0][-1, 1] - 6 - 26 * self.child
        with self.canvas.group("body", np.array([x, float(low)])):
            wide = neck * 1.32
            right = np.array(
                [[x + neck * 0.98, chin - 70], [x + neck, chin - 20], [x + neck * 1.03, low - 16], [x + wide, low + 12]]
            )
            hem = low + (44 if self.feminine >= 0.5 else 34)
            end = np.array(
                [[x + wide, low + 12], [x + 0.5 * wide, hem], [x, hem + 8], [x - 0.5 * wide, hem], [x - wide, low + 12]]
            )
            self.shape(p.skin, right, end, self.other_side(right))
            fall = chin + 30 - 10 * self.feminine
            edge = np.linspace(-1.0, 1.0, 7)
            under = np.stack([x + edge * neck * 0.99, fall - 34 * np.abs(edge) ** 2.2], axis=1)
            top = np.array([[x + neck * 0.975, chin - 62], [x - neck * 0.975, chin - 62]])
            if self.line:
                self.stroke(p.deep, _moved(under[1:-1], 0, -4), 3.0)
            else:
                self.canvas.fill(p.shade, under, top)
            self._shirt(x, float(low), wide, float(hem))

    def _shirt(self, x: float, low: float, wide: float, hem: float) -> None:
        p = self.p
        broad = 1.12 - 0.2 * self.feminine * (1 - self.child) - 0.36 * self.child
        outer = self.grid.half_width * broad
        shoulder = np.array(
            [
                [x + wide - 3, low + 6],
                [x + wide + 0.3 * outer, low + 24],
                [x + wide + 0.75 * outer, low + 44],
                [x + wide + 1.12 * outer, low + 84],
                [x + wide + 1.3 * outer, UNITS + 30],
            ]
        )
        other = self.other_side(shoulder)
        neckline = np.array(
            [other[-1], [x - 0.62 * wide, hem - 8], [x, hem + 6], [x + 0.62 * wide, hem - 8], shoulder[0]]
        )
        self.shape(p.shirt, shoulder, other, neckline)
        band = _moved(neckline, 0, 9) + np.array([[-3, -2], [-2, 0], [0, 0], [2, 0], [3, -2]])
        if self.line:
            self.stroke(p.deep, band, 2.6)
        else:
            self.canvas.fill(p.shirt_shade, neckline, band[::-1])

    def head(self) -> None:
        """Ears, face and all that is in it, then the hair before it: what moves when a head is moved."""
        with self.canvas.group("head", self.centre):
            for part in self.parts_of_head():
                part()

    def parts_of_head(self) -> tuple[Callable[[], None], ...]:
        """What draws the parts of the head, one over the other."""
        return (self.ears, self.skin, self.beard, self.lines, self.nose, self.mouth, self.eyes, self.brows, self.hair)

    def skin(self) -> None:
        """The face itself."""
        (left, right), jaw = self.c.temples, self.c.jaw
        skull = self.grid.at(mirrored(SKULL[1:]) + SKULL)
        with self.canvas.group("face", self.centre):
            self.shape(self.p.skin, np.concatenate([skull, right, jaw[::-1], left[::-1]]))
            self._light()

    def ears(self) -> None:
        """Two shells with their shade; long hair hides them."""
        if self.cut.covers_ears:
            return
        with self.canvas.group("ears", np.mean([ear.mean(0) for ear in self.c.ears], axis=0)):
            for ear, side in zip(self.c.ears, (-1.0, 1.0), strict=True):
                start, height = ear[0], float(ear[-1][1] - ear[0][1])
                size = np.array([side * 0.87 * self.grid.half_width, height])
                self.shape(self.p.skin, start + np.array(EAR) * size)
                colour, width = (self.p.deep, 3.0) if self.line else (self.p.shade, 7.0)
                self.stroke(colour, start + np.array(SHELL) * size, width)

    def _light(self) -> None:
        """The hair's shade on the face, and a little red on the cheeks."""
        if self.line:
            return
        c, p = self.c, self.p
        for shape in self.cut.before:
            for piece in shape[1:]:
                on_face = tuple(place for place in piece if place[1] <= 4.5)
                if len(on_face) > 1:
                    inner = self.grid.at(on_face)
                    self.canvas.fill(p.shade, inner, _moved(inner, 0, 9)[::-1])
        if max(self.feminine, self.child) > 0.3:
            for x, y in c.cheeks:
                side = 1 if x > c.centre else -1
                place = np.array([x + side * 7, y + 12 - 4 * self.child])
                self.canvas.fill(p.blush, disc(place, 0.1 * c.width * (1 + 0.15 * self.child), high=0.7))

    def beard(self) -> None:
        """Stubble, as dark as the canonical face has it; the mouth stays free."""
        c, jaw = self.rest, self.pose.jaw
        if self.tones.stubble <= 0:
            return
        chin = c.jaw[len(c.jaw) // 2]
        corner_right = c.lip_line[-1]
        with self.canvas.group("beard", np.array([c.centre, (corner_right[1] + chin[1]) / 2])):
            outer = np.concatenate([c.temples[0][-1:], c.jaw, c.temples[1][-1:]])
            base = c.nose_base.mean(0)
            right = np.array(
                [
                    c.temples[1][-1],
                    c.jaw[-1] * 0.8 + corner_right * 0.2,
                    c.jaw[-2] * 0.62 + corner_right * 0.38,
                    [corner_right[0] + 13, corner_right[1] + 4],
                    [corner_right[0] + 2, corner_right[1] - 13],
                    [corner_right[0] - 20, base[1] + 9],
                    [c.centre, base[1] + 7],
                ]
            )
            left = self.other_side(right)[1:]
            left[-1] = c.temples[0][-1]
            inner = np.concatenate([right, left])
            if self.line:
                self._stipple(outer, inner[::-1])
            else:
                self.canvas.fill(self.p.stubble, opened(outer, c, jaw), opened(inner, c, jaw))

    def _stipple(self, outer: Points, inner: Points) -> None:
        """Short strokes of the pen between jaw and cheek, the nearer to each other the darker the beard is."""
        area = np.concatenate([outer, inner[::-1]])
        apart = 13.0 - 4.0 * self.tones.stubble
        (left, top), (right, bottom) = area.min(0), area.max(0)
        rows = np.arange(top, bottom, 0.85 * apart)
        half = round((right - left) / 2 / apart)
        across = self.rest.centre + apart * np.arange(-half, half + 1)
        places = np.array([[x + apart * (0.5 * (k % 2)), y] for k, y in enumerate(rows) for x in across])
        mouth = np.array([self.rest.centre, float(self.rest.lip_line[:, 1].mean()) + 3])
        free = (np.abs(places - mouth) / [0.24 * self.rest.width, 15.0]).max(1) > 1
        kept = opened(places[free & _inside(places, mouth + (area - mouth) * 0.97)], self.rest, self.pose.jaw)
        tick = np.array([[0.0, -2.0], [0.5, 2.0]])
        ticks = [ribbon(place + tick, np.array([1.7, 0.9])) for place in kept]
        self.canvas.fill_all(self.p.deep, ticks)

    def lines(self) -> None:
        """Folds, bags, forehead and crow's feet, deeper with age."""
        share = self.old
        if share <= 0:
            return
        c, skin = self.c, self.tones.skin
        furrow = to_hex(mix(skin, shift(skin, -24, chroma=1.15, redder=2), 0.35 + 0.55 * share))
        deep = self.p.deep if self.line else furrow
        thick = 1.0 + 0.2 * self.line
        with self.canvas.group("lines", self.centre):
            for fold, side in zip(c.folds, (-1, 1), strict=True):
                long = np.concatenate([fold, [fold[-1] + [side * 1.0, 6 + 12 * share]]])
                self.stroke(deep, _moved(long, side * 2, 0), (1.6 + 3.0 * share) * thick)
            for eye in c.eyes:
                self.stroke(deep, _moved(eye.bag, 0, 5), (1.2 + 2.2 * share) * thick)
            crown, brows = self.grid.heights[1], self.grid.heights[2]
            for place, half, least in ((0.66, 0.34, 0.2), (0.47, 0.44, 0.25), (0.28, 0.32, 0.6)):
                if share > least:
                    y, reach = crown * (1 - place) + brows * place, half * self.grid.half_width
                    ends = np.array([[-1.0, 3], [-0.5, -1.5], [0, 0.5], [0.5, -1.5], [1.0, 3]])
                    wave = np.array([c.centre, y]) + ends * np.array([reach, 1.0])
                    self.stroke(deep, wave, (1.0 + 1.8 * share) * thick)
            if share > 0.3:
                for eye in c.eyes:
                    for fall in (-8.0, 1.0, 10.0):
                        way = np.array([[15, 0.6 * fall], [22, 0.95 * fall], [28, 1.6 * fall]])
                        self.stroke(deep, eye.upper[0] + way * [eye.outwards, 1.0], (0.8 + 1.5 * share) * thick)

    def nose(self) -> None:
        """One side in shade, the wings and the nostrils."""
        c, p = self.c, self.p
        base = c.nose_base.mean(0)
        small = 1 - 0.12 * self.feminine * (1 - self.child) - 0.27 * self.child
        left, right = ((wing[1] - base) * small + base for wing in c.wings)
        with self.canvas.group("nose", np.array([c.centre, float(c.bridge[:, 1].mean())])):
            tip = np.array([c.centre, base[1] + 1.0])
            top = c.bridge[0]
            if not self.line:
                wing = right + np.array([2.0, -3.0])
                side = np.array(
                    [[c.centre + 7, top[1] + 12], [c.centre + 9, base[1] - 40], [wing[0] - 2, wing[1] - 13], wing]
                )
                back = np.array([_moved(wing, -4, 7), _moved(tip, 3, -1), [c.centre + 5, base[1] - 20], side[0]])
                self.canvas.fill(p.shade, side, back)
            else:
                start = 8 if self.feminine < 0.5 else 30
                bridge = [[c.centre + 9, top[1] + start], [c.centre + 9.5, base[1] - 26], [right[0] - 1, right[1] - 12]]
                self.stroke(p.deep, np.array(bridge), 2.6)
            deep = p.deep
            bow = np.array([_moved(left, -2.5, -8), _moved(left, -2, 0), _moved(left, 6, 3.5)])
            self.stroke(deep, bow, 2.6)
            self.stroke(deep, self.other_side(bow), 2.6)
            bowl = np.array([[-7, 3.5], [0, 5.5], [7, 3.5]]) + np.array([c.centre, base[1]])
            under = np.array([_moved(left, 9, 2), *bowl, _moved(right, -9, 2)])
            self.stroke(deep, under, 3.4 - 0.6 * self.feminine)

    def mouth(self) -> None:
        """Two lips, the line between them a little happier than the canonical face's; open, with teeth and tongue."""
        c, p, pose = self.c, self.p, self.pose
        full = (0.72 + 0.4 * self.feminine * (1 - 0.6 * self.child)) * (1 - 0.3 * self.old) * (1 + 0.12 * pose.rounding)
        wide = (0.98 - 0.05 * self.feminine) * (1 - 0.17 * self.child)
        wide *= 1 + 0.09 * pose.spread - 0.36 * pose.rounding - 0.04 * pose.jaw
        middle = np.array([c.centre, float(c.lip_line[:, 1].mean())])
        smile = np.array([0.0, 5.0 - 3.0 * pose.rounding])
        half = float(c.lip_line[-1, 0] - c.lip_line[0, 0]) / 2 * wide
        gap = GAPE * c.width * pose.jaw * (1 - 0.15 * self.child) * (1 + 0.35 * pose.rounding)

        def bent(points: Points, height: float) -> Points:
            """A line of the mouth at its fullness, with the corners up."""
            away = (points - middle) * np.array([wide, height])
            reach = np.abs(away[:, :1]) / (np.abs(c.lip_line[0, 0] - middle[0]) * wide)
            return np.asarray(middle + away - reach**2 * smile)

        def parted(points: Points, share: float) -> Points:
            """A line moved down by its share of the gap, most in the middle; the corners follow the jaw a little."""
            reach = np.clip(np.abs(points[:, 0] - middle[0]) / half, 0, 1)
            bulge = (1 - reach**2) ** (0.75 - 0.3 * pose.rounding)
            down = gap * (share * bulge + 0.3 * (1 - bulge))
            return np.stack([points[:, 0], points[:, 1] + down], axis=1)

        rise = smile[1]
        line = middle + np.array([[-half, -rise], [-0.55 * half, -1.2], [0, 0.6], [0.55 * half, -1.2], [half, -rise]])
        upper, lower = parted(bent(c.upper_lip, full), -0.14), parted(bent(c.lower_lip, full), 0.86)
        with self.canvas.group("mouth", middle):
            upper[[0, -1]], ends = parted(line[[0, -1]], 0.0), parted(line[[-1, 0]], 0.0)
            under = np.array([ends[0], *lower, ends[1]])
            if not self.line or self.feminine >= 0.5:
                self.canvas.fill(p.lips, upper, under)
            if not self.line:
                shine = lower[2] - [0, 0.42 * (lower[2, 1] - parted(line, 0.86)[2, 1])]
                self.canvas.fill(p.lips_light, disc(shine, 0.1 * c.width * wide, high=0.2 * full))
            if gap > 1.0 or self.same_paths:
                self._inside_of_mouth(parted(smoothed(line, 3), -0.14), parted(smoothed(line, 3), 0.86))
            else:
                out = np.concatenate([_moved(line[:1], -3, -1.5), line[1:-1], _moved(line[-1:], 3, -1.5)])
                self.stroke(p.lips_dark, out, 3.6 if not self.line else 4.2, first=0.3, last=0.3)
            below = _moved(np.array([[-13.0, -1], [0.0, 2.5], [13.0, -1]]), middle[0], lower[2, 1] + 8.5)
            self.stroke(p.deep if self.line else p.shade, below, 3.0)

    def _inside_of_mouth(self, above: Points, under: Points) -> None:
        """What is seen between the lips' inner edges, (points, 2) each: everybody's teeth and tongue are the same."""
        p, middle, half = self.p, above[:, 0].mean(), float(np.ptp(above[:, 0])) / 2
        self.canvas.fill(p.mouth, above, under[::-1])
        room = under[:, 1] - above[:, 1]
        gap = float(room.max())
        along = np.abs(above[:, 0] - middle) / half
        rows = along < 0.8
        tall = np.minimum(0.3 * gap + 2.5, 8.5) * (1 - 0.35 * along) * (1 - 0.8 * self.pose.rounding)
        tall = np.minimum(tall, 0.86 * room)
        self.canvas.fill(p.white, above[rows], (above + np.stack([0 * tall, tall], axis=1))[rows][::-1])
        if gap > 11 or self.same_paths:
            lies = along < 0.62
            high = 0.34 * max(gap - 6, 0.0) * (1 - (along / 0.72) ** 2)
            tongue = under - np.stack([0 * high, high], axis=1)
            self.canvas.fill(p.tongue, tongue[lies], under[lies][::-1])
        edges = (above, 3.0), (under, 1.6)
        for edge, width in edges:
            self.stroke(p.lips_dark, edge, width if not self.line else width + 1, first=0.3, last=0.3)

    def eyes(self) -> None:
        """Both eyes, each a group of its own."""
        both = self.c.eyes
        with self.canvas.group("eyes", (both[0].iris + both[1].iris) / 2):
            for eye, name in zip(both, ("eye-left", "eye-right"), strict=True):
                with self.canvas.group(name, eye.iris):
                    self._eye(eye)

    def _eye(self, eye: Eye) -> None:
        """Lid, white, iris with its light, lashes."""
        p = self.p
        size = 1.1 + 0.1 * self.feminine * (1 - self.child) + 0.3 * self.child
        tall = size * (1.08 + 0.12 * self.feminine + 0.2 * self.child - 0.12 * self.old)
        middle = (eye.upper[0] + eye.upper[-1]) / 2
        grow = np.array([size, tall])
        shut = self.pose.blink_left if eye.outwards < 0 else self.pose.blink_right
        upper, lower = (
            smoothed(middle + (line - middle) * grow, 2)
            for line in (eye.upper, np.concatenate([eye.upper[-1:], eye.lower, eye.upper[:1]]))
        )
        crease = middle + (eye.crease - middle) * grow + [0, 1.5 + 3.5 * self.old]
        radius = eye.iris_radius * (1.12 + 0.1 * self.feminine + 0.38 * self.child)
        iris = middle * 0.25 + eye.iris * 0.75
        iris[1] = 0.5 * (_y_at(upper, iris[:1])[0] + _y_at(lower, iris[:1])[0]) - 0.6
        if shut:  # the upper lid comes down, nearly to the lower one
            upper = upper + np.stack([0 * upper[:, 0], 0.94 * shut * (_y_at(lower, upper[:, 0]) - upper[:, 1])], axis=1)
        if not self.line:
            self.canvas.fill(p.shade, smoothed(crease, 2), upper[::-1])
        self.canvas.fill(p.white, upper, lower)

        def within(ring: Points) -> Points:
            """A disc of the iris, as far as the lids leave it free."""
            y = np.clip(ring[:, 1], _y_at(upper, ring[:, 0]), _y_at(lower, ring[:, 0]) + 0.3)
            return np.stack([ring[:, 0], y], axis=1)

        if not self.line:
            self.canvas.fill(p.iris_dark, within(disc(iris, radius, count=16)))
            self.canvas.fill(p.iris, within(disc(iris, 0.78 * radius)))
            self.canvas.fill(PUPIL, within(disc(iris, 0.44 * radius)))
        else:
            self.canvas.fill(p.lash, within(disc(iris, 0.86 * radius, count=16)))
        light = 0.25 * radius * max(1 - 2.5 * shut, 0.0)  # under the lid there is none
        self.canvas.fill(EYE_LIGHT, disc(iris + radius * np.array([0.3, -0.36]), light, count=8))
        thick = 3.4 + 2.6 * self.feminine * (1 - 0.6 * self.child)
        wing = (1.0 + 5.5 * self.feminine * (1 - self.child)) * (1 - 0.4 * self.old)
        lid = np.concatenate([[upper[0] + [eye.outwards * wing, -0.5 * wing]], upper])
        widths = thick * np.interp(np.linspace(0, 1, len(lid)), (0, 0.18, 0.5, 1), (0.15, 1.0, 0.95, 0.35))
        self.canvas.fill(p.lash, *ribbon(_moved(lid, 0, -0.25 * thick), widths))
        self.stroke(p.deep, lower[1:-1], 1.3 if not self.line else 1.8, first=0.1, last=0.5)
        self.stroke(p.deep, crease, 1.7 + 0.8 * self.old)

    def brows(self) -> None:
        """Thick and level for a man, thin and arched for a woman."""
        both = self.c.brows
        with self.canvas.group("brows", np.mean([brow.mean(0) for brow in both], axis=0)):
            for brow, name in zip(both, ("brow-left", "brow-right"), strict=True):
                line = _spine(brow)
                with self.canvas.group(name, line.mean(0)):
                    thick = (12.0 - 5.5 * self.feminine) * (1 - self.child) + 6.0 * self.child
                    arch = np.array([0.0, 0.6, 1.0, 0.5, 0.0]) * (4.5 * self.feminine - 2.0)
                    lift = 3.0 * self.feminine - 1.5 + 4.0 * self.child * np.linspace(0, 1, 5)
                    shaped = line - np.stack([np.zeros(5), arch + lift + BROW_LIFT * self.pose.brow], axis=1)
                    if self.feminine >= 0.5:
                        shaped[0] += [0.0, 1.0]
                    long = smoothed(shaped, 3)
                    along = np.linspace(0, 1, len(long))
                    widths = thick * np.interp(along, (0, 0.35, 0.75, 1.0), (0.12, 0.72, 1.0, 0.8))
                    self.canvas.fill(self.p.brow, *ribbon(long, widths))

    def hair(self) -> None:
        """The hair before the head, with its lines of light."""
        with self.canvas.group("hair", self.centre, style=self.worn.value):
            for shape in self.cut.before:
                self.shape(self.p.hair, *self._locks(shape))
            for strand in self.cut.strands:
                self.stroke(self.p.hair_light, self.grid.at(strand), 4.6 if not self.line else 3.0)


# --- Hair styles as drawn shapes, on a grid that each face stretches to its own proportions.
#
# A place of the grid is (u, t). `u` is sideways: 0 the middle of the face, 1 where it meets the right ear. `t` goes
# down: 0 the crown, 1 the hairline, 2 the brows, 3 the top of the ears, 4 the ear lobes, 5 the mouth, 6 the chin, 7 the
# shoulder's slope, one unit of 33 each from there on. Shapes are lists of smooth pieces joined by corners.

Places = tuple[tuple[float, float], ...]
BELOW_SHOULDERS = 33.0


@dataclass(frozen=True, eq=False)
class FaceGrid:
    """The grid of one face: its middle, the half width at the ears, and the heights of whole `t`."""

    middle: float
    half_width: float
    heights: Points
    """(8,): y of t = 0 to 7"""

    def at(self, places: Places) -> Points:
        """Grid places as points of the drawing, (points, 2)."""
        u, t = np.array(places, np.float64).T
        y = np.interp(t, range(8), self.heights)
        y += np.minimum(t, 0) * (self.heights[1] - self.heights[0]) + np.maximum(t - 7, 0) * BELOW_SHOULDERS
        return np.stack([self.middle + u * self.half_width, y], axis=1)


def face_grid(c: FaceContours) -> FaceGrid:
    """The grid of a face's contours."""
    (left, right), chin = c.temples, c.jaw[len(c.jaw) // 2, 1]
    brows = float(np.mean([brow[:, 1].mean() for brow in c.brows]))
    lobes = (left[-1, 1] + right[-1, 1]) / 2
    heights = [c.hair[len(c.hair) // 2, 1], c.hairline[len(c.hairline) // 2, 1], brows]
    ears = max((left[0, 1] + right[0, 1]) / 2, brows + 10)
    mouth = float(c.lip_line[:, 1].mean())
    heights += [ears, max(lobes, ears + 20), max(mouth, lobes + 12), chin, chin + 42]
    return FaceGrid(c.centre, (right[0, 0] - left[0, 0]) / 2, np.array(heights))


USUAL_HEIGHTS = (51, 119, 205, 245, 322, 347, 417, 459)  # of the mean face: where a dome's points come to lie on it


def dome(half_width: float, top: float, low: float = 2.3, *, squareness: float = 2.35, points: int = 7) -> Places:
    """The right half of a head of hair from its top to its widest place, at `low`: a superellipse on the mean face."""
    turn = np.linspace(0, np.pi / 2, points)
    sideways, up = np.sin(turn) ** (2 / squareness), np.cos(turn) ** (2 / squareness)
    first, last = (np.interp(t, range(8), USUAL_HEIGHTS) + min(t, 0) * (119 - 51) for t in (top, low))
    y = last - (last - first) * up
    t = np.interp(y, USUAL_HEIGHTS, range(8)) + np.minimum(y - USUAL_HEIGHTS[0], 0) / (119 - 51)
    return tuple(zip((half_width * sideways).tolist(), t.tolist(), strict=True))


SKULL: Places = (*dome(1.09, 0.14, 2.0), (1.07, 2.5), (1.0, 3.0))
"""The right half of a head without hair, from its top to the ear."""


def mirrored(places: Places) -> Places:
    """The other half, in the opposite order."""
    return tuple((-u, t) for u, t in reversed(places))


def both(places: Places) -> Places:
    """A right half that begins in the middle, with its left half before it."""
    return mirrored(places[1:]) + places


@dataclass(frozen=True)
class Coiffure:
    """One hair style: what lies behind the head, what before it, and lines of light; each a list of shapes."""

    behind: tuple[tuple[Places, ...], ...]
    before: tuple[tuple[Places, ...], ...]
    strands: tuple[Places, ...]
    covers_ears: bool = False
    curls: float = 0.0
    """How far a curl stands out of an outline, in parts of the face's half width; 0 draws it smooth."""
    thin: float = 0.0
    """How much of the skin shows through, 0 to 1."""


SHORT_OUTER: Places = (*dome(1.175, -0.1), (1.15, 2.85), (1.06, 3.4))
SHORT_MAN = Coiffure(
    behind=(),
    before=(
        (
            both(SHORT_OUTER),
            ((1.06, 3.4), (0.985, 3.3), (0.965, 2.7), (0.93, 2.1), (0.87, 1.65), (0.8, 1.36)),
            ((0.8, 1.36), (0.5, 1.28), (0.12, 1.12), (-0.26, 0.93), (-0.54, 0.84)),
            ((-0.54, 0.84), (-0.74, 1.25), (-0.88, 1.7), (-0.94, 2.15), (-0.965, 2.7), (-0.985, 3.3), (-1.06, 3.4)),
        ),
    ),
    strands=(
        ((-0.48, 0.68), (-0.14, 0.42), (0.28, 0.4), (0.72, 0.78)),
        ((-0.36, 0.82), (0.06, 0.74), (0.46, 0.88), (0.8, 1.18)),
    ),
)

SHORT_WOMAN = Coiffure(
    behind=((((-0.95, 3), (-1.0, 4.3), (-0.72, 5.6), (0.72, 5.6), (1.0, 4.3), (0.95, 3)),),),
    before=(
        (
            (
                *((-1.0, 4), (-1.14, 3.3), (-1.27, 2.4), (-1.27, 1.5), (-1.14, 0.93), (-0.86, 0.39), (-0.45, -0.07)),
                *(
                    (0.0, -0.2),
                    (0.48, -0.06),
                    (0.9, 0.41),
                    (1.18, 0.94),
                    (1.3, 1.5),
                    (1.28, 2.4),
                    (1.14, 3.3),
                    (1.0, 4),
                ),
            ),
            ((1.0, 4), (0.99, 3.2), (0.95, 2.5), (0.88, 2)),
            ((0.88, 2), (0.55, 1.72), (0.1, 1.38), (-0.25, 0.96), (-0.45, 0.6)),
            ((-0.45, 0.6), (-0.56, 1.11), (-0.78, 1.6), (-0.93, 2.2), (-0.99, 3), (-1.0, 4)),
        ),
    ),
    strands=(
        ((-0.4, 0.54), (-0.1, 0.7), (0.35, 1.1), (0.85, 1.6)),
        ((-0.35, 0.39), (0.1, 0.4), (0.6, 0.81), (1.02, 1.4)),
        ((-0.55, 0.53), (-0.85, 0.9), (-1.05, 1.4), (-1.12, 2.1)),
    ),
    covers_ears=False,
)

MEDIUM_OUTER: Places = (*dome(1.38, -0.16, 2.5), (1.43, 3.3), (1.46, 4.5))
MEDIUM_WOMAN = Coiffure(
    behind=(
        (
            both((*dome(1.36, 0.0, 2.6), (1.44, 4.4), (1.42, 5.6), (1.18, 6.25))),
            ((1.1, 6.3), (0.6, 6.3), (0.0, 6.3), (-0.6, 6.3), (-1.1, 6.3)),
        ),
    ),
    before=(
        (
            ((-1.2, 6.25), (-1.43, 5.6), *both(MEDIUM_OUTER), (1.43, 5.6), (1.2, 6.25)),
            ((1.2, 6.25), (1.03, 5.7), (0.98, 4.8), (1.0, 3.8), (0.97, 2.9), (0.86, 2.1), (0.52, 1.45), (0.08, 1.02)),
            ((0.08, 1.02), (-0.1, 0.8), (-0.22, 0.45)),
            ((-0.22, 0.45), (-0.38, 0.95), (-0.68, 1.45), (-0.91, 2.1), (-0.98, 2.9), (-1.0, 3.8), (-0.98, 4.8)),
            ((-0.98, 4.8), (-1.03, 5.7), (-1.2, 6.25)),
        ),
    ),
    strands=(
        ((-0.12, 0.3), (0.45, 0.55), (0.95, 1.3), (1.17, 2.4), (1.22, 4.0)),
        ((-0.3, 0.35), (-0.7, 0.7), (-1.05, 1.5), (-1.21, 2.6), (-1.25, 3.8)),
    ),
    covers_ears=True,
)

MAN_OUTER: Places = (*dome(1.26, -0.16), (1.25, 3.0), (1.18, 3.8), (1.06, 4.4))
MEDIUM_MAN = Coiffure(
    behind=(
        (((-1.0, 3.0), (-1.04, 4.4), (-0.92, 5.2), (-0.6, 5.6), (0.6, 5.6), (0.92, 5.2), (1.04, 4.4), (1.0, 3.0)),),
    ),
    before=(
        (
            both(MAN_OUTER),
            ((1.06, 4.4), (1.0, 3.6), (0.97, 2.9), (0.92, 2.3), (0.8, 1.75), (0.5, 1.25), (0.2, 1.0), (0.06, 0.6)),
            (
                (0.06, 0.6),
                (-0.14, 0.95),
                (-0.46, 1.2),
                (-0.78, 1.75),
                (-0.92, 2.3),
                (-0.97, 2.9),
                (-1.0, 3.6),
                (-1.06, 4.4),
            ),
        ),
    ),
    strands=(
        ((0.14, 0.3), (0.5, 0.5), (0.86, 1.1), (1.08, 2.1)),
        ((-0.04, 0.3), (-0.42, 0.45), (-0.82, 1.0), (-1.08, 2.0)),
    ),
    covers_ears=True,
)

LONG_OUTER: Places = (
    *dome(1.34, -0.16, 2.5),
    (1.38, 3.4),
    (1.42, 4.8),
    (1.52, 6.3),
    (1.66, 7.6),
    (1.7, 8.7),
    (1.5, 9.5),
)
LONG = Coiffure(
    behind=(
        (
            both((*dome(1.3, 0.0, 2.5), (1.4, 4.6), (1.5, 6.2), (1.6, 8.0))),
            ((1.5, 9.6), (0.8, 9.7), (0.0, 9.7), (-0.8, 9.7), (-1.5, 9.6)),
        ),
    ),
    before=(
        (
            both(LONG_OUTER),
            ((1.5, 9.5), (1.22, 8.8), (1.04, 7.6), (0.99, 6.3), (1.01, 5.2), (1.01, 4.2), (0.98, 3.1), (0.9, 2.2)),
            ((0.9, 2.2), (0.68, 1.55), (0.38, 1.08), (0.05, 0.45)),
            ((0.05, 0.45), (-0.26, 1.08), (-0.62, 1.55), (-0.9, 2.2)),
            (
                (-0.9, 2.2),
                (-0.98, 3.1),
                (-1.01, 4.2),
                (-1.01, 5.2),
                (-0.99, 6.3),
                (-1.04, 7.6),
                (-1.22, 8.8),
                (-1.5, 9.5),
            ),
        ),
    ),
    strands=(
        ((0.18, 0.25), (0.6, 0.6), (0.98, 1.5), (1.16, 2.7), (1.19, 4.2), (1.24, 5.8), (1.32, 7.2)),
        ((-0.08, 0.25), (-0.55, 0.6), (-0.98, 1.5), (-1.16, 2.7), (-1.19, 4.2), (-1.24, 5.8), (-1.32, 7.2)),
        ((1.02, 2.6), (1.1, 4.2), (1.12, 6.0), (1.22, 8.0)),
    ),
    covers_ears=True,
)

TIED = Coiffure(
    behind=((((-0.33, 0.2), (-0.4, -0.16), (-0.28, -0.44), (0.0, -0.55), (0.28, -0.44), (0.4, -0.16), (0.33, 0.2)),),),
    before=(
        (
            both((*dome(1.125, 0.04), (1.08, 2.8), (1.0, 3.25))),
            both(((0, 0.96), (0.34, 1.04), (0.64, 1.3), (0.84, 1.78), (0.93, 2.3), (0.97, 2.8), (1.0, 3.25)))[::-1],
        ),
    ),
    strands=(
        ((0.5, 1.08), (0.42, 0.7), (0.24, 0.3)),
        ((-0.5, 1.08), (-0.42, 0.7), (-0.24, 0.3)),
        ((0.96, 2.1), (0.86, 1.3), (0.56, 0.55)),
        ((-0.96, 2.1), (-0.86, 1.3), (-0.56, 0.55)),
    ),
)

CURLY_WOMAN = Coiffure(
    behind=(
        (
            both((*dome(1.5, -0.12, 3.0), (1.52, 4.4), (1.44, 5.4), (1.22, 6.2), (0.9, 6.6))),
            ((0.9, 6.6), (0.4, 6.4), (-0.4, 6.4), (-0.9, 6.6)),
        ),
    ),
    before=(
        (
            both((*dome(1.3, -0.1, 2.6), (1.27, 3.3), (1.18, 4.0), (1.06, 4.6))),
            both(((0, 1.14), (0.36, 1.2), (0.66, 1.45), (0.86, 1.95), (0.94, 2.6), (0.98, 3.4), (1.06, 4.6)))[::-1],
        ),
    ),
    strands=(
        ((-0.75, 0.85), (-0.62, 0.62), (-0.44, 0.62), (-0.4, 0.78)),
        ((-0.12, 0.5), (0.0, 0.3), (0.18, 0.32), (0.22, 0.5)),
        ((0.42, 0.95), (0.54, 0.72), (0.72, 0.74), (0.76, 0.92)),
        ((-1.12, 1.9), (-1.08, 1.6), (-0.94, 1.55), (-0.88, 1.7)),
        ((0.92, 2.1), (0.98, 1.8), (1.12, 1.78), (1.17, 1.95)),
        ((-1.2, 3.3), (-1.16, 3.05), (-1.05, 3.05), (-1.02, 3.25)),
        ((1.04, 3.6), (1.08, 3.4), (1.18, 3.4), (1.22, 3.55)),
    ),
    covers_ears=True,
    curls=0.27,
)

CURLY_MAN = Coiffure(
    behind=(),
    before=(
        (
            both((*dome(1.14, -0.06, 2.0), (1.1, 2.4), (1.02, 2.95))),
            both(((0, 1.04), (0.36, 1.06), (0.68, 1.26), (0.86, 1.65), (0.94, 2.2), (0.98, 2.9)))[::-1],
        ),
    ),
    strands=(
        ((-0.62, 0.82), (-0.52, 0.6), (-0.36, 0.6), (-0.32, 0.76)),
        ((-0.1, 0.5), (0.0, 0.32), (0.16, 0.34), (0.2, 0.5)),
        ((0.36, 0.85), (0.46, 0.64), (0.62, 0.66), (0.66, 0.84)),
        ((-1.04, 1.9), (-1.0, 1.65), (-0.92, 1.6)),
        ((0.9, 1.7), (0.98, 1.5), (1.06, 1.7)),
    ),
    curls=0.22,
)

RECEDING = Coiffure(
    behind=(),
    before=(
        (
            both((*dome(1.145, 0.04, 2.2), (1.12, 2.85), (1.05, 3.4))),
            both(
                (
                    *((0, 0.84), (0.18, 0.8), (0.33, 0.66), (0.47, 0.58), (0.61, 0.68), (0.73, 0.98), (0.82, 1.4)),
                    *((0.9, 1.95), (0.955, 2.6), (0.985, 3.3), (1.05, 3.4)),
                )
            )[::-1],
        ),
    ),
    strands=(((-0.24, 0.6), (0.0, 0.5), (0.24, 0.6)), ((-0.4, 0.46), (0.0, 0.3), (0.4, 0.46))),
    thin=0.12,
)

SIDE: Places = ((1.07, 1.85), (1.125, 2.1), (1.14, 2.5), (1.11, 2.95), (1.04, 3.4))
INNER_SIDE: Places = ((1.04, 3.4), (0.985, 3.3), (0.965, 2.85), (0.99, 2.3), (1.07, 1.85))
BALD = Coiffure(
    behind=(),
    before=((SIDE, INNER_SIDE), (mirrored(INNER_SIDE), mirrored(SIDE))),
    strands=(),
)

SHAVED = Coiffure(
    behind=(),
    before=(
        (
            both((*dome(1.105, 0.1, 2.0), (1.08, 2.6), (1.0, 3.2))),
            both(
                ((0, 1.0), (0.34, 1.02), (0.58, 1.12), (0.75, 1.36), (0.84, 1.7), (0.92, 2.15), (0.97, 2.7), (1.0, 3.2))
            )[::-1],
        ),
    ),
    strands=(),
    thin=0.5,
)

WOMEN = {
    HairStyle.short: SHORT_WOMAN,
    HairStyle.medium: MEDIUM_WOMAN,
    HairStyle.tied: TIED,
    HairStyle.long: LONG,
    HairStyle.curly: CURLY_WOMAN,
    HairStyle.shaved: SHAVED,
    HairStyle.receding: RECEDING,
    HairStyle.bald: BALD,
}
MEN = WOMEN | {
    HairStyle.short: SHORT_MAN,
    HairStyle.medium: MEDIUM_MAN,
    HairStyle.curly: CURLY_MAN,
}


def coiffure(style: HairStyle, femininity: float) -> Coiffure:
    """How a woman or a man, by a femininity from 0 to 1, wears a style."""
    return (WOMEN if femininity >= 0.5 else MEN)[style]


def curled(points: Points, spacing: float) -> list[Points]:
    """The same way as a row of curls: bows that stand out to its left, `spacing` units each, joined by corners."""
    steps = np.hypot(*np.diff(points, axis=0).T)
    along = np.concatenate([[0.0], np.cumsum(steps)])
    count = max(round(float(along[-1]) / spacing), 2)
    places = np.linspace(0, along[-1], 2 * count + 1)
    line = np.stack([np.interp(places, along, points[:, k]) for k in (0, 1)], axis=1)
    ends, tops = line[0::2], line[1::2]
    out = normals(line)[1::2] * (0.36 * along[-1] / count)

    def bow(towards: float, height: float) -> Points:
        """A place of every curl between its ends, 0 to 1, so high over the line."""
        return np.asarray(ends[:-1] * (1 - towards) + ends[1:] * towards + height * out)

    flat = bow(0.5, 0.0) - tops  # the line itself is bent
    rows = [bow(t, h) - flat * h for t, h in ((0, 0), (0.08, 0.62), (0.3, 1.0), (0.7, 1.0), (0.92, 0.62), (1, 0))]
    return list(np.stack(rows, axis=1))
