"""The audit's part about stated probabilities and intervals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from speech2face.evaluation.audit.calibration import (
    GenderCalibration,
    female_of,
    gender_calibration,
    interval_masses,
    pit_distance,
    pit_histogram,
)
from speech2face.evaluation.audit.conditions import CLEAN
from speech2face.evaluation.audit.groups import is_adult, voice_has_broken
from speech2face.evaluation.audit.measures import inside_interval, inside_spread
from speech2face.evaluation.audit.observations import LEVELS, Observations
from speech2face.evaluation.audit.voices import AuditClip
from speech2face.evaluation.intervals import Estimate, SpeakerBootstrap
from speech2face.evaluation.parts.part import Cell, Figure, Number, Part, Table
from speech2face.models.contract import Model

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Canvas

NAME, TITLE = "calibration", "Stated probabilities and intervals"
LEVEL_HEADER = ("condition", "stated", "inside", "low_95", "high_95", "speakers")


def calibration_part(
    model: Model,
    clips: Sequence[AuditClip],
    observations: Mapping[str, Observations],
    *,
    seed: int = 0,
) -> Part:
    """Gender and age of a model that states them, or the spread of one that states the face."""
    speaker = np.array([clip.speaker for clip in clips], np.int64)
    if observations[CLEAN].states_attributes:
        return _of_attributes(clips, observations, speaker, seed)
    return _of_spread(model, clips, observations, speaker, seed)


def _of_attributes(
    clips: Sequence[AuditClip],
    observations: Mapping[str, Observations],
    speaker: NDArray[np.int64],
    seed: int,
) -> Part:
    adult = np.array([is_adult(clip.age) for clip in clips], bool)
    adults = [clip.age if is_adult(clip.age) else None for clip in clips]
    female = female_of(clips, [voice_has_broken(clip.age) for clip in clips])
    if not np.isfinite(female).any() and not adult.any():
        return Part(NAME, TITLE, skipped="the data have no labels of gender or age to hold the statements against")
    draws = SpeakerBootstrap(speaker, seed=seed)
    gender = {
        name: gender_calibration(seen.of_attributes(lambda belief: belief.femininity), female, speaker, seed=seed)
        for name, seen in observations.items()
    }
    coverage = {
        (name, level): draws.mean(np.where(adult, inside_interval(seen, clips, level), np.nan))
        for name, seen in observations.items()
        for level in LEVELS
    }
    pit = _pit_ends(adults, observations[CLEAN])
    numbers = [
        Number(NAME, metric, estimate, _heard(observations[name], female), {"condition": name}, best=best,
               chance=chance, higher_is_better=False)
        for name, found in gender.items()
        for metric, estimate, best, chance in (
            ("gender_calibration_error", found.error, found.floor, None),
            ("gender_brier", found.brier, 0.0, found.brier_of_base_rate),
        )
    ]  # fmt: skip
    numbers += [
        _coverage_number("age_interval_coverage", name, level, estimate) for (name, level), estimate in coverage.items()
    ]
    return Part(
        NAME, TITLE, tuple(numbers),
        (_gender_table(gender), _reliability_table(gender[CLEAN]), _coverage_table(coverage), _pit_table(*pit)),
        (_reliability_figure(gender[CLEAN]), _pit_figure(*pit)),
        (
            "Calibration error: mean difference between the stated probability of a woman's voice and how often it was"
            " one, over ten bins of as many clips each. Its floor: what exactly true statements would have by chance.",
            "Brier: mean squared error of the stated probability. Base rate: what stating the share of women earns.",
            "Inside: share of adults whose given age lies in the stated central interval; a decade counts by the share"
            " of it inside. Too little: the model is too sure of itself; too much: not sure enough.",
        ),
    )  # fmt: skip


def _heard(seen: Observations, wanted: NDArray[np.float64]) -> int:
    return int((seen.heard & np.isfinite(wanted)).sum())


def _coverage_number(metric: str, condition: str, level: float, estimate: Estimate) -> Number:
    conditions = {"condition": condition, "stated": f"{level:g}"}
    return Number(NAME, metric, estimate, estimate.n, conditions, best=level, higher_is_better=None)


def _gender_table(gender: Mapping[str, GenderCalibration]) -> Table:
    header = ("condition", "calibration_error", "low_95", "high_95", "floor", "brier", "brier_low_95", "brier_high_95")
    rows = tuple(
        (
            *(name, found.error.value, found.error.low, found.error.high, found.floor),
            *(found.brier.value, found.brier.low, found.brier.high, found.brier_of_base_rate, found.error.n),
        )
        for name, found in gender.items()
    )
    title = "Stated probability of the gender (15 years and older)"
    return Table("gender", title, (*header, "brier_of_base_rate", "speakers"), rows)


def _reliability_table(found: GenderCalibration) -> Table:
    rows = tuple((one.stated, one.happened, one.clips) for one in found.bins)
    header = ("stated_probability_of_a_woman", "share_of_women", "clips")
    return Table("reliability", "Stated and happened, clean recordings", header, rows)


def _coverage_table(coverage: Mapping[tuple[str, float], Estimate], title: str = "") -> Table:
    rows: list[tuple[Cell, ...]] = [
        (name, level, estimate.value, estimate.low, estimate.high, estimate.n)
        for (name, level), estimate in coverage.items()
    ]
    return Table("coverage", title or "Adults inside the stated age interval", LEVEL_HEADER, tuple(rows))


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
    from speech2face.evaluation.reporting.figures import CHANCE_COLOUR, COLOURS, render

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
    from speech2face.evaluation.reporting.figures import CHANCE_COLOUR, COLOURS, render

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


def _of_spread(
    model: Model,
    clips: Sequence[AuditClip],
    observations: Mapping[str, Observations],
    speaker: NDArray[np.int64],
    seed: int,
) -> Part:
    size = next((clip.reference.size for clip in clips if clip.reference is not None), 0)
    if not size:
        return Part(
            NAME, TITLE, skipped="the clips have no face embeddings of their own; give data prepared with faces"
        )
    blank = np.full(size, np.nan, np.float32)
    reference = np.stack([blank if clip.reference is None else clip.reference for clip in clips])
    draws = SpeakerBootstrap(speaker, seed=seed)
    coverage = {
        (name, level): draws.mean(inside_spread(model, seen, reference, level))
        for name, seen in observations.items()
        for level in LEVELS
    }
    if not any(np.isfinite(estimate.value) for estimate in coverage.values()):
        return Part(NAME, TITLE, skipped="the model states neither attributes nor a spread")
    return Part(
        NAME, TITLE,
        tuple(_coverage_number("spread_coverage", name, level, found) for (name, level), found in coverage.items()),
        (_coverage_table(coverage, "Own faces inside the stated spread"),),
        notes=("The spread is normal along its stated axes; the directions it leaves out are not looked at.",),
    )  # fmt: skip
