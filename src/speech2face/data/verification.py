"""Prove from the bytes that a data set is what its manifest says, and that nobody forgotten is left in it."""

from __future__ import annotations

import csv
import hashlib
import io
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, cast

from speech2face.data.index import COLUMNS, read_columns
from speech2face.data.manifest import MANIFEST, Manifest, ShardRecord
from speech2face.data.storage import Storage
from speech2face.data.stored import stored_clips
from speech2face.data.tombstones import Tombstones, read_tombstones
from speech2face.errors import DatasetError, SpeakerNotForgotten


@dataclass(frozen=True)
class Verified:
    """What was read, all of it in order."""

    shards: int
    clips: int
    bytes: int
    tables: int
    """CSVs beside the shards' indexes."""
    forgotten: int
    """Speakers with a tombstone, of whom nothing was found."""
    manifest_sha256: str


class _Hashed:
    """A file that is hashed while it is read."""

    def __init__(self, file: BinaryIO) -> None:
        self._file, self.digest, self.bytes = file, hashlib.sha256(), 0

    def read(self, size: int) -> bytes:
        content = self._file.read(size)
        self.digest.update(content)
        self.bytes += len(content)
        return content


def verify_data(place: str | Path, progress: Callable[[ShardRecord], None] | None = None) -> Verified:
    """Read every byte: checksums, each clip against its index, every name against the tombstones.

    Raises:
        DatasetError: something is missing, changed, or not where it belongs; names the file.
        SpeakerLeak: a speaker is in two splits.
        SpeakerNotForgotten: something of a forgotten speaker is left, or may be.
    """
    storage = Storage(place)
    tombstones = read_tombstones(storage) or Tombstones.new()
    if not tombstones.finished:
        raise SpeakerNotForgotten(
            f"{storage}: forgetting was interrupted; finish it: speech2face data forget --data {storage}"
        )
    manifest = Manifest.open(place)
    names = storage.names()
    _check_strangers(storage, manifest, names)
    clips = 0
    for shard in manifest.shards:
        clips += _verify_shard(storage, shard, tombstones, manifest.labels)
        if progress is not None:
            progress(shard)
    indexes = {shard.index for shard in manifest.shards}
    tables = [name for name in names if name.endswith(".csv") and name not in indexes]
    for name in tables:
        _verify_table(storage, name, tombstones)
    return Verified(
        shards=len(manifest.shards),
        clips=clips,
        bytes=sum(shard.bytes for shard in manifest.shards),
        tables=len(tables),
        forgotten=len(tombstones),
        manifest_sha256=manifest.sha256,
    )


def _check_strangers(storage: Storage, manifest: Manifest, names: list[str]) -> None:
    """Files of clips that the manifest does not know may hold anybody."""
    known = {shard.file for shard in manifest.shards}
    strangers = [name for name in names if name.endswith(".tar") and name not in known]
    if storage.local is not None:
        strangers += sorted(path.name for path in storage.local.glob(".speech2face-*"))
    if strangers:
        raise DatasetError(
            f"{storage.where(strangers[0])} is not in the {MANIFEST}: a preparation is running or was stopped; "
            "finish it, or remove the file"
        )


def _verify_shard(storage: Storage, shard: ShardRecord, tombstones: Tombstones, labels: tuple[str, ...]) -> int:
    where = storage.where(shard.file)
    index = storage.read(shard.index)
    names = ("clip", "speaker", "split", "offset", "length")
    rows = zip(*read_columns(index, names, labels, storage.where(shard.index)), strict=True)
    offset = count = 0
    with storage.open(shard.file) as opened:
        file = _Hashed(opened)
        for clip in stored_clips(cast(BinaryIO, file), where):
            _check_forgotten(tombstones, where, clip.speaker, clip.key)
            here = (clip.key, clip.speaker, clip.facts["split"], str(offset), str(len(clip.span)))
            if next(rows, None) != here:
                raise DatasetError(f"{where}: clip {clip.key} is not what its index says; prepare the shard anew")
            offset, count = offset + len(clip.span), count + 1
    if next(rows, None) is not None:
        raise DatasetError(f"{where} has fewer clips than its index; prepare the shard anew")
    if file.digest.hexdigest() != shard.sha256:
        raise DatasetError(
            f"{where} has been changed or damaged: its SHA-256 is {file.digest.hexdigest()}, the manifest says "
            f"{shard.sha256}; copy it again or prepare it anew"
        )
    return count


def _check_forgotten(tombstones: Tombstones, where: str, speaker: str, key: str) -> None:
    if tombstones.has_speaker(speaker) or tombstones.has_clip(key):
        raise SpeakerNotForgotten(f"{where} still holds clip {key} of somebody forgotten; forget the speaker again")


def _verify_table(storage: Storage, name: str, tombstones: Tombstones) -> None:
    where = storage.where(name)
    try:
        rows = list(csv.reader(io.StringIO(storage.read(name).decode(), newline=""), strict=True))
    except (UnicodeDecodeError, csv.Error) as error:
        raise DatasetError(f"{where} is no CSV: {error}") from error
    if rows and tuple(rows[0][: len(COLUMNS)]) == COLUMNS:
        raise DatasetError(f"{where} is the index of a shard that is not in the {MANIFEST}; remove it")
    for line, row in enumerate(rows, start=1):
        if any(tombstones.has_speaker(cell) or tombstones.has_clip(cell) for cell in row):
            raise SpeakerNotForgotten(f"{where}, line {line}, names somebody forgotten; forget the speaker again")
