"""A gallery for a model that never saw its speakers' faces: photographs and voices meet in apparent age and gender.

The starter's face embedding holds coordinates of age, gender and group, and residuals that no voice tells. Of these a
photograph can be read for age and gender (`evaluation/readers/appearance_reader.py`, whose limits hold here too); the
group is never read off a face, and residuals are zero in what a voice suggests. So the shared numbers are the
coordinates of age and gender, each in units of how far adults differ in it, and a constant: beside a large constant
the cosine ranks as the distance does, where directions alone would call everybody near the middle unlike.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from speech2face.errors import MissingExtra
from speech2face.face.detector import Picture
from speech2face.models.attribute_model import AttributeModel

if TYPE_CHECKING:
    from speech2face.evaluation.readers.appearance_reader import AppearanceReader

AGES = np.arange(18.0, 81.0)
CONSTANT = 10.0  # the coordinates of an adult are about 2.6 long together


def attribute_size(model: AttributeModel) -> int:
    """How many coordinates age and gender fix, and the constant."""
    return int(_centre_and_scale(model)[0].size) + 1


def attribute_coordinates(model: AttributeModel, face_embedding: NDArray[np.floating]) -> NDArray[np.float32]:
    """Those of a face embedding (K,), around the middle of adults and in units of their spread."""
    centre, scale = _centre_and_scale(model)
    return np.append((face_embedding[: centre.size] - centre) / scale, CONSTANT).astype(np.float32)


def _designs(model: AttributeModel) -> NDArray[np.float64]:
    """Of all adult ages and both genders, (ages, 2, coordinates)."""
    basis = model.release.population.basis
    even = np.full(len(basis.groups), 1.0 / len(basis.groups))
    whole = basis.design(AGES[:, None], np.array([[0.0, 1.0]]), even)
    return np.asarray(whole[..., : -len(basis.groups)], np.float64)


def _centre_and_scale(model: AttributeModel) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    designs = _designs(model).reshape(-1, _designs(model).shape[-1])
    return designs.mean(0), np.maximum(designs.std(0), 1e-3)


class AppearanceEmbedder:
    """Reads the coordinates of age and gender off a photograph."""

    def __init__(self, model: AttributeModel, reader: AppearanceReader | None = None) -> None:
        """
        Raises:
            MissingExtra: what finds landmarks is not installed.
        """
        if reader is None:
            try:
                from speech2face.evaluation.readers.appearance_reader import AppearanceReader
            except ImportError as error:
                raise MissingExtra(
                    f"reading age and gender off photographs needs the extras 'eval' and 'faces' ({error.name} is"
                    " missing): pip install 'speech2face[eval,faces]'"
                ) from error
            reader = AppearanceReader(model.release.folder)
        self._model, self._reader = model, reader
        self.size = attribute_size(model)

    def embed(self, picture: Picture) -> NDArray[np.float32] | None:
        """The coordinates (size,) of the face that is found, or None."""
        reading = self._reader.read(picture)
        if reading is None or reading.age is None or reading.femininity is None:
            return None
        basis = self._model.release.population.basis
        even = np.full(len(basis.groups), 1.0 / len(basis.groups))
        return attribute_coordinates(self._model, basis.design(reading.age, reading.femininity, even))
