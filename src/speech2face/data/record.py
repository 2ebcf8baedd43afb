"""What every source of data yields: a clip-to-be as its source names it, or a row saying why there is none."""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any, Protocol

from speech2face.errors import DatasetError

LABELS = ("language", "gender", "age", "group", "accent", "nationality")
"""What every record has a label for, "" where it is not known; a source may have more."""
SOURCE_LABEL = "source"
"""The label of a clip that says which source its record came from."""

MAX_KEY = 80  # characters; tar's names are the limit

REASONS: Mapping[str, str] = {
    "no_media": "the source names a recording or video that is not there",
    "no_photograph": "the source names a photograph that is not there",
    "no_licence": "no licence is stated, and records without one were not allowed",
    "no_consent": "no basis of consent is stated, and records without one were not allowed",
    "tombstone": "the speaker asked to be forgotten",
    "repeated": "another record of the source has the same key",
    "unreadable": "the file cannot be opened or decoded",
    "no_audio": "there is no sound in it, or none in the span",
    "silent": "nothing is louder than a muted input",
    "no_speech": "sound, but nowhere a voice",
    "too_short": "less sound in the span than asked for",
    "no_video": "there are no pictures in it, or none in the span",
    "no_face": "no face was found",
    "several_faces": "more than one face, and no hint or not only one at the hint",
    "wrong_face": "the face found is not where the source says the speaker's is",
    "not_frontal": "the face is turned or tilted too far",
    "too_small": "the face has too few pixels",
    "blurred": "the face is not sharp enough",
    "mouth_open": "the mouth is open",
    "eyes_shut": "the eyes are shut",
    "cut_off": "the face reaches beyond the picture's edge",
    "failed": "an error nobody foresaw; the detail says which",
}
"""Why there is no clip: a stable code, and what it means."""

_KEY = re.compile(rf"[A-Za-z0-9_-]{{1,{MAX_KEY}}}")


@dataclass(frozen=True)
class Record:
    """One clip-to-be. What is read of it is the span of the media, and the photograph or else the media's frames."""

    key: str
    """Unique and stable in its source; the clip's key: ASCII letters, digits, _ and -."""
    media: str
    """Path or URL of the recording or video."""
    speaker: str
    source: str
    """avspeech, voxceleb1, voxceleb2, pairs or videos."""
    start_seconds: float | None = None
    """Where the span begins in the media; None: at its beginning."""
    end_seconds: float | None = None
    photograph: str | None = None
    """A separate picture of the face; None: frames of the media."""
    face_x: float | None = None
    """Hint: the face's centre, 0 to 1 from left to right of the picture."""
    face_y: float | None = None
    """... 0 to 1 from top to bottom."""
    split: str | None = None
    """The source's own; None: by hash (`splits.assign_split`)."""
    labels: Mapping[str, str] = field(default_factory=dict)
    licence: str = ""
    """Of recording and picture; "" where none is stated."""
    consent: str = ""
    """On what the speaker's and the photographed person's consent rests; "" where nothing is stated."""

    def __post_init__(self) -> None:
        wrong = _wrong(self)
        if wrong:
            raise DatasetError(f"record {self.key!r} of {self.source}: {wrong}")

    @property
    def clip_labels(self) -> dict[str, str]:
        """The labels of its clip: its own and the source."""
        return {**self.labels, SOURCE_LABEL: self.source}

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return asdict(self) | {"labels": dict(self.labels)}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Record:
        """From `to_dict`'s result.

        Raises:
            DatasetError: an unknown or missing key, or a value out of its range.
        """
        known = [each.name for each in fields(cls)]
        if unknown := sorted(set(values) - set(known)):
            raise DatasetError(f"a record has no {', '.join(unknown)}; it has {', '.join(known)}")
        try:
            return cls(**values)
        except TypeError as error:
            raise DatasetError(f"{dict(values)} is no record: {error}") from error


@dataclass(frozen=True)
class Reject:
    """A record, or a row of a source, that gives no clip."""

    key: str
    speaker: str
    media: str
    reason: str
    """One of `REASONS`."""
    detail: str
    """One line: what was found."""

    def __post_init__(self) -> None:
        if self.reason not in REASONS:
            raise DatasetError(f"{self.reason!r} is no reason for a reject; there are {', '.join(REASONS)}")

    def to_dict(self) -> dict[str, str]:
        """JSON-ready."""
        return asdict(self)


REJECT_COLUMNS = tuple(each.name for each in fields(Reject))
"""Columns of a table of rejects."""


class Source(Protocol):
    """Where records come from. Nothing is downloaded; what is missing is a reject."""

    @property
    def name(self) -> str:
        """As in `Record.source`."""
        ...

    def records(self) -> Iterator[Record | Reject]:
        """All of them, in the same order every time; all records have the same labels."""
        ...


def reject(record: Record, reason: str, detail: str) -> Reject:
    """Why this record gives no clip; line breaks in the detail become spaces."""
    return Reject(record.key, record.speaker, record.media, reason, " ".join(detail.split()))


def fill_labels(record: Record, labels: tuple[str, ...]) -> Record:
    """The record with exactly these labels, "" where it has none: a data set's clips all have the same.

    Raises:
        DatasetError: it has a label that is not among them.
    """
    if unknown := sorted(set(record.labels) - set(labels)):
        raise DatasetError(f"record {record.key!r} of {record.source} has the label {unknown[0]}, others do not")
    return replace(record, labels={label: record.labels.get(label, "") for label in labels})


def short_hash(key: str) -> int:
    """Eight bytes that stand for a key where millions of them are remembered."""
    return int.from_bytes(hashlib.blake2b(key.encode(), digest_size=8).digest(), "little")


def is_key(text: str) -> bool:
    """Whether this can be a record's key."""
    return _KEY.fullmatch(text) is not None


def _wrong(record: Record) -> str | None:
    if not is_key(record.key):
        return f"the key is none: 1 to {MAX_KEY} letters, digits, '_' and '-' of ASCII"
    if not record.media:
        return "the media is not named"
    for what, text in (("speaker", record.speaker), ("licence", record.licence), ("consent", record.consent)):
        if not text.isprintable() or (what == "speaker" and not text.strip()):
            return f"the {what} {text!r} is none: one line of printable text"
    if record.split is not None and not is_key(record.split):
        return f"the split {record.split!r} is none: letters, digits, '_' and '-' of ASCII"
    start, end = record.start_seconds, record.end_seconds
    if any(time is not None and not (math.isfinite(time) and time >= 0) for time in (start, end)):
        return f"the span {start} to {end} s is none: seconds from 0 upwards"
    if end is not None and end <= (start or 0.0):
        return f"the span ends at {end:g} s, not after its start at {start or 0.0:g} s"
    if (record.face_x is None) != (record.face_y is None):
        return "a hint at the face needs x and y"
    if any(place is not None and not 0 <= place <= 1 for place in (record.face_x, record.face_y)):
        return f"the face's centre ({record.face_x:g}, {record.face_y:g}) is outside the picture's 0 to 1"
    return None
