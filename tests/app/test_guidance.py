"""What is said of a photograph that somebody takes just now, by dlib's finder of faces."""

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("dlib", reason="finding faces needs the extra `faces`")
pytest.importorskip("fastapi", reason="the studio needs the extra `serve`")

from PIL import Image, ImageFilter

from speech2face.app.studio import FaceJudge, PhotographReport, light_of
from speech2face.face.detect import Picture, read_photograph
from tests.app.studio_people import PORTRAIT

FACES = Path(__file__).resolve().parents[3] / "shared" / "starter" / "faces"


@pytest.fixture(scope="module")
def judge() -> FaceJudge:
    return FaceJudge()


@pytest.fixture(scope="module")
def portrait() -> Picture:
    """A synthetic face, (512, 512, 3), evenly lit."""
    return read_photograph(PORTRAIT)


def as_picture(image: Image.Image) -> Picture:
    return np.asarray(image.convert("RGB"), np.uint8)


def in_a_room(portrait: Picture, pixels: int, left: int = 0, size: tuple[int, int] = (640, 480)) -> Picture:
    """The face of so many pixels on a grey wall."""
    room = Image.new("RGB", size, (150, 150, 150))
    room.paste(Image.fromarray(portrait).resize((pixels, pixels)), (left, size[1] - pixels))
    return as_picture(room)


def test_an_even_frontal_face_is_taken_without_advice(judge: FaceJudge, portrait: Picture) -> None:
    report = judge.judge(portrait, kept=True)
    assert report.findings == ()
    assert report.box is not None
    left, top, right, bottom = report.box
    assert 0.2 < left < 0.4 < 0.6 < right < 0.8
    assert 0.2 < top < bottom < 0.9


def test_an_empty_room_and_two_people_are_refused(judge: FaceJudge, portrait: Picture) -> None:
    assert judge.judge(np.full((480, 640, 3), 150, np.uint8), kept=False) == PhotographReport(("no_face",), ())
    two = np.concatenate([portrait, portrait[:, ::-1]], axis=1)
    assert judge.judge(two, kept=False).refused == ("several_faces",)


def test_who_is_far_away_or_small_is_asked_to_come_closer(judge: FaceJudge, portrait: Picture) -> None:
    assert judge.judge(in_a_room(portrait, 200), kept=False).refused == ("too_small",)
    assert judge.judge(in_a_room(portrait, 480), kept=False).refused == ()
    small = as_picture(Image.fromarray(portrait).resize((190, 190)))
    assert judge.judge(small, kept=False).refused == (), "as a look through the camera it will do"
    assert judge.judge(small, kept=True).refused == ("too_small",)


def test_who_is_at_the_edge_is_cut_off(judge: FaceJudge, portrait: Picture) -> None:
    assert judge.judge(portrait[:400], kept=True).refused == ("cut_off",)


def test_a_blurred_photograph_is_not_kept(judge: FaceJudge, portrait: Picture) -> None:
    blurred = as_picture(Image.fromarray(portrait).filter(ImageFilter.GaussianBlur(6)))
    assert judge.judge(blurred, kept=True).refused == ("blurred",)
    assert judge.judge(blurred, kept=False).refused == (), "a small look through the camera cannot tell"


@pytest.mark.parametrize(
    ("gains", "code"), [((0.2, 0.2), "too_dark"), ((2.5, 2.5), "too_bright"), ((0.6, 1.0), "uneven_light")]
)
def test_bad_light_is_advice(judge: FaceJudge, portrait: Picture, gains: tuple[float, float], code: str) -> None:
    gain = np.repeat(gains, portrait.shape[1] // 2)[None, :, None]  # of the left and the right half
    lit = np.clip(portrait * gain, 0, 255).astype(np.uint8)
    report = judge.judge(lit, kept=True)
    assert report.refused == ()
    assert code in report.advice


def test_light_is_measured_as_worked_out_by_hand() -> None:
    points = np.zeros((68, 2))
    points[36:42], points[42:48] = (72, 86), (128, 86)  # eyes 56 pixels apart, around the middle column, 100
    picture = np.full((200, 200, 3), 60, np.uint8)
    picture[:, 100:] = 120
    light = light_of(picture, points)
    assert light.mean == pytest.approx(90, abs=2)
    assert light.uneven_stops == pytest.approx(2.2, abs=0.1)  # twice the brightness is 2 ** 2.2 times the light
    assert light.burnt == 0


@pytest.mark.skipif(not FACES.is_dir(), reason="the starter's photographs are not here")
def test_nearly_all_good_photographs_are_taken(judge: FaceJudge) -> None:
    reports = [judge.judge(read_photograph(path), kept=True) for path in sorted(FACES.glob("*.jpg"))[:20]]
    assert sum(report.refused == () for report in reports) >= 19
    assert sum(report.findings == () for report in reports) >= 17
