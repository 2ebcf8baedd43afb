import numpy as np
import pytest

pytest.importorskip("torch", reason="the encoder is torch; install the extra `train`")

from recipes.starter.child import balanced_weights, logistic


def test_children_weigh_as_much_as_all_adults_and_both_kinds_of_adults_alike() -> None:
    child = np.array([True] * 2 + [False] * 8)
    at_home = np.array([True] * 4 + [False] * 6)
    weights = balanced_weights(child, at_home)
    assert weights.sum() == pytest.approx(10)
    assert weights[child].sum() == pytest.approx(5)
    assert weights[~child & at_home].sum() == pytest.approx(2.5)


def test_logistic_regression_finds_the_planted_boundary_on_raw_columns() -> None:
    rng = np.random.default_rng(0)
    statistics = rng.standard_normal((4000, 3)) * np.array([1.0, 20.0, 0.1]) + np.array([5.0, -30.0, 2.0])
    logit = 2.0 * (statistics[:, 0] - 5.0) - 0.1 * (statistics[:, 1] + 30.0) + 0.5
    child = rng.uniform(size=4000) < 1 / (1 + np.exp(-logit))
    slope, bias = logistic(statistics, child, np.ones(4000), penalty=1e-3)
    np.testing.assert_allclose(slope[:2], [2.0, -0.1], rtol=0.12)
    assert slope @ np.array([5.0, -30.0, 2.0]) + bias == pytest.approx(0.5, abs=0.2)


def test_a_heavy_penalty_leaves_only_the_bias() -> None:
    rng = np.random.default_rng(1)
    slope, _ = logistic(rng.standard_normal((100, 4)), rng.uniform(size=100) < 0.5, np.ones(100), penalty=1e7)
    assert np.abs(slope).max() < 1e-3
