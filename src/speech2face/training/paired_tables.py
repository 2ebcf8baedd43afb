"""The tables of a paired release's card: what a data set holds, counted, a few rows each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from speech2face.data.record import REASONS
from speech2face.data.statement import UNKNOWN, UNSTATED
from speech2face.training.paired_sources import STATED, without_folders

ROWS = 10  # of a table, the rest in the last one
CELL = 160  # characters
HEADS = {"splits": "split", "sources": "source", "licences": "licence", "consents": "consent rests on"}
# Of a statement, what is no word of its maker: shown as tables, or not of use to a card's reader.
COUNTED = frozenset(
    {"format", "clips", "speakers", "hours", "clips_a_speaker", "labels", "measures", "rejects", "duplicates"}
    | {"forgotten_speakers", "landmarks", "settings", STATED, *HEADS}
)


def statement_lines(statement: Mapping[str, Any]) -> list[str]:
    """A data set's statement as short tables, each with an empty line after it."""
    lines = []
    if {"clips", "speakers", "hours"} <= set(statement):
        lines += [
            f"{statement['clips']:,} clips of {statement['speakers']:,} speakers, {statement['hours']:,.2f} hours,"
            " all splits together.",
            "",
        ]
    words = {name: each for name, each in statement.items() if name not in COUNTED} | dict(statement.get(STATED) or {})
    if words:
        lines += ["Its maker states:", "", *fact_lines(words), ""]
    for key, head in HEADS.items():
        lines += _counted(head, statement.get(key))
    unknown = []
    for label, counts in (statement.get("labels") or {}).items():
        if set(counts) <= {UNKNOWN}:
            unknown.append(label)
        else:
            lines += _counted(label, counts)
    if unknown:
        lines += [f"Not known of any clip: {', '.join(unknown)}.", ""]
    return lines + _rejects(statement.get("rejects"))


def fact_lines(facts: Mapping[str, Any], indent: str = "") -> list[str]:
    """Facts as points; what holds others has them as points of its own."""
    lines = []
    for name, value in list(facts.items())[:ROWS]:
        title = f"{indent}- {cell(str(name).replace('_', ' '))}:"
        lines += (
            [title, *fact_lines(value, indent + "  ")] if isinstance(value, Mapping) else [f"{title} {cell(value)}"]
        )
    if len(facts) > ROWS:
        lines.append(f"{indent}- and {len(facts) - ROWS:,} more")
    return lines


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """A table in Markdown, and an empty line."""
    lines = ["| " + " | ".join(row) + " |" for row in (header, *rows)]
    return [lines[0], "|" + "---|" * len(header), *lines[1:], ""]


def cell(value: Any) -> str:
    """One line of text that breaks no table and names no folder."""
    if value is None or value == "":
        return UNSTATED
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list | tuple):
        more = [f"and {len(value) - ROWS:,} more"] if len(value) > ROWS else []
        return ", ".join([*map(cell, value[:ROWS]), *more])
    if isinstance(value, Mapping):
        return cell([f"{name} {cell(each)}" for name, each in value.items()])
    text = " ".join(str(without_folders(str(value))).split()).replace("|", "\\|")
    return text if len(text) <= CELL else text[: CELL - 3] + "..."


def _counted(head: str, counts: Any) -> list[str]:
    """Clips, speakers and hours of each value; a statement of another's making may hold something else."""
    if not isinstance(counts, Mapping) or not counts:
        return []
    if not all(isinstance(each, Mapping) and {"clips", "speakers", "hours"} <= set(each) for each in counts.values()):
        return [f"{head.capitalize()}:", "", *fact_lines(counts), ""]
    shown, rest = _cut(list(counts.items()))
    rows = [(cell(name), f"{c['clips']:,}", f"{c['speakers']:,}", f"{c['hours']:,.2f}") for name, c in shown]
    if rest:
        clips, people, hours = (sum(each[key] for _, each in rest) for key in ("clips", "speakers", "hours"))
        # A speaker may stand in several rows.
        rows.append((f"{len(rest):,} others", f"{clips:,}", f"up to {people:,}", f"{hours:,.2f}"))
    return table((head, "clips", "speakers", "hours"), rows)


def _rejects(rejects: Any) -> list[str]:
    if not isinstance(rejects, Mapping) or not rejects:
        return []
    if not all(isinstance(count, int) for count in rejects.values()):
        return ["Rejects:", "", *fact_lines(rejects), ""]
    shown, rest = _cut(sorted(rejects.items(), key=lambda item: (-item[1], item[0])))
    rows = [(cell(reason), f"{count:,}", REASONS.get(reason, "")) for reason, count in shown]
    rows += [(f"{len(rest):,} others", f"{sum(count for _, count in rest):,}", "")] if rest else []
    return table(("records that gave no clip", "records", "meaning"), rows)


def _cut(items: list[tuple[str, Any]]) -> tuple[list[tuple[str, Any]], list[tuple[str, Any]]]:
    """At most `ROWS` rows, the last of them for what is left."""
    kept = len(items) if len(items) <= ROWS else ROWS - 1
    return items[:kept], items[kept:]
