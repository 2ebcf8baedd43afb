"""Control points of the face model: hand-placed landmarks, then the outline of hair, head, neck and shoulders.

Averaging pictures whose hair ends in different places draws a halo; with the outline among the landmarks every
outline lies on the mean outline before anything is averaged.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from speech2face.face.alignment import Points, Similarity, fit_similarity, generalised_procrustes
from speech2face.face.landmarks import COUNT, HEAD_TEMPLATE, INNER_FACE, close_mouths, mirror, mirror_pairs
from speech2face.face.spline import border_points, pixel_grid, spline_map
from speech2face.training.faces_matte import (
    HEAD_ANGLES_DEGREES,
    SHOULDER_ANGLES_DEGREES,
    cut_out,
    directions,
    radii,
    replace_outliers,
    solid,
)
from speech2face.training.faces_photographs import SIZE, Faces, sample, to_canvas

HAND_PLACED = np.array([k for k in range(COUNT) if k not in HEAD_TEMPLATE])
HEAD_CENTRE = np.array([(SIZE - 1) / 2, 195.0])  # canvas pixels; the middle of the forehead
THROAT = np.array([(SIZE - 1) / 2, 445.0])
MARGIN_PIXELS = 64.0
STIFFNESS = 2e-4  # of the spline: below, near-coincident points of iris and lid fold the picture; above, they drift
FLOW_NODES = 128


@dataclass(frozen=True)
class Controls:
    """Control points of all faces on the canvas, and what is needed to look a face up in its photograph."""

    mean: Points
    """(controls, 2), mirror-symmetric, canvas pixels"""
    shapes: Points
    """(faces, controls, 2)"""
    pairs: NDArray[np.intp]
    to_picture: tuple[Similarity, ...]
    persons: tuple[NDArray[np.bool_], ...]
    """Each picture's matte, picture pixels."""
    spline: Points
    """(FLOW_NODES**2, controls): displacements of the controls to those of a grid on the canvas."""


def outline_pairs(first: int) -> NDArray[np.intp]:
    """Mirror partners of the outline's points when these are numbered from first."""
    head = np.arange(len(HEAD_ANGLES_DEGREES))[::-1]
    count = len(SHOULDER_ANGLES_DEGREES)
    shoulders = len(head) + np.roll(np.arange(2 * count), count)
    return first + np.concatenate([head, shoulders])


def _outline(person: NDArray[np.bool_], to_picture: Similarity) -> tuple[Points, Points]:
    """Radii of head and shoulders of one face, canvas pixels."""
    span = np.arange(-MARGIN_PIXELS, SIZE + MARGIN_PIXELS)
    canvas = np.stack(np.meshgrid(span, span), axis=-1)
    seen = solid(sample(person[..., None].astype(np.float32), to_picture.apply(canvas))[..., 0] > 0.5)
    head = radii(seen, HEAD_CENTRE + MARGIN_PIXELS, directions(HEAD_ANGLES_DEGREES), reach_pixels=250, outermost=True)
    rays = _shoulder_rays()
    return head, radii(seen, THROAT + MARGIN_PIXELS, rays, reach_pixels=190, outermost=False)


def _shoulder_rays() -> Points:
    left = directions(SHOULDER_ANGLES_DEGREES)
    return np.concatenate([left, left * np.array([-1.0, 1.0])])


def place_controls(london: Faces) -> Controls:
    """Align the London set and measure its outlines."""
    closed = close_mouths(london.landmarks)
    anchors = np.array(INNER_FACE)
    mean = to_canvas(generalised_procrustes(closed, anchors=anchors)[0])
    partner = mirror_pairs(closed)
    mean = (mean + mirror(mean, partner, SIZE)) / 2
    to_picture = tuple(fit_similarity(mean[anchors], face[anchors]) for face in closed)
    persons = tuple(cut_out(picture) for picture in london.pictures)
    measured = [_outline(person, to) for person, to in zip(persons, to_picture, strict=True)]
    head = replace_outliers(np.stack([head for head, _ in measured]), limit=3.0)
    shoulders = replace_outliers(np.stack([low for _, low in measured]), limit=1.5)  # hair beside the neck
    outline = np.concatenate(
        [
            HEAD_CENTRE + head[..., None] * directions(HEAD_ANGLES_DEGREES),
            THROAT + shoulders[..., None] * _shoulder_rays(),
        ],
        axis=1,
    )
    placed = np.stack([to.inverse().apply(face) for to, face in zip(to_picture, closed, strict=True)])
    shapes = np.concatenate([placed[:, HAND_PLACED], outline], axis=1)
    renumber = np.full(COUNT, -1)
    renumber[HAND_PLACED] = np.arange(len(HAND_PLACED))
    pairs = np.concatenate([renumber[partner[HAND_PLACED]], outline_pairs(len(HAND_PLACED))])
    mean = shapes.mean(0)
    mean = (mean + mirror(mean, pairs, SIZE)) / 2
    return Controls(mean, shapes, pairs, to_picture, persons, canvas_spline(mean))


def as_landmarks(controls: Points) -> Points:
    """Control points (controls, 2) back in the London numbering, (189, 2); template points, unused, are zero."""
    landmarks = np.zeros((COUNT, 2))
    landmarks[HAND_PLACED] = controls[: len(HAND_PLACED)]
    return landmarks


def recentre(controls: Controls, mean: Points) -> Controls:
    """The same faces around another mean shape, the one that textures are to lie on."""
    return replace(controls, mean=mean, spline=canvas_spline(mean))


def canvas_spline(mean: Points) -> Points:
    """The spline from these control points to the canvas's flow grid."""
    fixed = border_points(SIZE, margin_pixels=MARGIN_PIXELS, per_side=6)
    return spline_map(mean, pixel_grid(SIZE, FLOW_NODES), fixed=fixed, stiffness=STIFFNESS)


def upsample_flow(flow: Points) -> NDArray[np.float32]:
    """Displacements on the grid, (FLOW_NODES**2, 2), to every pixel, (SIZE, SIZE, 2)."""
    coarse = flow.reshape(FLOW_NODES, FLOW_NODES, 2).astype(np.float32)
    where = (pixel_grid(SIZE, SIZE) + 0.5) * (FLOW_NODES / SIZE) - 0.5
    return sample(coarse, where).reshape(SIZE, SIZE, 2)


def canvas_points(controls: Controls, face: int) -> Points:
    """Where each pixel of the mean shape lies in a face's photograph, (SIZE, SIZE, 2)."""
    flow = upsample_flow(controls.spline @ (controls.shapes[face] - controls.mean))
    return controls.to_picture[face].apply(pixel_grid(SIZE, SIZE).reshape(SIZE, SIZE, 2) + flow)
