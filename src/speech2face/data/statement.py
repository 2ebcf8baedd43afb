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
AFTER_TURN = ("blurred", "eyes_shut", "mouth_open")  # reasons that are looked at after the turn, see `frames.check`
TURN_MEANS = (
    "The angle is estimated from landmarks, to 3 degrees aside and 7 up or down. What a turn does was measured with "
    "photographs turned by known angles, as the distance between dlib's embeddings of the turned face and of the same "
    "face as it was, where another person's nearest is 0.61 away: 0.28 at 20 degrees aside and 0.34 at 25; 0.42 "
    "at 20 degrees down and 0.46 at 25, in the worst tenth 0.53. Landmarks of a face turned 20 degrees aside differ "
    "from their mirror image by a quarter of the distance between the eyes, at 30 degrees by two fifths: a face "
    "decoder learns that."
)
"""Numbers of benchmarks/head_pose.csv."""

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
    table, reasons = manifest.table, Counter(each.reason for each in rejects)
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
        "rejects": dict(sorted(reasons.items())),
        "turned": _turned(manifest, reasons, settings or {}),
        "duplicates": None if duplicates is None else dict(duplicates),
        "forgotten_speakers": forgotten,
        "landmarks": manifest.layout.landmarks,
        "settings": {} if settings is None else dict(settings),
    }


def _turned(manifest: Manifest, reasons: Mapping[str, int], settings: Mapping[str, Any]) -> dict[str, Any] | None:
    """What the limit on turned faces took, of how many that came before it; None where no face was looked for."""
    if manifest.layout.embedding is None:
        return None
    limits = (settings.get("options") or {}).get("limits") or {}
    rejected = reasons.get("not_frontal", 0)
    return {
        "limit_degrees": limits.get("max_turn_degrees"),
        "rejected": rejected,
        "of_faces": len(manifest.table) + rejected + sum(reasons.get(reason, 0) for reason in AFTER_TURN),
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
    lines += _measures(statement["measures"]) + _rejects(statement["rejects"]) + _turn(statement.get("turned"))
    lines += _duplicates(statement["duplicates"])
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


def _turn(turned: Mapping[str, Any] | None) -> list[str]:
    """What the limit on turned faces means, in the words of somebody who trains with what is left."""
    if turned is None or turned["limit_degrees"] is None:
        return []
    rejected, faces, limit = turned["rejected"], turned["of_faces"], turned["limit_degrees"]
    share = f" ({rejected / faces:.0%})" if faces else ""
    said = (
        f"{rejected:,} of {faces:,} faces{share} were turned by more than {limit:g} degrees aside, up or down, and are "
        f"`not_frontal`. {TURN_MEANS}"
    )
    return ["## Turned faces", "", said, ""]


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
