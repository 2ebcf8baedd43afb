"""Files of faces by speaker, copied from a data set to be searched: the rows of the forgotten go."""

from __future__ import annotations

import csv
import io
import zipfile
from pathlib import Path

import numpy as np

from speech2face.data.tombstones import Tombstones
from speech2face.errors import DatasetError
from speech2face.outputs import write_together

SPEAKER = "speaker"
CLIP = "clip"


def clean_gallery(path: Path, tombstones: Tombstones) -> bool:
    """Remove forgotten speakers from a table (.csv) or arrays (.npz) with a `speaker` for each row; whether any was.

    Arrays as long as `speaker` are rows of the same gallery; others are kept as they are.

    Raises:
        DatasetError: a file of another kind, or one that does not say whose its rows are.
        CannotWrite: no room, no permission.
    """
    if not path.is_file():
        raise DatasetError(f"there is no gallery {path}")
    if path.suffix == ".csv":
        content = _clean_csv(path, tombstones)
    elif path.suffix == ".npz":
        content = _clean_npz(path, tombstones)
    else:
        raise DatasetError(f"{path} is no gallery this program can clean (.csv, .npz); make it anew from the data")
    if content is None:
        return False
    write_together({path: content}, force=True)
    return True


def gone(tombstones: Tombstones, speaker: str, clip: str | None = None) -> bool:
    """Whether a row is one of the forgotten."""
    return tombstones.has_speaker(speaker) or (clip is not None and tombstones.has_clip(clip))


def _clean_csv(path: Path, tombstones: Tombstones) -> bytes | None:
    try:
        rows = list(csv.reader(io.StringIO(path.read_bytes().decode(), newline=""), strict=True))
    except (UnicodeDecodeError, csv.Error) as error:
        raise DatasetError(f"{path} is no CSV: {error}") from error
    if not rows or SPEAKER not in rows[0]:
        raise DatasetError(f"{path} has no column {SPEAKER!r}; make the gallery anew from the data")
    who, which = rows[0].index(SPEAKER), rows[0].index(CLIP) if CLIP in rows[0] else None
    kept = [row for row in rows[1:] if not gone(tombstones, row[who], None if which is None else row[which])]
    if len(kept) == len(rows) - 1:
        return None
    sink = io.StringIO()
    csv.writer(sink, lineterminator="\n").writerows([rows[0], *kept])
    return sink.getvalue().encode()


def _clean_npz(path: Path, tombstones: Tombstones) -> bytes | None:
    try:
        with np.load(path, allow_pickle=False) as opened:
            arrays = {name: opened[name] for name in opened.files}
    except (ValueError, OSError, zipfile.BadZipFile) as error:
        raise DatasetError(f"{path} is no file of arrays: {error}") from error
    speakers = arrays.get(SPEAKER)
    if speakers is None or speakers.ndim != 1 or speakers.dtype.kind != "U":
        raise DatasetError(f"{path} has no text array {SPEAKER!r} with a name for each row; make the gallery anew")
    clips = arrays.get(CLIP)
    keys = [None] * len(speakers) if clips is None or clips.shape != speakers.shape else clips.tolist()
    stays = np.array([not gone(tombstones, *row) for row in zip(speakers.tolist(), keys, strict=True)], bool)
    if stays.all():
        return None
    sink = io.BytesIO()
    rows = {name: array[stays] if array.shape[:1] == stays.shape else array for name, array in arrays.items()}
    np.savez(sink, **rows)
    return sink.getvalue()
