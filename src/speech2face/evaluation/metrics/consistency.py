"""Whether the same speaker is always given the same face: spread within speakers against spread between them.

Sources: Shrout and Fleiss, "Intraclass correlations", 1979, case 1 (here over all coordinates together); Speech2Face
(CVPR 2019) shows the same in pictures. None of these numbers knows the right face: whoever answers the mean face of
the gender is perfectly consistent. They are to be read beside retrieval and matching.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from speech2face.evaluation.group_sums import group_sums
from speech2face.evaluation.metrics.retrieval import THREADS, TIE
from speech2face.evaluation.metrics.similarity import unit

Floats = NDArray[np.float64]

ROWS_AT_ONCE = 512
_NOTHING = 1e-12
"""Of the mean squared length: a variance below it is rounding."""


@dataclass(frozen=True, eq=False)
class SpeakerSums:
    """All that spreads need to be computed under any weights of the speakers."""

    clips: Floats
    """(speakers,)"""
    squares: Floats
    """(speakers,) sum of squared lengths."""
    sums: NDArray[np.floating[Any]]
    """(speakers, K)"""
    scale: float
    """Mean squared length of the values as they were, before their mean was taken away."""

    @classmethod
    def of(cls, values: NDArray[np.floating[Any]], speaker: ArrayLike) -> SpeakerSums:
        """From (clips, K) or (clips,), all of them present."""
        values = np.asarray(values).reshape(len(values), -1)
        assert np.isfinite(values).all(), "missing values are left out before"
        scale = float(np.einsum("ck,ck->", values, values, dtype=np.float64) / max(len(values), 1))
        values = values - values.mean(0, dtype=np.float64).astype(values.dtype)  # sums of squares keep their digits
        people, person = np.unique(np.asarray(speaker), return_inverse=True)
        sums = group_sums(values, person, len(people))
        squares = np.bincount(person, np.einsum("ck,ck->c", values, values), minlength=len(people))
        clips = np.bincount(person, minlength=len(people))
        return cls(clips.astype(np.float64), np.asarray(squares, np.float64), sums, scale)

    def spread_ratio(self, weights: Floats) -> Floats:
        """Root mean square distance of two clips of one speaker over that of two clips of two speakers.

        For (resamplings, speakers) weights -> (resamplings,). Lower is more consistent, from 0; chance, clips that
        do not tell their speakers, 1; NaN for the same answer to all, 0 for the mean face of the gender.
        """
        n = self.clips
        within = 2 * np.maximum(n * self.squares - self._lengths(), 0)  # over ordered pairs of one speaker's clips
        count, squares, length = weights @ n, weights @ self.squares, self._whole(weights)
        all_pairs = 2 * (count * squares - length)
        with np.errstate(invalid="ignore", divide="ignore"):
            near = weights @ within / (weights @ (n * (n - 1)))
            # A speaker drawn twice is still one speaker.
            far = (all_pairs - weights**2 @ within) / (count**2 - weights**2 @ n**2)
            return np.asarray(np.sqrt(near / np.where(far > _NOTHING * self.scale, far, np.nan)))

    def intraclass_correlation(self, weights: Floats) -> Floats:
        """ICC(1): share of the variance of one clip that is the speaker's, (resamplings, speakers) -> (resamplings,).

        (MSB - MSW) / (MSB + (n0 - 1) MSW) with mean squares between and within speakers summed over all coordinates and
        n0 the mean number of clips, for unequal numbers (N - sum n^2 / N) / (speakers - 1). Higher is more
        consistent, at most 1; chance 0; NaN for the same answer to all, 1 for the mean face of the gender.
        """
        n, own = self.clips, self._lengths() / self.clips
        people, count = weights.sum(1), weights @ n
        with np.errstate(invalid="ignore", divide="ignore"):
            between = (weights @ own - self._whole(weights) / count) / (people - 1)
            within = weights @ np.maximum(self.squares - own, 0) / (count - people)
            typical = (count - weights @ n**2 / count) / (people - 1)
            total = between + (typical - 1) * within
            return np.asarray((between - within) / np.where(total > _NOTHING * self.scale, total, np.nan))

    def _lengths(self) -> Floats:
        """Squared length of each speaker's sum."""
        return np.asarray(np.einsum("sk,sk->s", self.sums, self.sums, dtype=np.float64))

    def _whole(self, weights: Floats) -> Floats:
        """Squared length of the weighted sum over speakers, (resamplings,)."""
        whole = weights.astype(self.sums.dtype) @ self.sums
        return np.asarray(np.einsum("rk,rk->r", whole, whole, dtype=np.float64))


@dataclass(frozen=True, eq=False)
class Neighbours:
    """Who is nearest to each clip, and how far clips are from it on average; (clips,) each."""

    found: Floats
    """1 where the nearest other clip is the speaker's own, 0 where not, NaN where there is no such clip."""
    chance: Floats
    """Of `found`, if the order were random."""
    own_degrees: Floats
    """Mean angle to the other clips of the speaker."""
    other_degrees: Floats
    """Mean angle to the clips of the others."""


def neighbours(
    face_embedding: NDArray[np.floating[Any]],
    speaker: NDArray[Any],
    *,
    label: NDArray[Any] | None = None,
    alike: bool = True,
) -> Neighbours:
    """Of every clip (clips, K), by cosine, among all other clips, or those of the same or of another label (clips,).

    Ties count against us: if a clip of somebody else is as near as the nearest own one, it is not found, so the same
    answer to all finds nobody.
    """
    count, units = len(face_embedding), unit(face_embedding)
    columns = [np.full(count, np.nan) for _ in range(4)]

    def fill(start: int) -> None:
        rows = np.arange(start, min(start + ROWS_AT_ONCE, count))
        near = units[rows] @ units.T
        own = speaker[rows, None] == speaker
        others = ~own
        own[np.arange(len(rows)), rows] = False
        if label is not None:
            among = (label[rows, None] == label) == alike
            own, others = own & among, others & among
        best, rival = (np.where(mask, near, -np.inf).max(1) for mask in (own, others))
        right, wrong = own.sum(1), others.sum(1)
        degrees = np.degrees(np.arccos(np.clip(near, -1, 1)))
        with np.errstate(invalid="ignore", divide="ignore"):
            columns[0][rows] = np.where(right > 0, best > rival + TIE, np.nan)
            columns[1][rows] = np.where(right > 0, right / (right + wrong), np.nan)
            for column, mask, pairs in ((columns[2], own, right), (columns[3], others, wrong)):
                column[rows] = degrees.sum(1, dtype=np.float64, where=mask) / pairs

    with threadpool_limits(1), ThreadPoolExecutor(THREADS) as threads:
        list(threads.map(fill, range(0, count, ROWS_AT_ONCE)))
    return Neighbours(*columns)
