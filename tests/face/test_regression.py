"""The regression of pixels on attributes learns what it is shown."""

import numpy as np
from numpy.testing import assert_allclose

from recipes.starter.face_model import FITTED, _fit_plane, group_weights, penalties

TERMS = 1 + len(FITTED)


def test_groups_of_a_person_share_one_whole() -> None:
    groups = ("white", "black", "west_asian", "east_asian")
    assert_allclose(group_weights("east_asian/white", groups), [0.5, 0, 0, 0.5])
    assert_allclose(group_weights("black", groups), [0, 1, 0, 0])


def test_many_faces_teach_a_pixel_its_true_slopes() -> None:
    generator = np.random.default_rng(0)
    x = np.concatenate([np.ones((4000, 1)), generator.normal(size=(4000, TERMS - 1))], axis=1)
    truth = generator.normal(size=TERMS)
    values = np.broadcast_to((x @ truth)[:, None, None], (4000, 1, 2)).astype(np.float16)
    fitted = _fit_plane(x, values, np.ones(values.shape, np.float32))
    assert_allclose(fitted[:, 0, 0], truth, atol=0.05)


def test_a_pixel_nobody_believes_teaches_nothing() -> None:
    x = np.ones((6, TERMS))
    values = np.ones((6, 1, 2), np.float16)
    values[5] = 50.0
    weights = np.ones(values.shape, np.float32)
    weights[5] = 0.0
    fitted = _fit_plane(x, values, weights)
    assert float(np.tensordot(x[0], fitted, axes=1).max()) < 1.01


def test_smaller_groups_are_shrunk_harder_and_the_mean_not_at_all() -> None:
    assert penalties()[0] == 0.0
    assert (penalties()[1:] > 0).all()
