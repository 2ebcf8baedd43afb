"""Where records come from: corpora on disk, tables of pairs, folders of videos, and what other packages add.

A source is a driver of the kind `data_sources`: see docs/data-sources.md for those that are built in and
docs/extending-data-source.md for how to add one.
"""

from __future__ import annotations

import inspect
import json
import os
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Protocol

from pydantic import AfterValidator, ValidationError

from speech2face.data.record import Record, Reject, is_key, reject
from speech2face.drivers import KINDS
from speech2face.errors import DatasetError, InvalidOption, Speech2FaceError
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
