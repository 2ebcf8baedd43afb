"""Who says what of each clip's age, gender and group: the labels, the model itself, or a reader of pictures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from speech2face.errors import SeveralFaces
from speech2face.evaluation.evaluation_set import EvaluationSet, Floats, StatedAttributes
from speech2face.evaluation.metrics.confusion import DECADES, Places, class_places, decade_places
from speech2face.evaluation.parts.part import Exclusion, exclude
from speech2face.evaluation.pictures import NO_FACE, SEVERAL_FACES, Kind, PictureSet
from speech2face.evaluation.readers.reader import Attribute, AttributeReader, AttributeReading

GENDERS = ("female", "male")
LABELS, STATED = "label", "stated by the model"
PICTURES: dict[Kind, str] = {
    "voice": "picture from the voice",
    "face": "picture from the face",
    "original": "original picture",
}
NO_LABEL, LABEL_UNKNOWN = "no_label", "label_unknown"


@dataclass(frozen=True, eq=False)
class Opinion:
    """One source's word on every clip."""

    source: str
    age: Floats
    """(clips,) years, NaN where nothing is said."""
    gender: NDArray[np.str_]
    """(clips,) one of GENDERS, or ""."""
    group: NDArray[np.str_]
    """(clips,) "" where nothing is said."""
    exclusions: tuple[Exclusion, ...] = ()

    def places(self, attribute: Attribute, classes: Sequence[str]) -> Places:
        """Place of every clip among the classes of an attribute, -1 where nothing is said, (clips,)."""
        if attribute == "age":
            return decade_places(self.age)
        return class_places((self.gender if attribute == "gender" else self.group).tolist(), classes)


def classes_of(attribute: Attribute, groups: Sequence[str]) -> tuple[str, ...]:
    """The classes of an attribute's matrices, in their order."""
    return {"age": DECADES, "gender": GENDERS, "group": tuple(groups)}[attribute]


def plain(name: str) -> str:
    """A group's name as it is compared: "East_Asian" and "east asian" are one."""
    return " ".join(name.replace("_", " ").replace("-", " ").lower().split())


def labelled(evaluation: EvaluationSet, groups: Sequence[str]) -> Opinion:
    """The labels; those that say nothing, or something that is none of the classes, are counted exclusions."""
    gender, age = evaluation.gender(), evaluation.age_years()
    known = {plain(name): name for name in groups}
    group = np.array([known.get(plain(name), "") for name in evaluation.label("group")], dtype=np.str_)
    understood = {"age": np.isfinite(age), "gender": gender != "", "group": group != ""}
    exclusions: list[Exclusion] = []
    for name, fine in understood.items():
        texts = evaluation.label(name)
        if not (texts != "").any() or (name == "group" and not groups):
            continue  # said once in a note, not once a clip
        exclusions += exclude(evaluation.keys, np.flatnonzero(texts == ""), NO_LABEL, name)
        for row in np.flatnonzero((texts != "") & ~fine):
            exclusions.append(Exclusion(evaluation.keys[row], LABEL_UNKNOWN, f"{name}: {texts[row]}"))
    return Opinion(LABELS, age, gender, group, tuple(exclusions))


def stated(attributes: StatedAttributes) -> Opinion:
    """What a model says of the voice itself."""
    feminine = attributes.femininity
    gender = np.where(np.isnan(feminine), "", np.where(feminine > 0.5, *GENDERS))
    return Opinion(STATED, attributes.age, gender, np.full(len(gender), "", dtype=np.str_))


def read(reader: AttributeReader, pictures: PictureSet, kind: Kind) -> Opinion:
    """A reader's word on the pictures of one kind; one without a face or with several is a counted exclusion."""
    evaluation = pictures.evaluation_set
    readings: list[AttributeReading | None] = [None] * len(evaluation)
    exclusions = []
    for row in pictures.rows:
        picture, reason = pictures.picture(kind, row), NO_FACE
        try:
            readings[row] = None if picture is None else reader.read(picture)
        except SeveralFaces:
            reason = SEVERAL_FACES
        if picture is not None and readings[row] is None:
            exclusions.append(Exclusion(evaluation.keys[row], reason, kind))
    return _of_readings(PICTURES[kind], readings, tuple(exclusions))


def _of_readings(
    source: str, readings: Sequence[AttributeReading | None], exclusions: tuple[Exclusion, ...] = ()
) -> Opinion:
    ages = [np.nan if one is None or one.age is None else one.age for one in readings]
    genders = ["" if one is None else one.gender for one in readings]
    groups = ["" if one is None else one.group or "" for one in readings]
    return Opinion(
        source, np.array(ages, np.float64), np.array(genders, np.str_), np.array(groups, np.str_), exclusions
    )


def same_for_all(reading: AttributeReading | None, clips: int) -> Opinion:
    """One reading for every clip: the mean face for everybody."""
    return _of_readings("mean face", [reading] * clips)


def one_answer(labels: Opinion, reading: Opinion) -> tuple[Opinion, Opinion]:
    """The median age and the commonest gender for everybody, and the median age of each labelled gender.

    Both of the labels of those clips that the reading speaks of; the second says nothing where the gender is unknown.
    """
    gender = np.where(reading.gender != "", labels.gender, "")
    age = np.where(np.isfinite(reading.age), labels.age, np.nan)
    commonest = max(GENDERS, key=lambda one: int((gender == one).sum()))
    of_gender = np.full(len(age), np.nan)
    for one in GENDERS:
        of_gender[labels.gender == one] = _median(age[labels.gender == one])
    nothing = np.full(len(age), "", dtype=np.str_)
    return (
        Opinion("one answer", np.full(len(age), _median(age)), np.full(len(age), commonest), nothing),
        Opinion("one answer for each gender", of_gender, labels.gender, nothing),
    )


def _median(ages: Floats) -> float:
    known = ages[np.isfinite(ages)]
    return float(np.median(known)) if len(known) else float("nan")


def by_gender(readings: dict[str, AttributeReading | None], gender: NDArray[np.str_]) -> Opinion:
    """One reading for each labelled gender: the mean face of the gender; nothing where the gender is not known."""
    return _of_readings("mean face of the gender", [readings.get(str(one)) for one in gender])
