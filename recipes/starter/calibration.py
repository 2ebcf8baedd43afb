"""Fits how the voice encoder's logits become stated probabilities, on speakers kept out of training and validation."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy.optimize import minimize

from recipes.starter.batches import interval_masses
from recipes.starter.readings import Readings
from speech2face.evaluation.clips import Speaker
from speech2face.metrics.attributes import balanced_accuracy, coverage
from speech2face.voice.belief import AttributeBelief, Calibration, sigmoid

INTERVAL_MASS = 0.8
ENOUGH_SECONDS = 2.9  # three, less the window's edges
LARGEST_ERROR_YEARS = 9.0  # the release's aim for the mean absolute error over adults
PRIOR_SMOOTHING = 5.0  # speakers added to every bin: no age is impossible because the corpus has nobody of it


@dataclass(frozen=True)
class Heard:
    """Readings of the calibration speakers at one channel and duration."""

    readings: Readings
    speakers: Sequence[Speaker]


def log_prior(speakers: Sequence[Speaker]) -> np.ndarray:
    """Logarithm of the corpus's share of each age bin, by the speakers' own word, (bins,)."""
    masses = interval_masses([s for s in speakers if s.age is not None and not s.age_is_impression])
    counts = (masses / masses.sum(1, keepdims=True)).sum(0) + PRIOR_SMOOTHING
    return np.asarray(np.log(counts / counts.sum()))


def beliefs(readings: Readings, calibration: Calibration) -> list[AttributeBelief]:
    """The stated belief of every speaker."""
    return [
        AttributeBelief(
            calibration.age_probabilities(readings.age_logits[row], float(readings.seconds[row])),
            calibration.femininity(float(readings.gender_logit[row])),
            child_probability=sigmoid(float(readings.child_logit[row])),
        )
        for row in range(len(readings.seconds))
    ]


def interval_coverage(
    readings: Readings, speakers: Sequence[Speaker], calibration: Calibration
) -> tuple[np.ndarray, ...]:
    """Stated intervals and the reference ages as intervals, four columns (adults,), for `coverage`."""
    stated = beliefs(readings, calibration)
    rows = [row for row, s in enumerate(speakers) if s.is_adult]
    low_high = np.array([stated[row].age_interval(INTERVAL_MASS) for row in rows])
    reference = np.array([speakers[row].age for row in rows], np.float64)
    return low_high[:, 0], low_high[:, 1], reference[:, 0], reference[:, 1]


def _age_loss(parameters: np.ndarray, heard: Sequence[Heard]) -> float:
    log_temperature, slope = parameters
    calibration = Calibration(age_temperature=float(np.exp(log_temperature)), age_temperature_slope=float(slope))
    total, count = 0.0, 0
    for part in heard:
        known = [row for row, s in enumerate(part.speakers) if s.age is not None and not s.age_is_impression]
        masses = interval_masses([part.speakers[row] for row in known])
        for mass, row in zip(masses, known, strict=True):
            stated = calibration.age_probabilities(part.readings.age_logits[row], float(part.readings.seconds[row]))
            total -= float(np.log(stated @ mass + 1e-9))
            count += 1
    return total / count + 0.01 * float(slope**2 + log_temperature**2)


def _age_error(calibration: Calibration, heard: Sequence[Heard]) -> float:
    """Mean absolute error over adults with enough speech, in years."""
    errors = [
        abs(belief.age_mean - speaker.age_years)
        for part in heard
        for belief, speaker, seconds in zip(
            beliefs(part.readings, calibration), part.speakers, part.readings.seconds, strict=True
        )
        if speaker.is_adult and seconds >= ENOUGH_SECONDS
    ]
    return float(np.mean(errors)) if errors else float("inf")


def _flatten_prior(calibration: Calibration, heard: Sequence[Heard], prior: np.ndarray) -> Calibration:
    """Divide out as much of the corpus's age prior as the mean error allows, the interval holding its share throughout.

    With all of the prior left in, everybody is stated about thirty, since half of the corpus is in its twenties; with
    none, the rare old voices are stated best and the many young ones badly.
    """
    chosen = _fit_coverage(calibration, heard)
    for share in np.arange(0.05, 1.01, 0.05):
        flatter = _fit_coverage(replace(calibration, age_prior=tuple(float(v) for v in -share * prior)), heard)
        if _age_error(flatter, heard) > LARGEST_ERROR_YEARS:
            break
        chosen = flatter
    return chosen


def _cover(calibration: Calibration, heard: Sequence[Heard]) -> float:
    return float(np.mean([coverage(*interval_coverage(part.readings, part.speakers, calibration)) for part in heard]))


def _fit_coverage(calibration: Calibration, heard: Sequence[Heard]) -> Calibration:
    """Scale the temperature until the stated interval holds its share of the calibration speakers."""
    low, high = 0.3, 3.0
    for _ in range(20):
        factor = np.sqrt(low * high)
        wider = replace(calibration, age_temperature=calibration.age_temperature * factor)
        low, high = (factor, high) if _cover(wider, heard) < INTERVAL_MASS else (low, factor)
    return replace(calibration, age_temperature=float(calibration.age_temperature * np.sqrt(low * high)))


def _fit_gender(heard: Sequence[Heard]) -> tuple[float, float]:
    """Temperature and bias by logistic regression with both genders weighing the same."""
    logits, female = [], []
    for part in heard:
        for row, s in enumerate(part.speakers):
            if s.gender is not None and not s.is_child:
                logits.append(part.readings.gender_logit[row])
                female.append(s.gender == "female")
    logit, label = np.array(logits), np.array(female)
    weight = np.where(label, 0.5 / label.sum(), 0.5 / (~label).sum())

    def loss(parameters: np.ndarray) -> float:
        adjusted = (logit + parameters[0]) / np.exp(parameters[1])
        return float(
            np.sum(weight * np.logaddexp(0, np.where(label, -adjusted, adjusted))) + 0.01 * np.sum(parameters**2)
        )

    bias, log_temperature = minimize(loss, np.zeros(2), method="Nelder-Mead").x
    return float(np.exp(log_temperature)), float(bias)


def _fit_child(calibration: Calibration, heard: Sequence[Heard]) -> float:
    """The highest threshold within a hundredth of the best balanced accuracy: it cautions the fewest adults."""
    probability, child = [], []
    for part in heard:
        stated = beliefs(part.readings, calibration)
        for row, s in enumerate(part.speakers):
            if s.is_child or s.is_adult:
                probability.append(stated[row].child_probability)
                child.append(s.is_child)
    if not any(child) or all(child):
        return calibration.child_threshold
    thresholds = np.linspace(0.05, 0.95, 91)
    values = [balanced_accuracy(np.array(probability) > t, np.array(child)) for t in thresholds]
    return float(thresholds[np.array(values) >= max(values) - 0.01].max())


def fit(heard: Sequence[Heard], training_speakers: Sequence[Speaker]) -> Calibration:
    """Calibrate on readings of the calibration speakers at several channels and durations."""
    log_temperature, slope = minimize(_age_loss, np.zeros(2), args=(heard,), method="Nelder-Mead").x
    gender_temperature, gender_bias = _fit_gender(heard)
    calibration = Calibration(
        age_temperature=float(np.exp(log_temperature)),
        age_temperature_slope=float(slope),
        gender_temperature=gender_temperature,
        gender_bias=gender_bias,
    )
    prior = log_prior(training_speakers)
    assert len(calibration.age_prior) == prior.size
    calibration = _flatten_prior(calibration, heard, prior)
    return replace(calibration, child_threshold=_fit_child(calibration, heard))
