"""The same speaker in two languages: does the language change the face? Speech2Face shows it in pictures."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from speech2face.evaluation.evaluation_set import EvaluationSet
from speech2face.evaluation.intervals import RESAMPLINGS, SpeakerBootstrap
from speech2face.evaluation.metrics.consistency import Neighbours, neighbours
from speech2face.evaluation.parts.part import Number, Part, exclude

NAME, TITLE = "languages", "The same speaker in two languages"
NO_LABEL = "no clip has a label named language; give the language of each clip in the data set"
ONE_LANGUAGE = "no speaker has clips in two languages"
NOTES = (
    "The shift is the mean angle between predicted embeddings of one speaker's clips in two languages, less that of two"
    " clips in one language, over clips that have both. The shift ratio holds it against the angle to other speakers of"
    " the same language: 0, the language changes nothing; 1, it changes as much as another person would.",
    "The same answer to all, and the mean face of the gender, have no shift and identify nobody.",
)


def measure(evaluation: EvaluationSet, *, seed: int = 0, resamplings: int = RESAMPLINGS) -> Part:
    """Of every seconds heard; clips without a language are left out, speakers of one language only serve as others."""
    language = evaluation.label("language")
    if not (language != "").any():
        return Part(NAME, TITLE, skipped=NO_LABEL)
    exclusions = list(exclude(evaluation.keys, np.flatnonzero(language == ""), "no_language"))
    numbers: list[Number] = []
    for seconds in sorted(evaluation.predicted):
        heard = np.isfinite(evaluation.predicted[seconds]).all(1)
        exclusions += exclude(evaluation.keys, np.flatnonzero(~heard), "no_prediction", f"{seconds:g} s")
        numbers += _measure(evaluation.take(heard & (language != "")), seconds, seed, resamplings)
    if not numbers:
        return Part(NAME, TITLE, skipped=ONE_LANGUAGE, exclusions=tuple(exclusions))
    return Part(NAME, TITLE, tuple(numbers), notes=NOTES, exclusions=tuple(exclusions))


def bilingual(speaker: NDArray[np.int64], language: NDArray[np.str_]) -> NDArray[np.bool_]:
    """Clips of speakers who have clips in two languages, (clips,)."""
    pairs = np.unique(np.stack([speaker.astype(str), language.astype(str)], 1), axis=0)
    people, languages = np.unique(pairs[:, 0], return_counts=True)
    return np.isin(speaker.astype(str), people[languages > 1])


def _measure(few: EvaluationSet, seconds: float, seed: int, resamplings: int) -> Iterator[Number]:
    language = few.label("language")
    two = bilingual(few.speaker, language)
    if not two.any():
        return
    bootstrap = SpeakerBootstrap(few.speaker, resamplings=resamplings, seed=seed)
    conditions = {"seconds": f"{seconds:g}"}
    predicted = few.predicted[seconds]
    same, other = (neighbours(predicted, few.speaker, label=language, alike=alike) for alike in (True, False))
    for pair, degrees in (
        ("same speaker, same language", same.own_degrees),
        ("same speaker, other language", other.own_degrees),
        ("other speaker, same language", same.other_degrees),
        ("other speaker, other language", other.other_degrees),
    ):
        values = np.where(two, degrees, np.nan)
        counted = int(np.isfinite(values).sum())
        if counted:
            named = {**conditions, "pair": pair}
            yield Number(NAME, "angle_degrees", bootstrap.mean(values), counted, named, higher_is_better=None)
    yield from _shift(same, other, two, bootstrap, conditions)
    found = np.where(two, other.found, np.nan)
    yield Number(
        *(NAME, "identification_across_languages", bootstrap.mean(found), int(np.isfinite(found).sum()), conditions),
        chance=float(np.nanmean(other.chance[two])),
        mean_face=0.0,
        gender_mean_face=0.0,
    )


def _shift(
    same: Neighbours,
    other: Neighbours,
    two: NDArray[np.bool_],
    bootstrap: SpeakerBootstrap,
    conditions: dict[str, str],
) -> Iterator[Number]:
    shift = np.where(two, other.own_degrees - same.own_degrees, np.nan)
    person = np.where(two, same.other_degrees - same.own_degrees, np.nan)
    clips = int((np.isfinite(shift) & np.isfinite(person)).sum())
    if not clips:
        return
    for metric, estimate in (
        ("shift_degrees", bootstrap.mean(shift)),
        ("shift_ratio", bootstrap.ratio(shift, person)),
    ):
        yield Number(NAME, metric, estimate, clips, conditions, higher_is_better=False)
