"""Find faces in photographs, behind a small interface."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import util
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from speech2face.errors import MissingExtra, WeightsError

Picture = NDArray[np.uint8]
DetectorName = Literal["hog", "cnn"]
"""Detectors that come with the extra `faces`."""
SearchDetectorName = Literal["hog", "cnn", "yunet"]
"""Those, and one whose weights are a file of the user."""
MISSING = "finding faces in photographs needs the extra 'faces': pip install 'speech2face[faces]'"


@dataclass(frozen=True)
class FaceBox:
    """A face's square in pixels of the photograph."""

    left: int
    top: int
    right: int
    bottom: int

    @property
    def area(self) -> int:
        """Pixels inside."""
        return max(0, self.right - self.left) * max(0, self.bottom - self.top)


class FaceDetector(Protocol):
    """Anything that finds faces in a picture (height, width, 3)."""

    def detect(self, picture: Picture) -> tuple[FaceBox, ...]:
        """All faces, largest first."""
        ...


def dlib_module() -> Any:
    """The dlib library of the `faces` extra."""
    if util.find_spec("dlib") is None:
        raise MissingExtra(MISSING)
    import dlib

    return dlib


def dlib_model(name: str) -> Path:
    """A model file of the package face_recognition_models, found without importing it (it wants pkg_resources)."""
    found = util.find_spec("face_recognition_models")
    if found is None or not found.submodule_search_locations:
        raise MissingExtra(MISSING)
    return Path(next(iter(found.submodule_search_locations))) / "models" / name


class DlibDetector:
    """dlib's frontal detector: histograms of oriented gradients (King 2009)."""

    def __init__(self, *, enlargements: int = 1) -> None:
        """enlargements: how often a picture without a face is doubled in size and searched again."""
        self.enlargements = enlargements
        self._detector = dlib_module().get_frontal_face_detector()

    def detect(self, picture: Picture) -> tuple[FaceBox, ...]:
        """All frontal faces, largest first."""
        for enlargement in range(self.enlargements + 1):
            found = self._detector(picture, enlargement)
            if found:
                boxes = (FaceBox(box.left(), box.top(), box.right(), box.bottom()) for box in found)
                return tuple(sorted(boxes, key=lambda box: -box.area))
        return ()


class DlibCnnDetector:
    """dlib's convolutional detector (King 2015, max-margin object detection): the one the paper used; slow on a CPU."""

    def __init__(self, *, enlargements: int = 0) -> None:
        """enlargements: how often a picture is doubled in size before it is searched; small faces need one."""
        self.enlargements = enlargements
        self._detector = dlib_module().cnn_face_detection_model_v1(str(dlib_model("mmod_human_face_detector.dat")))

    def detect(self, picture: Picture) -> tuple[FaceBox, ...]:
        """All faces, largest first."""
        found = (one.rect for one in self._detector(np.ascontiguousarray(picture), self.enlargements))
        boxes = (FaceBox(box.left(), box.top(), box.right(), box.bottom()) for box in found)
        return tuple(sorted(boxes, key=lambda box: -box.area))


def open_detector(name: SearchDetectorName, file: Path | str | None = None) -> FaceDetector:
    """`hog` is fast and sees frontal faces; `cnn` is the paper's, slow on a CPU, and sees turned ones too.

    `yunet` is a user's ONNX file.

    Raises:
        WeightsError: `yunet` without a file, or with one of another graph.
        MissingExtra: dlib is not installed.
    """
    if name == "yunet":
        from speech2face.face.onnx_detector import YuNetDetector  # it needs this module

        if file is None:
            raise WeightsError("the detector yunet is your own ONNX file; name it (--detector-file FILE)")
        return YuNetDetector(file)
    return DlibDetector() if name == "hog" else DlibCnnDetector()
