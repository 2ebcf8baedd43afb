"""What `learn` makes of so many pairs, where the best possible is known, and what it makes of pairs that mean nothing.

    OMP_NUM_THREADS=1 python benchmarks/learning.py                     # some ten minutes of one core
    python benchmarks/learning.py --only chance --features build/starter/features --starter ../shared/starter

Writes benchmarks/learning.csv (appends, a section at a time). Planted worlds (tests/learned_pairs.py), isotropic and
with a voice that moves three directions of a face alone: R^2 on others beside the best that is possible from so many
people, by a rule that knows how strong the signal is and where it lies. With everybody's faces changed: how far a
belief still moves, and how often `learn` claims something. With --features (recipes/starter/features.py) and
--starter: real voices joined with real faces by chance within gender and decade, each face once, from which nothing
must be learned. Costs: a clip's numbers on one core, 1,000 prepared people with their peak memory, runs/learn.sh.
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from record import ROOT, Result, peak_memory, print_results, processor, write
from scipy import stats

from recipes.planted.pairs import clips as planted_clips
from recipes.planted.pairs import write_table
from speech2face.data.media import Rejected
from speech2face.data.shards import write_shards
from speech2face.evaluation.clips import Speaker, read_speakers
from speech2face.face.detect import read_photograph
from speech2face.learning.features import LABELS, ClipReader, VoiceAxes, stored_pairs, tabled_pairs
from speech2face.learning.release import LearnOptions, lesson_of_table, write_learned_release
from speech2face.learning.scores import LearningTable, drawn_folds
from speech2face.learning.sums import TwoLines, teach
from speech2face.models.attributes import AttributeModel, Moments, load_attribute_model, pooled_statistics
from speech2face.models.contract import Given
from tests.learned_pairs import PRIOR_DEVIATION, PlantedPairs

PEOPLE = (50, 100, 200, 400, 800)
WORLDS = {"isotropic, 30 %": (0.3, None), "isotropic, 15 %": (0.15, None), "three directions, 30 %": (0.3, 3)}
"""What voices explain of a face beyond age and gender with any number of people, and in how many directions."""
SEEDS, CLAIMED, CLAIMS = 8, (50, 100), 6
OTHERS = 2000
CLIPS, CLIP_SECONDS, PREPARED = 16, 4.0, 1000
SECTIONS = ("chance", "planted", "claims", "costs")


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


def planted(name: str, people: int) -> list[Result]:
    """One world, one number of people."""
    explained, rank = WORLDS[name]
    world = PlantedPairs.of(explained, rank=rank)
    found = [r_squared(world, people, seed) for seed in range(SEEDS)]
    low = float(np.mean(found) - stats.t.ppf(0.975, SEEDS - 1) * np.std(found, ddof=1) / np.sqrt(SEEDS))
    best = world.best_share(people)
    still = [moved(world, people, seed) for seed in range(SEEDS)]
    where = f"{name}, {people} people"
    return [
        Result(f"{where}: R^2 on others, mean of {SEEDS} seeds", float(np.mean(found)), "of 1", best, "best possible"),
        Result(f"{where}: lower end of its 95 % interval", low, "of 1", 0.0, "age and gender alone", 0.0),
        Result(f"{where}: the worst seed", min(found), "of 1", best, "best possible"),
        Result(f"{where}, faces changed: variance moved", float(np.mean(still)), "of 1", 0.0, "nothing", 0.02),
    ]


def tell_nobody(what: str, done: int, of: int | None) -> None:
    """How far it is concerns nobody here."""


def claims(people: int, seeds: int = CLAIMS) -> Result:
    """How often something is claimed where everybody has somebody else's face."""
    world = PlantedPairs.of(0.3)
    tables = [world.table(people, 100 + seed, shuffled=True) for seed in range(seeds)]
    claimed = [lesson_of_table(table, LearnOptions("made"), tell_nobody)[1].pays for table in tables]
    return Result(f"{people} people, faces changed: claims in {seeds}", float(sum(claimed)), "claims", 0.0, "none", 0)


# --------------------------------------------------------------------------------------------------
# Voices and faces of the starter material, joined by chance.
# --------------------------------------------------------------------------------------------------


def decade(words: str) -> str:
    """Of an age in years or in words such as "twenties"; "" where it is not said."""
    names = ("", "teens", "twenties", "thirties", "fourties", "fifties", "sixties", "seventies", "eighties")
    return str(int(words) // 10) if words.isdigit() else str(names.index(words)) if words in names[1:] else ""


def voices(features: Path) -> dict[int, Moments]:
    """The whole speech of each speaker of the packed statistics, means and deviations back to sums."""
    with np.load(features / "clean.npz") as stored:
        rows, statistics = stored["rows"], stored["statistics"].astype(np.float64)
    found: dict[int, list[np.ndarray]] = {}
    seconds: dict[int, float] = {}
    for (speaker, cut, length), (mean, deviation) in zip(rows, statistics, strict=True):
        if cut == 0:
            sums = length * np.stack([np.ones_like(mean), mean, np.square(mean) + np.square(deviation)])
            found.setdefault(int(speaker), []).append(sums)
            seconds[int(speaker)] = seconds.get(int(speaker), 0.0) + float(length)
    return {who: Moments(np.sum(each, 0)[None].astype(np.float32), seconds[who]) for who, each in found.items()}


def joined(model: AttributeModel, features: Path, starter: Path, seed: int = 0) -> LearningTable:
    """Each photograph with a voice of the same gender and decade, drawn by chance; what finds none is left out."""
    rng = np.random.default_rng(seed)
    heard, speakers = voices(features), read_speakers(starter)
    pool: dict[tuple[str, str], list[int]] = {}
    for number in rng.permutation(len(speakers)):
        person: Speaker = speakers[number]
        if int(number) in heard and person.is_adult:
            pool.setdefault((person.gender or "", str(int(person.age_years) // 10)), []).append(int(number))
    stored = json.loads((starter / "faces" / "landmarks.json").read_text())["landmarks"]
    fitter, axes, rows = model.face_fitter(), VoiceAxes.of_starter(), []
    for face in csv.DictReader((starter / "faces" / "faces.csv").read_text(encoding="utf-8").splitlines()):
        if not (free := pool.get((face["gender"], decade(face["age"])), [])) or face["face"] not in stored:
            continue
        picture = read_photograph(starter / "faces" / face["file"])
        fitted = fitter.fit([picture], [np.array(stored[face["face"]], np.float64)])
        said = model.encoded([heard[free.pop()]])
        if not said.is_child:
            rows.append((face, fitted, pooled_statistics(said.moments), said.belief(Given())))
    count = len(rows)
    return LearningTable(
        names=tuple(f"{number:03d}" for number in range(count)),
        person=np.arange(count),
        x=axes.of(np.stack([row[2] for row in rows]).astype(np.float64)),
        prior_mean=np.stack([row[3].mean for row in rows]).astype(np.float64),
        prior_covariance=np.stack([row[3].covariance for row in rows]).astype(np.float64),
        face=np.stack([model.as_drawn(row[1].embedding) for row in rows]).astype(np.float64),
        noise=np.stack([row[1].covariance for row in rows]),
        labels={name: np.array([row[0].get(name, "") for row in rows]) for name in LABELS},
        licences=("",) * count,
        consents=("",) * count,
        seconds=np.full(count, 6.0),
        fit_error=np.array([row[1].error for row in rows]),
    )


def by_chance(features: Path, starter: Path) -> list[Result]:
    """What is learned from real voices and real faces that do not belong together."""
    table = joined(load_attribute_model(), features, starter)
    _, scores, _ = lesson_of_table(table, LearnOptions("chance"), tell_nobody)
    where = f"starter voices with {len(table)} starter faces by chance within gender and decade"
    within = next(match for match in scores.matches if match.within == "gender and decade")
    return [
        Result(f"{where}: claims", float(scores.pays), "claims", 0.0, "none", 0),
        Result(f"{where}: error gone beside refitted", scores.beyond.value, "of 1", 0.0, "nothing"),
        Result(f"{where}: upper end of its interval", scores.beyond.high, "of 1", 0.0, "nothing"),
        Result(f"{where}: two faces told apart", within.learned.value, "of 1", 0.5, "chance"),
    ]


# --------------------------------------------------------------------------------------------------
# What it costs.
# --------------------------------------------------------------------------------------------------


def clip_costs() -> list[Result]:
    """Processor time that a clip's numbers take: landmarks at hand, and found by dlib."""
    reader = ClipReader()
    made = list(planted_clips(CLIPS, seconds=CLIP_SECONDS, seed=0))
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        write_shards(place / "shards", made)
        write_table(made, place / "table")
        sets = {
            "landmarks at hand": [clip.material for clip in stored_pairs(str(place / "shards")).clips()],
            "landmarks found by dlib": [clip.material for clip in tabled_pairs(str(place / "table/pairs.csv")).clips()],
        }
        found = []
        for name, materials in sets.items():
            seconds = []
            for material in materials:
                with contextlib.suppress(Rejected):
                    started = time.process_time()
                    reader.read(material)
                    seconds.append(time.process_time() - started)
            question = f"numbers of a clip of {CLIP_SECONDS:g} s, processor time, {name}"
            found.append(Result(question, float(np.median(seconds[2:])), "s", 0.0, "nothing", 0.15))
    return found


def learning_cost() -> tuple[float, float]:
    """Processor time and peak memory in GB of learning from people whose numbers are there; in a process of its own."""
    table, axes = PlantedPairs.of(0.15).table(PREPARED), VoiceAxes.of_starter()
    more = np.random.default_rng(3).standard_normal((PREPARED, axes.map.shape[1] - table.x.shape[1]))
    table = replace(table, x=np.concatenate([table.x, more], axis=1))
    started = time.process_time()
    lesson, _, _ = lesson_of_table(table, LearnOptions("made"), tell_nobody)
    with tempfile.TemporaryDirectory() as folder:
        facts = {"data": "made", "manifest_sha256": ""}
        write_learned_release(
            replace(lesson, training=facts | lesson.training), Path(folder) / "made", LearnOptions("made")
        )
    return time.process_time() - started, peak_memory() / 2**30


def costs() -> list[Result]:
    """A clip, 1,000 prepared people, and the script from nothing to a portrait."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as alone:
        seconds, memory = alone.submit(learning_cost).result()
    with tempfile.TemporaryDirectory() as folder:
        started, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
        environment = os.environ | {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
        subprocess.run(
            ["bash", str(ROOT / "runs" / "learn.sh"), folder], check=True, env=environment, stdout=subprocess.DEVNULL
        )
        script, after = time.perf_counter() - started, resource.getrusage(resource.RUSAGE_CHILDREN)
        processor_time = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return [
        *clip_costs(),
        Result(f"learning of {PREPARED} prepared people, processor time", seconds, "s", 0.0, "nothing", 180),
        Result(f"learning of {PREPARED} prepared people, peak memory", memory, "GB", 0.0, "nothing", 2),
        Result("runs/learn.sh with 120 people", script, "s", 0.0, "nothing", 300),
        Result("runs/learn.sh with 120 people, processor time", processor_time, "s", 0.0, "nothing"),
    ]


def main() -> None:
    """Measure and append."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "learning.csv")
    parser.add_argument("--features", type=Path, help="packed statistics of the starter's voices")
    parser.add_argument("--starter", type=Path, default=ROOT.parent / "shared" / "starter")
    parser.add_argument("--only", choices=SECTIONS, action="append", help="this section; may be repeated")
    options = parser.parse_args()
    hardware = f"{processor()}, one of them busy with others too"

    def add(results: list[Result]) -> None:
        print_results(results)
        write(results, options.out, hardware)

    wanted = options.only or SECTIONS
    if "chance" in wanted and options.features is not None:
        add(by_chance(options.features, options.starter))
    if "planted" in wanted:
        for name in WORLDS:
            for people in PEOPLE:
                add(planted(name, people))
    if "claims" in wanted:
        add([claims(people) for people in CLAIMED])
    if "costs" in wanted:
        add(costs())


if __name__ == "__main__":
    main()
