"""A release ready for use: the voice side's stages joined, and the face side behind them; no torch."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from speech2face.audio.spectrogram import FloatArray
from speech2face.release import Release, load_release
from speech2face.runtime import Runtime, VoiceReading
from speech2face.voice.belief import AttributeBelief


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
        )

    def exaggerated(self, face_embedding: FloatArray, amount: float) -> FloatArray:
        """Move an embedding away from the mean face: v + e (v - mean), (K,) -> (K,).

        The paper's published pictures use such a step without giving a formula; this is the natural reading.
        """
        return np.asarray(face_embedding + amount * (face_embedding - self.release.mean_embedding), np.float32)


def load_model(folder: str | Path | None = None) -> Model:
    """Open a release; None is the starter inside the package.

    Raises:
        WeightsError: missing, damaged, or made for another version.
    """
    release = load_release(folder)
    return Model(release, Runtime(release))
