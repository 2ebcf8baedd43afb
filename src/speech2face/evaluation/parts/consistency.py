"""Consistency: does a speaker get the same face from every clip? Speech2Face shows it in pictures."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

import numpy as np

from speech2face.evaluation.evaluation_set import Embeddings, EvaluationSet, Floats
from speech2face.evaluation.intervals import RESAMPLINGS, SpeakerBootstrap
from speech2face.evaluation.metrics.consistency import Neighbours, SpeakerSums, neighbours
from speech2face.evaluation.parts.part import Exclusion, Figure, Number, Part, exclude
from speech2face.evaluation.reporting.figures import COLOURS, render

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Canvas

NAME, TITLE = "consistency", "Consistency within a speaker"
ONE_CLIP = "no speaker has two clips; consistency needs several clips of a speaker"
INCHES = (6.4, 3.4)
NOTES = (
    "Consistent is not right: whoever answers the mean face of the gender is perfectly consistent. Read these numbers"
    " beside retrieval and matching.",
    "Identification: is the nearest other clip, by the predicted embeddings, one of the same speaker? Ties count"
    " against us. The best that stands beside is what the clips' own faces earn.",
)
STATED = {"age": "stated_age_icc", "femininity": "stated_femininity_icc"}


def measure(evaluation: EvaluationSet, *, seed: int = 0, resamplings: int = RESAMPLINGS) -> Part:
    """Of every seconds heard; speakers of a single clip only serve as the others."""
    numbers: list[Number] = []
    exclusions: list[Exclusion] = []
    figures: list[Figure] = []
    for seconds in sorted(evaluation.predicted):
        heard = np.asarray(np.isfinite(evaluation.predicted[seconds]).all(1))
        exclusions += exclude(evaluation.keys, np.flatnonzero(~heard), "no_prediction", f"{seconds:g} s")
        few = evaluation.take(heard)
        clips = np.bincount(few.speaker, minlength=1)
        if not (clips > 1).any() or (clips > 0).sum() < 2:
            continue
        near = neighbours(few.predicted[seconds], few.speaker)
        conditions = {"seconds": f"{seconds:g}"}
        numbers += _of_embeddings(
            few,
            few.predicted[seconds],
            near,
            conditions,
            SpeakerBootstrap(few.speaker, resamplings=resamplings, seed=seed),
        )
        numbers += _of_stated(evaluation, seconds, seed, resamplings)
        if seconds == evaluation.longest():
            alone = np.flatnonzero(clips[few.speaker] == 1)
            exclusions += exclude(few.keys, alone, "only_clip_of_speaker")
            figures.append(_figure(near))
    if not numbers:
        return Part(NAME, TITLE, skipped=ONE_CLIP, exclusions=tuple(exclusions))
    return Part(NAME, TITLE, tuple(numbers), figures=tuple(figures), notes=NOTES, exclusions=tuple(exclusions))


def _of_embeddings(
    few: EvaluationSet,
    predicted: Embeddings,
    near: Neighbours,
    conditions: Mapping[str, str],
    bootstrap: SpeakerBootstrap,
) -> Iterator[Number]:
    sums, clips = SpeakerSums.of(predicted, few.speaker), len(few)
    best_ratio = best_icc = best_found = None
    rows = np.flatnonzero(few.has_reference())
    if few.reference is not None and (np.bincount(few.speaker[rows], minlength=1) > 1).any():
        of_faces = SpeakerSums.of(few.reference[rows], few.speaker[rows])
        all_alike = np.ones((1, len(of_faces.clips)))
        best_ratio = float(of_faces.spread_ratio(all_alike)[0])
        best_icc = float(of_faces.intraclass_correlation(all_alike)[0])
        best_found = float(np.nanmean(neighbours(few.reference[rows], few.speaker[rows]).found))
    ratio = bootstrap.of_speakers(sums.spread_ratio)
    yield Number(
        *(NAME, "spread_ratio", ratio, clips, conditions),
        chance=1.0,
        gender_mean_face=0.0,
        best=best_ratio,
        higher_is_better=False,
    )
    icc = bootstrap.of_speakers(sums.intraclass_correlation)
    yield Number(*(NAME, "icc", icc, clips, conditions), chance=0.0, gender_mean_face=1.0, best=best_icc)
    counted = int(np.isfinite(near.found).sum())
    chance = float(np.nanmean(near.chance))
    found = bootstrap.mean(near.found)
    yield Number(
        *(NAME, "identification", found, counted, conditions),
        chance=chance,
        mean_face=0.0,
        gender_mean_face=0.0,
        best=best_found,
    )
    for whom, degrees in (("same speaker", near.own_degrees), ("other speaker", near.other_degrees)):
        pairs = {**conditions, "pair": whom}
        counted = int(np.isfinite(degrees).sum())
        yield Number(NAME, "angle_degrees", bootstrap.mean(degrees), counted, pairs, higher_is_better=None)


def _of_stated(evaluation: EvaluationSet, seconds: float, seed: int, resamplings: int) -> Iterator[Number]:
    """How alike the stated attributes of one speaker's clips are."""
    if seconds not in evaluation.stated:
        return
    for attribute, metric in STATED.items():
        values: Floats = getattr(evaluation.stated[seconds], attribute)
        rows = np.flatnonzero(np.isfinite(values))
        if not (np.bincount(evaluation.speaker[rows], minlength=1) > 1).any():
            continue
        bootstrap = SpeakerBootstrap(evaluation.speaker[rows], resamplings=resamplings, seed=seed)
        icc = bootstrap.of_speakers(SpeakerSums.of(values[rows], evaluation.speaker[rows]).intraclass_correlation)
        yield Number(NAME, metric, icc, len(rows), {"seconds": f"{seconds:g}"}, chance=0.0)


def _figure(near: Neighbours) -> Figure:
    def draw(canvas: Canvas) -> None:
        axes = canvas.subplots()
        own, other = (values[np.isfinite(values)] for values in (near.own_degrees, near.other_degrees))
        bins = np.linspace(0, max(own.max(), other.max(), 1.0), 41).tolist()
        for values, name, colour in ((own, "the same speaker", COLOURS[0]), (other, "other speakers", COLOURS[1])):
            share = np.full(len(values), 1 / len(values))
            axes.hist(values, bins, weights=share, histtype="stepfilled", alpha=0.35, color=colour)
            axes.hist(values, bins, weights=share, histtype="step", color=colour, label=name)
        axes.set(xlabel="mean angle to clips of ..., degrees", ylabel="share of clips", title="Predicted embeddings")
        axes.legend()

    caption = (
        "How far the predicted face embedding of a clip lies from those of the same speaker's other clips, and from"
        " those of the other speakers."
    )
    alt = "Two histograms of angles: to other clips of the same speaker, and to clips of other speakers"
    return Figure("consistency", caption, render(draw, INCHES), alt)
