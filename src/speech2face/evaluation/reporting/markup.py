"""The page's recurring pieces of HTML: sections, tables that scroll by themselves, what is hidden from the eye."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape


def unseen(text: str) -> str:
    """Text for screen readers only."""
    return f'<span class="unseen">{escape(text)}</span>'


def section(anchor: str, title: str, content: str, *, kind: str = "") -> str:
    """A section under a heading of the second rank, which links lead to."""
    shown = f' class="{kind}"' if kind else ""
    return f'<section{shown} aria-labelledby="{anchor}">\n<h2 id="{anchor}">{escape(title)}</h2>\n{content}\n</section>'


def heading_cell(content: str, *, row: bool = False, kind: str = "") -> str:
    """A column's heading, or a row's; the content is HTML."""
    shown = f' class="{kind}"' if kind else ""
    return f'<th scope="{"row" if row else "col"}"{shown}>{content}</th>'


def cell(content: str, *, kind: str = "") -> str:
    """A cell of HTML."""
    shown = f' class="{kind}"' if kind else ""
    return f"<td{shown}>{content}</td>"


def table(label: str, head: Iterable[str], rows: Sequence[str], *, caption: str = "") -> str:
    """A table in a frame that scrolls sideways, by keyboard too; rows are HTML cells joined."""
    body = "\n".join(f"<tr>{row}</tr>" for row in rows)
    said = f"<caption>{escape(caption)}</caption>\n" if caption else ""
    return (
        f'<div class="scroll" tabindex="0" role="region" aria-label="Table: {escape(label)}">\n<table>\n{said}'
        f"<thead><tr>{''.join(head)}</tr></thead>\n<tbody>\n{body}\n</tbody>\n</table>\n</div>"
    )


def folded(summary: str, content: str) -> str:
    """What is shown when it is asked for."""
    return f"<details><summary>{escape(summary)}</summary>\n{content}\n</details>"


def facts(rows: Iterable[tuple[str, str]], *, kind: str = "facts") -> str:
    """Names and values; those without a value are left out."""
    shown = [f"<div><dt>{escape(name)}</dt><dd>{escape(value)}</dd></div>" for name, value in rows if value]
    return f'<dl class="{kind}">{"".join(shown)}</dl>'


def items(contents: Iterable[str], *, kind: str = "") -> str:
    """A list; each item is HTML."""
    shown = f' class="{kind}"' if kind else ""
    return f"<ul{shown}>\n" + "\n".join(f"<li>{content}</li>" for content in contents) + "\n</ul>"
