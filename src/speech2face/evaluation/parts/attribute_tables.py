"""How the attribute part shows its matrices: tables with the paper's rows beside, and the figure like its Figure 4."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from speech2face.evaluation.metrics.confusion import DECADES, Floats, row_normalised
from speech2face.evaluation.parts.attribute_opinions import GENDERS
from speech2face.evaluation.parts.part import Cell, Figure, Table
from speech2face.evaluation.readers.reader import Attribute
from speech2face.evaluation.reporting.figures import render

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Canvas

FACE_PLUS_PLUS_GROUPS = ("Asian", "Black", "India", "White")
_PAPER_DECADES = DECADES[1:8]  # 10 to 70
Rows = Mapping[str, tuple[float, ...]]


@dataclass(frozen=True)
class Published:
    """A row-normalised matrix of the paper, of AVSpeech, both sides read by Face++."""

    classes: tuple[str, ...]
    rows: Rows


def _rows(classes: Sequence[str], text: str) -> Rows:
    numbers = [tuple(float(number) for number in line.split()) for line in text.strip().splitlines()]
    return dict(zip(classes, numbers, strict=True))


FROM_VOICE: dict[Attribute, Published] = {
    "gender": Published(GENDERS, _rows(GENDERS, ".94 .06\n.06 .94")),
    "group": Published(
        FACE_PLUS_PLUS_GROUPS,
        _rows(FACE_PLUS_PLUS_GROUPS, ".50 .03 .10 .38\n.27 .11 .13 .49\n.27 .13 .13 .48\n.30 .04 .05 .61"),
    ),
    "age": Published(
        _PAPER_DECADES,
        _rows(
            _PAPER_DECADES,
            """.00 .38 .38 .23 0 0 0
            0 .26 .38 .24 .09 .02 .01
            0 .21 .32 .32 .10 .03 .02
            0 .09 .32 .33 .18 .05 .02
            0 .07 .24 .27 .30 .08 .05
            0 .05 .12 .33 .28 .16 .05
            0 .08 .14 .20 .14 .10 .35""",
        ),
    ),
}
"""Original picture against the picture from the voice: Figure 4 (the figure's own PDF)."""


@dataclass(frozen=True, eq=False)
class Matrix:
    """One confusion matrix of a comparison."""

    attribute: Attribute
    classes: tuple[str, ...]
    counts: Floats
    """(reference, read)"""


def confusion_table(name: str, title: str, matrix: Matrix, *, beside_the_paper: bool) -> Table:
    """Row-normalised, with how many clips each row stands on, and the paper's rows below."""
    shares, clips = row_normalised(matrix.counts), matrix.counts.sum(1)
    header = ("source", "reference", *(f"read as {one}" for one in matrix.classes), "clips")
    rows: list[tuple[Cell, ...]] = [
        ("measured", one, *(_cell(share) for share in shares[place]), int(clips[place]))
        for place, one in enumerate(matrix.classes)
        if clips[place] > 0
    ]
    published = FROM_VOICE[matrix.attribute]
    if beside_the_paper and set(published.classes) <= set(matrix.classes):
        for one, numbers in published.rows.items():
            told = dict(zip(published.classes, numbers, strict=True))
            rows.append(("paper", one, *(told.get(read) for read in matrix.classes), None))
    empty = [one for place, one in enumerate(matrix.classes) if clips[place] == 0]
    note = f"No clip has the reference {', '.join(empty)}." if empty else ""
    return Table(name, title, header, tuple(rows), note)


def _cell(share: float) -> float | None:
    return None if np.isnan(share) else round(float(share), 4)


def confusion_figure(name: str, title: str, matrices: Sequence[Matrix]) -> Figure:
    """The matrices beside each other, as in Figure 4 of the paper."""
    shown = [matrix for matrix in matrices if matrix.counts.sum() > 0]
    widths = [_inches(_present(matrix)[1]) for matrix in shown]

    def draw(canvas: Canvas) -> None:
        axes = canvas.subplots(1, len(shown), width_ratios=widths, squeeze=False)[0]
        for place, matrix in zip(axes, shown, strict=True):
            _heat(place, matrix)

    png = render(draw, (sum(widths) + 0.4, max(widths) + 0.1))
    caption = f"{title}. Each row sums to 1: of the clips whose reference is the row, the share read as the column."
    return Figure(name, caption, png, " ".join(_in_words(matrix) for matrix in shown))


def _present(matrix: Matrix) -> tuple[Floats, tuple[str, ...]]:
    """The matrix over the classes that occur on either side."""
    there = np.flatnonzero(matrix.counts.sum(0) + matrix.counts.sum(1) > 0)
    return matrix.counts[np.ix_(there, there)], tuple(matrix.classes[place] for place in there)


def _inches(classes: Sequence[str]) -> float:
    return 1.5 + 0.42 * len(classes)


def _heat(axes: Axes, matrix: Matrix) -> None:
    counts, classes = _present(matrix)
    shares = row_normalised(counts)
    axes.imshow(np.nan_to_num(shares), cmap="Blues", vmin=0.0, vmax=1.0)
    for (row, column), share in np.ndenumerate(shares):
        text = "" if np.isnan(share) else f"{share:.2f}".lstrip("0") if share < 1 else "1"
        axes.text(column, row, text, ha="center", va="center", fontsize=8, color="white" if share > 0.55 else "black")
    labels = [f"{one} ({int(count)})" for one, count in zip(classes, counts.sum(1), strict=True)]
    axes.set_yticks(range(len(classes)), labels)
    axes.set_xticks(range(len(classes)), classes, rotation=45, ha="right", rotation_mode="anchor")
    axes.set(title=matrix.attribute, xlabel="read as", ylabel="reference (clips)")
    axes.grid(visible=False)
    axes.spines[:].set_visible(False)


def _in_words(matrix: Matrix) -> str:
    counts, classes = _present(matrix)
    diagonal = np.diagonal(row_normalised(counts))
    told = [f"{one} {share:.2f}" for one, share in zip(classes, diagonal, strict=True) if np.isfinite(share)]
    return f"{matrix.attribute.capitalize()}, share read as their reference: {', '.join(told)}."
