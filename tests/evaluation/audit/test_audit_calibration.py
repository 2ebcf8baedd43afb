"""Calibration errors, coverage and PIT by hand, and what true and false statements earn."""

import numpy as np
import pytest

from speech2face.evaluation.groups import (
    brier,
    calibration_error,
    calibration_floor,
    gender_calibration,
    interval_masses,
    pit_distance,
    pit_histogram,
    reliability,
)
from speech2face.voice.belief import BIN_CENTRES, BIN_EDGES, AttributeBelief


def test_the_calibration_error_of_two_bins_by_hand() -> None:
    # Ten bins of one clip each, so that each bin's error is its own clip's.
    stated = np.array([0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0])
    happened = np.array([0, 0, 0, 0, 1, 1, 1, 1, 1, 1.0])
    assert calibration_error(stated, happened) == pytest.approx(
        (0.1 + 0.2 + 0.3 + 0.4 + 0.5 + 0.4 + 0.3 + 0.2 + 0.1) / 10
    )


def test_a_bin_weighs_errors_of_both_signs_against_each_other() -> None:
    stated, happened = np.full(100, 0.5), np.tile([0.0, 1.0], 50)
    assert calibration_error(stated, happened) == pytest.approx(0)
    assert len(reliability(stated, happened)) == 10


def test_stating_the_base_rate_is_calibrated_and_its_brier_says_nothing() -> None:
    happened = np.tile([0.0, 0.0, 0.0, 1.0], 250)
    stated = np.full(1000, 0.25)
    assert calibration_error(stated, happened) < 0.02
    assert float(brier(stated, happened).mean()) == pytest.approx(0.25 * 0.75)


def test_true_statements_reach_the_floor_and_bold_ones_do_not() -> None:
    rng = np.random.default_rng(0)
    stated = rng.uniform(size=800)
    happened = np.where(rng.uniform(size=800) < stated, 1.0, 0.0)
    floor = calibration_floor(stated)
    assert 0.01 < floor < 0.06
    assert calibration_error(stated, happened) < 2 * floor
    bold = np.asarray(np.clip(0.5 + 2 * (stated - 0.5), 0, 1), np.float64)
    assert calibration_error(bold, happened) > 2 * floor


def test_weights_stand_for_clips_that_were_drawn_again() -> None:
    stated, happened = np.array([0.2, 0.9]), np.array([1.0, 1.0])
    twice = calibration_error(np.repeat(stated, [2, 1]), np.repeat(happened, [2, 1]))
    assert calibration_error(stated, happened, np.array([2.0, 1.0])) == pytest.approx(twice)


def test_unknown_genders_and_refused_clips_are_left_out() -> None:
    stated = np.array([0.9, np.nan, 0.2, 0.8])
    female = np.array([1.0, 1.0, np.nan, 0.0])
    found = gender_calibration(stated, female, np.arange(4))
    assert found.brier.n == 2
    assert found.brier.value == pytest.approx((0.01 + 0.64) / 2)
    assert found.brier_of_base_rate == pytest.approx(0.25)


def certain(age_bin: int) -> AttributeBelief:
    return AttributeBelief(np.eye(len(BIN_CENTRES))[age_bin], 0.5)


def test_an_age_in_the_middle_of_a_certain_bin_is_the_median() -> None:
    edge = float(BIN_EDGES[4])
    low, high = interval_masses([(edge + 2.0, edge + 3.0)], [certain(4)])
    assert low[0] == pytest.approx(0.4)
    assert high[0] == pytest.approx(0.6)


def test_a_belief_spread_over_all_bins_is_read_off_in_shares() -> None:
    flat = AttributeBelief(np.full(len(BIN_CENTRES), 2.0), 0.5)  # sums to more than one: shares of the whole count
    start, stop = float(BIN_EDGES[0]), float(BIN_EDGES[-1])
    quarter = start + (stop - start) / 4
    low, high = interval_masses([(quarter, 2 * quarter - start)], [flat])
    np.testing.assert_allclose([low[0], high[0]], [0.25, 0.5])


def test_a_flat_histogram_is_right_and_a_piled_one_is_not() -> None:
    low, high = np.arange(10) / 10, (np.arange(10) + 1) / 10
    np.testing.assert_allclose(pit_histogram(low, high), np.full(10, 0.1))
    assert pit_distance(low, high) == pytest.approx(0)
    assert pit_distance(np.full(10, 0.91), np.full(10, 0.95)) == pytest.approx(0.9)


def test_a_decade_is_shared_among_the_tenths_it_spans() -> None:
    shares = pit_histogram(np.array([0.05]), np.array([0.25]))
    np.testing.assert_allclose(shares[:4], [0.25, 0.5, 0.25, 0])


def test_an_age_beyond_the_last_bin_counts_in_the_last_tenth() -> None:
    low, high = interval_masses([(99.0, 100.0)], [certain(2)])
    np.testing.assert_allclose(pit_histogram(low, high), np.eye(10)[9])
