import numpy as np
import pytest

from speech2face.voice.belief import Spread, SpreadBelief


def embeddings(clips: int, size: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Predictions that err along two directions, and the targets."""
    rng = np.random.default_rng(seed)
    axes = np.linalg.qr(rng.standard_normal((size, 2)))[0].T
    errors = rng.standard_normal((clips, 2)) * [3.0, 0.5] @ axes
    predicted = rng.standard_normal((clips, size))
    return predicted.astype(np.float32), (predicted + errors).astype(np.float32)


def test_errors_along_one_coordinate_by_hand() -> None:
    target = np.array([[2, 0, 0], [-2, 0, 0], [2, 0, 0], [-2, 0, 0]], np.float32)
    spread = Spread.fit(np.zeros_like(target), target)
    np.testing.assert_allclose(spread.deviations, [2.0])
    np.testing.assert_allclose(np.abs(spread.axes), [[1, 0, 0]], atol=1e-6)
    np.testing.assert_allclose(spread.covariance, np.diag([4.0, 0, 0]), atol=1e-5)
    assert spread.share == pytest.approx(1)


def test_a_bias_of_the_encoder_counts_as_spread() -> None:
    predicted = np.zeros((20, 4), np.float32)
    spread = Spread.fit(predicted, predicted + np.array([1, 0, 0, 0], np.float32))
    np.testing.assert_allclose(spread.covariance, np.diag([1.0, 0, 0, 0]), atol=1e-6)


@pytest.mark.parametrize(("clips", "size"), [(300, 8), (9, 200)])  # more clips than numbers, and fewer
def test_the_axes_hold_the_second_moment_of_the_errors(clips: int, size: int) -> None:
    predicted, target = embeddings(clips, size)
    spread = Spread.fit(predicted, target)
    errors = (target - predicted).astype(np.float64)
    np.testing.assert_allclose(spread.covariance, errors.T @ errors / clips, atol=2e-3)
    np.testing.assert_allclose(spread.axes @ spread.axes.T, np.eye(len(spread.axes)), atol=2e-3)
    assert spread.deviations[0] > 4 * spread.deviations[1]


def test_fewer_axes_hold_less_of_the_errors_and_say_so() -> None:
    predicted, target = embeddings(400, 16)
    whole, first = Spread.fit(predicted, target), Spread.fit(predicted, target, most_axes=1)
    assert first.axes.shape == (1, 16)
    expected = first.deviations[0] ** 2 / np.square(target - predicted).sum(axis=1).mean()
    assert first.share == pytest.approx(expected, rel=1e-3)
    assert first.share < whole.share <= 1


def test_draws_have_the_belief_s_mean_and_covariance_and_follow_the_seed() -> None:
    predicted, target = embeddings(400, 6)
    belief = SpreadBelief(np.arange(6, dtype=np.float32), Spread.fit(predicted, target))
    draws = np.stack([belief.draw(np.random.default_rng(seed)) for seed in range(4000)])
    np.testing.assert_allclose(draws.mean(0), belief.mean, atol=0.2)
    np.testing.assert_allclose(np.cov(draws.T), belief.covariance, atol=0.4)
    np.testing.assert_array_equal(draws[7], belief.draw(np.random.default_rng(7)))


def test_a_spread_comes_back_from_a_file_of_arrays() -> None:
    spread = Spread.fit(*embeddings(50, 6))
    again = Spread.from_arrays(spread.to_arrays())
    np.testing.assert_allclose(again.covariance, spread.covariance, atol=2e-2)
    with pytest.raises(ValueError, match="deviations"):
        Spread.from_arrays(spread.to_arrays() | {"deviations": np.ones(1, np.float32)})
