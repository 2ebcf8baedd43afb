"""Pictures of a stretch of video, decoded as few as will do.

Key frames cost one decoding each and are the sharpest; what lies between them needs all frames since the last one. So
key frames come first, and others only where there are none, or none of use.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from speech2face.data.media import Media, Rejected
from speech2face.data.packets import MOST_KEPT, reach_seconds, read_packets, seconds_of, states_no_length
from speech2face.data.speech import Span
from speech2face.face.detector import Picture

if TYPE_CHECKING:
    from av.packet import Packet
    from av.video.frame import VideoFrame
    from av.video.stream import VideoStream

LONGEST_SIDE_PIXELS = 1920  # larger frames are made smaller: a face in them keeps more than the crop can show
MOST_FRAME_PIXELS = 8192 * 8192  # a damaged header can claim anything


class VideoFrames:
    """The frames of one span of an open media."""

    def __init__(self, media: Media, span: Span) -> None:
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


def _stream(media: Media) -> VideoStream:
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
