"""Forced choice: a voice is heard, N faces are shown, which one is the speaker's? And the other way round.

Sources: Nagrani et al., "Seeing Voices and Hearing Faces", CVPR 2018, section 5 (the task); Wen et al., "Disjoint
Mapping Network", ICLR 2019, section 4 (candidates of the same gender, nationality or age). They draw trials; here the
expectation over all trials is computed, so that no luck of the draw is left.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cached_property
from math import comb
from typing import Any, Literal, TypeVar, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from speech2face.metrics.intervals import NOTHING, Estimate, SpeakerBootstrap, group_sums

# --- How near predicted face embeddings are to the reference ones, pair by pair.
#
# Source: Speech2Face (Oh et al., CVPR 2019), section 4.3 and Table 2. Only the angle can be compared with the paper:
# its distances depend on a scale of the features that it does not state (unit vectors 46 degrees apart are 0.78
# apart, the paper prints 0.18). All take (clips, K) twice and give (clips,); rows with NaN give NaN.

Embeddings = NDArray[np.float32]
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


# --- Forced choice, both ways; its sources stand at the head of this file.

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


def two_way_choice(
    predicted: NDArray[np.floating[Any]],
    reference: NDArray[np.floating[Any]],
    speaker: NDArray[np.int64],
    gender: NDArray[np.str_] | None = None,
) -> Floats:
    """Share of other speakers' faces that are farther from the prediction than the own, by cosine, (clips,).

    Exact over all others, which is what a two-way choice expects; higher is better, chance 0.5; ties count against us,
    so one answer for everybody earns 0.5 at most. With `gender` only others of the same known gender. Predictions or
    references may be missing (NaN): `Choices` is for whole tables, and for more than two.
    """
    similarity = unit(predicted.astype(np.float64)) @ unit(reference.astype(np.float64)).T  # (clips, faces)
    own = np.diagonal(similarity)[:, None]
    other = (speaker[:, None] != speaker) & np.isfinite(reference).all(1)
    if gender is not None:
        other &= (gender[:, None] == gender) & (gender != "")[:, None]
    with np.errstate(invalid="ignore", divide="ignore"):
        share = ((similarity < own) & other).sum(1) / other.sum(1)
    return np.asarray(np.where(np.isfinite(own[:, 0]), share, np.nan))


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


# --- Whose face is nearest: ranks of the own face in a gallery, recall, average precision, each with its chance level.
# Source: Speech2Face (Oh et al., CVPR 2019), section 4.4 and Table 3. Ties count against us: a face as near as the
# own one stands before it.

Distance = Literal["cosine", "l2", "l1"]
DISTANCES: tuple[Distance, ...] = get_args(Distance)
Rows = NDArray[np.floating[Any]]
PROBES_AT_ONCE = 500
CACHE_NUMBERS = 2**17  # of a gallery's block that stays in a core's cache while all probes pass by
FEW_BOUNDS = 16


@dataclass(frozen=True, eq=False)
class GalleryRanks:
    """Where each probe's own face stands, (probes,) each; ranks count from 1."""

    rank: NDArray[np.int64]
    """Of the clip's own face among all faces of the gallery."""
    speaker_rank: NDArray[np.int64]
    """Of the first face of the own speaker, among it and all faces of other speakers."""
    average_precision: Floats
    """With all faces of the own speaker as right answers."""
    own_faces: NDArray[np.int64]
    """How many faces of the own speaker the gallery holds."""
    gallery: int
    """Number of faces in it."""


def rank_gallery(
    probes: Rows, gallery: Rows, own: NDArray[np.int64], speaker: NDArray[np.int64], distance: Distance = "cosine"
) -> GalleryRanks:
    """Rank a gallery for every probe.

    Args:
        probes: predicted embeddings, (probes, K), all finite.
        gallery: reference embeddings, (gallery, K), all finite.
        own: place of each probe's own face in the gallery, (probes,).
        speaker: of each face of the gallery, (gallery,).
        distance: by which they are compared.
    """
    judge = _Judge(own, speaker)
    for start in range(0, len(probes), PROBES_AT_ONCE):
        far, slack = distances(probes[start : start + PROBES_AT_ONCE], gallery, distance)
        for row in range(len(far)):
            judge.place(start + row, far[row], slack)
    return judge.ranking


def own_ranks(probes: Rows, gallery: Rows) -> NDArray[np.int64]:
    """Rank of each probe's own face, which stands in the same row of the gallery, by cosine; (clips, K) twice."""
    rows = np.arange(len(gallery))
    return rank_gallery(probes, gallery, rows, rows).rank


def rank_answers(
    answers: Rows,
    which: NDArray[np.int64],
    gallery: Rows,
    own: NDArray[np.int64],
    speaker: NDArray[np.int64],
    distance: Distance = "cosine",
) -> GalleryRanks:
    """As `rank_gallery` for probes that give one of few answers, (answers, K): `which` one, (probes,).

    What the trivial baselines earn: the mean face for everybody, or that of each gender.
    """
    judge = _Judge(own, speaker)
    far, slack = distances(answers, gallery, distance)
    for row, answer in enumerate(which):
        judge.place(row, far[answer], slack)
    return judge.ranking


class _Judge:
    """Places one probe after another."""

    def __init__(self, own: NDArray[np.int64], speaker: NDArray[np.int64]) -> None:
        order = np.argsort(speaker, kind="stable")
        people, starts = np.unique(speaker[order], return_index=True)
        self._faces = dict(zip(people.tolist(), np.split(order, starts[1:]), strict=True))
        self._own, self._speaker = own, speaker
        count = len(own)
        whole = [np.zeros(count, np.int64) for _ in range(3)]
        self.ranking = GalleryRanks(whole[0], whole[1], np.zeros(count), whole[2], len(speaker))

    def place(self, row: int, far: Floats | Rows, slack: float) -> None:
        """The probe `row`, from its distances to the gallery, (gallery,)."""
        place, found = self._own[row], self.ranking
        faces = self._faces[int(self._speaker[place])]
        same = np.sort(far[faces])
        found.rank[row] = np.count_nonzero(far <= far[place] + slack)
        # Of other speakers, as near as each face of the own one.
        others = _count_within(far, same + slack) - np.searchsorted(same, same + slack, "right")
        found.speaker_rank[row] = 1 + others[0]
        right = np.arange(1, len(same) + 1)
        found.average_precision[row] = np.mean(right / (right + others))
        found.own_faces[row] = len(faces)


def _count_within(far: Floats | Rows, bounds: Floats | Rows) -> NDArray[np.int64]:
    """How many of the distances are within each bound, (bounds,); a few are counted faster than all are sorted."""
    if len(bounds) <= FEW_BOUNDS:
        return np.array([np.count_nonzero(far <= bound) for bound in bounds], np.int64)
    return np.asarray(np.searchsorted(np.sort(far), bounds, "right"), np.int64)


def distances(probes: Rows, gallery: Rows, distance: Distance) -> tuple[Floats | Rows, float]:
    """(probes, gallery), smaller is nearer, and how far apart two may lie that are the same but for rounding.

    Cosine is 1 - cos; L2 is squared, which ranks alike; L1 is the sum of absolute differences.
    """
    if distance == "cosine":
        return 1 - unit(probes) @ unit(gallery).T, TIE
    if distance == "l2":
        lengths = [np.einsum("ij,ij->i", rows, rows) for rows in (probes, gallery)]
        far = lengths[0][:, None] + lengths[1][None] - 2 * probes @ gallery.T
        return far, TIE * float(max(length.max() for length in lengths))
    sums = [np.abs(rows).sum(1) for rows in (probes, gallery)]
    return manhattan(probes, gallery), TIE * float(max(total.max() for total in sums))


def manhattan(probes: Rows, gallery: Rows) -> NDArray[np.float32]:
    """Sums of absolute differences of all pairs, (probes, gallery), in single precision.

    By faiss, over blocks of the gallery that stay in a core's cache while all probes pass by: five times as fast as
    whole, ten times as fast as scipy's and torch's `cdist`.
    """
    import faiss

    block = max(1, CACHE_NUMBERS // probes.shape[1])
    left, right = (np.ascontiguousarray(rows, np.float32) for rows in (probes, gallery))
    found = np.empty((len(left), len(right)), np.float32)

    def fill(start: int) -> None:
        stop = start + block
        found[:, start:stop] = faiss.pairwise_distances(left, right[start:stop], metric=faiss.METRIC_L1)

    with threadpool_limits(1), ThreadPoolExecutor(THREADS) as threads:
        list(threads.map(fill, range(0, len(right), block)))
    return found


def recall(rank: NDArray[np.int64], at: int) -> Floats:
    """Whether each probe's own face is among the first `at`, (probes,) of 0 and 1; their mean is recall@k.

    Higher is better, 0 to 1; chance and the mean face earn `at` / gallery.
    """
    return np.asarray(rank <= at, np.float64)


def percent_places(percent: float, gallery: int) -> int:
    """How many places `percent` of a gallery are, whole ones only; paper.md and Table 3's chance levels read it so."""
    return int(percent * gallery / 100 + 1e-9)


def speaker_recall_chance(own_faces: NDArray[np.int64], gallery: int, at: int) -> Floats:
    """Chance that one of a speaker's faces is among `at` drawn of the gallery, (probes,): 1 - C(N - M, k) / C(N, k)."""
    chances = {int(m): 1 - comb(gallery - int(m), at) / comb(gallery, at) for m in np.unique(own_faces)}
    return np.array([chances[int(m)] for m in own_faces])


def average_precision_chance(own_faces: NDArray[np.int64], gallery: int) -> Floats:
    """Expected average precision of a random order, (probes,), with M right answers of N.

    H_N / N + (M - 1) / (N - 1) (1 - H_N / N), H_N the harmonic number (Bestgen, 2015).
    """
    harmonic = float((1 / np.arange(1, gallery + 1)).sum()) / gallery
    return np.asarray(harmonic + (own_faces - 1) / max(gallery - 1, 1) * (1 - harmonic))


# --- Verification: are this voice and this face of one person? Area under the ROC curve and equal error rate.
# Sources: Nagrani et al., "Learnable PINs", ECCV 2018, section 5 (the task, and candidates of the same gender);
# Fawcett, "An introduction to ROC analysis", 2006 (AUC as the share of pairs in order).

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
