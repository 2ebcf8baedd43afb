"""Do measurements of the face come through the voice? Pearson's r of twelve, as in the paper's Figure 5."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from speech2face.errors import MissingExtra
from speech2face.evaluation.evaluation_set import EvaluationSet, Floats
from speech2face.evaluation.intervals import RESAMPLINGS, Estimate, SpeakerBootstrap
from speech2face.evaluation.metrics.craniofacial import (
    MEASUREMENTS,
    Correlation,
    Measurement,
    correlate,
    measurements,
)
from speech2face.evaluation.parts.face_shapes import (
    FEWEST,
    NO_PAIRS,
    conditions_of,
    pairs_of,
    shapes_of,
    strangers,
    without_face,
)
from speech2face.evaluation.parts.part import Cell, Figure, Number, Part, Table
from speech2face.evaluation.pictures import Kind, PictureSet
from speech2face.evaluation.reporting.figures import CHANCE_COLOUR, COLOURS, render

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Canvas

NAME, TITLE = "craniofacial", "Craniofacial measurements"
RANDOM_ROUNDS = 200
HEADLINE = "nasal_index"
"""First among the numbers: the paper's highest r."""
NOTES = (
    "Landmarks are dlib's 68 (iBUG 300-W, not for commercial use). The paper's landmarker was another, and its own"
    " files show that the landmarker alone moves r by 0.1 to 0.2: expect 0.1 to 0.4, and do not chase single values.",
    "Lengths are in units of the distance between the eyes; in pixels, as in the paper's canonical frame, r stands in"
    " the table. Random pairs: the picture of another speaker's voice instead.",
    "One picture for everybody has no correlation at all. Who knows only the gender earns what the table shows: much of"
    " what a voice tells of a nose is whether it is a man's.",
    "p is Student's, its degrees of freedom counted by speakers: clips of one person are no independent faces.",
)
_HEADER = (
    *("reference", "measured", "measurement", "definition", "r", "low", "high", "p", "clips", "speakers"),
    *("random pairs, low", "random pairs, high", "gender alone", "r in pixels", "published r"),
)


@dataclass(frozen=True)
class _Row:
    """One measurement of one pair of kinds."""

    one: Measurement
    pair: tuple[Kind, Kind]
    estimate: Estimate
    found: Correlation
    clips: int
    random: tuple[float, float]
    """Between which 95 % of random pairings lie."""
    gender: float
    pixels: float


def measure(
    evaluation: EvaluationSet, *, pictures: PictureSet | None = None, seed: int = 0, resamplings: int = RESAMPLINGS
) -> Part:
    """Face-to-face against voice-to-face pictures, and both against the originals where the data hold them."""
    if pictures is None:
        return Part(NAME, TITLE, skipped="there are no pictures to measure; give a model that draws them (--model)")
    pairs = pairs_of(pictures)
    if not pairs:
        return Part(NAME, TITLE, skipped=NO_PAIRS)
    try:
        shapes = shapes_of(pictures, pairs)
    except MissingExtra as error:
        return Part(NAME, TITLE, skipped=str(error))
    bootstrap = SpeakerBootstrap(evaluation.speaker, resamplings=resamplings, seed=seed)
    rows = [row for pair in pairs for row in _rows(evaluation, shapes, pair, bootstrap, seed)]
    excluded = without_face(pictures, shapes)
    if not rows:
        return Part(NAME, TITLE, skipped=f"faces were found in fewer than {FEWEST} pairs", exclusions=excluded)
    headline = sorted(rows, key=lambda row: (row.pair != rows[0].pair, row.one.name != HEADLINE))
    numbers = tuple(_number(row, pictures.seconds) for row in headline)
    table = Table("craniofacial", "Pearson's r of twelve measurements", _HEADER, tuple(_cells(row) for row in rows))
    shown = [row for row in rows if row.pair == rows[0].pair]
    return Part(NAME, TITLE, numbers, (table,), (_figure(shown),), NOTES, excluded)


def _rows(
    evaluation: EvaluationSet,
    shapes: dict[Kind, Floats],
    pair: tuple[Kind, Kind],
    bootstrap: SpeakerBootstrap,
    seed: int,
) -> list[_Row]:
    there = np.isfinite(shapes[pair[0]]).all((1, 2)) & np.isfinite(shapes[pair[1]]).all((1, 2))
    if there.sum() < FEWEST:
        return []
    speakers = len(np.unique(evaluation.speaker[there]))
    sides = [(measurements(shapes[kind]), measurements(shapes[kind], to_scale=False)) for kind in pair]
    woman = np.where(evaluation.gender() == "", np.nan, evaluation.gender() == "female")
    found = []
    for one in MEASUREMENTS:
        x, y = (np.where(there, to_scale[one.name], np.nan) for to_scale, _ in sides)
        pixels = [np.where(there, plain[one.name], np.nan) for _, plain in sides]
        found.append(
            _Row(
                one,
                pair,
                bootstrap.correlation(x, y),
                correlate(x, y, independent=speakers),
                int((np.isfinite(x) & np.isfinite(y)).sum()),
                _random(x, y, evaluation.speaker, seed),
                abs(correlate(woman, x).r),
                correlate(pixels[0], pixels[1]).r,
            )
        )
    return found


def _random(x: Floats, y: Floats, speaker: np.ndarray, seed: int) -> tuple[float, float]:
    kept = np.isfinite(x) & np.isfinite(y)
    x, y, speaker = x[kept], y[kept], speaker[kept]
    values = []
    for dealt in strangers(speaker, seed=seed, rounds=RANDOM_ROUNDS):
        chosen = dealt >= 0
        values.append(correlate(x[chosen], y[dealt[chosen]]).r)
    finite = np.array(values)[np.isfinite(values)]
    if not len(finite):
        return float("nan"), float("nan")
    low, high = np.percentile(finite, (2.5, 97.5))
    return float(low), float(high)


def _number(row: _Row, seconds: float) -> Number:
    papers = row.pair == ("face", "voice")
    return Number(
        part=NAME,
        metric=f"{row.one.name}_r",
        estimate=row.estimate,
        clips=row.clips,
        conditions={**conditions_of(row.pair, seconds), "p": _p(row.found.p)},
        chance=0.0,
        gender_mean_face=None if np.isnan(row.gender) else row.gender,
        published=f"{row.one.published:.2f} (AVSpeech, 6 s, DEST landmarks)" if papers else "",
    )


def _p(p: float) -> str:
    return "" if np.isnan(p) else "< 0.001" if p < 0.001 else f"{p:.3f}"


def _cells(row: _Row) -> tuple[Cell, ...]:
    told = conditions_of(row.pair, 0.0)
    estimate, papers = row.estimate, row.pair == ("face", "voice")
    return (
        *(told["reference"], told["measured"], row.one.title, row.one.definition),
        *(estimate.value, estimate.low, estimate.high, row.found.p, row.clips, estimate.n),
        *(row.random[0], row.random[1], row.gender, row.pixels, row.one.published if papers else None),
    )


def _figure(rows: list[_Row]) -> Figure:
    told = conditions_of(rows[0].pair, 0.0)

    def draw(canvas: Canvas) -> None:
        axes = canvas.subplots()
        places = np.arange(len(rows))[::-1]
        for place, row in zip(places, rows, strict=True):
            axes.plot([row.random[0], row.random[1]], [place, place], color=CHANCE_COLOUR, lw=7, alpha=0.35)
            axes.plot([row.estimate.low, row.estimate.high], [place, place], color=COLOURS[0])
        axes.plot([row.estimate.value for row in rows], places, "o", color=COLOURS[0], label="measured")
        if rows[0].pair == ("face", "voice"):
            axes.plot([row.one.published for row in rows], places, "D", ms=5, color=COLOURS[1], label="paper")
        axes.plot([row.gender for row in rows], places, "|", ms=12, color=COLOURS[2], label="gender alone")
        axes.plot([], [], color=CHANCE_COLOUR, lw=7, alpha=0.35, label="random pairs, 95 %")
        axes.axvline(0.0, color=CHANCE_COLOUR, lw=1)
        axes.set_yticks(places, [row.one.title for row in rows])
        axes.set(xlabel="Pearson's r", title=f"{told['reference'].capitalize()} and {told['measured']}")
        axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.12), ncols=4, fontsize=8)

    words = "; ".join(f"{row.one.title} {row.estimate.value:.2f}" for row in rows)
    caption = "Pearson's r with 95 % intervals by speakers, beside random pairs and what gender alone earns."
    return Figure("craniofacial", caption, render(draw, (7.0, 4.8)), f"Correlations: {words}.")
