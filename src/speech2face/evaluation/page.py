"""The report as files that appear together or not at all: results.json, CSVs, figures, a page, Markdown."""

from __future__ import annotations

import base64
import json
import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape

from speech2face.errors import MissingExtra
from speech2face.evaluation import report
from speech2face.inputs import parse_json
from speech2face.metrics.intervals import Estimate
from speech2face.outputs import check_outputs, write_together
from speech2face.provenance import chart_provenance, picture_bytes
from speech2face.quiet import away_from_home

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Canvas

SCHEMA, SCHEMA_VERSION = "speech2face-report", 1
RESULTS, PAGE, MARKDOWN = "results.json", "index.html", "report.md"
NUMBERS, EXCLUSIONS = "numbers.csv", "exclusions.csv"
TABLES, FIGURES = "tables", "figures"
_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,100}")
_OWN_FILE = re.compile(rf"(?:{TABLES}/[a-z0-9_-]+\.csv|{FIGURES}/[a-z0-9_-]+\.png)")


def check_report(out: str | Path, *, force: bool = False) -> None:
    """Refuse before any work what could not be written after it.

    Raises:
        OutputExists: there is a report already and `force` is not set.
        CannotWrite: the folder cannot be made or written to.
    """
    check_outputs([Path(out) / name for name in (RESULTS, PAGE, MARKDOWN, NUMBERS, EXCLUSIONS)], force=force)


def write_report(
    parts: Sequence[report.Part], facts: report.ReportFacts, out: str | Path, *, force: bool = False
) -> dict[str, Any]:
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
        NUMBERS: report.numbers_csv(parts),
        EXCLUSIONS: report.exclusions_csv(facts.exclusions, parts),
        PAGE: page(parts, facts).encode(),
        MARKDOWN: markdown(parts, facts).encode(),
    }
    for part in parts:
        files = {_table_file(part, table): report.csv_bytes(table.header, table.rows) for table in part.tables}
        files |= {_figure_file(part, figure): figure.png for figure in part.figures}
        assert len(files) == len(part.tables) + len(part.figures), f"two tables or figures of {part.name} share a name"
        assert not set(files) & set(contents), f"a file of {part.name} has the name of another part's"
        contents |= files
    old = _files_of(folder / RESULTS) if force else set()
    write_together({folder / name: content for name, content in contents.items()}, force=force)
    for name in old - set(contents):
        (folder / name).unlink(missing_ok=True)
    return results


def to_json(parts: Sequence[report.Part], facts: report.ReportFacts) -> dict[str, Any]:
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
            "exclusions": report.count_reasons(facts.exclusions),
            "parts": [_part_json(part) for part in parts],
        }
    )
    return stated


def _part_json(part: report.Part) -> dict[str, Any]:
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
        "exclusions": report.count_reasons(part.exclusions),
    }


def _number_json(number: report.Number) -> dict[str, Any]:
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


def _table_file(part: report.Part, table: report.Table) -> str:
    return _file(TABLES, part, table.name, "csv")


def _figure_file(part: report.Part, figure: report.Figure) -> str:
    return _file(FIGURES, part, figure.name, "png")


def _file(folder: str, part: report.Part, name: str, ending: str) -> str:
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


# --- The report as a page and as Markdown: what the templates show, as text.

FOLD_FROM_ROWS = 40
FOLD_NUMBERS_FROM_ROWS = 24
FOLD_BESIDE_TABLES = 8  # where the part has tables of its own, which mostly show the same
LONG_TEXT = 24  # characters
METRIC = "metric"  # a column of this name holds names of numbers, which are read as words
WIDTH, MARGIN = 168, 7  # of a drawn number in CSS pixels, and what is left free for marks at its ends
BESIDE = {
    "chance": "Chance",
    "mean_face": "Mean face",
    "gender_mean_face": "Mean face of gender",
    "best": "Best",
}
"""What a value is held against: field of a Number, heading of its column."""
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


def page(parts: Sequence[report.Part], facts: report.ReportFacts) -> str:
    """The report as one page of HTML that needs nothing beside it."""
    return rendered("report.html.j2", **_shown(parts, facts))


def markdown(parts: Sequence[report.Part], facts: report.ReportFacts) -> str:
    """The report's numbers and tables as Markdown."""
    return rendered("report.md.j2", **_shown(parts, facts))


def _shown(parts: Sequence[report.Part], facts: report.ReportFacts) -> dict[str, Any]:
    measured, skipped = [part for part in parts if not part.skipped], [part for part in parts if part.skipped]
    data = [
        ("Data" if name == "name" else report.words(name), fact_text(value))
        for name, value in facts.data.items()
        if "sha" not in name
    ]
    names = "; ".join(" ".join(filter(None, (model.name, model.version))) for model in facts.models)
    rows = []
    for model in facts.model_rows():
        of = f" of {model['name']}" if len(facts.models) > 1 else ""
        rows += [
            ("Model" if name == "name" else report.words(name) + of, fact_text(value)) for name, value in model.items()
        ]
    rows += [(f"Data: {name.replace('_', ' ')}", fact_text(value)) for name, value in facts.data.items()]
    rows += [(report.words(name), fact_text(value)) for name, value in (*facts.settings.items(), *facts.made.items())]
    return {
        "facts": facts,
        "measured": measured,
        "skipped": skipped,
        "glance": [(part, number) for part in measured for number in part.numbers[:1]],
        "head": [("Model", names), *data, ("Date", facts.made.get("date", ""))],
        "circumstances": rows,
    }


@cache
def templates() -> Environment:
    """The templates of evaluation; text from outside never becomes markup."""
    found = Environment(
        loader=PackageLoader("speech2face.evaluation"),
        autoescape=select_autoescape(("html.j2",)),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    shown = (report.words, report.number_text, interval_text, conditions_text, markdown_numbers, estimate_text)
    found.filters |= {function.__name__: function for function in shown}
    found.filters["grid"], found.filters["base64"] = grid_of, _base64
    found.globals |= {"beside": BESIDE, "reasons": REASONS, "width": WIDTH, "margin": MARGIN, "there": there}
    named = (report.count_reasons, png_size, scale_of, number_grids, report.markdown_table)
    found.globals |= {function.__name__: function for function in named}
    return found


def _base64(content: bytes) -> str:
    return base64.b64encode(content).decode("ascii")


def rendered(template: str, **shown: Any) -> str:
    """A template of evaluation filled in."""
    return templates().get_template(template).render(**shown)


def fact_text(value: Any) -> str:
    """A fact as a person reads it."""
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {fact_text(item)}" for name, item in value.items() if item not in (None, ""))
    if isinstance(value, list | tuple):
        return ", ".join(map(fact_text, value))
    if value is None or isinstance(value, bool):
        return {None: "", True: "yes", False: "no"}[value]
    return f"{value:,}" if isinstance(value, int) else str(value)


def conditions_text(number: report.Number) -> str:
    """What a number is of, in words."""
    return ", ".join(f"{report.words(name).lower()} {value}" for name, value in number.conditions.items() if value)


def there(value: float | None) -> bool:
    """Whether there is a number."""
    return value is not None and math.isfinite(value)


def interval_text(estimate: Estimate, places: int | None = None) -> str:
    """[0.15, 0.35] with as many digits as its value has; "" where there is none."""
    if not (there(estimate.low) and there(estimate.high)):
        return ""
    digits = report.decimals(estimate.value) if places is None else places
    return f"[{report.number_text(estimate.low, digits)}, {report.number_text(estimate.high, digits)}]"


def estimate_text(estimate: Estimate) -> str:
    """Value and interval as a person reads them."""
    return f"{report.number_text(estimate.value)} {interval_text(estimate)}".rstrip()


def png_size(png: bytes) -> tuple[int, int]:
    """Width and height from a PNG's header (ISO 15948, IHDR), 0 and 0 of anything else.

    A picture of known size does not make the page jump as it loads.
    """
    if png[:8] != b"\x89PNG\r\n\x1a\n" or len(png) < 24:
        return 0, 0
    return int.from_bytes(png[16:20], "big"), int.from_bytes(png[20:24], "big")


@dataclass(frozen=True)
class Scale:
    """The range that all drawn numbers of one metric share."""

    low: float
    high: float

    def place(self, value: float) -> float:
        """Where a value lies, in pixels from the left."""
        share = (value - self.low) / (self.high - self.low) if self.high > self.low else 0.5
        return MARGIN + min(max(share, 0.0), 1.0) * (WIDTH - 2 * MARGIN)


def scale_of(numbers: Iterable[report.Number]) -> Scale:
    """The range of all that is drawn of some numbers."""
    drawn = [value for number in numbers for value in (*number.estimate.cells(), *(getattr(number, b) for b in BESIDE))]
    seen = [value for value in drawn if there(value)]
    return Scale(min(seen), max(seen)) if seen else Scale(0.0, 1.0)


def strip_svg(number: report.Number, scale: Scale) -> str:
    """A number as a mark on a line, "" where there is no value; screen readers read the same numbers in the row."""
    return str(templates().get_template("pieces.html.j2").module.strip(number, scale)).strip()  # type: ignore[attr-defined]


@dataclass(frozen=True)
class Grid:
    """A table as text, for a page or for Markdown."""

    title: str
    head: list[str]
    rows: list[list[str]]
    kinds: list[str]
    """How each column is set: numbers to the right, long text with room to breathe."""
    note: str
    folded: str
    """The line under which a long table is folded, "" where it is short."""


def grid_of(table: report.Table) -> Grid:
    """A table as a person reads it."""
    rows = [
        [
            report.words(str(cell)) if name == METRIC else report.cell_text(cell)
            for name, cell in zip(table.header, row, strict=True)
        ]
        for row in table.rows
    ]
    kinds = [_kind([row[place] for row in table.rows]) for place in range(len(table.header))]
    folded = f"All {len(rows)} rows" if len(rows) > FOLD_FROM_ROWS else ""
    return Grid(table.title, [report.words(name) for name in table.header], rows, kinds, table.note, folded)


def _kind(column: Sequence[report.Cell]) -> str:
    if all(isinstance(content, int | float) or not content for content in column):
        return "number"
    return "long" if any(len(str(content)) > LONG_TEXT for content in column) else ""


@dataclass(frozen=True)
class NumberGrid:
    """Numbers of a part with the same kinds of conditions."""

    label: str
    numbers: list[report.Number]
    """A metric's numbers together."""
    scales: Mapping[str, Scale]
    varying: list[str]
    """Conditions that are not the same for all."""
    beside: list[str]
    """Of BESIDE, what some of them have."""
    published: bool
    counted: bool
    """Whether they stand on different numbers of speakers or clips."""
    caption: str
    folded: str


def number_grids(part: report.Part) -> list[NumberGrid]:
    """A part's numbers, one table for those with the same kinds of conditions; long tables are folded."""
    of_conditions: dict[tuple[str, ...], list[report.Number]] = {}
    of_metric: dict[str, list[report.Number]] = {}
    for number in part.numbers:
        of_conditions.setdefault(tuple(number.conditions), []).append(number)
        of_metric.setdefault(number.metric, []).append(number)
    scales, order = {metric: scale_of(numbers) for metric, numbers in of_metric.items()}, list(of_metric)
    found = []
    for place, numbers in enumerate(of_conditions.values(), start=1):
        conditions = numbers[0].conditions
        varying = [name for name in conditions if len({number.conditions[name] for number in numbers}) > 1]
        counts = {(number.estimate.n, number.clips) for number in numbers}
        said = [f"{report.words(name)}: {value}" for name, value in conditions.items() if name not in varying and value]
        said += [f"{speakers:,} speakers, {clips:,} clips" for speakers, clips in counts if len(counts) == 1]
        many = len(numbers) > (FOLD_BESIDE_TABLES if part.tables else FOLD_NUMBERS_FROM_ROWS)
        shown = NumberGrid(
            label=f"{part.title}: numbers {place}",
            numbers=sorted(numbers, key=lambda number: order.index(number.metric)),
            scales=scales,
            varying=varying,
            beside=[name for name in BESIDE if any(there(getattr(number, name)) for number in numbers)],
            published=any(number.published for number in numbers),
            counted=len(counts) > 1,
            caption=" · ".join(said),
            folded=f"All {len(numbers)} numbers with their intervals" if many else "",
        )
        found.append(shown)
    return found


def markdown_numbers(shown: NumberGrid) -> str:
    """The numbers as a Markdown table under its caption."""
    head = ["Number", *map(report.words, shown.varying), "Value [95 %]", *(BESIDE[name] for name in shown.beside)]
    head += ["Published"] * shown.published + ["Speakers", "Clips"] * shown.counted
    rows = []
    for number in shown.numbers:
        row = [report.words(number.metric), *(number.conditions[name] for name in shown.varying)]
        row += [estimate_text(number.estimate), *(report.number_text(getattr(number, name)) for name in shown.beside)]
        row += [number.published] * shown.published + [f"{number.estimate.n:,}", f"{number.clips:,}"] * shown.counted
        rows.append(row)
    caption = f"{shown.caption}\n\n" if shown.caption else ""
    return caption + report.markdown_table(head, rows)


# --- Draw the report's figures with matplotlib, all in one hand: same type, same colours, no state shared between them.

COLOURS = ("#2f5d8a", "#c8553d", "#3b8a6e", "#b58a2b", "#7a5aa6", "#6b7280")
"""Told apart also by who sees no red or no green, and by their lightness in print."""
CHANCE_COLOUR = "#8a8f98"
"""Of chance levels and of what trivial baselines earn, dashed."""
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
