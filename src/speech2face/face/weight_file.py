"""Files of weights that the user supplies: found, readable, and the very file that was meant."""

from __future__ import annotations

import hashlib
from pathlib import Path

from speech2face.errors import WeightsError


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
    """Hexadecimal SHA-256 of a weight file."""
    with weight_file(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


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
