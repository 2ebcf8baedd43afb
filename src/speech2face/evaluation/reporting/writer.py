"""The report as files that appear together or not at all: results.json, CSVs, figures, a page that stands alone."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from speech2face.evaluation.parts.part import Figure, Number, Part, Table, count_reasons
from speech2face.evaluation.reporting.facts import ReportFacts
from speech2face.evaluation.reporting.html import page
from speech2face.evaluation.reporting.tables import exclusions_csv, numbers_csv, table_csv
from speech2face.outputs import check_outputs, write_together
from speech2face.untrusted import parse_json

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
