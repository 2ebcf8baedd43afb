"""Tables of rejects: beside each shard what fell out of it, `sources` for what never got so far, `workers` for what
ended a worker."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator

from speech2face.data.record import REASONS, REJECT_COLUMNS, Reject
from speech2face.data.storage import Storage
from speech2face.errors import DatasetError

SUFFIX = ".rejects.csv"
SOURCES, WORKERS = f"sources{SUFFIX}", f"workers{SUFFIX}"

_FILES_AT_ONCE = 256


def encode_rejects(rejects: Iterable[Reject], *, header: bool = True) -> bytes:
    """The whole file, or further lines of one."""
    sink = io.StringIO()
    writer = csv.writer(sink, lineterminator="\n")
    if header:
        writer.writerow(REJECT_COLUMNS)
    for each in rejects:
        row = each.to_dict()
        writer.writerow([row[column] for column in REJECT_COLUMNS])
    return sink.getvalue().encode()


def write_rejects(storage: Storage, name: str, rejects: Iterable[Reject]) -> None:
    """The table of one shard: the last thing that is written of it.

    Raises:
        CannotWrite: no room, no permission.
    """
    storage.write(f"{name}{SUFFIX}", encode_rejects(rejects))


def decode_rejects(content: bytes, where: str) -> list[Reject]:
    """From the file.

    Raises:
        DatasetError: it is none; names the line.
    """
    try:
        rows = csv.DictReader(io.StringIO(content.decode(), newline=""), strict=True)
        if tuple(rows.fieldnames or ()) != REJECT_COLUMNS:
            raise DatasetError(f"{where}:1: the columns are {', '.join(REJECT_COLUMNS)}, not {rows.fieldnames}")
        found = []
        for row in rows:
            if row.get("reason") not in REASONS or None in row or None in row.values():
                raise DatasetError(f"{where}:{rows.line_num}: no reject; it has {', '.join(REJECT_COLUMNS)}")
            found.append(Reject(**row))
        return found
    except (UnicodeDecodeError, csv.Error) as error:
        raise DatasetError(f"{where} is no table of rejects: {error}") from error


def read_rejects(storage: Storage) -> Iterator[Reject]:
    """All of a folder's, by file and line.

    Raises:
        DatasetError: a file cannot be read.
    """
    names = [name for name in storage.names() if name.endswith(SUFFIX)]
    for start in range(0, len(names), _FILES_AT_ONCE):
        group = names[start : start + _FILES_AT_ONCE]
        for name, content in zip(group, storage.read_together(group), strict=True):
            yield from decode_rejects(content, storage.where(name))
