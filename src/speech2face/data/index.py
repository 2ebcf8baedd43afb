"""A shard's index: one CSV row a clip, saying whose it is and which bytes of the shard are the clip's."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from speech2face.data.members import BLOCK, END_OF_ARCHIVE
from speech2face.errors import DatasetError

COLUMNS = (
    "clip",
    "speaker",
    "split",
    "seconds",
    "licence",
    "consent",
    "offset",
    "length",
    "length_without_face",
)
"""The columns of every index, in this order; a data set's own labels follow."""


@dataclass(frozen=True)
class Row:
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


def encode_index(rows: Iterable[Row], labels: Sequence[str]) -> bytes:
    """The whole file."""
    sink = io.StringIO()
    writer = csv.writer(sink, lineterminator="\n")
    writer.writerow([*COLUMNS, *labels])
    writer.writerows(row.cells() for row in rows)
    return sink.getvalue().encode()


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
