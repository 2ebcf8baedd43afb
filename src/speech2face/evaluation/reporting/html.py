"""The report as one page: no script, nothing from elsewhere, pictures inline; light or dark as the reader's system."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from importlib.resources import files
from typing import Any

from speech2face.evaluation.parts.part import Cell, Exclusion, Figure, Part, Table, count_reasons
from speech2face.evaluation.reporting import markup
from speech2face.evaluation.reporting.facts import ReportFacts
from speech2face.evaluation.reporting.html_numbers import LEGEND, glance, number_tables
from speech2face.evaluation.reporting.tables import cell_text, words

POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"
FOLD_FROM_ROWS = 40
LONG_TEXT = 24  # characters
METRIC = "metric"  # a column of this name holds names of numbers, which are read as words
SAYS, SKIPPED, LEFT_OUT, CIRCUMSTANCES = (
    "What these numbers say, and what they do not",
    "Not measured",
    "What was left out",
    "Model, data, settings",
)
REASONS = {
    "picture_missing": "the folder of pictures has none of this clip",
    "picture_unreadable": "the picture is damaged, or no picture",
    "no_face": "no face was found in the picture",
    "no_prediction": "the recording could not be heard",
    "no_reference": "the clip has no face embedding of its own",
    "no_original": "the data have no aligned face of this clip",
    "no_label": "nobody said gender, age or group of the speaker",
    "label_unknown": "what was said of gender, age or group is none of the known values",
    "age_spans_groups": "the age that was given spans two age groups",
}
"""What the codes of exclusions mean; a code that is not here is shown as it is."""


def page(parts: Sequence[Part], facts: ReportFacts) -> str:
    """The whole page."""
    style = files(__package__).joinpath("report.css").read_text(encoding="utf-8")
    measured, skipped = [part for part in parts if not part.skipped], [part for part in parts if part.skipped]
    body = [
        '<main id="content">',
        markup.section("says", SAYS, markup.items(map(escape, facts.says)), kind="says"),
        glance(measured),
        *map(_part, measured),
        markup.section("not-measured", SKIPPED, _not_measured(skipped)) if skipped else "",
        markup.section("left-out", LEFT_OUT, _left_out(facts.exclusions)) if facts.exclusions else "",
        markup.section("circumstances", CIRCUMSTANCES, _circumstances(facts)),
        "</main>",
        f"<footer><p>Made by speech2face {escape(facts.made.get('version', ''))}. Every number of this page is also in"
        " <code>results.json</code> and <code>numbers.csv</code> beside it.</p></footer>",
    ]
    return "\n".join(
        [
            '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">',
            f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            '<meta name="color-scheme" content="light dark">',
            f"<title>{escape(facts.title)}</title>",
            f"<style>\n{style}</style>\n</head>\n<body>",
            '<a class="skip" href="#content">Skip to the report</a>',
            '<div class="page">',
            _head(facts),
            _contents(measured, skipped=bool(skipped), excluded=bool(facts.exclusions)),
            '<div class="report">',
            *(piece for piece in body if piece),
            "</div>\n</div>\n</body>\n</html>\n",
        ]
    )


def _head(facts: ReportFacts) -> str:
    models = "; ".join(" ".join(filter(None, (model.name, model.version))) for model in facts.models)
    data = [
        ("Data" if name == "name" else words(name), _value(value))
        for name, value in facts.data.items()
        if "sha" not in name
    ]
    rows = [("Model", models), *data, ("Date", facts.made.get("date", ""))]
    return f'<header class="title">\n<h1>{escape(facts.title)}</h1>\n{markup.facts(rows)}\n</header>'


def _contents(measured: Sequence[Part], *, skipped: bool, excluded: bool) -> str:
    entries = [("says", "What the numbers say")]
    entries += [("glance", "At a glance")] * any(part.numbers for part in measured)
    entries += [(f"part-{part.name}", part.title) for part in measured]
    entries += [("not-measured", SKIPPED)] * skipped + [("left-out", LEFT_OUT)] * excluded
    links = markup.items(
        f'<a href="#{anchor}">{escape(title)}</a>' for anchor, title in [*entries, ("circumstances", CIRCUMSTANCES)]
    )
    return (
        f'<nav class="contents" aria-label="Contents">\n<details open><summary>Contents</summary>\n{links}\n'
        "</details>\n</nav>"
    )


def _part(part: Part) -> str:
    pieces = [
        *(f'<p class="note">{escape(note)}</p>' for note in part.notes),
        *map(_figure, part.figures),
        *map(_table, part.tables),
        *number_tables(part),
        f"<h3>Left out here</h3>\n{_reasons(part.exclusions)}" if part.exclusions else "",
    ]
    return markup.section(f"part-{part.name}", part.title, "\n".join(filter(None, pieces)), kind="part")


def _figure(figure: Figure) -> str:
    source = base64.b64encode(figure.png).decode("ascii")
    width, height = png_size(figure.png)
    size = f' width="{width}" height="{height}"' if width else ""
    return (
        f'<figure>\n<img src="data:image/png;base64,{source}" alt="{escape(figure.alt)}"{size}>\n'
        f"<figcaption>{escape(figure.caption)}</figcaption>\n</figure>"
    )


def png_size(png: bytes) -> tuple[int, int]:
    """Width and height from a PNG's header (ISO 15948, IHDR), 0 and 0 of anything else.

    A picture of known size does not make the page jump as it loads.
    """
    if png[:8] != b"\x89PNG\r\n\x1a\n" or len(png) < 24:
        return 0, 0
    return int.from_bytes(png[16:20], "big"), int.from_bytes(png[20:24], "big")


def _table(table: Table) -> str:
    kinds = [_kind([row[place] for row in table.rows]) for place in range(len(table.header))]
    titles = zip((escape(words(name)) for name in table.header), kinds, strict=True)
    rows = []
    for row in table.rows:
        texts = [
            words(str(content)) if name == METRIC else cell_text(content)
            for name, content in zip(table.header, row, strict=True)
        ]
        first, *others = zip(map(escape, texts), kinds, strict=True)
        cells = [markup.heading_cell(first[0], row=True, kind=first[1])]
        rows.append("".join(cells + [markup.cell(content, kind=kind) for content, kind in others]))
    if not rows:
        rows = [f'<td colspan="{len(table.header)}">None.</td>']
    shown = markup.table(table.title, [markup.heading_cell(title, kind=kind) for title, kind in titles], rows)
    if len(rows) > FOLD_FROM_ROWS:
        shown = markup.folded(f"All {len(rows)} rows", shown)
    note = f'\n<p class="table-note">{escape(table.note)}</p>' if table.note else ""
    return f"<h3>{escape(table.title)}</h3>\n{shown}{note}"


def _kind(column: Sequence[Cell]) -> str:
    """How a column is set: numbers to the right, long text with room to breathe."""
    if all(isinstance(content, int | float) or not content for content in column):
        return "number"
    return "long" if any(len(str(content)) > LONG_TEXT for content in column) else ""


def _left_out(exclusions: Iterable[Exclusion]) -> str:
    named = (
        "<p>Clips that could not be used for something, such as one of the lengths heard, by reason;"
        " <code>exclusions.csv</code> names them.</p>"
    )
    return f"{named}\n{_reasons(exclusions)}"


def _reasons(exclusions: Iterable[Exclusion]) -> str:
    return markup.items(
        (
            f"<strong>{count:,}</strong> <code>{escape(reason)}</code>"
            + (f": {escape(REASONS[reason])}" if reason in REASONS else "")
            for reason, count in count_reasons(exclusions).items()
        ),
        kind="reasons",
    )


def _not_measured(parts: Iterable[Part]) -> str:
    return markup.facts(((part.title, part.skipped) for part in parts), kind="skipped")


def _circumstances(facts: ReportFacts) -> str:
    rows = []
    for model in facts.model_rows():
        of = f" of {model['name']}" if len(facts.models) > 1 else ""
        rows += [("Model" if name == "name" else words(name) + of, _value(value)) for name, value in model.items()]
    rows += [(f"Data: {name.replace('_', ' ')}", _value(value)) for name, value in facts.data.items()]
    rows += [(words(name), _value(value)) for name, value in (*facts.settings.items(), *facts.made.items())]
    return f"{markup.facts(rows)}\n<h3>How to read a row</h3>\n{LEGEND}"


def _value(value: Any) -> str:
    """A fact as a person reads it."""
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {_value(item)}" for name, item in value.items() if item not in (None, ""))
    if isinstance(value, list | tuple):
        return ", ".join(map(_value, value))
    if value is None or isinstance(value, bool):
        return {None: "", True: "yes", False: "no"}[value]
    return f"{value:,}" if isinstance(value, int) else str(value)
