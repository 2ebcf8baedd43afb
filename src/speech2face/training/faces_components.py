"""Residual components: how faces of the same age, gender and group differ, jointly in shape and texture."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from speech2face.face.landmarks import mirror
from speech2face.training.faces_controls import HAND_PLACED, Controls
from speech2face.training.faces_matte import HEAD_ANGLES_DEGREES
from speech2face.training.faces_photographs import SIZE

Array = NDArray[np.float32]
SYMMETRIC, LOPSIDED = 13, 0  # components kept of each kind


OUTLINE_SHARE = 0.6  # hairstyles, which no voice tells and a warp cannot draw, vary less than faces do


def calm_outline(shapes: Array) -> Array:
    """Component shapes (components, controls, 2) whose outline swells and shrinks without dents."""
    calm = shapes.copy()
    first = len(HAND_PLACED)
    head = slice(first, first + len(HEAD_ANGLES_DEGREES))
    calm[:, head] = ndimage.gaussian_filter1d(shapes[:, head], 2.5, axis=1, mode="nearest")
    calm[:, first:] *= OUTLINE_SHARE
    return calm


@dataclass(frozen=True)
class Components:
    """Unit-variance directions: a face's residual is coefficients ~ N(0, 1) times these."""

    shapes: Array
    """(components, controls, 2)"""
    luma: Array
    """(components, size, size)"""
    chroma: Array
    """(components, 2, half, half)"""
    explained: tuple[float, ...]
    """Share of the residual variance each stands for."""


def _mirrored_shapes(rest: Array, controls: Controls) -> Array:
    """Residual displacements (faces, controls, 2) of the mirrored faces."""
    return mirror(rest + controls.mean, controls.pairs, SIZE).astype(np.float32) - controls.mean.astype(np.float32)


def _features(shapes: Array, luma: Array, chroma: Array, weight: Array, shape_share: float) -> Array:
    """What variance is counted in: (faces, features), shape and texture brought to stated shares."""
    count = len(shapes)
    small = (luma * weight).reshape(count, 128, luma.shape[1] // 128, 128, -1).mean((2, 4)).reshape(count, -1)
    colour = (chroma * weight[::2, ::2]).reshape(count, 2, 64, -1, 64, chroma.shape[-1] // 64).mean((3, 5))
    texture = np.concatenate([small, colour.reshape(count, -1)], axis=1)
    flat = shapes.reshape(count, -1)
    return np.concatenate(
        [flat * np.sqrt(shape_share / (flat**2).sum()), texture * np.sqrt((1 - shape_share) / (texture**2).sum())], 1
    )


def residual_components(
    shapes: Array, luma: Array, chroma: Array, *, controls: Controls, weight: Array, shape_share: float = 0.5
) -> Components:
    """Principal components of residual shapes (faces, controls, 2), luma and chroma, symmetric and lopsided apart.

    weight (size, size) says how much each pixel counts. Every component mixes all faces.
    """
    found: list[tuple[Array, Array, Array, float]] = []
    flipped = _mirrored_shapes(shapes, controls)
    total = 0.0
    for sign, keep in ((1.0, SYMMETRIC), (-1.0, LOPSIDED)):
        half_shapes = np.asarray((shapes + sign * flipped) / 2, np.float32)
        half_luma = np.asarray((luma + sign * luma[:, :, ::-1]) / 2, np.float32)
        half_chroma = np.asarray((chroma + sign * chroma[..., ::-1]) / 2, np.float32)
        features = _features(half_shapes, half_luma, half_chroma, weight, shape_share)
        values, vectors = np.linalg.eigh(features @ features.T)
        total += values.sum()
        for k in range(1, keep + 1):
            # v^T residuals is sqrt(eigenvalue) long; over sqrt(faces) it is one standard deviation of the faces
            mix = (vectors[:, -k] / np.sqrt(len(shapes))).astype(np.float32)
            found.append(
                (
                    np.tensordot(mix, half_shapes, 1),
                    np.tensordot(mix, half_luma, 1),
                    np.tensordot(mix, half_chroma, 1),
                    float(values[-k]),
                )
            )
    return Components(
        shapes=calm_outline(np.stack([part[0] for part in found])),
        luma=np.stack([part[1] for part in found]),
        chroma=np.stack([part[2] for part in found]),
        explained=tuple(part[3] / total for part in found),
    )
