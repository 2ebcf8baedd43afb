"""The clips to evaluate on: of a manifest, or of a folder of recordings with their labels in `voices.csv`."""

from __future__ import annotations

import hashlib
import os
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from speech2face.audio.recording import read_recording
from speech2face.audio.spectrogram import SAMPLE_RATE, SAMPLE_SCALE, FloatArray
from speech2face.data.manifest import MANIFEST, Manifest
from speech2face.data.members import FACE_EMBEDDING, WAVEFORM, Malformed, decode_npy, decode_wav, members
from speech2face.data.shards import SpanReader
from speech2face.data.sources import read_table, with_slashes
from speech2face.errors import DatasetError
from speech2face.evaluation.report import Embeddings, Floats
from speech2face.face.embedders import EmbedderRecord
from speech2face.inputs import file_size

Labels = Mapping[str, tuple[str, ...]]
ALL = "all"
FIRST = 3  # of what is missing
SPLITS_TRIED = ("test", "validation")
READ_AT_ONCE = 256  # clips, whose bytes are in memory together


class Clips(Protocol):
    """Chosen clips of one split, in a fixed order; sound is read when it is wanted."""

    name: str
    """Of the data set, without the folder it lies in."""
    split: str
    """What was chosen of it."""
    embedder: EmbedderRecord | None
    """What made the reference embeddings."""
    keys: tuple[str, ...]
    """Names of the clips."""
    speaker: NDArray[np.int64]
    """(clips,): place of the clip's speaker in `speakers`."""
    speakers: tuple[str, ...]
    """Names of the speakers."""
    seconds: Floats
    """(clips,) as recorded."""
    labels: Labels
    """By name; "" where unknown."""

    @property
    def sha256(self) -> str:
        """Stands for all bytes of the data set."""
        ...

    def references(self) -> Embeddings | None:
        """Face embeddings of the clips' own faces, (clips, K); None where the data hold none."""
        ...

    def waveform(self, row: int) -> FloatArray:
        """The whole recording of a clip, (samples,) at 16 kHz.

        Raises:
            Speech2FaceError: it cannot be read.
        """
        ...


def open_clips(place: str | Path, *, split: str | None = None, limit: int | None = None, seed: int = 0) -> Clips:
    """The clips of a data set: a manifest's folder or URL, or a folder with `voices.csv` (or its parent).

    Args:
        place: where it lies.
        split: its name, or "all"; None takes "test", or "validation" where there is no test.
        limit: so many clips, drawn by the seed, in the order of the data set; None takes all.
        seed: of the draw.

    Raises:
        DatasetError: no data set, no such split, or one without clips.
    """
    folder = Path(place)
    for voices in (folder, folder / "voices"):
        if os.path.isfile(voices / VOICES) and not os.path.isfile(voices / MANIFEST):
            return FolderClips(voices, split=split, limit=limit, seed=seed)
    return ManifestClips(Manifest.open(place), split=split, limit=limit, seed=seed)


def _chosen_split(split: str | None, splits: tuple[str, ...], place: object) -> str:
    wanted = (split,) if split is not None else SPLITS_TRIED
    for name in wanted:
        if name in (*splits, ALL):
            return name
    found = f"{place} has no split {' or '.join(map(repr, wanted))}"
    raise DatasetError(f"{found}; it has {', '.join(sorted(splits))}, or take --split {ALL}")


def _drawn(count: int, limit: int | None, seed: int) -> NDArray[np.int64]:
    """Which of `count` clips are taken, in their order."""
    if limit is None or limit >= count:
        return np.arange(count)
    return np.sort(np.random.default_rng(seed).permutation(count)[:limit])


class ManifestClips:
    """Clips of a prepared data set."""

    def __init__(self, manifest: Manifest, *, split: str | None, limit: int | None, seed: int) -> None:
        self.manifest = manifest
        self.split = _chosen_split(split, manifest.splits, manifest.storage)
        only = None if self.split == ALL else self.split
        whole = manifest.clips(only)
        rows = _drawn(len(whole), limit, seed)
        self._table, self._layout = whole.take(rows), manifest.layout
        self.name = re.split(r"[/\\]", str(manifest.storage).rstrip("/\\"))[-1]
        self.sha256, self.embedder = manifest.sha256, manifest.embedder
        self.keys = tuple(bytes(key).decode("ascii") for key in self._table.key)
        people, number = np.unique(self._table.speaker, return_inverse=True)
        self.speaker = number.reshape(-1).astype(np.int64)
        self.speakers = tuple(manifest.table.speakers[who] for who in people)
        self.seconds = self._table.seconds.astype(np.float64)
        columns = {name: manifest.column(name, only) for name in ("licence", "consent", *manifest.labels)}
        self.labels: Labels = {name: tuple(cells[row] for row in rows) for name, cells in columns.items()}
        self._reader = SpanReader(manifest.storage, manifest.shards)
        self._where = [manifest.storage.where(shard.file) for shard in manifest.shards]

    def references(self) -> Embeddings | None:
        """All at once; they are small beside the sound."""
        size = self._layout.embedding
        if size is None:
            return None
        found = np.empty((len(self.keys), size), np.float32)
        for start in range(0, len(found), READ_AT_ONCE):
            rows = range(start, min(start + READ_AT_ONCE, len(found)))
            for row, span in zip(rows, self._spans(rows), strict=True):
                with self._reading(row):
                    found[row] = decode_npy(self._member(row, span, FACE_EMBEDDING), (size,))
        return found

    def waveform(self, row: int) -> FloatArray:
        """The recording as it was stored."""
        if not self._layout.waveform:
            raise DatasetError(f"the clips of {self.name} have no waveform; give a data set with recordings (--data)")
        (span,) = self._spans([row])
        with self._reading(row):
            samples = decode_wav(self._member(row, span, WAVEFORM))
        return np.asarray(samples / np.float32(SAMPLE_SCALE), np.float32)

    def _spans(self, rows: Sequence[int]) -> list[bytes]:
        table, lengths = self._table, self._table.length_without_face
        return self._reader.read([(int(table.shard[row]), int(table.offset[row]), int(lengths[row])) for row in rows])

    def _member(self, row: int, span: bytes, kind: str) -> memoryview:
        return dict(members(span))[f"{self.keys[row]}.{kind}"]

    @contextmanager
    def _reading(self, row: int) -> Iterator[None]:
        """What is wrong inside a shard becomes an error that names it."""
        try:
            yield
        except (Malformed, KeyError) as error:
            where = self._where[self._table.shard[row]]
            raise DatasetError(
                f"{where}, clip {self.keys[row]}: {error}; copy the shard again or prepare it anew"
            ) from error


class FolderClips:
    """Recordings of a folder, one row of `voices.csv` each; no faces belong to them.

    Splits are those of the shipped starter's training: nobody of its "validation" was learned from.
    """

    embedder: EmbedderRecord | None = None

    def __init__(self, folder: Path, *, split: str | None, limit: int | None, seed: int) -> None:
        try:
            known, table = read_voices(folder), read_voice_rows(folder)
        except DatasetError as error:
            raise DatasetError(f"{folder / VOICES} lacks or mistakes {error}; see docs/evaluation.md") from error
        self.split = _chosen_split(split, tuple(dict.fromkeys(str(person.split) for person in known)), folder)
        rows = [row for row, person in enumerate(known) if self.split in (ALL, person.split)]
        rows = [rows[place] for place in _drawn(len(rows), limit, seed)]
        if not rows:
            raise DatasetError(f"{folder / VOICES} lists no recording of the split {self.split!r}")
        self.name = folder.resolve().name
        self._files = [known[row].file for row in rows]
        self.keys = tuple(file.stem for file in self._files)
        _check_files(self._files, folder)
        names = [known[row].name for row in rows]
        self.speakers = tuple(dict.fromkeys(names))
        places = {name: place for place, name in enumerate(self.speakers)}
        self.speaker = np.array([places[name] for name in names], np.int64)
        self.seconds = np.array([known[row].seconds for row in rows], np.float64)
        columns = [name for name in table[0] if name not in ("speaker", "file", "seconds")]
        self.labels: Labels = {name: tuple(table[row][name] for row in rows) for name in columns}

    @cached_property
    def sha256(self) -> str:
        """Of `voices.csv` and the recordings of the split."""
        whole = hashlib.sha256((self._files[0].parent / VOICES).read_bytes())
        for file in self._files:
            whole.update(file.read_bytes())
        return whole.hexdigest()

    def references(self) -> Embeddings | None:
        """None: voices only."""
        return None

    def waveform(self, row: int) -> FloatArray:
        """The recording, decoded."""
        return read_recording(self._files[row]).waveform


def _check_files(files: Sequence[Path], folder: Path) -> None:
    missing = [file.name for file in files if file_size(file) is None]
    twice = [name for name, count in Counter(file.stem for file in files).items() if count > 1]
    if missing:
        first = ", ".join(missing[:FIRST])
        raise DatasetError(f"{folder} lacks {len(missing)} of its recordings, {first} for one; copy it again")
    if twice:
        raise DatasetError(f"{folder / VOICES} names {twice[0]} twice; a recording is one row")


# --- The clips an audit listens to: a waveform each, with the labels that groups are made of.

MOST_SECONDS = 30.0  # of a recording; what a model says moves little beyond


@dataclass(frozen=True, eq=False)
class AuditClip:
    """One recording of a speaker; `labels` hold what was said of them, "" or nothing where nobody said."""

    key: str
    speaker: int
    load: Callable[[], FloatArray]
    """The waveform, (samples,) at 16 kHz."""
    labels: Mapping[str, str] = field(default_factory=dict)
    reference: NDArray[np.float32] | None = None
    """The embedding of the speaker's own face, (K,), where the data have one."""

    @property
    def gender(self) -> str:
        """ "female", "male" or ""."""
        said = self.labels.get("gender", "").strip().lower()
        return said if said in ("female", "male") else ""

    @property
    def age(self) -> tuple[float, float] | None:
        """Half-open interval of years by the speaker's own word; None where they did not say."""
        return parse_age(self.labels.get("age", ""))


def audit_clips(clips: Clips, references: Embeddings | None) -> tuple[AuditClip, ...]:
    """The clips of a data set, one by one, with the embeddings of their own faces, (clips, K), where there are any."""

    def load(row: int) -> Callable[[], FloatArray]:
        return lambda: clips.waveform(row)[: int(MOST_SECONDS * SAMPLE_RATE)]

    return tuple(
        AuditClip(
            key=key,
            speaker=int(clips.speaker[row]),
            load=load(row),
            labels={name: values[row] for name, values in clips.labels.items()},
            reference=None if references is None or not np.isfinite(references[row]).all() else references[row],
        )
        for row, key in enumerate(clips.keys)
    )


_RANGE = re.compile(r"(\d{1,3})\s*[-\u2013]\s*(\d{1,3})")
_DECADE = re.compile(r"(\d{1,2}0)s")


def parse_age(text: str) -> tuple[float, float] | None:
    """An age label as a half-open interval of years: "34", "34.5", "20-29", "30s", "twenties"; None if it is none."""
    text = text.strip().lower()
    if text in DECADES:
        return DECADES[text]
    if found := _DECADE.fullmatch(text):
        return float(found[1]), float(found[1]) + 10
    if found := _RANGE.fullmatch(text):
        low, high = float(found[1]), float(found[2])
        return (low, high + 1) if low <= high else None
    try:
        years = float(text)
    except ValueError:
        return None
    if not 0 <= years < 130:
        return None
    return (years, years + 1) if years.is_integer() else (years, years)


# --- The starter's speakers: labels as intervals, and speaker-disjoint splits.

VOICES = "voices.csv"
NEEDED = ("speaker", "file", "seconds", "gender", "age", "age_impression", "language", "source")
Split = Literal["train", "calibration", "validation"]
Gender = Literal["female", "male"]
SPLIT_SEED = "starter-1"
VALIDATION_SHARE = 0.20
CALIBRATION_SHARE = 0.10
# Ages in years, half open. Common Voice's bands are "under 19", "19 to 29" and then decades; whoever calls themselves a
# teenager is taken as 13 or more, and the year at 19 is let go.
COMMON_VOICE_DECADES = {
    "teens": (13, 20),
    "twenties": (20, 30),
    "thirties": (30, 40),
    "fourties": (40, 50),  # spelled so in Common Voice
    "fifties": (50, 60),
    "sixties": (60, 70),
    "seventies": (70, 80),
    "eighties": (80, 90),
    "nineties": (90, 100),
}
DECADES = {name: (float(low), float(high)) for name, (low, high) in COMMON_VOICE_DECADES.items()}
DECADES["forties"] = DECADES["fourties"]
# LibriTTS-P's annotators heard, they did not ask: wide intervals, a weak label, never used in evaluation.
IMPRESSIONS = {"young": (15, 30), "adult-like": (20, 50), "middle-aged": (38, 65), "old": (55, 90)}
CHILD_BELOW = 13
ADULT_FROM = 18


@dataclass(frozen=True)
class Speaker:
    """One speaker of the starter corpus; `age` is a half-open interval in years, None where nobody said."""

    name: str
    file: Path
    seconds: float
    source: str
    language: str
    gender: Gender | None
    age: tuple[int, int] | None
    age_is_impression: bool
    split: Split

    @property
    def is_child(self) -> bool:
        """Certainly under 13."""
        return self.age is not None and not self.age_is_impression and self.age[1] <= CHILD_BELOW

    @property
    def is_adult(self) -> bool:
        """Certainly 18 or more, by the speaker's own word."""
        return self.age is not None and not self.age_is_impression and self.age[0] >= ADULT_FROM

    @property
    def age_years(self) -> float:
        """The middle of the age interval; a decade's is 25, 35 ..., an exact age's is that age and a half."""
        assert self.age is not None
        return (self.age[0] + self.age[1]) / 2


def _age_interval(row: dict[str, str]) -> tuple[tuple[int, int] | None, bool]:
    if row["age"] in COMMON_VOICE_DECADES:
        return COMMON_VOICE_DECADES[row["age"]], False
    if row["age"].isdigit():
        return (int(row["age"]), int(row["age"]) + 1), False
    return IMPRESSIONS.get(row["age_impression"]), True


def _digest(name: str) -> str:
    return hashlib.sha256(f"{SPLIT_SEED}:{name}".encode()).hexdigest()


def _splits(rows: list[dict[str, str]]) -> dict[str, Split]:
    """Order the speakers of each stratum (source, gender, age decade) by hash, and cut: all strata in all splits."""
    strata: dict[tuple[str, str, str], list[str]] = defaultdict(list)
    for row in rows:
        interval, _ = _age_interval(row)
        strata[row["source"], row["gender"], str(interval[0] // 10 if interval else None)].append(row["speaker"])
    split: dict[str, Split] = {}
    for names in strata.values():
        for position, name in enumerate(sorted(names, key=_digest)):
            share = (position + 0.5) / len(names)
            if share < VALIDATION_SHARE:
                split[name] = "validation"
            elif share < VALIDATION_SHARE + CALIBRATION_SHARE:
                split[name] = "calibration"
            else:
                split[name] = "train"
    return split


def read_speakers(starter: Path) -> list[Speaker]:
    """Read `voices/voices.csv` of the starter folder, in the file's order.

    Raises:
        FileNotFoundError: the folder has no such file.
    """
    return read_voices(starter / "voices")


def read_voice_rows(folder: Path) -> list[dict[str, str]]:
    """The rows of `voices.csv`, each cell by its column's name.

    Raises:
        FileNotFoundError: the folder has no such file.
        DatasetError: it is no table with these columns.
    """
    table = folder / VOICES
    if not table.exists():
        raise FileNotFoundError(table)
    found = []
    for row in read_table(str(table), needed=NEEDED):
        seconds, file = row.seconds("seconds"), with_slashes(str(folder), row.printable("file", needed=True))
        if seconds is None:
            raise row.wrong("seconds", "seconds is empty")
        cells = {name: row.get(name) for name in row.columns}
        found.append(cells | {"speaker": row.needed("speaker"), "file": file, "seconds": f"{seconds:g}"})
    return found


def read_voices(folder: Path) -> list[Speaker]:
    """Read the `voices.csv` of a folder of recordings, in the file's order.

    Raises:
        FileNotFoundError: the folder has no such file.
        DatasetError: it is no such table, with line and column.
    """
    rows = read_voice_rows(folder)
    split = _splits(rows)
    speakers = []
    for row in rows:
        age, impression = _age_interval(row)
        gender: Gender | None = {"female": "female", "male": "male"}.get(row["gender"])  # type: ignore[assignment]
        speakers.append(
            Speaker(
                name=row["speaker"],
                file=folder / row["file"],
                seconds=float(row["seconds"]),
                source=row["source"],
                language=row["language"],
                gender=gender,
                age=age,
                age_is_impression=impression,
                split=split[row["speaker"]],
            )
        )
    return speakers
