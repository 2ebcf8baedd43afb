"""Which of a user's network's outputs mean what: the settings file of an ONNX attribute reader, checked on reading."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal

from speech2face.data.texts import read_json
from speech2face.errors import WeightsError
from speech2face.face.detector import DetectorName
from speech2face.face.embedder_settings import check_choice, check_normalisation

Alignment = Literal["box", "eyes", "five_points", "picture"]
Activation = Literal["softmax", "sigmoid", "none"]
Summary = Literal["mean", "likeliest"]
MAX_MARGIN = 2.0  # five times the box: more is a mistake


@dataclass(frozen=True)
class Output:
    """Some numbers of one of the network's outputs."""

    output: str | int = 0
    """Name of the output, or its place among them."""
    start: int = 0
    stop: int | None = None
    """Of the flattened output, numbers `start` up to but not including `stop`; None: to its end."""
    activation: Activation = "none"
    """What makes shares of them: `softmax` over all, `sigmoid` of each, or nothing where the network did it."""


@dataclass(frozen=True)
class AgeOutput(Output):
    """One number, which becomes years by `scale` and `offset`; or one for each of `years`."""

    years: tuple[float, ...] = ()
    """The age that each class stands for: 0 to 100, or the middles of age bins."""
    summary: Summary = "mean"
    """Of classes: their mean, weighted by their shares, or the likeliest."""
    scale: float = 1.0
    offset: float = 0.0


@dataclass(frozen=True)
class GenderOutput(Output):
    """Two numbers, of which number `female` is the share of women; or one, which is that share."""

    female: int = 0
    """Place of the feminine class among the two; of one number: 1 where it is the share of women, 0 of men."""


@dataclass(frozen=True)
class GroupOutput(Output):
    """One number for each group."""

    names: tuple[str, ...] = ()
    """What the report calls each; classes of one name count together."""


@dataclass(frozen=True)
class ReaderSettings:
    """How a picture is brought to the network, and which of its outputs mean what."""

    name: str = ""
    """What the report calls the reader; the file's name where empty."""
    statement: str = ""
    """Its source, licence and known weaknesses, for the report."""
    input_pixels: int | None = None
    """Side of the square input; None reads it from the graph."""
    colours: Literal["rgb", "bgr"] = "rgb"
    mean: tuple[float, ...] = (0.0, 0.0, 0.0)
    """Subtracted from red, green and blue of 0 to 255."""
    deviation: tuple[float, ...] = (255.0, 255.0, 255.0)
    """What is left is divided by, in the same order."""
    alignment: Alignment = "box"
    """By the detector's box, by both eyes, by eyes, nose and mouth, or the whole picture as it is."""
    margin: float = 0.25
    """Added on each side of the box, as a share of it; for `box` only."""
    detector: DetectorName = "hog"
    age: AgeOutput | None = None
    gender: GenderOutput | None = None
    group: GroupOutput | None = None

    def __post_init__(self) -> None:
        for name, allowed in (("alignment", Alignment), ("detector", DetectorName), ("colours", Literal["rgb", "bgr"])):
            check_choice(name, getattr(self, name), allowed)
        check_normalisation(self.mean, self.deviation)
        if not 0 <= self.margin <= MAX_MARGIN:
            raise ValueError(f"margin is from 0 to {MAX_MARGIN:g}, not {self.margin}")
        if self.input_pixels is not None and self.input_pixels < 1:
            raise ValueError(f"input_pixels is at least 1, not {self.input_pixels}")
        if self.age is None and self.gender is None and self.group is None:
            raise ValueError("none of age, gender, group is there: say which outputs mean what")
        for part in (self.age, self.gender, self.group):
            if part is not None:
                check_choice("activation", part.activation, Activation)
        if self.age is not None:
            check_choice("summary", self.age.summary, Summary)
        if self.gender is not None and self.gender.female not in (0, 1):
            raise ValueError(f"gender's female is 0 or 1, not {self.gender.female}")
        if self.group is not None and not self.group.names:
            raise ValueError("group needs the names of its classes")

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> ReaderSettings:
        """Of a JSON object; what is not named keeps its default."""
        parts: dict[str, type[Output]] = {"age": AgeOutput, "gender": GenderOutput, "group": GroupOutput}
        stored = dict(values)
        for name, kind in parts.items():
            if stored.get(name) is not None:
                stored[name] = _build(kind, stored[name], name)
        built: ReaderSettings = _build(cls, stored, "")
        return built

    @classmethod
    def read(cls, path: Path | str) -> ReaderSettings:
        """Of a JSON file.

        Raises:
            WeightsError: it cannot be read, or says something that is not allowed.
        """
        try:
            return cls.from_dict(read_json(Path(path), WeightsError))
        except (ValueError, TypeError, WeightsError) as error:
            raise WeightsError(f"the reader's settings {path} are wrong: {error} (docs/evaluation.md)") from error


def _build(kind: type[Any], values: Any, where: str) -> Any:
    if not isinstance(values, Mapping):
        raise ValueError(f"{where or 'the file'} is an object with names and values")
    known = [one.name for one in fields(kind)]
    if unknown := sorted(set(values) - set(known)):
        raise ValueError(f"{where and where + ': '}{', '.join(unknown)} is none of {', '.join(known)}")
    return kind(**{name: tuple(value) if isinstance(value, list) else value for name, value in values.items()})
