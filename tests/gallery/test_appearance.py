"""A gallery for the starter: photographs and voices meet in apparent age and gender, and in nothing else."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from speech2face.data.storage import Storage
from speech2face.errors import WeightsError
from speech2face.evaluation.readers import AttributeReading
from speech2face.gallery.entries import Entry, GalleryRecord
from speech2face.gallery.files import FileWriter, unit_rows
from speech2face.gallery.gallery import (
    BY_ATTRIBUTES,
    MOST_PICTURES,
    AppearanceEmbedder,
    Gallery,
    attribute_coordinates,
    attribute_size,
    chance_text,
    draw_search_sheet,
    search_gallery,
    space_of,
)
from speech2face.models.attributes import AttributeModel, load_attribute_model

EXAMPLES = Path(__file__).parents[2] / "examples"
PEOPLE = {
    f"{gender} {age}": (float(age), float(gender == "woman")) for gender in ("woman", "man") for age in range(20, 80, 5)
}


@dataclass
class Says:
    """Reads the same off every picture; None: there is no face."""

    reading: AttributeReading | None

    def read(self, picture: np.ndarray) -> AttributeReading | None:
        return self.reading


@pytest.fixture(scope="module")
def starter() -> AttributeModel:
    return load_attribute_model()


def embedded(model: AttributeModel, age: float, femininity: float) -> np.ndarray:
    reader = Says(AttributeReading(age, femininity))
    found = AppearanceEmbedder(model, reader).embed(np.zeros((2, 2, 3), np.uint8))  # type: ignore[arg-type]
    assert found is not None
    return found


@pytest.fixture
def gallery(starter: AttributeModel, tmp_path: Path) -> Gallery:
    """A face of every age and gender."""
    writer = FileWriter(Storage(tmp_path / "g"), GalleryRecord("people", space_of(starter), "exact", "made"))
    vectors = unit_rows(np.stack([embedded(starter, *about) for about in PEOPLE.values()]))
    writer.put([Entry(name, name, "made up") for name in PEOPLE], vectors)
    writer.finish()
    return Gallery.open(tmp_path / "g")


def test_a_person_of_any_age_and_gender_is_nearest_to_themselves_and_then_to_who_is_alike(
    starter: AttributeModel, gallery: Gallery
) -> None:
    for name, about in PEOPLE.items():
        assert gallery.search(embedded(starter, *about), 1).hits[0].entry.id == name
    women_of_forty = [hit.entry.id for hit in gallery.search(embedded(starter, 40, 1.0), 3).hits]
    assert set(women_of_forty) == {"woman 40", "woman 35", "woman 45"}


def test_cosines_rank_faces_as_their_distance_in_age_and_gender_does(starter: AttributeModel) -> None:
    rng = np.random.default_rng(0)
    faces = np.stack(
        [embedded(starter, *about) for about in zip(rng.uniform(18, 80, 200), rng.uniform(0, 1, 200), strict=False)]
    )
    for probe in faces[:20]:
        distances = np.linalg.norm(faces - probe, axis=1)
        cosines = unit_rows(faces) @ unit_rows(probe[None])[0]
        assert len(set(np.argsort(-cosines)[:10]) & set(np.argsort(distances)[:10])) >= 8


def test_the_group_and_the_residuals_of_a_face_change_nothing(starter: AttributeModel) -> None:
    population = starter.release.population
    one = population.embedding(33.0, 0.2)
    other = population.embedding(33.0, 0.2, np.eye(len(starter.release.groups))[1]) + 0
    other[population.basis.size :] += 3.0
    assert not np.array_equal(one, other)
    np.testing.assert_array_equal(attribute_coordinates(starter, one), attribute_coordinates(starter, other))
    assert attribute_coordinates(starter, one).size == attribute_size(starter)


def test_a_picture_without_a_face_has_no_coordinates(starter: AttributeModel) -> None:
    assert AppearanceEmbedder(starter, Says(None)).embed(np.zeros((2, 2, 3), np.uint8)) is None  # type: ignore[arg-type]


@pytest.mark.parametrize(("recording", "gender"), [("female.mp3", "woman"), ("male.flac", "man")])
def test_a_voice_finds_faces_of_its_gender_and_says_that_this_is_all(
    starter: AttributeModel, gallery: Gallery, recording: str, gender: str
) -> None:
    found = search_gallery(gallery, starter, EXAMPLES / recording, top=5)
    assert all(hit.entry.id.startswith(gender) for hit in found.ranking.hits)
    assert BY_ATTRIBUTES in found.limits
    ages = [float(hit.entry.id.split()[1]) for hit in found.ranking.hits]
    attributes = found.portrait.attributes
    assert attributes is not None
    assert abs(np.mean(ages) - attributes.age_mean) < 12


def test_another_release_of_the_starter_reads_faces_differently(starter: AttributeModel, gallery: Gallery) -> None:
    from dataclasses import replace

    with pytest.raises(WeightsError, match="build a gallery with this model"):
        gallery.check_space(replace(space_of(starter), model_sha256="1" * 64))


def test_a_sheet_shows_every_hit_up_to_its_limit_and_is_as_high_as_its_rows(
    starter: AttributeModel, gallery: Gallery
) -> None:
    few, many = (search_gallery(gallery, starter, EXAMPLES / "female.mp3", top=top) for top in (3, 24))
    short, tall = draw_search_sheet(few), draw_search_sheet(many)
    assert short.dtype == np.uint8 and short.shape[1:] == tall.shape[1:]
    assert tall.shape[0] > 5 * 200 > short.shape[0]
    assert len(many.ranking.hits) == len(PEOPLE) <= MOST_PICTURES
    assert len(np.unique(short.reshape(-1, 3), axis=0)) > 100  # the portrait is on it


def test_chances_are_said_in_words() -> None:
    assert [chance_text(chance) for chance in (1.0, 0.2, 0.004)] == ["certain", "20%", "1 in 250"]
