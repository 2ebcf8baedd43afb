"""Mend what continuing textures past the outline leaves: the step above the ears, the crease along the hair."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from speech2face.training.faces_border import EARS_ROW, HAIR_DEPTH_PIXELS
from speech2face.training.faces_model import FaceModel

Array = NDArray[np.float32]
ABOVE_EARS_PIXELS, BELOW_EARS_PIXELS = 8, 12  # hair from the one row runs softly into ear from the other
EAR_DEPTH_PIXELS, FADE_PIXELS = 20.0, 8.0  # further in than this nothing was continued
CREASE_DEPTH_PIXELS = 1.5 + HAIR_DEPTH_PIXELS  # the middle of where the texture meets its own reflection
CREASE_WIDTH_PIXELS = 5.0
GRAIN_PIXELS = 3.0
ALONG_PIXELS = 14.0


def join_ears(planes: Array, depth: Array, *, pixels_apart: int = 1) -> Array:
    """Planes (..., height, width) whose hair and ears meet in a slope, not a step; pixels_apart as for the border."""
    top = (int(EARS_ROW) - ABOVE_EARS_PIXELS) // pixels_apart
    bottom = (int(EARS_ROW) + BELOW_EARS_PIXELS) // pixels_apart
    joined = planes.copy()
    upper, lower = planes[..., top - 2 : top + 1, :].mean(-2), planes[..., bottom : bottom + 3, :].mean(-2)
    for row in range(top, bottom + 1):
        share = (row - top) / (bottom - top)
        share = share * share * (3.0 - 2.0 * share)
        inside = np.clip((EAR_DEPTH_PIXELS - depth[row]) / FADE_PIXELS, 0.0, 1.0)
        ends = np.clip(min(row - top, bottom - row) * pixels_apart / 3.0, 0.0, 1.0)
        slope = (1.0 - share) * upper + share * lower
        joined[..., row, :] += inside * ends * (slope - planes[..., row, :])
    return joined


def along_outline(plane: Array, depth: Array) -> Array:
    """Mean of a plane (height, width) along lines of equal depth: what is left of it is no grain of hair."""
    across, down = np.mgrid[0 : plane.shape[0], 0 : plane.shape[1]].astype(np.float64)[::-1]
    slope = np.stack(np.gradient(ndimage.gaussian_filter(depth, 2.0)))
    slope /= np.sqrt((slope**2).sum(0)) + 1e-6
    steps = np.linspace(-ALONG_PIXELS, ALONG_PIXELS, 15)
    drawn = [ndimage.map_coordinates(plane, [down + s * slope[1], across - s * slope[0]], order=1) for s in steps]
    return np.asarray(np.mean(drawn, axis=0), dtype=np.float32)


def flatten_crease(planes: Array, depth: Array) -> Array:
    """Planes (..., height, width) without the line along the hair where a texture meets its reflection."""
    rows = np.arange(depth.shape[0])[:, None]
    near = np.clip(2.0 - np.abs(depth - CREASE_DEPTH_PIXELS) / (CREASE_WIDTH_PIXELS / 2), 0.0, 1.0)
    near = near * np.clip((EARS_ROW - rows) / 12.0, 0.0, 1.0)
    flat = planes.reshape(-1, *planes.shape[-2:]).copy()
    for plane in flat:
        plane -= near * along_outline(plane - ndimage.gaussian_filter(plane, GRAIN_PIXELS), depth)
    return np.asarray(flat.reshape(planes.shape), dtype=np.float32)


def mend(model: FaceModel) -> FaceModel:
    """The model with all its textures mended; must come before the outline is roughened."""
    depth = model.matte_depth
    half = depth[::2, ::2]
    return replace(
        model,
        mean_luma=join_ears(flatten_crease(model.mean_luma, depth), depth),
        attribute_luma=join_ears(flatten_crease(model.attribute_luma, depth), depth),
        residual_luma=join_ears(model.residual_luma, depth),
        mean_chroma=join_ears(model.mean_chroma, half, pixels_apart=2),
        attribute_chroma=join_ears(model.attribute_chroma, half, pixels_apart=2),
        residual_chroma=join_ears(model.residual_chroma, half, pixels_apart=2),
    )
