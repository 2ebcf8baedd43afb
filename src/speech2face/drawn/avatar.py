"""The drawn avatar: a canonical face in a few flat tones, layer upon layer from the ground to the hair."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import drawsvg
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from speech2face.drawn.contours import UNITS, Eye, FaceContours, Points, face_contours

# --- Smooth curves through points, as SVG path data.

SEGMENT = "C{:.1f} {:.1f} {:.1f} {:.1f} {:.1f} {:.1f}"


def curve(points: Points, *, closed: bool = False, go_on: bool = False) -> str:
    """A Catmull-Rom spline through points (points, 2) as cubic Bezier segments; `go_on` draws a line to its start."""
    p = np.asarray(points, np.float64)
    before = np.concatenate([p[-1:] if closed else p[:1], p[:-1]])
    after = np.concatenate([p[1:], p[:1] if closed else p[-1:]])
    slope = (after - before) / 6.0
    ends, end_slopes = (after, np.roll(slope, -1, axis=0)) if closed else (p[1:], slope[1:])
    begins = len(ends)
    segments = np.concatenate([(p + slope)[:begins], ends - end_slopes, ends], axis=1)  # (segments, 6)
    x, y = p[0]
    text = f"{'L' if go_on else 'M'}{x:.1f} {y:.1f}"
    return text + "".join(SEGMENT.format(*row) for row in segments.tolist()) + "Z" * closed


def band(edge: Points, other: Points) -> str:
    """The closed area between two curves that run the same way."""
    return curve(edge) + curve(other[::-1], go_on=True) + "Z"


# --- The few flat colours of a drawing, taken from the canonical face where they stand and cleaned in CIE Lab.

Lab = NDArray[np.float64]
TO_XYZ = np.array(
    [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750], [0.0193339, 0.1191920, 0.9503041]]
)
WHITE = np.array([0.95047, 1.0, 1.08883])  # D65
GROUND = np.array([91.0, -1.5, -3.0])
STUBBLE_STEPS = (6.0, 24.0)  # how much darker chin than cheek begins to be a beard, and is a whole one; in L*


def to_lab(srgb: NDArray[np.floating]) -> Lab:
    """CIE Lab of sRGB in [0, 255], (3,) -> (3,); IEC 61966-2-1 and CIE 15."""
    share = np.asarray(srgb, np.float64) / 255
    linear = np.where(share <= 0.04045, share / 12.92, ((share + 0.055) / 1.055) ** 2.4)
    x = TO_XYZ @ linear / WHITE
    f = np.where(x > 0.008856, np.cbrt(x), 7.787 * x + 16 / 116)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


def to_hex(lab: Lab) -> str:
    """The nearest sRGB colour, as SVG writes it."""
    f = (lab[0] + 16) / 116 + np.array([lab[1] / 500, 0.0, -lab[2] / 200])
    x = np.where(f**3 > 0.008856, f**3, (f - 16 / 116) / 7.787) * WHITE
    linear = np.clip(np.linalg.solve(TO_XYZ, x), 0, 1)
    srgb = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    return "#" + "".join(f"{round(255 * float(v)):02x}" for v in np.clip(srgb, 0, 1))


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


def read_tones(picture: NDArray[np.uint8], contours: FaceContours, femininity: float) -> Tones:
    """The tones of a canonical face (height, width, 3); a beard needs a face believed to be a man's."""
    scale = picture.shape[1] / UNITS

    def at(points: Points, radius: float) -> Lab:
        """Median colour around some places."""
        reach = max(1, round(radius * scale))
        pieces = []
        for x, y in np.rint(points * scale - 0.5).astype(int):
            x, y = (int(np.clip(v, 0, size - 1)) for v, size in ((x, picture.shape[1]), (y, picture.shape[0])))
            piece = picture[max(0, y - reach) : y + reach + 1, max(0, x - reach) : x + reach + 1]
            pieces.append(piece.reshape(-1, 3))
        return to_lab(np.median(np.concatenate(pieces), axis=0))

    c = contours
    crown = (c.hair[len(c.hair) // 2] + c.hairline[len(c.hairline) // 2]) / 2
    sides = [(c.hair[k] + c.hairline[j]) / 2 for k, j in ((4, 3), (-5, -4), (2, 1), (-3, -2))]
    forehead = c.hairline[len(c.hairline) // 2] * 0.65 + np.mean([brow.mean(0) for brow in c.brows], 0) * 0.35
    sides_of_face = [c.jaw[k] * 0.6 + cheek * 0.4 for k, cheek in ((1, c.cheeks[0]), (-2, c.cheeks[1]))]
    skin = shift(at(np.stack([*c.cheeks, forehead, *sides_of_face]), 6), 2.0, chroma=1.12)
    brow = at(np.stack([np.mean(b[1:4], 0) * 0.5 + np.mean(b[-2:], 0) * 0.5 for b in c.brows]), 2)
    mouth = np.concatenate(
        [(c.upper_lip[2:5] + c.lip_line[2:5].mean(0)) / 2, (c.lower_lip[1:4] + c.lip_line[2:5].mean(0)) / 2]
    )
    lips = skin + (at(mouth, 2.5) - skin) * 1.1
    lips[1] = min(lips[1] + 2, skin[1] + 14)  # a mouth drawn redder than this wears lipstick
    ring = [eye.iris + eye.iris_radius * 0.68 * np.array([x, 0.25]) for eye in c.eyes for x in (-1, 1)]
    low = np.array([UNITS - 12.0, UNITS - 12.0])
    shirt = at(np.array([[c.centre - 110, low[0]], [c.centre + 110, low[1]]]), 5)
    chin = c.jaw[len(c.jaw) // 2]
    under_lip, under_nose = c.lower_lip[2] * 0.45 + chin * 0.55, c.upper_lip[3] * 0.5 + c.nose_base[1] * 0.5
    reach = np.array([0.09 * c.width, 0.0])
    bearded = np.stack([under_lip - reach, under_lip, under_lip + reach, under_nose])
    darker = at(c.cheeks, 6)[0] - at(bearded, 4)[0]
    first, whole = STUBBLE_STEPS
    return Tones(
        skin=skin,
        hair=shift(at(np.stack([crown, *sides]), 7), 2.0, chroma=1.15),
        brow=brow,
        lips=lips,
        iris=at(np.stack(ring), 2),
        shirt=shirt,
        stubble=float(np.clip((darker - first) / (whole - first), 0, 1) * np.clip(1.5 - 2 * femininity, 0, 1)),
    )


FIRST_LINES, ALL_LINES = 38.0, 78.0  # years at which age lines begin and are full
FOREHEAD_LINES = ((0.36, 0.30, 0.25), (0.52, 0.36, 0.25), (0.68, 0.30, 0.6))  # place, half width, from which share on
LASHES = ((1.2, 1.9), (3.5, 3.0))  # wing and thickness, masculine and feminine
NOSE_BASE_BEND = np.array([[-3, -1], [0, 2.5], [3, -1]])
UNDER_LIP = np.array([[0, 7], [0, 9], [0, 7]])
DARK, PUPIL = "#231815", "#16100e"


@dataclass(frozen=True, eq=False)
class _Palette:
    skin: str
    light: str
    shade: str
    deep: str
    hair: str
    hair_shade: str
    hair_light: str
    tones: Tones


def _palette(tones: Tones) -> _Palette:
    skin, hair = tones.skin, tones.hair
    return _Palette(
        skin=to_hex(skin),
        light=to_hex(shift(skin, 5, chroma=0.92)),
        shade=to_hex(shift(skin, -9 - 0.05 * skin[0], chroma=1.08)),
        deep=to_hex(shift(skin, -22, chroma=1.12)),
        hair=to_hex(hair),
        hair_shade=to_hex(shift(hair, -7)),
        hair_light=to_hex(shift(hair, 7)),
        tones=tones,
    )


def draw_avatar(
    picture: NDArray[np.uint8],
    landmarks: NDArray[np.floating],
    *,
    age: float | None = None,
    femininity: float = 0.5,
    description: str = "",
) -> str:
    """The drawing of a canonical face as SVG; the same face gives the same text.

    Args:
        picture: the canonical face, (size, size, 3), which lends its colours.
        landmarks: (landmarks, 2) in its pixels: what is where.
        age: years, for lines; None draws none.
        femininity: 0 to 1, for lashes and beard.
        description: put into the file, for those who cannot see it and for what is said of its origin.

    Raises:
        InvalidOption: landmarks that are not known.
    """
    contours = face_contours(landmarks, picture.shape[1])
    artist = _Artist(contours, _palette(read_tones(picture, contours, femininity)))
    artist.ground()
    artist.neck_and_shirt()
    artist.hair_behind()
    artist.ears()
    artist.skin()
    artist.beard()
    artist.light()
    artist.nose()
    artist.mouth()
    for eye in contours.eyes:
        artist.eye(eye, femininity)
    artist.brows()
    if age is not None:
        artist.age_lines(float(np.clip((age - FIRST_LINES) / (ALL_LINES - FIRST_LINES), 0, 1)))
    artist.hair()
    return artist.svg(description)


def _moved(points: Points, right: float, down: float) -> Points:
    moved: Points = points + np.array([right, down])
    return moved


class _Artist:
    """One drawing in the making."""

    def __init__(self, contours: FaceContours, palette: _Palette) -> None:
        self.c = contours
        self.p = palette
        self.drawing = drawsvg.Drawing(int(UNITS), int(UNITS), id_prefix="s2f")
        self.layer: Any = self.drawing
        c = contours
        whole = [*c.temples[0], *c.jaw, *c.temples[1][::-1], *c.hairline[::-1]]
        self.face = curve(np.array(whole), closed=True)

    def svg(self, description: str) -> str:
        """The file's text."""
        if description:
            self.drawing.append_title(description)
        text = self.drawing.as_svg()
        assert isinstance(text, str)
        return text

    @contextmanager
    def _within(self, data: str) -> Iterator[None]:
        """What is drawn meanwhile stays inside a shape."""
        clip = drawsvg.ClipPath()
        clip.append(drawsvg.Path(d=data))
        outer, self.layer = self.layer, drawsvg.Group(clip_path=clip)
        try:
            yield
        finally:
            outer.append(self.layer)
            self.layer = outer

    def _fill(self, data: str, colour: str, **more: object) -> None:
        self.layer.append(drawsvg.Path(d=data, fill=colour, **more))

    def _disc(self, place: Points, radius: float, colour: str) -> None:
        x, y = place
        self.layer.append(drawsvg.Circle(round(x, 1), round(y, 1), round(radius, 1), fill=colour))

    def _stroke(self, data: str, colour: str, width: float, **more: object) -> None:
        style = {"fill": "none", "stroke": colour, "stroke_width": round(width, 1), "stroke_linecap": "round"} | more
        self.layer.append(drawsvg.Path(d=data, **style))

    def ground(self) -> None:
        """A plain, light ground."""
        self.layer.append(drawsvg.Rectangle(0, 0, UNITS, UNITS, fill=to_hex(GROUND)))

    def neck_and_shirt(self) -> None:
        """Neck with the head's shadow on it, then the shirt over its end."""
        c, p = self.c, self.p
        left, right = c.neck
        x = c.centre
        hem = (left[-1, 1] + right[-1, 1]) / 2 + 0.25 * c.width
        outline = (
            f"M{left[0, 0] + 2:.1f} {left[0, 1] - 20:.1f}"
            + curve(left[1:], go_on=True)
            + f"Q{x:.1f} {hem + 20:.1f} {right[-1, 0]:.1f} {right[-1, 1]:.1f}"
            + curve(right[:0:-1], go_on=True)
            + f"L{right[0, 0] - 2:.1f} {right[0, 1] - 20:.1f}Z"
        )
        self._fill(outline, p.skin)
        fall = np.array([26.0] * len(c.jaw))
        fall[len(c.jaw) // 2 - 1 : len(c.jaw) // 2 + 2] += 8  # longest under the chin
        cast = c.jaw + np.stack([np.zeros(len(c.jaw)), fall], axis=1)
        shadow = curve(cast) + f"L{cast[-1, 0]:.1f} {c.jaw[0, 1] - 60:.1f}L{cast[0, 0]:.1f} {c.jaw[0, 1] - 60:.1f}Z"
        with self._within(outline):
            self._fill(shadow, p.shade)
        sides = [
            np.array([_moved(s[2], o * 90, 70), _moved(s[2], o * 30, 12), s[1], _moved(s[0], 0, 2)])
            for s, o in zip(c.shoulders, (-1, 1), strict=True)
        ]
        end = sides[1][-1]
        neckline = f"Q{x:.1f} {hem:.1f} {end[0]:.1f} {end[1]:.1f}"
        over = curve(sides[1][::-1])
        shirt = p.tones.shirt
        self._fill(curve(sides[0]) + neckline + over[over.index("C") :] + "L700 800L-200 800Z", to_hex(shirt))
        start = sides[0][-1]
        hem_line = f"M{start[0]:.1f} {start[1]:.1f}{neckline}"
        self._stroke(hem_line, to_hex(shift(shirt, -10)), 7, stroke_linecap="butt")

    def hair_behind(self) -> None:
        """The mass of hair that the head hides, down to the ears."""
        c = self.c
        under = [_moved(c.jaw[-1], -10, -60), _moved(c.jaw[0], 10, -60)]
        behind = [_moved(c.ears[0][1], -1, -2), *c.hair, _moved(c.ears[1][1], 1, -2), *under]
        self._fill(curve(np.array(behind), closed=True), self.p.hair_shade)

    def ears(self) -> None:
        """Two shells with their shade."""
        for ear in self.c.ears:
            self._fill(curve(ear, closed=True), self.p.skin)
            shell = ear[1:-1] * 0.55 + ear.mean(0) * 0.45
            self._fill(curve(shell, closed=True), self.p.shade)

    def skin(self) -> None:
        """The face itself, without light."""
        self._fill(self.face, self.p.skin)

    def light(self) -> None:
        """Light from the left, the hair's shade on the forehead, a little red on the cheeks."""
        c, p = self.c, self.p
        edge = np.array([*c.hairline[-2:], *c.temples[1], *c.jaw[: len(c.jaw) // 2 - 1 : -1][: len(c.jaw) // 2]])
        depth = np.interp(np.linspace(0, 1, len(edge)), (0, 0.25, 0.5, 0.8, 1), (0, 0.045, 0.07, 0.06, 0)) * c.width
        with self._within(self.face):
            self._fill(band(edge, edge - np.stack([depth, depth / 4], axis=1)), p.shade)
            self._fill(band(c.hairline, _moved(c.hairline, 0, 8)), p.shade)
        half_wide, half_high = round(0.11 * c.width, 1), round(0.075 * c.width, 1)
        red = to_hex(shift(p.tones.skin, -3, redder=7))
        for x, y in c.cheeks:
            middle = round(x, 1), round(y + 4, 1)
            self.layer.append(drawsvg.Ellipse(*middle, half_wide, half_high, fill=red, fill_opacity=0.35))

    def beard(self) -> None:
        """Stubble or a beard, as dark as the canonical face has it; the mouth stays free."""
        c, tones = self.c, self.p.tones
        if tones.stubble <= 0:
            return
        nose_left, nose_right = _moved(c.nose_base[0], -3, 4), _moved(c.nose_base[-1], 3, 4)
        inner = []
        for side, start, nose in ((-1, c.jaw[-1], nose_right), (1, c.jaw[0], nose_left)):
            corner = c.lip_line[-1 if side < 0 else 0]
            top = c.temples[1 if side < 0 else 0][-1]
            way = [
                _moved(top * 0.75 + corner * 0.25, 0, 12),
                _moved(start * 0.45 + corner * 0.55, 0, -2),
                _moved(corner, -side * 6, -8),
                _moved((corner + nose) / 2, 0, 1),
                nose,
            ]
            inner.append(way if side < 0 else way[::-1])
        outline = [c.temples[0][-1], *c.jaw, c.temples[1][-1], *inner[0], *inner[1]]
        share = 0.10 + 0.32 * tones.stubble
        colour = to_hex(tones.skin + (shift(tones.hair, 4) - tones.skin) * share)
        with self._within(self.face):
            self._fill(curve(np.array(outline), closed=True), colour)
        mouth = [
            _moved(c.lip_line[0], -6, 1),
            _moved(c.upper_lip[1], 0, -4),
            _moved(c.upper_lip[3], 0, -5),
            _moved(c.upper_lip[5], 0, -4),
            _moved(c.lip_line[-1], 6, 1),
            _moved(c.lower_lip[0], 3, 4),
            _moved(c.lower_lip[2], 0, 6),
            _moved(c.lower_lip[-1], -3, 4),
        ]
        self._fill(curve(np.array(mouth), closed=True), self.p.skin, fill_opacity=0.55)

    def eye(self, eye: Eye, femininity: float) -> None:
        """Lid, white, iris with its light, lashes."""
        p = self.p
        self._fill(band(eye.crease, eye.upper), p.shade)
        shape = curve(np.concatenate([eye.upper, eye.lower]), closed=True)
        self._fill(shape, to_hex(np.array([93.0 if p.tones.skin[0] > 45 else 89.0, 1.0, 3.0])))
        iris, r = p.tones.iris, eye.iris_radius
        with self._within(shape):
            self._disc(eye.iris, r, to_hex(shift(iris, -12)))
            self._disc(eye.iris, 0.8 * r, to_hex(shift(iris, 6, chroma=1.3)))
            self._disc(eye.iris, 0.42 * r, PUPIL)
            self._fill(band(eye.upper, _moved(eye.upper, 0, 4.5)), "#000", fill_opacity=0.22)
        self._disc(eye.iris + r * np.array([-0.3, -0.35]), 0.22 * r, "#fff")
        (wing_less, thin), (wing_more, thick) = LASHES
        wing, height = wing_less + (wing_more - wing_less) * femininity, thin + (thick - thin) * femininity
        under, over = eye.upper.copy(), _moved(eye.upper, 0, -height)
        under[0] += [eye.outwards * wing, 1.0]
        over[0] = under[0] - np.array([0, min(1.5, height)])
        over[-1] = eye.upper[-1]
        self._fill(band(over, under), DARK)
        low = np.array([eye.upper[-1], *eye.lower, eye.upper[0]])
        self._stroke(curve(low), to_hex(shift(p.tones.skin, -38)), 1.1, stroke_opacity=0.6)
        self._stroke(curve(eye.crease), p.deep, 1.6)

    def brows(self) -> None:
        """One flat shape each."""
        for brow in self.c.brows:
            self._fill(curve(brow, closed=True), to_hex(self.p.tones.brow))

    def nose(self) -> None:
        """Its shaded side, wings, nostrils, the tip's light."""
        c, p = self.c, self.p
        self._fill(curve(c.bridge, closed=True), p.shade)
        for wing in c.wings:
            self._stroke(curve(wing), p.deep, 2.2)
        for outer, inner in c.nostrils:
            middle = (outer + inner) / 2
            hole = np.stack([outer + (inner - outer) * 0.1, _moved(middle, 0, -2.5), inner, _moved(middle, 0, 2)])
            self._fill(curve(hole, closed=True), to_hex(shift(p.tones.skin, -40)))
        self._stroke(curve(c.nose_base + NOSE_BASE_BEND), p.deep, 2.0)
        self._stroke(curve(c.nose_light), p.light, 6.0, stroke_opacity=0.8)

    def mouth(self) -> None:
        """Two lips, the line between them, the shade under them."""
        c, lips = self.c, self.p.tones.lips
        self._fill(band(c.upper_lip, c.lip_line), to_hex(shift(lips, -5)))
        below = np.array([c.lip_line[0], *c.lower_lip[::-1], c.lip_line[-1]])
        self._fill(band(c.lip_line, below), to_hex(shift(lips, 3)))
        self._stroke(curve(c.lip_line), to_hex(shift(lips, -24)), 2.4)
        self._stroke(curve(c.lower_lip[1:4] + UNDER_LIP), self.p.shade, 5.0)

    def age_lines(self, share: float) -> None:
        """Folds, bags, forehead and crow's feet, from none at 0 to all at 1."""
        if share <= 0:
            return
        c, deep = self.c, self.p.deep
        for fold in c.folds:
            self._stroke(curve(fold), deep, 1.2 + 1.8 * share, stroke_opacity=round(0.25 + 0.6 * share, 2))
        for eye in c.eyes:
            self._stroke(curve(eye.bag), deep, 1.0 + 1.4 * share, stroke_opacity=round(0.2 + 0.5 * share, 2))
        crown = c.hairline[len(c.hairline) // 2]
        between = np.mean([brow.mean(0) for brow in c.brows], axis=0)
        for place, half, least in FOREHEAD_LINES:
            if share > least:
                x, y = crown * (1 - place) + between * place
                reach = 0.55 * half * c.width
                line = np.array(
                    [
                        [x - reach, y + 3],
                        [x - reach / 2, y - 1.5],
                        [x, y + 0.5],
                        [x + reach / 2, y - 1.5],
                        [x + reach, y + 3],
                    ]
                )
                self._stroke(curve(line), deep, 1.0 + share, stroke_opacity=round(0.15 + 0.4 * share, 2))
        for eye in c.eyes:
            for fall in (-6.0, 1.0, 8.0):
                start = _moved(eye.upper[0], eye.outwards * 8, fall / 2)
                line = np.stack([start, _moved(start, eye.outwards * 10, fall / 2)])
                self._stroke(curve(line), deep, 1.3, stroke_opacity=round(0.5 * share, 2))

    def hair(self) -> None:
        """From the silhouette to the hairline, with a band of light on the crown."""
        c = self.c
        front = [_moved(c.ears[0][1], 3, 6), *c.hair, _moved(c.ears[1][1], -3, 6)]
        line = [_moved(c.temples[0][0], -2, -2), *c.hairline, _moved(c.temples[1][0], 2, -2)]
        self._fill(band(np.array(front), np.array(line)), self.p.hair)
        places = np.linspace(0.2, 0.66, 9)
        over = np.stack(
            [np.interp(places * (len(c.hair) - 1), range(len(c.hair)), c.hair[:, k]) for k in (0, 1)], axis=1
        )
        under = np.stack(
            [np.interp(places * (len(c.hairline) - 1), range(len(c.hairline)), c.hairline[:, k]) for k in (0, 1)],
            axis=1,
        )
        swell = np.sin(np.linspace(0, np.pi, 9))[:, None]
        top = over + (under - over) * 0.34
        self._fill(band(top - (under - over) * 0.06 * swell, top + (under - over) * 0.06 * swell), self.p.hair_light)


# --- SVG to pixels.


def rasterise(svg: str, pixels: int) -> NDArray[np.uint8]:
    """The drawing at a size, (pixels, pixels, 3)."""
    import resvg_py

    with Image.open(io.BytesIO(bytes(resvg_py.svg_to_bytes(svg_string=svg, width=pixels, height=pixels)))) as picture:
        return np.asarray(picture.convert("RGB"))
