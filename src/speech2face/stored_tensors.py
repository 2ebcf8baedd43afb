"""Single tensors of a safetensors file as numpy arrays, without the package that writes such files."""

import json
import struct
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from speech2face.errors import WeightsError

NUMPY_TYPES = {"F32": np.float32, "F16": np.float16, "I8": np.int8, "U8": np.uint8}


def tensor_places(path: Path) -> dict[str, tuple[int, int, list[int], str]]:
    """Offset, length, shape and type of each tensor in a safetensors file."""
    with path.open("rb") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        header = json.loads(file.read(length))
    return {
        name: (8 + length + start, stop - start, entry["shape"], entry["dtype"])
        for name, entry, (start, stop) in ((n, e, e.get("data_offsets", (0, 0))) for n, e in header.items())
        if name != "__metadata__"
    }


def read_stored(path: Path, names: Iterable[str]) -> dict[str, NDArray[np.float32]]:
    """The named tensors in float32; only their bytes are read.

    Raises:
        WeightsError: the file cannot be read or lacks one of them.
    """
    try:
        places = tensor_places(path)
        found = {}
        with path.open("rb") as file:
            for name in names:
                offset, length, shape, kind = places[name]
                file.seek(offset)
                stored = np.frombuffer(file.read(length), NUMPY_TYPES[kind])
                found[name] = stored.astype(np.float32).reshape(shape)
    except KeyError as error:
        raise WeightsError(f"{path} holds no tensor {error}; fetch the release again") from error
    except (OSError, ValueError, struct.error) as error:
        raise WeightsError(f"{path} cannot be read: {error}; fetch the release again") from error
    return found
