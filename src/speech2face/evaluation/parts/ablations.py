"""Models side by side on the same clips, such as trainings with and without a layer or a loss (Speech2Face, Fig. 6)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from speech2face.evaluation.evaluation_set import EvaluationSet
from speech2face.evaluation.intervals import SpeakerBootstrap
from speech2face.evaluation.parts.clip_measures import ClipMeasure, clip_measures
from speech2face.evaluation.parts.part import Cell, Number, Part, Table

NAME, TITLE = "ablations", "Models side by side"
NOTES = (
    "Differences are taken clip by clip on the clips that all models could hear, and resampled over speakers: an"
    " interval that holds 0 shows no difference.",
    "The paper finds that without batch normalisation the predictions collapse to one average face (spread_share near"
    " 0) and gives curves of the loss, but no table (Fig. 6); it has no numbers for leaving out terms of the loss.",
    "spread_share is the variance of the predictions over that of the faces, all coordinates together: 0 is one answer"
    " for everybody; the best least-squares prediction has as much as its R^2.",
)


def measure(evaluations: Sequence[EvaluationSet], *, seed: int = 0) -> Part:
    """Every model at the longest length that all have heard, and its differences from the first."""
    if len(evaluations) < 2:
        return Part(NAME, TITLE, skipped="one model was given; give more to compare them (--model A --model B)")
    common = set.intersection(*(set(evaluation.predicted) for evaluation in evaluations))
    if not common:
        return Part(NAME, TITLE, skipped="the predictions have no length of speech in common; give the same --seconds")
    heard = max(common)
    kept = np.logical_and.reduce([np.isfinite(each.predicted[heard]).all(1) for each in evaluations])
    names = _names(evaluations)
    bootstrap = SpeakerBootstrap(evaluations[0].speaker, seed=seed)
    measured = [{m.name: m for m in clip_measures(each, heard, kept)} for each in evaluations]
    numbers: list[Number] = []
    for name, evaluation, found in zip(names, evaluations, measured, strict=True):
        conditions = {"model": name, "seconds": f"{heard:g}"}
        numbers += [one.number(NAME, bootstrap, conditions) for one in found.values()]
        numbers += _of_the_whole(evaluation, heard, kept, bootstrap, conditions)
    for name, found in zip(names[1:], measured[1:], strict=True):
        conditions = {"model": name, "against": names[0], "seconds": f"{heard:g}"}
        for metric in (metric for metric in measured[0] if metric in found):
            numbers.append(_difference(measured[0][metric], found[metric], bootstrap, conditions))
    if not numbers:
        return Part(NAME, TITLE, skipped="there are neither face embeddings nor labels to hold the answers against")
    return Part(NAME, TITLE, tuple(numbers), (_table(names, numbers),), notes=NOTES)


def _names(evaluations: Sequence[EvaluationSet]) -> list[str]:
    """The models' names, numbered where two are the same."""
    plain = [f"{each.model.name} {each.model.version}".strip() for each in evaluations]
    count = Counter(plain)
    return [name if count[name] == 1 else f"{name} ({place})" for place, name in enumerate(plain, 1)]


def _difference(
    first: ClipMeasure, other: ClipMeasure, bootstrap: SpeakerBootstrap, conditions: dict[str, str]
) -> Number:
    """Other minus first, clip by clip."""
    values = other.values - first.values
    clips = int(np.isfinite(values).sum())
    metric = f"{first.name}_difference"
    better = first.higher_is_better
    return Number(NAME, metric, bootstrap.mean(values), clips, conditions, chance=0.0, higher_is_better=better)


def _of_the_whole(
    evaluation: EvaluationSet,
    heard: float,
    kept: NDArray[np.bool_],
    bootstrap: SpeakerBootstrap,
    conditions: dict[str, str],
) -> list[Number]:
    """R^2, and how far the predictions are spread."""
    if evaluation.reference is None:
        return []
    kept = kept & evaluation.has_reference()
    predicted, reference = evaluation.predicted[heard], evaluation.reference
    square = {}
    for name, values, centre in (
        ("error", predicted - reference, 0.0),
        ("faces", reference, reference[kept].mean(0)),
        ("answers", predicted, predicted[kept].mean(0)),
    ):
        square[name] = np.where(kept, np.square(values - centre, dtype=np.float64).sum(1), np.nan)
    r2 = bootstrap.ratio(square["faces"] - square["error"], square["faces"])
    spread = bootstrap.ratio(square["answers"], square["faces"])
    clips = int(kept.sum())
    return [
        Number(NAME, "r2", r2, clips, conditions, chance=None, mean_face=0.0),
        Number(NAME, "spread_share", spread, clips, conditions, mean_face=0.0, higher_is_better=None),
    ]


def _table(names: Sequence[str], numbers: Sequence[Number]) -> Table:
    """One row a model, one column a metric, differences from the first in further columns."""
    metrics = list(dict.fromkeys(number.metric for number in numbers))
    found = {(number.conditions["model"], number.metric): number.estimate for number in numbers}
    rows: list[tuple[Cell, ...]] = []
    for name in names:
        estimates = [found.get((name, metric)) for metric in metrics]
        rows.append((name, *(None if estimate is None else estimate.value for estimate in estimates)))
    return Table("models", "Models side by side", ("model", *metrics), tuple(rows))
