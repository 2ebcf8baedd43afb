"""The linear model in numpy: what it draws it reads back."""

import numpy as np
from numpy.testing import assert_allclose

from speech2face.face.appearance import AppearanceModel

EMBEDDING, POINTS, SIZE = 4, 12, 32


def model() -> AppearanceModel:
    generator = np.random.default_rng(0)
    mask = np.zeros((SIZE, SIZE), dtype=bool)
    mask[8:24, 8:24] = True
    pixels = int(mask.sum())
    return AppearanceModel(
        mean_landmarks=generator.uniform(8, 24, (POINTS, 2)).astype(np.float32),
        landmark_basis=generator.normal(size=(EMBEDDING, POINTS, 2)).astype(np.float32) * 3,
        mean_tones=generator.normal(size=pixels).astype(np.float32),
        tone_basis=generator.normal(size=(EMBEDDING, pixels)).astype(np.float32),
        mask=mask,
        prior_sd=np.full(EMBEDDING, 10.0, np.float32),
        portrait_pixels=SIZE,
        tone_offset=0.08,
    )


def test_projecting_a_decoded_face_recovers_its_embedding() -> None:
    made = model()
    embedding = np.array([0.5, -1.0, 0.2, 1.5], np.float32)
    found = made.project(made.landmarks(embedding), made.tones(embedding))
    assert_allclose(found, embedding, atol=0.02)


def test_a_brighter_photograph_of_a_face_is_the_same_face() -> None:
    made = model()
    embedding = np.array([0.5, -1.0, 0.2, 1.5], np.float32)
    found = made.project(made.landmarks(embedding), made.tones(embedding) + np.float32(0.3))
    assert_allclose(found, embedding, atol=0.05)


def test_the_mean_face_projects_to_zero() -> None:
    made = model()
    assert_allclose(made.project(made.mean_landmarks, made.mean_tones), 0.0, atol=1e-5)


def test_a_doubtful_prior_pulls_towards_the_mean() -> None:
    made = model()
    narrow = AppearanceModel(**{**made.__dict__, "prior_sd": np.full(EMBEDDING, 0.01, np.float32)})
    embedding = np.array([0.5, -1.0, 0.2, 1.5], np.float32)
    found = narrow.project(made.landmarks(embedding), made.tones(embedding))
    assert np.abs(found).max() < 0.5 * np.abs(embedding).max()
