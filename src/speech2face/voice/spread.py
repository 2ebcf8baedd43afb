"""How far face embeddings lie from what a voice encoder says of them, along principal axes (Hotelling 1933)."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from speech2face.audio.spectrogram import FloatArray

MOST_AXES = 128


@dataclass(frozen=True)
class Spread:
    """The error v_f - v_s as a normal distribution around zero, measured on clips that training did not have.

    `axes` (axes, K) are orthonormal, `deviations` (axes,) in falling order; `share` is what part of the mean square of
    the errors they hold. The rest, thousands of small directions that a decoder was never shown, is left out of draws.
    Errors are taken around zero, not around their mean: a bias of the encoder counts as spread.
    """

    axes: FloatArray
    deviations: FloatArray
    share: float

    @classmethod
    def fit(cls, predicted: np.ndarray, target: np.ndarray, *, most_axes: int = MOST_AXES) -> "Spread":
        """From embeddings of the same clips, (clips, K) each."""
        assert predicted.shape == target.shape and predicted.ndim == 2 and len(predicted), "not of the same clips"
        errors = (target.astype(np.float64) - predicted) / np.sqrt(len(predicted))
        # Of errors^T errors and errors errors^T the smaller one is decomposed: they have the same values above zero.
        many = errors.shape[0] > errors.shape[1]
        squares, vectors = np.linalg.eigh(errors.T @ errors if many else errors @ errors.T)
        count = min(most_axes, int((squares > squares[-1] * 1e-12).sum()))
        squares, vectors = squares[::-1][:count], vectors[:, ::-1][:, :count]
        deviations = np.sqrt(squares)
        axes = vectors.T if many else (vectors / deviations).T @ errors
        total = float(np.square(errors).sum())
        share = float(squares.sum()) / total if total else 1.0
        return cls(axes.astype(np.float32), deviations.astype(np.float32), min(1.0, share))

    @property
    def covariance(self) -> FloatArray:
        """(K, K); made when it is asked for, since that of 4096 numbers takes 64 MB."""
        scaled = self.axes * self.deviations[:, None]
        return np.asarray(scaled.T @ scaled, np.float32)

    def draw(self, rng: np.random.Generator) -> FloatArray:
        """One error, (K,)."""
        return np.asarray((rng.standard_normal(self.deviations.size) * self.deviations) @ self.axes, np.float32)

    def to_arrays(self) -> dict[str, np.ndarray]:
        """For a file of arrays; axes in half precision, whose rounding is a thousandth of a standard deviation."""
        return {
            "axes": self.axes.astype(np.float16),
            "deviations": self.deviations,
            "share": np.array(self.share, np.float32),
        }

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray]) -> "Spread":
        """From `to_arrays`'s result."""
        axes, deviations = arrays["axes"].astype(np.float32), arrays["deviations"].astype(np.float32)
        if axes.ndim != 2 or deviations.shape != axes.shape[:1]:
            raise ValueError(f"{deviations.shape} deviations for axes of shape {axes.shape}")
        return cls(axes, deviations, float(arrays["share"]))


@dataclass(frozen=True)
class SpreadBelief:
    """The voice encoder's face embedding, (K,), and the release's spread around it."""

    mean: FloatArray
    spread: Spread

    @property
    def covariance(self) -> FloatArray:
        """(K, K)."""
        return self.spread.covariance

    def draw(self, rng: np.random.Generator) -> FloatArray:
        """One face embedding, (K,)."""
        return self.mean + self.spread.draw(rng)
