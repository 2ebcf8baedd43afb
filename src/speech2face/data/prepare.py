"""Records in, one shard out: the pure function that every runner calls.

The same task gives the same bytes on the same kind of machine. Times are measured, and are no part of what is written.
"""

from __future__ import annotations

import contextlib
import functools
import json
import logging
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal, cast, get_args

import numpy as np
from numpy.typing import NDArray

from speech2face.audio.completeness import declared_seconds, declares_for_all_streams
from speech2face.audio.recording import LEAST_PACKET_SECONDS, LOST_SECONDS, ChannelResampler, mix, tracks_by_preference
from speech2face.audio.spectrogram import SAMPLE_RATE, FloatArray
from speech2face.audio.speech import SILENCE_RMS, find_speech
from speech2face.data.faces import (
    FaceCandidate,
    FaceSearch,
    PrepareOptions,
    SeenFace,
    aligned_face,
    face_alignment,
    resized,
)
from speech2face.data.manifest import ShardRecord
from speech2face.data.media import (
    OpenMedia,
    Rejected,
    Span,
    VideoFrames,
    open_media,
    reach_seconds,
    read_packets,
    read_picture,
)
from speech2face.data.members import Clip, layout_of
from speech2face.data.record import SOURCE_LABEL, Record, Reject, reject, write_rejects
from speech2face.data.shards import ShardFile
from speech2face.data.storage import Storage
from speech2face.errors import (
    CorruptRecording,
    NoAudioStream,
    NotMedia,
    RecordingTooLong,
    Speech2FaceError,
    WeightsError,
)
from speech2face.face.detect import FaceBox, FaceDetector, Picture, check_sha256, open_detector
from speech2face.face.embed import FaceEmbedder
from speech2face.face.embedders import EmbedderRecord, open_embedder
from speech2face.face.landmarks import DlibLandmarker

if TYPE_CHECKING:
    from av.audio.frame import AudioFrame
    from av.audio.stream import AudioStream

# --- The speech of a record: Speech2Face (Oh et al., CVPR 2019), section 3.1, takes 6 s from the start of the clip.
# Only the span is decoded. It is kept as it is where it is shorter: whoever reads the clip repeats it.

PREROLL_SECONDS = 0.3  # decoded before the span and thrown away: AAC and Opus need some packets to find their feet
ROUNDING_SECONDS = 0.005  # so much more is decoded: time stamps of a millisecond, and a resampler that rounds
ROOM_SECONDS = 60.0  # a frame may be that much longer than the span (raw formats); no memory limit is met before


def read_speech(media: OpenMedia, span: Span, seconds: float, *, track: int | None = None) -> FloatArray:
    """The first `seconds` of sound in the span, (samples,) mono float32 in [-1, 1] at 16 kHz; shorter where it is.

    Sound may begin after the span does, and have gaps: what a source's span holds is taken, up to its end. `track` is
    one of `sound_tracks`; without it, the first of them is read.

    Raises:
        Rejected: no_audio; unreadable where it is damaged; too_short where the file ends before the span does.
    """
    stream = cast("AudioStream", media.container.streams[sound_tracks(media)[0] if track is None else track])
    stop = math.inf if span.stop_seconds is None else span.stop_seconds
    heard = _decoded(media, stream, Span(span.start_seconds, stop), span.at_most(seconds))
    channels = heard.channels
    if channels.shape[1] == 0:
        raise Rejected("no_audio", f"{media.place} has no sound from {span.start_seconds:g} s on")
    if not np.isfinite(channels).all():
        raise Rejected("unreadable", f"{media.place} holds samples that are not finite numbers")
    _check_length(media, stream, span, span.at_most(seconds), heard)
    return mix(channels)


def check_speech(waveform: FloatArray, min_speech_seconds: float) -> None:
    """Refuse what nobody can be heard in; 0 asks for no more than sound.

    Raises:
        Rejected: silent, no_speech.
    """
    level = float(np.std(waveform, dtype=np.float64))  # direct current is no sound
    if level < SILENCE_RMS:
        raise Rejected("silent", f"the loudness is {20 * math.log10(max(level, 1e-9)):.0f} dBFS")
    if min_speech_seconds > 0:
        heard = find_speech(waveform).seconds
        if heard < min_speech_seconds:
            raise Rejected("no_speech", f"{heard:.1f} s of speech in {waveform.size / SAMPLE_RATE:.1f} s")


def sound_tracks(media: OpenMedia) -> list[int]:
    """Numbers of the streams of sound that can be decoded, in the order in which players would choose.

    Raises:
        Rejected: no_audio, unreadable, where there is none.
    """
    try:
        return [stream.index for stream in tracks_by_preference(media.container, media.place)]
    except NoAudioStream:
        raise Rejected("no_audio", f"{media.place} has no sound in it ({media.container.format.long_name})") from None
    except NotMedia:
        raise Rejected("unreadable", f"{media.place} holds sound in a codec that cannot be decoded") from None


@dataclass(frozen=True, eq=False)
class _Heard:
    """Sound of a span, (channels, samples) at 16 kHz, and the seconds of the media at which it begins and ends."""

    channels: FloatArray
    began: float
    ended: float


def _decoded(media: OpenMedia, stream: AudioStream, span: Span, seconds: float) -> _Heard:
    """All channels of the first `seconds` of sound inside the span."""
    import av

    assert span.stop_seconds is not None
    resampler = ChannelResampler(media.place, seconds + ROOM_SECONDS)
    first: float | None = None  # when the first frame begins, which may be before the span
    gathered, ended = 0.0, span.start_seconds
    try:
        for frame, at in _frames(media, stream.index, span.start_seconds):
            length = frame.samples / max(frame.sample_rate, 1)
            if at >= span.stop_seconds:
                break
            if at + length > span.start_seconds:
                first = at if first is None else first
                resampler.add(frame)
                gathered, ended = gathered + length, at + length
            if first is not None and gathered >= seconds + max(0.0, span.start_seconds - first) + ROUNDING_SECONDS:
                break
        channels = resampler.finish()
    except (av.FFmpegError, CorruptRecording, RecordingTooLong) as error:
        raise Rejected("unreadable", f"{media.place} is damaged: {error}") from error
    first = span.start_seconds if first is None else first
    skipped = max(0, round((span.start_seconds - first) * SAMPLE_RATE))
    beyond = max(0, round((ended - span.stop_seconds) * SAMPLE_RATE)) if math.isfinite(span.stop_seconds) else 0
    channels = channels[:, : channels.shape[1] - beyond][:, skipped : skipped + round(seconds * SAMPLE_RATE)]
    return _Heard(channels, max(first, span.start_seconds), ended)


def _frames(media: OpenMedia, stream: int, start: float) -> Iterator[tuple[AudioFrame, float]]:
    """Frames from somewhat before the start on, with the second at which each begins."""
    import av

    lost, follows = 0.0, 0.0
    for packet in read_packets(media, stream, max(0.0, start - PREROLL_SECONDS)):
        decoder = cast("AudioStream", packet.stream).codec_context
        tick = float(packet.time_base or 0)
        try:
            frames = decoder.decode(packet)
        except av.FFmpegError:
            lost += max((packet.duration or 0) * tick, LEAST_PACKET_SECONDS)
            if lost > LOST_SECONDS:
                raise
            continue
        for frame in frames:
            # Frames without a time follow the one before; the first of a file begins with it.
            seconds = follows if frame.time is None else frame.time - media.begins_seconds
            follows = seconds + frame.samples / max(frame.sample_rate, 1)
            yield frame, seconds


def _check_length(media: OpenMedia, stream: AudioStream, span: Span, wanted: float, heard: _Heard) -> None:
    """A file that ends before its own header, or before the span its source names, is not whole."""
    found = heard.channels.shape[1] / SAMPLE_RATE
    if found >= wanted - LOST_SECONDS:
        return
    end = span.stop_seconds
    if end is None:
        position = media.file.tell()  # FFmpeg goes on reading where it stopped
        declared = declared_seconds(media.container, stream, media.file)  # type: ignore[arg-type]
        media.file.seek(position)
        end = 0.0 if declared is None else _begins(media, stream) + declared
    if heard.ended >= end - LOST_SECONDS or _others_reach(media, end):
        return
    wanted = min(wanted, end - heard.began)
    raise Rejected("too_short", f"{media.place} has {found:.1f} s of sound where {wanted:.1f} s should be")


def _begins(media: OpenMedia, stream: AudioStream) -> float:
    """When the length that a header states begins to count: with the stream; in Matroska with stamp 0, or later."""
    if declares_for_all_streams(media.container):
        return min(0.0, -media.begins_seconds)
    if stream.start_time is None or stream.time_base is None:
        return 0.0
    return float(stream.start_time * stream.time_base) - media.begins_seconds


def _others_reach(media: OpenMedia, end: float) -> bool:
    """Whether the file is whole though its sound ends early: the pictures go on to the end it states."""
    return bool(media.container.streams.video) and reach_seconds(media) >= end - LOST_SECONDS


# --- Where the time of a preparation goes, by stage.

Stage = Literal["decode", "speech", "detect", "landmarks", "align", "embed", "write"]
STAGES: tuple[Stage, ...] = get_args(Stage)


class Stopwatch:
    """Seconds spent in each stage; stages do not overlap."""

    def __init__(self, clock: Callable[[], float] = time.perf_counter) -> None:
        self._clock = clock
        self.seconds: dict[str, float] = dict.fromkeys(STAGES, 0.0)

    @contextlib.contextmanager
    def stage(self, name: Stage) -> Iterator[None]:
        """Counts what happens inside, also when it ends in an error."""
        started = self._clock()
        try:
            yield
        finally:
            self.seconds[name] += self._clock() - started


# --- One record becomes one clip, all but its face embedding: hear the speech, choose the picture, align the face.

MEASURES = ("face_pixels", "turn_degrees", "sharpness", "eye_opening", "mouth_opening", "outside", "frame_seconds")
"""Labels that every clip with a face gets beside its record's: what the chosen picture is like, and when it was."""
# The embedder's own detector looks at the surroundings of a face that is known: so many of its sides, at this size.
SURROUNDINGS_SIDES, SURROUNDINGS_PIXELS = 3.0, 480


@dataclass(frozen=True, eq=False)
class UnembeddedClip:
    """A clip whose face still has to go through the embedder."""

    clip: Clip
    crop: Picture | None
    """What the embedder's network sees, (side, side, 3); None where no embedding is wanted."""

    def embedded(self, face_embedding: NDArray[np.float32]) -> Clip:
        """The whole clip."""
        return replace(self.clip, face_embedding=face_embedding)


class ClipMaker:
    """Detector, landmarks and face embedder, opened once, and the stages that use them."""

    def __init__(self, options: PrepareOptions, embedder: FaceEmbedder | None) -> None:
        self.options, self.embedder = options, embedder
        self._search: FaceSearch | None = None
        if options.embedding:
            detector = _detector(options)
            self._search = FaceSearch(detector, _landmarker(), options.limits, grey=options.detector == "hog")
        self._crop_detector: FaceDetector | None = None
        if embedder is not None and embedder.crop_detector != options.detector:
            self._crop_detector = open_detector(embedder.crop_detector)

    def make(self, record: Record, watch: Stopwatch) -> UnembeddedClip:
        """Everything but the face embedding.

        Raises:
            Rejected: why the record gives no clip.
        """
        if self.options.recording or (record.photograph is None and self._search is not None):
            with contextlib.ExitStack() as opened:
                with watch.stage("decode"):
                    media = opened.enter_context(open_media(record.media))
                return self._from_media(record, media, watch)
        return self._finish(record, None, self._photographed(record, watch), watch)

    def _from_media(self, record: Record, media: OpenMedia, watch: Stopwatch) -> UnembeddedClip:
        span = Span(record.start_seconds or 0.0, record.end_seconds)
        waveform = self._heard(media, span, watch) if self.options.recording else None
        face = None
        if self._search is not None:
            face = self._photographed(record, watch) if record.photograph else self._filmed(record, media, span, watch)
        return self._finish(record, waveform, face, watch)

    def _heard(self, media: OpenMedia, span: Span, watch: Stopwatch) -> FloatArray:
        """Of several sound tracks, the first in the order of players in which somebody speaks.

        Raises:
            Rejected: why the first of them will not do, where none does.
        """
        with watch.stage("decode"):
            tracks = sound_tracks(media)
        refused: Rejected | None = None
        for track in tracks:
            try:
                return self._heard_on(media, track, span, watch)
            except Rejected as rejected:
                refused = refused or rejected
        assert refused is not None
        raise refused

    def _heard_on(self, media: OpenMedia, track: int, span: Span, watch: Stopwatch) -> FloatArray:
        with watch.stage("decode"):
            waveform = read_speech(media, span, self.options.seconds, track=track)
        with watch.stage("speech"):
            seconds = waveform.size / SAMPLE_RATE
            if seconds < self.options.min_seconds:
                raise Rejected("too_short", f"{seconds:.2f} s of sound; at least {self.options.min_seconds:g} s")
            check_speech(waveform, self.options.min_speech_seconds)
        return waveform

    def _photographed(self, record: Record, watch: Stopwatch) -> SeenFace:
        assert record.photograph is not None
        with watch.stage("decode"):
            picture = read_picture(record.photograph)
        return self._best([FaceCandidate(picture, hint=_hint(record))], watch)

    def _filmed(self, record: Record, media: OpenMedia, span: Span, watch: Stopwatch) -> SeenFace:
        """From key frames, or, where none of them will do, from frames between them."""
        refused: Rejected | None = None
        seen: list[tuple[float, Picture]] = []
        with watch.stage("decode"):
            frames = VideoFrames(media, span)
            try:
                seen = frames.key_frames(self.options.frames)
            except Rejected as rejected:  # alone they may show nothing, in a stream that is renewed strip by strip
                refused = rejected
        if seen:
            try:
                return self._best([FaceCandidate(picture, at, _hint(record)) for at, picture in seen], watch)
            except Rejected as rejected:
                refused = rejected
        with watch.stage("decode"):
            known = {at for at, _ in seen}
            seen = [
                (at, picture) for at, picture in frames.between(frames.times(self.options.frames)) if at not in known
            ]
        if not seen:
            raise refused or Rejected("no_video", f"{media.place} has no pictures from {span.start_seconds:g} s on")
        return self._best([FaceCandidate(picture, at, _hint(record)) for at, picture in seen], watch)

    def _best(self, candidates: Sequence[FaceCandidate], watch: Stopwatch) -> SeenFace:
        """The best picture of those that keep the limits.

        Raises:
            Rejected: why the last of them does not, where none does.
        """
        assert self._search is not None
        with watch.stage("detect"):
            found = self._search.find(candidates)
        with watch.stage("landmarks"):
            faces = [(candidate, self._search.measure(candidate, box)) for candidate, box in found]
        refused: Rejected | None = None
        for candidate, face in sorted(faces, key=lambda pair: -pair[1].quality):
            try:
                self._search.check(face)
                with watch.stage("detect"):
                    self._search.check_alone(candidate, face.box)
                return face
            except Rejected as rejected:
                refused = refused or rejected
        assert refused is not None
        raise refused

    def _finish(
        self, record: Record, waveform: FloatArray | None, face: SeenFace | None, watch: Stopwatch
    ) -> UnembeddedClip:
        assert record.split is not None, "a record gets its split before it goes to a shard"
        labels: dict[str, str | int | float | bool | None] = dict(record.clip_labels)
        clip = Clip(record.key, record.speaker, record.split, waveform, licence=record.licence, consent=record.consent)
        crop = None
        if face is not None:
            labels |= _measures(face)
            with watch.stage("align"):
                crop = self._crop(face)
                if self.options.face:
                    size = self.options.face_pixels
                    move = face_alignment(face.points, size)
                    points = move.apply(face.points).astype(np.float32)
                    clip = replace(clip, aligned_face=aligned_face(face.picture, move, size), landmarks=points)
        return UnembeddedClip(replace(clip, labels=labels), crop)

    def _crop(self, face: SeenFace) -> Picture | None:
        """What the embedder wants to see, by its own detector's box."""
        if self.embedder is None:
            return None
        box = face.box if self._crop_detector is None else self._found_again(self._crop_detector, face)
        return self.embedder.crop(face.picture, box)

    def _found_again(self, detector: FaceDetector, face: SeenFace) -> FaceBox:
        """The box by another detector, which is shown the surroundings only."""
        height, width = face.picture.shape[:2]
        reach = SURROUNDINGS_SIDES * face.pixels / 2
        x, y = (face.box.left + face.box.right) / 2, (face.box.top + face.box.bottom) / 2
        left, top = max(0, round(x - reach)), max(0, round(y - reach))
        region = face.picture[top : min(height, round(y + reach)), left : min(width, round(x + reach))]
        scale = min(2.0, SURROUNDINGS_PIXELS / max(region.shape[:2]))
        for box in detector.detect(resized(np.ascontiguousarray(region), scale)):
            edges = [edge / scale for edge in (box.left, box.top, box.right, box.bottom)]
            found = FaceBox(*(round(edge) + shift for edge, shift in zip(edges, (left, top) * 2, strict=True)))
            if found.left < x < found.right and found.top < y < found.bottom:
                return found
        raise Rejected("no_face", f"the {self.options.detector} detector saw a face, the embedder's own did not")


def _hint(record: Record) -> tuple[float, float] | None:
    return None if record.face_x is None or record.face_y is None else (record.face_x, record.face_y)


def _measures(face: SeenFace) -> dict[str, int | float | None]:
    values = (
        *(face.pixels, round(face.pose.turn_degrees, 1), round(face.sharpness, 4)),
        *(round(face.eye_opening, 3), round(face.mouth_opening, 3), round(face.outside, 3)),
        None if face.seconds is None else round(face.seconds, 3),
    )
    return dict(zip(MEASURES, values, strict=True))


def open_maker(options: PrepareOptions, embedder: EmbedderRecord | None, file: str | None) -> ClipMaker:
    """The stages with their models; a process that does many shards opens them once.

    Raises:
        WeightsError, MissingExtra: a model is not there, or not the one on record.
    """
    stated = json.dumps([options.to_dict(), None if embedder is None else embedder.to_dict()], sort_keys=True)
    return _open_maker(stated, file)


def _detector(options: PrepareOptions) -> FaceDetector:
    if options.detector_file is not None and options.detector_sha256 is not None:
        check_sha256(options.detector_file, options.detector_sha256)
    return open_detector(options.detector, options.detector_file)


@functools.cache
def _landmarker() -> DlibLandmarker:
    return DlibLandmarker()  # 100 MB: once a process


@functools.lru_cache(maxsize=1)
def _open_maker(stated: str, file: str | None) -> ClipMaker:
    given, record = json.loads(stated)
    options = PrepareOptions(**given)
    if not options.embedding:
        return ClipMaker(options, None)
    if record is None:
        raise WeightsError("faces need a face embedder: name one, or prepare recordings alone")
    return ClipMaker(options, open_embedder(EmbedderRecord.from_dict(record), file))


__all__ = ["PrepareOptions", "ShardResult", "ShardTask", "index_labels", "prepare_shard"]
logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class ShardTask:
    """Everything a shard's bytes depend on; can be sent to another machine."""

    name: str
    """SPLIT-000000."""
    records: tuple[Record, ...]
    """Each with its split, all with the same labels."""
    out: str
    """Folder or URL."""
    options: PrepareOptions
    embedder: EmbedderRecord | None
    """None where no face embedding is wanted."""
    embedder_file: str | None = None
    """The user's weights, where the embedder's kind needs them."""


@dataclass(frozen=True)
class ShardResult:
    """What came of a task."""

    name: str
    shard: ShardRecord | None
    """None where nothing was kept: there is no such shard then."""
    rejects: tuple[Reject, ...]
    kept: int
    seconds: Mapping[str, float]
    """Time of one core by stage, see `STAGES`."""


def index_labels(record_labels: tuple[str, ...], options: PrepareOptions) -> tuple[str, ...]:
    """Label columns of the shards' indexes, and so of the manifest, for records that have these labels."""
    measures = MEASURES if options.embedding else ()
    return (*sorted({*record_labels, SOURCE_LABEL}), *measures)


def prepare_shard(task: ShardTask) -> ShardResult:
    """Write NAME.tar and its index NAME.csv, if any record gives a clip, and NAME.rejects.csv last.

    A shard whose table of rejects is there is finished. Memory: the clips waiting for the embedder, one record's
    pictures and the models; never the whole shard.

    Raises:
        WeightsError, MissingExtra: a model is not there, or not the one on record.
        CannotWrite: no room, no permission.
    """
    watch, rejects = Stopwatch(), list[Reject]()
    maker = open_maker(task.options, task.embedder, task.embedder_file)
    storage = Storage(task.out)
    file: ShardFile | None = None
    try:
        for clip in _clips(task, maker, rejects, watch):
            with watch.stage("write"):
                if file is None:
                    labels = index_labels(tuple(task.records[0].labels), task.options)
                    file = ShardFile(storage, task.name, layout_of(clip), labels)
                file.add(clip)
        with watch.stage("write"):
            shard = None if file is None else file.finish()
            write_rejects(storage, task.name, rejects)
    finally:
        if file is not None:
            file.discard()
    return ShardResult(task.name, shard, tuple(rejects), 0 if shard is None else shard.clips, watch.seconds)


def _clips(task: ShardTask, maker: ClipMaker, rejects: list[Reject], watch: Stopwatch) -> Iterator[Clip]:
    """Clips in the order of the records; what fell out is appended to `rejects`."""
    waiting: list[UnembeddedClip] = []
    for record in task.records:
        try:
            waiting.append(maker.make(record, watch))
        except Rejected as rejected:
            rejects.append(reject(record, rejected.reason, rejected.detail))
        except Speech2FaceError:
            raise
        except Exception as error:  # a decoder's or a file system's own: one record must not end a run of days
            logger.warning("%s: %s", record.key, error, exc_info=True)
            rejects.append(reject(record, "failed", f"{type(error).__name__}: {error}"))
        if len(waiting) >= task.options.embed_at_once:
            yield from _embedded(waiting, maker, watch)
            waiting = []
    yield from _embedded(waiting, maker, watch)


def _embedded(waiting: list[UnembeddedClip], maker: ClipMaker, watch: Stopwatch) -> list[Clip]:
    crops = [each.crop for each in waiting if each.crop is not None]
    if maker.embedder is None or not crops:
        return [each.clip for each in waiting]
    with watch.stage("embed"):
        embeddings = maker.embedder.embed_crops(crops)
    return [each.embedded(embedding) for each, embedding in zip(waiting, embeddings, strict=True)]
