"""The thin-plate spline as a linear map."""

import numpy as np
from numpy.testing import assert_allclose

from speech2face.face.appearance import border_points, pixel_grid, spline_map

CONTROLS = np.array([[20.0, 20.0], [44.0, 20.0], [32.0, 40.0]])


def test_controls_move_exactly_where_they_are_told() -> None:
    fixed = border_points(64.0, margin_pixels=8.0, per_side=3)
    at_controls = spline_map(CONTROLS, CONTROLS, fixed=fixed)
    assert_allclose(at_controls, np.eye(3), atol=1e-8)


def test_border_points_stay() -> None:
    fixed = border_points(64.0, margin_pixels=8.0, per_side=3)
    assert_allclose(spline_map(CONTROLS, fixed, fixed=fixed), 0.0, atol=1e-8)


def test_without_fixed_points_a_common_shift_moves_everything_alike() -> None:
    everywhere = spline_map(CONTROLS, pixel_grid(64, 8), fixed=np.empty((0, 2)))
    assert_allclose(everywhere.sum(1), 1.0, atol=1e-9)


def test_the_border_has_four_sides_of_points_outside_the_picture() -> None:
    points = border_points(64.0, margin_pixels=8.0, per_side=2)
    assert sorted(map(tuple, points.tolist())) == sorted(
        [(-8.0, -8.0), (32.0, -8.0), (72.0, -8.0), (72.0, 32.0), (72.0, 72.0), (32.0, 72.0), (-8.0, 72.0), (-8.0, 32.0)]
    )


def test_a_grid_of_two_nodes_over_four_pixels_lies_between_their_centres() -> None:
    assert_allclose(pixel_grid(4, 2), [[0.5, 0.5], [2.5, 0.5], [0.5, 2.5], [2.5, 2.5]])
