"""Scores of encoders on unseen planted speakers beside what is possible: python -m recipes.planted.scores --help.

Every number comes with a 95 % interval over speakers (bootstrap), the best possible, and what chance or a cheat earns.
"""

from __future__ import annotations

import argparse
import csv
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn

from recipes.planted import world as bounds
from recipes.planted.ridge import FEATURES, FaceRidge, features_and_faces
from recipes.planted.shards import speaker_number
from recipes.planted.synthesiser import FloatArray
from recipes.planted.world import World
from speech2face.data.clips import ClipDataset
from speech2face.data.manifest import Manifest
from speech2face.metrics.intervals import Estimate, bootstrap
from speech2face.metrics.matching import Embeddings, cosine, explained_variance, own_ranks, recall
from speech2face.outputs import encode_csv, replace_file
from speech2face.training.stages import load_network
from speech2face.voice.encoder import SpectrogramFrontEnd, from_pcm

AT_ONCE = 10
RECALL_AT = (1, 10)
BEST_RUN = "best prediction"
"""Scored too, on the same speakers: chance may make a handful of them easier or harder than the world is."""
HEADER = ("run", "seconds", "number", "value", "low", "high", "speakers", "best", "chance", "chance_is")


@dataclass(frozen=True)
class Score:
    """One number of one run, and what it is to be read against."""

    run: str
    seconds: float
    """Of the test audio; 0 for the best prediction, which hears none."""
    number: str
    estimate: Estimate
    best: float
    chance: float
    chance_is: str

    def row(self) -> tuple[str, ...]:
        """Cells under HEADER."""
        found = self.estimate
        texts = [f"{value:.4f}" for value in found.cells()] + [str(found.n), f"{self.best:.4f}", f"{self.chance:.4f}"]
        return (self.run, f"{self.seconds:g}", self.number, *texts, self.chance_is)


def world_of(manifest: Manifest) -> World:
    """The planted world whose face embeddings a data set holds."""
    record = manifest.embedder
    assert record is not None and record.kind == "planted", "scores are for data sets of planted.shards"
    return World(**record.settings)


@torch.inference_mode()
def predict(network: nn.Module, clips: ClipDataset, *, limit: int | None = None) -> tuple[Embeddings, Embeddings]:
    """Predicted and reference face embeddings of all clips, or the first ones, (clips, embedding) twice."""
    front_end = SpectrogramFrontEnd()
    predicted, reference = [], []
    count = min(len(clips), limit or len(clips))
    for start in range(0, count, AT_ONCE):
        batch = clips.batch(range(start, min(start + AT_ONCE, count)))
        predicted.append(network(front_end(from_pcm(batch["waveform"]))).float().numpy())
        reference.append(batch["face_embedding"].numpy())
    return np.concatenate(predicted), np.concatenate(reference)


def trait_r2(world: World, predicted: Embeddings, reference: Embeddings) -> list[float]:
    """R^2 along each shared trait's direction of the face embedding; best is correlation squared."""
    said, shown = world.shown_traits(predicted.astype(np.float64)), world.shown_traits(reference.astype(np.float64))
    return [1 - float(np.mean((shown[:, k] - said[:, k]) ** 2) / shown[:, k].var()) for k in range(shown.shape[1])]


def squared_correlation(said: FloatArray, shown: FloatArray) -> float:
    """Mean over traits of the squared correlation, (speakers, shared) twice: what is told but for scale and offset.

    Higher is better, at most correlation squared; a constant earns 0, chance 1 / speakers.
    """
    said, shown = said - said.mean(0), shown - shown.mean(0)
    lengths = np.square(said).sum(0) * np.square(shown).sum(0)
    return float(np.mean((said * shown).sum(0) ** 2 / np.maximum(lengths, 1e-12)))


@dataclass(frozen=True)
class Limits:
    """What is possible and what costs nothing, in a world with so many test speakers."""

    world: World
    r2: float
    cosine: float
    constant_cosine: float
    recall: Mapping[int, float]

    @classmethod
    def of(cls, world: World, gallery: int) -> Limits:
        """By formula and Monte Carlo (`bounds.py`); recall is that of the best prediction ranked by cosine."""
        return cls(
            world,
            bounds.best_r2(world),
            bounds.best_cosine(world),
            bounds.constant_cosine(world),
            {at: bounds.cosine_recall(world, at, gallery) for at in RECALL_AT},
        )


def _mean(column: FloatArray) -> float:
    return float(column.mean())


def _share(predicted: Embeddings, best: Embeddings, reference: Embeddings) -> float:
    return explained_variance(predicted, reference) / explained_variance(best, reference)


def score_run(
    run: str, predicted: Embeddings, reference: Embeddings, *, seconds: float, best: Embeddings, limits: Limits
) -> Iterator[Score]:
    """All numbers of a run at one length of test audio; `best` are the best predictions for the same speakers."""
    world = limits.world
    count = len(reference)

    def score(number: str, estimate: Estimate, best: float, chance: float, chance_is: str) -> Score:
        return Score(run, seconds, number, estimate, best, chance, chance_is)

    r2 = bootstrap(explained_variance, predicted, reference)
    yield score("r2", r2, limits.r2, 0.0, "the mean face for everybody")
    share = Estimate(r2.value / limits.r2, r2.low / limits.r2, r2.high / limits.r2, count)
    yield score("share_of_formula", share, 1.0, 0.0, "the mean face for everybody")
    share = bootstrap(_share, predicted, best, reference)
    yield score("share_of_best", share, 1.0, 0.0, "the mean face for everybody")
    said, shown = (world.shown_traits(side.astype(np.float64)) for side in (predicted, reference))
    told = bootstrap(squared_correlation, said, shown)
    yield score("squared_correlation", told, world.correlation**2, 1 / count, "unrelated numbers")
    of_pairs = bootstrap(_mean, cosine(predicted.astype(np.float64), reference.astype(np.float64)))
    yield score("cosine", of_pairs, limits.cosine, limits.constant_cosine, "the mean face for everybody")
    rank = own_ranks(predicted, reference)
    for at in RECALL_AT:
        found = bootstrap(_mean, (rank <= at).astype(np.float64))
        yield score(f"recall_at_{at}", found, limits.recall[at], at / count, f"{at} of {count} people")
        assert np.isclose(found.value, recall(rank, at).mean())
    for name, value in zip(world.shared_traits, trait_r2(world, predicted, reference), strict=True):
        nothing = Estimate(value, float("nan"), float("nan"), count)
        yield score(f"r2_{name}", nothing, world.correlation**2, 0.0, "the mean face for everybody")


def name_ending(world: World, split: str = "test") -> str:
    """What stands behind a run's name where it was scored in another world or split than usual."""
    parts = ("" if world.kind == "spectrum" else world.kind, "" if split == "test" else split)
    return "".join(f", {part}" for part in parts if part)


def best_predictions(world: World, numbers: Iterable[int]) -> tuple[Embeddings, Embeddings]:
    """Best prediction and face embedding of the speakers of these numbers, (speakers, embedding) twice."""
    traits = [world.traits(range(number, number + 1)) for number in numbers]
    predicted = np.concatenate([world.best_prediction(one.shared) for one in traits])
    faces = np.concatenate([world.face_embedding(one) for one in traits])
    return predicted.astype(np.float32), faces.astype(np.float32)


Predictor = Callable[[ClipDataset], tuple[Embeddings, Embeddings]]
"""Predicted and reference face embeddings of all clips."""


def encoder_of(folder: Path) -> Predictor:
    """What a trained encoder predicts.

    Raises:
        CheckpointError: the run is not there or damaged.
    """
    network, _ = load_network(folder)
    return lambda clips: predict(network, clips)


def ridge_of(name: str, learned_from: Manifest, seconds: float) -> Predictor:
    """What a kernel ridge predicts from the features of this name, learned from the split train; prints its choice."""
    features = FEATURES[name]
    ridge = FaceRidge(*features_and_faces(features, ClipDataset(learned_from, "train", seconds=seconds)))
    print(f"{name}: {ridge.chosen}")

    def predict_by_ridge(clips: ClipDataset) -> tuple[Embeddings, Embeddings]:
        found, faces = features_and_faces(features, clips)
        return ridge.predict(found), faces

    return predict_by_ridge


def score_runs(
    runs: Mapping[str, Predictor], manifest: Manifest, seconds: Iterable[float], *, split: str = "test"
) -> Iterator[Score]:
    """Scores of predictions, by the names of the runs, at each length of test audio.

    Raises:
        DatasetError: the data set is not there or damaged.
    """
    world, table = world_of(manifest), manifest.clips(split)
    limits = Limits.of(world, len(table))
    lengths = tuple(seconds)
    numbers = [speaker_number(table.key_of(clip)) for clip in range(len(table))]
    best, faces = best_predictions(world, numbers)
    of_split = name_ending(world, split)
    yield from score_run(BEST_RUN + of_split, best, faces, seconds=0, best=best, limits=limits)
    for name, predictor in runs.items():
        for length in lengths:
            predicted, reference = predictor(ClipDataset(manifest, split, seconds=length))
            yield from score_run(name + of_split, predicted, reference, seconds=length, best=best, limits=limits)


def _named(text: str) -> tuple[str, str]:
    name, _, what = text.partition("=")
    return name, what


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--world", required=True, help="data set with a split named test")
    parser.add_argument("--run", action="append", type=_named, default=[], metavar="NAME=FOLDER")
    parser.add_argument(
        "--ridge", action="append", type=_named, default=[], metavar="NAME=FEATURES", help=" or ".join(FEATURES)
    )
    parser.add_argument("--learn-from", metavar="FOLDER", help="data set whose split train ridges learn from; --world")
    parser.add_argument("--learn-seconds", type=float, default=3.0, help="of each recording that ridges learn from")
    parser.add_argument("--seconds", type=float, action="append", help="length of the test audio; may be repeated")
    parser.add_argument("--split", default="test", help="another one's name is written behind the runs' names")
    parser.add_argument("--fact", action="append", default=[], metavar="NAME=VALUE", help="a column for every row")
    parser.add_argument("--out", type=Path, required=True, help="CSV")
    parser.add_argument("--append", action="store_true", help="keep the rows that the file has of other runs")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    facts = dict(fact.split("=", 1) for fact in arguments.fact)
    header = [*facts, *HEADER]
    kept: list[list[str]] = []
    if arguments.append and arguments.out.exists():
        with arguments.out.open(newline="", encoding="utf-8") as file:
            kept = [row for row in csv.reader(file) if row != header]
    manifest, seconds = Manifest.open(arguments.world), arguments.seconds or (6.0,)
    runs = {name: encoder_of(Path(folder)) for name, folder in arguments.run}
    learned_from = Manifest.open(arguments.learn_from or arguments.world)
    runs |= {name: ridge_of(what, learned_from, arguments.learn_seconds) for name, what in arguments.ridge}
    scores = list(score_runs(runs, manifest, seconds, split=arguments.split))
    made = {score.run for score in scores}
    kept = [row for row in kept if row[len(facts)] not in made]
    replace_file(arguments.out, encode_csv([header, *kept, *([*facts.values(), *score.row()] for score in scores)]))
    for score in scores:
        print(*score.row(), sep="\t")


if __name__ == "__main__":
    main()
