"""The sources that are built in: pairs and videos of one's own; AVSpeech and VoxCeleb as they lie on disk."""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from speech2face.data import sources
from speech2face.data.manifest import COLUMNS as INDEX_COLUMNS
from speech2face.data.record import (
    LABELS,
    SOURCE_LABEL,
    TEST,
    TRAIN,
    Record,
    Reject,
    is_key,
    official_split,
    reject,
    short_hash,
)
from speech2face.data.storage import Storage
from speech2face.errors import DatasetError, SpeakerLeak
from speech2face.validation import checked

# --- Own data: a table of pairs, each row a recording, a photograph of who speaks, and on what their use rests.

NEEDED = ("recording", "speaker")
OPTIONAL = ("photograph", "licence", "consent", "start", "end", "face_x", "face_y", "split", "key")
KNOWN = (*NEEDED, *OPTIONAL, *LABELS)
_LABEL = re.compile(r"[a-z][a-z0-9_]*")
_STEM = 40  # characters of a file's name in a key made here
_DIGEST = 12  # hexadecimal digits: two of a million keys alike once in 560


@checked
class Pairs(sources.BuiltInSource):
    """Records of a table with a header. Paths in it are relative to its own folder.

    Columns that are neither `NEEDED` nor `OPTIONAL` are labels; one that is nearly a `KNOWN` column, which the table
    lacks, is taken for a slip of the pen and refused.
    """

    table: sources.Place
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
class Videos(sources.BuiltInSource):
    """Records of all videos in a folder: SPEAKER/any/folders/FILE.mp4, or SPEAKER.mp4. A video gives one clip."""

    folder: sources.Place
    """Folder or URL."""
    speakers: sources.Place | None = None
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


# --- AVSpeech (Ephrat et al., SIGGRAPH 2018): the official table of clips and a folder of videos downloaded before.
# The table has no header: YouTube id, start and end in seconds, and the centre of the speaker's face in the frame at
# the start, as shares of width and height.

COLUMNS = ("id", "start", "end", "x", "y")
_ID_LENGTH = 11  # of every YouTube id; it may have "_" and "-" in it, so it is cut by length
_ID = re.compile(r"[A-Za-z0-9_-]{11}")
# What downloaders that cut videos append: _30.030000-36.036000, _30.03_36.04, _30.03, -30.
_CUT = re.compile(r"[_-](\d+(?:\.\d+)?)(?:[_-](\d+(?:\.\d+)?))?")
_SAME_SECONDS = 0.05  # how far a file's name may round a time


@checked
class AVSpeech(sources.BuiltInSource):
    """Records of a table whose videos are in a folder, each whole (`ID.mp4`) or cut (`ID_START-END.mp4`).

    The corpus names no speakers: a speaker is a video. Two people of one video are in one split, but one person of
    two videos may be in two; the search for duplicates finds the same recording or picture, not the same person.
    """

    table: sources.Place
    """Path or URL of avspeech_train.csv or avspeech_test.csv."""
    videos: sources.Place
    """Folder or URL of the videos, with sub-folders or without."""
    split: str | None = None
    """The official split; None: from the table's name, else by hash."""
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
        for row in sources.read_rows(self.table, COLUMNS):
            video, start, end, place = _clip(row)
            name, begins = _file(found.get(video, {}), start, end)
            split = official and official_split(official, video, seed=self.seed, validation=self.validation)
            record = Record(
                key=_avspeech_key(video, start, end, place),
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
                yield record
            keys.add(short)

    @classmethod
    def example(cls, folder: Path) -> AVSpeech:
        """Two clips of one video."""
        (folder / "avspeech_train.csv").write_text("abcdefghijk,1.0,5.0,0.5,0.4\nabcdefghijk,8.0,12.0,0.5,0.4\n")
        (folder / "videos").mkdir()
        (folder / "videos" / "abcdefghijk.mp4").touch()
        return cls(str(folder / "avspeech_train.csv"), str(folder / "videos"))

    def _files(self) -> dict[str, dict[str, str]]:
        """By video: what a file's name has after the id, and the file's path."""
        found: dict[str, dict[str, str]] = defaultdict(dict)
        for path in sources.files_below(self.videos, sources.VIDEOS | sources.SOUNDS):
            stem = path.rpartition("/")[2].rpartition(".")[0]
            if _ID.fullmatch(stem[:_ID_LENGTH]):
                found[stem[:_ID_LENGTH]].setdefault(stem[_ID_LENGTH:], path)
        return found


def _avspeech_key(video: str, start: float, end: float, place: tuple[float, float] | None) -> str:
    """Milliseconds and thousandths of the frame: two people may speak in the same seconds of a video."""
    times = [f"{round(1000 * seconds):07d}" for seconds in (start, end)]
    return "_".join(["av", video, *times, *(f"{round(1000 * share):03d}" for share in place or ())])


def _clip(row: sources.TableRow) -> tuple[str, float, float, tuple[float, float] | None]:
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
    name = sources.split_place(table)[1].lower()
    return next((split for split in (TRAIN, TEST) if split in name), None)


# --- VoxCeleb 1 and 2 (Nagrani et al., Interspeech 2017; Chung et al., Interspeech 2018): the official trees.
# A recording is SPEAKER/VIDEO/NUMBER.wav (m4a, mp4), wherever the tree above it begins; speakers are like id10001.

Version = Literal[1, 2]
_SPEAKER = re.compile(r"id\d{5}")
_OFFICIAL = {"dev": TRAIN, "test": TEST, "train": TRAIN}  # the last in some copies
_KINDS = ("wav", "aac", "m4a", "mp4")  # folders between dev or test and the speakers
_GENDERS = {"m": "male", "f": "female"}
# Of VoxCeleb1's metadata (tab separated), VoxCeleb2's (spaces around the cells), HQ-VoxCeleb's.
_IDENTITIES = ("vggface1id", "vggface2id", "name")
Utterance = tuple[str, str, str]
"""Speaker, video, number."""


@dataclass(frozen=True)
class Celebrity:
    """What the metadata say of a speaker."""

    gender: str = ""
    nationality: str = ""
    official: str | None = None
    names: tuple[str, ...] = ()
    """What folders of this person's pictures may be called; used for nothing else."""


@checked
class VoxCeleb(sources.BuiltInSource):
    """Records of a tree, with pictures of the faces from the recordings' videos or from a folder by identity."""

    tree: sources.Place
    """Folder or URL: the one above dev and test, or any of the folders below it down to wav, aac or mp4."""
    metadata: sources.Place | None = None
    """vox1_meta.csv or vox2_meta.csv; without it the labels are unknown and only folders named dev and test tell the
    official split."""
    faces: sources.Place | None = None
    """Folder or URL of pictures by identity (VGGFace, HQ-VoxCeleb); None: frames of the videos."""
    seed: int = 0
    validation: float = 0.05
    """Share of the speakers of `dev` kept for validation: the corpus has no such split."""
    version: Version = 1

    @property
    def name(self) -> str:
        """As in `Record.source`."""
        return f"voxceleb{self.version}"

    def records(self) -> Iterator[Record | Reject]:
        """By speaker, video and number. Where an utterance is there as sound and as video, the video is taken, unless
        pictures come from elsewhere: then the sound, which is the smaller file.

        Raises:
            DatasetError: the metadata are wrong, with line and column; no folder, or nothing in it is of VoxCeleb.
            SpeakerLeak: a speaker is in dev and test.
        """
        celebrities = {} if self.metadata is None else dict(read_metadata(self.metadata, self.version))
        faces = None if self.faces is None else FacesByIdentity(self.faces)
        files = self._files()
        if celebrities and not any(speaker in celebrities for speaker, _, _ in files):
            raise DatasetError(f"{self.metadata} knows no speaker of {self.tree}; is it the other VoxCeleb's?")
        folders = _official_by_folder(self.tree, files)
        storage = Storage(self.tree)
        for utterance in sorted(files):
            speaker = utterance[0]
            celebrity = celebrities.get(speaker, Celebrity())
            official = celebrity.official or folders.get(speaker)
            record = self._record(utterance, storage.where(files[utterance]), celebrity, official)
            yield record if faces is None else self._with_face(record, utterance, celebrity, faces)

    @classmethod
    def example(cls, folder: Path) -> VoxCeleb:
        """Two utterances of one speaker."""
        (folder / "dev" / "id10001" / "video").mkdir(parents=True)
        for number in ("00001", "00002"):
            (folder / "dev" / "id10001" / "video" / f"{number}.wav").touch()
        return cls(tree=str(folder))

    def _files(self) -> dict[Utterance, str]:
        """The file of each utterance."""
        preferred = sources.VIDEOS if self.faces is None else sources.SOUNDS
        found: dict[Utterance, str] = {}
        for path in sources.files_below(self.tree, sources.VIDEOS | sources.SOUNDS):
            *_, speaker, video, name = ["", "", *path.split("/")]
            number = name.rpartition(".")[0]
            utterance = (speaker, video, number)
            if not (_SPEAKER.fullmatch(speaker) and is_key(_voxceleb_key(self.version, utterance))):
                continue
            better = sources.suffix_of(path) in preferred
            if utterance not in found or (better and sources.suffix_of(found[utterance]) not in preferred):
                found[utterance] = path
        if not found:
            raise DatasetError(
                f"{self.tree} holds no recording of VoxCeleb: they are like id10001/1zcIwhmdeo4/00001.wav (m4a, mp4)"
            )
        return found

    def _record(self, utterance: Utterance, media: str, celebrity: Celebrity, official: str | None) -> Record:
        split = official and official_split(official, utterance[0], seed=self.seed, validation=self.validation)
        known = {"language": "", "gender": celebrity.gender, "nationality": celebrity.nationality}
        return Record(
            key=_voxceleb_key(self.version, utterance),
            media=media,
            speaker=utterance[0],
            source=self.name,
            split=split,
            labels={**dict.fromkeys(LABELS, ""), **known},
        )

    def _with_face(
        self, record: Record, utterance: Utterance, celebrity: Celebrity, faces: FacesByIdentity
    ) -> Record | Reject:
        names = (utterance[0], *celebrity.names)
        photograph = faces.one(names, utterance[1], record.key)
        if photograph is None:
            return reject(record, "no_photograph", f"no pictures of {utterance[0]} in {self.faces}")
        return replace(record, photograph=photograph)


@checked
class VoxCeleb1(VoxCeleb):
    """VoxCeleb 1."""

    version: Literal[1] = 1


@checked
class VoxCeleb2(VoxCeleb):
    """VoxCeleb 2."""

    version: Literal[2] = 2


def _voxceleb_key(version: Version, utterance: Utterance) -> str:
    return f"vox{version}_{'_'.join(utterance)}"


def _official_by_folder(tree: str, files: Mapping[Utterance, str]) -> dict[str, str]:
    """The split of each speaker below a folder dev or test, be it the tree itself.

    Raises:
        SpeakerLeak: a speaker is below both.
    """
    above = [folder for folder in tree.rstrip("/").split("/")[-2:] if folder not in _KINDS]
    of_tree = next(filter(None, map(_voxceleb_official, above[-1:])), None)
    found: dict[str, str] = {}
    for (speaker, _, _), path in files.items():
        official = next(filter(None, map(_voxceleb_official, path.split("/")[:-3])), of_tree)
        if official and found.setdefault(speaker, official) != official:
            raise SpeakerLeak(f"{speaker} is below dev and below test ({path}); unpack the archives again")
    return found


def _voxceleb_official(folder: str) -> str | None:
    """The split of dev, test, vox1_dev_wav, vox2_test_aac and the like."""
    parts = folder.lower().split("_")
    if len(parts) > 1 and not parts[0].startswith("vox"):
        return None
    return next((_OFFICIAL[part] for part in parts if part in _OFFICIAL), None)


def read_metadata(place: str, version: Version) -> Iterator[tuple[str, Celebrity]]:
    """Speakers of vox1_meta.csv, vox2_meta.csv or HQ-VoxCeleb's full_vox2_meta.csv.

    Raises:
        DatasetError: with line and column.
    """
    speakers = f"voxceleb{version}id"
    for row in sources.read_table(place, needed=(speakers, "gender", "set")):
        speaker = row.needed(speakers)
        if not _SPEAKER.fullmatch(speaker):
            raise row.wrong(speakers, f"{speaker!r} is no speaker of VoxCeleb, like id10001")
        yield speaker, _celebrity(row)


def _celebrity(row: sources.TableRow) -> Celebrity:
    gender, official = row.needed("gender").lower(), row.needed("set").lower()
    if gender not in _GENDERS:
        raise row.wrong("gender", f"gender is {gender!r}, neither m nor f")
    if official not in _OFFICIAL:
        raise row.wrong("set", f"set is {official!r}, neither dev nor test")
    names = tuple(name for column in _IDENTITIES if (name := row.get(column)))
    return Celebrity(_GENDERS[gender], row.printable("nationality"), _OFFICIAL[official], names)
