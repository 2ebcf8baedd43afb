"""What a recording should hold, against what is there: one that was cut off, or has a hole, is told from a short one.

A stated length counts only where it was read from its own field (`stated_length.py`), never where FFmpeg guessed it.
Holes show in the numbers of Ogg pages and FLAC frames, in bytes between frames, and in broken elements and packets.
"""

import io
import math
import os
import re
import struct
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, BinaryIO

from speech2face.errors import CorruptRecording, EmptyRecording, UnreadableRecording
from speech2face.limits import MAX_CONVERSATION_SECONDS

if TYPE_CHECKING:
    from av.audio.stream import AudioStream
    from av.container import InputContainer

# --- The bytes of a recording for FFmpeg: what the caller's file does wrong becomes a typed error, never FFmpeg's
# guess. PyAV copies what `read` gives without looking at its length, and an exception inside `seek` fails a file
# that would have been read to its end without that seek. So neither the caller's `read` nor its `seek` is handed to
# PyAV itself.

REFUSED_SEEK = -22  # AVERROR(EINVAL): FFmpeg goes on without what it looked for there


class ByteSource:
    """A stretch of a seekable binary file, from `start` to `stop` (its end where None), that never raises to FFmpeg.

    What went wrong while FFmpeg read is kept, and raised by `check`. `label` is for messages: PyAV would take a `name`
    for the file's, and FFmpeg let its extension weigh in on the format. `mended` are bytes to be read in place of the
    file's, by offset: sizes that were never filled in.
    """

    def __init__(self, file: BinaryIO, label: str, start: int = 0, stop: int | None = None) -> None:
        self.file, self.label, self.start = file, label, start
        self.size = (self._file_size() if stop is None else stop) - start
        self.mended: dict[int, bytes] = {}
        self._position = 0
        self._failure: BaseException | None = None

    def part(self, start: int, stop: int) -> "ByteSource":
        """A stretch of this stretch."""
        return ByteSource(self.file, self.label, self.start + start, self.start + stop)

    def read(self, count: int = -1) -> bytes:
        """For FFmpeg: the next bytes, none at the end or after a failure."""
        try:
            return b"" if self._failure is not None else self._read(count)
        except BaseException as error:  # an interrupt too: Cython's callback would swallow it
            self._failure = error
            return b""

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """For FFmpeg: go to a place; one before the beginning is refused without an exception."""
        target = offset + {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self.size}.get(whence, 0)
        if target < 0:
            return REFUSED_SEEK
        self._position = target
        return target

    def tell(self) -> int:
        """Where the next read begins."""
        return self._position

    def check(self) -> None:
        """Raise what went wrong while FFmpeg was reading.

        Raises:
            UnreadableRecording: the operating system, or the caller's file object, failed.
        """
        if self._failure is None:
            return
        failure, self._failure = self._failure, None
        raise failure

    def read_at(self, offset: int, count: int) -> bytes:
        """Up to `count` bytes from a place on, fewer only at the end; FFmpeg goes on reading where it was.

        Raises:
            UnreadableRecording: the operating system, or the caller's file object, failed.
        """
        before, self._position = self._position, offset
        pieces = []
        try:
            while count > 0 and (piece := self._read(count)):
                pieces.append(piece)
                count -= len(piece)
        finally:
            self._position = before
        return b"".join(pieces)

    def _read(self, count: int) -> bytes:
        left = max(0, self.size - self._position)
        count = left if count < 0 else min(count, left)
        if count == 0:
            return b""
        try:
            self.file.seek(self.start + self._position)
        except Exception as error:
            raise unreadable(self.label, error) from error
        piece = self._mend(read_bytes(self.file, count, self.label))
        self._position += len(piece)
        return piece

    def _mend(self, piece: bytes) -> bytes:
        for offset, better in self.mended.items():
            first, last = max(offset, self._position), min(offset + len(better), self._position + len(piece))
            if first < last:
                at = first - self._position
                piece = piece[:at] + better[first - offset : last - offset] + piece[at + last - first :]
        return piece

    def _file_size(self) -> int:
        try:
            self.file.seek(0, os.SEEK_END)
            return int(self.file.tell())
        except Exception as error:
            raise unreadable(self.label, error) from error


def read_bytes(file: Any, count: int, name: str) -> bytes:
    """The next bytes of anything that says it can be read, at most `count`; none only at its end.

    Raises:
        UnreadableRecording: reading failed, or what came is not bytes.
    """
    try:
        piece = file.read(count)
    except Exception as error:
        raise unreadable(name, error) from error
    if piece is None:
        raise UnreadableRecording(f"{name} does not block and has no bytes ready; give it when it is whole")
    if isinstance(piece, str):
        raise UnreadableRecording(f"{name} is open as text; open it in binary mode ('rb')")
    if not isinstance(piece, bytes | bytearray | memoryview):
        raise UnreadableRecording(f"reading {name} gave {type(piece).__name__}, not bytes; give a binary file")
    piece = bytes(piece)
    if len(piece) > count:
        found = f"{len(piece)} bytes where {count} were asked for"
        raise UnreadableRecording(f"reading {name} gave {found}; give the bytes themselves")
    return piece


def unreadable(name: str, error: Exception) -> UnreadableRecording:
    """What the operating system, or whoever wrote the file object, says went wrong, in one line."""
    if isinstance(error, UnreadableRecording):
        return error
    reason = (isinstance(error, OSError) and error.strerror) or str(error) or type(error).__name__
    return UnreadableRecording(f"cannot read {name}: {' '.join(str(reason).split())}")


def is_rewindable(file: Any, name: str) -> bool:
    """Whether a file can go back and forth; what cannot, such as a pipe, is read once from where it stands.

    Raises:
        UnreadableRecording: it is closed, or is no binary file at all.
    """
    if isinstance(file, io.TextIOBase):
        raise UnreadableRecording(f"{name} is open as text; open it in binary mode ('rb')")
    if not callable(getattr(file, "read", None)):
        raise UnreadableRecording(f"a {type(file).__name__} is no recording; give a path, bytes or a binary file")
    try:
        return bool(hasattr(file, "seekable") and file.seekable())
    except Exception as error:  # a closed file's ValueError, a broken connection
        raise unreadable(name, error) from error


# --- Frames of MP3 and ADTS files, which have nothing around them: how much sound there is, and what lies between.
# FFmpeg passes over bytes that are no frame and says nothing. Every frame states its own length, so whatever else is
# in the file is a tag, padding or damage, and what the damage cost follows from the bytes a second of the rest.

HIGHEST_BYTES_A_SECOND = 320_000 // 8  # of MP3
MOST_WALKED_BYTES = round(1.1 * MAX_CONVERSATION_SECONDS * HIGHEST_BYTES_A_SECOND)  # a tenth for covers and other tags
SYNCHRONISED_FRAMES = 3  # so many in a row are no accident
TAG_BEGINNINGS = (b"ID3", b"TAG", b"APETAGEX", b"LYRICSBEGIN")
AFTER_FRAMES = (b"ID3", b"TAG", b"APE", b"LYR", bytes(3))
APE_BYTES, APE_HEADER = 32, 1 << 29  # of its header or footer, and the flag by which the first is known
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
class MpegFrame:
    """One frame by its header: its length, and how long it sounds."""

    length: int
    samples: int
    sample_rate: int


def mp3_frame(content: bytes, at: int) -> MpegFrame | None:
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
        return MpegFrame((12 * bit_rate // sample_rate + padding) * 4, 384, sample_rate)
    samples = 576 if layer == 3 and version != 3 else 1152
    return MpegFrame(samples // 8 * bit_rate // sample_rate + padding, samples, sample_rate)


def adts_frame(content: bytes, at: int) -> MpegFrame | None:
    """The ADTS frame (ISO 13818-7, section 6.2) that begins there, or None."""
    head = content[at : at + 7]
    if len(head) < 7 or head[0] != 0xFF or head[1] & 0xF6 != 0xF0 or (head[2] >> 2 & 15) >= len(ADTS_SAMPLE_RATES):
        return None
    length = (head[3] & 3) << 11 | head[4] << 3 | head[5] >> 5
    return MpegFrame(length, 1024 * ((head[6] & 3) + 1), ADTS_SAMPLE_RATES[head[2] >> 2 & 15]) if length > 7 else None


def walk_frames(source: ByteSource, read_frame: Callable[[bytes, int], MpegFrame | None]) -> "Expected":
    """What length tags state of all frames, where one counts them, how long the frames sound, and what is missing.

    Nothing is known where there are none, or too many bytes to be one recording.

    Raises:
        UnreadableRecording: the bytes cannot be read.
    """
    if source.size > MOST_WALKED_BYTES:
        return Expected()
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
                rest = content[at:]
                lost_bytes += 0 if rest.lstrip(b"\0").startswith(TAG_BEGINNINGS) else len(rest.rstrip(b"\0"))
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
        return Expected()
    return Expected(believed(stated) if counted else None, seconds, lost_bytes * seconds / frame_bytes)


def _goes_on(content: bytes, at: int, frame: MpegFrame, read_frame: Callable[[bytes, int], MpegFrame | None]) -> bool:
    """Whether a frame is whole: another one, a tag, padding or the end follows it."""
    end = at + frame.length
    if end >= len(content):
        return end == len(content)
    return read_frame(content, end) is not None or content[end : end + 3] in AFTER_FRAMES


def _next_frame(content: bytes, at: int, read_frame: Callable[[bytes, int], MpegFrame | None]) -> int | None:
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


def _is_padding(content: bytes, at: int, resumed: int, read_frame: Callable[[bytes, int], MpegFrame | None]) -> bool:
    """Whether what lies between frames is a tag, or zeros between two files that were joined."""
    between = content[at:resumed]
    if between.lstrip(b"\0").startswith(TAG_BEGINNINGS):
        return True
    return read_frame is mp3_frame and not between.strip(b"\0") and _tagged_frames(content, resumed) is not None


def inner_tags(source: ByteSource) -> "Header":
    """Zeros in the ID3v2 and APE tags between MPEG frames, as where files are joined: FFmpeg skips the first ID3 alone.

    In the picture of another one it would take for a frame what looks like one.

    Raises:
        UnreadableRecording: the bytes cannot be read.
    """
    if source.size > MOST_WALKED_BYTES:
        return Header()
    content, mended = source.read_at(0, source.size), {}
    done = _after_tags(content, 0)
    for match in re.finditer(b"ID3|APETAGEX", content):
        start, stop = _tag_content(content, match.start()) if match.start() >= done else (0, 0)
        if done <= start < stop or start in mended:
            mended[start] = bytes(stop - start)
            done = stop
    return Header(mended=mended)


def _tag_content(content: bytes, at: int) -> tuple[int, int]:
    """Where what the ID3v2 or APE tag holds begins and ends, whose name stands there; an empty stretch where none does.

    An APE tag (version 1 or 2) has its name in a footer behind what it holds, and most often in a header before it.
    """
    if content[at] == ord("I"):
        end = at + id3_bytes(content[at : at + ID3_HEADER_BYTES])
        of_seven_bits = max(content[at + 6 : at + ID3_HEADER_BYTES], default=0x80) < 0x80
        return (at + ID3_HEADER_BYTES, end) if of_seven_bits and _ends_tag(content, end) else (0, 0)
    version, size, _, flags = struct.unpack("<IIII", content[at + 8 : at + 24].ljust(16, b"\0"))
    start, stop = (at + APE_BYTES, at + size) if flags & APE_HEADER else (at + APE_BYTES - size, at)
    follows = content[stop : stop + 8] == b"APETAGEX" or _ends_tag(content, at + APE_BYTES)
    return (start, stop) if version in (1000, 2000) and start >= 0 and follows else (0, 0)


def _ends_tag(content: bytes, at: int) -> bool:
    """Whether a frame, another tag, padding or nothing at all stands where a tag should end."""
    return _begins_frame(content, at) or at == len(content) or content[at : at + 3] in AFTER_FRAMES


def _begins_frame(content: bytes, at: int) -> bool:
    return mp3_frame(content, at) is not None or adts_frame(content, at) is not None


def _tagged_frames(content: bytes, at: int) -> int | None:
    """How many frames a Xing, Info or VBRI tag in this frame counts; None where it is none, 0 where it counts none."""
    for offset in LENGTH_TAG_OFFSETS:
        if content[at + offset : at + offset + 4] in (b"Xing", b"Info"):
            flags, frames = struct.unpack(">II", content[at + offset + 4 : at + offset + 12].ljust(8, b"\0"))
            return int(frames) if flags & 1 else 0
    if content[at + VBRI_OFFSET : at + VBRI_OFFSET + 4] == b"VBRI":
        return int.from_bytes(content[at + VBRI_OFFSET + 14 : at + VBRI_OFFSET + 18], "big")
    return None


# --- The pages of an Ogg file (RFC 3533): where one stream ends and another begins, and what is missing between them.
# FFmpeg passes over what it cannot read and goes on with the next page. Every page says its number and how many
# samples have been counted by its end, so what was passed over can be counted.

HEADER_BYTES = 27  # RFC 3533, section 6
MOST_HEADER_BYTES = HEADER_BYTES + 255
CONTINUED, FIRST, LAST = 1, 2, 4  # flags of a page
SEARCHED_BYTES = 2**16
WRITERS_GAP_SECONDS = 0.5  # recorders of calls leave out silence, up to 0.4 s at a time (Opus DTX); that is no damage
OPUS_RATE = 48_000
# RFC 6716, section 3.1: samples in a frame by the first five bits of a packet.
OPUS_FRAME = [480, 960, 1920, 2880] * 3 + [480, 960] * 2 + [120, 240, 480, 960] * 4
REVERSED_BITS = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))
Samples = Callable[[bytes], int]


@dataclass
class _OggStream:
    """One sound stream inside a link: how many samples a second it counts, and the most that a packet can hold."""

    rate: int
    most_samples: Samples
    sequence: int
    granule: int = 0
    began: bool = False  # a page with sound has come
    ended: bool = False
    pending: int = 0  # samples of a packet that goes on in the next page
    lost_seconds: float = 0.0
    counted_seconds: float = 0.0
    counted_bytes: int = 0


@dataclass
class OggLink:
    """One of the recordings that an Ogg file chains: its bytes, and what is missing in each of its sound streams."""

    start: int
    stop: int = 0
    streams: dict[int, _OggStream] = field(default_factory=dict)

    def lost_seconds(self, number: int) -> float:
        """Sound that is missing in the middle of a sound stream, counted from 1 in the order of the file."""
        streams = list(self.streams.values())
        return streams[min(number, len(streams)) - 1].lost_seconds if streams else 0.0


@dataclass(frozen=True)
class _Page:
    start: int
    stop: int
    flags: int
    granule: int
    serial: int
    sequence: int
    segments: bytes
    body: bytes

    def packets(self) -> Iterator[tuple[bytes, bool]]:
        """The packets, or parts of packets, in the page, each with whether it ends here."""
        at = length = 0
        for segment in self.segments:
            length += segment
            if segment < 255:
                yield self.body[at : at + length], True
                at, length = at + length, 0
        if length:
            yield self.body[at:], False


def read_pages(source: ByteSource) -> list[OggLink]:
    """Walk through all pages, and return the recordings that they chain.

    Raises:
        CorruptRecording: the file ends inside of a page.
        UnreadableRecording: the bytes cannot be read.
    """
    links: list[OggLink] = []
    at, damaged_from, only_first = 0, None, False
    while at < source.size:
        page = _page(source, at)
        if page is None:
            damaged_from = at if damaged_from is None else damaged_from
            following = _find_page(source, at + 1)
            if following is None:
                if source.read_at(at, 4) == b"OggS":
                    raise CorruptRecording(f"{source.label} is cut off in the middle of a page; copy it again")
                break
            at = following
            continue
        if page.flags & FIRST and not only_first:
            links.append(OggLink(page.start))
        only_first = bool(page.flags & FIRST)
        if links:
            _take(links[-1], page, damaged=damaged_from is not None)
            links[-1].stop = page.stop
        at, damaged_from = page.stop, None
    if links:
        links[-1].stop = source.size
        if damaged_from is not None:
            _count_lost_end(links[-1], source.size - damaged_from)
    return links


def _page(source: ByteSource, at: int) -> _Page | None:
    """The page that begins there, None where none does or its checksum is wrong: FFmpeg passes over it too."""
    head = source.read_at(at, MOST_HEADER_BYTES)
    if len(head) < HEADER_BYTES or head[:5] != b"OggS\0":
        return None
    segments = head[HEADER_BYTES : HEADER_BYTES + head[26]]
    length = HEADER_BYTES + head[26] + sum(segments)
    whole = source.read_at(at, length)
    if len(whole) < length or len(segments) < head[26]:
        return None
    flags, granule, serial, sequence, checksum = struct.unpack("<BqIII", head[5:26])
    if _checksum(whole[:22] + bytes(4) + whole[26:]) != checksum:
        return None
    return _Page(at, at + length, flags, granule, serial, sequence, segments, whole[HEADER_BYTES + head[26] :])


def _checksum(page: bytes) -> int:
    """Ogg's CRC is the polynomial of zlib's with the bits of every byte, and of the result, the other way round."""
    reversed_crc = zlib.crc32(page.translate(REVERSED_BITS), 0xFFFF_FFFF) ^ 0xFFFF_FFFF
    return int.from_bytes(reversed_crc.to_bytes(4, "little").translate(REVERSED_BITS), "big")


def _find_page(source: ByteSource, at: int) -> int | None:
    while at < source.size:
        found = source.read_at(at, SEARCHED_BYTES).find(b"OggS")
        if found >= 0:
            return at + found
        at += SEARCHED_BYTES - 3
    return None


def _take(link: OggLink, page: _Page, *, damaged: bool) -> None:
    """Count a page's sound, and what is missing before it."""
    if page.flags & FIRST:
        stream = _opened(page)
        if stream is not None:
            link.streams[page.serial] = stream
        return
    stream = link.streams.get(page.serial)
    if stream is None:
        return
    gap = damaged or page.sequence != (stream.sequence + 1) & 0xFFFF_FFFF
    stream.sequence = page.sequence
    most = _most_samples(stream, page)
    stream.ended = stream.ended or bool(page.flags & LAST)
    if page.granule < 0:  # no packet ends here
        stream.pending = most
        return
    seconds = (page.granule - stream.granule) / stream.rate
    beyond = seconds - most / stream.rate
    # What begins late without a gap is a stream that somebody tuned into.
    if beyond > (0 if gap else WRITERS_GAP_SECONDS) and (stream.began or gap):
        stream.lost_seconds += beyond
    else:
        stream.counted_seconds += max(0.0, min(seconds, most / stream.rate))
        stream.counted_bytes += page.stop - page.start
    stream.began = stream.began or page.granule > 0
    stream.granule = max(page.granule, stream.granule)


def _most_samples(stream: _OggStream, page: _Page) -> int:
    """The most samples that the packets which end in a page can hold; keeps those of one that does not."""
    total, pending, first = 0, stream.pending, bool(page.flags & CONTINUED)
    stream.pending = 0
    for packet, ends in page.packets():
        samples = pending if first else stream.most_samples(packet)
        first = False
        if ends:
            total += samples
        else:
            stream.pending = samples
    return total if page.granule >= 0 else stream.pending


def _opened(page: _Page) -> _OggStream | None:
    """A sound stream by its first packet; None for pictures, texts and codecs whose packets cannot be counted."""
    head = page.body
    if head.startswith(b"OpusHead"):
        return _OggStream(OPUS_RATE, _opus_samples, page.sequence)
    if head.startswith(b"\x01vorbis") and len(head) >= 29:
        rate, longest = int.from_bytes(head[12:16], "little"), 1 << (head[28] >> 4)
        return _OggStream(rate, lambda _: longest // 2, page.sequence) if rate else None
    if head.startswith(b"\x7fFLAC") and len(head) >= 30:
        rate, longest = int.from_bytes(head[27:30], "big") >> 4, int.from_bytes(head[19:21], "big")
        return _OggStream(rate, lambda _: longest, page.sequence) if rate else None
    if head.startswith(b"Speex   ") and len(head) >= 68:
        rate, frame, frames = (int.from_bytes(head[at : at + 4], "little") for at in (36, 56, 64))
        return _OggStream(rate, lambda _: frame * max(1, frames), page.sequence) if 0 < rate < 2**20 else None
    return None


def _opus_samples(packet: bytes) -> int:
    if not packet or packet.startswith(b"OpusTags"):
        return 0
    count = (1, 2, 2, packet[1] & 63 if len(packet) > 1 else 0)[packet[0] & 3]
    return OPUS_FRAME[packet[0] >> 3] * count


def _count_lost_end(link: OggLink, lost_bytes: int) -> None:
    """Bytes at the end that are no page: padding where the stream had ended, else sound, by what it took so far."""
    for stream in link.streams.values():
        if not stream.ended and stream.counted_bytes:
            stream.lost_seconds += lost_bytes * stream.counted_seconds / stream.counted_bytes


# --- How long a recording says it is, read from the header's own fields and from nothing else.
# FFmpeg mends most of what is missing without a word: it shortens a WAV to the file it finds, and guesses lengths
# from the bit rate where none is stated. Programs that write to a pipe put a placeholder where the length should be.
# So each field is read here from its own place, and one that cannot be true counts as none.

LONGEST_SECONDS = 24 * 3600.0  # no recorder goes on for longer in one file: beyond it a length is a placeholder
STREAMED_BYTES = 0x7FFF_0000  # sizes from here on are what GStreamer, SoX, FFmpeg and others write for "unknown"
LEAST_ROUND_BYTES = 100_000_000  # from here on a round size of which the file has a part was made up, not counted
BINARY_STEP, BINARY_ROOM = 2**24, 4096  # 0x40000000 less a header
DECIMAL_STEP, DECIMAL_ROOM = 10**7, 128  # 2000000000 less a header
MOST_CHUNKS = 10_000
PCM_TAGS = frozenset({1, 3, 6, 7, 0xFFFE})  # WAVE_FORMAT: integers, floats, A-law, mu-law, extensible
W64_RIFF = bytes.fromhex("726966662e91cf11a5d628db04c10000")
W64_TAIL = bytes.fromhex("f3acd3118cd100c04f8edb8a")  # of the names "fmt " and "data"
AU_SAMPLE_BYTES = {1: 1, 2: 1, 3: 2, 4: 3, 5: 4, 6: 4, 7: 8, 27: 1}
AIFF_PCM = frozenset({b"NONE", b"twos", b"sowt", b"raw ", b"fl32", b"FL32", b"fl64", b"FL64"})
AIFF_LOGARITHMIC = frozenset({b"ulaw", b"ULAW", b"alaw", b"ALAW"})  # one byte a sample, whatever is stated
EBML, SEGMENT, INFO, TIMESTAMP_SCALE, DURATION = 0x1A45DFA3, 0x18538067, 0x1549A966, 0x2AD7B1, 0x4489  # RFC 9559
ID3_HEADER_BYTES = 10  # ID3v2.4, section 3.1


@dataclass(frozen=True)
class Header:
    """What a header says of its own sound.

    `seconds` is the length it states, None where it states none or one that cannot be true; `present_seconds` how much
    of that is there where bytes tell, else decoding does. `cut` says that the file ends inside of something that it
    says is whole; `fragmented` that its length is spread over the file. `next_part` is the place of another recording
    behind this one. `mended` are sizes for FFmpeg to read in place of placeholders that it would take at their word.
    """

    seconds: float | None = None
    present_seconds: float | None = None
    cut: bool = False
    fragmented: bool = False
    next_part: int | None = None
    mended: dict[int, bytes] = field(default_factory=dict)


def read_header(source: ByteSource) -> Header:
    """What the header states; an empty `Header` for formats that state nothing, and for what is none.

    Raises:
        UnreadableRecording: the bytes cannot be read.
    """
    head = source.read_at(0, 16)
    for beginning, reader in READERS.items():
        if head.startswith(beginning):
            return reader(source)
    if _begins_frame(head, 0):
        return inner_tags(source)
    if head[4:8] in (b"ftyp", b"moov", b"styp", b"wide", b"free", b"mdat", b"skip"):
        return _mp4(source)
    return Header()


def is_placeholder(stated: int, present: int) -> bool:
    """Whether a size, of which `present` bytes are there, was written before it was known."""
    if stated <= present:
        return stated <= 0 < present
    if stated >= STREAMED_BYTES:
        return True
    return stated >= LEAST_ROUND_BYTES and (
        _is_round(stated, BINARY_STEP, BINARY_ROOM) or _is_round(stated, DECIMAL_STEP, DECIMAL_ROOM)
    )


def _is_round(size: int, step: int, room: int) -> bool:
    return min(size % step, -size % step) <= room


def believed(seconds: float) -> float | None:
    """A stated length, where it can be one."""
    return seconds if math.isfinite(seconds) and 0 < seconds <= LONGEST_SECONDS else None


def id3_bytes(head: bytes) -> int:
    """How long the ID3v2 tag that these ten bytes begin is, with its footer; 0 where they begin none."""
    if len(head) < ID3_HEADER_BYTES or head[:3] != b"ID3":
        return 0
    size = sum((byte & 0x7F) << shift for byte, shift in zip(head[6:10], (21, 14, 7, 0), strict=True))
    return ID3_HEADER_BYTES + size + (ID3_HEADER_BYTES if head[5] & 0x10 else 0)


def _chunks(
    source: ByteSource, at: int, size_format: str, *, name_bytes: int = 4, aligned: int = 1, counts_head: bool = False
) -> Iterator[tuple[bytes, int, int]]:
    """Name, place of the content and stated size of the chunks of RIFF, W64, AIFF and CAF files.

    Chunks begin at places of a multiple of `aligned` bytes from the first; `counts_head` where the size that is stated,
    but not the one that is given, includes name and size.
    """
    length = name_bytes + struct.calcsize(size_format)
    for _ in range(MOST_CHUNKS):
        head = source.read_at(at, length)
        if len(head) < length:
            return
        size = struct.unpack(size_format, head[name_bytes:])[0] - (length if counts_head else 0)
        yield head[:name_bytes], at + length, size
        if size < 0:
            return
        at += length + size + (-size % aligned)


def _counted(stated: int, present: int, bytes_a_second: float) -> tuple[float | None, float | None]:
    """Stated and present seconds of sound whose bytes are counted."""
    if bytes_a_second <= 0 or is_placeholder(stated, present):
        return None, None
    there = min(stated, present) / bytes_a_second
    if stated <= present:
        return there, there
    return believed(stated / bytes_a_second), there


# --- WAV, RF64, W64, AVI


def _riff(source: ByteSource) -> Header:
    if source.read_at(8, 4) == b"AVI ":
        return _avi(source)
    wide = source.read_at(0, 4) != b"RIFF"
    bytes_a_second, long_size_at, long_size = 0.0, 0, 0
    for name, at, size in _chunks(source, 12, "<I", aligned=2):
        if name == b"ds64":  # EBU Tech 3306: sizes too large for 32 bits
            long_size_at, long_size = at + 8, int.from_bytes(source.read_at(at + 8, 8), "little", signed=True)
        elif name == b"fmt ":
            bytes_a_second = _wave_rate(source.read_at(at, 16))
        elif name == b"data":
            present = source.size - at
            mended = {}
            if wide and size == 0xFFFF_FFFF:
                size = long_size
                if long_size_at and (size < 0 or is_placeholder(size, present)):
                    mended = {long_size_at: present.to_bytes(8, "little") + bytes(8)}  # and no count of samples
            seconds, there = _counted(size, present, bytes_a_second)
            end = at + size + (size & 1)
            follows = 0 < size < present and source.read_at(end, 4) in (b"RIFF", b"RF64")
            # FFmpeg leaves the bytes a second of ADPCM out: then any missing byte counts.
            cut = bytes_a_second <= 0 and size > present and not is_placeholder(size, present)
            return Header(seconds, there, cut=cut, next_part=end if follows else None, mended=mended)
    return Header()


def _wave_rate(fmt: bytes) -> float:
    """Bytes a second: worked out for plain samples, whose stated rate is often wrong, else as stated."""
    if len(fmt) < 16:
        return 0.0
    tag, channels, rate, stated, _, bits = struct.unpack("<HHIIHH", fmt)
    return rate * channels * ((bits + 7) // 8) if tag in PCM_TAGS else float(stated)


def _w64(source: ByteSource) -> Header:
    if source.read_at(0, 16) != W64_RIFF:
        return Header()
    bytes_a_second = 0.0
    for name, at, size in _chunks(source, 40, "<q", name_bytes=16, aligned=8, counts_head=True):
        if name == b"fmt " + W64_TAIL:
            bytes_a_second = _wave_rate(source.read_at(at, 16))
        elif name == b"data" + W64_TAIL:
            present = source.size - at
            mended = {}
            if (size <= 0 or is_placeholder(size, present)) and present > 0:
                mended = {16: source.size.to_bytes(8, "little"), at - 8: (present + 24).to_bytes(8, "little")}
            end = int.from_bytes(source.read_at(16, 8), "little")
            another = end if end > at and source.read_at(end, 16) == W64_RIFF else None
            return Header(*_counted(max(0, size), present, bytes_a_second), mended=mended, next_part=another)
    return Header()


def _avi(source: ByteSource) -> Header:
    """The first sound stream's own length; what the file is said to be says nothing of it."""
    lists = [(12, source.size)]
    while lists:
        at, end = lists.pop()
        for name, inside, size in _chunks(source, at, "<I", aligned=2):
            if inside > end:
                break
            if name == b"LIST" and source.read_at(inside, 4) in (b"hdrl", b"strl"):
                lists.append((inside + 4, inside + size))
            elif name == b"LIST" and source.read_at(inside, 4) == b"movi":
                break
            elif name == b"strh" and source.read_at(inside, 4) == b"auds":
                scale, rate, _, length = struct.unpack("<IIII", source.read_at(inside + 20, 16).ljust(16, b"\0"))
                return Header(believed(length * scale / rate) if rate else None)
    return Header()


# --- AIFF, AU, CAF, FLAC


def _aiff(source: ByteSource) -> Header:
    frames, rate, frame_bytes, frames_at = 0, 0.0, 0, 0
    for name, at, size in _chunks(source, 12, ">I", aligned=2):
        if name == b"COMM":
            comm = source.read_at(at, 22)
            if len(comm) < 18:
                break
            channels, frames, bits = struct.unpack(">HIH", comm[:8])
            rate, frames_at = _extended(comm[8:18]), at + 2
            kind = comm[18:22] if size >= 22 else b"NONE"
            sample_bytes = 1 if kind in AIFF_LOGARITHMIC else (bits + 7) // 8 if kind in AIFF_PCM else 0
            frame_bytes = channels * sample_bytes
        elif name == b"SSND":
            present = source.size - at - 8  # behind offset and block size
            unknown = is_placeholder(size - 8, present)
            mended = {4: _big(source.size - 8), at - 4: _big(present + 8)} if unknown else {}
            end = 8 + int.from_bytes(source.read_at(4, 4), "big")
            another = end if end > at and source.read_at(end, 4) == b"FORM" else None
            if not frames_at or not frame_bytes:
                seconds = None if unknown or not rate else believed(frames / rate)
                return Header(seconds, mended=mended, next_part=another)
            if is_placeholder(frames * frame_bytes, present):
                return Header(mended=mended | {frames_at: _big(present // frame_bytes)})
            seconds, there = _counted(frames * frame_bytes, present, rate * frame_bytes)
            return Header(seconds, there, mended=mended, next_part=another)
    return Header()


def _big(number: int) -> bytes:
    """A field of 32 bits, or the most that it holds where FFmpeg takes it for signed."""
    return min(number, 2**31 - 1).to_bytes(4, "big")


def _extended(number: bytes) -> float:
    """An 80-bit float as AIFF states its rate."""
    exponent, mantissa = struct.unpack(">HQ", number)
    return math.ldexp(mantissa, (exponent & 0x7FFF) - 16383 - 63) if exponent & 0x7FFF < 16383 + 63 else 0.0


def _au(source: ByteSource) -> Header:
    start, size, encoding, rate, channels = struct.unpack(">IIIII", source.read_at(4, 20).ljust(20, b"\0"))
    present = source.size - start
    mended = {8: b"\xff\xff\xff\xff"} if is_placeholder(size, present) else {}  # the format's own "unknown"
    return Header(*_counted(size, present, rate * channels * AU_SAMPLE_BYTES.get(encoding, 0)), mended=mended)


def _caf(source: ByteSource) -> Header:
    bytes_a_second = rate = 0.0
    data: tuple[int, int] | None = None
    seconds: float | None = None
    end = 8
    for name, at, size in _chunks(source, 8, ">q"):
        if name == b"caff":  # another file behind this one
            break
        end = at + size
        if name == b"desc":
            desc = source.read_at(at, 32).ljust(32, b"\0")
            rate, packet_bytes, packet_frames = struct.unpack(">d8xII", desc[:24])
            bytes_a_second = rate * packet_bytes / packet_frames if packet_frames else 0.0
        elif name == b"pakt":  # how many frames are sound, where packets differ in size
            _, frames = struct.unpack(">qq", source.read_at(at, 16).ljust(16, b"\0"))
            seconds = believed(frames / rate) if rate > 0 else None
        elif name == b"data":
            data = (at + 4, size - 4)  # four bytes count the edits
    if data is None:
        return Header()
    start, stated = data
    present = source.size - start
    again = end if 8 < end < source.size and source.read_at(end, 8) == b"caff\0\1\0\0" else None
    if again is not None and stated <= 0:
        return Header(next_part=again)  # a header alone, and behind it the whole file: written to a pipe by SoX
    if stated <= 0 or is_placeholder(stated, present):
        return Header(seconds, next_part=again)
    if bytes_a_second:
        return Header(*_counted(stated, present, bytes_a_second), next_part=again)
    return Header(seconds, cut=stated > present, next_part=again)


def _flac(source: ByteSource) -> Header:
    at = id3_bytes(source.read_at(0, ID3_HEADER_BYTES))
    if source.read_at(at, 4) != b"fLaC":
        return inner_tags(source)
    info = source.read_at(at + 18, 8)  # STREAMINFO from its sample rate on, RFC 9639, section 8.2
    packed = int.from_bytes(info, "big")
    rate, samples = packed >> 44, packed & (2**36 - 1)
    return Header(believed(samples / rate) if rate and samples else None)


# --- Matroska, MP4


def _matroska(source: ByteSource) -> Header:
    number, at, size = element(source.read_at(0, 12), 0)
    if number != EBML or size is None:
        return Header()
    number, segment, size = element(source.read_at(at + size, 12), at + size)
    if number != SEGMENT:
        return Header()
    whole = size is None or segment + size <= source.size or is_placeholder(size, source.size - segment)
    for number, inside, length in _elements(source, segment, source.size):
        if number == INFO:
            seconds = _matroska_duration(source, inside, inside + length)
            return Header(seconds, cut=seconds is None and not whole)
    return Header(cut=not whole)


def _matroska_duration(source: ByteSource, at: int, end: int) -> float | None:
    scale, duration = 1_000_000, 0.0
    for number, inside, size in _elements(source, at, end):
        if number == TIMESTAMP_SCALE and size <= 8:
            scale = int.from_bytes(source.read_at(inside, size), "big")
        elif number == DURATION and size in (4, 8) and len(value := source.read_at(inside, size)) == size:
            duration = struct.unpack(">f" if size == 4 else ">d", value)[0]
    return believed(duration * scale / 1e9)


def _elements(source: ByteSource, at: int, end: int) -> Iterator[tuple[int, int, int]]:
    """Number, place of the content and size of EBML elements, up to one that is none or of unknown size."""
    for _ in range(MOST_CHUNKS):
        number, inside, size = element(source.read_at(at, 12), at)
        if at >= end or not number or size is None:
            return
        yield number, inside, size
        at = inside + size


def element(head: bytes, at: int) -> tuple[int, int, int | None]:
    """Number, place of the content and size of the EBML element whose first bytes these are, RFC 8794, section 4.

    The number is 0 where there is none, the size None where the writer did not know it.
    """
    if not head or not head[0] & 0xF0:
        return 0, at, 0
    id_bytes = 9 - head[0].bit_length()
    if len(head) <= id_bytes or not head[id_bytes]:
        return 0, at, 0
    size_bytes = 9 - head[id_bytes].bit_length()
    raw = head[id_bytes : id_bytes + size_bytes]
    if len(raw) < size_bytes:
        return 0, at, 0
    mask = (1 << 7 * size_bytes) - 1
    size = int.from_bytes(raw, "big") & mask
    return int.from_bytes(head[:id_bytes], "big"), at + id_bytes + size_bytes, None if size == mask else size


# ISO 14496-12: boxes that hold the boxes that count samples, and those. FFmpeg makes an entry of each sample that is
# stated, before it looks whether there are any bytes of it: 2 GB of a file of 32 kB.
SAMPLE_HOLDERS = frozenset({b"moov", b"trak", b"mdia", b"minf", b"stbl", b"moof", b"traf"})
COUNT_OFFSETS = {b"stsz": 8, b"stz2": 8, b"trun": 4}  # of the number of samples in the boxes that state it
MOST_BOXES = 100_000  # that are looked at


def _check_samples(source: ByteSource) -> None:
    """Refuse a film that states more samples than it has bytes.

    Raises:
        CorruptRecording: it does.
    """
    stated, waiting = 0, [(0, source.size)]
    for _ in range(MOST_BOXES):
        while waiting and waiting[-1][1] - waiting[-1][0] < 8:
            waiting.pop()
        if not waiting:
            break
        at, end = waiting.pop()
        name, inside, size = _box(source, at, end)
        if at + size < inside:
            continue
        waiting.append((at + size, end))
        if name in SAMPLE_HOLDERS:
            waiting.append((inside, min(at + size, end)))
        elif name in COUNT_OFFSETS:
            stated += int.from_bytes(source.read_at(inside + COUNT_OFFSETS[name], 4))
    if stated > source.size:
        raise CorruptRecording(f"{source.label} states {stated} samples in {source.size} bytes; export it again")


def _box(source: ByteSource, at: int, end: int) -> tuple[bytes, int, int]:
    """Name, place of the content and size of the box that begins there; its size is 0 where there is none."""
    head = source.read_at(at, 16)
    size, inside = int.from_bytes(head[:4]), at + 8
    if size == 1:
        size, inside = int.from_bytes(head[8:]), at + 16
    return head[4:8], inside, end - at if size == 0 and len(head) >= 8 else size


def _mp4(source: ByteSource) -> Header:
    """Where the file's boxes end: a fragmented film states no length, and FFmpeg reads only the first of two films."""
    _check_samples(source)
    at, seen_film, fragmented = 0, False, False
    for _ in range(MOST_CHUNKS):
        if source.size - at < 8:
            break
        name, _, size = _box(source, at, source.size)
        if name == b"ftyp" and seen_film:
            return Header(fragmented=fragmented, next_part=at)
        seen_film, fragmented = seen_film or name == b"moov", fragmented or name == b"moof"
        if size < 8 or at + size > source.size:
            return Header(fragmented=fragmented, cut=fragmented and size >= 8)
        at += size
    return Header(fragmented=fragmented)


Reader = Callable[[ByteSource], Header]
READERS: dict[bytes, Reader] = {
    b"RIFF": _riff,
    b"RF64": _riff,
    b"BW64": _riff,
    b"riff": _w64,
    b"FORM": _aiff,
    b".snd": _au,
    b"caff": _caf,
    b"fLaC": _flac,
    b"ID3": _flac,
    b"APETAGEX": inner_tags,
    b"\x1aE\xdf\xa3": _matroska,
}


MOST_PARTS = 1000  # recordings joined in one file: a day of internet radio, where every title begins one
# Demuxers of frames with nothing around them.
WALKED_DEMUXERS = {"mp3": mp3_frame, "aac": adts_frame}
# Demuxers that read a length from its own field or give none; others fall back on the bit rate.
READING_DEMUXERS = frozenset({"mov", "tta", "wv", "ape"})


@dataclass(frozen=True)
class RecordingPart:
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


def find_parts(source: ByteSource) -> list[RecordingPart]:
    """All the recordings of a file, in order.

    Raises:
        EmptyRecording: no bytes.
        CorruptRecording: the file ends in the middle of a page, a box or a cluster that should be whole.
        UnreadableRecording: it cannot be read.
    """
    if source.size == 0:
        raise EmptyRecording(f"{source.label} is empty: 0 bytes")
    if source.read_at(0, 4) == b"OggS":
        return _ogg_parts(source)
    parts = [_part(source)]
    while (place := parts[-1].header.next_part) is not None and len(parts) < MOST_PARTS:
        last = parts[-1].source
        whole = last.part(0, place)
        whole.mended = last.mended
        parts[-1] = RecordingPart(whole, parts[-1].header)
        parts.append(_part(last.part(place, last.size)))
    return parts


def _part(source: ByteSource) -> RecordingPart:
    header = read_header(source)
    if header.cut:
        raise CorruptRecording(f"{source.label} is cut off: it ends before its own structure does; copy it again")
    source.mended = header.mended
    return RecordingPart(source, header)


def _ogg_parts(source: ByteSource) -> list[RecordingPart]:
    links = read_pages(source)
    if len(links) <= 1 or len(links) > MOST_PARTS:  # FFmpeg reads the parts one after the other
        return [RecordingPart(source, Header(), *links[:1])]
    return [RecordingPart(source.part(link.start, link.stop), Header(), link) for link in links]


def expected(container: "InputContainer", stream: "AudioStream", part: RecordingPart, track: int) -> Expected:
    """What the `track`-th sound stream of a part, from 1, should hold.

    Raises:
        UnreadableRecording: it cannot be read.
    """
    if part.pages is not None:
        return Expected(lost_seconds=part.pages.lost_seconds(track))
    kind = container.format.name
    if kind in WALKED_DEMUXERS:
        return walk_frames(part.source, WALKED_DEMUXERS[kind])
    if part.header.seconds is None and not part.header.fragmented and READING_DEMUXERS & set(kind.split(",")):
        ticks, tick = stream.duration, stream.time_base
        return Expected(None if ticks is None or tick is None else believed(float(ticks * tick)))
    return Expected(part.header.seconds, part.header.present_seconds)


def declares_for_all_streams(container: "InputContainer") -> bool:
    """Whether the stated length is that of the longest stream: Matroska and WebM know no other."""
    return "matroska" in container.format.name


def hole_seconds(container: "InputContainer", part: RecordingPart, gap_seconds: float) -> float:
    """How much of what the time stamps leap over is a hole in the file, and not the recorder's own pause."""
    kind = container.format.name
    damaged = kind == "flac"  # every frame has its number
    if "matroska" in kind:
        damaged = _matroska_is_damaged(part.source)
    elif kind == "mpegts":
        damaged = _transport_is_damaged(part.source)
    return gap_seconds if damaged else 0.0


def declared_seconds(container: "InputContainer", stream: "AudioStream", file: BinaryIO) -> float | None:
    """The length that the file's own fields state, in seconds, or None where they state none."""
    source = ByteSource(file, "recording")
    return expected(container, stream, RecordingPart(source, read_header(source)), 1).seconds


# --- Whether a jump in the time stamps is a pause of the recorder or a hole in the file.
# Recorders leave out what is silent, and pause. FFmpeg passes over damage until it knows where it is again. Both look
# alike from outside; inside, Matroska is made of elements and transport streams are made of numbered packets, and
# only damage breaks these.

BLOCK_BYTES = 2**18
LEAST_ABSURD_BYTES = 2**14
CLUSTER = 0x1F43B675
# RFC 9559: elements to look into, those beside a cluster, and those inside of it.
OPENED = frozenset({SEGMENT, CLUSTER})
TOP = frozenset({EBML, 0x114D9B74, 0x1549A966, 0x1654AE6B, 0x1C53BB6B, 0x1043A770, 0x1941A469, 0x1254C367})
INSIDE = frozenset({0xE7, 0x5854, 0xA7, 0xAB, 0xA3, 0xA0, 0xAF, 0xEC, 0xBF})
TS_PACKET_BYTES, TS_SYNC = 188, 0x47  # ISO 13818-1, section 2.4.3


def _matroska_is_damaged(source: ByteSource) -> bool:
    window, window_at, at, largest = b"", 0, 0, LEAST_ABSURD_BYTES
    while at < source.size:
        if not window_at <= at <= window_at + len(window) - 12:
            window, window_at = source.read_at(at, BLOCK_BYTES), at
        number, inside, size = element(window[at - window_at : at - window_at + 12], at)
        if number in OPENED:
            at = inside
        elif number in TOP | INSIDE and size is not None:
            if inside + size > source.size and size > 4 * largest:
                return True  # no last element that was cut off, but one that is none
            at, largest = inside + size, max(largest, size)
        else:
            return any(source.read_at(at, BLOCK_BYTES))  # zeros to the end are padding
    return False


def _transport_is_damaged(source: ByteSource) -> bool:
    """Whether a packet is missing or is none: all packets of one kind count up to 15 and begin again."""
    start = source.read_at(0, 2 * TS_PACKET_BYTES).find(bytes([TS_SYNC]))
    counters: dict[int, int] = {}
    at = max(0, start)
    while at < source.size:
        block = source.read_at(at, TS_PACKET_BYTES * 1024)
        for place in range(0, len(block) - TS_PACKET_BYTES + 1, TS_PACKET_BYTES):
            sync, high, low, flags = block[place : place + 4]
            pid, count, has_payload = (high & 0x1F) << 8 | low, flags & 15, flags & 0x10
            announced = flags & 0x20 and block[place + 4] and block[place + 5] & 0x80  # a break that the writer states
            if sync != TS_SYNC or high & 0x80:
                return True
            if has_payload and pid != 0x1FFF:
                if pid in counters and count not in (counters[pid], (counters[pid] + 1) & 15) and not announced:
                    return True
                counters[pid] = count
        at += len(block)
    return False
