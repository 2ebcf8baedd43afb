"""Fits how the heads' readings become stated beliefs, on speakers kept out of training and validation."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from scipy.optimize import minimize

from recipes.starter.readings import Readings
from speech2face.evaluation.clips import Speaker
from speech2face.metrics.measures import balanced_accuracy, coverage
from speech2face.voice.belief import AGE_INTERVAL_MASS, BIN_EDGES, AttributeBelief, Calibration, sigmoid

EXACT_SPREAD_YEARS = 2  # an exact age is taken as itself and two years on both sides


def beliefs(readings: Readings, calibration: Calibration) -> list[AttributeBelief]:
    """The stated belief of every speaker."""
    return [
        AttributeBelief(
            calibration.age_probabilities(logits, float(seconds), float(distance)),
            calibration.femininity(float(gender)),
            child_probability=sigmoid(float(child)),
        )
        for logits, seconds, distance, gender, child in zip(
            readings.age_logits,
            readings.seconds,
            readings.distance,
            readings.gender_logit,
            readings.child_logit,
            strict=True,
        )
    ]


def interval_masses(speakers: Sequence[Speaker]) -> np.ndarray:
    """Share of each bin that lies in a speaker's age interval, (speakers, bins)."""
    ages = np.array([speaker.age for speaker in speakers], np.float64)
    exact = ages[:, 1] - ages[:, 0] == 1
    ages[exact] += [-EXACT_SPREAD_YEARS, EXACT_SPREAD_YEARS]
    overlap = np.minimum(ages[:, 1:], BIN_EDGES[1:]) - np.maximum(ages[:, :1], BIN_EDGES[:-1])
    return np.asarray(np.clip(overlap, 0, None) / np.diff(BIN_EDGES))


def interval_coverage(
    readings: Readings, people: Sequence[Speaker], calibration: Calibration
) -> tuple[np.ndarray, ...]:
    """Stated intervals and the reference ages of adults as intervals, four columns (adults,), for `coverage`.

    `people` are those who were read, in the same order.
    """
    kept = np.array([speaker.is_adult for speaker in people])
    stated = beliefs(readings.where(kept), calibration)
    intervals = np.array([belief.age_interval(AGE_INTERVAL_MASS) for belief in stated]).reshape(-1, 2)
    reference = np.array([speaker.age for speaker in people if speaker.is_adult], np.float64).reshape(-1, 2)
    return intervals[:, 0], intervals[:, 1], reference[:, 0], reference[:, 1]


def _covered(channels: Sequence[Sequence[Readings]], speakers: Sequence[Speaker], calibration: Calibration) -> float:
    """Share of adults whose age is within the stated interval: the middle between best and worst channel."""
    each = []
    for channel in channels:
        held = [interval_coverage(part, [speakers[row] for row in part.speaker], calibration) for part in channel]
        each.append(float(np.mean([coverage(*columns) for columns in held])))
    return (min(each) + max(each)) / 2


def _fit_temperature(
    channels: Sequence[Sequence[Readings]], speakers: Sequence[Speaker], given: Calibration
) -> Calibration:
    """Spread by likelihood and its fall with the seconds heard, then scaled until the interval holds its share."""
    readings = [part for channel in channels for part in channel]
    adults = [part.where(np.array([speakers[row].is_adult for row in part.speaker])) for part in readings]
    masses = [interval_masses([speakers[row] for row in part.speaker]) for part in adults]

    def loss(parameters: np.ndarray) -> float:
        tried = replace(given, age_temperature=float(np.exp(parameters[0])), age_temperature_slope=float(parameters[1]))
        likelihood = [
            np.log(tried.age_probabilities(logits, float(seconds), float(distance)) @ mass + 1e-9)
            for part, mass_of in zip(adults, masses, strict=True)
            for logits, seconds, distance, mass in zip(
                part.age_logits, part.seconds, part.distance, mass_of, strict=True
            )
        ]
        return -float(np.mean(likelihood)) + 0.01 * float(np.square(parameters).sum())

    log_temperature, slope = minimize(loss, np.zeros(2), method="Nelder-Mead", options={"maxiter": 60}).x
    fitted = replace(given, age_temperature=float(np.exp(log_temperature)), age_temperature_slope=float(slope))
    low, high = 0.3, 3.0
    for _ in range(14):
        factor = float(np.sqrt(low * high))
        wider = replace(fitted, age_temperature=fitted.age_temperature * factor)
        low, high = (factor, high) if _covered(channels, speakers, wider) < AGE_INTERVAL_MASS else (low, factor)
    return replace(fitted, age_temperature=fitted.age_temperature * float(np.sqrt(low * high)))


def _fit_gender(readings: Sequence[Readings], speakers: Sequence[Speaker]) -> tuple[float, float]:
    """Temperature and bias by logistic regression, both genders weighing the same in every channel and duration."""
    logits, signs, weights = [], [], []
    for part in readings:
        kept = [place for place, row in enumerate(part.speaker) if _told_gender(speakers[row])]
        female = np.array([speakers[part.speaker[place]].gender == "female" for place in kept])
        logits.append(part.gender_logit[kept])
        signs.append(np.where(female, 1.0, -1.0))
        weights.append(np.where(female, 0.5 / max(female.sum(), 1), 0.5 / max((~female).sum(), 1)))
    logit, sign, weight = (np.concatenate(column) for column in (logits, signs, weights))

    def loss(parameters: np.ndarray) -> float:
        margin = sign * (logit + parameters[0]) / np.exp(parameters[1])
        return float(weight @ np.logaddexp(0, -margin) / weight.sum()) + 0.001 * float(np.square(parameters).sum())

    bias, log_temperature = minimize(loss, np.zeros(2), method="Nelder-Mead").x
    return float(np.exp(log_temperature)), float(bias)


def _told_gender(speaker: Speaker) -> bool:
    return speaker.gender is not None and not speaker.is_child


def _fit_child(readings: Sequence[Readings], speakers: Sequence[Speaker]) -> float:
    """The middle of the thresholds within a hundredth of the best balanced accuracy: an end of them is luck."""
    probability, child = [], []
    for part in readings:
        for row, logit in zip(part.speaker, part.child_logit, strict=True):
            if speakers[row].is_child or speakers[row].is_adult:
                probability.append(sigmoid(float(logit)))
                child.append(speakers[row].is_child)
    thresholds = np.linspace(0.05, 0.95, 91)
    values = [balanced_accuracy(np.array(probability) > t, np.array(child)) for t in thresholds]
    return float(np.median(thresholds[np.array(values) >= max(values) - 0.01]))


def fit(channels: Sequence[Sequence[Readings]], speakers: Sequence[Speaker], given: Calibration) -> Calibration:
    """Calibrate on the calibration speakers: readings at several durations of each of several channels.

    `given` says how distance counts.
    """
    readings = [part for channel in channels for part in channel]
    gender_temperature, gender_bias = _fit_gender(readings, speakers)
    calibration = replace(
        given,
        gender_temperature=gender_temperature,
        gender_bias=gender_bias,
        child_threshold=_fit_child(readings, speakers),
    )
    return _fit_temperature(channels, speakers, calibration)
