"""Drawn faces for tests of the face decoder: an oval with eyes and mouth that follows from a few numbers."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from speech2face.data.manifest import Manifest
from speech2face.data.members import Clip
from speech2face.data.shards import write_shards
from speech2face.face.embedders import EmbedderRecord

SIZE = 32
TRAITS = 3  # width of the face, height of the mouth, brightness of the skin


def drawn_face(traits: NDArray[np.float64]) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """Picture (32, 32, 3) and landmarks (11, 2) of traits (3,) in about [-1, 1]."""
    width, mouth, skin = 9 + 2 * traits[0], 22 + 1.5 * traits[1], 0.6 + 0.15 * traits[2]
    eyes = width * 0.45
    angles = np.arange(8) * (np.pi / 4)
    outline = np.stack([15.5 + width * np.cos(angles), 16 + 13 * np.sin(angles)], axis=-1)
    inner = np.array([[15.5 - eyes, 13], [15.5 + eyes, 13], [15.5, mouth]])
    landmarks = np.concatenate([inner, outline]).astype(np.float32)
    across, down = np.meshgrid(np.arange(SIZE), np.arange(SIZE))

    def soft(distance: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.clip(0.5 - distance, 0, 1)[..., None]

    picture = np.full((SIZE, SIZE, 3), 0.85)
    oval = (np.hypot((across - 15.5) / width, (down - 16) / 13) - 1) * width
    picture += soft(oval) * (skin * np.array([1.0, 0.85, 0.75]) - picture)
    for x, y in landmarks[:3]:
        picture += soft(np.hypot(across - x, down - y) - 1.5) * (0.2 - picture)
    return (picture * 255).round().astype(np.uint8), landmarks


def drawn_clip(number: int, split: str = "train") -> Clip:
    """Clip `number`: its face embedding is a fixed linear map of its traits, shifted and small like dlib's."""
    traits = np.random.default_rng(number).uniform(-1, 1, TRAITS)
    face, landmarks = drawn_face(traits)
    mixing = np.random.default_rng(10_000).normal(size=(TRAITS, 6))
    return Clip(
        key=f"drawn-{number:04d}",
        speaker=f"speaker {number}",
        split=split,
        face_embedding=(0.5 + 0.05 * traits @ mixing).astype(np.float32),
        aligned_face=face,
        landmarks=landmarks,
        licence="CC0 1.0" if number % 2 else "CC BY 4.0",
    )


def drawn_data(folder: Path, training: int = 24, validation: int = 8) -> Manifest:
    """A data set of drawn faces without voices, written and opened."""
    clips = [drawn_clip(number) for number in range(training)]
    clips += [drawn_clip(1000 + number, "validation") for number in range(validation)]
    write_shards(folder, clips, embedder=EmbedderRecord("planted", 6), clips_per_shard=10)
    return Manifest.open(folder)
