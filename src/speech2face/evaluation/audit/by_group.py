"""Every number by group, the worst group first, and which differences are no chance."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from speech2face.evaluation.audit.comparison import (
    LEVEL,
    PERMUTATIONS,
    SMALLEST_SHOWN,
    SMALLEST_TESTED,
    Comparison,
    Sample,
    benjamini_hochberg,
    by_speaker,
    compare,
    compare_pairs,
    holm,
)
from speech2face.evaluation.audit.conditions import CLEAN
from speech2face.evaluation.audit.groups import Dimension
from speech2face.evaluation.audit.measures import Measure
from speech2face.evaluation.audit.observations import Observations
from speech2face.evaluation.intervals import Estimate

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
