"""Packets of one stream of an open media from a second on, sound and picture on one clock.

A container with an index is sought in. A transport or program stream has none, and FFmpeg's seeking there can land
behind the only key frame; its time stamps may begin anywhere, wrap, and begin anew where segments were joined. So it
is read from its beginning, which costs no decoding, and its clock is mended on the way. The same is done where a seek
fails or lands too late, and where the header states no length: who streamed it could not go back to write one.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from speech2face.audio.completeness import declares_for_all_streams
from speech2face.data.media import Media, Rejected

if TYPE_CHECKING:
    from av.packet import Packet

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


def read_packets(media: Media, stream: int, start_seconds: float) -> Iterator[Packet[Any]]:
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


def seconds_of(media: Media, packet: Packet[Any]) -> float | None:
    """When a packet is shown or heard, from where the media begins to play; None: it has no stamp."""
    stamp = packet.pts if packet.pts is not None else packet.dts
    return None if stamp is None or not packet.time_base else float(stamp * packet.time_base) - media.begins_seconds


def reach_seconds(media: Media) -> float:
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


def states_no_length(media: Media) -> bool:
    """Whether the header tells no length, not the whole media's, or FFmpeg only infers it from the last time stamps."""
    container = media.container
    if container.duration is None or not JOINED_FORMATS.isdisjoint(container.format.name.split(",")):
        return True
    # Matroska's length is that up to the last stamp, by some writers from 0 on, by others from the first one.
    return declares_for_all_streams(container) and media.begins_seconds > LATE_BEGIN_SECONDS


def _sought(media: Media, stream: int, start: float) -> Iterator[Packet[Any]]:
    """After a seek to a place at or before the start; from the beginning where that cannot be done."""
    import av

    try:
        media.seek(start, media.container.streams[stream])
    except av.FFmpegError:
        media.begin_again()
    yield from media.packets(media.container.streams[stream])


def _late(media: Media, first: Packet[Any], start: float) -> bool:
    """Whether a seek landed behind the start though the stream begins before."""
    stamp = first.dts if first.dts is not None else first.pts
    if stamp is None or first.time_base is None:
        return first.size == 0  # nothing but the end
    began = first.stream.start_time
    at, tick = float(stamp * first.time_base) - media.begins_seconds, float(first.time_base)
    stream_begins = 0.0 if began is None else began * tick - media.begins_seconds
    return at > max(start, stream_begins) + tick


def _through(media: Media, stream: int, start: float) -> Iterator[Packet[Any]]:
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
