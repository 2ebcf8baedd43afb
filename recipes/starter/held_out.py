"""How far the heads hold away from home: each source, channel and group of languages left out of learning, then read.

    python -m recipes.starter.held_out --starter ../shared/starter --features FEATURES --out docs

On training and calibration speakers alone; those who are read are in no case among those who taught. Beside each number
stands what the same people earn when others of their own kind were learned from: the difference is the domain's.
"""

import argparse
import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path

import numpy as np

from recipes.starter.channels import CHANNELS
from recipes.starter.heads import (
    AGE_EXPANSION,
    AGE_SPREAD_GROWTH,
    Crops,
    fit_age,
    fit_distance,
    fit_gender,
    fit_typical_distance,
    gather,
    median_of_adults,
    standard,
)
from recipes.starter.release import DISTANCE
from speech2face.evaluation.clips import Speaker, read_speakers
from speech2face.metrics.measures import balanced_accuracy, coverage, mean_absolute_error, spearman
from speech2face.outputs import encode_csv, replace_file
from speech2face.training.pretrained import AGE_UNIT_YEARS, DISTANCE_SECONDS, WhisperConfig
from speech2face.voice.belief import AGE_INTERVAL_MASS, BIN_CENTRES, AttributeBelief, Calibration

logger = logging.getLogger(__name__)

FOLDS = 3
LANGUAGE_GROUPS = 3
LEAST_PEOPLE = 10
KNEE_YEARS = 32.0  # about the median of the heads' ages, from where the spread grows


@dataclass(frozen=True)
class Unit:
    """What is left out of learning, by a name; which crops are read and from which is learned, (crops,) bool each."""

    kind: str
    name: str
    read: np.ndarray
    learned: np.ndarray


@dataclass(frozen=True)
class Outcome:
    """Readings of some crops by heads that did not learn from their speakers, (crops,) each; `at` are their places."""

    at: np.ndarray
    age: np.ndarray
    gender: np.ndarray
    distance: np.ndarray

    def where(self, kept: np.ndarray) -> "Outcome":
        """Some of them, `kept` (crops,) bool."""
        return Outcome(self.at[kept], self.age[kept], self.gender[kept], self.distance[kept])


def units(crops: Crops, speakers: Sequence[Speaker]) -> Iterator[Unit]:
    """The folds of speakers at home, then each source, channel and group of languages left out."""
    source = np.array([speakers[row].source for row in crops.speaker])
    language = np.array([speakers[row].language for row in crops.speaker])
    fold = np.random.default_rng(0).integers(FOLDS, size=len(speakers))[crops.speaker]
    for held in range(FOLDS):
        yield Unit("home", "all", fold == held, fold != held)
    for name in np.unique(source):
        yield Unit("source", str(name), source == name, source != name)
    for place, name in enumerate(CHANNELS):  # other people through other channels teach
        here = crops.channel == place
        yield Unit("channel", name, here & (fold == 0), ~here & (fold != 0))
    names = np.unique(language)
    group = dict(zip(np.random.default_rng(0).permutation(names), np.arange(names.size) % LANGUAGE_GROUPS, strict=True))
    own_group = np.array([group[name] for name in language])
    for held in range(LANGUAGE_GROUPS):
        yield Unit("language", f"group {held + 1}", own_group == held, own_group != held)


def outcome(
    crops: Crops, speakers: Sequence[Speaker], unit: Unit, axes: int = WhisperConfig().distance_axes
) -> Outcome:
    """Learn without the unit, and read it."""
    centre, scale = standard(crops.where(unit.learned))
    learned = crops.where(unit.learned).standardised(centre, scale)
    x = (crops.statistics[unit.read] - centre) * scale
    (age_slope, age_bias), (gender_slope, gender_bias) = fit_age(learned, speakers), fit_gender(learned, speakers)
    knee = median_of_adults(learned, speakers, age_slope)
    age = x @ age_slope
    age += age_bias + AGE_EXPANSION * np.maximum(age - knee, 0)
    principal = fit_distance(learned, axes).T
    at_one, fall = fit_typical_distance(np.square(learned.statistics @ principal).mean(1), learned.seconds)
    seconds = np.clip(crops.seconds[unit.read], *DISTANCE_SECONDS)
    distance = np.square(x @ principal).mean(1) * seconds**fall / at_one
    return Outcome(np.flatnonzero(unit.read), age, x @ gender_slope + gender_bias, distance)


def belief_of(age: float, distance: float, calibration: Calibration) -> AttributeBelief:
    """The stated belief around one age, whatever the gender."""
    spread = AGE_UNIT_YEARS + AGE_SPREAD_GROWTH * max(age - KNEE_YEARS, 0.0)
    logits = -0.5 * np.square((BIN_CENTRES - age) / spread)
    return AttributeBelief(calibration.age_probabilities(logits, 1.0, distance), 0.5)


def holding(said: Outcome, told: np.ndarray, calibration: Calibration) -> float:
    """Share of adults whose stated interval holds the age they told, (adults, 2) from and to."""
    beliefs = [belief_of(float(age), float(far), calibration) for age, far in zip(said.age, said.distance, strict=True)]
    stated = np.array([belief.age_interval(AGE_INTERVAL_MASS) for belief in beliefs])
    return coverage(stated[:, 0], stated[:, 1], told[:, 0], told[:, 1])


def calibrated(said: Outcome, told: np.ndarray) -> Calibration:
    """The spread with which four fifths are held at home; distance counts as in the release."""
    low, high = 0.1, 5.0
    for _ in range(12):
        middle = float(np.sqrt(low * high))
        short = holding(said, told, replace(DISTANCE, age_temperature=middle)) < AGE_INTERVAL_MASS
        low, high = (middle, high) if short else (low, middle)
    return replace(DISTANCE, age_temperature=float(np.sqrt(low * high)))


def told_ages(crops: Crops, speakers: Sequence[Speaker], said: Outcome) -> np.ndarray:
    """From and to of the ages that were told, (crops, 2)."""
    return np.array([speakers[row].age for row in crops.speaker[said.at]], np.float64).reshape(-1, 2)


def numbers(
    crops: Crops, speakers: Sequence[Speaker], said: Outcome, calibration: Calibration
) -> Iterator[tuple[str, float, int]]:
    """Each number of some readings, and of how many people it is."""
    people = [speakers[row] for row in crops.speaker[said.at]]
    grown = np.array([s.gender is not None and not s.is_child for s in people])
    if grown.sum() >= LEAST_PEOPLE:
        female = np.array([s.gender == "female" for s in people])[grown]
        right = balanced_accuracy(said.gender[grown] > 0, female)
        yield "gender_balanced_accuracy", right, len(set(crops.speaker[said.at[grown]]))
    adults = said.where(np.array([s.is_adult for s in people]))
    count = len(set(crops.speaker[adults.at]))
    if count >= LEAST_PEOPLE:
        told = told_ages(crops, speakers, adults)
        yield "age_spearman", spearman(adults.age, told.mean(1)), count
        yield "age_mae_years", mean_absolute_error(adults.age, told.mean(1)), count
        yield "age_interval_80_coverage", holding(adults, told, calibration), count
        yield "distance_median", float(np.median(adults.distance)), count


def joined(parts: Sequence[Outcome]) -> Outcome:
    """Several as one, in the order of the crops."""
    whole = Outcome(*(np.concatenate([getattr(part, field.name) for part in parts]) for field in fields(Outcome)))
    order = np.argsort(whole.at)
    return whole.where(order)


def table(crops: Crops, speakers: Sequence[Speaker]) -> Iterator[list[str]]:
    """Rows of the CSV: what was left out, the number without it, the same people's at home, how many they are."""
    found: dict[tuple[str, str], list[Outcome]] = {}
    for unit in units(crops, speakers):
        said = outcome(crops, speakers, unit)
        found.setdefault((unit.kind, unit.name), []).append(said.where(crops.whole[said.at]))
        logger.info("%s %s", unit.kind, unit.name)
    home = joined(found.pop(("home", "all")))
    adults = home.where(np.array([speakers[row].is_adult for row in crops.speaker[home.at]]))
    calibration = calibrated(adults, told_ages(crops, speakers, adults))
    for metric, value, people in numbers(crops, speakers, home, calibration):
        yield ["home", "all", metric, f"{value:.4g}", f"{value:.4g}", str(people)]
    for (kind, name), parts in found.items():
        said = joined(parts)
        same = home.where(np.isin(home.at, said.at))
        beside = {metric: value for metric, value, _ in numbers(crops, speakers, same, calibration)}
        for metric, value, people in numbers(crops, speakers, said, calibration):
            yield [kind, name, metric, f"{value:.4g}", f"{beside[metric]:.4g}", str(people)]


def write_csv(rows: Iterator[list[str]], path: Path) -> None:
    """All numbers, in one step."""
    replace_file(path, encode_csv([["left_out", "name", "metric", "value", "at_home", "speakers"], *rows]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--starter", type=Path, required=True)
    parser.add_argument("--features", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True, help="folder for starter_held_out.csv")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    speakers = read_speakers(arguments.starter)
    rows = [row for row, s in enumerate(speakers) if s.split != "validation" and (s.gender or s.age)]
    write_csv(table(gather(arguments.features, rows), speakers), arguments.out / "starter_held_out.csv")


if __name__ == "__main__":
    main()
