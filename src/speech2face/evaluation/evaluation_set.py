"""All that an evaluation stands on, as arrays of one row a clip: what was predicted, and what it is held against."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from speech2face.evaluation.group_sums import group_sums
from speech2face.evaluation.parts.part import Exclusion

Embeddings = NDArray[np.float32]
Floats = NDArray[np.float64]

DECADES = {"twenties": 20, "thirties": 30, "forties": 40, "fourties": 40, "fifties": 50}
DECADES |= {"sixties": 60, "seventies": 70, "eighties": 80, "nineties": 90}
TEENS = (13.0, 20.0)  # whoever calls themselves a teenager
_RANGE = re.compile(r"(\d{1,3})\s*[-\u2013]\s*(\d{1,3})")
_DECADE = re.compile(r"(\d{1,2}0)s")


def parse_age(text: str) -> tuple[float, float] | None:
    """An age label as a half-open interval of years: "34", "34.5", "20-29", "30s", "twenties"; None if it is none."""
    text = text.strip().lower()
    if text == "teens":
        return TEENS
    if text in DECADES:
        return float(DECADES[text]), float(DECADES[text] + 10)
    if found := _DECADE.fullmatch(text):
        return float(found[1]), float(found[1]) + 10
    if found := _RANGE.fullmatch(text):
        low, high = float(found[1]), float(found[2])
        return (low, high + 1) if low <= high else None
    try:
        years = float(text)
    except ValueError:
        return None
    if not 0 <= years < 130:
        return None
    return (years, years + 1) if years.is_integer() else (years, years)


@dataclass(frozen=True)
class ModelFacts:
    """What is said of a model in a report."""

    name: str
    version: str = ""
    kind: str = ""
    """`attributes`, `paired`, `checkpoint`, or `embeddings` where only a file of predictions was given."""
    embedder: Mapping[str, Any] | None = None
    """The record of the face embedder its embeddings are those of; None where there is none."""
    sha256: str = ""
    """Of the release's `model.json` (or the checkpoint), which holds the checksums of the rest."""


@dataclass(frozen=True, eq=False)
class StatedAttributes:
    """What a model states of each clip's speaker, (clips,) each; NaN where it could not be asked."""

    age: Floats
    """Mean, in years."""
    low: Floats
    """Lower end of the 80 % interval of the age."""
    high: Floats
    femininity: Floats
    """Probability of a feminine voice."""
    child: Floats
    """Probability of a young child's voice."""

    def take(self, rows: NDArray[Any]) -> StatedAttributes:
        """Some of the clips, by number or as a mask."""
        return StatedAttributes(**{f.name: getattr(self, f.name)[rows] for f in fields(self)})


@dataclass(frozen=True, eq=False)
class EvaluationSet:
    """One model's predictions over the clips of one split, beside the references and labels."""

    keys: tuple[str, ...]
    speaker: NDArray[np.int64]
    """(clips,): place of the clip's speaker in `speakers`."""
    speakers: tuple[str, ...]
    seconds: Floats
    """(clips,) as recorded."""
    labels: Mapping[str, tuple[str, ...]]
    """By name: gender, age, group, language, accent, video ...; "" where unknown."""
    reference: Embeddings | None
    """(clips, K) embeddings of the clips' own faces; rows of NaN where missing; None where the data have none."""
    predicted: Mapping[float, Embeddings]
    """By seconds heard, (clips, K); rows of NaN where the clip could not be heard, with the reason in `exclusions`."""
    model: ModelFacts
    split: str
    data_sha256: str
    stated: Mapping[float, StatedAttributes] = field(default_factory=dict)
    """By seconds heard; empty where the model states no attributes."""
    exclusions: tuple[Exclusion, ...] = ()
    notes: tuple[str, ...] = ()
    """What must be known about how model and data go together."""

    def __len__(self) -> int:
        return len(self.keys)

    def label(self, name: str) -> NDArray[np.str_]:
        """A label of every clip, (clips,); "" everywhere where the data have no such label."""
        return np.array(self.labels.get(name, ("",) * len(self)), dtype=np.str_)

    def gender(self) -> NDArray[np.str_]:
        """ "female", "male" or "", (clips,)."""
        stated = np.char.lower(np.char.strip(self.label("gender")))
        return np.where(np.isin(stated, ("female", "male")), stated, "")

    def age_intervals(self) -> Floats:
        """Half-open intervals of years, (clips, 2); NaN where unknown."""
        known = {text: parse_age(text) or (np.nan, np.nan) for text in set(self.labels.get("age", ()))}
        ages = [known[text] for text in self.labels.get("age", ())]
        return np.array(ages if ages else [(np.nan, np.nan)] * len(self), np.float64).reshape(-1, 2)

    def age_years(self) -> Floats:
        """Middle of the age interval, (clips,): 34.5 for "34", 25 for "20-29"; NaN where unknown."""
        return np.asarray(self.age_intervals().mean(1))

    def longest(self) -> float:
        """The most seconds heard."""
        return max(self.predicted)

    def has_reference(self) -> NDArray[np.bool_]:
        """Which clips have a face embedding to be held against, (clips,)."""
        if self.reference is None:
            return np.zeros(len(self), bool)
        return np.asarray(np.isfinite(self.reference).all(1))

    def measurable(self, seconds: float) -> NDArray[np.bool_]:
        """Which clips have both a reference and a prediction from so many seconds, (clips,)."""
        return self.has_reference() & np.isfinite(self.predicted[seconds]).all(1)

    def mean_face(self, *, leave_speaker_out: bool = True) -> Embeddings:
        """The mean reference for everybody, (clips, K); by default that of the other speakers.

        With the own speaker in it the mean of a small set would be a peek at the answer. In retrieval it is the other
        way round: leaving out moves the mean away from the own face, and only the same answer for all earns chance.
        """
        return self._means(np.full(len(self), "", dtype=np.str_), leave_speaker_out)

    def gender_mean_face(self, *, leave_speaker_out: bool = True) -> Embeddings:
        """The mean reference of the clip's gender by its label, (clips, K); NaN where that is unknown."""
        gender = self.gender()
        means = self._means(gender, leave_speaker_out)
        means[gender == ""] = np.nan
        return means

    def _means(self, of: NDArray[np.str_], leave_speaker_out: bool) -> Embeddings:
        assert self.reference is not None, "no references, no mean face"
        there = self.has_reference()
        means = np.full(self.reference.shape, np.nan, np.float32)
        for value in np.unique(of):
            rows = np.flatnonzero((of == value) & there)
            total = self.reference[rows].sum(0, dtype=np.float64)
            asked = np.flatnonzero(of == value)
            if not leave_speaker_out:
                if len(rows):
                    means[asked] = total / len(rows)
                continue
            people, order = np.unique(self.speaker[asked], return_inverse=True)
            place = np.searchsorted(people, self.speaker[rows])
            own = group_sums(self.reference[rows], place, len(people))
            others = len(rows) - np.bincount(place, minlength=len(people))
            with np.errstate(invalid="ignore"):
                of_others = (total - own) / np.where(others > 0, others, np.nan)[:, None]
            means[asked] = of_others[order.reshape(-1)]
        return means

    def take(self, rows: NDArray[Any]) -> EvaluationSet:
        """The same over some of the clips, by number or as a mask; `exclusions` stay."""
        numbers = np.arange(len(self))[rows]
        return replace(
            self,
            keys=tuple(self.keys[row] for row in numbers),
            speaker=self.speaker[numbers],
            seconds=self.seconds[numbers],
            labels={name: tuple(values[row] for row in numbers) for name, values in self.labels.items()},
            reference=None if self.reference is None else self.reference[numbers],
            predicted={heard: values[numbers] for heard, values in self.predicted.items()},
            stated={heard: values.take(numbers) for heard, values in self.stated.items()},
        )
