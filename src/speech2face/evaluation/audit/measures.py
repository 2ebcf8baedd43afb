"""What is asked of every clip in an audit: how right the model was, as one value a clip."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from speech2face.evaluation.attributes import coverage
from speech2face.evaluation.audit.groups import decade, is_adult, is_child, voice_has_broken
from speech2face.evaluation.audit.observations import Observations
from speech2face.evaluation.audit.voices import AuditClip
from speech2face.evaluation.group_sums import group_sums
from speech2face.evaluation.metrics.similarity import angle_degrees, unit
from speech2face.models.contract import Model

Floats = NDArray[np.float64]
STATED_MASS = 0.8
"""Of the age interval that a portrait states."""

SHORT_TITLES = {
    "gender_balanced_accuracy": "gender read right",
    "gender_brier": "gender, squared error of the probability",
    "age_error_years": "age, error in years",
    "age_bias_years": "age, stated less given",
    "age_interval_coverage": "inside the 80 % interval",
    "child_missed": "children without the caution",
    "adult_called_child": "adults with a child's caution",
    "refused": "refused",
    "angle_degrees": "angle in degrees",
    "two_way_choice": "own face before another",
    "two_way_choice_same_gender": "before another of the gender",
    "spread_coverage": "inside 80 % of the spread",
}


@dataclass(frozen=True)
class Measure:
    """One question; `values` gives (clips,), NaN where it does not concern the clip.

    `target` is the best value. `cheat` says, for each clip, what the constant answer named in `cheat_is` earns.
    `like` names what the members of a group are compared within: their own gender or age.
    """

    name: str
    title: str
    target: float
    digits: int
    values: Callable[[Observations], Floats]
    like: str = ""
    balanced: bool = False
    cheat: Floats | None = None
    cheat_is: str = ""
    of_refused: bool = False
    """Also concerns clips that were refused."""

    @property
    def higher_is_better(self) -> bool | None:
        """None where the best lies between."""
        return {0.0: False, 1.0: True}.get(self.target) if self.name != "age_bias_years" else None

    def badness(self, value: float) -> float:
        """How far from the best; the worst group has the most."""
        return abs(value - self.target) if np.isfinite(value) else -np.inf


def attribute_measures(clips: Sequence[AuditClip]) -> list[Measure]:
    """For models that state age and gender."""
    ages = [clip.age for clip in clips]
    female = np.array([{"female": 1.0, "male": 0.0}.get(clip.gender, np.nan) for clip in clips])
    female[[not voice_has_broken(age) for age in ages]] = np.nan
    adult = np.array([is_adult(age) for age in ages], bool)
    child = np.array([is_child(age) for age in ages], bool)
    middle = np.array([np.nan if age is None else sum(age) / 2 for age in ages])
    median = float(np.median(middle[adult])) if adult.any() else float("nan")

    def of_adults(values: Floats) -> Floats:
        return np.where(adult, values, np.nan)

    def age_error(seen: Observations) -> Floats:
        return of_adults(np.abs(seen.of_attributes(lambda belief: belief.age_mean) - middle))

    def age_bias(seen: Observations) -> Floats:
        return of_adults(seen.of_attributes(lambda belief: belief.age_mean) - middle)

    def gender_right(seen: Observations) -> Floats:
        read = seen.of_attributes(lambda belief: belief.femininity)
        return np.where(np.isfinite(read + female), (read > 0.5) == (female == 1), np.nan).astype(np.float64)

    def gender_brier(seen: Observations) -> Floats:
        return np.asarray(np.square(seen.of_attributes(lambda belief: belief.femininity) - female))

    never = np.where(np.isfinite(female), 0.25, np.nan)
    return [
        Measure(
            "gender_balanced_accuracy", "Gender read right, both genders alike (15 years and older)", 1.0, 3,
            gender_right, "gender", True, np.where(np.isfinite(female), 0.5, np.nan), "a coin",
        ),
        Measure(
            "gender_brier", "Stated probability of the gender, squared error (15 years and older)", 0.0, 3,
            gender_brier, "gender", True, never, "0.5 for everybody",
        ),
        Measure(
            "age_error_years", "Age of adults, mean absolute error in years", 0.0, 1,
            age_error, "age", False, of_adults(np.abs(median - middle)), f"{median:g} years for everybody",
        ),
        Measure(
            "age_bias_years", "Age of adults, stated less given, in years", 0.0, 1,
            age_bias, "age", False, of_adults(median - middle), f"{median:g} years for everybody",
        ),
        Measure(
            "age_interval_coverage", "Adults inside the stated 80 % interval", STATED_MASS, 3,
            lambda seen: of_adults(inside_interval(seen, clips, STATED_MASS)), "age",
        ),
        Measure(
            "child_missed", "Children under 13 without the caution", 0.0, 3,
            lambda seen: np.where(child, 1 - seen.called_child, np.nan), cheat=np.where(child, 1.0, np.nan),
            cheat_is="no caution for anybody",
        ),
        Measure(
            "adult_called_child", "Adults with the caution of a child's voice", 0.0, 3,
            lambda seen: of_adults(seen.called_child), "gender", cheat=of_adults(np.zeros(len(clips))),
            cheat_is="no caution for anybody",
        ),
        refused(len(clips)),
    ]  # fmt: skip


def refused(clips: int) -> Measure:
    """For every model: recordings of a voice that got no portrait."""

    def values(seen: Observations) -> Floats:
        return np.where(seen.applies, [reason != "" for reason in seen.refusal], np.nan).astype(np.float64)

    return Measure(
        "refused", "Recordings refused", 0.0, 3, values, cheat=np.zeros(clips), cheat_is="no refusal", of_refused=True
    )


def inside_interval(seen: Observations, clips: Sequence[AuditClip], mass: float) -> Floats:
    """Share of each clip's given age inside the stated interval of `mass`, (clips,); NaN where one is unknown."""
    values = np.full(len(clips), np.nan)
    for row, (clip, belief) in enumerate(zip(clips, seen.attributes, strict=True)):
        if belief is None or clip.age is None:
            continue
        low, high = belief.age_interval(mass)
        given_low, given_high = clip.age
        given_high = max(given_high, given_low + 1e-6)
        values[row] = coverage(*(np.array([end]) for end in (low, high, given_low, given_high)))
    return values


def paired_measures(model: Model, clips: Sequence[AuditClip]) -> list[Measure]:
    """For models that say the face embedding itself, of data whose clips have their own face's."""
    size = next((clip.reference.size for clip in clips if clip.reference is not None), 0)
    if not size:
        return [refused(len(clips))]
    blank = np.full(size, np.nan, np.float32)
    reference = np.stack([blank if clip.reference is None else clip.reference for clip in clips])
    speaker = np.unique([clip.speaker for clip in clips], return_inverse=True)[1].reshape(-1)
    gender = np.array([clip.gender for clip in clips])
    count = len(clips)
    half = np.full(count, 0.5)
    return [
        Measure(
            "angle_degrees", "Angle to the own face's embedding, in degrees", 0.0, 1,
            lambda seen: angle_degrees(seen.embedding, reference),
            cheat=angle_degrees(mean_of_others(reference, speaker), reference),
            cheat_is="the mean face for everybody",
        ),
        Measure(
            "two_way_choice", "Own face chosen before one other speaker's", 1.0, 3,
            lambda seen: two_way_choice(seen.embedding, reference, speaker), cheat=half, cheat_is="a coin",
        ),
        Measure(
            "two_way_choice_same_gender", "Own face chosen before one other speaker's of the same gender", 1.0, 3,
            lambda seen: two_way_choice(seen.embedding, reference, speaker, gender), "gender", cheat=half,
            cheat_is="a coin",
        ),
        Measure(
            "spread_coverage", "Own face inside the stated 80 % of the spread", STATED_MASS, 3,
            lambda seen: inside_spread(model, seen, reference, STATED_MASS),
        ),
        refused(count),
    ]  # fmt: skip


def mean_of_others(reference: NDArray[np.float32], speaker: NDArray[np.int64]) -> NDArray[np.float32]:
    """Mean face of all other speakers, (clips, K): with the own one in it, it would peek at the answer."""
    there = np.asarray(np.isfinite(reference).all(1))
    faces = np.where(there[:, None], reference, 0).astype(np.float64)
    own = group_sums(faces, speaker, int(speaker.max()) + 1)
    others = there.sum() - np.bincount(speaker, there)[speaker]
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray((faces.sum(0) - own[speaker]) / others[:, None], np.float32)


def two_way_choice(
    predicted: NDArray[np.float32],
    reference: NDArray[np.float32],
    speaker: NDArray[np.int64],
    gender: NDArray[np.str_] | None = None,
) -> Floats:
    """Share of other speakers' faces that are farther from the prediction than the own, by cosine, (clips,).

    Exact over all others, which is what a two-way choice expects; higher is better, chance 0.5; ties count against us,
    so one answer for everybody earns 0.5 at most. With `gender` only others of the same known gender.
    """
    similarity = unit(predicted.astype(np.float64)) @ unit(reference.astype(np.float64)).T  # (clips, faces)
    own = np.diagonal(similarity)[:, None]
    other = (speaker[:, None] != speaker) & np.isfinite(reference).all(1)
    if gender is not None:
        other &= (gender[:, None] == gender) & (gender != "")[:, None]
    with np.errstate(invalid="ignore", divide="ignore"):
        share = ((similarity < own) & other).sum(1) / other.sum(1)
    return np.asarray(np.where(np.isfinite(own[:, 0]), share, np.nan))


def inside_spread(model: Model, seen: Observations, reference: NDArray[np.float32], mass: float) -> Floats:
    """Whether the own face lies within the central `mass` of the stated spread, (clips,); the spread is normal."""
    from scipy.stats import chi2

    depth = spread_depth(model, seen, reference)
    return np.where(np.isfinite(depth[0]), chi2.cdf(depth[0], depth[1]) <= mass, np.nan).astype(np.float64)


def spread_depth(model: Model, seen: Observations, reference: NDArray[np.float32]) -> tuple[Floats, int]:
    """Squared distance in standard deviations along the stated axes, (clips,), and how many axes there are."""
    spread = getattr(model.release, "spread", None)
    if spread is None:
        return np.full(len(reference), np.nan), 1
    along = (reference - seen.embedding).astype(np.float64) @ spread.axes.T / np.maximum(spread.deviations, 1e-12)
    return np.square(along).sum(1), len(spread.deviations)


def measures(model: Model, clips: Sequence[AuditClip], clean: Observations) -> list[Measure]:
    """What can be asked of this model over these clips."""
    return attribute_measures(clips) if clean.states_attributes else paired_measures(model, clips)


def strata(clips: Sequence[AuditClip], like: str) -> NDArray[np.int64]:
    """With whom each clip's speaker may be compared, (clips,): equals in gender, in age, or everybody."""
    if like == "gender":
        names = [clip.gender for clip in clips]
    elif like == "age":
        names = [decade(clip.age) for clip in clips]
    else:
        names = [""] * len(clips)
    return np.asarray(np.unique(names, return_inverse=True)[1].reshape(-1), np.int64)
