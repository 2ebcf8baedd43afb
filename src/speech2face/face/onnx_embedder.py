"""Any face recogniser that a user has as an ONNX file, in the place of the face embedder."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from speech2face.errors import WeightsError
from speech2face.face.crop import box_crop, take_crop
from speech2face.face.detector import DetectorName, FaceBox, Picture, open_detector, sole_face
from speech2face.face.embedder_settings import OnnxSettings
from speech2face.face.five_points import PointFinder, crop_by_points
from speech2face.face.weight_file import weight_file
from speech2face.quiet import load_onnxruntime


class OnnxEmbedder:
    """A user's network: one picture (1, 3, side, side) or (1, side, side, 3) in, one vector out."""

    def __init__(self, path: Path | str, settings: OnnxSettings | None = None) -> None:
        """Raises:
        WeightsError: the file is no ONNX network, or not one of that form.
        """
        self.settings = settings or OnnxSettings()
        self._session = open_network(weight_file(path))
        self._name, self._channels_first, self._pixels = picture_input(
            self._session, self.settings.input_pixels, Path(path)
        )
        self.size = self._measure(Path(path))
        self._detector = open_detector(self.settings.detector)
        alignment = self.settings.alignment
        self._points = None if alignment == "box" else PointFinder(alignment)

    def embed(self, picture: Picture) -> NDArray[np.float32] | None:
        """The embedding (size,) of the picture's one face, or None where no face is found.

        Raises:
            SeveralFaces: more than one person could be meant.
        """
        found = sole_face(self._detector, picture)
        return None if found is None else self.embed_crop(self.crop(picture, found))

    @property
    def crop_detector(self) -> DetectorName:
        """Whose boxes its crops are made of."""
        return self.settings.detector

    def crop(self, picture: Picture, box: FaceBox) -> Picture:
        """The square (side, side, 3) that the network sees of a face in a box."""
        if self._points is None:
            move = box_crop(box, self._pixels, margin=self.settings.margin)
        else:
            move = crop_by_points(self._points.find(picture, box), self._pixels)
        return take_crop(picture, move, self._pixels)

    def embed_crops(self, crops: Sequence[Picture]) -> NDArray[np.float32]:
        """Embeddings (crops, size), one crop at a time: many exported graphs take no more."""
        return np.stack([self.embed_crop(crop) for crop in crops])

    def embed_crop(self, crop: Picture) -> NDArray[np.float32]:
        """The embedding (size,) of a face that already fills the square (side, side, 3)."""
        numbers = self._run(crop)
        if not np.isfinite(numbers).all():
            raise WeightsError("the ONNX face embedder returned numbers that are none; check its input settings")
        if self.settings.normalise:
            numbers = numbers / max(float(np.linalg.norm(numbers)), 1e-12)
        return np.asarray(numbers, dtype=np.float32)

    def _run(self, crop: Picture) -> NDArray[np.float32]:
        assert crop.shape == (self._pixels, self._pixels, 3)
        mean, deviation = (np.array(c, np.float32) for c in (self.settings.mean, self.settings.deviation))
        x = (crop.astype(np.float32) - mean) / deviation
        if self.settings.colours == "bgr":
            x = x[..., ::-1]
        if self._channels_first:
            x = x.transpose(2, 0, 1)
        found = self._session.run(None, {self._name: np.ascontiguousarray(x)[None]})
        return np.asarray(found[0][0], dtype=np.float32)

    def _measure(self, path: Path) -> int:
        """Length of an embedding, from one black picture: graphs often leave their output's shape open."""
        try:
            shape = self._run(np.zeros((self._pixels, self._pixels, 3), np.uint8)).shape
        except Exception as error:  # ONNX Runtime's errors share no class
            raise WeightsError(
                f"{path} does not run on a picture of {self._pixels} pixels: {first_line(error)}"
            ) from error
        if len(shape) != 1:
            raise WeightsError(f"{path} returns {shape} for one picture; a face embedder returns one vector")
        return int(shape[0])


def open_network(path: Path) -> Any:
    """ONNX Runtime's session of a file, on the CPU.

    Raises:
        WeightsError: it is no network that can be run.
    """
    try:
        return load_onnxruntime().InferenceSession(str(path), providers=["CPUExecutionProvider"])
    except Exception as error:  # ONNX Runtime's errors share no class
        raise WeightsError(f"{path} is no ONNX network that can be run: {first_line(error)}") from error


def picture_input(
    session: Any, input_pixels: int | None, path: Path, *, network: str = "face embedder"
) -> tuple[str, bool, int]:
    """Name of a graph's input, whether colours come before rows, and its side in pixels.

    Raises:
        WeightsError: it takes something else than one square picture, or `input_pixels` is another than its side.
    """
    entries = session.get_inputs()
    shape = list(entries[0].shape) if entries else []
    if len(entries) != 1 or entries[0].type != "tensor(float)" or len(shape) != 4 or 3 not in (shape[1], shape[3]):
        found = ", ".join(f"{entry.name} {entry.type} {entry.shape}" for entry in entries)
        raise WeightsError(
            f"{path} takes {found or 'nothing'}; a {network} takes one float32 picture, (1, 3, side, side) or"
            " (1, side, side, 3)"
        )
    channels_first = shape[1] == 3
    sides = {side for side in (shape[2:] if channels_first else shape[1:3]) if isinstance(side, int)}
    wanted = {input_pixels} if input_pixels else sides
    if len(sides | wanted) != 1:
        raise WeightsError(
            f"{path} takes pictures of shape {shape} and input_pixels is {input_pixels};"
            f" a {network}'s input is square: set input_pixels to its side"
        )
    return entries[0].name, channels_first, int(next(iter(wanted)))


def first_line(error: Exception) -> str:
    """The first line of a library's message."""
    return str(error).strip().splitlines()[0][:200] if str(error).strip() else type(error).__name__
