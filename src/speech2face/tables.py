"""Tables as text: CSV of this program's own files, and Markdown for its pages."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence


def encode_csv(rows: Iterable[Iterable[object]]) -> bytes:
    """Return rows as CSV in UTF-8, a line feed after each."""
    sink = io.StringIO()
    csv.writer(sink, lineterminator="\n").writerows(rows)
    return sink.getvalue().encode()


def decode_csv(content: bytes) -> list[list[str]]:
    """Return the rows of a CSV in UTF-8, the header first if there is one.

    Raises:
        ValueError: it is not UTF-8, or a quote is not closed; the caller names the file.
    """
    try:
        return list(csv.reader(io.StringIO(content.decode(), newline=""), strict=True))
    except csv.Error as error:
        raise ValueError(str(error)) from error


def markdown_table(header: Sequence[str], rows: Iterable[Sequence[object]], *, align: str = "") -> str:
    """Return a Markdown table without a last line end, bars and backslashes in its cells escaped.

    `align` has a letter a column, "l" or "r"; without it nothing is said, which most renderers show to the left.
    """
    rules = {"l": ":---|", "r": "---:|"}
    lines = [_row(header), "|" + ("".join(rules[letter] for letter in align) or "---|" * len(header))]
    return "\n".join([*lines, *map(_row, rows)])


def _row(cells: Iterable[object]) -> str:
    return "| " + " | ".join(str(cell).replace("\\", "\\\\").replace("|", "\\|") for cell in cells) + " |"
