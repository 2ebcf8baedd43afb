"""The few flat colours of a drawing, taken from the canonical face where they stand and cleaned in CIE Lab."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from speech2face.drawn.contours import UNITS, FaceContours, Points

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
