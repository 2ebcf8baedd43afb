"""Widths of a drawn head by hand, and their errors."""

import numpy as np
import pytest

from speech2face.metrics.pictures import WIDTHS, absolute_ratio_error, width_ratios


def head(widths: dict[tuple[int, int], float]) -> np.ndarray:
    points = np.zeros((1, 68, 2))
    for pair, width in {(36, 45): 50.0, **widths}.items():
        points[0, pair[0]], points[0, pair[1]] = [-width / 2, 10], [width / 2, 10]
    return points


def test_each_width_is_a_share_of_the_eyes_outer_distance() -> None:
    found = width_ratios(head({(0, 16): 100, (17, 26): 60, (2, 14): 95, (4, 12): 80}))
    assert {name: values[0] for name, values in found.items()} == pytest.approx(
        {"ear_ratio": 2.0, "forehead_ratio": 1.2, "midline_ratio": 1.9, "cheek_ratio": 1.6}
    )


def test_the_size_of_the_picture_does_not_matter_and_closed_up_eyes_have_no_ratio() -> None:
    shapes = head({(0, 16): 100})
    assert width_ratios(shapes * 3)["ear_ratio"] == pytest.approx(width_ratios(shapes)["ear_ratio"])
    assert np.isnan(width_ratios(np.zeros((1, 68, 2)))["ear_ratio"]).all()


def test_the_error_is_absolute() -> None:
    assert absolute_ratio_error(np.array([2.1, 1.9, np.nan]), np.array([2.0, 2.0, 2.0])) == pytest.approx(
        [0.1, 0.1, np.nan], nan_ok=True
    )


def test_the_published_mean_is_that_of_the_four() -> None:
    assert np.mean([one.published for one in WIDTHS]) == pytest.approx(0.0241, abs=1e-4)
