"""Hair styles as drawn shapes, on a grid that each face stretches to its own proportions.

A place of the grid is (u, t). `u` is sideways: 0 the middle of the face, 1 where it meets the right ear. `t` goes
down: 0 the crown, 1 the hairline, 2 the brows, 3 the top of the ears, 4 the ear lobes, 5 the mouth, 6 the chin, 7 the
shoulder's slope, one unit of 33 each from there on. Shapes are lists of smooth pieces joined by corners.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from speech2face.drawn.contours import FaceContours, Points
from speech2face.drawn.shapes import normals
from speech2face.face.hair import HairStyle

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
