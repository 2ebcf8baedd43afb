"""The planted world: face embeddings that depend on traits partly shared with the voice, and clips of both.

    face embedding = mean + sum_i a_i (rho s_i + sqrt(1 - rho^2) e_i) + sum_j b_j e_j

with s the shared traits, e the face's own, all standard normal, and orthogonal directions a and b. The voice
tells s exactly and nothing of e, so the best prediction in the sense of least squares is
E[face embedding | voice] = mean + sum a_i rho s_i, whatever is learned from however much speech.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file
from torch import Tensor
from torch.nn import functional

import speech2face.weights
from recipes.planted.synthesiser import (
    SEEN_TRAITS,
    SHARED,
    SHARED_TRAITS,
    FloatArray,
    Kind,
    Traits,
    draw_traits,
    synthesise,
    voice_of,
)
from recipes.starter.linear import LinearFaceDecoder, LinearFaceDecoderConfig
from speech2face.face.appearance import AttributeBasis
from speech2face.face.landmarks import EARS, HAIRLINE, INNER_FACE
from speech2face.face.landmarks import HAND_PLACED_INNER_LIPS as INNER_LIPS
from speech2face.metrics.matching import cosine, own_ranks, recall

_SHARED = len(SHARED_TRAITS)  # of either kind: so the faces, their decoder and the teacher's head serve both
CHANNEL_DB = 6.0  # telephones, rooms and distances differ by that much and more


@dataclass(frozen=True)
class World:
    """All constants of a planted world; the same constants give the same speakers."""

    seed: int = 0
    embedding: int = 64
    """Length of the face embedding."""
    deviation: float = 8.0
    """Root of the summed variance of the face embedding: coordinates vary by about 1."""
    mean_length: float = 4.0
    """Length of the mean face embedding: why a constant answer earns a cosine above 0."""
    shared_share: float = 0.75
    """Share of that variance along directions that shared traits move."""
    correlation: float = 0.9
    """rho: how closely the face follows a shared trait."""
    identities: int = 128
    """People whom the planted teacher's head tells apart."""
    kind: Kind = "spectrum"
    """Which traits are shared: of the voice's spectrum, or of its movement and rhythm, the spectrum a nuisance."""

    @property
    def shared_traits(self) -> tuple[str, ...]:
        """Names of the shared traits."""
        return SHARED[self.kind]

    @property
    def channel_db(self) -> float:
        """How much the recordings' microphones differ: not at all where the spectrum is what is to be heard."""
        return CHANNEL_DB if self.kind == "movement" else 0.0

    @cached_property
    def _directions(self) -> FloatArray:
        """Orthonormal rows: the mean's, one of each shared trait, one of each other seen trait, (.., embedding)."""
        rows = 1 + SEEN_TRAITS
        assert self.embedding >= rows, f"an embedding of {self.embedding} numbers has no room for {rows} directions"
        drawn = np.random.default_rng([self.seed, 2**32]).standard_normal((self.embedding, rows))
        return np.asarray(np.linalg.qr(drawn)[0].T)

    @property
    def mean(self) -> FloatArray:
        """Mean face embedding, (embedding,)."""
        return np.asarray(self.mean_length * self._directions[0])

    @property
    def shared_axes(self) -> FloatArray:
        """What one standard deviation of each shared trait moves, (shared, embedding): a_i."""
        return np.asarray(self.deviation * np.sqrt(self.shared_share / _SHARED) * self._directions[1 : 1 + _SHARED])

    @property
    def seen_axes(self) -> FloatArray:
        """What the face's own remaining traits move, (SEEN_TRAITS - shared, embedding): b_j."""
        own = SEEN_TRAITS - _SHARED
        return np.asarray(self.deviation * np.sqrt((1 - self.shared_share) / own) * self._directions[1 + _SHARED :])

    def face_embedding(self, traits: Traits) -> FloatArray:
        """(speakers, embedding)."""
        own = np.sqrt(1 - self.correlation**2) * traits.seen[:, :_SHARED]
        shown = self.correlation * traits.shared + own  # (speakers, shared)
        return np.asarray(self.mean + shown @ self.shared_axes + traits.seen[:, _SHARED:] @ self.seen_axes)

    def best_prediction(self, shared: FloatArray) -> FloatArray:
        """E[face embedding | voice] of shared traits (speakers, shared): what a perfect voice encoder answers."""
        return np.asarray(self.mean + self.correlation * shared @ self.shared_axes)

    def shown_traits(self, face_embedding: FloatArray) -> FloatArray:
        """Standard coordinates along the shared traits' directions, (speakers, embedding) -> (speakers, shared)."""
        axes = self.shared_axes
        return np.asarray((face_embedding - self.mean) @ axes.T / np.square(axes).sum(1))

    def face_coordinates(self, face_embedding: FloatArray) -> FloatArray:
        """All that varies, each coordinate standard normal over speakers, (speakers, SEEN_TRAITS)."""
        axes = np.concatenate([self.shared_axes, self.seen_axes])
        return np.asarray((face_embedding - self.mean) @ axes.T / np.square(axes).sum(1))

    def teacher_head(self, sharpness: float = 0.25) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Weight (identities, embedding) and bias (identities,) of the planted teacher: who of its people is it like?

        The logits of a face are those of normal clouds around each person's own embedding.
        """
        people = self.face_embedding(draw_traits(range(self.identities), seed=self.seed + 1_000_003)) - self.mean
        scale = sharpness * SEEN_TRAITS / self.deviation**2 * 4
        weight = scale * people
        bias = -weight @ self.mean - 0.5 * scale * np.square(people).sum(1)
        return weight.astype(np.float32), bias.astype(np.float32)

    def traits(self, speakers: range) -> Traits:
        """Traits of the speakers of these numbers."""
        return draw_traits(speakers, seed=self.seed, kind=self.kind)

    def waveforms(self, speakers: range, seconds: float, *, clip: int = 0) -> Iterator[NDArray[np.float32]]:
        """A recording of each speaker, (samples,); `clip` numbers a speaker's recordings."""
        traits = self.traits(speakers)
        for number, shared, heard in zip(speakers, traits.shared, traits.heard, strict=True):
            rng = np.random.default_rng([self.seed, number, 1 + clip])
            yield synthesise(voice_of(shared, heard, self.kind), seconds, rng, channel_db=self.channel_db)


# --------------------------------------------------------------------------------------------------
# How well a face embedding can be predicted from a voice in a planted world, at best, by chance and by cheating.
# Everything follows from the world's constants: by formula where there is one, else by drawing speakers (Monte
# Carlo), without any sound. A voice is taken to tell its traits exactly, which no finite recording does: these are
# upper bounds.
# --------------------------------------------------------------------------------------------------


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
    return float(cosine(np.broadcast_to(world.mean, faces.shape), faces).mean())


def unrelated_cosine(world: World, *, speakers: int = 20_000, seed: int = 0) -> float:
    """Mean cosine of one speaker's best prediction with another speaker's face: what chance earns."""
    traits = draw_traits(range(speakers), seed=seed + 77)
    predicted = world.best_prediction(traits.shared)
    return float(cosine(predicted, np.roll(world.face_embedding(traits), 1, axis=0)).mean())


def cosine_recall(world: World, at: int, gallery: int, *, repeats: int = 20, seed: int = 0) -> float:
    """Recall of the best prediction when a gallery of that many people is ranked by cosine, as the paper does."""
    found = []
    for repeat in range(repeats):
        traits = draw_traits(range(gallery), seed=seed + 1000 + repeat)
        predicted = world.best_prediction(traits.shared).astype(np.float32)
        found.append(float(recall(own_ranks(predicted, world.face_embedding(traits).astype(np.float32)), at).mean()))
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
        found.append(float(recall((score >= own).sum(1), at).mean()))
    return float(np.mean(found))


# --------------------------------------------------------------------------------------------------
# What planted faces look like: drawn by the starter's linear face decoder from the coordinates of a face embedding.
# Which trait moves which feature is arbitrary and fixed by the world's seed. The faces are there for the face
# decoder's training to have photographs; nobody they show exists.
# --------------------------------------------------------------------------------------------------

LANDMARKS = 48
"""Points of a face, as far from each other as may be."""
WORKING_PIXELS = 2.5  # of the starter's portrait for each of the aligned face: it is cut, then halved
TOP_SHARE = 0.12  # of an aligned face's side: what is cut off above the hair
AT_ONCE = 16  # pictures drawn together
MEAN_AGE_YEARS, AGE_YEARS = 38.0, 9.0
RESIDUAL_SCALE = 0.8


class FaceArtist:
    """Draws the faces of a planted world."""

    def __init__(self, world: World, size: int) -> None:
        """`size` is of the aligned faces, in pixels: a multiple of 4."""
        assert size % 4 == 0, "the portrait is cut at whole pixels"
        folder = Path(speech2face.weights.__path__[0]) / "starter"
        facts = json.loads((folder / "face.json").read_text(encoding="utf-8"))
        self.decoder = _smaller(facts["decoder"], load_file(folder / "face.safetensors"), round(size * WORKING_PIXELS))
        self.scale = self.decoder.config.size / facts["decoder"]["size"]
        self.points = _spread_points(self.decoder.mean_landmarks.double().numpy())
        self.basis = AttributeBasis.from_dict(facts["attributes"])
        self.spread = np.array(facts["residual_sd"]) * RESIDUAL_SCALE
        self.world, self.size = world, size
        mixing = np.random.default_rng([world.seed, 2**32 + 1]).standard_normal((SEEN_TRAITS, SEEN_TRAITS))
        self._mixing = np.linalg.qr(mixing)[0]

    def appearance(self, face_embedding: FloatArray) -> NDArray[np.float32]:
        """Coefficients of the starter's face model, (people, coefficients)."""
        mixed = self.world.face_coordinates(face_embedding) @ self._mixing  # (people, SEEN_TRAITS), standard normal
        femininity = 0.5 + 0.35 * mixed[:, 0]
        age = np.clip(MEAN_AGE_YEARS + AGE_YEARS * mixed[:, 1], 20, 70)
        groups = np.exp(0.7 * np.c_[mixed[:, 2], mixed[:, 3], mixed[:, 4], -mixed[:, 2:5].sum(1)])
        groups /= groups.sum(1, keepdims=True)
        design = np.stack([self.basis.design(*one) for one in zip(age, femininity, groups, strict=True)])
        own = min(mixed.shape[1] - 5, self.spread.size)
        residuals = np.zeros((len(mixed), self.spread.size))
        residuals[:, :own] = mixed[:, 5 : 5 + own] * self.spread[:own]
        return np.concatenate([design, residuals], axis=1).astype(np.float32)

    @torch.inference_mode()
    def draw(self, face_embedding: FloatArray) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
        """(people, embedding) to aligned faces (people, size, size, 3) and landmarks (people, LANDMARKS, 2)."""
        left, top = self.size // 4, round(self.size * TOP_SHARE)
        faces, points = [], []
        for part in torch.split(torch.from_numpy(self.appearance(face_embedding)), AT_ONCE):
            cut = self.decoder(part)[:, :, top : top + 2 * self.size, left : left + 2 * self.size]
            drawn = functional.avg_pool2d(cut, 2)  # (AT_ONCE, 3, size, size)
            faces.append((drawn.permute(0, 2, 3, 1) * 255).round().to(torch.uint8).numpy())
            corners = (self.decoder.landmarks(part)[:, self.points].numpy() + 0.5) * self.scale
            points.append((corners - np.array([left, top])) / 2 - 0.5)  # pixel centres lie at integers
        return np.concatenate(faces), np.concatenate(points).astype(np.float32)


def _smaller(config: Mapping[str, Any], buffers: Mapping[str, Tensor], size: int) -> LinearFaceDecoder:
    """The starter's face decoder with fewer pixels; its landmarks stay in the starter's pixels."""
    planes = {"mean_luma", "attribute_luma", "residual_luma", "matte_depth"}
    least = {name: min(size, buffers[name].shape[-1]) for name in planes}
    sizes = {"size": size, "residual_size": least["residual_luma"], "matte_size": least["matte_depth"]}
    edge = config["edge_pixels"] * config["size"] / size  # an edge stays a pixel or two wide
    plain = {**config, **sizes, "edge_pixels": edge, "hair_styles": []}  # everybody is bald: hair is no part of faces
    decoder = LinearFaceDecoder(LinearFaceDecoderConfig.from_dict(plain))
    shrunk = {
        name: functional.interpolate(buffers[name].float()[None], size=(least[name],) * 2, mode="area")[0].half()
        for name in planes
    }
    decoder.load_state_dict({name: buffers[name] for name in decoder.state_dict()} | shrunk)
    return decoder.eval()


def _spread_points(mean: FloatArray) -> list[int]:
    """LANDMARKS of the hand-placed points on the mean shape (points, 2): each next one farthest from those before."""
    outside = {*EARS, *HAIRLINE, *(lip for pair in INNER_LIPS for lip in pair)}
    candidates = [k for k in INNER_FACE if k not in outside and k < HAIRLINE[0]]
    chosen = [candidates[0]]
    while len(chosen) < LANDMARKS:
        distance = np.linalg.norm(mean[candidates, None] - mean[None, chosen], axis=2).min(1)
        chosen.append(candidates[int(distance.argmax())])
    return chosen
