import numpy as np
import pytest

pytest.importorskip("scipy", reason="evaluation needs scipy; install the extra `train`")

from speech2face.metrics.intervals import bootstrap
from speech2face.metrics.measures import balanced_accuracy, coverage, mean_absolute_error, spearman


def test_balanced_accuracy_of_three_right_of_four_and_one_of_two_is_five_eighths() -> None:
    reference = np.array([True, True, True, True, False, False])
    predicted = np.array([True, True, True, False, False, True])
    assert balanced_accuracy(predicted, reference) == pytest.approx((3 / 4 + 1 / 2) / 2)


def test_a_constant_answer_earns_chance() -> None:
    reference = np.array([True] * 90 + [False] * 10)
    assert balanced_accuracy(np.ones(100, bool), reference) == 0.5
    assert spearman(np.full(100, 30.0), np.arange(100.0)) == 0.0


def test_one_class_alone_has_no_balanced_accuracy() -> None:
    assert np.isnan(balanced_accuracy(np.ones(3, bool), np.ones(3, bool)))


def test_spearman_of_one_swap_in_three_is_a_half() -> None:
    # 1 - 6 * (0 + 1 + 1) / (3 * 8)
    assert spearman(np.array([1.0, 3.0, 2.0]), np.array([10.0, 20.0, 30.0])) == pytest.approx(0.5)


def test_mean_absolute_error_by_hand() -> None:
    assert mean_absolute_error(np.array([20.0, 30.0]), np.array([25.0, 20.0])) == 7.5


def test_a_decade_counts_by_the_share_of_it_inside() -> None:
    low, high = np.array([20.0, 25.0, 50.0]), np.array([40.0, 40.0, 60.0])
    decades = np.array([20.0, 20.0, 20.0])
    assert coverage(low, high, decades, decades + 10) == pytest.approx((1 + 0.5 + 0) / 3)


def test_a_bootstrap_interval_holds_the_mean_of_normal_numbers_and_narrows_with_n() -> None:
    rng = np.random.default_rng(0)
    few, many = (bootstrap(lambda x: float(x.mean()), rng.standard_normal(n)) for n in (50, 5000))
    assert few.low < 0 < few.high
    assert (many.high - many.low) < (few.high - few.low) / 5
    assert (few.n, many.n) == (50, 5000)


def test_nobody_gives_no_number() -> None:
    empty = bootstrap(lambda x: float(x.mean()), np.zeros(0))
    assert np.isnan(empty.value)
    assert empty.n == 0
