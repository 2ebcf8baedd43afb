"""How shape and texture change beyond thirty, from synthetic faces whose light and expression vary.

Only changes are taken: a regression within the synthetic sets on age and gender, beside the expressions that would
otherwise pass for age (the old faces frown and smile more). What each set is like as a whole stays out.
A regression averages wrinkles that lie elsewhere on every face, as a mean does pores; so at two ages the fine contrast
is raised as far as that of single faces grows from the young to them.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from recipes.starter.face_material import HAND_PLACED, MARGIN_PIXELS, SIZE, Faces, Synthetic
from recipes.starter.face_model import (
    Array,
    FaceModel,
    Regions,
    at_full_size,
    bands,
    local_contrast,
    raise_contrast,
)
from speech2face.face.appearance import AttributeBasis, Points, border_points, spline_map
from speech2face.face.landmarks import HAIRLINE, mirror, mirror_pairs

AGEING = ("older", "older_femininity", "old", "old_femininity")
LIGHT_PIXELS = 22.0  # tones smoother than this are light and make-up, not age
RIDGE_PERSONS = 4.0
HAIR_PROBE = (slice(75, 100), slice(215, 297))  # rows and columns above the middle of the hairline
FOLD_PIXELS, FOLD_SHARE = 7.0, 0.6  # coarser than this is half light: generated faces are lit for drama
COLOUR_SHARE = 0.5
SHAVED_DETAIL = 0.6  # of what men's skin has beyond women's where a beard grows; some of it is no beard
YOUNG_YEARS, YOUNG_WIDTH_YEARS = 25.0, 6.0
DETAILED = ((60.0, 7.0), (85.0, 8.0))  # ages at which fine contrast is measured, and how near in age counts
DETAIL_LIMITS = (2.6, 2.4, 2.0)  # no band grows by more, finest first
GROWTH_LIMIT = 4.0  # of single faces' contrast with age
BROWS = tuple(range(71, 87))
LIPS = tuple(range(87, 109))
BROW_SHARE = 0.7
WHITE_YEARS = 80.0
WHITENED = 0.85  # of the way to white then: an average head of hair keeps some of its colour
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
    """Intercept, femininity and ageing, then expressions, beard and what sets differ by, (faces, terms)."""
    coordinates = basis.design(faces.age, faces.femininity, basis.even_groups)
    columns = [basis.names.index(name) for name in ("femininity", *AGEING)]
    beard = beardedness(synthetic.luma, synthetic.mesh) * (1.0 - faces.femininity)
    return np.concatenate(
        [
            np.ones((len(faces.age), 1)),
            coordinates[:, columns],
            expressions(synthetic.displacements, synthetic.mesh),
            beard[:, None],
            faces.generator[:, None],
            (faces.generator * (2.0 * faces.femininity - 1.0))[:, None],
        ],
        axis=1,
    ).astype(np.float64)


def _regress(x: NDArray[np.float64], values: Array, trust: NDArray[np.float64]) -> Array:
    """Ridge directions of the ageing coordinates, (ageing, ...), of values (faces, ...)."""
    penalty = RIDGE_PERSONS * np.eye(x.shape[1])
    penalty[0, 0] = 0.0
    penalty[1, 1] = 1.0
    weighted = (x * trust[:, None]).T
    mixing = np.linalg.solve(weighted @ x + penalty, weighted)[2 : 2 + len(AGEING)]  # (ageing, faces)
    return np.tensordot(mixing.astype(np.float32), values, axes=1)


def shape_ageing(
    x: NDArray[np.float64],
    synthetic: Synthetic,
    controls: Points,
    *,
    trust: NDArray[np.float64],
    moving: NDArray[np.bool_],
) -> Array:
    """Displacement of control points (controls, 2) a unit of each ageing coordinate, (ageing, controls, 2).

    Only moving ones follow the mesh; outline, ears and hairline lie outside it and stay.
    """
    pairs = mirror_pairs(synthetic.mesh[None])
    mesh_directions = _regress(x, synthetic.displacements.astype(np.float32), trust)
    flipped = mirror(mesh_directions + synthetic.mesh, pairs, SIZE) - mirror(synthetic.mesh, pairs, SIZE)
    symmetric = (mesh_directions + flipped) / 2
    fixed = np.concatenate([border_points(SIZE, margin_pixels=MARGIN_PIXELS, per_side=6), controls[~moving]])
    carry = spline_map(synthetic.mesh, controls[moving], fixed=fixed, stiffness=1e-2)
    directions = np.zeros((len(AGEING), *controls.shape), np.float32)
    directions[:, moving] = np.einsum("cm,amd->acd", carry, symmetric)
    return neutral_expression(directions, controls.astype(np.float32))


def texture_ageing(
    x: NDArray[np.float64],
    faces: Faces,
    synthetic: Synthetic,
    regions: Regions,
    mean_luma: Array,
    basis: AttributeBasis,
) -> tuple[Array, Array]:
    """Fine luma (ageing, SIZE, SIZE) and chroma a unit of each ageing coordinate, within the face only."""
    whole = np.maximum(regions.face, regions.eyes)
    fine = synthetic.luma - _smooth_within(synthetic.luma, whole, LIGHT_PIXELS)
    fine = np.clip(fine, -0.8, 0.8)  # one lamp's glint or one black lash must not carry the slope
    colour = synthetic.chroma - _smooth_within(synthetic.chroma, whole[::2, ::2], LIGHT_PIXELS / 2)
    luma, chroma = _regress(x, fine, faces.trust), _regress(x, np.clip(colour, -0.3, 0.3), faces.trust)
    luma = luma - (1.0 - FOLD_SHARE) * ndimage.gaussian_filter(luma, (0.0, FOLD_PIXELS, FOLD_PIXELS))
    plain = _shaved(luma, SHAVED_DETAIL * regions.beard) * regions.face
    luma, chroma = _symmetric(luma), _symmetric(chroma)
    luma, chroma = _shaved(luma, regions.beard) * regions.face, _shaved(chroma, regions.beard[::2, ::2])
    luma = _with_typical_detail(luma, plain, mean_luma, faces, synthetic, regions, basis)
    return luma * regions.face, chroma * COLOUR_SHARE * regions.face[::2, ::2]


def ageing_at(age: float, feminine: float, basis: AttributeBasis) -> NDArray[np.float32]:
    """Ageing coordinates, (ageing,), of an age in years and of feminine in -1 or 1."""
    columns = [basis.names.index(name) for name in AGEING]
    return replace(basis, age_range_years=(0.0, 100.0)).design(age, (feminine + 1.0) / 2.0, basis.even_groups)[columns]


def typical_growth(faces: Faces, synthetic: Synthetic, inside: Array) -> dict[tuple[float, float], list[Array]]:
    """How many times the fine contrast of young faces those of (age, feminine) have: a plane for each band."""
    contrasts = np.stack(
        [np.stack([local_contrast(band, inside)[::2, ::2] for band in bands(luma)]) for luma in synthetic.luma]
    )
    order = np.argsort(contrasts, axis=0)
    ranked = np.take_along_axis(contrasts, order, axis=0)

    def median(age: float, width: float, femininity: float) -> Array:
        near = np.exp(-0.5 * ((faces.age - age) / width) ** 2) * (faces.femininity == femininity)
        total = np.cumsum((faces.trust * near)[order], axis=0)
        middle = (total >= total[-1:] / 2.0).argmax(0)
        found = np.take_along_axis(ranked, middle[None], axis=0)[0]
        return np.asarray(ndimage.gaussian_filter(_symmetric(found), (0.0, 4.0, 4.0)))

    growth = {}
    for femininity in (1.0, 0.0):
        young = median(YOUNG_YEARS, YOUNG_WIDTH_YEARS, femininity)
        for age, width in DETAILED:
            ratio = np.clip(median(age, width, femininity) / np.maximum(young, 1e-3), 1.0, GROWTH_LIMIT)
            growth[age, 2.0 * femininity - 1.0] = [at_full_size(band) for band in ratio]
    return growth


def _with_typical_detail(
    luma: Array,
    plain: Array,
    mean_luma: Array,
    faces: Faces,
    synthetic: Synthetic,
    regions: Regions,
    basis: AttributeBasis,
) -> Array:
    """Ageing luma (ageing, SIZE, SIZE) whose fine contrast grows with age as that of single faces does.

    luma is mirror-symmetric; the detail is that of plain, which is not: a seam down a wrinkled forehead looks uncanny.
    """
    inside = regions.face
    young = [local_contrast(band, inside) for band in bands(mean_luma)]
    corners, changes = [], []
    for (age, feminine), growth in typical_growth(faces, synthetic, inside).items():
        at = ageing_at(age, feminine, basis)
        change, rough = np.tensordot(at, luma, 1), np.tensordot(at, plain, 1)
        wanted = [contrast * ratio for contrast, ratio in zip(young, growth, strict=True)]
        corners.append(at)
        changes.append(raise_contrast(change, mean_luma + change, mean_luma + rough, wanted, DETAIL_LIMITS, inside))
    solved = np.linalg.solve(np.stack(corners).astype(np.float64), np.stack(changes).reshape(len(corners), -1))
    return np.asarray(solved.reshape(luma.shape), dtype=np.float32)


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
    onset, late = (basis.old_years[0] - basis.older_years[0]) / 10.0, (WHITE_YEARS - basis.old_years[0]) / 10.0
    older = WHITENED * GREYED_AT_60 / onset
    return np.array([older, 0.0, (WHITENED - older * (onset + late)) / late, 0.0])


def white_hair(faces: Faces, synthetic: Synthetic) -> Array:
    """Tone of the oldest faces' hair: luma, red and blue, (3,)."""
    rows, columns = HAIR_PROBE
    oldest = (faces.age >= WHITE_FROM_YEARS) & (faces.generator == 0.0)  # the other set's few are cut at the top
    luma = synthetic.luma[oldest, rows, columns]
    half = synthetic.chroma[oldest, :, rows.start // 2 : rows.stop // 2, columns.start // 2 : columns.stop // 2]
    return np.array([np.median(luma), *np.median(half, axis=(0, 2, 3))], dtype=np.float32)


def receding_hairline(basis: AttributeBasis, count: int) -> Array:
    """Displacement of the control points (count, 2) a unit of each ageing coordinate, (ageing, count, 2)."""
    decades = (WHITE_YEARS - basis.older_years[0]) / 10.0
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
    shape = shape_ageing(x, synthetic, model.mean_landmarks.astype(np.float64), trust=faces.trust, moving=moving)
    shape += receding_hairline(basis, count)
    luma, chroma = texture_ageing(x, faces, synthetic, regions, model.mean_luma, basis)
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


def neutral_expression(directions: Array, mean: Array) -> Array:
    """Directions (terms, controls, 2) in which neither the mouth's corners nor the brows' inner ends move alone.

    Old synthetic faces frown; a regression on five measures of expression does not take all of it away.
    """
    steady = directions.copy()
    number = {int(mark): control for control, mark in enumerate(HAND_PLACED)}
    brows = [number[mark] for mark in BROWS]
    lips = [number[mark] for mark in LIPS]
    corners, middle = [number[87], number[93]], [number[mark] for mark in (90, 96, 106)]
    reach = np.abs(mean[lips, 0] - mean[middle, 0].mean())
    reach = reach / reach.max()
    beside = [number[mark] for mark in (160, 163)]
    for direction in steady:
        direction[brows, 0] = 0.0
        direction[brows, 1] = BROW_SHARE * direction[brows, 1].mean()
        drop = direction[corners, 1].mean() - direction[middle, 1].mean()
        direction[lips, 1] -= drop * reach
        direction[beside, 1] -= drop / 2
    return steady
