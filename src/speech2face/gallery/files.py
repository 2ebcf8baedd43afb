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
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from speech2face.data.storage import Storage
from speech2face.data.tombstones import Tombstones, read_tombstones, write_tombstones
from speech2face.errors import DatasetError
from speech2face.gallery.entries import Embeddings, Where, decode_entries
from speech2face.gallery.exact import nearest
from speech2face.gallery.faiss_index import FaissIndex
from speech2face.gallery.file_writer import FileWriter
from speech2face.gallery.record import PARTS, RECORD, Record, read_record
from speech2face.gallery.store import Found
from speech2face.untrusted import map_npy

SEARCHED_EXACTLY = 10_000  # so many faces are compared one by one within 5 ms
LEAST_SHARE = 0.05  # where a filter keeps fewer, most of what an index looks at would be thrown away
SAMPLE = 500  # faces that say what a random one has, where not all are compared


class FileStore:
    """Entries in memory, vectors and pictures mapped from their files."""

    def __init__(self, storage: Storage) -> None:
        """
        Raises:
            DatasetError: no gallery, or a damaged one.
        """
        assert storage.local is not None
        self.storage, self.folder = storage, storage.local
        self._open(read_record(storage))

    def _open(self, record: Record) -> None:
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
    def labels(self) -> tuple[str, ...]:
        """Of all entries."""
        return tuple(self.entries.labels)

    @property
    def index(self) -> FaissIndex | None:
        """Of a faiss gallery, opened when it is first wanted."""
        if self._index is None and self.record.index is not None:
            path = self.folder / self.record.files["index"].file
            self._index = FaissIndex.read(path, dict(self.record.index))
        return self._index

    def index_facts(self) -> dict[str, Any] | None:
        """As they were measured when it was made."""
        return None if self.record.index is None else dict(self.record.index)

    def thumbnail(self, row: int) -> bytes:
        """The picture of a row, empty where there is none."""
        length = int(self._lengths[row])
        if not length:
            return b""
        with (self.folder / self.record.files["thumbnails"].file).open("rb") as file:
            file.seek(int(self._ends[row]) - length)
            return file.read(length)

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

    def delete(self, ids: Sequence[str]) -> int:
        """Write everything else anew."""
        with contextlib.closing(self.writer()) as writer:
            removed = writer.remove(ids)
            if removed:
                self._open(writer.finish())
        return removed

    def speakers(self) -> set[str]:
        """Everybody."""
        return self.entries.speakers()

    def ids_of(self, speakers: Iterable[str]) -> list[str]:
        """Of these speakers."""
        return [self.entries.columns["id"][row] for row in self.entries.rows_of_speakers(speakers).tolist()]

    def ids(self) -> Iterable[str]:
        """All."""
        return self.entries.columns["id"]

    def tombstones(self) -> Tombstones | None:
        """Beside the gallery."""
        return read_tombstones(self.storage)

    def write_tombstones(self, tombstones: Tombstones) -> None:
        """Beside the gallery."""
        write_tombstones(self.storage, tombstones)

    def close(self) -> None:
        """Files are mapped; the system lets go of them."""
        self._index = None


def open_files(folder: Path) -> FileStore:
    """The gallery of a folder; a change that comes in between is read once more.

    Raises:
        DatasetError: none, or a damaged one.
    """
    storage = Storage(folder)
    try:
        return FileStore(storage)
    except DatasetError:
        return FileStore(storage)
