"""A few numbers a clip that tell models and lengths of speech apart: what curves and comparisons are made of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from speech2face.evaluation.evaluation_set import Embeddings, EvaluationSet, Floats
from speech2face.evaluation.intervals import SpeakerBootstrap
from speech2face.evaluation.metrics import similarity
from speech2face.evaluation.metrics.retrieval import rank_gallery
from speech2face.evaluation.parts.part import Number

ADULT_AGE = 18.0  # the readings of children have numbers of their own
DEALT_OUT = 1000  # ages at most, each held against all of them


@dataclass(frozen=True, eq=False)
class ClipMeasure:
    """One number of each clip; NaN where it cannot be had."""

    name: str
    values: Floats
    """(clips,)"""
    higher_is_better: bool
    chance: float | None
    mean_face: float | None
    """What the mean face, the commonest gender or the median age for everybody earns."""
    gender_mean_face: float | None = None
    """The same within the gender of the label."""

    def number(self, part: str, bootstrap: SpeakerBootstrap, conditions: Mapping[str, str]) -> Number:
        """Its mean over clips, with everything that stands beside it."""
        return Number(
            part,
            self.name,
            bootstrap.mean(self.values),
            int(np.isfinite(self.values).sum()),
            conditions,
            chance=self.chance,
            mean_face=self.mean_face,
            gender_mean_face=self.gender_mean_face,
            higher_is_better=self.higher_is_better,
        )


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
    of_gender = evaluation.gender_mean_face()[kept]
    known = np.isfinite(of_gender).all(1)
    of_gender, its, around = of_gender[known], reference[known], centre[known]
    angle, centred = similarity.angle_degrees, similarity.centred_angle_degrees
    others = _angle_to_others(predicted, reference, evaluation.speaker[kept])
    cheat = float(angle(centre, reference).mean())
    found = {
        "angle_degrees": (angle(predicted, reference), others, cheat, _mean(angle(of_gender, its))),
        "centred_angle_degrees": (
            *(centred(predicted, reference, centre), 90.0, 90.0),
            _mean(centred(of_gender, its, around)),
        ),
        "mean_rank_percent": (100 * ranking.rank / ranking.gallery, chance, chance, None),  # stands in `retrieval`
    }
    return tuple(
        ClipMeasure(name, _spread(kept, values), False, level, mean, gender)
        for name, (values, level, mean, gender) in found.items()
    )


def _angle_to_others(predicted: Embeddings, reference: Embeddings, speaker: NDArray[np.int64]) -> float | None:
    """Mean angle to faces of other speakers; None where there is nobody else."""
    pairs = similarity.strangers(speaker)
    if (pairs < 0).any():
        return None
    return float(np.mean([similarity.angle_degrees(predicted, reference[rows]) for rows in pairs]))


def _mean(values: Floats) -> float | None:
    return float(values.mean()) if len(values) else None


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
        found.append(ClipMeasure("gender_right", _spread(told, right.astype(np.float64)), True, 0.5, commonest, 1.0))
    ages = evaluation.age_intervals()
    adult = asked & (ages[:, 0] >= ADULT_AGE)
    if adult.any():
        years = ages[adult].mean(1)
        error = _spread(adult, np.abs(stated.age[adult] - years))
        some = slice(None, None, -(-len(years) // DEALT_OUT))
        dealt = float(np.abs(stated.age[adult][some, None] - years[None, some]).mean())
        of_all, of_gender = _error_of_medians(years, np.full(len(years), "")), _error_of_medians(years, gender[adult])
        found.append(ClipMeasure("age_error_years", error, False, dealt, of_all, of_gender))
    return tuple(found)


def _error_of_medians(years: Floats, group: NDArray[np.str_]) -> float:
    """Mean error of whoever says the median age of each clip's group."""
    medians = {one: np.median(years[group == one]) for one in np.unique(group)}
    return float(np.abs(np.array([medians[one] for one in group]) - years).mean())


def _spread(kept: NDArray[np.bool_], values: Floats) -> Floats:
    whole = np.full(len(kept), np.nan)
    whole[kept] = values
    return whole
