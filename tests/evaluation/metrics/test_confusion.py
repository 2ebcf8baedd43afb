"""Confusion matrices worked out by hand, against scikit-learn, and what cheats earn in them."""

import numpy as np
import pytest
from numpy.testing import assert_allclose

from speech2face.metrics import measures as metrics

COUNTS = np.array([[3.0, 1.0, 0.0], [2.0, 2.0, 0.0], [0.0, 1.0, 1.0]])


def test_ten_faces_by_hand() -> None:
    assert metrics.agreement(COUNTS) == pytest.approx(6 / 10)
    assert metrics.balanced_agreement(COUNTS) == pytest.approx((3 / 4 + 2 / 4 + 1 / 2) / 3)
    assert metrics.agreement_within_one(COUNTS) == pytest.approx(10 / 10)
    assert metrics.chance_agreement(COUNTS) == pytest.approx((4 * 5 + 4 * 4 + 2 * 1) / 100)
    assert metrics.majority(COUNTS) == pytest.approx(0.4)
    assert metrics.best_constant_within_one(COUNTS) == pytest.approx(1.0)  # the middle class is next to both others
    assert_allclose(metrics.row_normalised(COUNTS)[0], [0.75, 0.25, 0.0])


def test_two_classes_away_does_not_count_as_near() -> None:
    assert metrics.agreement_within_one(np.array([[0.0, 0, 1], [0, 0, 0], [1, 0, 2]])) == pytest.approx(0.5)


def test_the_same_as_scikit_learn_on_random_readings() -> None:
    sklearn = pytest.importorskip("sklearn.metrics", reason="scikit-learn comes with the extra `eval`")
    rng = np.random.default_rng(0)
    reference, read = rng.integers(4, size=300), rng.integers(4, size=300)
    read[:100] = reference[:100]
    weights = rng.integers(0, 3, 300).astype(float)
    counts = metrics.confusion(reference, read, 4, weights)
    assert_allclose(counts, sklearn.confusion_matrix(reference, read, sample_weight=weights))
    assert metrics.agreement(counts) == pytest.approx(sklearn.accuracy_score(reference, read, sample_weight=weights))
    balanced = sklearn.balanced_accuracy_score(reference, read, sample_weight=weights)
    assert metrics.balanced_agreement(counts) == pytest.approx(balanced)


@pytest.mark.parametrize("answer", [0, 1, 2])
def test_a_constant_answer_earns_its_share_and_a_third_when_balanced(answer: int) -> None:
    told = np.zeros_like(COUNTS)
    told[:, answer] = COUNTS.sum(1)
    assert metrics.agreement(told) == pytest.approx(COUNTS.sum(1)[answer] / 10)
    assert metrics.agreement(told) <= metrics.majority(COUNTS)
    assert metrics.balanced_agreement(told) == pytest.approx(1 / 3)
    assert metrics.chance_agreement(told) == pytest.approx(metrics.agreement(told))


def test_answers_dealt_out_at_random_earn_chance() -> None:
    rng = np.random.default_rng(1)
    reference, read = rng.choice(5, size=4000, p=[0.4, 0.3, 0.15, 0.1, 0.05]), rng.integers(5, size=4000)
    dealt = [metrics.confusion(reference, rng.permutation(read), 5) for _ in range(50)]
    near = np.mean([metrics.agreement_within_one(counts) for counts in dealt])
    assert np.mean([metrics.agreement(counts) for counts in dealt]) == pytest.approx(
        metrics.chance_agreement(dealt[0]), abs=0.004
    )
    assert near == pytest.approx(metrics.chance_within_one(dealt[0]), abs=0.004)


def test_a_class_that_never_occurs_is_a_row_of_nothing_and_does_not_count() -> None:
    counts = metrics.confusion(np.array([0, 0, 2]), np.array([0, 1, 2]), 3)
    assert np.isnan(metrics.row_normalised(counts)[1]).all()
    assert metrics.balanced_agreement(counts) == pytest.approx((0.5 + 1.0) / 2)


def test_unknown_on_either_side_is_left_out() -> None:
    counts = metrics.confusion(np.array([-1, 0, 1, 1]), np.array([0, -1, 1, 0]), 2)
    assert_allclose(counts, [[0, 0], [1, 1]])


def test_nobody_at_all_has_no_agreement() -> None:
    nobody = np.zeros((2, 2))
    for metric in (metrics.agreement, metrics.balanced_agreement, metrics.majority):
        assert np.isnan(metric(nobody))


def test_decades_begin_at_their_first_year_and_the_last_is_open() -> None:
    places = metrics.decade_places([0.0, 9.9, 10.0, 29.99, 30.0, 80.0, 103.0, np.nan, -3.0])
    assert places.tolist() == [0, 0, 1, 2, 3, 8, 8, -1, -1]
    assert [metrics.DECADES[place] for place in places[:3]] == ["0", "0", "10"]


def test_the_papers_age_matrix_has_the_macro_agreement_that_is_quoted_beside_ours() -> None:
    from speech2face.evaluation.parts.attributes import FROM_VOICE

    for attribute, expected in (("age", 0.246), ("group", 0.338), ("gender", 0.94)):
        published = FROM_VOICE[attribute]  # type: ignore[index]
        rows = np.array([published[one] for one in tuple(published)])
        assert np.diagonal(rows).mean() == pytest.approx(expected, abs=1e-3)
        assert_allclose(rows.sum(1), 1.0, atol=0.021)  # printed with two digits
