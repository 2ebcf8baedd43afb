"""What more speech is worth: numbers over the seconds heard (Speech2Face, section 4.4 and Fig. 6)."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from speech2face.evaluation.evaluation_set import EvaluationSet
from speech2face.evaluation.intervals import SpeakerBootstrap
from speech2face.evaluation.metrics.retrieval import THREADS
from speech2face.evaluation.parts.clip_measures import clip_measures
from speech2face.evaluation.parts.part import Figure, Number, Part, Table, exclude
from speech2face.evaluation.reporting.figures import CHANCE_COLOUR, COLOURS, render

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Canvas

NAME, TITLE = "duration", "Seconds heard"
LEAST_CLIPS = 20
SLACK = 0.01  # seconds are rounded where they were written
LABELS = {
    "angle_degrees": "angle to the own face, degrees",
    "centred_angle_degrees": "angle around the mean face, degrees",
    "mean_rank_percent": "mean rank, % of the gallery",
    "gender_right": "gender told right, share",
    "age_error_years": "error of the age, years",
}
PAPER = (
    "The paper compares 3 and 6 s: hearing 6 s is better whichever of them a model was trained with (Fig. 6). What is"
    " shorter than a model's training clips is repeated by its own rule before it is heard."
)


def measure(evaluation: EvaluationSet, *, seed: int = 0) -> Part:
    """Numbers at each of the seconds heard, over the same clips at every point: those that are long enough for all."""
    points, left_out = _points(evaluation)
    if len(points) < 2:
        why = f"a curve needs two lengths that {LEAST_CLIPS} clips have; give --seconds 1,2,3,6,10,20, or more clips"
        return Part(NAME, TITLE, skipped=why)
    kept = _long_enough(evaluation, points)
    bootstrap = SpeakerBootstrap(evaluation.speaker, seed=seed)
    numbers: list[Number] = []
    with ThreadPoolExecutor(THREADS) as threads:  # numpy lets other threads run
        measured = list(threads.map(lambda heard: clip_measures(evaluation, heard, kept), points))
    for heard, measures in zip(points, measured, strict=True):
        conditions = {"seconds": f"{heard:g}"}
        numbers += [one.number(NAME, bootstrap, conditions) for one in measures]
    if not numbers:
        return Part(NAME, TITLE, skipped="there are neither face embeddings nor labels to hold the answers against")
    notes = [f"The same {int(kept.sum())} clips at every point: those of {points[-1]:g} s or more.", PAPER]
    if left_out:
        notes.append(f"Left out, as fewer than {LEAST_CLIPS} clips last so long: {_listed(left_out)} s.")
    short = evaluation.seconds < points[-1] - SLACK
    return Part(
        NAME,
        TITLE,
        tuple(numbers),
        (_table(numbers),),
        (_curves(numbers),),
        tuple(notes),
        exclude(evaluation.keys, np.flatnonzero(short), "too_short", f"under {points[-1]:g} s"),
    )


def _points(evaluation: EvaluationSet) -> tuple[list[float], list[float]]:
    """The lengths that enough clips have, and those that are left out."""
    points, left_out = sorted(evaluation.predicted), []
    while len(points) > 1 and int(_long_enough(evaluation, points).sum()) < LEAST_CLIPS:
        left_out.append(points.pop())
    return points, left_out[::-1]


def _long_enough(evaluation: EvaluationSet, points: Sequence[float]) -> NDArray[np.bool_]:
    """Clips that last as long as the longest point and were heard at each, (clips,)."""
    kept = evaluation.seconds >= points[-1] - SLACK
    for heard in points:
        kept = kept & np.isfinite(evaluation.predicted[heard]).all(1)
    return np.asarray(kept)


def _table(numbers: Sequence[Number]) -> Table:
    metrics = list(dict.fromkeys(number.metric for number in numbers))
    found = {(number.conditions["seconds"], number.metric): number.estimate.value for number in numbers}
    points = list(dict.fromkeys(number.conditions["seconds"] for number in numbers))
    rows = tuple((point, *(found.get((point, metric)) for metric in metrics)) for point in points)
    return Table("curve", "Numbers by seconds heard", ("seconds", *metrics), rows)


def _curves(numbers: Sequence[Number]) -> Figure:
    metrics = [metric for metric in LABELS if any(number.metric == metric for number in numbers)]

    def draw(canvas: Canvas) -> None:
        for axes, metric in zip(np.atleast_1d(canvas.subplots(1, len(metrics))), metrics, strict=True):
            _curve(axes, [number for number in numbers if number.metric == metric])

    said = "; ".join(_said(metric, [n for n in numbers if n.metric == metric]) for metric in metrics)
    return Figure(
        "curves",
        "Numbers over the seconds heard, with 95 % intervals over speakers; dashed: the mean face, or one answer for"
        " everybody.",
        render(draw, (3.4 * len(metrics) + 0.6, 3.2)),
        f"Curves over seconds heard. {said}.",
    )


def _curve(axes: Axes, numbers: Sequence[Number]) -> None:
    seconds = [float(number.conditions["seconds"]) for number in numbers]
    axes.plot(seconds, [number.estimate.value for number in numbers], marker="o", color=COLOURS[0])
    low, high = ([getattr(number.estimate, end) for number in numbers] for end in ("low", "high"))
    axes.fill_between(seconds, low, high, color=COLOURS[0], alpha=0.2, linewidth=0)
    if (cheat := numbers[0].mean_face) is not None:
        axes.axhline(cheat, color=CHANCE_COLOUR, linestyle="--")
    axes.set(xlabel="seconds heard", ylabel=LABELS[numbers[0].metric])


def _said(metric: str, numbers: Sequence[Number]) -> str:
    first, last = numbers[0], numbers[-1]
    return (
        f"{LABELS[metric]}: {first.estimate.value:.3g} after {first.conditions['seconds']} s,"
        f" {last.estimate.value:.3g} after {last.conditions['seconds']} s"
    )


def _listed(values: Sequence[float]) -> str:
    return ", ".join(f"{value:g}" for value in values)
