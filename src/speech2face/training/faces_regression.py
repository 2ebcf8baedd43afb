"""Ridge regression of landmarks and of every pixel of the texture on attributes, mirrored faces included."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from speech2face.face.alignment import Points
from speech2face.face.attributes import AttributeBasis
from speech2face.face.landmarks import mirror
from speech2face.training.faces_controls import Controls
from speech2face.training.faces_photographs import SIZE, Faces
from speech2face.training.faces_texture import Textures

Array = NDArray[np.float32]
TYPICAL_AGE_YEARS = 26.0  # median of the London set, for the two who gave none
FITTED = ("femininity", "young", "young_femininity", "white", "black", "west_asian", "east_asian")
"""Coordinates the London set can teach; the older ones come from the synthetic faces."""
RIDGE = {"femininity": 1.0, "young": 25.0, "young_femininity": 80.0}
GROUP_RIDGE = 10.0  # shrinks a group of n people by about n / (n + 10) towards the equal-weight mean
TONE_RIDGE = 2.0  # for colour and smooth luma, which a few people of a group settle; shape and fine luma they do not
TONE_PIXELS = 14.0  # luma smoother than this is tone
CAUCHY_WIDTH = 3.0  # robust spreads at which a pixel's weight has fallen to one half


@dataclass(frozen=True)
class LinearFit:
    """value = mean + coordinates @ directions, with what it leaves of every face."""

    mean: Array
    directions: Array
    """(attributes, ...) in the order of the basis; zero where not fitted"""
    residuals: Array
    """(faces, ...)"""


def design(london: Faces, basis: AttributeBasis) -> tuple[NDArray[np.float64], NDArray[np.intp]]:
    """Intercept and fitted coordinates of every person, (faces, 1 + fitted), and the columns' places in the basis."""
    age = np.where(np.isnan(london.age), TYPICAL_AGE_YEARS, london.age)
    weights = np.array([group_weights(group, basis.groups) for group in london.group])
    columns = np.array([basis.names.index(name) for name in FITTED])
    coordinates = basis.design(age, london.femininity, weights)[:, columns]
    return np.concatenate([np.ones((len(age), 1)), coordinates], axis=1).astype(np.float64), columns


def group_weights(group: str, groups: tuple[str, ...]) -> NDArray[np.float64]:
    """Weights of one person's groups: one, or halves for a person of two ("east_asian/white")."""
    named = group.split("/")
    return np.array([float(name in named) / len(named) for name in groups])


def penalties(group_ridge: float = GROUP_RIDGE) -> NDArray[np.float64]:
    """Ridge penalty of intercept and fitted coordinates, in persons."""
    return np.array([0.0, *(RIDGE.get(name, group_ridge) for name in FITTED)])


def fit_shapes(controls: Controls, x: NDArray[np.float64], columns: NDArray[np.intp], size: int) -> LinearFit:
    """Ridge regression of control points on attributes; a mirrored face has the same attributes."""
    mirrored = mirror(controls.shapes, controls.pairs, SIZE)
    symmetric = (controls.shapes + mirrored) / 2
    solution = np.linalg.solve(x.T @ x + np.diag(penalties()), x.T @ symmetric.reshape(len(x), -1))
    rest = controls.shapes - (x @ solution).reshape(controls.shapes.shape)
    directions = np.zeros((size, *controls.mean.shape))
    directions[columns] = solution[1:].reshape(-1, *controls.mean.shape)
    mean: Points = solution[0].reshape(controls.mean.shape)
    return LinearFit(mean.astype(np.float32), directions.astype(np.float32), rest.astype(np.float32))


def _solve_pixels(
    x: NDArray[np.float64], values: Array, weights: Array, *, mirrored: bool, penalty: NDArray[np.float64]
) -> Array:
    """Weighted ridge at every pixel of rows (faces, rows, width), mirrored faces added or not: (terms, rows, width)."""
    terms = x.shape[1]
    products = (x[:, :, None] * x[:, None, :]).reshape(len(x), -1).astype(np.float32)
    flat = weights.reshape(len(x), -1)
    left = (products.T @ flat).reshape(terms * terms, *values.shape[1:])
    right = (x.T.astype(np.float32) @ (flat * values.reshape(len(x), -1))).reshape(terms, *values.shape[1:])
    copies = 2 if mirrored else 1
    if mirrored:
        left, right = left + left[..., ::-1], right + right[..., ::-1]
    system = np.moveaxis(left.reshape(terms, terms, *values.shape[1:]), (0, 1), (-2, -1)).astype(np.float64)
    solved = np.linalg.solve(
        system + np.diag(copies * penalty + 1e-3), np.moveaxis(right, 0, -1)[..., None].astype(np.float64)
    )
    return np.asarray(np.moveaxis(solved[..., 0], -1, 0), dtype=np.float32)


def _fit_plane(
    x: NDArray[np.float64],
    values: NDArray[np.float16],
    weights: Array,
    *,
    mirrored: bool = True,
    group_ridge: float = GROUP_RIDGE,
) -> Array:
    """Solve a plane (faces, height, width) in strips, to bound memory: (terms, height, width)."""
    penalty = penalties(group_ridge)
    solved = []
    for start in range(0, values.shape[1], 32):
        strip = slice(start, start + 32)
        part = values[:, strip].astype(np.float32)
        solved.append(_solve_pixels(x, part, weights[:, strip], mirrored=mirrored, penalty=penalty))
    return np.asarray(np.concatenate(solved, axis=1))


def plain_mean(textures: Textures, x: NDArray[np.float64], weights: Array) -> Array:
    """The luma intercept, (size, size), of the faces as they are, none mirrored."""
    return np.asarray(_fit_plane(x, textures.luma, weights, mirrored=False)[0], dtype=np.float32)


def _reweigh(values: NDArray[np.float16], fitted: Array, x: NDArray[np.float64], seen: Array) -> Array:
    """Weights that fall where a face departs from its fit: hair on a neck, a bald head among haired ones."""
    rest = np.empty(values.shape, np.float32)
    for face in range(len(values)):
        gone = values[face].astype(np.float32) - np.tensordot(x[face].astype(np.float32), fitted, axes=1)
        rest[face] = np.sqrt(ndimage.gaussian_filter(gone**2, 3.0))
    spread = ndimage.gaussian_filter(np.median(rest, axis=0), 3.0) + 0.02
    return np.asarray(seen / (1.0 + (rest / (CAUCHY_WIDTH * spread)) ** 2), dtype=np.float32)


def fit_textures(textures: Textures, x: NDArray[np.float64]) -> tuple[Array, Array, Array]:
    """Luma (terms, size, size) and chroma (terms, 2, half, half) on attributes, and the weights (faces, size, size)."""
    weights = np.maximum(textures.seen.astype(np.float32), 1e-3)
    seen = weights
    luma = _fit_plane(x, textures.luma, weights)
    for _ in range(2):
        weights = _reweigh(textures.luma, luma, x, seen)
        luma = _fit_plane(x, textures.luma, weights)
    toned = _fit_plane(x, textures.luma, weights, group_ridge=TONE_RIDGE) - luma
    luma = luma + ndimage.gaussian_filter(toned, (0.0, TONE_PIXELS, TONE_PIXELS))
    count, size = len(weights), textures.chroma.shape[-1]
    half = weights.reshape(count, size, 2, size, 2).mean((2, 4))
    chroma = np.stack(
        [_fit_plane(x, textures.chroma[:, plane], half, group_ridge=TONE_RIDGE) for plane in range(2)], axis=1
    )
    return luma, chroma, weights
