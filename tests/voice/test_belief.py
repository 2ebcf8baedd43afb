import numpy as np
import pytest

from speech2face.face.appearance import AttributeBasis
from speech2face.voice.belief import BIN_CENTRES, BIN_EDGES, AttributeBelief, Calibration, FacePopulation


def population() -> FacePopulation:
    return FacePopulation(AttributeBasis(), np.array([0.5, 0.25], np.float32), np.full(4, 0.25, np.float32))


def certain(age: float) -> np.ndarray:
    return np.asarray(np.abs(BIN_CENTRES - age) == np.abs(BIN_CENTRES - age).min(), float)


def test_the_interval_of_even_ages_is_their_middle_four_fifths() -> None:
    even = np.zeros(BIN_CENTRES.size)
    even[3:7] = 0.25  # 20 to 40
    assert AttributeBelief(even, 0.5).age_interval(0.8) == pytest.approx((22.0, 38.0))
    assert AttributeBelief(even, 0.5).age_mean == pytest.approx(30.0)


def test_a_higher_temperature_widens_the_interval_and_longer_speech_narrows_it() -> None:
    logits = -0.5 * ((BIN_CENTRES - 40) / 8) ** 2
    widths = []
    for temperature, seconds in ((1.0, 3.0), (2.0, 3.0), (2.0, 10.0), (2.0, 60.0)):
        calibration = Calibration(age_temperature=temperature, age_temperature_slope=0.3)
        low, high = AttributeBelief(calibration.age_probabilities(logits, seconds), 0.5).age_interval()
        widths.append(high - low)
    assert widths[1] > widths[0]
    assert widths[1] > widths[2] == widths[3]  # beyond what was measured nothing is promised


def test_calibration_survives_json() -> None:
    calibration = Calibration(age_temperature=1.3, age_prior=tuple(range(BIN_EDGES.size - 1)))
    assert Calibration.from_dict(calibration.to_dict()) == calibration


def test_belief_states_the_moments_of_its_draws() -> None:
    ages = np.zeros(BIN_CENTRES.size)
    ages[[4, 9]] = 0.7, 0.3
    attributes = AttributeBelief(ages, 0.8)
    belief = population().belief(attributes)
    rng = np.random.default_rng(0)
    draws = np.stack([population().draw(attributes, rng) for _ in range(4000)])
    spread = np.sqrt(np.diag(belief.covariance))
    np.testing.assert_allclose(draws.mean(0), belief.mean, atol=0.06 * spread.max())
    np.testing.assert_allclose(np.cov(draws.T), belief.covariance, atol=0.1 * spread.max() ** 2)


def test_a_child_gets_the_youngest_adults_face() -> None:
    child = population().belief(AttributeBelief(certain(7.5), 0.5))
    adult = population().belief(AttributeBelief(certain(7.5), 0.5, given_age=18.0))
    np.testing.assert_allclose(child.mean, adult.mean, atol=1e-6)


def test_given_attributes_leave_no_spread_but_group_and_residuals() -> None:
    belief = population().belief(AttributeBelief(np.full(18, 1 / 18), 1.0, given_age=40.0), group=2)
    size = AttributeBasis().size
    np.testing.assert_allclose(belief.covariance[:size, :size], 0, atol=1e-6)
    np.testing.assert_allclose(np.diag(belief.covariance)[size:], [0.25, 0.0625], rtol=1e-5)
    np.testing.assert_allclose(belief.mean, population().embedding(40.0, 1.0, np.eye(4)[2]), atol=1e-6)


def test_the_same_seed_draws_the_same_face() -> None:
    attributes = AttributeBelief(np.full(18, 1 / 18), 0.5)
    first, second = (population().draw(attributes, np.random.default_rng(7)) for _ in range(2))
    np.testing.assert_array_equal(first, second)
    assert not np.array_equal(first, population().draw(attributes, np.random.default_rng(8)))
