"""Every number by group, the worst group first, and which differences are no chance."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from speech2face.evaluation.audit.observations import CLEAN, Observations
from speech2face.evaluation.audit.stability import Stability
from speech2face.evaluation.clips import AuditClip
from speech2face.evaluation.parts.attributes import LABEL_UNKNOWN, NO_LABEL
from speech2face.evaluation.predictions import reason_named
from speech2face.evaluation.report import Exclusion, Part, ReportFacts
from speech2face.metrics.attributes import coverage
from speech2face.metrics.embeddings import angle_degrees, unit
from speech2face.metrics.intervals import (
    LEVEL,
    PERMUTATIONS,
    SMALLEST_SHOWN,
    SMALLEST_TESTED,
    Comparison,
    Estimate,
    Sample,
    benjamini_hochberg,
    by_speaker,
    compare,
    compare_pairs,
    group_sums,
    holm,
)
from speech2face.models.contract import Model

if TYPE_CHECKING:
    pass

# --------------------------------------------------------------------------------------------------
# The groups of an audit: by what was said of the speakers, and by what is measured on their clean recordings.
# --------------------------------------------------------------------------------------------------

CHILD_BELOW = 13
VOICE_BROKEN_FROM = 15  # the gender of younger voices is not judged, as in the model card's scores
ADULT_FROM = 18
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


def is_child(age: tuple[float, float] | None) -> bool:
    """Certainly under 13."""
    return age is not None and age[1] <= CHILD_BELOW


def is_adult(age: tuple[float, float] | None) -> bool:
    """Certainly 18 or more."""
    return age is not None and age[0] >= ADULT_FROM


def voice_has_broken(age: tuple[float, float] | None) -> bool:
    """Not known to be under 15."""
    return age is None or age[0] >= VOICE_BROKEN_FROM


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


# --------------------------------------------------------------------------------------------------
# What is asked of every clip in an audit: how right the model was, as one value a clip.
# --------------------------------------------------------------------------------------------------

Floats = NDArray[np.float64]
STATED_MASS = 0.8
"""Of the age interval that a portrait states."""
SHORT_TITLES = {
    "gender_balanced_accuracy": "gender read right",
    "gender_brier": "gender, squared error of the probability",
    "age_error_years": "age, error in years",
    "age_bias_years": "age, stated less given",
    "age_interval_coverage": "inside the 80 % interval",
    "child_missed": "children without the caution",
    "adult_called_child": "adults with a child's caution",
    "refused": "refused",
    "angle_degrees": "angle in degrees",
    "two_way_choice": "own face before another",
    "two_way_choice_same_gender": "before another of the gender",
    "spread_coverage": "inside 80 % of the spread",
}


@dataclass(frozen=True)
class Measure:
    """One question; `values` gives (clips,), NaN where it does not concern the clip.

    `target` is the best value. `cheat` says, for each clip, what the constant answer named in `cheat_is` earns.
    `like` names what the members of a group are compared within: their own gender or age.
    """

    name: str
    title: str
    target: float
    digits: int
    values: Callable[[Observations], Floats]
    like: str = ""
    balanced: bool = False
    cheat: Floats | None = None
    cheat_is: str = ""
    of_refused: bool = False
    """Also concerns clips that were refused."""

    @property
    def higher_is_better(self) -> bool | None:
        """None where the best lies between."""
        return {0.0: False, 1.0: True}.get(self.target) if self.name != "age_bias_years" else None

    def badness(self, value: float) -> float:
        """How far from the best; the worst group has the most."""
        return abs(value - self.target) if np.isfinite(value) else -np.inf


def attribute_measures(clips: Sequence[AuditClip]) -> list[Measure]:
    """For models that state age and gender."""
    ages = [clip.age for clip in clips]
    female = np.array([{"female": 1.0, "male": 0.0}.get(clip.gender, np.nan) for clip in clips])
    female[[not voice_has_broken(age) for age in ages]] = np.nan
    adult = np.array([is_adult(age) for age in ages], bool)
    child = np.array([is_child(age) for age in ages], bool)
    middle = np.array([np.nan if age is None else sum(age) / 2 for age in ages])
    median = float(np.median(middle[adult])) if adult.any() else float("nan")

    def of_adults(values: Floats) -> Floats:
        return np.where(adult, values, np.nan)

    def age_error(seen: Observations) -> Floats:
        return of_adults(np.abs(seen.of_attributes(lambda belief: belief.age_mean) - middle))

    def age_bias(seen: Observations) -> Floats:
        return of_adults(seen.of_attributes(lambda belief: belief.age_mean) - middle)

    def gender_right(seen: Observations) -> Floats:
        read = seen.of_attributes(lambda belief: belief.femininity)
        return np.where(np.isfinite(read + female), (read > 0.5) == (female == 1), np.nan).astype(np.float64)

    def gender_brier(seen: Observations) -> Floats:
        return np.asarray(np.square(seen.of_attributes(lambda belief: belief.femininity) - female))

    never = np.where(np.isfinite(female), 0.25, np.nan)
    return [
        Measure(
            "gender_balanced_accuracy", "Gender read right, both genders alike (15 years and older)", 1.0, 3,
            gender_right, "gender", True, np.where(np.isfinite(female), 0.5, np.nan), "a coin",
        ),
        Measure(
            "gender_brier", "Stated probability of the gender, squared error (15 years and older)", 0.0, 3,
            gender_brier, "gender", True, never, "0.5 for everybody",
        ),
        Measure(
            "age_error_years", "Age of adults, mean absolute error in years", 0.0, 1,
            age_error, "age", False, of_adults(np.abs(median - middle)), f"{median:g} years for everybody",
        ),
        Measure(
            "age_bias_years", "Age of adults, stated less given, in years", 0.0, 1,
            age_bias, "age", False, of_adults(median - middle), f"{median:g} years for everybody",
        ),
        Measure(
            "age_interval_coverage", "Adults inside the stated 80 % interval", STATED_MASS, 3,
            lambda seen: of_adults(inside_interval(seen, clips, STATED_MASS)), "age",
        ),
        Measure(
            "child_missed", "Children under 13 without the caution", 0.0, 3,
            lambda seen: np.where(child, 1 - seen.called_child, np.nan), cheat=np.where(child, 1.0, np.nan),
            cheat_is="no caution for anybody",
        ),
        Measure(
            "adult_called_child", "Adults with the caution of a child's voice", 0.0, 3,
            lambda seen: of_adults(seen.called_child), "gender", cheat=of_adults(np.zeros(len(clips))),
            cheat_is="no caution for anybody",
        ),
        refused(len(clips)),
    ]  # fmt: skip


def refused(clips: int) -> Measure:
    """For every model: recordings of a voice that got no portrait."""

    def values(seen: Observations) -> Floats:
        return np.where(seen.applies, [reason != "" for reason in seen.refusal], np.nan).astype(np.float64)

    return Measure(
        "refused", "Recordings refused", 0.0, 3, values, cheat=np.zeros(clips), cheat_is="no refusal", of_refused=True
    )


def inside_interval(seen: Observations, clips: Sequence[AuditClip], mass: float) -> Floats:
    """Share of each clip's given age inside the stated interval of `mass`, (clips,); NaN where one is unknown."""
    values = np.full(len(clips), np.nan)
    for row, (clip, belief) in enumerate(zip(clips, seen.attributes, strict=True)):
        if belief is None or clip.age is None:
            continue
        low, high = belief.age_interval(mass)
        given_low, given_high = clip.age
        given_high = max(given_high, given_low + 1e-6)
        values[row] = coverage(*(np.array([end]) for end in (low, high, given_low, given_high)))
    return values


def paired_measures(model: Model, clips: Sequence[AuditClip]) -> list[Measure]:
    """For models that say the face embedding itself, of data whose clips have their own face's."""
    size = next((clip.reference.size for clip in clips if clip.reference is not None), 0)
    if not size:
        return [refused(len(clips))]
    blank = np.full(size, np.nan, np.float32)
    reference = np.stack([blank if clip.reference is None else clip.reference for clip in clips])
    speaker = np.unique([clip.speaker for clip in clips], return_inverse=True)[1].reshape(-1)
    gender = np.array([clip.gender for clip in clips])
    count = len(clips)
    half = np.full(count, 0.5)
    return [
        Measure(
            "angle_degrees", "Angle to the own face's embedding, in degrees", 0.0, 1,
            lambda seen: angle_degrees(seen.embedding, reference),
            cheat=angle_degrees(mean_of_others(reference, speaker), reference),
            cheat_is="the mean face for everybody",
        ),
        Measure(
            "two_way_choice", "Own face chosen before one other speaker's", 1.0, 3,
            lambda seen: two_way_choice(seen.embedding, reference, speaker), cheat=half, cheat_is="a coin",
        ),
        Measure(
            "two_way_choice_same_gender", "Own face chosen before one other speaker's of the same gender", 1.0, 3,
            lambda seen: two_way_choice(seen.embedding, reference, speaker, gender), "gender", cheat=half,
            cheat_is="a coin",
        ),
        Measure(
            "spread_coverage", "Own face inside the stated 80 % of the spread", STATED_MASS, 3,
            lambda seen: inside_spread(model, seen, reference, STATED_MASS),
        ),
        refused(count),
    ]  # fmt: skip


def mean_of_others(reference: NDArray[np.float32], speaker: NDArray[np.int64]) -> NDArray[np.float32]:
    """Mean face of all other speakers, (clips, K): with the own one in it, it would peek at the answer."""
    there = np.asarray(np.isfinite(reference).all(1))
    faces = np.where(there[:, None], reference, 0).astype(np.float64)
    own = group_sums(faces, speaker, int(speaker.max()) + 1)
    others = there.sum() - np.bincount(speaker, there)[speaker]
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray((faces.sum(0) - own[speaker]) / others[:, None], np.float32)


def two_way_choice(
    predicted: NDArray[np.float32],
    reference: NDArray[np.float32],
    speaker: NDArray[np.int64],
    gender: NDArray[np.str_] | None = None,
) -> Floats:
    """Share of other speakers' faces that are farther from the prediction than the own, by cosine, (clips,).

    Exact over all others, which is what a two-way choice expects; higher is better, chance 0.5; ties count against us,
    so one answer for everybody earns 0.5 at most. With `gender` only others of the same known gender.
    """
    similarity = unit(predicted.astype(np.float64)) @ unit(reference.astype(np.float64)).T  # (clips, faces)
    own = np.diagonal(similarity)[:, None]
    other = (speaker[:, None] != speaker) & np.isfinite(reference).all(1)
    if gender is not None:
        other &= (gender[:, None] == gender) & (gender != "")[:, None]
    with np.errstate(invalid="ignore", divide="ignore"):
        share = ((similarity < own) & other).sum(1) / other.sum(1)
    return np.asarray(np.where(np.isfinite(own[:, 0]), share, np.nan))


def inside_spread(model: Model, seen: Observations, reference: NDArray[np.float32], mass: float) -> Floats:
    """Whether the own face lies within the central `mass` of the stated spread, (clips,); the spread is normal."""
    from scipy.stats import chi2

    depth = spread_depth(model, seen, reference)
    return np.where(np.isfinite(depth[0]), chi2.cdf(depth[0], depth[1]) <= mass, np.nan).astype(np.float64)


def spread_depth(model: Model, seen: Observations, reference: NDArray[np.float32]) -> tuple[Floats, int]:
    """Squared distance in standard deviations along the stated axes, (clips,), and how many axes there are."""
    spread = getattr(model.release, "spread", None)
    if spread is None:
        return np.full(len(reference), np.nan), 1
    along = (reference - seen.embedding).astype(np.float64) @ spread.axes.T / np.maximum(spread.deviations, 1e-12)
    return np.square(along).sum(1), len(spread.deviations)


def measures(model: Model, clips: Sequence[AuditClip], clean: Observations) -> list[Measure]:
    """What can be asked of this model over these clips."""
    return attribute_measures(clips) if clean.states_attributes else paired_measures(model, clips)


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
class Finding:
    """One measure in one group; numbers that are NaN were not measured, not tested, or stand on too few to show."""

    measure: Measure
    dimension: str
    group: str
    speakers: int
    clips: int
    value: Estimate
    cheat: float
    difference: Estimate
    """To the rest of the same gender or age, or, of a condition, to the same recordings clean."""
    p: float
    p_holm: float = NAN
    p_bh: float = NAN

    @property
    def shown(self) -> bool:
        """Enough speakers that a mean is nobody's own value."""
        return self.speakers >= SMALLEST_SHOWN

    @property
    def tested(self) -> bool:
        """Enough speakers on both sides."""
        return bool(np.isfinite(self.p))

    @property
    def worse(self) -> bool:
        """Whether the group is farther from the best than the rest it was held against."""
        rest = self.value.value - self.difference.value
        return self.measure.badness(self.value.value) > self.measure.badness(rest)

    @property
    def verdict(self) -> str:
        """What may be said of it."""
        if self.group == EVERYBODY:
            return ""
        if not self.tested:
            return f"not tested: under {SMALLEST_TESTED} speakers" if self.speakers < SMALLEST_TESTED else "not tested"
        if self.p_holm <= LEVEL:
            return "worse" if self.worse else "better"
        if self.p_bh <= LEVEL:
            return "perhaps worse" if self.worse else "perhaps better"
        return "no difference shown"


@dataclass(frozen=True, eq=False)
class _Material:
    """One measure's values of the clean recordings, a row a speaker-in-the-sample."""

    measure: Measure
    values: NDArray[np.float64]  # (clips,)
    speaker: NDArray[np.int64]  # (clips,)


def audit_groups(
    measures: Sequence[Measure],
    dimensions: Sequence[Dimension],
    observations: Mapping[str, Observations],
    speaker: NDArray[np.int64],
    strata: Mapping[str, NDArray[np.int64]],
    *,
    permutations: int = PERMUTATIONS,
) -> list[Finding]:
    """All findings, corrected together for their number: every measure in every group and under every condition.

    `speaker` is (clips,), `strata` by `Measure.like` (clips,): see `measures.strata`.
    """
    findings: list[Finding] = []
    for measure in measures:
        material = _Material(measure, measure.values(observations[CLEAN]), speaker)
        findings.append(_everybody(material, strata["gender" if measure.balanced else ""]))
        for dimension in dimensions:
            if dimension.of_heard and measure.of_refused:
                continue
            like = "" if measure.like in dimension.explains else measure.like
            findings += _of_dimension(material, dimension, strata[like], permutations)
        findings += _of_conditions(material, observations, strata["gender" if measure.balanced else ""], permutations)
    return _corrected(findings)


def worst_first(findings: Iterable[Finding]) -> list[Finding]:
    """Everybody first, then the worst; groups of too few to be tested come last, in the same order."""

    def key(found: Finding) -> tuple[int, float, str, str]:
        place = 0 if found.group == EVERYBODY else 1 if found.tested else 2
        bad = found.measure.badness(found.value.value) if found.shown else -np.inf
        return place, -bad, found.dimension, found.group

    return sorted(findings, key=key)


def _sample(
    material: _Material, kept: NDArray[np.bool_], stratum: NDArray[np.int64]
) -> tuple[Sample, NDArray[np.int64]]:
    """One value a speaker of the kept clips, and the speakers."""
    values, people = by_speaker(np.where(kept, material.values, np.nan), material.speaker)
    first = {int(person): int(row) for row, person in reversed(list(enumerate(material.speaker)))}
    strata = np.array([stratum[first[int(person)]] for person in people], np.int64)
    return Sample(values, strata, material.measure.balanced), people


def _cheat(measure: Measure, values: NDArray[np.float64], kept: NDArray[np.bool_]) -> float:
    rows = kept & np.isfinite(values)
    return float(np.mean(measure.cheat[rows])) if measure.cheat is not None and rows.any() else NAN


def _everybody(material: _Material, stratum: NDArray[np.int64]) -> Finding:
    everyone = np.ones(len(material.values), bool)
    sample, people = _sample(material, everyone, stratum)
    estimate = compare(sample, np.ones((1, len(people)), bool), permutations=1)[0].value
    return Finding(
        material.measure, "", EVERYBODY, len(people), int(np.isfinite(material.values).sum()), estimate,
        _cheat(material.measure, material.values, everyone), Estimate(NAN, NAN, NAN, len(people)), NAN,
    )  # fmt: skip


def _of_dimension(
    material: _Material,
    dimension: Dimension,
    like: NDArray[np.int64],
    permutations: int,
) -> list[Finding]:
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
        compared = compare(sample, members[present], permutations=permutations) if present.any() else []
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
) -> Comparison:
    inside = kept & (dimension.group == name)
    members = np.unique(material.speaker[inside])
    outside = kept & ~np.isin(material.speaker, members)
    sample, people = _sample(material, inside | outside, like)
    return compare(sample, np.isin(people, members)[None], permutations=permutations)[0]


def _finding(
    material: _Material, dimension: str, group: str, rows: NDArray[np.bool_], comparison: Comparison
) -> Finding:
    speakers = comparison.value.n
    few = speakers < SMALLEST_SHOWN
    nothing = Estimate(NAN, NAN, NAN, speakers)
    return Finding(
        material.measure,
        dimension,
        group,
        speakers,
        int(rows.sum()),
        nothing if few else comparison.value,
        NAN if few else _cheat(material.measure, material.values, rows),
        nothing if few else comparison.difference,
        comparison.p,
    )


def _of_conditions(
    material: _Material, observations: Mapping[str, Observations], stratum: NDArray[np.int64], permutations: int
) -> list[Finding]:
    """Each condition beside the same recordings clean."""
    findings = []
    for name, seen in observations.items():
        values = material.measure.values(seen)
        both = np.isfinite(values) & np.isfinite(material.values)
        if name == CLEAN or not both.any():
            continue
        under = replace(material, values=np.where(both, values, np.nan))
        sample, people = _sample(under, both, stratum)
        value = compare(sample, np.ones((1, len(people)), bool), permutations=1)[0].value
        change, _ = by_speaker(np.where(both, values - material.values, np.nan), material.speaker)
        difference, p = compare_pairs(change * _evened(sample), permutations=permutations)
        findings.append(
            _finding(under, f"{seen.condition.group}, changed", name, both, Comparison(value, difference, p))
        )
    return findings


def _evened(sample: Sample) -> NDArray[np.float64]:
    """Weight of each speaker, one on average, with which all strata count alike in a balanced measure, (speakers,)."""
    if not sample.balanced:
        return np.ones(len(sample.values))
    _, place, count = np.unique(sample.stratum, return_inverse=True, return_counts=True)
    return np.asarray(len(place) / (len(count) * count[place.reshape(-1)]), np.float64)


def _corrected(findings: Sequence[Finding]) -> list[Finding]:
    """With the p values corrected for all tests of the audit together."""
    p = [found.p for found in findings]
    pairs = zip(findings, holm(p), benjamini_hochberg(p), strict=True)
    return [replace(found, p_holm=float(strict), p_bh=float(loose)) for found, strict, loose in pairs]


# --------------------------------------------------------------------------------------------------
# Which clips an audit could not use for something, and why: counted in its report, never passed over.
# --------------------------------------------------------------------------------------------------

SPANS_GROUPS = "age_spans_groups"


def left_out(clips: Sequence[AuditClip], clean: Observations) -> tuple[Exclusion, ...]:
    """Clips that were refused, whose gender or age nobody gave or nobody understands, or that lack a face."""
    return (*_refused(clips, clean), *_labels(clips), *_faces(clips))


def _refused(clips: Sequence[AuditClip], clean: Observations) -> Iterator[Exclusion]:
    for clip, name in zip(clips, clean.refusal, strict=True):
        if name:
            yield Exclusion(clip.key, reason_named(name), "clean recording")


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


def is_condition(found: Finding) -> bool:
    """Of recordings made otherwise, not of people."""
    return found.dimension.endswith(CHANGED)


def found_worse(findings: Sequence[Finding]) -> list[Finding]:
    """Groups that are told worse than the rest after correction, or perhaps, the surest first."""
    return sorted(
        (found for found in findings if found.verdict in ("worse", "perhaps worse")),
        key=lambda found: (found.verdict != "worse", found.measure.name, -found.measure.badness(found.value.value)),
    )


@dataclass(frozen=True, eq=False)
class Audit:
    """What an audit found."""

    parts: tuple[Part, ...]
    findings: tuple[Finding, ...]
    measures: tuple[Measure, ...]
    stability: Stability | None
    facts: ReportFacts
