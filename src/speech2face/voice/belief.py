"""From what a voice tells to a belief about the face: its mean, its spread, and draws from it.

The starter's voices and faces belong to different people, so all that joins them is
p(face | voice) = sum over attributes of p(face | attributes) p(attributes | voice),
the attributes being apparent age and gender.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from speech2face.audio.spectrogram import FloatArray
from speech2face.face.appearance import AttributeBasis

# --------------------------------------------------------------------------------------------------
# The bins of apparent age.
# --------------------------------------------------------------------------------------------------

BIN_YEARS = 5
LOWEST_AGE = 5
HIGHEST_AGE = 95
AGE_INTERVAL_MASS = 0.8  # of the belief, in the interval that is stated
BIN_EDGES = np.arange(LOWEST_AGE, HIGHEST_AGE + 1, BIN_YEARS)  # (bins + 1,)
BIN_CENTRES = (BIN_EDGES[:-1] + BIN_EDGES[1:]) / 2  # (bins,)


ADULT_AGE = 18
OLDEST_FACE = 80


def sigmoid(logit: float) -> float:
    """Probability of a logit; beyond 30 it is certain in single precision anyway."""
    return float(1 / (1 + np.exp(-np.clip(logit, -30, 30))))


def cosine(first: np.ndarray, second: np.ndarray) -> float:
    """Cosine of the angle between two vectors, (K,) each; -1 to 1."""
    return float(first @ second / (np.linalg.norm(first) * np.linalg.norm(second) + 1e-9))


@dataclass(frozen=True)
class Calibration:
    """How raw logits become stated probabilities; fitted on speakers that neither training nor validation has.

    Temperatures fall with the seconds heard: value = at_one_second * seconds ** -slope, within the durations measured.
    They rise where a recording is unlike those of training: by `distance_slope` for every unit of distance over
    `distance_free`, up to `distance_most` times.
    """

    age_temperature: float = 1.0
    age_temperature_slope: float = 0.0
    age_prior: tuple[float, ...] = (0.0,) * (BIN_EDGES.size - 1)  # less this share of the corpus's log prior
    gender_temperature: float = 1.0
    gender_bias: float = 0.0
    child_threshold: float = 0.5
    distance_free: float = 1.0
    distance_slope: float = 0.0
    distance_most: float = 3.0
    measured_seconds: tuple[float, float] = (1.0, 10.0)

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return {key: list(v) if isinstance(v, tuple) else v for key, v in vars(self).items()}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "Calibration":
        """From `to_dict`'s result."""
        stored: dict[str, Any] = {key: tuple(v) if isinstance(v, list) else v for key, v in values.items()}
        return cls(**stored)

    def _temperature(self, seconds: float, distance: float) -> float:
        within = float(np.clip(seconds, *self.measured_seconds))
        unlike = 1 + self.distance_slope * max(0.0, distance - self.distance_free)
        return float(self.age_temperature * within**-self.age_temperature_slope * min(unlike, self.distance_most))

    def age_probabilities(self, logits: np.ndarray, seconds: float, distance: float = 1.0) -> np.ndarray:
        """Stated distribution over age bins, (bins,) -> (bins,), of so many seconds so far from training."""
        adjusted = (logits + np.asarray(self.age_prior)) / self._temperature(seconds, distance)
        powers = np.exp(adjusted - adjusted.max())
        return np.asarray(powers / powers.sum())

    def femininity(self, logit: float) -> float:
        """Stated probability that the voice is read as a woman's."""
        return sigmoid((logit + self.gender_bias) / self.gender_temperature)


@dataclass(frozen=True)
class AttributeBelief:
    """What the voice tells: a distribution over age bins, (bins,), and the probability of being read as a woman's.

    `given_age` replaces the distribution in the face, not in what is said of the voice.
    """

    age_probabilities: np.ndarray
    femininity: float
    given_age: float | None = None
    child_probability: float = 0.0  # of an age under 13 against an adult's, both being equally frequent

    @property
    def age_mean(self) -> float:
        """Expected age in years."""
        return float(self.age_probabilities @ BIN_CENTRES)

    def age_interval(self, mass: float = AGE_INTERVAL_MASS) -> tuple[float, float]:
        """Central interval that holds `mass` of the belief, in years; ages within a bin being equally likely."""
        cumulative = np.concatenate([[0.0], np.cumsum(self.age_probabilities)])
        cumulative += np.arange(cumulative.size) * 1e-12  # strictly rising, so that the inverse is unique
        low, high = np.interp([(1 - mass) / 2, (1 + mass) / 2], cumulative / cumulative[-1], BIN_EDGES)
        return float(low), float(high)

    def adult_ages(self) -> tuple[np.ndarray, np.ndarray]:
        """Ages a face can show and their probabilities, (ages,) twice: children go to the youngest adult."""
        if self.given_age is not None:
            return np.array([self.given_age]), np.ones(1)
        return np.clip(BIN_CENTRES, ADULT_AGE, OLDEST_FACE), self.age_probabilities


@dataclass(frozen=True)
class Belief:
    """Mean (K,) and covariance (K, K) of the face embedding given a voice."""

    mean: FloatArray
    covariance: FloatArray


@dataclass(frozen=True)
class FacePopulation:
    """p(face embedding | attributes): the attribute coordinates are exact, residuals are normal around zero.

    `residual_sd` is (R,); `group_weights` (groups,) is the reference population; a draw's own group weights follow a
    Dirichlet distribution around it, the closer the larger `group_concentration` (per group of equal weight).
    """

    basis: AttributeBasis
    residual_sd: FloatArray
    group_weights: FloatArray
    group_concentration: float = 2.0

    def embedding(self, age: float, femininity: float, groups: np.ndarray | None = None) -> FloatArray:
        """The expected face embedding of one set of attributes, (K,)."""
        design = self.basis.design(age, femininity, self.group_weights if groups is None else groups)
        return np.concatenate([design, np.zeros_like(self.residual_sd)]).astype(np.float32)

    def limits(self) -> tuple[FloatArray, FloatArray]:
        """Least and greatest value that the attributes give each coordinate of the embedding, (K,) twice.

        Femininity and residuals are unbounded: beyond their usual range they still draw a face. Ages and groups do not.
        """
        ages = np.arange(self.basis.age_range_years[0], self.basis.age_range_years[1] + 1)
        one_group = np.eye(self.group_weights.size)
        designs = np.concatenate(
            [
                self.basis.design(ages, femininity, np.tile(group, (ages.size, 1)))
                for femininity in (0.0, 1.0)
                for group in one_group
            ]
        )
        free = np.full(self.residual_sd.size, np.inf)
        low, high = designs.min(0), designs.max(0)
        column = self.basis.names.index("femininity")
        low[column], high[column] = -np.inf, np.inf
        return np.concatenate([low, -free]).astype(np.float32), np.concatenate([high, free]).astype(np.float32)

    def _groups(self, group: int | None) -> np.ndarray:
        """Weights of the reference population, or all of it one group, (groups,)."""
        return np.asarray(self.group_weights if group is None else np.eye(self.group_weights.size)[group], np.float64)

    def belief(self, attributes: AttributeBelief, group: int | None = None) -> Belief:
        """Mean and covariance of the face embedding, the attributes integrated out."""
        ages, age_share = attributes.adult_ages()
        weights = self._groups(group)
        groups = np.tile(weights, (ages.size, 1))
        designs = np.concatenate([self.basis.design(ages, femininity, groups) for femininity in (1.0, 0.0)])
        shares = np.concatenate([age_share * attributes.femininity, age_share * (1 - attributes.femininity)])
        shares = shares / shares.sum()
        mean = shares @ designs
        centred = designs - mean
        size, count = mean.size, weights.size
        covariance = np.zeros((size + self.residual_sd.size,) * 2)
        covariance[:size, :size] = (centred * shares[:, None]).T @ centred
        # The groups' coordinates come last, and are the weights less a constant: theirs is the Dirichlet's covariance.
        total = self.group_concentration * count
        covariance[size - count : size, size - count : size] += (np.diag(weights) - np.outer(weights, weights)) / (
            total + 1
        )
        covariance[size:, size:] = np.diag(np.square(self.residual_sd))
        mean = np.concatenate([mean, np.zeros(self.residual_sd.size)])
        return Belief(mean.astype(np.float32), covariance.astype(np.float32))

    def draw(self, attributes: AttributeBelief, rng: np.random.Generator, group: int | None = None) -> FloatArray:
        """One face embedding, (K,), drawn from the mixture whose moments `belief` states."""
        ages, share = attributes.adult_ages()
        age = rng.choice(ages, p=share / share.sum())
        femininity = float(rng.uniform() < attributes.femininity)
        weights = self._groups(group)
        # A tiny weight keeps the Dirichlet defined for a group that the reference population leaves out.
        groups = rng.dirichlet(self.group_concentration * weights.size * np.maximum(weights, 1e-6))
        design = self.basis.design(age, femininity, groups)
        residual = rng.standard_normal(self.residual_sd.size) * self.residual_sd
        return np.concatenate([design, residual]).astype(np.float32)


# --------------------------------------------------------------------------------------------------
# How far face embeddings lie from what a voice encoder says of them, along principal axes (Hotelling 1933).
# --------------------------------------------------------------------------------------------------

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
