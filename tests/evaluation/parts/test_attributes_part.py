"""The part of attributes, with a reader that reads colours: all of it worked out by hand, no face and no network."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from speech2face.evaluation.parts import attributes
from speech2face.evaluation.parts import attributes as attribute_tables
from speech2face.evaluation.pictures import PictureSet
from speech2face.evaluation.predictions import EvaluationSet, StatedAttributes
from speech2face.evaluation.readers import ATTRIBUTES, Attribute, AttributeReading, read_pictures
from speech2face.evaluation.report import Number, Part, count_reasons, render
from speech2face.face.detect import Picture
from tests.evaluation.picture_sets import SIDE, made_set, tiny_model

CLIPS = 8
AGES = ("25", "31", "20-29", "sixties", "44", "", "old", "25")
GENDERS = ("female", "female", "male", "male", "female", "male", "other", "")
GROUPS = ("East Asian", "white", "white", "east_asian", "White", "martian", "", "white")


class ColourReader:
    """Red is femininity, green the age in years, blue the group; a picture without red, green and blue has no face."""

    name, statement = "colours", "Reads colours."
    groups = ("east asian", "white")

    def __init__(self, reads: tuple[Attribute, ...] = ATTRIBUTES) -> None:
        self.reads = reads

    def read(self, picture: Picture) -> AttributeReading | None:
        red, green, blue = picture[SIDE // 2, SIDE // 2].tolist()
        if red == green == blue == 0:
            return None
        told = {"femininity": red / 255, "age": float(green), "group": self.groups[int(blue > 127)]}
        kept = {"gender": "femininity", "age": "age", "group": "group"}
        return AttributeReading(**{kept[name]: told[kept[name]] for name in self.reads})


def colour(gender: str, age: float, group: str) -> list[float]:
    """The embedding that draws a picture which reads like this."""
    return [0.9 if gender == "female" else 0.1, age / 255, 0.9 if group == "white" else 0.1]


SAID = [
    colour("female", 25, "east asian"),
    colour("female", 35, "white"),
    colour("female", 25, "white"),  # a man's voice taken for a woman's
    colour("male", 55, "white"),  # ten years young, and of another group
    colour("female", 44, "white"),
    colour("male", 30, "white"),
    colour("male", 70, "white"),
    [0.0, 0.0, 0.0],  # a picture without a face
]


def clips(**changes: Any) -> EvaluationSet:
    given: dict[str, Any] = {
        "speaker": np.arange(CLIPS),
        "speakers": tuple(f"speaker-{number}" for number in range(CLIPS)),
        "labels": {"age": AGES, "gender": GENDERS, "group": GROUPS},
        "predicted": {6.0: np.array(SAID, np.float32)},
        "reference": None,
    }
    return made_set(CLIPS, **given | changes)


def measured(evaluation: EvaluationSet, reader: ColourReader | None = None) -> Part:
    with PictureSet.open(evaluation, tiny_model()[0]) as pictures:
        return attributes.measure_attributes(
            evaluation, pictures=pictures, reader=reader or ColourReader(), resamplings=20
        )


@pytest.fixture(autouse=True)
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Figures take longer than all the rest; one test draws them."""
    monkeypatch.setattr(attribute_tables, "render", lambda draw, inches: b"")


def number(part: Part, metric: str, **conditions: str) -> Number:
    [found] = [
        one
        for one in part.numbers
        if one.metric == metric and all(one.conditions.get(name) == value for name, value in conditions.items())
    ]
    return found


def test_readings_of_pictures_are_held_against_the_labels() -> None:
    part = measured(clips())
    gender = number(part, "gender_agreement", reading="picture from the voice")
    assert gender.estimate.value == pytest.approx(5 / 6)  # six labelled pictures with a face, one taken wrongly
    assert (gender.clips, gender.estimate.n) == (6, 6)
    assert gender.conditions == {"reference": "label", "reading": "picture from the voice", "seconds": "6"}
    assert number(part, "gender_balanced_agreement").estimate.value == pytest.approx((3 / 3 + 2 / 3) / 2)
    assert number(part, "age_agreement").estimate.value == pytest.approx(4 / 5)
    assert number(part, "age_agreement_within_one_decade").estimate.value == pytest.approx(1.0)
    errors = np.abs([25 - 25.5, 35 - 31.5, 25 - 25, 55 - 65, 44 - 44.5])
    assert number(part, "age_mean_absolute_error_years").estimate.value == pytest.approx(errors.mean())
    assert number(part, "group_agreement").estimate.value == pytest.approx(4 / 5)  # case and underscores do not matter


def test_chance_majority_and_both_mean_faces_stand_beside() -> None:
    part = measured(clips())
    gender = number(part, "gender_agreement")
    assert gender.chance == pytest.approx((3 * 4 + 3 * 2) / 36)
    assert gender.mean_face == pytest.approx(0.5)  # whoever it looks like, half of the six are of that gender
    [table] = [table for table in part.tables if table.name == "attribute_agreement"]
    rows = {row[3]: dict(zip(table.header, row, strict=True)) for row in table.rows}
    assert rows["gender_agreement"]["majority"] == pytest.approx(0.5)
    assert rows["age_agreement"]["majority"] == pytest.approx(2 / 5)
    assert rows["age_agreement_within_one_decade"]["majority"] == pytest.approx(4 / 5)  # by the thirties
    assert rows["group_agreement"]["majority"] == pytest.approx(3 / 5)


def test_the_mean_face_of_the_gender_is_right_about_the_gender_it_was_told() -> None:
    balanced = [colour("female", 30, "white"), colour("male", 30, "white")] * 4
    evaluation = clips(predicted={6.0: np.array(balanced, np.float32)}, labels={"gender": ("female", "male") * 4})
    gender = number(measured(evaluation), "gender_agreement")
    assert gender.gender_mean_face == 1.0
    assert gender.mean_face == 0.5


def test_what_cannot_be_compared_is_counted_with_its_reason() -> None:
    part = measured(clips())
    found = {(one.clip, one.reason, one.detail) for one in part.exclusions}
    assert found == {
        ("clip-5", "no_label", "age"),
        ("clip-6", "label_unknown", "age: old"),
        ("clip-6", "label_unknown", "gender: other"),
        ("clip-7", "no_label", "gender"),
        ("clip-5", "label_unknown", "group: martian"),
        ("clip-6", "no_label", "group"),
        ("clip-7", "no_face", "voice"),
    }
    assert count_reasons(part.exclusions)["label_unknown"] == 2  # clips: one has two such labels


def test_face_to_face_is_the_ceiling_and_a_reference_of_its_own() -> None:
    right = np.array([colour(g, 25, "white") for g in (*GENDERS[:6], "male", "male")], np.float32)
    part = measured(clips(reference=right))
    voice = number(part, "gender_agreement", reference="label", reading="picture from the voice")
    assert voice.best == pytest.approx(1.0)  # the face itself says what the label says
    between = number(part, "gender_agreement", reference="picture from the face", reading="picture from the voice")
    assert between.clips == 7
    assert between.estimate.value == pytest.approx(6 / 7)
    assert number(part, "gender_agreement", reading="picture from the face").conditions.get("seconds") is None


def test_what_a_model_states_is_held_against_the_labels_without_any_picture() -> None:
    feminine = np.array([0.9, 0.2, 0.3, 0.1, np.nan, 0.4, 0.9, 0.9])
    ages = np.array([25, 38, 29, 61, 44, 30, 30, 25], np.float64)
    said = StatedAttributes(ages, ages - 9, ages + 9, feminine, np.zeros(CLIPS))
    part = attributes.measure_attributes(clips(stated={3.0: said, 6.0: said}), resamplings=20)
    for seconds in ("3", "6"):
        gender = number(part, "gender_agreement", reading="stated by the model", seconds=seconds)
        assert gender.clips == 5  # one is not stated, one "other", one unlabelled
        assert gender.estimate.value == pytest.approx(4 / 5)
        assert gender.mean_face == pytest.approx(3 / 5)  # a man's voice for everybody
        assert gender.gender_mean_face == 1.0
        assert number(part, "age_agreement", seconds=seconds).estimate.value == pytest.approx(1.0)
    assert not [one for one in part.numbers if one.metric.startswith("group")]
    assert {table.name[-2:] for table in part.tables[1:]} == {"6s"}  # matrices of the longest alone
    assert len(part.figures) == 1


def test_a_reader_of_ages_alone_makes_no_other_matrix_and_says_so() -> None:
    part = measured(clips(), ColourReader(("age",)))
    assert {one.metric.split("_")[0] for one in part.numbers} == {"age"}
    assert any("does not read: gender, group" in note for note in part.notes)
    assert any("Reads colours." in note for note in part.notes)


def test_another_systems_missing_picture_is_counted(tmp_path: Path) -> None:
    evaluation = clips()
    with PictureSet.open(evaluation, pictures_folder=tmp_path) as pictures:
        part = attributes.measure_attributes(evaluation, pictures=pictures, reader=ColourReader(), resamplings=20)
    assert part.skipped != ""
    assert count_reasons(part.exclusions)["picture_missing"] == CLIPS


def test_the_papers_rows_stand_below_ours_only_where_they_are_of_the_same_thing() -> None:
    evaluation = clips()
    original = {row: np.full((SIDE, SIDE, 3), [200, 25, 0], np.uint8) for row in range(CLIPS)}
    with PictureSet.open(evaluation, tiny_model()[0]) as pictures:
        pictures._sources["original"] = original.get
        part = attributes.measure_attributes(evaluation, pictures=pictures, reader=ColourReader(), resamplings=20)
    tables = {table.name: table for table in part.tables}
    papers = tables["confusion_gender_picture_from_the_voice_against_original_picture_6s"]
    assert [row[:4] for row in papers.rows if row[0] == "paper"] == [
        ("paper", "female", 0.94, 0.06),
        ("paper", "male", 0.06, 0.94),
    ]
    assert not [
        row for row in tables["confusion_gender_picture_from_the_voice_against_label_6s"].rows if row[0] != "measured"
    ]
    told = number(part, "gender_agreement", reference="original picture")
    assert told.published.startswith("0.94")
    assert number(part, "gender_agreement", reference="label").published == ""


def test_a_confusion_table_is_row_normalised_and_names_empty_rows() -> None:
    [table] = [
        t for t in measured(clips()).tables if t.name == "confusion_gender_picture_from_the_voice_against_label_6s"
    ]
    assert table.header == ("source", "reference", "read as female", "read as male", "clips")
    assert table.rows == (("measured", "female", 1.0, 0.0, 3), ("measured", "male", 0.3333, 0.6667, 3))
    [ages] = [t for t in measured(clips()).tables if t.name.startswith("confusion_age_")]
    assert "No clip has the reference 0, 10, 50, 70, 80." in ages.note


def test_figures_are_drawn_and_say_in_words_what_they_show(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attribute_tables, "render", render)
    [figure] = measured(clips()).figures
    assert figure.png.startswith(b"\x89PNG")
    assert "Gender, share read as their reference: female 1.00, male 0.67." in figure.alt


@pytest.mark.parametrize(
    ("reader", "pictured", "labels", "why"),
    [
        (None, True, {"gender": GENDERS}, "--reader"),
        (ColourReader(), False, {"gender": GENDERS}, "--pictures"),
        (ColourReader(), True, {}, "no labels"),
    ],
)
def test_without_its_inputs_the_part_says_what_to_give(
    reader: ColourReader | None, pictured: bool, labels: dict[str, tuple[str, ...]], why: str
) -> None:
    evaluation = clips(labels=labels)
    with PictureSet.open(evaluation, tiny_model()[0]) as pictures:
        part = attributes.measure_attributes(evaluation, pictures=pictures if pictured else None, reader=reader)
    assert why in part.skipped
    assert part.numbers == ()


def test_pictures_that_are_missing_are_passed_over_in_a_batch() -> None:
    picture = np.full((SIDE, SIDE, 3), 90, np.uint8)
    found = read_pictures(ColourReader(), [None, picture, np.zeros_like(picture)])
    assert found[0] is None
    assert found[1] is not None
    assert found[1].age == 90
    assert found[2] is None
