"""Turn a photograph into the numbers by which a face recogniser compares people, behind a small interface."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from speech2face.face.detector import DlibDetector, FaceBox, Picture, dlib_model, dlib_module

DLIB_MATCH_DISTANCE = 0.6
"""Euclidean distance under which dlib's network calls two photographs one person (dlib's own documentation)."""


class FaceEmbedder(Protocol):
    """Anything that embeds the largest face of a picture (height, width, 3)."""

    size: int
    """Length of an embedding."""

    def embed(self, picture: Picture) -> NDArray[np.float32] | None:
        """The embedding (size,) of the largest face, or None where no face is found."""
        ...


class FaceMatcher(FaceEmbedder, Protocol):
    """A face embedder of which it is known when two embeddings are one person."""

    match_distance: float
    """Euclidean distance under which two embeddings count as one person."""


class DlibEmbedder:
    """dlib's 128-D residual network (King 2017) on a chip aligned by five landmarks.

    The five-point predictor and the network are free to use. (The 68-point predictor of the same package was trained
    on iBUG 300-W, whose licence excludes commercial use; nothing here needs it.)
    """

    size = 128
    match_distance = DLIB_MATCH_DISTANCE
    network_file = "dlib_face_recognition_resnet_model_v1.dat"

    def __init__(self) -> None:
        dlib = dlib_module()
        self._rectangle = dlib.rectangle
        self._detector = DlibDetector()
        self._landmarks = dlib.shape_predictor(str(dlib_model("shape_predictor_5_face_landmarks.dat")))
        self._network = dlib.face_recognition_model_v1(str(dlib_model(self.network_file)))

    def embed(self, picture: Picture) -> NDArray[np.float32] | None:
        """The embedding (128,) of the largest face, or None where no face is found."""
        found = self._detector.detect(picture)
        return self.embed_box(picture, found[0]) if found else None

    def embed_box(self, picture: Picture, box: FaceBox) -> NDArray[np.float32]:
        """The embedding (128,) of the face in a box that is already known."""
        where = self._rectangle(box.left, box.top, box.right, box.bottom)
        picture = np.ascontiguousarray(picture)  # dlib reads rows as they lie in memory
        numbers = self._network.compute_face_descriptor(picture, self._landmarks(picture, where))
        return np.asarray(numbers, dtype=np.float32)
