"""The drawn avatar of the shipped model's faces."""

import re
from functools import cache
from xml.etree import ElementTree

import numpy as np
import pytest
from numpy.typing import NDArray

from speech2face.drawn.avatar import draw_avatar, rasterise
from speech2face.drawn.contours import POINTS_68, UNITS, face_contours
from speech2face.errors import InvalidOption
from speech2face.models.attributes import load_attribute_model

Face = tuple[NDArray[np.uint8], NDArray[np.float32]]


@cache
def face(age: float, femininity: float, group: int = 0) -> Face:
    """Canonical face (size, size, 3) and landmarks (landmarks, 2) of stated attributes."""
    model = load_attribute_model()
    population = model.release.population
    weights = np.eye(len(model.release.groups))[group]
    embedding = np.zeros(len(model.release.mean_embedding), np.float32)
    embedding[: population.basis.size] = population.basis.design(age, femininity, weights)
    assert model.apparent(embedding) == (age, femininity)
    return model.decode(embedding), model.landmarks(embedding)


def drawing(age: float, femininity: float, group: int = 0) -> str:
    return draw_avatar(*face(age, femininity, group), age=age, femininity=femininity, description="A drawn face.")


def lightness(svg: str, x: float, y: float) -> float:
    """Mean of a place of the drawing, in units, as pixels say it."""
    pixels = rasterise(svg, int(UNITS))
    return float(pixels[int(y) - 3 : int(y) + 4, int(x) - 3 : int(x) + 4].mean())


def test_the_same_face_gives_the_same_text_and_another_face_another() -> None:
    assert drawing(30, 1.0) == drawing(30, 1.0)
    assert drawing(30, 1.0) != drawing(30, 0.0)


def test_the_text_is_xml_with_its_description_and_nothing_from_outside() -> None:
    svg = drawing(30, 1.0)
    assert ElementTree.fromstring(svg).find("{http://www.w3.org/2000/svg}title").text == "A drawn face."  # type: ignore[union-attr]
    assert re.findall(r'href="(?!#)', svg) == []
    assert "nan" not in svg


@pytest.mark.parametrize("pixels", [64, 1024])
def test_it_is_drawn_at_any_size(pixels: int) -> None:
    assert rasterise(drawing(30, 1.0), pixels).shape == (pixels, pixels, 3)


def test_hair_and_skin_lie_where_the_portrait_has_them() -> None:
    picture, landmarks = face(30, 1.0, group=1)
    contours = face_contours(landmarks, picture.shape[1])
    svg = drawing(30, 1.0, group=1)
    middle = len(contours.hair) // 2
    x, y = contours.hair[middle] * 0.4 + contours.hairline[len(contours.hairline) // 2] * 0.6
    cheek_x, cheek_y = contours.cheeks[0]
    assert lightness(svg, x, y) < lightness(svg, cheek_x, cheek_y) < lightness(svg, 20, 20)


def test_a_fairer_face_is_drawn_fairer() -> None:
    picture, landmarks = face(30, 0.0)
    x, y = face_contours(landmarks, picture.shape[1]).cheeks[0]
    assert lightness(drawing(30, 0.0, group=0), x, y) > lightness(drawing(30, 0.0, group=1), x, y) + 30


def test_lines_come_with_age() -> None:
    young, old = drawing(25, 1.0).count("<path"), drawing(75, 1.0).count("<path")
    assert old == young + 2 + 2 + 3 + 6  # folds, bags, forehead, crow's feet


def test_a_beard_needs_a_face_believed_to_be_a_mans() -> None:
    picture, landmarks = face(30, 0.0)
    dark = picture.copy()
    dark[345:400] = dark[345:400] // 3  # chin and upper lip
    man = draw_avatar(dark, landmarks, femininity=0.0)
    woman = draw_avatar(dark, landmarks, femininity=1.0)
    assert man.count("clip-path") == woman.count("clip-path") + 1


def test_the_68_points_are_enough() -> None:
    rng = np.random.default_rng(0)
    jaw = np.stack([np.linspace(60, 160, 17), 100 + 80 * np.sin(np.linspace(0, np.pi, 17))], 1)
    inner = np.stack([rng.uniform(80, 140, 51), rng.uniform(90, 160, 51)], 1)
    svg = draw_avatar(np.full((224, 224, 3), 120, np.uint8), np.concatenate([jaw, inner]), age=60)
    assert "nan" not in svg
    assert rasterise(svg, 64).std() > 5
    assert POINTS_68 == 68


def test_landmarks_of_another_kind_are_refused() -> None:
    with pytest.raises(InvalidOption, match="5 landmarks cannot be drawn; models of 207 or 68"):
        draw_avatar(np.zeros((64, 64, 3), np.uint8), np.zeros((5, 2)))
