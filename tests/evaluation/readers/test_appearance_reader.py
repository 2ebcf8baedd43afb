"""The starter's own face model as a reader: what it draws it reads back."""

from functools import cache

import numpy as np
import pytest
from numpy.testing import assert_allclose
from PIL import Image

pytest.importorskip("dlib", reason="faces are found by dlib; install the extra `faces`")
pytest.importorskip("safetensors", reason="the face model is a safetensors file; install the extra `eval`")

from speech2face.evaluation.readers import AppearanceReader
from speech2face.face.appearance import Points
from speech2face.face.detect import FaceBox, Picture
from speech2face.face.landmarks import COUNT, FacePointFinder, find_box
from speech2face.models import load_model
from speech2face.models.attributes import AttributeModel


@cache
def reader() -> AppearanceReader:
    return AppearanceReader(draws=32)  # a third of what is usual: quicker, and a little less right


@cache
def starter() -> AttributeModel:
    model = load_model()
    assert isinstance(model, AttributeModel)
    return model


@cache
def drawn(age: float, femininity: float, seed: int) -> Picture:
    """A face of that age and gender, its residuals and groups by chance."""
    population, rng = starter().release.population, np.random.default_rng(seed)
    embedding = population.embedding(age, femininity, rng.dirichlet(np.full(4, 2.0)))
    embedding[population.basis.size :] = rng.normal(size=len(population.residual_sd)) * population.residual_sd
    return starter().decode(embedding)


FACES = [(age, float(number % 2), number) for number, age in enumerate((20, 30, 40, 50, 58, 66, 76, 34))]


def test_age_and_gender_of_its_own_drawings_are_read_back() -> None:
    errors = []
    for age, femininity, seed in FACES:
        found = reader().read(drawn(age, femininity, seed))
        assert found is not None
        assert found.age is not None
        assert found.gender == ("female" if femininity else "male")
        assert found.group is None
        errors.append(abs(found.age - age))
    assert np.mean(errors) < 5  # one age for everybody errs by 15


def test_size_exposure_and_place_of_the_picture_hardly_matter() -> None:
    picture = drawn(66, 1.0, 5)
    whole = reader().read(picture)
    small = np.asarray(Image.fromarray(picture).resize((224, 224), Image.Resampling.LANCZOS))
    dark = (picture * 0.8).astype(np.uint8)
    aside = np.full((600, 700, 3), 215, np.uint8)
    aside[60:572, 120:632] = picture
    assert whole is not None
    for changed in (small, dark, aside):
        found = reader().read(changed)
        assert found is not None
        assert found.gender == "female"
        assert found.age == pytest.approx(whole.age, abs=5)


def test_a_wall_is_no_face() -> None:
    assert reader().read(np.full((200, 200, 3), 128, np.uint8)) is None


class _OnlyAt:
    """Finds one box, and only in pictures so wide."""

    def __init__(self, width: int) -> None:
        self.width = width

    def detect(self, picture: Picture) -> tuple[FaceBox, ...]:
        return (FaceBox(10, 20, 110, 120),) if picture.shape[1] == self.width else ()


def test_boxes_are_in_pixels_of_the_picture_whatever_size_was_searched() -> None:
    picture = np.zeros((800, 800, 3), np.uint8)
    assert find_box(picture, _OnlyAt(400)) == FaceBox(20, 40, 220, 240)
    assert find_box(picture, _OnlyAt(320)) == FaceBox(25, 50, 275, 300)
    assert find_box(picture, _OnlyAt(333)) is None


class _Corners:
    """Says of a box only where it is: all points at its upper left corner."""

    def find(self, picture: Picture, box: FaceBox) -> Points:
        return np.full((COUNT, 2), [box.left, box.top], np.float64)


def test_landmarks_are_in_pixels_of_the_picture_whatever_size_they_were_placed_on() -> None:
    picture = np.zeros((128, 256, 3), np.uint8)  # enlarged fourfold, to 1024
    points = FacePointFinder(_OnlyAt(400), _Corners()).find(picture)  # not found at 320
    assert points is not None
    assert_allclose(points[0], [6 - 0.375, 13 - 0.375])  # (10, 20) of 400 is (6, 13) of 256, less part of a fine pixel
    assert FacePointFinder(_OnlyAt(333), _Corners()).find(picture) is None
