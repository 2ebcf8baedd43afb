"""Verification: are this voice and this face of one person? Area under the ROC curve and equal error rate.

Sources: Nagrani et al., "Learnable PINs", ECCV 2018, section 5 (the task, and candidates of the same gender); Fawcett,
"An introduction to ROC analysis", 2006 (AUC as the share of pairs in order).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from speech2face.evaluation.intervals import NOTHING, Estimate, SpeakerBootstrap

Floats = NDArray[np.float64]
Singles = NDArray[np.float32]

BINS = 512
"""Of similarity, for intervals only: each holds about as many genuine and impostor pairs as any other."""
ROWS_AT_ONCE = 512
EDGES_FROM_ROWS = 64


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
    def of(cls, genuine: NDArray[Any], impostors: Iterable[NDArray[Any]]) -> Roc:
        """From similarities of genuine pairs and of impostor pairs, the latter in any number of arrays."""
        levels, counts = np.unique(genuine, return_counts=True)
        below, upto, total = np.zeros(len(levels), np.int64), np.zeros(len(levels), np.int64), 0
        for part in impostors:
            ordered = np.sort(part, axis=None)
            below += np.searchsorted(ordered, levels, "left")
            upto += np.searchsorted(ordered, levels, "right")
            total += part.size
        return cls(counts, below, upto - below, total)

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

    genuine: Floats
    by_voice: Floats
    """Impostor pairs of each speaker's voices."""
    by_face: Floats
    """Impostor pairs of each speaker's faces: the same pairs, sorted otherwise."""

    def shares(self, weights: Floats) -> tuple[Floats, Floats]:
        """Distributions of genuine and impostor pairs, (resamplings, BINS) twice, for (resamplings, speakers)."""
        impostors = weights @ self.by_voice + weights @ self.by_face - self.by_voice.sum(0)
        sides = (weights @ self.genuine, np.maximum(impostors, 0))
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
    assert np.isfinite(similarity).all(), "missing embeddings are left out before"
    speaker = bootstrap.speaker
    if not len(speaker):
        return Verification(NOTHING, NOTHING, 0, 0)
    place = np.zeros(len(speaker), np.int64) if stratum is None else np.unique(stratum, return_inverse=True)[1]
    exact = roc(similarity, speaker, place)
    binned = _bin(similarity, speaker, place)

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
    genuine = similarity[_genuine_pairs(speaker)]
    return Roc.of(genuine, (block[mask] for _, block, mask in _impostors(similarity, speaker, place)))


def _genuine_pairs(speaker: NDArray[Any]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Rows and columns of all pairs of clips of one speaker."""
    order = np.argsort(speaker, kind="stable")
    groups = np.split(order, np.flatnonzero(np.diff(speaker[order])) + 1)
    voices = np.concatenate([np.repeat(rows, len(rows)) for rows in groups])
    return voices, np.concatenate([np.tile(rows, len(rows)) for rows in groups])


def _impostors(
    similarity: Singles, speaker: NDArray[Any], place: NDArray[Any]
) -> Iterator[tuple[slice, Singles, NDArray[np.bool_]]]:
    """Rows, their similarities (rows, clips), and which of them are of impostors."""
    for start in range(0, len(speaker), ROWS_AT_ONCE):
        rows = slice(start, start + ROWS_AT_ONCE)
        yield rows, similarity[rows], (place[rows, None] == place) & (speaker[rows, None] != speaker)


def _bin(similarity: Singles, speaker: NDArray[np.int64], place: NDArray[np.int64]) -> _Binned:
    voices, faces = _genuine_pairs(speaker)
    genuine = similarity[voices, faces]
    some = similarity[:: max(1, len(similarity) // EDGES_FROM_ROWS)].reshape(-1)
    shares = np.linspace(0, 1, BINS // 2 + 1)[1:-1]
    edges = np.unique(np.concatenate([np.quantile(some, shares), np.quantile(genuine, shares)])).astype(np.float32)
    bins, count, people = len(edges) + 1, len(speaker), int(speaker.max()) + 1
    by_voice, by_face = np.zeros((count, bins + 1)), np.zeros(count * (bins + 1), np.int64)
    for rows, block, mask in _impostors(similarity, speaker, place):
        number = np.where(mask, np.searchsorted(edges, block, "right"), bins)  # the last bin is thrown away
        along = number + np.arange(len(block))[:, None] * (bins + 1)
        by_voice[rows] = np.bincount(along.reshape(-1), minlength=len(block) * (bins + 1)).reshape(len(block), -1)
        number += np.arange(count) * (bins + 1)
        by_face += np.bincount(number.reshape(-1), minlength=count * (bins + 1))
    sums = [np.zeros((people, bins)) for _ in range(2)]
    for into, clips in zip(sums, (by_voice, by_face.reshape(count, -1)), strict=True):
        np.add.at(into, speaker, clips[:, :bins])
    of_genuine = speaker[voices] * bins + np.searchsorted(edges, genuine, "right")
    counted = np.bincount(of_genuine, minlength=people * bins).reshape(people, bins)
    return _Binned(counted.astype(np.float64), *sums)
