"""The bald head and the hair that grows on it."""

from dataclasses import replace

import numpy as np
import pytest
from numpy.testing import assert_allclose

from recipes.starter.face_material import HAND_PLACED, HEAD_CENTRE, SIZE
from recipes.starter.hair import CENTRE, FACE_ACROSS, FACE_ROWS, STYLES, Strands, height, strands_of
from recipes.starter.scalp import Continuation, skull_moves


def grown(name: str) -> Strands:
    """A style with few strands, which is a matter of a moment."""
    return strands_of(replace(STYLES[name], strands=1200, guides=150), np.random.default_rng(0))


def test_the_scalp_continues_the_skin_at_the_hairline_and_leaves_the_face_alone() -> None:
    known = np.zeros((SIZE, SIZE), np.float32)
    known[200:] = 1.0
    generator = np.random.default_rng(0)
    plane = generator.normal(size=(SIZE, SIZE)).astype(np.float32)
    plane[195:] = 0.3
    continued = Continuation(known)(plane)
    assert_allclose(continued[200:], plane[200:])
    assert_allclose(continued[:180], 0.3, atol=0.1)  # however hairy it was
    assert np.abs(continued[:180] - plane[:180]).mean() > 0.5


def test_the_head_goes_where_the_face_goes_and_no_hairstyle_stretches_the_scalp() -> None:
    generator = np.random.default_rng(0)
    mean = generator.uniform(100, 400, size=(len(HAND_PLACED) + 29, 2)).astype(np.float32)
    larger = (0.1 * (mean - HEAD_CENTRE) + [3.0, -2.0]).astype(np.float32)
    tall = np.zeros_like(mean)
    tall[len(HAND_PLACED) : len(HAND_PLACED) + 19, 1] = -20.0  # hair alone
    carried = skull_moves(np.stack([larger, tall]), mean)
    assert_allclose(carried[0], larger, atol=0.3)
    assert_allclose(carried[1], 0.0, atol=1e-5)


@pytest.mark.parametrize("name", list(STYLES))
def test_no_strand_grows_into_the_head_nor_out_of_the_picture(name: str) -> None:
    strands = grown(name)
    assert len(strands.points) > 200
    assert height(strands.points).min() > 0.999
    assert np.isfinite(strands.points).all()
    assert np.abs(strands.points[..., 0] - CENTRE[0]).max() < 240


@pytest.mark.parametrize("name", ["medium", "long"])
def test_parted_hair_leaves_the_face_free(name: str) -> None:
    points = grown(name).points
    before = (points[..., 2] > 0) & (points[..., 1] > FACE_ROWS[2]) & (points[..., 1] < 380)
    least = np.interp(points[..., 1], FACE_ROWS, FACE_ACROSS)
    assert (np.abs(points[..., 0] - CENTRE[0])[before] > 0.9 * least[before]).all()
