"""A face that moves: at rest it is the still one, a pose changes the parts that it names, and nothing else."""

import re
from xml.etree import ElementTree

import numpy as np
import pytest
from numpy.typing import NDArray

from speech2face.drawn.avatar import artist_for, draw_avatar
from speech2face.drawn.contours import FaceContours, face_contours, rasterise
from speech2face.drawn.moving import KEYS, MovingDrawing, WarpedFace
from speech2face.limits import Style
from speech2face.motion import POSE_NAMES, Pose
from tests.drawn.faces import canonical_face, points68

NAME = "{http://www.w3.org/2000/svg}"
FACES = [(30, 1.0), (55, 0.0)]
Picture = NDArray[np.uint8]


def moving(age: float, femininity: float, style: Style) -> MovingDrawing | WarpedFace:
    picture, landmarks = canonical_face(age, femininity)
    if style is Style.photographic:
        return WarpedFace(picture, landmarks)
    return MovingDrawing(artist_for(picture, landmarks, age=age, femininity=femininity, style=style))


def rest(age: float, femininity: float, style: Style) -> Picture:
    picture, landmarks = canonical_face(age, femininity)
    if style is Style.photographic:
        return picture
    return rasterise(draw_avatar(picture, landmarks, age=age, femininity=femininity, style=style), len(picture))


def changed(one: Picture, other: Picture) -> tuple[int, int, int, int]:
    """First and last row, first and last column in which two pictures differ visibly."""
    rows, columns = np.nonzero(np.abs(one.astype(int) - other).max(axis=2) > 24)
    return rows.min(), rows.max(), columns.min(), columns.max()


def contours(age: float, femininity: float) -> FaceContours:
    picture, landmarks = canonical_face(age, femininity)
    return face_contours(landmarks, len(picture))


@pytest.mark.parametrize("style", Style)
@pytest.mark.parametrize(("age", "femininity"), FACES)
def test_at_rest_it_is_the_still_face_to_the_last_pixel(age: float, femininity: float, style: Style) -> None:
    still = rest(age, femininity, style)
    np.testing.assert_array_equal(moving(age, femininity, style).frame(Pose(), len(still)), still)


@pytest.mark.parametrize("style", Style)
@pytest.mark.parametrize(("age", "femininity"), FACES)
def test_an_open_mouth_is_dark_inside_and_leaves_eyes_and_shoulders_alone(
    age: float, femininity: float, style: Style
) -> None:
    face, still, c = moving(age, femininity, style), rest(age, femininity, style), contours(age, femininity)
    opened = face.frame(Pose(jaw=1.0), len(still))
    first, last, left, right = changed(still, opened)
    assert c.nose_base[:, 1].mean() - 12 < first < last < c.neck[0][-1, 1] + 8
    assert c.jaw[0, 0] - 24 < left < right < c.jaw[-1, 0] + 24
    x, y = round(c.centre), round(float(c.lip_line[:, 1].mean()))
    assert opened[y + 10 : y + 16, x - 8 : x + 8].astype(int).sum(2).mean() < 270
    assert opened[y + 10 : y + 16, x - 8 : x + 8].mean() < still[y + 10 : y + 16, x - 8 : x + 8].mean() - 25


@pytest.mark.parametrize("style", Style)
def test_rounding_makes_the_mouth_narrow_and_spreading_makes_it_wide(style: Style) -> None:
    face, c = moving(30, 1.0, style), contours(30, 1.0)
    y = round(float(c.lip_line[:, 1].mean()))

    def width(pose: Pose) -> int:
        """Columns of the row of the lips' line that are darker than skin."""
        row = face.frame(pose, 512)[y + 2 : y + 8].astype(int).sum(2).min(0)
        dark = np.flatnonzero(row < row[round(c.centre) - 65] * 0.72)
        return int(np.ptp(dark[np.abs(dark - c.centre) < 60]))

    round_one, plain, wide = (width(Pose(jaw=0.5, **how)) for how in ({"rounding": 1.0}, {}, {"spread": 1.0}))
    assert round_one < 0.85 * plain
    assert wide > plain


@pytest.mark.parametrize("style", Style)
def test_lids_hide_the_eyes(style: Style) -> None:
    face, c = moving(30, 1.0, style), contours(30, 1.0)

    def whites(pose: Pose) -> float:
        """Bright pixels around the irises on the picture's left, less those beside them."""
        x, y = c.eyes[0].iris.round().astype(int)
        eye = face.frame(pose, 512)[y - 7 : y + 6, x - 16 : x + 16].astype(float)
        return float(np.ptp(eye.mean(axis=2)[4:9]))

    assert whites(Pose(blink_left=1.0)) < 0.75 * whites(Pose())
    assert whites(Pose(blink_right=1.0)) == whites(Pose())


@pytest.mark.parametrize("style", Style)
def test_a_moved_head_leaves_the_shoulders(style: Style) -> None:
    face, still = moving(55, 0.0, style), rest(55, 0.0, style)  # whose hair is short
    moved = face.frame(Pose(right=0.02, down=0.01, roll=2.0), 512)
    assert np.abs(moved[60:300].astype(int) - still[60:300]).mean() > 2
    np.testing.assert_array_equal(moved[-20:], still[-20:])
    strip, wider = still[60:230].astype(int).mean(axis=(0, 2)), moved[60:230].astype(int).mean(axis=(0, 2))
    errors = [np.abs(np.roll(strip, step)[60:-60] - wider[60:-60]).sum() for step in range(-30, 31)]
    assert 8 <= np.argmin(errors) - 30 <= 22  # 0.02 of the width, and what the roll adds above the neck


@pytest.mark.parametrize("style", Style)
def test_faces_of_68_points_move_too(style: Style) -> None:
    picture, _ = face = canonical_face(30, 1.0)
    points = points68(face)
    if style is Style.photographic:
        found: MovingDrawing | WarpedFace = WarpedFace(picture, points)
    else:
        found = MovingDrawing(artist_for(picture, points, style=style))
    opened, still = found.frame(Pose(jaw=1.0), 256), found.frame(Pose(), 256)
    first, last, _, _ = changed(still, opened)
    assert 256 * 0.55 < first < last < 256 * 0.95


def test_the_mouth_s_inside_is_the_same_paint_for_everybody() -> None:
    inside = []
    for age, femininity in FACES:
        c = contours(age, femininity)
        x, y = round(c.centre), round(float(c.lip_line[:, 1].mean()))
        inside.append(moving(age, femininity, Style.photographic).frame(Pose(jaw=1.0), 512)[y + 11, x - 6 : x + 6])
    assert np.abs(inside[0].astype(int) - inside[1]).max() < 40


def poses(*held: Pose) -> NDArray[np.float32]:
    return np.array([[getattr(pose, name) for name in POSE_NAMES] for pose in held], np.float32)


def test_an_animated_drawing_shows_one_mouth_at_a_time_and_is_at_rest_without_animation() -> None:
    face = moving(30, 1.0, Style.drawn)
    assert isinstance(face, MovingDrawing)
    held = poses(Pose(), Pose(jaw=1.0, right=0.01), Pose(), Pose(jaw=0.5, rounding=1.0))
    root = ElementTree.fromstring(face.animated(held, label="synthetic", description="A drawn face."))
    mouths = [group for group in root.iter(f"{NAME}g") if group.get("id", "").startswith("mouth-")]
    assert [group.get("display") for group in mouths] == ["inline", "none", "none"]
    shown = np.zeros(4, int)
    for group in mouths:
        animation = group.find(f"{NAME}animate")
        assert animation is not None and animation.get("dur") == "0.16s"
        starts = [round(4 * float(time)) for time in animation.attrib["keyTimes"].split(";")]
        values = animation.attrib["values"].split(";")
        for start, end, value in zip(starts, [*starts[1:], 4], values, strict=True):
            shown[start:end] += value == "inline"
    assert shown.tolist() == [1, 1, 1, 1]
    assert any(text.text == "synthetic" for text in root.iter(f"{NAME}text"))
    ids = [each.attrib["id"] for each in root.iter() if "id" in each.attrib]
    assert len(ids) == len(set(ids))


@pytest.mark.parametrize("style", [Style.drawn, Style.line])
@pytest.mark.parametrize(("age", "femininity"), FACES)
def test_the_paths_of_a_puppet_correspond_number_by_number(age: float, femininity: float, style: Style) -> None:
    face = moving(age, femininity, style)
    assert isinstance(face, MovingDrawing)
    root = ElementTree.fromstring(face.puppet(label="synthetic", description="A drawn face."))
    number = re.compile(r"-?\d+(?:\.\d+)?")
    seen = set()
    for path in root.iter(f"{NAME}path"):
        for key in KEYS:
            if (other := path.get(f"data-{key}")) is not None:
                seen.add(key)
                assert number.split(path.attrib["d"]) == number.split(other)
    assert seen == set(KEYS)
