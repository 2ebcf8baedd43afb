"""What every kind of model can do: the whole of what a portrait needs to know about it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Protocol, Self

import numpy as np

from speech2face.audio.activity import Spans
from speech2face.audio.spectrogram import FloatArray
from speech2face.cautions import Caution
from speech2face.config import Style
from speech2face.face.embedder import FaceEmbedder
from speech2face.given import Given
from speech2face.release import Release
from speech2face.voice.belief import AttributeBelief


class FaceBelief(Protocol):
    """What a voice tells about the face embedding: a distribution over it."""

    @property
    def mean(self) -> FloatArray:
        """The expected face embedding, (K,)."""
        ...

    @property
    def covariance(self) -> FloatArray:
        """(K, K)."""
        ...


class Hearing(Protocol):
    """What a model made of one recording's speech."""

    @property
    def attributes(self) -> AttributeBelief | None:
        """What the voice tells about age and gender; None where the model does not state it."""
        ...

    def belief(self, given: Given) -> FaceBelief:
        """The belief about the face, what was given taking the place of what was heard."""
        ...

    def draw(self, given: Given, rng: np.random.Generator) -> FloatArray:
        """One face embedding, (K,), drawn from that belief."""
        ...

    def spoken_at(self, spans: Spans) -> Self:
        """The same, told in which ranges of samples somebody speaks, for a model that hears pauses too."""
        ...

    def speaker_change(self) -> float | None:
        """Least cosine between what is before and after some cut of the speech; None where it is not judged."""
        ...

    def cautions(self) -> tuple[Caution, ...]:
        """What the voice itself gives reason to say, beside what `find_cautions` finds in the recording."""
        ...


class Listening(Protocol):
    """Speech as it comes: every stretch is encoded once, and what is kept does not grow with a call."""

    def push(self, heard: FloatArray, spoken_seconds: float | None = None) -> None:
        """Hear the next stretch, (samples,).

        `spoken_seconds` is how much speech was found meanwhile, for a model that hears pauses too; None: all of it.
        """
        ...

    def hearing(self) -> Hearing:
        """What the model makes of all it heard so far; at least one window.

        Raises:
            NoSpeech: the encoder itself recognises no voice in it, where it can tell.
        """
        ...


class Model(Protocol):
    """A release ready for use."""

    @property
    def release(self) -> Release:
        """The weights' record."""
        ...

    @property
    def notice(self) -> str:
        """What is said of every portrait it draws."""
        ...

    @property
    def population(self) -> dict[str, float]:
        """Share of each group in the reference population, summing to one; empty where the model has none."""
        ...

    @property
    def styles(self) -> tuple[Style, ...]:
        """How its faces can be shown; what is not among them `landmarks` says why."""
        ...

    @property
    def hears_pauses(self) -> bool:
        """Whether its network hears recordings whole, as they are; else it hears the speech in them alone."""
        ...

    def check(self, given: Given) -> None:
        """Refuse attributes that no face of this model can show.

        Raises:
            InvalidGiven: with what is possible.
        """
        ...

    def with_population(self, weights: Mapping[str, float]) -> Self:
        """The same model over another reference population.

        Raises:
            InvalidGiven: an unknown group, a negative weight, nothing but zeros, or a model that has no population.
        """
        ...

    def prefetch(self) -> None:
        """Begin to load the networks, so that they are there when the recording has been read."""
        ...

    def warm(self) -> None:
        """Load the networks now, for whoever cannot wait at the first portrait."""
        ...

    def face_embedder(self, file: str | Path | None = None) -> tuple[str, FaceEmbedder]:
        """The kind and the network of what makes this model's face embeddings from photographs.

        `file` holds its weights, where they are the user's own.

        Raises:
            InvalidOption: the model's face embeddings come from no photograph.
            WeightsError, MissingExtra: the embedder is not at hand, or another than the model was made with.
        """
        ...

    def prefetch_face(self) -> None:
        """Begin to load the face decoder alone."""
        ...

    def hear(self, heard: FloatArray) -> Hearing:
        """Encode all that is to be heard of a recording, (samples,): its speech, or all of it (`hears_pauses`).

        Raises:
            NoSpeech: the encoder itself recognises no voice in it, where it can tell.
        """
        ...

    def listen(self) -> Listening:
        """Begin to encode one speaker's voice while it is spoken: what `hear` would be given, in pieces."""
        ...

    def exaggerated(self, face_embedding: FloatArray, amount: float) -> FloatArray:
        """Move an embedding away from the mean face: v + e (v - mean), (K,) -> (K,)."""
        ...

    def landmarks(self, face_embedding: FloatArray) -> FloatArray:
        """Where the parts of the canonical face lie, (K,) -> (landmarks, 2), in pixels of the portrait.

        Raises:
            InvalidOption: the model does not tell.
        """
        ...

    def apparent(self, face_embedding: FloatArray) -> tuple[float | None, float | None]:
        """Age in years and femininity, 0 to 1, that an embedding (K,) itself shows; None where it does not say."""
        ...

    def decode(self, face_embedding: FloatArray) -> np.ndarray:
        """Draw the canonical face of an embedding, (K,) -> (height, width, 3) uint8."""
        ...
