"""What a part of an evaluation report hands over: numbers with everything that must stand beside them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from speech2face.evaluation.intervals import Estimate

Cell = str | int | float | None


@dataclass(frozen=True)
class Number:
    """One measured number; what is None does not exist for this metric."""

    part: str
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

    name: str
    title: str
    numbers: tuple[Number, ...] = ()
    tables: tuple[Table, ...] = ()
    figures: tuple[Figure, ...] = ()
    notes: tuple[str, ...] = ()
    exclusions: tuple[Exclusion, ...] = ()
    skipped: str = ""


def count_reasons(exclusions: Iterable[Exclusion]) -> dict[str, int]:
    """How many clips each reason took, most first; a clip left out at two lengths or of two labels is one."""
    clips: dict[str, set[str]] = {}
    for exclusion in exclusions:
        clips.setdefault(exclusion.reason, set()).add(exclusion.clip)
    counts = {reason: len(found) for reason, found in clips.items()}
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))


def exclude(keys: Sequence[str], rows: Iterable[int], reason: str, detail: str = "") -> tuple[Exclusion, ...]:
    """The same reason for several clips."""
    return tuple(Exclusion(keys[row], reason, detail) for row in rows)
