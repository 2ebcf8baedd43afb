"""Frames of MP3 and ADTS files, which have nothing around them: how much sound there is, and what lies between.

FFmpeg passes over bytes that are no frame and says nothing. Every frame states its own length, so whatever else is in
the file is a tag, padding or damage, and what the damage cost follows from the bytes a second of the rest.
"""

import re
import struct
from collections.abc import Callable
from dataclasses import dataclass

from speech2face.audio.byte_source import ByteSource
from speech2face.audio.stated_length import ID3_HEADER_BYTES, believed, id3_bytes

MOST_WALKED_BYTES = 2**27  # half an hour at the highest bit rate of MP3 is half of it
SYNCHRONISED_FRAMES = 3  # so many in a row are no accident
TAG_BEGINNINGS = (b"ID3", b"TAG", b"APETAGEX", b"LYRICSBEGIN")
LENGTH_TAG_OFFSETS = (36, 21, 13)  # behind header and side information: ISO 11172-3 stereo, mono; 13818-3 mono
VBRI_OFFSET = 36
# ISO 11172-3 and 13818-3, kbit/s by the index in the header, for MPEG 1 and for the lower rates of MPEG 2.
RATES_1 = {
    1: (0, 32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448),
    2: (0, 32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
    3: (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
}
RATES_2 = {
    1: (0, 32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256),
    2: (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
    3: (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
SAMPLE_RATES = (44_100, 48_000, 32_000)  # of MPEG 1
HALVINGS = {3: 0, 2: 1, 0: 2}  # of these rates, in MPEG 1, 2 and 2.5 by the bits that say which it is
ADTS_SAMPLE_RATES = (
    *(96_000, 88_200, 64_000, 48_000, 44_100, 32_000, 24_000, 22_050, 16_000, 12_000, 11_025, 8_000, 7_350),
)


@dataclass(frozen=True)
class Frame:
    """One frame by its header: its length, and how long it sounds."""

    length: int
    samples: int
    sample_rate: int


@dataclass(frozen=True)
class Frames:
    """All frames of a file: how long they sound, what is missing between them, and what length tags state in all.

    `stated_seconds` is None where no tag counts the frames.
    """

    seconds: float
    lost_seconds: float
    stated_seconds: float | None


def mp3_frame(content: bytes, at: int) -> Frame | None:
    """The frame of MPEG audio that begins there, or None."""
    head = content[at : at + 4]
    if len(head) < 4 or head[0] != 0xFF or head[1] & 0xE0 != 0xE0:
        return None
    version, layer = head[1] >> 3 & 3, 4 - (head[1] >> 1 & 3)
    index, rate_index, padding = head[2] >> 4, head[2] >> 2 & 3, head[2] >> 1 & 1
    if version == 1 or layer == 4 or index in (0, 15) or rate_index == 3:
        return None
    sample_rate = SAMPLE_RATES[rate_index] >> HALVINGS[version]
    bit_rate = (RATES_1 if version == 3 else RATES_2)[layer][index] * 1000
    if layer == 1:
        return Frame((12 * bit_rate // sample_rate + padding) * 4, 384, sample_rate)
    samples = 576 if layer == 3 and version != 3 else 1152
    return Frame(samples // 8 * bit_rate // sample_rate + padding, samples, sample_rate)


def adts_frame(content: bytes, at: int) -> Frame | None:
    """The ADTS frame (ISO 13818-7, section 6.2) that begins there, or None."""
    head = content[at : at + 7]
    if len(head) < 7 or head[0] != 0xFF or head[1] & 0xF6 != 0xF0 or (head[2] >> 2 & 15) >= len(ADTS_SAMPLE_RATES):
        return None
    length = (head[3] & 3) << 11 | head[4] << 3 | head[5] >> 5
    return Frame(length, 1024 * ((head[6] & 3) + 1), ADTS_SAMPLE_RATES[head[2] >> 2 & 15]) if length > 7 else None


def walk_frames(source: ByteSource, read_frame: Callable[[bytes, int], Frame | None]) -> Frames | None:
    """All frames from the first to the last; None where there are none, or too many bytes to be one recording.

    Raises:
        UnreadableRecording: the bytes cannot be read.
    """
    if source.size > MOST_WALKED_BYTES:
        return None
    content = source.read_at(0, source.size)
    at = _next_frame(content, _after_tags(content, 0), read_frame)
    seconds, stated, counted, lost_bytes, frame_bytes = 0.0, 0.0, False, 0, 0
    while at is not None and at < len(content):
        frame = read_frame(content, at)
        if frame is None or not _goes_on(content, at, frame, read_frame):
            resumed = _next_frame(content, _after_tags(content, at), read_frame)
            if resumed is not None and not _is_padding(content, at, resumed, read_frame):
                lost_bytes += resumed - at
            elif resumed is None and read_frame is adts_frame:  # behind MP3 stand tags of many kinds
                lost_bytes += _damage_at_end(content[at:])
            at = resumed
            continue
        tag_frames = _tagged_frames(content, at) if read_frame is mp3_frame else None
        if tag_frames is None:
            seconds += frame.samples / frame.sample_rate
            frame_bytes += frame.length
        else:
            stated += tag_frames * frame.samples / frame.sample_rate
            counted = True
        at += frame.length
    if not frame_bytes:
        return None
    return Frames(seconds, lost_bytes * seconds / frame_bytes, believed(stated) if counted else None)


def _goes_on(content: bytes, at: int, frame: Frame, read_frame: Callable[[bytes, int], Frame | None]) -> bool:
    """Whether a frame is whole: another one, a tag, padding or the end follows it."""
    end = at + frame.length
    if end >= len(content):
        return end == len(content)
    return read_frame(content, end) is not None or content[end : end + 3] in (b"ID3", b"TAG", b"APE", b"LYR", bytes(3))


def _next_frame(content: bytes, at: int, read_frame: Callable[[bytes, int], Frame | None]) -> int | None:
    """Where frames go on: as many in a row as are no accident, or as many as there are before the end."""
    for match in re.compile(rb"\xff[\xe0-\xff]").finditer(content, at):
        place = match.start()
        for _ in range(SYNCHRONISED_FRAMES):
            frame = read_frame(content, place)
            if frame is None:
                break
            place += frame.length
            if place == len(content):
                return match.start()
        else:
            return match.start()
    return None


def _after_tags(content: bytes, at: int) -> int:
    while length := id3_bytes(content[at : at + ID3_HEADER_BYTES]):
        at += length
    return at


def _is_padding(content: bytes, at: int, resumed: int, read_frame: Callable[[bytes, int], Frame | None]) -> bool:
    """Whether what lies between frames is a tag, or zeros between two files that were joined."""
    between = content[at:resumed]
    if between.lstrip(b"\0").startswith(TAG_BEGINNINGS):
        return True
    return read_frame is mp3_frame and not between.strip(b"\0") and _tagged_frames(content, resumed) is not None


def _damage_at_end(rest: bytes) -> int:
    """How many bytes behind the last frame are neither padding nor a tag."""
    return 0 if rest.lstrip(b"\0").startswith(TAG_BEGINNINGS) else len(rest.rstrip(b"\0"))


def _tagged_frames(content: bytes, at: int) -> int | None:
    """How many frames a Xing, Info or VBRI tag in this frame counts; None where it is none, 0 where it counts none."""
    for offset in LENGTH_TAG_OFFSETS:
        if content[at + offset : at + offset + 4] in (b"Xing", b"Info"):
            flags, frames = struct.unpack(">II", content[at + offset + 4 : at + offset + 12].ljust(8, b"\0"))
            return int(frames) if flags & 1 else 0
    if content[at + VBRI_OFFSET : at + VBRI_OFFSET + 4] == b"VBRI":
        return int.from_bytes(content[at + VBRI_OFFSET + 14 : at + VBRI_OFFSET + 18], "big")
    return None
