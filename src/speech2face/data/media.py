"""Open recordings, videos and photographs of a source, on this machine or behind a URL, for pieces of them to be read.

FFmpeg is given the bytes, never the name: a playlist must not make it open other files or addresses.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, cast

from speech2face.audio.recording import OPEN_OPTIONS
from speech2face.audio.tags import any_tags
from speech2face.errors import DatasetError, FaceNotFound, MissingExtra, RecordingNotFound, UnreadableRecording
from speech2face.face.detector import Picture
from speech2face.face.photograph import read_photograph

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.packet import Packet
    from av.stream import Stream

# FFmpeg decodes a picture on opening, to learn what an MP4 has told it already: at 1280 x 720, 6 of 8 ms.
KNOWING_FORMAT = b"ftyp"  # in bytes 4 to 8 of MP4 and QuickTime (ISO/IEC 14496-12, section 4.3)
UNDECODED = {"skip_frame": "all"}  # for all streams, when the container is opened; pictures are decoded as ever
MOST_PHOTOGRAPH_BYTES = 2**27  # 128 MiB: no camera's JPEG comes near, and a wrong file must not fill the memory


class Rejected(Exception):
    """A record gives no clip: `reason` is one of `record.REASONS`, `detail` what was found."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason, self.detail = reason, detail


class _Nameless:
    """What PyAV needs of a file, without its name: FFmpeg would let the extension weigh in on the format."""

    def __init__(self, file: IO[bytes]) -> None:
        self.read, self.seek, self.tell = file.read, file.seek, file.tell


@contextlib.contextmanager
def open_place(place: str, *, missing: str) -> Iterator[IO[bytes]]:
    """The bytes of a path or URL, to be read and sought in.

    Raises:
        Rejected: `missing` where there is no such file, unreadable where it may not be read.
    """
    try:
        file = _opened(place)
    except FileNotFoundError:
        raise Rejected(missing, f"there is no {place}") from None
    except (OSError, ValueError) as error:  # ValueError: a zero byte in the name
        raise Rejected("unreadable", f"cannot open {place}: {getattr(error, 'strerror', None) or error}") from error
    with file:
        yield file


def _opened(place: str) -> IO[bytes]:
    if "://" not in place or place.startswith(("file://", "local://")):
        path = Path(place.split("://", 1)[1]) if "://" in place else Path(place)
        if path.is_dir():
            raise IsADirectoryError(f"{place} is a folder")
        return open(path, "rb")
    import fsspec.core  # slow to import, and not needed for local files

    try:
        return cast(IO[bytes], fsspec.core.open(place, "rb").open())
    except ImportError as error:
        raise MissingExtra(f"{place} needs a package that is not installed: {error}") from error
    except OSError:
        raise
    except Exception as error:  # object stores raise their client's own classes, which have no common root
        raise OSError(f"{type(error).__name__}: {error}") from error


@contextlib.contextmanager
def open_media(place: str) -> Iterator[Media]:
    """A recording or video.

    Raises:
        Rejected: no_media, unreadable.
    """
    import av

    with open_place(place, missing="no_media") as file:
        if file.seek(0, os.SEEK_END) == 0:
            raise Rejected("unreadable", f"{place} is empty: 0 bytes")
        try:
            container = _container(file)
        except (av.FFmpegError, OSError, ValueError) as error:
            raise Rejected("unreadable", f"{place} is no media, or its header is damaged: {error}") from error
        with Media(place, file, container) as media:
            yield media


def _container(file: IO[bytes]) -> InputContainer:
    file.seek(0)
    if file.read(8)[4:] == KNOWING_FORMAT:
        with contextlib.suppress(ValueError):  # PyAV's, of a header that names no stream
            return _opened_by_ffmpeg(file, UNDECODED)
    return _opened_by_ffmpeg(file, {})


def _opened_by_ffmpeg(file: IO[bytes], stream_options: dict[str, str]) -> InputContainer:
    import av

    file.seek(0)
    container: InputContainer = av.open(
        cast(Any, _Nameless(file)),
        mode="r",
        options=OPEN_OPTIONS | stream_options,  # PyAV hands them to the container and to every stream
        **any_tags(),
    )
    return container


class Media:
    """An open recording or video."""

    def __init__(self, place: str, file: IO[bytes], container: InputContainer) -> None:
        self.place, self.file, self.container = place, file, container
        # Times of a source count from where the media begins to play.
        self.begins_seconds = (container.start_time or 0) / 1_000_000
        self._unread = True  # `container` stands at its beginning
        self._opened = contextlib.ExitStack()
        self._opened.enter_context(container)

    def __enter__(self) -> Media:
        return self

    def __exit__(self, *raised: object) -> None:
        self._opened.close()

    def begin_again(self) -> None:
        """Stand at the beginning: `container` is opened anew, since not every one can be sought back to where it began.

        Streams of the one before stay what they are, but are read no further.

        Raises:
            av.FFmpegError, OSError: it can no longer be read.
        """
        if not self._unread:
            self.container = self._opened.enter_context(_container(self.file))
            self._unread = True

    def seek(self, seconds: float, stream: Stream) -> None:
        """To a place of a stream at or before a second, where there is one; at the beginning nothing has to be done.

        Raises:
            av.FFmpegError, OSError: the container cannot do that.
        """
        if self._unread and seconds <= 0:
            return
        tick = float(stream.time_base or 0)
        self._unread = False
        self.container.seek(round((seconds + self.begins_seconds) / tick) if tick else 0, stream=stream, backward=True)

    def packets(self, *streams: Stream) -> Iterator[Packet[Any]]:
        """From where the container stands on, of these streams or of all; the last ones have no bytes.

        Raises:
            av.FFmpegError, OSError: it cannot be read on.
        """
        self._unread = False
        yield from self.container.demux(*streams)


def read_picture(place: str) -> Picture:
    """A photograph (height, width, 3) uint8 RGB, upright.

    Raises:
        Rejected: no_photograph, unreadable.
    """
    with open_place(place, missing="no_photograph") as file:
        try:
            content = file.read(MOST_PHOTOGRAPH_BYTES + 1)
        except OSError as error:
            raise Rejected("unreadable", f"cannot read {place}: {error}") from error
    if len(content) > MOST_PHOTOGRAPH_BYTES:
        raise Rejected("unreadable", f"{place} is over {MOST_PHOTOGRAPH_BYTES // 2**20} MiB: no photograph")
    try:
        return read_photograph(content)
    except (FaceNotFound, DatasetError, MissingExtra, RecordingNotFound, UnreadableRecording) as error:
        raise Rejected("unreadable", f"{place}: {error}") from error
