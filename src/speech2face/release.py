"""Releases of weights: a folder whose `model.json` names its kind, every file with its SHA-256, and the licence."""

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from speech2face.errors import WeightsError
from speech2face.untrusted import parse_json

MANIFEST = "model.json"
FORMATS = {"attributes": 1, "paired": 2}
"""What this program reads, by kind; a number is raised whenever an older program could not read a newer release."""
FIRST_KIND = "attributes"  # releases made before there was another kind do not name theirs
SHIPPED = Path(__file__).parent / "weights" / "starter"


@dataclass(frozen=True)
class Release:
    """One set of weights and what is needed to cite it; each kind adds what is needed to use it."""

    folder: Path
    name: str
    version: str
    licence: str
    thresholds: dict[str, float]
    """At which measurement each caution is given, by name; a caution whose threshold is missing is not judged."""

    def file(self, name: str) -> Path:
        """Path of one file of the release."""
        return self.folder / name


def sha256(path: Path) -> str:
    """Hexadecimal SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_manifest(folder: Path) -> dict[str, Any]:
    """The manifest of a release, its kind and format known to this program; its files are not looked at.

    Raises:
        WeightsError: no manifest, none that can be read, or one of another program.
    """
    try:
        values: dict[str, Any] = parse_json((folder / MANIFEST).read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise WeightsError(f"{folder} holds no {MANIFEST}; give the folder of a release") from error
    except (OSError, ValueError) as error:
        raise WeightsError(f"{folder / MANIFEST} cannot be read: {error}; fetch the release again") from error
    with parsing(folder):
        kind = values.setdefault("kind", FIRST_KIND)
        found = values["format"]
        if kind not in FORMATS:
            raise WeightsError(
                f'{folder} is a release of kind "{kind}", this program knows {", ".join(FORMATS)};'
                " use the version of the program it was made for"
            )
    if found != FORMATS[kind]:
        raise WeightsError(
            f"{folder} is a release of format {found}, this program reads format {FORMATS[kind]};"
            " use the version of the program it was made for"
        )
    return values


def open_release(folder: Path | str | None = None, kind: str | None = None) -> tuple[Path, dict[str, Any]]:
    """The folder and the manifest of a release whose files are all there and undamaged; None is the shipped one.

    Raises:
        WeightsError: missing, damaged, of another kind than `kind`, or made for another version; names the file.
    """
    folder = SHIPPED if folder is None else Path(folder)
    values = read_manifest(folder)
    if kind not in (None, values["kind"]):
        raise WeightsError(f"{folder} is a release of kind {values['kind']}, where one of kind {kind} is needed")
    with parsing(folder):
        files = {str(name): str(expected) for name, expected in values["files"].items()}
    for name, expected in files.items():
        path = folder / name
        if not path.is_file():
            raise WeightsError(f"the release {folder} lacks {name}; install or fetch it again")
        if sha256(path) != expected:
            raise WeightsError(f"{path} is damaged (its SHA-256 is not the recorded one); install or fetch it again")
    return folder, values


@contextmanager
def parsing(folder: Path) -> Iterator[None]:
    """What is missing from a manifest, or of the wrong kind in it, becomes a typed error that says so.

    Raises:
        WeightsError: names the manifest.
    """
    try:
        yield
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise WeightsError(f"{folder / MANIFEST} lacks or mistakes {error}; fetch the release again") from error


def common_parts(folder: Path, values: dict[str, Any]) -> dict[str, Any]:
    """The fields of `Release` in a manifest, as keyword arguments."""
    thresholds = {str(name): float(value) for name, value in values["thresholds"].items()}
    return {"folder": folder, "thresholds": thresholds} | {key: values[key] for key in ("name", "version", "licence")}


def write_manifest(folder: Path, values: dict[str, Any], files: list[str]) -> None:
    """Write the manifest, last of all: with the SHA-256 of the files that lie there, in one step."""
    recorded = {**values, "files": {name: sha256(folder / name) for name in files}}
    temporary = folder / f".{MANIFEST}.tmp"
    temporary.write_text(json.dumps(recorded, indent=1) + "\n", encoding="utf-8")
    temporary.replace(folder / MANIFEST)
