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
