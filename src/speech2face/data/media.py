"""Open recordings, videos and photographs of a source, on this machine or behind a URL, for pieces of them to be read.

FFmpeg is given the bytes, never the name: a playlist must not make it open other files or addresses.
"""

from __future__ import annotations

import contextlib
import logging
import os
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import IO, TYPE_CHECKING, Any, cast

import numpy as np

from speech2face.audio.completeness import declares_for_all_streams
from speech2face.audio.recording import OPEN_OPTIONS, any_tags
from speech2face.errors import DatasetError, FaceNotFound, MissingExtra, RecordingNotFound, UnreadableRecording
from speech2face.face.detect import Picture, read_photograph

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.packet import Packet
    from av.stream import Stream
    from av.video.frame import VideoFrame
    from av.video.stream import VideoStream

# FFmpeg decodes a picture on opening, to learn what an MP4 has told it already: at 1280 x 720, 6 of 8 ms.
KNOWING_FORMAT = b"ftyp"  # in bytes 4 to 8 of MP4 and QuickTime (ISO/IEC 14496-12, section 4.3)
UNDECODED = {"skip_frame": "all"}  # for all streams, when the container is opened; pictures are decoded as ever
MOST_PHOTOGRAPH_BYTES = 2**27  # 128 MiB: no camera's JPEG comes near, and a wrong file must not fill the memory


class Rejected(Exception):
    """A record gives no clip: `reason` is one of `record.REASONS`, `detail` what was found."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason, self.detail = reason, detail


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
def open_media(place: str) -> Iterator[OpenMedia]:
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
        with OpenMedia(place, file, container) as media:
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
    # What PyAV needs of a file, without its name: FFmpeg would let the extension weigh in on the format.
    nameless = SimpleNamespace(read=file.read, seek=file.seek, tell=file.tell)
    container: InputContainer = av.open(
        cast(Any, nameless),
        mode="r",
        options=OPEN_OPTIONS | stream_options,  # PyAV hands them to the container and to every stream
        **any_tags(),
    )
    return container


class OpenMedia:
    """An open recording or video."""

    def __init__(self, place: str, file: IO[bytes], container: InputContainer) -> None:
        self.place, self.file, self.container = place, file, container
        # Times of a source count from where the media begins to play.
        self.begins_seconds = (container.start_time or 0) / 1_000_000
        self._unread = True  # `container` stands at its beginning
        self._opened = contextlib.ExitStack()
        self._opened.enter_context(container)

    def __enter__(self) -> OpenMedia:
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


# --------------------------------------------------------------------------------------------------
# Packets of one stream of an open media from a second on, sound and picture on one clock.
# A container with an index is sought in. A transport or program stream has none, and FFmpeg's seeking there can land
# behind the only key frame; its time stamps may begin anywhere, wrap, and begin anew where segments were joined. So
# it is read from its beginning, which costs no decoding, and its clock is mended on the way. The same is done where a
# seek fails or lands too late, and where the header states no length: who streamed it could not go back to write one.
# --------------------------------------------------------------------------------------------------

logger = logging.getLogger(__name__)
JOINED_FORMATS = frozenset({"mpegts", "mpeg"})  # FFmpeg's names: their stamps may jump, by ISO/IEC 13818-1
JUMP_SECONDS = 10.0  # ahead of all streams: another clock, not a gap; FFmpeg's own dts_delta_threshold
BACK_SECONDS = 0.1  # before the stream's last packet, which decoding order never is
SHORT_SECONDS = 1.0  # by which streams of one piece end apart
UNSTATED_PACKET_SECONDS = 0.04  # a picture at 25 a second
LATE_BEGIN_SECONDS = 0.5  # of stamps: it is no encoder's delay, but a piece of something longer
MOST_REORDERED = 16  # pictures between decoding one and showing it, by H.264 and H.265
MOST_KEPT = 4096  # packets since a key frame, that a decoder may need: two minutes of pictures


class Clock:
    """One time line for all streams of a media, in the order of its packets: where stamps jump, it goes on.

    All streams jump at a joint, but not with neighbouring packets. So the first one to jump begins a new part, whose
    offset holds for all; each of the others enters it with its own jump. Sound and picture stay together.
    """

    def __init__(self) -> None:
        self._offsets = [0.0]  # of each part
        self._part: dict[Any, int] = {}  # by stream: the part it is in ...
        self._next: dict[Any, float] = {}  # ... and when its next packet is due
        self._last: dict[Any, float] = {}

    def put_right(self, packet: Packet[Any]) -> None:
        """Move a packet's stamps to this time line; packets of a media come here in their order."""
        tick = float(packet.time_base or 0)
        stream = packet.stream.index
        if packet.dts is not None and tick > 0:
            seconds = packet.dts * tick
            part = self._part_of(stream, seconds)
            self._part[stream], self._last[stream] = part, seconds + self._offsets[part]
            length = packet.duration * tick if packet.duration else UNSTATED_PACKET_SECONDS
            longest = max(1.0, MOST_REORDERED * length)
            if packet.pts is not None and not -BACK_SECONDS <= (packet.pts - packet.dts) * tick <= longest:
                packet.pts = packet.dts  # FFmpeg gives a part's last picture the first stamp of the next part
            self._next[stream] = self._last[stream] + length
        offset = self._offsets[self._part.get(stream, len(self._offsets) - 1)]
        if offset and tick > 0:
            ticks = round(offset / tick)
            packet.pts = None if packet.pts is None else packet.pts + ticks
            packet.dts = None if packet.dts is None else packet.dts + ticks

    def _part_of(self, stream: int, seconds: float) -> int:
        """The part a packet belongs to by its stamp; a new one where it continues none."""
        if not self._next:
            return 0
        end = max(self._next.values())
        now = self._part.get(stream)
        if now is None:  # its first packet: beside the others
            return min(range(len(self._offsets)), key=lambda part: abs(seconds + self._offsets[part] - end))
        if self._continues(stream, seconds + self._offsets[now], end):
            return now
        due = self._next[stream]
        later = range(now + 1, len(self._offsets))
        nearest = min(later, key=lambda part: abs(seconds + self._offsets[part] - due), default=None)
        if nearest is not None and abs(seconds + self._offsets[nearest] - due) <= JUMP_SECONDS:
            return nearest
        # Right behind its own last packet, unless the others had gone on without it.
        self._offsets.append((due if end - due < SHORT_SECONDS else end) - seconds)
        return len(self._offsets) - 1

    def _continues(self, stream: int, seconds: float, end: float) -> bool:
        # A picture may stand still for a minute while the sound goes on: only what is ahead of all streams has jumped.
        return self._last[stream] - BACK_SECONDS <= seconds <= end + JUMP_SECONDS


def read_packets(media: OpenMedia, stream: int, start_seconds: float) -> Iterator[Packet[Any]]:
    """Packets of the stream with this number, from a key frame at or before the start on, where there is one.

    The last has no bytes: it brings the last frames out of a decoder. Times are `seconds_of`.

    Raises:
        Rejected: unreadable, where the container is damaged.
    """
    import av

    try:
        if not states_no_length(media):
            found = _sought(media, stream, start_seconds)
            first = next(found, None)
            if first is not None and not _late(media, first, start_seconds):
                yield first
                yield from found
                return
        yield from _through(media, stream, start_seconds)
    except (av.FFmpegError, OSError) as error:
        raise Rejected("unreadable", f"{media.place} is damaged: {error}") from error


def seconds_of(media: OpenMedia, packet: Packet[Any]) -> float | None:
    """When a packet is shown or heard, from where the media begins to play; None: it has no stamp."""
    stamp = packet.pts if packet.pts is not None else packet.dts
    return None if stamp is None or not packet.time_base else float(stamp * packet.time_base) - media.begins_seconds


def reach_seconds(media: OpenMedia) -> float:
    """Where the last packet of any stream of sound or pictures ends; everything is read, nothing is decoded."""
    import av

    reach = 0.0
    try:
        media.begin_again()
        clock = Clock()
        for packet in media.packets():
            if packet.size and packet.stream.type in ("audio", "video"):
                clock.put_right(packet)
                reach = max(reach, (seconds_of(media, packet) or 0.0) + _length(packet))
    except (av.FFmpegError, OSError):
        logger.debug("%s cannot be read beyond %.1f s", media.place, reach)
    return reach


def _length(packet: Packet[Any]) -> float:
    return float(packet.duration * packet.time_base) if packet.duration and packet.time_base else 0.0


def states_no_length(media: OpenMedia) -> bool:
    """Whether the header tells no length, not the whole media's, or FFmpeg only infers it from the last time stamps."""
    container = media.container
    if container.duration is None or not JOINED_FORMATS.isdisjoint(container.format.name.split(",")):
        return True
    # Matroska's length is that up to the last stamp, by some writers from 0 on, by others from the first one.
    return declares_for_all_streams(container) and media.begins_seconds > LATE_BEGIN_SECONDS


def _sought(media: OpenMedia, stream: int, start: float) -> Iterator[Packet[Any]]:
    """After a seek to a place at or before the start; from the beginning where that cannot be done."""
    import av

    try:
        media.seek(start, media.container.streams[stream])
    except av.FFmpegError:
        media.begin_again()
    yield from media.packets(media.container.streams[stream])


def _late(media: OpenMedia, first: Packet[Any], start: float) -> bool:
    """Whether a seek landed behind the start though the stream begins before."""
    stamp = first.dts if first.dts is not None else first.pts
    if stamp is None or first.time_base is None:
        return first.size == 0  # nothing but the end
    began = first.stream.start_time
    at, tick = float(stamp * first.time_base) - media.begins_seconds, float(first.time_base)
    stream_begins = 0.0 if began is None else began * tick - media.begins_seconds
    return at > max(start, stream_begins) + tick


def _through(media: OpenMedia, stream: int, start: float) -> Iterator[Packet[Any]]:
    """From the beginning of the media, with a mended clock; what lies before the last key frame is left out."""
    media.begin_again()
    wanted, clock = media.container.streams[stream], Clock()
    # Since the last key frame, until the start is reached.
    kept: deque[Packet[Any]] | None = deque(maxlen=MOST_KEPT) if start > 0 else None
    for packet in media.packets():
        if packet.size and packet.stream.type in ("audio", "video"):
            clock.put_right(packet)
        if packet.stream is not wanted:  # not its index: damage can give that to another stream
            continue
        if kept is None:
            yield packet
            continue
        at = seconds_of(media, packet)
        if packet.is_keyframe and at is not None and at <= start:
            kept.clear()
        kept.append(packet)
        if packet.size == 0 or (at is not None and at >= start):
            yield from kept
            kept = None


@dataclass(frozen=True)
class Span:
    """A stretch of a media in seconds; `stop_seconds` is None where it goes to the end."""

    start_seconds: float = 0.0
    stop_seconds: float | None = None

    def at_most(self, seconds: float) -> float:
        """Its length, limited."""
        return seconds if self.stop_seconds is None else min(seconds, self.stop_seconds - self.start_seconds)


# --------------------------------------------------------------------------------------------------
# Pictures of a stretch of video, decoded as few as will do.
# Key frames cost one decoding each and are the sharpest; what lies between them needs all frames since the last one.
# So key frames come first, and others only where there are none, or none of use.
# --------------------------------------------------------------------------------------------------

LONGEST_SIDE_PIXELS = 1920  # larger frames are made smaller: a face in them keeps more than the crop can show
MOST_FRAME_PIXELS = 8192 * 8192  # a damaged header can claim anything


class VideoFrames:
    """The frames of one span of an open media."""

    def __init__(self, media: OpenMedia, span: Span) -> None:
        """Raises:
        Rejected: no_video, unreadable.
        """
        self._media, self._number = media, _stream(media).index
        self.start_seconds = span.start_seconds
        stop = span.stop_seconds
        self.stop_seconds = stop if stop is not None else self._end()

    def _end(self) -> float:
        """Of the media by its header; by its packets where that states none, or cannot know of joined segments."""
        media = self._media
        if states_no_length(media):
            return max(self.start_seconds, reach_seconds(media))
        return max(self.start_seconds, (media.container.duration or 0) / 1_000_000)

    @property
    def _stream(self) -> VideoStream:
        """Of the container as it is open now: reading from the beginning opens it anew."""
        stream = cast("VideoStream", self._media.container.streams[self._number])
        if not stream.codec_context.is_open:
            stream.thread_type = "NONE"  # one process a core: threads would only wait for each other
        return stream

    def key_frames(self, most: int) -> list[tuple[float, Picture]]:
        """Second and picture of key frames, (height, width, 3); where there are more than `most`, spread over the span.

        Raises:
            Rejected: unreadable, where not one of them can be decoded.
        """
        packets = [packet for packet in self._packets(self.start_seconds) if packet.size and packet.is_keyframe]
        inside = [p for p in packets if self._inside(seconds_of(self._media, p))]
        chosen = [inside[number] for number in spread(len(inside), most)]
        pictures = [self._alone(packet) for packet in chosen]
        if chosen and not any(pictures):
            raise Rejected("unreadable", f"{self._media.place} is damaged: none of its key frames can be decoded")
        return [picture for picture in pictures if picture is not None]

    def _inside(self, seconds: float | None) -> bool:
        return seconds is not None and self.start_seconds <= seconds < self.stop_seconds

    def _alone(self, packet: Packet[Any]) -> tuple[float, Picture] | None:
        """One key frame by itself: the decoder is emptied after it, so nothing else needs to be decoded."""
        import av

        decoder = self._stream.codec_context
        try:
            decoder.flush_buffers()
            frames = [*decoder.decode(packet), *decoder.decode(None)]
        except av.FFmpegError:
            return None
        finally:
            decoder.flush_buffers()
        return (seconds_of(self._media, packet) or 0.0, self._picture(frames[0])) if frames else None

    def between(self, times: Sequence[float]) -> list[tuple[float, Picture]]:
        """Second and picture of the first frame at or after each time; everything since a key frame is decoded.

        Raises:
            Rejected: unreadable, where nothing can be decoded.
        """
        import av

        wanted, found, lost = sorted(times), list[tuple[float, Picture]](), 0
        decoder: Any = None
        tick = float(self._stream.time_base or 0)
        for packet in _from_key_frame(self._packets(wanted[0] if wanted else self.stop_seconds)):
            if decoder is None:
                decoder = self._stream.codec_context  # only now: reading may have opened the container anew
                decoder.flush_buffers()
            try:
                frames = decoder.decode(packet)
            except av.FFmpegError:
                lost += 1
                continue
            for frame in frames:
                if frame.pts is None or frame.is_corrupt:
                    continue
                seconds = frame.pts * tick - self._media.begins_seconds
                if wanted and seconds >= wanted[0] - tick:
                    found.append((seconds, self._picture(frame)))
                    wanted = [time for time in wanted if time > seconds + tick]
            if not wanted:
                break
        if lost and not found:
            raise Rejected("unreadable", f"{self._media.place} is damaged: {lost} packets cannot be decoded")
        return found

    def times(self, count: int) -> list[float]:
        """So many, in the middles of equal parts of the span."""
        length = self.stop_seconds - self.start_seconds
        return [self.start_seconds + (number + 0.5) / count * length for number in range(count)]

    def _packets(self, start: float) -> Iterator[Packet[Any]]:
        """From the key frame at or before the start to the span's end; nothing is decoded."""
        for packet in read_packets(self._media, self._number, start):
            # Packets lie in the order of decoding: one shown after the end may stand before one inside.
            tick = float(packet.time_base or 0)
            if packet.dts is not None and packet.dts * tick - self._media.begins_seconds > self.stop_seconds:
                return
            yield packet

    def _picture(self, frame: VideoFrame) -> Picture:
        """(height, width, 3) uint8 RGB, upright and with square pixels."""
        width, height = float(frame.width), float(frame.height)
        aspect = self._stream.sample_aspect_ratio
        if aspect:
            width *= float(aspect)
        shrink = min(1.0, LONGEST_SIDE_PIXELS / max(width, height))
        size = (max(1, round(width * shrink)), max(1, round(height * shrink)))
        picture = frame.to_ndarray(format="rgb24", width=size[0], height=size[1])
        turns = round(getattr(frame, "rotation", 0) / 90) % 4  # telephones turn the picture by a note in the file
        return np.ascontiguousarray(np.rot90(picture, turns))


def _from_key_frame(packets: Iterator[Packet[Any]]) -> Iterator[Packet[Any]]:
    """Without what lies before the first key frame, as where a stream is joined on the way: it shows smears.

    All of them, where none is marked as one: a stream may be renewed strip by strip.
    """
    before: deque[Packet[Any]] = deque(maxlen=MOST_KEPT)
    for packet in packets:
        if packet.is_keyframe or not packet.size:
            yield from () if packet.size else before
            yield packet
            break
        before.append(packet)
    else:
        yield from before
    yield from packets


def spread(count: int, most: int) -> list[int]:
    """At most so many of `count` things, evenly, in the middles of equal parts."""
    if count <= most:
        return list(range(count))
    return [int((number + 0.5) * count / most) for number in range(most)]


def _stream(media: OpenMedia) -> VideoStream:
    import av

    for stream in media.container.streams.video:
        if getattr(stream, "codec_context", None) is None:
            raise Rejected("unreadable", f"{media.place} holds pictures in a codec that cannot be decoded")
        if stream.disposition & av.stream.Disposition.attached_pic:  # a cover, no video
            continue
        if stream.width * stream.height > MOST_FRAME_PIXELS:
            raise Rejected("unreadable", f"{media.place} claims pictures of {stream.width} x {stream.height} pixels")
        return stream
    raise Rejected("no_video", f"{media.place} has no pictures in it ({media.container.format.long_name})")
