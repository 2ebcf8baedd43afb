"""The face model: everything linear that the decoder needs, at full size and full precision."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from speech2face.face.alignment import Points
from speech2face.face.attributes import AttributeBasis
from speech2face.training.faces_border import continue_outwards, matte_depth
from speech2face.training.faces_components import residual_components
from speech2face.training.faces_controls import Controls, as_landmarks
from speech2face.training.faces_photographs import SIZE, Faces
from speech2face.training.faces_regression import LinearFit, design, fit_textures, plain_mean
from speech2face.training.faces_texture import Textures

Array = NDArray[np.float32]
# landmarks around a gap, its radius in canvas pixels: under the lobes, above the ears
GAPS_PIXELS = (((111, 119), 8.0), ((114, 124), 8.0), ((115,), 13.0), ((120,), 13.0))


@dataclass(frozen=True)
class FaceModel:
    """Mean, attribute directions and residual components of landmarks, luma and chroma."""

    mean_landmarks: Array
    attribute_landmarks: Array
    residual_landmarks: Array
    mean_luma: Array
    attribute_luma: Array
    residual_luma: Array
    mean_chroma: Array
    attribute_chroma: Array
    residual_chroma: Array
    plain_luma: Array
    """The mean luma without the mirrored faces: it carries fine detail, in which symmetry would show."""
    matte_depth: Array
    spline: Points
    residual_explained: tuple[float, ...]


def _spread(terms: Array, columns: NDArray[np.intp], size: int) -> Array:
    """Fitted terms without the intercept, put into their places among all coordinates."""
    directions = np.zeros((size, *terms.shape[1:]), np.float32)
    directions[columns] = terms[1:]
    return directions


def _texture_residuals(textures: Textures, x: Array, luma: Array, chroma: Array, weights: Array) -> tuple[Array, Array]:
    """What the attributes leave of every texture, weighted by how far it was believed."""
    rest_luma = np.empty(textures.luma.shape, np.float32)
    rest_chroma = np.empty(textures.chroma.shape, np.float32)
    for face in range(len(x)):
        rest_luma[face] = (textures.luma[face] - np.tensordot(x[face], luma, axes=1)) * weights[face]
        rest_chroma[face] = (textures.chroma[face] - np.tensordot(x[face], chroma, axes=1)) * weights[face, ::2, ::2]
    return rest_luma, rest_chroma


def component_weight(depth: Array) -> Array:
    """How much each pixel counts in the residual components, (size, size): the person, hardly the shirt."""
    rows = np.arange(SIZE, dtype=np.float32)[:, None]
    return np.asarray(np.clip(depth / 4.0, 0.0, 1.0) * np.clip((455.0 - rows) / 30.0, 0.05, 1.0), dtype=np.float32)


def distrust(depth: Array, controls: Controls) -> Array:
    """Depth, but none where the ground is seen between ear, hair and jaw: mattes have no holes."""
    landmarks = as_landmarks(controls.mean)
    down, across = np.mgrid[0:SIZE, 0:SIZE]
    trusted = depth.copy()
    for points, radius in GAPS_PIXELS:
        x, y = landmarks[list(points)].mean(0)
        trusted[(across - x) ** 2 + (down - y) ** 2 < radius**2] = 0.0
    return trusted


def fit_london(
    london: Faces, controls: Controls, shapes: LinearFit, textures: Textures, basis: AttributeBasis
) -> tuple[FaceModel, Array]:
    """Regress the London set's textures on attributes and take the components of what is left.

    Also returns how far each face's texture was believed, (faces, size, size).
    """
    x, columns = design(london, basis)
    luma, chroma, weights = fit_textures(textures, x)
    depth = matte_depth(textures.seen)
    rest_luma, rest_chroma = _texture_residuals(textures, x.astype(np.float32), luma, chroma, weights)
    components = residual_components(
        shapes.residuals, rest_luma, rest_chroma, controls=controls, weight=component_weight(depth)
    )
    trusted = distrust(depth, controls)
    luma, chroma = continue_outwards(luma, trusted), continue_outwards(chroma, trusted[::2, ::2], pixels_apart=2.0)
    model = FaceModel(
        mean_landmarks=shapes.mean,
        attribute_landmarks=shapes.directions,
        residual_landmarks=components.shapes,
        mean_luma=luma[0],
        attribute_luma=_spread(luma, columns, basis.size),
        residual_luma=continue_outwards(components.luma, trusted),
        mean_chroma=chroma[0],
        attribute_chroma=_spread(chroma, columns, basis.size),
        residual_chroma=continue_outwards(components.chroma, trusted[::2, ::2], pixels_apart=2.0),
        plain_luma=continue_outwards(plain_mean(textures, x, weights), trusted),
        matte_depth=depth,
        spline=controls.spline,
        residual_explained=components.explained,
    )
    return model, weights
