"""Do age, gender and group of the picture agree with the reference? Confusion matrices as in the paper's Figure 4."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from speech2face.errors import SeveralFaces
from speech2face.evaluation import report
from speech2face.evaluation.pictures import FACE_REASONS, NO_FACE, SEVERAL_FACES, Kind, PictureSet
from speech2face.evaluation.predictions import EvaluationSet, StatedAttributes
from speech2face.evaluation.readers import ATTRIBUTES, Attribute, AttributeReader, AttributeReading, read_drawn
from speech2face.evaluation.report import render
from speech2face.metrics import measures as metrics
from speech2face.metrics.intervals import RESAMPLINGS, Estimate, SpeakerBootstrap
from speech2face.metrics.measures import DECADES, Places, class_places, decade_places, row_normalised

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Canvas

# --- Who says what of each clip's age, gender and group: the labels, the model itself, or a reader of pictures.

GENDERS = ("female", "male")
LABELS, STATED = "label", "stated by the model"
PICTURES: dict[Kind, str] = {
    "voice": "picture from the voice",
    "face": "picture from the face",
    "original": "original picture",
}
NO_LABEL, LABEL_UNKNOWN = "no_label", "label_unknown"


@dataclass(frozen=True, eq=False)
class Opinion:
    """One source's word on every clip."""

    source: str
    age: report.Floats
    """(clips,) years, NaN where nothing is said."""
    gender: NDArray[np.str_]
    """(clips,) one of GENDERS, or ""."""
    group: NDArray[np.str_]
    """(clips,) "" where nothing is said."""
    exclusions: tuple[report.Exclusion, ...] = ()

    def places(self, attribute: Attribute, classes: Sequence[str]) -> Places:
        """Place of every clip among the classes of an attribute, -1 where nothing is said, (clips,)."""
        if attribute == "age":
            return decade_places(self.age)
        return class_places((self.gender if attribute == "gender" else self.group).tolist(), classes)


def classes_of(attribute: Attribute, groups: Sequence[str]) -> tuple[str, ...]:
    """The classes of an attribute's matrices, in their order."""
    return {"age": DECADES, "gender": GENDERS, "group": tuple(groups)}[attribute]


def plain(name: str) -> str:
    """A group's name as it is compared: "East_Asian" and "east asian" are one."""
    return " ".join(name.replace("_", " ").replace("-", " ").lower().split())


def labelled(evaluation: EvaluationSet, groups: Sequence[str]) -> Opinion:
    """The labels; those that say nothing, or something that is none of the classes, are counted exclusions."""
    gender, age = evaluation.gender(), evaluation.age_years()
    known = {plain(name): name for name in groups}
    group = np.array([known.get(plain(name), "") for name in evaluation.label("group")], dtype=np.str_)
    understood = {"age": np.isfinite(age), "gender": gender != "", "group": group != ""}
    exclusions: list[report.Exclusion] = []
    for name, fine in understood.items():
        texts = evaluation.label(name)
        if not (texts != "").any() or (name == "group" and not groups):
            continue  # said once in a note, not once a clip
        exclusions += report.exclude(evaluation.keys, texts == "", NO_LABEL, name)
        for row in np.flatnonzero((texts != "") & ~fine):
            exclusions.append(report.Exclusion(evaluation.keys[row], LABEL_UNKNOWN, f"{name}: {texts[row]}"))
    return Opinion(LABELS, age, gender, group, tuple(exclusions))


def stated(attributes: StatedAttributes) -> Opinion:
    """What a model says of the voice itself."""
    feminine = attributes.femininity
    gender = np.where(np.isnan(feminine), "", np.where(feminine > 0.5, *GENDERS))
    return Opinion(STATED, attributes.age, gender, np.full(len(gender), "", dtype=np.str_))


def read_kind(reader: AttributeReader, pictures: PictureSet, kind: Kind) -> Opinion:
    """A reader's word on the pictures of one kind; one without a face or with several is a counted exclusion."""
    evaluation = pictures.evaluation_set
    readings: list[AttributeReading | None] = [None] * len(evaluation)
    exclusions = []
    for row in pictures.rows:
        picture, reason = pictures.picture(kind, row), NO_FACE
        try:
            readings[row] = None if picture is None else reader.read(picture)
        except SeveralFaces:
            reason = SEVERAL_FACES
        if picture is not None and readings[row] is None:
            exclusions.append(report.Exclusion(evaluation.keys[row], reason, kind))
    return _of_readings(PICTURES[kind], readings, tuple(exclusions))


def _of_readings(
    source: str, readings: Sequence[AttributeReading | None], exclusions: tuple[report.Exclusion, ...] = ()
) -> Opinion:
    ages = [np.nan if one is None or one.age is None else one.age for one in readings]
    genders = ["" if one is None else one.gender for one in readings]
    groups = ["" if one is None else one.group or "" for one in readings]
    return Opinion(
        source, np.array(ages, np.float64), np.array(genders, np.str_), np.array(groups, np.str_), exclusions
    )


def one_answer(labels: Opinion, reading: Opinion) -> tuple[Opinion, Opinion]:
    """The median age and the commonest gender for everybody, and the median age of each labelled gender.

    Both of the labels of those clips that the reading speaks of; the second says nothing where the gender is unknown.
    """
    gender = np.where(reading.gender != "", labels.gender, "")
    age = np.where(np.isfinite(reading.age), labels.age, np.nan)
    commonest = max(GENDERS, key=lambda one: int((gender == one).sum()))
    of_gender, nothing = np.full(len(age), np.nan), np.full(len(age), "", dtype=np.str_)
    for one in GENDERS:
        of_gender[labels.gender == one] = _median(age[labels.gender == one])
    return (
        Opinion("one answer", np.full(len(age), _median(age)), np.full(len(age), commonest), nothing),
        Opinion("one answer for each gender", of_gender, labels.gender, nothing),
    )


def _median(ages: report.Floats) -> float:
    known = ages[np.isfinite(ages)]
    return float(np.median(known)) if len(known) else float("nan")


# --- Which reading of the attributes is held against which reference, with the trivial baselines and the ceiling of
# each.

WITHIN_ONE = "agreement_within_one_decade"
PUBLISHED_FROM_VOICE = {
    "gender_agreement": "0.94",
    "gender_balanced_agreement": "0.94",
    "age_agreement": "0.286, where the twenties for everybody earn 0.294",
    "age_balanced_agreement": "0.246",
    f"age_{WITHIN_ONE}": "0.71, weighted by the test set's ages",
    "group_agreement": "0.476 of four groups, where White for everybody earns 0.502",
    "group_balanced_agreement": "0.338 of four groups",
}
PUBLISHED_FROM_FACE = {
    "gender_balanced_agreement": "0.935",
    "age_agreement": "0.48, weighted by the test set's ages",
    f"age_{WITHIN_ONE}": "0.90, weighted by the test set's ages",
    "group_balanced_agreement": "0.608 of four groups",
}
PUBLISHED_READING = "Face++ on original and picture (AVSpeech)"


@dataclass(frozen=True, eq=False)
class ReadingComparison:
    """A reading held against a reference, with its trivial baselines and its ceiling."""

    reference: Opinion
    reading: Opinion
    seconds: str
    """Heard; "" where the reading heard nothing."""
    mean_face: Opinion | None = None
    """Or, where no picture is read, one answer for everybody."""
    gender_mean_face: Opinion | None = None
    ceiling: Opinion | None = None

    @property
    def conditions(self) -> dict[str, str]:
        """What the report shows beside its numbers."""
        seconds = {"seconds": self.seconds} if self.seconds else {}
        return {"reference": self.reference.source, "reading": self.reading.source, **seconds}

    @property
    def name(self) -> str:
        """For the names of files."""
        words = f"{self.reading.source} against {self.reference.source}"
        return "_".join(words.split()) + (f"_{self.seconds}s" if self.seconds else "")

    @property
    def is_the_papers(self) -> bool:
        """Whether it is that of Figure 4."""
        return (self.reference.source, self.reading.source) == (PICTURES["original"], PICTURES["voice"])

    def published(self, metric: str) -> str:
        """What the paper found in the same place, with its reading; "" where it has no such number."""
        is_ceiling = (self.reference.source, self.reading.source) == (PICTURES["original"], PICTURES["face"])
        known = PUBLISHED_FROM_VOICE if self.is_the_papers else PUBLISHED_FROM_FACE if is_ceiling else {}
        return f"{known[metric]} ({PUBLISHED_READING})" if metric in known else ""


def comparisons_of(
    evaluation: EvaluationSet, pictures: PictureSet | None, reader: AttributeReader | None, labels: Opinion
) -> tuple[list[ReadingComparison], tuple[report.Exclusion, ...]]:
    """What is held against what, and the clips that one side has nothing to say of."""
    found: list[ReadingComparison] = []
    exclusions = [*labels.exclusions]
    if pictures is not None and reader is not None:
        read = {kind: read_kind(reader, pictures, kind) for kind in pictures.kinds}
        exclusions += [
            one for one in pictures.exclusions if one.reason not in FACE_REASONS
        ]  # the reader finds its own faces
        exclusions += [one for opinion in read.values() for one in opinion.exclusions]
        found += _of_pictures(read, labels, f"{pictures.seconds:g}", _baselines(pictures, reader))
    for seconds in sorted(evaluation.stated, reverse=True):
        said = stated(evaluation.stated[seconds])
        found.append(ReadingComparison(labels, said, f"{seconds:g}", *one_answer(labels, said)))
    return [one for one in found if _any_in_common(one)], tuple(dict.fromkeys(exclusions))


def _of_pictures(
    read: dict[Kind, Opinion], labels: Opinion, seconds: str, baselines: tuple[Opinion | None, Opinion | None]
) -> Iterator[ReadingComparison]:
    """The paper's comparison first, the ceilings last."""
    references = [*([read["original"]] if "original" in read else []), labels]
    voice, face = read.get("voice"), read.get("face")
    if voice is not None:
        for reference in references:
            yield ReadingComparison(reference, voice, seconds, *baselines, face)
        if face is not None:
            yield ReadingComparison(face, voice, seconds, *baselines)
    if face is not None:
        for reference in references:
            yield ReadingComparison(reference, face, "", *baselines)


def _any_in_common(one: ReadingComparison) -> bool:
    sides = (one.reference, one.reading)
    said = [(np.isfinite(side.age), side.gender != "", side.group != "") for side in sides]
    return any(bool((a & b).any()) for a, b in zip(*said, strict=True))


def _baselines(pictures: PictureSet, reader: AttributeReader) -> tuple[Opinion | None, Opinion | None]:
    """The mean face for everybody and that of the labelled gender, drawn and read; None without a model that draws."""
    mean, gender = pictures.mean_face(), pictures.evaluation_set.gender()
    if mean is None:
        return None, None
    drawn = {one: pictures.mean_face(one) for one in GENDERS}
    readings = {one: None if picture is None else read_drawn(reader, picture) for one, picture in drawn.items()}
    return (
        _of_readings("mean face", [read_drawn(reader, mean)] * len(gender)),
        _of_readings("mean face of the gender", [readings.get(str(one)) for one in gender]),
    )


ATTRIBUTES_NOTES = (
    "An agreement says that two readings of a face are alike, not that either is right about a person. Gender is the"
    " apparent one, and of two kinds only, as the paper had it; whoever gave another answer is counted as left out.",
    "Chance is what the same answers would earn dealt out at random; the majority column is what one answer for"
    " everybody earns. Ages of the thirties for everybody are within a decade of most speakers.",
    "Decades begin at their first year (20 is 20 to 29); the paper does not say where its decades begin.",
)
MOST_FOR_CHANCE = 2_000  # clips whose ages are paired with each other's


@report.chapter("attributes", "Attributes of the picture")
def measure_attributes(
    evaluation: EvaluationSet,
    *,
    pictures: PictureSet | None = None,
    reader: AttributeReader | None = None,
    seed: int = 0,
    resamplings: int = RESAMPLINGS,
) -> report.Part:
    """Every reading against every reference that there is: labels, originals, pictures, the model's own word."""
    groups = reader.groups if reader is not None and "group" in reader.reads else ()  # nobody else reads any
    labels = labelled(evaluation, groups)
    comparisons, excluded = comparisons_of(evaluation, pictures, reader, labels)
    if not comparisons:
        raise report.NotMeasured(_missing(evaluation, pictures, reader), excluded)
    bootstrap = SpeakerBootstrap(evaluation.speaker, resamplings=resamplings, seed=seed)
    longest = f"{evaluation.longest():g}"
    shown = [_Shown(one, groups, bootstrap, in_full=one.seconds in ("", longest)) for one in comparisons]
    if not any(one.numbers for one in shown):
        raise report.NotMeasured("no clip has both a reading and a reference of it", excluded)
    rows = tuple(row for one in shown for row in one.rows)
    agreement = report.Table("attribute_agreement", "Agreement, chance and trivial baselines", _ATTRIBUTES_HEADER, rows)
    return report.Part(
        numbers=[number for one in shown for number in one.numbers],
        tables=[agreement, *(table for one in shown for table in one.tables)],
        figures=[figure for one in shown for figure in one.figures],
        notes=_notes(evaluation, reader),
        exclusions=excluded,
    )


class _Shown:
    """All that the report shows of one comparison; matrices `in_full` only, which twenty durations need not be."""

    def __init__(
        self, one: ReadingComparison, groups: tuple[str, ...], bootstrap: SpeakerBootstrap, *, in_full: bool
    ) -> None:
        self.numbers: list[report.Number] = []
        self.rows: list[tuple[report.Cell, ...]] = []
        self.tables: list[report.Table] = []
        matrices = []
        for attribute in ATTRIBUTES:
            measured = _Agreement(one, attribute, classes_of(attribute, groups))
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
        self.figures: list[report.Figure] = (
            [confusion_figure(f"confusion_{one.name}", title, matrices)] if matrices else []
        )


def _missing(evaluation: EvaluationSet, pictures: PictureSet | None, reader: AttributeReader | None) -> str:
    if reader is None and not evaluation.stated:
        return "nothing reads attributes: the model states none; give a face-attribute reader (--reader)"
    if pictures is None and not evaluation.stated:
        return "there are no pictures to read; give a model that draws them or a folder (--pictures)"
    return "nothing to hold the readings against: the data have no labels age, gender, group and no original faces"


def _notes(evaluation: EvaluationSet, reader: AttributeReader | None) -> tuple[str, ...]:
    unlabelled = [name for name in ATTRIBUTES if not (evaluation.label(name) != "").any()]
    notes = [*ATTRIBUTES_NOTES]
    if reader is not None:
        unread = [name for name in ATTRIBUTES if name not in reader.reads]
        notes.append(f"Read by: {reader.name}. {reader.statement}")
        notes += [f"This reader does not read: {', '.join(unread)}."] if unread else []
    if unlabelled:
        notes.append(f"The data have no labels of: {', '.join(unlabelled)}.")
    return tuple(notes)


class _Agreement:
    """One attribute of one comparison, as places among its classes."""

    def __init__(self, comparison: ReadingComparison, attribute: Attribute, classes: tuple[str, ...]) -> None:
        self.comparison, self.attribute, self.classes = comparison, attribute, classes
        self.reference = comparison.reference.places(attribute, classes)
        self.read = comparison.reading.places(attribute, classes)
        self.kept = (self.reference >= 0) & (self.read >= 0)
        self.counts = metrics.confusion(self.reference, self.read, len(classes))

    def by(self, other: Opinion | None, of_counts: Callable[[report.Floats], float]) -> float | None:
        """What the same clips earn if another source had answered; None where it says nothing."""
        if other is None:
            return None
        read = np.where(self.kept, other.places(self.attribute, self.classes), -1)
        counts = metrics.confusion(self.reference, read, len(self.classes))
        return of_counts(counts) if counts.sum() else None

    def number(
        self,
        metric: str,
        estimate: Estimate,
        chance: float,
        of_other: Callable[[Opinion | None], float | None],
        *,
        higher: bool = True,
    ) -> report.Number:
        """A number with all that stands beside it; `of_other` is what another source would earn."""
        one, name = self.comparison, f"{self.attribute}_{metric}"
        return report.Number(
            name,
            estimate,
            int(self.kept.sum()),
            one.conditions,
            chance=chance,
            mean_face=of_other(one.mean_face),
            gender_mean_face=of_other(one.gender_mean_face),
            best=of_other(one.ceiling),
            published=one.published(name),
            higher_is_better=higher,
        )


def _numbers(measured: _Agreement, bootstrap: SpeakerBootstrap) -> Iterator[report.Number]:
    counts, kept = measured.counts, measured.kept

    def balanced(weights: report.Floats) -> float:
        weighted = metrics.confusion(measured.reference, measured.read, len(measured.classes), weights)
        return metrics.balanced_agreement(weighted)

    right = np.where(kept, (measured.reference == measured.read).astype(np.float64), np.nan)
    near = np.where(kept, (np.abs(measured.reference - measured.read) <= 1).astype(np.float64), np.nan)
    even = 1.0 / int((counts.sum(1) > 0).sum())  # of the classes that are there
    found = [
        ("agreement", bootstrap.mean(right), metrics.chance_agreement(counts), metrics.agreement),
        ("balanced_agreement", bootstrap.statistic(balanced, kept), even, metrics.balanced_agreement),
    ]
    if measured.attribute == "age":
        of_near = metrics.chance_within_one(counts), metrics.agreement_within_one
        found.append((WITHIN_ONE, bootstrap.mean(near), *of_near))
    for metric, estimate, chance, of_counts in found:
        yield measured.number(metric, estimate, chance, partial(measured.by, of_counts=of_counts))
    if measured.attribute == "age":
        yield _age_error(measured, bootstrap)


def _age_error(measured: _Agreement, bootstrap: SpeakerBootstrap) -> report.Number:
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
    dealt = float(np.abs(one.reading.age[some][:, None] - reference[some][None]).mean())
    estimate = bootstrap.mean(np.abs(one.reading.age - reference))
    return measured.number("mean_absolute_error_years", estimate, dealt, error, higher=False)


_ATTRIBUTES_HEADER = (
    *("reference", "reading", "seconds", "metric", "value", "low", "high", "clips", "speakers"),
    *("chance", "majority", "mean face", "mean face of the gender", "face to face"),
)


def _row(number: report.Number, measured: _Agreement) -> tuple[report.Cell, ...]:
    estimate, conditions = number.estimate, number.conditions
    return (
        *(conditions["reference"], conditions["reading"], conditions.get("seconds"), number.metric),
        *(*estimate.cells(), number.clips, estimate.n, number.chance),
        _majority(number.metric, measured),
        *(number.mean_face, number.gender_mean_face, number.best),
    )


def _majority(metric: str, measured: _Agreement) -> float:
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


# --- How the attribute part shows its matrices: tables with the paper's rows beside, and the figure like its Figure 4.

FACE_PLUS_PLUS_GROUPS = ("Asian", "Black", "India", "White")
_PAPER_DECADES = DECADES[1:8]  # 10 to 70
Rows = Mapping[str, tuple[float, ...]]
"""A row-normalised matrix of the paper, of AVSpeech, both sides read by Face++: its classes and their rows."""


def _rows(classes: Sequence[str], text: str) -> Rows:
    numbers = [tuple(float(number) for number in line.split()) for line in text.strip().splitlines()]
    return dict(zip(classes, numbers, strict=True))


FROM_VOICE: dict[Attribute, Rows] = {
    "gender": _rows(GENDERS, ".94 .06\n.06 .94"),
    "group": _rows(FACE_PLUS_PLUS_GROUPS, ".50 .03 .10 .38\n.27 .11 .13 .49\n.27 .13 .13 .48\n.30 .04 .05 .61"),
    "age": _rows(
        _PAPER_DECADES,
        """.00 .38 .38 .23 0 0 0
        0 .26 .38 .24 .09 .02 .01
        0 .21 .32 .32 .10 .03 .02
        0 .09 .32 .33 .18 .05 .02
        0 .07 .24 .27 .30 .08 .05
        0 .05 .12 .33 .28 .16 .05
        0 .08 .14 .20 .14 .10 .35""",
    ),
}
"""Original picture against the picture from the voice: Figure 4 (the figure's own PDF)."""


@dataclass(frozen=True, eq=False)
class Matrix:
    """One confusion matrix of a comparison."""

    attribute: Attribute
    classes: tuple[str, ...]
    counts: report.Floats
    """(reference, read)"""


def confusion_table(name: str, title: str, matrix: Matrix, *, beside_the_paper: bool) -> report.Table:
    """Row-normalised, with how many clips each row stands on, and the paper's rows below."""
    shares, clips = row_normalised(matrix.counts), matrix.counts.sum(1)
    header = ("source", "reference", *(f"read as {one}" for one in matrix.classes), "clips")
    rows: list[tuple[report.Cell, ...]] = [
        ("measured", one, *(_cell(share) for share in shares[place]), int(clips[place]))
        for place, one in enumerate(matrix.classes)
        if clips[place] > 0
    ]
    published = FROM_VOICE[matrix.attribute]
    if beside_the_paper and set(published) <= set(matrix.classes):
        for one, numbers in published.items():
            told = dict(zip(published, numbers, strict=True))
            rows.append(("paper", one, *(told.get(read) for read in matrix.classes), None))
    empty = [one for place, one in enumerate(matrix.classes) if clips[place] == 0]
    note = f"No clip has the reference {', '.join(empty)}." if empty else ""
    return report.Table(name, title, header, tuple(rows), note)


def _cell(share: float) -> float | None:
    return None if np.isnan(share) else round(float(share), 4)


def confusion_figure(name: str, title: str, matrices: Sequence[Matrix]) -> report.Figure:
    """The matrices beside each other, as in Figure 4 of the paper."""
    shown = [matrix for matrix in matrices if matrix.counts.sum() > 0]
    widths = [_inches(_present(matrix)[1]) for matrix in shown]

    def draw(canvas: Canvas) -> None:
        axes = canvas.subplots(1, len(shown), width_ratios=widths, squeeze=False)[0]
        for place, matrix in zip(axes, shown, strict=True):
            _heat(place, matrix)

    png = render(draw, (sum(widths) + 0.4, max(widths) + 0.1))
    caption = f"{title}. Each row sums to 1: of the clips whose reference is the row, the share read as the column."
    return report.Figure(name, caption, png, " ".join(_in_words(matrix) for matrix in shown))


def _present(matrix: Matrix) -> tuple[report.Floats, tuple[str, ...]]:
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
