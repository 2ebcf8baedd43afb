"""What is in a data set: counted from its indexes and its tables of rejects, kept in its manifest, printed as a page.

No speaker and no clip is named in it. Make it anew when clips are taken out: its counts, and words that only one
speaker's labels had, are then gone too.
"""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from speech2face.data.index import read_columns
from speech2face.data.manifest import Manifest
from speech2face.data.record import LABELS, REASONS, SOURCE_LABEL, Reject
from speech2face.data.table import ClipTable

FORMAT = 1
STATEMENT = "statement.md"
UNKNOWN = "not known"
OTHERS = "others"
UNSTATED = "not stated"

_HOUR = 3600.0
_VALUES_SHOWN = 100  # of a label; the rest is one row
_FILES_AT_ONCE = 256
_DIGITS = 3  # of hours

Counts = dict[str, Any]
"""clips, speakers, hours."""


def make_statement(
    manifest: Manifest,
    rejects: Iterable[Reject] = (),
    *,
    settings: Mapping[str, Any] | None = None,
    duplicates: Mapping[str, int | str] | None = None,
    forgotten: int = 0,
) -> dict[str, Any]:
    """The statement, JSON-ready.

    `settings`: what the data set was prepared with (sources, options, seed), as its plan says. `duplicates`: pairs of
    clips that are alike across splits, by kind, or why a kind was not compared; None: nobody looked.
    `forgotten`: how many speakers asked to be.

    Raises:
        DatasetError: an index cannot be read.
    """
    table = manifest.table
    columns = _columns(manifest, ("licence", "consent", *manifest.labels))
    labels, numbers = {}, {}
    for name in (label for label in manifest.labels if label != SOURCE_LABEL):
        measured = None if name in LABELS else _measured(columns[name])
        if measured is None:
            labels[name] = _by_value(table, columns[name])
        else:
            numbers[name] = measured
    return {
        "format": FORMAT,
        **_counts(table, np.ones(len(table), bool)),
        "clips_a_speaker": _clips_a_speaker(table),
        "splits": _by_value(table, [table.splits[number] for number in table.split]),
        "sources": _by_value(table, columns.get(SOURCE_LABEL, [""] * len(table))),
        "licences": _by_value(table, columns["licence"]),
        "consents": _by_value(table, columns["consent"]),
        "labels": labels,
        "measures": numbers,
        "rejects": dict(sorted(Counter(each.reason for each in rejects).items())),
        "duplicates": None if duplicates is None else dict(duplicates),
        "forgotten_speakers": forgotten,
        "landmarks": manifest.layout.landmarks,
        "settings": {} if settings is None else dict(settings),
    }


def _columns(manifest: Manifest, names: Sequence[str]) -> dict[str, list[str]]:
    """Columns of all indexes at once: they are read a single time."""
    found: dict[str, list[str]] = {name: [] for name in names}
    indexes = [shard.index for shard in manifest.shards]
    for start in range(0, len(indexes), _FILES_AT_ONCE):
        group = indexes[start : start + _FILES_AT_ONCE]
        for index, content in zip(group, manifest.storage.read_together(group), strict=True):
            where = manifest.storage.where(index)
            for name, cells in zip(names, read_columns(content, names, manifest.labels, where), strict=True):
                found[name].extend(cells)
    return found


def _counts(table: ClipTable, which: NDArray[np.bool_]) -> Counts:
    return {
        "clips": int(which.sum()),
        "speakers": int(np.unique(table.speaker[which]).size),
        "hours": round(float(table.seconds[which].sum(dtype=np.float64)) / _HOUR, _DIGITS),
    }


def _by_value(table: ClipTable, values: Sequence[str]) -> dict[str, Counts]:
    """Counts of each value, the most frequent first; rare ones together."""
    frequent = [value for value, _ in sorted(Counter(values).items(), key=lambda item: (-item[1], item[0]))]
    places = {value: min(place, _VALUES_SHOWN) for place, value in enumerate(frequent)}
    number = np.fromiter((places[value] for value in values), np.int64, len(values))
    names = [value or UNKNOWN for value in frequent[:_VALUES_SHOWN]]
    names += [f"{OTHERS} ({len(frequent) - _VALUES_SHOWN})"] if len(frequent) > _VALUES_SHOWN else []
    return {name: _counts(table, number == place) for place, name in enumerate(names)}


def _clips_a_speaker(table: ClipTable) -> dict[str, float]:
    counts = np.unique(table.speaker, return_counts=True)[1].tolist()
    return {"least": min(counts), "median": statistics.median(counts), "most": max(counts)}


def _measured(cells: Sequence[str]) -> dict[str, float] | None:
    """A label of numbers by its spread, None where it is one of words."""
    known = [cell for cell in cells if cell]
    try:
        numbers = np.array([float(cell) for cell in known])
    except ValueError:
        return None
    if not numbers.size or not np.isfinite(numbers).all():
        return None
    least, low, median, high, most = (round(float(n), _DIGITS) for n in np.quantile(numbers, (0, 0.1, 0.5, 0.9, 1)))
    return {"clips": len(known), "least": least, "tenth": low, "median": median, "ninth_tenth": high, "most": most}


def statement_markdown(statement: Mapping[str, Any]) -> str:
    """The statement as a page for people."""
    hours, speakers = statement["hours"], statement["speakers"]
    spread = statement["clips_a_speaker"]
    lines = [
        "# Data statement",
        "",
        f"{statement['clips']:,} clips of {speakers:,} speakers, {hours:,.2f} hours. Clips a speaker: "
        f"{spread['least']:,} to {spread['most']:,}, median {spread['median']:,g}.",
        "",
    ]
    lines += _section("Splits", "split", statement["splits"]) + _section("Sources", "source", statement["sources"])
    lines += _section("Licences", "licence", statement["licences"])
    lines += _section("Consent", "consent rests on", statement["consents"]) + _cautions(statement)
    for label, counts in statement["labels"].items():
        if set(counts) == {UNKNOWN}:
            lines += [f"## {label.capitalize()}", "", "Not known of any clip.", ""]
        else:
            lines += _section(label.capitalize(), label, counts)
    lines += _measures(statement["measures"]) + _rejects(statement["rejects"]) + _duplicates(statement["duplicates"])
    lines += _forgotten(statement["forgotten_speakers"]) + _settings(statement["settings"])
    return "\n".join(lines).rstrip("\n") + "\n"


def _section(title: str, what: str, counts: Mapping[str, Counts]) -> list[str]:
    rows = [(name, f"{c['clips']:,}", f"{c['speakers']:,}", f"{c['hours']:,.2f}") for name, c in counts.items()]
    return [f"## {title}", "", *_table((what, "clips", "speakers", "hours"), rows), ""]


def _table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    def row(cells: Sequence[str]) -> str:
        return "| " + " | ".join(cell.replace("\\", "\\\\").replace("|", "\\|") for cell in cells) + " |"

    return [row(header), "|" + "---|" * len(header), *map(row, rows)]


def _cautions(statement: Mapping[str, Any]) -> list[str]:
    """What a reader must not overlook."""
    said = []
    for what, key in (("licence", "licences"), ("basis of consent", "consents")):
        without = statement[key].get(UNKNOWN)
        if without:
            said.append(f"{without['clips']:,} clips have no {what}: whoever prepared the data allowed that.")
    if statement["landmarks"] == 68:
        said.append(
            "The 68 landmarks are dlib's, whose weights learned from iBUG 300-W: its licence excludes commercial use."
        )
    return [line for sentence in said for line in (sentence, "")]


def _measures(measures: Mapping[str, Mapping[str, float]]) -> list[str]:
    if not measures:
        return []
    columns = ("clips", "least", "tenth", "median", "ninth_tenth", "most")
    header = ("measure", "clips", "least", "10 %", "median", "90 %", "most")
    rows = [(name, *(f"{spread[column]:,g}" for column in columns)) for name, spread in measures.items()]
    return ["## Measures", "", *_table(header, rows), ""]


def _rejects(rejects: Mapping[str, int]) -> list[str]:
    if not rejects:
        return ["## Rejects", "", "None.", ""]
    rows = [
        (reason, f"{count:,}", REASONS.get(reason, ""))
        for reason, count in sorted(rejects.items(), key=lambda item: (-item[1], item[0]))
    ]
    total = f"{sum(rejects.values()):,} records gave no clip."
    return ["## Rejects", "", total, "", *_table(("reason", "records", "meaning"), rows), ""]


def _duplicates(duplicates: Mapping[str, int | str] | None) -> list[str]:
    if duplicates is None:
        return ["## Alike across splits", "", "Nobody looked.", ""]
    rows = [(kind, f"{said:,}" if isinstance(said, int) else said) for kind, said in duplicates.items()]
    return ["## Alike across splits", "", *_table(("what", "pairs of clips"), rows), ""]


def _forgotten(count: int) -> list[str]:
    return ["## Forgotten", "", f"{count:,} speakers asked to be forgotten; none of their clips is here.", ""] * bool(
        count
    )


def _settings(settings: Mapping[str, Any]) -> list[str]:
    if not settings:
        return []
    return ["## Prepared from", "", *_listed(settings, "")]


def _listed(value: Any, indent: str) -> list[str]:
    """Nested settings as nested points."""
    items = value.items() if isinstance(value, Mapping) else ((str(n), each) for n, each in enumerate(value, start=1))
    lines = []
    for name, each in items:
        if isinstance(each, Mapping) or (isinstance(each, list | tuple) and any(isinstance(e, Mapping) for e in each)):
            lines += [f"{indent}- {name}:", *_listed(each, indent + "  ")]
        else:
            shown = ", ".join(map(str, each)) if isinstance(each, list | tuple) else each
            lines.append(f"{indent}- {name}: {UNSTATED if shown in (None, '') else f'`{shown}`'}")
    return lines
