"""Hair drawn strand by strand: one set of layers a style, on the mean shape, by a fixed seed, the same for everybody.

Strands grow in three dimensions from the scalp of an average head, are combed, fall, lie on one another and are lit
from above; what is seen from the front is kept as a matte before the face, one behind it, and tones around the colour
of hair. Nothing is copied from a photograph: pictures told only where hairlines lie and how far hair stands off.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial import cKDTree

from recipes.starter.face_ageing import AGEING, hair_greying, white_hair
from recipes.starter.face_material import SIZE, Faces, Synthetic
from recipes.starter.face_model import FaceModel, Regions
from recipes.starter.linear import BALD, SHADE_STEPS, TONE_STEPS, TONE_ZERO
from speech2face.face.appearance import AttributeBasis

Array = NDArray[np.float32]
Reals = NDArray[np.floating]  # of either precision

# --------------------------------------------------------------------------------------------------
# The head that hair grows on: canvas pixels, x to the right, y down, z towards the viewer.
# --------------------------------------------------------------------------------------------------

CENTRE = np.array([(SIZE - 1) / 2, 190.0, 0.0], np.float32)
HALF_WIDTH, ABOVE, BELOW = 120.0, 104.0, 185.0
TO_FRONT, TO_BACK = 126.0, 150.0  # a head is a quarter longer than wide
EAR_ROWS, EAR_DEPTH = (238.0, 326.0), 18.0  # hair before the ears has a z above EAR_DEPTH
NAPE_ROW = 345.0
NECK_HALF_WIDTH, NECK_ROW, NECK_Z = 84.0, 352.0, 25.0
SHOULDER_ROW = 430.0


def height(points: Reals) -> Reals:
    """Radial coordinate of points (..., 3): one on the scalp, in units of the head's own radius in that direction."""
    away = points - CENTRE
    across = away[..., 0] / HALF_WIDTH
    down = away[..., 1] / np.where(away[..., 1] < 0, ABOVE, BELOW)
    near = away[..., 2] / np.where(away[..., 2] > 0, TO_FRONT, TO_BACK)
    return np.asarray(np.sqrt(across**2 + down**2 + near**2))


def normals(points: Reals) -> Reals:
    """Outward unit normals of the head through points (..., 3)."""
    away = points - CENTRE
    radii = np.stack(
        [
            np.full(away.shape[:-1], HALF_WIDTH),
            np.where(away[..., 1] < 0, ABOVE, BELOW),
            np.where(away[..., 2] > 0, TO_FRONT, TO_BACK),
        ],
        axis=-1,
    )
    return unit(away / radii**2)


def unit(vectors: Reals) -> Reals:
    """Vectors (..., 3) of length one."""
    return np.asarray(vectors / (np.linalg.norm(vectors, axis=-1, keepdims=True) + 1e-9))


def even_directions(count: int) -> Reals:
    """Unit vectors (count, 3) spread evenly over the sphere (Fibonacci's spiral)."""
    steps = np.arange(count) + 0.5
    y = 1.0 - 2.0 * steps / count
    angle = np.pi * (1.0 + np.sqrt(5.0)) * steps
    flat = np.sqrt(1.0 - y**2)
    return np.stack([flat * np.cos(angle), y, flat * np.sin(angle)], axis=-1)


def scalp(directions: Reals) -> Reals:
    """Points of the head (n, 3) in these directions from its centre."""
    points = CENTRE + directions * HALF_WIDTH
    return np.asarray(CENTRE + (points - CENTRE) / height(points)[:, None])


# Rows of the hairline over the distance from the middle: forehead, temple, and the strip before the ear.
HAIRLINE_ACROSS = (0.0, 34.0, 63.0, 82.0, 90.0, 97.0, 104.0, 110.0, 135.0)
HAIRLINE_ROWS = (121.0, 122.0, 131.0, 148.0, 176.0, 205.0, 232.0, 250.0, 262.0)


def hairiness(points: Reals, *, recession: float = 0.0) -> Reals:
    """How deep roots (n, 3) lie within the hair, in pixels from its edge, negative on the face and neck.

    recession: pixels by which the corners of the forehead are bare.
    """
    across, down, near = np.abs(points[:, 0] - CENTRE[0]), points[:, 1], points[:, 2]
    rows = np.interp(across, HAIRLINE_ACROSS, HAIRLINE_ROWS)
    corner = np.exp(-(((across - 58.0) / 26.0) ** 2))
    front = rows - recession * (0.35 + corner) * (across < 92.0) - down
    behind = np.where(near > -EAR_DEPTH, EAR_ROWS[0] - 4.0, NAPE_ROW) - down
    return np.where(near > EAR_DEPTH, front, np.minimum(behind, 60.0))


def body_front(points: Reals) -> Reals:
    """The z of head, ears, neck and shoulders at points (..., 3): what lies before it hides them."""
    across, down = points[..., 0] - CENTRE[0], points[..., 1] - CENTRE[1]
    inside = 1.0 - (across / HALF_WIDTH) ** 2 - (down / np.where(down < 0, ABOVE, BELOW + 40.0)) ** 2
    z = np.where(inside > 0, TO_FRONT * np.sqrt(np.clip(inside, 0.0, 1.0)), -60.0)
    rows = points[..., 1]
    ear = ((np.abs(across) - 118.0) / 17.0) ** 2 + ((rows - 280.0) / 46.0) ** 2 < 1.0
    z = np.where(ear, np.maximum(z, EAR_DEPTH), z)
    neck = (np.abs(across) < NECK_HALF_WIDTH) & (rows > NECK_ROW)
    z = np.where(neck, np.maximum(z, NECK_Z), z)
    return np.where(rows > SHOULDER_ROW, np.maximum(z, -20.0), z)


# --------------------------------------------------------------------------------------------------
# Styles: where roots are, how long strands grow and whither they are combed.
# --------------------------------------------------------------------------------------------------

Comb = Callable[[Reals, Reals], Reals]
"""Directions (n, 3) that strands at points (n, 3) with roots (n, 3) are combed in."""


@dataclass(frozen=True)
class Haircut:
    """How one style is grown; lengths in canvas pixels, of which a head is some 255 wide."""

    comb: Comb
    length: Callable[[Reals], Reals]
    """Length of the strands of roots (n, 3)."""
    volume: Callable[[Reals], Reals]
    """How far the outermost strands of points (n, 3) stand off the head."""
    strands: int = 24000
    density: Callable[[Reals], Reals] = field(default=lambda roots: np.ones(len(roots)))
    recession: float = 0.0
    fade: float = 9.0
    """Pixels over which the hairline thins out."""
    gravity: float = 0.0
    cling: float = 0.5
    stiffness: float = 0.6
    lift: float = 0.6
    """How steeply strands leave the scalp."""
    rise: float | None = None
    """Pixels of a strand's length after which it stands off the head; None is soon."""
    cut: float | None = None
    """Row at which hanging hair is cut off."""
    guides: int = 2000
    steps: int = 40
    """Points of a strand."""
    part: float | None = None
    """x of the parting from which strands keep to their side, off the face."""
    clump: float = 0.5
    frizz: float = 1.0
    curl: tuple[float, float] = (0.0, 20.0)
    """Radius and length of a coil."""
    opacity: float = 1.0
    shine: float = 1.0
    shadow: float = 1.0
    """Share that is kept of what is darker than the front."""
    filled: bool = True
    """Whether hair is dense enough to hide the scalp."""


def _tangent(points: Reals, wanted: Reals) -> Reals:
    outward = normals(points)
    return unit(wanted - (wanted * outward).sum(-1, keepdims=True) * outward)


DOWN = np.array([0.0, 1.0, 0.0])


def comb_back(points: Reals, roots: Reals) -> Reals:
    """From the hairline to the back of the head."""
    return _tangent(points, np.array([CENTRE[0], 165.0, -TO_BACK]) - points)


def comb_up(points: Reals, roots: Reals) -> Reals:
    """Top: up, back and over to one side from a side parting; sides: down and back."""
    across = (roots[:, 0] - CENTRE[0]) / HALF_WIDTH
    top = np.clip((150.0 - roots[:, 1]) / 40.0, 0.0, 1.0)[:, None]
    over = np.stack([0.55 + 0.5 * across, np.full(len(roots), -0.7), np.full(len(roots), -0.55)], axis=-1)
    aside = np.stack([0.15 * across, np.ones(len(roots)), np.full(len(roots), -0.75)], axis=-1)
    return _tangent(points, unit(over) * top + unit(aside) * (1.0 - top))


def comb_from(part: float, *, fall: float) -> Comb:
    """Away from a parting at x = part, and down the sides."""

    def comb(points: Reals, roots: Reals) -> Reals:
        side = np.where(roots[:, 0] < part, -1.0, 1.0)
        near = np.clip(1.0 - np.abs(points[:, 0] - CENTRE[0]) / HALF_WIDTH, 0.0, 1.0)
        wanted = np.stack([side * near * 1.2, fall * (1.15 - near), -0.28 * near], axis=-1)
        hanging = np.clip((points[:, 1] - 175.0) / 40.0, 0.0, 1.0)[:, None]
        return unit(_tangent(points, wanted) * (1.0 - hanging) + DOWN * hanging)

    return comb


def comb_out(points: Reals, roots: Reals) -> Reals:
    """Straight out, a little down."""
    return unit(normals(roots) + 0.25 * DOWN)


def _top_sides(top: float, sides: float) -> Callable[[Reals], Reals]:
    """Longer on the top than on the sides."""

    def of(points: Reals) -> Reals:
        share = np.clip((160.0 - points[:, 1]) / 70.0, 0.0, 1.0)
        share = share * share * (3.0 - 2.0 * share)
        return np.asarray(sides + (top - sides) * share)

    return of


def _even(pixels: float) -> Callable[[Reals], Reals]:
    return lambda points: np.full(len(points), pixels)


def _thin_top(roots: Reals) -> Reals:
    """Density of a man's hair that has receded: full at the sides, little on the top."""
    top = np.clip((140.0 - roots[:, 1]) / 34.0, 0.0, 1.0)
    return np.asarray(1.0 - 0.86 * top)


STYLES: dict[str, Haircut] = {
    "short": Haircut(
        comb_up, _top_sides(52.0, 14.0), _top_sides(26.0, 5.0), clump=0.55, frizz=2.2, cling=0.3, stiffness=0.7,
        steps=16,
    ),
    "medium": Haircut(
        comb_from(249.0, fall=1.0), _even(330.0), _top_sides(15.0, 14.0), gravity=0.5, cling=0.0, clump=0.6, frizz=2.5,
        lift=0.1, rise=26.0, part=249.0, cut=376.0, strands=14000, opacity=1.5,
    ),
    "tied": Haircut(
        comb_back, _even(150.0), _even(8.0), cling=0.9, clump=0.05, frizz=0.3, strands=30000, fade=18.0, lift=0.0,
        rise=20.0, steps=20, guides=3000,
    ),
    "long": Haircut(
        comb_from(252.0, fall=1.0), _even(640.0), _top_sides(14.0, 15.0), gravity=0.5, cling=0.0, clump=0.65, frizz=6.0,
        lift=0.1, rise=30.0, part=252.0, strands=12000, opacity=1.7, steps=48,
    ),
    "curly": Haircut(
        comb_out, _even(48.0), _even(30.0), curl=(6.0, 17.0), clump=0.92, guides=1500, frizz=4.0, cling=0.0,
        gravity=0.2, shine=0.7, steps=44, strands=20000, shadow=0.4,
    ),
    "shaved": Haircut(
        comb_up, _even(2.6), _even(1.0), strands=42000, fade=13.0, clump=0.0, frizz=0.0, opacity=0.5, filled=False,
        shine=0.2, steps=4,
    ),
    "receding": Haircut(
        comb_up, _top_sides(26.0, 14.0), _top_sides(5.0, 6.0), density=_thin_top, recession=34.0, fade=22.0, clump=0.4,
        cling=0.8, filled=False, steps=16,
    ),
}  # fmt: skip
DECODER_STYLES = (BALD, *STYLES)


# --------------------------------------------------------------------------------------------------
# Growth: guides are simulated, many more strands follow their nearest ones.
# --------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Strands:
    """Curves (strands, steps, 3) and, for each strand, its layer in [0, 1], innermost first."""

    points: Reals
    layer: Reals


def grow(style: Haircut, roots: Reals, layer: Reals) -> Reals:
    """Curves (roots, steps, 3) of guides: combed, stiff, falling, held between scalp and the volume's surface."""
    point = roots.copy()
    step = style.length(roots) / (style.steps - 1)
    way = unit(normals(roots) * style.lift + style.comb(roots, roots))
    curve = [point]
    for number in range(1, style.steps):
        wanted = unit(style.comb(point, roots) * (1.0 - style.gravity) + DOWN * style.gravity)
        way = unit(style.stiffness * way + (1.0 - style.stiffness) * wanted)
        point = point + way * step[:, None]
        soon = 0.7 * style.volume(point) + 1.0 if style.rise is None else style.rise
        rise = 1.0 - np.exp(-number * step / soon)
        least = 1.0 + layer * style.volume(point) * rise / HALF_WIDTH
        here = height(point)
        goal = np.where(here < least, least, here + style.cling * (least - here))
        point = CENTRE + (point - CENTRE) * (goal / here)[:, None]
        curve.append(point)
    return np.stack(curve, axis=1)


def strands_of(style: Haircut, generator: np.random.Generator) -> Strands:
    """All strands of a style."""
    roots = scalp(even_directions(style.strands * 2))
    roots = roots + generator.normal(size=roots.shape) * 1.2
    roots = CENTRE + (roots - CENTRE) / height(roots)[:, None]
    roots = roots.astype(np.float32)
    depth = hairiness(roots, recession=style.recession) + generator.normal(size=len(roots)) * 1.8
    present = np.clip(depth / style.fade, 0.0, 1.0) * style.density(roots)
    kept = generator.uniform(size=len(roots)) < present
    kept &= (roots[:, 2] > -60.0) | (style.length(roots) > 100.0)
    roots, depth = roots[kept], depth[kept]
    layer = generator.uniform(size=len(roots)) ** 0.7
    chosen = generator.choice(len(roots), size=min(style.guides, len(roots)), replace=False)
    guides = grow(style, roots[chosen], layer[chosen]).astype(np.float32)
    curves, nearest = _follow(style, guides, chosen, roots, layer)
    curves = _resample(curves, _stops(style, curves, layer, depth, generator))
    along = np.linspace(0.0, 1.0, style.steps, dtype=np.float32)[None, :, None]
    curves += _wander(generator, curves.shape) * style.frizz * along
    if style.curl[0]:
        curves += _coils(style, generator, curves, nearest)
    if style.part is not None:
        curves = _off_the_face(curves, style.part, generator.exponential(5.0, size=(len(roots), 1)))
    here = height(curves)
    curves = CENTRE + (curves - CENTRE) * (np.maximum(here, 1.0 + 0.4 / HALF_WIDTH) / here)[..., None]
    return Strands(curves, layer)


def _follow(
    style: Haircut, guides: Reals, chosen: NDArray[np.intp], roots: Reals, layer: Reals
) -> tuple[Reals, NDArray[np.intp]]:
    """Curves (n, steps, 3) from roots (n, 3) along the guides of the chosen ones, and each one's nearest guide, (n,).

    Strands follow the guides near in root and layer, part of the way the nearest alone: they clump.
    """
    # guides beyond a parting lead the other way
    side = np.zeros(len(roots)) if style.part is None else 1e3 * (roots[:, 0] < style.part)
    alike = np.c_[roots, 26.0 * layer, side]
    apart, places = cKDTree(alike[chosen]).query(alike, k=3)
    share = 1.0 / (apart + 2.0) ** 2
    share /= share.sum(1, keepdims=True)
    own = np.zeros((len(roots), style.steps, 3), np.float32)
    for k in range(3):
        own += share[:, k, None, None] * (guides[places[:, k]] - guides[places[:, k], :1])
    curves = roots[:, None] + own
    clumped = guides[places[:, 0]] + (roots - guides[places[:, 0], 0])[:, None] * 0.12
    along = np.linspace(0.0, 1.0, style.steps, dtype=np.float32)[None, :, None]
    curves += style.clump * along**1.2 * (clumped - curves)
    return curves, places[:, 0]


def _stops(style: Haircut, curves: Reals, layer: Reals, depth: Reals, generator: np.random.Generator) -> Reals:
    """Share of its length that each strand has, (n, 1, 1): cut off at a row, or by chance, less at the hairline."""
    stop = np.clip(generator.normal(1.0, 0.12, size=len(curves)), 0.6, 1.2)[:, None, None]
    if style.cut is not None:
        row = style.cut + generator.normal(0.0, 5.0, size=(len(curves), 1)) - 10.0 * (1.0 - layer[:, None])
        stop = np.clip((curves[..., 1] < row).sum(1) / (style.steps - 1), 0.1, 1.0)[:, None, None]
    elif style.length(curves[:, 0]).max() < 100:
        stop = stop * (0.45 + 0.55 * np.clip(depth / 18.0, 0.0, 1.0))[:, None, None]
    return np.clip(stop, 0.0, 1.0)


FACE_ROWS = (118.0, 126.0, 138.0, 152.0, 180.0, 212.0, 260.0, 330.0, 380.0, 430.0)
FACE_ACROSS = (0.0, 40.0, 66.0, 82.0, 94.0, 102.0, 106.0, 102.0, 96.0, 90.0)


def _off_the_face(curves: Reals, part: float, margin: Reals) -> Reals:
    """Curves (n, steps, 3) before the head moved to the side that their roots are on, as far as the face and more."""
    side = np.where(curves[:, :1, 0] < part, -1.0, 1.0)
    across = (curves[..., 0] - CENTRE[0]) * side
    least = np.interp(curves[..., 1], FACE_ROWS, FACE_ACROSS)
    least = (least + margin * np.clip(least / 60.0, 0.0, 1.0)) * np.clip(curves[..., 2] / 20.0 + 1.0, 0.0, 1.0)
    moved = curves.copy()
    moved[..., 0] = CENTRE[0] + side * np.where((across < least) & (least > 0), least - 0.05 * (least - across), across)
    return moved


def _resample(curves: Reals, stop: Reals) -> Reals:
    """Each curve (n, steps, 3) up to a share of its length (n, 1, 1)."""
    steps = curves.shape[1]
    where = (stop[:, :, 0] * np.arange(steps)[None]).astype(np.float32)
    low = np.minimum(where.astype(int), steps - 2)
    part = (where - low)[..., None].astype(np.float32)
    rows = np.arange(len(curves))[:, None]
    return np.asarray(curves[rows, low] * (1 - part) + curves[rows, low + 1] * part)


def _wander(generator: np.random.Generator, shape: tuple[int, ...]) -> Array:
    """Smooth random displacements (strands, steps, 3) of about one pixel: a few random waves along each strand."""
    along = np.linspace(0.0, 1.0, shape[1], dtype=np.float32)
    waves = np.stack([np.sin(np.pi * (k + 0.5) * along) / (k + 1) for k in range(5)])  # (waves, steps)
    amounts = generator.normal(size=(shape[0], 3, len(waves))).astype(np.float32)
    return np.asarray((amounts @ waves).transpose(0, 2, 1), dtype=np.float32)


def _coils(style: Haircut, generator: np.random.Generator, curves: Reals, guide: NDArray[np.intp]) -> Reals:
    """Displacements (n, steps, 3) that wind strands into coils; strands of one guide wind together."""
    radius, pitch = style.curl
    phases = generator.uniform(0.0, 2 * np.pi, size=style.guides)[guide] + generator.normal(size=len(guide)) * 0.35
    turn = generator.choice([-1.0, 1.0], size=style.guides)[guide]
    pace = generator.uniform(0.75, 1.35, size=style.guides)[guide]
    length = np.linalg.norm(np.diff(curves, axis=1), axis=-1).cumsum(1)
    length = np.concatenate([np.zeros((len(curves), 1)), length], axis=1)
    angle = phases[:, None] + turn[:, None] * pace[:, None] * length * (2 * np.pi / pitch)
    along = np.gradient(curves, axis=1)
    first = unit(np.cross(along, np.array([0.3, 0.2, 1.0])))
    second = unit(np.cross(along, first))
    grown = np.clip(length / 10.0, 0.0, 1.0)[..., None]
    return np.asarray(radius * grown * (np.cos(angle)[..., None] * first + np.sin(angle)[..., None] * second))


# --------------------------------------------------------------------------------------------------
# Light and paint: strands back to front, at twice the size.
# --------------------------------------------------------------------------------------------------

FINER = 2
SLICES = 40
LIGHT = np.array([0.12, -0.72, 0.68]) / np.linalg.norm([0.12, -0.72, 0.68])
HALFWAY = (LIGHT + np.array([0.0, 0.0, 1.0])) / np.linalg.norm(LIGHT + np.array([0.0, 0.0, 1.0]))


DARKEST_TONE = -0.75  # deeper shadows would be black holes in dark hair


@dataclass(frozen=True)
class HairLayers:
    """What one style is in the decoder, (SIZE, SIZE) each."""

    front: Array
    """Matte before the face, in [0, 1]."""
    back: Array
    """Matte behind head, neck and shirt, in [0, 1]."""
    tone: Array
    """Tones around the hair's colour, 0 in the mean."""
    shade: Array
    """Tones that hair takes from the skin and cloth under it, at most 0."""


def tones_of(style: Haircut, strands: Strands, generator: np.random.Generator) -> Reals:
    """Tones (strands, steps) by Kajiya and Kay (1989), less where strands lie deep or turn away."""
    along = unit(np.gradient(strands.points, axis=1))
    outward = normals(strands.points)
    shift = generator.normal(0.0, 0.12, size=len(along))[:, None, None]
    tilted = unit(along + shift * outward)
    facing = np.clip(0.5 + 0.5 * (outward @ LIGHT), 0.0, 1.0)
    diffuse = np.sqrt(np.clip(1.0 - (along @ LIGHT) ** 2, 0.0, 1.0))
    shine = np.sqrt(np.clip(1.0 - (tilted @ HALFWAY) ** 2, 0.0, 1.0))
    bright = 0.40 + 0.45 * facing * diffuse + style.shine * facing * (0.26 * shine**10 + 0.30 * shine**80)
    deep = 0.62 + 0.38 * strands.layer[:, None]
    below = 1.0 - 0.5 * np.clip((strands.points[..., 1] - 215.0) / 130.0, 0.0, 1.0) * (strands.points[..., 2] < 20.0)
    root = 0.80 + 0.20 * np.clip(
        np.linspace(0.0, 1.0, style.steps) * style.length(strands.points[:, 0])[:, None] / 16.0, 0, 1
    )
    jitter = np.exp(generator.normal(0.0, 0.16, size=len(along)))[:, None]
    return np.asarray(np.log(bright * deep * below * root * jitter))


def paint(points: Array, tones: Array, weight: Array, *, opacity: float) -> tuple[Reals, Reals]:
    """Premultiplied tones and matte (SIZE, SIZE) of samples (n, 3) with tones (n,) and weights (n,), back to front."""
    size = SIZE * FINER
    x, y = ((points[:, :2] + 0.5) * FINER - 0.5).T
    inside = (x > 0) & (y > 0) & (x < size - 1.01) & (y < size - 1.01)
    x, y, near, lit, weight = x[inside], y[inside], points[inside, 2], tones[inside], weight[inside]
    left, top = x.astype(np.int32), y.astype(np.int32)
    right, low, place = x - left, y - top, top * size + left
    slices = np.searchsorted(
        np.quantile(near[:: max(1, len(near) // 20000)], np.linspace(0, 1, SLICES + 1)[1:-1]), near
    )
    order = np.argsort(slices, kind="stable")
    ends = np.cumsum(np.bincount(slices, minlength=SLICES))
    matte, value = np.zeros(size * size), np.zeros(size * size)
    for part in np.split(order, ends[:-1]):
        cover, bright = np.zeros(size * size), np.zeros(size * size)
        here, r, d, w = place[part], right[part], low[part], weight[part]
        for step, share in (
            (0, (1 - r) * (1 - d)), (1, r * (1 - d)), (size, (1 - r) * d), (size + 1, r * d),
        ):  # fmt: skip
            cover += np.bincount(here + step, share * w, minlength=size * size)
            bright += np.bincount(here + step, share * w * lit[part], minlength=size * size)
        opaque = 1.0 - np.exp(-opacity * cover)
        matte = opaque + (1.0 - opaque) * matte
        value = opaque * bright / (cover + 1e-9) + (1.0 - opaque) * value
    blocks = (SIZE, FINER, SIZE, FINER)
    return value.reshape(blocks).mean((1, 3)), matte.reshape(blocks).mean((1, 3))


def draw(name: str, *, seed: int = 0) -> HairLayers:
    """Grow and paint one style."""
    style = STYLES[name]
    generator = np.random.default_rng([seed, *name.encode()])
    strands = strands_of(style, generator)
    tones = tones_of(style, strands, generator)
    length = np.linalg.norm(np.diff(strands.points[..., :2], axis=1), axis=-1).sum(1)
    count = int(np.ceil(np.quantile(length, 0.95) * FINER / 1.5)) + 2
    where = np.linspace(0.0, style.steps - 1.001, count)
    low = where.astype(int)
    part = (where - low).astype(np.float32)[None, :, None]
    curves, tones = strands.points.astype(np.float32), tones.astype(np.float32)
    points = curves[:, low] * (1 - part) + curves[:, low + 1] * part
    lit = tones[:, low] * (1 - part[..., 0]) + tones[:, low + 1] * part[..., 0]
    taper = np.clip((1.0 - where / (style.steps - 1)) * 4.0, 0.15, 1.0)
    weight = (np.clip(length / count * FINER, 0.02, 2.0)[:, None] * taper[None]).astype(np.float32)
    points, lit, weight = points.reshape(-1, 3), lit.ravel(), weight.ravel()
    kept = points[:, 1] < SIZE
    points, lit, weight = points[kept], lit[kept], weight[kept]
    flat = points[:, 2] > body_front(points) - 3.0
    ahead, front = paint(points[flat], lit[flat], weight[flat], opacity=0.9 * style.opacity)
    after, back = paint(points[~flat], lit[~flat], weight[~flat], opacity=0.9)
    return _layers(style, ahead, front, after, back)


def _layers(style: Haircut, ahead: Reals, front: Reals, after: Reals, back: Reals) -> HairLayers:
    """Mattes without holes and one plane of tones for both."""
    if style.filled:
        front, ahead = _fill(front, ahead)
    back, after = _fill(back, after)
    back = _joined(front, back)
    seen = front + (1.0 - front) * back
    tone = (ahead + (1.0 - front) * after) / np.maximum(seen, 1e-6)
    known = seen > 0.05
    nearest = ndimage.distance_transform_edt(~known, return_distances=False, return_indices=True)
    tone = tone[nearest[0], nearest[1]]  # beyond the edge tones go on, so that a warp finds no other ones there
    tone = tone - (tone * front).sum() / max(front.sum(), 1e-6)
    tone = np.maximum(tone * np.where(tone < 0, style.shadow, 1.0), DARKEST_TONE)
    below = np.roll(ndimage.gaussian_filter(front, 5.0), 4, axis=0)
    shade = -0.42 * np.clip(below * 1.6, 0.0, 1.0)
    return HairLayers(
        front.astype(np.float32), back.astype(np.float32), tone.astype(np.float32), shade.astype(np.float32)
    )


def _joined(front: Reals, back: Reals) -> Reals:
    """The matte behind, going on under the one before it, so that no ground shines through between the two."""
    near = np.clip(4.0 * ndimage.gaussian_filter(back, 3.0) - 0.4, 0.0, 1.0)
    return np.asarray(np.maximum(back, front * near))


def _fill(matte: Reals, value: Reals) -> tuple[Reals, Reals]:
    """Close the gaps between strands within hair, darkly; its edge stays as it was painted."""
    dense = ndimage.gaussian_filter(matte, 5.0)
    under = np.clip((dense - 0.42) / 0.2, 0.0, 1.0)
    full = matte + (1.0 - matte) * under
    smooth = ndimage.gaussian_filter(value, 5.0) / np.maximum(dense, 1e-3)
    return full, value + (full - matte) * (smooth - 0.25)


# --------------------------------------------------------------------------------------------------
# Colour, linear in the face embedding, and how frequent each style is.
# --------------------------------------------------------------------------------------------------

COLOUR_GAIN = 3.0  # averages of brown, black, red and fair hair are greyer than any of them; set by eye
DARKER = 0.22  # tones: the region's photographs show shine and scalp, strands bring their own shine; set by eye
CHANGE_GAIN = 1.6  # of what sets groups and faces apart, which averages mute less
INNER_HAIR_PIXELS = 12.0  # this deep inside the outline photographs show hair alone, no ground through it


def hair_colour(
    model: FaceModel, faces: Faces, synthetic: Synthetic, basis: AttributeBasis, regions: Regions
) -> dict[str, Array]:
    """Luma, red and blue tones of hair in the model fitted to photographs, before it ages: the decoder's buffers.

    Means over the region of hair are linear as the textures are, so they are the regression of its colour.
    """
    inner = regions.hair * np.clip((model.matte_depth - INNER_HAIR_PIXELS) / 4.0, 0.0, 1.0)
    half = inner[::2, ::2]

    def mean(luma: Array, chroma: Array) -> Array:
        tones = (luma * inner).sum((-2, -1)) / inner.sum()
        return np.concatenate([tones[..., None], (chroma * half).sum((-2, -1)) / half.sum()], axis=-1)

    def vivid(colour: Array, gain: float) -> Array:
        return colour * np.array([1.0, gain, gain], np.float32)

    attributes = mean(model.attribute_luma, model.attribute_chroma)
    attributes[[basis.names.index(name) for name in ("young", "young_femininity")]] = 0.0  # eight people over 40
    residuals = mean(model.residual_luma, model.residual_chroma)
    grey = np.zeros(len(attributes) + len(residuals), np.float32)
    grey[[basis.names.index(name) for name in AGEING]] = hair_greying(basis)
    return {
        "hair_colour": vivid(mean(model.mean_luma, model.mean_chroma), COLOUR_GAIN)
        - np.array([DARKER, 0.0, 0.0], np.float32),
        "hair_colour_basis": vivid(np.concatenate([attributes, residuals]), CHANGE_GAIN),
        "hair_grey_basis": grey,
        "hair_white": white_hair(faces, synthetic),
    }


def stored_layers(layers: list[HairLayers], *, back_size: int, shade_size: int) -> dict[str, NDArray[np.uint8]]:
    """Layers of all styles but the bald one as the decoder's bytes."""

    def shrunk(plane: Array, size: int) -> Array:
        factor = SIZE // size
        return np.asarray(plane.reshape(size, factor, size, factor).mean((1, 3)))

    def stored(planes: list[Array]) -> NDArray[np.uint8]:
        return np.clip(np.rint(np.stack(planes)), 0, 255).astype(np.uint8)

    return {
        "hair_front": stored([layer.front * 255 for layer in layers]),
        "hair_tone": stored([layer.tone * TONE_STEPS + TONE_ZERO for layer in layers]),
        "hair_back": stored([shrunk(layer.back, back_size) * 255 for layer in layers]),
        "hair_shade": stored([shrunk(-layer.shade, shade_size) * SHADE_STEPS for layer in layers]),
    }
