"""Draw the report's figures with matplotlib, all in one hand: same type, same colours, no state shared between them."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from speech2face.errors import MissingExtra
from speech2face.provenance import chart_provenance, picture_bytes
from speech2face.quiet import away_from_home

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Canvas

COLOURS = ("#2f5d8a", "#c8553d", "#3b8a6e", "#b58a2b", "#7a5aa6", "#6b7280")
"""Told apart also by who sees no red or no green, and by their lightness in print."""
CHANCE_COLOUR = "#8a8f98"
"""Of chance levels and of what a cheat earns, dashed."""
GRID_COLOUR = "#e3e5e8"
INK = "#22252a"
PAPER = "#ffffff"
DOTS_PER_INCH = 150
MISSING = "figures need the extra 'eval': pip install 'speech2face[eval]'"

_STYLE: dict[str, object] = {
    "font.family": "DejaVu Sans",  # comes with matplotlib: the same picture everywhere
    "font.size": 10.0,
    "axes.titlesize": 11.0,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.labelcolor": INK,
    "axes.edgecolor": "#b7bbc2",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": GRID_COLOUR,
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "lines.linewidth": 1.8,
    "legend.frameon": False,
    "figure.facecolor": PAPER,
    "savefig.facecolor": PAPER,
    "image.interpolation": "nearest",
}


def render(draw: Callable[[Canvas], None], inches: tuple[float, float] = (6.4, 4.0)) -> bytes:
    """A labelled PNG, the same bytes for the same drawing.

    `draw` fills an empty matplotlib figure of (width, height) inches.

    Raises:
        MissingExtra: matplotlib is not installed.
    """
    try:
        with away_from_home():
            import matplotlib
            from matplotlib.backends.backend_agg import FigureCanvasAgg
            from matplotlib.figure import Figure
            from matplotlib.rcsetup import cycler
    except ImportError as error:
        raise MissingExtra(MISSING) from error

    with matplotlib.rc_context():
        matplotlib.rcdefaults()  # nobody's own matplotlibrc
        matplotlib.rcParams.update(_STYLE)  # type: ignore[arg-type]
        matplotlib.rcParams["axes.prop_cycle"] = cycler("color", COLOURS)
        canvas = Figure(figsize=inches, dpi=DOTS_PER_INCH, layout="constrained")
        agg = FigureCanvasAgg(canvas)
        draw(canvas)
        agg.draw()  # type: ignore[no-untyped-call]
        image = np.ascontiguousarray(np.asarray(agg.buffer_rgba())[..., :3])  # type: ignore[no-untyped-call]
    return picture_bytes(image, chart_provenance(), {}, small=True)
