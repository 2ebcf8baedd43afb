"""Bring a face of a photograph to the square that a network wants to see."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from speech2face.face.alignment import Points, Similarity
from speech2face.face.detector import FaceBox, Picture

Colour = tuple[int, int, int]
BLACK: Colour = (0, 0, 0)


def box_crop(box: FaceBox, size_pixels: int, *, margin: float = 0.0) -> Similarity:
    """Photograph -> crop: the square around the box's centre, as long as its longer side and `margin` of it all round.

    Points are (x, y) with pixel centres at integers, so a box of `size_pixels` columns and no margin is not resized.
    """
    side = max(box.right - box.left, box.bottom - box.top) * (1 + 2 * margin)
    scale = size_pixels / max(side, 1.0)
    centre = np.array([box.left + box.right - 1, box.top + box.bottom - 1]) / 2
    return Similarity(scale * np.eye(2), np.full(2, (size_pixels - 1) / 2) - scale * centre)


def take_crop(picture: Picture, move: Similarity, size_pixels: int, *, outside: Colour = BLACK) -> Picture:
    """The crop (size, size, 3) of a picture (height, width, 3); `move` takes its points to the crop's.

    A picture much larger than the crop is averaged down first, so that fine texture does not turn into noise.
    """
    image = Image.fromarray(np.ascontiguousarray(picture))
    shrink = max(1, int(1 / move.scale + 1e-6))  # 1 / (20 / 160) is a little under 8
    if shrink > 1:
        image = image.reduce(shrink)
    back = move.inverse()
    linear: Points = back.linear.T / shrink  # columns act on (x, y)
    # Pillow counts from pixel corners: a centre at integer k lies at k + 0.5.
    shift: NDArray[np.float64] = (back.shift + 0.5) / shrink - linear @ np.full(2, 0.5)
    coefficients = (*linear[0], shift[0], *linear[1], shift[1])
    crop = image.transform(
        (size_pixels, size_pixels),
        Image.Transform.AFFINE,
        tuple(float(number) for number in coefficients),
        resample=Image.Resampling.BICUBIC,
        fillcolor=outside,
    )
    return np.asarray(crop, dtype=np.uint8)
