"""Cropping a face, by hand on pictures of a few pixels."""

import numpy as np
from numpy.testing import assert_allclose, assert_array_equal

from speech2face.face.appearance import Similarity
from speech2face.face.detect import FaceBox, box_crop, take_crop
from speech2face.face.embed import TEMPLATE, crop_by_points, eyes_of_five, five_of_sixty_eight, template


def numbered(height: int, width: int) -> np.ndarray:
    """Every pixel another colour."""
    picture = np.zeros((height, width, 3), np.uint8)
    picture[..., 0] = np.arange(height)[:, None]
    picture[..., 1] = np.arange(width)
    return picture


def test_a_box_of_the_crops_own_size_is_cut_out_pixel_by_pixel() -> None:
    picture = numbered(20, 30)
    crop = take_crop(picture, box_crop(FaceBox(4, 6, 12, 14), 8), 8)
    assert_array_equal(crop, picture[6:14, 4:12])


def test_a_margin_of_a_half_doubles_the_square() -> None:
    picture = numbered(40, 40)
    crop = take_crop(picture, box_crop(FaceBox(16, 16, 24, 24), 16, margin=0.5), 16)
    assert_array_equal(crop, picture[12:28, 12:28])


def test_a_box_that_is_no_square_keeps_its_longer_side_and_its_centre() -> None:
    move = box_crop(FaceBox(10, 20, 14, 28), 8)
    assert_allclose(move.apply(np.array([[8.0, 20.0], [15.0, 27.0]])), [[0.0, 0.0], [7.0, 7.0]])


def test_what_lies_outside_the_picture_gets_the_stated_colour() -> None:
    crop = take_crop(np.full((4, 4, 3), 200, np.uint8), box_crop(FaceBox(-2, -2, 2, 2), 4), 4, outside=(1, 2, 3))
    assert crop[0, 0].tolist() == [1, 2, 3]
    assert crop[3, 3].tolist() == [200, 200, 200]


def test_a_large_picture_is_averaged_and_not_sampled() -> None:
    # stripes one pixel wide: any one sample is black or white, their average is grey
    stripes = np.zeros((160, 160, 3), np.uint8)
    stripes[:, ::2] = 255
    crop = take_crop(stripes, box_crop(FaceBox(0, 0, 160, 160), 20), 20)
    assert abs(crop.astype(int)[2:-2, 2:-2] - 127.5).max() < 3


def test_a_shrunk_crop_stays_where_it_was() -> None:
    # a white square in the middle of the box stays in the middle of the crop, to a fraction of a pixel
    picture = np.zeros((333, 333, 3), np.uint8)
    picture[130:203, 130:203] = 255
    crop = take_crop(picture, box_crop(FaceBox(0, 0, 333, 333), 50), 50)[..., 0].astype(float)
    places = np.arange(50)
    assert_allclose((crop.sum(0) * places).sum() / crop.sum(), 24.5, atol=0.1)
    assert_allclose((crop.sum(1) * places).sum() / crop.sum(), 24.5, atol=0.1)


def test_a_quarter_turn_moves_every_pixel_where_it_should_be() -> None:
    picture = numbered(8, 8)
    quarter = Similarity(np.array([[0.0, 1.0], [-1.0, 0.0]]), np.array([7.0, 0.0]))  # (x, y) -> (7 - y, x)
    assert_allclose(quarter.apply(np.array([[0.0, 0.0]])), [[7.0, 0.0]])
    assert_array_equal(take_crop(picture, quarter, 8), np.rot90(picture, -1))


def test_eyes_are_the_middle_of_their_corners_and_ordered_along_the_picture() -> None:
    points = np.array([[90.0, 10.0], [70.0, 12.0], [30.0, 8.0], [50.0, 10.0], [60.0, 60.0]])
    assert_allclose(eyes_of_five(points), [[40.0, 9.0], [80.0, 11.0]])


def test_the_five_places_of_a_face_already_in_place_do_not_move() -> None:
    move = crop_by_points(TEMPLATE, 112)
    assert_allclose(move.linear, np.eye(2), atol=1e-9)
    assert_allclose(move.shift, 0, atol=1e-9)
    assert_allclose(crop_by_points(TEMPLATE[:2], 112).linear, np.eye(2), atol=1e-9)


def test_the_template_grows_with_the_crop_about_the_pictures_corner() -> None:
    assert_allclose(template(224)[0], (TEMPLATE[0] + 0.5) * 2 - 0.5)


def test_the_five_points_of_sixty_eight_are_eyes_nose_and_mouth() -> None:
    points = np.zeros((68, 2))
    points[36:42], points[42:48] = (1.0, 2.0), (3.0, 4.0)
    points[30], points[48], points[54] = (5.0, 6.0), (7.0, 8.0), (9.0, 10.0)
    assert_allclose(five_of_sixty_eight(points), [[1, 2], [3, 4], [5, 6], [7, 8], [9, 10]])
