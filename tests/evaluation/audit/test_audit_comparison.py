"""The tests of differences between groups, by hand, by cheats and against scipy."""

from itertools import permutations

import numpy as np
import pytest
from scipy.stats import false_discovery_control

from speech2face.metrics.intervals import (
    SMALLEST_TESTED,
    Sample,
    benjamini_hochberg,
    by_speaker,
    compare,
    compare_pairs,
    holm,
)


def one_stratum(values: list[float] | np.ndarray, *, balanced: bool = False) -> Sample:
    array = np.asarray(values, np.float64)
    return Sample(array, np.zeros(len(array), np.int64), balanced)


def test_holm_multiplies_by_the_hypotheses_that_are_left() -> None:
    np.testing.assert_allclose(holm([0.01, 0.04, 0.03, 0.005]), [0.03, 0.06, 0.06, 0.02])
    np.testing.assert_allclose(holm([0.5, 0.9]), [1.0, 1.0])


def test_benjamini_and_hochberg_agree_with_scipy() -> None:
    p = np.random.default_rng(0).uniform(size=50) ** 3
    np.testing.assert_allclose(benjamini_hochberg(p.tolist()), false_discovery_control(p))


def test_a_group_that_was_not_tested_costs_no_correction() -> None:
    corrected = holm([0.02, float("nan"), 0.5])
    np.testing.assert_allclose(corrected[[0, 2]], [0.04, 0.5])
    assert np.isnan(corrected[1])


def test_clips_of_one_speaker_count_once() -> None:
    values, people = by_speaker([1.0, 3.0, 10.0, np.nan], [7, 7, 9, 9])
    np.testing.assert_allclose(values, [2, 10])
    assert people.tolist() == [7, 9]


def test_p_agrees_with_all_permutations_of_a_small_sample() -> None:
    values = np.array([9.0, 8.0, 7.5, *np.linspace(0, 5, 4)])
    member = np.array([True] * 3 + [False] * 4)
    every = [abs(np.mean(order[:3]) - np.mean(order[3:])) for order in permutations(values)]
    observed = abs(values[member].mean() - values[~member].mean())
    exact = np.mean(np.array(every) >= observed - 1e-9)
    from speech2face.metrics import intervals as comparison

    found = comparison._permutation_p(one_stratum(values), member[None], 20_000)[0]
    assert found == pytest.approx(exact, abs=0.004)


def test_a_group_like_the_rest_is_found_in_one_case_of_twenty() -> None:
    rng = np.random.default_rng(1)
    members = rng.uniform(size=(400, 60)) < 0.4
    p = [found.p for found in compare(one_stratum(rng.standard_normal(60)), members, permutations=2000)]
    assert 0.02 < np.mean(np.array(p) < 0.05) < 0.09


def test_a_group_that_is_worse_is_found_and_its_difference_told() -> None:
    rng = np.random.default_rng(2)
    member = np.arange(80) < 20
    (found,) = compare(one_stratum(rng.standard_normal(80) + 3 * member), member[None])
    assert found.p < 0.001
    assert found.difference.low < 3 < found.difference.high
    assert found.value.n == 20


def test_members_are_compared_with_their_own_stratum_only() -> None:
    # Old people are told worse, and all of the group are old: within the old the group is like the rest.
    stratum = np.repeat([0, 1], 40)
    member = np.arange(80) < 15
    values = np.where(stratum == 0, 10.0, 0.0) + np.random.default_rng(3).standard_normal(80)
    (plain,) = compare(Sample(values, np.zeros(80, np.int64)), member[None])
    (fair,) = compare(Sample(values, stratum), member[None])
    assert plain.difference.value > 5
    assert plain.p < 0.001
    assert abs(fair.difference.value) < 1
    assert fair.p > 0.05


def test_a_stratum_without_others_says_nothing_of_the_difference() -> None:
    # All of the first stratum are members and told far worse; of the second half are, and nothing differs.
    stratum = np.repeat([0, 1], [20, 40])
    member = np.arange(60) < 40
    values = np.where(stratum == 0, 50.0, 0.0) + np.tile([-1.0, 1.0], 30)
    (found,) = compare(Sample(values, stratum), member[None], permutations=500)
    assert found.difference.value == pytest.approx(0)
    assert found.p == 1


def test_a_balanced_value_counts_both_strata_alike() -> None:
    values = np.array([1.0] * 30 + [0.0] * 10)
    stratum = np.repeat([0, 1], [30, 10])
    everybody = np.ones((1, 40), bool)
    assert compare(Sample(values, stratum, balanced=True), everybody)[0].value.value == pytest.approx(0.5)
    assert compare(Sample(values, stratum), everybody)[0].value.value == pytest.approx(0.75)


def test_few_members_or_few_others_are_not_tested() -> None:
    values = one_stratum(np.random.default_rng(4).standard_normal(40))
    few = np.arange(40) < SMALLEST_TESTED - 1
    enough = np.arange(40) < SMALLEST_TESTED
    lone = np.arange(40) < 1
    p = [found.p for found in compare(values, np.stack([few, enough, lone, ~few]), permutations=100)]
    assert np.isnan(p).tolist() == [True, False, True, True]


def test_one_speaker_has_no_interval() -> None:
    (lone,) = compare(one_stratum([1.0, 2.0, 3.0]), np.array([[True, False, False]]))
    assert lone.value.n == 1
    assert np.isnan(lone.value.low)


def test_an_empty_group_is_none() -> None:
    (nobody,) = compare(one_stratum([1.0, 2.0]), np.array([[False, False]]))
    assert nobody.value.n == 0
    assert np.isnan(nobody.p)


def test_everybody_in_the_group_leaves_nobody_to_compare_with() -> None:
    (all_of_them,) = compare(one_stratum(np.arange(30.0)), np.ones((1, 30), bool))
    assert np.isnan(all_of_them.difference.value)
    assert np.isnan(all_of_them.p)


def test_pairs_that_all_move_the_same_way_are_no_chance() -> None:
    estimate, p = compare_pairs(np.full(12, 0.5), permutations=50_000)
    assert estimate.value == pytest.approx(0.5)
    assert p == pytest.approx(2 / 2**12, rel=0.5)  # all signs alike, either way


def test_pairs_that_do_not_move_are_chance() -> None:
    assert compare_pairs(np.zeros(20), permutations=200)[1] == 1
    assert np.isnan(compare_pairs(np.ones(3))[1])
    assert compare_pairs(np.zeros(0))[0].n == 0
