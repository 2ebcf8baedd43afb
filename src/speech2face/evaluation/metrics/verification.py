"""Verification: are this voice and this face of one person? Area under the ROC curve and equal error rate.

Sources: Nagrani et al., "Learnable PINs", ECCV 2018, section 5 (the task, and candidates of the same gender); Fawcett,
"An introduction to ROC analysis", 2006 (AUC as the share of pairs in order).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from speech2face.evaluation.intervals import NOTHING, Estimate, SpeakerBootstrap

Floats = NDArray[np.float64]
Singles = NDArray[np.float32]

CELLS = 2**21
"""Of the range of a cosine, -1 to 1: similarities in one cell, within 1e-6, are ties."""
BINS = 256
"""Of cells, for intervals only: each holds about as many genuine and impostor pairs as any other."""
ROWS_AT_ONCE = 512


@dataclass(frozen=True, eq=False)
class Roc:
    """How many impostor pairs lie below and level with each distinct genuine similarity; all that is needed."""

    genuine: NDArray[np.int64]
    """(levels,) genuine pairs at each distinct genuine similarity, ascending."""
    below: NDArray[np.int64]
    """(levels,) impostor pairs of lower similarity."""
    level: NDArray[np.int64]
    """(levels,) impostor pairs of the same similarity."""
    impostors: int

    @classmethod
    def of(cls, genuine: NDArray[Any], impostors: NDArray[Any]) -> Roc:
        """From similarities of genuine pairs and of impostor pairs."""
        levels, counts = np.unique(genuine, return_counts=True)
        ordered = np.sort(impostors, axis=None)
        below, upto = (np.searchsorted(ordered, levels, side) for side in ("left", "right"))
        return cls(counts, below, upto - below, ordered.size)

    @classmethod
    def of_counts(cls, genuine: NDArray[np.int64], impostors: NDArray[np.int64]) -> Roc:
        """From how many pairs lie in each cell of similarity, ascending, (cells,) each."""
        levels = np.flatnonzero(genuine)
        upto = np.cumsum(impostors)
        return cls(genuine[levels], (upto - impostors)[levels], impostors[levels], int(upto[-1]))

    def area(self) -> float:
        """Share of pairs of a genuine and an impostor pair in which the genuine one is more similar.

        Ties count half, as is usual; higher is better, 0..1; chance and a constant answer 0.5.
        """
        if not self.impostors or not len(self.genuine):
            return float("nan")
        won = (self.genuine * (self.below + 0.5 * self.level)).sum()
        return float(won / (self.genuine.sum() * self.impostors))

    def equal_error_rate(self) -> float:
        """Where as large a share of impostors is accepted as of genuine pairs refused, linear between the ROC's points.

        Lower is better, 0..1; chance and a constant answer 0.5.
        """
        if not self.impostors or not len(self.genuine):
            return float("nan")
        refused = np.cumsum(self.genuine) / self.genuine.sum()
        refused_before = np.append(0.0, refused[:-1])
        accepted = 1 - (self.below + self.level) / self.impostors  # with the threshold just above the level
        accepted_with = 1 - self.below / self.impostors  # at the level
        k = int(np.argmax(refused >= accepted))  # the first level above which more are refused than accepted
        if refused_before[k] >= accepted_with[k]:
            return float(refused_before[k])  # crossed between two levels, where nothing genuine changes
        rise, fall = refused[k] - refused_before[k], accepted_with[k] - accepted[k]
        return float(refused_before[k] + rise * (accepted_with[k] - refused_before[k]) / (rise + fall))


@dataclass(frozen=True)
class Verification:
    """Both numbers, and how many pairs they stand on."""

    area: Estimate
    equal_error_rate: Estimate
    genuine: int
    impostors: int


@dataclass(frozen=True, eq=False)
class _Binned:
    """Pairs in bins of similarity, (speakers, BINS) each."""

    genuine: Singles
    impostor: Singles
    """Those of each speaker's voices and those of each speaker's faces together: every pair twice."""

    def shares(self, weights: Floats) -> tuple[Floats, Floats]:
        """Distributions of genuine and impostor pairs, (resamplings, BINS) twice, for (resamplings, speakers)."""
        drawn = weights.astype(np.float32)
        impostors = drawn @ self.impostor - 0.5 * self.impostor.sum(0, dtype=np.float64)
        sides = ((drawn @ self.genuine).astype(np.float64), np.maximum(impostors, 0))
        with np.errstate(invalid="ignore", divide="ignore"):
            genuine, impostor = (side / side.sum(1, keepdims=True) for side in sides)
        return genuine, impostor

    def area(self, weights: Floats) -> Floats:
        genuine, impostor = self.shares(weights)
        return np.asarray((genuine * (np.cumsum(impostor, 1) - 0.5 * impostor)).sum(1))

    def equal_error_rate(self, weights: Floats) -> Floats:
        genuine, impostor = (np.cumsum(side, 1) for side in self.shares(weights))
        refused = np.pad(genuine, ((0, 0), (1, 0)))
        excess = refused - (1 - np.pad(impostor, ((0, 0), (1, 0))))  # from -1 to 1
        after = np.maximum((excess >= 0).argmax(1), 1)[:, None]
        d0, d1 = (np.take_along_axis(excess, k, 1)[:, 0] for k in (after - 1, after))
        r0, r1 = (np.take_along_axis(refused, k, 1)[:, 0] for k in (after - 1, after))
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.asarray(r0 + (r1 - r0) * -d0 / (d1 - d0))


def verify(similarity: Singles, bootstrap: SpeakerBootstrap, stratum: NDArray[Any] | None = None) -> Verification:
    """All pairs of a voice (row) with a face (column) of the same clips, which are those of `bootstrap`.

    Genuine are all pairs of one speaker, of one clip or of two; impostors all pairs of two speakers, with `stratum`
    (clips,), labels that are all known, of the same stratum. The numbers are exact over all pairs. For the intervals
    similarities are binned, and a resampling's impostors are those of its voices with all faces and those of its faces
    with all voices, less all: the linear part of a statistic over pairs (Hoeffding 1948).
    """
    assert np.isfinite(similarity.sum()), "missing embeddings are left out before"
    speaker = bootstrap.speaker
    if not len(speaker):
        return Verification(NOTHING, NOTHING, 0, 0)
    place = np.zeros(len(speaker), np.int64) if stratum is None else np.unique(stratum, return_inverse=True)[1]
    counts = _count(similarity, speaker, place)
    exact = Roc.of_counts(*counts)
    binned = _bin(similarity, speaker, place, counts)

    def shifted(value: float, estimate: Estimate) -> Estimate:
        shift = value - estimate.value
        return replace(estimate, value=value, low=estimate.low + shift, high=estimate.high + shift)

    return Verification(
        shifted(exact.area(), bootstrap.of_speakers(binned.area)),
        shifted(exact.equal_error_rate(), bootstrap.of_speakers(binned.equal_error_rate)),
        int(exact.genuine.sum()),
        exact.impostors,
    )


def roc(similarity: Singles, speaker: NDArray[Any], stratum: NDArray[Any] | None = None) -> Roc:
    """Of all pairs, as in `verify`, without intervals."""
    place = np.zeros(len(speaker)) if stratum is None else np.asarray(stratum)
    return Roc.of_counts(*_count(similarity, np.asarray(speaker), place))


def _cells(similarity: Singles) -> NDArray[np.int64]:
    """Number of each similarity's cell, of the same shape."""
    return np.asarray(np.clip((similarity.reshape(-1) + 1) * (CELLS / 2), 0, CELLS - 1).astype(np.int64))


def _count(
    similarity: Singles, speaker: NDArray[Any], place: NDArray[Any]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Genuine and impostor pairs in each cell, (CELLS,) twice."""
    counts = np.zeros(CELLS, np.int64)
    for _, _, block, mask in _impostors(similarity, speaker, place):
        counts += np.bincount(_cells(block[mask]), minlength=CELLS)
    return np.bincount(_cells(similarity[_genuine_pairs(speaker)]), minlength=CELLS), counts


def _genuine_pairs(speaker: NDArray[Any]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Rows and columns of all pairs of clips of one speaker."""
    order = np.argsort(speaker, kind="stable")
    _, first, counts = np.unique(speaker[order], return_index=True, return_counts=True)
    voices = np.repeat(order, np.repeat(counts, counts))
    each = np.repeat(np.repeat(first, counts), np.repeat(counts, counts))  # where the voice's speaker begins
    size = np.repeat(counts, counts)
    within = np.arange(len(voices)) - np.repeat(np.cumsum(size) - size, size)
    return voices, order[each + within]


def _impostors(
    similarity: Singles, speaker: NDArray[Any], place: NDArray[Any]
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64], Singles, NDArray[np.bool_]]]:
    """Rows and columns of one stratum, their similarities (rows, columns), and which of them are of impostors."""
    for value in np.unique(place):
        columns = np.flatnonzero(place == value)
        for start in range(0, len(columns), ROWS_AT_ONCE):
            rows = columns[start : start + ROWS_AT_ONCE]
            yield rows, columns, similarity[np.ix_(rows, columns)], speaker[rows, None] != speaker[columns]


def _bin(
    similarity: Singles,
    speaker: NDArray[np.int64],
    place: NDArray[np.int64],
    counts: tuple[NDArray[np.int64], NDArray[np.int64]],
) -> _Binned:
    """Pairs by speaker, in bins made of whole cells."""
    shares = np.cumsum(sum(side / max(side.sum(), 1) for side in counts))
    bin_of_cell = np.minimum(shares * (BINS / max(shares[-1], 1e-12)), BINS - 1).astype(np.int64)
    clips, people = len(speaker), int(speaker.max()) + 1
    pairs = np.zeros((clips, BINS + 1), np.int64)
    for rows, columns, block, mask in _impostors(similarity, speaker, place):
        number = np.where(mask, bin_of_cell[_cells(block)].reshape(block.shape), BINS)  # the last bin is thrown away
        for into, along in ((rows, np.arange(len(rows))[:, None]), (columns, np.arange(len(columns)))):
            counted = np.bincount((number + along * (BINS + 1)).reshape(-1), minlength=len(into) * (BINS + 1))
            pairs[into] += counted.reshape(len(into), -1)
    order = np.argsort(speaker, kind="stable")
    first = np.searchsorted(speaker[order], np.arange(people))
    impostor = np.add.reduceat(pairs[order, :BINS], first, axis=0)
    voices, faces = _genuine_pairs(speaker)
    of_genuine = speaker[voices] * BINS + bin_of_cell[_cells(similarity[voices, faces])]
    genuine = np.bincount(of_genuine, minlength=people * BINS).reshape(people, BINS)
    return _Binned(genuine.astype(np.float32), impostor.astype(np.float32))
