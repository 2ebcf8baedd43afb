"""The paper's model: learned from people whose voice and face are both known, it says the face embedding directly."""

from __future__ import annotations

import copy
import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from speech2face.audio.spectrogram import (
    HOP,
    SAMPLE_RATE,
    WINDOW,
    FloatArray,
    frame_count,
    merge_oldest,
    spectrogram,
    tile,
)
from speech2face.audio.speech import Spans
from speech2face.drawn.contours import DRAWABLE_LANDMARKS
from speech2face.errors import InvalidGiven, InvalidOption, WeightsError
from speech2face.face.embed import FaceEmbedder
from speech2face.face.embedders import EmbedderRecord, open_embedder
from speech2face.inputs import brief, load_npz
from speech2face.limits import Style
from speech2face.models.contract import Caution, Given
from speech2face.models.release import FACE_DECODER, LANDMARKS, Release, Runtime, common_parts, open_release, parsing
from speech2face.provenance import PAIRED_NOTICE
from speech2face.voice.belief import Spread, SpreadBelief, cosine

# --------------------------------------------------------------------------------------------------
# The record of a release learned from pairs of a voice and a face: sizes, face embedder, spread, thresholds.
# --------------------------------------------------------------------------------------------------

KIND = "paired"
CLIPS_KIND = "paired_clips"
"""A paired release whose voice encoder summarises whole clips of the waveform; `KIND` streams spectrogram columns."""
BELIEF = "belief.npz"


@dataclass(frozen=True)
class VoiceGeometry:
    """How sound is cut for the voice encoder: what `voice/encoder.py` derives from its layers, without torch."""

    clip_seconds: float
    """What the encoder was trained on; a shorter recording is repeated until it is as long, as in the paper."""
    receptive_frames: int = 0
    """Frames that one column sees."""
    column_hop: int = 0
    """Frames from one column to the next; 0 where a column is the statistics of a whole clip."""

    @property
    def clip_samples(self) -> int:
        """Samples of a training clip."""
        return round(self.clip_seconds * SAMPLE_RATE)

    @property
    def column_samples(self) -> int:
        """Samples from one column to the next."""
        return self.column_hop * HOP or self.clip_samples

    @property
    def segment_columns(self) -> int:
        """Columns of the shortest stretch whose voice is compared with another's."""
        return SEGMENT_COLUMNS if self.column_hop else 1


@dataclass(frozen=True)
class PairedRelease(Release):
    """A release whose voice encoder says the face embedding itself."""

    embedding: int
    """Length of the face embedding, K."""
    size: int
    """Width and height of the canonical face in pixels."""
    embedder: EmbedderRecord
    """What makes such embeddings from photographs."""
    geometry: VoiceGeometry
    mean_embedding: FloatArray  # (K,) of the faces it was measured on; what exaggeration moves away from
    spread: Spread
    training: dict[str, Any]
    """What it was trained on and for how long, for the card."""
    kind: ClassVar[str] = KIND

    @property
    def embedder_record(self) -> EmbedderRecord | None:
        """See `Release`."""
        return self.embedder

    @property
    def learned_from(self) -> str:
        """See `Release`."""
        return str(self.training.get("voice_data_manifest_sha256", ""))

    @property
    def stated_spread(self) -> Spread | None:
        """See `Release`."""
        return self.spread


def _read_belief(path: Path, embedding: int) -> tuple[FloatArray, Spread]:
    try:
        arrays = load_npz(path)
    except (OSError, ValueError) as error:
        raise WeightsError(f"{path} cannot be read: {error}; fetch the release again") from error
    mean, spread = arrays["mean_embedding"].astype(np.float32), Spread.from_arrays(arrays)
    if mean.shape != (embedding,) or spread.axes.shape[1] != embedding:
        raise ValueError(f"{path.name}, made for {mean.size} numbers where the face embedding has {embedding}")
    return mean, spread


def read_paired_release(folder: Path, values: dict[str, Any]) -> PairedRelease:
    """The record in a checked manifest.

    Raises:
        WeightsError: a part is missing, of the wrong kind, or does not go with the others.
    """
    with parsing(folder):
        voice = values["voice"]
        embedding = int(values["face"]["embedding"])
        mean, spread = _read_belief(folder / BELIEF, embedding)
        return PairedRelease(
            **common_parts(folder, values),
            embedding=embedding,
            size=int(values["face"]["size"]),
            embedder=EmbedderRecord.from_dict(values["embedder"]),
            geometry=VoiceGeometry(
                float(voice["clip_seconds"]),
                *(() if values["kind"] == CLIPS_KIND else (int(voice["receptive_frames"]), int(voice["column_hop"]))),
            ),
            mean_embedding=mean,
            spread=spread,
            training=dict(values["training"]),
        )


# --------------------------------------------------------------------------------------------------
# The networks of a release learned from pairs: sound of any length to columns, mean column to face embedding.
# --------------------------------------------------------------------------------------------------

VOICE_COLUMNS = "voice_columns.onnx"
VOICE_HEAD = "voice_head.onnx"
BLOCK_COLUMNS = 16  # 10 s in one run: what the paper's encoder holds at once stays under half a gigabyte
SEGMENT_COLUMNS = 6  # 3.8 s: the shortest stretch of speech whose voice is compared with another's


@dataclass(frozen=True)
class ColumnSum:
    """The columns of one stretch of speech, added up."""

    total: NDArray[np.float64]  # (channels, column frequencies)
    count: float
    """How many columns; a share of one where less than a whole clip was summarised."""
    spoken: float = math.inf
    """How many columns' worth of it is speech; infinite where nobody looked."""


def join(sums: Sequence[ColumnSum]) -> ColumnSum:
    """Several stretches as one."""
    total = np.sum([part.total for part in sums], axis=0)
    return ColumnSum(total, sum(part.count for part in sums), sum(part.spoken for part in sums))


class ColumnStream:
    """Speech in pieces of any length in, columns out, each computed once: what `voice/encoder.py` does, in ONNX.

    The graph takes new frames and what its layers kept of the old ones. At first they have kept nothing but zeros, and
    the columns that grow out of these are dropped.
    """

    def __init__(self, runtime: PairedRuntime) -> None:
        self._runtime = runtime
        (_, *kept), (columns, *_) = runtime.inputs(VOICE_COLUMNS), runtime.outputs(VOICE_COLUMNS)
        self._kept = {name: np.zeros(shape, np.float32) for name, shape in kept}
        self._channels_and_frequencies = columns[1][1:3]
        self._first_name, first_shape = kept[0]  # the first layer's: frames themselves
        self._first_frames = first_shape[-1]
        geometry = runtime.release.geometry
        self._drop = (geometry.receptive_frames - self._first_frames) // geometry.column_hop - 1
        self._waiting = np.zeros(0, np.float32)  # samples from the next frame on
        self._started = False

    def push(self, waveform: FloatArray) -> FloatArray:
        """Encode a piece, (samples,); the columns that became whole, (channels, column frequencies, columns)."""
        hop = self._runtime.release.geometry.column_hop
        self._waiting = np.concatenate([self._waiting, waveform])
        if not self._started and frame_count(self._waiting.size) >= self._first_frames:
            self._kept = self._kept | {self._first_name: self._frames(self._first_frames)}
            self._started = True
        found = [np.zeros((*self._channels_and_frequencies, 0), np.float32)]
        while self._started and (steps := min(BLOCK_COLUMNS, frame_count(self._waiting.size) // hop)):
            found.append(self._step(self._frames(steps * hop)))
        return np.concatenate(found, axis=2)

    def rest(self) -> None:
        """Nothing: frames that make no column yet are not told of."""
        return

    def fork(self) -> ColumnStream:
        """Another that has encoded the same, and may go on with something else."""
        return copy.copy(self)  # nothing it holds is changed in place

    def _frames(self, count: int) -> FloatArray:
        """The next frames, (1, 2, frequency, count), which are then no longer waiting."""
        taken = spectrogram(self._waiting[: (count - 1) * HOP + WINDOW])[None]
        self._waiting = self._waiting[count * HOP :]
        return taken

    def _step(self, frames: FloatArray) -> FloatArray:
        columns, *kept = self._runtime.run(VOICE_COLUMNS, frames=frames, **self._kept)
        self._kept = dict(zip(self._kept, kept, strict=True))
        dropped = min(self._drop, columns.shape[3])
        self._drop -= dropped
        return np.asarray(columns[0, :, :, dropped:])


class ClipStream:
    """Sound in pieces of any length in, a column of statistics for each whole clip out, as the encoder learned."""

    def __init__(self, runtime: PairedRuntime) -> None:
        self._runtime = runtime
        self._clip = runtime.release.geometry.clip_samples
        self._recent = np.zeros(0, np.float32)  # the last clip's samples, as far as there are any
        self._waiting = 0  # samples that make no whole clip yet, the last ones of `_recent`

    def push(self, waveform: FloatArray) -> FloatArray:
        """Take a piece, (samples,); the columns that became whole, (statistics, 1, columns)."""
        found = []
        while waveform.size:
            taken = waveform[: self._clip - self._waiting]
            waveform = waveform[taken.size :]
            self._recent = np.concatenate([self._recent, taken])[-self._clip :]
            self._waiting += taken.size
            if self._waiting == self._clip:
                found.append(self._column())
                self._waiting = 0
        return np.concatenate(found, axis=2) if found else np.zeros((1, 1, 0), np.float32)

    def rest(self) -> ColumnSum | None:
        """What makes no whole clip yet, as the column of the last clip's length, which counts by its share of it."""
        if not self._waiting or self._recent.size < self._clip:
            return None
        share = self._waiting / self._clip
        return ColumnSum(share * self._column()[:, :, 0].astype(np.float64), share)

    def fork(self) -> ClipStream:
        """Another that has encoded the same, and may go on with something else."""
        return copy.copy(self)  # nothing it holds is changed in place

    def _column(self) -> FloatArray:
        statistics = self._runtime.run(VOICE_COLUMNS, waveform=self._recent[None])[0]
        return np.asarray(statistics, np.float32).reshape(-1, 1, 1)


class PairedRuntime(Runtime):
    """The three networks: one run a stretch of speech, one run a recording, one run a picture."""

    graphs: ClassVar[tuple[str, ...]] = (VOICE_COLUMNS, VOICE_HEAD, FACE_DECODER)
    release: PairedRelease

    def __init__(self, release: PairedRelease, threads: int | None = None) -> None:
        super().__init__(release, threads)

    def read(self, stretches: Sequence[ColumnSum]) -> FloatArray:
        """The face embedding that each stretch of speech says, (stretches, K)."""
        means = np.stack([part.total / part.count for part in stretches]).astype(np.float32)
        shape = [length for length in self.inputs(VOICE_HEAD)[0][1] if isinstance(length, int)]
        return np.asarray(self.run(VOICE_HEAD, mean_column=means.reshape(-1, *shape))[0])

    def stream(self) -> ColumnStream | ClipStream:
        """Begin to encode sound that comes in pieces."""
        return ColumnStream(self) if self.release.geometry.column_hop else ClipStream(self)


# --------------------------------------------------------------------------------------------------
# The paired model's encoder on sound as it comes: every column once, and all of them added up.
# --------------------------------------------------------------------------------------------------


class PairedEncoderState:
    """One speaker's sound so far: column sums, stretch by stretch, and the encoder's memory of the last frames.

    Under the length of a training clip it is repeated, as in the paper: a copy of the encoder's memory is given
    what is missing, so that no more than the clip's remainder is encoded at a snapshot.
    """

    def __init__(self, model: PairedModel) -> None:
        self._model, self._geometry = model, model.release.geometry
        self._short: FloatArray | None = np.zeros(0, np.float32)  # everything, until it is as long as a clip
        self._stream = model.runtime.stream()
        self._sums: list[ColumnSum] = []
        self._spoken = 0.0  # columns' worth of speech, of sound that is no column yet

    def push(self, waveform: FloatArray, spoken_seconds: float | None = None) -> None:
        """Encode the next stretch, (samples,), pauses and all."""
        if self._short is not None:
            joined = np.concatenate([self._short, waveform])
            self._short = joined if joined.size < self._geometry.clip_samples else None
        columns = self._stream.push(waveform)
        samples = math.inf if spoken_seconds is None else spoken_seconds * SAMPLE_RATE
        self._spoken += samples / self._geometry.column_samples
        if new := columns.shape[2]:
            grown = gathered(self._sums, columns, self._spoken / new, self._geometry.segment_columns)
            self._sums = merge_oldest(grown, lambda *pair: join(pair), lambda part: part.count)
            self._spoken = 0.0

    def encoding(self) -> PairedEncoding:
        """What is read from everything so far."""
        sums, length = self._sums, self._geometry.segment_columns
        if self._short is not None:
            assert self._short.size > 0, "nothing was encoded"
            repeated = tile(self._short, self._geometry.clip_samples)[self._short.size :]
            sums = gathered(sums, self._stream.fork().push(repeated), length=length)
        elif rest := self._stream.rest():
            sums = [*sums, rest]
        # What is less than a segment and a half joins the one before: its voice would be a poor one to compare. Whole
        # clips can stand alone.
        remainder = sums[-1].count % length
        together = (2 if self._geometry.column_hop else 1) + (0 < remainder < length / 2)
        return self._model.encoded((*sums[:-together], join(sums[-together:])))


def gathered(
    sums: list[ColumnSum], columns: FloatArray, spoken: float = math.inf, length: int = SEGMENT_COLUMNS
) -> list[ColumnSum]:
    """Sums of `length` columns each, the last perhaps of fewer, with more columns (channels, frequency, any).

    `spoken` is how much of each new column is speech.
    """
    grown = list(sums)
    at = 0
    while at < columns.shape[2]:
        open_columns = int(length - grown[-1].count) if grown and grown[-1].count < length else 0
        here = columns[:, :, at : at + (open_columns or length)]
        part = ColumnSum(here.sum(axis=2, dtype=np.float64), here.shape[2], here.shape[2] * spoken)
        if open_columns:
            grown[-1] = join([grown[-1], part])
        else:
            grown.append(part)
        at += here.shape[2]
    return grown


@dataclass(frozen=True, repr=False)
class PairedModel:
    """Speech2Face (Oh et al., CVPR 2019): voice encoder to face embedding, face decoder to canonical face."""

    release: PairedRelease
    runtime: PairedRuntime

    def __repr__(self) -> str:
        """Return one line: name, version, licence."""
        return brief(self, self.release.name, self.release.version, self.release.licence)

    @property
    def notice(self) -> str:
        """What is said of every portrait."""
        return PAIRED_NOTICE

    @property
    def population(self) -> dict[str, float]:
        """Empty: the faces are those of the data, in the data's own shares."""
        return {}

    @cached_property
    def styles(self) -> tuple[Style, ...]:
        """All there are, where the release's graph gives landmarks, and such as a drawing can be made of."""
        if LANDMARKS not in self._decoder_outputs():
            return (Style.photographic,)
        landmarks = len(self.landmarks(self.release.mean_embedding))
        return tuple(Style) if landmarks in DRAWABLE_LANDMARKS else (Style.photographic,)

    @property
    def hair_styles(self) -> tuple[str, ...]:
        """None: hair is part of its faces."""
        return ()

    @property
    def encodes_pauses(self) -> bool:
        """Yes: it learned from clips as they are, and the paper's network is given the waveform itself."""
        return True

    def check(self, given: Given) -> None:
        """Refuse every attribute: this model has no place for one.

        Raises:
            InvalidGiven: anything was given.
        """
        if given.to_dict():
            raise InvalidGiven(
                f"the model {self.release.name} draws from the voice alone and has no {', '.join(given.to_dict())} to"
                " give; leave it out, or use a model that states attributes, such as the starter"
            )

    def with_population(self, weights: Mapping[str, float]) -> PairedModel:
        """Refused: there is no reference population.

        Raises:
            InvalidGiven: always, but for no weights at all.
        """
        if weights:
            raise InvalidGiven(
                f"the model {self.release.name} has no reference population: its faces follow the data it learned from;"
                " leave the weights out, or use a model that states attributes, such as the starter"
            )
        return self

    def prefetch(self) -> None:
        """Begin to load the networks."""
        self.runtime.prefetch()

    def warm(self) -> None:
        """Load the networks now."""
        self.runtime.warm()

    def face_embedder(self, file: str | Path | None = None) -> tuple[str, FaceEmbedder]:
        """The embedder that the model learned from, `file` being its weights where they are the user's own.

        Raises:
            WeightsError, MissingExtra: it is not at hand, or another than the model was made with.
        """
        return self.release.embedder.kind, open_embedder(self.release.embedder, file)

    def prefetch_face(self) -> None:
        """Begin to load the face decoder alone."""
        self.runtime.prefetch((FACE_DECODER,))

    def encode(self, waveform: FloatArray) -> PairedEncoding:
        """Encode a recording as it is, (samples,), some columns at a time: what is kept does not grow with its length.

        Shorter than a training clip it is repeated, as in the paper.
        """
        state, block = self.start_encoding(), BLOCK_COLUMNS * self.release.geometry.column_samples
        for start in range(0, waveform.size, block):
            state.push(waveform[start : start + block])
        return state.encoding()

    def encoded(self, segments: Sequence[ColumnSum]) -> PairedEncoding:
        """What is read from the columns of all segments."""
        return PairedEncoding(self, tuple(segments), self.runtime.read([join(segments)])[0])

    def start_encoding(self) -> PairedEncoderState:
        """Begin to encode the speech of one speaker while it is spoken."""
        return PairedEncoderState(self)

    def exaggerated(self, face_embedding: FloatArray, amount: float) -> FloatArray:
        """Move an embedding away from the mean face: v + e (v - mean), (K,) -> (K,).

        The paper's published pictures use such a step without giving a formula; this is the natural reading.
        """
        if not amount:
            return face_embedding
        return np.asarray(face_embedding + amount * (face_embedding - self.release.mean_embedding), np.float32)

    def landmarks(self, face_embedding: FloatArray) -> FloatArray:
        """The landmarks that the decoder moved the texture to, (K,) -> (landmarks, 2), in pixels of the portrait.

        Raises:
            InvalidOption: the release was written before graphs gave them.
        """
        names = self._decoder_outputs()
        if LANDMARKS not in names:
            raise InvalidOption(
                f"the release {self.release.name} gives no landmarks, which a drawing needs;"
                " write it again with speech2face export"
            )
        found = self.runtime.run(FACE_DECODER, face_embedding=face_embedding[None].astype(np.float32))
        return np.asarray(found[names.index(LANDMARKS)][0], np.float32)

    def _decoder_outputs(self) -> list[str]:
        return [name for name, _ in self.runtime.outputs(FACE_DECODER)]

    def apparent(self, face_embedding: FloatArray) -> tuple[None, None]:
        """Nothing: its embedding has no coordinates of age or gender."""
        return None, None

    def decode(self, face_embedding: FloatArray, hair: str | None = None) -> np.ndarray:
        """Draw the canonical face of an embedding, (K,) -> (height, width, 3) uint8."""
        return self.runtime.decode(face_embedding)


@dataclass(frozen=True)
class PairedEncoding:
    """One recording as encoded: its columns, segment by segment, and the face embedding that all of them say."""

    model: PairedModel
    segments: tuple[ColumnSum, ...]
    face_embedding: FloatArray

    @property
    def attributes(self) -> None:
        """None: the model states no attributes."""
        return

    def belief(self, given: Given) -> SpreadBelief:
        """The face embedding with the spread measured on clips that training did not have."""
        assert not given.to_dict(), "checked at the door"
        return SpreadBelief(self.face_embedding, self.model.release.spread)

    def draw(self, given: Given, rng: np.random.Generator) -> FloatArray:
        """One face embedding, (K,), as likely as the encoder's errors are."""
        return self.belief(given).draw(rng)

    def spoken_at(self, spans: Spans) -> PairedEncoding:
        """The same, knowing how much of each segment is speech; `spans` are ranges of samples."""
        column_samples = self.model.release.geometry.column_samples
        segments, start = [], 0
        for number, segment in enumerate(self.segments, 1):
            stop = sys.maxsize if number == len(self.segments) else start + round(segment.count * column_samples)
            spoken = sum(max(0, min(end, stop) - max(begin, start)) for begin, end in spans)
            segments.append(replace(segment, spoken=spoken / column_samples))
            start = stop
        return replace(self, segments=tuple(segments))

    def speaker_change(self) -> float | None:
        """Least cosine between what is said before and after some cut of the speech, around the mean face embedding.

        Of stretches that are mostly speech: a silence is no other voice. None where the release has no threshold for
        it, 1 for a single segment.
        """
        if "same_speaker_cosine" not in self.model.release.thresholds:
            return None
        spoken = [part for part in self.segments if part.spoken >= part.count / 2]
        cuts = range(1, len(spoken))
        if not cuts:
            return 1.0
        parts = [join(part) for cut in cuts for part in (spoken[:cut], spoken[cut:])]
        said = self.model.runtime.read(parts) - self.model.release.mean_embedding
        return min(cosine(before, after) for before, after in zip(said[::2], said[1::2], strict=True))

    def cautions(self) -> tuple[Caution, ...]:
        """None of its own: what a voice leaves open is in the spread, the same for all."""
        return ()


def load_paired_model(folder: str | Path) -> PairedModel:
    """Open a release of one of these kinds.

    Raises:
        WeightsError: missing, damaged, of another kind, or made for another version.
    """
    release = read_paired_release(*open_release(folder, KIND, CLIPS_KIND))
    return PairedModel(release, PairedRuntime(release))
