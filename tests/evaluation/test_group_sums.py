"""Sums by speaker."""

import numpy as np

from speech2face.metrics.intervals import group_sums


def test_rows_are_added_by_hand() -> None:
    rows = np.array([[1, 2], [10, 20], [3, 4]], np.float32)
    np.testing.assert_array_equal(group_sums(rows, np.array([2, 0, 2]), 4), [[10, 20], [0, 0], [4, 6], [0, 0]])


def test_nothing_sums_to_nothing_and_many_rows_as_one_by_one() -> None:
    assert group_sums(np.zeros((0, 3), np.float32), np.zeros(0, int), 2).tolist() == [[0, 0, 0], [0, 0, 0]]
    rng = np.random.default_rng(0)
    rows, group = rng.standard_normal((200, 5)).astype(np.float32), rng.integers(17, size=200)
    expected = np.zeros((17, 5))
    np.add.at(expected, group, rows)
    np.testing.assert_allclose(group_sums(rows, group, 17), expected, atol=1e-12)
