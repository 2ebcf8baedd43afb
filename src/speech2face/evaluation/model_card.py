"""The model card, written from the release's own files and its measured scores; the audit's block is kept as it is.

python -m speech2face.evaluation.model_card --scores docs/starter_scores.csv --out docs/model-card.md
"""

import argparse
import csv
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from speech2face.errors import WeightsError
from speech2face.evaluation.audit.card import HEADING, NOT_MEASURED, kept_block, section
from speech2face.evaluation.model_card_text import (
    FACE_SOURCES,
    FAILURES,
    INTENDED,
    LIMITS,
    NATURE,
    SCORES_NOTE,
    VOICE_SOURCES,
)
from speech2face.release import MANIFEST, SHIPPED, sha256

ALL_SOURCES = "all"
WHOLE = "all (3 or more)"  # the label that evaluation/starter.py gives to whole recordings
DECADE = "age_mae_years_of_"
STATED = "stated_age_mean_of_"


@dataclass(frozen=True)
class Metric:
    """A column of the scores CSV in words; `digits` after the point."""

    name: str
    title: str
    direction: str
    digits: int = 3


METRICS = (
    Metric("gender_balanced_accuracy_adults", "Gender, balanced accuracy (15 years and older)", "higher is better"),
    Metric("age_mae_years", "Age of adults, mean absolute error in years", "lower is better", 1),
    Metric("age_spearman", "Age of adults, Spearman rank correlation", "higher is better, chance 0"),
    Metric("age_mae_years_each_decade_alike", "Age of adults, error in years, each decade alike", "lower is better", 1),
    Metric("age_interval_80_coverage", "Share of adults inside the stated 80 % interval", "0.80 is right"),
    Metric("age_interval_80_width_years", "Width of the 80 % interval in years", "narrower says more", 1),
    Metric("child_balanced_accuracy", "Children under 13 told from adults, balanced accuracy", "higher is better"),
    Metric("voice_recognised", "Share of recordings in which a voice is recognised", "higher is better"),
)


@dataclass(frozen=True)
class Aim:
    """What was to be reached on validation speakers, whole recordings of 3 s or more; inclusive bounds."""

    metric: str
    channel: str
    low: float
    high: float
    text: str


AIMS = (
    Aim("gender_balanced_accuracy_adults", "clean", 0.97, 1.0, "at least 0.97"),
    Aim("gender_balanced_accuracy_adults", "telephone", 0.95, 1.0, "at least 0.95"),
    Aim("age_spearman", "clean", 0.6, 1.0, "at least 0.6"),
    Aim("age_mae_years", "clean", 0.0, 9.0, "at most 9 years"),
    Aim("age_interval_80_coverage", "clean", 0.75, 0.85, "0.75 to 0.85"),
    Aim("child_balanced_accuracy", "clean", 0.90, 1.0, "at least 0.90"),
)

Score = Mapping[str, str]


def read_scores(path: Path) -> list[Score]:
    """The rows that evaluation/starter.py wrote."""
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def find(scores: Sequence[Score], metric: str, channel: str, seconds: str, source: str = ALL_SOURCES) -> Score | None:
    """The one row of these conditions, None where it was not measured."""
    wanted = (metric, channel, seconds, source)
    for row in scores:
        if (row["metric"], row["channel"], row["seconds"], row["source"]) == wanted and int(row["speakers"]) > 0:
            return row
    return None


def number(text: str, digits: int) -> str:
    """A number of the CSV, rounded; nothing where it is not one."""
    value = float(text)
    return "" if value != value else f"{value:.{digits}f}"


def cell(row: Score | None, digits: int) -> str:
    """Value, 95 % interval, speakers and the cheat in one cell."""
    if row is None or not number(row["value"], digits):
        return "-"
    value, low, high, cheat = (number(row[key], digits) for key in ("value", "low_95", "high_95", "cheat"))
    return f"{value} [{low}, {high}], n {row['speakers']}" + (f", cheat {cheat}" if cheat else "")


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    return "\n".join([*lines, *("| " + " | ".join(row) + " |" for row in rows)])


def aims(scores: Sequence[Score]) -> str:
    """What was aimed at beside what was reached."""
    titles = {metric.name: metric for metric in METRICS}
    rows = []
    for aim in AIMS:
        row = find(scores, aim.metric, aim.channel, WHOLE)
        metric = titles[aim.metric]
        reached = "not measured" if row is None else "yes" if aim.low <= float(row["value"]) <= aim.high else "**no**"
        rows.append([metric.title, aim.channel, aim.text, cell(row, metric.digits), reached])
    return table(["number", "channel", "aim", "measured", "reached"], rows)


def by_condition(scores: Sequence[Score]) -> str:
    """One table a metric: durations down, channels across, all sources together."""
    parts = []
    for metric in METRICS:
        found = [row for row in scores if row["metric"] == metric.name and row["source"] == ALL_SOURCES]
        channels, durations = (list(dict.fromkeys(row[key] for row in found)) for key in ("channel", "seconds"))
        if not found:
            continue
        rows = [
            [seconds, *(cell(find(scores, metric.name, channel, seconds), metric.digits) for channel in channels)]
            for seconds in durations
        ]
        parts.append(f"**{metric.title}** ({metric.direction})\n\n" + table(["seconds heard", *channels], rows))
    return "\n\n".join(parts)


def by_source(scores: Sequence[Score], channel: str = "clean") -> str:
    """Sources down, metrics across, whole recordings of 3 s or more."""
    sources = [s for s in dict.fromkeys(row["source"] for row in scores) if s != ALL_SOURCES]
    shown = [m for m in METRICS if any(find(scores, m.name, channel, WHOLE, source) for source in sources)]
    rows = [
        [source, *(cell(find(scores, metric.name, channel, WHOLE, source), metric.digits) for metric in shown)]
        for source in sources
    ]
    return table(["source", *(metric.title for metric in shown)], rows)


def by_decade(scores: Sequence[Score]) -> str:
    """Error and mean stated age of each decade of adults."""
    rows = []
    for row in scores:
        if row["metric"].startswith(DECADE):
            decade = row["metric"].removeprefix(DECADE)
            stated = find(scores, STATED + decade, row["channel"], row["seconds"])
            mean = "-" if stated is None else number(stated["value"], 1)
            rows.append([decade, cell(row, 1), mean])
    return table(["decade said", "mean absolute error, years", "mean stated age"], rows)


def gate_rows(gate: Mapping[str, Any]) -> list[list[str]]:
    """How many faces of each kind were matched by people of each set."""
    rows = []
    for kind, found in gate.items():
        if not isinstance(found, dict) or kind == "membership":
            continue
        for gallery, part in found.items():
            if isinstance(part, dict) and "matched" in part:
                words = kind.replace("_", " ")
                share = f"{part['matched']} of {part['faces']} ({100 * part['matched_share']:.1f} %)"
                rows.append([words, gallery, share, f"{part['nearest']:.3f}"])
    return rows


def gate_text(gate: Mapping[str, Any]) -> str:
    """The release gate as measured."""
    rows = gate_rows(gate)
    if not rows:
        return "The gate was not measured for these weights."
    verdict = "passed" if gate.get("passed") else "**not passed**"
    strangers = "yes" if gate.get("no_nearer_than_strangers") else "**no**"
    text = [
        "The gate asks whether a drawn face is matched, by dlib's face embedder at its usual threshold of"
        f" {gate.get('threshold')}, to a person of the training set. Faces: the expected face at seven ages and both"
        " genders, for the reference population and for each group, and random draws. `strangers` is the floor: how"
        " often real people of the set are matched to another of them.",
        f"At the usual threshold: {verdict}. No more matches than between strangers: {strangers}.",
        table(["faces", "matched against", "matched", "nearest distance"], rows),
    ]
    # A median of one person would be that person's own number.
    members = {group: part for group, part in gate.get("membership", {}).items() if part["people"] > 1}
    if members:
        head = [
            "group",
            "people",
            "median distance with the person's photograph",
            "without it",
            "matched with",
            "without",
        ]
        keys = ("people", "median_with", "median_without", "matched_with", "matched_without")
        text += [
            "Membership: distance from each person's photograph to the expected face of their own attributes, fitted"
            " with that photograph and without it. The difference is what one person leaves in an average.",
            table(head, [[group, *(str(part[key]) for key in keys)] for group, part in members.items()]),
        ]
    return "\n\n".join(text)


def population_text(face: Mapping[str, Any]) -> str:
    """The reference population and how to change it."""
    shares = ", ".join(f"{group} {share:g}" for group, share in face["reference_population"].items())
    return (
        f"Nothing in a voice tells the group, so the expected face is an average over a stated population: {shares}."
        " These are the four groups in which the people photographed put themselves, with equal weight because no other"
        " weight follows from the data; they are no description of mankind. Draws (`--samples`) mix them in random"
        " shares around these. To change it: `--given group=NAME` for one portrait; for all of them,"
        " `--population white=1,black=1,...`, or `Model.with_population` in Python; the result records it."
    )


def calibration_text(manifest: Mapping[str, Any]) -> str:
    """What was fitted, on whom, and the values."""
    fitted = manifest["calibration"]
    low, high = fitted["measured_seconds"]
    values = {
        "age temperature at 1 s": f"{fitted['age_temperature']:.3f}",
        "its fall with the seconds heard": f"seconds ** -{fitted['age_temperature_slope']:.3f}, {low:g} to {high:g} s",
        "gender temperature, bias": f"{fitted['gender_temperature']:.3f}, {fitted['gender_bias']:.3f}",
        "threshold on P(under 13) for the child caution": f"{fitted['child_threshold']:.3f}",
        **{name.replace("_", " "): f"{value:g}" for name, value in manifest["thresholds"].items()},
    }
    return (
        "Fitted on the calibration speakers, who are in neither training nor validation, over three channels (clean,"
        " telephone, noisy) and five durations (1, 2, 3, 6, 10 s). The temperature of age is scaled until the stated"
        " 80 % interval holds 80 % of the calibration speakers; the corpus's prior over ages, in which"
        " half are in their twenties, is divided out as far as the mean error on the calibration speakers stays within"
        " nine years; both genders weigh the same.\n\n"
        + table(["value", ""], [[name, value] for name, value in values.items()])
    )


def files_text(folder: Path, manifest: Mapping[str, Any]) -> str:
    """Every file with its size and SHA-256.

    Raises:
        WeightsError: a file is not the one the manifest names.
    """
    rows = []
    for name, digest in manifest["files"].items():
        if sha256(folder / name) != digest:
            raise WeightsError(f"{folder / name} is not the file that {MANIFEST} names; assemble the release again")
        rows.append([f"`{name}`", f"{(folder / name).stat().st_size:,}", f"`{digest}`"])
    return table(["file", "bytes", "SHA-256"], rows)


def write_card(folder: Path, scores: Sequence[Score], audit: str = NOT_MEASURED) -> str:
    """The whole card of the release in `folder`; `audit` is the block that `speech2face audit` wrote."""
    manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    face = json.loads((folder / "face.json").read_text(encoding="utf-8"))
    sections = {
        "What it is, and what it is not": NATURE,
        "Intended use and misuse": INTENDED,
        "Training data": f"{VOICE_SOURCES}\n\n{FACE_SOURCES}",
        "Reference population": population_text(face),
        "Calibration": calibration_text(manifest),
        "Scores": SCORES_NOTE,
        "Aims": aims(scores),
        "By duration and channel": by_condition(scores),
        "By source": "Clean, whole recordings of 3 s or more.\n\n" + by_source(scores),
        "By decade of age": "Clean, whole recordings of 3 s or more; the cheat states the median age to all.\n\n"
        + by_decade(scores),
        HEADING.removeprefix("## "): section(audit),
        "Release gate": gate_text(face.get("gate", {})),
        "Limits": LIMITS,
        "Known failures": FAILURES,
        "Files": f"Release `{manifest['name']}` {manifest['version']}, format {manifest['format']}, licence"
        f" {manifest['licence']}.\n\n" + files_text(folder, manifest),
    }
    below = ("Aims", "By duration and channel", "By source", "By decade of age")
    parts = [f"{'###' if title in below else '##'} {title}\n\n{text}" for title, text in sections.items()]
    head = f"# Model card: {manifest['name']} {manifest['version']}"
    note = "Written by `python -m speech2face.evaluation.model_card` from the release's own files and its scores."
    return "\n\n".join([head, note, *parts]) + "\n"


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scores", type=Path, required=True, help="the CSV of speech2face.evaluation.starter")
    parser.add_argument("--release", type=Path, default=SHIPPED)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--also", type=Path, help="a second file for the same text, such as the release's CARD.md")
    arguments = parser.parse_args()
    audit = kept_block(arguments.out, sha256(arguments.release / MANIFEST))
    card = write_card(arguments.release, read_scores(arguments.scores), audit)
    for path in (arguments.out, arguments.also):
        if path is not None:
            path.write_text(card, encoding="utf-8")


if __name__ == "__main__":
    main()
