"""A report: the numbers, tables, figures, parts and facts it is made of, and how it becomes text, files and a page."""

from __future__ import annotations

import base64
import datetime
import json
import math
import os
import platform
import re
import subprocess
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cache
from inspect import signature
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, ParamSpec, TypedDict, Unpack

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape
from numpy.typing import ArrayLike

import speech2face
from speech2face.errors import MissingExtra
from speech2face.inputs import parse_json
from speech2face.metrics.intervals import Estimate, SpeakerBootstrap
from speech2face.metrics.matching import Embeddings as Embeddings
from speech2face.metrics.matching import Floats as Floats
from speech2face.metrics.measures import Answers, Measure, average
from speech2face.outputs import away_from_home, check_outputs, encode_csv, markdown_table, write_together
from speech2face.provenance import chart_provenance, picture_bytes

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Canvas

# --- What a part of an evaluation report hands over: numbers with everything that must stand beside them.

Cell = str | int | float | None
Arguments = ParamSpec("Arguments")


class Beside(TypedDict, total=False):
    """What may stand beside a number; see `Number`."""

    chance: float | None
    mean_face: float | None
    gender_mean_face: float | None
    best: float | None


@dataclass(frozen=True)
class Number:
    """One measured number; what is None does not exist for this metric."""

    metric: str
    estimate: Estimate
    """Its `n` counts speakers."""
    clips: int
    conditions: Mapping[str, str] = field(default_factory=dict)
    """Such as {"model": "starter", "seconds": "6", "distance": "cosine"}, in the order they are shown in."""
    chance: float | None = None
    mean_face: float | None = None
    """What the mean face for everybody earns."""
    gender_mean_face: float | None = None
    """What the mean face of the clip's gender, known from its label, earns."""
    best: float | None = None
    """The best that is possible, or a ceiling measured beside, such as face-to-face."""
    published: str = ""
    """The paper's number for the same cell, with its reading."""
    higher_is_better: bool | None = True

    @classmethod
    def mean(
        cls,
        metric: str,
        values: Floats,
        bootstrap: SpeakerBootstrap,
        conditions: Mapping[str, str],
        *,
        higher_is_better: bool | None = True,
        **beside: Unpack[Beside],
    ) -> Number:
        """The mean over clips of values (clips,); those that are NaN are not counted."""
        clips = int(np.isfinite(values).sum())
        estimate = bootstrap.mean(values)
        return cls(metric, estimate, clips, conditions, higher_is_better=higher_is_better, **beside)

    @classmethod
    def of(
        cls,
        measure: Measure,
        answers: Answers,
        bootstrap: SpeakerBootstrap,
        conditions: Mapping[str, str],
        *,
        values: Floats | None = None,
        published: str = "",
    ) -> Number:
        """What a measure gives on average, beside chance and what the trivial baselines earn.

        `values` (clips,) are those of the measure, where they are known already.
        """
        earned = measure.baselines(answers)
        found = cls.mean(
            measure.name,
            measure.compute(answers) if values is None else values,
            bootstrap,
            conditions,
            higher_is_better=measure.higher_is_better,
            chance=measure.chance(answers),
            mean_face=average(earned["mean_face"]) if "mean_face" in earned else None,
            gender_mean_face=average(earned["gender_mean_face"]) if "gender_mean_face" in earned else None,
        )
        return replace(found, published=published)


@dataclass(frozen=True)
class Table:
    """Rows of cells: a CSV file, and a table on the page."""

    name: str
    title: str
    header: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    note: str = ""


@dataclass(frozen=True)
class Figure:
    """A picture on the page: PNG bytes, a caption, and a text for whoever cannot see it."""

    name: str
    caption: str
    png: bytes
    alt: str


@dataclass(frozen=True)
class Exclusion:
    """One clip that a number does not stand on, and why; `reason` is a stable code such as `no_reference`."""

    clip: str
    reason: str
    detail: str = ""


@dataclass(frozen=True)
class Part:
    """One part of the report; `skipped` says why it could not be measured and what to give, "" if it was."""

    name: str = ""
    title: str = ""
    numbers: Sequence[Number] = ()
    tables: Sequence[Table] = ()
    figures: Sequence[Figure] = ()
    notes: Sequence[str] = ()
    exclusions: Sequence[Exclusion] = ()
    skipped: str = ""


class NotMeasured(Exception):
    """A part of the report cannot be measured: why, and what to give."""

    def __init__(self, why: str, exclusions: Iterable[Exclusion] = ()) -> None:
        super().__init__(why)
        self.exclusions = tuple(exclusions)


@dataclass(frozen=True)
class Chapter(Generic[Arguments]):
    """How one part of the report is measured, under its name and title."""

    name: str
    title: str
    function: Callable[Arguments, Part]

    def __call__(self, *args: Arguments.args, **kwargs: Arguments.kwargs) -> Part:
        """Measure the part; where it cannot be measured it says why."""
        try:
            return replace(self.function(*args, **kwargs), name=self.name, title=self.title)
        except NotMeasured as error:
            return Part(self.name, self.title, skipped=str(error), exclusions=error.exclusions)

    def measure(self, material: object) -> Part:
        """Measure the part of what an evaluation works on: each parameter is the material's attribute of its name."""
        wanted = signature(self.function).parameters
        found: dict[str, Any] = {name: getattr(material, name) for name in wanted if hasattr(material, name)}
        return self(**found)  # type: ignore[call-arg]


def chapter(name: str, title: str) -> Callable[[Callable[Arguments, Part]], Chapter[Arguments]]:
    """Make a chapter of a function that measures a part, or raises `NotMeasured`."""
    return lambda function: Chapter(name, title, function)


def count_reasons(exclusions: Iterable[Exclusion]) -> dict[str, int]:
    """How many clips each reason took, most first; a clip left out at two lengths or of two labels is one."""
    clips: dict[str, set[str]] = {}
    for exclusion in exclusions:
        clips.setdefault(exclusion.reason, set()).add(exclusion.clip)
    counts = {reason: len(found) for reason, found in clips.items()}
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))


def exclude(keys: Sequence[str], rows: ArrayLike, reason: str, detail: str = "") -> tuple[Exclusion, ...]:
    """The same reason for several clips, by number or as a mask (clips,)."""
    chosen = np.asarray(rows)
    numbers = np.flatnonzero(chosen) if chosen.dtype == bool else chosen
    return tuple(Exclusion(keys[row], reason, detail) for row in numbers.tolist())


MISSING = "–"
NUMBER_HEADER = (
    *("part", "metric", "conditions", "value", "low_95", "high_95", "speakers", "clips"),
    *("chance", "mean_face", "gender_mean_face", "best", "published", "higher_is_better"),
)
EXCLUSION_HEADER = ("part", "clip", "reason", "detail")
WHOLE_SET = "all"
"""The part under which clips stand that no part could measure."""
_ABBREVIATIONS = {"auc": "AUC", "eer": "EER", "map": "mAP", "fid": "FID", "l1": "L1", "l2": "L2", "are": "ARE"}
_ABBREVIATIONS |= {"icc": "ICC", "ece": "ECE", "sd": "SD", "snr": "SNR", "tsne": "t-SNE", "umap": "UMAP", "r2": "R²"}
_ABBREVIATIONS |= {"vggface": "VGGFace", "lda": "LDA", "pca": "PCA", "mae": "MAE", "bh": "BH", "pit": "PIT"}


def csv_bytes(header: Sequence[str], rows: Iterable[Sequence[Cell]]) -> bytes:
    """A CSV file in UTF-8; numbers keep seven digits, what is missing is empty."""
    return encode_csv([header, *([_csv_cell(cell) for cell in row] for row in rows)])


def numbers_csv(parts: Iterable[Part]) -> bytes:
    """Every number of the report, one row each; conditions as `name=value; name=value`."""
    return csv_bytes(NUMBER_HEADER, [_number_row(part.name, number) for part in parts for number in part.numbers])


def exclusions_csv(of_all: Iterable[Exclusion], parts: Iterable[Part]) -> bytes:
    """Every clip that some number does not stand on, and why."""
    rows = [(WHOLE_SET, exclusion) for exclusion in of_all]
    rows += [(part.name, exclusion) for part in parts for exclusion in part.exclusions]
    return csv_bytes(EXCLUSION_HEADER, [(part, e.clip, e.reason, e.detail) for part, e in rows])


def _number_row(part: str, number: Number) -> tuple[Cell, ...]:
    conditions = "; ".join(f"{name}={value}" for name, value in number.conditions.items())
    better = {True: "yes", False: "no", None: ""}[number.higher_is_better]
    cells = _number_json(number) | {"part": part, "conditions": conditions, "higher_is_better": better}
    return tuple(cells[name] for name in NUMBER_HEADER)


def _csv_cell(cell: Cell) -> str:
    if cell is None or (isinstance(cell, float) and not math.isfinite(cell)):
        return ""
    return f"{cell:.7g}" if isinstance(cell, float) else str(cell)


def decimals(value: float) -> int:
    """Digits after the point that a person wants to see of a value."""
    size = abs(value)
    return 0 if size >= 100 else 1 if size >= 10 else 2 if size >= 2 else 3


def number_text(value: float | None, places: int | None = None) -> str:
    """A number as a person reads it: 0.123, 4.57, 45.8, 1,234; a dash where there is none."""
    if value is None or not math.isfinite(value):
        return MISSING
    if 0 < abs(value) < 5e-4:
        return f"{value:.1e}"
    return f"{value:,.{decimals(value) if places is None else places}f}"


def cell_text(cell: Cell) -> str:
    """A table's cell as a person reads it; text stays as it is, nothing becomes a dash."""
    if isinstance(cell, bool) or not isinstance(cell, int | float):
        return MISSING if cell is None or cell == "" else str(cell)
    return f"{cell:,}" if isinstance(cell, int) else number_text(cell)


def words(name: str) -> str:
    """A metric's or a condition's name in words: `recall_at_10` -> Recall at 10, `roc_auc` -> Roc AUC."""
    said = [_ABBREVIATIONS.get(word.lower(), word) for word in name.replace("_", " ").split()]
    if said and said[0].islower():
        said[0] = said[0][0].upper() + said[0][1:] if said[0] != "mAP" else said[0]
    return " ".join(said)


# --- What a report says of itself: which model, which data, which settings, when and on what it was made.

SAYS = (
    "These numbers hold for the clips, the speakers and the labels named on this page. They promise nothing for other"
    " people, languages, microphones or another share of men and women.",
    "Brackets are 95 % intervals over speakers: how far a number would move with other speakers of the same kind. They"
    " do not know of wrong labels or of a data set that leaves people out.",
    "A number is worth what it stands above chance and above the trivial baselines beside it: one mean face for"
    " everybody, or one for each gender, often earns most of a score that looks good alone.",
    "No number here says that a picture shows the speaker. A voice tells of age, sex and build, hardly of an individual"
    " face; the pictures are synthetic.",
    "Labels of age, gender and group are those of the data: mostly self-reported or guessed by a program, never a"
    " measurement.",
)


@dataclass(frozen=True)
class ReportFacts:
    """The head of a report. Names rather than paths: a report is handed on."""

    title: str
    models: tuple[ModelFacts, ...]
    data: Mapping[str, Any]
    """Name, SHA-256, split, clips, speakers ..., in the order they are shown in; JSON's types."""
    settings: Mapping[str, Any] = field(default_factory=dict)
    """What was asked for: seconds heard, parts, seed ...; JSON's types."""
    made: Mapping[str, str] = field(default_factory=lambda: circumstances())
    """Date, version, commit and hardware."""
    exclusions: tuple[Exclusion, ...] = ()
    """Clips that no part could measure; those of one part are with the part."""
    says: tuple[str, ...] = SAYS
    """What the numbers say and what they do not."""

    def model_rows(self) -> list[dict[str, Any]]:
        """The models, JSON-ready."""
        return [asdict(model) for model in self.models]


def circumstances() -> dict[str, str]:
    """Date, version, commit ("" outside a checkout) and processor."""
    known = Path("/proc/cpuinfo")
    lines = known.read_text(encoding="utf-8", errors="replace").splitlines() if known.exists() else []
    names = (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    return {
        "date": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d"),
        "version": speech2face.__version__,
        "commit": _commit(),
        "hardware": f"{next(names, platform.machine())}, {os.cpu_count()} cores",
    }


def _commit() -> str:
    """Short hash of the checkout this package lies in; a package that is installed has none."""
    folder = Path(__file__).parent
    if not any((parent / ".git").exists() for parent in folder.parents[:6]):
        return ""
    try:
        command = ["git", "rev-parse", "--short", "HEAD"]
        ran = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return ran.stdout.strip() if ran.returncode == 0 else ""


@dataclass(frozen=True)
class ModelFacts:
    """What is said of a model in a report."""

    name: str
    version: str = ""
    kind: str = ""
    """`attributes`, `paired`, `checkpoint`, or `embeddings` where only a file of predictions was given."""
    embedder: Mapping[str, Any] | None = None
    """The record of the face embedder its embeddings are those of; None where there is none."""
    sha256: str = ""
    """Of the release's `model.json` (or the checkpoint), which holds the checksums of the rest."""


# --- The report as files that appear together or not at all: results.json, CSVs, figures, a page, Markdown.

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
        MARKDOWN: markdown(parts, facts).encode(),
    }
    for part in parts:
        files = {_file(part, table): csv_bytes(table.header, table.rows) for table in part.tables}
        files |= {_file(part, figure): figure.png for figure in part.figures}
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
        "tables": [asdict(table) | {"file": _file(part, table)} for table in part.tables],
        "figures": [
            {"name": figure.name, "file": _file(part, figure), "caption": figure.caption, "alt": figure.alt}
            for figure in part.figures
        ],
        "notes": list(part.notes),
        "exclusions": count_reasons(part.exclusions),
    }


def _number_json(number: Number) -> dict[str, Any]:
    found: dict[str, Any] = {"metric": number.metric, "conditions": dict(number.conditions)}
    found |= zip(("value", "low_95", "high_95", "speakers"), (*number.estimate.cells(), number.estimate.n), strict=True)
    return found | {name: getattr(number, name) for name in ("clips", *BESIDE, "published", "higher_is_better")}


def _file(part: Part, shown: Table | Figure) -> str:
    for given in (part.name, shown.name):
        assert _NAME.fullmatch(given), f"{given!r} is no name of a file: small letters, digits, _ and -"
    name = part.name if shown.name == part.name else f"{part.name}-{shown.name}"
    return f"{TABLES}/{name}.csv" if isinstance(shown, Table) else f"{FIGURES}/{name}.png"


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
BESIDE = {"chance": "Chance", "mean_face": "Mean face", "gender_mean_face": "Mean face of gender", "best": "Best"}
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


def page(parts: Sequence[Part], facts: ReportFacts) -> str:
    """The report as one page of HTML that needs nothing beside it."""
    return rendered("report.html.j2", **_shown(parts, facts))


def markdown(parts: Sequence[Part], facts: ReportFacts) -> str:
    """The report's numbers and tables as Markdown."""
    return rendered("report.md.j2", **_shown(parts, facts))


def _shown(parts: Sequence[Part], facts: ReportFacts) -> dict[str, Any]:
    measured, skipped = [part for part in parts if not part.skipped], [part for part in parts if part.skipped]
    data = [
        ("Data" if name == "name" else words(name), fact_text(value))
        for name, value in facts.data.items()
        if "sha" not in name
    ]
    names = "; ".join(" ".join(filter(None, (model.name, model.version))) for model in facts.models)
    rows = []
    for model in facts.model_rows():
        of = f" of {model['name']}" if len(facts.models) > 1 else ""
        rows += [("Model" if name == "name" else words(name) + of, fact_text(value)) for name, value in model.items()]
    rows += [(f"Data: {name.replace('_', ' ')}", fact_text(value)) for name, value in facts.data.items()]
    rows += [(words(name), fact_text(value)) for name, value in (*facts.settings.items(), *facts.made.items())]
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
    shown = (words, number_text, interval_text, conditions_text, markdown_numbers, estimate_text)
    found.filters |= {function.__name__: function for function in shown}
    found.filters["grid"] = grid_of
    found.filters["base64"] = lambda content: base64.b64encode(content).decode("ascii")
    found.globals |= {"beside": BESIDE, "reasons": REASONS, "width": WIDTH, "margin": MARGIN, "there": there}
    named = (count_reasons, png_size, scale_of, number_grids, markdown_table)
    found.globals |= {function.__name__: function for function in named}
    return found


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


def conditions_text(number: Number) -> str:
    """What a number is of, in words."""
    return ", ".join(f"{words(name).lower()} {value}" for name, value in number.conditions.items() if value)


def there(value: float | None) -> bool:
    """Whether there is a number."""
    return value is not None and math.isfinite(value)


def interval_text(estimate: Estimate, places: int | None = None) -> str:
    """[0.15, 0.35] with as many digits as its value has; "" where there is none."""
    if not (there(estimate.low) and there(estimate.high)):
        return ""
    digits = decimals(estimate.value) if places is None else places
    return f"[{number_text(estimate.low, digits)}, {number_text(estimate.high, digits)}]"


def estimate_text(estimate: Estimate) -> str:
    """Value and interval as a person reads them."""
    return f"{number_text(estimate.value)} {interval_text(estimate)}".rstrip()


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


def scale_of(numbers: Iterable[Number]) -> Scale:
    """The range of all that is drawn of some numbers."""
    drawn = [value for number in numbers for value in (*number.estimate.cells(), *(getattr(number, b) for b in BESIDE))]
    seen = [value for value in drawn if there(value)]
    return Scale(min(seen), max(seen)) if seen else Scale(0.0, 1.0)


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


def grid_of(table: Table) -> Grid:
    """A table as a person reads it."""
    rows = [
        [words(str(cell)) if name == METRIC else cell_text(cell) for name, cell in zip(table.header, row, strict=True)]
        for row in table.rows
    ]
    kinds = [_kind([row[place] for row in table.rows]) for place in range(len(table.header))]
    folded = f"All {len(rows)} rows" if len(rows) > FOLD_FROM_ROWS else ""
    return Grid(table.title, [words(name) for name in table.header], rows, kinds, table.note, folded)


def _kind(column: Sequence[Cell]) -> str:
    if all(isinstance(content, int | float) or not content for content in column):
        return "number"
    return "long" if any(len(str(content)) > LONG_TEXT for content in column) else ""


@dataclass(frozen=True)
class NumberGrid:
    """Numbers of a part with the same kinds of conditions."""

    label: str
    numbers: list[Number]
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


def number_grids(part: Part) -> list[NumberGrid]:
    """A part's numbers, one table for those with the same kinds of conditions; long tables are folded."""
    of_conditions: dict[tuple[str, ...], list[Number]] = {}
    of_metric: dict[str, list[Number]] = {}
    for number in part.numbers:
        of_conditions.setdefault(tuple(number.conditions), []).append(number)
        of_metric.setdefault(number.metric, []).append(number)
    scales, order = {metric: scale_of(numbers) for metric, numbers in of_metric.items()}, list(of_metric)
    found = []
    for place, numbers in enumerate(of_conditions.values(), start=1):
        conditions = numbers[0].conditions
        varying = [name for name in conditions if len({number.conditions[name] for number in numbers}) > 1]
        counts = {(number.estimate.n, number.clips) for number in numbers}
        said = [f"{words(name)}: {value}" for name, value in conditions.items() if name not in varying and value]
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
    head = ["Number", *map(words, shown.varying), "Value [95 %]", *(BESIDE[name] for name in shown.beside)]
    head += ["Published"] * shown.published + ["Speakers", "Clips"] * shown.counted
    rows = []
    for number in shown.numbers:
        row = [words(number.metric), *(number.conditions[name] for name in shown.varying)]
        row += [estimate_text(number.estimate), *(number_text(getattr(number, name)) for name in shown.beside)]
        row += [number.published] * shown.published + [f"{number.estimate.n:,}", f"{number.clips:,}"] * shown.counted
        rows.append(row)
    caption = f"{shown.caption}\n\n" if shown.caption else ""
    return caption + markdown_table(head, rows)


# --- Draw the report's figures with matplotlib, all in one hand: same type, same colours, no state shared between them.

COLOURS = ("#2f5d8a", "#c8553d", "#3b8a6e", "#b58a2b", "#7a5aa6", "#6b7280")
"""Told apart also by who sees no red or no green, and by their lightness in print."""
CHANCE_COLOUR = "#8a8f98"
"""Of chance levels and of what trivial baselines earn, dashed."""
GRID_COLOUR = "#e3e5e8"
INK = "#22252a"
PAPER = "#ffffff"
DOTS_PER_INCH = 150
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
        raise MissingExtra("figures need the extra 'eval'", "eval") from error

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
