"""Cut the person of a photograph out of its plain ground, and measure the outline of head and shoulders."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from speech2face.face.alignment import Points

LIGHTNESS_STEP, COLOUR_STEP = 0.05, 0.02  # differences from the ground that count as one; its own noise is 0.005
HEAD_ANGLES_DEGREES = tuple(range(180, 361, 10))  # from ear to ear over the top, y down
SHOULDER_ANGLES_DEGREES = (190, 180, 170, 160, 152)  # on the left, from the neck down; the right ones mirror them


def fit_ground(picture: NDArray[np.float32]) -> NDArray[np.float32]:
    """The plain, smoothly lit ground as quadratics of position per colour, (height, width, 3)."""
    height, width, _ = picture.shape
    down, across = np.mgrid[0:height, 0:width]
    y, x = down / height - 0.5, across / width - 0.5
    terms = np.stack([np.ones_like(x), x, y, x * x, x * y, y * y], axis=-1)
    # beside the shoulders and above the hair; tall hair is thrown out by the rounds below
    candidate = (y < 0.12) & ((np.abs(x) > 0.30) | (y < -0.44))
    kept = candidate
    ground = picture
    for _ in range(4):
        weights = np.linalg.lstsq(terms[kept][::7], picture[kept][::7], rcond=None)[0]
        ground = (terms @ weights).astype(np.float32)
        rest = np.abs(picture - ground)
        kept = candidate & (rest < 3.0 * np.sqrt((rest[kept] ** 2).mean(0))).all(-1)
    return ground


def cut_out(picture: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Where the person is, (height, width): far from the ground in colour, in one piece, holes filled."""
    rest = picture - fit_ground(picture)
    lightness = rest.mean(-1)
    colour = rest - lightness[..., None]
    distance = np.sqrt((lightness / LIGHTNESS_STEP) ** 2 + ((colour / COLOUR_STEP) ** 2).sum(-1))
    person = ndimage.binary_closing(distance > 1.0, iterations=3)
    person[-2:] |= person[-4:-2].any(0)  # the frame's lower edge closes the body
    person[-1, :] = True  # a white shirt on light grey leaves holes open to the edge
    person = ndimage.binary_fill_holes(person)
    person = ndimage.binary_opening(person, iterations=2)
    pieces, count = ndimage.label(person)
    if count > 1:
        person = pieces == 1 + int(np.argmax(ndimage.sum(person, pieces, range(1, count + 1))))
    return np.asarray(person)


def solid(person: NDArray[np.bool_], radius_pixels: int = 7) -> NDArray[np.bool_]:
    """The person without loose strands of hair."""
    size = np.arange(-radius_pixels, radius_pixels + 1)
    disc = size[:, None] ** 2 + size[None] ** 2 <= radius_pixels**2
    return np.asarray(ndimage.binary_opening(person, structure=disc))


def directions(angles_degrees: tuple[int, ...]) -> Points:
    """Unit vectors (angles, 2) of angles from the x axis, y down."""
    radians = np.deg2rad(np.asarray(angles_degrees, dtype=np.float64))
    return np.stack([np.cos(radians), np.sin(radians)], axis=-1)


def radii(person: NDArray[np.bool_], centre: Points, rays: Points, *, reach_pixels: float, outermost: bool) -> Points:
    """How far the person reaches from a centre (2,) along rays (rays, 2), in pixels, to a quarter of one.

    outermost: the last edge (hair with gaps), else the first (a neck, not the hair beside it).
    """
    steps = np.arange(0.0, reach_pixels, 0.25)
    points = centre + steps[None, :, None] * rays[:, None, :]  # (rays, steps, 2)
    inside = ndimage.map_coordinates(
        ndimage.gaussian_filter(person.astype(np.float32), 1.0), points[..., ::-1].transpose(2, 0, 1), order=1
    )
    inside = inside > 0.5
    if outermost:
        last = inside.shape[1] - 1 - np.argmax(inside[:, ::-1], axis=1)
        return np.asarray(steps[last])
    first = np.where(inside.all(1), inside.shape[1] - 1, np.argmin(inside, axis=1))
    return np.asarray(steps[first])


def replace_outliers(values: Points, *, limit: float = 2.5) -> Points:
    """Values (faces, rays) with those far from their ray's median (in robust spreads) put back to the limit."""
    middle = np.median(values, axis=0)
    spread = 1.4826 * np.median(np.abs(values - middle), axis=0) + 1.0
    return np.where(np.abs(values - middle) > limit * spread, middle, values)
