"""A portrait that speaks: a recording and the face of its voice become a video, its sound and its motion in time.

The face is a model's, drawn from a voice's face embedding, and nothing else: no picture from outside is moved. Every
frame says in its upper left corner what it is, the file says it again in its metadata.
"""

from __future__ import annotations

import io
import queue
import stat
import struct
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import lru_cache
from io import BufferedReader
from itertools import chain
from pathlib import Path
from time import monotonic, sleep
from typing import TYPE_CHECKING, Any, Final, Literal, cast

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from speech2face.audio.completeness import STREAMED_BYTES, ByteSource
from speech2face.audio.recording import OPEN_OPTIONS, Recording, any_tags, can_encode, choose_track
from speech2face.audio.spectrogram import SAMPLE_RATE, FloatArray
from speech2face.audio.stream import SAMPLE_BYTES
from speech2face.errors import CannotWrite, InvalidOption, Speech2FaceError, UnreadableRecording
from speech2face.inputs import described
from speech2face.limits import MAX_SPEAKERS, Style
from speech2face.live import LiveMotion, LiveSession, PcmFormat
from speech2face.motion import FRAME, FRAMES_PER_SECOND, Pose, PoseStream
from speech2face.portrait import Portrait, check_style, face_artist
from speech2face.provenance import SIGNED, Signer, film_bytes, film_tags, portrait_svg, provenance_of

if TYPE_CHECKING:
    from av import AudioFrame
    from av.audio.stream import AudioStream
    from av.container import OutputContainer
    from av.video.stream import VideoStream

    from speech2face.drawn.moving import MovingDrawing
    from speech2face.models.contract import Model


PixelArray = NDArray[np.uint8]
Place = Literal["top", "bottom"]


# --- The label in every frame.

LABEL: Final = "synthetic average face"
LABEL_GROUND: Final = (45, 50, 54)
SAFE: Final = 20  # of a video's label: a twentieth from the edges, what no screen cuts off (EBU R 95)


@lru_cache(maxsize=8)
def label(pixels: int, text: str) -> PixelArray:
    """White text on a dark ground for a corner of a picture so wide, (height, width, 3)."""
    size = max(11, pixels // 20)
    margin = size // 3
    font = ImageFont.load_default(size)
    left, top, right, bottom = font.getbbox(text, anchor="ls")
    picture = Image.new("RGB", (round(right - left) + 2 * margin, round(bottom - top) + 2 * margin), LABEL_GROUND)
    ImageDraw.Draw(picture).text((margin - left, margin - top), text, font=font, anchor="ls", fill=(255, 255, 255))
    return np.asarray(picture)


def labelled(image: PixelArray, text: str = LABEL, *, place: Place = "bottom") -> PixelArray:
    """A square picture, (pixels, pixels, 3), with a line of text in a left corner, which a screenshot does not lose.

    `top` is for videos, under whose faces subtitles are shown.
    """
    picture = image.copy()
    patch = label(len(image), text)[:, : len(image)]
    left = len(image) // (SAFE if place == "top" else 40)
    top = left if place == "top" else len(image) - left - len(patch)
    picture[top : top + len(patch), left : left + patch.shape[1]] = patch[:, : picture.shape[1] - left]
    return picture


# --- A face that can be held in any pose.


class SpeakingFace:
    """The face of one voice, held as a pose says."""

    def __init__(self, model: Model, portrait: Portrait) -> None:
        """Make the moving face of a portrait by the model that drew it.

        Raises:
            InvalidOption: a picture that is no portrait of a voice, or a portrait of another model; a model that
                gives no landmarks.
        """
        if not isinstance(portrait, Portrait):
            raise InvalidOption(
                f"the portrait is {described(portrait)}; only the portrait that reconstruct() made of a voice is moved,"
                " never a picture from outside"
            )
        if (portrait.model_name, portrait.model_version) != (model.release.name, model.release.version):
            raise InvalidOption(f"the portrait was drawn by {portrait.model_name}; open the model that drew it")
        check_style(model, Style.drawn)  # moving needs the places that a drawing needs
        from speech2face.drawn.moving import MovingDrawing, WarpedFace

        self.portrait = portrait
        embedding = model.exaggerated(portrait.belief.mean, portrait.exaggerate)
        self.drawing: MovingDrawing | None = None
        if portrait.style.is_vector:
            self.drawing = MovingDrawing(face_artist(model, embedding, portrait.style, hair=portrait.hair))
        self._moving = self.drawing or WarpedFace(model.decode(embedding, portrait.hair), model.landmarks(embedding))

    def frame(self, pose: Pose, pixels: int, *, place: Place = "top") -> PixelArray:
        """The face in a pose with its label, (pixels, pixels, 3)."""
        return labelled(self._moving.frame(pose, pixels), place=place)

    def puppet(self) -> bytes:
        """The face at rest as a labelled SVG that a page can hold in any pose; see `MovingDrawing.puppet`.

        Raises:
            InvalidOption: the face is not drawn.
        """
        facts = self.portrait.facts()
        drawing = self._vector().puppet(label=LABEL, description=facts["notice"])
        return portrait_svg(drawing, provenance_of(facts, "portrait"), facts)

    def animated(self, poses: FloatArray) -> bytes:
        """The face as a labelled SVG that moves once through poses, (frames, 9).

        Raises:
            InvalidOption: the face is not drawn.
        """
        facts = self.portrait.facts()
        drawing = self._vector().animated(poses, label=LABEL, description=facts["notice"])
        facts |= {"video": {"frames_per_second": FRAMES_PER_SECOND, "frames": len(poses)}}
        return portrait_svg(drawing, provenance_of(facts, "video"), facts)

    def _vector(self) -> MovingDrawing:
        if self.drawing is None:
            raise InvalidOption('only the styles "drawn" and "line" can be had as SVG; name a .mp4 or .webm')
        return self.drawing


def speaking_face(model: Model, portrait: Portrait, former: SpeakingFace | None) -> SpeakingFace:
    """The moving face of a voice's newest portrait; the former one, where that has the same picture.

    Raises:
        InvalidOption: as `SpeakingFace`.
    """
    if former is not None and np.array_equal(former.portrait.image, portrait.image):
        return former
    return SpeakingFace(model, portrait)


# --- Who speaks when.


@dataclass(frozen=True)
class Turn:
    """A stretch of a recording, in seconds, in which one portrait speaks."""

    start: float
    end: float
    portrait: Portrait


def check_turns(turns: Sequence[Turn], seconds: float) -> None:
    """Refuse turns that cannot be shown.

    Raises:
        InvalidOption: none, too many portraits, or one that does not lie within the recording.
    """
    if not turns:
        raise InvalidOption("nobody speaks: there are no turns")
    for turn in turns:
        if not 0 <= turn.start < turn.end <= seconds + 1 / FRAMES_PER_SECOND:
            text = f"a turn from {turn.start:g} to {turn.end:g} s does not lie within the recording's {seconds:.2f} s"
            raise InvalidOption(text)
    if len(_portraits(turns)) > MOST_FACES:
        raise InvalidOption(f"{len(_portraits(turns))} portraits were given; at most {MOST_FACES} share a picture")


def _portraits(turns: Sequence[Turn]) -> list[Portrait]:
    """Each portrait once, in the order in which they first speak."""
    return list({id(turn.portrait): turn.portrait for turn in sorted(turns, key=lambda turn: turn.start)}.values())


# --- Frames and sound become a file.

VideoEncoding = Literal["mp4", "webm"]
ENCODINGS: Final[dict[str, VideoEncoding | Literal["svg"]]] = {".mp4": "mp4", ".webm": "webm", ".svg": "svg"}
"""By the ending of a file's name."""
PIXELS: Final = 512
LEAST_PIXELS, MOST_PIXELS = 128, 1024
MOST_FACES: Final = MAX_SPEAKERS
MOST_IN_A_ROW: Final = 3
SOUND_RATE: Final = 48_000  # Hz, which every player takes
SOUND_BITS: Final = 128_000  # a second
SAME_LENGTH: Final = 0.02  # seconds
# Threads are counted, so that the same recording makes the same file on every machine.
CODECS: Final[dict[VideoEncoding, tuple[tuple[str, dict[str, str]], ...]]] = {
    "mp4": (
        ("libx264", {"preset": "veryfast", "crf": "20", "tune": "animation", "threads": "2", "g": "50"}),
        ("mpeg4", {"qscale": "4", "threads": "2"}),
    ),
    "webm": (
        ("libvpx-vp9", {"deadline": "realtime", "cpu-used": "8", "crf": "30", "b": "0", "threads": "2"}),
        ("libvpx", {"deadline": "realtime", "cpu-used": "8", "crf": "12", "b": "1500k", "threads": "2"}),
    ),
}
SOUND_CODECS: Final[dict[VideoEncoding, tuple[str, ...]]] = {"mp4": ("aac",), "webm": ("libopus", "libvorbis")}


def encoding_of(path: Path) -> VideoEncoding | Literal["svg"]:
    """The kind of file that the ending of a name asks for.

    Raises:
        InvalidOption: another ending than those of `ENCODINGS`.
    """
    encoding = ENCODINGS.get(path.suffix.lower())
    if encoding is None:
        raise InvalidOption(f"{path} says no kind of video; end it in {', '.join(ENCODINGS)}")
    return encoding


def check_pixels(pixels: int) -> None:
    """Refuse sizes that no frame has.

    Raises:
        InvalidOption: with those that it can have.
    """
    if not LEAST_PIXELS <= pixels <= MOST_PIXELS or pixels % 2:
        raise InvalidOption(
            f"a video of {pixels} pixels was asked for; an even number from {LEAST_PIXELS} to {MOST_PIXELS}"
        )


def video_bytes(
    model: Model,
    waveform: FloatArray,
    turns: Sequence[Turn],
    *,
    encoding: VideoEncoding = "mp4",
    pixels: int = PIXELS,
    sound: Sound | None = None,
    signer: Signer | None = None,
    progress: Callable[[str, int, int | None], None] | None = None,
) -> bytes:
    """Return the bytes of a video of the portraits speaking a waveform (samples,), each in its turns.

    A frame shows every portrait, `pixels` wide and high, side by side; outside its turns a face is at rest. `sound`
    is what the file holds, the waveform itself where it is None; `progress` is called with what is counted, the
    frames made and the frames there will be. The same input gives the same bytes.

    Raises:
        InvalidOption: what cannot be shown, such as a picture that is no portrait of a voice; WebM with a signer; a
            kind of file that this PyAV has no encoder for.
    """
    import av

    check_pixels(pixels)
    check_turns(turns, waveform.size / SAMPLE_RATE)
    if signer is not None and encoding == "webm":
        raise InvalidOption("C2PA has no manifests in WebM; name a file that ends in .mp4 to have it signed")
    stage = _Stage(model, turns, pixels)
    facts = stage.facts(waveform.size)
    provenance = provenance_of(facts, "video")
    if signer is not None:
        provenance = replace(provenance, signed=SIGNED)
    file = io.BytesIO()
    with av.open(
        file, "w", format=encoding, options={"movflags": "use_metadata_tags"} if encoding == "mp4" else {}
    ) as out:
        out.metadata.update(film_tags(provenance, facts))
        writer = _Writer(out, encoding, stage.width, stage.height, sound or _waveform_sound(waveform))
        total = -(-waveform.size // FRAME)
        for number, frame in enumerate(stage.frames(waveform), 1):
            writer.add(frame)
            if progress is not None:
                progress("frames", number, total)
        writer.finish()
    return film_bytes(file.getvalue(), encoding, provenance, facts, signer=signer)


class _Stage:
    """The faces side by side, and how each is held while the sound goes on."""

    def __init__(self, model: Model, turns: Sequence[Turn], pixels: int) -> None:
        self._portraits = _portraits(turns)
        self._turns, self._pixels, self._notice = turns, pixels, model.notice
        self._faces = [SpeakingFace(model, portrait) for portrait in self._portraits]
        self._rows = 1 if len(self._faces) <= MOST_IN_A_ROW else 2
        self._columns = -(-len(self._faces) // self._rows)
        self.width, self.height = self._columns * pixels, self._rows * pixels

    def facts(self, samples: int) -> dict[str, Any]:
        """What the file says of itself, JSON-ready."""
        first = self._portraits[0].facts()
        shows = {
            "frames_per_second": FRAMES_PER_SECOND,
            "frames": -(-samples // FRAME),
            "width": self.width,
            "height": self.height,
        }
        if len(self._portraits) == 1:
            return first | {"video": shows}
        turns = [
            {"start": turn.start, "end": turn.end, "portrait": index}
            for turn in self._turns
            for index, portrait in enumerate(self._portraits)
            if portrait is turn.portrait
        ]
        common = {"model": first["model"], "notice": first["notice"], "exaggerate": first["exaggerate"]}
        return common | {"portraits": [each.facts() for each in self._portraits], "video": shows | {"turns": turns}}

    def frames(self, waveform: FloatArray) -> Iterator[PixelArray]:
        """The frames, (height, width, 3) each, one for each 40 ms begun."""
        tracks = [self._poses(waveform, portrait, number) for number, portrait in enumerate(self._portraits)]
        ground = self._faces[0].frame(Pose(), self._pixels)[0, -1]  # where a row has a place too many
        picture = np.broadcast_to(ground, (self.height, self.width, 3)).copy()
        for poses in zip(*tracks, strict=True):
            for number, (face, pose) in enumerate(zip(self._faces, poses, strict=True)):
                row, column = divmod(number, self._columns)
                top, left = row * self._pixels, column * self._pixels
                picture[top : top + self._pixels, left : left + self._pixels] = face.frame(pose, self._pixels)
            yield picture

    def _poses(self, waveform: FloatArray, portrait: Portrait, number: int) -> Iterator[Pose]:
        """How a portrait is held, hearing nothing but its own turns."""
        stream = PoseStream(seed=number)
        for start in range(0, waveform.size, BLOCK):
            piece = waveform[start : start + BLOCK]
            yield from map(Pose.of, stream.push(_heard(piece, start, portrait, self._turns)))
        yield from map(Pose.of, stream.finish())


BLOCK: Final = 10 * SAMPLE_RATE  # at once: an hour's poses need not all be there


def _heard(piece: FloatArray, start: int, portrait: Portrait, turns: Sequence[Turn]) -> FloatArray:
    """A piece of sound that begins at a sample, silent where another portrait speaks."""
    heard = np.zeros_like(piece)
    for turn in turns:
        if turn.portrait is portrait:
            first, last = (max(round(at * SAMPLE_RATE) - start, 0) for at in (turn.start, turn.end))
            heard[first:last] = piece[first:last]
    return heard


@dataclass(frozen=True)
class Sound:
    """The sound of a video: `frames` gives it from its beginning, each time it is called, in a layout of FFmpeg's."""

    layout: Literal["mono", "stereo"]
    frames: Callable[[], Iterator[AudioFrame]]


def _waveform_sound(waveform: FloatArray) -> Sound:
    """A waveform, (samples,) at 16 kHz, as sound."""
    from av import AudioFrame

    def frames() -> Iterator[AudioFrame]:
        for start in range(0, waveform.size, FRAME):
            piece = np.ascontiguousarray(waveform[None, start : start + FRAME])
            frame = AudioFrame.from_ndarray(piece, format="fltp", layout="mono")
            frame.sample_rate, frame.pts, frame.time_base = SAMPLE_RATE, start, Fraction(1, SAMPLE_RATE)
            yield frame

    return Sound("mono", frames)


def original_sound(path: Path, recording: Recording) -> Sound | None:
    """The sound of a recording's own file in its own quality, at most in stereo, for a video of it.

    None where it is not as long as what was decoded of it, as where a file consists of several: then picture and sound
    would part. And of a pipe, which has been read: it would be waited for once more, for ever.
    """
    import av

    if not path.is_file():
        return None

    def frames() -> Iterator[AudioFrame]:
        resampler = av.AudioResampler("fltp", layout, SOUND_RATE)
        samples = 0
        with (
            path.open("rb") as file,
            # Content decides, and it opens nothing else: as it was decoded.
            av.open(ByteSource(file, path.name), "r", options=OPEN_OPTIONS, **any_tags()) as opened,
        ):
            track = choose_track(opened, path.name, recording.track)
            for frame in chain(opened.decode(track), [None]):
                if frame is not None:
                    frame.pts = None
                for heard in resampler.resample(frame):
                    heard.pts, heard.time_base = samples, Fraction(1, SOUND_RATE)
                    samples += heard.samples
                    yield heard

    layout: Literal["mono", "stereo"] = "stereo" if recording.channels > 1 else "mono"
    try:
        seconds = sum(frame.samples for frame in frames()) / SOUND_RATE
    except (av.FFmpegError, Speech2FaceError, OSError, ValueError):
        return None
    return Sound(layout, frames) if abs(seconds - recording.waveform.size / SAMPLE_RATE) < SAME_LENGTH else None


class _Writer:
    """Frames and sound on their way into a container."""

    def __init__(self, out: OutputContainer, encoding: VideoEncoding, width: int, height: int, heard: Sound) -> None:
        """Open both streams.

        Raises:
            InvalidOption: this PyAV has no encoder for one of them.
        """
        codec = next((each for each in CODECS[encoding] if can_encode(each[0])), None)
        sound = next((each for each in SOUND_CODECS[encoding] if can_encode(each)), None)
        if codec is None or sound is None:
            raise InvalidOption(
                f"this PyAV cannot write .{encoding}; name a file that ends in {' or '.join(ENCODINGS)}"
            )
        self._out = out
        # The names are not known beforehand, so nobody can tell from them which kind of stream it is.
        self._video = cast("VideoStream", out.add_stream(codec[0], rate=FRAMES_PER_SECOND, options=codec[1]))
        self._video.width, self._video.height, self._video.pix_fmt = width, height, "yuv420p"
        self._video.codec_context.time_base = Fraction(1, FRAMES_PER_SECOND)
        self._sound = cast("AudioStream", out.add_stream(sound, rate=SOUND_RATE, layout=heard.layout))
        self._sound.bit_rate = SOUND_BITS
        self._heard, self._seconds = iter(heard.frames()), 0.0
        self._frames = 0

    def add(self, picture: PixelArray) -> None:
        """Write a frame, (height, width, 3), and the sound that is heard with it."""
        from av import VideoFrame

        frame = VideoFrame.from_ndarray(picture, format="rgb24")
        frame.pts, frame.time_base = self._frames, Fraction(1, FRAMES_PER_SECOND)
        self._out.mux(self._video.encode(frame))
        self._frames += 1
        self._hear(self._frames / FRAMES_PER_SECOND)

    def _hear(self, until: float) -> None:
        while self._seconds < until and (frame := next(self._heard, None)) is not None:
            self._out.mux(self._sound.encode(frame))
            self._seconds += frame.samples / frame.sample_rate

    def finish(self) -> None:
        """Write the last sound, and what the encoders still hold."""
        self._hear(float("inf"))
        self._out.mux(self._video.encode(None))
        self._out.mux(self._sound.encode(None))


# --- A face that speaks as sound comes in, 25 frames a second: into a virtual camera, or raw to another program.
#
# Linux has virtual cameras by the module v4l2loopback, whose devices other programs see as a webcam.

DEVICES: Final = "v4l2"  # FFmpeg's name of what writes to them
WAITING: Final = "no voice yet"
GROUND: Final = (213, 217, 218)  # that of the page's empty stage
LATE_FRAMES: Final = 5  # without new sound after which there is silence, and not a late piece
AHEAD_FRAMES: Final = 5  # of sound that may wait: a microphone's clock is not ours
LOOK_FRAMES: Final = FRAMES_PER_SECOND  # between two portraits of what was said so far
WAVE_PCM, WAVE_EXTENSIBLE = 1, 0xFFFE  # WAVE_FORMAT of whole numbers, and of what says it further on
MOST_CHUNK_BYTES: Final = 2**20  # of a WAV's header, titles and all


def waiting_picture(pixels: int) -> PixelArray:
    """What is shown before there is a portrait, (pixels, pixels, 3)."""
    return labelled(np.full((pixels, pixels, 3), GROUND, np.uint8), WAITING)


def planes(image: PixelArray) -> PixelArray:
    """A picture, (height, width, 3) RGB, as cameras and encoders take it: (height * 3 / 2, width), YUV 4:2:0."""
    from av import VideoFrame

    frame = VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgb24")
    converted: Any = frame.reformat(format="yuv420p").to_ndarray()
    planar: PixelArray = converted.astype(np.uint8, copy=False)
    return planar


class SpeakingCamera:
    """Frames of the face of a voice that comes in: it moves at once, and is drawn anew as more is heard."""

    def __init__(self, model: Model, source: PcmFormat, *, pixels: int = 512, **options: Any) -> None:
        """Begin without a voice.

        Args:
            model: from `load_model`.
            source: how the raw samples come.
            pixels: width and height of a frame, an even number.
            options: those of a `LiveSession`: given, exaggerate, style, seed, voice_activity.

        Raises:
            InvalidGiven, InvalidOption: what cannot be drawn.
        """
        check_pixels(pixels)
        self._model, self._pixels = model, pixels
        self._session, self._motion = LiveSession(model, source, **options), LiveMotion(source)
        self._frame_bytes = source.sample_rate // FRAMES_PER_SECOND * SAMPLE_BYTES[source.encoding] * source.channels
        self._sound = bytearray()
        self._unheard: deque[bytes] = deque()
        self._pose, self._late = Pose(), 0
        self._face: SpeakingFace | None = None

    @property
    def is_waiting(self) -> bool:
        """Whether there is no face yet."""
        return self._face is None

    @property
    def still(self) -> bool:
        """Whether no sound has come for a while, and the lips are closed again."""
        return self._late > 2 * LATE_FRAMES

    @property
    def unshown(self) -> int:
        """How many frames' sound has come that was not shown yet."""
        return len(self._sound) // self._frame_bytes

    def hear(self, sound: bytes) -> None:
        """Take the next samples."""
        self._sound += sound

    def frame(self, *, most_unshown: int | None = None) -> PixelArray:
        """The next frame, (pixels, pixels, 3), labelled; more sound than `most_unshown` frames is caught up with.

        Raises:
            CorruptRecording: samples that are no finite numbers.
        """
        while most_unshown is not None and self.unshown > most_unshown:
            self._move(self._taken())
        if self.unshown:
            self._late = 0
            self._move(self._taken())
        else:
            self._late += 1
            if self._late > LATE_FRAMES:
                self._move(bytes(self._frame_bytes))
        return waiting_picture(self._pixels) if self._face is None else self._face.frame(self._pose, self._pixels)

    def _taken(self) -> bytes:
        taken = bytes(self._sound[: self._frame_bytes])
        del self._sound[: self._frame_bytes]
        self._unheard.append(taken)
        return taken

    def _move(self, sound: bytes) -> None:
        if len(poses := self._motion.push(sound)):
            self._pose = Pose.of(poses[-1])

    def look(self) -> None:
        """Encode what was said since the last time and draw its portrait; may run beside `frame`, in one thread.

        Raises:
            CorruptRecording: samples that are no finite numbers.
        """
        while self._unheard:
            self._session.push(self._unheard.popleft())
        snapshot = self._session.snapshot()
        if snapshot.embedding is None:
            return
        self._face = speaking_face(self._model, self._session.draw(snapshot), self._face)

    def close(self) -> None:
        """Nothing more is heard."""
        self._session.close()


def show(
    camera: SpeakingCamera,
    pieces: Callable[[], bytes | None],
    write: Callable[[PixelArray], None],
    *,
    most_unshown: int | None = None,
    stopped: Callable[[], bool] = lambda: False,
) -> int:
    """Write frames at a steady pace until the sound has ended or `stopped`; returns how many.

    Args:
        camera: the face.
        pieces: the sound that has come since, b"" for none, None at its end; asked before each frame.
        write: takes a frame.
        most_unshown: as for `SpeakingCamera.frame`; None where a sender waits for us, such as a pipe.
        stopped: whether somebody wants it to end.

    Raises:
        Speech2FaceError: what `write` and the sound's readers raise.
    """
    number, began, ended = 0, monotonic(), False
    looking: Future[None] | None = None
    with ThreadPoolExecutor(1) as pool:
        while not stopped() and not (ended and camera.still):
            while not ended and (most_unshown is not None or camera.unshown < AHEAD_FRAMES):
                piece = pieces()
                ended = piece is None
                if not piece:
                    break
                camera.hear(piece)
            write(camera.frame(most_unshown=most_unshown))
            number += 1
            if looking is not None and looking.done():
                looking.result()
                looking = None
            if looking is None and (camera.is_waiting or number % LOOK_FRAMES == 0):
                looking = pool.submit(camera.look)
            ahead = began + number / FRAMES_PER_SECOND - monotonic()
            if ahead < -1.0:  # held up: no burst of frames afterwards
                began -= ahead
            sleep(max(0.0, ahead))
        if looking is not None:
            looking.result()
    return number


# --- Where sound comes from and frames go.


def piped_sound(file: BufferedReader[Any], sample_rate: int) -> tuple[PcmFormat, Callable[[], bytes | None]]:
    """How the sound of a pipe comes, and what has come of it since one last asked; a WAV's header is understood.

    The pipe's writer waits while a second of its sound is not taken.

    Raises:
        InvalidOption: a rate that cannot be heard.
        UnreadableRecording: the header of a WAV that is damaged, or that has other than 16-bit samples.
    """
    source, left = PcmFormat("s16le", sample_rate, 1), None
    if file.peek(4)[:4] == b"RIFF":
        source, left = _wav_samples(file)
    tenth = source.sample_rate // 10 * source.frame_bytes
    waiting: queue.Queue[bytes] = queue.Queue(maxsize=10)

    def fetch() -> None:
        taken = 0
        with suppress(OSError):  # a pipe that breaks has ended
            while piece := file.read1(tenth if left is None else min(tenth, left - taken)):
                taken += len(piece)
                waiting.put(piece)
        waiting.put(b"")

    threading.Thread(target=fetch, daemon=True).start()

    def pieces() -> bytes | None:
        try:
            return waiting.get_nowait() or None
        except queue.Empty:
            return b""

    return source, pieces


def _wav_samples(file: BufferedReader[Any]) -> tuple[PcmFormat, int | None]:
    """How the samples come that a WAV's header is read up to, and how many bytes of them, None for all there will be.

    What writes to a pipe does not know how long it will be, and states nothing, or the most that there can be.

    Raises:
        InvalidOption: a rate or a number of channels that cannot be heard.
        UnreadableRecording: a damaged header, or other than 16-bit samples.
    """
    fmt, name, size = b"", file.read(12)[8:], 0
    whole = name == b"WAVE"
    while whole and name != b"data":
        head = file.read(8)
        name, size = head[:4], int.from_bytes(head[4:], "little")
        whole = len(head) == 8 and (name == b"data" or size <= MOST_CHUNK_BYTES)
        if whole and name != b"data":
            content = file.read(size + size % 2)
            fmt = content if name == b"fmt " else fmt
    if not whole or len(fmt) < 16:
        raise UnreadableRecording("the WAV on standard input cannot be read, its header is damaged; send it again")
    tag, channels, rate, bits = struct.unpack("<HHI6xH", fmt[:16])
    tag = int.from_bytes(fmt[24:26], "little") if tag == WAVE_EXTENSIBLE else tag
    if tag != WAVE_PCM or bits != 8 * SAMPLE_BYTES["s16le"]:
        raise UnreadableRecording("the WAV on standard input has no 16-bit samples; convert it before")
    return PcmFormat("s16le", rate, channels), size if 0 < size < STREAMED_BYTES else None


@contextmanager
def opened_device(path: Path, pixels: int) -> Iterator[Callable[[PixelArray], None]]:
    """A function that shows a frame on a virtual camera of Linux.

    Raises:
        CannotWrite: there is no such device, or it takes no frames.
    """
    import av

    remedy = "on Linux: modprobe v4l2loopback, then name the device that it makes, such as /dev/video10"
    try:
        is_device = stat.S_ISCHR(path.stat().st_mode)
    except OSError as error:
        raise CannotWrite(f"there is no camera {path}: {error.strerror}; {remedy}") from error
    if not is_device:
        raise CannotWrite(f"{path} is no device; {remedy}, or make a file by speech2face video")
    try:
        with av.open(str(path), "w", format=DEVICES) as out:
            stream = out.add_stream("rawvideo", rate=FRAMES_PER_SECOND)
            stream.width = stream.height = pixels
            stream.pix_fmt = "yuv420p"

            def write(image: PixelArray) -> None:
                out.mux(stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgb24")))

            yield write
    except (av.FFmpegError, OSError) as error:
        raise CannotWrite(f"{path} takes no frames: {error}; {remedy}") from error


def raw_writer(put: Callable[[bytes], object]) -> Callable[[PixelArray], None]:
    """A function that gives `put` a frame as the bytes of its YUV 4:2:0 planes, as `ffmpeg -f rawvideo` reads them."""

    def write(image: PixelArray) -> None:
        put(planes(image).tobytes())

    return write
