"""Every number by group, the worst group first, which differences are no chance, and whether what is stated holds."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from speech2face.errors import code_named
from speech2face.evaluation.clips import AuditClip
from speech2face.evaluation.observations import (
    CHILD_BELOW,
    CLEAN,
    LEVELS,
    Observations,
    Stability,
    interval_ends,
    is_child,
    voice_has_broken,
)
from speech2face.evaluation.parts.attributes import LABEL_UNKNOWN, NO_LABEL
from speech2face.evaluation.report import (
    CHANCE_COLOUR,
    COLOURS,
    Exclusion,
    Figure,
    Floats,
    NotMeasured,
    Number,
    Part,
    ReportFacts,
    Table,
    chapter,
    render,
)
from speech2face.metrics import intervals, measures
from speech2face.metrics.intervals import Estimate, SpeakerBootstrap
from speech2face.metrics.measures import ADULT_AGE, covered
from speech2face.voice.belief import BIN_EDGES, AttributeBelief

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Canvas

# --- The groups of an audit: by what was said of the speakers, and by what is measured on their clean recordings.

OLDEST_DECADE = 70
# Men speak around 120 Hz and women around 210, most of them within 20 to 25 of it (Titze 1989; Baken and Orlikoff
# 2000): these are the voices nearer to the other gender's.
HIGH_MAN_HZ = 150.0
LOW_WOMAN_HZ = 180.0
SECONDS_EDGES = (2.0, 3.0, 6.0, 12.0)
SNR_EDGES_DB = (16.0, 30.0)  # the first is where the starter's caution about noise begins
Labels = NDArray[np.str_]


@dataclass(frozen=True, eq=False)
class Dimension:
    """One way to divide the clips; `group` is (clips,), "" where a clip belongs to none.

    `explains` names what the groups differ in by definition: a comparison within equals of it would compare nobody.
    """

    name: str
    group: Labels
    explains: frozenset[str] = frozenset()
    of_heard: bool = False
    """Measured on what was heard: a refused clip is in none of its groups."""

    def names(self) -> list[str]:
        """Its groups, in order."""
        return [str(name) for name in np.unique(self.group) if name]


def decade(age: tuple[float, float] | None) -> str:
    """ "under 13", "13-19", "20s" ... "70s and older"; "" where the interval is unknown or spans two of them."""
    if age is None:
        return ""
    names = {_decade_of(age[0]), _decade_of(max(age[0], age[1] - 1e-6))}
    return names.pop() if len(names) == 1 else ""


def _decade_of(years: float) -> str:
    if years < CHILD_BELOW:
        return "under 13"
    if years < 20:
        return "13-19"
    if years >= OLDEST_DECADE:
        return f"{OLDEST_DECADE}s and older"
    return f"{int(years // 10) * 10}s"


def pitch_band(clip: AuditClip, pitch_hz: float) -> str:
    """Children, and adult voices by how near they lie to the other gender's; "" where that is not known."""
    if is_child(clip.age):
        return "children under 13"
    if not np.isfinite(pitch_hz) or not voice_has_broken(clip.age):
        return ""
    if clip.gender == "male":
        return f"men, {band(pitch_hz, [HIGH_MAN_HZ], 'Hz')}"
    if clip.gender == "female":
        return f"women, {band(pitch_hz, [LOW_WOMAN_HZ], 'Hz')}"
    return ""


def band(value: float, edges: Sequence[float], unit: str) -> str:
    """ "under 2 s", "2 to 3 s", "12 s and more"; "" for NaN."""
    if not np.isfinite(value):
        return ""
    place = int(np.searchsorted(edges, value, "right"))
    if place == 0:
        return f"under {edges[0]:g} {unit}"
    if place == len(edges):
        return f"{edges[-1]:g} {unit} and more"
    return f"{edges[place - 1]:g} to {edges[place]:g} {unit}"


def _both(clip: AuditClip) -> str:
    if not clip.gender or not decade(clip.age):
        return ""
    return f"{clip.gender}, {decade(clip.age)}"


def dimensions(clips: Sequence[AuditClip], clean: Observations) -> list[Dimension]:
    """Every way in which the clips can be divided; those in which all fall into one group are left out."""

    def said(read: Callable[[AuditClip], str]) -> Labels:
        return np.array([read(clip) for clip in clips], np.str_)

    def label(name: str) -> Labels:
        return said(lambda clip: clip.labels.get(name, "").strip())

    def measured(values: NDArray[np.float64], edges: Sequence[float], unit: str) -> Labels:
        return np.array([band(float(value), edges, unit) for value in values], np.str_)

    pitch = np.array([pitch_band(c, float(p)) for c, p in zip(clips, clean.pitch_hz, strict=True)], np.str_)
    found = [
        Dimension("gender", said(lambda clip: clip.gender), frozenset({"gender"})),
        Dimension("age", said(lambda clip: decade(clip.age)), frozenset({"age"})),
        Dimension("gender and age", said(_both)),
        Dimension("pitch", pitch, of_heard=True),
        Dimension("speech heard", measured(clean.seconds, SECONDS_EDGES, "s"), of_heard=True),
        Dimension("noise", measured(clean.snr_db, SNR_EDGES_DB, "dB"), of_heard=True),
        Dimension("group", label("group")),
        Dimension("source", label("source")),
        Dimension("language", label("language")),
        Dimension("accent", label("accent")),
    ]
    return [dimension for dimension in found if len(dimension.names()) > 1]


# --- What is asked of every clip in an audit: measures, and how an audit shows and compares them.


@dataclass(frozen=True)
class Question:
    """One measure as an audit asks it, compares it and shows it."""

    measure: measures.Measure
    title: str
    short_title: str
    target: float
    """The best value."""
    digits: int
    like: str = ""
    """What the members of a group are compared within: their own "gender" or "age"."""
    balanced: bool = False
    constant_is: str = ""
    """The constant answer that stands beside it, "" where there is none."""
    of_refused: bool = False
    """Also concerns clips that were refused."""
    named: str = ""
    """Its name in an audit, where that is not the measure's."""

    @property
    def name(self) -> str:
        """As it stands in the report."""
        return self.named or self.measure.name

    def values(self, seen: Observations) -> Floats:
        """One number a clip, (clips,); NaN where it does not concern the clip."""
        missing = np.full(len(seen.refusal), np.nan)
        return self.measure.compute(seen.answers) if seen.answers.has(self.measure) else missing

    def constant(self, clean: Observations) -> Floats | None:
        """What the constant answer earns of each clip, (clips,); None where there is none."""
        if not self.constant_is or not clean.answers.has(self.measure):
            return None
        chance = self.measure.chance(clean.answers)
        # The commonest gender for everybody is better than a coin only where the genders are not told alike.
        coin = self.constant_is == A_COIN
        earned = chance if coin else self.measure.baselines(clean.answers).get("mean_face", chance)
        return None if earned is None else np.broadcast_to(np.asarray(earned, np.float64), len(clean.refusal))

    def badness(self, value: float) -> float:
        """How far from the best; the worst group has the most."""
        return abs(value - self.target) if np.isfinite(value) else -np.inf


A_COIN, MEAN_FACE, NO_CAUTION = "a coin", "the mean face for everybody", "no caution for anybody"
OF_ATTRIBUTES = (
    Question(
        measures.GENDER_RIGHT, "Gender read right, both genders alike (15 years and older)", "gender read right", 1.0,
        3, "gender", True, A_COIN, named="gender_balanced_accuracy",
    ),
    Question(
        measures.GENDER_BRIER, "Stated probability of the gender, squared error (15 years and older)",
        "gender, squared error of the probability", 0.0, 3, "gender", True, "0.5 for everybody",
    ),
    Question(
        measures.AGE_ERROR_YEARS, "Age of adults, mean absolute error in years", "age, error in years", 0.0, 1, "age",
        constant_is="{median:g} years for everybody",
    ),
    Question(
        measures.AGE_BIAS_YEARS, "Age of adults, stated less given, in years", "age, stated less given", 0.0, 1, "age",
        constant_is="{median:g} years for everybody",
    ),
    Question(
        measures.AGE_INTERVAL_COVERAGE, "Adults inside the stated 80 % interval", "inside the 80 % interval",
        measures.STATED_MASS, 3, "age",
    ),
    Question(
        measures.CHILD_MISSED, "Children under 13 without the caution", "children without the caution", 0.0, 3,
        constant_is=NO_CAUTION,
    ),
    Question(
        measures.ADULT_CALLED_CHILD, "Adults with the caution of a child's voice", "adults with a child's caution", 0.0,
        3, "gender", constant_is=NO_CAUTION,
    ),
)  # fmt: skip
"""For models that state age and gender."""
OF_FACES = (
    Question(
        measures.ANGLE_DEGREES, "Angle to the own face's embedding, in degrees", "angle in degrees", 0.0, 1,
        constant_is=MEAN_FACE,
    ),
    Question(
        measures.TWO_WAY_CHOICE, "Own face chosen before one other speaker's", "own face before another", 1.0, 3,
        constant_is=A_COIN,
    ),
    Question(
        measures.TWO_WAY_CHOICE_SAME_GENDER, "Own face chosen before one other speaker's of the same gender",
        "before another of the gender", 1.0, 3, "gender", constant_is=A_COIN,
    ),
    Question(
        measures.SPREAD_COVERAGE, "Own face inside the stated 80 % of the spread", "inside 80 % of the spread",
        measures.STATED_MASS, 3,
    ),
)  # fmt: skip
"""For models that say the face embedding itself, of data whose clips have their own face's."""
OF_EVERY_MODEL = (
    Question(measures.REFUSED, "Recordings refused", "refused", 0.0, 3, constant_is="no refusal", of_refused=True),
)


def questions(clean: Observations) -> list[Question]:
    """What can be asked of a model, from what it said of the clean recordings."""
    of_faces = OF_FACES if clean.answers.reference is not None else ()
    years = measures.median_ages(clean.answers) if clean.states_attributes else np.zeros(0)
    median = next(iter(years[np.isfinite(years)]), float("nan"))
    asked = (*(OF_ATTRIBUTES if clean.states_attributes else of_faces), *OF_EVERY_MODEL)
    return [replace(question, constant_is=question.constant_is.format(median=median)) for question in asked]


def strata(clips: Sequence[AuditClip], like: str) -> NDArray[np.int64]:
    """With whom each clip's speaker may be compared, (clips,): equals in gender, in age, or everybody."""
    if like == "gender":
        names = [clip.gender for clip in clips]
    elif like == "age":
        names = [decade(clip.age) for clip in clips]
    else:
        names = [""] * len(clips)
    return np.asarray(np.unique(names, return_inverse=True)[1].reshape(-1), np.int64)


EVERYBODY = "everybody"
NAN = float("nan")


@dataclass(frozen=True)
class GroupFinding:
    """One measure in one group; numbers that are NaN were not measured, not tested, or stand on too few to show."""

    question: Question
    dimension: str
    group: str
    speakers: int
    clips: int
    value: intervals.Estimate
    constant: float
    """What the constant answer earns there."""
    difference: intervals.Estimate
    """To the rest of the same gender or age, or, of a condition, to the same recordings clean."""
    p: float
    p_holm: float = NAN
    p_bh: float = NAN

    @property
    def shown(self) -> bool:
        """Enough speakers that a mean is nobody's own value."""
        return self.speakers >= intervals.SMALLEST_SHOWN

    @property
    def tested(self) -> bool:
        """Enough speakers on both sides."""
        return bool(np.isfinite(self.p))

    @property
    def worse(self) -> bool:
        """Whether the group is farther from the best than the rest it was held against."""
        rest = self.value.value - self.difference.value
        return self.question.badness(self.value.value) > self.question.badness(rest)

    @property
    def verdict(self) -> str:
        """What may be said of it."""
        if self.group == EVERYBODY:
            return ""
        if not self.tested:
            return (
                f"not tested: under {intervals.SMALLEST_TESTED} speakers"
                if self.speakers < intervals.SMALLEST_TESTED
                else "not tested"
            )
        if self.p_holm <= intervals.LEVEL:
            return "worse" if self.worse else "better"
        if self.p_bh <= intervals.LEVEL:
            return "perhaps worse" if self.worse else "perhaps better"
        return "no difference shown"


@dataclass(frozen=True, eq=False)
class _Material:
    """One question's values of the clean recordings, and what the constant answer earns."""

    question: Question
    values: Floats  # (clips,)
    constant: Floats | None  # (clips,)
    speaker: NDArray[np.int64]  # (clips,)

    def constant_of(self, kept: NDArray[np.bool_]) -> float:
        """What the constant answer earns of some clips."""
        rows = kept & np.isfinite(self.values)
        return float(np.mean(self.constant[rows])) if self.constant is not None and rows.any() else NAN


def audit_groups(
    asked: Sequence[Question],
    dimensions: Sequence[Dimension],
    observations: Mapping[str, Observations],
    speaker: NDArray[np.int64],
    strata: Mapping[str, NDArray[np.int64]],
    *,
    permutations: int = intervals.PERMUTATIONS,
) -> list[GroupFinding]:
    """All findings, corrected together for their number: every question in every group and under every condition.

    `speaker` is (clips,), `strata` by `Question.like` (clips,): see `strata`.
    """
    findings: list[GroupFinding] = []
    clean = observations[CLEAN]
    for question in asked:
        material = _Material(question, question.values(clean), question.constant(clean), speaker)
        evened = strata["gender" if question.balanced else ""]
        findings.append(_everybody(material, evened))
        for dimension in dimensions:
            if dimension.of_heard and question.of_refused:
                continue
            like = "" if question.like in dimension.explains else question.like
            findings += _of_dimension(material, dimension, strata[like], permutations)
        findings += _of_conditions(material, observations, evened, permutations)
    p = [found.p for found in findings]
    pairs = zip(findings, intervals.holm(p), intervals.benjamini_hochberg(p), strict=True)
    return [replace(found, p_holm=float(strict), p_bh=float(loose)) for found, strict, loose in pairs]


def worst_first(findings: Iterable[GroupFinding]) -> list[GroupFinding]:
    """Everybody first, then the worst; groups of too few to be tested come last, in the same order."""

    def key(found: GroupFinding) -> tuple[int, float, str, str]:
        place = 0 if found.group == EVERYBODY else 1 if found.tested else 2
        bad = found.question.badness(found.value.value) if found.shown else -np.inf
        return place, -bad, found.dimension, found.group

    return sorted(findings, key=key)


def _sample(
    material: _Material, kept: NDArray[np.bool_], stratum: NDArray[np.int64]
) -> tuple[intervals.Sample, NDArray[np.int64]]:
    """One value a speaker of the kept clips, and the speakers."""
    values, people = intervals.by_speaker(np.where(kept, material.values, np.nan), material.speaker)
    first = {int(person): int(row) for row, person in reversed(list(enumerate(material.speaker)))}
    strata = np.array([stratum[first[int(person)]] for person in people], np.int64)
    return intervals.Sample(values, strata, material.question.balanced), people


def _everybody(material: _Material, stratum: NDArray[np.int64]) -> GroupFinding:
    everyone = np.ones(len(material.values), bool)
    sample, people = _sample(material, everyone, stratum)
    estimate = intervals.compare(sample, np.ones((1, len(people)), bool), permutations=1)[0].value
    return GroupFinding(
        material.question, "", EVERYBODY, len(people), int(np.isfinite(material.values).sum()), estimate,
        material.constant_of(everyone), intervals.Estimate(NAN, NAN, NAN, len(people)), NAN,
    )  # fmt: skip


def _of_dimension(
    material: _Material, dimension: Dimension, like: NDArray[np.int64], permutations: int
) -> list[GroupFinding]:
    """Each group beside the rest of the dimension's clips; a speaker on both sides counts as a member."""
    belongs = dimension.group != ""
    findings = []
    names = np.array(dimension.names())
    kept = belongs & np.isfinite(material.values)
    people = np.unique(material.speaker[kept])
    members = np.zeros((len(names), len(people)), bool)
    for row, name in enumerate(names):
        own = np.unique(material.speaker[kept & (dimension.group == name)])
        members[row] = np.isin(people, own)
    present = np.asarray(members.any(1))
    overlapping = bool((members.sum(0) > 1).any())
    if overlapping:  # clips of one speaker in several groups: each group has its own sample
        compared = [_alone(material, dimension, name, kept, like, permutations) for name in names[present]]
    else:
        sample, _ = _sample(material, kept, like)
        compared = intervals.compare(sample, members[present], permutations=permutations) if present.any() else []
    for name, comparison in zip(names[present], compared, strict=True):
        rows = kept & (dimension.group == name)
        findings.append(_finding(material, dimension.name, str(name), rows, comparison))
    return findings


def _alone(
    material: _Material,
    dimension: Dimension,
    name: str,
    kept: NDArray[np.bool_],
    like: NDArray[np.int64],
    permutations: int,
) -> intervals.Comparison:
    inside = kept & (dimension.group == name)
    members = np.unique(material.speaker[inside])
    outside = kept & ~np.isin(material.speaker, members)
    sample, people = _sample(material, inside | outside, like)
    return intervals.compare(sample, np.isin(people, members)[None], permutations=permutations)[0]


def _finding(
    material: _Material, dimension: str, group: str, rows: NDArray[np.bool_], comparison: intervals.Comparison
) -> GroupFinding:
    speakers = comparison.value.n
    few = speakers < intervals.SMALLEST_SHOWN
    nothing = intervals.Estimate(NAN, NAN, NAN, speakers)
    return GroupFinding(
        material.question,
        dimension,
        group,
        speakers,
        int(rows.sum()),
        nothing if few else comparison.value,
        NAN if few else material.constant_of(rows),
        nothing if few else comparison.difference,
        comparison.p,
    )


def _of_conditions(
    material: _Material, observations: Mapping[str, Observations], stratum: NDArray[np.int64], permutations: int
) -> list[GroupFinding]:
    """Each condition beside the same recordings clean."""
    findings = []
    for name, seen in observations.items():
        values = material.question.values(seen)
        both = np.isfinite(values) & np.isfinite(material.values)
        if name == CLEAN or not both.any():
            continue
        under = replace(material, values=np.where(both, values, np.nan))
        sample, people = _sample(under, both, stratum)
        value = intervals.compare(sample, np.ones((1, len(people)), bool), permutations=1)[0].value
        change, _ = intervals.by_speaker(np.where(both, values - material.values, np.nan), material.speaker)
        difference, p = intervals.compare_pairs(change * _evened(sample), permutations=permutations)
        findings.append(
            _finding(under, f"{seen.condition.group}, changed", name, both, intervals.Comparison(value, difference, p))
        )
    return findings


def _evened(sample: intervals.Sample) -> NDArray[np.float64]:
    """Weight of each speaker, one on average, with which all strata count alike in a balanced measure, (speakers,)."""
    if not sample.balanced:
        return np.ones(len(sample.values))
    _, place, count = np.unique(sample.stratum, return_inverse=True, return_counts=True)
    return np.asarray(len(place) / (len(count) * count[place.reshape(-1)]), np.float64)


# --- Which clips an audit could not use for something, and why: counted in its report, never passed over.

SPANS_GROUPS = "age_spans_groups"


def left_out(clips: Sequence[AuditClip], clean: Observations) -> tuple[Exclusion, ...]:
    """Clips that were refused, whose gender or age nobody gave or nobody understands, or that lack a face."""
    return (*_refused(clips, clean), *_labels(clips), *_faces(clips))


def _refused(clips: Sequence[AuditClip], clean: Observations) -> Iterator[Exclusion]:
    for clip, name in zip(clips, clean.refusal, strict=True):
        if name:
            yield Exclusion(clip.key, code_named(name), "clean recording")


def _labels(clips: Sequence[AuditClip]) -> Iterator[Exclusion]:
    for name in ("gender", "age"):
        said = [clip.labels.get(name, "").strip() for clip in clips]
        if not any(said):
            continue  # the report says once that there are none
        for clip, text in zip(clips, said, strict=True):
            understood = clip.gender if name == "gender" else clip.age
            if not text:
                yield Exclusion(clip.key, NO_LABEL, name)
            elif not understood:
                yield Exclusion(clip.key, LABEL_UNKNOWN, f"{name}: {text}")
            elif name == "age" and not decade(clip.age):
                yield Exclusion(clip.key, SPANS_GROUPS, text)


def _faces(clips: Sequence[AuditClip]) -> Iterator[Exclusion]:
    if any(clip.reference is not None for clip in clips):
        for clip in clips:
            if clip.reference is None:
                yield Exclusion(clip.key, "no_reference")


CHANGED = ", changed"  # ends the name of a dimension whose groups are the same recordings made otherwise


def is_condition(found: GroupFinding) -> bool:
    """Of recordings made otherwise, not of people."""
    return found.dimension.endswith(CHANGED)


def found_worse(findings: Sequence[GroupFinding]) -> list[GroupFinding]:
    """Groups that are told worse than the rest after correction, or perhaps, the surest first."""
    return sorted(
        (found for found in findings if found.verdict in ("worse", "perhaps worse")),
        key=lambda found: (found.verdict != "worse", found.question.name, -found.question.badness(found.value.value)),
    )


@dataclass(frozen=True, eq=False)
class Audit:
    """What an audit found."""

    parts: tuple[Part, ...]
    findings: tuple[GroupFinding, ...]
    questions: tuple[Question, ...]
    stability: Stability | None
    facts: ReportFacts


# --- Whether stated probabilities and intervals hold what they say.
# Sources: Brier (1950), Verification of forecasts expressed in terms of probability; Naeini, Cooper and Hauskrecht
# (2015) for the expected calibration error; Dawid (1984), Statistical theory: the prequential approach, for the PIT.

BINS = 10
SIMULATIONS = 500


@dataclass(frozen=True)
class ReliabilityBin:
    """Clips of like stated probability: what was stated on average, and how often it was so."""

    stated: float
    happened: float
    clips: int


def reliability(probability: Floats, happened: Floats, weights: Floats | None = None) -> list[ReliabilityBin]:
    """Bins of about as many clips each, by rising stated probability; (clips,) each, `happened` 0 or 1."""
    weights = np.ones(len(probability)) if weights is None else weights
    order = np.argsort(probability, kind="stable")
    found = []
    for rows in np.array_split(order, min(BINS, max(1, len(order)))):
        total = weights[rows].sum()
        if total > 0:
            found.append(
                ReliabilityBin(
                    float(weights[rows] @ probability[rows] / total),
                    float(weights[rows] @ happened[rows] / total),
                    len(rows),
                )
            )
    return found


def calibration_error(probability: Floats, happened: Floats, weights: Floats | None = None) -> float:
    """Expected calibration error: mean over clips of |stated - happened| of their bin; lower is better, 0 to 1.

    Few clips never give 0, even to a perfect forecast: `calibration_floor` says what they give. Stating the
    base rate for everybody earns 0 and says nothing, so look at the Brier score too.
    """
    weights = np.ones(len(probability)) if weights is None else weights
    order = np.argsort(probability, kind="stable")
    error = 0.0
    for rows in np.array_split(order, min(BINS, max(1, len(order)))):
        error += abs(float(weights[rows] @ (probability[rows] - happened[rows])))
    return error / float(weights.sum())


def calibration_floor(probability: Floats, *, seed: int = 0) -> float:
    """The calibration error that the same statements would have on average if they were exactly true."""
    rng = np.random.default_rng(seed)
    drawn = [calibration_error(probability, (rng.uniform(size=len(probability)) < probability).astype(np.float64))
             for _ in range(SIMULATIONS)]  # fmt: skip
    return float(np.mean(drawn))


def brier(probability: Floats, happened: Floats) -> Floats:
    """Squared error of each statement, (clips,); lower is better, 0 to 1, and stating 0.5 earns 0.25."""
    return np.asarray(np.square(probability - happened))


def interval_masses(ages: Sequence[tuple[float, float]], beliefs: Sequence[AttributeBelief]) -> tuple[Floats, Floats]:
    """Stated probability of being younger than the given age's two ends, (clips,) each: the PIT as an interval."""
    low, high = [], []
    for (start, stop), belief in zip(ages, beliefs, strict=True):
        cumulative = np.concatenate([[0.0], np.cumsum(belief.age_probabilities)])
        ends = np.interp([start, max(stop, start + 1e-6)], BIN_EDGES, cumulative / cumulative[-1])
        low.append(ends[0])
        high.append(max(ends[1], ends[0]))
    return np.array(low), np.array(high)


def pit_histogram(low: Floats, high: Floats, bins: int = BINS) -> Floats:
    """Share of clips in each tenth of the stated distribution, (bins,), summing to one; true statements give 1/bins.

    Where a decade was given, its ages are alike likely: the clip is shared among the bins it spans.
    """
    edges = np.linspace(0, 1, bins + 1)
    width = np.maximum(high - low, 1e-9)
    inside = np.minimum(high[:, None], edges[1:]) - np.maximum(low[:, None], edges[:-1])
    share = np.clip(inside, 0, None) / width[:, None]
    # What is narrower than can be divided lies in one bin.
    point = high - low <= 1e-9
    share[point] = np.eye(bins)[np.clip((low[point] * bins).astype(int), 0, bins - 1)]
    return np.asarray(share.sum(0) / max(len(low), 1))


def pit_distance(low: Floats, high: Floats) -> float:
    """Mean absolute difference of the PIT histogram from a flat one, times half the bins: 0 is best, 1 the worst."""
    if not len(low):
        return float("nan")
    shares = pit_histogram(low, high)
    return float(np.abs(shares - 1 / len(shares)).sum() / 2)


@dataclass(frozen=True)
class GenderCalibration:
    """How true the stated probability of a woman's voice is."""

    error: Estimate
    floor: float
    """What exactly true statements would have: so few clips scatter by as much."""
    brier: Estimate
    brier_of_base_rate: float
    bins: tuple[ReliabilityBin, ...]


def gender_calibration(
    probability: Floats, female: Floats, speaker: NDArray[np.int64], *, seed: int = 0
) -> GenderCalibration:
    """Of the clips whose gender is known and heard, (clips,) each; others are NaN."""
    rows = np.flatnonzero(np.isfinite(probability + female))
    stated, happened, people = probability[rows], female[rows], speaker[rows]
    draws = SpeakerBootstrap(people, seed=seed)
    rate = float(happened.mean()) if len(rows) else float("nan")
    return GenderCalibration(
        error=draws.statistic(lambda weights: calibration_error(stated, happened, weights), resamplings=300),
        floor=calibration_floor(stated, seed=seed) if len(rows) else float("nan"),
        brier=draws.mean(brier(stated, happened)),
        brier_of_base_rate=rate * (1 - rate),
        bins=tuple(reliability(stated, happened)) if len(rows) else (),
    )


LEVEL_HEADER = ("condition", "stated", "inside", "low_95", "high_95", "speakers")


@chapter("calibration", "Stated probabilities and intervals")
def calibration_part(clips: Sequence[AuditClip], observations: Mapping[str, Observations], *, seed: int = 0) -> Part:
    """Gender and age of a model that states them, or the spread of one that states the face."""
    if observations[CLEAN].states_attributes:
        return _of_attributes(clips, observations, seed)
    return _of_spread(observations, seed)


def _of_attributes(clips: Sequence[AuditClip], observations: Mapping[str, Observations], seed: int) -> Part:
    clean = observations[CLEAN]
    ages, labels = clean.answers.age, clean.answers.gender
    assert ages is not None and labels is not None
    adult = ages[:, 0] >= ADULT_AGE
    female = np.where(labels == "", np.nan, labels == "female").astype(np.float64)
    if not np.isfinite(female).any() and not adult.any():
        raise NotMeasured("the data have no labels of gender or age to hold the statements against")
    draws = SpeakerBootstrap(clean.answers.speaker, seed=seed)
    gender = {
        name: gender_calibration(
            seen.of_attributes(lambda belief: belief.femininity), female, clean.answers.speaker, seed=seed
        )
        for name, seen in observations.items()
    }
    inside = {
        (name, level): draws.mean(np.where(adult, covered(*interval_ends(seen.attributes, level), ages), np.nan))
        for name, seen in observations.items()
        for level in LEVELS
    }
    adults = [clip.age if is_adult else None for clip, is_adult in zip(clips, adult, strict=True)]
    pit = _pit_ends(adults, clean)
    numbers = [
        Number(metric, estimate, int((observations[name].heard & np.isfinite(female)).sum()), {"condition": name},
               best=best, chance=chance, higher_is_better=False)
        for name, found in gender.items()
        for metric, estimate, best, chance in (
            ("gender_calibration_error", found.error, found.floor, None),
            ("gender_brier", found.brier, 0.0, found.brier_of_base_rate),
        )
    ]  # fmt: skip
    numbers += [_coverage_number("age_interval_coverage", *key, estimate) for key, estimate in inside.items()]
    coverage = _coverage_table(inside, "Adults inside the stated age interval")
    return Part(
        numbers=numbers,
        tables=[_gender_table(gender), _reliability_table(gender[CLEAN]), coverage, _pit_table(*pit)],
        figures=[_reliability_figure(gender[CLEAN]), _pit_figure(*pit)],
        notes=(
            "Calibration error: mean difference between the stated probability of a woman's voice and how often it was"
            " one, over ten bins of as many clips each. Its floor: what exactly true statements would have by chance.",
            "Brier: mean squared error of the stated probability. Base rate: what stating the share of women earns.",
            "Inside: share of adults whose given age lies in the stated central interval; a decade counts by the share"
            " of it inside. Too little: the model is too sure of itself; too much: not sure enough.",
        ),
    )


def _coverage_number(metric: str, condition: str, level: float, estimate: Estimate) -> Number:
    conditions = {"condition": condition, "stated": f"{level:g}"}
    return Number(metric, estimate, estimate.n, conditions, best=level, higher_is_better=None)


def _gender_table(gender: Mapping[str, GenderCalibration]) -> Table:
    header = ("condition", "calibration_error", "low_95", "high_95", "floor", "brier", "brier_low_95", "brier_high_95")
    rows = tuple(
        (*(name, *found.error.cells(), found.floor), *(*found.brier.cells(), found.brier_of_base_rate, found.error.n))
        for name, found in gender.items()
    )
    title = "Stated probability of the gender (15 years and older)"
    return Table("gender", title, (*header, "brier_of_base_rate", "speakers"), rows)


def _reliability_table(found: GenderCalibration) -> Table:
    rows = tuple((one.stated, one.happened, one.clips) for one in found.bins)
    header = ("stated_probability_of_a_woman", "share_of_women", "clips")
    return Table("reliability", "Stated and happened, clean recordings", header, rows)


def _coverage_table(coverage: Mapping[tuple[str, float], Estimate], title: str) -> Table:
    rows = tuple((*key, *estimate.cells(), estimate.n) for key, estimate in coverage.items())
    return Table("coverage", title, LEVEL_HEADER, rows)


def _pit_ends(
    ages: Sequence[tuple[float, float] | None], seen: Observations
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    both = [
        (age, belief)
        for age, belief in zip(ages, seen.attributes, strict=True)
        if age is not None and belief is not None
    ]
    return interval_masses([age for age, _ in both], [belief for _, belief in both])


def _pit_table(low: NDArray[np.float64], high: NDArray[np.float64]) -> Table:
    shares = pit_histogram(low, high)
    rows = tuple((f"{place / 10:.1f} to {(place + 1) / 10:.1f}", float(share)) for place, share in enumerate(shares))
    note = f"Flat is right (0.1 each); {pit_distance(low, high):.3f} of the clips would have to change their tenth."
    return Table(
        "pit",
        "Where the given age lies in the stated distribution",
        ("stated_share_younger", "share_of_adults"),
        rows,
        note,
    )


def _reliability_figure(found: GenderCalibration) -> Figure:
    def draw(canvas: Canvas) -> None:
        axes: Any = canvas.add_subplot()
        axes.plot([0, 1], [0, 1], "--", color=CHANCE_COLOUR, linewidth=1.2)
        axes.plot([one.stated for one in found.bins], [one.happened for one in found.bins], "o-", color=COLOURS[0])
        axes.set_xlabel("stated probability of a woman's voice")
        axes.set_ylabel("share of women")

    return Figure(
        "reliability",
        "Reliability of the stated gender, clean recordings, ten bins of as many clips each. Dashed: exactly true.",
        render(draw, (5.0, 4.2)),
        "; ".join(f"stated {one.stated:.2f}, happened {one.happened:.2f}" for one in found.bins),
    )


def _pit_figure(low: NDArray[np.float64], high: NDArray[np.float64]) -> Figure:
    shares = pit_histogram(low, high)

    def draw(canvas: Canvas) -> None:
        axes: Any = canvas.add_subplot()
        axes.bar(np.arange(len(shares)) / len(shares), shares, 0.09, align="edge", color=COLOURS[0])
        axes.axhline(1 / len(shares), color=CHANCE_COLOUR, linewidth=1.2, linestyle="--")
        axes.set_xlabel("share of the stated distribution below the given age")
        axes.set_ylabel("share of adults")

    return Figure(
        "pit",
        "Where the given ages lie in the stated distributions, clean recordings. Dashed: true. More on the right:"
        " people are older than stated.",
        render(draw, (5.0, 3.6)),
        ", ".join(f"{share:.2f}" for share in shares),
    )


def _of_spread(observations: Mapping[str, Observations], seed: int) -> Part:
    clean = observations[CLEAN].answers
    if clean.reference is None:
        raise NotMeasured("the clips have no face embeddings of their own; give data prepared with faces")
    draws = SpeakerBootstrap(clean.speaker, seed=seed)
    inside = {}
    for name, seen in observations.items():
        share = seen.answers.spread_share
        if share is not None:
            for level in LEVELS:
                inside[name, level] = draws.mean(np.where(np.isfinite(share), share <= level, np.nan))
    if not any(np.isfinite(estimate.value) for estimate in inside.values()):
        raise NotMeasured("the model states neither attributes nor a spread")
    return Part(
        numbers=[_coverage_number("spread_coverage", *key, found) for key, found in inside.items()],
        tables=[_coverage_table(inside, "Own faces inside the stated spread")],
        notes=("The spread is normal along its stated axes; the directions it leaves out are not looked at.",),
    )
