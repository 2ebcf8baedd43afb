"""Bootstrap intervals over speakers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

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

    def __str__(self) -> str:
        return f"{self.value:.3f} [{self.low:.3f}, {self.high:.3f}] n={self.n}"


NOTHING = Estimate(float("nan"), float("nan"), float("nan"), 0)


def bootstrap(metric: Callable[..., float], *columns: np.ndarray, seed: int = 0) -> Estimate:
    """Apply `metric` to the columns, (speakers, ...) each, and to resamplings of their rows."""
    count = len(columns[0])
    if count == 0:
        return NOTHING
    rng = np.random.default_rng(seed)
    values = []
    for _ in range(RESAMPLINGS):
        rows = rng.integers(count, size=count)
        value = metric(*(column[rows] for column in columns))
        if np.isfinite(value):
            values.append(value)
    low, high = np.percentile(values, INTERVAL_PERCENTILES) if values else (float("nan"), float("nan"))
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
        self,
        function: Callable[[Floats], float],
        kept: ArrayLike | None = None,
        resamplings: int | None = None,
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
        speakers = len(np.unique(self.speaker[rows]))
        values = np.asarray(resampled, np.float64)
        values = values[np.isfinite(values)]
        if speakers < 2 or not len(values):
            return Estimate(float(value), float("nan"), float("nan"), speakers)
        low, high = np.percentile(values, INTERVAL_PERCENTILES)
        return Estimate(float(value), float(low), float(high), speakers)
