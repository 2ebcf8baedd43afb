"""Seams of continued textures."""

import numpy as np
from numpy.testing import assert_allclose

from recipes.starter.face_model import CREASE_DEPTH_PIXELS, EARS_ROW, flatten_crease, join_ears

ROWS, COLUMNS = 300, 80


def test_a_step_above_the_ear_becomes_a_slope_and_the_face_stays() -> None:
    plane = np.zeros((ROWS, COLUMNS), np.float32)
    plane[int(EARS_ROW) :] = 1.0
    depth = np.broadcast_to(np.arange(COLUMNS, dtype=np.float32), plane.shape)
    joined = join_ears(plane[None], depth)[0]
    assert np.abs(np.diff(joined[:, 2])).max() < 0.12
    assert_allclose(joined[:, 30:], plane[:, 30:])
    assert_allclose(joined[:200], plane[:200])


def test_a_line_along_the_outline_goes_and_strands_across_it_stay() -> None:
    depth = np.broadcast_to(np.arange(COLUMNS, dtype=np.float32), (ROWS, COLUMNS)).copy()
    strands = np.random.default_rng(0).normal(size=(ROWS, 1)).astype(np.float32) * np.ones_like(depth)
    line = np.exp(-((depth - CREASE_DEPTH_PIXELS) ** 2)).astype(np.float32)
    left = flatten_crease((strands + line)[None], depth)[0]
    place = (slice(40, 180), int(CREASE_DEPTH_PIXELS))
    assert abs(float((left - strands)[place].mean())) < 0.5 * float(line[place].mean())
    assert np.corrcoef(left[place], strands[place])[0, 1] > 0.9
