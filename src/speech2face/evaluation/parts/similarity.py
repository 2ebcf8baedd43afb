"""How near the predicted face embeddings are to those of the clips' own faces (Speech2Face, section 4.3, Table 2)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from speech2face.evaluation import report
from speech2face.evaluation.predictions import EvaluationSet
from speech2face.evaluation.report import CHANCE_COLOUR, COLOURS, render
from speech2face.metrics import measures
from speech2face.metrics.intervals import RESAMPLINGS, Estimate, SpeakerBootstrap
from speech2face.metrics.matching import (
    THREADS,
    Neighbours,
    Singles,
    SpeakerSums,
    explained_variance,
    neighbours,
    neighbours_by_label,
    squares,
)
from speech2face.metrics.measures import principal_coordinates, recalled, silhouette

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Canvas

NO_PAIRS = "no clip has both a prediction and a face embedding"
NO_REFERENCES = "the data hold no face embeddings that the model's can be held against; give a data set that has some"
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
TABLE_2_HEADER = ("seconds", "metric", "mean", "low_95", "high_95", "sd", "chance", "mean_face", "gender_mean_face")


@report.chapter("feature_similarity", "Feature similarity")
def measure_feature_similarity(evaluation: EvaluationSet, *, seed: int = 0) -> report.Part:
    """Angle, cosine, L2 and L1 on unit and raw embeddings, the angle around the mean face, and R^2."""
    if evaluation.reference is None:
        raise report.NotMeasured(NO_REFERENCES)
    bootstrap = SpeakerBootstrap(evaluation.speaker, seed=seed)

    def of_length(heard: float) -> list[tuple[report.Number, float | None]]:
        """Numbers after so many seconds, and the deviation over clips where there is one."""
        answers, conditions = evaluation.answers(heard, seed=seed), {"seconds": f"{heard:g}"}
        if not len(answers.pairs):
            return []
        found: list[tuple[report.Number, float | None]] = []
        for measure in measures.FEATURE_SIMILARITY:
            values, said = measure.compute(answers), PUBLISHED.get((measure.name, heard), "")
            number = report.Number.of(measure, answers, bootstrap, conditions, values=values, published=said)
            found.append((number, float(np.std(values[answers.pairs]))))
        return [*found, (_r2(answers, bootstrap, conditions), None)]

    with ThreadPoolExecutor(THREADS) as threads:  # numpy lets other threads run
        measured = [one for some in threads.map(of_length, sorted(evaluation.predicted)) for one in some]
    if not measured:
        raise report.NotMeasured(NO_PAIRS, missing_references(evaluation))
    rows = tuple(
        (
            *(number.conditions["seconds"], number.metric, *number.estimate.cells(), deviation),
            *(number.chance, number.mean_face, number.gender_mean_face, number.published),
        )
        for number, deviation in measured
    )
    return report.Part(
        numbers=[number for number, _ in measured],
        tables=[report.Table("table2", "Feature similarity (Table 2)", (*TABLE_2_HEADER, "paper"), rows)],
        notes=FEATURE_SIMILARITY_NOTES,
        exclusions=missing_references(evaluation),
    )


def missing_references(evaluation: EvaluationSet) -> tuple[report.Exclusion, ...]:
    """Clips without a face embedding of their own."""
    return report.exclude(evaluation.keys, ~evaluation.has_reference(), "no_reference")


def _r2(answers: measures.Answers, bootstrap: SpeakerBootstrap, conditions: Mapping[str, str]) -> report.Number:
    """R^2 over all coordinates together, which is no mean over clips."""
    sides = answers.sides
    centre = sides.reference.mean(0, dtype=np.float64).astype(np.float32)
    errors, total = (answers.spread_out(of, answers.pairs) for of in squares(sides.predicted, sides.reference, centre))
    missed = bootstrap.ratio(errors, total)
    estimate = Estimate(1 - missed.value, 1 - missed.high, 1 - missed.low, missed.n)
    chances = [explained_variance(others.predicted, others.reference) for others in answers.of_strangers()]
    earned = {name: explained_variance(said.predicted, said.reference) for name, (said, _) in answers.trivial.items()}
    return report.Number(
        "r2",
        estimate,
        len(answers.pairs),
        conditions,
        chance=float(np.mean(chances)) if chances else None,
        mean_face=earned["mean_face"],
        gender_mean_face=earned.get("gender_mean_face"),
    )


# --- A few measures that tell models and lengths of speech apart: what curves and comparisons are made of.

COMPARED: dict[measures.Measure, str] = {
    measures.ANGLE_DEGREES: "angle to the own face, degrees",
    measures.CENTRED_ANGLE_DEGREES: "angle around the mean face, degrees",
    measures.MEAN_RANK_PERCENT: "mean rank, % of the gallery",
    measures.GENDER_RIGHT: "gender told right, share",
    measures.AGE_ERROR_YEARS: "error of the age, years",
}
"""Each with its label on a figure's axis."""
LABELS = {measure.name: label for measure, label in COMPARED.items()}
NOTHING_TO_HOLD_AGAINST = "there are neither face embeddings nor labels to hold the answers against"


def _asked(answers: measures.Answers) -> dict[measures.Measure, report.Floats]:
    """Those of COMPARED that some clip has a value of, with the values (clips,)."""
    found = {measure: measure.compute(answers) for measure in COMPARED if answers.has(measure)}
    return {measure: values for measure, values in found.items() if np.isfinite(values).any()}


# --- What more speech is worth: numbers over the seconds heard (Speech2Face, section 4.4 and Fig. 6).

LEAST_CLIPS = 20
SLACK = 0.01  # seconds are rounded where they were written
PAPER = (
    "The paper compares 3 and 6 s: hearing 6 s is better whichever of them a model was trained with (Fig. 6). What is"
    " shorter than a model's training clips is repeated by its own rule before it is heard."
)


@report.chapter("duration", "Seconds heard")
def measure_duration(evaluation: EvaluationSet, *, seed: int = 0) -> report.Part:
    """Numbers at each of the seconds heard, over the same clips at every point: those that are long enough for all."""
    points, left_out = _points(evaluation)
    if len(points) < 2:
        raise report.NotMeasured(
            f"a curve needs two lengths that {LEAST_CLIPS} clips have; give --seconds 1,2,3,6,10,20, or more clips"
        )
    kept = _long_enough(evaluation, points)
    bootstrap = SpeakerBootstrap(evaluation.speaker, seed=seed)

    def of_length(heard: float) -> list[report.Number]:
        answers = evaluation.answers(heard, kept, seed=seed)
        conditions = {"seconds": f"{heard:g}"}
        asked = _asked(answers).items()
        return [report.Number.of(measure, answers, bootstrap, conditions, values=values) for measure, values in asked]

    with ThreadPoolExecutor(THREADS) as threads:  # numpy lets other threads run
        numbers = [number for some in threads.map(of_length, points) for number in some]
    if not numbers:
        raise report.NotMeasured(NOTHING_TO_HOLD_AGAINST)
    notes = [f"The same {int(kept.sum())} clips at every point: those of {points[-1]:g} s or more.", PAPER]
    if left_out:
        told = ", ".join(f"{value:g}" for value in left_out)
        notes.append(f"Left out, as fewer than {LEAST_CLIPS} clips last so long: {told} s.")
    short = evaluation.seconds < points[-1] - SLACK
    return report.Part(
        numbers=numbers,
        tables=[_by_metric("curve", "Numbers by seconds heard", "seconds", numbers)],
        figures=[_curves(numbers)],
        notes=notes,
        exclusions=report.exclude(evaluation.keys, short, "too_short", f"under {points[-1]:g} s"),
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


def _by_metric(name: str, title: str, condition: str, numbers: Sequence[report.Number]) -> report.Table:
    """A row for each value of a condition, a column for each metric."""
    metrics = list(dict.fromkeys(number.metric for number in numbers))
    found = {(number.conditions[condition], number.metric): number.estimate.value for number in numbers}
    rows = dict.fromkeys(number.conditions[condition] for number in numbers)
    cells = tuple((row, *(found.get((row, metric)) for metric in metrics)) for row in rows)
    return report.Table(name, title, (condition, *metrics), cells)


def _curves(numbers: Sequence[report.Number]) -> report.Figure:
    of_metric = {metric: [n for n in numbers if n.metric == metric] for metric in LABELS}
    of_metric = {metric: some for metric, some in of_metric.items() if some}

    def draw(canvas: Canvas) -> None:
        for axes, some in zip(np.atleast_1d(canvas.subplots(1, len(of_metric))), of_metric.values(), strict=True):
            _curve(axes, some)

    said = "; ".join(
        f"{LABELS[metric]}: "
        + ", ".join(f"{n.estimate.value:.3g} after {n.conditions['seconds']} s" for n in (some[0], some[-1]))
        for metric, some in of_metric.items()
    )
    return report.Figure(
        "curves",
        "Numbers over the seconds heard, with 95 % intervals over speakers; dashed: the mean face, or one answer for"
        " everybody.",
        render(draw, (3.4 * len(of_metric) + 0.6, 3.2)),
        f"Curves over seconds heard. {said}.",
    )


def _curve(axes: Axes, numbers: Sequence[report.Number]) -> None:
    seconds = [float(number.conditions["seconds"]) for number in numbers]
    axes.plot(seconds, [number.estimate.value for number in numbers], marker="o", color=COLOURS[0])
    low, high = ([getattr(number.estimate, end) for number in numbers] for end in ("low", "high"))
    axes.fill_between(seconds, low, high, color=COLOURS[0], alpha=0.2, linewidth=0)
    if (mean_face := numbers[0].mean_face) is not None:
        axes.axhline(mean_face, color=CHANCE_COLOUR, linestyle="--")
    axes.set(xlabel="seconds heard", ylabel=LABELS[numbers[0].metric])


# --- Models side by side on the same clips, such as trainings with and without a layer or a loss (Speech2Face, Fig. 6).

ABLATIONS_NOTES = (
    "Differences are taken clip by clip on the clips that all models could hear, and resampled over speakers: an"
    " interval that holds 0 shows no difference.",
    "The paper finds that without batch normalisation the predictions collapse to one average face (spread_share near"
    " 0) and gives curves of the loss, but no table (Fig. 6); it has no numbers for leaving out terms of the loss.",
    "spread_share is the variance of the predictions over that of the faces, all coordinates together: 0 is one answer"
    " for everybody; the best least-squares prediction has as much as its R^2.",
)


@report.chapter("ablations", "Models side by side")
def measure_ablations(evaluations: Sequence[EvaluationSet], *, seed: int = 0) -> report.Part:
    """Every model at the longest length that all have heard, and its differences from the first."""
    if len(evaluations) < 2:
        raise report.NotMeasured("one model was given; give more to compare them (--model A --model B)")
    common = set.intersection(*(set(evaluation.predicted) for evaluation in evaluations))
    if not common:
        raise report.NotMeasured("the predictions have no length of speech in common; give the same --seconds")
    heard = max(common)
    kept = np.logical_and.reduce([np.isfinite(each.predicted[heard]).all(1) for each in evaluations])
    names = _names(evaluations)
    bootstrap = SpeakerBootstrap(evaluations[0].speaker, seed=seed)
    measured: list[dict[measures.Measure, report.Floats]] = []
    numbers: list[report.Number] = []
    for name, evaluation in zip(names, evaluations, strict=True):
        conditions, answers = {"model": name, "seconds": f"{heard:g}"}, evaluation.answers(heard, kept, seed=seed)
        measured.append(_asked(answers))
        numbers += [
            report.Number.of(measure, answers, bootstrap, conditions, values=values)
            for measure, values in measured[-1].items()
        ]
        numbers += _of_the_whole(evaluation, heard, kept, bootstrap, conditions)
    for name, found in zip(names[1:], measured[1:], strict=True):
        conditions = {"model": name, "against": names[0], "seconds": f"{heard:g}"}
        for measure, values in measured[0].items():
            if measure in found:  # other minus first, clip by clip
                metric, better = f"{measure.name}_difference", measure.higher_is_better
                difference = found[measure] - values
                numbers.append(
                    report.Number.mean(metric, difference, bootstrap, conditions, chance=0.0, higher_is_better=better)
                )
    if not numbers:
        raise report.NotMeasured(NOTHING_TO_HOLD_AGAINST)
    table = _by_metric("models", "Models side by side", "model", numbers)
    return report.Part(numbers=numbers, tables=[table], notes=ABLATIONS_NOTES)


def _names(evaluations: Sequence[EvaluationSet]) -> list[str]:
    """The models' names, numbered where two are the same."""
    plain = [f"{each.model.name} {each.model.version}".strip() for each in evaluations]
    count = Counter(plain)
    return [name if count[name] == 1 else f"{name} ({place})" for place, name in enumerate(plain, 1)]


def _of_the_whole(
    evaluation: EvaluationSet,
    heard: float,
    kept: NDArray[np.bool_],
    bootstrap: SpeakerBootstrap,
    conditions: dict[str, str],
) -> list[report.Number]:
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
        report.Number("r2", r2, clips, conditions, mean_face=0.0),
        report.Number("spread_share", spread, clips, conditions, mean_face=0.0, higher_is_better=None),
    ]


# --- Measures that other packages add.


@report.chapter("measures", "Measures of other packages")
def measure_added(evaluation: EvaluationSet, *, seed: int = 0) -> report.Part:
    """Every measure that another package adds, at each of the seconds heard."""
    added, bootstrap = measures.added_measures(), SpeakerBootstrap(evaluation.speaker, seed=seed)
    numbers, missing = [], dict[str, None]()
    for heard in sorted(evaluation.predicted):
        answers = evaluation.answers(heard, seed=seed)
        for name, measure in added.items():
            if answers.has(measure):
                numbers.append(report.Number.of(measure, answers, bootstrap, {"seconds": f"{heard:g}"}))
            else:
                wanted = ", ".join(measure.inputs)
                missing[f"Not measured: {name} needs {wanted}, not all of which are known here."] = None
    if not numbers:
        raise report.NotMeasured(" ".join(missing))
    return report.Part(numbers=numbers, notes=tuple(missing))


# --- The same speaker in two languages: does the language change the face? Speech2Face shows it in pictures.

NO_LABEL = "no clip has a label named language; give the language of each clip in the data set"
ONE_LANGUAGE = "no speaker has clips in two languages"
LANGUAGES_NOTES = (
    "The shift is the mean angle between predicted embeddings of one speaker's clips in two languages, less that of two"
    " clips in one language, over clips that have both. The shift ratio holds it against the angle to other speakers of"
    " the same language: 0, the language changes nothing; 1, it changes as much as another person would.",
    "The same answer to all, and the mean face of the gender, have no shift and identify nobody.",
)


@report.chapter("languages", "The same speaker in two languages")
def measure_languages(evaluation: EvaluationSet, *, seed: int = 0, resamplings: int = RESAMPLINGS) -> report.Part:
    """Of every seconds heard; clips without a language are left out, speakers of one language only serve as others."""
    language = evaluation.label("language")
    if not (language != "").any():
        raise report.NotMeasured(NO_LABEL)
    exclusions = list(report.exclude(evaluation.keys, language == "", "no_language"))
    numbers: list[report.Number] = []
    for seconds in sorted(evaluation.predicted):
        heard = np.isfinite(evaluation.predicted[seconds]).all(1)
        exclusions += report.exclude(evaluation.keys, ~heard, "no_prediction", f"{seconds:g} s")
        numbers += _of_languages(evaluation.take(heard & (language != "")), seconds, seed, resamplings)
    if not numbers:
        raise report.NotMeasured(ONE_LANGUAGE, exclusions)
    return report.Part(numbers=numbers, notes=LANGUAGES_NOTES, exclusions=exclusions)


def bilingual(speaker: NDArray[np.int64], language: NDArray[np.str_]) -> NDArray[np.bool_]:
    """Clips of speakers who have clips in two languages, (clips,)."""
    pairs = np.unique(np.stack([speaker.astype(str), language.astype(str)], 1), axis=0)
    people, languages = np.unique(pairs[:, 0], return_counts=True)
    return np.isin(speaker.astype(str), people[languages > 1])


def _of_languages(few: EvaluationSet, seconds: float, seed: int, resamplings: int) -> Iterator[report.Number]:
    language = few.label("language")
    two = bilingual(few.speaker, language)
    if not two.any():
        return
    bootstrap = SpeakerBootstrap(few.speaker, resamplings=resamplings, seed=seed)
    conditions = {"seconds": f"{seconds:g}"}
    same, other = neighbours_by_label(few.predicted[seconds], few.speaker, language)
    for pair, degrees in (
        ("same speaker, same language", same.own_degrees),
        ("same speaker, other language", other.own_degrees),
        ("other speaker, same language", same.other_degrees),
        ("other speaker, other language", other.other_degrees),
    ):
        values = np.where(two, degrees, np.nan)
        if np.isfinite(values).any():
            named = {**conditions, "pair": pair}
            yield report.Number.mean("angle_degrees", values, bootstrap, named, higher_is_better=None)
    shift = np.where(two, other.own_degrees - same.own_degrees, np.nan)
    person = np.where(two, same.other_degrees - same.own_degrees, np.nan)
    if clips := int((np.isfinite(shift) & np.isfinite(person)).sum()):
        moved, ratio = bootstrap.mean(shift), bootstrap.ratio(shift, person)
        yield report.Number("shift_degrees", moved, clips, conditions, higher_is_better=False)
        yield report.Number("shift_ratio", ratio, clips, conditions, higher_is_better=False)
    found, chance = np.where(two, other.found, np.nan), float(np.nanmean(other.chance[two]))
    beside: report.Beside = {"chance": chance, "mean_face": 0.0, "gender_mean_face": 0.0}
    yield report.Number.mean("identification_across_languages", found, bootstrap, conditions, **beside)


# --- Consistency: does a speaker get the same face from every clip? Speech2Face shows it in pictures.

ONE_CLIP = "no speaker has two clips; consistency needs several clips of a speaker"
INCHES = (6.4, 3.4)
CONSISTENCY_NOTES = (
    "Consistent is not right: whoever answers the mean face of the gender is perfectly consistent. Read these numbers"
    " beside retrieval and matching.",
    "Identification: is the nearest other clip, by the predicted embeddings, one of the same speaker? Ties count"
    " against us. The best that stands beside is what the clips' own faces earn.",
)
STATED = {"age": "stated_age_icc", "femininity": "stated_femininity_icc"}


@report.chapter("consistency", "Consistency within a speaker")
def measure_consistency(evaluation: EvaluationSet, *, seed: int = 0, resamplings: int = RESAMPLINGS) -> report.Part:
    """Of every seconds heard; speakers of a single clip only serve as the others."""
    numbers: list[report.Number] = []
    exclusions: list[report.Exclusion] = []
    figures: list[report.Figure] = []
    of_faces: dict[bytes, dict[str, float]] = {}
    for seconds in sorted(evaluation.predicted):
        heard = np.asarray(np.isfinite(evaluation.predicted[seconds]).all(1))
        exclusions += report.exclude(evaluation.keys, ~heard, "no_prediction", f"{seconds:g} s")
        few = evaluation.take(heard)
        clips = np.bincount(few.speaker, minlength=1)
        if not (clips > 1).any() or (clips > 0).sum() < 2:
            continue
        if heard.tobytes() not in of_faces:
            of_faces[heard.tobytes()] = _of_own_faces(few)
        near = neighbours(few.predicted[seconds], few.speaker)
        bootstrap = SpeakerBootstrap(few.speaker, resamplings=resamplings, seed=seed)
        numbers += _of_predictions(few, seconds, near, of_faces[heard.tobytes()], bootstrap)
        numbers += _of_stated(evaluation, seconds, seed, resamplings)
        if seconds == evaluation.longest():
            exclusions += report.exclude(few.keys, clips[few.speaker] == 1, "only_clip_of_speaker")
            figures.append(_figure(near))
    if not numbers:
        raise report.NotMeasured(ONE_CLIP, exclusions)
    return report.Part(numbers=numbers, figures=figures, notes=CONSISTENCY_NOTES, exclusions=exclusions)


def _of_own_faces(few: EvaluationSet) -> dict[str, float]:
    """What the clips' own faces earn, the best that stands beside; nothing where no speaker has two."""
    rows = np.flatnonzero(few.has_reference())
    if few.reference is None or not (np.bincount(few.speaker[rows], minlength=1) > 1).any():
        return {}
    faces, speaker = few.reference[rows], few.speaker[rows]
    sums = SpeakerSums.of(faces, speaker)
    all_alike = np.ones((1, len(sums.clips)))
    return {
        "spread_ratio": float(sums.spread_ratio(all_alike)[0]),
        "icc": float(sums.intraclass_correlation(all_alike)[0]),
        "identification": float(np.nanmean(neighbours(faces, speaker).found)),
    }


def _of_predictions(
    few: EvaluationSet, seconds: float, near: Neighbours, best: Mapping[str, float], bootstrap: SpeakerBootstrap
) -> Iterator[report.Number]:
    sums, clips, conditions = SpeakerSums.of(few.predicted[seconds], few.speaker), len(few), {"seconds": f"{seconds:g}"}
    for metric, of, chance, gender, better in (
        ("spread_ratio", sums.spread_ratio, 1.0, 0.0, False),
        ("icc", sums.intraclass_correlation, 0.0, 1.0, True),
    ):
        estimate = bootstrap.of_speakers(of)
        beside: report.Beside = {"chance": chance, "gender_mean_face": gender, "best": best.get(metric)}
        yield report.Number(metric, estimate, clips, conditions, **beside, higher_is_better=better)
    beside = {"chance": float(np.nanmean(near.chance)), "mean_face": 0.0, "gender_mean_face": 0.0}
    beside["best"] = best.get("identification")
    yield report.Number.mean("identification", near.found, bootstrap, conditions, **beside)
    for whom, degrees in (("same speaker", near.own_degrees), ("other speaker", near.other_degrees)):
        yield report.Number.mean(
            "angle_degrees", degrees, bootstrap, {**conditions, "pair": whom}, higher_is_better=None
        )


def _of_stated(evaluation: EvaluationSet, seconds: float, seed: int, resamplings: int) -> Iterator[report.Number]:
    """How alike the stated attributes of one speaker's clips are."""
    if seconds not in evaluation.stated:
        return
    for attribute, metric in STATED.items():
        values: report.Floats = getattr(evaluation.stated[seconds], attribute)
        rows = np.flatnonzero(np.isfinite(values))
        if not (np.bincount(evaluation.speaker[rows], minlength=1) > 1).any():
            continue
        bootstrap = SpeakerBootstrap(evaluation.speaker[rows], resamplings=resamplings, seed=seed)
        icc = bootstrap.of_speakers(SpeakerSums.of(values[rows], evaluation.speaker[rows]).intraclass_correlation)
        yield report.Number(metric, icc, len(rows), {"seconds": f"{seconds:g}"}, chance=0.0)


def _figure(near: Neighbours) -> report.Figure:
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
    return report.Figure("consistency", caption, render(draw, INCHES), alt)


# --- A map of the embeddings coloured by attribute (t-SNE, as in Speech2Face's supplement), and numbers beside.

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


@report.chapter("projection", "Maps of the embeddings")
def measure_projection(
    evaluation: EvaluationSet, *, seed: int = 0, resamplings: int = RESAMPLINGS, tsne: bool = True
) -> report.Part:
    """From the longest seconds heard; at most MOST_CLIPS clips, drawn by the seed. Without `tsne` no maps are drawn."""
    sides, exclusions = _sides(evaluation, seed)
    if not sides:
        raise report.NotMeasured(f"fewer than {FEWEST_CLIPS} clips have a prediction", exclusions)
    numbers = tuple(_numbers(sides, seed, resamplings, f"{evaluation.longest():g}"))
    figures = (_map(sides, seed),) if tsne else ()
    if not numbers and not figures:
        raise report.NotMeasured(NO_LABELS, exclusions)
    return report.Part(numbers=numbers, figures=figures, notes=PROJECTION_NOTES, exclusions=exclusions)


def attributes(evaluation: EvaluationSet) -> dict[str, NDArray[np.str_]]:
    """What clips are coloured by, (clips,) each: gender, decade of age, group, if at least two of its labels occur."""
    known = {"gender": evaluation.gender(), "age": decades(evaluation), "group": evaluation.label("group")}
    return {name: label for name, label in known.items() if len(np.unique(label[label != ""])) > 1}


def _sides(evaluation: EvaluationSet, seed: int) -> tuple[list[_Side], tuple[report.Exclusion, ...]]:
    predicted = evaluation.predicted[evaluation.longest()]
    heard = np.isfinite(predicted).all(1)
    exclusions = report.exclude(evaluation.keys, ~heard, "no_prediction", f"{evaluation.longest():g} s")
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


def _numbers(sides: list[_Side], seed: int, resamplings: int, seconds: str) -> Iterator[report.Number]:
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
                best = [_balanced(right, of_faces), measures.average(silhouette(sides[1].coordinates, of_faces))]
        clips, conditions = int(np.isfinite(found).sum()), {"seconds": seconds, "attribute": name}
        chance, gender = 1 / len(np.unique(label[np.isfinite(found)])), 1.0 if name == "gender" else None
        accuracy = _balanced_accuracy(found, label, bootstrap)
        beside: report.Beside = {"chance": chance, "mean_face": chance, "best": best[0], "gender_mean_face": gender}
        yield report.Number("separability", accuracy, clips, conditions, **beside)
        beside = {"chance": 0.0, "mean_face": 0.0, "best": best[1], "gender_mean_face": gender}
        yield report.Number.mean("silhouette", silhouette(sides[0].coordinates, label), bootstrap, conditions, **beside)


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


def _map(sides: list[_Side], seed: int) -> report.Figure:
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
    return report.Figure("projection", caption, render(draw, (4.2 * len(names), 3.9 * len(sides))), alt)


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


# --- Which clips may be told from each other: anyone, or those alike in gender, age or group by their labels.

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
