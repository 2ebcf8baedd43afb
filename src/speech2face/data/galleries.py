"""Faces by speaker, copied from a data set to be searched: files of rows and galleries; those of the forgotten go."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from speech2face.data.tombstones import Tombstones
from speech2face.errors import DatasetError
from speech2face.outputs import check_outputs, write_together
from speech2face.untrusted import load_npz

if TYPE_CHECKING:
    from speech2face.gallery.gallery import Gallery

SPEAKER = "speaker"
CLIP = "clip"


def check_galleries(paths: Sequence[Path]) -> None:
    """Refuse files that could not be cleaned, before anything is removed anywhere.

    Raises:
        DatasetError, CannotWrite: as `clean_gallery`.
    """
    files = [path for path in paths if not path.is_dir()]
    for path in paths:
        if path.is_dir():
            _open(path).close()
        else:
            _without(path, Tombstones.new())
    check_outputs(files, force=True)


def clean_gallery(path: Path, tombstones: Tombstones, named: Sequence[str] = ()) -> frozenset[str]:
    """Remove forgotten speakers from a gallery's folder, or from a table (.csv) or arrays (.npz) with a `speaker` for
    each row; whose faces went.

    A gallery, whatever its backend, keeps tombstones of its own: of those it held, and of `named`. Arrays as long as
    `speaker` are rows of the same gallery; others are kept as they are.

    Raises:
        DatasetError: a file of another kind, or one that does not say whose its rows are.
        CannotWrite: no room, no permission.
    """
    if path.is_dir():
        with _open(path) as gallery:
            return frozenset(gallery.honour(tombstones, named).speakers)
    content, removed = _without(path, tombstones)
    if removed:
        write_together({path: content}, force=True)
    return removed


def _open(path: Path) -> Gallery:
    from speech2face.gallery.gallery import Gallery  # it needs this package

    return Gallery.open(path)


def _without(path: Path, tombstones: Tombstones) -> tuple[bytes, frozenset[str]]:
    """The file without the forgotten, and who these were."""
    if not path.is_file():
        raise DatasetError(f"there is no gallery {path}")
    try:
        if path.suffix == ".csv":
            return _clean_csv(path, tombstones)
        if path.suffix == ".npz":
            return _clean_npz(path, tombstones)
    except OSError as error:
        raise DatasetError(f"cannot read {path}: {error.strerror or error}") from error
    raise DatasetError(f"{path} is no gallery this program can clean (.csv, .npz); make it anew from the data")


def gone(tombstones: Tombstones, speaker: str, clip: str | None = None) -> bool:
    """Whether a row is one of the forgotten."""
    return tombstones.has_speaker(speaker) or (clip is not None and tombstones.has_clip(clip))


def _clean_csv(path: Path, tombstones: Tombstones) -> tuple[bytes, frozenset[str]]:
    try:
        rows = list(csv.reader(io.StringIO(path.read_bytes().decode(), newline=""), strict=True))
    except (UnicodeDecodeError, csv.Error) as error:
        raise DatasetError(f"{path} is no CSV: {error}") from error
    if not rows or SPEAKER not in rows[0]:
        raise DatasetError(f"{path} has no column {SPEAKER!r}; make the gallery anew from the data")
    who, which = rows[0].index(SPEAKER), rows[0].index(CLIP) if CLIP in rows[0] else None
    kept, removed = [rows[0]], set()
    for number, row in enumerate(rows[1:], start=2):
        if row and len(row) != len(rows[0]):
            raise DatasetError(f"{path}, row {number}: {len(row)} cells where the head has {len(rows[0])}; mend it")
        if row and gone(tombstones, row[who], None if which is None else row[which]):
            removed.add(row[who])
        else:
            kept.append(row)
    sink = io.StringIO()
    csv.writer(sink, lineterminator="\n").writerows(kept)
    return sink.getvalue().encode(), frozenset(removed)


def _clean_npz(path: Path, tombstones: Tombstones) -> tuple[bytes, frozenset[str]]:
    try:
        arrays = load_npz(path)
    except (ValueError, OSError) as error:
        raise DatasetError(f"{path} is no file of arrays: {error}") from error
    speakers = arrays.get(SPEAKER)
    if speakers is None or speakers.ndim != 1 or speakers.dtype.kind != "U":
        raise DatasetError(f"{path} has no text array {SPEAKER!r} with a name for each row; make the gallery anew")
    clips = arrays.get(CLIP)
    keys = [None] * len(speakers) if clips is None or clips.shape != speakers.shape else clips.tolist()
    stays = np.array([not gone(tombstones, *row) for row in zip(speakers.tolist(), keys, strict=True)], bool)
    sink = io.BytesIO()
    rows: dict[str, Any] = {}
    for name, array in arrays.items():
        rows[name] = array[stays] if array.shape[:1] == stays.shape else array
    np.savez(sink, **rows)
    return sink.getvalue(), frozenset(speakers[~stays].tolist())
