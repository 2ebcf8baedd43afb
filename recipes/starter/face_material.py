"""The photographs of the starter set, read and brought to the canvas of the face model."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from speech2face.data.sources import read_table
from speech2face.face.appearance import (
    Points,
    Similarity,
    border_points,
    fit_similarity,
    generalised_procrustes,
    pixel_grid,
    spline_map,
)
from speech2face.face.landmarks import HAND_PLACED_COUNT as COUNT
from speech2face.face.landmarks import HEAD_TEMPLATE, INNER_FACE, close_mouths, mirror, mirror_pairs, place_mesh

SIZE = 512  # pixels of the canvas and of the portrait, both ways
LONDON_PIXELS = 675  # photographs of 1350 pixels are read at half size: about one pixel for one of the canvas
CROP_LEFT, CROP_TOP, CROP_PIXELS = 152.5, 105.0, 1044.0  # of the mean 1350-pixel photograph: hair to collar


@dataclass(frozen=True)
class Faces:
    """Photographs with what is known of them; index n is one person throughout."""

    names: tuple[str, ...]
    pictures: tuple[NDArray[np.float32], ...]
    """sRGB in [0, 1], (height, width, 3) each."""
    landmarks: Points
    """(faces, landmarks, 2) in pixels of the pictures."""
    age: NDArray[np.float64]
    """Years; NaN where not given."""
    femininity: NDArray[np.float64]
    group: tuple[str, ...]
    trust: NDArray[np.float64]
    """In (0, 1]: how much each picture counts."""
    generator: NDArray[np.float64]
    """Which set a picture is of, 0 or 1: their generators have habits of their own."""


def _read_picture(path: Path, pixels: int) -> NDArray[np.float32]:
    with Image.open(path) as stored:
        picture = stored.convert("RGB")
        if picture.size != (pixels, pixels):
            picture = picture.resize((pixels, pixels), Image.Resampling.LANCZOS)
        return np.asarray(picture, dtype=np.float32) / 255.0


def _read_table(folder: Path) -> tuple[list[dict[str, str]], Points, float]:
    """Rows of faces.csv, their landmarks, and the width in pixels these are measured in."""
    table = read_table(str(folder / "faces.csv"), needed=("face", "file"))
    rows = [{name: row.get(name) for name in row.columns} for row in table]
    marks = json.loads((folder / "landmarks.json").read_text(encoding="utf-8"))
    return rows, np.array([marks["landmarks"][row["face"]] for row in rows], dtype=np.float64), marks["image_size"][0]


def read_london(starter: Path) -> Faces:
    """The Face Research Lab London Set with its 189 landmarks."""
    folder = starter / "faces"
    rows, landmarks, width = _read_table(folder)
    return Faces(
        names=tuple(row["face"] for row in rows),
        pictures=tuple(_read_picture(folder / row["file"], LONDON_PIXELS) for row in rows),
        landmarks=(landmarks + 0.5) * (LONDON_PIXELS / width) - 0.5,
        age=np.array([float(row["age"] or "nan") for row in rows]),
        femininity=np.array([float(row["gender"] == "female") for row in rows]),
        group=tuple(row["ethnicity"] for row in rows),
        trust=np.ones(len(rows)),
        generator=np.zeros(len(rows)),
    )


OLDER_FOLDER, YOUNGER_FOLDER = "faces_synthetic", "faces_synthetic2"
TWICE = "s055"  # the same picture as s052
OLDER_TRUST = 0.8  # nobody has labelled that set's quality
TRUST = {"1": 0.35, "2": 0.7, "3": 1.0}  # of the quality that was seen
TURNED_DEGREES = 8.0  # a head turned this far aside counts a third as much: its texture is half hidden


def _trust(row: dict[str, str]) -> float:
    if "quality" not in row:
        return OLDER_TRUST
    return float(TRUST[row["quality"]] * np.exp(-((float(row["yaw"]) / TURNED_DEGREES) ** 2)))


def read_synthetic(starter: Path) -> Faces:
    """Generated faces with 468 mesh points, most of the old ones from one set; ages are a network's guess."""
    rows, landmarks, pictures = [], [], []
    for name in (OLDER_FOLDER, YOUNGER_FOLDER):
        found, marks, width = _read_table(starter / name)
        kept = [place for place, row in enumerate(found) if row["face"] != TWICE]
        rows += [found[place] for place in kept]
        landmarks.append(marks[kept])
        pictures += [_read_picture(starter / name / found[place]["file"], int(width)) for place in kept]
    return Faces(
        names=tuple(row["face"] for row in rows),
        pictures=tuple(pictures),
        landmarks=np.concatenate(landmarks),
        age=np.array([float(row["predicted_age"]) for row in rows]),
        femininity=np.array([float(row.get("gender_seen", row["predicted_gender"]) == "female") for row in rows]),
        group=tuple(row.get("group_seen", "unknown") for row in rows),
        trust=np.array([_trust(row) for row in rows]),
        generator=np.array([float("quality" in row) for row in rows]),
    )


def to_canvas(london_points: Points) -> Points:
    """London pixels (of the half-size pictures) in the mean position to pixels of the canvas."""
    full = (london_points + 0.5) * 2.0 - 0.5
    return np.asarray((full - np.array([CROP_LEFT, CROP_TOP]) + 0.5) * (SIZE / CROP_PIXELS) - 0.5)


def sample(picture: NDArray[np.float32], points: Points) -> NDArray[np.float32]:
    """Bicubic values of a picture (height, width, channels) at points (..., 2), edges repeated: (..., channels)."""
    import torch
    from torch.nn.functional import grid_sample

    height, width = picture.shape[:2]
    extent = np.array([width, height])
    where = torch.from_numpy(((points + 0.5) * 2.0 / extent - 1.0).astype(np.float32)).reshape(1, 1, -1, 2)
    plane = torch.from_numpy(np.ascontiguousarray(picture)).permute(2, 0, 1)[None]
    found = grid_sample(plane, where, mode="bicubic", padding_mode="border", align_corners=False)
    return np.asarray(found[0, :, 0].T.numpy().reshape(*points.shape[:-1], picture.shape[2]))


# --------------------------------------------------------------------------------------------------
# Synthetic faces on the mean shape of the London set.
# --------------------------------------------------------------------------------------------------

Array = NDArray[np.float32]


@dataclass(frozen=True)
class Synthetic:
    """Synthetic faces on the mean shape."""

    mesh: Points
    """(468, 2): the mean mesh laid onto the London mean, canvas pixels"""
    displacements: Points
    """(faces, 468, 2)"""
    luma: Array
    """(faces, SIZE, SIZE), tones"""
    chroma: Array
    """(faces, 2, SIZE / 2, SIZE / 2)"""


def place_synthetic(faces: Faces, landmarks: Points, landmark_pairs: NDArray[np.intp]) -> Synthetic:
    """Warp the synthetic faces onto the London set's mean landmarks (189, 2), canvas pixels."""
    mesh, displacements = place_mesh(faces.landmarks, landmarks, landmark_pairs=landmark_pairs, size_pixels=SIZE)
    fixed = border_points(SIZE, margin_pixels=MARGIN_PIXELS, per_side=6)
    spline = spline_map(mesh, pixel_grid(SIZE, FLOW_NODES), fixed=fixed, stiffness=1e-3)
    luma = np.empty((len(faces.names), SIZE, SIZE), np.float32)
    chroma = np.empty((len(faces.names), 2, SIZE // 2, SIZE // 2), np.float32)
    grid = pixel_grid(SIZE, SIZE).reshape(SIZE, SIZE, 2)
    for face, picture in enumerate(faces.pictures):
        to_picture = fit_similarity(mesh, faces.landmarks[face])
        moved = to_picture.inverse().apply(faces.landmarks[face]) - mesh
        where = to_picture.apply(grid + upsample_flow(spline @ moved))
        luma[face], chroma[face] = split(to_tone(sample(picture, where)))
    return Synthetic(mesh, displacements, luma, chroma)


# --------------------------------------------------------------------------------------------------
# Control points of the face model: hand-placed landmarks, then the outline of hair, head, neck and shoulders.
# Averaging pictures whose hair ends in different places draws a halo; with the outline among the landmarks every
# outline lies on the mean outline before anything is averaged.
# --------------------------------------------------------------------------------------------------

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


# --------------------------------------------------------------------------------------------------
# Cut the person of a photograph out of its plain ground, and measure the outline of head and shoulders.
# --------------------------------------------------------------------------------------------------

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


# --------------------------------------------------------------------------------------------------
# Textures on the mean shape, in the tone scale and the colour channels of the face model.
# --------------------------------------------------------------------------------------------------

TONE_OFFSET = 0.08  # tone = log(sRGB + offset): products of skin and light become sums, black stays finite
LUMA = np.array([0.30, 0.59, 0.11], dtype=np.float32)
CHROMA_SIZE = SIZE // 2


@dataclass(frozen=True)
class Textures:
    """All faces on the mean shape."""

    luma: NDArray[np.float16]
    """(faces, SIZE, SIZE) tone"""
    chroma: NDArray[np.float16]
    """(faces, 2, CHROMA_SIZE, CHROMA_SIZE): red and blue tone less luma"""
    seen: NDArray[np.float16]
    """(faces, SIZE, SIZE): 1 where the person is, 0 where the ground, ramps between"""


def to_tone(rgb: NDArray[np.float32]) -> NDArray[np.float32]:
    """sRGB in [0, 1] to tones."""
    return np.asarray(np.log(np.clip(rgb, 0.0, 1.0) + TONE_OFFSET))


def split(tone: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Luma (height, width) and chroma (2, height / 2, width / 2) of tones (height, width, 3)."""
    luma = tone @ LUMA
    chroma = np.stack([tone[..., 0] - luma, tone[..., 2] - luma])
    height, width = luma.shape
    return luma, chroma.reshape(2, height // 2, 2, width // 2, 2).mean((2, 4))


def join(luma: NDArray[np.float32], chroma: NDArray[np.float32]) -> NDArray[np.float32]:
    """sRGB (height, width, 3) of luma (height, width) and chroma (2, height / 2, width / 2)."""
    wide = np.stack([ndimage.zoom(plane, 2, order=1, grid_mode=True, mode="nearest") for plane in chroma])
    red, blue = luma + wide[0], luma + wide[1]
    green = (luma - LUMA[0] * red - LUMA[2] * blue) / LUMA[1]
    return np.asarray(np.clip(np.exp(np.stack([red, green, blue], axis=-1)) - TONE_OFFSET, 0.0, 1.0), np.float32)


def london_textures(london: Faces, controls: Controls) -> Textures:
    """Warp every photograph and its matte onto the mean shape."""
    count = len(london.names)
    luma = np.empty((count, SIZE, SIZE), np.float16)
    chroma = np.empty((count, 2, CHROMA_SIZE, CHROMA_SIZE), np.float16)
    seen = np.empty((count, SIZE, SIZE), np.float16)
    for face in range(count):
        where = canvas_points(controls, face)
        picture = sample(london.pictures[face], where)
        luma[face], chroma[face] = split(to_tone(picture))
        inside = ndimage.distance_transform_edt(controls.persons[face]).astype(np.float32)[..., None]
        depth = sample(inside, where)[..., 0]
        seen[face] = np.clip((depth - 1.5) / 2.0, 0.0, 1.0)  # the outermost pixels mix with the ground
    return Textures(luma, chroma, seen)
