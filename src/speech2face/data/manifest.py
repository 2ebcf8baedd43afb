"""The manifest of a data set: its shards, what each clip holds, and whether all of it is there and in order."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import AfterValidator, Field

from speech2face.data.storage import Storage
from speech2face.errors import DatasetError, SpeakerLeak
from speech2face.face.embedders import EmbedderRecord
from speech2face.outputs import encode_csv
from speech2face.validation import validated_json

# --- What every clip of a data set holds, and in which size: one statement in the manifest, kept by writer and reader.

Part = Literal["waveform", "face_embedding", "aligned_face", "landmarks"]
Size = Annotated[int, Field(gt=0)]
PARTS: tuple[Part, ...] = ("waveform", "face_embedding", "aligned_face", "landmarks")


@dataclass(frozen=True)
class Layout:
    """The parts of every clip; None (False) where no clip has that part."""

    waveform: bool
    embedding: Size | None
    """Length of a face embedding."""
    face: tuple[Size, Size] | None
    """Height and width of an aligned face in pixels."""
    landmarks: Size | None
    """Number of landmarks of a face."""

    @property
    def parts(self) -> tuple[Part, ...]:
        """What there is to read of a clip."""
        there = (self.waveform, self.embedding is not None, self.face is not None, self.landmarks is not None)
        return tuple(part for part, is_there in zip(PARTS, there, strict=True) if is_there)


# --- A shard's index: one CSV row a clip, saying whose it is and which bytes of the shard are the clip's.

COLUMNS = ("clip", "speaker", "split", "seconds", "licence", "consent", "offset", "length", "length_without_face")
"""The columns of every index, in this order; a data set's own labels follow."""


@dataclass(frozen=True)
class IndexRow:
    """One clip of a shard. Its bytes are [offset, offset + length); the aligned face, if any, lies last in them."""

    clip: str
    speaker: str
    split: str
    seconds: float
    licence: str
    consent: str
    offset: int
    length: int
    length_without_face: int
    labels: tuple[str, ...]

    def cells(self) -> tuple[str, ...]:
        """As it stands in the file."""
        spans = (str(self.offset), str(self.length), str(self.length_without_face))
        return (
            *(self.clip, self.speaker, self.split, f"{self.seconds:.3f}", self.licence, self.consent),
            *(*spans, *self.labels),
        )


def encode_index(rows: Iterable[IndexRow], labels: Sequence[str]) -> bytes:
    """The whole file."""
    return encode_csv([[*COLUMNS, *labels], *(row.cells() for row in rows)])


@dataclass(frozen=True, eq=False)
class Index:
    """An index as it was read: columns of text, and of numbers where the bytes are."""

    clip: tuple[str, ...]
    speaker: tuple[str, ...]
    split: tuple[str, ...]
    seconds: NDArray[np.float32]
    offset: NDArray[np.int64]
    length: NDArray[np.int64]
    length_without_face: NDArray[np.int64]


def read_columns(content: bytes, names: Sequence[str], labels: Sequence[str], where: str) -> list[tuple[str, ...]]:
    """Columns of text by name.

    Raises:
        DatasetError: no CSV, other columns than the manifest's, or a row of another length.
    """
    wanted = [*COLUMNS, *labels]
    try:
        text = content.decode()
        columns = _split_plain(text, len(wanted)) or _split(text, where)
    except (UnicodeDecodeError, csv.Error) as error:
        raise DatasetError(f"{where} is no index: {error}; copy it again or prepare the shard anew") from error
    header = [column[0] for column in columns]
    if header != wanted:
        found = ", ".join(header) or "none"
        raise DatasetError(f"{where} has the columns {found}; its manifest says {', '.join(wanted)}")
    return [columns[wanted.index(name)][1:] for name in names]


def _split_plain(text: str, width: int) -> list[tuple[str, ...]] | None:
    """Columns of a text without quoted cells, None where it is not as simple; several times faster than by rows."""
    if '"' in text or "\r" in text or not text.endswith("\n"):
        return None
    marks = np.frombuffer(text.encode("ascii", "replace"), np.uint8)
    marks = marks[(marks == ord(",")) | (marks == ord("\n"))]
    ends = np.flatnonzero(marks == ord("\n")) + 1
    if not np.array_equal(ends, width * np.arange(1, ends.size + 1)):  # every row has as many cells
        return None
    cells = text[:-1].replace("\n", ",").split(",")
    return [tuple(cells[column::width]) for column in range(width)]


def _split(text: str, where: str) -> list[tuple[str, ...]]:
    """Columns of any CSV.

    Raises:
        DatasetError: a row has more or fewer cells than the first.
    """
    rows = list(csv.reader(io.StringIO(text, newline="")))
    for number, row in enumerate(rows, start=1):
        if len(row) != len(rows[0]):
            raise DatasetError(f"{where}, line {number}, has {len(row)} cells; its header has {len(rows[0])}")
    return list(zip(*rows, strict=True))


def decode_index(content: bytes, labels: Sequence[str], where: str, shard_bytes: int) -> Index:
    """An index, checked against the shard's size.

    Raises:
        DatasetError: as `read_columns`, a number that is none, or bytes the shard does not have.
    """
    names = ("clip", "speaker", "split", "seconds", "offset", "length", "length_without_face")
    clip, speaker, split, *numbers = read_columns(content, names, labels, where)
    try:
        seconds = np.fromiter(map(float, numbers[0]), np.float32, len(clip))
        offset, length, without_face = (np.fromiter(map(int, column), np.int64, len(clip)) for column in numbers[1:])
    except (ValueError, OverflowError) as error:
        raise DatasetError(f"{where} has a number that is none: {error}; prepare the shard anew") from error
    if not all(map(str.isascii, clip)):
        raise DatasetError(f"{where} names a clip with letters that are not ASCII; prepare the shard anew")
    ends = np.cumsum(length)  # clips follow one another without gaps
    fits = np.array_equal(offset, ends - length) and (
        shard_bytes == (ends[-1] if ends.size else 0) + len(END_OF_ARCHIVE)
    )
    sound = bool(
        np.all((without_face > 0) & (without_face <= length) & (length % BLOCK == 0) & (without_face % BLOCK == 0))
    )
    if not (fits and sound and np.isfinite(seconds).all() and (seconds >= 0).all()):
        raise DatasetError(
            f"{where} names bytes its shard of {shard_bytes} bytes does not have; prepare the shard anew"
        )
    return Index(clip, speaker, split, seconds, offset, length, without_face)


# --- Many clips as columns of numbers: what is needed to order and find them, some 70 bytes a clip.


@dataclass(frozen=True, eq=False)
class ClipTable:
    """Clips in the order of their shards; each column is (clips,)."""

    key: NDArray[np.bytes_]
    speaker: NDArray[np.int32]
    """Place in `speakers`."""
    split: NDArray[np.int16]
    """Place in `splits`."""
    seconds: NDArray[np.float32]
    shard: NDArray[np.int32]
    """Place in the manifest's shards; never falls."""
    offset: NDArray[np.int64]
    length: NDArray[np.int64]
    length_without_face: NDArray[np.int64]
    speakers: tuple[str, ...]
    """All of the data set, whichever clips the table holds."""
    splits: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.key)

    def take(self, which: NDArray[Any]) -> ClipTable:
        """Some of the clips, by number or as a mask."""
        columns = {f.name: getattr(self, f.name) for f in fields(self)}
        return replace(self, **{name: c[which] for name, c in columns.items() if isinstance(c, np.ndarray)})

    def key_of(self, clip: int) -> str:
        """A clip's name."""
        return bytes(self.key[clip]).decode("ascii")


class TableBuilder:
    """Joins the indexes of shards, one after another, and names speakers by number."""

    def __init__(self) -> None:
        self._columns: list[dict[str, NDArray[Any]]] = []
        self._speakers: dict[str, int] = {}
        self._splits: dict[str, int] = {}

    def add(self, index: Index, shard: int) -> None:
        """The clips of one shard."""
        count = len(index.clip)
        speaker = np.fromiter(_numbered(index.speaker, self._speakers), np.int32, count)
        split = np.fromiter(_numbered(index.split, self._splits), np.int16, count)
        self._columns.append(
            {
                "key": np.array(index.clip, dtype=np.bytes_),
                "speaker": speaker,
                "split": split,
                "seconds": index.seconds,
                "shard": np.full(count, shard, np.int32),
                "offset": index.offset,
                "length": index.length,
                "length_without_face": index.length_without_face,
            }
        )

    def build(self) -> ClipTable:
        """All of them."""
        joined = {name: np.concatenate([columns[name] for columns in self._columns]) for name in self._columns[0]}
        return ClipTable(**joined, speakers=tuple(self._speakers), splits=tuple(self._splits))


def _numbered(names: Sequence[str], known: dict[str, int]) -> Iterator[int]:
    for name in dict.fromkeys(names):
        known.setdefault(name, len(known))
    return map(known.__getitem__, names)


def keys_given_twice(table: ClipTable) -> Sequence[str]:
    """Names that more than one clip has."""
    ordered = np.sort(table.key)
    return [bytes(name).decode("ascii") for name in np.unique(ordered[1:][ordered[1:] == ordered[:-1]])]


def speakers_in_several_splits(table: ClipTable) -> dict[str, list[str]]:
    """The speakers who are in more than one split, with these splits."""
    pairs = np.unique(table.speaker.astype(np.int64) * len(table.splits) + table.split)
    speaker, split = pairs // len(table.splits), pairs % len(table.splits)
    leaking = np.unique(speaker[1:][speaker[1:] == speaker[:-1]])
    return {table.speakers[who]: sorted(table.splits[s] for s in split[speaker == who]) for who in leaking}


FORMAT: Literal[1] = 1
MANIFEST = "manifest.json"
_NAMED = 5  # clips or speakers that fit a line


def _name_beside(name: str) -> str:
    if not name or name.startswith(".") or "/" in name or "\\" in name:
        raise ValueError(f"{name!r} is no name of a file beside the manifest")
    return name


NameBeside = Annotated[str, AfterValidator(_name_beside)]


@dataclass(frozen=True)
class ShardRecord:
    """One shard as the manifest lists it."""

    file: NameBeside
    index: NameBeside
    clips: int
    bytes: int
    sha256: str
    index_sha256: str


@dataclass(frozen=True)
class ManifestFile:
    """The content of `manifest.json`."""

    format: Literal[1]
    sample_rate: Literal[16_000]
    """`SAMPLE_RATE`, written out."""
    layout: Layout
    embedder: dict[str, Any] | None
    """An `EmbedderRecord`."""
    labels: list[str]
    statement: dict[str, Any]
    shards: Annotated[list[ShardRecord], Field(min_length=1)]


def encode_manifest(
    layout: Layout,
    shards: Sequence[ShardRecord],
    *,
    embedder: EmbedderRecord | None,
    labels: Sequence[str],
    statement: Mapping[str, Any],
) -> bytes:
    """The whole file. Shards are ordered by name, so it does not matter which worker finished first."""
    content = ManifestFile(
        format=FORMAT,
        sample_rate=16_000,
        layout=layout,
        embedder=None if embedder is None else embedder.to_dict(),
        labels=list(labels),
        statement=dict(statement),
        shards=sorted(shards, key=lambda shard: shard.file),
    )
    return (json.dumps(asdict(content), indent=1, ensure_ascii=False, allow_nan=False) + "\n").encode()


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
        stated = read_manifest(content, storage.where(MANIFEST))
        _check_sizes(storage, stated.shards)
        table = _read_table(storage, stated.shards, stated.labels)
        _check_table(table, storage)
        return cls(
            storage=storage,
            layout=stated.layout,
            embedder=None if stated.embedder is None else _embedder(stated.embedder, storage),
            labels=tuple(stated.labels),
            statement=stated.statement,
            shards=tuple(stated.shards),
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
        for index, content in self.storage.read_each([shard.index for shard in self.shards]):
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
            found = self.storage.sha256(shard.file)
            if found != shard.sha256:
                raise DatasetError(
                    f"{self.storage.where(shard.file)} has been changed or damaged: its SHA-256 is {found}, the "
                    f"manifest says {shard.sha256}; copy it again or prepare it anew"
                )
            if progress is not None:
                progress(shard)


def read_manifest(content: bytes, where: str) -> ManifestFile:
    """Return the content of a manifest; whether its files are there is not asked.

    Raises:
        DatasetError: it is none, or of another version; names what is wrong.
    """
    return validated_json(ManifestFile, content, f"{where}: no manifest that this version reads", DatasetError)


def _embedder(stated: dict[str, Any], storage: Storage) -> EmbedderRecord:
    try:
        return EmbedderRecord.from_dict(stated)
    except (TypeError, ValueError) as error:
        raise DatasetError(f"{storage.where(MANIFEST)}: {error}") from error


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


def _read_table(storage: Storage, shards: Sequence[ShardRecord], labels: Sequence[str]) -> ClipTable:
    builder = TableBuilder()
    indexes = storage.read_each([shard.index for shard in shards])
    for number, (shard, (_, content)) in enumerate(zip(shards, indexes, strict=True)):
        where = storage.where(shard.index)
        if hashlib.sha256(content).hexdigest() != shard.index_sha256:
            raise DatasetError(f"{where} has been changed: its SHA-256 is not the manifest's; copy it again")
        index = decode_index(content, labels, where, shard.bytes)
        if len(index.clip) != shard.clips:
            raise DatasetError(f"{where} has {len(index.clip)} clips, the manifest says {shard.clips}")
        builder.add(index, number)
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


BLOCK = 512  # tar counts in these
END_OF_ARCHIVE = bytes(2 * BLOCK)
