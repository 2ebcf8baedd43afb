"""VGG-Face's weights: read from the public conversions, checked name by name, and rewritten once as safetensors.

| names in the file | made by | colours |
|---|---|---|
| conv1_1.weight, fc6.weight | MatConvNet's network (`vgg_face_dag.pth`) | red first |
| conv_1_1.weight, fc6.weight, also under features. and fc. | Lua Torch's network (`VGG_FACE.t7`) | blue first |
| features.0.weight, classifier.0.weight | torchvision's VGG-16 | must be said |

The rewritten file has the first row's names, red first, and fc6's input as (channels, height, width).
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from speech2face.errors import CannotWrite, WeightsError
from speech2face.face.embedder_settings import Colours
from speech2face.face.tensor_file import read_tensors
from speech2face.face.vggface import CONVOLUTIONS, LEFT_PIXELS, VGGFace, VGGFaceConfig, mean_colour
from speech2face.face.weight_file import file_sha256, weight_file
from speech2face.untrusted import parse_json

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
    temporary = destination.with_name(f".{destination.name}.{os.getpid()}.tmp")
    try:
        # One entry, because safetensors writes several in any order.
        save_file(tensors, temporary, metadata={METADATA: json.dumps(metadata, sort_keys=True)})
        os.replace(temporary, destination)
    except (OSError, SafetensorError) as error:
        raise CannotWrite(f"cannot write {destination}: {getattr(error, 'strerror', None) or error}") from error
    finally:
        temporary.unlink(missing_ok=True)
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
    naming = max(NAMINGS, key=lambda naming: len(_full_names(naming) & set(tensors)))
    _check_names(tensors, naming, path)
    _check_shapes(tensors, dict(config.layers()), naming.layers, path)
    ours = {
        f"{name}.{part}": tensors[f"{theirs}.{part}"].float().contiguous()
        for name, theirs in naming.layers.items()
        for part in ("weight", "bias")
    }
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


def _full_names(naming: Naming) -> set[str]:
    return {f"{name}.{part}" for name in naming.layers.values() for part in ("weight", "bias")}


def _check_names(tensors: Mapping[str, Tensor], naming: Naming, path: Path) -> None:
    expected = [f"{name}.{part}" for name in naming.layers.values() for part in ("weight", "bias")]
    missing = [name for name in expected if name not in tensors]
    unexpected = sorted(set(tensors) - set(expected))
    if missing:
        rest = f", and {len(missing) - 1} more" if len(missing) > 1 else ""
        raise WeightsError(
            f"{path} lacks {missing[0]}{rest}; VGG-Face has 13 convolutions, fc6, fc7 and fc8, named as in"
            " vgg_face_dag.pth, VGG_FACE.t7's conversions or torchvision's VGG-16"
        )
    if unexpected:
        raise WeightsError(f"{path} holds {unexpected[0]}, which VGG-Face has not; give the original network's weights")


def _check_shapes(
    tensors: Mapping[str, Tensor], shapes: Mapping[str, tuple[int, ...]], names: Mapping[str, str], path: Path
) -> None:
    for name, shape in shapes.items():
        for part, expected in (("weight", shape), ("bias", shape[:1])):
            tensor = tensors.get(f"{names[name]}.{part}")
            found = None if tensor is None else tuple(tensor.shape)
            if found != expected:
                hint = "this is ImageNet's VGG-16" if name == "fc8" and found and found[0] == 1000 else ""
                raise WeightsError(
                    f"{path}: {names[name]}.{part} is {found}, VGG-Face's is {expected};"
                    f" {hint or 'this is another network'}: give VGG-Face's own weights"
                )


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
