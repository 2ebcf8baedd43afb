"""The decoder's aligned face: level, eyes 55 of 224 pixels apart (Cole et al., CVPR 2017, arXiv 1701.04851)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from speech2face.face.alignment import Points, Similarity, fit_similarity
from speech2face.face.crop import take_crop
from speech2face.face.detector import Picture
from speech2face.face.points68 import eyes

FACE_PIXELS = 224
BLUR_SHARE = 0.04  # of the face's width: what is made up beyond the picture's edge
EYE_DISTANCE_SHARE = 55 / 224  # of the width
EYE_LINE_SHARE = 0.43  # of the height, from the top: hair and chin of most people are then inside; the paper names none


def face_alignment(points: Points, size_pixels: int = FACE_PIXELS) -> Similarity:
    """Picture -> aligned face, from the 68 landmarks (68, 2) in the picture."""
    centre = (size_pixels - 1) / 2
    half = EYE_DISTANCE_SHARE * size_pixels / 2
    line = EYE_LINE_SHARE * size_pixels - 0.5
    return fit_similarity(eyes(points), np.array([[centre - half, line], [centre + half, line]]))


def aligned_face(picture: Picture, move: Similarity, size_pixels: int = FACE_PIXELS) -> Picture:
    """The face (size, size, 3) of a picture (height, width, 3); beyond the edge its last pixels go on, blurred.

    A black ground, or sharp streaks, would be learned as part of a face.
    """
    corners = np.array([[0, 0], [0, size_pixels], [size_pixels, 0], [size_pixels, size_pixels]], dtype=np.float64) - 0.5
    seen = move.inverse().apply(corners)
    margin = 2 + 2 / move.scale  # what the resampling reaches for
    left, top = (int(number) for number in np.floor(seen.min(0) - margin))
    right, bottom = (int(number) for number in np.ceil(seen.max(0) + margin))
    height, width = picture.shape[:2]
    shifted = Similarity(move.linear, move.shift + np.array([left, top]) @ move.linear)
    if left >= 0 and top >= 0 and right < width and bottom < height:
        return take_crop(picture[top : bottom + 1, left : right + 1], shifted, size_pixels)
    rows = np.clip(np.arange(top, bottom + 1), 0, height - 1)
    columns = np.clip(np.arange(left, right + 1), 0, width - 1)
    face = take_crop(picture[rows[:, None], columns[None]], shifted, size_pixels)
    blurred = Image.fromarray(face).filter(ImageFilter.GaussianBlur(BLUR_SHARE * size_pixels))
    outside = beyond_edge(picture, move, size_pixels)
    return np.where(outside[..., None], np.asarray(blurred), face)


def beyond_edge(picture: Picture, move: Similarity, size_pixels: int = FACE_PIXELS) -> NDArray[np.bool_]:
    """Which pixels of the aligned face, (size, size), the picture does not have."""
    rows, columns = np.indices((size_pixels, size_pixels))
    x, y = np.moveaxis(move.inverse().apply(np.stack([columns, rows], axis=-1).astype(np.float64)), -1, 0)
    height, width = picture.shape[:2]
    return np.asarray((x < -0.5) | (y < -0.5) | (x > width - 0.5) | (y > height - 0.5))
