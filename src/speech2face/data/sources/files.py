"""Files of a source's folder, on this machine or behind a URL, always in the same order."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator
from pathlib import Path
from urllib.parse import urlsplit

from speech2face.data.storage import Storage
from speech2face.errors import DatasetError, MissingExtra
from speech2face.face.photograph import FIRST_BYTES, is_photograph

VIDEOS = frozenset(
    {".mp4", ".webm", ".mkv", ".mov", ".m4v", ".avi", ".mpg", ".mpeg", ".vob", ".flv", ".f4v", ".3gp", ".ogv", ".wmv"}
    | {".ts", ".m2ts", ".mts", ".m2t"}  # transport streams, of broadcasts and cameras
)
SOUNDS = frozenset({".wav", ".m4a", ".flac", ".mp3", ".ogg", ".opus", ".aac", ".mka", ".weba"})
PICTURES = frozenset(
    {".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".bmp", ".tif", ".tiff", ".gif", ".heic", ".heif", ".avif"}
)
"""Endings of pictures; others are looked into."""

UNFINISHED = frozenset({".part", ".ytdl", ".tmp", ".crdownload"})  # what downloaders leave


def suffix_of(name: str) -> str:
    """The ending of a file's name, in small letters."""
    return os.path.splitext(name)[1].lower()


def pictures_below(place: str) -> Iterator[tuple[str, bool]]:
    """All files of a folder as `files_below`, and of each whether it is a picture.

    It is where its name or its first bytes say so: cameras and websites name pictures in many ways, and a file that is
    passed over because of its name is missed by nobody.

    Raises:
        DatasetError: as `files_below`.
    """
    storage = Storage(place)
    for path in files_below(place, None):
        if suffix_of(path) in PICTURES:
            yield path, True
            continue
        if storage.local is not None:
            yield path, has_picture(storage.local / path)
            continue
        try:
            yield path, is_photograph(storage.read_ranges([(path, 0, FIRST_BYTES)])[0])
        except DatasetError:
            yield path, False


def has_picture(path: Path) -> bool:
    """Whether a file of this machine begins as a picture does."""
    try:
        with path.open("rb") as file:
            return is_photograph(file.read(FIRST_BYTES))
    except OSError:
        return False


def files_below(place: str, suffixes: Collection[str] | None) -> Iterator[str]:
    """Paths inside a folder, `/` between names, of all files with these endings, folder after folder in order of name.

    `suffixes` None takes every file.

    Hidden files and folders are passed over.

    Raises:
        DatasetError: there is no such folder, or it cannot be listed.
    """
    storage = Storage(place)
    if storage.local is not None:
        if not storage.local.is_dir():
            raise DatasetError(f"{place} is no folder; name the one that holds the files")
        yield from _below(storage.local, "", suffixes)
        return
    for path in sorted(_remote_paths(storage), key=lambda path: path.split("/")):
        hidden = any(part.startswith(".") for part in path.split("/"))
        if not hidden and (suffixes is None or suffix_of(path) in suffixes):
            yield path


def _below(folder: Path, inside: str, suffixes: Collection[str] | None) -> Iterator[str]:
    try:
        with os.scandir(folder) as listing:
            entries = sorted(listing, key=lambda entry: entry.name)
    except OSError as error:
        raise DatasetError(f"cannot list {folder}: {error.strerror}") from error
    for entry in entries:
        if entry.name.startswith("."):
            continue
        if entry.is_dir():
            yield from _below(folder / entry.name, f"{inside}{entry.name}/", suffixes)
        elif suffixes is None or suffix_of(entry.name) in suffixes:
            yield inside + entry.name


def _remote_paths(storage: Storage) -> list[str]:
    import fsspec.core  # slow to import, and not needed for local folders

    try:
        system, folder = fsspec.core.url_to_fs(storage.name)
        found = system.find(folder)
    except ImportError as error:
        raise MissingExtra(f"{storage} needs a package that is not installed: {error}") from error
    except Exception as error:  # object stores raise their client's own classes, which have no common root
        raise DatasetError(f"cannot list {storage}: {type(error).__name__}: {error}") from error
    if not found:
        raise DatasetError(f"{storage} holds no file; name the folder the files were downloaded to")
    return [str(path)[len(folder.rstrip("/")) + 1 :] for path in found]


def is_url(place: str) -> bool:
    """Whether this is an fsspec URL, and not a path of this machine."""
    return "://" in place and urlsplit(place).scheme not in ("file", "local")


def beside(folder: str, path: str) -> str:
    """A path or URL as a table in this folder means it: relative to the folder unless it is whole."""
    if "://" in path or os.path.isabs(path):
        return path
    return Storage(folder).where(with_slashes(folder, path))


def with_slashes(folder: str, path: str) -> str:
    """A path as it is written on any machine: one with backslashes is meant as folders, unless a file is called so."""
    if "\\" not in path or (not is_url(folder) and os.path.exists(os.path.join(folder, path))):
        return path
    return path.replace("\\", "/")


def is_missing(place: str) -> bool:
    """Whether a path of this machine names no file; of URLs nothing is asked here, reading them tells."""
    if is_url(place):
        return False
    path = Storage(place).local
    return path is None or not path.is_file()
