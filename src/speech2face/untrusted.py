"""Arrays and JSON out of files that anybody may have written: sizes are checked against the bytes that are there before
anything is allocated, nothing is ever unpickled, and whatever is wrong is one ValueError that says what.

NumPy, zipfile and json raise some twenty kinds of errors on damaged bytes, among them MemoryError for a shape that was
never meant and RecursionError for brackets; whoever knows the file's name turns the one kind into a typed error.
"""

import io
import json
import math
import os
import tokenize
import zipfile
import zlib
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

MAX_AXES = 8  # of an array; NumPy would take 64
# What an archive may hold unpacked: anything up to this, beyond it a multiple of its own bytes. Numbers that were
# measured hardly shrink; a bomb is a thousand times larger than its file.
FREE_BYTES = 64 * 2**20
MAX_EXPANSION = 20

_NUMPY_TROUBLE = (
    ValueError,
    TypeError,
    SyntaxError,
    tokenize.TokenError,
    EOFError,
    OverflowError,
    MemoryError,
    RecursionError,
)
_ZIP_TROUBLE = (
    *(zipfile.BadZipFile, zlib.error, EOFError, OSError, NotImplementedError, RuntimeError, KeyError, IndexError),
    *(UnicodeError, OverflowError, MemoryError),
)


def parse_json(content: bytes | str) -> Any:
    """A JSON value.

    Raises:
        ValueError: no JSON, not UTF-8, or nested deeper than the parser goes.
    """
    try:
        return json.loads(content)
    except RecursionError:
        raise ValueError("brackets nested deeper than anything sensible") from None


def parse_json_object(content: bytes | str) -> dict[str, Any]:
    """A JSON object.

    Raises:
        ValueError: as `parse_json`, or another kind of value.
    """
    value = parse_json(content)
    if not isinstance(value, dict):
        raise ValueError(f"a JSON object is needed, this is a {type(value).__name__}")
    return value


def read_npy(file: BinaryIO, size: int) -> NDArray[Any]:
    """The array of an .npy of `size` bytes that starts where the file stands.

    Raises:
        ValueError: no array of plain numbers or text, or one that does not fill just these bytes.
        OSError: the file cannot be read.
    """
    start = file.tell()
    shape, fortran, dtype = npy_header(file)
    count = math.prod(shape)  # Python's numbers do not overflow
    if count * dtype.itemsize != size - (file.tell() - start):
        raise ValueError(
            f"an array {shape} of {dtype} has {count * dtype.itemsize} bytes, {size - (file.tell() - start)} are there"
        )
    content = file.read(count * dtype.itemsize)
    if len(content) != count * dtype.itemsize:
        raise ValueError("an array that is cut short")
    flat = np.frombuffer(content, dtype=dtype) if content else np.zeros(0, dtype=dtype)
    return flat.reshape(shape, order="F" if fortran else "C")


def npy_header(file: BinaryIO) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    """Shape, whether in Fortran's order, and type of an .npy; the file then stands before the numbers.

    Raises:
        ValueError: no header of NumPy's format, or one of an array that this program never takes.
    """
    try:
        version = np.lib.format.read_magic(file)
        read = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}[version]
        shape, fortran, dtype = read(file)
    except KeyError:
        raise ValueError("a version of NumPy's format that is not read here") from None
    except _NUMPY_TROUBLE as error:
        raise ValueError(f"no header of a NumPy array ({_short(error)})") from None
    if dtype.hasobject or dtype.names is not None or dtype.subdtype is not None:
        raise ValueError(f"an array of {str(dtype)[:80]}, where plain numbers are needed")
    if len(shape) > MAX_AXES or any(length < 0 for length in shape):
        raise ValueError(f"an array of shape {str(shape)[:80]}")
    return shape, fortran, dtype


def array_of(content: bytes | memoryview) -> NDArray[Any]:
    """The array of the bytes of an .npy.

    Raises:
        ValueError: as `read_npy`.
    """
    return read_npy(io.BytesIO(content), len(content))


def load_npy(path: Path) -> NDArray[Any]:
    """The array of an .npy file.

    Raises:
        ValueError: as `read_npy`.
        OSError: the file cannot be read.
    """
    with path.open("rb") as file:
        return read_npy(file, os.fstat(file.fileno()).st_size)


def map_npy(path: Path) -> NDArray[Any]:
    """The array of an .npy file as a read-only map of it, so that only what is looked at is read; (0, ...) where it is
    empty, which cannot be mapped.

    Raises:
        ValueError: as `read_npy`.
        OSError: the file cannot be read.
    """
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        shape, fortran, dtype = npy_header(file)
        place = file.tell()
    if math.prod(shape) * dtype.itemsize != size - place:
        raise ValueError(f"an array {shape} of {dtype} does not fill its {size} bytes")
    if 0 in shape:
        return np.zeros(shape, dtype=dtype)
    return np.memmap(path, dtype=dtype, mode="r", offset=place, shape=shape, order="F" if fortran else "C")


def load_npz(source: Path | BinaryIO) -> dict[str, NDArray[Any]]:
    """All arrays of an .npz by name.

    Raises:
        ValueError: no zip archive of arrays, one that unpacks to far more than it is, or a damaged one.
        OSError: the file cannot be opened.
    """
    with open(source, "rb") if isinstance(source, Path) else _kept_open(source) as file:
        size = file.seek(0, os.SEEK_END)
        try:
            with zipfile.ZipFile(file) as archive:
                entries = archive.infolist()
                unpacked = sum(entry.file_size for entry in entries)
                if unpacked > max(FREE_BYTES, MAX_EXPANSION * size):
                    raise ValueError(f"an archive of {size} bytes that says it unpacks to {unpacked}")
                return {entry.filename.removesuffix(".npy"): _entry(archive, entry) for entry in entries}
        except _ZIP_TROUBLE as error:
            raise ValueError(f"no archive of arrays that can be read ({_short(error)})") from None


def _entry(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> NDArray[Any]:
    with archive.open(entry) as member:
        content = member.read(entry.file_size + 1)  # what lies beyond what it states is damage, not read
    if len(content) != entry.file_size:
        raise ValueError(f"{entry.filename!r} does not have the bytes that it states")
    return array_of(content)


class _kept_open:
    """A file of the caller's in a `with`, which stays open."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file

    def __enter__(self) -> BinaryIO:
        return self._file

    def __exit__(self, *_: object) -> None:
        pass


def _short(error: BaseException) -> str:
    lines = str(error).splitlines()
    return (lines[0] if lines else type(error).__name__)[:120]
