"""Write clips as tar shards, each with its index, and a manifest last: the one writer of the format.

A shard is a WebDataset (the members of a clip share the name before the first dot and lie together);
docs/data-format.md describes it. The same clips give the same bytes. Nothing appears under its name before it is whole,
and a folder without a manifest is no data set.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from types import TracebackType
from typing import Any

from speech2face.data.clip import Clip, Label, check_clip, layout_of, to_samples
from speech2face.data.index import Row, encode_index
from speech2face.data.layout import Layout
from speech2face.data.manifest import MANIFEST, ShardRecord, encode_manifest
from speech2face.data.members import (
    ALIGNED_FACE,
    END_OF_ARCHIVE,
    FACE_EMBEDDING,
    FACTS,
    LANDMARKS,
    WAVEFORM,
    encode_npy,
    encode_png,
    encode_wav,
    framed,
)
from speech2face.data.storage import NewFile, Storage
from speech2face.errors import DatasetError, OutputExists
from speech2face.face.embedders import EmbedderRecord

Place = str | os.PathLike[str]

CLIPS_PER_SHARD = 1000
BYTES_PER_SHARD = 2**28  # 256 MiB: about 1,000 clips of 6 s with their faces


def _facts(clip: Clip) -> bytes:
    facts = {"speaker": clip.speaker, "split": clip.split, "seconds": round(clip.seconds, 3)}
    facts |= {"licence": clip.licence, "consent": clip.consent, "labels": dict(clip.labels)}
    return json.dumps(facts, sort_keys=True, ensure_ascii=False, allow_nan=False).encode()


def _cell(value: Label) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return "" if value is None else str(value)


class ShardFile:
    """One shard while it is written."""

    def __init__(self, storage: Storage, name: str, layout: Layout, labels: Sequence[str] = ()) -> None:
        self.rows: list[Row] = []
        self._storage, self._name, self._layout, self._labels = storage, name, layout, tuple(labels)
        self._file = NewFile(storage, f"{name}.tar")

    @property
    def bytes(self) -> int:
        """Size so far."""
        return self._file.bytes

    def add(self, clip: Clip) -> None:
        """Append one clip.

        Raises:
            DatasetError: the clip is malformed, or not like the others of its data set.
            CannotWrite: no room, no permission.
        """
        check_clip(clip)
        if layout_of(clip) != self._layout:
            raise DatasetError(f"clip {clip.key} holds {layout_of(clip)}, the clips before it {self._layout}")
        if tuple(clip.labels) != self._labels and set(clip.labels) != set(self._labels):
            raise DatasetError(f"clip {clip.key} has the labels {sorted(clip.labels)}, others {sorted(self._labels)}")
        before_face = framed(f"{clip.key}.{FACTS}", _facts(clip))
        if clip.face_embedding is not None:
            before_face += framed(f"{clip.key}.{FACE_EMBEDDING}", encode_npy(clip.face_embedding))
        if clip.landmarks is not None:
            before_face += framed(f"{clip.key}.{LANDMARKS}", encode_npy(clip.landmarks))
        if clip.waveform is not None:
            before_face += framed(f"{clip.key}.{WAVEFORM}", encode_wav(to_samples(clip.waveform)))
        face = b""
        if clip.aligned_face is not None:
            face = framed(f"{clip.key}.{ALIGNED_FACE}", encode_png(clip.aligned_face))
        labels = tuple(_cell(clip.labels[label]) for label in self._labels)
        who = (clip.key, clip.speaker, clip.split, clip.seconds, clip.licence, clip.consent)
        self.rows.append(Row(*who, self.bytes, len(before_face) + len(face), len(before_face), labels))
        self._file.write(before_face + face)

    def finish(self) -> ShardRecord:
        """Put shard and index in place, the index last: a shard with an index is whole."""
        try:
            self._file.write(END_OF_ARCHIVE)
            index = NewFile(self._storage, f"{self._name}.csv")
            try:
                index.write(encode_index(self.rows, self._labels))
                self._file.finish()
                index.finish()
            finally:
                index.discard()
        finally:
            self.discard()
        counts = (len(self.rows), self._file.bytes)
        return ShardRecord(self._file.name, index.name, *counts, self._file.sha256, index.sha256)

    def discard(self) -> None:
        """Leave nothing behind."""
        self._file.discard()


def write_shard(folder: Place, name: str, clips: Iterable[Clip], *, labels: Sequence[str] = ()) -> ShardRecord:
    """One shard `name`.tar with its index, of one or more clips; several may be written at the same time.

    Raises:
        DatasetError: no clip, or a clip that is malformed or unlike the first.
        CannotWrite: no room, no permission.
    """
    shard: ShardFile | None = None
    try:
        for clip in clips:
            if shard is None:
                check_clip(clip)
                shard = ShardFile(Storage(folder), name, layout_of(clip), labels)
            shard.add(clip)
        if shard is None:
            raise DatasetError(f"the shard {name} would hold no clip; leave it out")
        return shard.finish()
    finally:
        if shard is not None:
            shard.discard()


def write_manifest(
    folder: Place,
    layout: Layout,
    shards: Sequence[ShardRecord],
    *,
    embedder: EmbedderRecord | None,
    labels: Sequence[str] = (),
    statement: Mapping[str, Any] | None = None,
) -> None:
    """Make the shards a data set; the last thing a writer does.

    Raises:
        DatasetError: there is no shard, or the embedder's size is not that of the face embeddings.
        CannotWrite: no room, no permission.
    """
    if not shards:
        raise DatasetError(f"{folder} would hold no clip")
    check_embedder(layout, embedder)
    file = NewFile(Storage(folder), MANIFEST)
    try:
        file.write(encode_manifest(layout, shards, embedder=embedder, labels=labels, statement=statement or {}))
        file.finish()
    finally:
        file.discard()


def check_embedder(layout: Layout, embedder: EmbedderRecord | None) -> None:
    """Face embeddings and the record of who made them come together.

    Raises:
        DatasetError: they do not.
    """
    size = None if embedder is None else embedder.size
    if layout.embedding is not None and size != layout.embedding:
        raise DatasetError(f"face embeddings of {layout.embedding} numbers, but an embedder of {size}: name theirs")


class ShardWriter:
    """Writes clips into a folder or URL, one run of shards a split: `train-000000.tar`, `train-000001.tar` ...

    A context manager: the manifest is written when the block ends well; after an error what was written before stays,
    but is no data set. `add` refuses a clip unlike the first.
    """

    def __init__(
        self,
        folder: Place,
        *,
        embedder: EmbedderRecord | None = None,
        statement: Mapping[str, Any] | None = None,
        clips_per_shard: int = CLIPS_PER_SHARD,
        bytes_per_shard: int = BYTES_PER_SHARD,
    ) -> None:
        assert clips_per_shard > 0 and bytes_per_shard > 0
        self._folder, self._storage = folder, Storage(folder)
        if self._storage.exists(MANIFEST):
            raise OutputExists(f"{self._storage} holds a data set already; choose another folder or remove that one")
        self._embedder, self._statement = embedder, statement
        self._limits = (clips_per_shard, bytes_per_shard)
        self._layout: Layout | None = None
        self._labels: tuple[str, ...] = ()
        self._open: dict[str, ShardFile] = {}
        self._written: dict[str, int] = {}
        self._records: list[ShardRecord] = []

    def add(self, clip: Clip) -> None:
        """Append one clip to its split.

        Raises:
            DatasetError: the clip is malformed, or unlike the first.
            CannotWrite: no room, no permission.
        """
        if self._layout is None:
            check_clip(clip)
            check_embedder(layout_of(clip), self._embedder)
            self._layout, self._labels = layout_of(clip), tuple(sorted(clip.labels))
        if clip.split not in self._open:
            check_clip(clip)
            number = self._written.setdefault(clip.split, 0)
            name = f"{clip.split}-{number:06d}"
            self._open[clip.split] = ShardFile(self._storage, name, self._layout, self._labels)
        shard = self._open[clip.split]
        shard.add(clip)
        if len(shard.rows) >= self._limits[0] or shard.bytes >= self._limits[1]:
            self._finish(clip.split)

    def _finish(self, split: str) -> None:
        self._records.append(self._open.pop(split).finish())
        self._written[split] += 1

    def __enter__(self) -> ShardWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                for split in list(self._open):
                    self._finish(split)
                if self._layout is None:
                    raise DatasetError(f"{self._storage} would hold no clip")
                write_manifest(
                    *(self._folder, self._layout, self._records),
                    embedder=self._embedder,
                    labels=self._labels,
                    statement=self._statement,
                )
        finally:
            for shard in self._open.values():
                shard.discard()


def write_shards(
    folder: Place,
    clips: Iterable[Clip],
    *,
    embedder: EmbedderRecord | None = None,
    statement: Mapping[str, Any] | None = None,
    clips_per_shard: int = CLIPS_PER_SHARD,
) -> None:
    """A whole data set from clips, one at a time in memory; as `ShardWriter`."""
    with ShardWriter(folder, embedder=embedder, statement=statement, clips_per_shard=clips_per_shard) as writer:
        for clip in clips:
            writer.add(clip)
