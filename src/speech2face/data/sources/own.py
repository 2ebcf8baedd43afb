"""Own data: a table of pairs, each row a recording, a photograph of who speaks, and on what their use rests."""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from speech2face.data import sources
from speech2face.data.manifest import COLUMNS as INDEX_COLUMNS
from speech2face.data.record import LABELS, SOURCE_LABEL, Record, Reject, is_key, reject
from speech2face.data.sources import BuiltInSource, Place
from speech2face.data.storage import Storage
from speech2face.errors import DatasetError
from speech2face.validation import checked

NEEDED = ("recording", "speaker")
OPTIONAL = ("photograph", "licence", "consent", "start", "end", "face_x", "face_y", "split", "key")
KNOWN = (*NEEDED, *OPTIONAL, *LABELS)
_LABEL = re.compile(r"[a-z][a-z0-9_]*")
_STEM = 40  # characters of a file's name in a key made here
_DIGEST = 12  # hexadecimal digits: two of a million keys alike once in 560


@checked
class Pairs(BuiltInSource):
    """Records of a table with a header. Paths in it are relative to its own folder.

    Columns that are neither `NEEDED` nor `OPTIONAL` are labels; one that is nearly a `KNOWN` column, which the table
    lacks, is taken for a slip of the pen and refused.
    """

    table: Place
    """Path or URL of the CSV."""

    @property
    def name(self) -> str:
        """As in `Record.source`."""
        return "pairs"

    @property
    def relative_to(self) -> str:
        """What paths in the table are relative to."""
        return sources.split_place(self.table)[0]

    def records(self) -> Iterator[Record | Reject]:
        """In the table's order.

        Raises:
            DatasetError: the table is wrong, with line and column.
        """
        folder, lines = sources.split_place(self.table)[0], dict[str, int]()
        for row in sources.read_table(self.table, needed=NEEDED, known=KNOWN, refuse=_refuse):
            record = _record(row, folder, _labels(row))
            before = lines.setdefault(record.key, row.line)
            if before != row.line and row.get("key"):
                raise row.wrong("key", f"the key {record.key!r} is in line {before} already; every row has its own")
            if before != row.line:
                yield reject(record, "repeated", f"line {row.line} is of the same files and span as line {before}")
            elif sources.is_missing(record.media):
                yield reject(record, "no_media", f"there is no {record.media}")
            elif record.photograph is not None and sources.is_missing(record.photograph):
                yield reject(record, "no_photograph", f"there is no {record.photograph}")
            else:
                yield record

    @classmethod
    def example(cls, folder: Path) -> Pairs:
        """Two recordings of two speakers."""
        for name in ("a.wav", "b.wav"):
            (folder / name).touch()
        (folder / "pairs.csv").write_text("recording,speaker\na.wav,Ann\nb.wav,Bob\n")
        return cls(str(folder / "pairs.csv"))


def _refuse(column: str) -> str | None:
    if column in (*NEEDED, *OPTIONAL) or (_LABEL.fullmatch(column) and column not in (*INDEX_COLUMNS, SOURCE_LABEL)):
        return None
    return "a label is small letters, digits and '_', and not a word the index of a shard has already"


def _labels(row: sources.TableRow) -> tuple[str, ...]:
    own = (name for name in row.columns if name not in KNOWN)
    return (*LABELS, *own)


def _record(row: sources.TableRow, folder: str, labels: tuple[str, ...]) -> Record:
    recording = sources.with_slashes(folder, row.printable("recording", needed=True))
    photograph = sources.with_slashes(folder, row.printable("photograph"))
    start, end = row.seconds("start"), row.seconds("end")
    if end is not None and end <= (start or 0.0):
        raise row.wrong("end", f"end is {end:g}, not after the start at {start or 0.0:g}")
    x, y = row.share("face_x"), row.share("face_y")
    if (x is None) != (y is None):
        raise row.wrong("face_y" if y is None else "face_x", "one of face_x and face_y is empty; give both or none")
    split, key = row.get("split"), row.get("key") or _key(recording, photograph, start, end)
    for column, name in (("split", split), ("key", key)):
        if name and not is_key(name):
            raise row.wrong(column, f"{column} is {name!r}: at most 80 letters, digits, '_' and '-' of ASCII")
    return Record(
        key=key,
        media=sources.beside(folder, recording),
        speaker=row.printable("speaker", needed=True),
        source="pairs",
        start_seconds=start,
        end_seconds=end,
        photograph=sources.beside(folder, photograph) if photograph else None,
        face_x=x,
        face_y=y,
        split=split or None,
        labels={label: row.printable(label) for label in labels},
        licence=row.printable("licence"),
        consent=row.printable("consent"),
    )


def _key(recording: str, photograph: str, start: float | None, end: float | None) -> str:
    """A key that does not depend on where the row stands or where the table lies."""
    name = recording.replace("\\", "/").rpartition("/")[2]
    return _made_key("pair", name, repr((recording, photograph, start, end)))


def _made_key(kind: str, name: str, content: str) -> str:
    """A key with something readable of a file's name in it, and a digest of what it stands for."""
    digest = hashlib.sha256(content.encode()).hexdigest()[:_DIGEST]
    readable = re.sub(r"[^A-Za-z0-9]+", "_", name.rpartition(".")[0]).strip("_")[:_STEM]
    return f"{kind}_{readable}_{digest}" if readable else f"{kind}_{digest}"


# --- Own data: a folder of videos, each of one speaker, who is named by the sub-folder or, beside the others, the file.

VIDEO_OPTIONAL = ("licence", "consent", "split", *LABELS)


@checked
class Videos(BuiltInSource):
    """Records of all videos in a folder: SPEAKER/any/folders/FILE.mp4, or SPEAKER.mp4. A video gives one clip."""

    folder: Place
    """Folder or URL."""
    speakers: Place | None = None
    """A table of what is known of the speakers: speaker, licence, consent, split and labels."""

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
        for path in sources.files_below(self.folder, sources.VIDEOS):
            found = True
            first, _, rest = path.partition("/")
            speaker = first if rest else first.rpartition(".")[0]
            if not speaker.isprintable() or not speaker.strip():
                raise DatasetError(
                    f"{storage.where(path)}: {speaker!r} cannot name a speaker; rename the folder or file"
                )
            yield _video_record(path, storage.where(path), speaker, known.get(speaker))
        if not found:
            raise DatasetError(f"{self.folder} holds no video ({', '.join(sorted(sources.VIDEOS))})")

    @classmethod
    def example(cls, folder: Path) -> Videos:
        """Two videos of two speakers."""
        (folder / "Ann").mkdir()
        for name in ("Ann/a.mp4", "Bob.mp4"):
            (folder / name).touch()
        return cls(str(folder))


def _video_record(path: str, media: str, speaker: str, row: sources.TableRow | None) -> Record:
    split = row.get("split") if row else ""
    return Record(
        key=_made_key("video", path, path),  # of the path inside the folder, so that it stays when that is moved
        media=media,
        speaker=speaker,
        source="videos",
        split=split or None,
        labels={label: row.get(label) if row else "" for label in LABELS},
        licence=row.get("licence") if row else "",
        consent=row.get("consent") if row else "",
    )


def _refuse_video(column: str) -> str | None:
    return None if column in ("speaker", *VIDEO_OPTIONAL) else f"there are speaker, {', '.join(VIDEO_OPTIONAL)}"


def _read_speakers(place: str) -> Mapping[str, sources.TableRow]:
    known: dict[str, sources.TableRow] = {}
    for row in sources.read_table(place, needed=("speaker",), known=("speaker", *VIDEO_OPTIONAL), refuse=_refuse_video):
        speaker = row.printable("speaker", needed=True)
        if speaker in known:
            raise row.wrong("speaker", f"{speaker!r} is in line {known[speaker].line} already; keep one row a speaker")
        for column in VIDEO_OPTIONAL:
            row.printable(column)
        if row.get("split") and not is_key(row.get("split")):
            raise row.wrong("split", f"split is {row.get('split')!r}: letters, digits, '_' and '-' of ASCII")
        known[speaker] = row
    return known


# --- Pictures of faces in folders by identity: IDENTITY/any/folders/PICTURE.jpg, as VGGFace and HQ-VoxCeleb have them.


class FacesByIdentity:
    """Finds a picture of a person; lists the folder once."""

    def __init__(self, folder: str) -> None:
        """
        Raises:
            DatasetError: there is no such folder.
        """
        self._storage = Storage(folder)
        self._pictures: dict[str, list[str]] = defaultdict(list)
        for path, is_picture in sources.pictures_below(folder):
            identity, _, rest = path.partition("/")
            if rest and is_picture:
                self._pictures[_plain(identity)].append(path)

    def one(self, names: Sequence[str], video: str, key: str) -> str | None:
        """Path of one picture of whoever is called by any of these names, or None.

        Pictures below a folder of the video's name come first (VGGFace's cut-outs of VoxCeleb's videos lie so). Among
        several the clip's key decides, by a hash: always the same one, and not the same for all clips of a person.
        """
        pictures = next((found for name in names if (found := self._pictures.get(_plain(name)))), None)
        if pictures is None:
            return None
        pictures = [path for path in pictures if video in path.split("/")[1:-1]] or pictures
        number = int.from_bytes(hashlib.sha256(key.encode()).digest()[:8], "big") % len(pictures)
        return self._storage.where(pictures[number])


def _plain(name: str) -> str:
    """Names as they are compared: composed letters, any case, with spaces or underscores."""
    return "_".join(unicodedata.normalize("NFC", name).casefold().replace("_", " ").split())
