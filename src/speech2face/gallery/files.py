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
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np
from numpy.typing import NDArray

from speech2face.data.session import locked_data
from speech2face.data.storage import NewFile, Storage
from speech2face.data.tombstones import Tombstones, read_tombstones, write_tombstones
from speech2face.errors import DatasetError
from speech2face.gallery.entries import Embeddings, Entries, Entry, Where, decode_entries
from speech2face.gallery.exact import nearest
from speech2face.gallery.faiss_index import FaissIndex
from speech2face.gallery.record import RECORD, Record, StoredFile, read_record
from speech2face.gallery.store import Found, Upserted

PARTS = {"entries": "csv", "vectors": "npy", "thumbnails": "bin", "index": "faiss"}
SEARCHED_EXACTLY = 10_000  # so many faces are compared one by one within 5 ms
INDEXED_FROM = 1000  # fewer are too few to learn groups from
LEAST_SHARE = 0.05  # where a filter keeps fewer, most of what an index looks at would be thrown away
SAMPLE = 2000  # faces that say what a random one has, where not all are compared
ROWS_AT_ONCE = 4096


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
        for name, file in record.files.items():
            (size,) = self.storage.sizes([file.file])
            if size != file.bytes:
                raise DatasetError(
                    f"{self.storage.where(file.file)} has {size} bytes, {RECORD} says {file.bytes}; restore the"
                    " gallery or build it anew"
                )
            assert name in PARTS
        if not {"entries", "vectors", "thumbnails"} <= set(record.files):
            raise DatasetError(f"{self.storage.where(RECORD)} names no entries or vectors; build the gallery anew")
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
            vectors = np.load(path, mmap_mode="r" if len(self.entries) else None, allow_pickle=False)
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


class FileWriter:
    """One change of a gallery's folder, which is held as long."""

    def __init__(self, storage: Storage, record: Record, before: FileStore | None = None) -> None:
        """A gallery without `before` takes the place of whatever the folder holds.

        Raises:
            RunLocked: another process writes.
            DatasetError: the gallery was changed since it was opened.
        """
        self._storage, self._record, self._before = storage, record, before
        self._held = contextlib.ExitStack()
        self._held.enter_context(locked_data(storage))
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

    def _honour(self) -> None:
        """Whoever was forgotten while this was written does not enter either."""
        tombstones = read_tombstones(self._storage)
        if tombstones is None or not len(tombstones):
            return
        everybody = self._entries.speakers() | {entry.speaker for entry in self._new if entry is not None}
        gone = {name for name in everybody if tombstones.has_speaker(name)}
        self._stays[self._entries.rows_of_speakers(gone)] = False
        self._new = [None if entry is None or entry.speaker in gone else entry for entry in self._new]

    def finish(self) -> Record:
        """New files, then the record that names them, then the old ones go."""
        self._honour()
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
        if record.backend == "faiss":
            record = self._index(record, entries, kept)
        storage.write(RECORD, record.encode())
        self._remove_others(record)
        self.close()
        return record

    def _vectors(self, kept: Sequence[int]) -> Iterator[Any]:
        """The npy file, some rows at a time."""
        size, count = self._record.space.size, int(self._stays.sum()) + len(kept)
        head = _NpyHead()
        np.lib.format.write_array_header_1_0(head, {"descr": "<f4", "fortran_order": False, "shape": (count, size)})
        yield b"".join(head.parts)
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

    def _index(self, record: Record, entries: Entries, kept: Sequence[int]) -> Record:
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
            vectors = np.load(storage.local / record.files["vectors"].file, mmap_mode="r")
            index = FaissIndex.make(vectors, entries.numbers)
        name = f"index-{record.generation:06d}.faiss"
        file = _write(storage, name, [index.encode()])
        return record.changed(files=dict(record.files) | {"index": file}, index=index.facts.to_dict())

    def _remove_others(self, record: Record) -> None:
        named = {file.file for file in record.files.values()}
        for name in self._storage.names():
            part, _, rest = name.partition("-")
            if part in PARTS and rest.endswith(f".{PARTS[part]}") and name not in named:
                self._storage.remove(name)

    def close(self) -> None:
        """Let go of the folder; what was not finished is gone."""
        self._held.close()


class _NpyHead:
    """Catches a header as a file would."""

    def __init__(self) -> None:
        self.parts: list[bytes] = []

    def write(self, content: bytes) -> None:
        """Keep it."""
        self.parts.append(content)


def _write(storage: Storage, name: str, contents: Iterable[Any]) -> StoredFile:
    file = NewFile(storage, name)
    try:
        for content in contents:
            file.write(content)
        file.finish()
    finally:
        file.discard()
    return StoredFile(name, file.bytes, file.sha256)


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
