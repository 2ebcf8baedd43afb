"""The release gate on distances made by hand."""

import numpy as np
import pytest
from numpy.testing import assert_allclose
from numpy.typing import NDArray

from recipes.starter.face_gate import (
    People,
    attributes_of,
    compare,
    distances,
    expected_grid,
    nearest_alike,
    passes,
    run_gate,
    summary,
)
from speech2face.face.appearance import AttributeBasis, random_faces

BASIS = AttributeBasis()
POINTS = np.array([[0.0, 0.0], [3.0, 4.0], [0.0, 1.0], [9.0, 9.0]])
WOMEN = People(POINTS, np.array([1.0, 1.0, 1.0, 0.0]), np.tile(np.eye(4)[0], (4, 1)))


class BrightnessEmbedder:
    """Embeds a picture as its mean red and green; a black picture has no face."""

    size = 2
    match_distance = 0.6

    def embed(self, picture: NDArray[np.uint8]) -> NDArray[np.float32] | None:
        return None if not picture.any() else picture[..., :2].mean((0, 1)).astype(np.float32)


def crowd(spread: float, count: int = 40) -> People:
    """People of each gender and group, around (100, 100)."""
    cells = [(f, g) for f in (0.0, 1.0) for g in range(len(BASIS.groups)) for _ in range(count)]
    places = 100.0 + np.random.default_rng(0).normal(size=(len(cells), 2)) * spread
    return People(places, np.array([f for f, _ in cells]), np.eye(len(BASIS.groups))[[g for _, g in cells]])


def test_distances_of_three_points_by_hand() -> None:
    assert_allclose(distances(POINTS[:1], POINTS[:3]), [[0.0, 5.0, 1.0]])


def test_nobody_is_their_own_nearest_and_only_people_alike_count() -> None:
    found = nearest_alike(WOMEN, WOMEN, same=True)
    assert_allclose(found[:3], [1.0, np.sqrt(18.0), 1.0])
    assert np.isnan(found[3])  # the only man


def test_a_drawn_face_looks_among_as_many_as_a_person_does() -> None:
    probe = People(np.tile(POINTS[:1], (200, 1)), np.ones(200), np.tile(np.eye(4)[0], (200, 1)))
    found = nearest_alike(probe, WOMEN)
    assert set(found) == {0.0, 1.0}  # the very spot, unless that person is the one left out
    assert 0.2 < (found == 1.0).mean() < 0.5


def test_the_rank_test_agrees_with_one_made_by_hand() -> None:
    drawn, real = np.array([1.0, 2.0, 3.0]), np.array([2.5, 4.0, 5.0])
    found = compare(drawn, real, np.zeros(3, np.intp), np.zeros(3, np.intp))
    assert found["nearer"] == pytest.approx(8 / 9, abs=1e-4)
    assert found["p"] == pytest.approx(0.063, abs=0.002)  # z = 3.5 / sqrt(21 / 4)
    assert compare(drawn[:2], real, np.zeros(2, np.intp), np.zeros(3, np.intp))["p"] is None


def test_a_distance_on_the_threshold_counts_as_a_match() -> None:
    found = summary(np.array([0.6, 0.61, 0.59, np.nan]), 0.6)
    assert (found["faces"], found["matched"], found["nearest"]) == (3, 2, 0.59)


def test_draws_repeat_stay_adult_and_say_what_they_were_drawn_with() -> None:
    first, second = (np.stack(list(random_faces(BASIS, np.full(3, 0.8), 5, seed=1))) for _ in range(2))
    assert_allclose(first, second)
    assert first.shape == (5, BASIS.size + 3)
    femininity, groups = attributes_of(first, BASIS)
    assert set(femininity.round(6)) <= {0.0, 1.0}
    assert_allclose(groups.sum(1), 1.0, atol=1e-6)
    face = next(expected_grid(BASIS, np.eye(4)[2], 3))[None]
    assert attributes_of(face, BASIS)[1].argmax() == 2


@pytest.mark.parametrize(("copies", "passed"), [(False, True), (True, False)])
def test_a_model_that_draws_the_people_themselves_is_caught(copies: bool, passed: bool) -> None:
    people = crowd(12.0)
    generator = np.random.default_rng(1)

    def render(face: NDArray[np.float64]) -> NDArray[np.uint8]:
        femininity, groups = attributes_of(face[None], BASIS)
        alike = np.flatnonzero((people.femininity == femininity.round()) & (people.groups.argmax(1) == groups.argmax()))
        colour = people.embeddings[generator.choice(alike)] if copies else 100.0 + generator.normal(size=2) * 12.0
        picture = np.zeros((2, 2, 3), np.uint8)
        picture[..., :2] = np.clip(colour, 0, 255).round()
        return picture

    report = run_gate(render, BASIS, np.full(2, 0.8), people, BrightnessEmbedder(), draws=400)
    assert (report["draws"]["nearer"] > 0.9) is copies
    assert passes(report) is passed


def test_members_who_can_be_told_fail_the_gate() -> None:
    quiet = {"nearer": 0.5, "p": 0.5}
    report = {"draws": quiet, "expected": quiet, "membership": {"everyone": {"told": 0.55}, "white": {"told": 0.7}}}
    assert passes(report)
    report["membership"] = {"everyone": {"told": 0.7}, "white": {"told": 0.7}}
    assert not passes(report)
    assert not passes({"draws": quiet, "expected": {"nearer": 0.55, "p": 0.001}})
    assert not passes({"draws": quiet, "expected": {"nearer": 0.65, "p": 0.2}})


def test_pictures_without_a_face_are_counted_not_passed_over() -> None:
    pictures = iter([np.zeros((4, 4, 3), np.uint8), np.full((4, 4, 3), 9, np.uint8)])

    def render(_: NDArray[np.float64]) -> NDArray[np.uint8]:
        return next(pictures, np.full((4, 4, 3), 9, np.uint8))

    report = run_gate(render, BASIS, np.full(2, 0.8), crowd(12.0, 3), BrightnessEmbedder(), draws=1)
    assert report["expected"]["no_face_found"] == 1
