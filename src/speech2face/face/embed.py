"""Turn a photograph into the numbers by which a face recogniser compares people, behind a small interface."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import Field, asdict, dataclass, fields
from pathlib import Path
from types import MappingProxyType
from typing import Any, ClassVar, Literal, Protocol, Self, get_args

import numpy as np
from numpy.typing import NDArray

from speech2face.errors import SeveralFaces, WeightsError
from speech2face.face.appearance import Points, Similarity, fit_similarity
from speech2face.face.detect import (
    FIVE_POINT_FILE,
    SIXTY_EIGHT_POINT_FILE,
    DetectorName,
    DlibDetector,
    DlibPoints,
    FaceBox,
    FaceDetector,
    Picture,
    box_crop,
    dlib_model,
    dlib_module,
    first_line,
    open_detector,
    open_network,
    picture_input,
    sole_face,
    take_crop,
    weight_file,
)

DLIB_MATCH_DISTANCE = 0.6
"""Euclidean distance under which dlib's network calls two photographs one person (dlib's own documentation)."""


class PictureEmbedder(Protocol):
    """Anything that embeds the face of a picture, (height, width, 3) uint8, in numbers by which people compare."""

    size: int
    """Length of an embedding."""

    def embed(self, picture: Picture) -> NDArray[np.float32] | None:
        """Return the embedding (size,) of the picture's one face, or None where no face is found.

        Raises:
            SeveralFaces: more than one person could be meant.
        """
        ...


class FaceEmbedder(PictureEmbedder, Protocol):
    """A picture embedder that says how it crops faces, and can be handed crops: the kind that packages add."""

    @property
    def settings(self) -> Mapping[str, Any]:
        """How a photograph is brought to the network, JSON-ready: embeddings of other settings are not comparable."""
        ...

    @property
    def crop_detector(self) -> DetectorName:
        """The detector of whose boxes its crops are made."""
        ...

    def crop(self, picture: Picture, box: FaceBox) -> Picture:
        """Return what the network sees of the face in a box of a picture, (side, side, 3) uint8."""
        ...

    def embed_crops(self, crops: Sequence[Picture]) -> NDArray[np.float32]:
        """Return the embeddings (crops, size) of faces that are cropped already, at least one."""
        ...


class FaceMatcher(PictureEmbedder, Protocol):
    """A face embedder of which it is known when two embeddings are one person."""

    match_distance: float
    """Euclidean distance under which two embeddings count as one person."""


def embed_drawn(embedder: PictureEmbedder, picture: Picture) -> NDArray[np.float32] | None:
    """Return the embedding (size,) of a drawn face; None where a detector sees none in it, or more than one."""
    try:
        return embedder.embed(picture)
    except SeveralFaces:
        return None


class CroppingEmbedder(ABC):
    """What face embedders share: the one face of a photograph is found by a detector, cropped, and embedded."""

    def __init__(self, detector: FaceDetector) -> None:
        self._detector = detector

    @abstractmethod
    def crop(self, picture: Picture, box: FaceBox) -> Picture:
        """Return what the network sees of the face in a box of a picture, (side, side, 3)."""

    @abstractmethod
    def embed_crops(self, crops: Sequence[Picture]) -> NDArray[np.float32]:
        """Return the embeddings (crops, size) of faces that are cropped already."""

    def embed(self, picture: Picture) -> NDArray[np.float32] | None:
        """Return the embedding (size,) of the picture's one face, or None where no face is found.

        Raises:
            SeveralFaces: more than one person could be meant.
        """
        found = sole_face(self._detector, picture)
        return None if found is None else self.embed_box(picture, found)

    def embed_box(self, picture: Picture, box: FaceBox) -> NDArray[np.float32]:
        """Return the embedding (size,) of the face in a box that is already known."""
        return self.embed_crop(self.crop(picture, box))

    def embed_crop(self, crop: Picture) -> NDArray[np.float32]:
        """Return the embedding (size,) of a face that is cropped already, (side, side, 3)."""
        return np.asarray(self.embed_crops([crop])[0], dtype=np.float32)


class DlibEmbedder(CroppingEmbedder):
    """dlib's 128-D residual network (King 2017) on a chip aligned by five landmarks.

    The five-point predictor and the network are free to use.
    """

    size = 128
    match_distance = DLIB_MATCH_DISTANCE
    network_file = "dlib_face_recognition_resnet_model_v1.dat"
    crop_pixels, crop_padding = 150, 0.25  # as the network was trained
    crop_detector: DetectorName = "hog"
    settings: Mapping[str, Any] = MappingProxyType({})

    def __init__(self) -> None:
        super().__init__(DlibDetector())
        dlib = dlib_module()
        self._chip, self._landmarks = dlib.get_face_chip, DlibPoints(FIVE_POINT_FILE)
        self._network = dlib.face_recognition_model_v1(str(dlib_model(self.network_file)))

    def crop(self, picture: Picture, box: FaceBox) -> Picture:
        """Return what the network sees of a face in a box, (150, 150, 3): dlib's chip."""
        picture = np.ascontiguousarray(picture)
        shape = self._landmarks.shape(picture, box)
        return np.asarray(self._chip(picture, shape, size=self.crop_pixels, padding=self.crop_padding), dtype=np.uint8)

    def embed_crops(self, crops: Sequence[Picture]) -> NDArray[np.float32]:
        """Return the embeddings (crops, 128) of faces that are cropped already."""
        return np.array(self._network.compute_face_descriptor(list(crops)), dtype=np.float32).reshape(-1, self.size)


# --------------------------------------------------------------------------------------------------
# Align a face by its eyes, or by eyes, nose and mouth, as the common recognisers expect it.
# --------------------------------------------------------------------------------------------------

Alignment = Literal["eyes", "five_points"]
TEMPLATE_PIXELS = 112
# Where ArcFace (Deng et al. 2019) and its relatives want them on 112 x 112: the eye on the picture's left, the other
# eye, tip of the nose, the mouth's corner on the left, the other corner; (x, y), pixel centres at integers.
TEMPLATE: Points = np.array(
    [[38.2946, 51.6963], [73.5318, 51.5014], [56.0252, 71.7366], [41.5493, 92.3655], [70.7299, 92.2041]]
)
EYES = 2  # the first points of the template


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
    """The points that an alignment needs, of dlib's landmarks: `five_points` needs the 68-point predictor."""

    def __init__(self, alignment: Alignment) -> None:
        self.alignment = alignment
        self._points = DlibPoints(FIVE_POINT_FILE if alignment == "eyes" else SIXTY_EIGHT_POINT_FILE)

    def find(self, picture: Picture, box: FaceBox) -> Points:
        """Return the points, (2, 2) or (5, 2), in pixels of the picture (height, width, 3)."""
        points = self._points.find(picture, box)
        return eyes_of_five(points) if self.alignment == "eyes" else five_of_sixty_eight(points)


# --------------------------------------------------------------------------------------------------
# How a photograph is brought to a face embedder's network: part of every embedder's record.
# --------------------------------------------------------------------------------------------------

MAX_MARGIN = 2.0  # five times the box: more is a mistake
Colours = Literal["rgb", "bgr"]
OnnxAlignment = Literal["box", "eyes", "five_points"]


class EmbedderSettings:
    """What the settings of all face embedders have in common: how they become JSON and come from it."""

    __dataclass_fields__: ClassVar[dict[str, Field[Any]]]

    def to_dict(self) -> dict[str, Any]:
        """Return the settings JSON-ready."""
        return {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Return the settings of `to_dict`'s result; what is not named keeps its default.

        Raises:
            ValueError, TypeError: a name or a value that cannot be.
        """
        known = [field.name for field in fields(cls)]
        if unknown := sorted(set(values) - set(known)):
            raise ValueError(f"{', '.join(unknown)} is none of {', '.join(known)}")
        return cls(**{name: tuple(v) if isinstance(v, list) else v for name, v in values.items()})


@dataclass(frozen=True)
class OnnxSettings(EmbedderSettings):
    """How a photograph is brought to the network; the defaults are those of ArcFace and its relatives."""

    input_pixels: int | None = None
    """Side of the square input; None reads it from the graph."""
    colours: Colours = "rgb"
    mean: tuple[float, float, float] = (127.5, 127.5, 127.5)
    """Subtracted from red, green and blue of 0 to 255."""
    deviation: tuple[float, float, float] = (127.5, 127.5, 127.5)
    """What is left is divided by, in the same order."""
    alignment: OnnxAlignment = "eyes"
    """By the detector's box, by both eyes, or by eyes, nose and mouth (dlib's 68 points: not for commercial use)."""
    margin: float = 0.0
    """Added on each side of the box, as a share of it; for `box` only."""
    normalise: bool = True
    """Scale an embedding to length 1."""
    detector: DetectorName = "hog"

    def __post_init__(self) -> None:
        check_choice("colours", self.colours, Colours)
        check_choice("alignment", self.alignment, OnnxAlignment)
        check_choice("detector", self.detector, DetectorName)
        _check_margin(self.margin)
        check_normalisation(self.mean, self.deviation)
        if self.input_pixels is not None and self.input_pixels < 1:
            raise ValueError(f"input_pixels is at least 1, not {self.input_pixels}")


@dataclass(frozen=True)
class VGGFaceSettings(EmbedderSettings):
    """How a photograph is brought to VGG-Face: the detector's box and a margin, unturned, as 224 x 224."""

    detector: DetectorName = "cnn"
    """The paper's is dlib's convolutional one (Oh et al. 2019, section 3.2)."""
    margin: float = 0.3
    """Added on each side of the box, as a share of it. The paper names none; its published crops are loose."""

    def __post_init__(self) -> None:
        check_choice("detector", self.detector, DetectorName)
        _check_margin(self.margin)


def check_normalisation(mean: Sequence[float], deviation: Sequence[float]) -> None:
    """Refuse what cannot be taken from red, green and blue, or divide them.

    Raises:
        ValueError: not three numbers, or a deviation that is not above 0.
    """
    for name, numbers in (("mean", mean), ("deviation", deviation)):
        if len(numbers) != 3 or not all(math.isfinite(number) for number in numbers):
            raise ValueError(f"{name} is three numbers, for red, green and blue, not {list(numbers)}")
    if min(deviation) <= 0:
        raise ValueError(f"deviation is above 0, not {list(deviation)}")


def check_choice(name: str, value: object, allowed: Any) -> None:
    """Refuse what is none of a `Literal`'s values.

    Raises:
        ValueError: with what there is.
    """
    if value not in get_args(allowed):
        raise ValueError(f"{name} is one of {', '.join(get_args(allowed))}, not {value!r}")


def _check_margin(margin: float) -> None:
    if not 0 <= margin <= MAX_MARGIN:
        raise ValueError(f"margin is from 0 to {MAX_MARGIN:g}, not {margin}")


# --------------------------------------------------------------------------------------------------
# Any face recogniser that a user has as an ONNX file, in the place of the face embedder.
# --------------------------------------------------------------------------------------------------


class OnnxEmbedder(CroppingEmbedder):
    """A user's network: one picture (1, 3, side, side) or (1, side, side, 3) in, one vector out."""

    def __init__(self, path: Path | str, settings: OnnxSettings | None = None) -> None:
        """Raises:
        WeightsError: the file is no ONNX network, or not one of that form.
        """
        self._stated = settings or OnnxSettings()
        self._session = open_network(weight_file(path))
        self._name, self._channels_first, self._pixels = picture_input(
            self._session, self._stated.input_pixels, Path(path)
        )
        self.size = self._measure(Path(path))
        super().__init__(open_detector(self._stated.detector))
        alignment = self._stated.alignment
        self._points = None if alignment == "box" else PointFinder(alignment)

    @property
    def settings(self) -> Mapping[str, Any]:
        """The fields of `OnnxSettings`."""
        return self._stated.to_dict()

    @property
    def crop_detector(self) -> DetectorName:
        """The detector of whose boxes its crops are made."""
        return self._stated.detector

    def crop(self, picture: Picture, box: FaceBox) -> Picture:
        """Return the square (side, side, 3) that the network sees of a face in a box."""
        if self._points is None:
            move = box_crop(box, self._pixels, margin=self._stated.margin)
        else:
            move = crop_by_points(self._points.find(picture, box), self._pixels)
        return take_crop(picture, move, self._pixels)

    def embed_crops(self, crops: Sequence[Picture]) -> NDArray[np.float32]:
        """Return the embeddings (crops, size), one crop at a time: many exported graphs take no more."""
        return np.stack([self.embed_crop(crop) for crop in crops])

    def embed_crop(self, crop: Picture) -> NDArray[np.float32]:
        """Return the embedding (size,) of a face that already fills the square (side, side, 3)."""
        numbers = self._run(crop)
        if not np.isfinite(numbers).all():
            raise WeightsError("the ONNX face embedder returned numbers that are none; check its input settings")
        if self._stated.normalise:
            numbers = numbers / max(float(np.linalg.norm(numbers)), 1e-12)
        return np.asarray(numbers, dtype=np.float32)

    def _run(self, crop: Picture) -> NDArray[np.float32]:
        assert crop.shape == (self._pixels, self._pixels, 3)
        mean, deviation = (np.array(c, np.float32) for c in (self._stated.mean, self._stated.deviation))
        x = (crop.astype(np.float32) - mean) / deviation
        if self._stated.colours == "bgr":
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
