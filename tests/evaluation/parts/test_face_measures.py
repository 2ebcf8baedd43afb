"""The parts of craniofacial measurements and of head widths, on made landmarks: no detector is asked."""

import numpy as np
import pytest
from numpy.typing import NDArray

from speech2face.errors import MissingExtra
from speech2face.evaluation.parts import shapes as anthropometry
from speech2face.evaluation.parts import shapes as craniofacial
from speech2face.evaluation.parts.shapes import strangers
from speech2face.evaluation.pictures import Kind, PictureSet
from speech2face.evaluation.predictions import EvaluationSet
from speech2face.evaluation.report import Number, Part, render
from speech2face.face.appearance import Points
from speech2face.metrics.pictures import MEASUREMENTS, measurements
from tests.evaluation.metrics.test_craniofacial import face
from tests.evaluation.picture_sets import made_set, tiny_model

CLIPS = 60
FEW = 100  # resamplings
Shapes = NDArray[np.float64]


def shapes(seed: int) -> Shapes:
    """Faces (clips, 68, 2) whose points lie about those of the drawn one."""
    return face() + np.random.default_rng(seed).normal(size=(CLIPS, 68, 2))


class Landmarks(PictureSet):
    """Pictures whose landmarks are known; NaN is a picture without a face."""

    known: dict[Kind, Shapes]

    @classmethod
    def of(cls, evaluation: EvaluationSet, given: dict[Kind, Shapes]) -> "Landmarks":
        pictures = cls(evaluation, range(len(evaluation)), dict.fromkeys(given, lambda row: None), seconds=6.0)
        pictures.known = given
        return pictures

    def face_points(self, kind: Kind, row: int) -> Points | None:
        points: Points = self.known[kind][row]
        if np.isfinite(points).all():
            return points
        self._note(row, "no_face", kind)
        return None


def measured(given: dict[Kind, Shapes]) -> tuple[Part, Part]:
    evaluation = made_set(CLIPS)
    with Landmarks.of(evaluation, given) as pictures:
        return (
            craniofacial.measure_craniofacial(evaluation, pictures=pictures, resamplings=FEW),
            anthropometry.measure_anthropometry(evaluation, pictures=pictures, resamplings=FEW),
        )


@pytest.fixture(autouse=True)
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Figures take longer than all the rest; one test draws one."""
    monkeypatch.setattr(craniofacial, "render", lambda draw, inches: b"")
    monkeypatch.setattr(craniofacial, "RANDOM_ROUNDS", 40)


def test_the_figure_is_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(craniofacial, "render", render)
    [figure] = measured({"face": shapes(0), "voice": shapes(1)})[0].figures
    assert figure.png.startswith(b"\x89PNG")
    assert "Nasal index" in figure.alt


def number(part: Part, metric: str) -> Number:
    return next(one for one in part.numbers if one.metric == metric)


def test_the_same_landmarks_correlate_perfectly_and_err_by_nothing() -> None:
    cranio, widths = measured({"face": shapes(0), "voice": shapes(0) * 3 + 40})  # another size and place
    assert [one.estimate.value for one in cranio.numbers] == pytest.approx([1.0] * len(MEASUREMENTS))
    assert [one.estimate.value for one in widths.numbers] == pytest.approx([0.0] * 5, abs=1e-12)
    assert all(one.conditions["p"] == "< 0.001" for one in cranio.numbers)


def test_unrelated_landmarks_earn_chance() -> None:
    cranio, widths = measured({"face": shapes(0), "voice": shapes(1)})
    assert abs(np.mean([one.estimate.value for one in cranio.numbers])) < 0.1
    for row in cranio.tables[0].rows:
        told = dict(zip(cranio.tables[0].header, row, strict=True))
        low, high = told["random pairs, low"], told["random pairs, high"]
        assert isinstance(low, float)
        assert isinstance(high, float)
        assert -0.4 < low < 0 < high < 0.4
    for one in widths.numbers:
        assert one.chance is not None
        assert one.estimate.value == pytest.approx(one.chance, rel=0.25)


def test_r_is_the_one_that_numpy_finds() -> None:
    voice = (shapes(0) + shapes(1)) / 2
    cranio, _ = measured({"face": shapes(0), "voice": voice})
    expected = np.corrcoef(measurements(shapes(0))["nasal_index"], measurements(voice)["nasal_index"])[0, 1]
    found = number(cranio, "nasal_index_r")
    assert found.estimate.value == pytest.approx(expected)
    assert (found.clips, found.estimate.n) == (CLIPS, CLIPS // 2)
    assert found.published.startswith("0.38")
    assert found.conditions["reference"] == "picture from the face"


def test_one_picture_for_everybody_has_no_correlation_and_the_error_of_its_distance() -> None:
    same = np.repeat(face()[None], CLIPS, 0)
    cranio, widths = measured({"face": shapes(0), "voice": same})
    assert all(np.isnan(one.estimate.value) for one in cranio.numbers)
    ear = number(widths, "mean_ratio_error")
    assert ear.mean_face is not None
    assert ear.estimate.value == pytest.approx(ear.mean_face, rel=0.15)  # the drawn face is about the mean


def test_gender_alone_earns_what_the_genders_differ_by() -> None:
    evaluation, made = made_set(CLIPS), shapes(0)
    made[evaluation.gender() == "male", 12] += [20, 0]  # wider jaws
    cranio, widths = measured({"face": made, "voice": shapes(1)})
    cheek = number(widths, "cheek_ratio_error")
    assert cheek.mean_face is not None
    assert cheek.gender_mean_face is not None
    assert cheek.gender_mean_face < 0.5 * cheek.mean_face
    jaw, nose = number(cranio, "jaw_width_r"), number(cranio, "nose_width_r")
    assert jaw.gender_mean_face is not None
    assert nose.gender_mean_face is not None
    assert jaw.gender_mean_face > 0.9
    assert nose.gender_mean_face < 0.3


def test_pictures_without_a_face_are_counted_and_leave_the_rest() -> None:
    given: dict[Kind, Shapes] = {"face": shapes(0), "voice": shapes(1)}
    given["voice"][3] = given["face"][7] = np.nan
    for part in measured(given):
        assert {(one.clip, one.reason, one.detail) for one in part.exclusions} == {
            ("clip-3", "no_face", "voice"),
            ("clip-7", "no_face", "face"),
        }
        assert {one.clips for one in part.numbers} == {CLIPS - 2}
    given["voice"][:] = np.nan
    for part in measured(given):
        assert "fewer than" in part.skipped


def test_originals_are_compared_too_but_not_with_the_papers_numbers() -> None:
    cranio, _ = measured({"face": shapes(0), "voice": shapes(1), "original": shapes(2)})
    references = {
        (one.conditions["reference"], one.conditions["measured"], one.published != "") for one in cranio.numbers
    }
    assert references == {
        ("picture from the face", "picture from the voice", True),
        ("original picture", "picture from the voice", False),
        ("original picture", "picture from the face", False),
    }


def test_without_references_or_pictures_or_a_detector_the_parts_say_so() -> None:
    for part in measured({"voice": shapes(0)}):
        assert "nothing to hold the pictures against" in part.skipped
    evaluation = made_set(4)

    class Blind(Landmarks):
        def face_points(self, kind: Kind, row: int) -> Points | None:
            raise MissingExtra("install the extra 'faces'")

    for measure in (craniofacial.measure_craniofacial, anthropometry.measure_anthropometry):
        assert "--model" in measure(evaluation).skipped
        with Blind.of(evaluation, {"face": shapes(0), "voice": shapes(1)}) as pictures:
            assert measure(evaluation, pictures=pictures).skipped == "install the extra 'faces'"


def test_strangers_are_never_the_same_person() -> None:
    speaker = np.array([0, 0, 1, 1, 2])
    for dealt in strangers(speaker, seed=0, rounds=20):
        met = dealt >= 0
        assert (speaker[dealt[met]] != speaker[met]).all()


def test_real_pictures_of_a_model_are_drawn_and_searched() -> None:
    pytest.importorskip("dlib", reason="faces are found by dlib; install the extra `faces`")
    evaluation = made_set(2)  # discs, in which there is no face
    with PictureSet.open(evaluation, tiny_model()[0]) as pictures:
        part = craniofacial.measure_craniofacial(evaluation, pictures=pictures)
    assert part.skipped != ""
    assert len(part.exclusions) == 4
