"""A measure of the face embedding's length, which the usual measures, all of them of angles, do not see."""

import numpy as np

from speech2face.metrics.measures import Answers, ClipMeasure, Sides


def off(sides: Sides) -> np.ndarray:
    """How far the predictions' lengths are from the references', as a share of these; (pairs,)."""
    said, own = (np.linalg.norm(side, axis=1) for side in (sides.predicted, sides.reference))
    return np.abs(said / own - 1)


def of_clips(answers: Answers) -> np.ndarray:
    return answers.spread_out(off(answers.sides), answers.pairs)


def of_strangers(answers: Answers) -> float | None:
    found = [off(sides).mean() for sides in answers.of_strangers()]
    return float(np.mean(found)) if found else None


def of_trivial(answers: Answers) -> dict[str, np.ndarray]:
    return {name: answers.spread_out(off(sides), rows) for name, (sides, rows) in answers.trivial.items()}


LENGTH_RATIO = ClipMeasure(
    name="length_ratio",
    inputs=("predicted", "reference"),
    higher_is_better=False,
    of_answers=of_clips,
    chance_level=of_strangers,
    of_baselines=of_trivial,
)
