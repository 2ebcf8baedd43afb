"""Which numbers a model shares with photographs, for models that learned from pairs and for those that did not."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from speech2face.errors import InvalidOption
from speech2face.face.embedder import FaceEmbedder
from speech2face.gallery.record import Space
from speech2face.models.attribute_model import AttributeModel
from speech2face.models.contract import Model
from speech2face.models.paired_release import PairedRelease
from speech2face.release import MANIFEST, sha256

NOT_IDENTIFICATION = (
    "A ranking by likeness to what a voice suggests, not identification: it names nobody, and the speaker need not be"
    " in the gallery."
)
BY_ATTRIBUTES = (
    "This model knows no faces of its speakers: the ranking is by apparent age and gender alone, and faces of the same"
    " age and gender stand in no meaningful order."
)


def space_of(model: Model) -> Space:
    """The space of the model's face embeddings, as far as photographs can be brought to it."""
    release = model.release
    digest = sha256(release.folder / MANIFEST)
    if isinstance(release, PairedRelease):
        return Space(release.embedding, release.embedder, release.name, release.version, digest)
    from speech2face.gallery.appearance import attribute_size

    assert isinstance(model, AttributeModel)
    return Space(attribute_size(model), None, release.name, release.version, digest)


def open_face_embedder(model: Model, file: Path | None = None) -> FaceEmbedder:
    """What brings photographs to the model's space.

    Raises:
        WeightsError, MissingExtra: it is not at hand.
        InvalidOption: a weight file for a model that needs none.
    """
    if not isinstance(model, AttributeModel):
        return model.face_embedder(file)[1]
    if file is not None:
        raise InvalidOption(f"{model.release.name} reads faces by its own appearance model; leave --embedder out")
    from speech2face.gallery.appearance import AppearanceEmbedder

    return AppearanceEmbedder(model)


def probe_of(model: Model, face_embedding: NDArray[np.float32]) -> NDArray[np.float32]:
    """What a voice suggests, the mean of a belief (K,), in the model's space."""
    if not isinstance(model, AttributeModel):
        return face_embedding
    from speech2face.gallery.appearance import attribute_coordinates

    return attribute_coordinates(model, face_embedding)


def limits_of(space: Space) -> tuple[str, ...]:
    """What must be said with every ranking."""
    return (NOT_IDENTIFICATION,) if space.embedder is not None else (NOT_IDENTIFICATION, BY_ATTRIBUTES)
