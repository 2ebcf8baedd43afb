"""Curves and colours by hand."""

import numpy as np
import pytest

from speech2face.drawn.avatar import band, curve, shift, to_hex, to_lab

LINE = np.array([[0.0, 0.0], [3.0, 0.0], [6.0, 0.0]])


def test_a_straight_row_of_points_gives_a_straight_curve_through_them() -> None:
    assert curve(LINE) == "M0.0 0.0C0.5 0.0 2.0 0.0 3.0 0.0C4.0 0.0 5.5 0.0 6.0 0.0"


def test_a_closed_curve_comes_back() -> None:
    square = np.array([[0.0, 0.0], [6.0, 0.0], [6.0, 6.0], [0.0, 6.0]])
    text = curve(square, closed=True)
    assert text.count("C") == 4
    assert text.endswith("0.0 0.0Z")


def test_a_band_goes_there_and_back() -> None:
    text = band(LINE, LINE + np.array([0.0, 2.0]))
    assert text.startswith("M0.0 0.0") and "L6.0 2.0" in text and text.endswith("0.0 2.0Z")


@pytest.mark.parametrize("colour", ["#000000", "#ffffff", "#c49a84", "#16100e"])
def test_colours_survive_lab(colour: str) -> None:
    assert to_hex(to_lab(np.array([int(colour[k : k + 2], 16) for k in (1, 3, 5)]))) == colour


def test_lab_of_red_is_that_of_the_books() -> None:
    np.testing.assert_allclose(to_lab(np.array([255, 0, 0])), [53.24, 80.09, 67.20], atol=0.02)


def test_a_shift_stays_inside_what_can_be_shown() -> None:
    assert shift(np.array([95.0, 10.0, 20.0]), 30, chroma=0.5, redder=1).tolist() == [98.0, 6.0, 10.0]
