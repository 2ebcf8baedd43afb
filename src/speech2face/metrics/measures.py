"""Measures: what is asked of each clip, with the chance level and what trivial baselines earn beside it.

Training, the evaluation report and the audit ask the same ones. Another package adds one by an entry point of the group
`speech2face.measures`; docs/extending-measure.md shows how.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import spearmanr

from speech2face.drivers import KINDS
from speech2face.errors import InvalidOption
from speech2face.metrics.matching import (
    Embeddings,
    Floats,
    GalleryRanks,
    Singles,
    centred_angle_degrees,
    cosine,
    explained_variance,
    in_blocks,
    l1,
    l2,
    means_of_others,
    rank_gallery,
    recall,
    strangers,
    two_way_choice,
    unit,
)
from speech2face.voice.belief import AGE_INTERVAL_MASS

# --- How right the attribute readings of a voice are; each with direction, range and what a trivial
# baseline scores: a constant answer.


def balanced_accuracy(predicted: np.ndarray, reference: np.ndarray) -> float:
    """Mean of the two classes' recalls, (speakers,) bool twice; higher is better, 0..1, chance and a constant 0.5."""
    recalls = [
        float(np.mean(predicted[reference == value] == value)) for value in (False, True) if (reference == value).any()
    ]
    return float(np.mean(recalls)) if len(recalls) == 2 else float("nan")


def spearman(predicted: np.ndarray, reference: np.ndarray) -> float:
    """Rank correlation, (speakers,) twice; higher is better, -1..1, chance 0, a constant scores 0."""
    if np.ptp(predicted) == 0 or np.ptp(reference) == 0:
        return 0.0
    return float(spearmanr(predicted, reference).statistic)


def mean_absolute_error(predicted: np.ndarray, reference: np.ndarray) -> float:
    """Mean absolute error, (speakers,) twice; lower is better, from 0; the median for everybody earns least."""
    return float(np.mean(np.abs(predicted - reference)))


def covered(low: np.ndarray, high: np.ndarray, age: np.ndarray) -> Floats:
    """Share of each labelled age (speakers, 2) inside the stated interval (speakers,) twice; NaN where one is unknown.

    A label that is itself an interval (a decade) counts by the share of it inside, its ages taken as equally likely.
    """
    first, last = age[:, 0], np.maximum(age[:, 1], age[:, 0] + 1e-6)
    inside = np.minimum(high, last) - np.maximum(low, first)
    return np.asarray(np.clip(inside, 0, None) / (last - first))


def coverage(low: np.ndarray, high: np.ndarray, reference_low: np.ndarray, reference_high: np.ndarray) -> float:
    """Share of speakers whose age lies in the stated interval, (speakers,) each; see `covered`.

    The stated share is best; the trivial baseline of an endless interval scores 1.
    """
    return float(np.mean(covered(low, high, np.stack([reference_low, reference_high], 1))))


# --- How two readings of the same faces agree: confusion matrices as in the paper's Figure 4, and what is in them.
# Source: Oh et al., CVPR 2019, section 4.1 and Figure 4. Everything takes a matrix of counts (reference, read), which
# may be sums of weights; classes that the reference never has are rows of zeros, and are left out of what is a mean
# of rows.

Places = NDArray[np.int64]
DECADE_YEARS = 10
OLDEST_DECADE = 80
DECADES = tuple(f"{low}" for low in range(0, OLDEST_DECADE + 1, DECADE_YEARS))
"""Of apparent age, by their first year; the last one is open. The paper does not say where its decades begin."""


def decade_places(years: ArrayLike) -> Places:
    """Which of DECADES ages (clips,) fall into, -1 for NaN and below 0: 29.9 years are in the twenties."""
    ages = np.asarray(years, np.float64)
    within = np.clip(np.where(np.isnan(ages), -1.0, ages), -1.0, OLDEST_DECADE)
    return np.asarray(within // DECADE_YEARS, np.int64)


def class_places(names: Sequence[str], classes: Sequence[str]) -> Places:
    """Place of each name (clips,) among the classes, -1 where it is none of them."""
    place = {name: number for number, name in enumerate(classes)}
    return np.array([place.get(name, -1) for name in names], np.int64)


def confusion(reference: Places, read: Places, classes: int, weights: ArrayLike | None = None) -> Floats:
    """Counts (classes, classes) of clips whose reference is the row and whose reading is the column; -1 on either side
    is left out, for the caller to count. `weights` (clips,) count a clip more than once, or not at all."""
    known = (reference >= 0) & (read >= 0)
    weight = None if weights is None else np.asarray(weights, np.float64)[known]
    flat = reference[known] * classes + read[known]
    return np.bincount(flat, weight, minlength=classes * classes).astype(np.float64).reshape(classes, classes)


def row_normalised(counts: Floats) -> Floats:
    """Of each reference class, the share read as each class: rows sum to 1; a class that never occurs is a row of NaN.

    The diagonal is best at 1. A reader blind to the picture has all rows alike.
    """
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(counts / counts.sum(1, keepdims=True))


def agreement(counts: Floats) -> float:
    """trace / total: the share of clips read as their reference; higher is better, 0..1, NaN of no clips.

    Chance is `chance_agreement`; who always says the commonest class earns `majority`.
    """
    return _share(float(np.trace(counts)), float(counts.sum()))


def balanced_agreement(counts: Floats) -> float:
    """Mean of the diagonal of the row-normalised matrix over the classes that occur; higher is better, 0..1.

    A constant answer earns 1 / classes that occur, however rare these are: the paper's ages earn .25 by it.
    """
    rows = np.diagonal(row_normalised(counts))
    there = rows[np.isfinite(rows)]
    return float(there.mean()) if len(there) else float("nan")


def agreement_within_one(counts: Floats) -> float:
    """Share of clips at most one class away from their reference, for ordered classes such as decades; 0..1.

    The trivial baseline is `best_constant_within_one`: the thirties for everybody are within a decade of most adults.
    """
    near = np.abs(np.subtract.outer(np.arange(len(counts)), np.arange(len(counts)))) <= 1
    return _share(float(counts[near].sum()), float(counts.sum()))


def chance_agreement(counts: Floats) -> float:
    """sum over classes of the reference's share times the reading's: what these answers earn dealt out at random."""
    total = float(counts.sum())
    return _share(float(counts.sum(1) @ counts.sum(0)), total * total)


def chance_within_one(counts: Floats) -> float:
    """The same for being at most one class away."""
    expected = np.outer(counts.sum(1), counts.sum(0))
    return agreement_within_one(expected)


def majority(counts: Floats) -> float:
    """What the commonest class of the reference earns in `agreement`, said of everybody."""
    return _share(float(counts.sum(1).max(initial=0.0)), float(counts.sum()))


def best_constant_within_one(counts: Floats) -> float:
    """What the best constant answer earns in `agreement_within_one`."""
    rows = counts.sum(1)
    padded = np.concatenate([[0.0], rows, [0.0]])
    return _share(float((padded[:-2] + padded[1:-1] + padded[2:]).max(initial=0.0)), float(rows.sum()))


def _share(part: float, whole: float | Any) -> float:
    return part / whole if whole > 0 else float("nan")


# --- How well an attribute can be told from embeddings: by a straight line, and by how they lie in clusters.
# Sources: Alain and Bengio, "Understanding intermediate layers using linear classifier probes", 2016 (the line);
# Rousseeuw, "Silhouettes", 1987. Both in few principal dimensions, as is usual before t-SNE.

FOLDS = 5
DIMENSIONS = 50
RIDGE = 1e-2
"""Of the mean variance of a dimension: keeps the covariance invertible."""


def principal_coordinates(face_embedding: NDArray[np.floating[Any]], dimensions: int = DIMENSIONS) -> Singles:
    """Unit-length embeddings (clips, K) along their principal axes, largest variance first, (clips, <= dimensions)."""
    from sklearn.decomposition import PCA

    units = unit(face_embedding)
    most = min(dimensions, *units.shape)
    with np.errstate(invalid="ignore", divide="ignore"):  # shares of a variance of nothing
        return np.asarray(PCA(most, svd_solver="randomized", random_state=0).fit_transform(units), np.float32)


def recalled(
    coordinates: Singles, label: NDArray[np.str_], speaker: NDArray[Any], *, seed: int = 0
) -> NDArray[np.float64]:
    """Whether a linear classifier that never heard the speaker names each clip's label, (clips,) 0 or 1.

    Linear discriminant analysis with equal priors for all labels, in folds over speakers; NaN where a label has fewer
    than two speakers or is the only one. The mean of the labels' shares is the balanced accuracy: chance and any
    constant answer 1 / labels.
    """
    found = np.full(len(label), np.nan)
    names = [name for name in np.unique(label) if name != "" and len(np.unique(speaker[label == name])) > 1]
    people = np.unique(speaker)
    fold_of = np.random.default_rng(seed).permutation(len(people)) % FOLDS
    fold = fold_of[np.searchsorted(people, speaker)]
    known = np.isin(label, names)
    for number in range(FOLDS if len(names) > 1 else 0):
        learn, asked = known & (fold != number), known & (fold == number)
        if asked.any() and len(np.unique(label[learn])) == len(names):
            found[asked] = _nearest_mean(coordinates[learn], label[learn], coordinates[asked]) == label[asked]
    return found


def _nearest_mean(learn: Singles, label: NDArray[np.str_], asked: Singles) -> NDArray[np.str_]:
    """The label whose mean is nearest, in units of the spread around the means."""
    names, place = np.unique(label, return_inverse=True)
    means = np.stack([learn[place == number].mean(0, dtype=np.float64) for number in range(len(names))])
    around = learn - means[place]
    spread = around.T @ around / len(around)
    spread += RIDGE * max(np.trace(spread) / len(spread), 1e-12) * np.eye(len(spread))
    weights = np.linalg.solve(spread, means.T)  # (dimensions, labels)
    return np.asarray(names[(asked @ weights - 0.5 * (means.T * weights).sum(0)).argmax(1)])


def silhouette(coordinates: Singles, label: NDArray[np.str_]) -> NDArray[np.float64]:
    """Of each clip (clips,), -1..1: is it nearer to its own label's clips than to those of the nearest other label?

    (b - a) / max(a, b) of mean distances; higher is more separate; chance 0 or just below, 0 where all are the
    same; NaN where the label is unknown.
    """
    from sklearn.metrics import silhouette_samples

    found = np.full(len(label), np.nan)
    names, counts = np.unique(label[label != ""], return_counts=True)
    known = np.isin(label, names[counts > 1])
    if len(np.unique(label[known])) > 1:
        found[known] = silhouette_samples(coordinates[known], label[known])
    return found


# --- What measures look at, and what one is.

ADULT_AGE = 18.0  # the readings of children have numbers of their own
CHILD_BELOW = 13.0
STATED_MASS = AGE_INTERVAL_MASS  # and of what is believed of the face
"""Share of the stated distribution that the interval of an age, and the spread of a face, are to hold."""
DEALT_OUT = 1000  # ages at most, each held against all of them


@dataclass(frozen=True, eq=False)
class Answers:
    """What was answered about some clips, beside what is known of them: all that a measure may look at.

    Everything is (clips, ...). None stands for what is not known of any clip, NaN or "" for what is not known of one.
    """

    speaker: NDArray[np.int64]
    """(clips,): any whole number, the same for one person."""
    predicted: Embeddings | None = None
    """(clips, K) face embeddings said of the voices."""
    reference: Embeddings | None = None
    """(clips, K) embeddings of the clips' own faces."""
    gender: NDArray[np.str_] | None = None
    """(clips,) "female", "male" or "", by the label."""
    age: Floats | None = None
    """(clips, 2) half-open intervals of years, by the label."""
    stated_age: Floats | None = None
    """(clips,) years, what the model itself states."""
    stated_low: Floats | None = None
    """(clips,) lower end of the stated 80 % interval of the age."""
    stated_high: Floats | None = None
    femininity: Floats | None = None
    """(clips,) stated probability of a feminine voice."""
    called_child: Floats | None = None
    """(clips,) 1 with the caution of a child's voice, 0 without."""
    refused: Floats | None = None
    """(clips,) 1 where the recording got no portrait, 0 where it did."""
    spread_share: Floats | None = None
    """(clips,) share of the stated spread that lies nearer to its middle than the own face."""
    seed: int = 0
    """Of what is drawn by chance."""

    def has(self, measure: Measure) -> bool:
        """Whether all that a measure needs is there, of some clip at least."""
        return all(_some(getattr(self, name, None)) for name in measure.inputs)

    @cached_property
    def pairs(self) -> NDArray[np.int64]:
        """Rows of the clips with both a prediction and a reference."""
        assert self.predicted is not None and self.reference is not None
        return np.flatnonzero(np.isfinite(self.predicted).all(1) & np.isfinite(self.reference).all(1))

    @cached_property
    def mean_face(self) -> Embeddings:
        """Of the pairs: the mean face of all other speakers, (pairs, K); with one speaker alone that of the pairs."""
        assert self.reference is not None
        means = means_of_others(self.reference, self.speaker)[self.pairs]
        alone = ~np.isfinite(means).all(1)
        if alone.any():
            means[alone] = self.reference[self.pairs].mean(0, dtype=np.float64).astype(np.float32)
        return means

    @cached_property
    def gender_mean_face(self) -> Embeddings:
        """Of the pairs: the mean face of the other speakers of the labelled gender, (pairs, K); NaN where unknown."""
        assert self.reference is not None
        gender = np.full(len(self.speaker), "") if self.gender is None else self.gender
        means = means_of_others(self.reference, self.speaker, gender)
        means[gender == ""] = np.nan
        return means[self.pairs]

    @cached_property
    def sides(self) -> Sides:
        """The pairs, for measures of two embeddings."""
        assert self.predicted is not None and self.reference is not None
        return Sides(some_rows(self.predicted, self.pairs), some_rows(self.reference, self.pairs), self.mean_face)

    @cached_property
    def trivial(self) -> dict[str, tuple[Sides, NDArray[np.int64]]]:
        """What the trivial baselines say instead, and of which clips."""
        sides, known = self.sides, np.isfinite(self.gender_mean_face).all(1)
        found = {"mean_face": (replace(sides, predicted=self.mean_face), self.pairs)}
        if known.any():
            found["gender_mean_face"] = (
                Sides(self.gender_mean_face[known], sides.reference[known], sides.centre[known]),
                self.pairs[known],
            )
        return found

    def of_strangers(self) -> Iterator[Sides]:
        """The predictions beside faces of other speakers, some times; nothing where there is nobody else."""
        drawn = strangers(self.speaker[self.pairs], seed=self.seed)
        if (drawn >= 0).all():
            yield from (replace(self.sides, reference=self.sides.reference[row]) for row in drawn)

    @cached_property
    def ranking(self) -> GalleryRanks:
        """Where the own face of each pair stands among all references, by cosine."""
        assert self.reference is not None
        there = np.isfinite(self.reference).all(1)
        own = (np.cumsum(there) - 1)[self.pairs]
        return rank_gallery(self.sides.predicted, self.reference[there], own, self.speaker[there])

    def spread_out(self, values: Floats, rows: NDArray[np.int64]) -> Floats:
        """Values of some clips among all, (clips,); NaN elsewhere."""
        whole = np.full(len(self.speaker), np.nan)
        whole[rows] = values
        return whole


@dataclass(frozen=True, eq=False)
class Sides:
    """Predicted and reference embeddings of the same clips, and what they are seen from, (pairs, K) each."""

    predicted: Embeddings
    reference: Embeddings
    centre: Embeddings

    @cached_property
    def cosine(self) -> Floats:
        """(pairs,)"""
        return cosine(self.predicted, self.reference)


@runtime_checkable
class Measure(Protocol):
    """One question about every clip; what a driver of the kind `measures` has to be."""

    @property
    def name(self) -> str:
        """As it stands in reports: small letters, digits and underscores."""
        ...

    @property
    def inputs(self) -> tuple[str, ...]:
        """Fields of `Answers` that it needs."""
        ...

    @property
    def higher_is_better(self) -> bool | None:
        """The direction; None where the best lies between."""
        ...

    def compute(self, answers: Answers) -> Floats:
        """One number a clip, (clips,); NaN where it does not concern the clip."""
        ...

    def chance(self, answers: Answers) -> float | None:
        """What answers that know nothing earn on average; None where nobody can say."""
        ...

    def baselines(self, answers: Answers) -> Mapping[str, Floats]:
        """What trivial baselines earn of each clip, (clips,), or one number for all.

        `mean_face` is one answer for everybody, `gender_mean_face` one for each labelled gender.
        """
        ...


def _nothing(answers: Answers) -> Mapping[str, Floats]:
    return {}


@dataclass(frozen=True)
class ClipMeasure:
    """A measure made of functions."""

    name: str
    inputs: tuple[str, ...]
    higher_is_better: bool | None
    of_answers: Callable[[Answers], Floats]
    chance_level: float | Callable[[Answers], float | None] | None = None
    of_baselines: Callable[[Answers], Mapping[str, Floats]] = _nothing

    def compute(self, answers: Answers) -> Floats:
        """See `Measure`."""
        return self.of_answers(answers)

    def chance(self, answers: Answers) -> float | None:
        """See `Measure`."""
        return self.chance_level(answers) if callable(self.chance_level) else self.chance_level

    def baselines(self, answers: Answers) -> Mapping[str, Floats]:
        """See `Measure`."""
        return self.of_baselines(answers)


def some_rows(table: Embeddings, rows: NDArray[np.int64]) -> Embeddings:
    """Some rows of a table; the table itself where that is all of them."""
    return table if len(rows) == len(table) else table[rows]


def average(values: Floats) -> float | None:
    """Mean over the clips that have a value; None where none has."""
    values = np.asarray(values, np.float64)
    present = values[np.isfinite(values)]
    return float(present.mean()) if len(present) else None


# --- Of face embeddings. Only the angle can be compared with the paper's Table 2; see metrics/matching.py for
# formulas.


def of_faces(
    name: str, pairwise: Callable[[Sides], Floats], *, higher: bool = False, chance: float | None = None
) -> ClipMeasure:
    """A measure of two embeddings; unless `chance` is known it is measured against faces of other speakers."""

    def beside_strangers(answers: Answers) -> float | None:
        found = [float(pairwise(sides).mean()) for sides in answers.of_strangers()]
        return float(np.mean(found)) if found else None

    return ClipMeasure(
        name,
        ("predicted", "reference"),
        higher,
        lambda answers: answers.spread_out(pairwise(answers.sides), answers.pairs),
        beside_strangers if chance is None else chance,
        lambda answers: {
            key: answers.spread_out(pairwise(sides), rows) for key, (sides, rows) in answers.trivial.items()
        },
    )


def _rank_chance(answers: Answers) -> float:
    return 50 * (answers.ranking.gallery + 1) / answers.ranking.gallery


FEATURE_SIMILARITY = (
    of_faces("angle_degrees", lambda s: np.degrees(np.arccos(np.clip(s.cosine, -1, 1)))),
    of_faces("cosine", lambda s: s.cosine, higher=True),
    of_faces("centred_angle_degrees", lambda s: centred_angle_degrees(s.predicted, s.reference, s.centre), chance=90.0),
    of_faces("l2_unit", lambda s: in_blocks(lambda p, r: l2(unit(p), unit(r)), s.predicted, s.reference)),
    of_faces("l1_unit", lambda s: in_blocks(lambda p, r: l1(unit(p), unit(r)), s.predicted, s.reference)),
    of_faces("l2", lambda s: l2(s.predicted, s.reference)),
    of_faces("l1", lambda s: l1(s.predicted, s.reference)),
)
"""Those of Table 2, in its order."""
ANGLE_DEGREES, COSINE, CENTRED_ANGLE_DEGREES, L2_UNIT, L1_UNIT, L2, L1 = FEATURE_SIMILARITY
MEAN_RANK_PERCENT = ClipMeasure(
    "mean_rank_percent",
    ("predicted", "reference"),
    False,
    lambda answers: answers.spread_out(100 * answers.ranking.rank / answers.ranking.gallery, answers.pairs),
    _rank_chance,
    lambda answers: {"mean_face": np.array(_rank_chance(answers))},
)
"""Rank of the own face by cosine among all references, in percent of them."""


def _choice(name: str, *, same_gender: bool) -> ClipMeasure:
    def chosen(answers: Answers) -> Floats:
        assert answers.predicted is not None and answers.reference is not None
        gender = answers.gender if same_gender else None
        return two_way_choice(answers.predicted, answers.reference, answers.speaker, gender)

    inputs = ("predicted", "reference", *(["gender"] if same_gender else []))
    return ClipMeasure(name, inputs, True, chosen, 0.5, lambda answers: {"mean_face": np.array(0.5)})


TWO_WAY_CHOICE = _choice("two_way_choice", same_gender=False)
"""Whether the own face is chosen before one other speaker's, as expected over all of them."""
TWO_WAY_CHOICE_SAME_GENDER = _choice("two_way_choice_same_gender", same_gender=True)
SPREAD_COVERAGE = ClipMeasure(
    "spread_coverage",
    ("spread_share",),
    None,
    lambda answers: _where(answers.spread_share, _known(answers.spread_share) <= STATED_MASS),
)
"""Whether the own face lies inside the stated share of the spread; that share is best."""

# --- Of stated attributes. The trivial baselines are the commonest gender and the median age, for everybody or by
# gender.


def _some(values: Any) -> bool:
    if values is None:
        return False
    array = np.asarray(values)
    return bool((array != "").any() if array.dtype.kind == "U" else np.isfinite(array).any())


def _known(values: Any) -> Any:
    assert values is not None, "a measure is asked only where its inputs are"
    return values


def _where(there: Any, values: Any) -> Floats:
    """Values where something is known of the clip, NaN elsewhere."""
    return np.where(np.isfinite(_known(there)), values, np.nan).astype(np.float64)


def _female(answers: Answers) -> Floats:
    """1 for a woman, 0 for a man, NaN for whoever is neither by the label, (clips,)."""
    gender = _known(answers.gender)
    return np.where(gender == "", np.nan, gender == "female").astype(np.float64)


def _gender_right(answers: Answers) -> Floats:
    female, stated = _female(answers), _known(answers.femininity)
    return _where(female + stated, (stated > 0.5) == (female == 1))


def _commonest(answers: Answers) -> Mapping[str, Floats]:
    told = _female(answers)[np.isfinite(_female(answers) + _known(answers.femininity))]
    shares = [float((told == value).mean()) for value in (1, 0)] if len(told) else []
    return {"mean_face": np.array(max(shares)), "gender_mean_face": np.array(1.0)} if shares else {}


def _years(answers: Answers) -> Floats:
    """Middle of the labelled age of adults, NaN of everybody else, (clips,)."""
    ages = _known(answers.age)
    return np.where(ages[:, 0] >= ADULT_AGE, ages.mean(1), np.nan)


def _age_difference(answers: Answers) -> Floats:
    return np.asarray(_known(answers.stated_age) - _years(answers))


def median_ages(answers: Answers, *, by_gender: bool = False) -> Floats:
    """The median age of the adults who were answered about, for each of them, or that of their labelled gender."""
    years = np.where(np.isfinite(_known(answers.stated_age)), _years(answers), np.nan)
    adult = np.isfinite(years)
    group = _known(answers.gender) if by_gender and answers.gender is not None else np.full(len(years), "")
    found = np.full(len(years), np.nan)
    for one in np.unique(group[adult]):
        found[adult & (group == one)] = np.median(years[adult & (group == one)])
    return found


def _dealt_out(answers: Answers) -> float | None:
    """Mean error of the same ages, dealt out to other people."""
    rows = np.flatnonzero(np.isfinite(_age_difference(answers)))
    if not len(rows):
        return None
    some = rows[:: -(-len(rows) // DEALT_OUT)]
    stated, years = _known(answers.stated_age)[some], _years(answers)[some]
    return float(np.abs(stated[:, None] - years[None]).mean())


GENDER_RIGHT = ClipMeasure("gender_right", ("femininity", "gender"), True, _gender_right, 0.5, _commonest)
GENDER_BRIER = ClipMeasure(
    "gender_brier",
    ("femininity", "gender"),
    False,
    lambda answers: np.square(_known(answers.femininity) - _female(answers)),
    0.25,  # of stating 0.5
)
AGE_ERROR_YEARS = ClipMeasure(
    "age_error_years",
    ("stated_age", "age"),
    False,
    lambda answers: np.abs(_age_difference(answers)),
    _dealt_out,
    lambda answers: {
        "mean_face": np.abs(median_ages(answers) - _years(answers)),
        "gender_mean_face": np.abs(median_ages(answers, by_gender=True) - _years(answers)),
    },
)
AGE_BIAS_YEARS = ClipMeasure(
    "age_bias_years",
    ("stated_age", "age"),
    None,
    _age_difference,
    None,
    lambda answers: {"mean_face": median_ages(answers) - _years(answers)},
)
AGE_INTERVAL_COVERAGE = ClipMeasure(
    "age_interval_coverage",
    ("stated_low", "stated_high", "age"),
    None,
    lambda answers: np.where(
        np.isfinite(_years(answers)),
        covered(_known(answers.stated_low), _known(answers.stated_high), _known(answers.age)),
        np.nan,
    ),
)
"""Share of an adult's labelled age inside the stated 80 % interval; 0.8 is best."""


def _child(answers: Answers) -> Floats:
    """1 for who is certainly under 13, NaN for everybody else, (clips,)."""
    return np.where(_known(answers.age)[:, 1] <= CHILD_BELOW, 1.0, np.nan)


CHILD_MISSED = ClipMeasure(
    "child_missed",
    ("called_child", "age"),
    False,
    lambda answers: _where(_child(answers), 1 - _known(answers.called_child)),
    None,
    lambda answers: {"mean_face": _child(answers)},
)
ADULT_CALLED_CHILD = ClipMeasure(
    "adult_called_child",
    ("called_child", "age"),
    False,
    lambda answers: _where(_years(answers), _known(answers.called_child)),
    None,
    lambda answers: {"mean_face": 0 * _years(answers)},
)
REFUSED = ClipMeasure(
    "refused",
    ("refused",),
    False,
    lambda answers: _known(answers.refused),
    None,
    lambda answers: {"mean_face": np.zeros(len(answers.speaker))},
)


def added_measures() -> dict[str, Measure]:
    """The measures that other packages add, by the names of their entry points.

    Raises:
        InvalidOption: one of them cannot be imported, or is no measure.
    """
    found: dict[str, Measure] = KINDS["measures"].load_added()
    for name, measure in found.items():
        if not isinstance(measure, Measure):
            wanted = "name, inputs, higher_is_better, compute, chance and baselines"
            raise InvalidOption(f"{name!r} is no measure, it needs {wanted}: speech2face drivers check measures {name}")
    return found


# --- The numbers that a training watches, and the check that a measure of another package keeps to the protocol.

RECALL_AT = (1, 5, 10)
BASELINES = ("mean_face", "gender_mean_face")


def embedding_numbers(predicted: Embeddings, reference: Embeddings) -> dict[str, float]:
    """The numbers that are watched in training, (clips, K) twice; what a constant answer earns stands beside them."""
    count = len(reference)
    answers = Answers(np.arange(count), predicted, reference)
    constant = replace(answers, predicted=np.broadcast_to(reference.mean(0), reference.shape))
    numbers = {
        "angle_degrees": float(ANGLE_DEGREES.compute(answers).mean()),
        "angle_degrees_of_mean_face": float(ANGLE_DEGREES.compute(constant).mean()),
        "r2": explained_variance(predicted, reference),
        "median_rank_share": float(np.median(MEAN_RANK_PERCENT.compute(answers)) / 100),
    }
    for at in RECALL_AT:
        found = float(recall(answers.ranking.rank, at).mean())
        numbers |= {f"recall_at_{at}": found, f"recall_at_{at}_chance": min(1.0, at / count)}
    return numbers


def made_answers(clips: int = 40, seed: int = 0) -> Answers:
    """Answers about made clips, two of each speaker; nothing is known of the last clip but who speaks."""
    rng = np.random.default_rng(seed)
    person = np.arange(clips) // 2
    faces = (1 + rng.standard_normal((person[-1] + 1, 8))[person] + 0.1 * rng.standard_normal((clips, 8))).astype(
        np.float32
    )
    years = 5.0 + 4 * person
    stated = years + rng.normal(0, 8, clips)
    columns: dict[str, Any] = {
        "predicted": faces / 2,
        "reference": faces,
        "gender": np.array(["female", "male"])[person % 2],
        "age": np.stack([years, years + 1], 1),
        "stated_age": stated,
        "stated_low": stated - 10,
        "stated_high": stated + 10,
        "femininity": np.clip(1 - person % 2 + rng.normal(0, 0.3, clips), 0, 1),
        "called_child": (stated < CHILD_BELOW).astype(np.float64),
        "refused": (rng.uniform(size=clips) < 0.1).astype(np.float64),
        "spread_share": rng.uniform(size=clips),
    }
    for column in columns.values():
        column[-1] = "" if column.dtype.kind == "U" else np.nan
    return Answers(person, **columns)


def check_measure(measure: Any) -> None:
    """Check that a measure keeps to the protocol, on made answers.

    Raises:
        AssertionError: with what is wrong.
    """
    assert isinstance(measure, Measure), "a measure has name, inputs, higher_is_better, compute, chance and baselines"
    name, known = measure.name, {field.name for field in fields(Answers)} - {"seed"}
    assert re.fullmatch(r"[a-z][a-z0-9_]*", name), f"its name {name!r} is not small letters, digits and underscores"
    assert measure.inputs and set(measure.inputs) <= known, f"{name}: inputs are some of {', '.join(sorted(known))}"
    assert measure.higher_is_better in (True, False, None), f"{name}: higher_is_better is True, False or None"
    answers, untouched = made_answers(), made_answers()
    values = np.asarray(measure.compute(answers))
    count = len(answers.speaker)
    assert values.shape == (count,), f"{name}: one number a clip, ({count},), not {values.shape}"
    assert values.dtype.kind in "fiub", f"{name}: numbers, not {values.dtype}"
    assert np.isfinite(values.astype(np.float64)).any(), f"{name}: no clip has a finite value"
    if "speaker" not in measure.inputs:
        assert np.isnan(values[-1]), f"{name}: NaN where the inputs are missing, not {values[-1]}"
    again = np.asarray(measure.compute(made_answers()))
    assert np.array_equal(values, again, equal_nan=True), f"{name}: the same answers twice give two results"
    chance = measure.chance(answers)
    assert chance is None or np.isfinite(chance), f"{name}: chance is a finite number or None, not {chance!r}"
    for key, earned in measure.baselines(answers).items():
        assert key in BASELINES, f"{name}: baselines are of {' and '.join(BASELINES)}, not {key!r}"
        shape = np.shape(earned)
        assert shape in ((), (count,)), f"{name}: {key} is one number a clip or one for all, not {shape}"
    for column in known:
        kept, now = getattr(untouched, column), getattr(answers, column)
        same = np.array_equal(kept, now) if kept.dtype.kind in "Ui" else np.array_equal(kept, now, equal_nan=True)
        assert same, f"{name}: it changes {column} of the answers"
