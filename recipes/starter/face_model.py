"""The face model: everything linear that the decoder needs, at full size and full precision."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from scipy import ndimage

from recipes.starter.face_material import (
    HAND_PLACED,
    HEAD_ANGLES_DEGREES,
    SIZE,
    Controls,
    Faces,
    Textures,
    as_landmarks,
    split,
    to_tone,
)
from speech2face.face.appearance import AttributeBasis, Points
from speech2face.face.landmarks import mirror

# --------------------------------------------------------------------------------------------------
# Ridge regression of landmarks and of every pixel of the texture on attributes, mirrored faces included.
# --------------------------------------------------------------------------------------------------

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


# --------------------------------------------------------------------------------------------------
# Residual components: how faces of the same age, gender and group differ, jointly in shape and texture.
# --------------------------------------------------------------------------------------------------

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


# --------------------------------------------------------------------------------------------------
# Soft masks of the mean shape: face, eyes, beard, hair, skin.
# --------------------------------------------------------------------------------------------------

# closed contours of landmarks, London numbering
FACE_CONTOUR = (
    *(109, 134, 135, 136, 137, 138, 139, 140, 141, 142, 143, 144, 112),
    *(187, 113, 188, 114, 133, 132, 131, 130, 129, 128, 127, 126, 125, 111, 186, 110, 185),
)
EYE_CONTOURS = ((18, 19, 20, 21, 22, 30, 29, 28), (23, 24, 25, 26, 27, 33, 32, 31))
BROW_CONTOURS = ((71, 72, 73, 74, 75, 76, 84, 83), (82, 81, 80, 79, 78, 77, 85, 86))
BEARD_CONTOUR = (158, 63, 55, 68, 161, 163, 133, 132, 131, 130, 129, 128, 127, 126, 125, 160)
LIPS_CONTOUR = (87, 88, 89, 90, 91, 92, 93, 108, 107, 106, 105, 104)


@dataclass(frozen=True)
class Regions:
    """Masks (SIZE, SIZE) in [0, 1] on the mean shape."""

    face: Array
    """Forehead to chin, eyeballs excepted, fading before the hairline."""
    eyes: Array
    brows: Array
    beard: Array
    lips: Array
    hair: Array
    skin: Array
    """Face without eyes, brows and lips."""
    below: Array
    """Neck and clothes."""


def polygon(points: Points, *, grow_pixels: float = 0.0, soft_pixels: float = 1.0) -> Array:
    """Inside of a closed contour (points, 2), grown (or shrunk) and softened."""
    canvas = Image.new("L", (SIZE, SIZE), 0)
    ImageDraw.Draw(canvas).polygon([tuple(point) for point in points], fill=1)
    inside = np.asarray(canvas) > 0
    depth = ndimage.distance_transform_edt(inside) - ndimage.distance_transform_edt(~inside)
    mask = np.clip(0.5 + (depth + grow_pixels) / (2.0 * soft_pixels), 0.0, 1.0)
    return np.asarray((mask + mask[:, ::-1]) / 2, dtype=np.float32)


def regions(landmarks: Points, depth: Array) -> Regions:
    """Masks of mean landmarks (189, 2), canvas pixels, and the matte's depth."""

    def union(contours: tuple[tuple[int, ...], ...], grow: float, soft: float) -> Array:
        parts = [polygon(landmarks[list(c)], grow_pixels=grow, soft_pixels=soft) for c in contours]
        return np.asarray(np.minimum(2.0 * np.sum(parts, axis=0), 1.0), dtype=np.float32)

    whole = polygon(landmarks[list(FACE_CONTOUR)], grow_pixels=-9.0, soft_pixels=8.0)
    eyes = union(EYE_CONTOURS, -0.5, 1.5)
    brows = union(BROW_CONTOURS, 3.0, 4.0)
    lips = union((LIPS_CONTOUR,), 1.0, 3.0)
    beard = polygon(landmarks[list(BEARD_CONTOUR)], grow_pixels=6.0, soft_pixels=10.0)
    rows = np.arange(SIZE, dtype=np.float32)[:, None]
    above = np.clip((landmarks[[109, 112], 1].mean() + 8.0 - rows) / 16.0, 0.0, 1.0)  # hair ends at the ears' tops
    outside = 1.0 - polygon(landmarks[list(FACE_CONTOUR)], grow_pixels=0.0, soft_pixels=5.0)
    hair = outside * above * np.clip(0.5 + depth / 4.0, 0.0, 1.0)
    skin = whole * (1.0 - eyes) * (1.0 - brows) * (1.0 - lips)
    ears = landmarks[[111, 114], 1].mean()
    below = outside * np.clip((rows - ears) / 16.0, 0.0, 1.0)
    return Regions(
        face=whole * (1.0 - eyes),
        eyes=eyes,
        brows=brows,
        beard=beard,
        lips=lips,
        hair=hair.astype(np.float32),
        skin=skin,
        below=below.astype(np.float32),
    )


# --------------------------------------------------------------------------------------------------
# The matte of the mean shape, and textures continued past it so that no ground bleeds in.
# --------------------------------------------------------------------------------------------------

SAFE_DEPTH_PIXELS = 3.5  # texture this far inside the outline is trusted
HAIR_DEPTH_PIXELS = 11.0  # and in hair, whose thin outer part shows the ground
REFLECTED_PIXELS = 14.0
EARS_ROW = 236.0  # canvas pixels: hair above, ears below
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


# --------------------------------------------------------------------------------------------------
# What the fitted directions must not carry: tan passing for age, hair volume of a few, light.
# --------------------------------------------------------------------------------------------------

YOUNG_HAIR_SHARE = 0.35  # of the London set's change of hair between 18 and 45: eight people over 40 decide it
EXPOSURE = 0.08  # tones; a mean of tones is darker than the faces it comes from
WARMTH = (0.02, -0.012)  # red and blue tones: and greyer, for shadows of beards and hair are averaged into it


def steady_youth(model: FaceModel, basis: AttributeBasis, regions: Regions) -> FaceModel:
    """Let neither skin tone nor hair volume drift from 18 to 45: few people over 40 teach this slope."""
    landmarks, luma, chroma = (
        model.attribute_landmarks.copy(), model.attribute_luma.copy(), model.attribute_chroma.copy(),
    )  # fmt: skip
    skin, half = regions.skin, regions.skin[::2, ::2]
    hair = 1.0 - (1.0 - YOUNG_HAIR_SHARE) * np.clip(regions.hair + regions.below, 0.0, 1.0)
    for name in ("young", "young_femininity"):
        place = basis.names.index(name)
        landmarks[place, len(HAND_PLACED) :] *= YOUNG_HAIR_SHARE
        luma[place] -= regions.hair * (luma[place] * regions.hair).sum() / regions.hair.sum()
        luma[place] = (luma[place] - (luma[place] * skin).sum() / skin.sum()) * hair
        drift = (chroma[place] * half).sum((1, 2)) / half.sum()
        chroma[place] = (chroma[place] - drift[:, None, None]) * hair[::2, ::2]
    return replace(model, attribute_landmarks=landmarks, attribute_luma=luma, attribute_chroma=chroma)


def expose(model: FaceModel) -> FaceModel:
    """Brighten the person a little, and warm the skin."""
    warmth = np.array(WARMTH, np.float32)[:, None, None]
    return replace(model, mean_luma=model.mean_luma + np.float32(EXPOSURE), mean_chroma=model.mean_chroma + warmth)


# --------------------------------------------------------------------------------------------------
# The last steps to a portrait: steady youth, fine detail, exposure, shirt, no step above the ears.
# --------------------------------------------------------------------------------------------------


def finish(model: FaceModel, textures: Textures, weights: Array, basis: AttributeBasis, regions: Regions) -> FaceModel:
    """The fitted and aged model, made fit to be seen under the hair that is drawn over it."""
    model = steady_youth(model, basis, regions)
    typical = typical_contrasts(textures.luma, weights)
    mean = restore_detail(model.mean_luma, model.plain_luma, typical, model.matte_depth)
    return mend(dress(expose(replace(model, mean_luma=mean))))


# --------------------------------------------------------------------------------------------------
# Give the averaged texture back the fine contrast that averaging took, without anybody's own texture.
# A mean of n faces keeps what they share and 1 / sqrt(n) of what they do not (pores, strands). Band by band, its
# local contrast is raised towards the median contrast of single photographs: the same mixture of all faces, louder.
# --------------------------------------------------------------------------------------------------

BAND_EDGES_PIXELS = (0.6, 1.2, 2.4, 4.8)  # Gaussian widths between which a band lies, finest first
BAND_LIMITS = (3.0, 2.4, 1.8)  # no band grows by more: the rest is noise of misplaced hairs and lashes
NEIGHBOURHOOD_PIXELS = 9.0
STRENGTH = 0.7  # 1 would reach the median photograph's contrast, where gains allow


def bands(plane: Array) -> list[Array]:
    """Differences of Gaussians of (height, width), finest first."""
    smooth = [ndimage.gaussian_filter(plane, edge) for edge in BAND_EDGES_PIXELS]
    return [fine - coarse for fine, coarse in pairwise(smooth)]


def local_contrast(band: Array, weight: Array) -> Array:
    """Root mean square of a band around every pixel, over weighted pixels only."""
    energy = ndimage.gaussian_filter(weight * band**2, NEIGHBOURHOOD_PIXELS)
    return np.asarray(np.sqrt(energy / (ndimage.gaussian_filter(weight, NEIGHBOURHOOD_PIXELS) + 1e-3)))


def at_full_size(plane: Array) -> Array:
    """A plane of half the canvas's size, mirror-symmetric and enlarged, (SIZE, SIZE)."""
    even = (plane + plane[:, ::-1]) / 2
    return np.asarray(ndimage.zoom(even, 2, order=1, grid_mode=True, mode="nearest"), dtype=np.float32)


def typical_contrasts(luma: NDArray[np.float16], weights: Array) -> list[Array]:
    """Median local contrast of single faces (faces, size, size) in each band, mirror-symmetric."""
    found: list[list[Array]] = [[] for _ in BAND_LIMITS]
    for plane, weight in zip(luma, weights, strict=True):
        for kept, band in zip(found, bands(plane.astype(np.float32)), strict=True):
            kept.append(local_contrast(band, weight)[::2, ::2].astype(np.float16))
    return [at_full_size(np.median(np.stack(kept), axis=0).astype(np.float32)) for kept in found]


def raise_contrast(
    plane: Array, even: Array, rough: Array, wanted: Sequence[Array], limits: Sequence[Array | float], inside: Array
) -> Array:
    """A plane (size, size) in which the bands of `even` give way to those of `rough`, raised to wanted contrasts.

    No band grows by more than its limit; nothing changes where `inside` is zero.
    """
    raised = plane.copy()
    for band, grain, contrast, limit in zip(bands(even), bands(rough), wanted, limits, strict=True):
        gain = contrast / (local_contrast(grain, inside) + 1e-4)
        gain = 1.0 + STRENGTH * (np.clip(gain, 1.0, limit) - 1.0)
        raised += (ndimage.gaussian_filter(gain, 3.0) * grain - band) * inside
    return raised


def restore_detail(mean_luma: Array, plain_luma: Array, typical: list[Array], depth: Array) -> Array:
    """Mean luma (size, size) with every band's local contrast raised towards the typical one.

    The bands are those of plain_luma, the mean without mirrored faces: a seam down the middle looks uncanny.
    """
    return raise_contrast(mean_luma, mean_luma, plain_luma, typical, BAND_LIMITS, np.clip(depth / 4.0, 0.0, 1.0))


# --------------------------------------------------------------------------------------------------
# Mend what continuing textures past the outline leaves: the step above the ears.
# --------------------------------------------------------------------------------------------------

ABOVE_EARS_PIXELS, BELOW_EARS_PIXELS = 8, 12  # hair from the one row runs softly into ear from the other
EAR_DEPTH_PIXELS, FADE_PIXELS = 20.0, 8.0  # further in than this nothing was continued


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


def mend(model: FaceModel) -> FaceModel:
    """The model with all its textures mended."""
    depth = model.matte_depth
    half = depth[::2, ::2]
    return replace(
        model,
        mean_luma=join_ears(model.mean_luma, depth),
        attribute_luma=join_ears(model.attribute_luma, depth),
        residual_luma=join_ears(model.residual_luma, depth),
        mean_chroma=join_ears(model.mean_chroma, half, pixels_apart=2),
        attribute_chroma=join_ears(model.attribute_chroma, half, pixels_apart=2),
        residual_chroma=join_ears(model.residual_chroma, half, pixels_apart=2),
    )


# --------------------------------------------------------------------------------------------------
# A plain round-necked shirt for everybody: averaged collars are a white mist.
# --------------------------------------------------------------------------------------------------

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
