"""How a photograph is brought to a face embedder's network: part of every embedder's record."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal, TypeVar, get_args

from speech2face.face.detector import DetectorName

Settings = TypeVar("Settings", "OnnxSettings", "VGGFaceSettings")
MAX_MARGIN = 2.0  # five times the box: more is a mistake

Colours = Literal["rgb", "bgr"]
OnnxAlignment = Literal["box", "eyes", "five_points"]


@dataclass(frozen=True)
class OnnxSettings:
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

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return _to_dict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> OnnxSettings:
        """From `to_dict`'s result; what is not named keeps its default."""
        return _from_dict(cls, values)


@dataclass(frozen=True)
class VGGFaceSettings:
    """How a photograph is brought to VGG-Face: the detector's box and a margin, unturned, as 224 x 224."""

    detector: DetectorName = "cnn"
    """The paper's is dlib's convolutional one (Oh et al. 2019, section 3.2)."""
    margin: float = 0.3
    """Added on each side of the box, as a share of it. The paper names none; its published crops are loose."""

    def __post_init__(self) -> None:
        check_choice("detector", self.detector, DetectorName)
        _check_margin(self.margin)

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return _to_dict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> VGGFaceSettings:
        """From `to_dict`'s result; what is not named keeps its default."""
        return _from_dict(cls, values)


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


def _to_dict(settings: OnnxSettings | VGGFaceSettings) -> dict[str, Any]:
    return {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(settings).items()}


def _from_dict(kind: type[Settings], values: Mapping[str, Any]) -> Settings:
    known = [field.name for field in fields(kind)]
    if unknown := sorted(set(values) - set(known)):
        raise ValueError(f"{', '.join(unknown)} is none of {', '.join(known)}")
    stored: dict[str, Any] = {name: tuple(v) if isinstance(v, list) else v for name, v in values.items()}
    return kind(**stored)
