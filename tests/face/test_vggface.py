"""VGG-Face by the paper's numbers, and its weights' files: right ones read, wrong ones named."""

import json
import pickle
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="VGG-Face needs torch; install the extra `train`")

from safetensors import safe_open  # noqa: E402
from safetensors.torch import save_file  # noqa: E402
from torch import Tensor  # noqa: E402

from speech2face.errors import CannotWrite, WeightsError  # noqa: E402
from speech2face.face.vggface import MEAN_RED_GREEN_BLUE, NAMINGS, VGGFace, VGGFaceConfig, convert_vggface, load_vggface  # noqa: E402

SMALL = VGGFaceConfig(channels=(2, 3, 4, 4, 5), hidden=12, identities=7)
MATCONVNET, LUA, LUA_NESTED, TORCHVISION = range(4)


def weights(config: VGGFaceConfig = SMALL, seed: int = 0) -> dict[str, Tensor]:
    """By our names, red first."""
    generator = torch.Generator().manual_seed(seed)
    made: dict[str, Tensor] = OrderedDict()
    for name, shape in config.layers():
        made[f"{name}.weight"] = torch.randn(shape, generator=generator) / (3 * shape[1] ** 0.5)
        made[f"{name}.bias"] = torch.randn(shape[:1], generator=generator)
    return made


def named(tensors: dict[str, Tensor], naming: int) -> dict[str, Tensor]:
    layers = NAMINGS[naming].layers
    return {f"{layers[name.split('.')[0]]}.{name.split('.')[1]}": tensor for name, tensor in tensors.items()}


def saved(tensors: Any, path: Path) -> Path:
    torch.save(tensors, path)
    return path


def faces(seed: int = 0) -> Tensor:
    made: Tensor = torch.rand(2, 3, 224, 224, generator=torch.Generator().manual_seed(seed))
    return made


def test_the_network_has_vgg_16s_parameters_and_gives_4096_and_2622_numbers() -> None:
    with torch.device("meta"):
        network = VGGFace()
    network.mean = network.mean.to("meta")
    # 14,714,688 of the convolutions (VGG, Simonyan and Zisserman 2015), then fc6, fc7 and fc8 by hand
    fully_connected = (25_088 * 4096 + 4096) + (4096 * 4096 + 4096) + (4096 * 2622 + 2622)
    assert sum(p.numel() for p in network.parameters()) == 14_714_688 + fully_connected == 145_002_878
    embedding = network(torch.empty(1, 3, 224, 224, device="meta"))
    assert embedding.shape == (1, 4096)
    assert network.head(embedding).shape == (1, 2622)


def test_the_names_of_the_public_conversions_are_theirs() -> None:
    layers = [list(naming.layers.values()) for naming in NAMINGS]
    assert layers[MATCONVNET][:3] == ["conv1_1", "conv1_2", "conv2_1"]
    assert layers[LUA][-4:] == ["conv_5_3", "fc6", "fc7", "fc8"]
    assert layers[LUA_NESTED][-4:] == ["features.conv_5_3", "fc.fc6", "fc.fc7", "fc.fc8"]
    # torchvision's VGG-16, configuration D: print(torchvision.models.vgg16())
    numbers = [0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28]
    assert layers[TORCHVISION] == [f"features.{n}" for n in numbers] + [f"classifier.{n}" for n in (0, 3, 6)]


def test_a_picture_of_the_mean_colour_reaches_the_first_layer_as_zero(tmp_path: Path) -> None:
    network = load_vggface(saved(weights(), tmp_path / "w.pth"), config=SMALL)
    mean = torch.tensor(MEAN_RED_GREEN_BLUE).reshape(1, 3, 1, 1).expand(1, 3, 224, 224) / 255
    seen: list[Tensor] = []
    network.convolutions["conv1_1"].register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    network(mean)
    torch.testing.assert_close(seen[0], torch.zeros(1, 3, 224, 224), atol=1e-4, rtol=0)


def test_the_embedding_is_fc7_after_its_relu_computed_by_hand(tmp_path: Path) -> None:
    tensors = weights()
    network = load_vggface(saved(tensors, tmp_path / "w.pth"), config=SMALL)
    x = faces() * 255 - torch.tensor(MEAN_RED_GREEN_BLUE).reshape(1, 3, 1, 1)
    last = {"conv1_2", "conv2_2", "conv3_3", "conv4_3", "conv5_3"}
    for name, _ in SMALL.layers():
        weight, bias = tensors[f"{name}.weight"], tensors[f"{name}.bias"]
        if name.startswith("conv"):
            x = torch.nn.functional.conv2d(x, weight, bias, padding=1).clamp(min=0)
            x = torch.nn.functional.max_pool2d(x, 2) if name in last else x
        elif name != "fc8":
            x = (x.flatten(1) @ weight.T + bias).clamp(min=0)
    torch.testing.assert_close(network(faces()), x)
    assert (x > 0).any() and (x == 0).any()
    expected = x @ tensors["fc8.weight"].T + tensors["fc8.bias"]
    torch.testing.assert_close(network.head(x), expected)


def test_the_teacher_is_frozen_but_lets_gradients_through_to_the_picture(tmp_path: Path) -> None:
    network = load_vggface(saved(weights(), tmp_path / "w.pth"), config=SMALL)
    assert not any(p.requires_grad for p in network.parameters()) and not network.training
    picture = faces().requires_grad_()
    network(picture).sum().backward()
    assert picture.grad is not None and picture.grad.abs().sum() > 0


@pytest.mark.parametrize("naming", [LUA, LUA_NESTED, TORCHVISION])
def test_every_public_naming_is_the_same_network(tmp_path: Path, naming: int) -> None:
    expected = load_vggface(saved(weights(), tmp_path / "dag.pth"), config=SMALL)(faces())
    theirs = weights()
    theirs["conv1_1.weight"] = theirs["conv1_1.weight"].flip(1)  # blue first
    path = saved(named(theirs, naming), tmp_path / "other.pth")
    colours: Any = "bgr" if naming == TORCHVISION else None
    torch.testing.assert_close(load_vggface(path, colours=colours, config=SMALL)(faces()), expected)


def test_torchvisions_names_do_not_tell_the_order_of_colours(tmp_path: Path) -> None:
    path = saved(named(weights(), TORCHVISION), tmp_path / "w.pth")
    with pytest.raises(WeightsError, match="say colours='rgb' or 'bgr'"):
        load_vggface(path, config=SMALL)


def test_wrapping_and_double_precision_are_undone(tmp_path: Path) -> None:
    expected = load_vggface(saved(weights(), tmp_path / "dag.pth"), config=SMALL)(faces())
    wrapped = {"state_dict": {f"module.{name}": tensor.double() for name, tensor in weights().items()}, "epoch": 3}
    torch.testing.assert_close(load_vggface(saved(wrapped, tmp_path / "w.pth"), config=SMALL)(faces()), expected)


def test_converting_gives_safetensors_that_compute_the_same(tmp_path: Path) -> None:
    source = saved(named(weights(), LUA), tmp_path / "source.pth")
    metadata = convert_vggface(source, tmp_path / "vggface.safetensors", config=SMALL)
    original = load_vggface(source, config=SMALL)
    converted = load_vggface(tmp_path / "vggface.safetensors", config=SMALL)
    torch.testing.assert_close(converted(faces()), original(faces()), atol=0, rtol=0)
    with safe_open(tmp_path / "vggface.safetensors", framework="pt") as file:
        assert json.loads(file.metadata()["speech2face"]) == metadata
        # What the distillation term reads of it.
        torch.testing.assert_close(file.get_tensor("fc8.weight"), converted.head.weight, atol=0, rtol=0)
        torch.testing.assert_close(file.get_tensor("fc8.bias"), converted.head.bias, atol=0, rtol=0)
    # Twice the same bytes; no file is left behind; and what is converted is not converted again.
    convert_vggface(source, tmp_path / "again.safetensors", config=SMALL)
    assert (tmp_path / "again.safetensors").read_bytes() == (tmp_path / "vggface.safetensors").read_bytes()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["again.safetensors", "source.pth", "vggface.safetensors"]
    with pytest.raises(WeightsError, match="converted already"):
        convert_vggface(tmp_path / "again.safetensors", tmp_path / "third.safetensors", config=SMALL)


def test_a_destination_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    source = saved(weights(), tmp_path / "source.pth")
    with pytest.raises(CannotWrite, match="cannot write"):
        convert_vggface(source, tmp_path / "no" / "folder" / "x.safetensors", config=SMALL)


def smooth(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """fc6 that wants nearly the same in neighbouring places, as a trained one does."""
    plane = torch.randn(12, 5, 1, 1, generator=torch.Generator().manual_seed(1)).expand(12, 5, 7, 7)
    return tensors | {"fc6.weight": (plane + 0.1 * torch.randn(12, 5, 7, 7)).reshape(12, -1)}


def test_fc6_flattened_as_keras_does_is_noticed_and_can_be_said(tmp_path: Path) -> None:
    right = smooth(weights())
    keras = right | {"fc6.weight": right["fc6.weight"].reshape(12, 5, 7, 7).permute(0, 2, 3, 1).reshape(12, -1)}
    path = saved(keras, tmp_path / "keras.pth")
    with pytest.raises(WeightsError, match="fc6_order='channels_last'"):
        load_vggface(path, config=SMALL)
    expected = load_vggface(saved(right, tmp_path / "right.pth"), config=SMALL)(faces())
    torch.testing.assert_close(load_vggface(path, fc6_order="channels_last", config=SMALL)(faces()), expected)
    load_vggface(path, fc6_order="channels_first", config=SMALL)  # whoever insists


def broken(change: str) -> dict[str, Tensor]:
    tensors = weights()
    if change == "missing":
        del tensors["conv3_2.bias"]
    elif change == "extra":
        tensors["bn1.weight"] = torch.ones(3)
    elif change == "shape":
        tensors["fc7.weight"] = torch.zeros(12, 11)
    elif change == "imagenet":
        tensors["fc8.weight"], tensors["fc8.bias"] = torch.zeros(1000, 12), torch.zeros(1000)
    elif change == "infinite":
        tensors["fc6.bias"][0] = np.inf
    return tensors


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("missing", r"lacks conv3_2.bias; VGG-Face has 13"),
        ("extra", r"holds bn1.weight, which VGG-Face has not"),
        ("shape", r"fc7.weight is \(12, 11\), VGG-Face's is \(12, 12\)"),
        ("imagenet", r"fc8.weight is \(1000, 12\), VGG-Face's is \(7, 12\); this is ImageNet's"),
        ("infinite", r"fc6.bias holds numbers that are none"),
    ],
)
@pytest.mark.parametrize("suffix", ["pth", "safetensors"])
def test_the_first_wrong_tensor_is_named(tmp_path: Path, change: str, message: str, suffix: str) -> None:
    path = tmp_path / f"w.{suffix}"
    if suffix == "pth":
        saved(broken(change), path)
    else:
        save_file(broken(change), path)
    with pytest.raises(WeightsError, match=message):
        load_vggface(path, config=SMALL)


class Trap:
    """What a pickle can do: here it makes a file."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> Any:
        return (Path.touch, (self.target,))


def test_a_pickled_object_is_refused_and_does_not_run(tmp_path: Path) -> None:
    trap = {"conv1_1.weight": Trap(tmp_path / "ran")}
    torch.save(trap, tmp_path / "torch.pth")
    (tmp_path / "plain.pth").write_bytes(pickle.dumps(trap, protocol=2))
    for name in ("torch.pth", "plain.pth"):
        with pytest.raises(WeightsError, match=r"could run anything.*state_dict"):
            load_vggface(tmp_path / name, config=SMALL)
    assert not (tmp_path / "ran").exists()
    saved({"conv1_1.weight": [1, 2, 3]}, tmp_path / "list.pth")
    with pytest.raises(WeightsError, match="more than named tensors"):
        load_vggface(tmp_path / "list.pth", config=SMALL)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"\x89HDF\r\n\x1a\n" + bytes(64), "an HDF5 file, as Keras writes"),
        (b"MATLAB 5.0 MAT-file" + bytes(64), "a MATLAB file"),
        (b"<!DOCTYPE html><html>", "a web page"),
        (b"version https://git-lfs.github.com/spec/v1", "git-lfs pointer"),
        (b"", "no whole safetensors file"),
        (b"\xff" * 64, "no whole safetensors file"),
    ],
    ids=["hdf5", "matlab", "html", "lfs", "empty", "noise"],
)
def test_files_of_another_format_are_recognised(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "w.pth").write_bytes(content)
    with pytest.raises(WeightsError, match=message):
        load_vggface(tmp_path / "w.pth", config=SMALL)


@pytest.mark.parametrize("suffix", ["pth", "safetensors", "legacy"])
def test_a_file_cut_short_is_said_to_be(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"w.{suffix}"
    if suffix == "safetensors":
        save_file(weights(), path)
    else:
        torch.save(weights(), path, _use_new_zipfile_serialization=suffix == "pth")
        assert load_vggface(path, config=SMALL)
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(WeightsError, match=r"cut short|no whole safetensors"):
        load_vggface(path, config=SMALL)


def test_a_missing_file_and_a_folder_are_said_to_be(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="no weight file"):
        load_vggface(tmp_path / "none.pth")
    with pytest.raises(WeightsError, match="cannot be read"):
        load_vggface(tmp_path)
