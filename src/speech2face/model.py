"""A release ready for use: the voice side's stages joined, and the face side behind them; no torch."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from speech2face.audio.spectrogram import FloatArray
from speech2face.errors import InvalidGiven
from speech2face.release import Release, load_release
from speech2face.runtime import Runtime, VoiceReading
from speech2face.voice.belief import AttributeBelief, sigmoid


@dataclass(frozen=True)
class Model:
    """What `reconstruct` needs: a release and the networks that run it."""

    release: Release
    runtime: Runtime

    def attributes(self, reading: VoiceReading) -> AttributeBelief:
        """Calibrated belief about age and gender from one reading."""
        calibration = self.release.calibration
        return AttributeBelief(
            calibration.age_probabilities(reading.age_logits, reading.seconds),
            calibration.femininity(reading.gender_logit),
            child_probability=sigmoid(reading.child_logit),
        )

    def with_population(self, weights: Mapping[str, float]) -> "Model":
        """The same model over another reference population: a weight for each group, those left out having none.

        Raises:
            InvalidGiven: an unknown group, a negative weight, or nothing but zeros.
        """
        groups = self.release.groups
        unknown = [name for name in weights if name not in groups]
        if unknown:
            raise InvalidGiven(f'population group "{unknown[0]}" is unknown; give weights for {", ".join(groups)}')
        values = np.array([weights.get(name, 0.0) for name in groups], np.float64)
        if not np.isfinite(values).all() or values.min() < 0 or values.sum() <= 0:
            raise InvalidGiven("population weights must not be negative, and one of them must be above zero")
        population = replace(self.release.population, group_weights=(values / values.sum()).astype(np.float32))
        return replace(self, release=replace(self.release, population=population))

    @property
    def population(self) -> dict[str, float]:
        """Share of each group in the reference population, summing to one."""
        shares = self.release.population.group_weights
        return {name: round(float(share), 4) for name, share in zip(self.release.groups, shares, strict=True)}

    def exaggerated(self, face_embedding: FloatArray, amount: float) -> FloatArray:
        """Move an embedding away from the mean face: v + e (v - mean), (K,) -> (K,).

        The paper's published pictures use such a step without giving a formula; this is the natural reading. Age and
        group stop at the end of what the model has learned: nobody is drawn older than 80.
        """
        if not amount:
            return face_embedding
        moved = face_embedding + amount * (face_embedding - self.release.mean_embedding)
        return np.asarray(np.clip(moved, *self.release.population.limits()), np.float32)


def load_model(folder: str | Path | None = None) -> Model:
    """Open a release; None is the starter inside the package.

    Raises:
        WeightsError: missing, damaged, or made for another version.
    """
    release = load_release(folder)
    return Model(release, Runtime(release))
