"""Any face-attribute classifier that a user has as an ONNX file, told by a settings file what its outputs mean."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from speech2face.errors import WeightsError
from speech2face.evaluation.readers.face_points import find_box
from speech2face.evaluation.readers.output_settings import Output, ReaderSettings
from speech2face.evaluation.readers.reader import ATTRIBUTES, Attribute, AttributeReading
from speech2face.face.crop import box_crop, take_crop
from speech2face.face.detector import DetectorName, DlibDetector, FaceDetector, Picture, open_detector
from speech2face.face.five_points import PointFinder, crop_by_points
from speech2face.face.onnx_embedder import first_line, open_network, picture_input
from speech2face.face.weight_file import weight_file

Floats = NDArray[np.float64]


class OnnxReader:
    """One picture (1, 3, side, side) or (1, side, side, 3) in, numbers out that the settings give a meaning."""

    def __init__(self, path: Path | str, settings: ReaderSettings) -> None:
        """Raises:
        WeightsError: no such network, or its outputs are not what the settings say.
        MissingExtra: faces are to be found and dlib is not installed.
        """
        self.settings = settings
        self._path = weight_file(path)
        self._session = open_network(self._path)
        self._name, self._channels_first, self._pixels = picture_input(
            self._session, settings.input_pixels, self._path, network="face-attribute reader"
        )
        self._outputs = [entry.name for entry in self._session.get_outputs()]
        self._detector = None if settings.alignment == "picture" else _open_detector(settings.detector)
        alignment = settings.alignment
        self._points = PointFinder(alignment) if alignment in ("eyes", "five_points") else None
        self._try_out()

    @classmethod
    def open(cls, path: Path | str, settings: Path | str) -> OnnxReader:
        """A network and its settings file.

        Raises:
            WeightsError: one of the two is missing or wrong.
        """
        return cls(path, ReaderSettings.read(settings))

    @property
    def name(self) -> str:
        """What the report calls it."""
        return self.settings.name or self._path.name

    @property
    def statement(self) -> str:
        """What its settings say of it."""
        return self.settings.statement or f"{self._path.name}, a network of the user's; nothing is stated of it."

    @property
    def reads(self) -> tuple[Attribute, ...]:
        """The attributes that the settings find in its outputs."""
        return tuple(name for name in ATTRIBUTES if getattr(self.settings, name) is not None)

    @property
    def groups(self) -> tuple[str, ...]:
        """The groups' names, each once."""
        return () if self.settings.group is None else tuple(dict.fromkeys(self.settings.group.names))

    def read(self, picture: Picture) -> AttributeReading | None:
        """What the one face looks like, or None where no face is found.

        Raises:
            SeveralFaces: more than one person could be meant.
        """
        crop = self._crop(picture)
        return None if crop is None else self.read_crop(crop)

    def read_crop(self, crop: Picture) -> AttributeReading:
        """The same of a face that already fills the square (side, side, 3).

        Raises:
            WeightsError: the network's numbers are none.
        """
        found = self._run(crop)
        settings = self.settings
        shares = {name: self._shares(found, getattr(settings, name), name) for name in self.reads}
        age = femininity = group = None
        if settings.age is not None:
            age = self._age(shares["age"])
        if settings.gender is not None:
            of_women = shares["gender"]
            femininity = float(of_women[settings.gender.female]) if len(of_women) == 2 else float(of_women[0])
            if len(of_women) == 1 and settings.gender.female == 0:
                femininity = 1.0 - femininity
        if settings.group is not None:
            together = dict.fromkeys(self.groups, 0.0)
            for name, share in zip(settings.group.names, shares["group"], strict=True):
                together[name] += float(share)
            group = max(together, key=lambda name: together[name])
        return AttributeReading(age, femininity, group)

    def _age(self, numbers: Floats) -> float:
        settings = self.settings.age
        assert settings is not None
        if not settings.years:
            return float(numbers[0]) * settings.scale + settings.offset
        years = np.array(settings.years)
        if settings.summary == "likeliest":
            return float(years[np.argmax(numbers)])
        return float(numbers @ years / max(float(numbers.sum()), 1e-12))

    def _crop(self, picture: Picture) -> Picture | None:
        if self._detector is None:
            image = Image.fromarray(np.ascontiguousarray(picture))
            return np.asarray(image.resize((self._pixels, self._pixels), Image.Resampling.LANCZOS), dtype=np.uint8)
        box = find_box(picture, self._detector)
        if box is None:
            return None
        if self._points is None:
            move = box_crop(box, self._pixels, margin=self.settings.margin)
        else:
            move = crop_by_points(self._points.find(picture, box), self._pixels)
        return take_crop(picture, move, self._pixels)

    def _run(self, crop: Picture) -> dict[str | int, Floats]:
        """All outputs, flattened, by name and by place."""
        assert crop.shape == (self._pixels, self._pixels, 3)
        x = (crop.astype(np.float32) - np.array(self.settings.mean, np.float32)) / np.array(
            self.settings.deviation, np.float32
        )
        if self.settings.colours == "bgr":
            x = x[..., ::-1]
        if self._channels_first:
            x = x.transpose(2, 0, 1)
        found: list[Any] = self._session.run(None, {self._name: np.ascontiguousarray(x)[None]})
        flat = [np.asarray(numbers, np.float64).reshape(-1) for numbers in found]
        return {**dict(enumerate(flat)), **dict(zip(self._outputs, flat, strict=True))}

    def _shares(self, found: dict[str | int, Floats], settings: Output, attribute: str) -> Floats:
        numbers = found[settings.output][settings.start : settings.stop]
        if not np.isfinite(numbers).all():
            raise WeightsError(f"{self._path} gave numbers for {attribute} that are none; check its input settings")
        if settings.activation == "softmax":
            powers = np.exp(numbers - numbers.max())
            return np.asarray(powers / powers.sum())
        if settings.activation == "sigmoid":
            return np.asarray(1.0 / (1.0 + np.exp(-np.clip(numbers, -60, 60))))
        return numbers

    def _try_out(self) -> None:
        """One grey picture: the outputs must be there and of the lengths that the settings need."""
        try:
            found = self._run(np.full((self._pixels, self._pixels, 3), 128, np.uint8))
        except Exception as error:  # ONNX Runtime's errors share no class
            raise WeightsError(
                f"{self._path} does not run on a picture of {self._pixels} pixels: {first_line(error)}"
            ) from error
        age, group = self.settings.age, self.settings.group
        wanted = {
            "age": {len(age.years) or 1} if age else set(),
            "gender": {1, 2},
            "group": {len(group.names)} if group else set(),
        }
        for name in self.reads:
            settings: Output = getattr(self.settings, name)
            if settings.output not in found:
                raise WeightsError(
                    f"{self._path} has no output {settings.output!r} for {name}; it has {', '.join(self._outputs)}"
                )
            length = len(found[settings.output][settings.start : settings.stop])
            if length not in wanted[name]:
                raise WeightsError(
                    f"{self._path} gives {length} numbers for {name} where its settings need"
                    f" {' or '.join(str(number) for number in sorted(wanted[name]))}; set start, stop and its classes"
                )


def _open_detector(name: DetectorName) -> FaceDetector:
    """The detector without enlargements of its own: `find_box` asks at several sizes."""
    return DlibDetector(enlargements=0) if name == "hog" else open_detector(name)
