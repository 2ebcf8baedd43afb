"""Releases of weights: a folder whose `model.json` names every file, its SHA-256, the calibration and the licence."""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from speech2face.errors import WeightsError
from speech2face.face.attributes import AttributeBasis
from speech2face.voice.belief import Calibration, FacePopulation

MANIFEST = "model.json"
FORMAT = 1  # raised whenever an older program could not read a newer release
SHIPPED = Path(__file__).parent / "weights" / "starter"


@dataclass(frozen=True)
class Release:
    """One set of weights and everything needed to use and to cite it."""

    folder: Path
    name: str
    version: str
    licence: str
    calibration: Calibration
    population: FacePopulation
    mean_embedding: np.ndarray  # (K,) what exaggeration moves away from
    thresholds: dict[str, float]
    groups: tuple[str, ...]

    def file(self, name: str) -> Path:
        """Path of one file of the release."""
        return self.folder / name


def sha256(path: Path) -> str:
    """Hexadecimal SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _manifest(folder: Path) -> dict[str, Any]:
    try:
        values: dict[str, Any] = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise WeightsError(f"{folder} holds no {MANIFEST}; give the folder of a release") from error
    except (OSError, ValueError) as error:
        raise WeightsError(f"{folder / MANIFEST} cannot be read: {error}; fetch the release again") from error
    if values.get("format") != FORMAT:
        raise WeightsError(
            f"{folder} is a release of format {values.get('format')}, this program reads format {FORMAT};"
            " use the version of the program it was made for"
        )
    return values


def load_release(folder: Path | str | None = None) -> Release:
    """Read and check a release; None is the one inside the package.

    Raises:
        WeightsError: missing, damaged, or made for another version; names the file.
    """
    folder = SHIPPED if folder is None else Path(folder)
    values = _manifest(folder)
    for name, expected in values["files"].items():
        path = folder / name
        if not path.is_file():
            raise WeightsError(f"the release {folder} lacks {name}; install or fetch it again")
        if sha256(path) != expected:
            raise WeightsError(f"{path} is damaged (its SHA-256 is not the recorded one); install or fetch it again")
    try:
        face = values["face"]
        population = FacePopulation(
            AttributeBasis.from_dict(face["basis"]),
            np.array(face["residual_sd"], np.float32),
            np.array(face["group_weights"], np.float32),
            float(face["group_concentration"]),
        )
        return Release(
            folder=folder,
            name=values["name"],
            version=values["version"],
            licence=values["licence"],
            calibration=Calibration.from_dict(values["calibration"]),
            population=population,
            mean_embedding=np.array(face["mean_embedding"], np.float32),
            thresholds=values["thresholds"],
            groups=population.basis.groups,
        )
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise WeightsError(f"{folder / MANIFEST} lacks or mistakes {error}; fetch the release again") from error
