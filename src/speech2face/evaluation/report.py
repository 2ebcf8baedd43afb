"""What a report is made of: numbers, tables, figures, parts and facts, and how they are written as text."""

from __future__ import annotations

import csv
import datetime
import io
import math
import os
import platform
import subprocess
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from inspect import signature
from pathlib import Path
from typing import Any, Generic, ParamSpec, TypedDict, Unpack

import numpy as np
from numpy.typing import ArrayLike

import speech2face
from speech2face.metrics.embeddings import Embeddings as Embeddings
from speech2face.metrics.embeddings import Floats as Floats
from speech2face.metrics.intervals import Estimate, SpeakerBootstrap
from speech2face.metrics.measures import Answers, Measure, average

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
    sink = io.StringIO()
    writer = csv.writer(sink, lineterminator="\n")
    writer.writerow(header)
    writer.writerows([_csv_cell(cell) for cell in row] for row in rows)
    return sink.getvalue().encode()


def numbers_csv(parts: Iterable[Part]) -> bytes:
    """Every number of the report, one row each; conditions as `name=value; name=value`."""
    return csv_bytes(NUMBER_HEADER, [_number_row(part.name, number) for part in parts for number in part.numbers])


def exclusions_csv(of_all: Iterable[Exclusion], parts: Iterable[Part]) -> bytes:
    """Every clip that some number does not stand on, and why."""
    rows = [(WHOLE_SET, exclusion) for exclusion in of_all]
    rows += [(part.name, exclusion) for part in parts for exclusion in part.exclusions]
    return csv_bytes(EXCLUSION_HEADER, [(part, e.clip, e.reason, e.detail) for part, e in rows])


def _number_row(part: str, number: Number) -> tuple[Cell, ...]:
    estimate, better = number.estimate, number.higher_is_better
    return (
        *(part, number.metric, "; ".join(f"{name}={value}" for name, value in number.conditions.items())),
        *(estimate.value, estimate.low, estimate.high, estimate.n, number.clips),
        *(number.chance, number.mean_face, number.gender_mean_face, number.best, number.published),
        {True: "yes", False: "no", None: ""}[better],
    )


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


def markdown_table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table in Markdown; a bar inside a cell does not end it."""
    lines = ["| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in (head, *rows)]
    return "\n".join([lines[0], "|" + "---|" * len(head), *lines[1:]])


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
