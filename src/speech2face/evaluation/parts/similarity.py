"""How near the predicted face embeddings are to those of the clips' own faces (Speech2Face, section 4.3, Table 2)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from speech2face.evaluation.page import CHANCE_COLOUR, COLOURS, render
from speech2face.evaluation.predictions import EvaluationSet
from speech2face.evaluation.report import Cell, Embeddings, Exclusion, Figure, Floats, Number, Part, Table, exclude
from speech2face.metrics import embeddings as similarity
from speech2face.metrics.attributes import principal_coordinates, recalled, silhouette
from speech2face.metrics.embeddings import THREADS, Neighbours, SpeakerSums, neighbours, unit
from speech2face.metrics.intervals import RESAMPLINGS, Estimate, SpeakerBootstrap
from speech2face.metrics.matching import Singles, rank_gallery

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Canvas

NAME, TITLE = "feature_similarity", "Feature similarity"
NO_PAIRS = "no clip has both a prediction and a face embedding"
NO_REFERENCES = "the data hold no face embeddings that the model's can be held against; give a data set that has some"
Pairwise = Callable[[Embeddings, Embeddings, Embeddings], Floats]
METRICS: dict[str, tuple[Pairwise, bool]] = {
    "angle_degrees": (lambda p, r, c: similarity.angle_degrees(p, r), False),
    "cosine": (lambda p, r, c: similarity.cosine(p, r), True),
    "centred_angle_degrees": (similarity.centred_angle_degrees, False),
    "l2_unit": (lambda p, r, c: similarity.l2(unit(p), unit(r)), False),
    "l1_unit": (lambda p, r, c: similarity.l1(unit(p), unit(r)), False),
    "l2": (lambda p, r, c: similarity.l2(p, r), False),
    "l1": (lambda p, r, c: similarity.l1(p, r), False),
}
"""Of predicted, reference and the mean of the other speakers' faces, (clips, K) each; and whether higher is better."""
PUBLISHED: dict[tuple[str, float], str] = {
    ("angle_degrees", 3): "48.43 ± 6.01 (Table 2; mean and deviation over AVSpeech clips)",
    ("angle_degrees", 6): "45.75 ± 5.09 (Table 2; mean and deviation over AVSpeech clips)",
    ("cosine", 3): ".664 (from Table 2's angle)",
    ("cosine", 6): ".698 (from Table 2's angle)",
}
FEATURE_SIMILARITY_NOTES = (
    "Only the angle can be held against the paper: its distances depend on a scale of the features that it does not"
    " state, and the angle itself on whether features are centred.",
    "Chance is the same prediction against faces of other speakers. The mean face leaves the clip's own speaker out;"
    " the centred angle is measured from it, which gives it no direction: it earns 90 degrees.",
)


def measure_feature_similarity(evaluation: EvaluationSet, *, seed: int = 0) -> Part:
    """Angle, cosine, L2 and L1 on unit and raw embeddings, the angle around the mean face, and R^2."""
    if evaluation.reference is None:
        return Part(NAME, TITLE, skipped=NO_REFERENCES)
    bootstrap = SpeakerBootstrap(evaluation.speaker, seed=seed)

    def of_length(heard: float) -> list[tuple[Number, float | None]]:
        """Numbers after so many seconds, and the deviation over clips where there is one."""
        kept = evaluation.measurable(heard)
        if not kept.any():
            return []
        pairs = _Pairs(evaluation, heard, kept, seed)
        found: list[tuple[Number, float | None]] = []
        for metric, (function, higher) in METRICS.items():
            values = function(pairs.predicted, pairs.reference, pairs.centre)
            estimate, deviation = bootstrap.mean(pairs.spread(values)), float(np.std(values))
            cheats = pairs.cheats(partial(_mean_of, function))
            found.append((_number(metric, heard, estimate, kept, cheats, higher=higher), deviation))
        return [*found, (_r2_number(pairs, bootstrap, heard, kept), None)]

    with ThreadPoolExecutor(THREADS) as threads:  # numpy lets other threads run
        measured = [one for some in threads.map(of_length, sorted(evaluation.predicted)) for one in some]
    numbers = [number for number, _ in measured]
    rows = [_row(number, deviation) for number, deviation in measured]
    if not numbers:
        return Part(NAME, TITLE, skipped=NO_PAIRS, exclusions=missing_references(evaluation))
    header = (
        "seconds",
        "metric",
        "mean",
        "low_95",
        "high_95",
        "sd",
        "chance",
        "mean_face",
        "gender_mean_face",
        "paper",
    )
    table = Table("table2", "Feature similarity (Table 2)", header, tuple(rows))
    return Part(
        NAME, TITLE, tuple(numbers), (table,), notes=FEATURE_SIMILARITY_NOTES, exclusions=missing_references(evaluation)
    )


def missing_references(evaluation: EvaluationSet) -> tuple[Exclusion, ...]:
    """Clips without a face embedding of their own."""
    return exclude(evaluation.keys, np.flatnonzero(~evaluation.has_reference()), "no_reference")


def _mean_of(function: Pairwise, predicted: Embeddings, reference: Embeddings, centre: Embeddings) -> float:
    return float(function(predicted, reference, centre).mean())


def explained(predicted: Embeddings, reference: Embeddings) -> float:
    """R^2 over all coordinates, NaN where the references do not vary."""
    errors, total = _squares(predicted, reference)
    return float(1 - errors.sum() / total.sum()) if total.sum() else float("nan")


def _squares(predicted: Embeddings, reference: Embeddings) -> tuple[Floats, Floats]:
    return similarity.squares(predicted, reference, reference.mean(0, dtype=np.float64).astype(np.float32))


class _Pairs:
    """Prediction and face of the clips that have both, and what the cheats answer."""

    def __init__(self, evaluation: EvaluationSet, heard: float, kept: NDArray[np.bool_], seed: int) -> None:
        assert evaluation.reference is not None
        self._kept = kept
        self.predicted, self.reference = evaluation.predicted[heard][kept], evaluation.reference[kept]
        self.centre = evaluation.mean_face()[kept]
        whole = self.reference.mean(0, dtype=np.float64).astype(np.float32)
        self.centre[~np.isfinite(self.centre).all(1)] = whole  # a single speaker has no others
        self._gender_means = evaluation.gender_mean_face()[kept]
        self._strangers = similarity.strangers(evaluation.speaker[kept], seed=seed)

    def spread(self, values: Floats) -> Floats:
        """Values of the kept clips among all, (clips,), NaN elsewhere."""
        whole = np.full(len(self._kept), np.nan)
        whole[self._kept] = values
        return whole

    def cheats(self, value: Callable[[Embeddings, Embeddings, Embeddings], float]) -> dict[str, float | None]:
        """What chance, the mean face and the gender's mean face earn."""
        known = np.isfinite(self._gender_means).all(1)
        alone = bool((self._strangers < 0).any())
        chances = [] if alone else [value(self.predicted, self.reference[row], self.centre) for row in self._strangers]
        of_gender = (self._gender_means[known], self.reference[known], self.centre[known])
        return {
            "chance": float(np.mean(chances)) if chances else None,
            "mean_face": value(self.centre, self.reference, self.centre),
            "gender_mean_face": value(*of_gender) if known.any() else None,
        }


def _r2_number(pairs: _Pairs, bootstrap: SpeakerBootstrap, heard: float, kept: NDArray[np.bool_]) -> Number:
    errors, total = (pairs.spread(values) for values in _squares(pairs.predicted, pairs.reference))
    missed = bootstrap.ratio(errors, total)
    estimate = Estimate(1 - missed.value, 1 - missed.high, 1 - missed.low, missed.n)
    cheats = pairs.cheats(lambda predicted, reference, centre: explained(predicted, reference))
    return _number("r2", heard, estimate, kept, cheats, higher=True)


def _number(
    metric: str,
    heard: float,
    estimate: Estimate,
    kept: NDArray[np.bool_],
    cheats: Mapping[str, float | None],
    *,
    higher: bool,
) -> Number:
    published = PUBLISHED.get((metric, heard), "")
    conditions = {"seconds": f"{heard:g}"}
    clips = int(kept.sum())
    return Number(NAME, metric, estimate, clips, conditions, **cheats, published=published, higher_is_better=higher)


def _row(number: Number, deviation: float | None) -> tuple[Cell, ...]:
    found = number.estimate
    cheats = (number.chance, number.mean_face, number.gender_mean_face)
    values = (found.value, found.low, found.high, deviation)
    return number.conditions["seconds"], number.metric, *values, *cheats, number.published


# --------------------------------------------------------------------------------------------------
# A few numbers a clip that tell models and lengths of speech apart: what curves and comparisons are made of.
# --------------------------------------------------------------------------------------------------

ADULT_AGE = 18.0  # the readings of children have numbers of their own
DEALT_OUT = 1000  # ages at most, each held against all of them


@dataclass(frozen=True, eq=False)
class ClipMeasure:
    """One number of each clip; NaN where it cannot be had."""

    name: str
    values: Floats
    """(clips,)"""
    higher_is_better: bool
    chance: float | None
    mean_face: float | None
    """What the mean face, the commonest gender or the median age for everybody earns."""
    gender_mean_face: float | None = None
    """The same within the gender of the label."""

    def number(self, part: str, bootstrap: SpeakerBootstrap, conditions: Mapping[str, str]) -> Number:
        """Its mean over clips, with everything that stands beside it."""
        return Number(
            part,
            self.name,
            bootstrap.mean(self.values),
            int(np.isfinite(self.values).sum()),
            conditions,
            chance=self.chance,
            mean_face=self.mean_face,
            gender_mean_face=self.gender_mean_face,
            higher_is_better=self.higher_is_better,
        )


def clip_measures(evaluation: EvaluationSet, heard: float, kept: NDArray[np.bool_]) -> tuple[ClipMeasure, ...]:
    """All that can be had of the kept clips after so many seconds, (clips,) each.

    Angle and angle around the mean face to the own face; rank of the own face by cosine among all faces of the
    evaluation, in percent; and where the model states attributes: error of the age and whether the gender is right.
    """
    return (*_of_embeddings(evaluation, heard, kept), *_of_attributes(evaluation, heard, kept))


def _of_embeddings(evaluation: EvaluationSet, heard: float, kept: NDArray[np.bool_]) -> tuple[ClipMeasure, ...]:
    if evaluation.reference is None:
        return ()
    there, kept = evaluation.has_reference(), kept & evaluation.measurable(heard)
    if not kept.any():
        return ()
    predicted, reference = evaluation.predicted[heard][kept], evaluation.reference[kept]
    centre = evaluation.mean_face()[kept]
    centre[~np.isfinite(centre).all(1)] = reference.mean(0)
    own = (np.cumsum(there) - 1)[kept]
    ranking = rank_gallery(predicted, evaluation.reference[there], own, evaluation.speaker[there])
    chance = 50 * (ranking.gallery + 1) / ranking.gallery
    of_gender = evaluation.gender_mean_face()[kept]
    known = np.isfinite(of_gender).all(1)
    of_gender, its, around = of_gender[known], reference[known], centre[known]
    angle, centred = similarity.angle_degrees, similarity.centred_angle_degrees
    others = _angle_to_others(predicted, reference, evaluation.speaker[kept])
    cheat = float(angle(centre, reference).mean())
    found = {
        "angle_degrees": (angle(predicted, reference), others, cheat, _mean(angle(of_gender, its))),
        "centred_angle_degrees": (
            *(centred(predicted, reference, centre), 90.0, 90.0),
            _mean(centred(of_gender, its, around)),
        ),
        "mean_rank_percent": (100 * ranking.rank / ranking.gallery, chance, chance, None),  # stands in `retrieval`
    }
    return tuple(
        ClipMeasure(name, _spread(kept, values), False, level, mean, gender)
        for name, (values, level, mean, gender) in found.items()
    )


def _angle_to_others(predicted: Embeddings, reference: Embeddings, speaker: NDArray[np.int64]) -> float | None:
    """Mean angle to faces of other speakers; None where there is nobody else."""
    pairs = similarity.strangers(speaker)
    if (pairs < 0).any():
        return None
    return float(np.mean([similarity.angle_degrees(predicted, reference[rows]) for rows in pairs]))


def _mean(values: Floats) -> float | None:
    return float(values.mean()) if len(values) else None


def _of_attributes(evaluation: EvaluationSet, heard: float, kept: NDArray[np.bool_]) -> tuple[ClipMeasure, ...]:
    stated = evaluation.stated.get(heard)
    if stated is None:
        return ()
    found = []
    gender, asked = evaluation.gender(), kept & np.isfinite(stated.femininity)
    told = asked & (gender != "")
    if told.any():
        right = (stated.femininity[told] > 0.5) == (gender[told] == "female")
        commonest = max(float((gender[told] == value).mean()) for value in ("female", "male"))
        found.append(ClipMeasure("gender_right", _spread(told, right.astype(np.float64)), True, 0.5, commonest, 1.0))
    ages = evaluation.age_intervals()
    adult = asked & (ages[:, 0] >= ADULT_AGE)
    if adult.any():
        years = ages[adult].mean(1)
        error = _spread(adult, np.abs(stated.age[adult] - years))
        some = slice(None, None, -(-len(years) // DEALT_OUT))
        dealt = float(np.abs(stated.age[adult][some, None] - years[None, some]).mean())
        of_all, of_gender = _error_of_medians(years, np.full(len(years), "")), _error_of_medians(years, gender[adult])
        found.append(ClipMeasure("age_error_years", error, False, dealt, of_all, of_gender))
    return tuple(found)


def _error_of_medians(years: Floats, group: NDArray[np.str_]) -> float:
    """Mean error of whoever says the median age of each clip's group."""
    medians = {one: np.median(years[group == one]) for one in np.unique(group)}
    return float(np.abs(np.array([medians[one] for one in group]) - years).mean())


def _spread(kept: NDArray[np.bool_], values: Floats) -> Floats:
    whole = np.full(len(kept), np.nan)
    whole[kept] = values
    return whole


# --------------------------------------------------------------------------------------------------
# What more speech is worth: numbers over the seconds heard (Speech2Face, section 4.4 and Fig. 6).
# --------------------------------------------------------------------------------------------------

DURATION_NAME, DURATION_TITLE = "duration", "Seconds heard"
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


def measure_duration(evaluation: EvaluationSet, *, seed: int = 0) -> Part:
    """Numbers at each of the seconds heard, over the same clips at every point: those that are long enough for all."""
    points, left_out = _points(evaluation)
    if len(points) < 2:
        why = f"a curve needs two lengths that {LEAST_CLIPS} clips have; give --seconds 1,2,3,6,10,20, or more clips"
        return Part(DURATION_NAME, DURATION_TITLE, skipped=why)
    kept = _long_enough(evaluation, points)
    bootstrap = SpeakerBootstrap(evaluation.speaker, seed=seed)
    numbers: list[Number] = []
    with ThreadPoolExecutor(THREADS) as threads:  # numpy lets other threads run
        measured = list(threads.map(lambda heard: clip_measures(evaluation, heard, kept), points))
    for heard, measures in zip(points, measured, strict=True):
        conditions = {"seconds": f"{heard:g}"}
        numbers += [one.number(DURATION_NAME, bootstrap, conditions) for one in measures]
    if not numbers:
        return Part(
            DURATION_NAME,
            DURATION_TITLE,
            skipped="there are neither face embeddings nor labels to hold the answers against",
        )
    notes = [f"The same {int(kept.sum())} clips at every point: those of {points[-1]:g} s or more.", PAPER]
    if left_out:
        notes.append(f"Left out, as fewer than {LEAST_CLIPS} clips last so long: {_listed(left_out)} s.")
    short = evaluation.seconds < points[-1] - SLACK
    return Part(
        DURATION_NAME,
        DURATION_TITLE,
        tuple(numbers),
        (_duration_table(numbers),),
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


def _duration_table(numbers: Sequence[Number]) -> Table:
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


# --------------------------------------------------------------------------------------------------
# Models side by side on the same clips, such as trainings with and without a layer or a loss (Speech2Face, Fig. 6).
# --------------------------------------------------------------------------------------------------

ABLATIONS_NAME, ABLATIONS_TITLE = "ablations", "Models side by side"
ABLATIONS_NOTES = (
    "Differences are taken clip by clip on the clips that all models could hear, and resampled over speakers: an"
    " interval that holds 0 shows no difference.",
    "The paper finds that without batch normalisation the predictions collapse to one average face (spread_share near"
    " 0) and gives curves of the loss, but no table (Fig. 6); it has no numbers for leaving out terms of the loss.",
    "spread_share is the variance of the predictions over that of the faces, all coordinates together: 0 is one answer"
    " for everybody; the best least-squares prediction has as much as its R^2.",
)


def measure_ablations(evaluations: Sequence[EvaluationSet], *, seed: int = 0) -> Part:
    """Every model at the longest length that all have heard, and its differences from the first."""
    if len(evaluations) < 2:
        return Part(
            ABLATIONS_NAME,
            ABLATIONS_TITLE,
            skipped="one model was given; give more to compare them (--model A --model B)",
        )
    common = set.intersection(*(set(evaluation.predicted) for evaluation in evaluations))
    if not common:
        return Part(
            ABLATIONS_NAME,
            ABLATIONS_TITLE,
            skipped="the predictions have no length of speech in common; give the same --seconds",
        )
    heard = max(common)
    kept = np.logical_and.reduce([np.isfinite(each.predicted[heard]).all(1) for each in evaluations])
    names = _names(evaluations)
    bootstrap = SpeakerBootstrap(evaluations[0].speaker, seed=seed)
    measured = [{m.name: m for m in clip_measures(each, heard, kept)} for each in evaluations]
    numbers: list[Number] = []
    for name, evaluation, found in zip(names, evaluations, measured, strict=True):
        conditions = {"model": name, "seconds": f"{heard:g}"}
        numbers += [one.number(ABLATIONS_NAME, bootstrap, conditions) for one in found.values()]
        numbers += _of_the_whole(evaluation, heard, kept, bootstrap, conditions)
    for name, found in zip(names[1:], measured[1:], strict=True):
        conditions = {"model": name, "against": names[0], "seconds": f"{heard:g}"}
        for metric in (metric for metric in measured[0] if metric in found):
            numbers.append(_difference(measured[0][metric], found[metric], bootstrap, conditions))
    if not numbers:
        return Part(
            ABLATIONS_NAME,
            ABLATIONS_TITLE,
            skipped="there are neither face embeddings nor labels to hold the answers against",
        )
    return Part(
        ABLATIONS_NAME, ABLATIONS_TITLE, tuple(numbers), (_ablations_table(names, numbers),), notes=ABLATIONS_NOTES
    )


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
    return Number(
        ABLATIONS_NAME, metric, bootstrap.mean(values), clips, conditions, chance=0.0, higher_is_better=better
    )


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
        Number(ABLATIONS_NAME, "r2", r2, clips, conditions, chance=None, mean_face=0.0),
        Number(ABLATIONS_NAME, "spread_share", spread, clips, conditions, mean_face=0.0, higher_is_better=None),
    ]


def _ablations_table(names: Sequence[str], numbers: Sequence[Number]) -> Table:
    """One row a model, one column a metric, differences from the first in further columns."""
    metrics = list(dict.fromkeys(number.metric for number in numbers))
    found = {(number.conditions["model"], number.metric): number.estimate for number in numbers}
    rows: list[tuple[Cell, ...]] = []
    for name in names:
        estimates = [found.get((name, metric)) for metric in metrics]
        rows.append((name, *(None if estimate is None else estimate.value for estimate in estimates)))
    return Table("models", "Models side by side", ("model", *metrics), tuple(rows))


# --------------------------------------------------------------------------------------------------
# The same speaker in two languages: does the language change the face? Speech2Face shows it in pictures.
# --------------------------------------------------------------------------------------------------

LANGUAGES_NAME, LANGUAGES_TITLE = "languages", "The same speaker in two languages"
NO_LABEL = "no clip has a label named language; give the language of each clip in the data set"
ONE_LANGUAGE = "no speaker has clips in two languages"
LANGUAGES_NOTES = (
    "The shift is the mean angle between predicted embeddings of one speaker's clips in two languages, less that of two"
    " clips in one language, over clips that have both. The shift ratio holds it against the angle to other speakers of"
    " the same language: 0, the language changes nothing; 1, it changes as much as another person would.",
    "The same answer to all, and the mean face of the gender, have no shift and identify nobody.",
)


def measure_languages(evaluation: EvaluationSet, *, seed: int = 0, resamplings: int = RESAMPLINGS) -> Part:
    """Of every seconds heard; clips without a language are left out, speakers of one language only serve as others."""
    language = evaluation.label("language")
    if not (language != "").any():
        return Part(LANGUAGES_NAME, LANGUAGES_TITLE, skipped=NO_LABEL)
    exclusions = list(exclude(evaluation.keys, np.flatnonzero(language == ""), "no_language"))
    numbers: list[Number] = []
    for seconds in sorted(evaluation.predicted):
        heard = np.isfinite(evaluation.predicted[seconds]).all(1)
        exclusions += exclude(evaluation.keys, np.flatnonzero(~heard), "no_prediction", f"{seconds:g} s")
        numbers += _measure(evaluation.take(heard & (language != "")), seconds, seed, resamplings)
    if not numbers:
        return Part(LANGUAGES_NAME, LANGUAGES_TITLE, skipped=ONE_LANGUAGE, exclusions=tuple(exclusions))
    return Part(LANGUAGES_NAME, LANGUAGES_TITLE, tuple(numbers), notes=LANGUAGES_NOTES, exclusions=tuple(exclusions))


def bilingual(speaker: NDArray[np.int64], language: NDArray[np.str_]) -> NDArray[np.bool_]:
    """Clips of speakers who have clips in two languages, (clips,)."""
    pairs = np.unique(np.stack([speaker.astype(str), language.astype(str)], 1), axis=0)
    people, languages = np.unique(pairs[:, 0], return_counts=True)
    return np.isin(speaker.astype(str), people[languages > 1])


def _measure(few: EvaluationSet, seconds: float, seed: int, resamplings: int) -> Iterator[Number]:
    language = few.label("language")
    two = bilingual(few.speaker, language)
    if not two.any():
        return
    bootstrap = SpeakerBootstrap(few.speaker, resamplings=resamplings, seed=seed)
    conditions = {"seconds": f"{seconds:g}"}
    predicted = few.predicted[seconds]
    same, other = (neighbours(predicted, few.speaker, label=language, alike=alike) for alike in (True, False))
    for pair, degrees in (
        ("same speaker, same language", same.own_degrees),
        ("same speaker, other language", other.own_degrees),
        ("other speaker, same language", same.other_degrees),
        ("other speaker, other language", other.other_degrees),
    ):
        values = np.where(two, degrees, np.nan)
        counted = int(np.isfinite(values).sum())
        if counted:
            named = {**conditions, "pair": pair}
            yield Number(LANGUAGES_NAME, "angle_degrees", bootstrap.mean(values), counted, named, higher_is_better=None)
    yield from _shift(same, other, two, bootstrap, conditions)
    found = np.where(two, other.found, np.nan)
    yield Number(
        *(
            LANGUAGES_NAME,
            "identification_across_languages",
            bootstrap.mean(found),
            int(np.isfinite(found).sum()),
            conditions,
        ),
        chance=float(np.nanmean(other.chance[two])),
        mean_face=0.0,
        gender_mean_face=0.0,
    )


def _shift(
    same: Neighbours,
    other: Neighbours,
    two: NDArray[np.bool_],
    bootstrap: SpeakerBootstrap,
    conditions: dict[str, str],
) -> Iterator[Number]:
    shift = np.where(two, other.own_degrees - same.own_degrees, np.nan)
    person = np.where(two, same.other_degrees - same.own_degrees, np.nan)
    clips = int((np.isfinite(shift) & np.isfinite(person)).sum())
    if not clips:
        return
    for metric, estimate in (
        ("shift_degrees", bootstrap.mean(shift)),
        ("shift_ratio", bootstrap.ratio(shift, person)),
    ):
        yield Number(LANGUAGES_NAME, metric, estimate, clips, conditions, higher_is_better=False)


# --------------------------------------------------------------------------------------------------
# Consistency: does a speaker get the same face from every clip? Speech2Face shows it in pictures.
# --------------------------------------------------------------------------------------------------

CONSISTENCY_NAME, CONSISTENCY_TITLE = "consistency", "Consistency within a speaker"
ONE_CLIP = "no speaker has two clips; consistency needs several clips of a speaker"
INCHES = (6.4, 3.4)
CONSISTENCY_NOTES = (
    "Consistent is not right: whoever answers the mean face of the gender is perfectly consistent. Read these numbers"
    " beside retrieval and matching.",
    "Identification: is the nearest other clip, by the predicted embeddings, one of the same speaker? Ties count"
    " against us. The best that stands beside is what the clips' own faces earn.",
)
STATED = {"age": "stated_age_icc", "femininity": "stated_femininity_icc"}


def measure_consistency(evaluation: EvaluationSet, *, seed: int = 0, resamplings: int = RESAMPLINGS) -> Part:
    """Of every seconds heard; speakers of a single clip only serve as the others."""
    numbers: list[Number] = []
    exclusions: list[Exclusion] = []
    figures: list[Figure] = []
    for seconds in sorted(evaluation.predicted):
        heard = np.asarray(np.isfinite(evaluation.predicted[seconds]).all(1))
        exclusions += exclude(evaluation.keys, np.flatnonzero(~heard), "no_prediction", f"{seconds:g} s")
        few = evaluation.take(heard)
        clips = np.bincount(few.speaker, minlength=1)
        if not (clips > 1).any() or (clips > 0).sum() < 2:
            continue
        near = neighbours(few.predicted[seconds], few.speaker)
        conditions = {"seconds": f"{seconds:g}"}
        numbers += _consistency_of_embeddings(
            few,
            few.predicted[seconds],
            near,
            conditions,
            SpeakerBootstrap(few.speaker, resamplings=resamplings, seed=seed),
        )
        numbers += _of_stated(evaluation, seconds, seed, resamplings)
        if seconds == evaluation.longest():
            alone = np.flatnonzero(clips[few.speaker] == 1)
            exclusions += exclude(few.keys, alone, "only_clip_of_speaker")
            figures.append(_figure(near))
    if not numbers:
        return Part(CONSISTENCY_NAME, CONSISTENCY_TITLE, skipped=ONE_CLIP, exclusions=tuple(exclusions))
    return Part(
        CONSISTENCY_NAME,
        CONSISTENCY_TITLE,
        tuple(numbers),
        figures=tuple(figures),
        notes=CONSISTENCY_NOTES,
        exclusions=tuple(exclusions),
    )


def _consistency_of_embeddings(
    few: EvaluationSet,
    predicted: Embeddings,
    near: Neighbours,
    conditions: Mapping[str, str],
    bootstrap: SpeakerBootstrap,
) -> Iterator[Number]:
    sums, clips = SpeakerSums.of(predicted, few.speaker), len(few)
    best_ratio = best_icc = best_found = None
    rows = np.flatnonzero(few.has_reference())
    if few.reference is not None and (np.bincount(few.speaker[rows], minlength=1) > 1).any():
        of_faces = SpeakerSums.of(few.reference[rows], few.speaker[rows])
        all_alike = np.ones((1, len(of_faces.clips)))
        best_ratio = float(of_faces.spread_ratio(all_alike)[0])
        best_icc = float(of_faces.intraclass_correlation(all_alike)[0])
        best_found = float(np.nanmean(neighbours(few.reference[rows], few.speaker[rows]).found))
    ratio = bootstrap.of_speakers(sums.spread_ratio)
    yield Number(
        *(CONSISTENCY_NAME, "spread_ratio", ratio, clips, conditions),
        chance=1.0,
        gender_mean_face=0.0,
        best=best_ratio,
        higher_is_better=False,
    )
    icc = bootstrap.of_speakers(sums.intraclass_correlation)
    yield Number(*(CONSISTENCY_NAME, "icc", icc, clips, conditions), chance=0.0, gender_mean_face=1.0, best=best_icc)
    counted = int(np.isfinite(near.found).sum())
    chance = float(np.nanmean(near.chance))
    found = bootstrap.mean(near.found)
    yield Number(
        *(CONSISTENCY_NAME, "identification", found, counted, conditions),
        chance=chance,
        mean_face=0.0,
        gender_mean_face=0.0,
        best=best_found,
    )
    for whom, degrees in (("same speaker", near.own_degrees), ("other speaker", near.other_degrees)):
        pairs = {**conditions, "pair": whom}
        counted = int(np.isfinite(degrees).sum())
        yield Number(CONSISTENCY_NAME, "angle_degrees", bootstrap.mean(degrees), counted, pairs, higher_is_better=None)


def _of_stated(evaluation: EvaluationSet, seconds: float, seed: int, resamplings: int) -> Iterator[Number]:
    """How alike the stated attributes of one speaker's clips are."""
    if seconds not in evaluation.stated:
        return
    for attribute, metric in STATED.items():
        values: Floats = getattr(evaluation.stated[seconds], attribute)
        rows = np.flatnonzero(np.isfinite(values))
        if not (np.bincount(evaluation.speaker[rows], minlength=1) > 1).any():
            continue
        bootstrap = SpeakerBootstrap(evaluation.speaker[rows], resamplings=resamplings, seed=seed)
        icc = bootstrap.of_speakers(SpeakerSums.of(values[rows], evaluation.speaker[rows]).intraclass_correlation)
        yield Number(CONSISTENCY_NAME, metric, icc, len(rows), {"seconds": f"{seconds:g}"}, chance=0.0)


def _figure(near: Neighbours) -> Figure:
    def draw(canvas: Canvas) -> None:
        axes = canvas.subplots()
        own, other = (values[np.isfinite(values)] for values in (near.own_degrees, near.other_degrees))
        bins = np.linspace(0, max(own.max(), other.max(), 1.0), 41).tolist()
        for values, name, colour in ((own, "the same speaker", COLOURS[0]), (other, "other speakers", COLOURS[1])):
            share = np.full(len(values), 1 / len(values))
            axes.hist(values, bins, weights=share, histtype="stepfilled", alpha=0.35, color=colour)
            axes.hist(values, bins, weights=share, histtype="step", color=colour, label=name)
        axes.set(xlabel="mean angle to clips of ..., degrees", ylabel="share of clips", title="Predicted embeddings")
        axes.legend()

    caption = (
        "How far the predicted face embedding of a clip lies from those of the same speaker's other clips, and from"
        " those of the other speakers."
    )
    alt = "Two histograms of angles: to other clips of the same speaker, and to clips of other speakers"
    return Figure("consistency", caption, render(draw, INCHES), alt)


# --------------------------------------------------------------------------------------------------
# A map of the embeddings coloured by attribute (t-SNE, as in Speech2Face's supplement), and numbers beside.
# --------------------------------------------------------------------------------------------------

PROJECTION_NAME, PROJECTION_TITLE = "projection", "Maps of the embeddings"
MOST_CLIPS = 2_000
FEWEST_CLIPS = 10
NO_LABELS = "no map was asked for, and no two labels of gender, age or group occur among enough speakers for a number"
PERPLEXITY = 30.0
MOST_COLOURS = len(COLOURS)
UNKNOWN_COLOUR = "#c3c7cd"
PROJECTION_NOTES = (
    "A map of this kind keeps neighbours, not distances, and shows clusters where there are none: read the numbers."
    " They are measured in 50 principal dimensions of the unit-length embeddings, not on the map.",
    "Separability: can a straight line learned from other speakers name the attribute (balanced accuracy)? Best is what"
    " the clips' own face embeddings allow. The mean face of the gender separates genders perfectly and nothing else.",
)


@dataclass(frozen=True, eq=False)
class _Side:
    """The embeddings of one side, and whose they are."""

    name: str
    evaluation: EvaluationSet
    """Of these clips alone."""
    coordinates: Singles


def measure_projection(
    evaluation: EvaluationSet, *, seed: int = 0, resamplings: int = RESAMPLINGS, tsne: bool = True
) -> Part:
    """From the longest seconds heard; at most MOST_CLIPS clips, drawn by the seed. Without `tsne` no maps are drawn."""
    sides, exclusions = _sides(evaluation, seed)
    if not sides:
        why = f"fewer than {FEWEST_CLIPS} clips have a prediction"
        return Part(PROJECTION_NAME, PROJECTION_TITLE, skipped=why, exclusions=exclusions)
    numbers = tuple(_numbers(sides, seed, resamplings, f"{evaluation.longest():g}"))
    figures = (_map(sides, seed),) if tsne else ()
    if not numbers and not figures:
        return Part(PROJECTION_NAME, PROJECTION_TITLE, skipped=NO_LABELS, exclusions=exclusions)
    return Part(
        PROJECTION_NAME, PROJECTION_TITLE, numbers, figures=figures, notes=PROJECTION_NOTES, exclusions=exclusions
    )


def attributes(evaluation: EvaluationSet) -> dict[str, NDArray[np.str_]]:
    """What clips are coloured by, (clips,) each: gender, decade of age, group, if at least two of its labels occur."""
    known = {"gender": evaluation.gender(), "age": decades(evaluation), "group": evaluation.label("group")}
    return {name: label for name, label in known.items() if len(np.unique(label[label != ""])) > 1}


def _sides(evaluation: EvaluationSet, seed: int) -> tuple[list[_Side], tuple[Exclusion, ...]]:
    predicted = evaluation.predicted[evaluation.longest()]
    heard = np.isfinite(predicted).all(1)
    exclusions = exclude(evaluation.keys, np.flatnonzero(~heard), "no_prediction", f"{evaluation.longest():g} s")
    sides = []
    for name, values, there in (
        ("predicted from the voice", predicted, heard),
        ("of the clips' own faces", evaluation.reference, heard & evaluation.has_reference()),
    ):
        rows = np.random.default_rng(seed).permutation(np.flatnonzero(there))[:MOST_CLIPS]
        if values is not None and len(rows) >= FEWEST_CLIPS:
            rows.sort()
            sides.append(_Side(name, evaluation.take(rows), principal_coordinates(values[rows])))
    return sides, exclusions


def _numbers(sides: list[_Side], seed: int, resamplings: int, seconds: str) -> Iterator[Number]:
    """Of the predictions; the references' numbers stand beside as the best."""
    few = sides[0].evaluation
    bootstrap = SpeakerBootstrap(few.speaker, resamplings=resamplings, seed=seed)
    for name, label in attributes(few).items():
        found = recalled(sides[0].coordinates, label, few.speaker, seed=seed)
        if not np.isfinite(found).any():
            continue
        best: list[float | None] = [None, None]
        if len(sides) > 1:
            faces = sides[1].evaluation
            of_faces = attributes(faces).get(name)
            if of_faces is not None:
                right = recalled(sides[1].coordinates, of_faces, faces.speaker, seed=seed)
                best = [_balanced(right, of_faces), _projection_mean(silhouette(sides[1].coordinates, of_faces))]
        labels = np.unique(label[np.isfinite(found)])
        clips, conditions = int(np.isfinite(found).sum()), {"seconds": seconds, "attribute": name}
        chance = 1 / len(labels)
        yield Number(
            *(PROJECTION_NAME, "separability", _balanced_accuracy(found, label, bootstrap), clips, conditions),
            chance=chance,
            mean_face=chance,
            best=best[0],
            gender_mean_face=1.0 if name == "gender" else None,
        )
        of_clips = silhouette(sides[0].coordinates, label)
        yield Number(
            *(PROJECTION_NAME, "silhouette", bootstrap.mean(of_clips), int(np.isfinite(of_clips).sum()), conditions),
            chance=0.0,
            mean_face=0.0,
            best=best[1],
            gender_mean_face=1.0 if name == "gender" else None,
        )


def _projection_mean(values: NDArray[np.float64]) -> float | None:
    present = values[np.isfinite(values)]
    return float(present.mean()) if len(present) else None


def _balanced(found: NDArray[np.float64], label: NDArray[np.str_]) -> float | None:
    kept = np.isfinite(found)
    shares = [found[kept & (label == name)].mean() for name in np.unique(label[kept])]
    return float(np.mean(shares)) if shares else None


def _balanced_accuracy(found: NDArray[np.float64], label: NDArray[np.str_], bootstrap: SpeakerBootstrap) -> Estimate:
    """Mean of the labels' shares, with the speakers of all labels resampled together."""
    kept = np.isfinite(found)
    masks = np.stack([kept & (label == name) for name in np.unique(label[kept])]).astype(np.float64)
    right = masks * np.nan_to_num(found)

    def mean(weights: NDArray[np.float64]) -> float:
        with np.errstate(invalid="ignore", divide="ignore"):
            return float(np.nanmean(right @ weights / (masks @ weights)))

    return bootstrap.statistic(mean, kept)


def _map(sides: list[_Side], seed: int) -> Figure:
    from sklearn.manifold import TSNE

    places = []
    for side in sides:
        perplexity = min(PERPLEXITY, (len(side.coordinates) - 1) / 3)
        tsne = TSNE(2, perplexity=perplexity, init="pca", random_state=seed)
        with threadpool_limits(1):  # many threads wait for each other more than they work
            places.append(tsne.fit_transform(side.coordinates))
    names = list(attributes(sides[0].evaluation)) or [""]

    def draw(canvas: Canvas) -> None:
        grid = canvas.subplots(len(sides), len(names), squeeze=False)
        for row, (side, place) in enumerate(zip(sides, places, strict=True)):
            labels = attributes(side.evaluation)
            for column, name in enumerate(names):
                label = labels.get(name, np.full(len(place), ""))
                _scatter(grid[row, column], place, label, f"{name or 'embeddings'}, {side.name}")

    caption = (
        f"t-SNE (perplexity {PERPLEXITY:g} at most, {MOST_CLIPS} clips at most) of the embeddings, coloured by labels;"
        " grey where unknown or rare. Directions and distances on the map mean nothing."
    )
    shown = " and ".join(side.name for side in sides)
    alt = f"Scatter plots of embeddings {shown}, coloured by {', '.join(name for name in names if name) or 'nothing'}"
    return Figure("projection", caption, render(draw, (4.2 * len(names), 3.9 * len(sides))), alt)


def _scatter(axes: Axes, place: Singles, label: NDArray[np.str_], title: str) -> None:
    known, counts = np.unique(label[label != ""], return_counts=True)
    common = np.sort(known[np.argsort(-counts, kind="stable")][:MOST_COLOURS])
    rare = ~np.isin(label, common)
    axes.scatter(place[rare, 0], place[rare, 1], s=5, color=UNKNOWN_COLOUR, linewidths=0)
    for colour, name in zip(COLOURS, common, strict=False):
        points = place[label == name]
        axes.scatter(points[:, 0], points[:, 1], s=7, color=colour, label=name, linewidths=0, alpha=0.8)
    axes.set(xticks=[], yticks=[])
    axes.set_title(title, fontsize=9)
    if len(common):
        axes.legend(fontsize=8, markerscale=2)


# --------------------------------------------------------------------------------------------------
# Which clips may be told from each other: anyone, or those alike in gender, age or group by their labels.
# --------------------------------------------------------------------------------------------------

ANYONE = "anyone"
SAME_GENDER = "same gender"
DECADE = 10  # years


@dataclass(frozen=True, eq=False)
class Stratum:
    """A rule of which clips are foils of each other."""

    name: str
    labels: NDArray[np.str_]
    """(clips,) clips of the same label may be foils of each other; "" is unknown."""
    unknown: str
    """The reason of an exclusion for lack of the label."""

    @property
    def known(self) -> NDArray[np.bool_]:
        """(clips,)"""
        return np.asarray(self.labels != "")


def decades(evaluation: EvaluationSet) -> NDArray[np.str_]:
    """The decade of each clip's age, such as "20s", (clips,); "" where unknown."""
    years = evaluation.age_years()
    return np.array(["" if np.isnan(age) else f"{int(age // DECADE) * DECADE}s" for age in years], dtype=np.str_)


def _both(one: NDArray[np.str_], other: NDArray[np.str_]) -> NDArray[np.str_]:
    """Two labels as one, "" where one of them is."""
    return np.array([f"{a}, {b}" if a and b else "" for a, b in zip(one, other, strict=True)], dtype=np.str_)


def strata_of(evaluation: EvaluationSet) -> Iterator[Stratum]:
    """Anyone, and every kind of likeness that some labels tell of."""
    gender = evaluation.gender()
    yield Stratum(ANYONE, np.full(len(evaluation), "all"), "")
    alike = (
        Stratum(SAME_GENDER, gender, "no_gender"),
        Stratum("same gender and decade of age", _both(gender, decades(evaluation)), "no_gender_or_age"),
        Stratum("same gender and group", _both(gender, evaluation.label("group")), "no_gender_or_group"),
    )
    yield from (stratum for stratum in alike if stratum.known.any())
