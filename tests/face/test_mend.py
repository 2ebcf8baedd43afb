"""Seams of continued textures."""

import numpy as np
from numpy.testing import assert_allclose

from recipes.starter.face_model import EARS_ROW, join_ears

ROWS, COLUMNS = 300, 80


def test_a_step_above_the_ear_becomes_a_slope_and_the_face_stays() -> None:
    plane = np.zeros((ROWS, COLUMNS), np.float32)
    plane[int(EARS_ROW) :] = 1.0
    depth = np.broadcast_to(np.arange(COLUMNS, dtype=np.float32), plane.shape)
    joined = join_ears(plane[None], depth)[0]
    assert np.abs(np.diff(joined[:, 2])).max() < 0.12
    assert_allclose(joined[:, 30:], plane[:, 30:])
    assert_allclose(joined[:200], plane[:200])
