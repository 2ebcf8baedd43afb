"""How long a recording says it is, read from the header's own fields and from nothing else.

FFmpeg mends most of what is missing without a word: it shortens a WAV to the file it finds, and guesses lengths from
the bit rate where none is stated. Programs that write to a pipe put a placeholder where the length should be. So each
field is read here from its own place, and one that cannot be true counts as none.
"""

import math
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from speech2face.audio.byte_source import ByteSource

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


def _chunks(source: ByteSource, at: int, size_format: str) -> Iterator[tuple[bytes, int, int]]:
    """Name, place of the content and stated size of the chunks of RIFF, AIFF and CAF files."""
    length = 4 + struct.calcsize(size_format)
    for _ in range(MOST_CHUNKS):
        head = source.read_at(at, length)
        if len(head) < length:
            return
        size = struct.unpack(size_format, head[4:])[0]
        yield head[:4], at + length, size
        if size < 0:
            return
        at += length + size + (size & 1 if length == 8 else 0)  # chunks of RIFF and AIFF begin at even places


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
    for name, at, size in _chunks(source, 12, "<I"):
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
    at, bytes_a_second = 40, 0.0
    for _ in range(MOST_CHUNKS):
        head = source.read_at(at, 24)
        if len(head) < 24:
            break
        size = int.from_bytes(head[16:], "little", signed=True)  # with the 24 bytes of name and size
        if head[:16] == b"fmt " + W64_TAIL:
            bytes_a_second = _wave_rate(source.read_at(at + 24, 16))
        elif head[:16] == b"data" + W64_TAIL:
            present = source.size - at - 24
            unknown = size <= 24 or is_placeholder(size - 24, present)
            mended = {}
            if unknown and present > 0:
                mended = {16: source.size.to_bytes(8, "little"), at + 16: (present + 24).to_bytes(8, "little")}
            return Header(*_counted(max(0, size - 24), present, bytes_a_second), mended=mended)
        if size < 24:
            break
        at += size + (-size % 8)
    return Header()


def _avi(source: ByteSource) -> Header:
    """The first sound stream's own length; what the file is said to be says nothing of it."""
    lists = [(12, source.size)]
    while lists:
        at, end = lists.pop()
        for name, inside, size in _chunks(source, at, "<I"):
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
    for name, at, size in _chunks(source, 12, ">I"):
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
            if not frames_at or not frame_bytes:
                return Header(None if unknown or not rate else believed(frames / rate), mended=mended)
            if is_placeholder(frames * frame_bytes, present):
                return Header(mended=mended | {frames_at: _big(present // frame_bytes)})
            seconds, there = _counted(frames * frame_bytes, present, rate * frame_bytes)
            return Header(seconds, there, mended=mended)
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
        return Header()
    info = source.read_at(at + 18, 8)  # STREAMINFO from its sample rate on, RFC 9639, section 8.2
    packed = int.from_bytes(info, "big")
    rate, samples = packed >> 44, packed & (2**36 - 1)
    return Header(believed(samples / rate) if rate and samples else None)


# --- Matroska, MP4


def _matroska(source: ByteSource) -> Header:
    number, at, size = _element(source, 0)
    if number != EBML or size is None:
        return Header()
    number, segment, size = _element(source, at + size)
    if number != SEGMENT:
        return Header()
    at, whole = segment, size is None or segment + size <= source.size or is_placeholder(size, source.size - segment)
    for _ in range(MOST_CHUNKS):
        number, inside, size = _element(source, at)
        if number == INFO and size is not None:
            seconds = _matroska_duration(source, inside, inside + size)
            return Header(seconds, cut=seconds is None and not whole)
        if not number or size is None:
            break
        at = inside + size
    return Header(cut=not whole)


def _matroska_duration(source: ByteSource, at: int, end: int) -> float | None:
    scale, duration = 1_000_000, 0.0
    while at < end:
        number, inside, size = _element(source, at)
        if not number or size is None or size > 2**20:
            break
        value = source.read_at(inside, size)
        if number == TIMESTAMP_SCALE:
            scale = int.from_bytes(value, "big")
        elif number == DURATION and size in (4, 8):
            duration = struct.unpack(">f" if size == 4 else ">d", value)[0] if len(value) == size else 0.0
        at = inside + size
    return believed(duration * scale / 1e9)


def _element(source: ByteSource, at: int) -> tuple[int, int, int | None]:
    """Number, place of the content and size of an EBML element, RFC 8794; number 0 for none, size None if unknown."""
    return element(source.read_at(at, 12), at)


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


def _mp4(source: ByteSource) -> Header:
    """Where the file's boxes end: a fragmented film states no length, and FFmpeg reads only the first of two films."""
    at, seen_film, fragmented = 0, False, False
    for _ in range(MOST_CHUNKS):
        head = source.read_at(at, 16)
        if len(head) < 8:
            break
        size, name = int.from_bytes(head[:4], "big"), head[4:8]
        size = int.from_bytes(head[8:], "big") if size == 1 else source.size - at if size == 0 else size
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
    b"\x1aE\xdf\xa3": _matroska,
}
