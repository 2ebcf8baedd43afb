"""How long a recording says it is, so that one that was cut off can be told from a short one.

FFmpeg mends most of what is missing without a word: it shortens a WAV to the file it finds, and guesses lengths from
the bit rate where none is stated. What is read here are the few header fields that keep the truth.
"""

import os
from typing import TYPE_CHECKING, BinaryIO

if TYPE_CHECKING:
    from av.audio.stream import AudioStream
    from av.container import InputContainer

# Containers whose header states a length; elsewhere FFmpeg guesses from the bit rate, and is far off for variable ones.
DECLARING_CONTAINERS = frozenset({"wav", "w64", "aiff", "au", "flac", "mov", "matroska", "avi", "tta", "wv", "ape"})
FFMPEG_TICKS_PER_SECOND = 1_000_000  # AV_TIME_BASE, in which a container's own length is counted
RIFF_STREAMED_BYTES = 0x7FFF_F000  # sizes from here on are what SoX, FFmpeg and recorders write when they cannot know
ID3_HEADER_BYTES = 10  # ID3v2.4, section 3.1
MP3_SEARCH_BYTES = 4096  # the length tag sits in the first frame (at most 1441 bytes) after the ID3 tag and its padding
MP3_LENGTH_TAGS = (b"Xing", b"Info", b"VBRI")
OGG_PAGE_HEADER_BYTES = 27  # RFC 3533, section 6
OGG_MAX_PAGE_BYTES = 65_307  # RFC 3533, section 6: 27 + 255 + 255 * 255


def declared_seconds(container: "InputContainer", stream: "AudioStream", file: BinaryIO) -> float | None:
    """The length the header states, in seconds, or None where it states none or FFmpeg only guesses it."""
    families = set(container.format.name.split(","))
    if not families & DECLARING_CONTAINERS and not (families == {"mp3"} and mp3_declares_length(file)):
        return None
    if stream.duration is not None and stream.time_base is not None and not declares_for_all_streams(container):
        seconds = float(stream.duration * stream.time_base)
    elif container.duration is not None:
        seconds = container.duration / FFMPEG_TICKS_PER_SECOND
    else:
        return None
    return seconds * riff_bytes_missing_factor(file) if families & {"wav", "avi"} else seconds


def declares_for_all_streams(container: "InputContainer") -> bool:
    """Whether the stated length is that of the longest stream: Matroska and WebM know no other."""
    return "matroska" in container.format.name


def riff_bytes_missing_factor(file: BinaryIO) -> float:
    """How many times larger a RIFF file says it is than it is; 1 where it is whole or was streamed."""
    size = file.seek(0, os.SEEK_END)
    file.seek(0)
    head = file.read(8)
    stated = int.from_bytes(head[4:8], "little")
    if head[:4] != b"RIFF" or stated >= RIFF_STREAMED_BYTES:
        return 1.0
    return max(1.0, (stated + 8) / size)


def mp3_declares_length(file: BinaryIO) -> bool:
    """Whether an MP3 carries a Xing, Info or VBRI tag, the only places where it states its length."""
    file.seek(0)
    head = file.read(ID3_HEADER_BYTES)
    start = 0
    if head[:3] == b"ID3":
        start = ID3_HEADER_BYTES + sum(
            (byte & 0x7F) << shift for byte, shift in zip(head[6:], (21, 14, 7, 0), strict=True)
        )
    file.seek(start)
    first_frame = file.read(MP3_SEARCH_BYTES)
    return any(tag in first_frame for tag in MP3_LENGTH_TAGS)


def ends_inside_ogg_page(file: BinaryIO) -> bool:
    """Whether an Ogg file stops in the middle of a page: a stream that ended has a whole last one."""
    size = file.seek(0, os.SEEK_END)
    file.seek(max(0, size - OGG_MAX_PAGE_BYTES))
    tail = file.read(OGG_MAX_PAGE_BYTES)
    at = tail.rfind(b"OggS")
    if at < 0:
        return False
    page = tail[at:]
    if len(page) < OGG_PAGE_HEADER_BYTES:
        return True
    segments = page[26]
    lengths = page[OGG_PAGE_HEADER_BYTES : OGG_PAGE_HEADER_BYTES + segments]
    return len(page) < OGG_PAGE_HEADER_BYTES + segments + sum(lengths)
