"""A user's own ONNX network over pictures: features for the Frechet distance, classes for the Inception score."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from speech2face.data.texts import read_json
from speech2face.errors import WeightsError
from speech2face.face.embedder_settings import check_normalisation
from speech2face.face.onnx_embedder import open_network, picture_input
from speech2face.face.weight_file import file_sha256, weight_file

Picture = NDArray[np.uint8]
VGGFACE2_MEAN = (131.0912, 103.8827, 91.4953)  # red, green, blue; of the SF2F protocol (Bai et al., ACM MM 2022)


@dataclass(frozen=True)
class NetworkSettings:
    """How a picture is brought to the network; the defaults are those of SF2F's VGGFace score."""

    input_pixels: int | None = None
    """Side of the square input; None reads it from the graph."""
    colours: Literal["rgb", "bgr"] = "rgb"
    mean: tuple[float, float, float] = VGGFACE2_MEAN
    """Subtracted from red, green and blue of 0 to 255."""
    deviation: tuple[float, float, float] = (1.0, 1.0, 1.0)
    """What is left is divided by, in the same order."""
    crop: tuple[float, float, float, float] = (0.0, 0.0, 1.0, 1.0)
    """Left, top, right and bottom of what the network sees, as shares of the picture; SF2F: 0.235 0.195 0.765 0.915."""
    output: int = 0
    """Place of the output that is taken."""
    logits: bool = True
    """Whether a classifier's output still wants a softmax."""

    def __post_init__(self) -> None:
        left, top, right, bottom = self.crop
        if not (0 <= left < right <= 1 and 0 <= top < bottom <= 1):
            raise ValueError(f"crop is left, top, right, bottom from 0 to 1, not {list(self.crop)}")
        if self.colours not in ("rgb", "bgr"):
            raise ValueError(f"colours is rgb or bgr, not {self.colours!r}")
        check_normalisation(self.mean, self.deviation)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> NetworkSettings:
        """From JSON's types; what is not named keeps its default."""
        known = [field.name for field in fields(cls)]
        if unknown := sorted(set(values) - set(known)):
            raise ValueError(f"{', '.join(unknown)} is none of {', '.join(known)}")
        given: dict[str, Any] = {name: tuple(v) if isinstance(v, list) else v for name, v in values.items()}
        return cls(**given)


class PictureNetwork:
    """A network from a picture (height, width, 3) uint8 to a vector."""

    def __init__(self, file: str | Path, settings: NetworkSettings | None = None) -> None:
        """Settings None are read from `FILE.json` beside `FILE.onnx`, and are the defaults where there is none.

        Raises:
            WeightsError: no such file, no ONNX network of square pictures, or settings that are wrong.
        """
        path = weight_file(file)
        self.settings = _settings_beside(path) if settings is None else settings
        self._session = open_network(path)
        pixels = self.settings.input_pixels
        self._input, self._channels_first, self.pixels = picture_input(self._session, pixels, path, network="network")
        self.sha256 = file_sha256(path)
        self.name = path.name
        if not 0 <= self.settings.output < len(self._session.get_outputs()):
            raise WeightsError(f"{path} has {len(self._session.get_outputs())} outputs; output counts from 0")
        self.size = len(self.read(np.zeros((self.pixels, self.pixels, 3), np.uint8)))

    def read(self, picture: Picture) -> NDArray[np.float32]:
        """Its vector (size,)."""
        height, width = picture.shape[:2]
        left, top, right, bottom = self.settings.crop
        box = (round(left * width), round(top * height), round(right * width), round(bottom * height))
        image = Image.fromarray(np.ascontiguousarray(picture)).crop(box)
        seen = np.asarray(image.resize((self.pixels, self.pixels), Image.Resampling.BILINEAR), np.float32)
        x = (seen - np.array(self.settings.mean, np.float32)) / np.array(self.settings.deviation, np.float32)
        x = x[..., ::-1] if self.settings.colours == "bgr" else x
        x = x.transpose(2, 0, 1) if self._channels_first else x
        found = self._session.run(None, {self._input: np.ascontiguousarray(x)[None]})[self.settings.output]
        vector = np.asarray(found, dtype=np.float32).reshape(-1)
        if not np.isfinite(vector).all():
            raise WeightsError(f"{self.name} returned numbers that are none; check its input settings")
        return vector


def _settings_beside(path: Path) -> NetworkSettings:
    beside = path.with_suffix(".json")
    if not beside.is_file():
        return NetworkSettings()
    try:
        return NetworkSettings.from_dict(read_json(beside, WeightsError))
    except (ValueError, TypeError, AttributeError, WeightsError) as error:
        raise WeightsError(f"{beside}, the settings of {path.name}, are wrong: {error}") from error
