"""A photograph in, the canonical face of its embedding out: the face side of a model alone."""

import os
from dataclasses import dataclass
from typing import Any

import numpy as np

from speech2face.audio.arguments import PathLike, plain_path, read_content
from speech2face.audio.spectrogram import FloatArray
from speech2face.errors import FaceNotFound, SeveralFaces
from speech2face.face.photograph import PhotographSource, read_photograph
from speech2face.models.contract import Model
from speech2face.notices import DECODED_NOTICE
from speech2face.portrait import check_exaggeration, check_model


@dataclass(frozen=True)
class Reconstruction:
    """A face drawn from a photograph's face embedding: the best that the decoder could do for a perfect voice encoder.

    `image` is (height, width, 3) uint8, `face_embedding` (K,); `embedder` is the kind of network that made it.
    """

    image: np.ndarray
    face_embedding: FloatArray
    embedder: str
    exaggerate: float
    model_name: str
    model_version: str

    def facts(self) -> dict[str, Any]:
        """Everything but picture and embedding, JSON-ready. The embedding would identify a person: it is not in it."""
        return {
            "photograph": {"embedder": self.embedder},
            "exaggerate": self.exaggerate,
            "model": {"name": self.model_name, "version": self.model_version},
            "notice": DECODED_NOTICE,
        }


def decode_photograph(
    model: Model,
    photograph: PhotographSource,
    *,
    embedder_file: PathLike | None = None,
    exaggerate: float = 0.0,
) -> Reconstruction:
    """Draw the canonical face of the person in a photograph.

    Args:
        model: from `load_model`; one whose face embeddings come from photographs.
        photograph: a path, the bytes of a picture, or a binary file.
        embedder_file: the face embedder's weights, where they are the user's own file.
        exaggerate: how far to move the embedding from the mean face; 0 does not.

    Raises:
        FaceNotFound: no picture, or none with a face in it.
        SeveralFaces: more than one person could be meant.
        InvalidOption, WeightsError, MissingExtra: the model's face embedder is not at hand, with what to do.
    """
    check_model(model)
    exaggerate = check_exaggeration(exaggerate)
    weights = None if embedder_file is None else plain_path(embedder_file, "embedder_file")
    photograph = read_content(photograph, "the photograph")
    picture = read_photograph(photograph)
    kind, embedder = model.face_embedder(weights)
    model.prefetch_face()
    name = str(photograph) if isinstance(photograph, str | os.PathLike) else "the photograph"
    try:
        face_embedding = embedder.embed(picture)
    except SeveralFaces as error:
        raise SeveralFaces(f"{name}: {error}") from error
    if face_embedding is None:
        raise FaceNotFound(f"no face was found in {name}; give a photograph of a face from the front, well lit")
    return Reconstruction(
        image=model.decode(model.exaggerated(face_embedding, exaggerate)),
        face_embedding=face_embedding,
        embedder=kind,
        exaggerate=exaggerate,
        model_name=model.release.name,
        model_version=model.release.version,
    )
