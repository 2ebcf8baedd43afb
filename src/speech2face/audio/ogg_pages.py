"""The pages of an Ogg file (RFC 3533): where one stream ends and another begins, and what is missing between them.

FFmpeg passes over what it cannot read and goes on with the next page. Every page says its number and how many samples
have been heard by its end, so what was passed over can be counted.
"""

import struct
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from speech2face.audio.byte_source import ByteSource

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
class _Stream:
    """One sound stream inside a link: how many samples a second it counts, and the most that a packet can hold."""

    rate: int
    most_samples: Samples
    sequence: int
    granule: int = 0
    began: bool = False  # a page with sound has come
    ended: bool = False
    pending: int = 0  # samples of a packet that goes on in the next page
    lost_seconds: float = 0.0
    heard_seconds: float = 0.0
    heard_bytes: int = 0


@dataclass
class OggLink:
    """One of the recordings that an Ogg file chains: its bytes, and what is missing in each of its sound streams."""

    start: int
    stop: int = 0
    streams: dict[int, _Stream] = field(default_factory=dict)

    def lost_seconds(self, number: int) -> float:
        """Sound that is missing in the middle of a sound stream, counted from 1 in the order of the file."""
        streams = list(self.streams.values())
        return streams[min(number, len(streams)) - 1].lost_seconds if streams else 0.0


@dataclass(frozen=True)
class OggPages:
    """What a file's pages say; `cut` if it ends inside of one."""

    links: tuple[OggLink, ...]
    cut: bool


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


def read_pages(source: ByteSource) -> OggPages:
    """Walk through all pages.

    Raises:
        UnreadableRecording: the bytes cannot be read.
    """
    links: list[OggLink] = []
    at, damaged_from, only_first = 0, None, False
    cut = False
    while at < source.size:
        page = _page(source, at)
        if page is None:
            damaged_from = at if damaged_from is None else damaged_from
            following = _find_page(source, at + 1)
            if following is None:
                cut = source.read_at(at, 4) == b"OggS"
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
    if links and not cut and damaged_from is not None:
        _count_lost_end(links[-1], source.size - damaged_from)
    if links:
        links[-1].stop = source.size
    return OggPages(tuple(links), cut)


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
        stream.heard_seconds += max(0.0, min(seconds, most / stream.rate))
        stream.heard_bytes += page.stop - page.start
    stream.began = stream.began or page.granule > 0
    stream.granule = max(page.granule, stream.granule)


def _most_samples(stream: _Stream, page: _Page) -> int:
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


def _opened(page: _Page) -> _Stream | None:
    """A sound stream by its first packet; None for pictures, texts and codecs whose packets cannot be counted."""
    head = page.body
    if head.startswith(b"OpusHead"):
        return _Stream(OPUS_RATE, _opus_samples, page.sequence)
    if head.startswith(b"\x01vorbis") and len(head) >= 29:
        rate, longest = int.from_bytes(head[12:16], "little"), 1 << (head[28] >> 4)
        return _Stream(rate, lambda _: longest // 2, page.sequence) if rate else None
    if head.startswith(b"\x7fFLAC") and len(head) >= 30:
        rate, longest = int.from_bytes(head[27:30], "big") >> 4, int.from_bytes(head[19:21], "big")
        return _Stream(rate, lambda _: longest, page.sequence) if rate else None
    if head.startswith(b"Speex   ") and len(head) >= 68:
        rate, frame, frames = (int.from_bytes(head[at : at + 4], "little") for at in (36, 56, 64))
        return _Stream(rate, lambda _: frame * max(1, frames), page.sequence) if 0 < rate < 2**20 else None
    return None


def _opus_samples(packet: bytes) -> int:
    if not packet or packet.startswith(b"OpusTags"):
        return 0
    count = (1, 2, 2, packet[1] & 63 if len(packet) > 1 else 0)[packet[0] & 3]
    return OPUS_FRAME[packet[0] >> 3] * count


def _count_lost_end(link: OggLink, lost_bytes: int) -> None:
    """Bytes at the end that are no page: padding where the stream had ended, else sound, by what it took so far."""
    for stream in link.streams.values():
        if not stream.ended and stream.heard_bytes:
            stream.lost_seconds += lost_bytes * stream.heard_seconds / stream.heard_bytes
