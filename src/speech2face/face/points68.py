"""The 68 landmarks of the iBUG scheme (Sagonas et al. 2013): who finds them, and what they say about a face.

dlib's predictor was trained on iBUG 300-W, whose licence excludes commercial use: so does what is made with it. Another
predictor of the same points can stand in its place.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np

from speech2face.face.alignment import Points
from speech2face.face.detector import FaceBox, Picture, dlib_model, dlib_module
from speech2face.face.five_points import SIXTY_EIGHT_POINT_FILE

COUNT = 68
JAW = slice(0, 17)
NOSE_TIP, CHIN = 30, 8
LEFT_EYE, RIGHT_EYE = slice(36, 42), slice(42, 48)  # left and right in the picture
MOUTH_CORNERS = (60, 64)  # of the inner lips
INNER_LIPS = ((61, 67), (62, 66), (63, 65))  # upper and lower
EYE_LIDS = ((1, 5), (2, 4))  # upper and lower, counted from the eye's first corner
EYE_CORNERS = (0, 3)


class FaceLandmarker(Protocol):
    """Anything that finds the 68 points of a face whose box is known."""

    def find(self, picture: Picture, box: FaceBox) -> Points:
        """(68, 2), (x, y) in pixels of the picture (height, width, 3), pixel centres at integers."""
        ...


class DlibLandmarker:
    """dlib's ensemble of regression trees (Kazemi and Sullivan 2014); not for commercial use, see the module."""

    def __init__(self) -> None:
        dlib = dlib_module()
        self._rectangle = dlib.rectangle
        self._predictor = dlib.shape_predictor(str(dlib_model(SIXTY_EIGHT_POINT_FILE)))

    def find(self, picture: Picture, box: FaceBox) -> Points:
        """(68, 2), in whole pixels."""
        where = self._rectangle(box.left, box.top, box.right, box.bottom)
        found = self._predictor(np.ascontiguousarray(picture), where).parts()
        return np.array([[point.x, point.y] for point in found], dtype=np.float64)


def eyes(points: Points) -> Points:
    """Centres of the eye on the picture's left and of the other, (2, 2)."""
    return np.stack([points[LEFT_EYE].mean(0), points[RIGHT_EYE].mean(0)])


def eye_opening(points: Points) -> float:
    """Height over width of the less open eye, the eye aspect ratio of Soukupova and Cech (2016): shut under 0.2."""
    return min(_openness(points[LEFT_EYE]), _openness(points[RIGHT_EYE]))


def _openness(eye: Points) -> float:
    heights = [np.linalg.norm(eye[upper] - eye[lower]) for upper, lower in EYE_LIDS]
    width = np.linalg.norm(eye[EYE_CORNERS[0]] - eye[EYE_CORNERS[1]])
    return float(np.mean(heights) / max(width, 1e-9))


def mouth_opening(points: Points) -> float:
    """Height over width of what lies between the inner lips; 0 in a shut mouth."""
    heights = [np.linalg.norm(points[upper] - points[lower]) for upper, lower in INNER_LIPS]
    width = np.linalg.norm(points[MOUTH_CORNERS[0]] - points[MOUTH_CORNERS[1]])
    return float(np.mean(heights) / max(width, 1e-9))
