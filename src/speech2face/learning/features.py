"""From pairs to numbers, once a clip: what the frozen layers make of a voice, and where its face lies.

Clips come from prepared shards, or straight from a table of recordings and photographs. Their numbers are kept in one
file beside them, under the SHA-256 of sound, picture and networks, so that learning again (without somebody, with
more people) computes only what is new. That file holds what single people are like: it is as confidential as the
data, is cleaned with them by `data forget`, and nothing of it goes into a release.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field, replace
from datetime import date
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import ThreadpoolController  # type: ignore[import-untyped]

from speech2face.audio.spectrogram import SAMPLE_SCALE
from speech2face.data.manifest import Manifest
from speech2face.data.media import Rejected, Span, open_media, open_place, read_picture
from speech2face.data.members import (
    ALIGNED_FACE,
    FACE_EMBEDDING,
    LANDMARKS,
    WAVEFORM,
    decode_npy,
    decode_png,
    decode_wav,
    members,
)
from speech2face.data.prepare import read_speech
from speech2face.data.record import TEST, TRAIN, Record, check_speakers, read_tombstones
from speech2face.data.shards import SpanReader
from speech2face.data.sources import open_source
from speech2face.data.storage import Storage
from speech2face.errors import (
    CannotWrite,
    DatasetError,
    FaceNotFound,
    InvalidOption,
    MissingExtra,
    NoSpeech,
    PreparationFailed,
    SeveralFaces,
    Speech2FaceError,
)
from speech2face.face.detect import Picture
from speech2face.face.embed import FaceEmbedder
from speech2face.face.embedders import EmbedderRecord, open_embedder
from speech2face.face.fit import reason_of
from speech2face.face.landmarks import read_landmarks
from speech2face.inputs import load_npz
from speech2face.models.attributes import AttributeModel, load_attribute_model, pooled_statistics
from speech2face.models.contract import Given
from speech2face.models.release import read_manifest, read_stored
from speech2face.portrait import encode_speech

FEATURES = "learning.features.npz"  # forget.FEATURES_SUFFIX is its end
"""Name of the file beside the shards; beside a table of pairs its name goes before."""
LONGEST_SECONDS = 10.0  # of a recording; more changes its numbers little
AT_ONCE = 64  # clips in memory together
VOICE_WEIGHTS = "voice.safetensors"
NETWORKS = (VOICE_WEIGHTS, "voice_frames.onnx", "voice_head.onnx", "face.safetensors")
FACE_FIT = 3  # raised whenever photographs are fitted otherwise
ADULT_REASON = "child"
CONSENT_UNTIL = re.compile(r"\buntil (\d{4}-\d{2}-\d{2})$")  # as the consent studio writes it too
LABELS = ("gender", "age", "language", "session")
"""Labels that scores are made within, where the data have them; `session` names a recording session or microphone."""


# --------------------------------------------------------------------------------------------------
# Where clips come from.
# --------------------------------------------------------------------------------------------------


class ClipMaterial(Protocol):
    """Sound and picture of one clip; sent to another process."""

    def digests(self) -> tuple[str, str]:
        """SHA-256 of the sound and of the picture."""
        ...

    def waveform(self) -> NDArray[np.float32]:
        """(samples,) at 16 kHz.

        Raises:
            Rejected: it cannot be read.
        """
        ...

    def picture(self) -> tuple[Picture, NDArray[np.float32] | None]:
        """(height, width, 3) uint8, and landmarks (points, 2) in its pixels where they are known.

        Raises:
            Rejected: it cannot be read.
        """
        ...

    def embedding(self, record: EmbedderRecord) -> NDArray[np.float32] | None:
        """What this face embedder made of the photograph, (size,); None where that is not at hand."""
        ...


@dataclass(frozen=True, eq=False)
class PairClip:
    """One clip to learn from."""

    key: str
    speaker: str
    licence: str
    consent: str
    labels: Mapping[str, str]
    material: ClipMaterial


@dataclass(frozen=True, eq=False)
class StoredMaterial:
    """Members of a shard."""

    sound: bytes
    face: bytes
    points: bytes
    face_shape: tuple[int, int]
    landmarks: int
    stored_embedding: bytes = b""
    embedder: EmbedderRecord | None = None
    """Of that embedding."""

    def digests(self) -> tuple[str, str]:
        """Of the members as they are stored."""
        return hashlib.sha256(self.sound).hexdigest(), hashlib.sha256(self.face).hexdigest()

    def waveform(self) -> NDArray[np.float32]:
        """As it was stored."""
        return np.asarray(decode_wav(memoryview(self.sound)) / np.float32(SAMPLE_SCALE), np.float32)

    def picture(self) -> tuple[Picture, NDArray[np.float32] | None]:
        """The aligned face with its landmarks."""
        points = decode_npy(memoryview(self.points), (self.landmarks, 2)) if self.landmarks else None
        return decode_png(memoryview(self.face), self.face_shape), points

    def embedding(self, record: EmbedderRecord) -> NDArray[np.float32] | None:
        """As it was stored: made of the photograph itself, of which the aligned face is a part."""
        if self.embedder is None or not self.stored_embedding or not self.embedder.comparable_with(record):
            return None
        return decode_npy(memoryview(self.stored_embedding), (record.size,))


@dataclass(frozen=True, eq=False)
class FileMaterial:
    """A recording and a photograph."""

    record: Record
    landmarks: Path | None = None
    """A file of the photographs' landmarks, as `decode --landmarks` takes it."""

    def digests(self) -> tuple[str, str]:
        """Of both files, and of the span of the recording."""
        span = f"{self.record.start_seconds}-{self.record.end_seconds}"
        return _file_digest(self.record.media, "no_media", span), _file_digest(self._photograph, "no_photograph")

    @property
    def _photograph(self) -> str:
        if self.record.photograph is None:
            raise Rejected("no_photograph", "a row without a photograph; prepare videos with data prepare first")
        return self.record.photograph

    def waveform(self) -> NDArray[np.float32]:
        """The first seconds of the span."""
        with open_media(self.record.media) as media:
            span = Span(self.record.start_seconds or 0.0, self.record.end_seconds)
            return read_speech(media, span, LONGEST_SECONDS)

    def picture(self) -> tuple[Picture, NDArray[np.float32] | None]:
        """The photograph; without a file of landmarks they have to be found."""
        picture = read_picture(self._photograph)
        if self.landmarks is None:
            return picture, None
        name = self._photograph.replace("\\", "/").rpartition("/")[2].rpartition(".")[0]
        try:
            points = read_landmarks(self.landmarks, name, (picture.shape[1], picture.shape[0]))
        except InvalidOption as error:
            raise Rejected("landmarks", str(error)) from error
        return picture, points.astype(np.float32)

    def embedding(self, record: EmbedderRecord) -> None:
        """Nothing: the photograph was never embedded."""
        return


def _file_digest(place: str, missing: str, more: str = "") -> str:
    with open_place(place, missing=missing) as file:
        digest = hashlib.file_digest(file, "sha256")  # type: ignore[arg-type]
    digest.update(more.encode())
    return digest.hexdigest()


@dataclass(frozen=True, eq=False)
class PairSet:
    """Clips to learn from, and what is known of them together."""

    name: str
    """Without the folder it lies in."""
    sha256: str
    """Of the manifest, or of the table of pairs."""
    clips: Callable[[], Iterator[PairClip]]
    features: Path | None
    """Where their numbers are kept; None where they cannot be."""
    rejected: Mapping[str, int] = field(default_factory=dict)
    """Records that gave no clip already, by reason."""
    count: int | None = None
    """How many clips there are; None where that is not known before they are read."""
    people: int | None = None
    """How many people they are of, likewise."""
    landmarks: str = ""
    """SHA-256 of a file of landmarks that comes with them; "" without one."""


def stored_pairs(place: str) -> PairSet:
    """The clips of a prepared data set, those of the split `test` left out.

    Raises:
        DatasetError: it is none, or its clips have no voices or no aligned faces.
        SpeakerLeak: a speaker is in two splits.
    """
    manifest = Manifest.open(place)
    missing = [part for part in ("waveform", "aligned_face") if part not in manifest.layout.parts]
    if missing:
        raise DatasetError(
            f"the clips of {manifest.storage} have no {' and no '.join(missing)}; prepare them with both"
        )
    local = manifest.storage.local
    rejects = manifest.statement.get("rejects", {})
    name = str(manifest.storage).rstrip("/\\").replace("\\", "/").rpartition("/")[2]
    return PairSet(
        name,
        manifest.sha256,
        partial(_stored_clips, manifest),
        None if local is None else local / FEATURES,
        {str(reason): int(count) for reason, count in rejects.items()} if isinstance(rejects, Mapping) else {},
        sum(len(manifest.clips(split)) for split in manifest.splits if split != TEST),
        sum(len(set(manifest.clips(split).speaker.tolist())) for split in manifest.splits if split != TEST),
    )


def _stored_clips(manifest: Manifest) -> Iterator[PairClip]:
    table, layout = manifest.table, manifest.layout
    assert layout.face is not None
    columns = {name: manifest.column(name) for name in ("licence", "consent", *manifest.labels)}
    labels = [name for name in LABELS if name in columns]
    reader = SpanReader(manifest.storage, manifest.shards)
    wanted = [row for row in range(len(table)) if table.splits[table.split[row]] != TEST]
    for row in wanted:
        (span,) = reader.read([(int(table.shard[row]), int(table.offset[row]), int(table.length[row]))])
        key = table.key_of(row)
        found = {name.split(".", 1)[1]: bytes(content) for name, content in members(span)}
        if WAVEFORM not in found or ALIGNED_FACE not in found:
            where = manifest.storage.where(manifest.shards[table.shard[row]].file)
            raise DatasetError(f"{where}, clip {key}, lacks its voice or face; prepare the shard anew")
        yield PairClip(
            key=key,
            speaker=table.speakers[table.speaker[row]],
            licence=columns["licence"][row],
            consent=columns["consent"][row],
            labels={name: columns[name][row] for name in labels},
            material=StoredMaterial(
                found[WAVEFORM],
                found[ALIGNED_FACE],
                found.get(LANDMARKS, b""),
                layout.face,
                layout.landmarks or 0,
                found.get(FACE_EMBEDDING, b""),
                manifest.embedder,
            ),
        )


def tabled_pairs(
    table: str, *, licence: str = "", consent: str = "", allow: Sequence[str] = (), landmarks: Path | None = None
) -> PairSet:
    """The rows of a table of recordings and photographs, those without licence or consent counted as rejected.

    `landmarks` is a file of the photographs' landmarks, by their names without ending; without one they are found.

    Raises:
        DatasetError: the table is wrong, with line and column.
        InvalidOption: there is no such file of landmarks.
        SpeakerLeak: a speaker is in two splits.
    """
    basis = {"licence": licence, "consent": consent, "allow": sorted(allow)}
    source = open_source({"name": "pairs", "table": table, "basis": basis})
    rejected: Counter[str] = Counter()
    records = []
    folder = Storage(os.path.dirname(os.path.abspath(table)) if "://" not in table else table.rpartition("/")[0])
    tombstones = read_tombstones(folder)
    for each in source.records():
        if not isinstance(each, Record):
            rejected[each.reason] += 1
        elif tombstones is not None and tombstones.names(each.speaker, each.key):
            rejected["tombstone"] += 1
        else:
            records.append(each)
    # Rows without a split are learned from: their speakers may not be among those who are left for scores.
    scored = {each.speaker for each in records if each.split == TEST}
    check_speakers(
        (each.speaker, each.split or TRAIN) for each in records if each.split is not None or each.speaker in scored
    )
    kept = [each for each in records if each.split != TEST]
    with open_place(table, missing="no_media") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()  # type: ignore[arg-type]
    local = folder.local
    name = table.replace("\\", "/").rpartition("/")[2]
    return PairSet(
        name,
        sha256,
        partial(_tabled_clips, kept, landmarks),
        None if local is None else local / f"{name}.{FEATURES}",
        rejected,
        len(kept),
        len({each.speaker for each in kept}),
        "" if landmarks is None else _landmarks_digest(landmarks),
    )


def _landmarks_digest(file: Path) -> str:
    try:
        return hashlib.sha256(file.read_bytes()).hexdigest()
    except OSError as error:
        raise InvalidOption(f"cannot read the landmarks {file}: {error.strerror}") from error


def _tabled_clips(records: Sequence[Record], landmarks: Path | None) -> Iterator[PairClip]:
    for each in records:
        labels = {name: each.labels[name] for name in LABELS if name in each.labels}
        yield PairClip(each.key, each.speaker, each.licence, each.consent, labels, FileMaterial(each, landmarks))


# --------------------------------------------------------------------------------------------------
# The numbers of one clip.
# --------------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class ClipNumbers:
    """What a clip is to the learning."""

    statistics: NDArray[np.float16]
    """(2 * channels,): the voice, see `pooled_statistics`"""
    prior_mean: NDArray[np.float32]
    """(K,): the starter's belief by the attributes it reads from this voice ..."""
    prior_covariance: NDArray[np.float32]
    """(K, K): ... and its spread"""
    face: NDArray[np.float32]
    """(K,): the photograph's face embedding ..."""
    face_covariance: NDArray[np.float32]
    """(K, K): ... and how far it may lie from the person's own"""
    face_error: float
    """Of the fit: 1 is an evenly lit photograph from the front, more is worse."""
    seconds: float
    """Of speech."""
    face_weight: float = 1.0
    """By which the photographs of a person are averaged: 1 for a frontal, calm, well-explained one, less for others."""
    recognised: NDArray[np.float32] = field(default_factory=lambda: np.zeros(0, np.float32))
    """(M,): a face recogniser's embedding of the photograph; empty without one"""


@dataclass(frozen=True)
class FaceRecogniser:
    """A face embedder to learn in the space of; sent to another process."""

    record: EmbedderRecord
    file: Path | None = None
    """Its weights, where they are the user's own file."""

    def open(self) -> FaceEmbedder:
        """Open it.

        Raises:
            WeightsError, InvalidOption, MissingExtra: as `open_embedder`.
        """
        return open_embedder(self.record, self.file)


class ClipReader:
    """The networks, opened once a process; a face recogniser too where one is named."""

    def __init__(self, recogniser: FaceRecogniser | None = None) -> None:
        self.recogniser = recogniser
        self._embedder = None if recogniser is None else recogniser.open()
        self.model: AttributeModel = load_attribute_model()
        self.model.runtime.threads = 1
        self._fitters: dict[bool, Any] = {}
        self._threads = ThreadpoolController()

    def read(self, material: ClipMaterial) -> ClipNumbers:
        """The numbers of one clip, by one thread: products of matrices as small as a face fit's wait for each other.

        Raises:
            Rejected: no speech, a child's voice, no face, a face that cannot be fitted.
            MissingExtra: a photograph comes without landmarks, and what finds them is not installed.
        """
        with self._threads.limit(limits=1):
            return self._read(material)

    def _read(self, material: ClipMaterial) -> ClipNumbers:
        waveform = material.waveform()
        try:
            activity, found = encode_speech(self.model, waveform)
        except NoSpeech as error:
            raise Rejected("no_speech", str(error)) from error
        except Speech2FaceError as error:
            raise Rejected("silent", str(error)) from error
        if found.is_child:  # type: ignore[attr-defined]
            raise Rejected(ADULT_REASON, "the voice is most likely a child's; faces are those of adults")
        picture, points = material.picture()
        try:
            fitted = self._fitter(points is None).fit([picture], None if points is None else [points])
        except FaceNotFound as error:
            raise Rejected(reason_of(error), str(error)) from error
        recognised = self._recognised(material, picture)
        prior = found.belief(Given())
        return ClipNumbers(
            statistics=pooled_statistics(found.moments).astype(np.float16),  # type: ignore[attr-defined]
            prior_mean=prior.mean,
            prior_covariance=prior.covariance,
            face=self.model.as_drawn(fitted.embedding),
            face_covariance=fitted.covariance.astype(np.float32),
            face_error=float(fitted.error),
            seconds=float(activity.seconds),
            face_weight=fitted.weight,
            recognised=recognised,
        )

    def _recognised(self, material: ClipMaterial, picture: Picture) -> NDArray[np.float32]:
        if self.recogniser is None or self._embedder is None:
            return np.zeros(0, np.float32)
        found = material.embedding(self.recogniser.record)
        try:
            found = self._embedder.embed(picture) if found is None else found
        except SeveralFaces as error:
            raise Rejected("several_faces", str(error)) from error
        if found is None:
            raise Rejected("no_face", "the face recogniser finds no face in the photograph")
        return found

    def _fitter(self, find: bool) -> Any:
        if find not in self._fitters:
            finder = None
            if find:
                from speech2face.face.landmarks import FacePointFinder

                finder = FacePointFinder()
            self._fitters[find] = self.model.face_fitter(finder)
        return self._fitters[find]


def networks_sha256(recogniser: FaceRecogniser | None = None, landmarks: str = "") -> str:
    """SHA-256 over the networks, axes and landmarks that make the numbers: only those of the same ones go together."""
    model = load_attribute_model()
    files = read_manifest(model.release.folder)["files"]
    stated = [*(f"{name} {files[name]}" for name in NETWORKS), f"face fit {FACE_FIT}"]
    if recogniser is not None:
        stated.append(json.dumps(recogniser.record.to_dict(), sort_keys=True))
    if landmarks:
        stated.append(f"landmarks {landmarks}")
    return hashlib.sha256("\n".join(stated).encode()).hexdigest()


_READER: list[ClipReader] = []


def _start(recogniser: FaceRecogniser | None = None) -> None:
    _READER[:] = [ClipReader(recogniser)]


class Refusal(NamedTuple):
    """Why a clip has no numbers: an answer, since the exception does not survive the way between processes."""

    reason: str
    detail: str


Answer = ClipNumbers | Refusal | MissingExtra


def _read(material: ClipMaterial) -> Answer:
    try:
        return _READER[0].read(material)
    except Rejected as error:
        return Refusal(error.reason, error.detail)
    except MissingExtra as error:
        return error


# --------------------------------------------------------------------------------------------------
# The numbers of all clips, kept beside them.
# --------------------------------------------------------------------------------------------------

Array = NDArray[Any]
ARRAYS = (
    *("statistics", "prior_mean", "prior_covariance", "face", "face_covariance"),
    *("face_error", "seconds", "face_weight", "recognised"),
)


@dataclass(frozen=True, eq=False)
class Kept:
    """Numbers by the digest of sound and picture, those of rejected clips with their reason."""

    networks: str
    numbers: dict[str, ClipNumbers]
    rejected: dict[str, tuple[str, str]]
    owner: dict[str, tuple[str, str]]
    """Speaker and clip of each digest, so that forgetting finds them."""

    def to_bytes(self) -> bytes:
        """As a file of arrays."""
        digests = list(self.numbers)
        arrays: dict[str, Array] = {
            name: np.stack([np.asarray(getattr(self.numbers[digest], name)) for digest in digests])
            for name in ARRAYS
            if digests
        }
        arrays["networks"], arrays["digest"] = np.array(self.networks), np.array(digests, "U64")
        arrays["rejected"] = np.array([[key, *found] for key, found in self.rejected.items()], "U").reshape(-1, 3)
        arrays["owner"] = np.array([[key, *found] for key, found in self.owner.items()], "U").reshape(-1, 3)
        sink = io.BytesIO()
        np.savez(sink, **arrays)  # type: ignore[arg-type]
        return sink.getvalue()

    @classmethod
    def read(cls, path: Path, networks: str) -> Kept:
        """From the file; nothing where there is none, or one of other networks or of another program."""
        empty = cls(networks, {}, {}, {})
        if not path.is_file():
            return empty
        try:
            arrays = load_npz(path)
            if str(arrays["networks"]) != networks:
                return empty
            digests = [str(digest) for digest in arrays["digest"]]
            numbers = {digest: ClipNumbers(**_numbers(arrays, row)) for row, digest in enumerate(digests)}
            rejected = {str(key): (str(reason), str(detail)) for key, reason, detail in arrays["rejected"]}
            owner = {str(key): (str(speaker), str(clip)) for key, speaker, clip in arrays["owner"]}
        except (KeyError, ValueError, OSError):
            return empty
        return cls(networks, numbers, rejected, owner)


def _numbers(arrays: Mapping[str, Array], row: int) -> dict[str, Any]:
    """The fields of one clip's numbers."""
    found = {name: arrays[name][row] for name in ARRAYS}
    return {name: float(value) if value.ndim == 0 else value for name, value in found.items()}


@dataclass(frozen=True, eq=False)
class EncodedClips:
    """The clips that can be learned from, with their numbers, and how many could not."""

    clips: tuple[PairClip, ...]
    numbers: tuple[ClipNumbers, ...]
    sounds: tuple[str, ...]
    """SHA-256 of each clip's sound."""
    faces: tuple[str, ...]
    """SHA-256 of each clip's picture."""
    digests: tuple[str, ...]
    """Of both together, under which its numbers are kept."""
    rejected: Mapping[str, int]
    """Clips by reason."""


def encode_pairs(
    pairs: PairSet,
    *,
    workers: int = 1,
    progress: Callable[[int], None] | None = None,
    recogniser: FaceRecogniser | None = None,
) -> EncodedClips:
    """The numbers of all clips, from the file beside them if they are there; `progress` hears how many more are done.

    With a face recogniser its embeddings are among the numbers; with another one than before all are made anew.

    Raises:
        DatasetError: the data are damaged.
        MissingExtra: photographs come without landmarks, and what finds them is not installed.
        CannotWrite: the file of numbers cannot be written.
    """
    from speech2face.outputs import replace_file

    tell = progress or (lambda clips: None)
    networks = networks_sha256(recogniser, pairs.landmarks)
    known = Kept(networks, {}, {}, {}) if pairs.features is None else Kept.read(pairs.features, networks)
    rejected: Counter[str] = Counter(pairs.rejected)
    today = date.today()
    kept: list[tuple[PairClip, str, str, str]] = []
    used = Kept(networks, {}, {}, {})
    with _Pool(workers, recogniser) as run:
        clips = pairs.clips()
        while batch := list(islice(clips, AT_ONCE)):
            named = []
            for clip in batch:
                if consent_ended(clip.consent, today):
                    rejected["consent_expired"] += 1
                    continue
                try:
                    sound, face = clip.material.digests()
                except Rejected as error:
                    rejected[error.reason] += 1
                    continue
                named.append((clip, hashlib.sha256(f"{sound}{face}".encode()).hexdigest(), sound, face))
            new = [each for each in named if each[1] not in known.numbers and each[1] not in known.rejected]
            tell(len(batch) - len(new))
            for (_, digest, _, _), answer in zip(new, run([each[0].material for each in new]), strict=True):
                if isinstance(answer, MissingExtra):
                    raise answer
                if isinstance(answer, Refusal):
                    known.rejected[digest] = (answer.reason, answer.detail)
                else:
                    known.numbers[digest] = answer
                tell(1)
            for clip, digest, sound, face in named:
                used.owner[digest] = (clip.speaker, clip.key)
                if digest in known.rejected:
                    used.rejected[digest] = known.rejected[digest]
                    rejected[known.rejected[digest][0]] += 1
                else:
                    used.numbers[digest] = known.numbers[digest]
                    # Without sound and picture, which would fill the memory.
                    kept.append((replace(clip, material=_NOTHING), digest, sound, face))
    if pairs.features is not None and known.owner != used.owner and os.access(pairs.features.parent, os.W_OK):
        try:
            replace_file(pairs.features, used.to_bytes())
        except OSError as error:
            raise CannotWrite(f"cannot write {pairs.features}: {error.strerror}; make room and start again") from error
    return EncodedClips(
        tuple(each[0] for each in kept),
        tuple(used.numbers[each[1]] for each in kept),
        tuple(each[2] for each in kept),
        tuple(each[3] for each in kept),
        tuple(each[1] for each in kept),
        dict(rejected),
    )


def consent_ended(consent: str, today: date) -> bool:
    """Whether a basis of consent ends with a last day that is over, as in "written, until 2027-05-31"."""
    found = CONSENT_UNTIL.search(consent)
    return found is not None and found.group(1) < today.isoformat()


_NOTHING = StoredMaterial(b"", b"", b"", (0, 0), 0)
Run = Callable[[Sequence[ClipMaterial]], Iterator[Answer]]


class _Pool:
    """Runs `_read` here, or in several processes."""

    def __init__(self, workers: int, recogniser: FaceRecogniser | None) -> None:
        self._workers, self._recogniser = workers, recogniser
        self._pool: ProcessPoolExecutor | None = None

    def __enter__(self) -> Run:
        return self._run

    def _run(self, materials: Sequence[ClipMaterial]) -> Iterator[Answer]:
        """Each answer as soon as it is there, in the order of the materials."""
        if not materials:
            return iter(())
        if self._workers == 1:
            if not _READER or _READER[0].recogniser != self._recogniser:
                _start(self._recogniser)
            return map(_read, materials)
        if self._pool is None:
            from multiprocessing import get_context

            self._pool = ProcessPoolExecutor(
                self._workers, mp_context=get_context("spawn"), initializer=_start, initargs=(self._recogniser,)
            )
        return self._answers(self._pool.map(_read, materials))

    def _answers(self, answers: Iterator[Answer]) -> Iterator[Answer]:
        try:
            yield from answers
        except BrokenProcessPool as error:
            _start(self._recogniser)  # what they cannot open is said here by its own error
            raise PreparationFailed(
                "a process that read clips was ended, for want of memory or by hand; start again with fewer --workers"
            ) from error

    def __exit__(self, *raised: object) -> None:
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)


# --------------------------------------------------------------------------------------------------
# The voice's numbers in the space where sums are made: the starter's own axes.
# --------------------------------------------------------------------------------------------------

AXES = ("lines.weight", "distance.weight", "embed.weight")
"""Of the starter's voice head: its lines of gender, age and the like, and where recordings and speakers differ most."""


@dataclass(frozen=True, eq=False)
class VoiceAxes:
    """x = (statistics - centre) map, (2 * channels,) -> (D,): fixed by the starter's weights, the same everywhere."""

    centre: NDArray[np.float64]
    map: NDArray[np.float64]
    """(2 * channels, D)"""

    @classmethod
    def of_starter(cls) -> VoiceAxes:
        """Orthonormal axes through those of the shipped voice head, in standardised statistics."""
        folder = load_attribute_model().release.folder
        stored = read_stored(folder / VOICE_WEIGHTS, ("centre", "scale", *AXES))
        rows = np.concatenate([stored[name] for name in AXES]).astype(np.float64)
        axes, triangle = np.linalg.qr((rows / np.linalg.norm(rows, axis=1, keepdims=True)).T)
        axes = axes * np.sign(np.diag(triangle))  # the same on every machine
        scale = stored["scale"].astype(np.float64)[:, None]
        return cls(stored["centre"].astype(np.float64), scale * axes / np.sqrt(len(rows)))

    def of(self, statistics: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
        """(rows, 2 * channels) -> (rows, D)."""
        return np.asarray((statistics - self.centre) @ self.map)
