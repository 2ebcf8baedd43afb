"""The set of clips: ages are read, the mean face leaves out the own speaker, missing rows stay missing."""

from dataclasses import replace

import numpy as np
import pytest

from speech2face.evaluation.clips import parse_age
from speech2face.evaluation.predictions import EvaluationSet, StatedAttributes
from speech2face.evaluation.report import ModelFacts

NAN = float("nan")
REFERENCE = np.array([[1, 1], [3, 1], [5, 3], [7, 7], [NAN, NAN]], np.float32)
SPEAKER = np.array([0, 0, 1, 2, 2])
STATED = StatedAttributes(*(np.arange(5.0) for _ in range(5)))


def clips() -> EvaluationSet:
    return EvaluationSet(
        keys=("a", "b", "c", "d", "e"),
        speaker=SPEAKER,
        speakers=("x", "y", "z"),
        seconds=np.full(5, 6.0),
        labels={"gender": ("female", "female", "male", "female", "other"), "age": ("34", "20-29", "fourties", "", "?")},
        reference=REFERENCE,
        predicted={3.0: REFERENCE + 1, 6.0: np.array([[NAN, 1], [1, 1], [1, 1], [1, 1], [1, 1]], np.float32)},
        model=ModelFacts("m"),
        split="test",
        data_sha256="",
        stated={6.0: STATED},
    )


@pytest.mark.parametrize(
    ("text", "interval"),
    [
        ("34", (34, 35)), ("34.5", (34.5, 34.5)), ("20-29", (20, 30)), ("30s", (30, 40)), ("twenties", (20, 30)),
        ("fourties", (40, 50)), ("Teens", (13, 20)), ("", None), ("old", None), ("29-20", None), ("-3", None),
        ("200", None), ("nan", None),
    ],
)  # fmt: skip
def test_an_age_is_an_interval_or_unknown(text: str, interval: tuple[float, float] | None) -> None:
    assert parse_age(text) == interval


def test_ages_are_the_middle_of_their_interval() -> None:
    np.testing.assert_equal(clips().age_years(), [34.5, 25, 45, NAN, NAN])


def test_other_genders_and_none_are_unknown() -> None:
    assert clips().gender().tolist() == ["female", "female", "male", "female", ""]
    shouted = replace(clips(), labels={"gender": (" Female", "MALE", "w", "", "male")})
    assert shouted.gender().tolist() == ["female", "male", "", "", "male"]


def test_the_mean_face_is_that_of_the_other_speakers() -> None:
    # By hand: the four faces sum to (16, 12); x has two of them, y and z one.
    expected = np.array([[6.0, 5.0], [6.0, 5.0], [11 / 3, 3.0], [3.0, 5 / 3], [3.0, 5 / 3]])
    np.testing.assert_allclose(clips().mean_face(), expected, rtol=1e-6)
    np.testing.assert_allclose(clips().mean_face(leave_speaker_out=False), [[4, 3]] * 5)


def test_the_mean_face_of_the_gender_is_none_where_nobody_else_has_it_or_it_is_unknown() -> None:
    expected = np.array([[7, 7], [7, 7], [NAN, NAN], [2, 1], [NAN, NAN]])
    np.testing.assert_allclose(clips().gender_mean_face(), expected)
    unknown = replace(clips(), labels={"gender": ("", "other", "", "male", "")})
    assert np.isnan(unknown.gender_mean_face(leave_speaker_out=False)[:3]).all()
    whole = clips().gender_mean_face(leave_speaker_out=False)
    np.testing.assert_allclose(whole[:4], np.array([[11 / 3, 3], [11 / 3, 3], [5, 3], [11 / 3, 3]]), rtol=1e-6)


def test_a_clip_is_measurable_where_it_has_a_face_and_an_answer() -> None:
    assert clips().has_reference().tolist() == [True] * 4 + [False]
    assert clips().measurable(6.0).tolist() == [False, True, True, True, False]
    assert clips().longest() == 6.0


def test_taking_clips_takes_everything_of_them() -> None:
    few = clips().take(np.array([2, 0]))
    assert few.keys == ("c", "a") and few.labels["gender"] == ("male", "female")
    assert few.reference is not None
    np.testing.assert_array_equal(few.reference, REFERENCE[[2, 0]])
    np.testing.assert_array_equal(few.stated[6.0].age, [2, 0])
    assert clips().take(clips().gender() == "female").keys == ("a", "b", "d")
