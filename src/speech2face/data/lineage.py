"""What was made of a data set: everything that states the SHA-256 of its manifest, and what was made of that."""

from __future__ import annotations

import hashlib
import os
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from speech2face.data.manifest import MANIFEST
from speech2face.data.tombstones import TOMBSTONES
from speech2face.errors import DatasetError

TEXTS = (".json", ".md", ".jsonl", ".toml")  # records, cards, statements
WEIGHTS = ".safetensors"  # checkpoints state it in their metadata
_MOST_TEXT_BYTES = 2**25
_LENGTH = struct.Struct("<Q")  # of a safetensors header, before it


@dataclass(frozen=True)
class Trace:
    """A file that says it was made of a data set."""

    path: Path
    manifest_sha256: str
    """The manifest it names."""


def trained_on(folders: Sequence[Path], manifests: Sequence[str]) -> tuple[Trace, ...]:
    """The checkpoints, releases and derived data sets in these folders, at any depth, made of one of these data sets.

    A derived data set (morphs) counts with its own manifest: what was trained on that is found too.

    Raises:
        DatasetError: a folder is not there.
    """
    texts = {path: text for folder in folders for path, text in _statements(folder)}
    wanted, found = list(manifests), dict[Path, Trace]()
    for sha256 in wanted:  # grows while it is gone through
        for path, text in texts.items():
            if path not in found and sha256.encode() in text:
                found[path] = Trace(path, sha256)
                if path.name == MANIFEST:
                    wanted.append(hashlib.sha256(text).hexdigest())
    return tuple(found[path] for path in sorted(found))


def check_models(folders: Sequence[Path]) -> None:
    """Read once what `trained_on` will read, so that what cannot be read is said before anything is removed.

    Raises:
        DatasetError: a folder is not there, or something in it cannot be read.
    """
    for folder in folders:
        for _ in _statements(folder):
            pass


def _statements(folder: Path) -> Iterator[tuple[Path, bytes]]:
    """Each file that may name a manifest, and the part of it that does."""
    if not folder.is_dir():
        raise DatasetError(f"{folder} is no folder; name one that holds trainings or releases")
    for parent, _, names in os.walk(folder, onerror=_refuse_folder):
        for name in sorted(names):
            path = Path(parent) / name
            try:
                if path.suffix == WEIGHTS:
                    yield path, _header(path)
                elif path.suffix in TEXTS and name != TOMBSTONES and path.stat().st_size <= _MOST_TEXT_BYTES:
                    yield path, path.read_bytes()
            except OSError as error:
                raise DatasetError(f"cannot read {path}: {error.strerror}; it may be concerned") from error


def _refuse_folder(error: OSError) -> NoReturn:
    raise DatasetError(f"cannot read {error.filename}: {error.strerror}; what is in it may be concerned") from error


def _header(path: Path) -> bytes:
    """The JSON at the beginning of a safetensors file."""
    with path.open("rb") as file:
        length = file.read(_LENGTH.size)
        if len(length) < _LENGTH.size:
            return b""
        return file.read(min(_LENGTH.unpack(length)[0], _MOST_TEXT_BYTES))
