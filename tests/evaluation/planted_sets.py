"""Evaluation sets of a planted world, whose best possible numbers are known, and what cheats would predict there."""

from dataclasses import replace
from functools import cache

import numpy as np
from numpy.typing import NDArray

from recipes.planted.world import World
from speech2face.evaluation.predictions import EvaluationSet
from speech2face.evaluation.report import ModelFacts, Number, Part

WORLD = World()
SPEAKERS = 300


@cache
def oracle(speakers: int = SPEAKERS, clips: int = 1, noise: float = 0.0) -> EvaluationSet:
    """The best prediction for every speaker, with noise (deviation of a coordinate) from clip to clip.

    Gender is the sign of the first shared trait.
    """
    traits = WORLD.traits(range(speakers))
    speaker = np.repeat(np.arange(speakers), clips)
    faces, best = WORLD.face_embedding(traits)[speaker], WORLD.best_prediction(traits.shared)[speaker]
    predicted = best + noise * np.random.default_rng(1).standard_normal(best.shape)
    return EvaluationSet(
        keys=tuple(f"clip-{row}" for row in range(len(speaker))),
        speaker=speaker,
        speakers=tuple(f"speaker-{number}" for number in range(speakers)),
        seconds=np.full(len(speaker), 6.0),
        labels={"gender": tuple("female" if pitch > 0 else "male" for pitch in traits.shared[speaker, 0])},
        reference=faces.astype(np.float32),
        predicted={6.0: predicted.astype(np.float32)},
        model=ModelFacts("oracle"),
        split="test",
        data_sha256="0" * 64,
    )


def predicting(evaluation: EvaluationSet, predicted: NDArray[np.float32]) -> EvaluationSet:
    """The same set with other predictions."""
    return replace(evaluation, predicted={6.0: predicted})


def number(part: Part, metric: str, **conditions: str) -> Number:
    """The one number of a part with these conditions."""
    found = [n for n in part.numbers if n.metric == metric and conditions.items() <= n.conditions.items()]
    assert len(found) == 1, f"{len(found)} numbers {metric} with {conditions}"
    return found[0]


def reached(value: Number, truth: float) -> bool:
    """Whether a known value lies within the number's interval, and the number too."""
    low, high = value.estimate.low, value.estimate.high
    return low <= truth <= high and low <= value.estimate.value <= high
