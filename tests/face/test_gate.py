"""The release gate on distances made by hand."""

import numpy as np
import pytest
from numpy.testing import assert_allclose
from numpy.typing import NDArray

from recipes.starter.face_gate import distances, nearest, no_nearer_than_strangers, passes, run_gate, summary
from speech2face.face.appearance import AttributeBasis, random_faces

PEOPLE = np.array([[0.0, 0.0], [3.0, 4.0], [0.0, 1.0]])


class BrightnessEmbedder:
    """Embeds a picture as its mean red and green; a black picture has no face."""

    size = 2
    match_distance = 0.6

    def embed(self, picture: NDArray[np.uint8]) -> NDArray[np.float32] | None:
        return None if not picture.any() else picture[..., :2].mean((0, 1)).astype(np.float32)


def test_distances_of_three_points_by_hand() -> None:
    assert_allclose(distances(PEOPLE[:1], PEOPLE), [[0.0, 5.0, 1.0]])


def test_nobody_is_their_own_nearest_neighbour() -> None:
    assert_allclose(nearest(PEOPLE, PEOPLE, same=True), [1.0, np.sqrt(18.0), 1.0])


def test_a_distance_on_the_threshold_counts_as_a_match() -> None:
    found = summary(np.array([0.6, 0.61, 0.59]), 0.6)
    assert found["matched"] == 2
    assert found["nearest"] == 0.59


def test_draws_repeat_and_stay_adult() -> None:
    basis = AttributeBasis()
    first, second = (np.stack(list(random_faces(basis, np.full(3, 0.8), 5, seed=1))) for _ in range(2))
    assert_allclose(first, second)
    assert first.shape == (5, basis.size + 3)


@pytest.mark.parametrize(("colour", "passed"), [((9, 9), True), ((3, 4), False)])
def test_a_model_that_always_draws_one_person_is_caught(colour: tuple[int, int], passed: bool) -> None:
    picture = np.zeros((4, 4, 3), np.uint8)
    picture[..., :2] = colour
    report = run_gate(
        lambda face: picture, AttributeBasis(), np.full(2, 0.8), {"set": PEOPLE}, BrightnessEmbedder(), draws=3
    )
    assert report["draws"]["set"]["matched"] == (0 if passed else 3)
    assert passes(report) is passed
    assert no_nearer_than_strangers(report) is passed


def test_pictures_without_a_face_are_counted_not_passed_over() -> None:
    pictures = iter([np.zeros((4, 4, 3), np.uint8), np.full((4, 4, 3), 9, np.uint8)])

    def render(_: NDArray[np.float64]) -> NDArray[np.uint8]:
        return next(pictures, np.full((4, 4, 3), 9, np.uint8))

    report = run_gate(render, AttributeBasis(), np.full(2, 0.8), {"set": PEOPLE}, BrightnessEmbedder(), draws=1)
    assert report["expected_reference_population"]["no_face_found"] == 1
