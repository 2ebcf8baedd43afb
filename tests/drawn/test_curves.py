"""Curves, lines and colours by hand."""

import numpy as np
import pytest

from speech2face.drawn.contours import (
    Canvas,
    area,
    between,
    curve,
    disc,
    normals,
    painted_skin,
    rasterise,
    ribbon,
    shift,
    smoothed,
    to_hex,
    to_lab,
)

LINE = np.array([[0.0, 0.0], [3.0, 0.0], [6.0, 0.0]])


def test_a_straight_row_of_points_gives_a_straight_curve_through_them() -> None:
    assert curve(LINE) == "M0.0 0.0C0.5 0.0 2.0 0.0 3.0 0.0C4.0 0.0 5.5 0.0 6.0 0.0"


def test_a_closed_curve_comes_back() -> None:
    square = np.array([[0.0, 0.0], [6.0, 0.0], [6.0, 6.0], [0.0, 6.0]])
    text = curve(square, closed=True)
    assert text.count("C") == 4
    assert text.endswith("0.0 0.0Z")


def test_an_area_goes_along_its_pieces_in_turn() -> None:
    text = area([LINE, (LINE + np.array([0.0, 2.0]))[::-1]])
    assert text.startswith("M0.0 0.0") and "L6.0 2.0" in text and text.endswith("0.0 2.0Z")


def test_a_line_of_a_width_lies_half_on_either_side() -> None:
    np.testing.assert_allclose(normals(LINE), [[0.0, -1.0]] * 3)
    one, other = ribbon(LINE, np.array([0.0, 4.0, 0.0]))
    assert one.tolist() == [[0, 0], [3, -2], [6, 0]]
    assert other.tolist() == [[6, 0], [3, 2], [0, 0]]


def test_more_points_lie_on_the_same_line_and_go_through_the_old_ones() -> None:
    points = np.array([[0.0, 0.0], [2.0, 4.0], [6.0, 0.0]])
    more = smoothed(points, 4)
    assert len(more) == 9
    np.testing.assert_allclose(more[::4], points)
    np.testing.assert_allclose(smoothed(LINE, 2)[:, 1], 0)


def test_pixels_are_those_of_the_groups_as_they_are_moved() -> None:
    canvas = Canvas("", "")
    with canvas.group("outer", np.array([100.0, 50.0])), canvas.group("inner", np.array([256.0, 300.0])):
        canvas.fill("#ff8000", disc(np.array([256.0, 300.0]), 40.0, count=24))
    pixels = rasterise(canvas.svg(), 256)
    rows, columns = np.nonzero(pixels[..., 0] > 127)
    np.testing.assert_allclose([rows.mean() + 0.5, columns.mean() + 0.5], [150, 128], atol=0.2)
    assert abs(rows.size - np.pi * 20**2) < 30
    assert pixels[150, 128].tolist() == [255, 128, 0]


def test_several_areas_of_one_path_are_all_filled() -> None:
    canvas = Canvas("", "")
    canvas.fill_all("#ffffff", [[disc(np.array([x, 256.0]), 30.0)] for x in (100.0, 400.0)])
    pixels = rasterise(canvas.svg(), 512)[256, :, 0]
    assert pixels[[100, 250, 400]].tolist() == [255, 0, 255]


def test_texts_of_a_drawing_cannot_end_it() -> None:
    assert "<b>" not in Canvas("<b>", "a & b </svg>").svg()


@pytest.mark.parametrize("colour", ["#000000", "#ffffff", "#c49a84", "#16100e"])
def test_colours_survive_lab(colour: str) -> None:
    assert to_hex(to_lab(np.array([int(colour[k : k + 2], 16) for k in (1, 3, 5)]))) == colour


def test_lab_of_red_is_that_of_the_books() -> None:
    np.testing.assert_allclose(to_lab(np.array([255, 0, 0])), [53.24, 80.09, 67.20], atol=0.02)


def test_a_shift_stays_inside_what_can_be_shown() -> None:
    assert shift(np.array([95.0, 10.0, 20.0]), 30, chroma=0.5, redder=1).tolist() == [98.0, 6.0, 10.0]


def test_a_greenish_skin_is_painted_in_the_hue_of_skin_and_keeps_its_order_of_lightness() -> None:
    painted = [painted_skin(np.array([light, 2.0, 12.0])) for light in (35.0, 60.0, 80.0)]
    hues = [np.degrees(np.arctan2(b, a)) for _, a, b in painted]
    np.testing.assert_allclose(hues, 59.0)
    assert painted[0][0] < painted[1][0] < painted[2][0]


def test_a_share_between_two_values_ends_there() -> None:
    assert [between(value, 10, 20) for value in (0, 10, 15, 25)] == [0, 0, 0.5, 1]
    assert between(12, 16, 6) == 0.4  # from above, as a child's age
