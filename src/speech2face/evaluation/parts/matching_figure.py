"""The figure of matching: forced choice against the number of candidates, and the ROC of verification."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from speech2face.evaluation.metrics.matching import Choices, Singles, square
from speech2face.evaluation.metrics.verification import roc
from speech2face.evaluation.parts.part import Figure
from speech2face.evaluation.reporting.figures import CHANCE_COLOUR, COLOURS, render

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Canvas

MOST_WAYS = 20
TICKS = (2, 5, 10, 15, 20)
INCHES = (8.6, 3.8)


def matching_figure(similarity: Singles, speaker: NDArray[np.int64], gender: NDArray[np.str_]) -> Figure:
    """From similarities of every voice (row) with every face, among anyone and within a gender."""
    known = np.flatnonzero(gender != "")
    everybody = np.full(len(speaker), "all")
    curves = [("anyone", similarity, speaker, everybody)]
    if len(np.unique(speaker[known])) > 1:
        curves.append(("same gender", square(similarity, known), speaker[known], gender[known]))

    def draw(canvas: Canvas) -> None:
        left, right = canvas.subplots(1, 2)
        ways = np.arange(2, MOST_WAYS + 1)
        for colour, (name, pairs, people, stratum) in zip(COLOURS, curves, strict=False):
            for line, turned in (("-", pairs), (":", pairs.T)):
                choices = Choices.of(turned, people, stratum)
                won = [_mean(choices.won(number)) for number in ways.tolist()]
                arrow = "voice to face" if line == "-" else "face to voice"
                left.plot(ways, won, line, color=colour, label=f"{arrow}, {name}")
            curve = roc(pairs, people, stratum)
            found = 1 - np.concatenate([[0, 0], np.cumsum(curve.genuine)]) / curve.genuine.sum()
            taken = 1 - np.concatenate([[0], curve.below, [curve.impostors]]) / curve.impostors
            right.plot(taken, found, color=colour, label=f"{name}: AUC {curve.area():.3f}")
        left.plot(ways, 1 / ways, "--", color=CHANCE_COLOUR, label="chance")
        left.set(xlabel="candidates", ylabel="choices won", ylim=(0, 1), title="Forced choice", xticks=TICKS)
        right.plot([0, 1], [0, 1], "--", color=CHANCE_COLOUR, label="chance")
        right.set(xlabel="impostors accepted", ylabel="genuine pairs accepted", title="Verification", aspect="equal")
        for axes in (left, right):
            axes.legend(fontsize=8)

    caption = (
        "Left: how often the own one of N candidates is chosen, as expected over all foils; right: ROC over all pairs"
        " of a voice and a face. From the embedding, at the longest seconds heard."
    )
    alt = "Two line charts: choices won against the number of candidates, and the ROC curve of verification"
    return Figure("matching", caption, render(draw, INCHES), alt)


def _mean(shares: NDArray[np.float64]) -> float:
    present = shares[np.isfinite(shares)]
    return float(present.mean()) if len(present) else float("nan")
