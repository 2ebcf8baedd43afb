"""A few numbers a clip that tell models and lengths of speech apart: what curves and comparisons are made of."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from speech2face.evaluation.evaluation_set import EvaluationSet, Floats
from speech2face.evaluation.metrics import similarity
from speech2face.evaluation.metrics.retrieval import rank_gallery

ADULT_AGE = 18.0  # the readings of children have numbers of their own


@dataclass(frozen=True, eq=False)
class ClipMeasure:
    """One number of each clip; NaN where it cannot be had."""

    name: str
    values: Floats
    """(clips,)"""
    higher_is_better: bool
    chance: float | None
    mean_face: float | None
    """What the mean face, or the commonest answer, earns."""


def clip_measures(evaluation: EvaluationSet, heard: float, kept: NDArray[np.bool_]) -> tuple[ClipMeasure, ...]:
    """All that can be had of the kept clips after so many seconds, (clips,) each.

    Angle and angle around the mean face to the own face; rank of the own face by cosine among all faces of the
    evaluation, in percent; and where the model states attributes: error of the age and whether the gender is right.
    """
    return (*_of_embeddings(evaluation, heard, kept), *_of_attributes(evaluation, heard, kept))


def _of_embeddings(evaluation: EvaluationSet, heard: float, kept: NDArray[np.bool_]) -> tuple[ClipMeasure, ...]:
    if evaluation.reference is None:
        return ()
    there, kept = evaluation.has_reference(), kept & evaluation.measurable(heard)
    if not kept.any():
        return ()
    predicted, reference = evaluation.predicted[heard][kept], evaluation.reference[kept]
    centre = evaluation.mean_face()[kept]
    centre[~np.isfinite(centre).all(1)] = reference.mean(0)
    own = (np.cumsum(there) - 1)[kept]
    ranking = rank_gallery(predicted, evaluation.reference[there], own, evaluation.speaker[there])
    chance = 50 * (ranking.gallery + 1) / ranking.gallery
    cheat = float(similarity.angle_degrees(centre, reference).mean())
    found = {
        "angle_degrees": (similarity.angle_degrees(predicted, reference), None, cheat),
        "centred_angle_degrees": (similarity.centred_angle_degrees(predicted, reference, centre), 90.0, 90.0),
        "mean_rank_percent": (100 * ranking.rank / ranking.gallery, chance, chance),
    }
    return tuple(
        ClipMeasure(name, _spread(kept, values), False, level, mean) for name, (values, level, mean) in found.items()
    )


def _of_attributes(evaluation: EvaluationSet, heard: float, kept: NDArray[np.bool_]) -> tuple[ClipMeasure, ...]:
    stated = evaluation.stated.get(heard)
    if stated is None:
        return ()
    found = []
    gender, asked = evaluation.gender(), kept & np.isfinite(stated.femininity)
    told = asked & (gender != "")
    if told.any():
        right = (stated.femininity[told] > 0.5) == (gender[told] == "female")
        commonest = max(float((gender[told] == value).mean()) for value in ("female", "male"))
        found.append(ClipMeasure("gender_right", _spread(told, right.astype(np.float64)), True, 0.5, commonest))
    ages = evaluation.age_intervals()
    adult = asked & (ages[:, 0] >= ADULT_AGE)
    if adult.any():
        years = ages[adult].mean(1)
        error, constant = np.abs(stated.age[adult] - years), np.abs(np.median(years) - years)
        found.append(ClipMeasure("age_error_years", _spread(adult, error), False, None, float(constant.mean())))
    return tuple(found)


def _spread(kept: NDArray[np.bool_], values: Floats) -> Floats:
    whole = np.full(len(kept), np.nan)
    whole[kept] = values
    return whole
