"""Files as other programs write them: lengths unknown, tags behind the sound, parts joined, pages missing."""

import io
import struct
from collections.abc import Callable, Iterator
from typing import Any

import av
import numpy as np
import pytest
from numpy.typing import NDArray

from tests.recordings import encode

RATE = 16_000
SECONDS = 4.0
PLACEHOLDERS = {
    "0": 0,
    "0xFFFFFFFF": 0xFFFF_FFFF,
    "0x7FFFFFFF": 0x7FFF_FFFF,
    "0x7FFFF000": 0x7FFF_F000,
    "0x80000000": 0x8000_0000,
    "0x40000000 less a header": 0x4000_0000 - 36,
    "2000000000": 2_000_000_000,
    "1000000000 less a header": 1_000_000_000 - 44,
    "4294967195": 0xFFFF_FFFF - 100,
}


def tone(seconds: float = SECONDS, sample_rate: int = RATE, channels: int = 1) -> NDArray[np.float32]:
    """A tone that swells four times a second, (channels, samples): no two frames of it are alike."""
    time = np.arange(round(seconds * sample_rate)) / sample_rate
    swell = 0.3 + 0.2 * np.sin(2 * np.pi * 4 * time)
    return np.tile(swell * np.sin(2 * np.pi * (220 + 20 * time) * time), (channels, 1)).astype(np.float32)


def packed(container: str, codec: str, rate: int = 48_000, seconds: float = SECONDS, **more: object) -> bytes:
    """The tone in a container."""
    channels = int(more.pop("channels", 1))  # type: ignore[call-overload]
    if codec not in av.codecs_available:
        pytest.skip(f"this build of FFmpeg has no encoder {codec}")
    return encode(tone(seconds, rate, channels), rate, container=container, codec=codec, **more)  # type: ignore[arg-type]


def set_bytes(content: bytes, at: int, value: bytes) -> bytes:
    """The content with other bytes at a place."""
    return content[:at] + value + content[at + len(value) :]


# --- lengths that were never filled in


def wav(data_size: int | None = None, riff_size: int | None = None) -> bytes:
    """A WAV whose sizes are those given, else right."""
    content = packed("wav", "pcm_s16le", RATE)
    data = content.index(b"data")
    if data_size is not None:
        content = set_bytes(content, data + 4, struct.pack("<I", data_size))
    return content if riff_size is None else set_bytes(content, 4, struct.pack("<I", riff_size))


def w64(size: int) -> bytes:
    """A W64 whose sizes were never filled in."""
    content = packed("w64", "pcm_s16le", RATE)
    return set_bytes(
        set_bytes(content, 16, struct.pack("<q", size)), content.index(b"data") + 16, struct.pack("<q", size)
    )


def rf64(size: int) -> bytes:
    """An RF64 whose 64-bit sizes were never filled in."""
    content = packed("wav", "pcm_s16le", RATE, options={"rf64": "always"})
    return set_bytes(content, content.index(b"ds64") + 8, struct.pack("<qqq", size, size, size))


def aiff(frames: int | None, size: int | None) -> bytes:
    """An AIFF with this number of frames and this size of the sound chunk."""
    content = packed("aiff", "pcm_s16be", RATE)
    if frames is not None:
        content = set_bytes(content, content.index(b"COMM") + 10, struct.pack(">I", frames))
    if size is not None:
        content = set_bytes(content, 4, struct.pack(">I", size))
        content = set_bytes(content, content.index(b"SSND") + 4, struct.pack(">I", size))
    return content


def au(size: int) -> bytes:
    """A Sun AU of this size."""
    return set_bytes(packed("au", "pcm_s16be", RATE), 8, struct.pack(">I", size))


def caf(size: int) -> bytes:
    """A CAF whose sound chunk has this size."""
    content = packed("caf", "pcm_s16be", RATE)
    return set_bytes(content, content.index(b"data") + 4, struct.pack(">q", size))


def caf_by_sox() -> bytes:
    """A CAF written to a pipe by SoX: a header with an empty sound chunk, then the same header and the sound."""
    content = caf(4)
    start = content.index(b"data") + 16
    return content[:start] + content


def flac(samples: int) -> bytes:
    """A FLAC whose header states so many samples."""
    content = packed("flac", "flac", RATE, codec_format="s16")
    packed_field = int.from_bytes(content[18:26], "big") >> 36 << 36 | samples
    return set_bytes(content, 18, packed_field.to_bytes(8, "big"))


# --- MP3 and its tags


def mp3(seconds: float = SECONDS, *, tagged: bool = True) -> bytes:
    """An MP3 with or without the tag that counts its frames; FFmpeg writes no ID3 tag here."""
    options = {"write_xing": str(int(tagged)), "id3v2_version": "0"}
    return packed("mp3", "libmp3lame", 44_100, seconds, options=options)


def id3v2(content: bytes = bytes(300), *, footer: bool = False) -> bytes:
    """An ID3v2.4 tag around some content."""
    size = bytes(len(content) >> shift & 0x7F for shift in (21, 14, 7, 0))
    flags = b"\x10" if footer else b"\0"
    return b"ID3\x04\0" + flags + size + content + (b"3DI\x04\0" + flags + size if footer else b"")


def apev2(item: bytes) -> bytes:
    """An APEv2 tag with header and footer around one binary item."""
    body = struct.pack("<II", len(item), 2) + b"Cover Art (Front)\0" + item
    footer = b"APETAGEX" + struct.pack("<IIII", 2000, len(body) + 32, 1, 0x8000_0000) + bytes(8)
    return b"APETAGEX" + struct.pack("<IIII", 2000, len(body) + 32, 1, 0xA000_0000) + bytes(8) + body + footer


def lyrics3v2() -> bytes:
    """A Lyrics3v2 block, which stands before an ID3v1 tag."""
    body = b"LYRICSBEGININD0000200LYR00300" + b"la " * 100
    return body + f"{len(body):06d}LYRICS200".encode()


def id3v1() -> bytes:
    """An ID3v1 tag."""
    return b"TAG" + bytes(125)


def vbri(content: bytes) -> bytes:
    """The MP3 with a VBRI tag of the same frame count in place of its Xing or Info tag."""
    at = max(content.find(b"Xing"), content.find(b"Info"))
    frames = content[at + 8 : at + 12]
    start = content.rindex(b"\xff\xfb", 0, at)
    tag = b"VBRI" + struct.pack(">HHH", 1, 0, 0) + struct.pack(">I", len(content)) + frames
    return set_bytes(set_bytes(content, at, bytes(140)), start + 36, tag)


def noise(size: int, seed: int = 0) -> bytes:
    """Bytes without any order."""
    return np.random.default_rng(seed).integers(0, 256, size, np.uint8).tobytes()


# --- holes


def with_hole(content: bytes, filling: Callable[[int], bytes], share: float = 0.2, place: float = 0.4) -> bytes:
    """The content with a part of its middle replaced by a filling of the same size."""
    start, stop = int(len(content) * place), int(len(content) * (place + share))
    return content[:start] + filling(stop - start) + content[stop:]


def ogg_pages(content: bytes) -> Iterator[bytes]:
    """The pages of an Ogg file."""
    at = 0
    while at < len(content):
        segments = content[at + 26]
        size = 27 + segments + sum(content[at + 27 : at + 27 + segments])
        yield content[at : at + size]
        at += size


def ogg(channels: int = 1, seconds: float = SECONDS, *, page_milliseconds: int = 200) -> bytes:
    """An Ogg Opus with short pages."""
    options = {"page_duration": str(page_milliseconds * 1000)}
    return packed("ogg", "libopus", seconds=seconds, channels=channels, options=options)


def _copied_stream(output: Any, template: Any) -> Any:
    """A stream for packets as they are; PyAV 13 has another name for it."""
    if hasattr(output, "add_stream_from_template"):
        return output.add_stream_from_template(template)
    return output.add_stream(template=template)


def ogg_without_packets(first: int, last: int) -> bytes:
    """An Ogg Opus whose writer got no packets from number `first` to `last`: its pages follow on each other."""
    file = io.BytesIO()
    with av.open(io.BytesIO(ogg()), "r") as source, av.open(file, "w", format="ogg") as output:
        stream = _copied_stream(output, source.streams.audio[0])
        for number, packet in enumerate(source.demux(source.streams.audio[0])):
            if packet.size and not first <= number < last:
                packet.stream = stream
                output.mux(packet)
    return file.getvalue()


def renumbered(page: bytes, number: int) -> bytes:
    """The page with another number, and the checksum that belongs to it (RFC 3533, section 6)."""
    page = page[:18] + struct.pack("<I", number) + bytes(4) + page[26:]
    checksum = 0
    for byte in page:
        checksum ^= byte << 24
        for _ in range(8):
            checksum = checksum << 1 ^ 0x04C1_1DB7 if checksum >> 31 else checksum << 1
            checksum &= 0xFFFF_FFFF
    return page[:22] + struct.pack("<I", checksum) + page[26:]


def webm_with_a_pause() -> bytes:
    """A live WebM whose time stamps leap three seconds in the middle, where the recorder was paused."""
    file = io.BytesIO()
    with (
        av.open(io.BytesIO(packed("webm", "libopus")), "r") as source,
        av.open(file, "w", format="webm", options={"live": "1"}) as output,
    ):
        stream = _copied_stream(output, source.streams.audio[0])
        for number, packet in enumerate(source.demux(source.streams.audio[0])):
            if packet.size:
                shift = 3000 if number > 100 else 0
                packet.pts, packet.dts = (packet.pts or 0) + shift, (packet.dts or 0) + shift
                packet.stream = stream
                output.mux(packet)
    return file.getvalue()
