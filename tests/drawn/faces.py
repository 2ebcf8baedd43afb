"""Canonical faces of stated attributes, and 68 points of one of them."""

from functools import cache

import numpy as np
from numpy.typing import NDArray

from speech2face.drawn.contours import face_contours
from speech2face.models.attributes import load_attribute_model

Face = tuple[NDArray[np.uint8], NDArray[np.float32]]


@cache
def canonical_face(age: float, femininity: float, group: int = 0) -> Face:
    """Canonical face (size, size, 3) and landmarks (landmarks, 2) of stated attributes."""
    model = load_attribute_model()
    population = model.release.population
    weights = np.eye(len(model.release.groups))[group]
    embedding = np.zeros(len(model.release.mean_embedding), np.float32)
    embedding[: population.basis.size] = population.basis.design(age, femininity, weights)
    assert model.apparent(embedding) == (age, femininity)
    return model.decode(embedding), model.landmarks(embedding)


def points68(face: Face) -> NDArray[np.float64]:
    """The points of iBUG 300-W of a face whose control points are known, (68, 2), in its pixels."""
    picture, landmarks = face
    c = face_contours(landmarks, picture.shape[1])
    edge = np.concatenate([c.temples[0][:2], c.jaw, c.temples[1][1::-1]])
    places = np.linspace(0, len(edge) - 1, 17)
    jaw = np.stack([np.interp(places, range(len(edge)), edge[:, k]) for k in (0, 1)], axis=1)
    left, right = c.eyes
    middle = np.array([c.centre, (left.iris[1] + right.iris[1]) / 2])
    bridge = np.linspace(middle, [c.centre, c.nose_base[1, 1] - 14], 4)
    nose = np.stack([c.wings[0][1], c.nose_base[0], c.nose_base[1], c.nose_base[2], c.wings[1][1]])
    eyes = [left.upper[[0, 1, 3, 4]], left.lower[[0, 2]], right.upper[[4, 3, 1, 0]], right.lower[[2, 0]]]
    inner = np.concatenate([c.lip_line[[0, 2, 3, 4, 6]], c.lip_line[[4, 3, 2]]])
    brows = [c.brows[0][:5], c.brows[1][4::-1]]
    points = np.concatenate([jaw, *brows, bridge, nose, *eyes, c.upper_lip, c.lower_lip, inner])
    return np.asarray(points * (picture.shape[1] / 512) - 0.5)
