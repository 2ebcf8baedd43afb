"""Soft masks of the mean shape: face, eyes, beard, hair, skin."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from scipy import ndimage

from speech2face.face.alignment import Points
from speech2face.training.faces_photographs import SIZE

Array = NDArray[np.float32]
# closed contours of landmarks, London numbering
FACE_CONTOUR = (
    *(109, 134, 135, 136, 137, 138, 139, 140, 141, 142, 143, 144, 112),
    *(187, 113, 188, 114, 133, 132, 131, 130, 129, 128, 127, 126, 125, 111, 186, 110, 185),
)
EYE_CONTOURS = ((18, 19, 20, 21, 22, 30, 29, 28), (23, 24, 25, 26, 27, 33, 32, 31))
BROW_CONTOURS = ((71, 72, 73, 74, 75, 76, 84, 83), (82, 81, 80, 79, 78, 77, 85, 86))
BEARD_CONTOUR = (158, 63, 55, 68, 161, 163, 133, 132, 131, 130, 129, 128, 127, 126, 125, 160)
LIPS_CONTOUR = (87, 88, 89, 90, 91, 92, 93, 108, 107, 106, 105, 104)


@dataclass(frozen=True)
class Regions:
    """Masks (SIZE, SIZE) in [0, 1] on the mean shape."""

    face: Array
    """Forehead to chin, eyeballs excepted, fading before the hairline."""
    eyes: Array
    brows: Array
    beard: Array
    lips: Array
    hair: Array
    skin: Array
    """Face without eyes, brows and lips."""
    below: Array
    """Neck and clothes."""


def polygon(points: Points, *, grow_pixels: float = 0.0, soft_pixels: float = 1.0) -> Array:
    """Inside of a closed contour (points, 2), grown (or shrunk) and softened."""
    canvas = Image.new("L", (SIZE, SIZE), 0)
    ImageDraw.Draw(canvas).polygon([tuple(point) for point in points], fill=1)
    inside = np.asarray(canvas) > 0
    depth = ndimage.distance_transform_edt(inside) - ndimage.distance_transform_edt(~inside)
    mask = np.clip(0.5 + (depth + grow_pixels) / (2.0 * soft_pixels), 0.0, 1.0)
    return np.asarray((mask + mask[:, ::-1]) / 2, dtype=np.float32)


def regions(landmarks: Points, depth: Array) -> Regions:
    """Masks of mean landmarks (189, 2), canvas pixels, and the matte's depth."""

    def union(contours: tuple[tuple[int, ...], ...], grow: float, soft: float) -> Array:
        parts = [polygon(landmarks[list(c)], grow_pixels=grow, soft_pixels=soft) for c in contours]
        return np.asarray(np.minimum(2.0 * np.sum(parts, axis=0), 1.0), dtype=np.float32)

    whole = polygon(landmarks[list(FACE_CONTOUR)], grow_pixels=-9.0, soft_pixels=8.0)
    eyes = union(EYE_CONTOURS, -0.5, 1.5)
    brows = union(BROW_CONTOURS, 3.0, 4.0)
    lips = union((LIPS_CONTOUR,), 1.0, 3.0)
    beard = polygon(landmarks[list(BEARD_CONTOUR)], grow_pixels=6.0, soft_pixels=10.0)
    rows = np.arange(SIZE, dtype=np.float32)[:, None]
    above = np.clip((landmarks[[109, 112], 1].mean() + 8.0 - rows) / 16.0, 0.0, 1.0)  # hair ends at the ears' tops
    outside = 1.0 - polygon(landmarks[list(FACE_CONTOUR)], grow_pixels=0.0, soft_pixels=5.0)
    hair = outside * above * np.clip(0.5 + depth / 4.0, 0.0, 1.0)
    skin = whole * (1.0 - eyes) * (1.0 - brows) * (1.0 - lips)
    ears = landmarks[[111, 114], 1].mean()
    below = outside * np.clip((rows - ears) / 16.0, 0.0, 1.0)
    return Regions(
        face=whole * (1.0 - eyes),
        eyes=eyes,
        brows=brows,
        beard=beard,
        lips=lips,
        hair=hair.astype(np.float32),
        skin=skin,
        below=below.astype(np.float32),
    )
