"""The report as files that appear together or not at all: results.json, CSVs, figures, a page that stands alone."""

from __future__ import annotations

import base64
import json
import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from html import escape
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from speech2face.errors import MissingExtra
from speech2face.evaluation.report import (
    Cell,
    Exclusion,
    Figure,
    Number,
    Part,
    ReportFacts,
    Table,
    cell_text,
    count_reasons,
    decimals,
    exclusions_csv,
    number_text,
    numbers_csv,
    table_csv,
    words,
)
from speech2face.inputs import parse_json
from speech2face.outputs import check_outputs, write_together
from speech2face.provenance import chart_provenance, picture_bytes
from speech2face.quiet import away_from_home

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Canvas

SCHEMA, SCHEMA_VERSION = "speech2face-report", 1
RESULTS, PAGE, NUMBERS, EXCLUSIONS = "results.json", "index.html", "numbers.csv", "exclusions.csv"
TABLES, FIGURES = "tables", "figures"
_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,100}")
_OWN_FILE = re.compile(rf"(?:{TABLES}/[a-z0-9_-]+\.csv|{FIGURES}/[a-z0-9_-]+\.png)")


def check_report(out: str | Path, *, force: bool = False) -> None:
    """Refuse before any work what could not be written after it.

    Raises:
        OutputExists: there is a report already and `force` is not set.
        CannotWrite: the folder cannot be made or written to.
    """
    check_outputs([Path(out) / name for name in (RESULTS, PAGE, NUMBERS, EXCLUSIONS)], force=force)


def write_report(parts: Sequence[Part], facts: ReportFacts, out: str | Path, *, force: bool = False) -> dict[str, Any]:
    """Write a report into a folder and return what results.json holds.

    With `force` an older report is replaced whole: tables and figures that only it had are removed. Other files in the
    folder are left alone.

    Raises:
        OutputExists, CannotWrite: as `check_report`; nothing is then written.
    """
    folder = Path(out)
    results = to_json(parts, facts)
    contents: dict[str, bytes] = {
        RESULTS: (json.dumps(results, indent=1, ensure_ascii=False, allow_nan=False) + "\n").encode(),
        NUMBERS: numbers_csv(parts),
        EXCLUSIONS: exclusions_csv(facts.exclusions, parts),
        PAGE: page(parts, facts).encode(),
    }
    for part in parts:
        files = {_table_file(part, table): table_csv(table) for table in part.tables}
        files |= {_figure_file(part, figure): figure.png for figure in part.figures}
        assert len(files) == len(part.tables) + len(part.figures), f"two tables or figures of {part.name} share a name"
        assert not set(files) & set(contents), f"a file of {part.name} has the name of another part's"
        contents |= files
    old = _files_of(folder / RESULTS) if force else set()
    write_together({folder / name: content for name, content in contents.items()}, force=force)
    for name in old - set(contents):
        (folder / name).unlink(missing_ok=True)
    return results


def to_json(parts: Sequence[Part], facts: ReportFacts) -> dict[str, Any]:
    """All of the report but the pictures; a value that is no number is null."""
    names = [part.name for part in parts]
    assert len(set(names)) == len(names), "each part has a name of its own"
    stated: dict[str, Any] = _plain(
        {
            "schema": SCHEMA,
            "schema_version": SCHEMA_VERSION,
            "title": facts.title,
            "made": dict(facts.made),
            "models": facts.model_rows(),
            "data": dict(facts.data),
            "settings": dict(facts.settings),
            "says": list(facts.says),
            "exclusions": count_reasons(facts.exclusions),
            "parts": [_part_json(part) for part in parts],
        }
    )
    return stated


def _part_json(part: Part) -> dict[str, Any]:
    return {
        "name": part.name,
        "title": part.title,
        "skipped": part.skipped,
        "numbers": [_number_json(number) for number in part.numbers],
        "tables": [asdict(table) | {"file": _table_file(part, table)} for table in part.tables],
        "figures": [
            {"name": figure.name, "file": _figure_file(part, figure), "caption": figure.caption, "alt": figure.alt}
            for figure in part.figures
        ],
        "notes": list(part.notes),
        "exclusions": count_reasons(part.exclusions),
    }


def _number_json(number: Number) -> dict[str, Any]:
    estimate = number.estimate
    return {
        "metric": number.metric,
        "conditions": dict(number.conditions),
        "value": estimate.value,
        "low_95": estimate.low,
        "high_95": estimate.high,
        "speakers": estimate.n,
        "clips": number.clips,
        "chance": number.chance,
        "mean_face": number.mean_face,
        "gender_mean_face": number.gender_mean_face,
        "best": number.best,
        "published": number.published,
        "higher_is_better": number.higher_is_better,
    }


def _table_file(part: Part, table: Table) -> str:
    return _file(TABLES, part, table.name, "csv")


def _figure_file(part: Part, figure: Figure) -> str:
    return _file(FIGURES, part, figure.name, "png")


def _file(folder: str, part: Part, name: str, ending: str) -> str:
    for given in (part.name, name):
        assert _NAME.fullmatch(given), f"{given!r} is no name of a file: small letters, digits, _ and -"
    return f"{folder}/{part.name if name == part.name else f'{part.name}-{name}'}.{ending}"


def _files_of(results: Path) -> set[str]:
    """Tables and figures of a report that is there, and nothing else it may name."""
    try:
        stated = parse_json(results.read_text(encoding="utf-8"))
        found = [entry["file"] for part in stated["parts"] for entry in (*part["tables"], *part["figures"])]
    except (OSError, ValueError, KeyError, TypeError):
        return set()
    return {name for name in found if isinstance(name, str) and _OWN_FILE.fullmatch(name)}


def _plain(value: Any) -> Any:
    """JSON's own types: numpy's numbers as Python's, NaN and infinity as null."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if hasattr(value, "item"):  # of numpy
        value = value.item()
    return None if isinstance(value, float) and not math.isfinite(value) else value


# --------------------------------------------------------------------------------------------------
# The report as one page: no script, nothing from elsewhere, pictures inline; light or dark as the reader's system.
# --------------------------------------------------------------------------------------------------

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
        section("says", SAYS, items(map(escape, facts.says)), kind="says"),
        glance(measured),
        *map(_part, measured),
        section("not-measured", SKIPPED, _not_measured(skipped)) if skipped else "",
        section("left-out", LEFT_OUT, _left_out(facts.exclusions)) if facts.exclusions else "",
        section("circumstances", CIRCUMSTANCES, _circumstances(facts)),
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
    return f'<header class="title">\n<h1>{escape(facts.title)}</h1>\n{fact_list(rows)}\n</header>'


def _contents(measured: Sequence[Part], *, skipped: bool, excluded: bool) -> str:
    entries = [("says", "What the numbers say")]
    entries += [("glance", "At a glance")] * any(part.numbers for part in measured)
    entries += [(f"part-{part.name}", part.title) for part in measured]
    entries += [("not-measured", SKIPPED)] * skipped + [("left-out", LEFT_OUT)] * excluded
    links = items(
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
    return section(f"part-{part.name}", part.title, "\n".join(filter(None, pieces)), kind="part")


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
        cells = [heading_cell(first[0], row=True, kind=first[1])]
        rows.append("".join(cells + [cell(content, kind=kind) for content, kind in others]))
    if not rows:
        rows = [f'<td colspan="{len(table.header)}">None.</td>']
    shown = html_table(table.title, [heading_cell(title, kind=kind) for title, kind in titles], rows)
    if len(rows) > FOLD_FROM_ROWS:
        shown = folded(f"All {len(rows)} rows", shown)
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
    return items(
        (
            f"<strong>{count:,}</strong> <code>{escape(reason)}</code>"
            + (f": {escape(REASONS[reason])}" if reason in REASONS else "")
            for reason, count in count_reasons(exclusions).items()
        ),
        kind="reasons",
    )


def _not_measured(parts: Iterable[Part]) -> str:
    return fact_list(((part.title, part.skipped) for part in parts), kind="skipped")


def _circumstances(facts: ReportFacts) -> str:
    rows = []
    for model in facts.model_rows():
        of = f" of {model['name']}" if len(facts.models) > 1 else ""
        rows += [("Model" if name == "name" else words(name) + of, _value(value)) for name, value in model.items()]
    rows += [(f"Data: {name.replace('_', ' ')}", _value(value)) for name, value in facts.data.items()]
    rows += [(words(name), _value(value)) for name, value in (*facts.settings.items(), *facts.made.items())]
    return f"{fact_list(rows)}\n<h3>How to read a row</h3>\n{LEGEND}"


def _value(value: Any) -> str:
    """A fact as a person reads it."""
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {_value(item)}" for name, item in value.items() if item not in (None, ""))
    if isinstance(value, list | tuple):
        return ", ".join(map(_value, value))
    if value is None or isinstance(value, bool):
        return {None: "", True: "yes", False: "no"}[value]
    return f"{value:,}" if isinstance(value, int) else str(value)


# --------------------------------------------------------------------------------------------------
# The page's recurring pieces of HTML: sections, tables that scroll by themselves, what is hidden from the eye.
# --------------------------------------------------------------------------------------------------


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


def html_table(label: str, head: Iterable[str], rows: Sequence[str], *, caption: str = "") -> str:
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


def fact_list(rows: Iterable[tuple[str, str]], *, kind: str = "facts") -> str:
    """Names and values; those without a value are left out."""
    shown = [f"<div><dt>{escape(name)}</dt><dd>{escape(value)}</dd></div>" for name, value in rows if value]
    return f'<dl class="{kind}">{"".join(shown)}</dl>'


def items(contents: Iterable[str], *, kind: str = "") -> str:
    """A list; each item is HTML."""
    shown = f' class="{kind}"' if kind else ""
    return f"<ul{shown}>\n" + "\n".join(f"<li>{content}</li>" for content in contents) + "\n</ul>"


# --------------------------------------------------------------------------------------------------
# A number as a mark on a line beside chance and the cheats: what a row of digits does not show at a glance.
# --------------------------------------------------------------------------------------------------

WIDTH, HEIGHT = 168, 18  # of the drawing, in CSS pixels
MARGIN = 7  # for marks at the ends
MIDDLE = HEIGHT // 2


@dataclass(frozen=True)
class Scale:
    """The range that all strips of one metric share."""

    low: float
    high: float

    def place(self, value: float) -> float:
        """Where a value lies, in pixels from the left."""
        share = (value - self.low) / (self.high - self.low) if self.high > self.low else 0.5
        return MARGIN + min(max(share, 0.0), 1.0) * (WIDTH - 2 * MARGIN)


def scale_of(numbers: Iterable[Number]) -> Scale:
    """The range of all that is drawn of some numbers."""
    seen = [value for number in numbers for value in _values(number) if _value_exists(value)]
    return Scale(min(seen), max(seen)) if seen else Scale(0.0, 1.0)


def strip_svg(number: Number, scale: Scale) -> str:
    """The drawing, "" where there is no value; hidden from screen readers, which read the same numbers in the row."""
    value, low, high, chance, mean, gender_mean, best = _values(number)
    if not _value_exists(value):
        return ""
    marks = [f'<line class="axis" x1="{MARGIN}" x2="{WIDTH - MARGIN}" y1="{MIDDLE}" y2="{MIDDLE}"/>']
    if _value_exists(low) and _value_exists(high):
        marks.append(_interval(scale.place(low), scale.place(high)))
    marks += [
        draw(scale.place(at))
        for draw, at in (
            (_chance, chance),
            (_best, best),
            (_mean, mean),
            (_gender_mean, gender_mean),
            (_strip_value, value),
        )
        if _value_exists(at)
    ]
    return _svg(WIDTH, marks)


def _values(number: Number) -> tuple[float, ...]:
    estimate = number.estimate
    beside = (number.chance, number.mean_face, number.gender_mean_face, number.best)
    return (estimate.value, estimate.low, estimate.high, *(math.nan if value is None else value for value in beside))


def _value_exists(value: float) -> bool:
    return math.isfinite(value)


def _svg(width: int, marks: Iterable[str]) -> str:
    size = f'width="{width}" height="{HEIGHT}" viewBox="0 0 {width} {HEIGHT}"'
    return f'<svg class="strip" {size} aria-hidden="true" focusable="false">{"".join(marks)}</svg>'


def _interval(low: float, high: float) -> str:
    return f'<line class="interval" x1="{low:.1f}" x2="{high:.1f}" y1="{MIDDLE}" y2="{MIDDLE}"/>'


def _strip_value(x: float) -> str:
    return f'<circle class="value" cx="{x:.1f}" cy="{MIDDLE}" r="4"/>'


def _chance(x: float) -> str:
    return f'<line class="chance" x1="{x:.1f}" x2="{x:.1f}" y1="2" y2="{HEIGHT - 2}"/>'


def _best(x: float) -> str:
    return f'<path class="best" d="M{x:.1f} {MIDDLE - 6}v12"/>'


def _mean(x: float) -> str:
    return f'<circle class="cheat" cx="{x:.1f}" cy="{MIDDLE}" r="3.2"/>'


def _gender_mean(x: float) -> str:
    return f'<rect class="cheat" x="{x - 2.8:.1f}" y="{MIDDLE - 2.8:.1f}" width="5.6" height="5.6"/>'


LEGEND_MARKS = (
    (_svg(36, [_interval(5, 31), _strip_value(18)]), "value and its 95 % interval"),
    (_svg(12, [_chance(6)]), "chance"),
    (_svg(12, [_mean(6)]), "the mean face for everybody"),
    (_svg(12, [_gender_mean(6)]), "the mean face of the gender"),
    (_svg(12, [_best(6)]), "the best possible, or a ceiling"),
)
"""Each mark with what it stands for."""


# --------------------------------------------------------------------------------------------------
# Numbers on the page: each value with its interval, chance and cheats, as digits and as a mark on a line.
# --------------------------------------------------------------------------------------------------

FOLD_NUMBERS_FROM_ROWS = 24
FOLD_BESIDE_TABLES = 8  # where the part has tables of its own, which mostly show the same
LEGEND = items(
    [
        *(f"{mark} {escape(meaning)}" for mark, meaning in LEGEND_MARKS),
        '<span class="arrow">↑</span> higher is better, <span class="arrow">↓</span> lower is better',
    ],
    kind="legend",
)
BESIDE = {
    "chance": "Chance",
    "mean_face": "Mean face",
    "gender_mean_face": "Mean face of gender",
    "best": "Best",
}
"""What a value is held against: field of a Number, heading of its column."""
_DRAWN = heading_cell(unseen("Drawn"))


def glance(parts: Sequence[Part]) -> str:
    """The first number of each part: what a reader takes away who reads no further."""
    rows = [
        heading_cell(
            f'<a href="#part-{part.name}">{escape(part.title)}</a><br>{_metric(number)}{_conditions(number)}', row=True
        )
        + _value_cell(number)
        + cell(strip_svg(number, scale_of([number])))
        + _number_cell(number.chance)
        for part in parts
        for number in part.numbers[:1]
    ]
    if not rows:
        return ""
    head = [
        heading_cell("Part and number"),
        heading_cell("Value [95 %]", kind="number"),
        *(_DRAWN, heading_cell("Chance", kind="number")),
    ]
    content = f"<p>The first number of each part.</p>\n{LEGEND}\n{html_table('At a glance', head, rows)}"
    return section("glance", "At a glance", content)


def number_tables(part: Part) -> Iterator[str]:
    """A part's numbers, one table for those with the same kinds of conditions; long tables are folded."""
    of_conditions: dict[tuple[str, ...], list[Number]] = {}
    of_metric: dict[str, list[Number]] = {}
    for number in part.numbers:
        of_conditions.setdefault(tuple(number.conditions), []).append(number)
        of_metric.setdefault(number.metric, []).append(number)
    scales = {metric: scale_of(numbers) for metric, numbers in of_metric.items()}
    for place, numbers in enumerate(of_conditions.values(), start=1):
        shown = _numbers_table(f"{part.title}: numbers {place}", numbers, scales)
        many = len(numbers) > (FOLD_BESIDE_TABLES if part.tables else FOLD_NUMBERS_FROM_ROWS)
        yield folded(f"All {len(numbers)} numbers with their intervals", shown) if many else shown


def _numbers_table(label: str, numbers: Sequence[Number], scales: Mapping[str, Scale]) -> str:
    conditions = numbers[0].conditions
    varying = [name for name in conditions if len({number.conditions[name] for number in numbers}) > 1]
    beside = [name for name in BESIDE if any(_there(getattr(number, name)) for number in numbers)]
    published = any(number.published for number in numbers)
    counts = {(number.estimate.n, number.clips) for number in numbers}
    head = [heading_cell("Number"), *(heading_cell(escape(words(name))) for name in varying)]
    head += [heading_cell("Value [95 %]", kind="number"), _DRAWN]
    head += [heading_cell(BESIDE[name], kind="number") for name in beside]
    head += [heading_cell("Published")] * published
    head += [heading_cell(name, kind="number") for name in ("Speakers", "Clips") if len(counts) > 1]
    rows, before = [], ""
    for number in sorted(numbers, key=lambda number: [*scales].index(number.metric)):  # a metric's rows together
        kind = "metric again" if number.metric == before else "metric"
        cells = [heading_cell(_metric(number), row=True, kind=kind)]
        cells += [cell(escape(number.conditions[name])) for name in varying]
        cells += [_value_cell(number), cell(strip_svg(number, scales[number.metric]))]
        cells += [_number_cell(getattr(number, name)) for name in beside]
        cells += [cell(escape(number.published), kind="published")] * published
        cells += [cell(f"{n:,}", kind="number") for n in (number.estimate.n, number.clips) if len(counts) > 1]
        rows.append("".join(cells))
        before = number.metric
    caption = [f"{words(name)}: {value}" for name, value in conditions.items() if name not in varying and value]
    caption += [f"{speakers:,} speakers, {clips:,} clips" for speakers, clips in counts if len(counts) == 1]
    return html_table(label, head, rows, caption=" · ".join(caption))


def _metric(number: Number) -> str:
    """The metric in words, with an arrow to where better is."""
    text = escape(words(number.metric))
    if number.higher_is_better is None:
        return text
    arrow, said = ("↑", "higher is better") if number.higher_is_better else ("↓", "lower is better")
    return f'{text} <span class="arrow" title="{said}"><span aria-hidden="true">{arrow}</span>{unseen(said)}</span>'


def _conditions(number: Number) -> str:
    said = ", ".join(f"{words(name).lower()} {value}" for name, value in number.conditions.items() if value)
    return f'<br><span class="faint">{escape(said)}</span>' if said else ""


def _value_cell(number: Number) -> str:
    estimate = number.estimate
    text = f"<strong>{number_text(estimate.value)}</strong>"
    if _there(estimate.low) and _there(estimate.high):
        low, high = (number_text(end, decimals(estimate.value)) for end in (estimate.low, estimate.high))
        text += f' <span class="faint">[{low}, {high}]</span>'
    return cell(text, kind="number")


def _number_cell(value: float | None) -> str:
    return cell(number_text(value), kind="number")


def _there(value: float | None) -> bool:
    return value is not None and math.isfinite(value)


# --------------------------------------------------------------------------------------------------
# Draw the report's figures with matplotlib, all in one hand: same type, same colours, no state shared between them.
# --------------------------------------------------------------------------------------------------

COLOURS = ("#2f5d8a", "#c8553d", "#3b8a6e", "#b58a2b", "#7a5aa6", "#6b7280")
"""Told apart also by who sees no red or no green, and by their lightness in print."""
CHANCE_COLOUR = "#8a8f98"
"""Of chance levels and of what a cheat earns, dashed."""
GRID_COLOUR = "#e3e5e8"
INK = "#22252a"
PAPER = "#ffffff"
DOTS_PER_INCH = 150
MISSING = "figures need the extra 'eval': pip install 'speech2face[eval]'"
_STYLE: dict[str, object] = {
    "font.family": "DejaVu Sans",  # comes with matplotlib: the same picture everywhere
    "font.size": 10.0,
    "axes.titlesize": 11.0,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.labelcolor": INK,
    "axes.edgecolor": "#b7bbc2",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": GRID_COLOUR,
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "lines.linewidth": 1.8,
    "legend.frameon": False,
    "figure.facecolor": PAPER,
    "savefig.facecolor": PAPER,
    "image.interpolation": "nearest",
}


def render(draw: Callable[[Canvas], None], inches: tuple[float, float] = (6.4, 4.0)) -> bytes:
    """A labelled PNG, the same bytes for the same drawing.

    `draw` fills an empty matplotlib figure of (width, height) inches.

    Raises:
        MissingExtra: matplotlib is not installed.
    """
    try:
        with away_from_home():
            import matplotlib
            from matplotlib.backends.backend_agg import FigureCanvasAgg
            from matplotlib.figure import Figure
            from matplotlib.rcsetup import cycler
    except ImportError as error:
        raise MissingExtra(MISSING) from error

    with matplotlib.rc_context():
        matplotlib.rcdefaults()  # nobody's own matplotlibrc
        matplotlib.rcParams.update(_STYLE)  # type: ignore[arg-type]
        matplotlib.rcParams["axes.prop_cycle"] = cycler("color", COLOURS)
        canvas = Figure(figsize=inches, dpi=DOTS_PER_INCH, layout="constrained")
        agg = FigureCanvasAgg(canvas)
        draw(canvas)
        agg.draw()  # type: ignore[no-untyped-call]
        image = np.ascontiguousarray(np.asarray(agg.buffer_rgba())[..., :3])  # type: ignore[no-untyped-call]
    return picture_bytes(image, chart_provenance(), {}, small=True)
