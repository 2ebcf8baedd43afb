"""How shape and texture change beyond forty, from synthetic faces whose light and expression vary.

Only changes are taken: a regression within the synthetic set on age and gender, beside the expressions that would
otherwise pass for age (the old faces frown and smile more). What the set is like as a whole stays out.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from speech2face.face.alignment import Points
from speech2face.face.attributes import AttributeBasis
from speech2face.face.landmarks import HAIRLINE, mirror, mirror_pairs
from speech2face.face.spline import border_points, spline_map
from speech2face.training.faces_controls import HAND_PLACED, MARGIN_PIXELS
from speech2face.training.faces_model import FaceModel
from speech2face.training.faces_photographs import SIZE, Faces
from speech2face.training.faces_refine import neutral_expression
from speech2face.training.faces_regions import Regions
from speech2face.training.faces_synthetic import Synthetic

Array = NDArray[np.float32]
AGEING = ("older", "older_femininity", "old", "old_femininity")
LIGHT_PIXELS = 22.0  # tones smoother than this are light and make-up, not age
RIDGE_PERSONS = 4.0
HAIR_PROBE = (slice(75, 100), slice(215, 297))  # rows and columns above the middle of the hairline
TEXTURE_SHARE = {"older": 0.8, "old": 0.6}  # generated faces are lit and retouched for drama; judged by eye
COLOUR_SHARE = 0.5
WHITENED = 0.85  # of the way to white at 80: an average head of hair keeps some of its colour
GREYED_AT_60 = 0.4  # of that; set by hand: the synthetic faces under 60 are dyed, fair or already white at random
WHITE_FROM_YEARS = 75.0  # the synthetic set's hair is white from here on
RECEDING_PIXELS = {137: 20.0, 141: 20.0, 138: 15.0, 140: 15.0, 136: 14.0, 142: 14.0, 139: 11.0, 135: 6.0, 143: 6.0}
"""How far a man's hairline has risen at 80 on average; set by hand, for neither set has it measured."""


def expressions(displacements: Points, mesh: Points) -> NDArray[np.float64]:
    """Smile, mouth width, open mouth, frown and nod of every face, (faces, 5), standardised."""
    points = displacements + mesh
    corners, brows = points[:, [61, 291]], points[:, [55, 285]]
    lips = (points[:, 13] + points[:, 14]) / 2
    smile = lips[:, 1] - corners[..., 1].mean(1)
    width = corners[:, 1, 0] - corners[:, 0, 0]
    opened = points[:, 14, 1] - points[:, 13, 1]
    frown = (brows[:, 1, 0] - brows[:, 0, 0]) - 0.5 * (points[:, [133, 362], 1].mean(1) - brows[..., 1].mean(1))
    nod = points[:, 1, 1] - (points[:, [33, 263], 1].mean(1) + points[:, 152, 1]) / 2
    measures = np.stack([smile, width, opened, frown, nod], axis=1)
    return np.asarray((measures - measures.mean(0)) / measures.std(0))


def beardedness(luma: Array, mesh: Points) -> NDArray[np.float64]:
    """Fine structure of chin and upper lip beyond that of the cheeks, (faces,), standardised."""
    fine = luma - ndimage.gaussian_filter(luma, (0, 3, 3))
    across, down = np.meshgrid(np.arange(SIZE), np.arange(SIZE))

    def energy(points: tuple[int, ...]) -> NDArray[np.float64]:
        near = np.min([(across - mesh[p, 0]) ** 2 + (down - mesh[p, 1]) ** 2 for p in points], axis=0) < 14**2
        return np.asarray(np.log((fine[:, near] ** 2).mean(1)))

    beard = energy((164, 167, 393, 199, 200, 208, 428)) - energy((50, 280, 101, 330))
    return np.asarray((beard - beard.mean()) / beard.std())


def ageing_design(faces: Faces, synthetic: Synthetic, basis: AttributeBasis) -> NDArray[np.float64]:
    """Intercept, femininity and ageing, then expressions and beard, (faces, terms)."""
    groups = np.full((len(faces.age), len(basis.groups)), 1.0 / len(basis.groups))
    coordinates = basis.design(faces.age, faces.femininity, groups)
    columns = [basis.names.index(name) for name in ("femininity", *AGEING)]
    beard = beardedness(synthetic.luma, synthetic.mesh) * (1.0 - faces.femininity)
    return np.concatenate(
        [
            np.ones((len(faces.age), 1)),
            coordinates[:, columns],
            expressions(synthetic.displacements, synthetic.mesh),
            beard[:, None],
        ],
        axis=1,
    ).astype(np.float64)


def _regress(x: NDArray[np.float64], values: Array) -> Array:
    """Ridge directions of the ageing coordinates, (ageing, ...), of values (faces, ...)."""
    penalty = RIDGE_PERSONS * np.eye(x.shape[1])
    penalty[0, 0] = 0.0
    penalty[1, 1] = 1.0
    mixing = np.linalg.solve(x.T @ x + penalty, x.T)[2 : 2 + len(AGEING)]  # (ageing, faces)
    return np.tensordot(mixing.astype(np.float32), values, axes=1)


def shape_ageing(x: NDArray[np.float64], synthetic: Synthetic, controls: Points, *, moving: NDArray[np.bool_]) -> Array:
    """Displacement of control points (controls, 2) a unit of each ageing coordinate, (ageing, controls, 2).

    Only moving ones follow the mesh; outline, ears and hairline lie outside it and stay.
    """
    pairs = mirror_pairs(synthetic.mesh[None])
    mesh_directions = _regress(x, synthetic.displacements.astype(np.float32))
    flipped = mirror(mesh_directions + synthetic.mesh, pairs, SIZE) - mirror(synthetic.mesh, pairs, SIZE)
    symmetric = (mesh_directions + flipped) / 2
    fixed = np.concatenate([border_points(SIZE, margin_pixels=MARGIN_PIXELS, per_side=6), controls[~moving]])
    carry = spline_map(synthetic.mesh, controls[moving], fixed=fixed, stiffness=1e-2)
    directions = np.zeros((len(AGEING), *controls.shape), np.float32)
    directions[:, moving] = np.einsum("cm,amd->acd", carry, symmetric)
    return neutral_expression(directions, controls.astype(np.float32))


def texture_ageing(x: NDArray[np.float64], synthetic: Synthetic, regions: Regions) -> tuple[Array, Array]:
    """Fine luma (ageing, SIZE, SIZE) and chroma a unit of each ageing coordinate, within the face only."""
    whole = np.maximum(regions.face, regions.eyes)
    fine = synthetic.luma - _smooth_within(synthetic.luma, whole, LIGHT_PIXELS)
    fine = np.clip(fine, -0.8, 0.8)  # one lamp's glint or one black lash must not carry the slope
    colour = synthetic.chroma - _smooth_within(synthetic.chroma, whole[::2, ::2], LIGHT_PIXELS / 2)
    luma, chroma = _regress(x, fine), _regress(x, np.clip(colour, -0.3, 0.3))
    luma, chroma = _symmetric(luma), _symmetric(chroma)
    luma, chroma = _shaved(luma, regions.beard), _shaved(chroma, regions.beard[::2, ::2])
    share = np.array([TEXTURE_SHARE[name.split("_")[0]] for name in AGEING], np.float32)
    luma, chroma = luma * share[:, None, None], chroma * share[:, None, None, None] * COLOUR_SHARE
    return luma * regions.face, chroma * regions.face[::2, ::2]


def _symmetric(planes: Array) -> Array:
    """Mean of planes (..., width) and their mirror images."""
    return np.asarray((planes + planes[..., ::-1]) / 2, dtype=np.float32)


def _shaved(directions: Array, beard: Array) -> Array:
    """Where a beard grows men age like women: the synthetic men's white beards are not part of a neutral face."""
    shaved = directions.copy()
    for plain, product in ((0, 1), (2, 3)):
        shaved[plain] += beard * directions[product]
        shaved[product] -= beard * directions[product]
    return shaved


def hair_greying(basis: AttributeBasis) -> NDArray[np.float64]:
    """Share of the way to white a unit of each ageing coordinate, (ageing,)."""
    end = basis.age_range_years[1]
    onset, late = (basis.old_years[0] - basis.older_years[0]) / 10.0, (end - basis.old_years[0]) / 10.0
    older = WHITENED * GREYED_AT_60 / onset
    return np.array([older, 0.0, (WHITENED - older * (onset + late)) / late, 0.0])


def white_hair(faces: Faces, synthetic: Synthetic) -> Array:
    """Tone of the oldest faces' hair: luma, red and blue, (3,)."""
    rows, columns = HAIR_PROBE
    oldest = faces.age >= WHITE_FROM_YEARS
    luma = synthetic.luma[oldest, rows, columns]
    half = synthetic.chroma[oldest, :, rows.start // 2 : rows.stop // 2, columns.start // 2 : columns.stop // 2]
    return np.array([np.median(luma), *np.median(half, axis=(0, 2, 3))], dtype=np.float32)


def receding_hairline(basis: AttributeBasis, count: int) -> Array:
    """Displacement of the control points (count, 2) a unit of each ageing coordinate, (ageing, count, 2)."""
    decades = (basis.older_years[1] - basis.older_years[0]) / 10.0
    directions = np.zeros((len(AGEING), count, 2), np.float32)
    for landmark, pixels in RECEDING_PIXELS.items():
        control = int(np.flatnonzero(landmark == HAND_PLACED)[0])
        directions[0, control, 1] -= pixels / decades / 2  # men only: half for everyone, less half by femininity
        directions[1, control, 1] += pixels / decades / 2
    return directions


def add_ageing(
    model: FaceModel, faces: Faces, synthetic: Synthetic, basis: AttributeBasis, regions: Regions
) -> FaceModel:
    """The model with its ageing directions filled in."""
    x = ageing_design(faces, synthetic, basis)
    count = len(model.mean_landmarks)
    still = {*HAIRLINE, *range(115, 125), 109, 112, 145, 157, 183, 184}
    moving = np.zeros(count, dtype=bool)
    moving[: len(HAND_PLACED)] = [int(mark) not in still for mark in HAND_PLACED]
    shape = shape_ageing(x, synthetic, model.mean_landmarks.astype(np.float64), moving=moving)
    shape += receding_hairline(basis, count)
    luma, chroma = texture_ageing(x, synthetic, regions)
    share, white = hair_greying(basis), white_hair(faces, synthetic)
    hair, half = regions.hair, regions.hair[::2, ::2]
    present = np.array(
        [(model.mean_luma * hair).sum() / hair.sum(), *((model.mean_chroma * half).sum((1, 2)) / half.sum())]
    )
    change = (white - present).astype(np.float32)
    # what is light already (skin shining through, the gap above an ear) turns no lighter than white hair
    lighter = np.clip(white[0] - ndimage.gaussian_filter(model.mean_luma, 3.0), 0.0, change[0]) * hair
    places = [basis.names.index(name) for name in AGEING]
    landmarks, all_luma, all_chroma = (
        model.attribute_landmarks.copy(), model.attribute_luma.copy(), model.attribute_chroma.copy(),
    )  # fmt: skip
    landmarks[places] = shape
    all_luma[places] = luma + share[:, None, None].astype(np.float32) * lighter
    all_chroma[places] = chroma + share[:, None, None, None].astype(np.float32) * change[1:, None, None] * half
    return replace(model, attribute_landmarks=landmarks, attribute_luma=all_luma, attribute_chroma=all_chroma)


def _smooth_within(planes: Array, mask: Array, pixels: float) -> Array:
    """Gaussian smoothing of the last two axes that sees nothing outside the mask: white hair is no light on skin."""
    sigma = (0.0,) * (planes.ndim - 2) + (pixels, pixels)
    inside = ndimage.gaussian_filter(mask, pixels, truncate=3.0) + 1e-3
    return np.asarray(ndimage.gaussian_filter(planes * mask, sigma, truncate=3.0) / inside)
