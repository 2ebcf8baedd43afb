"""Intervals by resampling speakers: weights agree with drawing, clips of a speaker stay together, nothing is hidden."""

import numpy as np
import pytest

from speech2face.metrics.intervals import SpeakerBootstrap

RNG = np.random.default_rng(0)
SPEAKER = np.array([7, 7, 7, 2, 2, 9, 4, 4])
VALUES = np.array([1.0, 2.0, 4.0, 0.5, 3.0, 9.0, 2.0, 2.5])


def test_the_value_is_that_of_all_clips_and_n_counts_speakers() -> None:
    found = SpeakerBootstrap(SPEAKER).mean(VALUES)
    assert found.value == pytest.approx(VALUES.mean()) and found.n == 4
    assert found.low < found.value < found.high


def test_what_is_not_a_number_is_left_out_with_its_clip() -> None:
    values = np.where(SPEAKER == 9, np.nan, VALUES)
    found = SpeakerBootstrap(SPEAKER).mean(values)
    assert found == SpeakerBootstrap(SPEAKER).mean(VALUES, kept=SPEAKER != 9)
    assert found.n == 3 and found.value == pytest.approx(VALUES[SPEAKER != 9].mean())


def test_one_speaker_gives_no_interval_and_no_speaker_no_number() -> None:
    bootstrap = SpeakerBootstrap(SPEAKER)
    alone, nobody = bootstrap.mean(VALUES, kept=SPEAKER == 7), bootstrap.mean(VALUES, kept=SPEAKER == 1)
    assert alone.value == pytest.approx(7 / 3) and np.isnan([alone.low, alone.high]).all() and alone.n == 1
    assert np.isnan(nobody.value) and nobody.n == 0
    assert np.isnan(bootstrap.quantile(VALUES, kept=SPEAKER == 1).value)
    assert np.isnan(bootstrap.correlation(VALUES, VALUES, kept=SPEAKER == 1).value)


def test_clips_of_one_speaker_are_worth_no_more_than_one_clip() -> None:
    people = RNG.standard_normal(60)
    once = SpeakerBootstrap(np.arange(60)).mean(people)
    often = SpeakerBootstrap(np.repeat(np.arange(60), 20)).mean(np.repeat(people, 20))
    assert (often.low, often.high) == pytest.approx((once.low, once.high))


def test_weights_give_what_drawing_speakers_by_hand_gives() -> None:
    speaker, values = RNG.integers(40, size=200), RNG.standard_normal(200)
    bootstrap = SpeakerBootstrap(speaker, resamplings=400, seed=5)
    people = np.unique(speaker)
    drawn = np.random.default_rng([5, len(people)]).integers(len(people), size=(400, len(people)))
    by_hand = [np.concatenate([values[speaker == people[p]] for p in draw]) for draw in drawn]
    for found, function in (
        (bootstrap.mean(values), np.mean),
        (bootstrap.quantile(values), np.median),
        (bootstrap.statistic(lambda w: float(np.average(values, weights=w))), np.mean),
    ):
        expected = np.percentile([function(sample) for sample in by_hand], [2.5, 97.5])
        assert (found.low, found.high) == pytest.approx(tuple(expected))
        assert found.value == pytest.approx(function(values))


def test_correlation_is_pearsons_and_none_where_nothing_varies() -> None:
    x = RNG.standard_normal(100)
    y = x + RNG.standard_normal(100)
    found = SpeakerBootstrap(np.arange(100)).correlation(x, y)
    assert found.value == pytest.approx(np.corrcoef(x, y)[0, 1])
    assert found.low < found.value < found.high
    assert np.isnan(SpeakerBootstrap(np.arange(100)).correlation(x, np.ones(100)).value)


def test_a_ratio_is_of_sums_not_of_clips() -> None:
    found = SpeakerBootstrap([0, 1, 2]).ratio([1.0, 2.0, 3.0], [1.0, 1.0, 4.0])
    assert found.value == pytest.approx(1.0)


def test_the_same_seed_gives_the_same_interval_and_another_seed_another() -> None:
    values = RNG.standard_normal(50)
    intervals = [SpeakerBootstrap(np.arange(50), seed=seed).mean(values) for seed in (1, 1, 2)]
    assert intervals[0] == intervals[1] != intervals[2]
