"""Find the 68 landmarks of a picture's one face, asking again at other sizes where a detector passes it over.

A clip that counts as without a face should do so for its picture's sake, not for the size it was searched at; and a
small picture is enlarged before its landmarks are placed, which dlib rounds to whole pixels.
"""

from __future__ import annotations

import numpy as np
from PIL import Image

from speech2face.errors import SeveralFaces
from speech2face.face.alignment import Points
from speech2face.face.detector import DlibDetector, FaceBox, FaceDetector, Picture, check_sole
from speech2face.face.points68 import DlibLandmarker, FaceLandmarker

SEARCHED_PIXELS = (320, 400, 512, 768)
"""Longest side that is searched, one after the other until a face is found."""
FINE_PIXELS = 1024
"""Longest side on which landmarks are placed. On faces drawn at 224 and at 512 pixels the same lips' measurements
correlate by 0.46 where dlib works on the picture as it is, by 0.73 at 640 and by 0.86 here."""


class FacePointFinder:
    """Detector and landmarker in one; dlib's where none is given (its 68 points are not for commercial use)."""

    def __init__(self, detector: FaceDetector | None = None, landmarker: FaceLandmarker | None = None) -> None:
        """Raises:
        MissingExtra: dlib is not installed.
        """
        self._detector = DlibDetector(enlargements=0) if detector is None else detector
        self._landmarker = DlibLandmarker() if landmarker is None else landmarker

    def find(self, picture: Picture) -> Points | None:
        """(68, 2) in pixels of the picture (height, width, 3), pixel centres at integers; None without a face.

        Raises:
            SeveralFaces: more than one person could be meant.
        """
        box = find_box(picture, self._detector)
        if box is None:
            return None
        fine = _resized(picture, FINE_PIXELS)
        points = self._landmarker.find(fine, _scaled(box, max(fine.shape) / max(picture.shape)))
        scale = np.array(picture.shape[1::-1]) / np.array(fine.shape[1::-1])
        return np.asarray((points + 0.5) * scale - 0.5)


def drawn_points(finder: FacePointFinder, picture: Picture) -> Points | None:
    """The landmarks (68, 2) of a face that was drawn; None where none is seen in it, or more than one."""
    try:
        return finder.find(picture)
    except SeveralFaces:
        return None


def find_box(picture: Picture, detector: FaceDetector) -> FaceBox | None:
    """The box of the one face in pixels of the picture (height, width, 3), None without a face.

    Raises:
        SeveralFaces: more than one person could be meant.
    """
    for pixels in SEARCHED_PIXELS:
        searched = _resized(picture, pixels)
        if boxes := detector.detect(searched):
            check_sole(boxes)
            return _scaled(boxes[0], max(picture.shape) / max(searched.shape))
    return None


def _scaled(box: FaceBox, factor: float) -> FaceBox:
    return FaceBox(*(round(side * factor) for side in (box.left, box.top, box.right, box.bottom)))


def _resized(picture: Picture, pixels: int) -> Picture:
    """The picture with its longest side so many pixels."""
    factor = pixels / max(picture.shape[:2])
    if factor == 1.0:
        return picture
    size = (max(1, round(picture.shape[1] * factor)), max(1, round(picture.shape[0] * factor)))
    return np.asarray(Image.fromarray(picture).resize(size, Image.Resampling.LANCZOS), dtype=np.uint8)
