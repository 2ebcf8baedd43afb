"""Own data: a table of pairs, each row a recording, a photograph of who speaks, and on what their use rests."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from speech2face.data.index import COLUMNS as INDEX_COLUMNS
from speech2face.data.record import LABELS, SOURCE_LABEL, Record, Reject, is_key, reject
from speech2face.data.sources.basis import Basis
from speech2face.data.sources.files import beside, is_missing, with_slashes
from speech2face.data.sources.tables import Row, read_table, split_place

NEEDED = ("recording", "speaker")
OPTIONAL = ("photograph", "licence", "consent", "start", "end", "face_x", "face_y", "split", "key")

KNOWN = (*NEEDED, *OPTIONAL, *LABELS)

_LABEL = re.compile(r"[a-z][a-z0-9_]*")
_STEM = 40  # characters of the recording's name in a key made here
_DIGEST = 12  # hexadecimal digits: two of a million keys alike once in 560


@dataclass(frozen=True)
class Pairs:
    """Records of a table with a header. Paths in it are relative to its own folder.

    Columns that are neither `NEEDED` nor `OPTIONAL` are labels; one that is nearly a `KNOWN` column, which the table
    lacks, is taken for a slip of the pen and refused.
    """

    table: str
    """Path or URL of the CSV."""
    basis: Basis = field(default_factory=Basis)

    @property
    def name(self) -> str:
        """As in `Record.source`."""
        return "pairs"

    @property
    def relative_to(self) -> str:
        """What paths in the table are relative to."""
        return split_place(self.table)[0]

    def records(self) -> Iterator[Record | Reject]:
        """In the table's order.

        Raises:
            DatasetError: the table is wrong, with line and column.
        """
        folder, lines = split_place(self.table)[0], dict[str, int]()
        for row in read_table(self.table, needed=NEEDED, known=KNOWN, refuse=_refuse):
            record = _record(row, folder, _labels(row))
            before = lines.setdefault(record.key, row.line)
            if before != row.line and row.get("key"):
                raise row.wrong("key", f"the key {record.key!r} is in line {before} already; every row has its own")
            if before != row.line:
                yield reject(record, "repeated", f"line {row.line} is of the same files and span as line {before}")
            elif is_missing(record.media):
                yield reject(record, "no_media", f"there is no {record.media}")
            elif record.photograph is not None and is_missing(record.photograph):
                yield reject(record, "no_photograph", f"there is no {record.photograph}")
            else:
                yield self.basis.of(record)


def _refuse(column: str) -> str | None:
    if column in (*NEEDED, *OPTIONAL) or (_LABEL.fullmatch(column) and column not in (*INDEX_COLUMNS, SOURCE_LABEL)):
        return None
    return "a label is small letters, digits and '_', and not a word the index of a shard has already"


def _labels(row: Row) -> tuple[str, ...]:
    own = (name for name in row.columns if name not in KNOWN)
    return (*LABELS, *own)


def _record(row: Row, folder: str, labels: tuple[str, ...]) -> Record:
    recording = with_slashes(folder, row.printable("recording", needed=True))
    photograph = with_slashes(folder, row.printable("photograph"))
    start, end = row.seconds("start"), row.seconds("end")
    if end is not None and end <= (start or 0.0):
        raise row.wrong("end", f"end is {end:g}, not after the start at {start or 0.0:g}")
    x, y = row.share("face_x"), row.share("face_y")
    if (x is None) != (y is None):
        raise row.wrong("face_y" if y is None else "face_x", "one of face_x and face_y is empty; give both or none")
    split, key = row.get("split"), row.get("key") or _key(recording, photograph, start, end)
    for column, name in (("split", split), ("key", key)):
        if name and not is_key(name):
            raise row.wrong(column, f"{column} is {name!r}: at most 80 letters, digits, '_' and '-' of ASCII")
    return Record(
        key=key,
        media=beside(folder, recording),
        speaker=row.printable("speaker", needed=True),
        source="pairs",
        start_seconds=start,
        end_seconds=end,
        photograph=beside(folder, photograph) if photograph else None,
        face_x=x,
        face_y=y,
        split=split or None,
        labels={label: row.printable(label) for label in labels},
        licence=row.printable("licence"),
        consent=row.printable("consent"),
    )


def _key(recording: str, photograph: str, start: float | None, end: float | None) -> str:
    """A key that does not depend on where the row stands or where the table lies."""
    digest = hashlib.sha256(repr((recording, photograph, start, end)).encode()).hexdigest()[:_DIGEST]
    stem = recording.replace("\\", "/").rpartition("/")[2].rpartition(".")[0]
    readable = re.sub(r"[^A-Za-z0-9]+", "_", stem).strip("_")[:_STEM]
    return f"pair_{readable}_{digest}" if readable else f"pair_{digest}"
