"""What `learn` makes of so many pairs, where the best possible is known, and what it makes of pairs that mean nothing.

    python benchmarks/learning.py

Writes benchmarks/learning.csv: a row for each world and number of people. Planted worlds (tests/learned_pairs.py):
R^2 on others beside the best that ridge regression with the true strength reaches from so many, over several seeds;
with everybody's faces changed, how often `learn` claims something, and how much it moves a belief. Takes about ten
minutes of one core.
"""

from __future__ import annotations

import argparse
import csv
import sys
from pathlib import Path

import numpy as np

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "src")]

from speech2face.learning.belief import TwoLines, teach  # noqa: E402
from speech2face.learning.people import LearningTable, drawn_folds  # noqa: E402
from speech2face.learning.scores import score  # noqa: E402
from speech2face.models.attributes import load_attribute_model  # noqa: E402
from tests.learned_pairs import PRIOR_DEVIATION, PlantedPairs  # noqa: E402

PEOPLE = (50, 100, 200, 400, 800)
WORLDS = (0.3, 0.15)
"""Share of a face beyond age and gender that voices explain, with any number of people."""
SEEDS, CLAIMS, MOST_CLAIMED = 8, 20, 100
OTHERS = 2000
COLUMNS = (
    *("world", "people", "r2_percent", "best_r2_percent", "share_of_best_percent", "worst_seed_percent"),
    *("shuffled_moved_percent", "shuffled_claims", "shuffled_tried"),
)


def taught(table: LearningTable, folds: int = 5) -> TwoLines:
    """What all of a table's people teach."""
    fold = drawn_folds(len(table), folds)
    return teach([table.sums(fold == number) for number in range(folds)]).lines


def r_squared(world: PlantedPairs, people: int, seed: int) -> float:
    """On others, of what some people teach."""
    others = world.table(OTHERS, seed + 1000)
    away = others.residual - taught(world.table(people, seed)).predict(others.numbers)
    return float(1 - np.square(away).sum() / np.square(others.residual).sum())


def moved(world: PlantedPairs, people: int, seed: int) -> float:
    """Mean square by which a belief moves with the voice where faces were changed, in units of the prior's variance."""
    table = world.table(people, seed, shuffled=True)
    found = taught(table).voice.moved(table.x, table.x.mean(0))
    return float(np.square(found).mean() / PRIOR_DEVIATION**2)


def row(explained: float, people: int) -> list[object]:
    """One world, one number of people."""
    world, model = PlantedPairs.of(explained), load_attribute_model()
    found = [r_squared(world, people, seed) for seed in range(SEEDS)]
    best = world.best_share(people)
    changed = np.mean([moved(world, people, seed) for seed in range(SEEDS)])
    tried = CLAIMS if people <= MOST_CLAIMED and explained == WORLDS[0] else 0  # more would take minutes each
    claims = sum(score(world.table(people, 100 + seed, shuffled=True), model)[0].pays for seed in range(tried))
    numbers = (100 * np.mean(found), 100 * best, 100 * np.mean(found) / best, 100 * min(found), 100 * changed)
    return [f"voices explain {explained:.0%}", people, *(f"{number:.1f}" for number in numbers), claims, tried]


def main() -> None:
    """Write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "learning.csv")
    arguments = parser.parse_args()
    rows = []
    for explained in WORLDS:
        for people in PEOPLE:
            rows.append(row(explained, people))
            print(*rows[-1], sep=", ", flush=True)
    with arguments.out.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file, lineterminator="\n").writerows([COLUMNS, *rows])


if __name__ == "__main__":
    main()
