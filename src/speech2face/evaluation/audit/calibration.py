"""Whether stated probabilities and intervals hold what they say.

Sources: Brier (1950), Verification of forecasts expressed in terms of probability; Naeini, Cooper and Hauskrecht (2015)
for the expected calibration error; Dawid (1984), Statistical theory: the prequential approach, for the PIT.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from speech2face.evaluation.audit.voices import AuditClip
from speech2face.evaluation.intervals import Estimate, SpeakerBootstrap
from speech2face.voice.age import BIN_EDGES
from speech2face.voice.belief import AttributeBelief

BINS = 10
SIMULATIONS = 500

Floats = NDArray[np.float64]


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

    Few clips never give 0, even to a perfect forecast: `calibration_floor` says what they give. The cheat: stating the
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


def female_of(clips: Sequence[AuditClip], judged: Sequence[bool]) -> Floats:
    """1 for a woman, 0 for a man, NaN where it is unknown or not judged, (clips,)."""
    values = [{"female": 1.0, "male": 0.0}.get(clip.gender, np.nan) for clip in clips]
    return np.where(judged, values, np.nan).astype(np.float64)
