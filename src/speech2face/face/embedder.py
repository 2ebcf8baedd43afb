"""Turn a photograph into the numbers by which a face recogniser compares people, behind a small interface."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from speech2face.errors import SeveralFaces
from speech2face.face.detector import DetectorName, DlibDetector, FaceBox, Picture, dlib_model, dlib_module, sole_face

DLIB_MATCH_DISTANCE = 0.6
"""Euclidean distance under which dlib's network calls two photographs one person (dlib's own documentation)."""


class FaceEmbedder(Protocol):
    """Anything that embeds the face of a picture (height, width, 3) of one person."""

    size: int
    """Length of an embedding."""

    def embed(self, picture: Picture) -> NDArray[np.float32] | None:
        """The embedding (size,) of the picture's one face, or None where no face is found.

        Raises:
            SeveralFaces: more than one person could be meant.
        """
        ...


def embed_drawn(embedder: FaceEmbedder, picture: Picture) -> NDArray[np.float32] | None:
    """The embedding (size,) of a face that was drawn; None where a detector sees none in it, or sees more than one."""
    try:
        return embedder.embed(picture)
    except SeveralFaces:
        return None


class CropEmbedder(FaceEmbedder, Protocol):
    """A face embedder in two steps, so that many faces go through its network at once."""

    @property
    def crop_detector(self) -> DetectorName:
        """Whose boxes it wants its crops to be made of."""
        ...

    def crop(self, picture: Picture, box: FaceBox) -> Picture:
        """What its network sees of the face in a box of a picture (height, width, 3): (side, side, 3)."""
        ...

    def embed_crops(self, crops: Sequence[Picture]) -> NDArray[np.float32]:
        """Embeddings (crops, size) of faces that are cropped already."""
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
    crop_pixels, crop_padding = 150, 0.25  # as the network was trained
    crop_detector: DetectorName = "hog"

    def __init__(self) -> None:
        dlib = dlib_module()
        self._rectangle, self._chip = dlib.rectangle, dlib.get_face_chip
        self._detector = DlibDetector()
        self._landmarks = dlib.shape_predictor(str(dlib_model("shape_predictor_5_face_landmarks.dat")))
        self._network = dlib.face_recognition_model_v1(str(dlib_model(self.network_file)))

    def embed(self, picture: Picture) -> NDArray[np.float32] | None:
        """The embedding (128,) of the picture's one face, or None where no face is found.

        Raises:
            SeveralFaces: more than one person could be meant.
        """
        found = sole_face(self._detector, picture)
        return None if found is None else self.embed_box(picture, found)

    def embed_box(self, picture: Picture, box: FaceBox) -> NDArray[np.float32]:
        """The embedding (128,) of the face in a box that is already known."""
        return np.asarray(self.embed_crops([self.crop(picture, box)])[0], dtype=np.float32)

    def crop(self, picture: Picture, box: FaceBox) -> Picture:
        """What the network sees of a face in a box, (150, 150, 3): dlib's chip."""
        where = self._rectangle(box.left, box.top, box.right, box.bottom)
        picture = np.ascontiguousarray(picture)  # dlib reads rows as they lie in memory
        chip = self._chip(picture, self._landmarks(picture, where), size=self.crop_pixels, padding=self.crop_padding)
        return np.asarray(chip, dtype=np.uint8)

    def embed_crops(self, crops: Sequence[Picture]) -> NDArray[np.float32]:
        """Embeddings (crops, 128) of faces that are cropped already."""
        return np.array(self._network.compute_face_descriptor(list(crops)), dtype=np.float32).reshape(-1, self.size)
