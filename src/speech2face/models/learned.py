"""The model learned from a few hundred pairs: the starter's belief by attributes, and what the pairs teach beyond it.

The belief stays that of `voice/belief.py`, corrected by one linear map: with x the voice's statistics, m and S mean and
covariance of the belief by attributes,

    mean = m + shift + x W + m V      covariance = T S T'      draw = mean + T (draw by attributes - m)

so that draws have the stated mean and covariance whatever attributes a user states. `learning/` fits W, V, shift and
T; where the pairs taught nothing, W, V and shift are zero and T is the identity: the starter's belief itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from speech2face.audio.spectrogram import FloatArray
from speech2face.models.attributes import (
    AttributeEncoding,
    AttributeModel,
    AttributeRelease,
    AttributeRuntime,
    Moments,
    read_attribute_release,
)
from speech2face.models.contract import Given
from speech2face.models.release import open_release, parsing, read_stored
from speech2face.voice.belief import ADULT_AGE, BIN_CENTRES, OLDEST_FACE, AttributeBelief, Belief
from speech2face.voice.segments import LEAST_VARIANCE

KIND = "learned"
CORRECTION = "correction.safetensors"
TENSORS = ("centre", "weights", "by_attributes", "shift", "spread")


def pooled_statistics(moments: Sequence[Moments]) -> FloatArray:
    """Mean and standard deviation over time of every output of the frozen layers, (2 * channels,).

    The same numbers that the starter's voice head pools: all means first, then all deviations.
    """
    count, value, square = np.stack([part.sums[0] for part in moments]).sum(0, dtype=np.float64)
    mean = value / count
    spread = np.sqrt(np.maximum(square / count - np.square(mean), LEAST_VARIANCE))
    return np.concatenate([mean, spread]).astype(np.float32)


def any_attributes() -> AttributeBelief:
    """What is believed of somebody who is not known: all adult ages and both genders alike."""
    adult = (BIN_CENTRES > ADULT_AGE) & (BIN_CENTRES < OLDEST_FACE)
    return AttributeBelief(adult / adult.sum(), femininity=0.5)


@dataclass(frozen=True, eq=False)
class Correction:
    """What pairs teach beyond attributes: one linear map of a voice's pooled statistics."""

    centre: FloatArray
    """(2 * channels,): what is taken from the statistics first."""
    weights: FloatArray
    """(2 * channels, K): from there to the face embedding; W with the standardisation folded in."""
    by_attributes: FloatArray
    """(K, K): V, from the belief by attributes: how what age and gender say of a face was refitted."""
    shift: FloatArray
    """(K,): how the faces of the pairs differ in the mean from what attributes say of them."""
    spread: FloatArray
    """(K, K): T, symmetric; the identity leaves the spread of the belief by attributes as it is."""

    def __post_init__(self) -> None:
        size = self.shift.size
        shapes = (self.centre.shape, self.weights.shape, self.by_attributes.shape, self.spread.shape)
        if shapes != ((len(self.weights),), (self.centre.size, size), (size, size), (size, size)):
            raise ValueError(f"a correction of {size} numbers from arrays of {shapes}")

    def of(self, moments: Sequence[Moments]) -> FloatArray:
        """What a voice moves by itself, (K,)."""
        return np.asarray(self.shift + (pooled_statistics(moments) - self.centre) @ self.weights, np.float32)

    def mean(self, moved: FloatArray, by_attributes: FloatArray) -> FloatArray:
        """The corrected mean (K,), of what a voice moves and of the mean by attributes, (K,) each."""
        return np.asarray(by_attributes + moved + by_attributes @ self.by_attributes, np.float32)

    def to_arrays(self) -> dict[str, FloatArray]:
        """For a file of arrays, under the names of `TENSORS`."""
        return {name: np.ascontiguousarray(getattr(self, name), np.float32) for name in TENSORS}


@dataclass(frozen=True)
class LearnedRelease(AttributeRelease):
    """A release by attributes with a correction that pairs of voices and faces taught."""

    training: dict[str, Any]
    """What it learned from and how well it does, as in its card; nothing of a single person."""
    kind: ClassVar[str] = KIND

    @property
    def learned_from(self) -> str:
        """SHA-256 of the manifest of the pairs, "" where they were sums or a table."""
        return str(self.training.get("manifest_sha256", ""))

    @property
    def by_attributes(self) -> bool:
        """Whether the belief begins with the attributes that are read from the voice."""
        return bool(self.training.get("by_attributes", True))

    @cached_property
    def correction(self) -> Correction:
        """The linear map, read when it is first needed.

        Raises:
            WeightsError: the file is damaged or lacks a part.
        """
        stored = read_stored(self.file(CORRECTION), TENSORS)
        with parsing(self.folder):
            return Correction(**stored)


def read_learned_release(folder: Path, values: dict[str, Any]) -> LearnedRelease:
    """The record in a checked manifest.

    Raises:
        WeightsError: a part is missing or of the wrong kind.
    """
    plain = read_attribute_release(folder, values)
    with parsing(folder):
        return LearnedRelease(**vars(plain), training=dict(values["training"]))


@dataclass(frozen=True, repr=False)
class LearnedModel(AttributeModel):
    """Belief about the face by way of attributes, and of what pairs taught beyond them."""

    release: LearnedRelease

    def encoded(self, moments: Sequence[Moments]) -> LearnedEncoding:
        """What is read from the moments of all segments.

        Raises:
            NoSpeech: the encoder recognises no voice in them.
        """
        plain = super().encoded(moments)
        return LearnedEncoding(self, plain.moments, plain.reading)


@dataclass(frozen=True)
class LearnedEncoding(AttributeEncoding):
    """One encoded recording: what is read of its attributes, and how far its belief moves beyond them."""

    model: LearnedModel

    @cached_property
    def _moved(self) -> FloatArray:
        return self.model.release.correction.of(self.moments)

    @property
    def beyond_attributes(self) -> FloatArray:
        """What this voice moves the face beyond age and gender, (K,); what the pairs move all faces is left out."""
        return self._moved - self.model.release.correction.shift

    def _shown(self, given: Given) -> AttributeBelief:
        """The attributes of the face that is drawn; where none were learned with, those that are stated alone."""
        shown = super()._shown(given)
        if self.model.release.by_attributes or self.is_child:
            return shown
        anybody = any_attributes()
        femininity = anybody.femininity if given.gender is None else shown.femininity
        return replace(shown, age_probabilities=anybody.age_probabilities, femininity=femininity)

    def belief(self, given: Given) -> Belief:
        """The belief by attributes, corrected; a child's is left as it is, since pairs are of adults."""
        plain, correction = super().belief(given), self.model.release.correction
        if self.is_child:
            return plain
        mean = np.clip(correction.mean(self._moved, plain.mean), *self.model.release.population.limits())
        covariance = correction.spread @ plain.covariance @ correction.spread.T
        return Belief(np.asarray(mean, np.float32), np.asarray(covariance, np.float32))

    def draw(self, given: Given, rng: np.random.Generator) -> FloatArray:
        """One face embedding, (K,), from the corrected belief."""
        drawn = super().draw(given, rng)
        if self.is_child:
            return drawn
        plain, correction = super().belief(given), self.model.release.correction
        moved = correction.mean(self._moved, plain.mean) + correction.spread @ (drawn - plain.mean)
        return np.asarray(np.clip(moved, *self.model.release.population.limits()), np.float32)


def load_learned_model(folder: str | Path, threads: int | None = None) -> LearnedModel:
    """Open a release of this kind.

    Raises:
        WeightsError: missing, damaged, of another kind, or made for another version.
    """
    place, values = open_release(folder, KIND)
    release = read_learned_release(place, values)
    return LearnedModel(release, AttributeRuntime(release, threads))
