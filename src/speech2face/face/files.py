"""Files of weights that the user supplies: found, readable, and the very file that was meant."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from speech2face.errors import WeightsError
from speech2face.outputs import load_onnxruntime, sha256


def weight_file(path: Path | str) -> Path:
    """The path of a file that is there and can be read.

    Raises:
        WeightsError: it is missing, a folder, or may not be read.
    """
    path = Path(path)
    try:
        with path.open("rb"):
            return path
    except FileNotFoundError as error:
        raise WeightsError(f"there is no weight file {path}; check the path") from error
    except OSError as error:
        raise WeightsError(f"the weight file {path} cannot be read: {error.strerror}; name a file") from error


def file_sha256(path: Path | str) -> str:
    """Return the hexadecimal SHA-256 of a weight file.

    Raises:
        WeightsError: it is missing, a folder, or may not be read.
    """
    return sha256(weight_file(path))


def check_sha256(path: Path | str, expected: str) -> None:
    """Refuse a file that is not the one on record.

    Raises:
        WeightsError: its SHA-256 is another.
    """
    found = file_sha256(path)
    if found != expected:
        raise WeightsError(
            f"{path} has the SHA-256 {found[:12]}..., not {expected[:12]}... as recorded;"
            " give the very file that the data or the model were made with"
        )


def open_network(path: Path) -> Any:
    """ONNX Runtime's session of a file, on the CPU.

    Raises:
        WeightsError: it is no network that can be run.
    """
    try:
        return load_onnxruntime().InferenceSession(str(path), providers=["CPUExecutionProvider"])
    except Exception as error:  # ONNX Runtime's errors share no class
        raise WeightsError(f"{path} is no ONNX network that can be run: {first_line(error)}") from error


def picture_input(
    session: Any, input_pixels: int | None, path: Path, *, network: str = "face embedder"
) -> tuple[str, bool, int]:
    """Name of a graph's input, whether colours come before rows, and its side in pixels.

    Raises:
        WeightsError: it takes something else than one square picture, or `input_pixels` is another than its side.
    """
    entries = session.get_inputs()
    shape = list(entries[0].shape) if entries else []
    if len(entries) != 1 or entries[0].type != "tensor(float)" or len(shape) != 4 or 3 not in (shape[1], shape[3]):
        found = ", ".join(f"{entry.name} {entry.type} {entry.shape}" for entry in entries)
        raise WeightsError(
            f"{path} takes {found or 'nothing'}; a {network} takes one float32 picture, (1, 3, side, side) or"
            " (1, side, side, 3)"
        )
    channels_first = shape[1] == 3
    sides = {side for side in (shape[2:] if channels_first else shape[1:3]) if isinstance(side, int)}
    wanted = {input_pixels} if input_pixels else sides
    if len(sides | wanted) != 1:
        raise WeightsError(
            f"{path} takes pictures of shape {shape} and input_pixels is {input_pixels};"
            f" a {network}'s input is square: set input_pixels to its side"
        )
    return entries[0].name, channels_first, int(next(iter(wanted)))


def first_line(error: Exception) -> str:
    """The first line of a library's message."""
    return str(error).strip().splitlines()[0][:200] if str(error).strip() else type(error).__name__
