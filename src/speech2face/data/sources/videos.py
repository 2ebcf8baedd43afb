"""Own data: a folder of videos, each of one speaker, who is named by the sub-folder or, beside the others, the file."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from speech2face.data.record import LABELS, Record, Reject, is_key
from speech2face.data.sources.basis import Basis
from speech2face.data.sources.files import VIDEOS, files_below
from speech2face.data.sources.tables import Row, read_table
from speech2face.data.storage import Storage
from speech2face.errors import DatasetError

OPTIONAL = ("licence", "consent", "split", *LABELS)

_STEM = 40  # characters of a path in a key
_DIGEST = 12  # hexadecimal digits


@dataclass(frozen=True)
class Videos:
    """Records of all videos in a folder: SPEAKER/any/folders/FILE.mp4, or SPEAKER.mp4. A video gives one clip."""

    folder: str
    """Folder or URL."""
    speakers: str | None = None
    """A table of what is known of the speakers: speaker, licence, consent, split and labels."""
    basis: Basis = field(default_factory=Basis)

    @property
    def name(self) -> str:
        """As in `Record.source`."""
        return "videos"

    def records(self) -> Iterator[Record | Reject]:
        """In order of path.

        Raises:
            DatasetError: there is no such folder, no video in it, or the table is wrong, with line and column.
        """
        known = {} if self.speakers is None else _read_speakers(self.speakers)
        storage, found = Storage(self.folder), False
        for path in files_below(self.folder, VIDEOS):
            found = True
            first, _, rest = path.partition("/")
            speaker = first if rest else first.rpartition(".")[0]
            if not speaker.isprintable() or not speaker.strip():
                raise DatasetError(
                    f"{storage.where(path)}: {speaker!r} cannot name a speaker; rename the folder or file"
                )
            yield self.basis.of(_record(path, storage.where(path), speaker, known.get(speaker)))
        if not found:
            raise DatasetError(f"{self.folder} holds no video ({', '.join(sorted(VIDEOS))})")


def _record(path: str, media: str, speaker: str, row: Row | None) -> Record:
    split = row.get("split") if row else ""
    return Record(
        key=_key(path),
        media=media,
        speaker=speaker,
        source="videos",
        split=split or None,
        labels={label: row.get(label) if row else "" for label in LABELS},
        licence=row.get("licence") if row else "",
        consent=row.get("consent") if row else "",
    )


def _refuse(column: str) -> str | None:
    return None if column in ("speaker", *OPTIONAL) else f"there are speaker, {', '.join(OPTIONAL)}"


def _read_speakers(place: str) -> Mapping[str, Row]:
    known: dict[str, Row] = {}
    for row in read_table(place, needed=("speaker",), known=("speaker", *OPTIONAL), refuse=_refuse):
        speaker = row.printable("speaker", needed=True)
        if speaker in known:
            raise row.wrong("speaker", f"{speaker!r} is in line {known[speaker].line} already; keep one row a speaker")
        for column in OPTIONAL:
            row.printable(column)
        if row.get("split") and not is_key(row.get("split")):
            raise row.wrong("split", f"split is {row.get('split')!r}: letters, digits, '_' and '-' of ASCII")
        known[speaker] = row
    return known


def _key(path: str) -> str:
    """A key from the path inside the folder, so that it stays when the folder is moved."""
    digest = hashlib.sha256(path.encode()).hexdigest()[:_DIGEST]
    readable = re.sub(r"[^A-Za-z0-9]+", "_", path.rpartition(".")[0]).strip("_")[:_STEM]
    return f"video_{readable}_{digest}" if readable else f"video_{digest}"
