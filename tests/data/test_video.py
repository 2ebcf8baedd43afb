"""Frames of a span: the right ones, at the right time, upright; and what is refused."""

import struct
from pathlib import Path

import numpy as np
import pytest

from speech2face.data import media as media_module
from speech2face.data.media import Rejected, Span, VideoFrames, open_media, spread
from speech2face.face.detect import Picture
from tests.data.made_videos import RATE, garble, truncate, write_video, write_wav

SECONDS = 6.0


def clock(seconds: float) -> Picture:
    """A picture whose grey tells the time: 0 at first, 240 after 6 s; the top left corner is white, others black."""
    picture = np.full((64, 96, 3), round(seconds / SECONDS * 240), np.uint8)
    picture[:32, :32], picture[:32, 64:], picture[32:, :32], picture[32:, 64:] = 255, 0, 0, 0
    return picture


def time_of(picture: Picture) -> float:
    """What the clock shows."""
    height, width = picture.shape[:2]
    return float(picture[height // 2, width // 2 - 10 : width // 2 + 10].mean()) / 240 * SECONDS


@pytest.fixture(scope="module", params=[".mp4", ".webm", ".mkv"])
def video(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_video(tmp_path_factory.mktemp("clock") / f"clock{request.param}", clock, seconds=SECONDS, key_every=25)


def test_key_frames_of_a_span_are_those_inside_it(video: Path) -> None:
    with open_media(str(video)) as media:
        found = VideoFrames(media, Span(1.5, 4.5)).key_frames(9)
    assert [round(seconds, 2) for seconds, _ in found] == [2.0, 3.0, 4.0]
    assert [time_of(picture) for _, picture in found] == pytest.approx([2, 3, 4], abs=0.12)
    assert {picture.shape for _, picture in found} == {(64, 96, 3)}


def test_too_many_key_frames_are_thinned_out_evenly(video: Path) -> None:
    with open_media(str(video)) as media:
        found = VideoFrames(media, Span(0.0, 6.0)).key_frames(3)
    assert [round(seconds, 2) for seconds, _ in found] == [1.0, 3.0, 5.0]


@pytest.mark.parametrize(
    ("count", "most", "wanted"), [(0, 3, []), (2, 3, [0, 1]), (6, 3, [1, 3, 5]), (7, 2, [1, 5]), (5, 1, [2])]
)
def test_things_are_spread_over_the_middles_of_equal_parts(count: int, most: int, wanted: list[int]) -> None:
    assert spread(count, most) == wanted


def test_frames_between_key_frames_are_those_at_the_times_asked_for(video: Path) -> None:
    with open_media(str(video)) as media:
        frames = VideoFrames(media, Span(1.0, 5.0))
        assert frames.times(4) == pytest.approx([1.5, 2.5, 3.5, 4.5])
        found = frames.between([4.52, 1.3])
    assert [seconds for seconds, _ in found] == pytest.approx([1.32, 4.52], abs=1 / RATE)
    assert [time_of(picture) for _, picture in found] == pytest.approx([1.32, 4.52], abs=0.15)


def test_key_frames_and_others_can_be_asked_for_in_any_order(video: Path) -> None:
    with open_media(str(video)) as media:
        frames = VideoFrames(media, Span(1.5, 4.5))
        first, between, again = frames.key_frames(9), frames.between([2.2]), frames.key_frames(9)
    assert len(between) == 1
    for (one, before), (other, after) in zip(first, again, strict=True):
        assert one == other
        np.testing.assert_array_equal(before, after)


def test_a_span_without_an_end_goes_to_the_end_of_the_video(video: Path) -> None:
    with open_media(str(video)) as media:
        frames = VideoFrames(media, Span(3.0))
        assert frames.stop_seconds == pytest.approx(6.0, abs=0.1)
        assert [round(seconds, 2) for seconds, _ in frames.key_frames(9)] == [3.0, 4.0, 5.0]


def test_a_span_beyond_the_end_has_no_pictures(video: Path) -> None:
    with open_media(str(video)) as media:
        frames = VideoFrames(media, Span(8.0, 9.0))
        assert frames.key_frames(9) == []
        assert frames.between([8.5]) == []


def test_an_mp4_opened_without_decoding_gives_the_same_pictures(video: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def pictures() -> list[tuple[float, Picture]]:
        with open_media(str(video)) as media:
            frames = VideoFrames(media, Span(1.0, 5.0))
            return [*frames.key_frames(3), *frames.between([1.3, 4.9])]

    quick = pictures()
    assert len(quick) == 5
    monkeypatch.setattr(media_module, "UNDECODED", {})
    for (one, fast), (other, slow) in zip(quick, pictures(), strict=True):
        assert one == other
        np.testing.assert_array_equal(fast, slow)


def test_an_mp4_that_names_no_stream_is_refused(tmp_path: Path) -> None:
    header = struct.pack(">I4s4sI4s", 20, b"ftyp", b"isom", 0, b"isom")
    (tmp_path / "a.mp4").write_bytes(header + struct.pack(">I4s", 108, b"moov") + _movie_header())
    with pytest.raises(Rejected, match="no_video"), open_media(str(tmp_path / "a.mp4")) as media:
        VideoFrames(media, Span())


def _movie_header() -> bytes:
    """ISO 14496-12, 8.2.2: version 0, one thousand ticks a second, no track."""
    return struct.pack(">I4s", 100, b"mvhd") + struct.pack(">4I", 0, 0, 0, 1000) + bytes(76)


def test_a_sound_file_has_no_pictures(tmp_path: Path) -> None:
    path = write_wav(tmp_path / "a.wav", np.full(16_000, 0.1, np.float32))
    with open_media(str(path)) as media, pytest.raises(Rejected, match="no_video"):
        VideoFrames(media, Span())


def turn_clockwise(path: Path) -> Path:
    """Note in an MP4 that its pictures are to be turned, as a telephone held upright does."""
    content = bytearray(path.read_bytes())
    matrix = content.index(b"tkhd") + 4 + 40  # ISO 14496-12, 8.3.2: version 0
    content[matrix : matrix + 36] = struct.pack(">9i", 0, 65536, 0, -65536, 0, 0, 64 << 16, 0, 1 << 30)
    path.write_bytes(bytes(content))
    return path


def test_a_telephone_held_upright_gives_upright_pictures(tmp_path: Path) -> None:
    path = write_video(tmp_path / "turned.mp4", lambda t: np.rot90(clock(t)).copy(), seconds=0.4)
    with open_media(str(turn_clockwise(path))) as media:
        frames = VideoFrames(media, Span(0.0, 0.4))
        for _, picture in (*frames.key_frames(1), *frames.between([0.2])):
            assert picture.shape == (64, 96, 3)
            assert picture[8, 8].mean() > 200  # white corner
            assert picture[56, 88].mean() < 60


def test_a_webm_cut_off_gives_the_frames_that_are_there(tmp_path: Path) -> None:
    random = np.random.default_rng(0).integers(0, 255, (int(SECONDS) * RATE, 64, 96, 3)).astype(np.uint8)
    path = write_video(tmp_path / "cut.webm", lambda t: random[round(t * RATE)], seconds=SECONDS, key_every=25)
    with open_media(str(truncate(path, 0.5))) as media:
        found = VideoFrames(media, Span(0.0, 6.0)).key_frames(9)
    assert 1 <= len(found) <= 4


@pytest.mark.parametrize("seed", range(6))
def test_a_garbled_video_is_refused_or_gives_pictures_but_never_ends_the_program(seed: int, tmp_path: Path) -> None:
    random = np.random.default_rng(0).integers(0, 255, (75, 64, 96, 3)).astype(np.uint8)
    path = write_video(tmp_path / f"bad{seed}.mkv", lambda t: random[round(t * RATE)], seconds=3.0, key_every=25)
    garble(path, [(0.02, 0.98)] if seed % 2 else [(0.1, 0.4), (0.5, 0.9)], seed)
    found, refused = list[tuple[float, Picture]](), ""
    try:
        with open_media(str(path)) as media:
            frames = VideoFrames(media, Span(0.0, 3.0))
            found = [*frames.key_frames(9), *frames.between(frames.times(3))]
    except Rejected as rejected:
        refused = rejected.reason
    assert all(picture.shape == (64, 96, 3) for _, picture in found)
    assert refused in ("", "unreadable", "no_video")
