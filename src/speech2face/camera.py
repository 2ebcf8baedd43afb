"""A face that speaks as sound comes in, 25 frames a second: into a virtual camera, or raw to another program.

Linux has virtual cameras by the module v4l2loopback, whose devices other programs see as a webcam.
"""

from __future__ import annotations

import queue
import stat
import struct
import threading
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from io import BufferedReader
from pathlib import Path
from time import monotonic, sleep
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from speech2face.audio.completeness import STREAMED_BYTES
from speech2face.audio.stream import SAMPLE_BYTES
from speech2face.errors import CannotWrite, UnreadableRecording
from speech2face.live import LiveMotion, LiveSession, PcmFormat
from speech2face.motion import FRAMES_PER_SECOND, Pose
from speech2face.video import SpeakingFace, check_pixels, labelled, speaking_face

if TYPE_CHECKING:
    from speech2face.models.contract import Model
    from speech2face.video import PixelArray

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
