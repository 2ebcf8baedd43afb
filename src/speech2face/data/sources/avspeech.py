"""AVSpeech (Ephrat et al., SIGGRAPH 2018): the official table of clips and a folder of videos downloaded before.

The table has no header: YouTube id, start and end in seconds, and the centre of the speaker's face in the frame at the
start, as shares of width and height.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field

from speech2face.data.record import LABELS, Record, Reject, reject, short_hash
from speech2face.data.sources.basis import Basis
from speech2face.data.sources.files import SOUNDS, VIDEOS, files_below
from speech2face.data.sources.tables import Row, read_rows, split_place
from speech2face.data.splits import TEST, TRAIN, official_split
from speech2face.data.storage import Storage

COLUMNS = ("id", "start", "end", "x", "y")

_ID_LENGTH = 11  # of every YouTube id; it may have "_" and "-" in it, so it is cut by length
_ID = re.compile(r"[A-Za-z0-9_-]{11}")
# What downloaders that cut videos append: _30.030000-36.036000, _30.03_36.04, _30.03, -30.
_CUT = re.compile(r"[_-](\d+(?:\.\d+)?)(?:[_-](\d+(?:\.\d+)?))?")
_SAME_SECONDS = 0.05  # how far a file's name may round a time


@dataclass(frozen=True)
class AVSpeech:
    """Records of a table whose videos are in a folder, each whole (`ID.mp4`) or cut (`ID_START-END.mp4`).

    The corpus names no speakers: a speaker is a video. Two people of one video are in one split, but one person of
    two videos may be in two; the search for duplicates finds the same recording or picture, not the same person.
    """

    table: str
    """Path or URL of avspeech_train.csv or avspeech_test.csv."""
    videos: str
    """Folder or URL of the videos, with sub-folders or without."""
    split: str | None = None
    """The official split; None: from the table's name, else by hash."""
    basis: Basis = field(default_factory=Basis)
    seed: int = 0
    validation: float = 0.05
    """Share of the videos of the training table kept for validation: the corpus has no such split."""

    @property
    def name(self) -> str:
        """As in `Record.source`."""
        return "avspeech"

    def records(self) -> Iterator[Record | Reject]:
        """In the table's order.

        Raises:
            DatasetError: the table is wrong, with line and column, or there is no such folder.
        """
        found, keys = self._files(), set[int]()
        storage, official = Storage(self.videos), self.split or _official(self.table)
        for row in read_rows(self.table, COLUMNS):
            video, start, end, place = _clip(row)
            name, begins = _file(found.get(video, {}), start, end)
            split = official and official_split(official, video, seed=self.seed, validation=self.validation)
            record = Record(
                key=_key(video, start, end, place),
                media=storage.where(name or f"{video}.mp4"),
                speaker=video,
                source=self.name,
                start_seconds=start - begins,
                end_seconds=end - begins,
                face_x=place and place[0],
                face_y=place and place[1],
                split=split,
                labels=dict.fromkeys(LABELS, ""),
            )
            short = short_hash(record.key)
            if short in keys:
                yield reject(record, "repeated", f"line {row.line} says what another line says already")
            elif name is None:
                yield reject(record, "no_media", f"no file of the video {video} in {self.videos}")
            else:
                yield self.basis.of(record)
            keys.add(short)

    def _files(self) -> dict[str, dict[str, str]]:
        """By video: what a file's name has after the id, and the file's path."""
        found: dict[str, dict[str, str]] = defaultdict(dict)
        for path in files_below(self.videos, VIDEOS | SOUNDS):
            stem = path.rpartition("/")[2].rpartition(".")[0]
            if _ID.fullmatch(stem[:_ID_LENGTH]):
                found[stem[:_ID_LENGTH]].setdefault(stem[_ID_LENGTH:], path)
        return found


def _key(video: str, start: float, end: float, place: tuple[float, float] | None) -> str:
    """Milliseconds and thousandths of the frame: two people may speak in the same seconds of a video."""
    times = [f"{round(1000 * seconds):07d}" for seconds in (start, end)]
    return "_".join(["av", video, *times, *(f"{round(1000 * share):03d}" for share in place or ())])


def _clip(row: Row) -> tuple[str, float, float, tuple[float, float] | None]:
    """Video, start, end, face; further cells are passed over.

    Raises:
        DatasetError: a cell is wrong.
    """
    video = row.needed("id")
    if not _ID.fullmatch(video):
        raise row.wrong("id", f"id is {video!r}, no YouTube id of {_ID_LENGTH} characters; {_EXPECTED}")
    for column in COLUMNS[1:3]:
        row.needed(column)
    start, end = row.seconds("start"), row.seconds("end")
    assert start is not None and end is not None
    if end <= start:
        raise row.wrong("end", f"end is {end:g}, not after the start at {start:g}")
    x, y = row.share("x"), row.share("y")
    if (x is None) != (y is None):
        raise row.wrong("y" if y is None else "x", "one of x and y is empty; give both or none")
    return video, start, end, None if x is None or y is None else (x, y)


_EXPECTED = "the official table has no header and the columns " + ", ".join(COLUMNS)


def _file(files: dict[str, str], start: float, end: float) -> tuple[str | None, float]:
    """The file that holds a clip, and the second of the video at which it begins: the whole video before a cut one."""
    if "" in files:
        return files[""], 0.0
    for appended, path in files.items():
        cut = _CUT.fullmatch(appended)
        if cut is None or abs(float(cut[1]) - start) > _SAME_SECONDS:
            continue
        if cut[2] is None or abs(float(cut[2]) - end) <= _SAME_SECONDS:
            return path, start
    return None, 0.0


def _official(table: str) -> str | None:
    name = split_place(table)[1].lower()
    return next((split for split in (TRAIN, TEST) if split in name), None)
