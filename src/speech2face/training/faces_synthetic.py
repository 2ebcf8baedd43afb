"""Synthetic faces on the mean shape of the London set."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from speech2face.face.alignment import Points, fit_similarity
from speech2face.face.mesh import place_mesh
from speech2face.face.spline import border_points, pixel_grid, spline_map
from speech2face.training.faces_controls import FLOW_NODES, MARGIN_PIXELS, upsample_flow
from speech2face.training.faces_photographs import SIZE, Faces, sample
from speech2face.training.faces_texture import split, to_tone

Array = NDArray[np.float32]


@dataclass(frozen=True)
class Synthetic:
    """Synthetic faces on the mean shape."""

    mesh: Points
    """(468, 2): the mean mesh laid onto the London mean, canvas pixels"""
    displacements: Points
    """(faces, 468, 2)"""
    luma: Array
    """(faces, SIZE, SIZE), tones"""
    chroma: Array
    """(faces, 2, SIZE / 2, SIZE / 2)"""


def place_synthetic(faces: Faces, landmarks: Points, landmark_pairs: NDArray[np.intp]) -> Synthetic:
    """Warp the synthetic faces onto the London set's mean landmarks (189, 2), canvas pixels."""
    mesh, displacements = place_mesh(faces.landmarks, landmarks, landmark_pairs=landmark_pairs, size_pixels=SIZE)
    fixed = border_points(SIZE, margin_pixels=MARGIN_PIXELS, per_side=6)
    spline = spline_map(mesh, pixel_grid(SIZE, FLOW_NODES), fixed=fixed, stiffness=1e-3)
    luma = np.empty((len(faces.names), SIZE, SIZE), np.float32)
    chroma = np.empty((len(faces.names), 2, SIZE // 2, SIZE // 2), np.float32)
    grid = pixel_grid(SIZE, SIZE).reshape(SIZE, SIZE, 2)
    for face, picture in enumerate(faces.pictures):
        to_picture = fit_similarity(mesh, faces.landmarks[face])
        moved = to_picture.inverse().apply(faces.landmarks[face]) - mesh
        where = to_picture.apply(grid + upsample_flow(spline @ moved))
        luma[face], chroma[face] = split(to_tone(sample(picture, where)))
    return Synthetic(mesh, displacements, luma, chroma)
