"""The photographs of the starter set, read and brought to the canvas of the face model."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from speech2face.data.sources.tables import read_table
from speech2face.face.alignment import Points

SIZE = 512  # pixels of the canvas and of the portrait, both ways
LONDON_PIXELS = 675  # photographs of 1350 pixels are read at half size: about one pixel for one of the canvas
CROP_LEFT, CROP_TOP, CROP_PIXELS = 152.5, 105.0, 1044.0  # of the mean 1350-pixel photograph: hair to collar


@dataclass(frozen=True)
class Faces:
    """Photographs with what is known of them; index n is one person throughout."""

    names: tuple[str, ...]
    pictures: tuple[NDArray[np.float32], ...]
    """sRGB in [0, 1], (height, width, 3) each."""
    landmarks: Points
    """(faces, landmarks, 2) in pixels of the pictures."""
    age: NDArray[np.float64]
    """Years; NaN where not given."""
    femininity: NDArray[np.float64]
    group: tuple[str, ...]


def _read_picture(path: Path, pixels: int) -> NDArray[np.float32]:
    with Image.open(path) as stored:
        picture = stored.convert("RGB")
        if picture.size != (pixels, pixels):
            picture = picture.resize((pixels, pixels), Image.Resampling.LANCZOS)
        return np.asarray(picture, dtype=np.float32) / 255.0


def _read_table(folder: Path) -> tuple[list[dict[str, str]], Points, float]:
    """Rows of faces.csv, their landmarks, and the width in pixels these are measured in."""
    table = read_table(str(folder / "faces.csv"), needed=("face", "file", "age"))
    rows = [{name: row.get(name) for name in row.columns} for row in table]
    marks = json.loads((folder / "landmarks.json").read_text(encoding="utf-8"))
    return rows, np.array([marks["landmarks"][row["face"]] for row in rows], dtype=np.float64), marks["image_size"][0]


def read_london(starter: Path) -> Faces:
    """The Face Research Lab London Set with its 189 landmarks."""
    folder = starter / "faces"
    rows, landmarks, width = _read_table(folder)
    return Faces(
        names=tuple(row["face"] for row in rows),
        pictures=tuple(_read_picture(folder / row["file"], LONDON_PIXELS) for row in rows),
        landmarks=(landmarks + 0.5) * (LONDON_PIXELS / width) - 0.5,
        age=np.array([float(row["age"] or "nan") for row in rows]),
        femininity=np.array([float(row["gender"] == "female") for row in rows]),
        group=tuple(row["ethnicity"] for row in rows),
    )


def read_synthetic(starter: Path) -> Faces:
    """Generated older faces with 468 mesh points; age and gender are a network's guess."""
    folder = starter / "faces_synthetic"
    rows, landmarks, width = _read_table(folder)
    return Faces(
        names=tuple(row["face"] for row in rows),
        pictures=tuple(_read_picture(folder / row["file"], int(width)) for row in rows),
        landmarks=landmarks,
        age=np.array([float(row["predicted_age"]) for row in rows]),
        femininity=np.array([float(row["predicted_gender"] == "female") for row in rows]),
        group=("unknown",) * len(rows),
    )


def to_canvas(london_points: Points) -> Points:
    """London pixels (of the half-size pictures) in the mean position to pixels of the canvas."""
    full = (london_points + 0.5) * 2.0 - 0.5
    return np.asarray((full - np.array([CROP_LEFT, CROP_TOP]) + 0.5) * (SIZE / CROP_PIXELS) - 0.5)


def sample(picture: NDArray[np.float32], points: Points) -> NDArray[np.float32]:
    """Bicubic values of a picture (height, width, channels) at points (..., 2), edges repeated: (..., channels)."""
    import torch
    from torch.nn.functional import grid_sample

    height, width = picture.shape[:2]
    extent = np.array([width, height])
    where = torch.from_numpy(((points + 0.5) * 2.0 / extent - 1.0).astype(np.float32)).reshape(1, 1, -1, 2)
    plane = torch.from_numpy(np.ascontiguousarray(picture)).permute(2, 0, 1)[None]
    found = grid_sample(plane, where, mode="bicubic", padding_mode="border", align_corners=False)
    return np.asarray(found[0, :, 0].T.numpy().reshape(*points.shape[:-1], picture.shape[2]))
