"""Shapes of a drawing: smooth curves through points, tapered lines, named groups as SVG, and their pixels.

Everything that is drawn is a filled path in a named group, so that both writers are short: the SVG, and the pixels.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from xml.etree import ElementTree

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from speech2face.drawn.contours import UNITS, Points

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
