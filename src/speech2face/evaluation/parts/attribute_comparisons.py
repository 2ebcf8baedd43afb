"""Which reading of the attributes is held against which reference, with the cheats and the ceiling of each."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from speech2face.evaluation.evaluation_set import EvaluationSet
from speech2face.evaluation.parts import attribute_opinions as opinions
from speech2face.evaluation.parts.attribute_opinions import PICTURES, Opinion
from speech2face.evaluation.parts.part import Exclusion
from speech2face.evaluation.pictures import FACE_REASONS, Kind, PictureSet
from speech2face.evaluation.readers.reader import AttributeReader, read_drawn

WITHIN_ONE = "agreement_within_one_decade"
PUBLISHED_FROM_VOICE = {
    "gender_agreement": "0.94",
    "gender_balanced_agreement": "0.94",
    "age_agreement": "0.286, where the twenties for everybody earn 0.294",
    "age_balanced_agreement": "0.246",
    f"age_{WITHIN_ONE}": "0.71, weighted by the test set's ages",
    "group_agreement": "0.476 of four groups, where White for everybody earns 0.502",
    "group_balanced_agreement": "0.338 of four groups",
}
PUBLISHED_FROM_FACE = {
    "gender_balanced_agreement": "0.935",
    "age_agreement": "0.48, weighted by the test set's ages",
    f"age_{WITHIN_ONE}": "0.90, weighted by the test set's ages",
    "group_balanced_agreement": "0.608 of four groups",
}
PUBLISHED_READING = "Face++ on original and picture (AVSpeech)"


@dataclass(frozen=True, eq=False)
class Comparison:
    """A reading held against a reference, with its cheats and its ceiling."""

    reference: Opinion
    reading: Opinion
    seconds: str
    """Heard; "" where the reading heard nothing."""
    mean_face: Opinion | None = None
    """Or, where no picture is read, one answer for everybody."""
    gender_mean_face: Opinion | None = None
    ceiling: Opinion | None = None

    @property
    def conditions(self) -> dict[str, str]:
        """What the report shows beside its numbers."""
        seconds = {"seconds": self.seconds} if self.seconds else {}
        return {"reference": self.reference.source, "reading": self.reading.source, **seconds}

    @property
    def name(self) -> str:
        """For the names of files."""
        words = f"{self.reading.source} against {self.reference.source}"
        return "_".join(words.split()) + (f"_{self.seconds}s" if self.seconds else "")

    @property
    def is_the_papers(self) -> bool:
        """Whether it is that of Figure 4."""
        return (self.reference.source, self.reading.source) == (PICTURES["original"], PICTURES["voice"])

    def published(self, metric: str) -> str:
        """What the paper found in the same place, with its reading; "" where it has no such number."""
        is_ceiling = (self.reference.source, self.reading.source) == (PICTURES["original"], PICTURES["face"])
        known = PUBLISHED_FROM_VOICE if self.is_the_papers else PUBLISHED_FROM_FACE if is_ceiling else {}
        return f"{known[metric]} ({PUBLISHED_READING})" if metric in known else ""


def comparisons_of(
    evaluation: EvaluationSet, pictures: PictureSet | None, reader: AttributeReader | None, labels: Opinion
) -> tuple[list[Comparison], tuple[Exclusion, ...]]:
    """What is held against what, and the clips that one side has nothing to say of."""
    found: list[Comparison] = []
    exclusions = [*labels.exclusions]
    if pictures is not None and reader is not None:
        read = {kind: opinions.read(reader, pictures, kind) for kind in pictures.kinds}
        exclusions += [
            one for one in pictures.exclusions if one.reason not in FACE_REASONS
        ]  # the reader finds its own faces
        exclusions += [one for opinion in read.values() for one in opinion.exclusions]
        found += _of_pictures(read, labels, f"{pictures.seconds:g}", _cheats(pictures, reader))
    for seconds in sorted(evaluation.stated, reverse=True):
        said = opinions.stated(evaluation.stated[seconds])
        found.append(Comparison(labels, said, f"{seconds:g}", *opinions.one_answer(labels, said)))
    return [one for one in found if _any_in_common(one)], tuple(dict.fromkeys(exclusions))


def _of_pictures(
    read: dict[Kind, Opinion], labels: Opinion, seconds: str, cheats: tuple[Opinion | None, Opinion | None]
) -> Iterator[Comparison]:
    """The paper's comparison first, the ceilings last."""
    references = [*([read["original"]] if "original" in read else []), labels]
    voice, face = read.get("voice"), read.get("face")
    if voice is not None:
        for reference in references:
            yield Comparison(reference, voice, seconds, *cheats, face)
        if face is not None:
            yield Comparison(face, voice, seconds, *cheats)
    if face is not None:
        for reference in references:
            yield Comparison(reference, face, "", *cheats)


def _any_in_common(one: Comparison) -> bool:
    sides = (one.reference, one.reading)
    said = [(np.isfinite(side.age), side.gender != "", side.group != "") for side in sides]
    return any(bool((a & b).any()) for a, b in zip(*said, strict=True))


def _cheats(pictures: PictureSet, reader: AttributeReader) -> tuple[Opinion | None, Opinion | None]:
    """The mean face for everybody and that of the labelled gender, drawn and read; None without a model that draws."""
    mean, gender = pictures.mean_face(), pictures.evaluation_set.gender()
    if mean is None:
        return None, None
    drawn = {one: pictures.mean_face(one) for one in opinions.GENDERS}
    readings = {one: None if picture is None else read_drawn(reader, picture) for one, picture in drawn.items()}
    return opinions.same_for_all(read_drawn(reader, mean), len(gender)), opinions.by_gender(readings, gender)
