"""Pairwise similarity: by hand, against scipy, and what the mean face and a stranger's face earn."""

import numpy as np
import pytest
from scipy.spatial import distance

from speech2face.metrics import matching as similarity

RNG = np.random.default_rng(0)
FACES = RNG.standard_normal((50, 16)) + 1
GUESSES = FACES + 0.5 * RNG.standard_normal((50, 16))


def test_by_hand_in_the_plane() -> None:
    guess, face = np.array([[3.0, 0.0]]), np.array([[0.0, 4.0]])
    assert similarity.angle_degrees(guess, face) == pytest.approx(90)
    assert similarity.cosine(guess, face) == pytest.approx(0)
    assert similarity.l2(guess, face) == pytest.approx(5)
    assert similarity.l1(guess, face) == pytest.approx(7)
    assert similarity.centred_angle_degrees(guess, face, np.array([[3.0, 3.0]])) == pytest.approx(108.435, abs=1e-3)


def test_all_agree_with_scipy_pair_by_pair() -> None:
    pairs = list(zip(GUESSES, FACES, strict=True))
    np.testing.assert_allclose(similarity.cosine(GUESSES, FACES), [1 - distance.cosine(p, r) for p, r in pairs])
    np.testing.assert_allclose(similarity.l2(GUESSES, FACES), [distance.euclidean(p, r) for p, r in pairs])
    np.testing.assert_allclose(similarity.l1(GUESSES, FACES), [distance.cityblock(p, r) for p, r in pairs])


def test_an_answer_without_direction_is_at_right_angles_to_everything() -> None:
    assert similarity.angle_degrees(np.zeros((1, 16)), FACES[:1]) == pytest.approx(90)
    centre = np.broadcast_to(FACES.mean(0), FACES.shape)
    np.testing.assert_allclose(similarity.centred_angle_degrees(centre, FACES, centre), 90)


def test_missing_numbers_stay_missing() -> None:
    broken = np.where(np.arange(50)[:, None] == 3, np.nan, GUESSES)
    for metric in (similarity.cosine, similarity.angle_degrees, similarity.l2, similarity.l1):
        assert np.flatnonzero(np.isnan(metric(broken, FACES))).tolist() == [3]


def test_length_does_not_matter_to_an_angle() -> None:
    np.testing.assert_allclose(similarity.angle_degrees(7 * GUESSES, FACES), similarity.angle_degrees(GUESSES, FACES))


def test_a_stranger_is_always_somebody_else_and_nobody_where_there_is_no_other() -> None:
    speaker = np.array([0, 0, 0, 0, 1])
    drawn = similarity.strangers(speaker, repeats=50)
    assert drawn.shape == (50, 5)
    assert (speaker[drawn] != speaker).all()
    assert (similarity.strangers(np.zeros(4, np.int64)) == -1).all()
