"""Smooth curves through points, as SVG path data."""

import numpy as np

from speech2face.drawn.contours import Points

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
