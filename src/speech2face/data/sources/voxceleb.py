"""VoxCeleb 1 and 2 (Nagrani et al., Interspeech 2017; Chung et al., Interspeech 2018): the official trees.

A recording is SPEAKER/VIDEO/NUMBER.wav (m4a, mp4), wherever the tree above it begins; speakers are like id10001.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

from speech2face.data.record import LABELS, Record, Reject, is_key, reject
from speech2face.data.sources.basis import Basis
from speech2face.data.sources.faces import FacesByIdentity
from speech2face.data.sources.files import SOUNDS, VIDEOS, files_below, suffix_of
from speech2face.data.sources.tables import Row, read_table
from speech2face.data.splits import TEST, TRAIN, official_split
from speech2face.data.storage import Storage
from speech2face.errors import DatasetError, SpeakerLeak

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


@dataclass(frozen=True)
class VoxCeleb:
    """Records of a tree, with pictures of the faces from the recordings' videos or from a folder by identity."""

    version: Version
    tree: str
    """Folder or URL: the one above dev and test, or any of the folders below it down to wav, aac or mp4."""
    metadata: str | None = None
    """vox1_meta.csv or vox2_meta.csv; without it the labels are unknown and only folders named dev and test tell the
    official split."""
    faces: str | None = None
    """Folder or URL of pictures by identity (VGGFace, HQ-VoxCeleb); None: frames of the videos."""
    basis: Basis = field(default_factory=Basis)
    seed: int = 0
    validation: float = 0.05
    """Share of the speakers of `dev` kept for validation: the corpus has no such split."""

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

    def _files(self) -> dict[Utterance, str]:
        """The file of each utterance."""
        preferred = VIDEOS if self.faces is None else SOUNDS
        found: dict[Utterance, str] = {}
        for path in files_below(self.tree, VIDEOS | SOUNDS):
            *_, speaker, video, name = ["", "", *path.split("/")]
            number = name.rpartition(".")[0]
            utterance = (speaker, video, number)
            if not (_SPEAKER.fullmatch(speaker) and is_key(_key(self.version, utterance))):
                continue
            if utterance not in found or (suffix_of(path) in preferred) > (suffix_of(found[utterance]) in preferred):
                found[utterance] = path
        if not found:
            raise DatasetError(
                f"{self.tree} holds no recording of VoxCeleb: they are like id10001/1zcIwhmdeo4/00001.wav (m4a, mp4)"
            )
        return found

    def _record(self, utterance: Utterance, media: str, celebrity: Celebrity, official: str | None) -> Record | Reject:
        split = official and official_split(official, utterance[0], seed=self.seed, validation=self.validation)
        known = {"language": "", "gender": celebrity.gender, "nationality": celebrity.nationality}
        record = Record(
            key=_key(self.version, utterance),
            media=media,
            speaker=utterance[0],
            source=self.name,
            split=split,
            labels={**dict.fromkeys(LABELS, ""), **known},
        )
        return self.basis.of(record)

    def _with_face(
        self, record: Record | Reject, utterance: Utterance, celebrity: Celebrity, faces: FacesByIdentity
    ) -> Record | Reject:
        if isinstance(record, Reject):
            return record
        names = (utterance[0], *celebrity.names)
        photograph = faces.one(names, utterance[1], record.key)
        if photograph is None:
            return reject(record, "no_photograph", f"no pictures of {utterance[0]} in {self.faces}")
        return replace(record, photograph=photograph)


def _key(version: Version, utterance: Utterance) -> str:
    return f"vox{version}_{'_'.join(utterance)}"


def _official_by_folder(tree: str, files: Mapping[Utterance, str]) -> dict[str, str]:
    """The split of each speaker below a folder dev or test, be it the tree itself.

    Raises:
        SpeakerLeak: a speaker is below both.
    """
    above = [folder for folder in tree.rstrip("/").split("/")[-2:] if folder not in _KINDS]
    of_tree = next(filter(None, map(_official, above[-1:])), None)
    found: dict[str, str] = {}
    for (speaker, _, _), path in files.items():
        official = next(filter(None, map(_official, path.split("/")[:-3])), of_tree)
        if official and found.setdefault(speaker, official) != official:
            raise SpeakerLeak(f"{speaker} is below dev and below test ({path}); unpack the archives again")
    return found


def _official(folder: str) -> str | None:
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
    for row in read_table(place, needed=(speakers, "gender", "set")):
        speaker = row.needed(speakers)
        if not _SPEAKER.fullmatch(speaker):
            raise row.wrong(speakers, f"{speaker!r} is no speaker of VoxCeleb, like id10001")
        yield speaker, _celebrity(row)


def _celebrity(row: Row) -> Celebrity:
    gender, official = row.needed("gender").lower(), row.needed("set").lower()
    if gender not in _GENDERS:
        raise row.wrong("gender", f"gender is {gender!r}, neither m nor f")
    if official not in _OFFICIAL:
        raise row.wrong("set", f"set is {official!r}, neither dev nor test")
    names = tuple(name for column in _IDENTITIES if (name := row.get(column)))
    return Celebrity(_GENDERS[gender], row.printable("nationality"), _OFFICIAL[official], names)
