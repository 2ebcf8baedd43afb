"""Sound and pictures of one span are of one time, however a media writes its time stamps; and all of it is kept."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from speech2face.data.faces import PrepareOptions, resized
from speech2face.data.media import Clock, Rejected, Span, VideoFrames, open_media, reach_seconds
from speech2face.data.prepare import ShardTask, prepare_shard, read_speech
from speech2face.data.record import Record
from speech2face.face.embedders import describe_embedder
from tests.data.made_streams import RATE, Streamed, chirp, time_heard, time_shown, write_streamed
from tests.data.made_videos import Placed, drawn_face, scene
from tests.voices import made_voice

CASES = Path(__file__).resolve().parents[3] / "shared" / "cases"
WRAP_SECONDS = 2**33 / 90_000  # ISO/IEC 13818-1: 33 bits of a clock of 90 kHz
LONG = (0.0, 12.0)


@dataclass(frozen=True)
class Looked:
    """What was read of a span, and by how many seconds the content is ahead of the media's time."""

    waveform_seconds: float
    sound_ahead: float
    pictures_ahead: list[float]
    key_seconds: list[float]
    stop_seconds: float


def look(path: Path, span: Span, *, sound_begins: float = 0.0) -> Looked:
    """Read sound, key frames and others, as a preparation does."""
    with open_media(str(path)) as media:
        waveform = read_speech(media, span, 6.0)
        frames = VideoFrames(media, span)
        keys, others = frames.key_frames(9), frames.between(frames.times(4))
    at = max(span.start_seconds, sound_begins)
    return Looked(
        waveform_seconds=waveform.size / 16_000,
        sound_ahead=time_heard(waveform) - at,
        pictures_ahead=[time_shown(picture) - seconds for seconds, picture in (*keys, *others)],
        key_seconds=[seconds for seconds, _ in keys],
        stop_seconds=frames.stop_seconds,
    )


def check_together(looked: Looked, seconds: float = 0.2) -> None:
    """Sound and every picture are of one time, to a coarse grey level and an encoder's delay."""
    assert looked.pictures_ahead
    np.testing.assert_allclose(looked.pictures_ahead, looked.sound_ahead, atol=seconds)


@pytest.mark.parametrize("ending", [".ts", ".mpg", ".mkv", ".mp4", ".webm", ".flv"])
@pytest.mark.parametrize(
    "shift_seconds", [0.0, 3600.0, -1.0, WRAP_SECONDS - 4.4], ids=["zero", "an hour", "negative", "wraps"]
)
def test_wherever_time_stamps_begin_sound_and_pictures_are_of_one_time(
    ending: str, shift_seconds: float, tmp_path: Path
) -> None:
    if ending not in (".ts", ".mpg") and shift_seconds > 3600:
        pytest.skip("only these wrap")
    path = write_streamed(tmp_path / f"a{ending}", Streamed(shift_seconds=shift_seconds))
    whole = look(path, Span())
    assert whole.waveform_seconds == 6.0
    assert len(whole.key_seconds) in (3, 4)
    check_together(whole)
    part = look(path, Span(2.5, 6.0))
    assert part.waveform_seconds == 3.5
    check_together(part)


@pytest.mark.parametrize("ending", [".ts", ".mpg", ".mkv", ".mp4", ".flv"])
@pytest.mark.parametrize("later", [0.1, 2.0])
def test_the_only_key_frame_is_found_behind_the_beginning_of_the_sound(
    ending: str, later: float, tmp_path: Path
) -> None:
    path = write_streamed(tmp_path / f"a{ending}", Streamed(pictures=(later, 8.0), key_every=100.0))
    looked = look(path, Span())
    assert looked.key_seconds == pytest.approx([later], abs=0.2)
    check_together(looked)


@pytest.mark.parametrize("ending", [".ts", ".mpg", ".mkv", ".mp4", ".flv"])
@pytest.mark.parametrize("begins", [1.5, 7.0])
def test_sound_that_begins_late_is_taken_from_where_it_begins(ending: str, begins: float, tmp_path: Path) -> None:
    path = write_streamed(tmp_path / f"a{ending}", Streamed(pictures=(0.0, 14.0), sound=(begins, 14.0)))
    looked = look(path, Span(), sound_begins=begins)
    assert looked.waveform_seconds == 6.0
    assert looked.sound_ahead == pytest.approx(0.0, abs=0.2)
    check_together(looked)
    # Of a span that a source names, what sound there is; and none before it begins.
    assert look(path, Span(0.0, begins + 2), sound_begins=begins).waveform_seconds == pytest.approx(2.0, abs=0.1)
    with pytest.raises(Rejected, match="no_audio"):
        look(path, Span(0.0, begins - 1))


@pytest.mark.parametrize("ending", [".ts", ".mkv", ".mp4", ".webm"])
def test_sound_that_ends_before_the_pictures_is_kept_as_far_as_it_goes(ending: str, tmp_path: Path) -> None:
    path = write_streamed(tmp_path / f"a{ending}", Streamed(sound=(0.0, 3.0)))
    assert look(path, Span()).waveform_seconds == pytest.approx(3.0, abs=0.1)


def test_late_sound_does_not_hide_that_a_file_is_cut_off(tmp_path: Path) -> None:
    path = write_streamed(tmp_path / "a.mkv", Streamed(pictures=LONG, sound=(2.0, 12.0)))
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(Rejected, match=r"too_short.* s of sound where 6\.0 s should be"):
        look(path, Span())


@pytest.mark.parametrize("share", [0.05, 0.13, 0.4])
@pytest.mark.parametrize("packet_bytes", [188, 1], ids=["at a packet", "within one"])
def test_a_transport_stream_joined_on_the_way_begins_with_its_first_key_frame(
    share: float, packet_bytes: int, tmp_path: Path
) -> None:
    content = write_streamed(tmp_path / "a.ts", Streamed(pictures=LONG, sound=LONG, key_every=3.0)).read_bytes()
    path = tmp_path / "joined.ts"
    path.write_bytes(content[int(share * len(content)) // packet_bytes * packet_bytes :])
    looked = look(path, Span())
    assert looked.waveform_seconds == 6.0
    assert looked.sound_ahead > 0.3  # the beginning is gone
    check_together(looked)


JOINTS = {  # shifts of the second and the third piece, whose content goes on
    "each from the beginning": (-4.0, -9.0),
    "a thousand seconds on": (1000.0, 2000.0),
    "there and back": (1000.0, -9.0),
    "over the end of the counter": (WRAP_SECONDS - 12.0, 0.0),
}


@pytest.mark.parametrize("joint", JOINTS)
@pytest.mark.parametrize("ending", [".ts", ".mpg"])
def test_joined_segments_follow_on_each_other(joint: str, ending: str, tmp_path: Path) -> None:
    second, third = JOINTS[joint]
    pieces = [
        Streamed(pictures=(0.0, 4.0), sound=(0.0, 4.0)),
        Streamed(pictures=(4.0, 9.0), sound=(4.0, 9.0), shift_seconds=second),
        Streamed(pictures=(9.0, 14.0), sound=(9.0, 14.0), shift_seconds=third),
    ]
    paths = [write_streamed(tmp_path / f"{number}{ending}", piece) for number, piece in enumerate(pieces)]
    joined = tmp_path / f"joined{ending}"
    joined.write_bytes(b"".join(path.read_bytes() for path in paths))
    for span in (Span(0.0, 3.5), Span(5.0, 8.0), Span(10.5, 13.0)):
        looked = look(joined, span)
        assert looked.waveform_seconds == pytest.approx((span.stop_seconds or 0) - span.start_seconds, abs=0.1)
        check_together(looked)
        assert looked.sound_ahead == pytest.approx(0.0, abs=0.6)  # each joint may add some tenths of a second
    whole = look(joined, Span())
    assert whole.waveform_seconds == 6.0
    assert whole.stop_seconds == pytest.approx(14.0, abs=0.6)
    np.testing.assert_allclose(whole.pictures_ahead, 0.0, atol=0.7)
    with open_media(str(joined)) as media:
        over_the_joint = read_speech(media, Span(), 6.0)
    assert time_heard(over_the_joint, 5.0) == pytest.approx(5.0, abs=0.3)


UNSTATED = {
    ".webm": {"live": "1"},
    ".mkv": {"live": "1"},
    ".flv": {"flvflags": "no_duration_filesize"},
    ".mp4": {"movflags": "frag_keyframe+empty_moov+default_base_moof"},
}


@pytest.mark.parametrize("ending", UNSTATED)
def test_without_a_length_in_the_header_a_media_is_read_to_its_end(ending: str, tmp_path: Path) -> None:
    path = write_streamed(tmp_path / f"a{ending}", Streamed(pictures=LONG, sound=LONG, options=UNSTATED[ending]))
    looked = look(path, Span())
    assert looked.stop_seconds == pytest.approx(12.0, abs=0.3)
    assert looked.key_seconds == pytest.approx([0, 2, 4, 6, 8, 10], abs=0.3)
    # Without an edit list, which only the end of a file could bring, an MP4 shows pictures two frames late.
    check_together(looked, 0.35)
    check_together(look(path, Span(5.0, 9.0)), 0.35)


def test_a_gap_in_the_sound_costs_what_is_missing_and_no_more(tmp_path: Path) -> None:
    import av

    path = write_streamed(tmp_path / "a.mkv", Streamed(pictures=LONG, sound=LONG))
    holed = tmp_path / "holed.mkv"
    with av.open(str(path)) as source, av.open(str(holed), "w") as sink:
        streams = {stream.index: sink.add_stream_from_template(stream) for stream in source.streams}
        for packet in source.demux():
            if packet.dts is None:
                continue
            if packet.stream.type == "audio" and 2.0 <= float(packet.dts * packet.time_base) < 3.0:
                continue
            packet.stream = streams[packet.stream.index]
            sink.mux(packet)
    with open_media(str(holed)) as media:
        open_end = read_speech(media, Span(), 6.0)
    with open_media(str(holed)) as media:
        named_end = read_speech(media, Span(0.0, 6.0), 6.0)
    assert open_end.size == 6 * 16_000
    assert time_heard(open_end, 4.0) == pytest.approx(5.0, abs=0.1)
    assert named_end.size == pytest.approx(5 * 16_000, abs=2000)


def test_ordinary_sound_is_cut_to_the_sample(tmp_path: Path) -> None:
    path = write_streamed(tmp_path / "a.mkv", Streamed())
    with open_media(str(path)) as media:
        found = read_speech(media, Span(1.25, 4.0), 6.0)
    wanted = chirp(1.25, 4.0)
    np.testing.assert_allclose(found, wanted - wanted.mean(), atol=1e-3)


@dataclass
class Stamped:
    """A packet as the clock sees it."""

    stream: int
    seconds: float
    duration: int = 40

    def __post_init__(self) -> None:
        self.dts: int | None = round(self.seconds * 1000)
        self.pts: int | None = self.dts
        self.time_base = 1 / 1000
        self.index = self.stream


def told(*stamps: tuple[int, float]) -> list[float]:
    """The clock's seconds of packets given by stream and stamp."""

    class Numbered:
        def __init__(self, index: int) -> None:
            self.index = index

    clock, found = Clock(), []
    for stream, seconds in stamps:
        packet = Stamped(stream, seconds)
        packet.stream = Numbered(stream)  # type: ignore[assignment]
        clock.put_right(packet)  # type: ignore[arg-type]
        assert packet.dts is not None
        found.append(packet.dts / 1000)
    return found


def test_a_clock_leaves_alone_what_goes_on() -> None:
    stamps = [(0, 5.0), (1, 5.02), (0, 5.04), (0, 9.0), (1, 5.06), (0, 40.0), (1, 30.0), (0, 44.0)]
    # The last but two: a picture that stood still, 31 s ahead of its stream; it is far ahead of the sound as well.
    assert told(*stamps[:5]) == [5.0, 5.02, 5.04, 9.0, 5.06]
    still = [(1, t) for t in np.arange(0.0, 60.0, 5.0)]
    assert told((0, 0.0), *still, (0, 58.0))[-1] == 58.0


def test_a_clock_puts_both_streams_into_the_new_part_though_they_jump_apart() -> None:
    # Sound of the first part comes after the first picture of the second, and is not taken for one of it.
    found = told((0, 3.96), (1, 3.96), (0, 0.0), (1, 4.0), (0, 0.04), (1, 0.02), (1, 0.06))
    assert found == [3.96, 3.96, 4.0, 4.0, 4.04, 4.02, 4.06]


def test_packets_without_a_stamp_stay_without_one() -> None:
    clock, packet = Clock(), Stamped(0, 1.0)
    packet.stream = packet  # type: ignore[assignment]
    packet.dts = packet.pts = None
    clock.put_right(packet)  # type: ignore[arg-type]
    assert packet.dts is packet.pts is None


@pytest.mark.parametrize(
    ("name", "streamed"),
    [
        ("sound_first.ts", Streamed(pictures=(0.1, 5.0), sound=(0.0, 5.0), key_every=100.0)),
        ("late.mkv", Streamed(pictures=(0.0, 8.0), sound=(1.5, 8.0))),
        ("late.ts", Streamed(pictures=(0.0, 8.0), sound=(3.0, 8.0))),
        ("wraps.ts", Streamed(pictures=(0.0, 5.0), sound=(0.0, 5.0), shift_seconds=WRAP_SECONDS - 4.0)),
    ],
)
def test_a_preparation_keeps_a_voice_and_a_face_of_each_kind(name: str, streamed: Streamed, tmp_path: Path) -> None:
    still = resized(scene(Placed(drawn_face(), pixels=300)), 0.75)
    path = write_streamed(tmp_path / name, streamed, made_voice(8.0), still[:270, :480])
    assert reasons_of(path, tmp_path / "out") == []


@pytest.mark.parametrize("name", ["hls_segment.ts", "sound_begins_late.mkv"])
def test_a_preparation_keeps_the_shared_cases(name: str, tmp_path: Path) -> None:
    if not (CASES / name).exists():
        pytest.skip("the shared cases are not beside the repository")
    assert reasons_of(CASES / name, tmp_path / "out") == []


def reasons_of(path: Path, out: Path) -> list[tuple[str, str]]:
    record = Record("a", str(path), speaker="a", source="videos", split="train", licence="CC0 1.0", consent="made up")
    result = prepare_shard(ShardTask("train-000000", (record,), str(out), PrepareOptions(), describe_embedder("dlib")))
    assert result.kept + len(result.rejects) == 1
    return [(each.reason, each.detail) for each in result.rejects]


def test_the_reach_of_a_media_is_that_of_its_longest_stream(tmp_path: Path) -> None:
    path = write_streamed(tmp_path / "a.mkv", Streamed(sound=(0.0, 3.0)))
    with open_media(str(path)) as media:
        assert reach_seconds(media) == pytest.approx(8.0, abs=1 / RATE)
