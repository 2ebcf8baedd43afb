"""Widths of the head in pictures from the voice: absolute ratio errors as in Cross-Modal Perceptionist, but flat."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from speech2face.errors import MissingExtra
from speech2face.evaluation.evaluation_set import EvaluationSet, Floats
from speech2face.evaluation.intervals import RESAMPLINGS, SpeakerBootstrap
from speech2face.evaluation.metrics.are import WIDTHS, absolute_ratio_error, width_ratios
from speech2face.evaluation.parts.face_shapes import (
    FEWEST,
    NO_PAIRS,
    conditions_of,
    pairs_of,
    shapes_of,
    strangers,
    without_face,
)
from speech2face.evaluation.parts.part import Cell, Number, Part, Table
from speech2face.evaluation.pictures import PictureSet

NAME, TITLE = "anthropometry", "Widths of the head"
CHANCE_ROUNDS = 20
NOTES = (
    "A flat stand-in: the original measures vertices of 3-D heads, here landmarks of frontal pictures stand for them"
    " (ear 0 to 16, forehead by the tails of the brows 17 to 26, midline 2 to 14, cheek 4 to 12, over the eyes' outer"
    " corners 36 to 45). The published numbers are of another yardstick and only shown for their order of size.",
    "The mean face for everybody is hard to beat here: people's heads differ by little in these ratios.",
)
MEAN = "mean_ratio"
_HEADER = (
    *("reference", "measured", "ratio", "error", "low", "high", "clips", "speakers"),
    *("random pairs", "mean face", "mean face of the gender"),
)


def measure(
    evaluation: EvaluationSet, *, pictures: PictureSet | None = None, seed: int = 0, resamplings: int = RESAMPLINGS
) -> Part:
    """Errors of four ratios and of their mean, for every pair of kinds of pictures."""
    if pictures is None:
        return Part(NAME, TITLE, skipped="there are no pictures to measure; give a model that draws them (--model)")
    pairs = pairs_of(pictures)
    if not pairs:
        return Part(NAME, TITLE, skipped=NO_PAIRS)
    bootstrap = SpeakerBootstrap(evaluation.speaker, resamplings=resamplings, seed=seed)
    numbers: list[Number] = []
    try:
        shapes = shapes_of(pictures, pairs)
    except MissingExtra as error:
        return Part(NAME, TITLE, skipped=str(error))
    for pair in pairs:
        reference, measured = (width_ratios(shapes[kind]) for kind in pair)
        conditions = conditions_of(pair, pictures.seconds)
        numbers += _numbers(evaluation, reference, measured, conditions, bootstrap)
    excluded = without_face(pictures, shapes)
    if not numbers:
        return Part(NAME, TITLE, skipped=f"faces were found in fewer than {FEWEST} pairs", exclusions=excluded)
    rows = tuple(_cells(number) for number in numbers)
    table = Table("absolute_ratio_errors", "Absolute ratio errors", _HEADER, rows)
    return Part(NAME, TITLE, tuple(numbers), (table,), notes=NOTES, exclusions=excluded)


def _numbers(
    evaluation: EvaluationSet,
    reference: dict[str, Floats],
    measured: dict[str, Floats],
    conditions: dict[str, str],
    bootstrap: SpeakerBootstrap,
) -> list[Number]:
    x = np.stack([reference[one.name] for one in WIDTHS], 1)  # (clips, widths)
    y = np.stack([measured[one.name] for one in WIDTHS], 1)
    there = np.isfinite(x).all(1) & np.isfinite(y).all(1)
    if there.sum() < FEWEST:
        return []
    x[~there] = y[~there] = np.nan
    everybody = np.zeros(len(x), np.int64)
    gender = np.select([evaluation.gender() == "female", evaluation.gender() == "male"], [0, 1], -1)
    errors = {
        "measured": absolute_ratio_error(y, x),
        "chance": _of_strangers(x, y, evaluation.speaker, bootstrap.seed),
        "mean": absolute_ratio_error(_means_of_others(x, everybody, evaluation.speaker), x),
        "gender": absolute_ratio_error(_means_of_others(x, gender, evaluation.speaker), x),
    }
    published = {one.name: one.published for one in WIDTHS} | {MEAN: 0.0241}
    numbers = []
    for place, name in enumerate([MEAN, *(one.name for one in WIDTHS)]):
        of = {key: values.mean(1) if name == MEAN else values[:, place - 1] for key, values in errors.items()}
        numbers.append(
            Number(
                part=NAME,
                metric=f"{name}_error",
                estimate=bootstrap.mean(of["measured"]),
                clips=int(np.isfinite(of["measured"]).sum()),
                conditions=conditions,
                chance=_mean(of["chance"]),
                mean_face=_mean(of["mean"]),
                gender_mean_face=_mean(of["gender"]),
                best=0.0,
                published=f"{published[name]} on 3-D vertices (Wu et al. 2022, supervised): another yardstick",
                higher_is_better=False,
            )
        )
    return numbers


def _mean(values: Floats) -> float | None:
    finite = values[np.isfinite(values)]
    return float(finite.mean()) if len(finite) else None


def _of_strangers(x: Floats, y: Floats, speaker: NDArray[np.int64], seed: int) -> Floats:
    """Errors of another speaker's picture, (clips, widths), mean over the rounds; NaN where none was met."""
    there = np.flatnonzero(np.isfinite(x).all(1))
    total, met = np.zeros_like(x), np.zeros((len(x), 1))
    for dealt in strangers(speaker[there], seed=seed, rounds=CHANCE_ROUNDS):
        rows = there[dealt >= 0]
        total[rows] += absolute_ratio_error(y[there[dealt[dealt >= 0]]], x[rows])
        met[rows] += 1
    return np.asarray(total / np.where(met > 0, met, np.nan))


def _means_of_others(x: Floats, kind: NDArray[np.int64], speaker: NDArray[np.int64]) -> Floats:
    """For each clip the mean of the other speakers of its kind, (clips, widths); NaN for kind -1 or no others."""
    means = np.full_like(x, np.nan)
    there = np.isfinite(x).all(1)
    for one in np.unique(kind[kind >= 0]):
        rows = np.flatnonzero(there & (kind == one))
        total = x[rows].sum(0)
        for person in np.unique(speaker[rows]):
            own = rows[speaker[rows] == person]
            if len(own) < len(rows):
                means[own] = (total - x[own].sum(0)) / (len(rows) - len(own))
    return means


def _cells(number: Number) -> tuple[Cell, ...]:
    estimate, conditions = number.estimate, number.conditions
    return (
        *(conditions["reference"], conditions["measured"], number.metric.removesuffix("_error")),
        *(estimate.value, estimate.low, estimate.high, number.clips, estimate.n),
        *(number.chance, number.mean_face, number.gender_mean_face),
    )
