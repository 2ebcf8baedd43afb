"""Do measurements of the face come through the voice? Pearson's r of twelve, as in the paper's Figure 5."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from speech2face.errors import MissingExtra
from speech2face.evaluation import report
from speech2face.evaluation.parts.attributes import PICTURES
from speech2face.evaluation.pictures import FACE_REASONS, Kind, PictureSet
from speech2face.evaluation.predictions import EvaluationSet
from speech2face.evaluation.report import CHANCE_COLOUR, COLOURS, render
from speech2face.face.landmarks import COUNT
from speech2face.metrics.intervals import RESAMPLINGS, Estimate, SpeakerBootstrap
from speech2face.metrics.matching import means_of_others
from speech2face.metrics.measures import average
from speech2face.metrics.pictures import (
    MEASUREMENTS,
    WIDTHS,
    Correlation,
    Measurement,
    absolute_ratio_error,
    correlate,
    measurements,
    width_ratios,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Canvas

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
class _Correlated:
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

    @property
    def is_the_papers(self) -> bool:
        """Whether the paper has measured the same pair."""
        return self.pair == PAIRS[0]

    def number(self, seconds: float) -> report.Number:
        """For the report's numbers."""
        return report.Number(
            f"{self.one.name}_r",
            self.estimate,
            self.clips,
            {**conditions_of(self.pair, seconds), "p": _p(self.found.p)},
            chance=0.0,
            gender_mean_face=None if np.isnan(self.gender) else self.gender,
            published=f"{self.one.published:.2f} (AVSpeech, 6 s, DEST landmarks)" if self.is_the_papers else "",
        )

    def cells(self) -> tuple[report.Cell, ...]:
        """For the report's table."""
        told = conditions_of(self.pair, 0.0)
        return (
            *(told["reference"], told["measured"], self.one.title, self.one.definition),
            *(*self.estimate.cells(), self.found.p, self.clips, self.estimate.n),
            *(*self.random, self.gender, self.pixels, self.one.published if self.is_the_papers else None),
        )


@report.chapter("craniofacial", "Craniofacial measurements")
def measure_craniofacial(
    evaluation: EvaluationSet, *, pictures: PictureSet | None = None, seed: int = 0, resamplings: int = RESAMPLINGS
) -> report.Part:
    """Face-to-face against voice-to-face pictures, and both against the originals where the data hold them."""
    if pictures is None:
        raise report.NotMeasured(NO_PICTURES)
    shapes, pairs = shapes_of(pictures)
    bootstrap = SpeakerBootstrap(evaluation.speaker, resamplings=resamplings, seed=seed)
    rows = [row for pair in pairs for row in _rows(evaluation, shapes, pair, bootstrap, seed)]
    excluded = without_face(pictures, shapes)
    if not rows:
        raise report.NotMeasured(TOO_FEW, excluded)
    headline = sorted(rows, key=lambda row: (row.pair != rows[0].pair, row.one.name != HEADLINE))
    cells = tuple(row.cells() for row in rows)
    table = report.Table("craniofacial", "Pearson's r of twelve measurements", _CRANIOFACIAL_HEADER, cells)
    figure = _figure([row for row in rows if row.pair == rows[0].pair])
    numbers = [row.number(pictures.seconds) for row in headline]
    return report.Part(numbers=numbers, tables=[table], figures=[figure], notes=CRANIOFACIAL_NOTES, exclusions=excluded)


def _rows(
    evaluation: EvaluationSet,
    shapes: dict[Kind, report.Floats],
    pair: tuple[Kind, Kind],
    bootstrap: SpeakerBootstrap,
    seed: int,
) -> list[_Correlated]:
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
            _Correlated(
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


def _random(x: report.Floats, y: report.Floats, speaker: np.ndarray, seed: int) -> tuple[float, float]:
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


def _p(p: float) -> str:
    return "" if np.isnan(p) else "< 0.001" if p < 0.001 else f"{p:.3f}"


def _figure(rows: list[_Correlated]) -> report.Figure:
    told = conditions_of(rows[0].pair, 0.0)

    def draw(canvas: Canvas) -> None:
        axes = canvas.subplots()
        places = np.arange(len(rows))[::-1]
        for place, row in zip(places, rows, strict=True):
            axes.plot([row.random[0], row.random[1]], [place, place], color=CHANCE_COLOUR, lw=7, alpha=0.35)
            axes.plot([row.estimate.low, row.estimate.high], [place, place], color=COLOURS[0])
        axes.plot([row.estimate.value for row in rows], places, "o", color=COLOURS[0], label="measured")
        if rows[0].is_the_papers:
            axes.plot([row.one.published for row in rows], places, "D", ms=5, color=COLOURS[1], label="paper")
        axes.plot([row.gender for row in rows], places, "|", ms=12, color=COLOURS[2], label="gender alone")
        axes.plot([], [], color=CHANCE_COLOUR, lw=7, alpha=0.35, label="random pairs, 95 %")
        axes.axvline(0.0, color=CHANCE_COLOUR, lw=1)
        axes.set_yticks(places, [row.one.title for row in rows])
        axes.set(xlabel="Pearson's r", title=f"{told['reference'].capitalize()} and {told['measured']}")
        axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.12), ncols=4, fontsize=8)

    words = "; ".join(f"{row.one.title} {row.estimate.value:.2f}" for row in rows)
    caption = "Pearson's r with 95 % intervals by speakers, beside random pairs and what gender alone earns."
    return report.Figure("craniofacial", caption, render(draw, (7.0, 4.8)), f"Correlations: {words}.")


# --- Widths of the head in pictures from the voice: absolute ratio errors as in Cross-Modal Perceptionist, but flat.

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


@report.chapter("anthropometry", "Widths of the head")
def measure_anthropometry(
    evaluation: EvaluationSet, *, pictures: PictureSet | None = None, seed: int = 0, resamplings: int = RESAMPLINGS
) -> report.Part:
    """Errors of four ratios and of their mean, for every pair of kinds of pictures."""
    if pictures is None:
        raise report.NotMeasured(NO_PICTURES)
    shapes, pairs = shapes_of(pictures)
    bootstrap = SpeakerBootstrap(evaluation.speaker, resamplings=resamplings, seed=seed)
    numbers: list[report.Number] = []
    for pair in pairs:
        reference, measured = (width_ratios(shapes[kind]) for kind in pair)
        numbers += _numbers(evaluation, reference, measured, conditions_of(pair, pictures.seconds), bootstrap)
    excluded = without_face(pictures, shapes)
    if not numbers:
        raise report.NotMeasured(TOO_FEW, excluded)
    rows = tuple(
        (
            *(number.conditions["reference"], number.conditions["measured"], number.metric.removesuffix("_error")),
            *(*number.estimate.cells(), number.clips, number.estimate.n),
            *(number.chance, number.mean_face, number.gender_mean_face),
        )
        for number in numbers
    )
    table = report.Table("absolute_ratio_errors", "Absolute ratio errors", _ANTHROPOMETRY_HEADER, rows)
    return report.Part(numbers=numbers, tables=[table], notes=ANTHROPOMETRY_NOTES, exclusions=excluded)


def _numbers(
    evaluation: EvaluationSet,
    reference: dict[str, report.Floats],
    measured: dict[str, report.Floats],
    conditions: dict[str, str],
    bootstrap: SpeakerBootstrap,
) -> list[report.Number]:
    x = np.stack([reference[one.name] for one in WIDTHS], 1)  # (clips, widths)
    y = np.stack([measured[one.name] for one in WIDTHS], 1)
    there = np.isfinite(x).all(1) & np.isfinite(y).all(1)
    if there.sum() < FEWEST:
        return []
    x[~there] = y[~there] = np.nan
    gender, speaker = evaluation.gender(), evaluation.speaker
    of_gender = means_of_others(x, speaker, gender)
    of_gender[gender == ""] = np.nan
    errors = {
        "measured": absolute_ratio_error(y, x),
        "chance": _of_strangers(x, y, speaker, bootstrap.seed),
        "mean": absolute_ratio_error(means_of_others(x, speaker), x),
        "gender": absolute_ratio_error(of_gender, x),
    }
    published = {one.name: one.published for one in WIDTHS} | {MEAN: 0.0241}
    numbers = []
    for place, name in enumerate([MEAN, *(one.name for one in WIDTHS)]):
        of = {key: values.mean(1) if name == MEAN else values[:, place - 1] for key, values in errors.items()}
        number = report.Number.mean(
            f"{name}_error",
            of["measured"],
            bootstrap,
            conditions,
            chance=average(of["chance"]),
            mean_face=average(of["mean"]),
            gender_mean_face=average(of["gender"]),
            best=0.0,
            higher_is_better=False,
        )
        said = f"{published[name]} on 3-D vertices (Wu et al. 2022, supervised): another yardstick"
        numbers.append(replace(number, published=said))
    return numbers


def _of_strangers(x: report.Floats, y: report.Floats, speaker: NDArray[np.int64], seed: int) -> report.Floats:
    """Errors of another speaker's picture, (clips, widths), mean over the rounds; NaN where none was met."""
    there = np.flatnonzero(np.isfinite(x).all(1))
    total, met = np.zeros_like(x), np.zeros((len(x), 1))
    for dealt in strangers(speaker[there], seed=seed, rounds=CHANCE_ROUNDS):
        rows = there[dealt >= 0]
        total[rows] += absolute_ratio_error(y[there[dealt[dealt >= 0]]], x[rows])
        met[rows] += 1
    return np.asarray(total / np.where(met > 0, met, np.nan))


# --- The landmarks of every picture of a kind, as one array, for the parts that measure faces.

PAIRS: tuple[tuple[Kind, Kind], ...] = (("face", "voice"), ("original", "voice"), ("original", "face"))
"""Reference and what is held against it; the first is the paper's, the last what the decoder alone loses."""
FEWEST = 3  # faces; fewer have no correlation
NO_PICTURES = "there are no pictures to measure; give a model that draws them (--model)"
TOO_FEW = f"faces were found in fewer than {FEWEST} pairs"
NO_PAIRS = (
    "there is nothing to hold the pictures against: the data have no original faces, and no model draws the clips' own"
    " faces from their embeddings; give such data, or a model that says the data's face embeddings (--model)"
)


def face_shapes(pictures: PictureSet, kind: Kind) -> report.Floats:
    """(clips, 68, 2) in pixels of the pictures; NaN where there is no picture or no face in it."""
    shapes = np.full((len(pictures.evaluation_set), COUNT, 2), np.nan)
    for row in pictures.rows:
        points = pictures.face_points(kind, row)
        if points is not None:
            shapes[row] = points
    return shapes


def shapes_of(pictures: PictureSet) -> tuple[dict[Kind, report.Floats], tuple[tuple[Kind, Kind], ...]]:
    """The pairs of kinds of which both can be had, and the landmarks of every kind in them.

    Raises:
        NotMeasured: there is nothing to hold the pictures against, or nothing that finds faces.
    """
    pairs = tuple(pair for pair in PAIRS if set(pair) <= set(pictures.kinds))
    if not pairs:
        raise report.NotMeasured(NO_PAIRS)
    try:
        kinds = dict.fromkeys(kind for pair in pairs for kind in pair)
        return {kind: face_shapes(pictures, kind) for kind in kinds}, pairs
    except MissingExtra as error:
        raise report.NotMeasured(str(error)) from error


def conditions_of(pair: tuple[Kind, Kind], seconds: float) -> dict[str, str]:
    """How the report names a pair."""
    heard = {"seconds": f"{seconds:g}"} if pair[1] == "voice" else {}
    return {"reference": PICTURES[pair[0]], "measured": PICTURES[pair[1]], **heard}


def without_face(pictures: PictureSet, shapes: Mapping[Kind, report.Floats]) -> tuple[report.Exclusion, ...]:
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
