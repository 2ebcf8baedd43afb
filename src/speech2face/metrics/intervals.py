"""Bootstrap intervals over speakers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import false_discovery_control

RESAMPLINGS = 1000
INTERVAL_PERCENTILES = (2.5, 97.5)
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Estimate:
    """A number with its 95 % bootstrap interval and how many speakers it stands on."""

    value: float
    low: float
    high: float
    n: int

    def cells(self) -> tuple[float, float, float]:
        """Value, lower and upper end, for a table."""
        return self.value, self.low, self.high

    def __str__(self) -> str:
        return f"{self.value:.3f} [{self.low:.3f}, {self.high:.3f}] n={self.n}"


NOTHING = Estimate(float("nan"), float("nan"), float("nan"), 0)


def with_interval(value: float, resampled: ArrayLike, count: int) -> Estimate:
    """A value with the 95 % interval of its resamplings, those that are no numbers left out; none of under two."""
    values = np.asarray(resampled, np.float64)
    values = values[np.isfinite(values)]
    if count < 2 or not len(values):
        return Estimate(float(value), float("nan"), float("nan"), count)
    low, high = np.percentile(values, INTERVAL_PERCENTILES)
    return Estimate(float(value), float(low), float(high), count)


def bootstrap(metric: Callable[..., float], *columns: np.ndarray, seed: int = 0) -> Estimate:
    """Apply `metric` to the columns, (speakers, ...) each, and to resamplings of their rows."""
    count = len(columns[0])
    if count == 0:
        return NOTHING
    rng = np.random.default_rng(seed)
    values = []
    for _ in range(RESAMPLINGS):
        rows = rng.integers(count, size=count)
        values.append(metric(*(column[rows] for column in columns)))
    finite = [value for value in values if np.isfinite(value)]
    low, high = np.percentile(finite, INTERVAL_PERCENTILES) if finite else (float("nan"), float("nan"))
    return Estimate(float(metric(*columns)), float(low), float(high), count)


class SpeakerBootstrap:
    """95 % intervals by resampling whole speakers: all clips of a drawn speaker come along.

    Clips of one speaker are alike, so that resampling clips would promise too much. Seeded: the same speakers are drawn
    for every number over the same clips, and differences of two numbers are paired. Of fewer than two speakers there is
    no interval (NaN).
    """

    def __init__(self, speaker: ArrayLike, *, resamplings: int = RESAMPLINGS, seed: int = 0) -> None:
        """`speaker` is (clips,): any whole number, the same for one person."""
        self.speaker = np.unique(np.asarray(speaker), return_inverse=True)[1].reshape(-1)
        self.resamplings, self.seed = resamplings, seed
        self._drawn: dict[int, Floats] = {}

    def __len__(self) -> int:
        return len(self.speaker)

    def mean(self, values: ArrayLike, kept: ArrayLike | None = None) -> Estimate:
        """Mean over clips of values (clips,); those that are NaN are left out, for the caller to count."""
        return self.ratio(values, np.ones(len(self.speaker)), kept)

    def ratio(self, numerator: ArrayLike, denominator: ArrayLike, kept: ArrayLike | None = None) -> Estimate:
        """Sum over clips of the one over that of the other, (clips,) each; clips where either is NaN are left out."""
        rows, (above, below) = self._present(kept, numerator, denominator)
        sums = self._speaker_sums(rows, np.stack([above, below], 1))
        return self._estimate(rows, lambda s: s[..., 0] / s[..., 1], sums)

    def correlation(self, x: ArrayLike, y: ArrayLike, kept: ArrayLike | None = None) -> Estimate:
        """Pearson's r over clips of x and y, (clips,) each; NaN where one of them does not vary."""
        rows, (a, b) = self._present(kept, x, y)
        if not len(rows):
            return NOTHING
        a, b = a - a.mean(), b - b.mean()
        sums = self._speaker_sums(rows, np.stack([np.ones_like(a), a, b, a * a, b * b, a * b], 1))

        def pearson(s: Floats) -> Floats:
            n, sa, sb, saa, sbb, sab = np.moveaxis(s, -1, 0)
            spread = (saa - sa * sa / n) * (sbb - sb * sb / n)
            return np.asarray((sab - sa * sb / n) / np.sqrt(np.where(spread > 0, spread, np.nan)))

        return self._estimate(rows, pearson, sums)

    def quantile(self, values: ArrayLike, q: float = 0.5, kept: ArrayLike | None = None) -> Estimate:
        """Quantile over clips, the mean of the lower and the upper one where it falls between two clips."""
        rows, (present,) = self._present(kept, values)
        if not len(rows):
            return NOTHING
        order = np.argsort(present, kind="stable")
        ordered, people = present[order], self._compact(rows)[order]

        def of_weights(weights: Floats) -> float:
            reached = np.cumsum(weights)
            wanted = q * reached[-1]
            places = np.searchsorted(reached, wanted, "left"), np.searchsorted(reached, wanted, "right")
            return float(np.mean([ordered[min(place, len(ordered) - 1)] for place in places]))

        drawn = self._draws(int(people.max()) + 1)
        return self._finish(rows, of_weights(np.ones(len(rows))), [of_weights(draw[people]) for draw in drawn])

    def statistic(
        self, function: Callable[[Floats], float], kept: ArrayLike | None = None, resamplings: int | None = None
    ) -> Estimate:
        """Any function of clip weights (clips,): 1 for all, or how often a resampling drew the clip's speaker.

        Clips that are not kept have weight 0. It is called once a resampling: let it be quick, or ask for fewer.
        """
        rows = self._present(kept)[0]
        if not len(rows):
            return NOTHING
        people = self._compact(rows)

        def spread_out(weights: Floats) -> Floats:
            whole = np.zeros(len(self.speaker))
            whole[rows] = weights
            return whole

        drawn = self._draws(int(people.max()) + 1)[:resamplings]
        values = [function(spread_out(draw[people])) for draw in drawn]
        return self._finish(rows, function(spread_out(np.ones(len(rows)))), values)

    def of_speakers(self, function: Callable[[Floats], Floats], kept: ArrayLike | None = None) -> Estimate:
        """A function of how often each speaker was drawn, (resamplings, speakers) -> (resamplings,), called twice.

        For numbers of pairs of speakers, which need matrix products over all resamplings. The speakers are those of the
        kept clips, in ascending order of their numbers.
        """
        rows = self._present(kept)[0]
        if not len(rows):
            return NOTHING
        speakers = len(np.unique(self.speaker[rows]))
        return self._finish(rows, float(function(np.ones((1, speakers)))[0]), function(self._draws(speakers)))

    def _present(self, kept: ArrayLike | None, *columns: ArrayLike) -> tuple[NDArray[np.int64], list[Floats]]:
        """Numbers of the clips that are kept and have all values, and these values."""
        arrays = [np.asarray(column, np.float64) for column in columns]
        assert all(array.shape == self.speaker.shape for array in arrays), "one value a clip"
        there = np.ones(len(self.speaker), bool) if kept is None else np.asarray(kept, bool).copy()
        for array in arrays:
            there &= ~np.isnan(array)
        rows = np.flatnonzero(there)
        return rows, [array[rows] for array in arrays]

    def _compact(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """The speakers of some clips, numbered without gaps."""
        return np.asarray(np.unique(self.speaker[rows], return_inverse=True)[1].reshape(-1), np.int64)

    def _draws(self, speakers: int) -> Floats:
        """How often each of the speakers is drawn in each resampling, (resamplings, speakers)."""
        if speakers not in self._drawn:
            rng = np.random.default_rng([self.seed, speakers])
            drawn = rng.integers(speakers, size=(self.resamplings, speakers))
            drawn += np.arange(self.resamplings)[:, None] * speakers
            counts = np.bincount(drawn.reshape(-1), minlength=self.resamplings * speakers)
            self._drawn[speakers] = counts.reshape(self.resamplings, speakers).astype(np.float64)
        return self._drawn[speakers]

    def _speaker_sums(self, rows: NDArray[np.int64], columns: Floats) -> Floats:
        """Sums of (clips, columns) within each speaker, (speakers, columns)."""
        people = self._compact(rows)
        count = int(people.max()) + 1 if len(people) else 0
        return np.stack([np.bincount(people, column, minlength=count) for column in columns.T], 1)

    def _estimate(self, rows: NDArray[np.int64], of_sums: Callable[[Floats], Any], sums: Floats) -> Estimate:
        if not len(rows):
            return NOTHING
        with np.errstate(invalid="ignore", divide="ignore"):
            values = of_sums(self._draws(len(sums)) @ sums)
            return self._finish(rows, float(of_sums(sums.sum(0))), values)

    def _finish(self, rows: NDArray[np.int64], value: float, resampled: ArrayLike) -> Estimate:
        return with_interval(value, resampled, len(np.unique(self.speaker[rows])))


# --- Sums over the clips of each speaker.


def group_sums(rows: NDArray[np.floating[Any]], group: NDArray[np.integer[Any]], count: int) -> NDArray[np.float64]:
    """Sum of the rows (clips, K) of each of `count` groups, (count, K), in double precision; 0 where there are none.

    Sorted and added run by run: twenty times as fast as `np.add.at`.
    """
    sums = np.zeros((count, rows.shape[1]))
    if len(rows):
        order = np.argsort(group, kind="stable")
        present, first = np.unique(group[order], return_index=True)
        sums[present] = np.add.reduceat(rows[order], first, axis=0, dtype=np.float64)
    return sums


# --- Is a group told worse than the rest, or is that chance? Permutations over speakers, corrected for many groups.
# Sources: Holm (1979), A simple sequentially rejective multiple test procedure; Benjamini and Hochberg (1995),
# Controlling the false discovery rate; Phipson and Smyth (2010) for p = (1 + hits) / (1 + permutations).

PERMUTATIONS = 20_000  # the least p is 5e-5: below 0.05 still after correction for a thousand tests
PERMUTED_AT_ONCE = 2_000
SMALLEST_TESTED = 10  # speakers; under it a permutation can hardly find anything, and an interval is a guess
SMALLEST_SHOWN = 5  # speakers; under it a mean is nearly one person's own value
LEVEL = 0.05
TIE = 1e-12  # sums in another order differ by as much


@dataclass(frozen=True, eq=False)
class Sample:
    """One value a speaker, and with whom each speaker may be compared.

    `stratum` (speakers,): members of a group are compared with the rest of their own stratum. With `balanced` every
    stratum weighs the same (balanced accuracy), otherwise each by its members in the group.
    """

    values: Floats
    stratum: NDArray[np.int64]
    balanced: bool = False

    def __post_init__(self) -> None:
        assert self.values.shape == self.stratum.shape and np.isfinite(self.values).all()


@dataclass(frozen=True)
class Comparison:
    """A group beside the rest; `p` is NaN where it was not tested."""

    value: Estimate
    difference: Estimate
    """Of the group to the rest of its strata; NaN where there is no rest."""
    p: float


def by_speaker(values: ArrayLike, speaker: ArrayLike) -> tuple[Floats, NDArray[np.int64]]:
    """Mean of each speaker's clips, (clips,) twice -> values and speakers, (speakers,) each; NaN clips are left out."""
    array, people = np.asarray(values, np.float64), np.asarray(speaker, np.int64)
    there = np.isfinite(array)
    names, place = np.unique(people[there], return_inverse=True)
    sums = np.bincount(place.reshape(-1), array[there], minlength=len(names))
    return sums / np.bincount(place.reshape(-1), minlength=len(names)), names


def compare(sample: Sample, members: NDArray[np.bool_], *, permutations: int = PERMUTATIONS) -> list[Comparison]:
    """Each group beside the rest; `members` is (groups, speakers). Groups of few are not tested, see the constants."""
    drawn = _resamplings(len(sample.values))
    values = [_value(sample, member, drawn) for member in members]
    differences = [_value(sample, member, drawn, to_rest=True) for member in members]
    tested = [
        row
        for row, (value, difference) in enumerate(zip(values, differences, strict=True))
        if value.n >= SMALLEST_TESTED
        and np.isfinite(difference.value)
        and _rest(sample, members[row]) >= SMALLEST_TESTED
    ]
    p = np.full(len(members), np.nan)
    if tested:
        p[tested] = _permutation_p(sample, members[tested], permutations)
    return [Comparison(*found) for found in zip(values, differences, p.tolist(), strict=True)]


def compare_pairs(differences: Floats, *, permutations: int = PERMUTATIONS, seed: int = 0) -> tuple[Estimate, float]:
    """Mean of each speaker's own difference between two conditions, (speakers,), and p by random signs."""
    count = len(differences)
    if count == 0:
        return NOTHING, float("nan")
    estimate = with_interval(float(differences.mean()), _resamplings(count) @ differences / count, count)
    if count < SMALLEST_TESTED:
        return estimate, float("nan")
    rng = np.random.default_rng(seed)
    hits = 0
    for start in range(0, permutations, PERMUTED_AT_ONCE):
        signs = rng.integers(0, 2, (min(PERMUTED_AT_ONCE, permutations - start), count)) * 2.0 - 1
        hits += int((np.abs(signs @ differences) >= abs(differences.sum()) - TIE * count).sum())
    return estimate, (1 + hits) / (1 + permutations)


def holm(p: Sequence[float]) -> Floats:
    """P values corrected so that one false finding among all has at most their probability; NaN stay NaN."""
    values = np.asarray(p, np.float64)
    there = np.flatnonzero(np.isfinite(values))
    order = there[np.argsort(values[there], kind="stable")]
    corrected = np.full(values.shape, np.nan)
    stepped = np.maximum.accumulate(values[order] * np.arange(len(order), 0, -1))
    corrected[order] = np.minimum(stepped, 1.0)
    return corrected


def benjamini_hochberg(p: Sequence[float]) -> Floats:
    """P values corrected so that of all findings at most this share is false in the long run; NaN stay NaN."""
    values = np.asarray(p, np.float64)
    there = np.isfinite(values)
    corrected = np.full(values.shape, np.nan)
    if there.any():
        corrected[there] = false_discovery_control(values[there])
    return corrected


@lru_cache(maxsize=16)
def _resamplings(count: int, seed: int = 0) -> Floats:
    """How often each speaker is drawn in each resampling, (resamplings, speakers); not to be written to."""
    rng = np.random.default_rng([seed, count])
    if count == 0:
        return np.zeros((RESAMPLINGS, 0))
    return rng.multinomial(count, np.full(count, 1 / count), size=RESAMPLINGS).astype(np.float64)


def _strata(sample: Sample, member: NDArray[np.bool_], *, with_rest: bool) -> list[tuple[NDArray[np.bool_], ...]]:
    """Members and rest of each stratum that has members (and, where wanted, a rest)."""
    pairs: list[tuple[NDArray[np.bool_], ...]] = []
    for stratum in np.unique(sample.stratum[member]):
        own = sample.stratum == stratum
        if not with_rest or (own & ~member).any():
            pairs.append((own & member, own & ~member))
    return pairs


def _weighted(parts: list[tuple[Floats, Floats]], balanced: bool) -> Floats:
    """Mean of strata from (value, weight) each, (resamplings,); a stratum nobody was drawn of is left out."""
    total, weight = np.zeros_like(parts[0][0]), np.zeros_like(parts[0][0])
    for value, share in parts:
        share = np.where(np.isfinite(value), 1.0 if balanced else share, 0.0)
        total += np.where(share > 0, value * share, 0.0)
        weight += share
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(total / weight)


def _mean(sample: Sample, rows: NDArray[np.bool_], weights: Floats) -> tuple[Floats, Floats]:
    """Weighted mean and total weight of some speakers, (resamplings,) each."""
    total = weights[:, rows].sum(1)
    with np.errstate(invalid="ignore", divide="ignore"):
        return weights[:, rows] @ sample.values[rows] / total, total


def _value(sample: Sample, member: NDArray[np.bool_], drawn: Floats, *, to_rest: bool = False) -> Estimate:
    """Mean of a group over its strata, or its difference to the rest of them."""
    pairs, count = _strata(sample, member, with_rest=to_rest), int(member.sum())
    if not pairs:
        return Estimate(float("nan"), float("nan"), float("nan"), count)

    def of(weights: Floats) -> Floats:
        parts = []
        for own, rest in pairs:
            value, share = _mean(sample, own, weights)
            parts.append((value - _mean(sample, rest, weights)[0] if to_rest else value, share))
        return _weighted(parts, sample.balanced)

    return with_interval(float(of(np.ones((1, len(member))))[0]), of(drawn), count)


def _rest(sample: Sample, member: NDArray[np.bool_]) -> int:
    return int(sum(rest.sum() for _, rest in _strata(sample, member, with_rest=True)))


def _permutation_p(sample: Sample, members: NDArray[np.bool_], permutations: int, seed: int = 0) -> Floats:
    """Two-sided p of each group's difference, values changing places within their stratum only."""
    rng = np.random.default_rng(seed)
    plain = np.array([_linear(sample, member) for member in members])  # (groups, speakers)
    observed = np.abs(plain @ sample.values)
    strata = [np.flatnonzero(sample.stratum == stratum) for stratum in np.unique(sample.stratum)]
    hits = np.zeros(len(members))
    for start in range(0, permutations, PERMUTED_AT_ONCE):
        count = min(PERMUTED_AT_ONCE, permutations - start)
        shuffled = np.empty((count, len(sample.values)))
        for rows in strata:
            shuffled[:, rows] = rng.permuted(np.tile(sample.values[rows], (count, 1)), axis=1)
        hits += (np.abs(shuffled @ plain.T) >= observed - TIE).sum(0)
    return np.asarray((1 + hits) / (1 + permutations))


def _linear(sample: Sample, member: NDArray[np.bool_]) -> Floats:
    """The difference as one weight a speaker: it is linear in the values."""
    pairs = _strata(sample, member, with_rest=True)
    shares = np.array([1.0 if sample.balanced else own.sum() for own, _ in pairs])
    weights = np.zeros(len(member))
    for (own, rest), share in zip(pairs, shares / shares.sum(), strict=True):
        weights[own] += share / own.sum()
        weights[rest] -= share / rest.sum()
    return weights
