"""How long a report over 5,000 clips takes from stored embeddings, part by part, beside the distances alone.

    python benchmarks/evaluate.py                  # about two minutes
    python benchmarks/evaluate.py --clips 1000     # a quick look; nothing is written

Appends to benchmarks/evaluate.csv. Pictures are not drawn and no map is made (t-SNE). The floor is what cannot be left
out of the paper's Table 3: for 3 s and 6 s the products for cosine and L2 at the measured matrix-product rate, and one
pass of faiss over all pairs for L1. All in core seconds (CPU time of all threads), so that whatever else the
machine does matters less; the clock's time stands beside.
"""

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import cast

import faiss
import numpy as np
from record import Result, print_results, write
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from speech2face.evaluation.parts import PARTS
from speech2face.evaluation.pictures import EvaluationSettings, Material
from speech2face.evaluation.predictions import EvaluationSet
from speech2face.evaluation.report import ModelFacts, ReportFacts, write_report
from speech2face.metrics.matching import CACHE_NUMBERS

CLIPS, CLIPS_A_SPEAKER, EMBEDDING = 5000, 4, 4096  # Speech2Face: 5,000 clips, VGG-Face's fc7
CORES = 2
TARGET_SECONDS = 60.0


def stored(clips: int, embedding: int) -> EvaluationSet:
    """Made embeddings: faces around a mean and their gender's, predictions that know a third of the rest."""
    rng = np.random.default_rng(0)
    speaker = np.arange(clips) // CLIPS_A_SPEAKER
    gender = rng.integers(2, size=speaker[-1] + 1)[speaker]
    axes = rng.standard_normal((3, embedding)).astype(np.float32)
    own = rng.standard_normal((speaker[-1] + 1, embedding)).astype(np.float32)[speaker]
    faces = axes[0] + np.where(gender, 1, -1)[:, None].astype(np.float32) * axes[1] * 0.3 + own
    predicted = {
        seconds: (faces - 0.7 * own + noise * rng.standard_normal(own.shape)).astype(np.float32)
        for seconds, noise in ((3.0, 0.5), (6.0, 0.3))
    }
    return EvaluationSet(
        keys=tuple(f"clip-{row}" for row in range(clips)),
        speaker=speaker,
        speakers=tuple(f"speaker-{number}" for number in range(speaker[-1] + 1)),
        seconds=np.full(clips, 6.0),
        labels={
            "gender": tuple(np.where(gender, "female", "male").tolist()),
            "age": tuple(str(20 + number % 50) for number in speaker),
            "language": tuple(("en", "de")[row % 2] for row in range(clips)),
        },
        reference=faces.astype(np.float32),
        predicted=predicted,
        model=ModelFacts("made"),
        split="test",
        data_sha256="0" * 64,
    )


class Stored(Material):
    """What parts work on when only embeddings are there."""

    def __init__(self, evaluation: EvaluationSet) -> None:
        super().__init__(EvaluationSettings(data="", out=Path(), tsne=False))
        self.__dict__ |= {"evaluations": (evaluation,), "predictors": (), "reader": None, "pictures": None}


def floor_seconds(clips: int, embedding: int) -> float:
    """The distances of Table 3 alone, two lengths of speech, in core seconds."""
    side = np.random.default_rng(0).standard_normal((1024, embedding)).astype(np.float32)
    product = _core_seconds(lambda: side @ side.T, 5) / 1024**2
    block = side[: max(1, CACHE_NUMBERS // embedding)]
    with threadpool_limits(1):
        sums = _core_seconds(lambda: faiss.pairwise_distances(side, block, metric=faiss.METRIC_L1), 20) / block.size
    return 2 * clips**2 * (2 * product + sums * embedding / len(side))


def _core_seconds(call: Callable[[], object], runs: int) -> float:
    call()
    started = time.process_time()
    for _ in range(runs):
        call()
    return (time.process_time() - started) / runs


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=int, default=CLIPS)
    parser.add_argument("--embedding", type=int, default=EMBEDDING)
    chosen = parser.parse_args()
    floor = floor_seconds(chosen.clips, chosen.embedding)
    material = Stored(stored(chosen.clips, chosen.embedding))
    parts, results = [], []
    started, began = time.process_time(), time.perf_counter()
    for entry in PARTS:
        before = time.process_time()
        parts.append(entry.measure(cast(Material, material)))
        seconds = time.process_time() - before
        if not parts[-1].skipped:
            results.append(
                Result(f"part {entry.name}", seconds, "core s", floor if entry.name == "retrieval" else 0, "")
            )
    before = time.process_time()
    with tempfile.TemporaryDirectory() as folder:
        write_report(parts, ReportFacts("benchmark", (ModelFacts("made"),), {}), folder)
    results.append(Result("writing the report", time.process_time() - before, "core s", 0, ""))
    whole, wall = time.process_time() - started, time.perf_counter() - began
    what = f"report over {chosen.clips} clips of {chosen.embedding} numbers, 3 s and 6 s, no pictures, no map"
    results.insert(0, Result(what, whole, "core s", floor, "distances of Table 3 alone"))
    results.insert(1, Result("the same by the clock", wall, "s", floor / CORES, "evenly on two cores", TARGET_SECONDS))
    print_results(results)
    if (chosen.clips, chosen.embedding) == (CLIPS, EMBEDDING):
        write(results, Path(__file__).with_suffix(".csv"))


if __name__ == "__main__":
    main()
