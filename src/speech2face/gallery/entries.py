"""What a gallery knows of a face beside its numbers, and which entries a filter keeps."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import os
import secrets
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import TypeAdapter, ValidationError

from speech2face.data.record import Tombstones
from speech2face.data.storage import Storage
from speech2face.drivers import KINDS
from speech2face.errors import DatasetError, InvalidOption
from speech2face.face.embedders import EmbedderRecord
from speech2face.inputs import described, parse_json_object
from speech2face.outputs import encode_csv
from speech2face.validation import first_mistake

FIELDS = ("id", "speaker", "source", "licence", "consent", "digest")
FILTER_FIELDS = ("speaker", "source", "licence", "consent")
MOST_LETTERS = 100_000  # of one text; the reader of tables takes 131,072
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
        if len(text) > MOST_LETTERS:  # a table with it could not be read again
            raise DatasetError(f"{entry.id[:80]!r} has a text of {len(text)} letters; at most {MOST_LETTERS} are kept")


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
    for name, value in where.items():
        if name not in known:
            raise InvalidOption(f'the gallery has no label "{name}"; it has {", ".join(known)}')
        if not isinstance(value, str):  # nothing would be equal to it
            raise InvalidOption(f"the filter {name} is {described(value)}; labels are text, such as {str(value)!r}")


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
        yield encode_csv([["number", "thumbnail_bytes", *names]])
        at_once = 10_000
        for start in range(0, len(self), at_once):
            part = slice(start, start + at_once)
            numbers = map(str, self.numbers[part].tolist())
            lengths = map(str, thumbnail_bytes[part])
            yield encode_csv(zip(numbers, lengths, *(column[part] for column in whole), strict=True))


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


# --- `gallery.json`: whose face embeddings a gallery holds, where they lie, and how they are searched.

RECORD = "gallery.json"
FORMAT = 1
PARTS = {"entries": "csv", "vectors": "npy", "thumbnails": "bin", "index": "faiss"}
"""Files of a gallery and their endings."""
STORES = {"exact": "files", "faiss": "files", "postgres": "postgres"}
"""The store that each built-in backend lies in; every other store is a backend of its own name."""


def backends() -> tuple[str, ...]:
    """Names of all backends: the built-in ones, then those of stores that other packages add."""
    return (*STORES, *sorted(KINDS["gallery_stores"].added()))


def store_of(backend: str) -> GalleryStoreDriver:
    """The driver of the store that a backend lies in.

    Raises:
        InvalidOption: there is none; a driver that cannot be loaded.
    """
    if backend not in backends():
        raise InvalidOption(f'backend "{backend}" is unknown; there are {", ".join(backends())}')
    driver: GalleryStoreDriver = KINDS["gallery_stores"].load(STORES.get(backend, backend))
    return driver


def backend_by_address(backend: str, address: str) -> str:
    """The backend, or the added store that the address names by its scheme where no other backend was asked for."""
    scheme = address.partition("://")[0]
    return scheme if backend == "exact" and scheme in KINDS["gallery_stores"].added() else backend


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
class GalleryRecord:
    """The whole of `gallery.json`."""

    name: str
    space: Space
    backend: str
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
        content = {"format": FORMAT} | asdict(self) | {"space": self.space.to_dict()}
        return (json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + "\n").encode()

    def changed(self, **values: Any) -> GalleryRecord:
        """With other values."""
        return replace(self, **values)


def read_record(storage: Storage) -> GalleryRecord:
    """The record of a folder.

    Raises:
        DatasetError: there is no gallery, or its record is damaged or of another version.
    """
    if not storage.exists(RECORD):
        raise DatasetError(f"{storage} holds no gallery; build one: speech2face gallery build")
    where = storage.where(RECORD)
    try:
        stated = parse_json_object(storage.read(RECORD))
        if stated["format"] != FORMAT:
            raise ValueError(f"format {stated['format']}; this version reads {FORMAT}")
        stated["space"] = Space.from_dict(stated["space"])
        record = TypeAdapter(GalleryRecord).validate_python(stated)
        if record.backend not in backends():
            raise ValueError(f"backend {record.backend!r}, which is none here")
        for file in record.files.values():
            if "/" in file.file or "\\" in file.file or file.file.startswith("."):
                raise ValueError(f"{file.file!r} is no name of a file beside it")
        return record
    except ValidationError as error:
        raise DatasetError(
            f"{where} is damaged ({first_mistake(error)}); restore the gallery or build it anew"
        ) from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DatasetError(f"{where} is damaged ({error}); restore the gallery or build it anew") from error


# --- What every backend of a gallery can do; a variant is a new file with this contract.


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

    @property
    def tombstones(self) -> Tombstones | None:
        """Who was forgotten where it writes, None where nobody was."""
        ...

    def digests(self, ids: Sequence[str]) -> Mapping[str, str]:
        """Digests of the entries of these ids that are there already, also from a build that was interrupted."""
        ...

    def put(self, entries: Sequence[Entry], vectors: Embeddings) -> Upserted:
        """Take entries with vectors (entries, K) of length one; an id that is there is replaced."""
        ...

    def remove(self, ids: Sequence[str]) -> int:
        """Take entries out; returns how many there were."""
        ...

    def finish(self) -> GalleryRecord:
        """Show what was put and removed, and return the record of the gallery as it is now."""
        ...

    def close(self) -> None:
        """Leave nothing half written behind; after `finish` it does nothing."""
        ...


@dataclass(frozen=True)
class StoreFacts:
    """What a store says of itself."""

    labels: tuple[str, ...]
    """Names of labels that entries have."""
    index: Mapping[str, Any] | None
    """What its index is and how well it searches, `kind` and `recall_at_10` among it; None where there is none."""


class Store(Protocol):
    """A gallery's entries and vectors, wherever they lie; a context manager that lets go of files and connections."""

    @property
    def tombstones(self) -> Tombstones | None:
        """Who was forgotten, None where nobody was."""
        ...

    def forget(self, speakers: Sequence[str], ids: Sequence[str]) -> Tombstones | None:
        """Add tombstones for speakers and for ids of entries to what is there at this moment; returns those before.

        One step: of two processes that do it at once, neither loses the other's.
        """
        ...

    def __len__(self) -> int: ...

    def facts(self) -> StoreFacts:
        """Labels and index, as they are now."""
        ...

    def people(self) -> Mapping[str, str]:
        """The speaker of each entry, by the entry's id."""
        ...

    def search(self, probe: NDArray[np.float32], top: int, where: Where | None) -> Found:
        """Find the entries nearest to a probe (K,) of length one among those that the filter keeps.

        Raises:
            InvalidOption: the filter names a label that no entry has.
        """
        ...

    def writer(self) -> Writer:
        """Begin a change: entries to add, to replace, to remove."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(self, *error: object) -> None: ...


class GalleryStoreDriver(Protocol):
    """A place where galleries lie: a module or an object with these two members."""

    def open(self, folder: Path, record: GalleryRecord, address: str) -> Store:
        """Open the gallery of a record; `address` replaces the one that the record has, "" leaves it.

        Raises:
            DatasetError: it is not there, damaged, or cannot be reached.
            InvalidOption: an address where none belongs.
            MissingExtra: a package that it needs is not installed.
        """
        ...

    def build(self, folder: Path, record: GalleryRecord, address: str, *, plan: str, force: bool) -> Writer:
        """Begin a gallery, which takes the place of one that is there only when it is finished, and only with `force`.

        `plan` says what is built: a build that was interrupted may be gone on with by the same plan.

        Raises:
            OutputExists: there is one of this name, and `force` is not set.
            RunLocked: somebody else builds it.
        """
        ...


CHECK_SIZE, CHECK_ENTRIES = 6, 12
ADDRESS_VARIABLE = "SPEECH2FACE_DATABASE"


def check_gallery_store(driver: GalleryStoreDriver) -> None:
    """Check that a driver keeps to `GalleryStoreDriver`, on a small gallery in a temporary folder.

    A store that lies behind an address is checked at the one in the environment's `SPEECH2FACE_DATABASE`.

    Raises:
        AssertionError: with what is wrong.
    """
    address = os.environ.get(ADDRESS_VARIABLE, "") if driver is not KINDS["gallery_stores"].load("files") else ""
    rng = np.random.default_rng(0)
    vectors = rng.standard_normal((CHECK_ENTRIES, CHECK_SIZE)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    entries = [
        Entry(f"face-{n:02d}", f"speaker {n // 2}", "made up", labels={"half": str(n % 2)}, digest=f"digest {n}")
        for n in range(CHECK_ENTRIES)
    ]
    space = Space(CHECK_SIZE, EmbedderRecord("planted", CHECK_SIZE), "check", "1", "0" * 64)
    record = GalleryRecord(f"check_{secrets.token_hex(4)}", space, "exact", secrets.token_hex(8), address)
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder) / "gallery"
        place.mkdir()
        writer = driver.build(place, record, address, plan="check", force=True)
        with contextlib.closing(writer):
            done = writer.put(entries, vectors)
            assert done == Upserted(CHECK_ENTRIES), f"{CHECK_ENTRIES} new entries are {done}"
            known = writer.digests(["face-03", "none"])
            assert known == {"face-03": "digest 3"}, f"digests of one entry that is there and one that is not: {known}"
            record = writer.finish()
        with driver.open(place, record, address) as store:
            _check_search(store, entries, vectors)
            _check_changes(store, entries, vectors)
            assert store.tombstones is None, "there are tombstones of nobody"
            store.forget(["speaker 1"], [])
            before = store.forget(["speaker 2"], ["face-04"])
            assert before is not None and len(before) == 1, "`forget` does not return the tombstones before"
        with driver.open(place, record, address) as again:
            assert len(again) == CHECK_ENTRIES - 1, "a change is lost when the store is opened again"
            kept = again.tombstones
            lost = kept is None or not (len(kept) == 2 and kept.has_speaker("speaker 1") and kept.has_clip("face-04"))
            assert not lost, "tombstones are lost"


def _check_search(store: Store, entries: Sequence[Entry], vectors: Embeddings) -> None:
    assert len(store) == CHECK_ENTRIES, f"{len(store)} entries of {CHECK_ENTRIES}"
    assert store.facts().labels == ("half",), f"labels are {store.facts().labels}, not ('half',)"
    people = {entry.id: entry.speaker for entry in entries}
    assert dict(store.people()) == people, "people() does not name every entry with its speaker"
    probe = vectors[5]
    cosines = vectors @ probe
    found = store.search(probe, 4, None)
    wanted = [entries[row].id for row in np.argsort(-cosines)[:4]]
    order = [entry.id for entry, _ in found.hits]
    assert order == wanted, f"the nearest are {order}, not {wanted}"
    assert found.hits[0][0] == entries[5], "an entry does not come back as it was put"
    near = np.allclose([cosine for _, cosine in found.hits], np.sort(cosines)[::-1][:4], atol=1e-4)
    assert near, "the cosines are not those of the vectors"
    assert found.of == CHECK_ENTRIES, "`of` is not the number of entries"
    half = store.search(probe, CHECK_ENTRIES, {"half": "1"})
    kept = {entry.labels["half"] for entry, _ in half.hits}
    assert kept == {"1"} and half.of == len(half.hits) == CHECK_ENTRIES // 2, "a filter keeps others than it says"
    try:
        store.search(probe, 1, {"no such label": "x"})
    except InvalidOption:
        return
    raise AssertionError("a filter by a label that no entry has is not refused with InvalidOption")


def _check_changes(store: Store, entries: Sequence[Entry], vectors: Embeddings) -> None:
    with contextlib.closing(store.writer()) as writer:
        replaced = writer.put([replace(entries[0], source="another")], vectors[:1])
        assert replaced == Upserted(0, 1), f"an entry that is there is not replaced: {replaced}"
        removed = writer.remove(["face-07", "none"])
        assert removed == 1, f"removing one that is there and one that is not removes {removed}"
        writer.finish()
    assert len(store) == CHECK_ENTRIES - 1, "a change is not seen after `finish`"
    assert store.search(vectors[0], 1, None).hits[0][0].source == "another", "an entry that was replaced is the old one"
