"""The record of a release that states attributes: calibration, face population, thresholds. The starter is one."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from speech2face.face.attributes import AttributeBasis
from speech2face.release import Release, common_parts, open_release, parsing
from speech2face.voice.belief import Calibration, FacePopulation

KIND = "attributes"
FACE_WEIGHTS = "face.safetensors"


@dataclass(frozen=True)
class AttributeRelease(Release):
    """A release whose voices and faces are joined by attributes."""

    calibration: Calibration
    population: FacePopulation
    mean_embedding: np.ndarray  # (K,) what exaggeration moves away from
    groups: tuple[str, ...]


def read_attribute_release(folder: Path, values: dict[str, Any]) -> AttributeRelease:
    """The record in a checked manifest.

    Raises:
        WeightsError: a part is missing or of the wrong kind.
    """
    with parsing(folder):
        face = values["face"]
        population = FacePopulation(
            AttributeBasis.from_dict(face["basis"]),
            np.array(face["residual_sd"], np.float32),
            np.array(face["group_weights"], np.float32),
            float(face["group_concentration"]),
        )
        return AttributeRelease(
            **common_parts(folder, values),
            calibration=Calibration.from_dict(values["calibration"]),
            population=population,
            mean_embedding=np.array(face["mean_embedding"], np.float32),
            groups=population.basis.groups,
        )


def load_attribute_release(folder: Path | str | None = None) -> AttributeRelease:
    """Read and check a release of this kind; None is the one inside the package.

    Raises:
        WeightsError: missing, damaged, of another kind, or made for another version; names the file.
    """
    place, values = open_release(folder, KIND)
    return read_attribute_release(place, values)
