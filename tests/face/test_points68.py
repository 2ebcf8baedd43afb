"""The 68 landmarks and what is read from them, worked out by hand; and dlib's finder on a drawn face."""

import numpy as np
import pytest

from speech2face.face.appearance import Points
from speech2face.face.detect import DlibDetector
from speech2face.face.landmarks import (
    ASIDE_GAIN,
    AVERAGE_HEAD,
    COUNT,
    DlibLandmarker,
    eye_opening,
    eyes,
    head_pose,
    mouth_opening,
)
from tests.data.made_videos import drawn_face


def drawn_points() -> Points:
    """A face of which only eyes and inner lips are placed."""
    points = np.zeros((COUNT, 2))
    eye = np.array([[0, 0], [2, -1], [4, -1], [6, 0], [4, 1], [2, 1]], dtype=np.float64)
    points[36:42], points[42:48] = eye + np.array([10, 20]), eye + np.array([30, 20])
    points[[60, 64]] = [[15, 50], [25, 50]]
    points[[61, 62, 63]], points[[67, 66, 65]] = [[17, 49], [20, 49], [23, 49]], [[17, 52], [20, 52], [23, 52]]
    return points


def test_eyes_are_the_middles_of_their_six_points() -> None:
    np.testing.assert_allclose(eyes(drawn_points()), [[13, 20], [33, 20]])


def test_an_eye_twice_as_high_as_its_lids_and_six_wide_is_a_third_open() -> None:
    assert eye_opening(drawn_points()) == pytest.approx(2 / 6)


def test_the_less_open_eye_counts() -> None:
    winking = drawn_points()
    winking[42:48, 1] = 20.0
    assert eye_opening(winking) == 0


def test_a_mouth_three_high_and_ten_wide_is_open_by_three_tenths() -> None:
    assert mouth_opening(drawn_points()) == pytest.approx(0.3)


def turned(yaw: float, pitch: float, roll: float) -> Points:
    """The average head in a picture, turned by degrees; aside by so much more as dlib's landmarks exaggerate it."""
    y, p, r = np.arcsin(ASIDE_GAIN * np.sin(np.radians(yaw))), *np.radians([pitch, roll])
    aside = np.array([[np.cos(y), 0, np.sin(y)], [0, 1, 0], [-np.sin(y), 0, np.cos(y)]])
    down = np.array([[1, 0, 0], [0, np.cos(p), np.sin(p)], [0, -np.sin(p), np.cos(p)]])
    level = np.array([[np.cos(r), -np.sin(r), 0], [np.sin(r), np.cos(r), 0], [0, 0, 1]])
    points = np.zeros((COUNT, 3))
    for number, place in AVERAGE_HEAD.items():
        points[number] = place
    return np.asarray((points @ (level @ down @ aside).T)[:, :2] * 1.7 + [300, 200])


@pytest.mark.parametrize(
    ("yaw", "pitch", "roll"), [(0, 0, 0), (20, 0, 0), (-35, 0, 0), (0, 15, 0), (0, 0, 25), (0, -10, -40)]
)
def test_a_turned_head_shows_how_far_it_is_turned(yaw: float, pitch: float, roll: float) -> None:
    found = head_pose(turned(yaw, pitch, roll))
    assert (found.yaw_degrees, found.pitch_degrees, found.roll_degrees) == pytest.approx((yaw, pitch, roll), abs=1e-6)
    assert found.turn_degrees == pytest.approx(max(abs(yaw), abs(pitch)), abs=1e-6)


def test_two_turns_add_up_and_roll_does_not_count() -> None:
    found = head_pose(turned(-20, 15, 30))
    assert 24 < found.turn_degrees < 26


def test_dlib_finds_a_drawn_face_upright_frontal_eyes_open_and_mouth_shut() -> None:
    face = drawn_face()
    points = DlibLandmarker().find(face, DlibDetector().detect(face)[0])
    assert points.shape == (COUNT, 2)
    pose = head_pose(points)
    assert pose.turn_degrees < 8
    assert abs(pose.roll_degrees) < 2
    assert eye_opening(points) > 0.25
    assert mouth_opening(points) < 0.1
    np.testing.assert_allclose(eyes(points), [[206, 241], [307, 241]], atol=6)
