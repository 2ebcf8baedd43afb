"""Every number of the starter release's voice side, by one command: by channel, duration and source, with intervals.

python -m recipes.starter.scores --starter ../shared/starter --features FEATURES --out docs
"""

import argparse
import csv
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from recipes.starter.batches import Packed
from recipes.starter.calibration import beliefs, interval_coverage
from recipes.starter.readings import Readings, read_packed
from recipes.starter.release import load_released_encoder
from speech2face.evaluation.clips import Speaker, read_speakers
from speech2face.metrics.attributes import balanced_accuracy, coverage, mean_absolute_error, spearman
from speech2face.metrics.intervals import Estimate, bootstrap
from speech2face.models.attributes import load_attribute_release
from speech2face.models.release import SHIPPED
from speech2face.voice.belief import Calibration

CHANNELS = ("clean", "telephone", "noisy")
DURATIONS: tuple[float | None, ...] = (1, 2, 3, 6, 10, None)  # None: all that was recorded, at least LEAST_SECONDS
LEAST_SECONDS = 3.0
ALL_SOURCES = "all"


@dataclass(frozen=True)
class Row:
    """One measured number and the conditions it holds for."""

    metric: str
    channel: str
    seconds: str
    source: str
    estimate: Estimate
    cheat: float  # what the best constant answer earns on the same speakers


def _gender(readings: Readings, speakers: list[Speaker], calibration: Calibration) -> tuple[Estimate, float]:
    kept = np.array([s.gender is not None and s.age is not None and s.age[0] >= 15 for s in speakers])
    if not kept.any():
        return Estimate(float("nan"), float("nan"), float("nan"), 0), 0.5
    read = np.array([belief.femininity > 0.5 for belief in beliefs(readings, calibration)])
    female = np.array([s.gender == "female" for s in speakers])
    return bootstrap(balanced_accuracy, read[kept], female[kept]), 0.5


def _ages(
    readings: Readings, speakers: list[Speaker], calibration: Calibration
) -> Iterator[tuple[str, Estimate, float]]:
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
    intervals = interval_coverage(readings, speakers, calibration)
    yield "age_interval_80_coverage", bootstrap(coverage, *intervals), float("nan")
    widths = intervals[1] - intervals[0]
    yield "age_interval_80_width_years", bootstrap(lambda width: float(np.mean(width)), widths), float("nan")


def _child(readings: Readings, speakers: list[Speaker], calibration: Calibration) -> Estimate:
    kept = np.array([s.is_child or s.is_adult for s in speakers])
    child = np.array([s.is_child for s in speakers])
    read = np.array([b.child_probability > calibration.child_threshold for b in beliefs(readings, calibration)])
    return bootstrap(balanced_accuracy, read[kept], child[kept])


def measure(release_folder: Path, starter: Path, features: Path, split: str = "validation") -> Iterator[Row]:
    """Yield every number; the speakers of `split` are in no other."""
    encoder = load_released_encoder(release_folder)
    release = load_attribute_release(release_folder)
    calibration = release.calibration
    speakers = read_speakers(starter)
    rows = [row for row, s in enumerate(speakers) if s.split == split and (s.age is not None or s.gender is not None)]
    for channel in CHANNELS:
        packed = Packed(features, channel)
        for seconds in DURATIONS:
            least = (LEAST_SECONDS if seconds is None else seconds) * 100 - 2
            kept = [row for row in rows if packed.length(row) >= least]
            readings = read_packed(encoder, packed, kept, seconds)
            label = "all (3 or more)" if seconds is None else f"{seconds:g}"
            sources = [ALL_SOURCES, *sorted({speakers[row].source for row in kept})]
            for source in sources:
                chosen = np.array([source in (ALL_SOURCES, speakers[row].source) for row in kept])
                part = readings.where(chosen)
                people = [speakers[row] for row, keep in zip(kept, chosen, strict=True) if keep]
                estimate, cheat = _gender(part, people, calibration)
                yield Row("gender_balanced_accuracy_adults", channel, label, source, estimate, cheat)
                for name, estimate, cheat in _ages(part, people, calibration):
                    yield Row(name, channel, label, source, estimate, cheat)
                if any(s.is_child for s in people):
                    yield Row("child_balanced_accuracy", channel, label, source, _child(part, people, calibration), 0.5)
                voiced = part.voice_logit > release.thresholds["voice_logit"]
                heard = bootstrap(lambda voice: float(np.mean(voice)), voiced)
                yield Row("voice_recognised", channel, label, source, heard, 1.0)


def by_decade(release_folder: Path, starter: Path, features: Path) -> Iterator[Row]:
    """Mean absolute error of each age decade of adults, clean, three seconds or more."""
    encoder = load_released_encoder(release_folder)
    calibration = load_attribute_release(release_folder).calibration
    speakers = read_speakers(starter)
    packed = Packed(features, "clean")
    rows = [
        row
        for row, s in enumerate(speakers)
        if s.split == "validation" and s.is_adult and packed.length(row) >= LEAST_SECONDS * 100 - 2
    ]
    stated = np.array([belief.age_mean for belief in beliefs(read_packed(encoder, packed, rows), calibration)])
    reference = np.array([speakers[row].age_years for row in rows])
    for decade in sorted({int(age // 10) * 10 for age in reference}):
        kept = reference // 10 * 10 == decade
        median = float(np.median(reference))
        error = bootstrap(mean_absolute_error, stated[kept], reference[kept])
        yield Row(
            f"age_mae_years_of_{decade}s",
            "clean",
            "all (3 or more)",
            ALL_SOURCES,
            error,
            mean_absolute_error(np.full(kept.sum(), median), reference[kept]),
        )
        mean = bootstrap(lambda value: float(np.mean(value)), stated[kept])
        yield Row(f"stated_age_mean_of_{decade}s", "clean", "all (3 or more)", ALL_SOURCES, mean, median)


def write_csv(rows: list[Row], path: Path) -> None:
    """All numbers as CSV."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["metric", "channel", "seconds", "source", "value", "low_95", "high_95", "speakers", "cheat"])
        for row in rows:
            e = row.estimate
            numbers = [f"{value:.4g}" for value in (e.value, e.low, e.high)]
            writer.writerow([row.metric, row.channel, row.seconds, row.source, *numbers, e.n, f"{row.cheat:.4g}"])


def markdown(rows: list[Row], metrics: tuple[str, ...]) -> str:
    """A table, one line a condition over all sources, one column a metric."""
    lines = ["| channel | seconds | " + " | ".join(name.replace("_", " ") for name in metrics) + " |"]
    lines.append("|---|---|" + "---|" * len(metrics))
    conditions = dict.fromkeys((row.channel, row.seconds) for row in rows if row.source == ALL_SOURCES)
    for channel, seconds in conditions:
        cells = []
        for metric in metrics:
            found = [
                r for r in rows if (r.metric, r.channel, r.seconds, r.source) == (metric, channel, seconds, ALL_SOURCES)
            ]
            cells.append(
                f"{found[0].estimate.value:.3g} [{found[0].estimate.low:.3g}, {found[0].estimate.high:.3g}]"
                if found
                else ""
            )
        if any(cells):
            lines.append(f"| {channel} | {seconds} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--starter", type=Path, required=True)
    parser.add_argument("--features", type=Path, required=True, help="made by recipes.starter.features")
    parser.add_argument("--release", type=Path, default=SHIPPED)
    parser.add_argument("--split", default="validation")
    parser.add_argument("--out", type=Path, help="folder for starter_scores.csv")
    arguments = parser.parse_args()
    torch.set_num_threads(2)
    rows = [*measure(arguments.release, arguments.starter, arguments.features, arguments.split)]
    if arguments.split == "validation":
        rows += by_decade(arguments.release, arguments.starter, arguments.features)
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
            print(row.channel, row.source, row.metric, row.estimate, f"cheat {row.cheat:.3g}")
    if arguments.out:
        write_csv(rows, arguments.out / "starter_scores.csv")


if __name__ == "__main__":
    main()
