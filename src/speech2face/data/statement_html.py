"""The data statement as part of a page: its Markdown, which uses headings, tables, lists and paragraphs, as HTML."""

import html
import re
from collections.abc import Iterator
from itertools import groupby

_CELL = re.compile(r"(?<!\\)\|")  # a bar that is not escaped
_CODE = re.compile(r"`([^`]*)`")


def statement_html(markdown: str) -> str:
    """HTML of what `statement_markdown` writes; the text in it is escaped, whatever it holds."""
    return "\n".join(part for kind, lines in groupby(markdown.splitlines(), _kind) for part in _part(kind, [*lines]))


def _kind(line: str) -> str:
    if line.startswith("|"):
        return "table"
    if line.lstrip().startswith("- "):
        return "list"
    return "heading" if line.startswith("#") else "text"


def _part(kind: str, lines: list[str]) -> Iterator[str]:
    if kind == "table":
        head, _, *body = map(_cells, lines)
        yield "<table><tr>" + "".join(f'<th scope="col">{cell}</th>' for cell in head) + "</tr>"
        yield from ("<tr>" + "".join(f"<td>{cell}</td>" for cell in row) + "</tr>" for row in body)
        yield "</table>"
    elif kind == "list":
        yield "<ul>"
        for line in lines:
            depth = (len(line) - len(line.lstrip())) // 2
            yield f'<li style="margin-left:{1.2 * depth:g}rem">{_text(line.lstrip()[2:])}</li>'
        yield "</ul>"
    elif kind == "heading":
        yield from (f"<h4>{_text(line.lstrip('# '))}</h4>" for line in lines if line != "# Data statement")
    else:
        yield from (f"<p>{_text(line)}</p>" for line in lines if line)


def _cells(line: str) -> list[str]:
    return [_text(cell.strip()) for cell in _CELL.split(line)[1:-1]]


def _text(text: str) -> str:
    return _CODE.sub(r"<code>\1</code>", html.escape(text.replace("\\|", "|").replace("\\\\", "\\")))
