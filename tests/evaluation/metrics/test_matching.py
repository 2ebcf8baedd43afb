"""Forced choice by hand, against every possible trial, with ties, duplicates, strata and too few foils."""

from itertools import combinations

import numpy as np
import pytest

from speech2face.metrics.intervals import SpeakerBootstrap
from speech2face.metrics.matching import Choices, chance_of_choice, cosine_similarity


def brute_force(
    similarity: np.ndarray, speaker: np.ndarray, ways: int, stratum: np.ndarray | None = None
) -> np.ndarray:
    """Play every possible trial of every clip."""
    shares = []
    for row, own in enumerate(np.diagonal(similarity)):
        alike = np.ones(len(speaker), bool) if stratum is None else stratum == stratum[row]
        foils = np.flatnonzero((speaker != speaker[row]) & alike)
        trials = list(combinations(foils, ways - 1))
        wins = [all(similarity[row, foil] < own for foil in trial) for trial in trials]
        shares.append(np.mean(wins) if trials else np.nan)
    return np.array(shares)


def test_three_people_by_hand() -> None:
    # The first own face is nearer than both foils, the second than one of two, the third than none.
    similarity = np.array([[0.9, 0.1, 0.2], [0.8, 0.5, 0.1], [0.7, 0.6, 0.3]], np.float32)
    choices = Choices.of(similarity, np.arange(3))
    assert choices.won(2).tolist() == [1, 0.5, 0]
    assert choices.won(3).tolist() == [1, 0, 0]
    assert np.isnan(choices.won(4)).all()  # nobody has three foils
    assert choices.estimate(4, SpeakerBootstrap(np.arange(3))).n == 0


def test_the_chance_of_a_choice_by_hand() -> None:
    # Of 4 foils 1 is nearer: both of two drawn ones are worse in C(3, 2) = 3 of C(4, 2) = 6 draws.
    assert chance_of_choice(np.array([1.0]), np.array([4.0]), 3).tolist() == [0.5]
    assert chance_of_choice(np.array([3.0]), np.array([4.0]), 3).tolist() == [0]
    assert np.isnan(chance_of_choice(np.array([0.0]), np.array([1.0]), 3)).all()


@pytest.mark.parametrize("ways", [2, 3, 5])
@pytest.mark.parametrize("stratified", [False, True])
def test_the_expectation_is_that_of_all_trials(ways: int, stratified: bool) -> None:
    rng = np.random.default_rng(ways)
    similarity = rng.integers(0, 6, (14, 14)).astype(np.float32)  # many ties
    speaker = rng.integers(0, 8, 14)  # several clips of one speaker, which are no foils of each other
    stratum = rng.choice(["a", "b"], 14) if stratified else None
    won = Choices.of(similarity, speaker, stratum).won(ways)
    np.testing.assert_allclose(won, brute_force(similarity, speaker, ways, stratum))


def test_ties_count_against_us_even_where_rounding_splits_them() -> None:
    rng = np.random.default_rng(0)
    face = rng.standard_normal((1, 64)).astype(np.float32)
    voices = rng.standard_normal((40, 64)).astype(np.float32)
    scaled = face * rng.uniform(0.1, 9, (40, 1)).astype(np.float32)  # the same direction, rounded differently
    assert (Choices.of(cosine_similarity(voices, scaled), np.arange(40)).won(2) == 0).all()


def test_clips_of_one_speaker_in_the_gallery_are_neither_foils_nor_a_second_chance() -> None:
    # Rows 0 and 1 are one person. Row 0 is nearer the face of row 1 than its own: that is no mistake and no success.
    similarity = np.array([[0.5, 0.9, 0.4], [0.1, 0.5, 0.6], [0.2, 0.3, 0.5]], np.float32)
    assert Choices.of(similarity, np.array([7, 7, 9])).won(2).tolist() == [1, 0, 1]


def test_a_group_of_one_member_has_no_foils_and_is_not_counted() -> None:
    similarity = np.eye(4, dtype=np.float32)
    choices = Choices.of(similarity, np.arange(4), np.array(["a", "a", "a", "b"]))
    np.testing.assert_equal(choices.won(2), [1, 1, 1, np.nan])
    assert choices.estimate(2, SpeakerBootstrap(np.arange(4), resamplings=50)).n == 3


def test_missing_embeddings_and_unknown_labels_are_refused_not_counted_silently() -> None:
    similarity = np.eye(3, dtype=np.float32)
    with pytest.raises(AssertionError, match="missing"):
        Choices.of(np.where(similarity > 0, np.nan, similarity), np.arange(3))
    with pytest.raises(AssertionError, match="label"):
        Choices.of(similarity, np.arange(3), np.array(["a", "", "a"]))


@pytest.mark.parametrize("ways", [2, 5])
def test_the_interval_is_as_wide_as_the_spread_over_fresh_people(ways: int) -> None:
    rng = np.random.default_rng(0)

    def draw() -> Choices:
        # Some faces are near to every voice, so that it matters which foils were met; voices of a speaker err alike.
        faces = rng.standard_normal((60, 2, 6))
        voices = 0.5 * faces + rng.standard_normal((60, 1, 6)) + 3 * np.eye(6)[0]
        faces = faces + 3 * (rng.random((60, 1, 1)) < 0.3) * np.eye(6)[0]
        pairs = cosine_similarity(voices.reshape(120, 6), faces.reshape(120, 6))
        return Choices.of(pairs, np.repeat(np.arange(60), 2))

    values = [np.nanmean(draw().won(ways)) for _ in range(200)]
    estimates = [draw().estimate(ways, SpeakerBootstrap(np.repeat(np.arange(60), 2))) for _ in range(5)]
    width = np.mean([estimate.high - estimate.low for estimate in estimates])
    assert width == pytest.approx(2 * 1.96 * np.std(values), rel=0.2)
