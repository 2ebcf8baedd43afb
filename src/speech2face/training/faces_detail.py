"""Give the averaged texture back the fine contrast that averaging took, without anybody's own texture.

A mean of n faces keeps what they share and 1 / sqrt(n) of what they do not (pores, strands). Band by band, its local
contrast is raised towards the median contrast of single photographs: the same mixture of all faces, louder.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

Array = NDArray[np.float32]
BAND_EDGES_PIXELS = (0.6, 1.2, 2.4, 4.8)  # Gaussian widths between which a band lies, finest first
BAND_LIMITS = (3.0, 2.4, 1.8)  # no band grows by more: the rest is noise of misplaced hairs and lashes
HAIR_LIMITS = (6.5, 5.5, 3.2)  # strands of hair share nothing between heads but their direction
NEIGHBOURHOOD_PIXELS = 9.0
HAIR_ORIGIN = (255.5, 250.0)  # canvas pixels, between the eyes
COMBED_STRENGTH = 0.7  # combed hair shines more and is less rough
STRENGTH = 0.7  # 1 would reach the median photograph's contrast, where gains allow


def bands(plane: Array) -> list[Array]:
    """Differences of Gaussians of (height, width), finest first."""
    smooth = [ndimage.gaussian_filter(plane, edge) for edge in BAND_EDGES_PIXELS]
    return [fine - coarse for fine, coarse in pairwise(smooth)]


def local_contrast(band: Array, weight: Array) -> Array:
    """Root mean square of a band around every pixel, over weighted pixels only."""
    energy = ndimage.gaussian_filter(weight * band**2, NEIGHBOURHOOD_PIXELS)
    return np.asarray(np.sqrt(energy / (ndimage.gaussian_filter(weight, NEIGHBOURHOOD_PIXELS) + 1e-3)))


def typical_contrasts(luma: NDArray[np.float16], weights: Array) -> list[Array]:
    """Median local contrast of single faces (faces, size, size) in each band, mirror-symmetric."""
    found: list[list[Array]] = [[] for _ in BAND_LIMITS]
    for plane, weight in zip(luma, weights, strict=True):
        for kept, band in zip(found, bands(plane.astype(np.float32)), strict=True):
            kept.append(local_contrast(band, weight)[::2, ::2].astype(np.float16))
    medians = [np.median(np.stack(kept), axis=0).astype(np.float32) for kept in found]
    return [ndimage.zoom((m + m[:, ::-1]) / 2, 2, order=1, grid_mode=True, mode="nearest") for m in medians]


def restore_detail(mean_luma: Array, plain_luma: Array, typical: list[Array], depth: Array, hair: Array) -> Array:
    """Mean luma (size, size) with every band's local contrast raised towards the typical one.

    The bands are those of plain_luma, the mean without mirrored faces: a seam down the middle of hair looks uncanny.
    """
    inside = np.clip(depth / 4.0, 0.0, 1.0)
    restored = mean_luma.copy()
    kept = zip(bands(mean_luma), bands(plain_luma), strict=True)
    for (even, band), wanted, plain, hairy in zip(kept, typical, BAND_LIMITS, HAIR_LIMITS, strict=True):
        limit = plain + (hairy - plain) * hair
        gain = wanted / (local_contrast(band, inside) + 1e-4)
        gain = 1.0 + STRENGTH * (np.clip(gain, 1.0, limit) - 1.0)
        restored += (ndimage.gaussian_filter(gain, 3.0) * band - even) * inside
    return restored


def combed(plane: Array, *, reach_pixels: float = 9.0) -> Array:
    """Grain drawn out along lines away from the middle of the face, as in hair that is combed back."""
    down, across = np.mgrid[0 : plane.shape[0], 0 : plane.shape[1]].astype(np.float64)
    toward = np.stack([down - HAIR_ORIGIN[1], across - HAIR_ORIGIN[0]])
    toward /= np.sqrt((toward**2).sum(0)) + 1e-6
    steps = np.linspace(-reach_pixels, reach_pixels, 13)
    drawn = [ndimage.map_coordinates(plane, np.stack([down, across]) + s * toward, order=1) for s in steps]
    return np.asarray(np.mean(drawn, axis=0), dtype=np.float32)


def comb_hair(mean_luma: Array, femininity_luma: Array, hair: Array) -> tuple[Array, Array]:
    """Mean and femininity direction with women's hair combed back and men's left as it is cropped.

    Both keep the grain's strength; the mean lies halfway.
    """
    grain = (mean_luma - ndimage.gaussian_filter(mean_luma, BAND_EDGES_PIXELS[-1])) * hair
    strands = combed(grain)
    strands *= COMBED_STRENGTH * np.sqrt((grain**2).sum() / ((strands**2).sum() + 1e-9))
    half = (strands - grain) * hair / 2
    return mean_luma + half, femininity_luma + half
