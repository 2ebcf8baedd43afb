"""Single tensors of a safetensors file as numpy arrays, without the package that writes such files."""

import math
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from speech2face.errors import WeightsError
from speech2face.untrusted import parse_json_object

NUMPY_TYPES = {"F32": np.float32, "F16": np.float16, "I8": np.int8, "U8": np.uint8}


MAX_HEADER_BYTES = 16 * 2**20  # of a file's JSON; the largest network here needs a thousandth


def tensor_places(path: Path) -> dict[str, tuple[int, int, list[int], str]]:
    """Offset, length, shape and type of each tensor in a safetensors file.

    Raises:
        ValueError: no such file, or one whose header contradicts itself or the bytes that are there.
        OSError: it cannot be read.
    """
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        start = file.read(8)
        length = int.from_bytes(start, "little")
        if len(start) < 8 or length > min(size - 8, MAX_HEADER_BYTES):
            raise ValueError(f"a header of {length} bytes in a file of {size}")
        header = parse_json_object(file.read(length))
    return {name: _place(name, entry, 8 + length, size) for name, entry in header.items() if name != "__metadata__"}


def _place(name: str, entry: Any, start: int, size: int) -> tuple[int, int, list[int], str]:
    try:
        first, end = map(int, entry["data_offsets"])
        shape, kind = [int(length) for length in entry["shape"]], str(entry["dtype"])
    except (TypeError, KeyError, ValueError, OverflowError) as error:
        raise ValueError(f"a tensor {name[:80]!r} that is not described ({error})") from None
    if not 0 <= first <= end <= size - start or min([0, *shape]) < 0:
        raise ValueError(f"a tensor {name[:80]!r} outside the file")
    if kind in NUMPY_TYPES and math.prod(shape) * np.dtype(NUMPY_TYPES[kind]).itemsize != end - first:
        raise ValueError(f"a tensor {name[:80]!r} of shape {shape} in {end - first} bytes")
    return start + first, end - first, shape, kind


def read_stored(path: Path, names: Iterable[str]) -> dict[str, NDArray[np.float32]]:
    """The named tensors in float32; only their bytes are read.

    Raises:
        WeightsError: the file cannot be read or lacks one of them.
    """
    found = {}
    try:
        places = tensor_places(path)
        with path.open("rb") as file:
            for name in names:
                if name not in places:
                    raise WeightsError(f"{path} holds no tensor {name!r}; fetch the release again")
                offset, length, shape, kind = places[name]
                if kind not in NUMPY_TYPES:
                    raise ValueError(f"a tensor {name!r} of type {kind[:20]}; {', '.join(NUMPY_TYPES)} are read")
                file.seek(offset)
                found[name] = np.frombuffer(file.read(length), NUMPY_TYPES[kind]).astype(np.float32).reshape(shape)
    except (OSError, ValueError) as error:
        raise WeightsError(f"{path} cannot be read: {error}; fetch the release again") from error
    return found
