"""Align a face by its eyes, or by eyes, nose and mouth, as the common recognisers expect it."""

from __future__ import annotations

from typing import Literal

import numpy as np

from speech2face.face.alignment import Points, Similarity, fit_similarity
from speech2face.face.detector import FaceBox, Picture, dlib_model, dlib_module

Alignment = Literal["eyes", "five_points"]

TEMPLATE_PIXELS = 112
# Where ArcFace (Deng et al. 2019) and its relatives want them on 112 x 112: the eye on the picture's left, the other
# eye, tip of the nose, the mouth's corner on the left, the other corner; (x, y), pixel centres at integers.
TEMPLATE: Points = np.array(
    [[38.2946, 51.6963], [73.5318, 51.5014], [56.0252, 71.7366], [41.5493, 92.3655], [70.7299, 92.2041]]
)
EYES = 2  # the first points of the template

FIVE_POINT_FILE = "shape_predictor_5_face_landmarks.dat"
SIXTY_EIGHT_POINT_FILE = "shape_predictor_68_face_landmarks.dat"


def template(size_pixels: int) -> Points:
    """The five places, (5, 2), on a crop of another size."""
    scale = size_pixels / TEMPLATE_PIXELS
    return (TEMPLATE + 0.5) * scale - 0.5


def eyes_of_five(points: Points) -> Points:
    """dlib's five points, (5, 2): corners of one eye, corners of the other, under the nose -> both eyes, (2, 2)."""
    eyes = np.stack([points[0:2].mean(0), points[2:4].mean(0)])
    return eyes[np.argsort(eyes[:, 0])]


def five_of_sixty_eight(points: Points) -> Points:
    """The iBUG scheme's 68 points, (68, 2) -> the template's five, (5, 2)."""
    return np.stack([points[36:42].mean(0), points[42:48].mean(0), points[30], points[48], points[54]])


def crop_by_points(points: Points, size_pixels: int) -> Similarity:
    """Photograph -> crop, from two eyes, (2, 2), or all five points, (5, 2)."""
    assert points.shape in ((EYES, 2), TEMPLATE.shape)
    return fit_similarity(points, template(size_pixels)[: len(points)])


class PointFinder:
    """dlib's landmark predictors (Kazemi and Sullivan 2014) for the points that an alignment needs.

    `eyes` needs the free five-point predictor. `five_points` needs the 68-point one, which was trained on iBUG 300-W,
    whose licence excludes commercial use: choose it knowingly.
    """

    def __init__(self, alignment: Alignment) -> None:
        dlib = dlib_module()
        self.alignment = alignment
        self._rectangle = dlib.rectangle
        file = FIVE_POINT_FILE if alignment == "eyes" else SIXTY_EIGHT_POINT_FILE
        self._predictor = dlib.shape_predictor(str(dlib_model(file)))

    def find(self, picture: Picture, box: FaceBox) -> Points:
        """(2, 2) or (5, 2), in pixels of the picture (height, width, 3)."""
        where = self._rectangle(box.left, box.top, box.right, box.bottom)
        found = self._predictor(np.ascontiguousarray(picture), where).parts()
        points = np.array([[point.x, point.y] for point in found], dtype=np.float64)
        return eyes_of_five(points) if self.alignment == "eyes" else five_of_sixty_eight(points)
