"""Do measurements of the face come through the voice? Pearson's r of twelve, as in the paper's Figure 5."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from speech2face.errors import MissingExtra
from speech2face.evaluation.page import CHANCE_COLOUR, COLOURS, render
from speech2face.evaluation.parts.attributes import PICTURES
from speech2face.evaluation.pictures import FACE_REASONS, Kind, PictureSet
from speech2face.evaluation.predictions import EvaluationSet
from speech2face.evaluation.report import Cell, Exclusion, Figure, Floats, Number, Part, Table
from speech2face.face.landmarks import COUNT
from speech2face.metrics.faces import (
    MEASUREMENTS,
    WIDTHS,
    Correlation,
    Measurement,
    absolute_ratio_error,
    correlate,
    measurements,
    width_ratios,
)
from speech2face.metrics.intervals import RESAMPLINGS, Estimate, SpeakerBootstrap

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Canvas

NAME, TITLE = "craniofacial", "Craniofacial measurements"
RANDOM_ROUNDS = 200
HEADLINE = "nasal_index"
"""First among the numbers: the paper's highest r."""
CRANIOFACIAL_NOTES = (
    "Landmarks are dlib's 68 (iBUG 300-W, not for commercial use). The paper's landmarker was another, and its own"
    " files show that the landmarker alone moves r by 0.1 to 0.2: expect 0.1 to 0.4, and do not chase single values.",
    "Lengths are in units of the distance between the eyes; in pixels, as in the paper's canonical frame, r stands in"
    " the table. Random pairs: the picture of another speaker's voice instead.",
    "One picture for everybody has no correlation at all. Who knows only the gender earns what the table shows: much of"
    " what a voice tells of a nose is whether it is a man's.",
    "p is Student's, its degrees of freedom counted by speakers: clips of one person are no independent faces.",
)
_CRANIOFACIAL_HEADER = (
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


def measure_craniofacial(
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
    table = Table(
        "craniofacial",
        "Pearson's r of twelve measurements",
        _CRANIOFACIAL_HEADER,
        tuple(_craniofacial_cells(row) for row in rows),
    )
    shown = [row for row in rows if row.pair == rows[0].pair]
    return Part(NAME, TITLE, numbers, (table,), (_figure(shown),), CRANIOFACIAL_NOTES, excluded)


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


def _craniofacial_cells(row: _Row) -> tuple[Cell, ...]:
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


# --------------------------------------------------------------------------------------------------
# Widths of the head in pictures from the voice: absolute ratio errors as in Cross-Modal Perceptionist, but flat.
# --------------------------------------------------------------------------------------------------

ANTHROPOMETRY_NAME, ANTHROPOMETRY_TITLE = "anthropometry", "Widths of the head"
CHANCE_ROUNDS = 20
ANTHROPOMETRY_NOTES = (
    "A flat stand-in: the original measures vertices of 3-D heads, here landmarks of frontal pictures stand for them"
    " (ear 0 to 16, forehead by the tails of the brows 17 to 26, midline 2 to 14, cheek 4 to 12, over the eyes' outer"
    " corners 36 to 45). The published numbers are of another yardstick and only shown for their order of size.",
    "The mean face for everybody is hard to beat here: people's heads differ by little in these ratios.",
)
MEAN = "mean_ratio"
_ANTHROPOMETRY_HEADER = (
    *("reference", "measured", "ratio", "error", "low", "high", "clips", "speakers"),
    *("random pairs", "mean face", "mean face of the gender"),
)


def measure_anthropometry(
    evaluation: EvaluationSet, *, pictures: PictureSet | None = None, seed: int = 0, resamplings: int = RESAMPLINGS
) -> Part:
    """Errors of four ratios and of their mean, for every pair of kinds of pictures."""
    if pictures is None:
        return Part(
            ANTHROPOMETRY_NAME,
            ANTHROPOMETRY_TITLE,
            skipped="there are no pictures to measure; give a model that draws them (--model)",
        )
    pairs = pairs_of(pictures)
    if not pairs:
        return Part(ANTHROPOMETRY_NAME, ANTHROPOMETRY_TITLE, skipped=NO_PAIRS)
    bootstrap = SpeakerBootstrap(evaluation.speaker, resamplings=resamplings, seed=seed)
    numbers: list[Number] = []
    try:
        shapes = shapes_of(pictures, pairs)
    except MissingExtra as error:
        return Part(ANTHROPOMETRY_NAME, ANTHROPOMETRY_TITLE, skipped=str(error))
    for pair in pairs:
        reference, measured = (width_ratios(shapes[kind]) for kind in pair)
        conditions = conditions_of(pair, pictures.seconds)
        numbers += _numbers(evaluation, reference, measured, conditions, bootstrap)
    excluded = without_face(pictures, shapes)
    if not numbers:
        return Part(
            ANTHROPOMETRY_NAME,
            ANTHROPOMETRY_TITLE,
            skipped=f"faces were found in fewer than {FEWEST} pairs",
            exclusions=excluded,
        )
    rows = tuple(_anthropometry_cells(number) for number in numbers)
    table = Table("absolute_ratio_errors", "Absolute ratio errors", _ANTHROPOMETRY_HEADER, rows)
    return Part(
        ANTHROPOMETRY_NAME,
        ANTHROPOMETRY_TITLE,
        tuple(numbers),
        (table,),
        notes=ANTHROPOMETRY_NOTES,
        exclusions=excluded,
    )


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
                part=ANTHROPOMETRY_NAME,
                metric=f"{name}_error",
                estimate=bootstrap.mean(of["measured"]),
                clips=int(np.isfinite(of["measured"]).sum()),
                conditions=conditions,
                chance=_anthropometry_mean(of["chance"]),
                mean_face=_anthropometry_mean(of["mean"]),
                gender_mean_face=_anthropometry_mean(of["gender"]),
                best=0.0,
                published=f"{published[name]} on 3-D vertices (Wu et al. 2022, supervised): another yardstick",
                higher_is_better=False,
            )
        )
    return numbers


def _anthropometry_mean(values: Floats) -> float | None:
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


def _anthropometry_cells(number: Number) -> tuple[Cell, ...]:
    estimate, conditions = number.estimate, number.conditions
    return (
        *(conditions["reference"], conditions["measured"], number.metric.removesuffix("_error")),
        *(estimate.value, estimate.low, estimate.high, number.clips, estimate.n),
        *(number.chance, number.mean_face, number.gender_mean_face),
    )


# --------------------------------------------------------------------------------------------------
# The landmarks of every picture of a kind, as one array, for the parts that measure faces.
# --------------------------------------------------------------------------------------------------

PAIRS: tuple[tuple[Kind, Kind], ...] = (("face", "voice"), ("original", "voice"), ("original", "face"))
"""Reference and what is held against it; the first is the paper's, the last what the decoder alone loses."""
FEWEST = 3  # faces; fewer have no correlation
NO_PAIRS = (
    "there is nothing to hold the pictures against: the data have no original faces, and no model draws the clips' own"
    " faces from their embeddings; give such data, or a model that says the data's face embeddings (--model)"
)


def face_shapes(pictures: PictureSet, kind: Kind) -> Floats:
    """(clips, 68, 2) in pixels of the pictures; NaN where there is no picture or no face in it."""
    shapes = np.full((len(pictures.evaluation_set), COUNT, 2), np.nan)
    for row in pictures.rows:
        points = pictures.face_points(kind, row)
        if points is not None:
            shapes[row] = points
    return shapes


def shapes_of(pictures: PictureSet, pairs: Iterable[tuple[Kind, Kind]]) -> dict[Kind, Floats]:
    """The landmarks of every kind that is in one of the pairs.

    Raises:
        MissingExtra: nothing that finds faces is installed.
    """
    return {kind: face_shapes(pictures, kind) for kind in dict.fromkeys(kind for pair in pairs for kind in pair)}


def pairs_of(pictures: PictureSet) -> tuple[tuple[Kind, Kind], ...]:
    """The pairs of kinds of which both can be had."""
    return tuple(pair for pair in PAIRS if set(pair) <= set(pictures.kinds))


def conditions_of(pair: tuple[Kind, Kind], seconds: float) -> dict[str, str]:
    """How the report names a pair."""
    heard = {"seconds": f"{seconds:g}"} if pair[1] == "voice" else {}
    return {"reference": PICTURES[pair[0]], "measured": PICTURES[pair[1]], **heard}


def without_face(pictures: PictureSet, shapes: Mapping[Kind, Floats]) -> tuple[Exclusion, ...]:
    """Why each clip without landmarks has none, as far as the pictures know."""
    keys = pictures.evaluation_set.keys
    missing: dict[str, set[str]] = {
        kind: {keys[row] for row in np.flatnonzero(np.isnan(of).any((1, 2)))} for kind, of in shapes.items()
    }
    anywhere = set[str]().union(*missing.values())
    return tuple(
        one
        for one in pictures.exclusions
        if one.clip in (missing.get(one.detail, set()) if one.reason in FACE_REASONS else anywhere)
    )


def strangers(speaker: NDArray[np.int64], *, seed: int, rounds: int) -> Iterator[NDArray[np.int64]]:
    """For each clip another speaker's clip, (clips,), by chance, in each round; -1 where the draw met the same one."""
    rng = np.random.default_rng(seed)
    for _ in range(rounds):
        dealt = rng.permutation(len(speaker))
        yield np.where(speaker[dealt] == speaker, -1, dealt)
