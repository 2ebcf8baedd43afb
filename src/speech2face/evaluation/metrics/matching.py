"""Forced choice: a voice is heard, N faces are shown, which one is the speaker's? And the other way round.

Sources: Nagrani et al., "Seeing Voices and Hearing Faces", CVPR 2018, section 5 (the task); Wen et al., "Disjoint
Mapping Network", ICLR 2019, section 4 (candidates of the same gender, nationality or age). They draw trials; here the
expectation over all trials is computed, so that no luck of the draw is left.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from speech2face.evaluation.intervals import NOTHING, Estimate, SpeakerBootstrap
from speech2face.evaluation.metrics.retrieval import TIE
from speech2face.evaluation.metrics.similarity import unit

Floats = NDArray[np.float64]
Singles = NDArray[np.float32]


def cosine_similarity(probes: NDArray[np.floating[Any]], candidates: NDArray[np.floating[Any]]) -> Singles:
    """Cosine of every probe with every candidate, (probes, K) and (candidates, K) -> (probes, candidates)."""
    return np.asarray(unit(probes) @ unit(candidates).T, np.float32)


def square(similarity: Singles, rows: NDArray[np.int64]) -> Singles:
    """Of some clips with each other, in that order; the table itself where that is all of them."""
    if np.array_equal(rows, np.arange(len(similarity))):
        return similarity
    return similarity[np.ix_(rows, rows)]


def chance_of_choice(
    nearer: NDArray[np.floating[Any]], foils: NDArray[np.floating[Any]], ways: int
) -> NDArray[np.floating[Any]]:
    """Probability that the own candidate wins among `ways`, if the other ones are drawn without replacement.

    prod over k < ways - 1 of (foils - nearer - k) / (foils - k), from the number of foils and of those that are as near
    as the own candidate or nearer, any shape; NaN where there are too few foils to draw from. Higher is better, 0..1;
    chance 1 / ways. Ties count against us: whoever gives all candidates the same similarity earns 0.
    """
    assert ways >= 2, "a choice needs two"
    worse = np.asarray(foils - nearer)
    won = np.where(np.asarray(foils) >= ways - 1, 1, np.nan).astype(worse.dtype)
    with np.errstate(invalid="ignore", divide="ignore"):
        for k in range(ways - 1):
            won *= np.maximum(worse - k, 0) / (foils - k)
    return won


@dataclass(frozen=True, eq=False)
class Choices:
    """What beats the own candidate of each clip, among the clips of other speakers that may be shown beside it."""

    speaker: NDArray[np.int64]
    """(clips,) numbered without gaps."""
    stratum: NDArray[np.int64]
    """(clips,) numbered without gaps: only clips of the same stratum are foils."""
    nearer: Singles
    """(clips, speakers) clips of that speaker that are foils, and as near as the own candidate or nearer."""
    shown: Singles
    """(strata, speakers) clips of each speaker in each stratum."""

    @classmethod
    def of(cls, similarity: Singles, speaker: NDArray[Any], stratum: NDArray[Any] | None = None) -> Choices:
        """From the similarity of every probe (row) with every candidate; the own one stands on the diagonal.

        Foils are the clips of other speakers; with `stratum` (clips,), known labels, those of the same one.
        """
        count = len(similarity)
        assert similarity.shape == (count, count), "a candidate for every probe"
        assert np.isfinite(similarity.sum()), "missing embeddings are left out before"
        people, person = np.unique(np.asarray(speaker), return_inverse=True)
        strata, place = np.unique(np.zeros(count) if stratum is None else np.asarray(stratum), return_inverse=True)
        assert "" not in strata.astype(str), "clips without the label are left out before"
        nearer = np.zeros((count, len(people)), np.float32)
        shown = np.zeros((len(strata), len(people)), np.float32)
        for number in range(len(strata)):
            rows = np.flatnonzero(place == number)
            rows = rows[np.argsort(person[rows], kind="stable")]
            there, first = np.unique(person[rows], return_index=True)
            shown[number, there] = np.diff(np.append(first, len(rows)))
            pairs = square(similarity, rows)
            beats = pairs >= np.diagonal(pairs)[:, None] - np.float32(TIE)
            if len(there) < len(rows):
                beats = np.add.reduceat(beats, first, axis=1, dtype=np.float32)
            if np.array_equal(rows, np.arange(count)):
                nearer = beats.astype(np.float32, copy=False)
            else:
                nearer[np.ix_(rows, there)] = beats
        nearer[np.arange(count), person] = 0  # other clips of the same speaker are no foils
        return cls(person.astype(np.int64), place.astype(np.int64), nearer, shown)

    def won(self, ways: int) -> Floats:
        """Expected share of won choices of each clip, (clips,); NaN where a clip has too few foils."""
        return np.asarray(chance_of_choice(*self._counts, ways), np.float64)

    def estimate(self, ways: int, bootstrap: SpeakerBootstrap) -> Estimate:
        """Mean over clips, those of `bootstrap`. The speakers of the foils are resampled with the probes'.

        What another mixture of foils would change is taken to first order (Hoeffding 1948): resampled foils would be
        partly the same people twice, which makes a choice among many easier than it is.
        """
        won, (to_nearer, to_foils) = self.won(ways), self._slopes(ways)
        kept = np.isfinite(won)
        if not kept.any():
            return NOTHING
        people = self.nearer.shape[1]
        clips = np.bincount(self.speaker[kept], minlength=people)
        sums = np.bincount(self.speaker[kept], won[kept], minlength=people)
        to_nearer, to_foils = np.where(kept, to_nearer, 0), np.where(kept, to_foils, 0)
        in_stratum = np.bincount(self.stratum, to_foils, minlength=len(self.shown))
        foils = to_nearer.astype(np.float32) @ self.nearer + in_stratum @ self.shown
        foils -= np.bincount(self.speaker, to_foils * self.shown[self.stratum, self.speaker], minlength=people)

        def mean(weights: Floats) -> Floats:
            with np.errstate(invalid="ignore", divide="ignore"):
                return np.asarray((weights @ sums + (weights - 1) @ foils) / (weights @ clips))

        return replace(bootstrap.of_speakers(mean), n=int((clips > 0).sum()))

    @cached_property
    def _counts(self) -> tuple[Floats, Floats]:
        """Of each clip: foils as near as the own candidate or nearer, and all foils."""
        foils = self.shown.sum(1)[self.stratum] - self.shown[self.stratum, self.speaker]
        return self.nearer.sum(1, dtype=np.float64), foils.astype(np.float64)

    def _slopes(self, ways: int) -> tuple[Floats, Floats]:
        """How `won` changes with one more foil that is nearer, and with one more foil in all, (clips,) each."""
        nearer, foils = self._counts
        with np.errstate(invalid="ignore", divide="ignore"):
            factors = np.stack([np.maximum(foils - nearer - k, 0) / (foils - k) for k in range(ways - 1)])
            others = [np.delete(factors, k, axis=0).prod(0) for k in range(ways - 1)]
            to_nearer = -sum(other / (foils - k) for k, other in enumerate(others))
            to_foils = sum(o * (1 - f) / (foils - k) for k, (o, f) in enumerate(zip(others, factors, strict=True)))
        return np.asarray(to_nearer), np.asarray(to_foils)
