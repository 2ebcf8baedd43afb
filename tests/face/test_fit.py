"""A face fitter gives back the face that a picture was drawn from, and refuses what it cannot fit."""

import numpy as np
import pytest
from numpy.typing import NDArray

from speech2face.face.fit import FaceFitter
from speech2face.face.schemes import HAND_PLACED
from speech2face.models.attributes import AttributeModel, load_attribute_model
from speech2face.voice.belief import AttributeBelief

Floats = NDArray[np.float64]


@pytest.fixture(scope="module")
def model() -> AttributeModel:
    return load_attribute_model()


@pytest.fixture(scope="module")
def fitter(model: AttributeModel) -> FaceFitter:
    return model.face_fitter()


def drawn(model: AttributeModel, seed: int) -> tuple[NDArray[np.float32], NDArray[np.uint8], Floats]:
    """A face embedding of the population, its portrait, and its 189 landmarks in it."""
    rng = np.random.default_rng(seed)
    belief = AttributeBelief(np.ones(18) / 18, 0.5, given_age=float(rng.uniform(20, 70)))
    embedding = model.release.population.draw(belief, rng)
    points = np.zeros((189, 2))
    points[list(HAND_PLACED)] = model.landmarks(embedding)[: len(HAND_PLACED)]
    return embedding, model.decode(embedding), points


def face_difference(model: AttributeModel, one: NDArray[np.float32], other: NDArray[np.float32]) -> float:
    """Mean absolute difference of two portraits in the face, 0 to 255."""
    inner = (slice(150, 420), slice(160, 352))
    pictures = [model.decode(each)[inner].astype(float) for each in (one, other)]
    return float(np.abs(pictures[0] - pictures[1]).mean())


def test_a_drawn_face_comes_back(model: AttributeModel, fitter: FaceFitter) -> None:
    for seed in range(4):
        embedding, picture, points = drawn(model, seed)
        fit = fitter.fit([picture], [points])
        mean = model.release.mean_embedding
        assert face_difference(model, fit.embedding, embedding) < 0.6 * face_difference(model, mean, embedding)
        assert fit.error < 1
        assert fit.embedding.shape == (24,)
        assert fit.embedding.dtype == np.float32
