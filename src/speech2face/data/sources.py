"""Where records come from: corpora on disk, tables of pairs, folders of videos, and what other packages add.

A source is a driver of the kind `data_sources`: see docs/data-sources.md for those that are built in and
docs/extending-data-source.md for how to add one.
"""

from __future__ import annotations

import csv
import difflib
import errno
import inspect
import io
import json
import math
import os
import re
import tempfile
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Protocol
from urllib.parse import urlsplit

from pydantic import AfterValidator, ValidationError

from speech2face.data.record import Record, Reject, is_key, reject
from speech2face.data.storage import Storage
from speech2face.drivers import KINDS
from speech2face.errors import DatasetError, InvalidOption, MissingExtra, Speech2FaceError
from speech2face.face.detect import FIRST_BYTES, is_photograph
from speech2face.inputs import decode_text, file_size
from speech2face.validation import Checked, checked, first_mistake, validated


class DataSource(Protocol):
    """Where records come from; its class is the driver. Nothing is downloaded; what is missing is a reject.

    The class is called with its settings as keywords, and raises ValueError or TypeError where they are wrong. One
    that takes `seed` or `validation` gets the preparation's, unless they are stated.
    """

    @property
    def name(self) -> str:
        """Return the name it is chosen by, which is its records' `source` too."""
        ...

    def settings(self) -> dict[str, Any]:
        """Return what it was called with, in JSON's types: calling its class with that opens the same source."""
        ...

    def records(self) -> Iterator[Record | Reject]:
        """Yield all of them, in the same order every time; all records have the same labels.

        Raises:
            DatasetError: what it reads is not there or is wrong; the message names the place.
        """
        ...

    @classmethod
    def example(cls, folder: Path) -> DataSource:
        """Write the smallest example of what it reads into an empty folder and open it, for the conformance check."""
        ...


def absolute(place: str) -> str:
    """Return a path that means the same file to workers elsewhere; URLs stay as they are."""
    return place if "://" in place or "::" in place else os.path.abspath(place)


Place = Annotated[str, AfterValidator(absolute)]
"""A setting that is a path, made absolute, or a URL."""


@checked
class BuiltInSource(Checked):
    """What the built-in sources share: settings that pydantic checks."""

    called: ClassVar[str] = "settings of a source"

    def settings(self) -> dict[str, Any]:
        """Return its fields."""
        return asdict(self)


# --- Under which licence a record may be used, and on what the consent of the person in it rests.
# What a corpus's publishers state is filled in from a table; what they do not state is the user's to say. A record
# with neither is rejected, unless the user allows that in so many words, which the data statement repeats.


@dataclass(frozen=True)
class PublishedBasis:
    """What a corpus's publishers say of its licence and of consent."""

    licence: str = ""
    consent: str = ""
    """"" where nobody was asked: being public is no consent."""
    why: str = "its source states none"
    """Shown where one of them is missing."""


_VOXCELEB = PublishedBasis(
    licence="metadata: CC BY 4.0; recordings and pictures: copyright of the videos' owners",
    why="the public figures of VoxCeleb were not asked",
)
STATED: Mapping[str, PublishedBasis] = {
    "avspeech": PublishedBasis(
        licence="list of clips: CC BY 4.0; videos: their uploaders', under YouTube's terms",
        why="the people in AVSpeech's videos were not asked",
    ),
    "voxceleb1": _VOXCELEB,
    "voxceleb2": _VOXCELEB,
    "pairs": PublishedBasis(why="its row states none"),
    "videos": PublishedBasis(why="a folder of videos states none"),
}


@checked
class Basis(Checked):
    """What the user says of the licence and the consent of a source's records, where the source states none."""

    called: ClassVar[str] = "basis of use"
    licence: str = ""
    consent: str = ""
    """For example "written, form of 2026-03", "ethics board 12/26"."""
    allow: tuple[Literal["licence", "consent"], ...] = ()
    """What may be missing."""

    def __post_init__(self) -> None:
        for what, text in (("licence", self.licence), ("consent", self.consent)):
            if not text.isprintable():
                raise InvalidOption(f"the {what} {text!r} is not one line of printable text")

    def of(self, record: Record) -> Record | Reject:
        """Return the record with what is known of it filled in, or why it may not be used."""
        stated = STATED.get(record.source, PublishedBasis())
        licence = record.licence or stated.licence or self.licence
        consent = record.consent or stated.consent or self.consent
        if not licence and "licence" not in self.allow:
            return reject(record, "no_licence", f"{stated.why}; state one, or allow it to be missing")
        if not consent and "consent" not in self.allow:
            return reject(record, "no_consent", f"{stated.why}; state on what consent rests, or allow it to be missing")
        return replace(record, licence=licence, consent=consent)


@dataclass(frozen=True)
class SourceInUse:
    """A source together with the basis on which its records are used: what a preparation takes."""

    source: DataSource
    basis: Basis

    def settings(self) -> dict[str, Any]:
        """Return all that `open_source` needs to open it again, in JSON's types, as a plan keeps it."""
        basis = asdict(self.basis) | {"allow": list(self.basis.allow)}
        return {"name": self.source.name, **self.source.settings(), "basis": basis}

    def records(self) -> Iterator[Record | Reject]:
        """Yield the source's records with licence and consent filled in, and a reject for each that may not be used."""
        for each in self.source.records():
            yield self.basis.of(each) if isinstance(each, Record) else each


def open_source(settings: Mapping[str, Any], defaults: Mapping[str, Any] | None = None) -> SourceInUse:
    """Open a source by its `name` (built in or added), its own settings and its `basis`.

    `defaults` are settings that only those sources get whose class takes them.

    Raises:
        InvalidOption: there is no such source, or a setting is unknown or wrong.
    """
    stated = dict(settings)
    name, basis = stated.pop("name", None), stated.pop("basis", {})
    kind = KINDS["data_sources"].load(str(name))
    taken = inspect.signature(kind).parameters
    stated = {key: value for key, value in (defaults or {}).items() if key in taken} | stated
    try:
        source = kind(**stated)
    except InvalidOption as error:
        raise InvalidOption(f"the source {name}: {error}") from error
    except (TypeError, ValueError) as error:
        wrong = first_mistake(error, kind) if isinstance(error, ValidationError) else str(error)
        raise InvalidOption(f"the source {name} cannot be opened with {sorted(stated)}: {wrong}") from error
    if source.name != name:
        raise InvalidOption(f"the source {name} calls itself {source.name!r}; its package has to be mended")
    return SourceInUse(source, validated(Basis, basis, f"the basis of {name}", InvalidOption))


def check_data_source(driver: Any) -> None:
    """Check that a class keeps to the protocol of a data source, with its own example.

    Raises:
        AssertionError: naming what is wrong.
    """
    members = ("name", "settings", "records", "example")
    for member in members:
        assert hasattr(driver, member), f"it has no {member}; a data source has {', '.join(members)}"
    with tempfile.TemporaryDirectory(prefix="speech2face-") as folder:
        source = driver.example(Path(folder))
        assert isinstance(source.name, str) and is_key(source.name), f"the name {source.name!r} is none: {_NAME}"
        settings = source.settings()
        assert isinstance(settings, dict), f"settings() gives {type(settings).__name__}, not a dict"
        try:
            again = driver(**json.loads(json.dumps(settings)))
        except (TypeError, ValueError, Speech2FaceError) as error:
            raise AssertionError(f"it cannot be opened with its own settings in JSON: {error}") from error
        found = list(source.records())
        _check_records(source.name, found)
        assert list(source.records()) == found, "records() gives others when it is called again"
        assert list(again.records()) == found, "opened again with its own settings, it gives other records"
    try:
        gone = list(source.records())
    except DatasetError:
        gone = []
    except Exception as error:
        raise AssertionError(
            f"where its files are gone it raises {type(error).__name__}: {error}; only DatasetError may come out"
        ) from error
    assert not any(isinstance(each, Record) for each in gone), "it gives records whose files are gone, not rejects"
    try:
        driver(**settings, no_such_setting=1)
    except (TypeError, ValueError, Speech2FaceError):
        return
    raise AssertionError("it takes a setting that it does not know; refuse it with TypeError or ValueError")


_NAME = "1 to 80 letters, digits, '_' and '-' of ASCII"


def _check_records(name: str, found: list[Any]) -> None:
    records = [each for each in found if isinstance(each, Record)]
    assert all(isinstance(each, Record | Reject) for each in found), "records() gives what is no Record and no Reject"
    assert records, "its example gives no record"
    for record in records:
        assert record.source == name, f"record {record.key} has the source {record.source!r}, not {name!r}"
        assert set(record.labels) == set(records[0].labels), f"record {record.key} has other labels than the first"
    keys = [record.key for record in records]
    twice = sorted({key for key in keys if keys.count(key) > 1})
    assert not twice, f"the key {twice[0]} is given twice; yield a Reject with the reason 'repeated'"


# --- Tables of text as users and publishers have them, whose mistakes are named by file, line and column.
# Every table that comes from outside is read here, so that all of them may have a byte order mark, another separator,
# capitals in their header, spaces before quotes and the line ends of any machine.

SEPARATORS = ("\t", ",", ";", "|")
"""What may stand between cells, the first of those that fit a header as well as another."""
NAMES = {",": "a comma", ";": "a semicolon", "\t": "a tab", "|": "a bar"}
_SAID = re.compile(r"sep=(.)\s*", re.IGNORECASE)  # Excel's own first line
NEAR = 0.81  # difflib's ratio: license and licence have 0.86, start and a label state 0.8


def split_place(place: str) -> tuple[str, str]:
    """Folder and name of a file given as path or URL; the folder of a bare name is "."."""
    if os.sep == "\\":  # on Windows both separate
        place = place.replace("\\", "/")
    folder, _, name = place.rpartition("/")
    if folder.endswith(":/") or (not folder and place.startswith("/")):
        folder += "/"
    return folder or ".", name


def read_text(place: str) -> str:
    """A whole file of text, path or URL, without its mark.

    Raises:
        DatasetError: it cannot be read, or is no Unicode; names the line.
    """
    folder, name = split_place(place)
    return decode_text(Storage(folder).read(name), place)


@dataclass(frozen=True)
class TableRow:
    """One row of a table: its cells, without the spaces around them, and where it stands."""

    place: str
    line: int
    """Where it begins in the file, from 1."""
    cells: tuple[str, ...]
    columns: tuple[str, ...]
    """Names of the cells; a row may have more or fewer cells."""
    delimiter: str
    text: str = field(repr=False)

    def get(self, column: str) -> str:
        """A cell by its column's name; "" where the row or the table does not have it."""
        where = self.columns.index(column) if column in self.columns else len(self.cells)
        return self.cells[where] if where < len(self.cells) else ""

    def needed(self, column: str) -> str:
        """A cell that may not be empty.

        Raises:
            DatasetError: it is.
        """
        cell = self.get(column)
        if not cell:
            raise self.wrong(column, f"{column} is empty")
        return cell

    def printable(self, column: str, *, needed: bool = False) -> str:
        """A cell that is shown to people: one line without control characters.

        Raises:
            DatasetError: it is none, or `needed` and empty.
        """
        cell = self.needed(column) if needed else self.get(column)
        if not cell.isprintable():
            raise self.wrong(column, f"{column} is {cell!r}, not one line of printable text")
        return cell

    def seconds(self, column: str) -> float | None:
        """A time from 0; None where the cell is empty.

        Raises:
            DatasetError: the cell is no such number.
        """
        return self._number(column, math.inf, "no number of seconds from 0")

    def share(self, column: str) -> float | None:
        """A number from 0 to 1; None where the cell is empty.

        Raises:
            DatasetError: the cell is no such number.
        """
        return self._number(column, 1.0, "no number from 0 to 1")

    def _number(self, column: str, most: float, what: str) -> float | None:
        cell = self.get(column)
        if not cell:
            return None
        if self.delimiter != "," and cell.count(",") == 1 and "." not in cell:
            cell = cell.replace(",", ".")  # as spreadsheets write it where a semicolon separates
        try:
            number = float(cell)
        except ValueError:
            number = math.nan
        if not (math.isfinite(number) and 0 <= number <= most):
            raise self.wrong(column, f"{column} is {cell!r}, {what}")
        return number

    def wrong(self, column: str, what: str) -> DatasetError:
        """An error that names the place of a cell, as editors do: file:line:column."""
        cell = self.columns.index(column) if column in self.columns else 0
        line, character = _place_of(self.text, min(cell, len(self.cells)), self.delimiter)
        return DatasetError(f"{self.place}:{self.line + line}:{character}: {what}")


def _place_of(text: str, cell: int, delimiter: str) -> tuple[int, int]:
    """Lines after the row's first, and character from 1, at which a cell begins."""
    quoted, start = False, 0
    for place, character in enumerate(text):
        if not cell:
            break
        if character == '"':
            quoted = not quoted
        elif character == delimiter and not quoted:
            cell, start = cell - 1, place + 1
    before = text[:start]
    lines = re.split(r"\r\n|\r|\n", before)
    return len(lines) - 1, len(lines[-1]) + 1


def read_rows(place: str, columns: Sequence[str]) -> Iterator[TableRow]:
    """The rows of a table without a header; empty lines are passed over.

    Raises:
        DatasetError: no table, or a quote that is never closed.
    """
    text = read_text(place)
    first = next((line for line in text.splitlines() if line.strip()), "")
    # A comma last: it may be in a number, where none of the others is in anything.
    fitting = [each for each in (*SEPARATORS[2:], SEPARATORS[0]) if len(_cells(first, each)) >= len(columns)]
    yield from _rows(place, text, tuple(columns), fitting[0] if fitting else ",")


def read_table(
    place: str,
    *,
    needed: Sequence[str],
    known: Sequence[str] = (),
    refuse: Callable[[str], str | None] = lambda column: None,
) -> Iterator[TableRow]:
    """The rows of a table with a header, separated by commas, semicolons, tabs or bars, whichever fits the header.

    Column names are compared without spaces and in small letters: "VoxCeleb1 ID" is "voxceleb1id". A column
    that is nearly one of `known`, which the table lacks, is a slip of the pen. `refuse` says why a column may not be
    there, None where it may. Columns without a name must be empty.

    Raises:
        DatasetError: a column is missing, misspelt, refused or there twice, a row has more cells than the header,
            there is no row, or as `read_rows`.
    """
    text, skipped = read_text(place), 0
    if said := _SAID.fullmatch(text.splitlines()[0] if text else ""):
        text, skipped = text[len(text.splitlines(keepends=True)[0]) :], 1
    delimiter = said[1] if said else _separator(text, (*needed, *known))
    rows = _rows(place, text, (), delimiter, first_line=1 + skipped)
    header = next(rows)
    names = tuple(map(_plain, header.cells))
    while names and not names[-1]:  # spreadsheets save columns that were used once
        names = names[:-1]
    _check_header(TableRow(place, header.line, names, names, delimiter, header.text), needed, known, refuse)
    empty = True
    for row in rows:
        empty = False
        if len(row.cells) > len(names) and any(row.cells[len(names) :]):
            line, character = _place_of(row.text, len(names), delimiter)
            raise DatasetError(
                f"{place}:{row.line + line}:{character}: {len(row.cells)} cells, the header has {len(names)}; put "
                f"quotes around a cell with {NAMES.get(delimiter, repr(delimiter))} in it"
            )
        yield TableRow(place, row.line, row.cells, names, delimiter, row.text)
    if empty:
        raise DatasetError(f"{place}:{header.line + 1}:1: the table has a header and no row")


def _plain(name: str) -> str:
    """A column's name as it is compared."""
    return "".join(name.split()).lower()


def _cells(line: str, delimiter: str) -> list[str]:
    """The cells of one line, as far as they can be read alone; a cell too long for `csv` is one, and named later."""
    try:
        return next(csv.reader([line], delimiter=delimiter, skipinitialspace=True), [])
    except csv.Error:
        return [line]


def _separator(text: str, names: Sequence[str]) -> str:
    """What separates the header: what gives most of the names looked for, among equals most cells."""
    header = next((line for line in text.splitlines() if line.strip()), "")

    def fit(delimiter: str) -> tuple[int, int]:
        cells = [_plain(cell) for cell in _cells(header, delimiter)]
        return sum(name in cells for name in dict.fromkeys(names)), len(cells)

    if "\t" in header and fit("\t")[0] >= max(fit(each)[0] for each in SEPARATORS):
        return "\t"
    best = max((each for each in SEPARATORS if each != "\t"), key=fit)  # a comma before others that fit as well
    return best if len(_cells(header, best)) > 1 else ","


def _check_header(
    header: TableRow, needed: Sequence[str], known: Sequence[str], refuse: Callable[[str], str | None]
) -> None:
    lacking = [name for name in known if name not in header.cells]
    for name in dict.fromkeys(header.cells):
        if header.cells.count(name) > 1:
            raise header.wrong(name, f"there are {header.cells.count(name)} columns {name!r}; keep one")
        meant = [] if name in known else difflib.get_close_matches(name, lacking, n=1, cutoff=NEAR)
        if meant:
            raise header.wrong(
                name, f"{name!r} is no column of such a table: did you mean {meant[0]}? Rename the column"
            )
        if why := refuse(name):
            raise header.wrong(name, f"{name!r} is no column of such a table: {why}")
    for name in needed:
        if name not in header.cells:
            separated = f", separated by {NAMES.get(header.delimiter, repr(header.delimiter))}"
            found = f"{', '.join(filter(None, header.cells)) or 'none'}{separated if len(header.cells) > 1 else ''}"
            raise header.wrong(name, f"no column {name!r}; the header needs {', '.join(needed)}, and has {found}")


def _rows(
    place: str, text: str, columns: tuple[str, ...], delimiter: str, *, first_line: int = 1
) -> Iterator[TableRow]:
    consumed: list[str] = []  # the lines of the row being read: a quoted cell may go over several

    def lines() -> Iterator[str]:
        for line in io.StringIO(text, newline=""):
            consumed.append(line)
            yield line

    line, empty = first_line, True
    reader = csv.reader(lines(), delimiter=delimiter, strict=True, skipinitialspace=True)
    while True:
        try:
            cells = next(reader, None)
        except csv.Error as error:
            raise DatasetError(
                f"{place}:{line}:1: {error}; a quote inside a cell is written twice, and a cell with quotes in quotes"
            ) from error
        if cells is None:
            break
        stripped = tuple(cell.strip() for cell in cells)
        if any(stripped):
            yield TableRow(place, line, stripped, columns, delimiter, "".join(consumed))
            empty = False
        line += len(consumed)
        consumed.clear()
    if empty:
        raise DatasetError(f"{place}:1:1: the table is empty")


# --- Files of a source's folder, on this machine or behind a URL, always in the same order.

VIDEOS = frozenset(
    {".mp4", ".webm", ".mkv", ".mov", ".m4v", ".avi", ".mpg", ".mpeg", ".vob", ".flv", ".f4v", ".3gp", ".ogv", ".wmv"}
    | {".ts", ".m2ts", ".mts", ".m2t"}  # transport streams, of broadcasts and cameras
)
SOUNDS = frozenset({".wav", ".m4a", ".flac", ".mp3", ".ogg", ".opus", ".aac", ".mka", ".weba"})
PICTURES = frozenset(
    {".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".bmp", ".tif", ".tiff", ".gif", ".heic", ".heif", ".avif"}
)
"""Endings of pictures; others are looked into."""


def suffix_of(name: str) -> str:
    """The ending of a file's name, in small letters."""
    return os.path.splitext(name)[1].lower()


def pictures_below(place: str) -> Iterator[tuple[str, bool]]:
    """All files of a folder as `files_below`, and of each whether it is a picture.

    It is where its name or its first bytes say so: cameras and websites name pictures in many ways, and a file that is
    passed over because of its name is missed by nobody.

    Raises:
        DatasetError: as `files_below`.
    """
    storage = Storage(place)
    for path in files_below(place, None):
        if suffix_of(path) in PICTURES:
            yield path, True
            continue
        if storage.local is not None:
            yield path, has_picture(storage.local / path)
            continue
        try:
            yield path, is_photograph(storage.read_ranges([(path, 0, FIRST_BYTES)])[0])
        except DatasetError:
            yield path, False


def has_picture(path: Path) -> bool:
    """Whether a file of this machine begins as a picture does."""
    try:
        with path.open("rb") as file:
            return is_photograph(file.read(FIRST_BYTES))
    except OSError:
        return False


def files_below(place: str, suffixes: Collection[str] | None) -> Iterator[str]:
    """Paths inside a folder, `/` between names, of all files with these endings, folder after folder in order of name.

    `suffixes` None takes every file.

    Hidden files and folders are passed over, and links to a folder that they lie in.

    Raises:
        DatasetError: there is no such folder, or it or one in it cannot be listed.
    """
    storage = Storage(place)
    if storage.local is not None:
        if not os.path.isdir(storage.local):
            raise DatasetError(f"{place} is no folder; name the one that holds the files")
        yield from _below(storage.local, "", suffixes, ())
        return
    for path in sorted(_remote_paths(storage), key=lambda path: path.split("/")):
        hidden = any(part.startswith(".") for part in path.split("/"))
        if not hidden and (suffixes is None or suffix_of(path) in suffixes):
            yield path


def _below(folder: Path, inside: str, suffixes: Collection[str] | None, above: tuple[str, ...]) -> Iterator[str]:
    here = os.path.realpath(folder)
    if here in above:  # a link to it: without an end, and its files are listed already
        return
    try:
        with os.scandir(folder) as listing:
            entries = sorted((entry.name, _is_folder(entry)) for entry in listing if not entry.name.startswith("."))
    except OSError as error:
        raise DatasetError(f"cannot list {folder}: {error.strerror}") from error
    for name, is_folder in entries:
        if is_folder:
            yield from _below(folder / name, f"{inside}{name}/", suffixes, (*above, here))
        elif suffixes is None or suffix_of(name) in suffixes:
            yield inside + name


def _is_folder(entry: os.DirEntry[str]) -> bool:
    """Whether it is a folder, or a link to one; a link that leads nowhere is a file, which reading refuses."""
    try:
        return entry.is_dir()
    except OSError as error:
        if error.errno == errno.ELOOP:
            return False
        raise


def _remote_paths(storage: Storage) -> list[str]:
    import fsspec.core  # slow to import, and not needed for local folders

    try:
        system, folder = fsspec.core.url_to_fs(storage.name)
        found = system.find(folder)
    except ImportError as error:
        raise MissingExtra(f"{storage} needs a package that is not installed: {error}") from error
    except Exception as error:  # object stores raise their client's own classes, which have no common root
        raise DatasetError(f"cannot list {storage}: {type(error).__name__}: {error}") from error
    if not found:
        raise DatasetError(f"{storage} holds no file; name the folder the files were downloaded to")
    return [str(path)[len(folder.rstrip("/")) + 1 :] for path in found]


def is_url(place: str) -> bool:
    """Whether this is an fsspec URL, and not a path of this machine."""
    return "://" in place and urlsplit(place).scheme not in ("file", "local")


def beside(folder: str, path: str) -> str:
    """A path or URL as a table in this folder means it: relative to the folder unless it is whole."""
    if "://" in path or os.path.isabs(path):
        return path
    return Storage(folder).where(with_slashes(folder, path))


def with_slashes(folder: str, path: str) -> str:
    """A path as it is written on any machine: one with backslashes is meant as folders, unless a file is called so."""
    if "\\" not in path or (not is_url(folder) and os.path.exists(os.path.join(folder, path))):
        return path
    return path.replace("\\", "/")


def is_missing(place: str) -> bool:
    """Whether a path of this machine names no file; of URLs nothing is asked here, reading them tells."""
    if is_url(place):
        return False
    path = Storage(place).local
    return path is None or file_size(path) is None
