"""Find faces in photographs, behind a small interface."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib import util
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from speech2face.errors import MissingExtra, SeveralFaces, WeightsError
from speech2face.face.align import Points, Similarity
from speech2face.face.files import first_line, open_network, weight_file

Picture = NDArray[np.uint8]
DetectorName = Literal["hog", "cnn"]
"""Detectors that come with the extra `faces`."""
SearchDetectorName = Literal["hog", "cnn", "yunet"]
"""Those, and one whose weights are a file of the user."""
RIVAL_SHARE = 0.5
"""A second face counts from this share of the largest one's side; smaller ones are the background's."""
FIVE_POINT_FILE = "shape_predictor_5_face_landmarks.dat"
SIXTY_EIGHT_POINT_FILE = "shape_predictor_68_face_landmarks.dat"
SMALLEST_FOUND_PIXELS = 80  # side of the least face that dlib's detectors see
MISSING = "finding faces in photographs needs the extra 'faces'"


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
        raise MissingExtra(MISSING, "faces")
    import dlib

    return dlib


def dlib_model(name: str) -> Path:
    """A model file of the package face_recognition_models, found without importing it (it wants pkg_resources)."""
    found = util.find_spec("face_recognition_models")
    if found is None or not found.submodule_search_locations:
        raise MissingExtra(MISSING, "faces")
    return Path(next(iter(found.submodule_search_locations))) / "models" / name


class DlibDetector:
    """dlib's frontal detector: histograms of oriented gradients (King 2009)."""

    def __init__(self, *, enlargements: int = 1) -> None:
        """enlargements: how often a picture without a face is doubled in size and searched again."""
        self.enlargements = enlargements
        self._detector = dlib_module().get_frontal_face_detector()

    def detect(self, picture: Picture) -> tuple[FaceBox, ...]:
        """Return all frontal faces, largest first."""
        found = (self._detector(picture, enlargement) for enlargement in range(self.enlargements + 1))
        return _boxes(next((rectangles for rectangles in found if rectangles), ()))


class DlibCnnDetector:
    """dlib's convolutional detector (King 2015, max-margin object detection): the one the paper used; slow on a CPU."""

    def __init__(self, *, enlargements: int = 0) -> None:
        """enlargements: how often a picture is doubled in size before it is searched; small faces need one."""
        self.enlargements = enlargements
        self._detector = dlib_module().cnn_face_detection_model_v1(str(dlib_model("mmod_human_face_detector.dat")))

    def detect(self, picture: Picture) -> tuple[FaceBox, ...]:
        """Return all faces, largest first."""
        return _boxes(one.rect for one in self._detector(np.ascontiguousarray(picture), self.enlargements))


def _boxes(rectangles: Iterable[Any]) -> tuple[FaceBox, ...]:
    """dlib's rectangles as boxes, largest first."""
    boxes = (FaceBox(one.left(), one.top(), one.right(), one.bottom()) for one in rectangles)
    return tuple(sorted(boxes, key=lambda box: -box.area))


class DlibPoints:
    """A landmark predictor of dlib, an ensemble of regression trees (Kazemi and Sullivan 2014), by its file's name.

    The five-point predictor is free to use. The 68-point one was trained on iBUG 300-W, whose licence excludes
    commercial use, and so does what is made with it: choose it knowingly.
    """

    def __init__(self, file: str) -> None:
        dlib = dlib_module()
        self._rectangle = dlib.rectangle
        self._predictor = dlib.shape_predictor(str(dlib_model(file)))

    def shape(self, picture: Picture, box: FaceBox) -> Any:
        """Return dlib's own object for the points of the face in a box of a picture (height, width, 3)."""
        where = self._rectangle(box.left, box.top, box.right, box.bottom)
        return self._predictor(np.ascontiguousarray(picture), where)  # dlib reads rows as they lie in memory

    def find(self, picture: Picture, box: FaceBox) -> Points:
        """Return the points, (points, 2), (x, y) in whole pixels of the picture, pixel centres at integers."""
        return np.array([[point.x, point.y] for point in self.shape(picture, box).parts()], dtype=np.float64)


def open_detector(name: SearchDetectorName, file: Path | str | None = None) -> FaceDetector:
    """`hog` is fast and sees frontal faces; `cnn` is the paper's, slow on a CPU, and sees turned ones too.

    `yunet` is a user's ONNX file.

    Raises:
        WeightsError: `yunet` without a file, or with one of another graph.
        MissingExtra: dlib is not installed.
    """
    if name == "yunet":
        if file is None:
            raise WeightsError("the detector yunet is your own ONNX file; name it (--detector-file FILE)")
        return YuNetDetector(file)
    return DlibDetector() if name == "hog" else DlibCnnDetector()


# --------------------------------------------------------------------------------------------------
# YuNet (Wu, Peng and Yu 2023), a small convolutional face detector that a user has as an ONNX file.
# Read is the graph of the public `face_detection_yunet_2023mar.onnx`: one picture (1, 3, height, width) float32,
# blue, green and red of 0 to 255, sides of multiples of 32; out come for each stride of 8, 16 and 32 pixels `cls_*`
# and `obj_*` (1, cells, 1), `bbox_*` (1, cells, 4) and `kps_*` (1, cells, 10), cells row by row. What they mean was
# read in OpenCV's FaceDetectorYN (modules/objdetect/src/face_detect.cpp). The public weights were not at hand: this
# is tested on graphs made by hand.
# --------------------------------------------------------------------------------------------------

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


# --------------------------------------------------------------------------------------------------
# Bring a face of a photograph to the square that a network wants to see.
# --------------------------------------------------------------------------------------------------

Colour = tuple[int, int, int]
BLACK: Colour = (0, 0, 0)


def box_crop(box: FaceBox, size_pixels: int, *, margin: float = 0.0) -> Similarity:
    """Photograph -> crop: the square around the box's centre, as long as its longer side and `margin` of it all round.

    Points are (x, y) with pixel centres at integers, so a box of `size_pixels` columns and no margin is not resized.
    """
    side = max(box.right - box.left, box.bottom - box.top) * (1 + 2 * margin)
    scale = size_pixels / max(side, 1.0)
    centre = np.array([box.left + box.right - 1, box.top + box.bottom - 1]) / 2
    return Similarity(scale * np.eye(2), np.full(2, (size_pixels - 1) / 2) - scale * centre)


def take_crop(picture: Picture, move: Similarity, size_pixels: int, *, outside: Colour = BLACK) -> Picture:
    """The crop (size, size, 3) of a picture (height, width, 3); `move` takes its points to the crop's.

    A picture much larger than the crop is averaged down first, so that fine texture does not turn into noise.
    """
    image = Image.fromarray(np.ascontiguousarray(picture))
    shrink = max(1, int(1 / move.scale + 1e-6))  # 1 / (20 / 160) is a little under 8
    if shrink > 1:
        image = image.reduce(shrink)
    back = move.inverse()
    linear: Points = back.linear.T / shrink  # columns act on (x, y)
    # Pillow counts from pixel corners: a centre at integer k lies at k + 0.5.
    shift: NDArray[np.float64] = (back.shift + 0.5) / shrink - linear @ np.full(2, 0.5)
    coefficients = (*linear[0], shift[0], *linear[1], shift[1])
    crop = image.transform(
        (size_pixels, size_pixels),
        Image.Transform.AFFINE,
        tuple(float(number) for number in coefficients),
        resample=Image.Resampling.BICUBIC,
        fillcolor=outside,
    )
    return np.asarray(crop, dtype=np.uint8)
