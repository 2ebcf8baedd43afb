"""Each picture measured once: sharpness, symmetry, brightness, whether a face is found and where it looks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from speech2face.errors import MissingExtra
from speech2face.evaluation.metrics import picture_quality
from speech2face.evaluation.pictures import Kind, PictureSet
from speech2face.evaluation.readers.face_points import FacePointFinder, drawn_points
from speech2face.face.alignment import Points
from speech2face.face.detector import Picture
from speech2face.face.head_pose import head_pose

Floats = NDArray[np.float64]

VECTOR_PIXELS = 48  # side at which pictures are held against each other: finer detail is out of register anyway
FRONTAL_DEGREES = 15.0
MEASURES: dict[str, Callable[[Floats], float]] = {
    "sharpness": picture_quality.sharpness,
    "high_frequency_share": picture_quality.high_frequency_share,
    "symmetry": picture_quality.symmetry,
    "brightness_range": picture_quality.brightness_range,
}
FACE_MEASURES = ("face_found", "turn_degrees", "frontal")


@dataclass(frozen=True, eq=False)
class Measured:
    """What was measured of the pictures of some clips, in the order of the rows asked for."""

    values: dict[str, Floats]
    """By measure, (clips,); NaN where there is no picture, or no face to be measured."""
    vectors: NDArray[np.float32]
    """(clips, D): small pictures in [0, 1]; NaN where there is none."""
    faces: NDArray[np.float32] | None
    """(clips, E): embeddings of the faces found by the embedder; NaN where none was, None without an embedder."""


def measure_kind(pictures: PictureSet, kind: Kind, rows: Sequence[int], *, find_faces: bool) -> Measured:
    """Measure all pictures of one kind."""
    found = [measure_picture(pictures.picture(kind, row)) for row in rows]
    values = {name: np.array([one[0][name] for one in found]) for name in MEASURES}
    if find_faces:
        seen = [_face(pictures, kind, row) for row in rows]
        values |= {name: np.array([one[name] for one in seen]) for name in FACE_MEASURES}
    return Measured(values, np.stack([one[1] for one in found]), _embeddings(pictures, kind, rows))


def measure_picture(picture: Picture | None) -> tuple[dict[str, float], NDArray[np.float32]]:
    """The measures of one picture and its vector (D,); all NaN without one."""
    if picture is None:
        return dict.fromkeys(MEASURES, float("nan")), picture_vector(None)
    grey = picture_quality.luma(picture)
    return {name: measure(grey) for name, measure in MEASURES.items()}, picture_vector(picture)


def measure_alone(picture: Picture, finder: FacePointFinder | None) -> dict[str, float]:
    """All measures of a picture that belongs to no clip, those of its face where a finder is at hand."""
    faces = {} if finder is None else pose_measures(drawn_points(finder, picture))
    return measure_picture(picture)[0] | faces


def picture_vector(picture: Picture | None) -> NDArray[np.float32]:
    """A small copy as numbers in [0, 1], (D,); NaN without a picture."""
    if picture is None:
        return np.full(3 * VECTOR_PIXELS**2, np.nan, np.float32)
    return np.asarray(picture_quality.small(picture, VECTOR_PIXELS) / 255, np.float32).ravel()


def pose_measures(points: Points | None) -> dict[str, float]:
    """Whether there is a face, how many degrees it is turned away, and whether that is under `FRONTAL_DEGREES`."""
    if points is None:
        return {"face_found": 0.0, "turn_degrees": float("nan"), "frontal": float("nan")}
    turn = head_pose(points).turn_degrees
    return {"face_found": 1.0, "turn_degrees": turn, "frontal": float(turn < FRONTAL_DEGREES)}


def faces_can_be_found(pictures: PictureSet) -> bool:
    """Whether the extra that finds faces is installed."""
    try:
        pictures.prepare_faces()
    except MissingExtra:
        return False
    return True


def _face(pictures: PictureSet, kind: Kind, row: int) -> dict[str, float]:
    if pictures.picture(kind, row) is None:
        return dict.fromkeys(FACE_MEASURES, float("nan"))
    return pose_measures(pictures.face_points(kind, row))


def _embeddings(pictures: PictureSet, kind: Kind, rows: Sequence[int]) -> NDArray[np.float32] | None:
    if not pictures.can_embed:
        return None
    found = [pictures.embedding(kind, row) for row in rows]
    size = next((len(one) for one in found if one is not None), 1)
    return np.stack([np.full(size, np.nan, np.float32) if one is None else one for one in found])
