"""Remove speakers from a data set and from all that was copied from it, so that no later run brings them back.

The tombstone is written first and everything after follows from it: forgetting that was interrupted is finished by
forgetting again. A shard is rewritten from its own bytes: what is left is what a shard without the speaker would be.
What the disk or the store keeps of replaced files (snapshots, versions, unused blocks) is beyond this program.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from speech2face.data.galleries import clean_gallery
from speech2face.data.index import COLUMNS
from speech2face.data.lineage import Trace, trained_on
from speech2face.data.manifest import MANIFEST, ShardRecord
from speech2face.data.members import END_OF_ARCHIVE
from speech2face.data.publication import JOURNAL, publish, read_record
from speech2face.data.rejects import SUFFIX
from speech2face.data.session import locked_data
from speech2face.data.storage import NewFile, Storage
from speech2face.data.stored import stored_clips
from speech2face.data.tombstones import Tombstones, read_tombstones, write_tombstones
from speech2face.errors import DatasetError, InvalidOption
from speech2face.face.embedders import EmbedderRecord

_CLIP, _SPEAKER, _OFFSET, _LENGTH = (COLUMNS.index(name) for name in ("clip", "speaker", "offset", "length"))


@dataclass(frozen=True)
class Forgotten:
    """What forgetting did."""

    clips: int
    shards: tuple[str, ...]
    """Rewritten, or removed where no clip was left."""
    tables: tuple[str, ...]
    """CSVs (rejects, duplicates) that named them."""
    unknown: tuple[str, ...]
    """Speakers of whom there was nothing; they have a tombstone all the same."""
    cached: tuple[Path, ...]
    """Copies of shards that were removed."""
    galleries: tuple[Path, ...]
    """Files of galleries that were rewritten."""
    models: tuple[Trace, ...]
    """What was made of data that held somebody forgotten, now or earlier."""
    manifest_sha256: str | None
    """Of the data set as it is now; None where nothing is left, or it was not finished."""


def forget(
    place: str | Path,
    speakers: Sequence[str] = (),
    *,
    caches: Sequence[Path] = (),
    galleries: Sequence[Path] = (),
    models: Sequence[Path] = (),
) -> Forgotten:
    """Remove speakers; without any, finish what was interrupted and clean further copies.

    Raises:
        DatasetError: the folder holds no data, or is damaged.
        RunLocked: it is being prepared.
        CannotWrite: no room, no permission; run it again afterwards.
    """
    storage = Storage(place)
    if not any(name in (MANIFEST, JOURNAL) or name.endswith((".tar", SUFFIX)) for name in storage.names()):
        raise DatasetError(f"{storage} holds no data set and none that was begun")
    with locked_data(storage):
        before = read_tombstones(storage)
        if before is None and not speakers:
            raise InvalidOption(f"nobody was forgotten in {storage} yet; name a speaker")
        erasure = _Erasure(storage, (before or Tombstones.new()).with_speakers(speakers), speakers)
        erasure.run()
        tombstones = erasure.tombstones
    return Forgotten(
        clips=erasure.clips,
        shards=tuple(erasure.shards),
        tables=tuple(erasure.tables),
        unknown=tuple(name for name in speakers if name not in erasure.met),
        cached=tuple(_clean_caches(caches, erasure.replaced)),
        galleries=tuple(path for path in galleries if clean_gallery(path, tombstones)),
        models=trained_on(models, tombstones.manifests),
        manifest_sha256=erasure.manifest_sha256,
    )


class _Erasure:
    """One run over a folder that is held."""

    def __init__(self, storage: Storage, tombstones: Tombstones, speakers: Sequence[str]) -> None:
        self.tombstones, self._storage = tombstones, storage
        self.clips = 0
        self.shards: list[str] = []
        self.tables: list[str] = []
        self.met: set[str] = set()
        self.replaced: list[str] = []
        self.manifest_sha256: str | None = None
        self._names = storage.names()
        self._speakers = set(speakers)

    def run(self) -> None:
        """Tombstone, tables, shards, manifest: in this order."""
        manifest = self._storage.read(MANIFEST) if MANIFEST in self._names else None
        shards = list(self._whole_shards(manifest))
        holding = [name for name in shards if self._note_clips(f"{name}.csv")]
        tables = [name for name in self._names if name.endswith(".csv") and name.removesuffix(".csv") not in shards]
        for name in tables:
            self._note_clips(name)
        naming = [name for name in tables if any(map(self._names_one, _rows(self._storage, name)[1:]))]
        if manifest is not None and (holding or not self.tombstones.finished):
            self.tombstones = self.tombstones.with_manifest(_sha256(manifest))
        self.tombstones = replace(self.tombstones, finished=not (holding or naming) and self.tombstones.finished)
        write_tombstones(self._storage, self.tombstones)
        for name in naming:
            self._clean_table(name)
        for name in holding:
            self._clean_shard(name)
        if not self.tombstones.finished:
            self._republish(manifest)
            self.tombstones = replace(self.tombstones, finished=True)
            write_tombstones(self._storage, self.tombstones)

    def _whole_shards(self, manifest: bytes | None) -> Iterator[str]:
        """Shards that have an index; one that a killed run left without is removed, and prepared anew some day."""
        for tar in self._names:
            name = tar.removesuffix(".tar")
            if name == tar:
                continue
            if f"{name}.csv" not in self._names and tar.encode() not in (manifest or b""):
                self._storage.remove(tar)
            else:
                yield name

    def _note_clips(self, table: str) -> bool:
        """Whether a CSV has a forgotten speaker; their clips get tombstones of their own."""
        rows = _rows(self._storage, table)
        header = rows[0] if rows else []
        who = [number for number, name in enumerate(header) if "speaker" in name]
        which = next((number for number, name in enumerate(header) if name in ("clip", "key")), None)
        gone: dict[str, bool] = {}
        keys, named = [], False
        for row in rows[1:]:
            for speaker in (row[column] for column in who if column < len(row)):
                if speaker not in gone:
                    gone[speaker] = self.tombstones.has_speaker(speaker)
                    self.met |= {speaker} & self._speakers
                if gone[speaker]:
                    named = True
                    if which is not None and len(who) == 1:  # a row of two clips says elsewhere whose each is
                        keys.append(row[which])
        self.tombstones = self.tombstones.with_clips(keys)
        return named

    def _clean_table(self, name: str) -> None:
        header, *rows = _rows(self._storage, name)
        if tuple(header[: len(COLUMNS)]) == COLUMNS:  # an index whose shard is gone already
            self._storage.remove(name)
        else:
            self._storage.write(name, _csv([header, *(row for row in rows if not self._names_one(row))]))
        self.tables.append(name)

    def _names_one(self, row: Iterable[str]) -> bool:
        return any(self.tombstones.has_speaker(cell) or self.tombstones.has_clip(cell) for cell in row)

    def _clean_shard(self, name: str) -> None:
        """Copy the clips that stay, then their index: one that is older than its shard names all that is in it."""
        storage, tar, index = self._storage, f"{name}.tar", f"{name}.csv"
        header, *rows = _rows(storage, index)
        row_of = {row[_CLIP]: row for row in rows}
        kept: list[list[str]] = []
        new = NewFile(storage, tar)
        try:
            with storage.open(tar) as file:
                for clip in stored_clips(file, storage.where(tar)):
                    if self.tombstones.has_speaker(clip.speaker):
                        self.clips += 1
                        continue
                    if clip.key not in row_of:
                        raise DatasetError(f"{storage.where(index)} does not name clip {clip.key}; prepare it anew")
                    row = list(row_of[clip.key])
                    row[_OFFSET : _LENGTH + 1] = str(new.bytes), str(len(clip.span))
                    kept.append(row)
                    new.write(clip.span)
            if kept:
                new.write(END_OF_ARCHIVE)
                new.finish()
                storage.write(index, _csv([header, *kept]))
        finally:
            new.discard()
        if not kept:
            storage.remove(tar)
            storage.remove(index)
        self.shards.append(name)

    def _republish(self, manifest: bytes | None) -> None:
        """The manifest of what is left, or none; and nothing that still counts on the old shards."""
        storage = self._storage
        storage.remove(JOURNAL)
        if manifest is None:
            return
        stated = json.loads(manifest)
        sizes = storage.sizes([shard["file"] for shard in stated["shards"]])
        left: list[ShardRecord] = []
        for entry, size in zip(stated["shards"], sizes, strict=True):
            before = ShardRecord(**entry)
            if size == before.bytes:
                left.append(before)
                continue
            self.replaced.append(before.sha256)
            if size is not None:
                left.append(read_record(storage, before.file.removesuffix(".tar")))
        if not left:
            storage.remove(MANIFEST)
            return
        embedder = stated["embedder"]
        record = None if embedder is None else EmbedderRecord.from_dict(embedder)
        self.manifest_sha256 = publish(storage, left, record, before=stated["statement"]).sha256


def _rows(storage: Storage, name: str) -> list[list[str]]:
    try:
        return list(csv.reader(io.StringIO(storage.read(name).decode(), newline=""), strict=True))
    except (UnicodeDecodeError, csv.Error) as error:
        raise DatasetError(f"{storage.where(name)} is no CSV ({error}); what it names cannot be told") from error


def _csv(rows: Iterable[Iterable[str]]) -> bytes:
    sink = io.StringIO()
    csv.writer(sink, lineterminator="\n").writerows(rows)
    return sink.getvalue().encode()


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _clean_caches(folders: Sequence[Path], replaced: Sequence[str]) -> Iterable[Path]:
    for folder in folders:
        for sha256 in replaced:
            copy = folder / f"{sha256}.tar"
            if copy.exists():
                copy.unlink()
                yield copy
