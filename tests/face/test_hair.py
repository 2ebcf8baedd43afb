"""How often hair styles are worn, and which one a face gets."""

import pytest

from speech2face.face.appearance import (
    KNOT_AGES,
    SHARES,
    HairStyle,
    chosen_hair,
    hair_frequencies,
    most_frequent_hair,
    sample_place,
)


@pytest.mark.parametrize("women", [True, False])
def test_the_shares_of_every_age_in_the_table_sum_to_one(women: bool) -> None:
    for column in zip(*SHARES[women].values(), strict=True):
        assert sum(column) == pytest.approx(1.0)
    assert {len(shares) for shares in SHARES[women].values()} == {len(KNOT_AGES)}


def test_frequencies_sum_to_one_for_any_age_and_femininity() -> None:
    for age in (5, 18, 43.5, 80, 120, None):
        for femininity in (0.0, 0.3, 1.0, None):
            shares = hair_frequencies(age, femininity)
            assert list(shares) == list(HairStyle)
            assert sum(shares.values()) == pytest.approx(1.0)
            assert min(shares.values()) >= 0


def test_the_table_itself_comes_back_at_its_ages_and_a_mixture_between() -> None:
    assert hair_frequencies(50, 1.0)[HairStyle.medium] == pytest.approx(0.42)
    assert hair_frequencies(27.5, 0.0)[HairStyle.short] == pytest.approx((0.62 + 0.52) / 2)
    assert hair_frequencies(50, 0.25)[HairStyle.medium] == pytest.approx(0.25 * 0.42 + 0.75 * 0.05)


def test_the_most_frequent_style_goes_with_age_and_gender() -> None:
    women, men = ([most_frequent_hair(age, femininity) for age in (20, 35, 50, 65, 80)] for femininity in (1.0, 0.0))
    assert women == ["long", "medium", "medium", "short", "short"]
    assert men == ["short", "short", "short", "receding", "bald"]


def test_men_grow_bald_as_was_counted_and_women_do_not() -> None:
    bare = {
        age: sum(hair_frequencies(age, 0.0)[style] for style in (HairStyle.bald, HairStyle.receding))
        for age in (20, 50, 65, 80)
    }
    assert 0.35 <= bare[50] <= 0.55 <= bare[65] <= 0.85  # Norwood 1975, Hamilton 1951
    assert bare[20] < bare[50] < bare[65] < bare[80]


def test_no_boy_is_bald_and_no_woman_either() -> None:
    for style in (HairStyle.bald, HairStyle.receding):
        assert hair_frequencies(9, 0.0)[style] == hair_frequencies(70, 1.0)[style] == 0


def test_styles_are_chosen_as_often_as_they_are_worn() -> None:
    count = 2000
    found = [chosen_hair(65, 0.0, (k + 0.5) / count) for k in range(count)]
    for style, share in hair_frequencies(65, 0.0).items():
        assert found.count(style) / count == pytest.approx(share, abs=1e-3)
    assert chosen_hair(65, 0.0, 0.0) in HairStyle and chosen_hair(65, 0.0, 1.0) in HairStyle


def test_samples_of_a_seed_have_places_of_their_own_that_come_back() -> None:
    places = [sample_place(7, number) for number in range(50)]
    assert places == [sample_place(7, number) for number in range(50)]
    assert len(set(places)) == 50
    assert sample_place(8, 0) != places[0]
