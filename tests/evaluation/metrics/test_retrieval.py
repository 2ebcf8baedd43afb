"""Ranks and average precision: by hand, by brute force, against scikit-learn; ties, duplicates, chance levels."""

from itertools import permutations

import numpy as np
import pytest
from scipy.spatial.distance import cdist
from sklearn.metrics import average_precision_score

from speech2face.evaluation.parts.retrieval import measure_retrieval
from speech2face.metrics.matching import (
    DISTANCES,
    Distance,
    average_precision_chance,
    manhattan,
    percent_places,
    rank_answers,
    rank_gallery,
    recall,
    speaker_recall_chance,
)
from tests.evaluation.planted_sets import oracle

RNG = np.random.default_rng(0)
SPEAKER = np.arange(60) // 3
FACES = RNG.standard_normal((60, 12)).astype(np.float32)
GUESSES = (FACES + 1.5 * RNG.standard_normal(FACES.shape)).astype(np.float32)
OWN = np.arange(60)
PRINTED_RANKS = (
    "2 6 11 11 14 17 23 26 44 48 65 93 98 108 109 121 130 137 138 140 140 140 166 166 166 194 200 202 215 "
    "234 238 257 271 274 283 283 313 324 324 361 364 382 395 421 444 447 504 511 527 541 559 566 584 590 "
    "611 639 658 660 708 730 741 782 847 873 881 952 1017 1025 1074 1133 1192 1212 1213 1219 1234 1249 1373 "
    "1506 1511 1666 1702 1726 1821 1846 1872 2012 2116 2123 2302 2383 2404 2496 2513 2725 2898 2903 3323 "
    "3781 4438 4849"
)
"""Supplementary material of the paper: actual ranks of 100 queries among 5,000 faces."""
SCIPY = {"cosine": "cosine", "l2": "euclidean", "l1": "cityblock"}


def test_three_people_by_hand() -> None:
    # Probe 0 is nearest to its own face, probe 1 second nearest, probe 2 farthest.
    gallery = np.array([[0.0], [10.0], [20.0]])
    probes = np.array([[1.0], [4.0], [2.0]])
    found = rank_gallery(probes, gallery, np.arange(3), np.arange(3), "l1")
    assert found.rank.tolist() == [1, 2, 3]
    assert recall(found.rank, 1).mean() == pytest.approx(1 / 3)
    assert recall(found.rank, 2).mean() == pytest.approx(2 / 3)
    assert found.average_precision.tolist() == pytest.approx([1, 1 / 2, 1 / 3])


def test_another_face_of_the_speaker_counts_for_the_speaker_but_not_for_the_clip() -> None:
    gallery = np.array([[0.0], [3.0], [1.0], [9.0]])  # faces of A, A, B, C
    found = rank_gallery(np.array([[2.9]]), gallery, np.array([0]), np.array([0, 0, 1, 2]), "l1")
    assert found.rank.tolist() == [3]  # behind A's other face and B's
    assert found.speaker_rank.tolist() == [1]
    assert found.average_precision.tolist() == pytest.approx([(1 / 1 + 2 / 3) / 2])
    assert found.own_faces.tolist() == [2]


@pytest.mark.parametrize("distance", DISTANCES)
def test_ranks_agree_with_brute_force(distance: Distance) -> None:
    far = cdist(GUESSES.astype(np.float64), FACES.astype(np.float64), SCIPY[distance])
    found = rank_gallery(GUESSES, FACES, OWN, SPEAKER, distance)
    assert found.rank.tolist() == [int((line <= line[row]).sum()) for row, line in enumerate(far)]
    of_speaker = [line[SPEAKER[row] == SPEAKER].min() for row, line in enumerate(far)]
    others = [int((line[SPEAKER[row] != SPEAKER] <= of_speaker[row]).sum()) for row, line in enumerate(far)]
    assert found.speaker_rank.tolist() == [1 + count for count in others]
    expected = [average_precision_score(SPEAKER[row] == SPEAKER, -line) for row, line in enumerate(far)]
    np.testing.assert_allclose(found.average_precision, expected, atol=1e-12)


@pytest.mark.parametrize("distance", DISTANCES)
def test_ties_count_against_us_and_a_constant_earns_chance(distance: Distance) -> None:
    same = np.ones((20, 5), np.float32)
    assert set(rank_gallery(same, same, np.arange(20), np.arange(20), distance).rank.tolist()) == {20}
    constant = np.broadcast_to(FACES.mean(0), FACES.shape)
    found = rank_gallery(constant, FACES, OWN, np.arange(60), distance)
    assert sorted(found.rank.tolist()) == list(range(1, 61))  # every place once: recall@k is k / N exactly


@pytest.mark.parametrize("distance", DISTANCES)
def test_the_same_face_twice_in_the_gallery_is_a_tie_whatever_the_rounding(distance: Distance) -> None:
    faces = np.concatenate([FACES, FACES])
    found = rank_gallery(GUESSES, faces, OWN, np.arange(120), distance)
    once = rank_gallery(GUESSES, FACES, OWN, np.arange(60), distance)
    np.testing.assert_array_equal(found.rank, 2 * once.rank)


def test_few_answers_are_ranked_as_if_each_probe_gave_its_own() -> None:
    which = RNG.integers(2, size=60)
    few = rank_answers(GUESSES[:2], which, FACES, OWN, SPEAKER, "l2")
    each = rank_gallery(GUESSES[:2][which], FACES, OWN, SPEAKER, "l2")
    np.testing.assert_array_equal(few.rank, each.rank)
    np.testing.assert_allclose(few.average_precision, each.average_precision)


def test_sums_of_differences_agree_with_scipy_beyond_one_block() -> None:
    faces, guesses = RNG.standard_normal((150, 1000)), RNG.standard_normal((7, 1000))
    np.testing.assert_allclose(manhattan(guesses, faces), cdist(guesses, faces, "cityblock"), rtol=1e-6)


def test_chance_of_average_precision_is_the_mean_over_all_orders() -> None:
    orders = list(permutations(range(6)))
    for right in (1, 2, 5):
        expected = np.mean([average_precision_score(np.array(order) < right, -np.arange(6)) for order in orders])
        assert average_precision_chance(np.array([right]), 6) == pytest.approx(expected)


def test_chance_of_any_face_of_the_speaker_is_the_share_of_orders() -> None:
    orders = list(permutations(range(6)))
    expected = np.mean([min(order[:2]) < 2 for order in orders])
    assert speaker_recall_chance(np.array([2]), 6, 2) == pytest.approx(expected)


def test_percent_of_a_gallery_are_whole_places() -> None:
    assert [percent_places(percent, 5000) for percent in (1, 2, 5, 10)] == [50, 100, 250, 500]
    assert percent_places(1, 99) == 0 and percent_places(5, 30) == 1


def test_the_papers_hundred_ranks_give_table_3_as_percent_and_not_as_faces() -> None:
    printed = np.array(PRINTED_RANKS.split(), np.int64)
    as_percent = [recall(printed, percent_places(percent, 5000)).mean() for percent in (1, 2, 5, 10)]
    np.testing.assert_allclose(as_percent, [0.1092, 0.1700, 0.3060, 0.4582], atol=0.045)  # two standard errors of 100
    assert [recall(printed, at).mean() for at in (1, 5, 10)] == [0, 0.01, 0.02]


def test_the_papers_table_has_the_chance_of_whole_places_of_this_gallery() -> None:
    part = measure_retrieval(oracle(150))
    (table,) = (one for one in part.tables if one.name == "table3")
    assert table.rows[-1] == ("", "", "chance", *(pytest.approx(100 * places / 150) for places in (1, 3, 7, 15)))
