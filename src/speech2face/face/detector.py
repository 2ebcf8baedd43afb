"""Find faces in photographs, behind a small interface."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib import util
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from speech2face.errors import MissingExtra, SeveralFaces, WeightsError

Picture = NDArray[np.uint8]
DetectorName = Literal["hog", "cnn"]
"""Detectors that come with the extra `faces`."""
SearchDetectorName = Literal["hog", "cnn", "yunet"]
"""Those, and one whose weights are a file of the user."""
RIVAL_SHARE = 0.5
"""A second face counts from this share of the largest one's side; smaller ones are the background's."""
SMALLEST_FOUND_PIXELS = 80  # side of the least face that dlib's detectors see
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

    @property
    def side(self) -> int:
        """Pixels across."""
        return self.right - self.left

    def is_same(self, other: FaceBox) -> bool:
        """Whether both are of one face: a detector's boxes on copies of two sizes differ."""
        across, down = (
            self.left + self.right - other.left - other.right,
            self.top + self.bottom - other.top - other.bottom,
        )
        return max(abs(across), abs(down)) < max(self.side, other.side)


class FaceDetector(Protocol):
    """Anything that finds faces in a picture (height, width, 3)."""

    def detect(self, picture: Picture) -> tuple[FaceBox, ...]:
        """All faces, largest first."""
        ...


def sole_face(detector: FaceDetector, picture: Picture) -> FaceBox | None:
    """The face of a picture (height, width, 3) that shows one person, None where there is no face.

    Faces smaller than RIVAL_SHARE of the largest do not count; the picture is searched once more, enlarged, where one
    that does would have been too small to be seen.

    Raises:
        SeveralFaces: more than one counts, and nothing says which is meant.
    """
    found = detector.detect(picture)
    if not found:
        return None
    check_sole(found)
    enlargement = SMALLEST_FOUND_PIXELS / max(RIVAL_SHARE * found[0].side, 1)
    if enlargement > 1:
        size = (round(picture.shape[1] * enlargement), round(picture.shape[0] * enlargement))
        larger = np.asarray(Image.fromarray(picture).resize(size, Image.Resampling.BILINEAR), np.uint8)
        edges = ((box.left, box.top, box.right, box.bottom) for box in detector.detect(larger))
        check_sole((found[0], *(FaceBox(*(round(edge / enlargement) for edge in box)) for box in edges)))
    return found[0]


def check_sole(found: Sequence[FaceBox]) -> None:
    """Refuse faces, the one that is meant first, of which another counts.

    Raises:
        SeveralFaces: with their number.
    """
    first = found[0]
    rivals: list[FaceBox] = []
    for box in found[1:]:
        if box.side >= RIVAL_SHARE * first.side and not any(box.is_same(known) for known in (first, *rivals)):
            rivals.append(box)
    if rivals:
        raise SeveralFaces(f"{len(rivals) + 1} faces were found where one person is meant; cut the picture to one face")


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
