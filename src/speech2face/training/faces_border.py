"""The matte of the mean shape, and textures continued past it so that no ground bleeds in."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from speech2face.training.faces_detail import combed

Array = NDArray[np.float32]
SAFE_DEPTH_PIXELS = 3.5  # texture this far inside the outline is trusted
HAIR_DEPTH_PIXELS = 11.0  # and in hair, whose thin outer part shows the ground
REFLECTED_PIXELS = 14.0
EARS_ROW = 236.0  # canvas pixels: hair above, ears below
ROUGHNESS_PIXELS = 0.6
GRAIN_PIXELS = (0.8, 1.8)
STRAND_PIXELS = 4.0  # half the length of a strand
SOFTNESS = 0.45  # an edge of hair is nearly twice as wide as one of skin or cloth
SMOOTHING_PIXELS = 2.0


def matte_depth(seen: NDArray[np.float16]) -> Array:
    """Signed distance inside the outline that most faces share, (size, size) pixels, mirror-symmetric.

    The level set of the share of faces seen is taken, not the share itself: averaging mattes draws a halo.
    """
    share = seen.astype(np.float32).mean(0)
    share = ndimage.gaussian_filter((share + share[:, ::-1]) / 2, SMOOTHING_PIXELS)
    person = ndimage.binary_fill_holes(share > 0.5)
    pieces, count = ndimage.label(person)
    if count > 1:
        person = pieces == 1 + int(np.argmax(ndimage.sum(person, pieces, range(1, count + 1))))
    # the picture's lower edge is no outline: the body goes on below it
    padded = np.pad(person, ((0, 64), (0, 0)), mode="edge")
    padded = np.pad(padded, ((0, 0), (64, 64)), mode="edge")
    depth = ndimage.distance_transform_edt(padded) - ndimage.distance_transform_edt(~padded)
    depth = depth[: share.shape[0], 64:-64]
    return np.asarray(np.clip(ndimage.gaussian_filter(depth, 1.5), -40.0, 40.0), dtype=np.float32)


def continue_outwards(planes: Array, depth: Array, *, pixels_apart: float = 1.0) -> Array:
    """Planes (..., size, size) with everything outside the trusted depth replaced by its reflection in the edge of it.

    pixels_apart says how many canvas pixels lie between two of these planes. A reflection keeps the grain of hair,
    which the nearest value would draw out into streaks.
    """
    rows, columns = np.mgrid[0 : depth.shape[0], 0 : depth.shape[1]]
    above = np.clip((EARS_ROW / pixels_apart - rows) * pixels_apart / 12.0, 0.0, 1.0)
    safe = SAFE_DEPTH_PIXELS + (HAIR_DEPTH_PIXELS - SAFE_DEPTH_PIXELS) * above
    nearest = ndimage.distance_transform_edt(depth <= safe, return_distances=False, return_indices=True)
    away = nearest - np.stack([rows, columns])
    length = np.sqrt((away**2).sum(0)) + 1e-6
    inwards = np.minimum(length, REFLECTED_PIXELS / pixels_apart) / length
    source = np.clip(np.round(nearest + away * inwards).astype(int), 0, depth.shape[0] - 1)
    blend = np.clip((depth - safe) / 3.0, 0.0, 1.0)
    flat = planes.reshape(-1, *planes.shape[-2:])
    filled = np.stack([blend * plane + (1.0 - blend) * plane[source[0], source[1]] for plane in flat])
    return np.asarray(filled.reshape(planes.shape), dtype=np.float32)


def roughen(depth: Array, hair: Array) -> Array:
    """Depth with strands along the hair's outline and a softer edge, for no head of hair ends in a drawn line.

    The strands are drawn by chance, once, the same for everybody.
    """
    generator = np.random.default_rng(0)
    noise = np.zeros(depth.shape)
    for pixels in GRAIN_PIXELS:
        grain = ndimage.gaussian_filter(generator.normal(size=depth.shape), pixels).astype(np.float32)
        strands = combed(grain, reach_pixels=STRAND_PIXELS)
        noise += strands / strands.std()
    hairy = np.clip(2.0 * ndimage.gaussian_filter(hair, 6.0), 0.0, 1.0)
    softer = 1.0 - SOFTNESS * hairy * np.clip(1.0 - np.abs(depth) / 12.0, 0.0, 1.0)
    return np.asarray((depth + ROUGHNESS_PIXELS * noise * hairy) * softer, dtype=np.float32)
