"""The London scheme and its mirror pairs."""

import json
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_allclose

from speech2face.face.landmarks import HAND_PLACED_COUNT as COUNT
from speech2face.face.landmarks import HAND_PLACED_INNER_LIPS as INNER_LIPS
from speech2face.face.landmarks import close_mouths, mirror, mirror_pairs

STARTER = Path(__file__).resolve().parents[3] / "shared" / "starter" / "faces" / "landmarks.json"
# two eyes, two mouth corners, a chin; the second face lopsided
FACES = np.array(
    [
        [[2.0, 2.0], [8.0, 2.0], [3.5, 7.0], [6.5, 7.0], [5.0, 9.0]],
        [[2.1, 2.2], [8.0, 1.9], [3.3, 7.1], [6.4, 6.8], [5.3, 9.0]],
    ]
)


def test_mirror_pairs_of_a_small_face_are_found_by_hand() -> None:
    assert mirror_pairs(FACES).tolist() == [1, 0, 3, 2, 4]


def test_mirroring_twice_gives_the_face_back() -> None:
    pairs = mirror_pairs(FACES)
    assert_allclose(mirror(mirror(FACES, pairs, 11.0), pairs, 11.0), FACES)


def test_a_mirrored_point_keeps_its_distance_from_the_other_edge() -> None:
    # eleven pixels wide: column 2 is the third from the left, so its image is the third from the right, column 8
    flipped = mirror(FACES[:1], mirror_pairs(FACES), 11.0)
    assert_allclose(flipped[0, 1], [8.0, 2.0])


def test_closing_the_mouth_joins_the_inner_lips_halfway() -> None:
    shapes = np.zeros((1, COUNT, 2))
    upper, lower = INNER_LIPS[2]
    shapes[0, upper], shapes[0, lower] = (5.0, 10.0), (5.0, 14.0)
    closed = close_mouths(shapes)
    assert_allclose(closed[0, upper], [5.0, 12.0])
    assert_allclose(closed[0, lower], [5.0, 12.0])


@pytest.mark.skipif(not STARTER.exists(), reason="the starter set is not beside the checkout")
def test_mirror_pairs_of_the_london_set_are_an_involution_with_eleven_points_on_the_midline() -> None:
    marks = json.loads(STARTER.read_text(encoding="utf-8"))["landmarks"]
    pairs = mirror_pairs(np.array(list(marks.values())))
    assert np.array_equal(pairs[pairs], np.arange(COUNT))
    assert np.flatnonzero(pairs == np.arange(COUNT)).tolist() == [55, 90, 96, 101, 106, 129, 139, 151, 174, 175, 177]
    assert pairs[0] == 1
    assert pairs[87] == 93
