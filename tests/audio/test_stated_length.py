"""Header fields, Ogg pages and frames worked out by hand."""

import io
import struct

import pytest

from speech2face import errors
from speech2face.audio.completeness import (
    ByteSource,
    Expected,
    adts_frame,
    element,
    id3_bytes,
    is_placeholder,
    mp3_frame,
    read_pages,
    walk_frames,
)
from tests.audio.foreign import id3v2, mp3, renumbered


def source(content: bytes) -> ByteSource:
    return ByteSource(io.BytesIO(content), "recording")


@pytest.mark.parametrize(
    ("stated", "present", "expected"),
    [
        (0, 0, False),  # nothing is stated, nothing is there
        (0, 100, True),
        (100, 100, False),
        (100, 1000, False),
        (2_000_000_000, 3_000_000_000, False),  # all of it is there
        (2_000_000_000, 128_000, True),
        (1_999_999_964, 128_000, True),
        (1_987_654_321, 128_000, False),  # a true size: the file was cut
        (0x3FFF_FFDC, 128_000, True),
        (0x7FFF_FFFF, 128_000, True),
        (0xFFFF_FFFF, 128_000, True),
        (10_000_000, 128_000, False),  # round by accident: five minutes of a telephone
    ],
)
def test_a_size_is_a_placeholder_where_nobody_can_have_counted_it(stated: int, present: int, expected: bool) -> None:
    assert is_placeholder(stated, present) == expected


def test_the_length_of_an_id3_tag_counts_its_footer() -> None:
    assert id3_bytes(id3v2(bytes(300))[:10]) == len(id3v2(bytes(300)))
    assert id3_bytes(id3v2(bytes(300), footer=True)[:10]) == len(id3v2(bytes(300), footer=True))
    assert id3_bytes(b"TAG1234567") == id3_bytes(b"ID3") == 0


def test_an_element_of_matroska_by_hand() -> None:
    assert element(b"\xa3\x85hello", 100) == (0xA3, 102, 5)
    assert element(b"\x1f\x43\xb6\x75\x01\xff\xff\xff\xff\xff\xff\xff", 0) == (0x1F43B675, 12, None)  # unknown size
    assert element(b"\x00\x00\x00\x00", 0)[0] == element(b"", 0)[0] == element(b"\x1f\x43", 0)[0] == 0


@pytest.mark.parametrize(
    ("head", "length", "samples", "rate"),
    [
        ("fffb9000", 417, 1152, 44_100),  # MPEG 1 layer III, 128 kbit/s: 144 * 128000 / 44100
        ("fffb9200", 418, 1152, 44_100),  # padded
        ("fff34000", 104, 576, 22_050),  # MPEG 2 layer III, 32 kbit/s: 72 * 32000 / 22050
        ("fffd8400", 384, 1152, 48_000),  # MPEG 1 layer II, 128 kbit/s: 144 * 128000 / 48000
        ("ffff3000", 104, 384, 44_100),  # MPEG 1 layer I, 96 kbit/s: 12 * 96000 / 44100 is 26 slots of 4 bytes
        ("ffe31800", 72, 576, 8_000),  # MPEG 2.5 layer III, 8 kbit/s: 72 * 8000 / 8000
    ],
)
def test_frames_of_mpeg_audio_by_hand(head: str, length: int, samples: int, rate: int) -> None:
    frame = mp3_frame(bytes.fromhex(head), 0)
    assert frame is not None
    assert (frame.length, frame.samples, frame.sample_rate) == (length, samples, rate)


@pytest.mark.parametrize("head", ["fffbf000", "fffb9c00", "ffeb9000", "fff99000", "00fb9000", "fffb00", "fffb0000"])
def test_what_is_no_frame_of_mpeg_audio(head: str) -> None:
    assert mp3_frame(bytes.fromhex(head), 0) is None


def test_a_frame_of_adts_by_hand() -> None:
    frame = adts_frame(bytes.fromhex("fff14c8017fffc"), 0)  # 48 kHz, 0xbf bytes, one block
    assert frame is not None
    assert (frame.length, frame.samples, frame.sample_rate) == (191, 1024, 48_000)
    assert adts_frame(bytes.fromhex("fff17c8017fffc"), 0) is None  # no such sample rate


def test_frames_are_counted_and_what_lies_between_them_costs_their_mean() -> None:
    sound = mp3(tagged=False)
    frames = walk_frames(source(sound), mp3_frame)
    assert frames.present_seconds is not None
    assert frames.present_seconds == pytest.approx(4.03, abs=0.05)
    assert (frames.lost_seconds, frames.seconds) == (0, None)
    place = 0
    for _ in range(20):
        frame = mp3_frame(sound, place)
        assert frame is not None
        place += frame.length
    holed = walk_frames(source(sound[:place] + bytes(4179) + sound[place:]), mp3_frame)  # ten frames of 128 kbit/s
    assert holed.present_seconds == frames.present_seconds
    assert holed.lost_seconds == pytest.approx(4179 * frames.present_seconds / len(sound), rel=0.02)
    assert walk_frames(source(bytes(5000)), mp3_frame) == Expected()


def page(packet: bytes, granule: int, number: int, flags: int = 0) -> bytes:
    """One page of one packet."""
    head = b"OggS\0" + bytes([flags]) + struct.pack("<qIIIBB", granule, 7, number, 0, 1, len(packet))
    return renumbered(head + packet, number)


SPEEX = b"Speex   1.2".ljust(28, b"\0") + struct.pack("<10I", 1, 80, 8000, 0, 4, 1, 0, 160, 0, 2)
VORBIS = b"\x01vorbis" + struct.pack("<IBIiiiBB", 0, 1, 16_000, 0, 0, 0, 0xB8, 1)
STREAMINFO = struct.pack(">HH", 4096, 4096) + bytes(6) + (16_000 << 44).to_bytes(8, "big")
FLAC = b"\x7fFLAC\x01\0\0\1fLaC\x80\0\0\x22" + STREAMINFO
OPUS = b"OpusHead\x01\x01" + bytes(9)


CODECS = {"speex": (SPEEX, 8000, 320), "vorbis": (VORBIS, 16_000, 1024), "flac": (FLAC, 16_000, 4096)}


@pytest.mark.parametrize(("head", "rate", "samples"), CODECS.values(), ids=CODECS)
def test_every_codec_of_ogg_counts_what_is_missing(head: bytes, rate: int, samples: int) -> None:
    def pages(numbers: list[int]) -> bytes:
        body = [page(b"xx", samples * number, number) for number in numbers]
        return b"".join([page(head, 0, 0, flags=2), *body])

    whole = read_pages(source(pages(list(range(1, 60)))))
    assert [link.lost_seconds(1) for link in whole] == [0]
    holed = read_pages(source(pages([*range(1, 20), *range(40, 60)])))
    assert holed[0].lost_seconds(1) == pytest.approx(20 * samples / rate)


def test_an_ogg_that_ends_inside_a_page_is_cut_and_a_chained_one_has_several_links() -> None:
    one = page(OPUS, 0, 0, flags=2) + page(b"\x08\x01", 960, 1, flags=4)
    with pytest.raises(errors.CorruptRecording, match="middle of a page"):
        read_pages(source(one[:-1]))
    links = read_pages(source(one + one))
    assert [(link.start, link.stop) for link in links] == [(0, len(one)), (len(one), 2 * len(one))]
