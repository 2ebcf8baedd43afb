"""A whole file gives its sound, whoever wrote it; one that was cut off or has a hole is refused, never half used."""

import struct
from collections.abc import Callable
from pathlib import Path

import pytest
from numpy.testing import assert_allclose

from speech2face import errors
from speech2face.audio.completeness import MOST_WALKED_BYTES
from speech2face.audio.recording import read_recording
from speech2face.limits import MAX_CONVERSATION_SECONDS
from tests.audio import foreign
from tests.audio.foreign import (
    PLACEHOLDERS,
    RATE,
    SECONDS,
    apev2,
    id3v1,
    id3v2,
    lyrics3v2,
    mp3,
    noise,
    ogg,
    ogg_pages,
    packed,
    set_bytes,
    vbri,
    wav,
    with_hole,
)

CASES = Path(__file__).parents[2] / ".." / "shared" / "cases"


def check_whole(content: bytes, seconds: float = SECONDS) -> None:
    assert_allclose(read_recording(content).seconds, seconds, atol=0.13)


def check_refused(content: bytes, text: str = "cut off|damaged") -> None:
    with pytest.raises(errors.CorruptRecording, match=text):
        read_recording(content)


def case(name: str) -> Path:
    path = CASES / name
    if not path.is_file():
        pytest.skip(f"{name} is not among the shared cases here")
    return path


# --- lengths that were never filled in

STREAMED: dict[str, Callable[[int], bytes]] = {
    "wav data": wav,
    "wav riff": lambda size: wav(None, size),
    "wav both": lambda size: wav(size, size),
    "w64": foreign.w64,
    "rf64": foreign.rf64,
    "aiff frames": lambda size: foreign.aiff(size, None),
    "aiff size": lambda size: foreign.aiff(None, size),
    "aiff both": lambda size: foreign.aiff(size // 2, size),
    "au": foreign.au,
    "caf": foreign.caf,
}


@pytest.mark.parametrize("placeholder", PLACEHOLDERS.values(), ids=PLACEHOLDERS)
@pytest.mark.parametrize("write", STREAMED.values(), ids=STREAMED)
def test_a_length_that_was_never_filled_in_counts_as_none(write: Callable[[int], bytes], placeholder: int) -> None:
    check_whole(write(placeholder))


@pytest.mark.parametrize("write", [foreign.w64, foreign.rf64, foreign.caf], ids=["w64", "rf64", "caf"])
def test_minus_one_in_sixty_four_bits_is_no_length(write: Callable[[int], bytes]) -> None:
    check_whole(write(-1))


def test_a_caf_that_sox_wrote_to_a_pipe_is_read_without_its_second_header() -> None:
    assert_allclose(read_recording(foreign.caf_by_sox()).seconds, SECONDS)


@pytest.mark.parametrize("samples", [0, 2**36 - 1, 2_000_000_000, 32_000], ids=str)
def test_a_flac_of_unknown_impossible_or_too_small_length_is_whole(samples: int) -> None:
    check_whole(foreign.flac(samples))


FRAGMENTED = {"movflags": "frag_keyframe+empty_moov", "frag_duration": "500000"}
CUT_AT_A_COUNTED_BYTE: dict[str, Callable[[], bytes]] = {
    "wav": lambda: wav(),
    "wav of a riff size of 0": lambda: wav(None, 0),
    "adpcm": lambda: packed("wav", "adpcm_ms"),
    "w64": lambda: packed("w64", "pcm_s16le", RATE),
    "rf64": lambda: packed("wav", "pcm_s16le", RATE, options={"rf64": "always"}),
    "aiff": lambda: packed("aiff", "pcm_s16be", RATE),
    "au": lambda: packed("au", "pcm_s16be", RATE),
    "caf": lambda: packed("caf", "pcm_s16be", RATE),
    "caf of alac": lambda: packed("caf", "alac"),
    "avi": lambda: packed("avi", "pcm_s16le"),
    "flac": lambda: packed("flac", "flac", codec_format="s16"),
    "fragmented mp4": lambda: packed("mp4", "aac", options=FRAGMENTED),
    "matroska without a duration": lambda: without_duration(packed("matroska", "pcm_s16le")),
}


def without_duration(matroska: bytes) -> bytes:
    """The same with an empty element in place of the duration (RFC 9559, section 5.1.2.10)."""
    return set_bytes(matroska, matroska.index(b"\x44\x89\x88"), b"\xec\x89\x88")


@pytest.mark.parametrize("write", CUT_AT_A_COUNTED_BYTE.values(), ids=CUT_AT_A_COUNTED_BYTE)
def test_a_recording_of_a_believable_length_is_whole_and_refused_when_it_is_cut(write: Callable[[], bytes]) -> None:
    content = write()
    check_whole(content)
    check_refused(content[: len(content) * 6 // 10])


@pytest.mark.parametrize("duration", [0, 1, 0x7FFF_FFFF, 0xFFFF_FFFF], ids=hex)
def test_durations_of_an_mp4_that_contradict_its_samples_do_not_count(duration: int) -> None:
    content = packed("mp4", "aac")
    for box, offset in ((b"mdhd", 20), (b"mvhd", 20), (b"tkhd", 24)):
        content = set_bytes(content, content.index(box) + offset, struct.pack(">I", duration))
    check_whole(content)


@pytest.mark.parametrize("duration", [0.0, 1e15, float("nan")])
def test_an_impossible_duration_of_a_matroska_file_is_none(duration: float) -> None:
    content = packed("matroska", "pcm_s16le")
    check_whole(set_bytes(content, content.index(b"\x44\x89\x88") + 3, struct.pack(">d", duration)))


@pytest.mark.parametrize("length", [0, 0xFFFF_FFFF], ids=hex)
def test_an_impossible_length_of_an_avi_is_none(length: int) -> None:
    content = packed("avi", "pcm_s16le")
    check_whole(set_bytes(content, content.index(b"auds") + 32, struct.pack("<I", length)))


# --- MP3 and what stands around its sound

AROUND: dict[str, Callable[[bytes], bytes]] = {
    "nothing": lambda sound: sound,
    "ID3v2": lambda sound: id3v2() + sound,
    "ID3v2 with a footer": lambda sound: id3v2(footer=True) + sound,
    "two ID3v2": lambda sound: id3v2() + id3v2(b"x" * 5000) + sound,
    "a cover in ID3v2": lambda sound: id3v2(noise(200_000)) + sound,
    "padding in ID3v2": lambda sound: id3v2(bytes(20_000)) + sound,
    "ID3v1": lambda sound: sound + id3v1(),
    "a cover in APEv2": lambda sound: sound + apev2(noise(40_000)),
    "APEv2 and ID3v1": lambda sound: sound + apev2(noise(40_000)) + id3v1(),
    "Lyrics3v2": lambda sound: sound + lyrics3v2() + id3v1(),
    "zeros at the end": lambda sound: sound + bytes(20_000),
}
TAGGED: dict[str, Callable[[], bytes]] = {
    "counted": mp3,
    "counted by VBRI": lambda: vbri(mp3()),
    "not counted": lambda: mp3(tagged=False),
}


@pytest.mark.parametrize("around", AROUND.values(), ids=AROUND)
@pytest.mark.parametrize("write", TAGGED.values(), ids=TAGGED)
def test_an_mp3_is_whole_whatever_tags_and_padding_stand_around_its_sound(
    write: Callable[[], bytes], around: Callable[[bytes], bytes]
) -> None:
    check_whole(around(write()))


@pytest.mark.parametrize("write", TAGGED.values(), ids=TAGGED)
def test_joined_mp3_files_are_heard_to_the_end_of_the_last(write: Callable[[], bytes]) -> None:
    sound = write()
    check_whole(sound + sound, 2 * SECONDS)
    check_whole((id3v2() + sound + id3v1()) * 2, 2 * SECONDS)


@pytest.mark.parametrize("write", [*TAGGED.values(), lambda: packed("adts", "aac")], ids=[*TAGGED, "adts"])
def test_covers_between_joined_files_are_not_heard(write: Callable[[], bytes]) -> None:
    sound = write()
    covered = (id3v2(noise(1_000_000)) + sound) * 2
    check_whole(covered, 2 * SECONDS)
    plain = (id3v2(bytes(1_000_000)) + sound) * 2
    assert_allclose(read_recording(covered).waveform, read_recording(plain).waveform, atol=0)


APE: dict[str, Callable[[bytes], bytes]] = {
    "header and footer": apev2,
    "a footer alone": lambda item: apev2(item)[32:],
    "and ID3v1": lambda item: apev2(item) + id3v1(),
    "and ID3v2": lambda item: apev2(item) + id3v2(item),
}


@pytest.mark.parametrize("tag", APE.values(), ids=APE)
@pytest.mark.parametrize("write", [*TAGGED.values(), lambda: packed("adts", "aac")], ids=[*TAGGED, "adts"])
def test_what_ape_tags_hold_between_joined_files_is_not_heard(
    write: Callable[[], bytes], tag: Callable[[bytes], bytes]
) -> None:
    sound, frames = write(), (mp3(1.5, tagged=False) + packed("adts", "aac", seconds=1.5)) * 2
    between, plain = sound + tag(frames) + sound, sound + tag(bytes(len(frames))) + sound
    check_whole(between, 2 * SECONDS)
    assert_allclose(read_recording(between).waveform, read_recording(plain).waveform, atol=0)
    check_whole(between + tag(frames), 2 * SECONDS)
    check_whole(apev2(frames) + sound)


@pytest.mark.parametrize("write", list(TAGGED.values())[:2], ids=list(TAGGED)[:2])
def test_an_mp3_that_counts_its_frames_is_refused_when_it_is_cut(write: Callable[[], bytes]) -> None:
    sound = write()
    check_refused(sound[: len(sound) // 2], "states 4")
    check_refused((sound + sound)[: len(sound) * 3 // 2], "states 8")
    check_whole(sound + bytes(4096) + sound, 2 * SECONDS)


def test_a_length_tag_without_a_count_states_nothing() -> None:
    content = mp3()
    tag = max(content.find(b"Xing"), content.find(b"Info"))
    check_whole(set_bytes(content, tag + 7, bytes([content[tag + 7] & 0xFE])))
    for frames in (0, 0xFFFF_FFFF):
        check_whole(set_bytes(content, tag + 8, struct.pack(">I", frames)))


# --- holes

FILLINGS: dict[str, Callable[[int], bytes]] = {
    "zeros": bytes,
    "noise": noise,
    "other noise": lambda size: noise(size, 7),
}
HOLED: dict[str, Callable[[], bytes]] = {
    "mp3": mp3,
    "mp3 without a length": lambda: mp3(tagged=False),
    "adts": lambda: packed("adts", "aac"),
    "ac3": lambda: packed("ac3", "ac3"),
    "amr": lambda: packed("amr", "libopencore_amrnb", 8000),
    "flac": lambda: packed("flac", "flac", codec_format="s16"),
    "flac without a length": lambda: foreign.flac(0),
    "ogg": ogg,
    "ogg of the encoder's pages": lambda: packed("ogg", "libopus"),
    "chained ogg": lambda: ogg() + ogg(2),
    "webm": lambda: packed("webm", "libopus"),
    "webm as browsers write it": lambda: packed("webm", "libopus", options={"live": "1", "cluster_time_limit": "300"}),
    "webm in one cluster": lambda: packed("webm", "libopus", options={"live": "1"}),
    "mp4": lambda: packed("mp4", "aac"),
    "transport stream": lambda: packed("mpegts", "aac"),
    "transport stream with pictures": lambda: packed("mpegts", "aac", video_codec="mpeg2video"),
}


@pytest.mark.parametrize("filling", FILLINGS.values(), ids=FILLINGS)
@pytest.mark.parametrize("write", HOLED.values(), ids=HOLED)
def test_a_hole_in_the_middle_is_refused(write: Callable[[], bytes], filling: Callable[[int], bytes]) -> None:
    content = write()
    assert read_recording(content).seconds > SECONDS - 0.1
    check_refused(with_hole(content, filling))


def test_pages_of_an_ogg_that_are_missing_are_counted_by_their_numbers_and_positions() -> None:
    pages = list(ogg_pages(ogg()))
    assert len(pages) == 2 + SECONDS / 0.2 + 1
    check_refused(b"".join(pages[:6] + pages[12:]), "1.2 s are missing")
    check_refused(b"".join(pages[:2] + pages[8:]), "1.2 s are missing")
    check_whole(b"".join(pages[:6] + pages[7:]), SECONDS - 0.2)  # under half a second is tolerated
    scattered = [bytes(len(page)) if at > 2 and at % 5 == 3 else page for at, page in enumerate(pages)]
    check_refused(b"".join(scattered), "0.8 s are missing")
    check_refused(b"".join(pages[:12]) + bytes(sum(map(len, pages[12:]))))


def test_a_page_whose_checksum_is_wrong_is_missing() -> None:
    content = bytearray(ogg())
    for at in range(200, len(content), 700):
        content[at] ^= 0x55
    check_refused(bytes(content))


def test_what_a_writer_of_ogg_left_out_is_missing_unless_it_is_a_pause_of_silence() -> None:
    check_refused(foreign.ogg_without_packets(60, 120), "1.2 s are missing")
    check_whole(foreign.ogg_without_packets(60, 78), SECONDS - 0.36)  # Opus sends nothing for up to 0.4 s


def test_padding_behind_an_ogg_or_a_browsers_recording_is_no_damage() -> None:
    check_whole(ogg() + bytes(5000))
    check_whole(packed("webm", "libopus", options={"live": "1"}) + bytes(5000))
    check_whole(packed("adts", "aac") + bytes(5000))


@pytest.mark.parametrize("behind", [b"\0", b"\r\n", bytes(100)], ids=["a zero", "a line end", "zeros"])
@pytest.mark.parametrize(("container", "codec"), [("adts", "aac"), ("wv", "wavpack")])
def test_a_few_bytes_behind_the_sound_are_no_damage(container: str, codec: str, behind: bytes) -> None:
    content = packed(container, codec)
    check_whole(content + behind)
    if container == "wv":
        check_refused(content[: len(content) * 2 // 3] + behind)


def test_an_adts_file_with_an_id3_tag_before_every_part_is_whole() -> None:
    check_whole((id3v2() + packed("adts", "aac")) * 3, 3 * SECONDS)


def test_a_stream_that_somebody_tuned_into_is_whole() -> None:
    pages = list(ogg_pages(ogg()))
    late = [foreign.renumbered(page, at) for at, page in enumerate(pages[:2] + pages[8:])]
    check_whole(b"".join(late), SECONDS - 1.2)


def test_pauses_of_a_browsers_recorder_are_no_holes() -> None:
    check_whole(foreign.webm_with_a_pause(), SECONDS)


# --- several recordings in one file

JOINED: dict[str, Callable[[], bytes]] = {
    "ogg": lambda: ogg() + ogg(),
    "ogg of another layout": lambda: ogg() + ogg(2),
    "ogg of another layout again": lambda: ogg(2) + ogg(),
    "wav": lambda: wav() + wav(),
    "aiff": lambda: packed("aiff", "pcm_s16be", RATE) * 2,
    "w64": lambda: packed("w64", "pcm_s16le", RATE) * 2,
    "wav of another layout": lambda: wav() + packed("wav", "pcm_s16le", 44_100, channels=2),
    "mp4": lambda: packed("mp4", "aac") * 2,
    "fragmented mp4": lambda: packed("mp4", "aac", options=FRAGMENTED) * 2,
    "caf": lambda: packed("caf", "pcm_s16be", RATE) * 2,
    "flac": lambda: packed("flac", "flac", codec_format="s16") * 2,
    "matroska": lambda: packed("matroska", "aac") * 2,
    "transport stream": lambda: packed("mpegts", "aac") * 2,
}


@pytest.mark.parametrize("write", JOINED.values(), ids=JOINED)
def test_joined_recordings_are_heard_to_the_end_of_the_last(write: Callable[[], bytes]) -> None:
    check_whole(write(), 2 * SECONDS)


def test_each_of_several_chained_recordings_is_as_loud_as_alone() -> None:
    waveform = read_recording(ogg(2) + ogg()).waveform
    first, second = waveform[: 4 * RATE].std(), waveform[4 * RATE :].std()
    assert_allclose(second, first, rtol=0.35)  # FFmpeg spreads one channel over two at -3 dB each


# --- the shared cases


@pytest.mark.parametrize(
    ("name", "seconds"),
    [
        ("apev2_cover_at_end.mp3", 4.0),
        ("streamed_2000000000.wav", 4.0),
        ("streamed_by_sox.caf", 4.25),
        ("chained_mono_stereo.ogg", 8.0),
    ],
)
def test_the_whole_shared_cases_give_all_their_sound(name: str, seconds: float) -> None:
    assert_allclose(read_recording(case(name)).seconds, seconds, atol=0.13)


def test_the_shared_case_with_a_hole_is_refused() -> None:
    with pytest.raises(errors.CorruptRecording, match=r"2\.0 s are missing inside it"):
        read_recording(case("hole_in_the_middle.opus"))


def test_the_longest_recording_at_the_highest_bit_rate_is_walked() -> None:
    """A hole in it must not pass in silence because the file is large."""
    assert MOST_WALKED_BYTES > MAX_CONVERSATION_SECONDS * 320_000 / 8
