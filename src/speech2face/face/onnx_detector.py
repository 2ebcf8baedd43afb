"""YuNet (Wu, Peng and Yu 2023), a small convolutional face detector that a user has as an ONNX file.

Read is the graph of the public `face_detection_yunet_2023mar.onnx`: one picture (1, 3, height, width) float32, blue,
green and red of 0 to 255, sides of multiples of 32; out come for each stride of 8, 16 and 32 pixels `cls_*` and `obj_*`
(1, cells, 1), `bbox_*` (1, cells, 4) and `kps_*` (1, cells, 10), cells row by row. What they mean was read in OpenCV's
FaceDetectorYN (modules/objdetect/src/face_detect.cpp). The public weights were not at hand: this is tested on graphs
made by hand.
"""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from speech2face.errors import WeightsError
from speech2face.face.detector import FaceBox, Picture
from speech2face.face.onnx_embedder import first_line, open_network
from speech2face.face.weight_file import weight_file

STRIDES = (8, 16, 32)
DIVISOR = max(STRIDES)
NUMBERS = {"cls": 1, "obj": 1, "bbox": 4, "kps": 10}  # a cell; `kps`, five points, is not needed here
OUTPUTS = tuple(f"{part}_{stride}" for part in NUMBERS for stride in STRIDES)
EXPECTED = (
    "the graph of face_detection_yunet_2023mar.onnx: one float32 picture (1, 3, height, width) with sides of multiples"
    f" of {DIVISOR}, and the outputs {', '.join(OUTPUTS)}"
)
SCORE_THRESHOLD = 0.7  # OpenCV's own is 0.9, which misses faces that are turned or blurred; those have limits here
MAX_OVERLAP = 0.3  # OpenCV's
MOST_CANDIDATES = 5000  # OpenCV's
LARGEST_PIXELS = 1280  # longest side of what an open graph is shown
LARGEST_EXPONENT = 8.0  # of a box's side over its stride: no face is 3000 strides wide

Boxes = NDArray[np.float64]
"""(boxes, 4): left, top, right, bottom."""


class YuNetDetector:
    """A user's YuNet; its boxes, taller than wide, become squares of the same area and centre."""

    def __init__(
        self, path: Path | str, *, score_threshold: float = SCORE_THRESHOLD, max_overlap: float = MAX_OVERLAP
    ) -> None:
        """score_threshold: 0 to 1, of a face; max_overlap: intersection over union from which two boxes are one face.

        Raises:
        WeightsError: the file is no ONNX network, or not YuNet's graph.
        """
        self.score_threshold, self.max_overlap = score_threshold, max_overlap
        self._path = Path(path)
        self._session = open_network(weight_file(path))
        self._name, self._fixed = self._input()
        missing = set(OUTPUTS) - {entry.name for entry in self._session.get_outputs()}
        if missing:
            raise WeightsError(f"{path} has no output {', '.join(sorted(missing))}; needed is {EXPECTED}")
        self._run(np.zeros((DIVISOR, DIVISOR, 3), np.uint8))  # a graph of other sizes is found before any work

    def detect(self, picture: Picture) -> tuple[FaceBox, ...]:
        """All faces, largest first, of a picture (height, width, 3)."""
        height, width = picture.shape[:2]
        room = self._fixed or (LARGEST_PIXELS, LARGEST_PIXELS)
        scale = min(1.0, room[0] / height, room[1] / width)
        image = Image.fromarray(picture).convert("RGB")
        if scale < 1:
            size = (max(1, round(width * scale)), max(1, round(height * scale)))
            image = image.resize(size, Image.Resampling.BILINEAR, reducing_gap=2.0)
        boxes, scores = self._run(np.asarray(image))
        kept = suppressed(boxes, scores, self.max_overlap)
        return tuple(sorted((_square(box / scale) for box in boxes[kept]), key=lambda box: -box.area))

    def _input(self) -> tuple[str, tuple[int, int] | None]:
        """Name of the graph's input, and its height and width where it takes one size only."""
        entries = self._session.get_inputs()
        shape = list(entries[0].shape) if entries else []
        sides = [side for side in shape[2:] if isinstance(side, int)]
        if (
            len(entries) != 1
            or entries[0].type != "tensor(float)"
            or len(shape) != 4
            or shape[1] != 3
            or any(side % DIVISOR or side < DIVISOR for side in sides)
        ):
            found = ", ".join(f"{entry.name} {entry.type} {entry.shape}" for entry in entries)
            raise WeightsError(f"{self._path} takes {found or 'nothing'}; needed is {EXPECTED}")
        return entries[0].name, (sides[0], sides[1]) if len(sides) == 2 else None

    def _run(self, picture: Picture) -> tuple[Boxes, NDArray[np.float64]]:
        """Boxes above the threshold, in pixels of the picture, and their scores (boxes,)."""
        height, width = self._fixed or tuple(math.ceil(side / DIVISOR) * DIVISOR for side in picture.shape[:2])
        x = np.zeros((1, 3, height, width), np.float32)  # black to the right and below, as OpenCV pads
        x[0, :, : picture.shape[0], : picture.shape[1]] = picture[..., ::-1].transpose(2, 0, 1)
        try:
            found = dict(zip(OUTPUTS, self._session.run(list(OUTPUTS), {self._name: x}), strict=True))
        except Exception as error:  # ONNX Runtime's errors share no class
            message = f"{self._path} does not run on {height} x {width} pixels: {first_line(error)}"
            raise WeightsError(f"{message}; needed is {EXPECTED}") from error
        decoded = [self._decoded(found, stride, height // stride, width // stride) for stride in STRIDES]
        boxes, scores = (np.concatenate(parts) for parts in zip(*decoded, strict=True))
        return boxes, scores

    def _decoded(
        self, found: dict[str, NDArray[np.float32]], stride: int, rows: int, columns: int
    ) -> tuple[Boxes, NDArray[np.float64]]:
        """Boxes and scores of one stride's cells (FaceDetectorYNImpl::postProcess)."""
        parts = {part: np.asarray(found[f"{part}_{stride}"], np.float64) for part in NUMBERS}
        for part, numbers in NUMBERS.items():
            if parts[part].shape != (1, rows * columns, numbers):
                raise WeightsError(
                    f"{self._path} returns {part}_{stride} of shape {parts[part].shape}, not"
                    f" {(1, rows * columns, numbers)}; needed is {EXPECTED}"
                )
        scores = np.sqrt(np.clip(parts["cls"], 0, 1) * np.clip(parts["obj"], 0, 1))[0, :, 0]
        taken = np.flatnonzero(scores >= self.score_threshold)  # a score that is no number is none
        cells = np.stack([taken % columns, taken // columns], axis=-1)  # (boxes, 2): column, row
        place = parts["bbox"][0, taken]
        centres = (cells + place[:, :2]) * stride
        halves = np.exp(np.minimum(place[:, 2:], LARGEST_EXPONENT)) * stride / 2
        boxes = np.concatenate([centres - halves, centres + halves], axis=-1)
        finite = np.isfinite(boxes).all(axis=-1)
        return boxes[finite], scores[taken][finite]


def suppressed(boxes: Boxes, scores: NDArray[np.float64], max_overlap: float) -> NDArray[np.intp]:
    """Numbers of the boxes that overlap none with a higher score by more, best first (non-maximum suppression)."""
    waiting = np.argsort(-scores, kind="stable")[:MOST_CANDIDATES]
    kept: list[int] = []
    while waiting.size:
        best, waiting = waiting[0], waiting[1:]
        kept.append(int(best))
        waiting = waiting[_overlap(boxes[best], boxes[waiting]) <= max_overlap]
    return np.array(kept, dtype=np.intp)


def _overlap(one: NDArray[np.float64], others: Boxes) -> NDArray[np.float64]:
    """Intersection over union, (boxes,)."""
    sides = np.minimum(one[2:], others[:, 2:]) - np.maximum(one[:2], others[:, :2])
    shared = np.prod(np.maximum(sides, 0), axis=-1)
    both = np.prod(one[2:] - one[:2]) + np.prod(others[:, 2:] - others[:, :2], axis=-1)
    return np.asarray(shared / np.maximum(both - shared, 1e-9))


def _square(box: NDArray[np.float64]) -> FaceBox:
    side = math.sqrt(float(np.prod(box[2:] - box[:2])))
    left, top = (box[:2] + box[2:]) / 2 - side / 2
    return FaceBox(round(left), round(top), round(left + side), round(top + side))
