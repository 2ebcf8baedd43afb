"""A plain round-necked shirt for everybody: averaged collars are a white mist."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from speech2face.training.faces_model import FaceModel
from speech2face.training.faces_photographs import SIZE
from speech2face.training.faces_texture import split, to_tone

Array = NDArray[np.float32]
COLOUR = (0.47, 0.52, 0.58)  # sRGB
NECKLINE_CENTRE, NECKLINE_RADII = (255.5, 433.0), (98.0, 56.0)  # canvas pixels: an ellipse around the neck
HIGHEST_ROW = 406.0  # ears stick out of the ellipse too
COLLAR_PIXELS = 9.0
SHADOW_PIXELS = 7.0


def neckline_distance() -> Array:
    """Pixels from the neckline, (SIZE, SIZE), positive on the shirt."""
    down, across = np.mgrid[0:SIZE, 0:SIZE].astype(np.float64)
    x, y = (across - NECKLINE_CENTRE[0]) / NECKLINE_RADII[0], (down - NECKLINE_CENTRE[1]) / NECKLINE_RADII[1]
    radius = np.sqrt(x**2 + y**2)
    slope = np.sqrt((x / NECKLINE_RADII[0]) ** 2 + (y / NECKLINE_RADII[1]) ** 2) / np.maximum(radius, 1e-6)
    distance = (radius - 1.0) / np.maximum(slope, 1e-6)
    return np.asarray(np.minimum(distance, down - HIGHEST_ROW), dtype=np.float32)


def shirt_luma(distance: Array, depth: Array) -> Array:
    """Tones of cloth relative to its colour: a ribbed collar with its seam, soft folds towards the shoulders."""
    generator = np.random.default_rng(1)
    weave = ndimage.gaussian_filter(generator.normal(size=distance.shape), 0.7)
    tone = 0.018 * weave / weave.std()
    tone -= 0.16 * np.exp(-(((distance - COLLAR_PIXELS) / 1.1) ** 2))  # the seam
    tone += 0.05 * ((distance > 0) & (distance < COLLAR_PIXELS))
    tone -= 0.22 * np.exp(-np.clip(distance, 0.0, None) / 2.0)  # the collar's inner edge turns away from the light
    tone -= 0.35 * np.exp(-np.clip(depth, 0.0, None) / 9.0)  # so do the shoulders
    return np.asarray(ndimage.gaussian_filter(tone, 0.6), dtype=np.float32)


def dress(model: FaceModel) -> FaceModel:
    """The model with the same shirt on everybody; only the warp may move it."""
    distance = neckline_distance()
    cloth: Array = np.clip(0.5 + distance / 1.5, 0.0, 1.0).astype(np.float32)
    half: Array = np.ascontiguousarray(cloth[::2, ::2])
    colour = np.broadcast_to(np.array(COLOUR, np.float32), (SIZE, SIZE, 3))
    luma, chroma = split(to_tone(colour))
    luma = luma + shirt_luma(distance, model.matte_depth)
    shadow = 0.20 * np.exp(-np.clip(-distance, 0.0, None) / SHADOW_PIXELS)
    return replace(
        model,
        mean_luma=(model.mean_luma - shadow) * (1.0 - cloth) + luma * cloth,
        mean_chroma=model.mean_chroma * (1.0 - half) + chroma * half,
        attribute_luma=model.attribute_luma * (1.0 - cloth),
        attribute_chroma=model.attribute_chroma * (1.0 - half),
        residual_luma=model.residual_luma * (1.0 - cloth),
        residual_chroma=model.residual_chroma * (1.0 - half),
    )
