"""Consistency by hand, against pairs and scipy, under weights, and what cheats earn."""

import numpy as np
import pytest
from scipy.spatial.distance import cdist
from scipy.stats import f_oneway

from speech2face.metrics.matching import SpeakerSums, neighbours, neighbours_by_label

ALL = np.ones((1, 12))


def made(clips: int = 4) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    speaker = np.repeat(np.arange(12), clips)
    return rng.standard_normal((12, 5))[speaker] + 0.6 * rng.standard_normal((12 * clips, 5)), speaker


def by_pairs(values: np.ndarray, speaker: np.ndarray) -> float:
    square = cdist(values, values, "sqeuclidean")
    same = speaker[:, None] == speaker
    return float(np.sqrt(square[same & ~np.eye(len(same), dtype=bool)].mean() / square[~same].mean()))


def test_two_speakers_on_a_line_by_hand() -> None:
    # Clips at 0 and 2, at 10 and 12: within 4, between (100 + 144 + 64 + 100) / 4 = 102.
    sums = SpeakerSums.of(np.array([0.0, 2, 10, 12]), [5, 5, 8, 8])
    assert sums.spread_ratio(np.ones((1, 2)))[0] == pytest.approx(np.sqrt(4 / 102))
    # MSB = 2 (25 + 25) / 1 = 100, MSW = 4 / 2 = 2, ICC = 98 / 102.
    assert sums.intraclass_correlation(np.ones((1, 2)))[0] == pytest.approx(98 / 102)


def test_the_spread_ratio_is_that_of_all_pairs_also_for_unequal_numbers_of_clips() -> None:
    values, speaker = made()
    kept = np.random.default_rng(1).random(len(speaker)) < 0.6
    kept[speaker == 3] = np.arange(4) == 0  # one speaker has a single clip
    sums = SpeakerSums.of(values[kept], speaker[kept])
    everybody = np.ones((1, len(sums.clips)))
    assert sums.spread_ratio(everybody)[0] == pytest.approx(by_pairs(values[kept], speaker[kept]))


def test_the_intraclass_correlation_is_that_of_scipys_variance_ratio() -> None:
    values, speaker = made()
    for column in values.T:
        ratio = f_oneway(*(column[speaker == who] for who in range(12))).statistic
        found = SpeakerSums.of(column, speaker).intraclass_correlation(ALL)[0]
        assert found == pytest.approx((ratio - 1) / (ratio + 4 - 1))


def test_weights_are_speakers_drawn_twice_or_not_at_all() -> None:
    values, speaker = made()
    weights = np.array([[2.0, 0, 1, 1, 3, 1, 0, 1, 1, 1, 0, 1]])
    sums = SpeakerSums.of(values, speaker)
    rows = [np.flatnonzero(speaker == who) for who in range(12) for _ in range(int(weights[0, who]))]
    again = SpeakerSums.of(values[np.concatenate(rows)], np.repeat(np.arange(len(rows)), 4))
    copies = np.ones((1, len(rows)))
    assert sums.intraclass_correlation(weights)[0] == pytest.approx(again.intraclass_correlation(copies)[0])
    drawn = np.concatenate(rows)
    square, who = cdist(values[drawn], values[drawn], "sqeuclidean"), speaker[drawn]
    copy = np.repeat(np.arange(len(rows)), 4)
    within = square[(copy[:, None] == copy) & ~np.eye(len(copy), dtype=bool)].mean()
    between = square[who[:, None] != who].mean()  # two copies of one speaker are neither
    assert sums.spread_ratio(weights)[0] == pytest.approx(np.sqrt(within / between))


def test_cheats_and_chance_earn_what_the_docs_say() -> None:
    _, speaker = made()
    rng = np.random.default_rng(2)
    for jitter in (0.0, 1e-7):  # and rounding is no spread
        values = 1.7 + jitter * rng.standard_normal((48, 5)).astype(np.float32)
        constant = SpeakerSums.of(values.astype(np.float32), speaker)
        assert np.isnan(constant.spread_ratio(ALL)[0])
        assert np.isnan(constant.intraclass_correlation(ALL)[0])
    of_gender = SpeakerSums.of(rng.standard_normal((2, 5))[speaker % 2], speaker)
    assert of_gender.spread_ratio(ALL)[0] == pytest.approx(0, abs=1e-6)
    assert of_gender.intraclass_correlation(ALL)[0] == pytest.approx(1)
    unrelated = SpeakerSums.of(rng.standard_normal((4000, 5)), np.repeat(np.arange(1000), 4))
    assert unrelated.spread_ratio(np.ones((1, 1000)))[0] == pytest.approx(1, abs=0.02)
    assert unrelated.intraclass_correlation(np.ones((1, 1000)))[0] == pytest.approx(0, abs=0.02)


def test_speakers_of_one_clip_each_have_no_consistency() -> None:
    sums = SpeakerSums.of(np.arange(12.0), np.arange(12))
    with np.errstate(invalid="ignore", divide="ignore"):
        assert np.isnan(sums.spread_ratio(ALL)[0])
        assert np.isnan(sums.intraclass_correlation(ALL)[0])


def directions(*degrees: float) -> np.ndarray:
    return np.array([[np.cos(a), np.sin(a)] for a in np.radians(degrees)], np.float32)


def test_neighbours_on_a_circle_by_hand() -> None:
    # Speaker 0 at 0 and 10 degrees, speaker 1 at 30 and 100; speaker 2 has one clip, at 300.
    near = neighbours(directions(0, 10, 30, 100, 300), np.array([0, 0, 1, 1, 2]))
    np.testing.assert_equal(near.found, [1, 1, 0, 1, np.nan])
    np.testing.assert_allclose(near.own_degrees, [10, 10, 70, 70, np.nan], atol=1e-3)
    np.testing.assert_allclose(near.other_degrees[0], (30 + 100 + 60) / 3, atol=1e-3)
    np.testing.assert_allclose(near.chance, [0.25, 0.25, 0.25, 0.25, np.nan])


def test_only_clips_of_the_same_or_of_another_label_count() -> None:
    places, speaker = directions(0, 10, 30, 100), np.array([0, 0, 1, 1])
    language = np.array(["en", "zh", "en", "en"])
    alike, other = neighbours_by_label(places, speaker, language)
    np.testing.assert_allclose(alike.own_degrees, [np.nan, np.nan, 70, 70], atol=1e-3)
    np.testing.assert_allclose(other.own_degrees, [10, 10, np.nan, np.nan], atol=1e-3)
    np.testing.assert_allclose(other.other_degrees, [np.nan, 55, 20, 90], atol=1e-3)
    np.testing.assert_equal(other.found, [1, 1, np.nan, np.nan])


def test_one_answer_for_all_identifies_nobody() -> None:
    near = neighbours(np.tile(directions(17), (6, 1)), np.array([0, 0, 1, 1, 2, 2]))
    assert (near.found == 0).all()
