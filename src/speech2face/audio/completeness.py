"""What a recording should hold, against what is there: one that was cut off, or has a hole, is told from a short one.

A stated length counts only where it was read from its own field (`stated_length.py`), never where FFmpeg guessed it.
Holes show in the numbers of Ogg pages and FLAC frames, in bytes between frames, and in broken elements and packets.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO

from speech2face.audio.byte_source import ByteSource
from speech2face.audio.damage import is_damaged
from speech2face.audio.frame_walk import Frames, adts_frame, mp3_frame, walk_frames
from speech2face.audio.ogg_pages import OggLink, read_pages
from speech2face.audio.stated_length import Header, believed, read_header
from speech2face.errors import CorruptRecording

if TYPE_CHECKING:
    from av.audio.stream import AudioStream
    from av.container import InputContainer

MOST_PARTS = 1000  # recordings joined in one file: a day of internet radio, where every title begins one
# Demuxers of frames with nothing around them.
WALKED_DEMUXERS = {"mp3": mp3_frame, "aac": adts_frame}
# Demuxers that read a length from its own field or give none; others fall back on the bit rate.
READING_DEMUXERS = frozenset({"mov", "tta", "wv", "ape"})


@dataclass(frozen=True)
class Part:
    """One of the recordings joined in a file, most often the only one; `pages` is None where it is no Ogg."""

    source: ByteSource
    header: Header
    pages: OggLink | None = None


@dataclass(frozen=True)
class Expected:
    """What a sound stream should hold.

    `seconds` is the stated length, None where none is stated; `present_seconds` how much of it is there where bytes
    tell, else decoding does; `lost_seconds` what is missing between its pages or frames.
    """

    seconds: float | None = None
    present_seconds: float | None = None
    lost_seconds: float = 0.0


def find_parts(source: ByteSource) -> list[Part]:
    """All the recordings of a file, in order.

    Raises:
        CorruptRecording: the file ends in the middle of a page, a box or a cluster that should be whole.
        UnreadableRecording: it cannot be read.
    """
    if source.read_at(0, 4) == b"OggS":
        return _ogg_parts(source)
    parts = [_part(source)]
    while (place := parts[-1].header.next_part) is not None and len(parts) < MOST_PARTS:
        last = parts[-1].source
        whole = last.part(0, place)
        whole.mended = last.mended
        parts[-1] = Part(whole, parts[-1].header)
        parts.append(_part(last.part(place, last.size)))
    return parts


def _part(source: ByteSource) -> Part:
    header = read_header(source)
    if header.cut:
        raise CorruptRecording(f"{source.label} is cut off: it ends before its own structure does; copy it again")
    source.mended = header.mended
    return Part(source, header)


def _ogg_parts(source: ByteSource) -> list[Part]:
    pages = read_pages(source)
    if pages.cut:
        raise CorruptRecording(f"{source.label} is cut off in the middle of a page; copy it again")
    if len(pages.links) <= 1 or len(pages.links) > MOST_PARTS:  # FFmpeg reads the parts one after the other
        return [Part(source, Header(), *pages.links[:1])]
    return [Part(source.part(link.start, link.stop), Header(), link) for link in pages.links]


def expected(container: "InputContainer", stream: "AudioStream", part: Part, track: int) -> Expected:
    """What the `track`-th sound stream of a part, from 1, should hold.

    Raises:
        UnreadableRecording: it cannot be read.
    """
    if part.pages is not None:
        return Expected(lost_seconds=part.pages.lost_seconds(track))
    kind = container.format.name
    if kind in WALKED_DEMUXERS:
        return _of_frames(walk_frames(part.source, WALKED_DEMUXERS[kind]))
    if part.header.seconds is None and not part.header.fragmented and READING_DEMUXERS & set(kind.split(",")):
        ticks, tick = stream.duration, stream.time_base
        return Expected(None if ticks is None or tick is None else believed(float(ticks * tick)))
    return Expected(part.header.seconds, part.header.present_seconds)


def _of_frames(frames: Frames | None) -> Expected:
    if frames is None:
        return Expected()
    present = None if frames.stated_seconds is None else frames.seconds
    return Expected(frames.stated_seconds, present, frames.lost_seconds)


def declares_for_all_streams(container: "InputContainer") -> bool:
    """Whether the stated length is that of the longest stream: Matroska and WebM know no other."""
    return "matroska" in container.format.name


def hole_seconds(container: "InputContainer", part: Part, gap_seconds: float) -> float:
    """How much of what the time stamps leap over is a hole in the file, and not the recorder's own pause."""
    if container.format.name == "flac":
        return gap_seconds  # every frame has its number
    return gap_seconds if is_damaged(part.source, container.format.name) else 0.0


def declared_seconds(container: "InputContainer", stream: "AudioStream", file: BinaryIO) -> float | None:
    """The length that the file's own fields state, in seconds, or None where they state none."""
    source = ByteSource(file, "recording")
    return expected(container, stream, Part(source, read_header(source)), 1).seconds
