"""The planted world: face embeddings that depend on traits partly shared with the voice, and clips of both.

    face embedding = mean + sum_i a_i (rho s_i + sqrt(1 - rho^2) e_i) + sum_j b_j e_j

with s the shared traits, e the face's own, all standard normal, and orthogonal directions a and b. The voice
tells s exactly and nothing of e, so the best prediction in the sense of least squares is
E[face embedding | voice] = mean + sum a_i rho s_i, whatever is learned from however much speech.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from speech2face.planted.synthesiser import synthesise
from speech2face.planted.traits import (
    SEEN_TRAITS,
    SHARED,
    SHARED_TRAITS,
    FloatArray,
    Kind,
    Traits,
    draw_traits,
    voice_of,
)

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
