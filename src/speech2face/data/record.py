"""What every source of data yields: a clip-to-be as its source names it, or a row saying why there is none."""

from __future__ import annotations

import hashlib
import hmac
import json
import math
import re
import secrets
import unicodedata
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, fields, replace
from difflib import get_close_matches
from typing import Any

from speech2face.data.storage import Storage
from speech2face.errors import DatasetError, InvalidOption, SpeakerLeak
from speech2face.inputs import parse_json
from speech2face.outputs import decode_csv, encode_csv

LABELS = ("language", "gender", "age", "group", "accent", "nationality")
"""What every record has a label for, "" where it is not known; a source may have more."""
SOURCE_LABEL = "source"
"""The label of a clip that says which source its record came from."""
MORPH_OF = "morph_of"
"""The label of a clip made of others' faces (training/augment.py): their keys, with spaces between; else ""."""
MAX_KEY = 80  # characters; tar's names are the limit
REASONS: Mapping[str, str] = {
    "no_media": "the source names a recording or video that is not there",
    "no_photograph": "the source names a photograph that is not there",
    "no_licence": "no licence is stated, and records without one were not allowed",
    "no_consent": "no basis of consent is stated, and records without one were not allowed",
    "tombstone": "the speaker asked to be forgotten",
    "repeated": "another record of the source has the same key",
    "unreadable": "the file cannot be opened or decoded",
    "no_audio": "there is no sound in it, or none in the span",
    "silent": "nothing is louder than a muted input",
    "no_speech": "sound, but nowhere a voice",
    "too_short": "less sound in the span than asked for",
    "no_video": "there are no pictures in it, or none in the span",
    "no_face": "no face was found",
    "several_faces": "more than one face, and no hint or not only one at the hint",
    "wrong_face": "the face found is not where the source says the speaker's is",
    "not_frontal": "the face is turned or tilted too far",
    "too_small": "the face has too few pixels",
    "blurred": "the face is not sharp enough",
    "mouth_open": "the mouth is open",
    "eyes_shut": "the eyes are shut",
    "cut_off": "the face reaches beyond the picture's edge",
    "failed": "an error nobody foresaw; the detail says which",
}
"""Why there is no clip: a stable code, and what it means."""
_KEY = re.compile(rf"[A-Za-z0-9_-]{{1,{MAX_KEY}}}")


@dataclass(frozen=True)
class Record:
    """One clip-to-be. What is read of it is the span of the media, and the photograph or else the media's frames."""

    key: str
    """Unique and stable in its source; the clip's key: ASCII letters, digits, _ and -."""
    media: str
    """Path or URL of the recording or video."""
    speaker: str
    source: str
    """avspeech, voxceleb1, voxceleb2, pairs or videos."""
    start_seconds: float | None = None
    """Where the span begins in the media; None: at its beginning."""
    end_seconds: float | None = None
    photograph: str | None = None
    """A separate picture of the face; None: frames of the media."""
    face_x: float | None = None
    """Hint: the face's centre, 0 to 1 from left to right of the picture."""
    face_y: float | None = None
    """... 0 to 1 from top to bottom."""
    split: str | None = None
    """The source's own; None: by hash (`assign_split`)."""
    labels: Mapping[str, str] = field(default_factory=dict)
    licence: str = ""
    """Of recording and picture; "" where none is stated."""
    consent: str = ""
    """On what the speaker's and the photographed person's consent rests; "" where nothing is stated."""

    def __post_init__(self) -> None:
        # However its letters were typed, a name is one person's: else somebody could be in two splits.
        object.__setattr__(self, "speaker", unicodedata.normalize("NFC", self.speaker))
        wrong = _wrong(self)
        if wrong:
            raise DatasetError(f"record {self.key!r} of {self.source}: {wrong}")

    @property
    def clip_labels(self) -> dict[str, str]:
        """The labels of its clip: its own and the source."""
        return {**self.labels, SOURCE_LABEL: self.source}


@dataclass(frozen=True)
class Reject:
    """A record, or a row of a source, that gives no clip."""

    key: str
    speaker: str
    media: str
    reason: str
    """One of `REASONS`."""
    detail: str
    """One line: what was found."""

    def __post_init__(self) -> None:
        if self.reason not in REASONS:
            raise DatasetError(f"{self.reason!r} is no reason for a reject; there are {', '.join(REASONS)}")


REJECT_COLUMNS = tuple(each.name for each in fields(Reject))
"""Columns of a table of rejects."""


def reject(record: Record, reason: str, detail: str) -> Reject:
    """Why this record gives no clip; line breaks in the detail become spaces."""
    return Reject(record.key, record.speaker, record.media, reason, " ".join(detail.split()))


def fill_labels(record: Record, labels: tuple[str, ...]) -> Record:
    """The record with exactly these labels, "" where it has none: a data set's clips all have the same.

    Raises:
        DatasetError: it has a label that is not among them.
    """
    if unknown := sorted(set(record.labels) - set(labels)):
        raise DatasetError(f"record {record.key!r} of {record.source} has the label {unknown[0]}, others do not")
    return replace(record, labels={label: record.labels.get(label, "") for label in labels})


def short_hash(key: str) -> int:
    """Eight bytes that stand for a key where millions of them are remembered."""
    return int.from_bytes(hashlib.blake2b(key.encode(), digest_size=8).digest(), "little")


def is_key(text: str) -> bool:
    """Whether this can be a record's key."""
    return _KEY.fullmatch(text) is not None


def _wrong(record: Record) -> str | None:
    if not is_key(record.key):
        return f"the key is none: 1 to {MAX_KEY} letters, digits, '_' and '-' of ASCII"
    if not record.media:
        return "the media is not named"
    for what, text in (("speaker", record.speaker), ("licence", record.licence), ("consent", record.consent)):
        if not text.isprintable() or (what == "speaker" and not text.strip()):
            return f"the {what} {text!r} is none: one line of printable text"
    if record.split is not None and not is_key(record.split):
        return f"the split {record.split!r} is none: letters, digits, '_' and '-' of ASCII"
    start, end = record.start_seconds, record.end_seconds
    if any(time is not None and not (math.isfinite(time) and time >= 0) for time in (start, end)):
        return f"the span {start} to {end} s is none: seconds from 0 upwards"
    if end is not None and end <= (start or 0.0):
        return f"the span ends at {end:g} s, not after its start at {start or 0.0:g} s"
    if (record.face_x is None) != (record.face_y is None):
        return "a hint at the face needs x and y"
    if any(place is not None and not 0 <= place <= 1 for place in (record.face_x, record.face_y)):
        return f"the face's centre ({record.face_x:g}, {record.face_y:g}) is outside the picture's 0 to 1"
    return None


# --- Tables of rejects: beside each shard what fell out of it, `sources` for what never got so far, `workers` for what
# ended a worker.

SUFFIX = ".rejects.csv"
SOURCES, WORKERS = f"sources{SUFFIX}", f"workers{SUFFIX}"


def encode_rejects(rejects: Iterable[Reject], *, header: bool = True) -> bytes:
    """The whole file, or further lines of one."""
    rows = ([getattr(each, column) for column in REJECT_COLUMNS] for each in rejects)
    return encode_csv([REJECT_COLUMNS, *rows] if header else rows)


def write_rejects(storage: Storage, name: str, rejects: Iterable[Reject]) -> None:
    """The table of one shard: the last thing that is written of it.

    Raises:
        CannotWrite: no room, no permission.
    """
    storage.write(f"{name}{SUFFIX}", encode_rejects(rejects))


def decode_rejects(content: bytes, where: str) -> list[Reject]:
    """From the file.

    Raises:
        DatasetError: it is none; names the line.
    """
    try:
        header, *rows = decode_csv(content) or [[]]
    except ValueError as error:
        raise DatasetError(f"{where} is no table of rejects: {error}") from error
    if tuple(header) != REJECT_COLUMNS:
        raise DatasetError(f"{where}:1: the columns are {', '.join(REJECT_COLUMNS)}, not {header}")
    for number, row in enumerate(rows, start=2):
        if len(row) != len(header) or row[REJECT_COLUMNS.index("reason")] not in REASONS:
            raise DatasetError(f"{where}:{number}: no reject; it has {', '.join(REJECT_COLUMNS)}")
    return [Reject(*row) for row in rows]


def read_rejects(storage: Storage) -> Iterator[Reject]:
    """All of a folder's, by file and line.

    Raises:
        DatasetError: a file cannot be read.
    """
    for name, content in storage.read_each([name for name in storage.names() if name.endswith(SUFFIX)]):
        yield from decode_rejects(content, storage.where(name))


# --- Which split a speaker belongs to: the source's own, or one drawn by a stable hash of the speaker's name.
# The hash does not depend on which other speakers there are, on their order, or on the machine: data prepared in
# parts, or again with more speakers, keeps everyone where they were.

TRAIN, VALIDATION, TEST = "train", "validation", "test"
SHARES: Mapping[str, float] = {TRAIN: 0.9, VALIDATION: 0.05, TEST: 0.05}
_NAMED = 5  # as many speakers as fit a line


def check_shares(shares: Mapping[str, float]) -> None:
    """Shares of speakers add up to one.

    Raises:
        InvalidOption: they do not, or one is negative.
    """
    total = sum(shares.values())
    if not all(share >= 0 for share in shares.values()) or not math.isclose(total, 1, abs_tol=1e-6):
        stated = ", ".join(f"{name} {share:g}" for name, share in shares.items())
        raise InvalidOption(f"the shares of the splits ({stated}) add up to {total:g}; they are from 0 and make 1")


def speaker_draw(speaker: str, *, seed: int) -> float:
    """A number from 0 to below 1, always the same for a speaker and seed, and spread evenly over speakers."""
    name = unicodedata.normalize("NFC", speaker)  # the same letters, however they were typed
    digest = hashlib.sha256(f"{seed}\0{name}".encode()).digest()
    return int.from_bytes(digest[:6], "big") / 2**48  # exact in a double, so never 1


def assign_split(speaker: str, *, seed: int, shares: Mapping[str, float] = SHARES) -> str:
    """The split of a speaker whose source names none.

    Raises:
        InvalidOption: the shares do not add up to one.
    """
    check_shares(shares)
    draw, below = speaker_draw(speaker, seed=seed), 0.0
    some = [name for name in sorted(shares) if shares[name] > 0]  # by name: a mapping's order must not matter
    for name in some:
        below += shares[name]
        if draw < below:
            return name
    return some[-1]  # rounding of the sum


def split_of(record: Record, *, seed: int, shares: Mapping[str, float] = SHARES) -> str:
    """The source's own split, or else the hash's."""
    return record.split if record.split is not None else assign_split(record.speaker, seed=seed, shares=shares)


def official_split(official: str, speaker: str, *, seed: int, validation: float) -> str:
    """A corpus's own split; of its training speakers, this share is kept for validation: most corpora name none."""
    if official != TRAIN or validation == 0:
        return official
    return assign_split(speaker, seed=seed, shares={TRAIN: 1 - validation, VALIDATION: validation})


def check_speakers(placed: Iterable[tuple[str, str]]) -> None:
    """(speaker, split) of all records, before anything expensive: each speaker is in one split.

    Raises:
        SpeakerLeak: naming speakers and splits.
    """
    found: dict[str, str] = {}
    leaks: dict[str, set[str]] = {}
    for speaker, split in placed:
        if found.setdefault(speaker, split) != split:
            leaks.setdefault(speaker, {found[speaker]}).add(split)
    if leaks:
        named = "; ".join(f"{who} in {' and '.join(sorted(where))}" for who, where in list(leaks.items())[:_NAMED])
        raise SpeakerLeak(
            f"{len(leaks)} speakers are in more than one split ({named}): give each speaker one split, or none and let "
            "the hash decide"
        )


# --- Who asked to be forgotten, kept without saying who: salted hashes beside the data, which every later run honours.
# A hash proves that a name is not there; it does not hide a name from somebody who can guess it (HMAC-SHA-256 with a
# salt in the same file; VoxCeleb's ids can be counted through). The file is as confidential as the data it lies
# beside.

TOMBSTONES = "tombstones.json"
FORMAT = 1
SALT_BYTES = 16
MARK_DIGITS = 16


@dataclass(frozen=True)
class Tombstones:
    """Forgotten speakers and the names of their clips, as salted hashes."""

    salt: str
    speakers: frozenset[str] = frozenset()
    clips: frozenset[str] = frozenset()
    manifests: tuple[str, ...] = ()
    """SHA-256 of every manifest that still listed one of them: what was trained on these has seen them."""
    shards: tuple[str, ...] = ()
    """SHA-256 of every shard that held one of them: copies of these are removed from caches whenever they are found."""
    finished: bool = True
    """False while shards are rewritten; forgetting has to be run again where it stayed so."""
    marks: tuple[str, ...] = ()
    """`numbers_mark` of each of them who was learned from: sums that bear them all hold nobody forgotten any more."""

    @classmethod
    def new(cls) -> Tombstones:
        """Of nobody, with a salt of its own."""
        return cls(secrets.token_hex(SALT_BYTES))

    def __len__(self) -> int:
        return len(self.speakers)

    def hash(self, what: str, name: str) -> str:
        """The name's salted hash; `what` keeps speakers and clips of the same name apart."""
        text = unicodedata.normalize("NFC", name)  # as the splits' hash: however it was typed
        return hmac.new(bytes.fromhex(self.salt), f"{what}\0{text}".encode(), hashlib.sha256).hexdigest()

    def has_speaker(self, speaker: str) -> bool:
        """Whether this speaker asked to be forgotten."""
        return bool(self.speakers) and self.hash("speaker", speaker) in self.speakers

    def has_clip(self, key: str) -> bool:
        """Whether this clip was one of theirs."""
        return bool(self.clips) and self.hash("clip", key) in self.clips

    def names(self, speaker: str, clip: str | None = None) -> bool:
        """Whether the speaker asked to be forgotten, or the clip was one of theirs."""
        return self.has_speaker(speaker) or (clip is not None and self.has_clip(clip))

    def with_speakers(self, speakers: Iterable[str]) -> Tombstones:
        """Return a copy that also forbids these speakers."""
        return replace(self, speakers=self.speakers | {self.hash("speaker", name) for name in speakers})

    def with_clips(self, keys: Iterable[str]) -> Tombstones:
        """Return a copy that also forbids these clips of theirs."""
        return replace(self, clips=self.clips | {self.hash("clip", key) for key in keys})

    def with_manifest(self, sha256: str) -> Tombstones:
        """Return a copy that also names this manifest, which listed one of them."""
        return self if sha256 in self.manifests else replace(self, manifests=(*self.manifests, sha256))

    def with_shards(self, sha256s: Iterable[str]) -> Tombstones:
        """Return a copy that also names these shards, which held one of them."""
        return replace(self, shards=tuple(dict.fromkeys((*self.shards, *sha256s))))

    def with_marks(self, marks: Iterable[str]) -> Tombstones:
        """Return a copy that also knows these marks of their numbers."""
        return replace(self, marks=tuple(dict.fromkeys((*self.marks, *marks))))

    def merged(self, other: Tombstones | None) -> Tombstones:
        """Taking over what another data set's file says; hashes of two salts cannot be joined.

        Raises:
            DatasetError: both name speakers, under different salts.
        """
        if other is None or not other.speakers or other.salt == self.salt:
            more = Tombstones(self.salt) if other is None else other
            return replace(self, speakers=self.speakers | more.speakers, clips=self.clips | more.clips)
        if self.speakers:
            raise DatasetError(
                "this folder has tombstones of its own, which cannot be joined with another folder's; forget the "
                "speakers here by name (speech2face data forget)"
            )
        return replace(other, manifests=self.manifests, shards=self.shards, finished=True)


def numbers_mark(digests: Iterable[str]) -> str:
    """A mark of a person by the SHA-256 of their recordings and photographs; who has not got these cannot make it."""
    return hashlib.sha256("\n".join(sorted(digests)).encode()).hexdigest()[:MARK_DIGITS]


def read_tombstones(storage: Storage) -> Tombstones | None:
    """The folder's tombstones, None where nobody was forgotten.

    Raises:
        DatasetError: the file is damaged; it must not be taken for none.
    """
    if not storage.exists(TOMBSTONES):
        return None
    where = storage.where(TOMBSTONES)
    try:
        return tombstones_from(parse_json(storage.read(TOMBSTONES)))
    except (ValueError, KeyError, TypeError) as error:
        raise DatasetError(f"{where} is damaged ({error}); restore it: it says who must not come back") from error


def tombstones_from(stated: Mapping[str, Any]) -> Tombstones:
    """From `tombstones_to`'s result.

    Raises:
        ValueError, KeyError, TypeError: it is none; the caller names where it lies.
    """
    if stated["format"] != FORMAT:
        raise ValueError(f"format {stated['format']}; this version reads {FORMAT}")
    bytes.fromhex(stated["salt"])
    return Tombstones(
        stated["salt"],
        frozenset(stated["speakers"]),
        frozenset(stated["clips"]),
        tuple(stated["manifests"]),
        tuple(stated.get("shards", ())),  # files written before shards were kept have none
        bool(stated["finished"]),
        tuple(stated.get("marks", ())),
    )


def tombstones_to(tombstones: Tombstones) -> dict[str, Any]:
    """JSON-ready."""
    return {
        "format": FORMAT,
        "salt": tombstones.salt,
        "finished": tombstones.finished,
        "manifests": list(tombstones.manifests),
        "shards": list(tombstones.shards),
        "marks": list(tombstones.marks),
        "speakers": sorted(tombstones.speakers),
        "clips": sorted(tombstones.clips),
    }


def another_tombstones(place: str) -> Tombstones:
    """The tombstones of another data set that are to be honoured too.

    Raises:
        DatasetError: there are none: a name mistyped here would bring somebody back.
    """
    storage = Storage(place)
    found = read_tombstones(storage)
    if found is None:
        there = "" if storage.local is None or storage.local.is_dir() else "; there is no such folder"
        raise DatasetError(f"no {TOMBSTONES} in {place}{there}: name a data set that forgot somebody, or none")
    return found


def write_tombstones(storage: Storage, tombstones: Tombstones) -> None:
    """Put them beside the data.

    Raises:
        CannotWrite: no room, no permission.
    """
    storage.write(TOMBSTONES, (json.dumps(tombstones_to(tombstones), indent=1) + "\n").encode())


NEAR_NAMES = 3  # shown for a name that is not in the data


def near_names(names: Iterable[str], known: Iterable[str]) -> dict[str, tuple[str, ...]]:
    """For each name up to three that are like it, whatever their case, the likest first."""
    folded: dict[str, list[str]] = {}
    for name in sorted(known):
        folded.setdefault(name.casefold(), []).append(name)
    return {
        name: tuple(each for like in get_close_matches(name.casefold(), folded) for each in folded[like])[:NEAR_NAMES]
        for name in names
    }


PLAN = "plan.json"
