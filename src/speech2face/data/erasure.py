"""Remove speakers from a data set and from all that was copied from it, so that no later run brings them back.

The tombstone is written first and everything after follows from it: forgetting that was interrupted is finished by
forgetting again. A shard is rewritten from its own bytes: what is left is what a shard without the speaker would be.
What the disk or the store keeps of replaced files (snapshots, versions, unused blocks) is beyond this program.
"""

from __future__ import annotations

import csv
import hashlib
import io
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from pathlib import Path

from speech2face.data.galleries import check_galleries, clean_gallery
from speech2face.data.index import COLUMNS
from speech2face.data.lineage import Trace, check_models, trained_on
from speech2face.data.manifest import MANIFEST, ShardRecord
from speech2face.data.members import END_OF_ARCHIVE
from speech2face.data.publication import JOURNAL, publish, read_record
from speech2face.data.rejects import SUFFIX
from speech2face.data.session import locked_data
from speech2face.data.shard_cache import check_caches, remove_copies
from speech2face.data.storage import NewFile, Storage
from speech2face.data.stored import stored_clips
from speech2face.data.tombstones import TOMBSTONES, Tombstones, read_tombstones, write_tombstones
from speech2face.errors import CannotWrite, DatasetError, InvalidOption
from speech2face.face.embedders import EmbedderRecord
from speech2face.untrusted import parse_json

NEAR_NAMES = 3  # shown for a name that is not in the data
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
    """Speakers of whom there was nothing, now or earlier; they have a tombstone all the same."""
    near: dict[str, tuple[str, ...]]
    """Speakers whose names are like these."""
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
        DatasetError: the folder holds no data, or is damaged, or a copy cannot be read; nothing was changed.
        RunLocked: it is being prepared.
        CannotWrite: no room, no permission; run it again afterwards.
    """
    storage = Storage(place)
    _check_data(storage)
    check_caches(caches)
    check_galleries(galleries)
    check_models(models)
    with locked_data(storage):
        before = read_tombstones(storage)
        if before is None and not speakers:
            raise InvalidOption(f"nobody was forgotten in {storage} yet; name a speaker")
        erasure = _Erasure(storage, (before or Tombstones.new()).with_speakers(speakers), speakers)
        erasure.run()
        tombstones = erasure.tombstones
    removed = {path: clean_gallery(path, tombstones, speakers) for path in galleries}
    met = erasure.met.union(*({tombstones.hash("speaker", name) for name in names} for names in removed.values()))
    known = met if before is None else met | before.speakers
    unknown = tuple(name for name in speakers if tombstones.hash("speaker", name) not in known)
    return Forgotten(
        clips=erasure.clips,
        shards=tuple(erasure.shards),
        tables=tuple(erasure.tables),
        unknown=unknown,
        near=near_names(unknown, erasure.others),
        cached=tuple(remove_copies(caches, tombstones.shards)),
        galleries=tuple(path for path, names in removed.items() if names),
        models=trained_on(models, tombstones.manifests),
        manifest_sha256=erasure.manifest_sha256,
    )


def near_names(names: Iterable[str], known: Iterable[str]) -> dict[str, tuple[str, ...]]:
    """For each name up to three that are like it, whatever their case, the likest first."""
    folded: dict[str, list[str]] = {}
    for name in sorted(known):
        folded.setdefault(name.casefold(), []).append(name)
    return {
        name: tuple(each for like in get_close_matches(name.casefold(), folded) for each in folded[like])[:NEAR_NAMES]
        for name in names
    }


def _check_data(storage: Storage) -> None:
    if storage.local is not None and not storage.local.is_dir():
        raise DatasetError(f"there is no folder {storage}; name one that holds a data set")
    if storage.local is not None and not os.access(storage.local, os.R_OK | os.X_OK):
        raise DatasetError(f"cannot read {storage}: no permission")
    if storage.local is not None and not os.access(storage.local, os.W_OK):
        raise CannotWrite(f"cannot change {storage}: no permission")
    begun = (MANIFEST, JOURNAL, TOMBSTONES)
    if not any(name in begun or name.endswith((".tar", SUFFIX)) for name in storage.names()):
        raise DatasetError(f"{storage} holds no data set and none that was begun")


class _Erasure:
    """One run over a folder that is held."""

    def __init__(self, storage: Storage, tombstones: Tombstones, speakers: Sequence[str]) -> None:
        self.tombstones, self._storage = tombstones, storage
        self.clips = 0
        self.shards: list[str] = []
        self.tables: list[str] = []
        self.met: set[str] = set()
        """Hashes of the named speakers of whom there is something."""
        self.others: set[str] = set()
        """Speakers who stay."""
        self.manifest_sha256: str | None = None
        self._names = storage.names()
        self._speakers = {tombstones.hash("speaker", name) for name in speakers}

    def run(self) -> None:
        """Tombstone, tables, shards, manifest: in this order."""
        manifest = self._storage.read(MANIFEST) if MANIFEST in self._names else None
        listed = [] if manifest is None else _listed(self._storage, manifest)
        shards, halves = self._shards(listed)
        holding = [name for name in shards if self._note_clips(f"{name}.csv")]
        tables = [name for name in self._names if name.endswith(".csv") and name.removesuffix(".csv") not in shards]
        for name in tables:
            self._note_clips(name)
        naming = [name for name in tables if any(map(self._names_one, _rows(self._storage, name)[1:]))]
        if manifest is not None and (holding or not self.tombstones.finished):
            replaced = self._replaced(listed, holding)
            self.tombstones = self.tombstones.with_manifest(_sha256(manifest)).with_shards(replaced)
        self.tombstones = replace(self.tombstones, finished=not (holding or naming) and self.tombstones.finished)
        write_tombstones(self._storage, self.tombstones)
        for tar in halves:
            self._storage.remove(tar)
        for name in naming:
            self._clean_table(name)
        for name in holding:
            self._clean_shard(name)
        if not self.tombstones.finished:
            self._republish(manifest, listed)
            self.tombstones = replace(self.tombstones, finished=True)
            write_tombstones(self._storage, self.tombstones)

    def _shards(self, listed: Sequence[ShardRecord]) -> tuple[list[str], list[str]]:
        """Names of shards, and files of those that a killed run left without index: they are prepared anew some day."""
        tars = [name for name in self._names if name.endswith(".tar")]
        known = {record.file for record in listed}
        halves = [tar for tar in tars if f"{tar.removesuffix('.tar')}.csv" not in self._names and tar not in known]
        return [tar.removesuffix(".tar") for tar in tars if tar not in halves], halves

    def _replaced(self, listed: Sequence[ShardRecord], holding: Sequence[str]) -> list[str]:
        """SHA-256 of shards that hold somebody, or did before a run that was interrupted."""
        sizes = self._storage.sizes([record.file for record in listed])
        return [
            record.sha256
            for record, size in zip(listed, sizes, strict=True)
            if size != record.bytes or record.file.removesuffix(".tar") in holding
        ]

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
                    if gone[speaker]:
                        self.met |= {self.tombstones.hash("speaker", speaker)} & self._speakers
                    else:
                        self.others.add(speaker)
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

    def _republish(self, manifest: bytes | None, listed: Sequence[ShardRecord]) -> None:
        """The manifest of what is left, or none; and nothing that still counts on the old shards."""
        storage = self._storage
        storage.remove(JOURNAL)
        if manifest is None:
            return
        sizes = storage.sizes([record.file for record in listed])
        left: list[ShardRecord] = []
        for before, size in zip(listed, sizes, strict=True):
            if size == before.bytes:
                left.append(before)
            elif size is not None:
                left.append(read_record(storage, before.file.removesuffix(".tar")))
        if not left:
            storage.remove(MANIFEST)
            return
        stated = parse_json(manifest)
        embedder = stated["embedder"]
        record = None if embedder is None else EmbedderRecord.from_dict(embedder)
        self.manifest_sha256 = publish(storage, left, record, before=stated["statement"]).sha256


def _listed(storage: Storage, manifest: bytes) -> list[ShardRecord]:
    try:
        return [ShardRecord(**entry) for entry in parse_json(manifest)["shards"]]
    except (ValueError, KeyError, TypeError) as error:
        raise DatasetError(f"{storage.where(MANIFEST)} is damaged ({error}); copy it again") from error


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
