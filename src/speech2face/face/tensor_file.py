"""Files of tensors that others made: safetensors, or torch state dicts read without running anything in them."""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from speech2face.errors import WeightsError
from speech2face.face.weight_file import weight_file

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
