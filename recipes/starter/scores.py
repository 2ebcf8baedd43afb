"""Every number of the starter release's voice side, by one command: by channel, duration and source, with intervals.

python -m recipes.starter.scores --starter ../shared/starter --features FEATURES --out docs
"""

import argparse
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from recipes.starter.calibration import beliefs, interval_coverage
from recipes.starter.channels import FIXED
from recipes.starter.features import Packed, decode
from recipes.starter.readings import Readings, read_packed
from recipes.starter.release import VOICE_WEIGHTS, load_head
from speech2face.evaluation.clips import Speaker, read_speakers
from speech2face.evaluation.observations import pitch_hz
from speech2face.metrics.intervals import Estimate, bootstrap
from speech2face.metrics.measures import balanced_accuracy, coverage, mean_absolute_error, spearman
from speech2face.models.attributes import AttributeRelease, load_attribute_release
from speech2face.models.release import SHIPPED
from speech2face.outputs import encode_csv, markdown_table, replace_file
from speech2face.training.pretrained import VoiceHead
from speech2face.voice.belief import Calibration

DURATIONS: tuple[float | None, ...] = (1, 2, 3, 6, 9, None)  # None: all that was recorded, at least LEAST_SECONDS
LEAST_SECONDS = 3.0
ALL_SOURCES = "all"
HIGH_PITCH_HZ = 150.0


@dataclass(frozen=True)
class Row:
    """One measured number and the conditions it holds for."""

    metric: str
    channel: str
    seconds: str
    source: str
    estimate: Estimate
    baseline: float  # what the best constant answer earns on the same speakers


Measured = tuple[str, Estimate, float]


def _gender(readings: Readings, speakers: list[Speaker], calibration: Calibration) -> Iterator[Measured]:
    kept = np.array([s.gender is not None and s.age is not None and s.age[0] >= 15 for s in speakers])
    if not kept.any():
        return
    read = np.array([belief.femininity > 0.5 for belief in beliefs(readings, calibration)])[kept]
    female = np.array([s.gender == "female" for s in speakers])[kept]
    yield "gender_balanced_accuracy_adults", bootstrap(balanced_accuracy, read, female), 0.5
    for name, wanted in (("women", True), ("men", False)):
        right = (read == female)[female == wanted]
        yield f"gender_recall_{name}", bootstrap(lambda value: float(np.mean(value)), right), 0.5


def _ages(readings: Readings, speakers: list[Speaker], calibration: Calibration) -> Iterator[Measured]:
    kept = np.array([s.is_adult for s in speakers])
    if kept.sum() < 5:
        return
    stated = np.array([belief.age_mean for belief in beliefs(readings, calibration)])[kept]
    reference = np.array([s.age_years for s in speakers if s.is_adult])
    yield "age_spearman", bootstrap(spearman, stated, reference), 0.0
    median = np.full_like(reference, np.median(reference))
    yield "age_mae_years", bootstrap(mean_absolute_error, stated, reference), mean_absolute_error(median, reference)
    decade = reference // 10
    weights = np.array([1 / np.sum(decade == value) for value in decade])

    def balanced_error(error: np.ndarray, weight: np.ndarray) -> float:
        return float(np.sum(error * weight) / np.sum(weight))

    constant = min(balanced_error(np.abs(age - reference), weights) for age in range(18, 80))
    yield "age_mae_years_each_decade_alike", bootstrap(balanced_error, np.abs(stated - reference), weights), constant
    yield "age_slope", bootstrap(lambda said, told: float(np.polyfit(told, said, 1)[0]), stated, reference), 0.0
    old = reference >= 50
    if old.any():
        late = float(np.mean(median[old] - reference[old]))
        yield "age_bias_years_from_50", bootstrap(lambda error: float(np.mean(error)), (stated - reference)[old]), late
    intervals = interval_coverage(readings, speakers, calibration)
    yield "age_interval_80_coverage", bootstrap(coverage, *intervals), float("nan")
    widths = intervals[1] - intervals[0]
    yield "age_interval_80_width_years", bootstrap(lambda width: float(np.mean(width)), widths), float("nan")


def _child(readings: Readings, speakers: list[Speaker], calibration: Calibration) -> Estimate:
    kept = np.array([s.is_child or s.is_adult for s in speakers])
    child = np.array([s.is_child for s in speakers])
    read = np.array([b.child_probability > calibration.child_threshold for b in beliefs(readings, calibration)])
    return bootstrap(balanced_accuracy, read[kept], child[kept])


def measure(
    head: VoiceHead, release: AttributeRelease, speakers: list[Speaker], features: Path, split: str
) -> Iterator[Row]:
    """Yield every number; the speakers of `split` are in no other."""
    calibration = release.calibration
    rows = [row for row, s in enumerate(speakers) if s.split == split and (s.age is not None or s.gender is not None)]
    for channel in FIXED:
        packed = Packed(features, channel)
        for seconds in DURATIONS:
            readings = read_packed(head, packed, rows, seconds)
            if seconds is None:
                readings = readings.where(readings.seconds >= LEAST_SECONDS)
            people = [speakers[row] for row in readings.speaker]
            label = "all (3 or more)" if seconds is None else f"{seconds:g}"
            for source in (ALL_SOURCES, *sorted({s.source for s in people})):
                chosen = np.array([source in (ALL_SOURCES, s.source) for s in people])
                part = readings.where(chosen)
                some = [s for s, keep in zip(people, chosen, strict=True) if keep]
                for name, estimate, baseline in (*_gender(part, some, calibration), *_ages(part, some, calibration)):
                    yield Row(name, channel, label, source, estimate, baseline)
                if any(s.is_child for s in some):
                    yield Row("child_balanced_accuracy", channel, label, source, _child(part, some, calibration), 0.5)
                voiced = part.voice_logit > release.thresholds["voice_logit"]
                share = bootstrap(lambda voice: float(np.mean(voice)), voiced)
                yield Row("voice_recognised", channel, label, source, share, 1.0)


def by_decade(head: VoiceHead, release: AttributeRelease, speakers: list[Speaker], features: Path) -> Iterator[Row]:
    """Mean absolute error of each age decade of adults, clean, three seconds or more."""
    rows = [row for row, s in enumerate(speakers) if s.split == "validation" and s.is_adult]
    readings = read_packed(head, Packed(features, "clean"), rows)
    readings = readings.where(readings.seconds >= LEAST_SECONDS)
    stated = np.array([belief.age_mean for belief in beliefs(readings, release.calibration)])
    reference = np.array([speakers[row].age_years for row in readings.speaker])
    median = float(np.median(reference))
    where = ("clean", "all (3 or more)", ALL_SOURCES)
    for decade in sorted({int(age // 10) * 10 for age in reference}):
        kept = reference // 10 * 10 == decade
        error = bootstrap(mean_absolute_error, stated[kept], reference[kept])
        constant = mean_absolute_error(np.full(kept.sum(), median), reference[kept])
        yield Row(f"age_mae_years_of_{decade}s", *where, error, constant)
        mean = bootstrap(lambda value: float(np.mean(value)), stated[kept])
        yield Row(f"stated_age_mean_of_{decade}s", *where, mean, median)


def high_pitched_men(
    head: VoiceHead, release: AttributeRelease, speakers: list[Speaker], features: Path
) -> Iterator[Row]:
    """Share of men whose median pitch is 150 Hz and more who are read as men, clean, three seconds or more."""
    rows = [row for row, s in enumerate(speakers) if s.split == "validation" and s.gender == "male" and s.is_adult]
    rows = [row for row in rows if pitch_hz(decode(speakers[row].file, 12.0)) >= HIGH_PITCH_HZ]
    readings = read_packed(head, Packed(features, "clean"), rows)
    readings = readings.where(readings.seconds >= LEAST_SECONDS)
    right = np.array([belief.femininity <= 0.5 for belief in beliefs(readings, release.calibration)])
    share = bootstrap(lambda value: float(np.mean(value)), right)
    yield Row("gender_recall_high_pitched_men", "clean", "all (3 or more)", ALL_SOURCES, share, 0.5)


def write_csv(rows: list[Row], path: Path) -> None:
    """All numbers as CSV."""
    columns = ["value", "low_95", "high_95", "speakers", "trivial_baseline"]
    table: list[list[object]] = [["metric", "channel", "seconds", "source", *columns]]
    for row in rows:
        numbers = [f"{value:.4g}" for value in row.estimate.cells()]
        conditions = [row.metric, row.channel, row.seconds, row.source]
        table.append([*conditions, *numbers, row.estimate.n, f"{row.baseline:.4g}"])
    replace_file(path, encode_csv(table))


def markdown(rows: list[Row], metrics: tuple[str, ...]) -> str:
    """A table, one line a condition over all sources, one column a metric."""
    shown: dict[tuple[str, str], dict[str, str]] = {}
    for row in rows:
        if row.source == ALL_SOURCES:
            value, low, high = row.estimate.cells()
            of_condition = shown.setdefault((row.channel, row.seconds), {})
            of_condition.setdefault(row.metric, f"{value:.3g} [{low:.3g}, {high:.3g}]")
    lines = [[*condition, *(cells.get(name, "") for name in metrics)] for condition, cells in shown.items()]
    head = ["channel", "seconds", *(name.replace("_", " ") for name in metrics)]
    return markdown_table(head, [line for line in lines if any(line[2:])])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--starter", type=Path, required=True)
    parser.add_argument("--features", type=Path, required=True, help="made by recipes.starter.features")
    parser.add_argument("--release", type=Path, default=SHIPPED)
    parser.add_argument("--split", default="validation")
    parser.add_argument("--out", type=Path, help="folder for starter_scores.csv")
    arguments = parser.parse_args()
    torch.set_num_threads(2)
    known = (
        load_head(arguments.release / VOICE_WEIGHTS),
        load_attribute_release(arguments.release),
        read_speakers(arguments.starter),
        arguments.features,
    )
    rows = [*measure(*known, arguments.split)]
    if arguments.split == "validation":
        rows += [*by_decade(*known), *high_pitched_men(*known)]
    metrics = (
        "gender_balanced_accuracy_adults",
        "age_spearman",
        "age_mae_years",
        "age_interval_80_coverage",
        "child_balanced_accuracy",
        "voice_recognised",
    )
    print(markdown(rows, metrics))
    for row in rows:
        if (row.source != ALL_SOURCES and row.seconds.startswith("all")) or "_of_" in row.metric:
            print(row.channel, row.source, row.metric, row.estimate, f"trivial baseline {row.baseline:.3g}")
    if arguments.out:
        write_csv(rows, arguments.out / "starter_scores.csv")


if __name__ == "__main__":
    main()
