"""The decoder's aligned face: level, eyes 55 of 224 pixels apart (Cole et al., CVPR 2017, arXiv 1701.04851)."""

from __future__ import annotations

import numpy as np

from speech2face.face.alignment import Points, Similarity, fit_similarity
from speech2face.face.crop import take_crop
from speech2face.face.detector import Picture
from speech2face.face.points68 import eyes

FACE_PIXELS = 224
EYE_DISTANCE_SHARE = 55 / 224  # of the width
EYE_LINE_SHARE = 0.43  # of the height, from the top: hair and chin of most people are then inside; the paper names none


def face_alignment(points: Points, size_pixels: int = FACE_PIXELS) -> Similarity:
    """Picture -> aligned face, from the 68 landmarks (68, 2) in the picture."""
    centre = (size_pixels - 1) / 2
    half = EYE_DISTANCE_SHARE * size_pixels / 2
    line = EYE_LINE_SHARE * size_pixels - 0.5
    return fit_similarity(eyes(points), np.array([[centre - half, line], [centre + half, line]]))


def aligned_face(picture: Picture, move: Similarity, size_pixels: int = FACE_PIXELS) -> Picture:
    """The face (size, size, 3) of a picture (height, width, 3); beyond the picture's edge its last pixels go on.

    A black ground would be learned as part of a face.
    """
    corners = np.array([[0, 0], [0, size_pixels], [size_pixels, 0], [size_pixels, size_pixels]], dtype=np.float64) - 0.5
    seen = move.inverse().apply(corners)
    margin = 2 + 2 / move.scale  # what the resampling reaches for
    left, top = (int(number) for number in np.floor(seen.min(0) - margin))
    right, bottom = (int(number) for number in np.ceil(seen.max(0) + margin))
    rows = np.clip(np.arange(top, bottom + 1), 0, picture.shape[0] - 1)
    columns = np.clip(np.arange(left, right + 1), 0, picture.shape[1] - 1)
    region = (
        picture[rows[:, None], columns[None]]
        if _outside(rows, columns)
        else picture[top : bottom + 1, left : right + 1]
    )
    shifted = Similarity(move.linear, move.shift + np.array([left, top]) @ move.linear)
    return take_crop(region, shifted, size_pixels)


def _outside(rows: np.ndarray, columns: np.ndarray) -> bool:
    return bool(np.any(np.diff(rows) == 0) or np.any(np.diff(columns) == 0))
