"""One record becomes one clip, all but its face embedding: hear the speech, choose the picture, align the face."""

from __future__ import annotations

import contextlib
import functools
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import cast

import numpy as np
from numpy.typing import NDArray

from speech2face.audio.spectrogram import SAMPLE_RATE, FloatArray
from speech2face.data.aligned import aligned_face, face_alignment
from speech2face.data.clip import Clip
from speech2face.data.frames import Candidate, FaceSearch, SeenFace, resized
from speech2face.data.media import Media, Rejected, open_media, read_picture
from speech2face.data.options import PrepareOptions
from speech2face.data.record import Record
from speech2face.data.speech import Span, check_speech, read_speech, sound_tracks
from speech2face.data.stopwatch import Stopwatch
from speech2face.data.video import VideoFrames
from speech2face.errors import WeightsError
from speech2face.face.detector import FaceBox, FaceDetector, Picture, open_detector
from speech2face.face.embedder import CropEmbedder
from speech2face.face.embedders import EmbedderRecord, open_embedder
from speech2face.face.points68 import DlibLandmarker
from speech2face.face.weight_file import check_sha256

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

    def __init__(self, options: PrepareOptions, embedder: CropEmbedder | None) -> None:
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

    def _from_media(self, record: Record, media: Media, watch: Stopwatch) -> UnembeddedClip:
        span = Span(record.start_seconds or 0.0, record.end_seconds)
        waveform = self._heard(media, span, watch) if self.options.recording else None
        face = None
        if self._search is not None:
            face = self._photographed(record, watch) if record.photograph else self._filmed(record, media, span, watch)
        return self._finish(record, waveform, face, watch)

    def _heard(self, media: Media, span: Span, watch: Stopwatch) -> FloatArray:
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

    def _heard_on(self, media: Media, track: int, span: Span, watch: Stopwatch) -> FloatArray:
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
        return self._best([Candidate(picture, hint=_hint(record))], watch)

    def _filmed(self, record: Record, media: Media, span: Span, watch: Stopwatch) -> SeenFace:
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
                return self._best([Candidate(picture, at, _hint(record)) for at, picture in seen], watch)
            except Rejected as rejected:
                refused = rejected
        with watch.stage("decode"):
            known = {at for at, _ in seen}
            seen = [
                (at, picture) for at, picture in frames.between(frames.times(self.options.frames)) if at not in known
            ]
        if not seen:
            raise refused or Rejected("no_video", f"{media.place} has no pictures from {span.start_seconds:g} s on")
        return self._best([Candidate(picture, at, _hint(record)) for at, picture in seen], watch)

    def _best(self, candidates: Sequence[Candidate], watch: Stopwatch) -> SeenFace:
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
    options = PrepareOptions.from_dict(given)
    if not options.embedding:
        return ClipMaker(options, None)
    if record is None:
        raise WeightsError("faces need a face embedder: name one, or prepare recordings alone")
    return ClipMaker(options, cast(CropEmbedder, open_embedder(EmbedderRecord.from_dict(record), file)))
