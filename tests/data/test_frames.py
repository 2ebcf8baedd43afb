"""Choosing the face: whose it is, what is measured of it and which limit it breaks; detectors made up by hand."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from speech2face.data.faces import FaceCandidate, FaceLimits, FaceSearch, SeenFace, sharpness
from speech2face.data.media import Rejected
from speech2face.face.appearance import Points
from speech2face.face.detect import DlibDetector, FaceBox, Picture
from speech2face.face.landmarks import COUNT, LEFT_EYE, RIGHT_EYE, DlibLandmarker, HeadPose
from tests.data.made_videos import Placed, drawn_face, scene

PICTURE = np.zeros((400, 600, 3), np.uint8)


class KnownFaces:
    """A detector that knows where the faces are, and sees those of 80 pixels and more, as dlib's."""

    def __init__(self, *faces: tuple[int, int, int]) -> None:
        self.faces = faces
        """Centre x, y and side in pixels of `PICTURE`."""
        self.seen: list[tuple[int, ...]] = []

    def detect(self, picture: Picture) -> tuple[FaceBox, ...]:
        self.seen.append(picture.shape)
        scale = picture.shape[1] / PICTURE.shape[1]
        found = [square(x * scale, y * scale, side * scale) for x, y, side in self.faces if side * scale >= 79]
        return tuple(sorted(found, key=lambda box: -box.area))


class MarkedEyes:
    """Landmarks of which only the eyes are placed, half a box apart."""

    def find(self, picture: Picture, box: FaceBox) -> Points:
        points = np.zeros((COUNT, 2))
        side = box.right - box.left
        points[LEFT_EYE] = [box.left + side / 4, box.top + side / 3]
        points[RIGHT_EYE] = [box.left + 3 * side / 4, box.top + side / 3]
        return points


def square(x: float, y: float, side: float) -> FaceBox:
    left, top = round(x - side / 2), round(y - side / 2)
    return FaceBox(left, top, left + round(side), top + round(side))


def search(detector: KnownFaces, limits: FaceLimits | None = None) -> FaceSearch:
    return FaceSearch(detector, MarkedEyes(), limits or FaceLimits())


def reason(wanted: FaceSearch, candidates: Sequence[FaceCandidate]) -> str:
    with pytest.raises(Rejected) as caught:
        wanted.find(candidates)
    return caught.value.reason


def test_a_large_face_is_found_in_the_small_copy_and_the_large_one_is_not_looked_at() -> None:
    detector = KnownFaces((300, 200, 200))
    [(_, box)] = search(detector).find([FaceCandidate(PICTURE)])
    assert detector.seen == [(213, 320)]
    assert abs(box.left - 200) <= 2
    assert abs(box.right - box.left - 200) <= 2


def test_a_small_face_is_found_in_larger_copies_down_to_the_least_size() -> None:
    detector = KnownFaces((300, 200, 66))
    [(_, box)] = search(detector).find([FaceCandidate(PICTURE)])
    assert detector.seen[0] == (213, 320)
    assert detector.seen[-1] == (500, 750)  # 64 pixels of the picture are 80 there
    assert abs(box.left - 267) <= 2
    assert reason(search(KnownFaces((300, 200, 60))), [FaceCandidate(PICTURE)]) == "no_face"


def test_one_picture_with_a_face_is_enough_and_all_small_copies_come_before_larger_ones() -> None:
    class OnlyBright(KnownFaces):
        def detect(self, picture: Picture) -> tuple[FaceBox, ...]:
            return super().detect(picture) if picture.max() > 0 else ()

    bright = np.full_like(PICTURE, 9)
    found = search(OnlyBright((300, 200, 200))).find([FaceCandidate(PICTURE, 1.0), FaceCandidate(bright, 2.0)])
    assert [candidate.seconds for candidate, _ in found] == [2.0]


def test_in_other_pictures_the_face_is_looked_for_around_its_place() -> None:
    """It has moved a little in one, and in another somebody else appears far away."""
    detector, limits = DlibDetector(), FaceLimits()
    he, she = drawn_face(30, 1.0), drawn_face(30, 0.0)
    pictures = [
        scene(Placed(he, x=0.3)),
        scene(Placed(he, x=0.36, y=0.55, pixels=260)),
        scene(),
        scene(Placed(she, x=0.85)),
        scene(Placed(he, x=0.25), Placed(she, x=0.8)),
    ]
    candidates = [FaceCandidate(picture, float(number)) for number, picture in enumerate(pictures)]
    found = FaceSearch(detector, MarkedEyes(), limits).find(candidates)
    centres = {candidate.seconds: (box.left + box.right) / 2 / 640 for candidate, box in found}
    assert centres == pytest.approx({0.0: 0.3, 1.0: 0.36, 4.0: 0.25}, abs=0.03)
    with pytest.raises(Rejected, match="several_faces"):
        FaceSearch(detector, DlibLandmarker(), limits).check_alone(*found[-1])


def test_two_faces_without_a_hint_are_refused_and_the_hint_chooses() -> None:
    picture = scene(Placed(drawn_face(30, 1.0), x=0.25), Placed(drawn_face(30, 0.0), x=0.75))
    wanted = FaceSearch(DlibDetector(enlargements=0), DlibLandmarker(), FaceLimits())
    assert reason(wanted, [FaceCandidate(picture)]) == "several_faces"
    [(_, left)] = wanted.find([FaceCandidate(picture, hint=(0.25, 0.5))])
    [(_, right)] = wanted.find([FaceCandidate(picture, hint=(0.75, 0.5))])
    assert (left.left + left.right) / 1280 == pytest.approx(0.25, abs=0.02)
    assert (right.left + right.right) / 1280 == pytest.approx(0.75, abs=0.02)
    assert reason(wanted, [FaceCandidate(picture, hint=(0.5, 0.05))]) == "wrong_face"


def test_a_hinted_face_is_found_in_the_part_around_the_hint_or_else_in_the_whole() -> None:
    class Counting(DlibDetector):
        def detect(self, picture: Picture) -> tuple[FaceBox, ...]:
            looked.append(picture.shape[:2])
            return super().detect(picture)

    looked: list[tuple[int, ...]] = []
    wanted = FaceSearch(Counting(enlargements=0), MarkedEyes(), FaceLimits())
    picture = scene(Placed(drawn_face(), x=0.3))
    [(_, box)] = wanted.find([FaceCandidate(picture, hint=(0.32, 0.5))])
    assert looked == [(270, 270)]
    looked.clear()
    small = scene(Placed(drawn_face(), pixels=150), size=(1280, 720))  # too small in the part's copy
    [(_, box)] = wanted.find([FaceCandidate(small, hint=(0.5, 0.5))])
    assert looked == [(320, 320), (180, 320), (360, 640), (720, 1280)]
    assert 60 < box.right - box.left < 100


def test_a_second_face_of_half_the_size_counts_even_if_the_small_copy_does_not_show_it() -> None:
    rival, bystander = KnownFaces((150, 200, 180), (450, 200, 100)), KnownFaces((150, 200, 180), (450, 200, 85))
    for detector in (rival, bystander):
        [(candidate, box)] = search(detector).find([FaceCandidate(PICTURE)])
        assert abs(box.left - 60) <= 2
        if detector is rival:
            with pytest.raises(Rejected, match="several_faces: 2 faces"):
                search(detector).check_alone(candidate, box)
        else:
            search(detector).check_alone(candidate, box)


def test_beside_a_hinted_face_nobody_is_looked_for() -> None:
    detector = KnownFaces((150, 200, 180), (450, 200, 100))
    search(detector).check_alone(FaceCandidate(PICTURE, hint=(0.25, 0.5)), square(150, 200, 180))
    assert detector.seen == []


def good_face() -> SeenFace:
    points = np.full((COUNT, 2), 200.0)
    return SeenFace(PICTURE, square(300, 200, 200), points, HeadPose(0, 0, 0), 0.2, 0.3, 0.02)


STRICT = FaceLimits(max_mouth_opening=0.1, min_eye_opening=0.2, max_outside=0.2)


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"box": square(300, 200, 60)}, "too_small"),
        ({"points": np.array([[200.0, 200.0]] * 67 + [[200.0, -40.0]])}, "cut_off"),
        ({"outside": 0.3}, "cut_off"),
        ({"pose": HeadPose(-30, 0, 0)}, "not_frontal"),
        ({"pose": HeadPose(0, 26, 0)}, "not_frontal"),
        ({"sharpness": 0.01}, "blurred"),
        ({"eye_opening": 0.1}, "eyes_shut"),
        ({"mouth_opening": 0.3}, "mouth_open"),
    ],
)
def test_a_face_beyond_a_limit_is_refused_with_its_reason(change: dict[str, object], code: str) -> None:
    wanted = FaceSearch(KnownFaces(), MarkedEyes(), STRICT)
    wanted.check(good_face())
    with pytest.raises(Rejected) as caught:
        wanted.check(replace(good_face(), **change))  # type: ignore[arg-type]
    assert caught.value.reason == code


def test_mouth_and_eyes_are_looked_at_only_if_asked() -> None:
    loose = search(KnownFaces())
    loose.check(replace(good_face(), mouth_opening=0.9, eye_opening=0.0, outside=0.5))
    loose.check(replace(good_face(), pose=HeadPose(0, 0, 80)))  # roll is undone


@pytest.mark.parametrize(
    "worse",
    [
        {"pose": HeadPose(15, 0, 0)},
        {"sharpness": 0.05},
        {"box": square(300, 200, 90)},
        {"eye_opening": 0.1},
        {"mouth_opening": 0.5},
    ],
)
def test_what_is_worse_in_one_thing_is_not_chosen(worse: dict[str, object]) -> None:
    assert replace(good_face(), **worse).quality < good_face().quality  # type: ignore[arg-type]


def test_blur_takes_sharpness_and_contrast_does_not() -> None:
    detector, landmarker = DlibDetector(), DlibLandmarker()

    def sharpness_of(picture: Picture) -> float:
        return sharpness(picture, landmarker.find(picture, detector.detect(picture)[0]))

    sharp, soft, smeared = (
        sharpness_of(scene(Placed(drawn_face(), pixels=340, blur_pixels=blur))) for blur in (0.0, 1.5, 5.0)
    )
    assert sharp > 2 * soft > 4 * smeared
    least = FaceLimits().min_sharpness
    assert least is not None
    assert smeared < least < soft
    pale = (scene(Placed(drawn_face(), pixels=340)) // 2 + 100).astype(np.uint8)
    assert sharpness_of(pale) == pytest.approx(sharp, rel=0.15)
