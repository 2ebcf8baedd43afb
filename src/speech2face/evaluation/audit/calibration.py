"""The audit's part about stated probabilities and intervals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from speech2face.evaluation.audit.observations import CLEAN, LEVELS, Observations, interval_ends
from speech2face.evaluation.clips import AuditClip
from speech2face.evaluation.page import CHANCE_COLOUR, COLOURS, render
from speech2face.evaluation.report import Figure, Floats, NotMeasured, Number, Part, Table, chapter
from speech2face.metrics.attributes import covered
from speech2face.metrics.intervals import Estimate, SpeakerBootstrap
from speech2face.metrics.measures import ADULT_AGE
from speech2face.voice.belief import BIN_EDGES, AttributeBelief

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Canvas

# --- Whether stated probabilities and intervals hold what they say.
# Sources: Brier (1950), Verification of forecasts expressed in terms of probability; Naeini, Cooper and Hauskrecht
# (2015) for the expected calibration error; Dawid (1984), Statistical theory: the prequential approach, for the PIT.

BINS = 10
SIMULATIONS = 500


@dataclass(frozen=True)
class ReliabilityBin:
    """Clips of like stated probability: what was stated on average, and how often it was so."""

    stated: float
    happened: float
    clips: int


def reliability(probability: Floats, happened: Floats, weights: Floats | None = None) -> list[ReliabilityBin]:
    """Bins of about as many clips each, by rising stated probability; (clips,) each, `happened` 0 or 1."""
    weights = np.ones(len(probability)) if weights is None else weights
    order = np.argsort(probability, kind="stable")
    found = []
    for rows in np.array_split(order, min(BINS, max(1, len(order)))):
        total = weights[rows].sum()
        if total > 0:
            found.append(
                ReliabilityBin(
                    float(weights[rows] @ probability[rows] / total),
                    float(weights[rows] @ happened[rows] / total),
                    len(rows),
                )
            )
    return found


def calibration_error(probability: Floats, happened: Floats, weights: Floats | None = None) -> float:
    """Expected calibration error: mean over clips of |stated - happened| of their bin; lower is better, 0 to 1.

    Few clips never give 0, even to a perfect forecast: `calibration_floor` says what they give. Stating the
    base rate for everybody earns 0 and says nothing, so look at the Brier score too.
    """
    weights = np.ones(len(probability)) if weights is None else weights
    order = np.argsort(probability, kind="stable")
    error = 0.0
    for rows in np.array_split(order, min(BINS, max(1, len(order)))):
        error += abs(float(weights[rows] @ (probability[rows] - happened[rows])))
    return error / float(weights.sum())


def calibration_floor(probability: Floats, *, seed: int = 0) -> float:
    """The calibration error that the same statements would have on average if they were exactly true."""
    rng = np.random.default_rng(seed)
    drawn = [calibration_error(probability, (rng.uniform(size=len(probability)) < probability).astype(np.float64))
             for _ in range(SIMULATIONS)]  # fmt: skip
    return float(np.mean(drawn))


def brier(probability: Floats, happened: Floats) -> Floats:
    """Squared error of each statement, (clips,); lower is better, 0 to 1, and stating 0.5 earns 0.25."""
    return np.asarray(np.square(probability - happened))


def interval_masses(ages: Sequence[tuple[float, float]], beliefs: Sequence[AttributeBelief]) -> tuple[Floats, Floats]:
    """Stated probability of being younger than the given age's two ends, (clips,) each: the PIT as an interval."""
    low, high = [], []
    for (start, stop), belief in zip(ages, beliefs, strict=True):
        cumulative = np.concatenate([[0.0], np.cumsum(belief.age_probabilities)])
        ends = np.interp([start, max(stop, start + 1e-6)], BIN_EDGES, cumulative / cumulative[-1])
        low.append(ends[0])
        high.append(max(ends[1], ends[0]))
    return np.array(low), np.array(high)


def pit_histogram(low: Floats, high: Floats, bins: int = BINS) -> Floats:
    """Share of clips in each tenth of the stated distribution, (bins,), summing to one; true statements give 1/bins.

    Where a decade was given, its ages are alike likely: the clip is shared among the bins it spans.
    """
    edges = np.linspace(0, 1, bins + 1)
    width = np.maximum(high - low, 1e-9)
    inside = np.minimum(high[:, None], edges[1:]) - np.maximum(low[:, None], edges[:-1])
    share = np.clip(inside, 0, None) / width[:, None]
    # What is narrower than can be divided lies in one bin.
    point = high - low <= 1e-9
    share[point] = np.eye(bins)[np.clip((low[point] * bins).astype(int), 0, bins - 1)]
    return np.asarray(share.sum(0) / max(len(low), 1))


def pit_distance(low: Floats, high: Floats) -> float:
    """Mean absolute difference of the PIT histogram from a flat one, times half the bins: 0 is best, 1 the worst."""
    if not len(low):
        return float("nan")
    shares = pit_histogram(low, high)
    return float(np.abs(shares - 1 / len(shares)).sum() / 2)


@dataclass(frozen=True)
class GenderCalibration:
    """How true the stated probability of a woman's voice is."""

    error: Estimate
    floor: float
    """What exactly true statements would have: so few clips scatter by as much."""
    brier: Estimate
    brier_of_base_rate: float
    bins: tuple[ReliabilityBin, ...]


def gender_calibration(
    probability: Floats, female: Floats, speaker: NDArray[np.int64], *, seed: int = 0
) -> GenderCalibration:
    """Of the clips whose gender is known and heard, (clips,) each; others are NaN."""
    rows = np.flatnonzero(np.isfinite(probability + female))
    stated, happened, people = probability[rows], female[rows], speaker[rows]
    draws = SpeakerBootstrap(people, seed=seed)
    rate = float(happened.mean()) if len(rows) else float("nan")
    return GenderCalibration(
        error=draws.statistic(lambda weights: calibration_error(stated, happened, weights), resamplings=300),
        floor=calibration_floor(stated, seed=seed) if len(rows) else float("nan"),
        brier=draws.mean(brier(stated, happened)),
        brier_of_base_rate=rate * (1 - rate),
        bins=tuple(reliability(stated, happened)) if len(rows) else (),
    )


LEVEL_HEADER = ("condition", "stated", "inside", "low_95", "high_95", "speakers")


@chapter("calibration", "Stated probabilities and intervals")
def calibration_part(clips: Sequence[AuditClip], observations: Mapping[str, Observations], *, seed: int = 0) -> Part:
    """Gender and age of a model that states them, or the spread of one that states the face."""
    if observations[CLEAN].states_attributes:
        return _of_attributes(clips, observations, seed)
    return _of_spread(observations, seed)


def _of_attributes(clips: Sequence[AuditClip], observations: Mapping[str, Observations], seed: int) -> Part:
    clean = observations[CLEAN]
    ages, labels = clean.answers.age, clean.answers.gender
    assert ages is not None and labels is not None
    adult = ages[:, 0] >= ADULT_AGE
    female = np.where(labels == "", np.nan, labels == "female").astype(np.float64)
    if not np.isfinite(female).any() and not adult.any():
        raise NotMeasured("the data have no labels of gender or age to hold the statements against")
    draws = SpeakerBootstrap(clean.answers.speaker, seed=seed)
    gender = {
        name: gender_calibration(
            seen.of_attributes(lambda belief: belief.femininity), female, clean.answers.speaker, seed=seed
        )
        for name, seen in observations.items()
    }
    inside = {
        (name, level): draws.mean(np.where(adult, covered(*interval_ends(seen.attributes, level), ages), np.nan))
        for name, seen in observations.items()
        for level in LEVELS
    }
    adults = [clip.age if is_adult else None for clip, is_adult in zip(clips, adult, strict=True)]
    pit = _pit_ends(adults, clean)
    numbers = [
        Number(metric, estimate, int((observations[name].heard & np.isfinite(female)).sum()), {"condition": name},
               best=best, chance=chance, higher_is_better=False)
        for name, found in gender.items()
        for metric, estimate, best, chance in (
            ("gender_calibration_error", found.error, found.floor, None),
            ("gender_brier", found.brier, 0.0, found.brier_of_base_rate),
        )
    ]  # fmt: skip
    numbers += [_coverage_number("age_interval_coverage", *key, estimate) for key, estimate in inside.items()]
    coverage = _coverage_table(inside, "Adults inside the stated age interval")
    return Part(
        numbers=numbers,
        tables=[_gender_table(gender), _reliability_table(gender[CLEAN]), coverage, _pit_table(*pit)],
        figures=[_reliability_figure(gender[CLEAN]), _pit_figure(*pit)],
        notes=(
            "Calibration error: mean difference between the stated probability of a woman's voice and how often it was"
            " one, over ten bins of as many clips each. Its floor: what exactly true statements would have by chance.",
            "Brier: mean squared error of the stated probability. Base rate: what stating the share of women earns.",
            "Inside: share of adults whose given age lies in the stated central interval; a decade counts by the share"
            " of it inside. Too little: the model is too sure of itself; too much: not sure enough.",
        ),
    )


def _coverage_number(metric: str, condition: str, level: float, estimate: Estimate) -> Number:
    conditions = {"condition": condition, "stated": f"{level:g}"}
    return Number(metric, estimate, estimate.n, conditions, best=level, higher_is_better=None)


def _gender_table(gender: Mapping[str, GenderCalibration]) -> Table:
    header = ("condition", "calibration_error", "low_95", "high_95", "floor", "brier", "brier_low_95", "brier_high_95")
    rows = tuple(
        (
            *(name, *found.error.cells(), found.floor),
            *(*found.brier.cells(), found.brier_of_base_rate, found.error.n),
        )
        for name, found in gender.items()
    )
    title = "Stated probability of the gender (15 years and older)"
    return Table("gender", title, (*header, "brier_of_base_rate", "speakers"), rows)


def _reliability_table(found: GenderCalibration) -> Table:
    rows = tuple((one.stated, one.happened, one.clips) for one in found.bins)
    header = ("stated_probability_of_a_woman", "share_of_women", "clips")
    return Table("reliability", "Stated and happened, clean recordings", header, rows)


def _coverage_table(coverage: Mapping[tuple[str, float], Estimate], title: str) -> Table:
    rows = tuple((*key, *estimate.cells(), estimate.n) for key, estimate in coverage.items())
    return Table("coverage", title, LEVEL_HEADER, rows)


def _pit_ends(
    ages: Sequence[tuple[float, float] | None], seen: Observations
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    both = [
        (age, belief)
        for age, belief in zip(ages, seen.attributes, strict=True)
        if age is not None and belief is not None
    ]
    return interval_masses([age for age, _ in both], [belief for _, belief in both])


def _pit_table(low: NDArray[np.float64], high: NDArray[np.float64]) -> Table:
    shares = pit_histogram(low, high)
    rows = tuple((f"{place / 10:.1f} to {(place + 1) / 10:.1f}", float(share)) for place, share in enumerate(shares))
    note = f"Flat is right (0.1 each); {pit_distance(low, high):.3f} of the clips would have to change their tenth."
    return Table(
        "pit",
        "Where the given age lies in the stated distribution",
        ("stated_share_younger", "share_of_adults"),
        rows,
        note,
    )


def _reliability_figure(found: GenderCalibration) -> Figure:
    def draw(canvas: Canvas) -> None:
        axes: Any = canvas.add_subplot()
        axes.plot([0, 1], [0, 1], "--", color=CHANCE_COLOUR, linewidth=1.2)
        axes.plot([one.stated for one in found.bins], [one.happened for one in found.bins], "o-", color=COLOURS[0])
        axes.set_xlabel("stated probability of a woman's voice")
        axes.set_ylabel("share of women")

    return Figure(
        "reliability",
        "Reliability of the stated gender, clean recordings, ten bins of as many clips each. Dashed: exactly true.",
        render(draw, (5.0, 4.2)),
        "; ".join(f"stated {one.stated:.2f}, happened {one.happened:.2f}" for one in found.bins),
    )


def _pit_figure(low: NDArray[np.float64], high: NDArray[np.float64]) -> Figure:
    shares = pit_histogram(low, high)

    def draw(canvas: Canvas) -> None:
        axes: Any = canvas.add_subplot()
        axes.bar(np.arange(len(shares)) / len(shares), shares, 0.09, align="edge", color=COLOURS[0])
        axes.axhline(1 / len(shares), color=CHANCE_COLOUR, linewidth=1.2, linestyle="--")
        axes.set_xlabel("share of the stated distribution below the given age")
        axes.set_ylabel("share of adults")

    return Figure(
        "pit",
        "Where the given ages lie in the stated distributions, clean recordings. Dashed: true. More on the right:"
        " people are older than stated.",
        render(draw, (5.0, 3.6)),
        ", ".join(f"{share:.2f}" for share in shares),
    )


def _of_spread(observations: Mapping[str, Observations], seed: int) -> Part:
    clean = observations[CLEAN].answers
    if clean.reference is None:
        raise NotMeasured("the clips have no face embeddings of their own; give data prepared with faces")
    draws = SpeakerBootstrap(clean.speaker, seed=seed)
    inside = {}
    for name, seen in observations.items():
        share = seen.answers.spread_share
        if share is not None:
            for level in LEVELS:
                inside[name, level] = draws.mean(np.where(np.isfinite(share), share <= level, np.nan))
    if not any(np.isfinite(estimate.value) for estimate in inside.values()):
        raise NotMeasured("the model states neither attributes nor a spread")
    return Part(
        numbers=[_coverage_number("spread_coverage", *key, found) for key, found in inside.items()],
        tables=[_coverage_table(inside, "Own faces inside the stated spread")],
        notes=("The spread is normal along its stated axes; the directions it leaves out are not looked at.",),
    )
