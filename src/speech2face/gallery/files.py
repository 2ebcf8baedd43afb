"""A gallery in the files of one folder, for `exact` and `faiss`.

    gallery.json              what it is, and the names of its files as they are now
    entries-000001.csv        one row a face
    vectors-000001.npy        (faces, K), length one, in the order of the rows
    thumbnails-000001.bin     small JPEGs, one after another
    index-000001.faiss        with faiss

Every change writes new files under the next number, then `gallery.json` names them in one step, then the old ones go:
a reader, or a process that is killed, sees the gallery before or after, never between.
"""

from __future__ import annotations

import contextlib
import io
import os
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, BinaryIO, Self, cast

import numpy as np
from filelock import lock_descriptor
from numpy.typing import NDArray

from speech2face.data.record import Tombstones, read_tombstones, write_tombstones
from speech2face.data.storage import LOCK, NewFile, Storage, locked_data
from speech2face.errors import CannotWrite, DatasetError, InvalidOption, MissingExtra
from speech2face.gallery.entries import (
    PARTS,
    RECORD,
    Embeddings,
    Entries,
    Entry,
    Found,
    GalleryRecord,
    StoredFile,
    StoreFacts,
    Upserted,
    Where,
    decode_entries,
    read_record,
)
from speech2face.inputs import map_npy

# --- One change of a gallery's files: everything new beside the old, then one step (`files.py`).

INDEXED_FROM = 1000  # fewer are too few to learn groups from
ROWS_AT_ONCE = 4096


class FileWriter:
    """One change of a gallery's folder, which is held as long."""

    def __init__(self, storage: Storage, record: GalleryRecord, before: FileStore | None = None) -> None:
        """A gallery without `before` takes the place of whatever the folder holds.

        Raises:
            RunLocked: another process writes.
            DatasetError: the gallery was changed since it was opened.
        """
        self._storage, self._record, self._before = storage, record, before
        self._held = contextlib.ExitStack()
        made = storage.local if storage.local is not None and not os.path.exists(storage.local) else None
        self._held.enter_context(locked_data(storage))
        if made is not None:
            self._held.callback(_remove_if_bare, made)
        try:
            if before is not None and read_record(storage) != before.record:
                raise DatasetError(f"{storage} was changed by another process meanwhile; open the gallery again")
            entries = before.entries if before is not None else Entries.none()
            self._stays = np.ones(len(entries), bool)
            self._entries = entries
            self._new: list[Entry | None] = []
            self._new_rows: dict[str, int] = {}
            self._raw: BinaryIO = self._held.enter_context(tempfile.TemporaryFile(dir=storage.local))  # noqa: SIM115, it is one
        except BaseException:
            self._held.close()
            raise

    @property
    def tombstones(self) -> Tombstones | None:
        """Who was forgotten in this folder."""
        return read_tombstones(self._storage)

    def digests(self, ids: Sequence[str]) -> Mapping[str, str]:
        """Of the gallery that is added to, and of what was put already."""
        known = {}
        for identity in ids:
            row = self._entries.row_of(identity)
            if identity in self._new_rows:
                entry = self._new[self._new_rows[identity]]
                assert entry is not None
                known[identity] = entry.digest
            elif row is not None and self._stays[row]:
                known[identity] = self._entries.columns["digest"][row]
        return known

    def put(self, entries: Sequence[Entry], vectors: Embeddings) -> Upserted:
        """Into a temporary file until all are there."""
        replaced = 0
        for entry in entries:
            replaced += self._drop(entry.id)
            self._new_rows[entry.id] = len(self._new)
            self._new.append(entry)
        self._raw.write(np.ascontiguousarray(vectors, np.float32).tobytes())
        return Upserted(len(entries) - replaced, replaced)

    def remove(self, ids: Sequence[str]) -> int:
        """Take entries out; how many there were."""
        return sum(self._drop(identity) for identity in ids)

    def _drop(self, identity: str) -> bool:
        row = self._entries.row_of(identity)
        there = row is not None and bool(self._stays[row])
        if there:
            self._stays[row] = False
        if identity in self._new_rows:
            self._new[self._new_rows.pop(identity)] = None
            return True
        return there

    def _honour(self, tombstones: Tombstones | None) -> None:
        """Whoever was forgotten while this was written does not enter either."""
        if tombstones is None:
            return
        speakers = self._entries.columns["speaker"]
        gone = {name for name in set(speakers) if tombstones.has_speaker(name)}
        self._stays &= np.fromiter((name not in gone for name in speakers), bool, len(speakers))
        self._new = [
            None if entry is None or tombstones.names(entry.speaker, entry.id) else entry for entry in self._new
        ]

    def finish(self) -> GalleryRecord:
        """New files, then the record that names them, then the old ones go."""
        while True:
            tombstones = self.tombstones
            self._honour(tombstones)
            record = self._written()
            with _tombstones_held(self._storage):
                if self.tombstones == tombstones:  # else somebody was forgotten while the files were written
                    self._storage.write(RECORD, record.encode())
                    break
        self._remove_others(record)
        if self._before is not None:
            self._before.reopen(record)  # while nobody else can change it
        self.close()
        return record

    def _written(self) -> GalleryRecord:
        """The new files, which nothing names yet, and the record that will."""
        kept = [row for row, entry in enumerate(self._new) if entry is not None]
        new = [entry for entry in self._new if entry is not None]
        first = self._record.next_number
        entries = self._entries.joined(self._stays, new, first)
        generation = self._record.generation + 1
        storage, files = self._storage, {}
        lengths = [len(picture) for picture in self._pictures(new)]
        parts: dict[str, Iterable[Any]] = {
            "vectors": self._vectors(kept),
            "thumbnails": self._pictures(new),
            "entries": entries.encode(lengths),
        }
        for part, contents in parts.items():
            files[part] = _write(storage, f"{part}-{generation:06d}.{PARTS[part]}", contents)
        record = self._record.changed(
            files=files, generation=generation, entries=len(entries), next_number=first + len(new)
        )
        return self._index(record, entries, kept) if record.backend == "faiss" else record

    def _vectors(self, kept: Sequence[int]) -> Iterator[Any]:
        """The npy file, some rows at a time."""
        size, count = self._record.space.size, int(self._stays.sum()) + len(kept)
        head = io.BytesIO()
        np.lib.format.write_array_header_1_0(head, {"descr": "<f4", "fortran_order": False, "shape": (count, size)})
        yield head.getvalue()
        if self._before is not None:
            rows = np.flatnonzero(self._stays)
            for start in range(0, len(rows), ROWS_AT_ONCE):
                yield np.ascontiguousarray(self._before.vectors[rows[start : start + ROWS_AT_ONCE]]).tobytes()
        for start in range(0, len(kept), ROWS_AT_ONCE):
            yield self._raw_rows(kept[start : start + ROWS_AT_ONCE]).tobytes()

    def _raw_rows(self, rows: Sequence[int]) -> Embeddings:
        size = self._record.space.size
        self._raw.flush()
        whole = np.memmap(self._raw, np.float32, "r", shape=(len(self._new), size))
        return np.asarray(whole[np.asarray(rows, np.int64)], np.float32)

    def _pictures(self, new: Sequence[Entry]) -> Iterator[bytes]:
        if self._before is not None:
            for row in np.flatnonzero(self._stays).tolist():
                yield self._before.thumbnail(row)
        yield from (entry.thumbnail for entry in new)

    def _index(self, record: GalleryRecord, entries: Entries, kept: Sequence[int]) -> GalleryRecord:
        """The old index less what went and with what came, or a new one where there is none or it was outgrown."""
        storage, index = self._storage, None
        assert storage.local is not None
        before = self._before
        if before is not None and before.record.index is not None and len(before):
            path = storage.local / before.record.files["index"].file
            index = FaissIndex.read(path, dict(before.record.index), mapped=False)
            index.remove(self._entries.numbers[~self._stays])
            if kept:
                index.add(self._raw_rows(kept), entries.numbers[-len(kept) :])
        if index is None or index.outgrown:
            if len(entries) < INDEXED_FROM:
                return record.changed(index=None)
            vectors = map_npy(storage.local / record.files["vectors"].file)
            index = FaissIndex.make(vectors, entries.numbers)
        name = f"index-{record.generation:06d}.faiss"
        file = _write(storage, name, [index.encode()])
        return record.changed(files=dict(record.files) | {"index": file}, index=asdict(index.facts))

    def _remove_others(self, record: GalleryRecord) -> None:
        named = {file.file for file in record.files.values()}
        for name in self._storage.names():
            part, _, rest = name.partition("-")
            if part in PARTS and rest.endswith(f".{PARTS[part]}") and name not in named:
                self._storage.remove(name)

    def close(self) -> None:
        """Let go of the folder; what was not finished is gone."""
        self._held.close()


def _remove_if_bare(folder: Path) -> None:
    """Take back a folder that was made for a gallery of which nothing came; while it is still held."""
    if os.listdir(folder) == [LOCK]:
        with contextlib.suppress(OSError):  # Windows removes nothing that is held
            (folder / LOCK).unlink()
            folder.rmdir()


TOMBSTONES_LOCK = ".tombstones.lock"


@contextlib.contextmanager
def _tombstones_held(storage: Storage) -> Iterator[None]:
    """Hold a gallery's tombstones for a moment, waiting for whoever does: the folder's own lock may be held for hours.

    Raises:
        CannotWrite: no permission.
    """
    path = storage.where(TOMBSTONES_LOCK)
    try:
        handle = os.open(path, os.O_CREAT | os.O_RDWR, 0o666)
    except OSError as error:
        raise CannotWrite(f"cannot write {path}: {error.strerror}; forgetting needs write access") from error
    try:
        lock_descriptor(handle)
        yield
    finally:
        os.close(handle)


def _write(storage: Storage, name: str, contents: Iterable[Any]) -> StoredFile:
    file = NewFile(storage, name)
    try:
        for content in contents:
            file.write(content)
        file.finish()
    finally:
        file.discard()
    return StoredFile(name, file.bytes, file.sha256)


# --- Exact search: every face is compared, block by block; what approximate searches are measured by.

Vectors = NDArray[np.float32]
BLOCK_BYTES = 2**25  # of faces compared together: bounds memory, and a mapped file is read in long stretches


@dataclass(frozen=True)
class Nearest:
    """The nearest faces of each probe, nearest first."""

    rows: NDArray[np.int64]  # (probes, top)
    cosines: Vectors  # (probes, top)
    mean: NDArray[np.float64]
    """(probes,): mean cosine of all faces compared."""
    sd: NDArray[np.float64]
    """(probes,): its standard deviation: what a face drawn by chance has."""


def unit_rows(embeddings: NDArray[np.floating], names: str = "the face embeddings") -> Vectors:
    """Rows (faces, K) at length one.

    Raises:
        DatasetError: a row has no direction: not finite, or all zeros.
    """
    lengths = np.linalg.norm(embeddings.astype(np.float64), axis=1)
    if not np.isfinite(lengths).all() or (lengths == 0).any():
        raise DatasetError(f"{names} hold one that is zero or not finite; embed the photograph anew")
    return np.asarray(embeddings / lengths[:, None], np.float32)


def nearest(vectors: Vectors, probes: Vectors, top: int, rows: NDArray[np.int64] | None = None) -> Nearest:
    """Compare probes (probes, K) of length one with faces (faces, K) of length one, or only with some rows of them.

    Equal cosines stand in the order of the rows.
    """
    count = len(vectors) if rows is None else len(rows)
    top = min(top, count)
    best = np.full((len(probes), 0), -np.inf, np.float32)
    found = np.zeros((len(probes), 0), np.int64)
    total, squares = np.zeros(len(probes)), np.zeros(len(probes))
    block = max(1, BLOCK_BYTES // (4 * vectors.shape[1]))
    for start in range(0, count, block):
        part = slice(start, min(start + block, count))
        faces = vectors[part] if rows is None else vectors[rows[part]]
        cosines = probes @ faces.T  # (probes, block)
        total += cosines.sum(1, dtype=np.float64)
        squares += np.einsum("ij,ij->i", cosines, cosines, dtype=np.float64)
        places = np.broadcast_to(np.arange(part.start, part.stop), cosines.shape)
        best, found = _first(np.concatenate([best, cosines], 1), np.concatenate([found, places], 1), top if top else 0)
    mean = total / max(count, 1)
    sd = np.sqrt(np.maximum(squares / max(count, 1) - mean**2, 0))
    return Nearest(found if rows is None else rows[found], best, mean, sd)


def _first(cosines: Vectors, places: NDArray[np.int64], top: int) -> tuple[Vectors, NDArray[np.int64]]:
    """The `top` largest of each row, largest first, then by place."""
    if cosines.shape[1] > top > 0:
        # Everything as near as the last that is kept competes: else equal faces would be kept by chance.
        bound = -np.partition(-cosines, top - 1, axis=1)[:, top - 1 : top]
        kept = cosines >= bound
        if (kept.sum(1) == top).all():
            cosines, places = cosines[kept].reshape(-1, top), places[kept].reshape(-1, top)
    order = np.lexsort((places, -cosines), axis=1)[:, :top]
    return np.take_along_axis(cosines, order, 1), np.take_along_axis(places, order, 1)


def recall(found: NDArray[np.int64], right: NDArray[np.int64]) -> float:
    """Share of the truly nearest faces, (probes, top), that were found; 1 is best, chance is top in the gallery."""
    hits = [len(np.intersect1d(some, all_of_them)) for some, all_of_them in zip(found, right, strict=True)]
    return float(sum(hits) / max(right.size, 1))


# --- Approximate search in memory for millions of faces: faiss's inverted lists over 4-bit codes, exact at the end.
# Faces are grouped around the centres of a spherical k-means; a probe is compared with the codes of the faces in the
# nearest groups, one bit for each number of an embedding (Jegou et al. 2011, product quantisation; Andre et al. 2017
# and Douze et al. 2024 for the scan in registers); the best of these are then compared exactly. Embeddings of people
# spread in hundreds of directions: no grouping keeps what is near together, so many groups are looked at, and the
# codes make that cheap. How many is measured when the index is made: the fewest with which recall@10 reaches the
# goal.

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


def faiss_module() -> Any:
    """The library of the extra `retrieval`.

    Raises:
        MissingExtra: it is not installed.
    """
    try:
        import faiss
    except ImportError as error:
        raise MissingExtra("a faiss gallery needs the extra 'retrieval'", "retrieval") from error
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


SEARCHED_EXACTLY = 10_000  # so many faces are compared one by one within 5 ms
LEAST_SHARE = 0.05  # where a filter keeps fewer, most of what an index looks at would be thrown away
SAMPLE = 500  # faces that say what a random one has, where not all are compared


class FileStore:
    """Entries in memory, vectors and pictures mapped from their files."""

    def __init__(self, folder: Path) -> None:
        """
        Raises:
            DatasetError: no gallery, or a damaged one.
        """
        self.storage, self.folder = Storage(folder), folder
        self.reopen(read_record(self.storage))

    def reopen(self, record: GalleryRecord) -> None:
        """Take the files that the record names.

        Raises:
            DatasetError: one is missing or damaged.
        """
        self.record = record
        for file in record.files.values():
            (size,) = self.storage.sizes([file.file])
            if size is None:
                raise DatasetError(
                    f"{self.storage.where(file.file)} is missing, {RECORD} names it; restore the gallery or build it"
                    " anew"
                )
            if size != file.bytes:
                raise DatasetError(
                    f"{self.storage.where(file.file)} has {size} bytes, {RECORD} says {file.bytes}; restore the"
                    " gallery or build it anew"
                )
        if not {"entries", "vectors", "thumbnails"} <= set(record.files) <= set(PARTS):
            where = self.storage.where(RECORD)
            raise DatasetError(f"{where} names no entries or vectors, or files of no gallery; build the gallery anew")
        table = record.files["entries"].file
        self.entries, lengths = decode_entries(self.storage.read(table), self.storage.where(table))
        self._ends = np.cumsum(lengths)
        self._lengths = lengths
        self.vectors = self._map_vectors()
        self._index: FaissIndex | None = None
        self._random: Embeddings | None = None

    def _map_vectors(self) -> Embeddings:
        path = self.folder / self.record.files["vectors"].file
        wanted = (len(self.entries), self.record.space.size)
        try:
            vectors = map_npy(path)
        except (OSError, ValueError) as error:
            raise DatasetError(f"{path} is no file of vectors ({error}); build the gallery anew") from error
        if vectors.shape != wanted or vectors.dtype != np.float32:
            raise DatasetError(
                f"{path} holds {vectors.dtype} {vectors.shape}, float32 {wanted} belong here; build the gallery anew"
            )
        return cast(Embeddings, vectors)

    def __len__(self) -> int:
        return len(self.entries)

    @property
    def index(self) -> FaissIndex | None:
        """Of a faiss gallery, opened when it is first wanted."""
        if self._index is None and self.record.index is not None:
            path = self.folder / self.record.files["index"].file
            self._index = FaissIndex.read(path, dict(self.record.index))
        return self._index

    def facts(self) -> StoreFacts:
        """Labels of all entries, and the index as it was measured when it was made."""
        return StoreFacts(tuple(self.entries.labels), self.record.index)

    def thumbnail(self, row: int) -> bytes:
        """The picture of a row, empty where there is none."""
        length = int(self._lengths[row])
        if not length:
            return b""
        try:
            with (self.folder / self.record.files["thumbnails"].file).open("rb") as file:
                file.seek(int(self._ends[row]) - length)
                return file.read(length)
        except OSError as error:
            text = f"cannot read the pictures of {self.storage}: {error.strerror or error}"
            raise DatasetError(f"{text}; where another process has just changed it, do it again") from error

    def search(self, probe: NDArray[np.float32], top: int, where: Where | None) -> Found:
        """All faces, or those the index finds."""
        kept = self.entries.kept(where)
        rows = None if kept is None else np.flatnonzero(kept)
        count = len(self) if rows is None else len(rows)
        many = count > SEARCHED_EXACTLY and count >= LEAST_SHARE * len(self)
        if self.index is not None and many:
            found, cosines = self.index.search(probe, top, self.vectors, self.entries.numbers, rows)
            if len(found) == min(top, count):
                sample = self._sample(rows) @ probe
                return self._found(found, cosines, count, float(sample.mean()), float(sample.std()), exact=False)
        whole = nearest(self.vectors, probe[None], top, rows)
        mean, sd = float(whole.mean[0]), float(whole.sd[0])
        return self._found(whole.rows[0], whole.cosines[0], count, mean, sd, exact=True)

    def _sample(self, rows: NDArray[np.int64] | None) -> Embeddings:
        """Some faces drawn by chance, (SAMPLE, K), always the same; of the whole gallery they stay in memory."""
        if rows is None and self._random is not None:
            return self._random
        chosen = np.random.default_rng(0).integers(len(self) if rows is None else len(rows), size=SAMPLE)
        sample = np.asarray(self.vectors[np.sort(chosen if rows is None else rows[chosen])])
        if rows is None:
            self._random = sample
        return sample

    def _found(
        self, rows: NDArray[np.int64], cosines: Embeddings, of: int, mean: float, sd: float, *, exact: bool
    ) -> Found:
        hits = tuple(
            (self.entries.entry(row, self.thumbnail(row)), float(cosine))
            for row, cosine in zip(rows.tolist(), cosines, strict=True)
        )
        return Found(hits, of, mean, sd, exact)

    def writer(self) -> FileWriter:
        """Adds to what is there."""
        return FileWriter(self.storage, self.record, before=self)

    def people(self) -> Mapping[str, str]:
        """The speaker of each entry, by its id."""
        return dict(zip(self.entries.columns["id"], self.entries.columns["speaker"], strict=True))

    @property
    def tombstones(self) -> Tombstones | None:
        """Beside the gallery."""
        return read_tombstones(self.storage)

    def forget(self, speakers: Sequence[str], ids: Sequence[str]) -> Tombstones | None:
        """Add to the tombstones beside the gallery, also while another process writes it."""
        with _tombstones_held(self.storage):
            before = self.tombstones
            write_tombstones(self.storage, (before or Tombstones.new()).with_speakers(speakers).with_clips(ids))
        return before

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        """Files are mapped; the system lets go of them."""


class FileStores:
    """The driver `files`: a folder of files, compared one by one (`exact`) or found by an index (`faiss`)."""

    def open(self, folder: Path, record: GalleryRecord, address: str) -> FileStore:
        """Open the gallery of a folder."""
        if address:
            raise InvalidOption(f"{folder} is a gallery in files; leave the database out")
        return FileStore(folder)

    def build(self, folder: Path, record: GalleryRecord, address: str, *, plan: str, force: bool) -> FileWriter:
        """Begin a gallery; `gallery.json`, which says that there is one, is looked at by whoever calls."""
        if record.backend == "faiss":
            faiss_module()  # a missing extra is noticed before photographs are embedded
        return FileWriter(Storage(folder), record)


FILES = FileStores()
