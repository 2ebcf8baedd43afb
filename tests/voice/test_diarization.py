"""Clusters, turns and how many speak, on embeddings whose speakers are known."""

import importlib
import itertools
from pathlib import Path

import numpy as np
import pytest

from speech2face.voice.diarization import (
    TurnModel,
    average_linkage,
    first_clusters,
    forward_backward,
    speaker_probabilities,
    ward_linkage,
)

TURNS = TurnModel(acoustic=0.3, speaker=9.0, stay=0.7)


def talk(people: list[int], *, spread: float = 1.0, axes: int = 40, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Coordinates of turns of ten pieces by these people, and whose each piece is."""
    rng = np.random.default_rng(seed)
    means = rng.normal(0, 2.0, (max(people) + 1, axes))
    whose = np.repeat(people, 10)
    return (means[whose] + rng.normal(0, spread, (len(whose), axes))).astype(np.float32), whose


def same_partition(first: np.ndarray, second: np.ndarray) -> bool:
    return len(set(zip(first.tolist(), second.tolist(), strict=True))) == len(set(first.tolist())) == len(set(second))


def test_average_linkage_joins_by_the_mean_similarity_of_all_pairs() -> None:
    # By hand: 0 and 1 join at .9; to 2 they are then as similar as (.8 + .2) / 2 = .5 on average.
    table = np.array([[1, 0.9, 0.8], [0.9, 1, 0.2], [0.8, 0.2, 1]])
    assert average_linkage(table, 0.6, most=3).tolist() == [0, 0, 1]
    assert average_linkage(table, 0.49, most=3).tolist() == [0, 0, 0]
    assert average_linkage(table, 0.95, most=3).tolist() == [0, 1, 2]
    assert average_linkage(table, 0.95, most=2).tolist() == [0, 0, 1]


def test_ward_joins_what_adds_least_to_the_squared_distances() -> None:
    # By hand: 0, 1 and 10, 13 on a line. Joining 0 and 1 adds 1/2, 10 and 13 adds 9/2; then (0, 1) and 10 add
    # 2/3 * 9.5^2 = 60. A cluster of many is joined later than one of few: three points at 0 and one at 1 add 3/4.
    line = np.array([[0.0], [1.0], [10.0], [13.0]], np.float32)
    assert ward_linkage(line, np.arange(4), 3).tolist() == [0, 0, 1, 2]
    assert ward_linkage(line, np.arange(4), 2).tolist() == [0, 0, 1, 1]
    assert ward_linkage(line, np.arange(4), 1).tolist() == [0, 0, 0, 0]
    many = np.array([[0.0]] * 3 + [[1.0], [5.0], [6.2]], np.float32)  # 3/4 against 1.44 / 2 = .72
    assert ward_linkage(many, np.array([0, 0, 0, 1, 2, 3]), 3).tolist() == [0, 0, 0, 1, 2, 2]


def test_forward_and_backward_give_the_probabilities_of_all_paths_added_up() -> None:
    rng = np.random.default_rng(1)
    fit, share, stay = rng.normal(0, 1, (4, 2)), np.array([0.3, 0.7]), 0.6
    expected = np.zeros((4, 2))
    for path in itertools.product(range(2), repeat=4):
        chance = share[path[0]] * np.exp(fit[0, path[0]])
        for time in range(1, 4):
            before, now = path[time - 1], path[time]
            chance *= (stay * (before == now) + (1 - stay) * share[now]) * np.exp(fit[time, now])
        for time, state in enumerate(path):
            expected[time, state] += chance
    expected /= expected.sum(1, keepdims=True)
    chance, entered = forward_backward(fit, share, stay)
    np.testing.assert_allclose(chance, expected, rtol=1e-9)
    assert entered.sum() == pytest.approx(1.0)


@pytest.mark.parametrize("people", [[0], [0, 1], [0, 1, 0, 2, 1], [0, 1, 2, 3, 4, 5, 6, 7, 3, 0]])
def test_too_many_clusters_end_as_the_speakers_that_there_are(people: list[int]) -> None:
    coordinates, whose = talk(people)
    between = np.full(coordinates.shape[1], 4.0)
    split = whose * 3 + np.arange(len(whose)) % 3  # three clusters of each
    labels = np.unique(split, return_inverse=True)[1]
    chance = speaker_probabilities(coordinates, between, labels, TURNS)
    assert same_partition(chance.argmax(1), whose)
    assert (chance.mean(0) > 0.01).sum() == len(set(people))


def test_a_piece_that_says_nothing_goes_with_its_neighbours() -> None:
    coordinates, whose = talk([0, 1])
    coordinates[4] = 0.0
    chance = speaker_probabilities(coordinates, np.full(coordinates.shape[1], 4.0), whose, TURNS)
    assert same_partition(chance.argmax(1), whose)


def test_blocks_of_a_long_recording_are_joined_to_the_same_speakers() -> None:
    coordinates, whose = talk([0, 1, 2] * 50, spread=0.5)  # 1,500 pieces: three blocks
    units = coordinates / np.linalg.norm(coordinates, axis=1, keepdims=True)
    assert same_partition(first_clusters(units, coordinates, 0.5, 3), whose)


def test_the_benchmarks_error_rate_is_the_one_worked_out_by_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("scipy", reason="the benchmark needs the extra `train`")
    monkeypatch.syspath_prepend(str(Path(__file__).parents[2] / "benchmarks"))
    error = importlib.import_module("conversations").diarization_error
    truth = [(0.0, 10.0, 0), (8.0, 12.0, 1)]  # 14 seconds of speech, two of them overlapped
    assert error(truth, [(0.0, 10.0, 7), (8.0, 12.0, 2)]) == (0, 0, 0, 14)  # names do not matter
    assert error(truth, [(0.0, 8.0, 0), (10.0, 13.0, 1)]) == (4, 1, 0, 14)  # both missed in the overlap
    assert error(truth, [(0.0, 12.0, 0)]) == (2, 0, 2, 14)
    assert error(truth, [(0.0, 5.0, 0), (5.0, 10.0, 1), (10.0, 12.0, 2)]) == (2, 0, 5, 14)  # one of three is too many
    # A quarter second around 0, 8, 10 and 12 does not count: 7.5 + 2 x 1.5 + 1.5 seconds are left.
    assert error(truth, [(0.0, 10.2, 0), (8.0, 12.2, 1)], collar_seconds=0.25) == (0, 0, 0, 12)
    assert error(truth, [(0.0, 12.0, 0)], collar_seconds=0.25) == (1.5, 0, 1.5, 12)
