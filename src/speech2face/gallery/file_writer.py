"""One change of a gallery's files: everything new beside the old, then one step (`files.py`)."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

from speech2face.data.session import locked_data
from speech2face.data.storage import NewFile, Storage
from speech2face.data.tombstones import read_tombstones
from speech2face.errors import DatasetError
from speech2face.gallery.entries import Embeddings, Entries, Entry
from speech2face.gallery.faiss_index import FaissIndex
from speech2face.gallery.record import PARTS, RECORD, Record, StoredFile, read_record
from speech2face.gallery.store import Upserted
from speech2face.training.run_folder import LOCK
from speech2face.untrusted import map_npy

if TYPE_CHECKING:
    from speech2face.gallery.files import FileStore

INDEXED_FROM = 1000  # fewer are too few to learn groups from
ROWS_AT_ONCE = 4096


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
        made = storage.local if storage.local is not None and not storage.local.exists() else None
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
            vectors = map_npy(storage.local / record.files["vectors"].file)
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


def _remove_if_bare(folder: Path) -> None:
    """Take back a folder that was made for a gallery of which nothing came; while it is still held."""
    if os.listdir(folder) == [LOCK]:
        (folder / LOCK).unlink()
        folder.rmdir()


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
