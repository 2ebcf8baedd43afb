"""What a gallery knows of a face beside its numbers, and which entries a filter keeps."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal, Protocol, get_args

import numpy as np
from numpy.typing import NDArray

from speech2face.data.record import Tombstones
from speech2face.data.storage import Storage
from speech2face.errors import DatasetError, InvalidOption
from speech2face.face.embedders import EmbedderRecord
from speech2face.inputs import parse_json

FIELDS = ("id", "speaker", "source", "licence", "consent", "digest")
FILTER_FIELDS = ("speaker", "source", "licence", "consent")
LABEL = "label:"
"""Before the names of label columns, so that a label may be called like a field."""
Where = Mapping[str, str]
Embeddings = NDArray[np.float32]


@dataclass(frozen=True)
class Entry:
    """One face of a gallery."""

    id: str
    speaker: str
    consent: str
    """On what the consent of the person shown rests; nobody without one enters."""
    source: str = ""
    licence: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    digest: str = ""
    """Of what the entry was made from: what has not changed is not embedded again. "" where that is not known."""
    thumbnail: bytes = b""
    """A small JPEG; empty where none is kept."""

    def facts(self) -> dict[str, Any]:
        """Everything but the picture, JSON-ready."""
        named = {name: getattr(self, name) for name in FIELDS if name != "digest"}
        return named | {"labels": dict(self.labels)}


def check_entry(entry: Entry) -> None:
    """Refuse what no gallery may hold.

    Raises:
        DatasetError: no id or speaker, no consent basis, or text that is not one printable line.
    """
    for name in ("id", "speaker"):
        if not getattr(entry, name):
            raise DatasetError(f"an entry has no {name}: {entry.facts()}; give it one")
    if not entry.consent.strip():
        raise DatasetError(f"{entry.id} has no consent basis; only faces of people who agreed enter a gallery")
    texts = [getattr(entry, name) for name in FIELDS] + [part for item in entry.labels.items() for part in item]
    for text in texts:
        if not isinstance(text, str) or not text.isprintable():
            raise DatasetError(f"{entry.id!r}: {text!r} is not one line of printable text")


def parse_where(texts: Iterable[str]) -> dict[str, str]:
    """`gender=female` as a filter; several must all hold.

    Raises:
        InvalidOption: no `=`, or a name twice.
    """
    where: dict[str, str] = {}
    for text in texts:
        name, equals, value = (part.strip() for part in text.partition("="))
        if not equals or not name:
            raise InvalidOption(f'cannot read filter "{text}"; write LABEL=VALUE, such as gender=female')
        if name in where:
            raise InvalidOption(f"filter {name} is stated twice; state it once")
        where[name] = value
    return where


def check_where(where: Where, labels: Sequence[str]) -> None:
    """Refuse a filter by what the gallery does not know.

    Raises:
        InvalidOption: with what it knows.
    """
    known = (*FILTER_FIELDS, *labels)
    for name in where:
        if name not in known:
            raise InvalidOption(f'the gallery has no label "{name}"; it has {", ".join(known)}')


class Entries:
    """All entries of a gallery that is held in files, as columns."""

    def __init__(self, columns: dict[str, list[str]], labels: dict[str, list[str]], numbers: NDArray[np.int64]) -> None:
        """`numbers` (entries,) rise and are never given again; an index names entries by them."""
        self.columns, self.labels, self.numbers = columns, labels, numbers
        self._rows: dict[str, int] | None = None

    @classmethod
    def none(cls) -> Entries:
        """Of an empty gallery."""
        return cls({name: [] for name in FIELDS}, {}, np.zeros(0, np.int64))

    def __len__(self) -> int:
        return len(self.numbers)

    def entry(self, row: int, thumbnail: bytes = b"") -> Entry:
        """The entry of a row."""
        named = {name: column[row] for name, column in self.columns.items()}
        labels = {name: column[row] for name, column in self.labels.items() if column[row]}
        return Entry(**named, labels=labels, thumbnail=thumbnail)

    def row_of(self, identity: str) -> int | None:
        """Where an id stands, None where it does not."""
        if self._rows is None:
            self._rows = {name: row for row, name in enumerate(self.columns["id"])}
        return self._rows.get(identity)

    def speakers(self) -> set[str]:
        """Everybody in it."""
        return set(self.columns["speaker"])

    def rows_of_speakers(self, speakers: Iterable[str]) -> NDArray[np.int64]:
        """Rows of these speakers."""
        wanted = set(speakers)
        return np.array([row for row, name in enumerate(self.columns["speaker"]) if name in wanted], np.int64)

    def kept(self, where: Where | None) -> NDArray[np.bool_] | None:
        """(entries,) whether the filter keeps each; None where all are kept.

        Raises:
            InvalidOption: an unknown label.
        """
        if not where:
            return None
        check_where(where, tuple(self.labels))
        kept = np.ones(len(self), bool)
        for name, value in where.items():
            column = self.columns[name] if name in FILTER_FIELDS else self.labels[name]
            kept &= np.fromiter((cell == value for cell in column), bool, len(self))
        return kept

    def joined(self, stays: NDArray[np.bool_], new: Sequence[Entry], first_number: int) -> Entries:
        """The rows that stay, then new ones."""
        rows = np.flatnonzero(stays).tolist()
        names = list(dict.fromkeys([*self.labels, *(name for entry in new for name in entry.labels)]))
        columns = {
            name: [self.columns[name][row] for row in rows] + [getattr(entry, name) for entry in new] for name in FIELDS
        }
        blank = [""] * len(self)
        labels = {
            name: [self.labels.get(name, blank)[row] for row in rows] + [entry.labels.get(name, "") for entry in new]
            for name in names
        }
        numbers = np.arange(first_number, first_number + len(new), dtype=np.int64)
        return Entries(columns, labels, np.concatenate([self.numbers[rows], numbers]))

    def encode(self, thumbnail_bytes: Sequence[int]) -> Iterator[bytes]:
        """The table as CSV, some rows at a time; `thumbnail_bytes` are the lengths of the pictures."""
        names = [*FIELDS, *(LABEL + name for name in self.labels)]
        whole = [*(self.columns[name] for name in FIELDS), *self.labels.values()]
        yield _csv([["number", "thumbnail_bytes", *names]])
        at_once = 10_000
        for start in range(0, len(self), at_once):
            part = slice(start, start + at_once)
            numbers = map(str, self.numbers[part].tolist())
            lengths = map(str, thumbnail_bytes[part])
            yield _csv(zip(numbers, lengths, *(column[part] for column in whole), strict=True))


def decode_entries(content: bytes, where: str) -> tuple[Entries, NDArray[np.int64]]:
    """The table and the lengths of the pictures.

    Raises:
        DatasetError: it is none; names the file.
    """
    try:
        rows = csv.reader(io.StringIO(content.decode(), newline=""), strict=True)
        head = next(rows)
        cells = [list(column) for column in zip(*rows, strict=True)] or [[] for _ in head]
        table = dict(zip(head, cells, strict=True))
        numbers = np.array(table.pop("number"), np.int64)
        lengths = np.array(table.pop("thumbnail_bytes"), np.int64)
        columns = {name: table.pop(name) for name in FIELDS}
        if any(not name.startswith(LABEL) for name in table) or (np.diff(numbers) <= 0).any():
            raise ValueError("columns or numbers that this program did not write")
    except (UnicodeDecodeError, csv.Error, StopIteration, ValueError, KeyError) as error:
        raise DatasetError(f"{where} is damaged ({error}); restore the gallery or build it anew") from error
    return Entries(columns, {name.removeprefix(LABEL): cells for name, cells in table.items()}, numbers), lengths


def _csv(rows: Iterable[Iterable[str]]) -> bytes:
    sink = io.StringIO()
    csv.writer(sink, lineterminator="\n").writerows(rows)
    return sink.getvalue().encode()


# --------------------------------------------------------------------------------------------------
# `gallery.json`: whose face embeddings a gallery holds, where they lie, and how they are searched.
# --------------------------------------------------------------------------------------------------

RECORD = "gallery.json"
FORMAT = 1
PARTS = {"entries": "csv", "vectors": "npy", "thumbnails": "bin", "index": "faiss"}
"""Files of a gallery and their endings."""
BackendName = Literal["exact", "faiss", "postgres"]
BACKENDS: tuple[BackendName, ...] = get_args(BackendName)


@dataclass(frozen=True)
class Space:
    """The numbers that faces and voices share: who makes them, and how many they are."""

    size: int
    """Length of a face embedding, K."""
    embedder: EmbedderRecord | None
    """What makes them from photographs; None: the model's own reading of age and gender (`appearance.py`)."""
    model_name: str = ""
    model_version: str = ""
    model_sha256: str = ""
    """Of the release that the gallery was built with."""

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        model = {"name": self.model_name, "version": self.model_version, "sha256": self.model_sha256}
        embedder = None if self.embedder is None else self.embedder.to_dict()
        return {"size": self.size, "embedder": embedder, "model": model}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Space:
        """From `to_dict`'s result.

        Raises:
            KeyError, TypeError, ValueError: something is missing or impossible; the caller names the file.
        """
        model, embedder = values["model"], values["embedder"]
        record = None if embedder is None else EmbedderRecord.from_dict(embedder)
        return cls(int(values["size"]), record, str(model["name"]), str(model["version"]), str(model["sha256"]))

    def holds(self, other: Space) -> bool:
        """Whether embeddings of both may be compared.

        The face embedder decides, not the model: a better model that learned from the same embedder searches the same
        gallery. Readings of age and gender are the release's own.
        """
        if self.size != other.size or (self.embedder is None) != (other.embedder is None):
            return False
        if self.embedder is None or other.embedder is None:
            return self.model_sha256 == other.model_sha256
        return self.embedder.comparable_with(other.embedder)


@dataclass(frozen=True)
class StoredFile:
    """A file beside `gallery.json`."""

    file: str
    bytes: int
    sha256: str


@dataclass(frozen=True)
class Record:
    """The whole of `gallery.json`."""

    name: str
    space: Space
    backend: BackendName
    identity: str
    """Drawn when the gallery was made; a database says the same."""
    database: str = ""
    """Where it lies, without a password; "" for files."""
    entries: int = 0
    """In files; a database counts its own."""
    next_number: int = 0
    generation: int = 0
    """Counts the changes; every change writes new files and then names them here."""
    files: Mapping[str, StoredFile] = field(default_factory=dict)
    index: Mapping[str, Any] | None = None

    def encode(self) -> bytes:
        """The file."""
        files = {name: asdict(file) for name, file in self.files.items()}
        content = {"format": FORMAT} | self._plain() | {"files": files, "index": self.index}
        return (json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + "\n").encode()

    def _plain(self) -> dict[str, Any]:
        names = ("name", "backend", "identity", "database", "entries", "next_number", "generation")
        return {name: getattr(self, name) for name in names} | {"space": self.space.to_dict()}

    def changed(self, **values: Any) -> Record:
        """With other values."""
        return replace(self, **values)


def read_record(storage: Storage) -> Record:
    """The record of a folder.

    Raises:
        DatasetError: there is no gallery, or its record is damaged or of another version.
    """
    if not storage.exists(RECORD):
        raise DatasetError(f"{storage} holds no gallery; build one: speech2face gallery build")
    where = storage.where(RECORD)
    try:
        stated: dict[str, Any] = parse_json(storage.read(RECORD))
        if stated["format"] != FORMAT:
            raise ValueError(f"format {stated['format']}; this version reads {FORMAT}")
        if stated["backend"] not in BACKENDS:
            raise ValueError(f"backend {stated['backend']!r}")
        files = {name: StoredFile(**file) for name, file in stated["files"].items()}
        for file in files.values():
            if "/" in file.file or "\\" in file.file or file.file.startswith("."):
                raise ValueError(f"{file.file!r} is no name of a file beside it")
        return Record(
            name=str(stated["name"]),
            space=Space.from_dict(stated["space"]),
            backend=stated["backend"],
            identity=str(stated["identity"]),
            database=str(stated["database"]),
            entries=int(stated["entries"]),
            next_number=int(stated["next_number"]),
            generation=int(stated["generation"]),
            files=files,
            index=stated["index"],
        )
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DatasetError(f"{where} is damaged ({error}); restore the gallery or build it anew") from error


# --------------------------------------------------------------------------------------------------
# What every backend of a gallery can do; a variant is a new file with this contract.
# --------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Found:
    """The nearest entries, nearest first, and what they were compared with."""

    hits: tuple[tuple[Entry, float], ...]
    """Entries and their cosines."""
    of: int
    """Entries that the filter keeps."""
    mean: float
    """Mean cosine of what was compared: all faces, or a sample of them."""
    sd: float
    exact: bool
    """Whether every face was compared."""


@dataclass(frozen=True)
class Upserted:
    """What became of entries that were given."""

    added: int = 0
    replaced: int = 0
    """Entries whose id was there already."""

    def __add__(self, other: Upserted) -> Upserted:
        return Upserted(self.added + other.added, self.replaced + other.replaced)


class Writer(Protocol):
    """Entries on their way into a gallery; nobody sees a gallery that is half built."""

    def digests(self, ids: Sequence[str]) -> Mapping[str, str]:
        """Of those that are there already, also from a build that was interrupted."""
        ...

    def put(self, entries: Sequence[Entry], vectors: Embeddings) -> Upserted:
        """Take entries with vectors (entries, K) of length one; an id that is there is replaced."""
        ...

    def finish(self) -> Record:
        """Show them."""
        ...

    def close(self) -> None:
        """Leave nothing half written behind; after `finish` it does nothing."""
        ...


class Store(Protocol):
    """A gallery's entries and vectors, wherever they lie."""

    record: Record

    def __len__(self) -> int: ...

    @property
    def labels(self) -> tuple[str, ...]:
        """Names of labels that entries have."""
        ...

    def index_facts(self) -> dict[str, Any] | None:
        """What its index is and how well it searches; None where there is none."""
        ...

    def search(self, probe: NDArray[np.float32], top: int, where: Where | None) -> Found:
        """The entries nearest to a probe (K,) of length one."""
        ...

    def writer(self) -> Writer:
        """To add entries and replace some."""
        ...

    def delete(self, ids: Sequence[str]) -> int:
        """Remove entries; how many there were."""
        ...

    def speakers(self) -> set[str]:
        """Everybody in it."""
        ...

    def ids_of(self, speakers: Iterable[str]) -> list[str]:
        """Entries of these speakers."""
        ...

    def ids(self) -> Iterable[str]:
        """All of them."""
        ...

    def tombstones(self) -> Tombstones | None:
        """Who was forgotten, None where nobody was."""
        ...

    def write_tombstones(self, tombstones: Tombstones) -> None:
        """Keep them."""
        ...

    def close(self) -> None:
        """Let go of files and connections."""
        ...
