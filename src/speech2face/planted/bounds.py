"""How well a face embedding can be predicted from a voice in a planted world, at best, by chance and by cheating.

Everything follows from the world's constants: by formula where there is one, else by drawing speakers (Monte Carlo),
without any sound. A voice is taken to tell its traits exactly, which no finite recording does: these are upper bounds.
"""

from __future__ import annotations

import numpy as np

from speech2face.evaluation.embeddings import cosines, ranks, recall
from speech2face.planted.traits import FloatArray, Traits, draw_traits
from speech2face.planted.world import World


def best_r2(world: World) -> float:
    """Greatest R^2 over all coordinates together: share of the variance that the shared traits explain.

    R^2 = rho^2 sum |a_i|^2 / (sum |a_i|^2 + sum |b_j|^2).
    """
    shared, own = np.square(world.shared_axes).sum(), np.square(world.seen_axes).sum()
    return float(world.correlation**2 * shared / (shared + own))


def _another_face(world: World, shared: FloatArray, rng: np.random.Generator, seen: int) -> FloatArray:
    """Face embeddings of people who share these traits (speakers, shared) and differ in all else."""
    own = rng.standard_normal((len(shared), seen))
    return world.face_embedding(Traits(shared, np.empty((len(shared), 0)), own))


def best_cosine(world: World, *, speakers: int = 2000, draws: int = 500, seed: int = 0) -> float:
    """Greatest mean cosine that any prediction can have, by Monte Carlo.

    For one voice the mean cosine of an answer of direction d is d . E[v / |v| | voice], so the best is the length of
    that mean direction. That length is overestimated by less than 1 / draws, the rest is the speakers' chance.
    """
    rng = np.random.default_rng(seed)
    traits = draw_traits(range(speakers), seed=seed + 77)
    mean_direction = np.zeros((speakers, world.embedding))
    for _ in range(draws):
        face = _another_face(world, traits.shared, rng, traits.seen.shape[1])
        mean_direction += face / np.linalg.norm(face, axis=1, keepdims=True)
    return float(np.linalg.norm(mean_direction / draws, axis=1).mean())


def constant_cosine(world: World, *, speakers: int = 20_000, seed: int = 0) -> float:
    """What the cheat earns that answers the mean face to every voice: its mean cosine. Its R^2 is 0."""
    faces = world.face_embedding(draw_traits(range(speakers), seed=seed + 77))
    return float(cosines(np.broadcast_to(world.mean, faces.shape), faces).mean())


def unrelated_cosine(world: World, *, speakers: int = 20_000, seed: int = 0) -> float:
    """Mean cosine of one speaker's best prediction with another speaker's face: what chance earns."""
    traits = draw_traits(range(speakers), seed=seed + 77)
    predicted = world.best_prediction(traits.shared)
    return float(cosines(predicted, np.roll(world.face_embedding(traits), 1, axis=0)).mean())


def cosine_recall(world: World, at: int, gallery: int, *, repeats: int = 20, seed: int = 0) -> float:
    """Recall of the best prediction when a gallery of that many people is ranked by cosine, as the paper does."""
    found = []
    for repeat in range(repeats):
        traits = draw_traits(range(gallery), seed=seed + 1000 + repeat)
        predicted = world.best_prediction(traits.shared).astype(np.float32)
        found.append(recall(ranks(predicted, world.face_embedding(traits).astype(np.float32)), at))
    return float(np.mean(found))


def best_recall(world: World, at: int, gallery: int, *, repeats: int = 20, seed: int = 0) -> float:
    """Greatest recall at `at` that any ranking can have: by p(face | voice) / p(face), known in this world.

    Along each shared direction the face's coordinate x is normal around rho s with variance 1 - rho^2; the rest of the
    face says nothing of the voice.
    """
    rho, found = world.correlation, []
    for repeat in range(repeats):
        traits = draw_traits(range(gallery), seed=seed + 1000 + repeat)
        shown = world.shown_traits(world.face_embedding(traits))[None]  # (1, gallery, shared)
        heard = traits.shared[:, None]  # (voices, 1, shared)
        score = (0.5 * shown**2 - 0.5 * (shown - rho * heard) ** 2 / (1 - rho**2)).sum(2)
        own = np.diagonal(score)[:, None]
        found.append(recall((score >= own).sum(1), at))
    return float(np.mean(found))
