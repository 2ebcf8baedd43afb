"""Approximate search in memory for millions of faces: faiss's inverted lists over 4-bit codes, exact at the end.

Faces are grouped around the centres of a spherical k-means; a probe is compared with the codes of the faces in the
nearest groups, one bit for each number of an embedding (Jegou et al. 2011, product quantisation; Andre et al. 2017 and
Douze et al. 2024 for the scan in registers); the best of these are then compared exactly. Embeddings of people spread
in hundreds of directions: no grouping keeps what is near together, so many groups are looked at, and the codes make
that cheap. How many is measured when the index is made: the fewest with which recall@10 reaches the goal.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from speech2face.errors import DatasetError, MissingExtra
from speech2face.gallery.exact import Vectors, nearest, recall, unit_rows

GOAL = 0.99  # recall@10
TUNING_GOAL = 0.995  # on the probes that choose; others say what is reached
TOP = 10
PROBES = 200  # each, to choose by and to measure with
LEAST_PER_LIST = 39  # faiss warns below
TRAINED_PER_LIST = 60
CANDIDATES_PER_ANSWER = 10  # compared exactly for each that is asked for
LEAST_CANDIDATES = 200
CODED_FROM = 64  # numbers of an embedding; shorter ones are stored in 8 bits each
GROWTH = 4  # as many times the faces it was trained for, and it is made anew


@dataclass(frozen=True)
class IndexFacts:
    """What an index is and how well it searches, for `gallery.json`."""

    lists: int
    """Groups of faces."""
    looked_at: int
    """Groups that a search looks at."""
    recall_at_10: float
    """Against exact search, on probes that did not choose `looked_at`."""
    probes: int
    trained_for: int
    """Faces that were there when it was made."""
    kind: str = "faiss inverted lists, exact at the end"

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return asdict(self)


def faiss_module() -> Any:
    """The library of the extra `retrieval`.

    Raises:
        MissingExtra: it is not installed.
    """
    try:
        import faiss
    except ImportError as error:
        raise MissingExtra(
            "a faiss gallery needs the extra 'retrieval': pip install 'speech2face[retrieval]'"
        ) from error
    return faiss


class FaissIndex:
    """Finds numbers of entries; the vectors themselves are the gallery's."""

    def __init__(self, index: Any, facts: IndexFacts) -> None:
        self._index, self.facts = index, facts

    @classmethod
    def make(cls, vectors: Vectors, numbers: NDArray[np.int64], *, seed: int = 0) -> FaissIndex:
        """Of faces (faces, K) of length one and the numbers (faces,) they are called by."""
        faiss = faiss_module()
        count, size = vectors.shape
        lists = max(1, min(2 * round(count**0.5), count // LEAST_PER_LIST))
        index = _empty(faiss, size, lists)
        index.cp.spherical, index.cp.seed, index.cp.max_points_per_centroid = True, seed + 1, TRAINED_PER_LIST
        rng = np.random.default_rng(seed)
        chosen = np.sort(rng.permutation(count)[: max(lists * TRAINED_PER_LIST, 1000)])
        index.train(np.ascontiguousarray(vectors[chosen]))
        made = cls(index, IndexFacts(lists, 1, 0.0, 0, count))
        made.add(vectors, numbers)
        made._tune(vectors, numbers, rng)
        return made

    def _tune(self, vectors: Vectors, numbers: NDArray[np.int64], rng: np.random.Generator) -> None:
        choosing, measuring = (made_probes(vectors, PROBES, rng) for _ in range(2))
        right = nearest(vectors, np.concatenate([choosing, measuring]), TOP).rows
        few, many = 0, self.facts.lists

        def reached(looked_at: int, probes: Vectors, truth: NDArray[np.int64]) -> float:
            self._look_at(looked_at)
            rows = np.stack([self.search(probe, TOP, vectors, numbers)[0] for probe in probes])
            return recall(rows, truth)

        looked_at = 1
        while looked_at < many and reached(looked_at, choosing, right[:PROBES]) < TUNING_GOAL:
            few, looked_at = looked_at, min(2 * looked_at, many)
        while looked_at - few > 1:  # the fewest between one that does not do and one that does
            middle = (few + looked_at) // 2
            if reached(middle, choosing, right[:PROBES]) < TUNING_GOAL:
                few = middle
            else:
                looked_at = middle
        while (measured := reached(looked_at, measuring, right[PROBES:])) < GOAL and looked_at < many:
            looked_at = min(looked_at + max(1, looked_at // 4), many)
        self._look_at(looked_at)
        self.facts = IndexFacts(self.facts.lists, looked_at, round(measured, 4), PROBES, self.facts.trained_for)

    def _look_at(self, lists: int) -> None:
        self._index.nprobe = lists

    def add(self, vectors: Vectors, numbers: NDArray[np.int64]) -> None:
        """Further faces (faces, K)."""
        block = 2**16
        for start in range(0, len(vectors), block):
            part = slice(start, start + block)
            self._index.add_with_ids(np.ascontiguousarray(vectors[part]), numbers[part])

    def remove(self, numbers: NDArray[np.int64]) -> None:
        """Forget these."""
        if len(numbers):
            self._index.remove_ids(faiss_module().IDSelectorBatch(np.ascontiguousarray(numbers, np.int64)))

    @property
    def outgrown(self) -> bool:
        """Whether it holds many more faces than it was made for."""
        return bool(self._index.ntotal > GROWTH * max(self.facts.trained_for, 1000))

    def search(
        self,
        probe: Vectors,
        top: int,
        vectors: Vectors,
        numbers: NDArray[np.int64],
        kept: NDArray[np.int64] | None = None,
    ) -> tuple[NDArray[np.int64], Vectors]:
        """Rows of the nearest faces and their exact cosines, (at most top,) each; `kept` are the rows to search in."""
        faiss = faiss_module()
        wanted = max(top * CANDIDATES_PER_ANSWER, LEAST_CANDIDATES)
        options: dict[str, Any] = {"nprobe": self._index.nprobe}
        if kept is not None:
            options["sel"] = faiss.IDSelectorBatch(np.ascontiguousarray(numbers[kept]))
        _, found = self._index.search(probe[None], wanted, params=faiss.SearchParametersIVF(**options))
        rows = np.searchsorted(numbers, found[0][found[0] >= 0])
        cosines = vectors[rows] @ probe
        order = np.lexsort((rows, -cosines))[:top]
        short = max(0, min(top, len(numbers)) - len(order)) if kept is None else 0
        if short:  # fewer faces than wanted in the groups looked at
            whole = nearest(vectors, probe[None], top)
            return whole.rows[0], whole.cosines[0]
        return rows[order], cosines[order]

    def encode(self) -> memoryview:
        """As it is stored."""
        return memoryview(faiss_module().serialize_index(self._index))

    @classmethod
    def read(cls, path: Path, facts: dict[str, Any], *, mapped: bool = True) -> FaissIndex:
        """From a file; mapped into memory where it will not be changed.

        Raises:
            DatasetError: it is none.
        """
        faiss = faiss_module()
        try:
            index = faiss.read_index(str(path), faiss.IO_FLAG_MMAP if mapped else 0)
            opened = cls(index, IndexFacts(**facts))
        except (RuntimeError, TypeError) as error:
            raise DatasetError(f"{path} is no index this program wrote; build the gallery anew") from error
        opened._look_at(opened.facts.looked_at)
        return opened


def _empty(faiss: Any, size: int, lists: int) -> Any:
    """An index without faces: codes of one or two bits a number, or 8 where there are few numbers."""
    centres, product = faiss.IndexFlatIP(size), faiss.METRIC_INNER_PRODUCT
    numbers_a_code = 4 if size > 256 else 2
    if size < CODED_FROM or size % numbers_a_code:
        return faiss.IndexIVFScalarQuantizer(centres, size, lists, faiss.ScalarQuantizer.QT_8bit, product, False)
    return faiss.IndexIVFPQFastScan(centres, size, lists, size // numbers_a_code, 4, product)


def made_probes(vectors: Vectors, count: int, rng: np.random.Generator) -> Vectors:
    """Probes such as voices give: between a face drawn by chance and the mean face, with some noise; (count, K)."""
    chosen = vectors[np.sort(rng.integers(len(vectors), size=count))].astype(np.float32)
    sample = vectors[np.sort(rng.permutation(len(vectors))[:10_000])]
    mean = sample.mean(0)
    noise = rng.standard_normal(chosen.shape) * (0.3 / chosen.shape[1] ** 0.5)
    share = rng.uniform(0.5, 1.0, (count, 1))
    return unit_rows(share * chosen + (1 - share) * mean + noise)
