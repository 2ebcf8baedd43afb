"""Write clips as tar shards, each with its index, and a manifest last: the one writer of the format.

A shard is a WebDataset (the members of a clip share the name before the first dot and lie together);
docs/data-format.md describes it. The same clips give the same bytes. Nothing appears under its name before it is whole,
and a folder without a manifest is no data set.
"""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from speech2face.data import manifest, members
from speech2face.data.storage import NewFile, Storage
from speech2face.errors import CannotWrite, DatasetError, InvalidSettings, OutputExists
from speech2face.face.embedders import EmbedderRecord
from speech2face.inputs import array_of, parse_json
from speech2face.outputs import TEMPORARY_PREFIX, sha256

Place = str | os.PathLike[str]
CLIPS_PER_SHARD = 1000
BYTES_PER_SHARD = 2**28  # 256 MiB: about 1,000 clips of 6 s with their faces


def _facts(clip: members.Clip) -> bytes:
    facts = {"speaker": clip.speaker, "split": clip.split, "seconds": round(clip.seconds, 3)}
    facts |= {"licence": clip.licence, "consent": clip.consent, "labels": dict(clip.labels)}
    return json.dumps(facts, sort_keys=True, ensure_ascii=False, allow_nan=False).encode()


def _cell(value: members.Label) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return "" if value is None else str(value)


class ShardFile:
    """One shard while it is written."""

    def __init__(self, storage: Storage, name: str, layout: manifest.Layout, labels: Sequence[str] = ()) -> None:
        self.rows: list[manifest.IndexRow] = []
        self._storage, self._name, self._layout, self._labels = storage, name, layout, tuple(labels)
        self._file = NewFile(storage, f"{name}.tar")

    @property
    def bytes(self) -> int:
        """Size so far."""
        return self._file.bytes

    def add(self, clip: members.Clip) -> None:
        """Append one clip.

        Raises:
            DatasetError: the clip is malformed, or not like the others of its data set.
            CannotWrite: no room, no permission.
        """
        members.check_clip(clip)
        if members.layout_of(clip) != self._layout:
            raise DatasetError(f"clip {clip.key} holds {members.layout_of(clip)}, the clips before it {self._layout}")
        if tuple(clip.labels) != self._labels and set(clip.labels) != set(self._labels):
            raise DatasetError(f"clip {clip.key} has the labels {sorted(clip.labels)}, others {sorted(self._labels)}")
        before_face = members.framed(f"{clip.key}.{members.FACTS}", _facts(clip))
        if clip.face_embedding is not None:
            before_face += members.framed(
                f"{clip.key}.{members.FACE_EMBEDDING}", members.encode_npy(clip.face_embedding)
            )
        if clip.landmarks is not None:
            before_face += members.framed(f"{clip.key}.{members.LANDMARKS}", members.encode_npy(clip.landmarks))
        if clip.waveform is not None:
            before_face += members.framed(
                f"{clip.key}.{members.WAVEFORM}", members.encode_wav(members.to_samples(clip.waveform))
            )
        face = b""
        if clip.aligned_face is not None:
            face = members.framed(f"{clip.key}.{members.ALIGNED_FACE}", members.encode_png(clip.aligned_face))
        labels = tuple(_cell(clip.labels[label]) for label in self._labels)
        who = (clip.key, clip.speaker, clip.split, clip.seconds, clip.licence, clip.consent)
        self.rows.append(manifest.IndexRow(*who, self.bytes, len(before_face) + len(face), len(before_face), labels))
        self._file.write(before_face + face)

    def finish(self) -> manifest.ShardRecord:
        """Put shard and index in place, the index last: a shard with an index is whole."""
        try:
            self._file.write(manifest.END_OF_ARCHIVE)
            with NewFile(self._storage, f"{self._name}.csv") as index:
                index.write(manifest.encode_index(self.rows, self._labels))
                self._file.finish()
                index.finish()
        finally:
            self.discard()
        counts = (len(self.rows), self._file.bytes)
        return manifest.ShardRecord(self._file.name, index.name, *counts, self._file.sha256, index.sha256)

    def discard(self) -> None:
        """Leave nothing behind."""
        self._file.discard()


def write_shard(
    folder: Place, name: str, clips: Iterable[members.Clip], *, labels: Sequence[str] = ()
) -> manifest.ShardRecord:
    """One shard `name`.tar with its index, of one or more clips; several may be written at the same time.

    Raises:
        DatasetError: no clip, or a clip that is malformed or unlike the first.
        CannotWrite: no room, no permission.
    """
    shard: ShardFile | None = None
    try:
        for clip in clips:
            if shard is None:
                members.check_clip(clip)
                shard = ShardFile(Storage(folder), name, members.layout_of(clip), labels)
            shard.add(clip)
        if shard is None:
            raise DatasetError(f"the shard {name} would hold no clip; leave it out")
        return shard.finish()
    finally:
        if shard is not None:
            shard.discard()


def write_manifest(
    folder: Place,
    layout: manifest.Layout,
    shards: Sequence[manifest.ShardRecord],
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
    content = manifest.encode_manifest(layout, shards, embedder=embedder, labels=labels, statement=statement or {})
    Storage(folder).write(manifest.MANIFEST, content)


def check_embedder(layout: manifest.Layout, embedder: EmbedderRecord | None) -> None:
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
        if self._storage.exists(manifest.MANIFEST):
            raise OutputExists(f"{self._storage} holds a data set already; choose another folder or remove that one")
        self._embedder, self._statement = embedder, statement
        self._limits = (clips_per_shard, bytes_per_shard)
        self._layout: manifest.Layout | None = None
        self._labels: tuple[str, ...] = ()
        self._open: dict[str, ShardFile] = {}
        self._written: dict[str, int] = {}
        self._records: list[manifest.ShardRecord] = []

    def add(self, clip: members.Clip) -> None:
        """Append one clip to its split.

        Raises:
            DatasetError: the clip is malformed, or unlike the first.
            CannotWrite: no room, no permission.
        """
        if self._layout is None:
            members.check_clip(clip)
            check_embedder(members.layout_of(clip), self._embedder)
            self._layout, self._labels = members.layout_of(clip), tuple(sorted(clip.labels))
        if clip.split not in self._open:
            members.check_clip(clip)
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
    clips: Iterable[members.Clip],
    *,
    embedder: EmbedderRecord | None = None,
    statement: Mapping[str, Any] | None = None,
    clips_per_shard: int = CLIPS_PER_SHARD,
) -> None:
    """A whole data set from clips, one at a time in memory; as `ShardWriter`."""
    with ShardWriter(folder, embedder=embedder, statement=statement, clips_per_shard=clips_per_shard) as writer:
        for clip in clips:
            writer.add(clip)


# --- What lies in a shard, read from its bytes alone, one clip at a time; nothing may hide between the clips.

ENDS = (members.FACTS, members.FACE_EMBEDDING, members.LANDMARKS, members.WAVEFORM, members.ALIGNED_FACE)
FACT_NAMES = {"speaker", "split", "seconds", "licence", "consent", "labels"}
_NAME_BYTES = 100  # of a tar header


@dataclass(frozen=True, eq=False)
class StoredClip:
    """One clip as it lies in a shard."""

    key: str
    span: bytes
    """All of its bytes, tar headers included."""
    length_without_face: int
    facts: dict[str, Any]
    parts: dict[str, memoryview]
    """Content by the member's end: `wav`, `face.png` ..."""

    @property
    def speaker(self) -> str:
        """Whose it is, as its own bytes say."""
        return str(self.facts["speaker"])


def stored_clips(file: BinaryIO, where: str) -> Iterator[StoredClip]:
    """Each clip of a shard, from a file open at its beginning; every byte is read and accounted for.

    Raises:
        DatasetError: a byte is none of a clip's: something else lies in the shard, or it is damaged.
    """
    key, span = "", b""
    for name, member in _framed_members(file, where):
        this = name.split(".", 1)[0]
        if this != key and span:
            yield _clip(key, span, where)
            span = b""
        key, span = this, span + member
    if span:
        yield _clip(key, span, where)


def _framed_members(file: BinaryIO, where: str) -> Iterator[tuple[str, bytes]]:
    """Name and all bytes of each member."""
    while True:
        header = file.read(manifest.BLOCK)
        if header == bytes(manifest.BLOCK):
            if header + file.read(len(manifest.END_OF_ARCHIVE)) != manifest.END_OF_ARCHIVE or file.read(1):
                raise DatasetError(f"{where} does not end where its clips do; prepare the shard anew")
            return
        try:
            name = header[:_NAME_BYTES].rstrip(b"\0").decode("ascii")
            size = int(header[124:136].strip(b" \0"), 8)
            content = file.read(size + -size % manifest.BLOCK)
            if members.framed(name, content[:size]) != header + content:
                raise members.Malformed(f"a member {name!r} that this program did not write")
        except (ValueError, UnicodeError) as error:  # Malformed is one
            raise DatasetError(f"{where} is damaged: {error}; copy it again or prepare it anew") from error
        yield name, header + content


def _clip(key: str, span: bytes, where: str) -> StoredClip:
    parts = {name.split(".", 1)[1]: content for name, content in members.members(span)}
    try:
        facts = parse_json(bytes(parts[members.FACTS]))
        strange = (set(parts) - set(ENDS)) | (set(facts) ^ FACT_NAMES)
        if strange:
            raise ValueError(f"{sorted(strange)[0]} is unknown or missing")
    except (KeyError, ValueError, TypeError) as error:
        raise DatasetError(f"{where}: clip {key} is none of this format ({error}); prepare the shard anew") from error
    face = parts.get(members.ALIGNED_FACE)
    face_bytes = 0 if face is None else manifest.BLOCK + len(face) + -len(face) % manifest.BLOCK
    return StoredClip(key, span, len(span) - face_bytes, facts, parts)


def stored_layout(storage: Storage, shard: str) -> manifest.Layout:
    """What the clips of a shard hold, by its first.

    Raises:
        DatasetError: it cannot be read.
    """
    import io

    from PIL import Image

    with storage.open(shard) as file:
        clip = next(stored_clips(file, storage.where(shard)))

    def array(end: str) -> Any:
        part = clip.parts.get(end)
        return None if part is None else array_of(part)

    embedding, landmarks = array(members.FACE_EMBEDDING), array(members.LANDMARKS)
    face = None
    if members.ALIGNED_FACE in clip.parts:
        with Image.open(io.BytesIO(clip.parts[members.ALIGNED_FACE]), formats=("PNG",)) as picture:
            face = (picture.height, picture.width)
    return manifest.Layout(
        waveform=members.WAVEFORM in clip.parts,
        embedding=None if embedding is None else embedding.size,
        face=face,
        landmarks=None if landmarks is None else len(landmarks),
    )


# --- Copies of remote shards on this machine, shared by all processes that read them, and no more of them than fit.


def default_cache_folder() -> Path:
    """Where training keeps its copies when its settings name no folder; as Windows' temporary folder, a user's own."""
    owner = f"-{os.getuid()}" if hasattr(os, "getuid") else ""
    return Path(tempfile.gettempdir()) / f"speech2face-shards{owner}"


def check_caches(folders: Sequence[Path]) -> None:
    """Refuse folders that copies could not be removed from.

    Raises:
        DatasetError: there is no such folder.
        CannotWrite: no permission.
    """
    for folder in folders:
        if not folder.is_dir():
            raise DatasetError(f"there is no cache {folder}; name a folder of cached shards, or none")
        if not os.access(folder, os.R_OK | os.W_OK | os.X_OK):
            raise CannotWrite(f"cannot remove copies from the cache {folder}: no permission")


def remove_copies(folders: Sequence[Path], sha256s: Iterable[str]) -> Iterator[Path]:
    """Remove the copies of these shards; the paths that were there.

    Raises:
        CannotWrite: no permission.
    """
    for copy in (folder / f"{shard}.tar" for shard in sha256s for folder in folders):
        try:
            copy.unlink()
        except FileNotFoundError:
            continue
        except OSError as error:
            raise CannotWrite(f"cannot remove {copy}: {error.strerror}") from error
        yield copy


class ShardCache:
    """A folder of shards named by their SHA-256, so that a changed data set never meets an old copy.

    Two processes that want the same shard at once may both fetch it; each puts its whole copy in place in one step.
    A copy that another process has open may be removed: it goes on reading it (POSIX).
    """

    def __init__(self, folder: Path, most_bytes: int) -> None:
        self._folder, self._most_bytes = folder, most_bytes

    def open(self, storage: Storage, shard: manifest.ShardRecord) -> BinaryIO:
        """The shard's copy, fetched and verified where it is not there yet.

        Raises:
            DatasetError: it cannot be read, or its bytes are not the manifest's.
            CannotWrite: the cache's folder cannot be written.
        """
        copy = self._folder / f"{shard.sha256}.tar"
        with contextlib.suppress(FileNotFoundError):
            file = copy.open("rb", buffering=0)
            os.utime(copy)  # used now: the last to be removed
            return file
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            self._make_room(shard.bytes)
            handle, name = tempfile.mkstemp(prefix=TEMPORARY_PREFIX, dir=self._folder)
            os.close(handle)
        except OSError as error:
            raise CannotWrite(f"cannot write the cache {self._folder}: {error.strerror}") from error
        temporary = Path(name)
        try:
            storage.download(shard.file, temporary)
            if sha256(temporary) != shard.sha256:
                where = storage.where(shard.file)
                raise DatasetError(
                    f"{where} has been changed or damaged: its SHA-256 is not the manifest's; copy it again"
                )
            file = temporary.open("rb", buffering=0)  # before others can see it, and make room
            temporary.replace(copy)
        finally:
            temporary.unlink(missing_ok=True)
        return file

    def _make_room(self, wanted: int) -> None:
        """Remove what was not used for longest, until there is room. Others may be doing the same."""
        copies = []
        for path in self._folder.glob("*.tar"):
            with contextlib.suppress(OSError):
                copies.append((path.stat().st_mtime_ns, path.stat().st_size, path))
        held = sum(size for _, size, _ in copies)
        for _, size, path in sorted(copies):
            if held + wanted <= self._most_bytes:
                return
            path.unlink(missing_ok=True)
            held -= size


# --- The bytes of clips, wherever their shards lie: files of this machine, copies in a cache, stretches over the
# network. Each process opens files of its own when it first needs them: a reader may be forked or pickled at any
# time.

OPEN_FILES = 64  # of one process: systems allow 1,024 by default, and tensors between processes take some
Span = tuple[int, int, int]
"""A shard's place in the manifest, first byte, length."""


class SpanReader:
    """Reads stretches of shards."""

    def __init__(
        self, storage: Storage, shards: Sequence[manifest.ShardRecord], cache: ShardCache | None = None
    ) -> None:
        """Without a cache, remote shards are read in stretches: right for a near store, or a single pass."""
        self._storage, self._shards, self._cache = storage, tuple(shards), cache
        self._files: OrderedDict[int, BinaryIO] = OrderedDict()
        self._process = os.getpid()

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_files": OrderedDict()}

    def read(self, spans: Sequence[Span]) -> list[bytes]:
        """The bytes of each span, in the order asked for.

        Raises:
            DatasetError: a shard is gone or shorter than the manifest says.
        """
        if self._storage.local is None and self._cache is None:
            found = self._storage.read_ranges([(self._shards[shard].file, start, size) for shard, start, size in spans])
            return [self._whole(content, span) for content, span in zip(found, spans, strict=True)]
        contents: list[bytes] = [b""] * len(spans)
        for number in sorted(range(len(spans)), key=spans.__getitem__):  # as they lie on the disk
            contents[number] = self._read_file(spans[number])
        return contents

    def _read_file(self, span: Span) -> bytes:
        shard, start, size = span
        try:
            file = self._file(shard)
            file.seek(start)
            content = file.read(size)
        except OSError as error:
            where = self._storage.where(self._shards[shard].file)
            raise DatasetError(f"cannot read {where}: {error.strerror}; copy it again") from error
        return self._whole(content, span)

    def _whole(self, content: bytes, span: Span) -> bytes:
        if len(content) == span[2]:
            return content
        where = self._storage.where(self._shards[span[0]].file)
        raise DatasetError(
            f"{where} is cut short: {len(content)} of {span[2]} bytes at {span[1]}; copy it again or prepare it anew"
        )

    def _file(self, shard: int) -> BinaryIO:
        if self._process != os.getpid():  # forked: the parent's files are not ours to close
            self._files, self._process = OrderedDict(), os.getpid()
        if shard not in self._files:
            while len(self._files) >= OPEN_FILES:
                self._files.popitem(last=False)[1].close()
            self._files[shard] = self._open(shard)
        self._files.move_to_end(shard)
        return self._files[shard]

    def _open(self, shard: int) -> BinaryIO:
        record = self._shards[shard]
        if self._storage.local is not None:
            return (self._storage.local / record.file).open("rb", buffering=0)
        assert self._cache is not None
        return self._cache.open(self._storage, record)


# --- In which order a training sees the clips: decided by the seed alone, never by how many processes read them.
# A step's clips are the same whatever the number of ranks, workers or parts a step is accumulated from; they only
# decide who reads which. An order is a formula of (seed, epoch) and can be entered at any step: resuming is starting
# there.

WINDOW_SHARDS = 8
"""Shards whose clips are mixed, some thousands of clips: more mixes better, fewer touches fewer files at a time."""
Order = NDArray[np.int64]


def epoch_order(table: manifest.ClipTable, *, seed: int, epoch: int, window_shards: int = WINDOW_SHARDS) -> Order:
    """The clips' numbers (clips,), each once: shards shuffled, taken in windows, and shuffled within a window.

    Made of a bit generator's raw numbers and a stable sort, both of which NumPy promises not to change (NEP 19), where
    it may change `permutation`: a run resumes on another version.
    """
    shards, place = np.unique(table.shard, return_inverse=True)
    bits = np.random.PCG64(np.random.SeedSequence([seed, epoch]))
    turn = np.empty(len(shards), np.int64)  # when each shard's turn comes
    turn[np.argsort(bits.random_raw(len(shards)), kind="stable")] = np.arange(len(shards))
    window = turn[place] // window_shards  # (clips,)
    return np.lexsort((bits.random_raw(len(table)), window))


class BatchOrder:
    """Batches without end from a step on; batch b of rank r holds the same clips in every run with this seed.

    An iteration gives lists of draws, `accumulation` lists a step. A draw is epoch x clips + clip: it names the clip
    and tells apart the times it is seen, for what is random about a clip. What is left of an epoch after its last whole
    batch is not seen in that epoch (another part each time).
    """

    def __init__(
        self,
        table: manifest.ClipTable,
        batch: int,
        *,
        seed: int = 0,
        rank: int = 0,
        ranks: int = 1,
        accumulation: int = 1,
        start_step: int = 0,
        window_shards: int = WINDOW_SHARDS,
    ) -> None:
        """`batch` is the clips of one optimiser's step over all ranks and accumulated parts.

        Raises:
            InvalidSettings: the batch cannot be shared evenly, or is larger than the table.
        """
        assert 0 <= rank < ranks and accumulation > 0 and start_step >= 0 and seed >= 0 and window_shards > 0
        if batch < 1 or batch % (ranks * accumulation):
            raise InvalidSettings(
                f"a batch of {batch} cannot be shared by {ranks} ranks in {accumulation} parts; take a multiple of "
                f"{ranks * accumulation}"
            )
        if batch > len(table):
            raise InvalidSettings(f"a batch of {batch} is larger than the split, which has {len(table)} clips")
        self._table, self._seed, self._window_shards = table, seed, window_shards
        self._batch, self._rank, self._ranks, self._accumulation = batch, rank, ranks, accumulation
        self._start_step = start_step

    @property
    def steps_per_epoch(self) -> int:
        """Whole batches in an epoch."""
        return len(self._table) // self._batch

    def __iter__(self) -> Iterator[list[int]]:
        epoch, first = divmod(self._start_step, self.steps_per_epoch)
        while True:
            order = epoch_order(self._table, seed=self._seed, epoch=epoch, window_shards=self._window_shards)
            for step in range(first, self.steps_per_epoch):
                clips = order[step * self._batch : (step + 1) * self._batch]
                for part in clips.reshape(self._accumulation, self._ranks, -1)[:, self._rank]:
                    yield (part + epoch * len(self._table)).tolist()
            epoch, first = epoch + 1, 0


class PassOrder:
    """Every clip once, in the order of the table: for evaluation. The last batch may be smaller.

    A rank takes every `ranks`-th batch; all of them together see each clip exactly once.
    """

    def __init__(
        self, table: manifest.ClipTable, batch: int, *, rank: int = 0, ranks: int = 1, limit: int | None = None
    ) -> None:
        """`limit` keeps that many clips, spread evenly over the table, so that all shards have a part."""
        assert batch > 0 and 0 <= rank < ranks and (limit is None or limit > 0)
        count = len(table) if limit is None else min(limit, len(table))
        clips = np.arange(count) * len(table) // max(count, 1)
        self._batches = [clips[start : start + batch].tolist() for start in range(rank * batch, count, ranks * batch)]

    def __len__(self) -> int:
        return len(self._batches)

    def __iter__(self) -> Iterator[list[int]]:
        return iter(self._batches)
