"""The decoder's aligned face: where the eyes come to lie, and what lies beyond the picture's edge."""

import numpy as np
import pytest

from speech2face.data.faces import EYE_LINE_SHARE, aligned_face, beyond_edge, face_alignment
from speech2face.face.landmarks import COUNT, LEFT_EYE, RIGHT_EYE, eyes


def points_with_eyes(left: tuple[float, float], right: tuple[float, float]) -> np.ndarray:
    points = np.zeros((COUNT, 2))
    points[LEFT_EYE], points[RIGHT_EYE] = left, right
    return points


@pytest.mark.parametrize("size", [224, 96])
@pytest.mark.parametrize(("left", "right"), [((40, 60), (95, 60)), ((300, 200), (380, 120)), ((10, 10), (14, 9))])
def test_eyes_come_level_55_of_224_apart_around_the_middle(
    size: int, left: tuple[float, float], right: tuple[float, float]
) -> None:
    points = points_with_eyes(left, right)
    found = eyes(face_alignment(points, size).apply(points))
    half, line = 55 / 224 * size / 2, EYE_LINE_SHARE * size - 0.5
    np.testing.assert_allclose(found, [[(size - 1) / 2 - half, line], [(size - 1) / 2 + half, line]], atol=1e-9)


def test_a_picture_at_its_place_already_is_copied() -> None:
    random = np.random.default_rng(0)
    picture = random.integers(0, 256, (300, 320, 3)).astype(np.uint8)
    line = EYE_LINE_SHARE * 224 - 0.5
    y = 30 + line  # row 30 + the fraction of the eye line: a whole shift
    points = points_with_eyes((50 + 111.5 - 27.5, y), (50 + 111.5 + 27.5, y))
    face = aligned_face(picture, face_alignment(points))
    np.testing.assert_allclose(face.astype(int), picture[30:254, 50:274], atol=1)  # a rounding of the resampling


def test_a_bright_dot_comes_to_the_place_its_landmark_is_moved_to() -> None:
    picture = np.zeros((600, 800, 3), np.uint8)
    picture[298:303, 398:403] = 255
    move = face_alignment(points_with_eyes((350, 280), (430, 250)))
    face = aligned_face(picture, move)[..., 0].astype(np.float64)
    rows, columns = np.indices(face.shape)
    centre = [(columns * face).sum() / face.sum(), (rows * face).sum() / face.sum()]
    np.testing.assert_allclose(centre, move.apply(np.array([400.0, 300.0])), atol=0.15)


def test_beyond_the_edge_its_last_pixels_go_on() -> None:
    picture = np.zeros((100, 100, 3), np.uint8)
    picture[:, 50:] = 200
    face = aligned_face(picture, face_alignment(points_with_eyes((90, 20), (96, 20))))
    assert face.shape == (224, 224, 3)
    assert (face[:, 170:] == 200).all()  # right of the picture
    assert (face[:10] == 200).all()  # above it


def test_what_lies_beyond_the_edge_is_counted_and_only_that_is_blurred() -> None:
    random = np.random.default_rng(0)
    picture = random.integers(0, 256, (400, 300, 3)).astype(np.uint8)
    line = EYE_LINE_SHARE * 224 - 0.5
    inside = aligned_face(picture, face_alignment(points_with_eyes((130, line), (185, line))))
    move = face_alignment(points_with_eyes((130, line - 50), (185, line - 50)))  # 50 rows above the picture
    outside = beyond_edge(picture, move)
    assert outside.mean() == pytest.approx(50 / 224)
    assert outside[:50].all()
    face = aligned_face(picture, move)
    np.testing.assert_allclose(face[50:].astype(int), inside[:174], atol=1)
    assert face[:50].std() < 0.2 * picture.std()


def test_a_face_outside_the_picture_altogether_is_its_edge() -> None:
    picture = np.full((40, 40, 3), 77, np.uint8)
    assert (aligned_face(picture, face_alignment(points_with_eyes((500, 500), (560, 500)))) == 77).all()
