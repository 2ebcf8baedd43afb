"""Whose face is nearest: ranks of the own face in a gallery, recall, average precision, each with its chance level.

Source: Speech2Face (Oh et al., CVPR 2019), section 4.4 and Table 3. Ties count against us: a face as near as the own
one stands before it.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from math import comb
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from speech2face.evaluation.metrics.similarity import unit

Distance = Literal["cosine", "l2", "l1"]
DISTANCES: tuple[Distance, ...] = get_args(Distance)
Rows = NDArray[np.floating[Any]]
Floats = NDArray[np.float64]

PROBES_AT_ONCE = 500
TIE = 5e-7  # relative: rounding of single precision must not decide between faces that are the same
CACHE_NUMBERS = 2**17  # of a gallery's block that stays in a core's cache while all probes pass by
THREADS = 2
FEW_BOUNDS = 16


@dataclass(frozen=True, eq=False)
class Ranking:
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
    probes: Rows,
    gallery: Rows,
    own: NDArray[np.int64],
    speaker: NDArray[np.int64],
    distance: Distance = "cosine",
) -> Ranking:
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


def rank_answers(
    answers: Rows,
    which: NDArray[np.int64],
    gallery: Rows,
    own: NDArray[np.int64],
    speaker: NDArray[np.int64],
    distance: Distance = "cosine",
) -> Ranking:
    """As `rank_gallery` for probes that give one of few answers, (answers, K): `which` one, (probes,).

    What the cheats earn: the mean face for everybody, or that of each gender.
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
        self.ranking = Ranking(whole[0], whole[1], np.zeros(count), whole[2], len(speaker))

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
