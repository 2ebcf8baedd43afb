"""Feature similarity and retrieval, worked out by hand, and what trivial baselines earn."""

import numpy as np
import pytest

from speech2face.metrics.matching import angle_degrees, explained_variance, own_ranks, recall
from speech2face.metrics.measures import embedding_numbers

GALLERY = np.array([[1, 0], [0, 1], [-1, 0]], np.float32)


def test_angles_by_hand() -> None:
    predicted = np.array([[2, 2], [0, 3], [0, 1]], np.float32)
    assert angle_degrees(predicted, GALLERY) == pytest.approx([45, 0, 90])


def test_explained_variance_of_the_mean_is_nothing() -> None:
    assert explained_variance(GALLERY, GALLERY) == 1
    assert explained_variance(np.tile(GALLERY.mean(0), (3, 1)), GALLERY) == pytest.approx(0)
    assert explained_variance(-GALLERY, GALLERY) < 0


def test_ranks_of_three_people_by_hand() -> None:
    # The first probe is nearest its own face; the second nearer the first face; the third farthest from its own.
    probes = np.array([[1, 0.1], [1, 0.9], [1, 0.1]], np.float32)
    rank = own_ranks(probes, GALLERY)
    assert rank.tolist() == [1, 2, 3]
    assert recall(rank, 1).mean() == pytest.approx(1 / 3)
    assert recall(rank, 2).mean() == pytest.approx(2 / 3)


def test_ties_count_against_us_so_that_one_answer_for_all_finds_nobody() -> None:
    gallery = np.tile(np.array([[1, 2, 3]], np.float32), (20, 1))
    assert (own_ranks(gallery, gallery) == 20).all()


def test_a_constant_prediction_earns_chance_at_best() -> None:
    rng = np.random.default_rng(0)
    reference = rng.standard_normal((200, 16)).astype(np.float32)
    numbers = embedding_numbers(np.tile(reference.mean(0), (200, 1)), reference)
    assert numbers["r2"] == pytest.approx(0, abs=1e-6)
    assert numbers["recall_at_10_chance"] == pytest.approx(0.05)
    assert numbers["recall_at_10"] <= 0.06
    assert numbers["angle_degrees"] == pytest.approx(numbers["angle_degrees_of_mean_face"], abs=1e-4)
    assert numbers["median_rank_share"] == pytest.approx(0.5, abs=0.01)
