"""Do age, gender and group of the picture agree with the reference? Confusion matrices as in the paper's Figure 4."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from speech2face.evaluation.evaluation_set import EvaluationSet, Floats
from speech2face.evaluation.intervals import NOTHING, RESAMPLINGS, SpeakerBootstrap
from speech2face.evaluation.metrics import confusion as metrics
from speech2face.evaluation.parts.attribute_comparisons import WITHIN_ONE, Comparison, comparisons_of
from speech2face.evaluation.parts.attribute_opinions import Opinion, classes_of, labelled
from speech2face.evaluation.parts.attribute_tables import Matrix, confusion_figure, confusion_table
from speech2face.evaluation.parts.part import Cell, Figure, Number, Part, Table
from speech2face.evaluation.pictures import PictureSet
from speech2face.evaluation.readers.reader import ATTRIBUTES, Attribute, AttributeReader

NAME, TITLE = "attributes", "Attributes of the picture"
NOTES = (
    "An agreement says that two readings of a face are alike, not that either is right about a person. Gender is the"
    " apparent one, and of two kinds only, as the paper had it; whoever gave another answer is counted as left out.",
    "Chance is what the same answers would earn dealt out at random; the majority column is what one answer for"
    " everybody earns. Ages of the thirties for everybody are within a decade of most speakers.",
    "Decades begin at their first year (20 is 20 to 29); the paper does not say where its decades begin.",
)
MOST_FOR_CHANCE = 2_000  # clips whose ages are paired with each other's


def measure(
    evaluation: EvaluationSet,
    *,
    pictures: PictureSet | None = None,
    reader: AttributeReader | None = None,
    seed: int = 0,
    resamplings: int = RESAMPLINGS,
) -> Part:
    """Every reading against every reference that there is: labels, originals, pictures, the model's own word."""
    groups = _groups(evaluation, reader)
    labels = labelled(evaluation, groups)
    comparisons, excluded = comparisons_of(evaluation, pictures, reader, labels)
    if not comparisons:
        return Part(NAME, TITLE, skipped=_missing(evaluation, pictures, reader), exclusions=excluded)
    bootstrap = SpeakerBootstrap(evaluation.speaker, resamplings=resamplings, seed=seed)
    longest = f"{evaluation.longest():g}"
    shown = [_Shown(one, groups, bootstrap, in_full=one.seconds in ("", longest)) for one in comparisons]
    numbers = tuple(number for one in shown for number in one.numbers)
    if not numbers:
        return Part(NAME, TITLE, skipped="no clip has both a reading and a reference of it", exclusions=excluded)
    rows = tuple(row for one in shown for row in one.rows)
    tables = [Table("attribute_agreement", "Agreement, chance and cheats", _HEADER, rows)]
    tables += [table for one in shown for table in one.tables]
    figures = tuple(figure for one in shown for figure in one.figures)
    return Part(NAME, TITLE, numbers, tuple(tables), figures, _notes(evaluation, reader), excluded)


class _Shown:
    """All that the report shows of one comparison; matrices `in_full` only, which twenty durations need not be."""

    def __init__(self, one: Comparison, groups: tuple[str, ...], bootstrap: SpeakerBootstrap, *, in_full: bool) -> None:
        self.numbers: list[Number] = []
        self.rows: list[tuple[Cell, ...]] = []
        self.tables: list[Table] = []
        matrices = []
        for attribute in ATTRIBUTES:
            measured = _Measured(one, attribute, classes_of(attribute, groups))
            if not measured.counts.sum():
                continue
            found = [*_numbers(measured, bootstrap)]
            self.numbers += found
            self.rows += [_row(number, measured) for number in found]
            if not in_full:
                continue
            matrix = Matrix(attribute, measured.classes, measured.counts)
            matrices.append(matrix)
            title = f"{attribute.capitalize()}: {one.reading.source}, against {one.reference.source}"
            name = f"confusion_{attribute}_{one.name}"
            self.tables.append(confusion_table(name, title, matrix, beside_the_paper=one.is_the_papers))
        heard = f", {one.seconds} s heard" if one.seconds else ""
        title = f"{one.reading.source.capitalize()} against {one.reference.source}{heard}"
        self.figures: list[Figure] = [confusion_figure(f"confusion_{one.name}", title, matrices)] if matrices else []


def _groups(evaluation: EvaluationSet, reader: AttributeReader | None) -> tuple[str, ...]:
    """The groups of the matrices: the reader's; nobody else reads any."""
    return reader.groups if reader is not None and "group" in reader.reads else ()


def _missing(evaluation: EvaluationSet, pictures: PictureSet | None, reader: AttributeReader | None) -> str:
    if reader is None and not evaluation.stated:
        return "nothing reads attributes: the model states none; give a face-attribute reader (--reader)"
    if pictures is None and not evaluation.stated:
        return "there are no pictures to read; give a model that draws them or a folder (--pictures)"
    return "nothing to hold the readings against: the data have no labels age, gender, group and no original faces"


def _notes(evaluation: EvaluationSet, reader: AttributeReader | None) -> tuple[str, ...]:
    unlabelled = [name for name in ATTRIBUTES if not (evaluation.label(name) != "").any()]
    notes = [*NOTES]
    if reader is not None:
        unread = [name for name in ATTRIBUTES if name not in reader.reads]
        notes.append(f"Read by: {reader.name}. {reader.statement}")
        notes += [f"This reader does not read: {', '.join(unread)}."] if unread else []
    if unlabelled:
        notes.append(f"The data have no labels of: {', '.join(unlabelled)}.")
    return tuple(notes)


class _Measured:
    """One attribute of one comparison, as places among its classes."""

    def __init__(self, comparison: Comparison, attribute: Attribute, classes: tuple[str, ...]) -> None:
        self.comparison, self.attribute, self.classes = comparison, attribute, classes
        self.reference = comparison.reference.places(attribute, classes)
        self.read = comparison.reading.places(attribute, classes)
        self.kept = (self.reference >= 0) & (self.read >= 0)
        self.counts = metrics.confusion(self.reference, self.read, len(classes))

    def of(self, other: Opinion | None) -> Floats | None:
        """The matrix of the same clips if another source had answered, None where it says nothing."""
        if other is None:
            return None
        read = np.where(self.kept, other.places(self.attribute, self.classes), -1)
        counts = metrics.confusion(self.reference, read, len(self.classes))
        return counts if counts.sum() else None


def _numbers(measured: _Measured, bootstrap: SpeakerBootstrap) -> Iterator[Number]:
    counts, kept = measured.counts, measured.kept
    right = np.where(kept, (measured.reference == measured.read).astype(np.float64), np.nan)
    plain = _number(measured, "agreement", metrics.agreement)
    yield replace(plain, estimate=bootstrap.mean(right), chance=metrics.chance_agreement(counts))

    def balanced(weights: Floats) -> float:
        weighted = metrics.confusion(measured.reference, measured.read, len(measured.classes), weights)
        return metrics.balanced_agreement(weighted)

    classes_there = int((counts.sum(1) > 0).sum())
    plain = _number(measured, "balanced_agreement", metrics.balanced_agreement)
    yield replace(plain, estimate=bootstrap.statistic(balanced, kept), chance=1.0 / classes_there)
    if measured.attribute != "age":
        return
    near = np.where(kept, (np.abs(measured.reference - measured.read) <= 1).astype(np.float64), np.nan)
    plain = _number(measured, WITHIN_ONE, metrics.agreement_within_one)
    yield replace(plain, estimate=bootstrap.mean(near), chance=metrics.chance_within_one(counts))
    yield _age_error(measured, bootstrap)


def _number(measured: _Measured, metric: str, of_counts: Callable[[Floats], float]) -> Number:
    """A number without its estimate: what is known before any resampling."""
    one = measured.comparison

    def by(other: Opinion | None) -> float | None:
        counts = measured.of(other)
        return None if counts is None else of_counts(counts)

    return Number(
        part=NAME,
        metric=f"{measured.attribute}_{metric}",
        estimate=_NONE,
        clips=int(measured.kept.sum()),
        conditions=one.conditions,
        mean_face=by(one.mean_face),
        gender_mean_face=by(one.gender_mean_face),
        best=by(one.ceiling),
        published=one.published(f"{measured.attribute}_{metric}"),
    )


def _age_error(measured: _Measured, bootstrap: SpeakerBootstrap) -> Number:
    """Mean absolute difference of both ages in years; lower is better. Chance: the same ages dealt out at random."""
    one = measured.comparison
    reference = np.where(measured.kept, one.reference.age, np.nan)

    def error(other: Opinion | None) -> float | None:
        if other is None:
            return None
        apart = np.abs(other.age - reference)
        return float(np.nanmean(apart)) if np.isfinite(apart).any() else None

    some = np.flatnonzero(measured.kept)
    some = some[:: max(1, len(some) // MOST_FOR_CHANCE)]
    dealt = np.abs(one.reading.age[some][:, None] - reference[some][None]).mean()
    plain = _number(measured, "mean_absolute_error_years", metrics.agreement)
    return replace(
        plain,
        estimate=bootstrap.mean(np.abs(one.reading.age - reference)),
        chance=float(dealt),
        mean_face=error(one.mean_face),
        gender_mean_face=error(one.gender_mean_face),
        best=error(one.ceiling),
        higher_is_better=False,
    )


_NONE = NOTHING
_HEADER = (
    *("reference", "reading", "seconds", "metric", "value", "low", "high", "clips", "speakers"),
    *("chance", "majority", "mean face", "mean face of the gender", "face to face"),
)


def _row(number: Number, measured: _Measured) -> tuple[Cell, ...]:
    estimate, conditions = number.estimate, number.conditions
    return (
        *(conditions["reference"], conditions["reading"], conditions.get("seconds"), number.metric),
        *(estimate.value, estimate.low, estimate.high, number.clips, estimate.n, number.chance),
        _majority(number.metric, measured),
        *(number.mean_face, number.gender_mean_face, number.best),
    )


def _majority(metric: str, measured: _Measured) -> float:
    """What the best constant answer earns."""
    counts = measured.counts
    if metric.endswith(WITHIN_ONE):
        return metrics.best_constant_within_one(counts)
    if metric.endswith("balanced_agreement"):
        return 1.0 / int((counts.sum(1) > 0).sum())
    if metric.endswith("agreement"):
        return metrics.majority(counts)
    ages: NDArray[np.float64] = measured.comparison.reference.age[measured.kept]
    return float(np.abs(ages - np.median(ages)).mean())
