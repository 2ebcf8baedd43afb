"""Textures on the mean shape, in the tone scale and the colour channels of the face model."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from speech2face.training.faces_controls import Controls, canvas_points
from speech2face.training.faces_photographs import SIZE, Faces, sample

TONE_OFFSET = 0.08  # tone = log(sRGB + offset): products of skin and light become sums, black stays finite
LUMA = np.array([0.30, 0.59, 0.11], dtype=np.float32)
CHROMA_SIZE = SIZE // 2


@dataclass(frozen=True)
class Textures:
    """All faces on the mean shape."""

    luma: NDArray[np.float16]
    """(faces, SIZE, SIZE) tone"""
    chroma: NDArray[np.float16]
    """(faces, 2, CHROMA_SIZE, CHROMA_SIZE): red and blue tone less luma"""
    seen: NDArray[np.float16]
    """(faces, SIZE, SIZE): 1 where the person is, 0 where the ground, ramps between"""


def to_tone(rgb: NDArray[np.float32]) -> NDArray[np.float32]:
    """sRGB in [0, 1] to tones."""
    return np.asarray(np.log(np.clip(rgb, 0.0, 1.0) + TONE_OFFSET))


def split(tone: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Luma (height, width) and chroma (2, height / 2, width / 2) of tones (height, width, 3)."""
    luma = tone @ LUMA
    chroma = np.stack([tone[..., 0] - luma, tone[..., 2] - luma])
    height, width = luma.shape
    return luma, chroma.reshape(2, height // 2, 2, width // 2, 2).mean((2, 4))


def join(luma: NDArray[np.float32], chroma: NDArray[np.float32]) -> NDArray[np.float32]:
    """sRGB (height, width, 3) of luma (height, width) and chroma (2, height / 2, width / 2)."""
    wide = np.stack([ndimage.zoom(plane, 2, order=1, grid_mode=True, mode="nearest") for plane in chroma])
    red, blue = luma + wide[0], luma + wide[1]
    green = (luma - LUMA[0] * red - LUMA[2] * blue) / LUMA[1]
    return np.asarray(np.clip(np.exp(np.stack([red, green, blue], axis=-1)) - TONE_OFFSET, 0.0, 1.0), np.float32)


def london_textures(london: Faces, controls: Controls) -> Textures:
    """Warp every photograph and its matte onto the mean shape."""
    count = len(london.names)
    luma = np.empty((count, SIZE, SIZE), np.float16)
    chroma = np.empty((count, 2, CHROMA_SIZE, CHROMA_SIZE), np.float16)
    seen = np.empty((count, SIZE, SIZE), np.float16)
    for face in range(count):
        where = canvas_points(controls, face)
        picture = sample(london.pictures[face], where)
        luma[face], chroma[face] = split(to_tone(picture))
        inside = ndimage.distance_transform_edt(controls.persons[face]).astype(np.float32)[..., None]
        depth = sample(inside, where)[..., 0]
        seen[face] = np.clip((depth - 1.5) / 2.0, 0.0, 1.0)  # the outermost pixels mix with the ground
    return Textures(luma, chroma, seen)
