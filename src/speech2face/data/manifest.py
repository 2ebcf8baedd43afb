"""The manifest of a data set: its shards, what each clip holds, and whether all of it is there and in order."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any, cast

import numpy as np

from speech2face.audio.spectrogram import SAMPLE_RATE
from speech2face.data.index import decode_index, read_columns
from speech2face.data.layout import Layout
from speech2face.data.storage import Storage
from speech2face.data.table import ClipTable, TableBuilder, keys_given_twice, speakers_in_several_splits
from speech2face.errors import DatasetError, SpeakerLeak
from speech2face.face.embedders import EmbedderRecord
from speech2face.untrusted import parse_json

FORMAT = 1
MANIFEST = "manifest.json"

_INDEXES_AT_ONCE = 256  # read together: bounds memory, and hides the delay of object stores
_READ_AT_ONCE = 2**24  # bytes, when shards are verified
_NAMED = 5  # as many culprits as fit a line


@dataclass(frozen=True)
class ShardRecord:
    """One shard as the manifest lists it."""

    file: str
    index: str
    clips: int
    bytes: int
    sha256: str
    index_sha256: str


def encode_manifest(
    layout: Layout,
    shards: Sequence[ShardRecord],
    *,
    embedder: EmbedderRecord | None,
    labels: Sequence[str],
    statement: Mapping[str, Any],
) -> bytes:
    """The whole file. Shards are ordered by name, so it does not matter which worker finished first."""
    content = {
        "format": FORMAT,
        "sample_rate": SAMPLE_RATE,
        "layout": layout.to_dict(),
        "embedder": None if embedder is None else embedder.to_dict(),
        "labels": list(labels),
        "statement": dict(statement),
        "shards": [asdict(shard) for shard in sorted(shards, key=lambda shard: shard.file)],
    }
    return (json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + "\n").encode()


@dataclass(frozen=True, eq=False)
class Manifest:
    """A data set that is there, complete by size, and whose speakers are each in one split."""

    storage: Storage
    layout: Layout
    embedder: EmbedderRecord | None
    labels: tuple[str, ...]
    statement: Mapping[str, Any]
    shards: tuple[ShardRecord, ...]
    sha256: str
    """Of manifest.json, which holds the SHA-256 of every other file: it stands for all bytes of the data set."""
    table: ClipTable

    @classmethod
    def open(cls, place: str | os.PathLike[str]) -> Manifest:
        """Read a folder's or URL's manifest and indexes, and check everything that needs no shard to be read.

        Raises:
            DatasetError: a file is missing, cut short, changed or contradicts another; names it.
            SpeakerLeak: a speaker is in two splits.
        """
        storage = Storage(place)
        if not storage.exists(MANIFEST):
            raise DatasetError(
                f"{storage} has no {MANIFEST}: it is no data set, or its writing was not finished; prepare it (again)"
            )
        content = storage.read(MANIFEST)
        stated = _stated(content, storage.where(MANIFEST))
        shards = _shards(stated["shards"], storage)
        labels = tuple(stated["labels"])
        _check_sizes(storage, shards)
        table = _read_table(storage, shards, labels)
        _check_table(table, storage)
        return cls(
            storage=storage,
            layout=Layout.from_dict(stated["layout"]),
            embedder=_embedder(stated["embedder"], storage),
            labels=labels,
            statement=stated["statement"],
            shards=shards,
            sha256=hashlib.sha256(content).hexdigest(),
            table=table,
        )

    @property
    def splits(self) -> tuple[str, ...]:
        """Names of the splits."""
        return self.table.splits

    def clips(self, split: str | None = None) -> ClipTable:
        """The clips of one split, or all.

        Raises:
            DatasetError: there is no such split.
        """
        if split is None:
            return self.table
        if split not in self.splits:
            raise DatasetError(f"{self.storage} has no split {split!r}; it has {', '.join(sorted(self.splits))}")
        return self.table.take(self.table.split == self.splits.index(split))

    def column(self, name: str, split: str | None = None) -> list[str]:
        """A label, the licence or the consent of each clip, in the order of `clips(split)`; read when it is wanted.

        Raises:
            DatasetError: there is no such column.
        """
        known = ("licence", "consent", *self.labels)
        if name not in known:
            raise DatasetError(f"{self.storage} has no label {name!r}; it has {', '.join(known)}")
        cells: list[str] = []
        for names in _in_groups([shard.index for shard in self.shards]):
            for index, content in zip(names, self.storage.read_together(names), strict=True):
                cells.extend(read_columns(content, [name], self.labels, self.storage.where(index))[0])
        table = self.table
        wanted = range(len(table)) if split is None else np.flatnonzero(table.split == self.splits.index(split))
        return [cells[clip] for clip in wanted]

    def verify(self, progress: Callable[[ShardRecord], None] | None = None) -> None:
        """Read every byte and compare the SHA-256 of each shard; `progress` hears of each shard that is right.

        Raises:
            DatasetError: a shard's bytes are not those that were written.
        """
        for shard in self.shards:
            found = self.storage.sha256(shard.file, _READ_AT_ONCE)
            if found != shard.sha256:
                raise DatasetError(
                    f"{self.storage.where(shard.file)} has been changed or damaged: its SHA-256 is {found}, the "
                    f"manifest says {shard.sha256}; copy it again or prepare it anew"
                )
            if progress is not None:
                progress(shard)


def _stated(content: bytes, where: str) -> dict[str, Any]:
    try:
        stated = parse_json(content)
    except ValueError as error:
        raise DatasetError(f"{where} is no JSON ({error}); prepare the data set anew") from error
    if not isinstance(stated, dict) or stated.get("format") != FORMAT:
        found = stated.get("format") if isinstance(stated, dict) else None
        raise DatasetError(f"{where} has format {found!r}; this version reads {FORMAT}")
    wanted: dict[str, tuple[type, ...]] = {
        "sample_rate": (int,),
        "layout": (dict,),
        "embedder": (dict, type(None)),
        "labels": (list,),
        "statement": (dict,),
        "shards": (list,),
    }
    for key, types in wanted.items():
        if key not in stated or not isinstance(stated[key], types):
            raise DatasetError(f"{where} has no proper {key!r}; prepare the data set anew")
    if stated["sample_rate"] != SAMPLE_RATE:
        raise DatasetError(f"{where} holds sound of {stated['sample_rate']} Hz; {SAMPLE_RATE} Hz is needed")
    return cast(dict[str, Any], stated)


def _embedder(stated: dict[str, Any] | None, storage: Storage) -> EmbedderRecord | None:
    try:
        return None if stated is None else EmbedderRecord.from_dict(stated)
    except (TypeError, ValueError) as error:
        raise DatasetError(f"{storage.where(MANIFEST)}: {error}") from error


def _shards(stated: list[Any], storage: Storage) -> tuple[ShardRecord, ...]:
    if not stated:
        raise DatasetError(f"{storage} holds no clip: its manifest lists no shard")
    wanted = {field.name: int if field.name in ("clips", "bytes") else str for field in fields(ShardRecord)}
    for number, shard in enumerate(stated):
        if not isinstance(shard, dict) or any(not isinstance(shard.get(key), kind) for key, kind in wanted.items()):
            raise DatasetError(f"{storage.where(MANIFEST)}: shard {number} is none; it needs {', '.join(wanted)}")
        for name in (shard["file"], shard["index"]):
            if not name or name.startswith(".") or "/" in name or "\\" in name:
                raise DatasetError(f"{storage.where(MANIFEST)}: {name!r} is no name of a file beside the manifest")
    return tuple(ShardRecord(**{key: shard[key] for key in wanted}) for shard in stated)


def _check_sizes(storage: Storage, shards: Sequence[ShardRecord]) -> None:
    for shard, size in zip(shards, storage.sizes([shard.file for shard in shards]), strict=True):
        if size is None:
            raise DatasetError(f"{storage.where(shard.file)} is missing; copy it again or prepare it anew")
        if size != shard.bytes:
            how = "cut short" if size < shard.bytes else "too long"
            raise DatasetError(
                f"{storage.where(shard.file)} is {how}: it has {size} bytes, the manifest says {shard.bytes}; copy it "
                "again or prepare it anew"
            )


def _in_groups(names: Sequence[str]) -> list[Sequence[str]]:
    return [names[start : start + _INDEXES_AT_ONCE] for start in range(0, len(names), _INDEXES_AT_ONCE)]


def _read_table(storage: Storage, shards: Sequence[ShardRecord], labels: Sequence[str]) -> ClipTable:
    builder, number = TableBuilder(), 0
    for names in _in_groups([shard.index for shard in shards]):
        for content in storage.read_together(names):
            shard = shards[number]
            where = storage.where(shard.index)
            if hashlib.sha256(content).hexdigest() != shard.index_sha256:
                raise DatasetError(f"{where} has been changed: its SHA-256 is not the manifest's; copy it again")
            index = decode_index(content, labels, where, shard.bytes)
            if len(index.clip) != shard.clips:
                raise DatasetError(f"{where} has {len(index.clip)} clips, the manifest says {shard.clips}")
            builder.add(index, number)
            number += 1
    return builder.build()


def _check_table(table: ClipTable, storage: Storage) -> None:
    if not len(table):
        raise DatasetError(f"{storage} holds no clip: its shards are empty")
    twice = keys_given_twice(table)
    if twice:
        named = ", ".join(twice[:_NAMED])
        raise DatasetError(f"{storage} holds {len(twice)} clips more than once ({named}, ...); prepare it anew")
    leaks = speakers_in_several_splits(table)
    if leaks:
        named = "; ".join(f"{speaker} in {' and '.join(splits)}" for speaker, splits in list(leaks.items())[:_NAMED])
        raise SpeakerLeak(
            f"{storage} has {len(leaks)} speakers in more than one split ({named}): scores would be of people already "
            "heard; put each speaker into one split and prepare the data set anew"
        )
