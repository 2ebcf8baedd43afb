"""VGG-Face: Deep Face Recognition (Parkhi, Vedaldi and Zisserman, BMVC 2015), table 3, configuration D (VGG-16).

The frozen teacher of Speech2Face: fc7 is the face embedding, fc8 its classification head over 2,622 identities. The
weights are a user's own file (`vggface_weights.py`); their licence is for non-commercial research.
"""

from __future__ import annotations

import json
import pickle
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from speech2face.errors import CannotWrite, WeightsError
from speech2face.face.detect import (
    DetectorName,
    FaceBox,
    Picture,
    box_crop,
    file_sha256,
    open_detector,
    take_crop,
    weight_file,
)
from speech2face.face.embed import Colours, CroppingEmbedder, VGGFaceSettings
from speech2face.inputs import parse_json
from speech2face.outputs import replacing

INPUT_PIXELS = 224
CONVOLUTIONS = (2, 2, 3, 3, 3)  # of 3 x 3 in each block, which ends with a maximum over 2 x 2
LEFT_PIXELS = INPUT_PIXELS // 2 ** len(CONVOLUTIONS)  # 7
MEAN_RED_GREEN_BLUE = (129.1863, 104.7624, 93.5940)
"""Mean colour of its training set on 0 to 255: all the input normalisation there is, no division."""


@dataclass(frozen=True)
class VGGFaceConfig:
    """Sizes of VGG-Face; anything but the defaults is for tests."""

    channels: tuple[int, ...] = (64, 128, 256, 512, 512)
    hidden: int = 4096
    identities: int = 2622

    def layers(self) -> Iterator[tuple[str, tuple[int, ...]]]:
        """Name and weight's shape of every layer in order: conv1_1 ... conv5_3, fc6, fc7, fc8."""
        below = 3
        for block, (count, channels) in enumerate(zip(CONVOLUTIONS, self.channels, strict=True), start=1):
            for number in range(1, count + 1):
                yield f"conv{block}_{number}", (channels, below, 3, 3)
                below = channels
        yield "fc6", (self.hidden, below * LEFT_PIXELS**2)
        yield "fc7", (self.hidden, self.hidden)
        yield "fc8", (self.identities, self.hidden)


def mean_colour() -> Tensor:
    """(3, 1, 1), what is subtracted from a picture."""
    return torch.tensor(MEAN_RED_GREEN_BLUE, device="cpu").reshape(3, 1, 1)


class VGGFace(nn.Module):
    """Face -> fc7, and by `head` to the logits of the identities.

    Dropout, which followed fc6 and fc7 in training, is left out: the teacher is frozen.
    """

    mean: Tensor

    def __init__(self, config: VGGFaceConfig | None = None) -> None:
        super().__init__()
        self.config = config or VGGFaceConfig()
        shapes = dict(self.config.layers())
        self.convolutions = nn.ModuleDict(
            {name: nn.Conv2d(s[1], s[0], 3, padding=1) for name, s in shapes.items() if name.startswith("conv")}
        )
        hidden = self.config.hidden
        self.fc6 = nn.Linear(shapes["fc6"][1], hidden)
        self.fc7 = nn.Linear(hidden, hidden)
        self.head = nn.Linear(hidden, self.config.identities)  # fc8
        self.register_buffer("mean", mean_colour(), persistent=False)

    def forward(self, face: Tensor) -> Tensor:
        """(batch, 3, 224, 224) red, green and blue in [0, 1] -> face embedding (batch, hidden), at least 0.

        The paper does not say whether fc7 is taken before or after its ReLU. It is taken after: only then is `head`
        of the embedding what the teacher itself answers, which the distillation term asks for.
        """
        assert face.shape[1:] == (3, INPUT_PIXELS, INPUT_PIXELS), "VGG-Face sees 224 x 224 in colour"
        x = face * 255 - self.mean
        for block, count in enumerate(CONVOLUTIONS, start=1):
            for number in range(1, count + 1):
                x = torch.relu(self.convolutions[f"conv{block}_{number}"](x))
            x = nn.functional.max_pool2d(x, 2)
        x = torch.relu(self.fc6(x.flatten(1)))  # (batch, channels * 7 * 7), channels slowest
        return torch.relu(self.fc7(x))


# --------------------------------------------------------------------------------------------------
# Files of tensors that others made: safetensors, or torch state dicts read without running anything in them.
# --------------------------------------------------------------------------------------------------

# Beginnings of files that people have but that are not read, and what to do with them.
OTHER_FORMATS = (
    (b"\x89HDF", "an HDF5 file, as Keras writes"),
    (b"MATLAB 5.0", "a MATLAB file"),
    (b"\x04\x00\x00\x00\x01\x00\x00\x00", "a Lua Torch file"),
    (b"version https://git-lfs", "a git-lfs pointer, not the file itself"),
    (b"<", "a web page: the download failed"),
)
WAY_OUT = "give a torch state dict (.pth) or safetensors of the same weights"
ZIP, PICKLE = b"PK", b"\x80"  # what torch.save writes today, and wrote before 2020


def read_tensors(path: Path | str) -> dict[str, Tensor]:
    """All tensors of a file by name, on the CPU; a `state_dict` inside and the prefix `module.` are unwrapped.

    Raises:
        WeightsError: missing, damaged, of another format, or holding more than tensors.
    """
    path = weight_file(path)
    with path.open("rb") as file:
        start = file.read(32)
    for beginning, what in OTHER_FORMATS:
        if start.startswith(beginning):
            raise WeightsError(f"{path} is {what}; {WAY_OUT}")
    if not start.startswith((ZIP, PICKLE)):
        return _read_safetensors(path)
    loaded = _read_torch(path)
    if isinstance(loaded, Mapping) and isinstance(loaded.get("state_dict"), Mapping):
        loaded = loaded["state_dict"]
    if not isinstance(loaded, Mapping) or not all(isinstance(value, Tensor) for value in loaded.values()):
        raise WeightsError(f"{path} holds more than named tensors; {WAY_OUT}")
    return {str(name).removeprefix("module."): tensor for name, tensor in loaded.items()}


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    try:
        return load_file(str(path))
    except (SafetensorError, OSError, ValueError) as error:
        raise WeightsError(f"{path} is no whole safetensors file ({error}); fetch it again, or {WAY_OUT}") from error


def _read_torch(path: Path) -> Any:
    try:
        with path.open("rb") as file:  # not by its name, whose ending would decide how it is read
            return torch.load(file, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        if "truncated" in str(error):
            raise WeightsError(f"{path} is cut short or damaged; fetch it again") from error
        raise WeightsError(
            f"{path} is a pickle with more than tensors in it, which could run anything when opened, and is refused;"
            " save the network's state_dict() from a program you trust"
        ) from error
    except Exception as error:  # unpickling damaged bytes raises nearly every kind there is
        raise WeightsError(f"{path} is cut short or damaged ({type(error).__name__}); fetch it again") from error


# --------------------------------------------------------------------------------------------------
# VGG-Face's weights: read from the public conversions, checked name by name, and rewritten once as safetensors.
# | names in the file | made by | colours | |---|---|---| | conv1_1.weight, fc6.weight | MatConvNet's network
# (`vgg_face_dag.pth`) | red first | | conv_1_1.weight, fc6.weight, also under features. and fc. | Lua Torch's network
# (`VGG_FACE.t7`) | blue first | | features.0.weight, classifier.0.weight | torchvision's VGG-16 | must be said |
# The rewritten file has the first row's names, red first, and fc6's input as (channels, height, width).
# --------------------------------------------------------------------------------------------------

Fc6Order = Literal["channels_first", "channels_last"]
"""Order of fc6's input: (channels, height, width), or (height, width, channels) as Keras flattens."""
METADATA = "speech2face"
FORMAT = "vggface-1"
FC6_ROWS = 256  # rows of fc6 enough to tell its order
FC6_DOUBT = 0.1  # by so much more alike must neighbours be in the other order before it is believed


@dataclass(frozen=True)
class Naming:
    """One public conversion's names for the layers, and the order of its first layer's colours."""

    layers: dict[str, str]
    """From our names, conv1_1 ... fc8."""
    colours: Colours | None
    """None: the names do not tell."""

    def tensors(self) -> dict[str, str]:
        """Return the names of all tensors, from ours to theirs."""
        parts = ("weight", "bias")
        return {f"{name}.{part}": f"{theirs}.{part}" for name, theirs in self.layers.items() for part in parts}


def _namings() -> tuple[Naming, ...]:
    ours = [name for name, _ in VGGFaceConfig().layers()]
    lua = {name: name.replace("conv", "conv_") for name in ours}
    nested = {name: f"{'features' if name.startswith('conv') else 'fc'}.{other}" for name, other in lua.items()}
    places, index = [], 0  # in torchvision's list of layers every convolution is followed by a ReLU
    for count in CONVOLUTIONS:
        places += [f"features.{index + 2 * number}" for number in range(count)]
        index += 2 * count + 1  # and every block by a maximum
    torchvision = dict(zip(ours, [*places, "classifier.0", "classifier.3", "classifier.6"], strict=True))
    return (
        Naming({name: name for name in ours}, "rgb"),
        Naming(lua, "bgr"),
        Naming(nested, "bgr"),
        Naming(torchvision, None),
    )


NAMINGS = _namings()


def load_vggface(
    path: Path | str,
    *,
    colours: Colours | None = None,
    fc6_order: Fc6Order | None = None,
    config: VGGFaceConfig | None = None,
) -> VGGFace:
    """The frozen teacher from a converted file or a public conversion; arguments as in `convert_vggface`.

    Raises:
        WeightsError: not such a file; names the first wrong tensor and what was expected.
    """
    config = config or VGGFaceConfig()
    tensors = _canonical(Path(path), colours, fc6_order, config)
    with torch.device("meta"):  # 145 million numbers that need no first values
        network = VGGFace(config)
    network.mean = mean_colour()  # no part of a file
    network.load_state_dict({_in_network(name): tensor for name, tensor in tensors.items()}, assign=True)
    return network.requires_grad_(False).eval()


def convert_vggface(
    source: Path | str,
    destination: Path | str,
    *,
    colours: Colours | None = None,
    fc6_order: Fc6Order | None = None,
    config: VGGFaceConfig | None = None,
) -> dict[str, str]:
    """Rewrite a public conversion as safetensors, whole or not at all; the same source gives the same bytes.

    Returns what the file says of itself.

    Args:
        colours: order of the first layer's input; None takes it from the names where they tell.
        fc6_order: order of fc6's input; None takes (channels, height, width) unless the numbers speak against it.

    Raises:
        WeightsError: not such a file; names the first wrong tensor and what was expected.
        CannotWrite: the destination cannot be written.
    """
    source, destination = Path(source), Path(destination)
    if _is_converted(weight_file(source)):
        raise WeightsError(f"{source} is converted already; use it as it is")
    tensors = _canonical(source, colours, fc6_order, config or VGGFaceConfig())
    metadata = {
        "format": FORMAT,
        "source_sha256": file_sha256(source),
        "colours": "rgb",
        "fc6_order": "channels_first",
        "input": "224 x 224, 0 to 255, minus the mean colour (129.1863, 104.7624, 93.5940)",
        "licence": "that of the source file; the original weights are for non-commercial research",
    }
    try:
        with replacing(destination) as temporary:
            # One entry, because safetensors writes several in any order.
            save_file(tensors, temporary, metadata={METADATA: json.dumps(metadata, sort_keys=True)})
    except (OSError, SafetensorError) as error:
        raise CannotWrite(f"cannot write {destination}: {getattr(error, 'strerror', None) or error}") from error
    return metadata


def _in_network(name: str) -> str:
    """conv1_1.weight -> convolutions.conv1_1.weight, fc8.bias -> head.bias."""
    return f"convolutions.{name}" if name.startswith("conv") else name.replace("fc8", "head")


def _is_converted(path: Path) -> bool:
    if path.suffix != ".safetensors":
        return False
    try:
        with safe_open(str(path), framework="pt") as file:
            stored = parse_json((file.metadata() or {}).get(METADATA, "{}"))
            return isinstance(stored, dict) and stored.get("format") == FORMAT
    except (SafetensorError, OSError, ValueError):
        return False  # reading it says what is wrong


def _canonical(
    path: Path, colours: Colours | None, fc6_order: Fc6Order | None, config: VGGFaceConfig
) -> dict[str, Tensor]:
    """Tensors by our names, float32, red first, fc6 over (channels, height, width)."""
    converted = _is_converted(weight_file(path))
    tensors = read_tensors(path)
    naming = max(NAMINGS, key=lambda naming: len(set(naming.tensors().values()) & set(tensors)))
    shapes = {
        f"{name}.{part}": s for name, shape in config.layers() for part, s in (("weight", shape), ("bias", shape[:1]))
    }
    _check_tensors(tensors, {theirs: shapes[name] for name, theirs in naming.tensors().items()}, path)
    ours = {name: tensors[theirs].float().contiguous() for name, theirs in naming.tensors().items()}
    for name, tensor in ours.items():
        if not torch.isfinite(tensor).all():
            raise WeightsError(f"{path}: {name} holds numbers that are none; fetch the file again")
    if converted:
        return ours
    order = colours or naming.colours
    if order is None:
        raise WeightsError(
            f"{path} has torchvision's names, which do not tell whether its first layer takes red or blue first;"
            " say colours='rgb' or 'bgr' (--colours)"
        )
    if order == "bgr":
        ours["conv1_1.weight"] = ours["conv1_1.weight"].flip(1).contiguous()
    ours["fc6.weight"] = _channels_first(ours["fc6.weight"], fc6_order, path)
    return ours


def _check_tensors(tensors: Mapping[str, Tensor], expected: Mapping[str, tuple[int, ...]], path: Path) -> None:
    """Refuse tensors of other names or shapes than expected.

    Raises:
        WeightsError: with the first that is wrong.
    """
    if missing := [name for name in expected if name not in tensors]:
        rest = f", and {len(missing) - 1} more" if len(missing) > 1 else ""
        raise WeightsError(
            f"{path} lacks {missing[0]}{rest}; VGG-Face has 13 convolutions, fc6, fc7 and fc8, named as in"
            " vgg_face_dag.pth, VGG_FACE.t7's conversions or torchvision's VGG-16"
        )
    if unexpected := sorted(set(tensors) - set(expected)):
        raise WeightsError(f"{path} holds {unexpected[0]}, which VGG-Face has not; give the original network's weights")
    for name, shape in expected.items():
        found = tuple(tensors[name].shape)
        if found != shape:
            imagenet = name == [*expected][-2] and found[:1] == (1000,)
            hint = "this is ImageNet's VGG-16" if imagenet else "this is another network"
            raise WeightsError(f"{path}: {name} is {found}, VGG-Face's is {shape}; {hint}: give VGG-Face's own weights")


def _channels_first(weight: Tensor, order: Fc6Order | None, path: Path) -> Tensor:
    """fc6's weight (hidden, channels * height * width), whatever its order was.

    What a unit of fc6 wants varies smoothly over the picture, so neighbours in height are alike in the true order and
    strangers in the other one.
    """
    hidden, side = weight.shape[0], LEFT_PIXELS
    channels = weight.shape[1] // side**2
    as_last = weight.reshape(hidden, side, side, channels)
    if order is None:
        first = weight[:FC6_ROWS].reshape(-1, channels, side, side)
        if _likeness(as_last[:FC6_ROWS].permute(0, 3, 1, 2)) > _likeness(first) + FC6_DOUBT:
            raise WeightsError(
                f"{path}: fc6's input seems to be ordered (height, width, channels), as Keras flattens;"
                " say fc6_order='channels_last' (--fc6-order), or 'channels_first' if it is not"
            )
    return as_last.permute(0, 3, 1, 2).reshape(hidden, -1).contiguous() if order == "channels_last" else weight


def _likeness(planes: Tensor) -> float:
    """Correlation of vertical neighbours, (rows, channels, height, width) -> -1 to 1."""
    upper, lower = planes[:, :, :-1].flatten(), planes[:, :, 1:].flatten()
    return float(torch.nan_to_num(torch.corrcoef(torch.stack([upper, lower]))[0, 1]))


# --------------------------------------------------------------------------------------------------
# Photograph -> VGG-Face's fc7, as Speech2Face (Oh et al., CVPR 2019), section 3.2, takes it.
# --------------------------------------------------------------------------------------------------

# What lies outside the photograph becomes zero after the mean is taken away.
OUTSIDE = (round(MEAN_RED_GREEN_BLUE[0]), round(MEAN_RED_GREEN_BLUE[1]), round(MEAN_RED_GREEN_BLUE[2]))


class VGGFaceEmbedder(CroppingEmbedder):
    """The detector's box with a margin, unturned, as 224 x 224; raw fc7, not normalised: the loss needs its length."""

    def __init__(
        self, path: Path | str, settings: VGGFaceSettings | None = None, *, config: VGGFaceConfig | None = None
    ) -> None:
        self._stated = settings or VGGFaceSettings()
        self.network = load_vggface(path, config=config)
        self.size = self.network.config.hidden
        super().__init__(open_detector(self._stated.detector))

    @property
    def settings(self) -> Mapping[str, Any]:
        """The fields of `VGGFaceSettings`."""
        return self._stated.to_dict()

    @property
    def crop_detector(self) -> DetectorName:
        """The detector of whose boxes its crops are made."""
        return self._stated.detector

    def crop(self, picture: Picture, box: FaceBox) -> Picture:
        """Return the square (224, 224, 3) that the network sees of a face in a box."""
        move = box_crop(box, INPUT_PIXELS, margin=self._stated.margin)
        return take_crop(picture, move, INPUT_PIXELS, outside=OUTSIDE)

    def embed_crops(self, crops: Sequence[Picture]) -> NDArray[np.float32]:
        """Return the embeddings (crops, size) of faces that already fill the square (224, 224, 3)."""
        faces = torch.from_numpy(np.stack(crops).transpose(0, 3, 1, 2).copy()).float() / 255  # (crops, 3, 224, 224)
        with torch.inference_mode():
            return np.asarray(self.network(faces).numpy(), dtype=np.float32)
