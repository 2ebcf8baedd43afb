"""How near predicted face embeddings are to the reference ones, pair by pair.

Source: Speech2Face (Oh et al., CVPR 2019), section 4.3 and Table 2. Only the angle can be compared with the paper: its
distances depend on a scale of the features that it does not state (unit vectors 46 degrees apart are 0.78 apart, the
paper prints 0.18). All take (clips, K) twice and give (clips,); rows with NaN give NaN.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from speech2face.metrics.intervals import group_sums

Rows = NDArray[np.floating[Any]]
Embeddings = NDArray[np.float32]
Floats = NDArray[np.float64]
Faces = TypeVar("Faces", NDArray[np.float32], NDArray[np.float64])
BLOCK_ROWS = 64
LEAST_LENGTH = 1e-12  # a vector of length 0 has no direction: its cosine with anything is 0


def _products(left: Rows, right: Rows) -> Floats:
    return np.asarray(np.einsum("ij,ij->i", left, right, dtype=np.float64))


def in_blocks(function: Callable[..., Floats], *sides: Rows) -> Floats:
    """A function of pairs of rows, (clips, K) each -> (clips,), over blocks that stay in a core's cache."""
    starts = range(0, len(sides[0]), BLOCK_ROWS)
    parts = [function(*(rows[start : start + BLOCK_ROWS] for rows in sides)) for start in starts]
    return np.concatenate(parts) if parts else np.zeros(0)


def unit(rows: Rows) -> Rows:
    """Each row divided by its length; a row of zeros stays one."""
    lengths = np.sqrt(_products(rows, rows))[:, None]
    return np.asarray(rows / np.maximum(lengths, LEAST_LENGTH).astype(rows.dtype))


def cosine(predicted: Rows, reference: Rows) -> Floats:
    """p . r / (|p| |r|). Higher is better, -1 to 1; unrelated directions have 0.

    The mean face for everybody earns what the faces share: often more than half.
    """
    lengths = np.sqrt(_products(predicted, predicted)) * np.sqrt(_products(reference, reference))
    return np.asarray(_products(predicted, reference) / np.maximum(lengths, LEAST_LENGTH))


def angle_degrees(predicted: Rows, reference: Rows) -> Floats:
    """arccos of the cosine, in degrees: Table 2's "cos". Lower is better, 0 to 180; unrelated directions have 90.

    The mean face earns the angle by which faces lie around their mean.
    """
    return np.asarray(np.degrees(np.arccos(np.clip(cosine(predicted, reference), -1, 1))))


def centred_angle_degrees(predicted: Rows, reference: Rows, centre: Rows) -> Floats:
    """Angle between p - c and r - c, c being the mean face. Lower is better, 0 to 180; chance is 90.

    The mean face itself has no direction from there, and earns 90: it gains nothing by this angle.
    """
    return in_blocks(lambda p, r, c: angle_degrees(p - c, r - c), predicted, reference, centre)


def l2(predicted: Rows, reference: Rows) -> Floats:
    """Euclidean distance |p - r|. Lower is better, from 0; in the embedding's own units.

    The mean face earns the spread of the faces, which is less than what unrelated faces have.
    """
    difference = predicted - reference
    return np.asarray(np.sqrt(_products(difference, difference)))


def l1(predicted: Rows, reference: Rows) -> Floats:
    """Sum of absolute differences. Lower is better, from 0; grows with the embedding's length and scale.

    The median face earns least of all constant answers, the mean face nearly as little.
    """
    return in_blocks(lambda p, r: np.asarray(np.abs(p - r).sum(1, dtype=np.float64)), predicted, reference)


def squares(predicted: Rows, reference: Rows, centre: Rows) -> tuple[Floats, Floats]:
    """What R^2 = 1 - sum |r - p|^2 / sum |r - c|^2 is made of: each clip's squared error, and that of the mean face.

    R^2: higher is better, up to 1; the mean face for everybody (c) earns 0, unrelated faces earn below 0.
    """
    return l2(predicted, reference) ** 2, l2(np.broadcast_to(centre, reference.shape), reference) ** 2


def explained_variance(predicted: Rows, reference: Rows) -> float:
    """R^2 over all coordinates around the references' own mean, which earns 0; NaN where they do not vary."""
    errors, total = squares(predicted, reference, reference.mean(0, dtype=np.float64).astype(reference.dtype))
    return float(1 - errors.sum() / total.sum()) if total.sum() else float("nan")


def means_of_others(
    reference: Faces, speaker: NDArray[Any], group: NDArray[Any] | None = None, *, own: bool = False
) -> Faces:
    """For each clip the mean of the other speakers' rows, of its group where groups are given, (clips, K).

    With the own speaker in it, the mean of a small set would be a peek at the answer; `own` takes it in nevertheless.
    References that are not finite are nobody's; the mean of nobody is NaN.
    """
    there = np.isfinite(reference).all(1)
    of = np.zeros(len(reference)) if group is None else np.asarray(group)
    means = np.full(reference.shape, np.nan, reference.dtype)
    for value in np.unique(of):
        rows, asked = np.flatnonzero((of == value) & there), np.flatnonzero(of == value)
        total = reference[rows].sum(0, dtype=np.float64)
        if own:
            if len(rows):
                means[asked] = total / len(rows)
            continue
        people, order = np.unique(speaker[asked], return_inverse=True)
        place = np.searchsorted(people, speaker[rows])
        others = len(rows) - np.bincount(place, minlength=len(people))
        with np.errstate(invalid="ignore"):
            of_others = (total - group_sums(reference[rows], place, len(people))) / np.where(
                others > 0, others, np.nan
            )[:, None]
        means[asked] = of_others[order.reshape(-1)]
    return means


def strangers(speaker: NDArray[np.int64], *, repeats: int = 2, seed: int = 0) -> NDArray[np.int64]:
    """For each clip some clips of other speakers, (repeats, clips): what chance earns is measured on such pairs.

    -1 where there is no other speaker.
    """
    rng = np.random.default_rng(seed)
    count = len(speaker)
    pairs = np.full((repeats, count), -1, np.int64)
    if len(np.unique(speaker)) < 2:
        return pairs
    for row in pairs:
        wanting = np.arange(count)
        while len(wanting):
            row[wanting] = rng.integers(count, size=len(wanting))
            wanting = wanting[speaker[row[wanting]] == speaker[wanting]]
    return pairs


TIE = 5e-7  # relative: rounding of single precision must not decide between faces that are the same
THREADS = 2


# --- Whether the same speaker is always given the same face: spread within speakers against spread between them.
# Sources: Shrout and Fleiss, "Intraclass correlations", 1979, case 1 (here over all coordinates together);
# Speech2Face (CVPR 2019) shows the same in pictures. None of these numbers knows the right face: whoever answers the
# mean face of the gender is perfectly consistent. They are to be read beside retrieval and matching.

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


def neighbours(face_embedding: NDArray[np.floating[Any]], speaker: NDArray[Any]) -> Neighbours:
    """Of every clip (clips, K), by cosine, among all other clips.

    Ties count against us: if a clip of somebody else is as near as the nearest own one, it is not found, so the same
    answer to all finds nobody.
    """
    (found,) = _neighbours(face_embedding, speaker, np.zeros(len(speaker)), (True,))
    return found


def neighbours_by_label(
    face_embedding: NDArray[np.floating[Any]], speaker: NDArray[Any], label: NDArray[Any]
) -> tuple[Neighbours, Neighbours]:
    """The same among the clips of the clip's own label (clips,), and among those of other labels."""
    same, other = _neighbours(face_embedding, speaker, label, (True, False))
    return same, other


def _neighbours(
    face_embedding: NDArray[np.floating[Any]], speaker: NDArray[Any], label: NDArray[Any], alike: tuple[bool, ...]
) -> list[Neighbours]:
    """For each of `alike` once, from one pass over all pairs, summed up by speaker and label."""
    count, units = len(face_embedding), unit(face_embedding)
    person, place = (np.unique(side, return_inverse=True)[1].reshape(-1) for side in (speaker, label))
    order = np.lexsort((person, place))
    column = np.argsort(order)
    first = np.flatnonzero(np.diff(person[order], prepend=-1) | np.diff(place[order], prepend=-1))
    person_of, place_of, sizes = person[order][first], place[order][first], np.diff(np.append(first, count))
    found = [Neighbours(*(np.full(count, np.nan) for _ in range(4))) for _ in alike]

    def fill(start: int) -> None:
        rows = np.arange(start, min(start + ROWS_AT_ONCE, count))
        near = (units[rows] @ units.T)[:, order]
        degrees = np.degrees(np.arccos(np.clip(near, -1, 1)))
        itself = np.arange(len(rows)), column[rows]
        near[itself], degrees[itself] = -np.inf, 0
        nearest = np.maximum.reduceat(near, first, axis=1)  # (rows, groups)
        total = np.add.reduceat(degrees, first, axis=1, dtype=np.float64)
        own, same_label = person_of == person[rows, None], place_of == place[rows, None]
        clips = sizes - (own & same_label)
        for one, wanted in zip(found, alike, strict=True):
            among = same_label == wanted
            mine, others = own & among, ~own & among
            best, rival = (np.where(mask, nearest, -np.inf).max(1) for mask in (mine, others))
            right, wrong = (np.where(mask, clips, 0).sum(1) for mask in (mine, others))
            with np.errstate(invalid="ignore", divide="ignore"):
                one.found[rows] = np.where(right > 0, best > rival + TIE, np.nan)
                one.chance[rows] = np.where(right > 0, right / (right + wrong), np.nan)
                one.own_degrees[rows] = np.where(mine, total, 0).sum(1) / right
                one.other_degrees[rows] = np.where(others, total, 0).sum(1) / wrong

    with threadpool_limits(1), ThreadPoolExecutor(THREADS) as threads:
        list(threads.map(fill, range(0, count, ROWS_AT_ONCE)))
    return found
