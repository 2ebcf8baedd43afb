"""Speech of a span: as many samples as asked for, from the right place, in every container; and what is refused."""

from pathlib import Path

import numpy as np
import pytest

from speech2face.audio.spectrogram import SAMPLE_RATE, FloatArray
from speech2face.data.faces import PrepareOptions
from speech2face.data.media import Rejected, Span, open_media, read_picture
from speech2face.data.prepare import ClipMaker, Stopwatch, check_speech, read_speech
from speech2face.data.record import Record
from tests.data.made_videos import garble, truncate, write_video, write_wav
from tests.voices import made_voice

TONE_HZ = 200.0  # at second 0, and so much more each second


def chirp(seconds: float) -> FloatArray:
    """A tone that rises by 100 Hz a second: its pitch tells the time."""
    time = np.arange(round(seconds * SAMPLE_RATE)) / SAMPLE_RATE
    return np.asarray(0.5 * np.sin(2 * np.pi * (TONE_HZ * time + 50 * time**2)), np.float32)


def second_heard(waveform: FloatArray) -> float:
    """When a piece of the chirp begins, from its first half second."""
    piece = waveform[: SAMPLE_RATE // 2] * np.hanning(SAMPLE_RATE // 2)
    peak = float(np.argmax(np.abs(np.fft.rfft(piece, 16 * piece.size)))) / (16 * 0.5)
    return (peak - TONE_HZ) / 100 - 0.25


def speech_of(path: Path, span: Span, seconds: float = 6.0) -> FloatArray:
    with open_media(str(path)) as media:
        return read_speech(media, span, seconds)


@pytest.mark.parametrize("name", ["sound.wav", "sound.mp4", "sound.webm", "sound.mkv"])
def test_a_span_begins_where_it_should_in_every_container(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    if path.suffix == ".wav":
        write_wav(path, chirp(9.0))
    else:
        write_video(path, None, seconds=0, waveform=chirp(9.0))
    for start, stop, seconds in ((0.0, None, 6.0), (2.5, 5.0, 2.5), (4.2, 9.0, 3.0)):
        found = speech_of(path, Span(start, stop), seconds)
        assert found.dtype == np.float32
        assert found.size == round(seconds * SAMPLE_RATE)
        assert second_heard(found) == pytest.approx(start, abs=0.03)


def test_a_wav_is_read_to_the_sample(tmp_path: Path) -> None:
    waveform = np.asarray(np.random.default_rng(0).uniform(-0.4, 0.4, 5 * SAMPLE_RATE), np.float32)
    found = speech_of(write_wav(tmp_path / "a.wav", waveform), Span(1.25, 3.0))
    np.testing.assert_allclose(found, waveform[20_000:48_000], atol=1e-4)


def test_what_is_shorter_stays_as_short_as_it_is(tmp_path: Path) -> None:
    path = write_wav(tmp_path / "short.wav", chirp(2.0))
    assert speech_of(path, Span()).size == 2 * SAMPLE_RATE


@pytest.mark.parametrize(
    ("reason", "start", "stop"),
    [("too_short", 1.0, 6.0), ("no_audio", 5.0, 8.0), ("no_audio", 4.0, None)],
)
def test_a_span_beyond_the_end_is_refused(reason: str, start: float, stop: float | None, tmp_path: Path) -> None:
    path = write_wav(tmp_path / "short.wav", chirp(3.0))
    with pytest.raises(Rejected) as caught:
        speech_of(path, Span(start, stop))
    assert caught.value.reason == reason


def test_a_wav_cut_off_by_a_broken_copy_is_refused_only_if_its_beginning_is_not_whole(tmp_path: Path) -> None:
    long = truncate(write_wav(tmp_path / "long.wav", chirp(20.0)), 0.5)
    assert speech_of(long, Span()).size == 6 * SAMPLE_RATE
    short = truncate(write_wav(tmp_path / "short.wav", chirp(6.0)), 0.5)
    with pytest.raises(Rejected, match=r"too_short.* 3\.0 s of sound where 6\.0 s should be"):
        speech_of(short, Span())


def test_a_video_without_sound_is_refused(tmp_path: Path) -> None:
    path = write_video(tmp_path / "mute.mp4", lambda t: np.zeros((64, 64, 3), np.uint8), seconds=0.4)
    with pytest.raises(Rejected, match="no_audio"):
        speech_of(path, Span())


def test_a_zero_length_recording_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Rejected, match="no_audio"):
        speech_of(write_wav(tmp_path / "zero.wav", np.zeros(0, np.float32)), Span())


@pytest.mark.parametrize(("content", "reason"), [(b"", "unreadable"), (b"no media at all" * 99, "unreadable")])
def test_files_that_are_no_media_are_refused(content: bytes, reason: str, tmp_path: Path) -> None:
    path = tmp_path / "odd.mp4"
    path.write_bytes(content)
    with pytest.raises(Rejected, match=reason), open_media(str(path)):
        pass


def test_a_garbled_video_is_refused_and_does_not_end_the_program(tmp_path: Path) -> None:
    path = write_video(tmp_path / "bad.mkv", None, seconds=0, waveform=chirp(8.0), codecs=("mpeg4", "aac"))
    garble(path, [(0.1, 0.95)])
    with pytest.raises(Rejected) as caught:
        speech_of(path, Span())
    assert caught.value.reason in ("unreadable", "too_short", "no_audio")


def test_an_mp4_without_its_end_is_refused(tmp_path: Path) -> None:
    path = truncate(write_video(tmp_path / "cut.mp4", None, seconds=0, waveform=chirp(8.0)), 0.6)
    with pytest.raises(Rejected, match="unreadable"):
        speech_of(path, Span())


def test_what_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(Rejected, match=r"no_media: there is no .*gone\.wav"), open_media(str(tmp_path / "gone.wav")):
        pass
    with pytest.raises(Rejected, match=r"no_photograph: there is no .*gone\.jpg"):
        read_picture(str(tmp_path / "gone.jpg"))
    with pytest.raises(Rejected, match=r"unreadable.*folder"), open_media(str(tmp_path)):
        pass


def test_a_playlist_opens_nothing_else(tmp_path: Path) -> None:
    write_wav(tmp_path / "secret.wav", chirp(3.0))
    playlist = tmp_path / "list.m3u8"
    playlist.write_text(f"#EXTM3U\n#EXT-X-TARGETDURATION:3\n#EXTINF:3,\n{tmp_path / 'secret.wav'}\n#EXT-X-ENDLIST\n")
    with pytest.raises(Rejected), open_media(str(playlist)) as media:
        read_speech(media, Span(), 6.0)


def test_sound_behind_a_url_is_the_same(tmp_path: Path) -> None:
    pytest.importorskip("fsspec", reason="addresses are opened by fsspec; install the extra `train`")
    import fsspec

    path = write_video(tmp_path / "sound.mp4", None, seconds=0, waveform=chirp(5.0))
    with fsspec.open("memory://speech-test/sound.mp4", "wb") as file:
        file.write(path.read_bytes())
    with open_media("memory://speech-test/sound.mp4") as media:
        np.testing.assert_array_equal(read_speech(media, Span(1.0), 3.0), speech_of(path, Span(1.0), 3.0))
    with pytest.raises(Rejected, match="no_media"), open_media("memory://speech-test/gone.mp4"):
        pass
    with pytest.raises(Rejected, match="unreadable"), open_media("nosuchscheme://there/gone.mp4"):
        pass


def two_tracks(path: Path, first: FloatArray, second: FloatArray) -> Path:
    """A Matroska file with two sound tracks, as screen recorders write them."""
    import av

    with av.open(str(path), "w") as sink:
        streams = [sink.add_stream("pcm_s16le", rate=SAMPLE_RATE, layout="mono") for _ in range(2)]
        for stream, waveform in zip(streams, (first, second), strict=True):
            samples = (np.asarray(waveform) * 32767).astype(np.int16)[None]
            frame = av.AudioFrame.from_ndarray(samples, format="s16", layout="mono")
            frame.sample_rate = SAMPLE_RATE
            sink.mux([*stream.encode(frame), *stream.encode(None)])
    return path


def test_of_two_tracks_the_one_in_which_somebody_speaks_becomes_the_clip(tmp_path: Path) -> None:
    voice, silence = made_voice(3.0), np.zeros(3 * SAMPLE_RATE, np.float32)
    maker = ClipMaker(PrepareOptions(want="recording"), None)
    for name, tracks in (("second.mkv", (silence, voice)), ("first.mkv", (voice, chirp(3.0)))):
        path = two_tracks(tmp_path / name, *tracks)
        clip = maker.make(Record("a", str(path), speaker="a", source="videos", split="train"), Stopwatch()).clip
        assert clip.waveform is not None
        found = np.asarray(clip.waveform, np.float32)
        assert np.corrcoef(found, voice[: found.size])[0, 1] > 0.99
    path = two_tracks(tmp_path / "none.mkv", silence, np.zeros(3 * SAMPLE_RATE, np.float32))
    with pytest.raises(Rejected, match="silent"):
        maker.make(Record("a", str(path), speaker="a", source="videos", split="train"), Stopwatch())


def test_silence_and_a_lone_word_are_no_speech() -> None:
    with pytest.raises(Rejected, match="silent: the loudness is -180 dBFS"):
        check_speech(np.zeros(SAMPLE_RATE, np.float32), 1.0)
    word = np.concatenate([np.zeros(2 * SAMPLE_RATE, np.float32), made_voice(0.4), np.zeros(SAMPLE_RATE, np.float32)])
    with pytest.raises(Rejected, match=r"no_speech: 0\.\d s of speech in 3\.4 s"):
        check_speech(word, 1.0)
    check_speech(word, 0.0)
    check_speech(made_voice(3.0), 1.0)
