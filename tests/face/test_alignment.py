"""Alignment of landmarks, worked out by hand."""

import numpy as np
from numpy.testing import assert_allclose

from speech2face.face.appearance import align, fit_similarity, generalised_procrustes

SQUARE = np.array([[0.0, 0.0], [1.0, 0.0], [1.0, 1.0], [0.0, 1.0]])


def test_a_square_turned_doubled_and_moved_is_found_again() -> None:
    quarter_turn = np.array([[0.0, 1.0], [-1.0, 0.0]])
    moved = 2.0 * SQUARE @ quarter_turn + np.array([5.0, -3.0])
    found = fit_similarity(SQUARE, moved)
    assert_allclose(found.linear, 2.0 * quarter_turn, atol=1e-12)
    assert_allclose(found.shift, [5.0, -3.0], atol=1e-12)
    assert_allclose(found.scale, 2.0)
    assert_allclose(found.inverse().apply(moved), SQUARE, atol=1e-12)


def test_a_mirror_image_is_not_taken_for_a_turn() -> None:
    shape = np.array([[0.0, 0.0], [3.0, 0.0], [0.0, 1.0]])
    found = fit_similarity(shape, shape * np.array([-1.0, 1.0]))
    assert np.linalg.det(found.linear) > 0


def test_copies_of_one_shape_have_that_shape_as_their_mean() -> None:
    angles = (0.0, 0.3, -0.4)
    turns = [np.array([[np.cos(a), np.sin(a)], [-np.sin(a), np.cos(a)]]) for a in angles]
    shapes = np.stack([(1.0 + a) * SQUARE @ turn + 10.0 * a for a, turn in zip(angles, turns, strict=True)])
    mean, aligned = generalised_procrustes(shapes)
    for shape in aligned:
        assert_allclose(shape, mean, atol=1e-9)


def test_only_anchor_points_decide_the_alignment() -> None:
    bent = SQUARE.copy()
    bent[3] += 7.0
    aligned = align(bent[None], SQUARE, anchors=np.array([0, 1, 2]))
    assert_allclose(aligned[0, :3], SQUARE[:3], atol=1e-12)
    assert_allclose(aligned[0, 3], SQUARE[3] + 7.0, atol=1e-12)
