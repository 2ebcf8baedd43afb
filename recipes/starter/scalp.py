"""The bald head under everybody's hair: its outline, and skin that goes on from the forehead over the scalp."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from scipy import ndimage, sparse
from scipy.sparse.linalg import factorized

from recipes.starter.face_material import HAND_PLACED, HEAD_ANGLES_DEGREES, HEAD_CENTRE, SIZE, directions
from recipes.starter.face_model import FACE_CONTOUR, FaceModel, polygon
from speech2face.face.appearance import Points
from speech2face.face.landmarks import HAIRLINE

Array = NDArray[np.float32]

SKULL_RADII = (119.5, 118.5, 116.0, 113.0, 111.0, 110.0, 108.5, 108.0, 107.5, 107.5)
"""Pixels from HEAD_CENTRE to the outline of shaven and bald heads, from the ear upwards, ten degrees apart: means of
nine people of the London set, left and right taken together."""
EAR_OUTLINE = (
    *((148, 242), (143, 233), (136, 229), (129, 231), (124, 239), (122, 250), (122, 262), (124, 276)),
    *((127, 290), (130, 303), (134, 315), (140, 323), (147, 327), (154, 326), (154, 242)),
)
"""The left ear on the canvas, drawn around the mean of its landmarks: many people's ears lie under hair."""
EAR_ROWS = (228.0, 338.0)
EAR_CORE, EAR_CORE_RADII = (134.5, 284.0), (6.5, 26.0)  # what photographs agree on: skin of the ear
CREASE = ((147.0, 244.0), (149.0, 322.0))  # where the ear meets the cheek
LOBES_ROW = 324.0  # canvas pixels: from here down the outline is that of jaw and neck
NECK_DEPTH_PIXELS = 6.0  # further out on the neck hair and ground have left their traces
SHIRT_ROW = 432.0
FORM = 2  # canvas pixels between the nodes of the harmonic continuation
TRUSTED_PIXELS = 15.0  # skin this far inside the hairline has no hair on it
BLEND_PIXELS = 10.0
PORES = 0.012  # tones of fine grain, so that a scalp is not smoother than a face
ROUNDING = 0.42  # tones that the scalp loses where it turns away
CROWN_LIGHT = 0.07


def skull_outline() -> Points:
    """Closed outline (points, 2) of the bald head without ears, down to the lobes, canvas pixels."""
    radii = np.array([*SKULL_RADII, *SKULL_RADII[-2::-1]])
    upper = HEAD_CENTRE + radii[:, None] * directions(HEAD_ANGLES_DEGREES)
    fine = ndimage.gaussian_filter1d(ndimage.zoom(upper, (8, 1), order=1), 5.0, axis=0, mode="nearest")
    left = np.array([[152.0, 332.0], [150.0, 300.0], [139.0, 245.0]])
    return np.concatenate([fine, left[::-1] * [-1.0, 1.0] + [SIZE - 1.0, 0.0], left])


def skull_depth(depth: Array) -> Array:
    """Signed depth (SIZE, SIZE) inside the bald head and the body, from that inside head with hair and body."""
    canvas = Image.new("L", (SIZE, SIZE), 0)
    ImageDraw.Draw(canvas).polygon([tuple(point) for point in skull_outline()], fill=1)
    skull = np.asarray(canvas) > 0
    rows = np.arange(SIZE)[:, None]
    canvas = Image.new("L", (SIZE, SIZE), 0)
    ImageDraw.Draw(canvas).polygon(list(EAR_OUTLINE), fill=1)
    person = skull | (np.asarray(canvas) > 0) | ((depth > 0) & (rows > LOBES_ROW))
    person = ndimage.gaussian_filter((person | person[:, ::-1]).astype(np.float32), 2.0) > 0.5
    padded = np.pad(person, ((0, 64), (64, 64)), mode="edge")
    found = ndimage.distance_transform_edt(padded) - ndimage.distance_transform_edt(~padded)
    found = ndimage.gaussian_filter(found[:SIZE, 64:-64], 1.5)
    return np.asarray(np.clip((found + found[:, ::-1]) / 2, -40.0, 40.0), dtype=np.float32)


def bare_skin(landmarks: Points, depth: Array) -> Array:
    """Where the mean texture (SIZE, SIZE) is trusted, of mean landmarks (189, 2): face, ears' skin, neck and shirt."""
    down, across = np.mgrid[0:SIZE, 0:SIZE].astype(np.float32)
    face = polygon(landmarks[list(FACE_CONTOUR)], grow_pixels=-TRUSTED_PIXELS, soft_pixels=BLEND_PIXELS / 2)
    neck = np.clip((down - EAR_ROWS[1]) / 8.0, 0.0, 1.0) * np.clip((depth - NECK_DEPTH_PIXELS) / 3.0, 0.0, 1.0)
    shirt = np.clip((down - SHIRT_ROW) / 8.0, 0.0, 1.0)
    x, y = (across - EAR_CORE[0]) / EAR_CORE_RADII[0], (down - EAR_CORE[1]) / EAR_CORE_RADII[1]
    ear = np.clip(3.0 * (1.0 - np.sqrt(x**2 + y**2)), 0.0, 1.0)
    return np.asarray(np.maximum.reduce([face, neck, shirt, ear, ear[:, ::-1]]), dtype=np.float32)


def ear_shading(depth: Array) -> Array:
    """Tones (SIZE, SIZE) of both ears' relief: the crease at the cheek, the shell, the rim that turns away."""
    down, across = np.mgrid[0:SIZE, 0:SIZE].astype(np.float64)
    (x0, y0), (x1, y1) = CREASE
    along = np.clip((down - y0) / (y1 - y0), 0.0, 1.0)
    ends = np.clip((down - y0 + 6.0) / 16.0, 0.0, 1.0) * np.clip((y1 - down + 2.0) / 18.0, 0.0, 1.0)
    crease = -0.34 * ends * np.exp(-(((across - x0 - along * (x1 - x0)) / 3.2) ** 2))
    shell = -0.30 * np.exp(-(((across - 140.0) / 4.5) ** 2) - ((down - 280.0) / 17.0) ** 2)
    fold = -0.16 * np.exp(-(((across - 130.5 - 0.05 * (down - 262.0)) / 2.2) ** 2) - ((down - 262.0) / 22.0) ** 2)
    beside = np.clip((152.0 - across) / 8.0, 0.0, 1.0) * np.clip((down - EAR_ROWS[0]) / 8.0, 0.0, 1.0)
    beside = beside * np.clip((EAR_ROWS[1] - down) / 14.0, 0.0, 1.0)
    rim = -0.30 * np.exp(-np.clip(depth, 0.0, None) / 2.2) + 0.06 * np.exp(-(((depth - 4.5) / 2.0) ** 2))
    tone = crease + shell + fold + beside * rim
    return np.asarray(tone + tone[:, ::-1], dtype=np.float32)


class Continuation:
    """Continues planes harmonically from where they are known: the smoothest surface with those edges."""

    def __init__(self, known: Array) -> None:
        """known (SIZE, SIZE): 1 where planes are kept."""
        self._blend = known
        coarse = known.reshape(SIZE // FORM, FORM, SIZE // FORM, FORM).min((1, 3)) > 0.98
        size = coarse.shape[0]
        number = np.arange(size * size).reshape(size, size)
        pairs = np.concatenate(
            [
                np.stack([number[:, 1:].ravel(), number[:, :-1].ravel()]),
                np.stack([number[1:].ravel(), number[:-1].ravel()]),
            ],
            axis=1,
        )
        ones = np.ones(pairs.shape[1])
        links = sparse.coo_matrix((ones, pairs), shape=(size * size,) * 2)
        links = (links + links.T).tocsr()
        laplacian = sparse.diags(np.asarray(links.sum(1)).ravel()) - links
        free = ~coarse.ravel()
        self._free, self._coarse = free, coarse
        self._to_known = laplacian.tocsr()[free][:, ~free]
        self._solve = factorized(laplacian.tocsr()[free][:, free].tocsc())

    def __call__(self, planes: Array) -> Array:
        """Planes (..., height, width), of SIZE or of half of it, continued."""
        flat = planes.reshape(-1, *planes.shape[-2:])
        return np.stack([self._one(plane) for plane in flat]).reshape(planes.shape)

    def _one(self, plane: Array) -> Array:
        factor = plane.shape[0] // self._coarse.shape[0]
        size = self._coarse.shape[0]
        smooth = ndimage.gaussian_filter(plane, 2.5 * factor).reshape(size, factor, size, factor).mean((1, 3)).ravel()
        value = smooth.copy()
        value[self._free] = self._solve(-(self._to_known @ smooth[~self._free]))
        found = ndimage.zoom(value.reshape(size, size), factor, order=1, grid_mode=True, mode="nearest")
        step = SIZE // plane.shape[0]
        blend = self._blend[::step, ::step]
        return np.asarray(blend * plane + (1.0 - blend) * found, dtype=np.float32)


def rounding(known: Array) -> Array:
    """Tones (SIZE, SIZE) that light from above and in front gives the scalp relative to the forehead."""
    outline = skull_outline()
    down, across = np.mgrid[0:SIZE, 0:SIZE].astype(np.float64)
    canvas = Image.new("L", (SIZE, SIZE), 0)
    ImageDraw.Draw(canvas).polygon([tuple(point) for point in outline], fill=1)
    inside = ndimage.distance_transform_edt(np.asarray(canvas) > 0)
    turned = np.exp(-inside / 9.0) + 0.35 * np.exp(-inside / 30.0)
    crown = np.exp(-(((across - HEAD_CENTRE[0]) / 62.0) ** 2) - ((down - 112.0) / 20.0) ** 2)
    generator = np.random.default_rng(3)
    grain = ndimage.gaussian_filter(generator.normal(size=(SIZE, SIZE)), 0.9)
    tone = CROWN_LIGHT * crown - ROUNDING * turned + PORES * grain / grain.std()
    above = np.clip((CREASE[0][1] + 14.0 - down) / 20.0, 0.0, 1.0)
    return np.asarray(tone * (1.0 - known) * above, dtype=np.float32)


def shave(model: FaceModel, landmarks: Points) -> FaceModel:
    """The model with everybody bald: hair is drawn over it."""
    depth = skull_depth(model.matte_depth)
    known = bare_skin(landmarks, depth)
    carry = Continuation(known)
    return replace(
        model,
        mean_luma=carry(model.mean_luma) + rounding(known) + ear_shading(depth),
        attribute_luma=carry(model.attribute_luma),
        residual_luma=carry(model.residual_luma),
        mean_chroma=carry(model.mean_chroma),
        attribute_chroma=carry(model.attribute_chroma),
        residual_chroma=carry(model.residual_chroma),
        plain_luma=carry(model.plain_luma),
        matte_depth=depth,
    )


def skull_moves(moves: Array, mean: Array) -> Array:
    """Displacements (terms, controls, 2) of the texture: head and hairline follow the face as a whole.

    Outlines and hairlines of photographs vary with hairstyles, which are layers of their own; a scalp that followed
    them would stretch. The best affine map of the face's and ears' displacements carries the head.
    """
    first = len(HAND_PLACED)
    head = np.zeros(len(mean), dtype=bool)
    head[first : first + len(HEAD_ANGLES_DEGREES)] = True
    head[:first] = np.isin(HAND_PLACED, HAIRLINE)
    face = np.zeros(len(mean), dtype=bool)
    face[:first] = ~head[:first] & (mean[:first, 1] < 425.0)
    position = np.c_[np.ones(len(mean)), (mean - HEAD_CENTRE) / 100.0]
    design = position[face]
    solution = np.linalg.solve(design.T @ design + np.diag([0.0, 1.0, 1.0]), design.T)
    carried = moves.astype(np.float64)
    carried[:, head] = np.einsum("ht,tf,mfc->mhc", position[head], solution, carried[:, face])
    return carried.astype(np.float32)
