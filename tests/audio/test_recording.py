"""Whatever a recording is packed in, the same sound comes out; what cannot be read is refused by its own error."""

import io
import os
import wave
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from numpy.typing import NDArray

from speech2face import errors
from speech2face.audio.recording import can_encode, is_recording, mix, read_recording
from speech2face.audio.spectrogram import SAMPLE_RATE
from tests.recordings import LAYOUTS, encode, encode_silent_video

RMS_OF_SINE = 0.5 / np.sqrt(2)  # every sine here has amplitude 0.5


def sine(seconds: float, sample_rate: int, channels: int = 1, frequency_hz: float = 220.0) -> NDArray[np.float32]:
    """(channels, samples) of one sine."""
    time = np.arange(round(seconds * sample_rate)) / sample_rate
    return np.tile(0.5 * np.sin(2 * np.pi * frequency_hz * time), (channels, 1)).astype(np.float32)


def wav(channels: NDArray[np.float32], sample_rate: int = 16_000, codec: str = "pcm_s16le") -> bytes:
    return encode(channels, sample_rate, container="wav", codec=codec)


def silent_wav(seconds: int) -> bytes:
    """8 kHz and 8 bit, by the standard library."""
    file = io.BytesIO()
    with wave.open(file, "wb") as writer:
        writer.setparams((1, 1, 8_000, 0, "NONE", ""))
        writer.writeframes(b"\x80" * 8_000 * seconds)
    return file.getvalue()


def rms(waveform: NDArray[np.float32]) -> float:
    return float(np.sqrt(np.mean(np.square(waveform, dtype=np.float64))))


FORMATS = [
    *(
        ("wav", codec, 48_000, {})
        for codec in ("pcm_u8", "pcm_s16le", "pcm_s24le", "pcm_s32le", "pcm_f32le", "pcm_f64le")
    ),
    ("wav", "pcm_mulaw", 8_000, {}),
    ("wav", "pcm_alaw", 8_000, {}),
    ("flac", "flac", 44_100, {"codec_format": "s16"}),
    ("mp3", "libmp3lame", 44_100, {}),
    ("ogg", "libopus", 48_000, {}),
    ("webm", "libopus", 48_000, {}),
    ("ipod", "aac", 44_100, {}),
    ("adts", "aac", 44_100, {}),
    ("aiff", "pcm_s16be", 44_100, {}),
    ("caf", "alac", 44_100, {}),
    ("amr", "libopencore_amrnb", 8_000, {}),  # PyAV 19's FFmpeg decodes AMR and encodes none
    ("3gp", "libopencore_amrnb", 8_000, {}),
    ("mp4", "aac", 48_000, {"video_codec": "mpeg4"}),
    ("matroska", "aac", 48_000, {"video_codec": "mpeg4"}),
    ("avi", "libmp3lame", 48_000, {"video_codec": "mpeg4"}),
    ("mpegts", "aac", 48_000, {"video_codec": "mpeg2video"}),
]


@pytest.mark.parametrize(("container", "codec", "rate", "more"), FORMATS, ids=[f"{f[0]}-{f[1]}" for f in FORMATS])
def test_every_format_gives_the_same_sound(container: str, codec: str, rate: int, more: dict[str, str]) -> None:
    if not can_encode(codec):
        pytest.skip(f"this FFmpeg has no encoder {codec} to make such a recording with")
    channels = 1 if "amr" in codec else 2
    recording = read_recording(encode(sine(2, rate, channels), rate, container=container, codec=codec, **more))  # type: ignore[arg-type]
    assert recording.waveform.dtype == np.float32
    assert recording.waveform.ndim == 1
    assert (recording.sample_rate, recording.channels) == (rate, channels)
    assert recording.seconds == recording.waveform.size / SAMPLE_RATE
    assert_allclose(recording.seconds, 2, atol=0.1)
    middle = recording.waveform[SAMPLE_RATE // 2 : 3 * SAMPLE_RATE // 2]
    assert_allclose(rms(middle), RMS_OF_SINE, rtol=0.25 if "amr" in codec else 0.06)
    assert np.abs(np.fft.rfft(middle)).argmax() == 220  # one second: one bin is one hertz


@settings(max_examples=25)
@given(rate=st.integers(4_000, 200_000), channels=st.sampled_from(sorted(LAYOUTS)), seconds=st.floats(0.3, 1.5))
def test_any_rate_and_number_of_channels_keeps_length_and_level(rate: int, channels: int, seconds: float) -> None:
    recording = read_recording(wav(sine(seconds, rate, channels), rate, "pcm_f32le"))
    assert recording.channels == channels
    assert_allclose(recording.seconds, seconds, atol=0.01)
    assert_allclose(rms(recording.waveform[1600:-1600]), RMS_OF_SINE, rtol=0.05)


def test_a_path_bytes_a_file_and_a_pipe_read_the_same(tmp_path: Path) -> None:
    content = wav(sine(1, 16_000))
    path = tmp_path / "voice.wav"
    path.write_bytes(content)
    expected = read_recording(path)
    assert expected.name == "voice.wav"
    reader, writer = os.pipe()
    os.write(writer, content[:60_000])  # under what a pipe holds without a reader
    os.close(writer)
    file = io.BytesIO(content)
    file.seek(99)  # the whole file is meant, wherever it stands
    with os.fdopen(reader, "rb") as pipe, path.open("rb") as opened:
        for source in (str(path), content, file, opened, pipe):
            assert_allclose(read_recording(source).waveform, expected.waveform)
        assert not opened.closed


def test_the_content_decides_and_not_the_name(tmp_path: Path) -> None:
    path = tmp_path / "really_opus.wav"
    path.write_bytes(encode(sine(1, 48_000), 48_000, container="ogg", codec="libopus"))
    assert read_recording(path).codec == "opus"


@pytest.mark.parametrize(
    "playlist",
    [
        "ffconcat version 1.0\nfile 'voice.wav'\n",
        "#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\nvoice.wav\n#EXT-X-ENDLIST\n",
    ],
    ids=["ffconcat", "m3u8"],
)
def test_a_playlist_does_not_open_a_file_that_nobody_named(
    playlist: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("voice.wav").write_bytes(wav(sine(1, 16_000)))
    Path("playlist.m3u8").write_text(playlist)
    for source in (playlist.encode(), Path("playlist.m3u8")):
        with pytest.raises(errors.NotMedia):
            read_recording(source)


def test_the_first_of_several_audio_streams_is_read() -> None:
    import av

    file = io.BytesIO()
    with av.open(file, "w", format="matroska") as container:
        streams = [container.add_stream("pcm_s16le", rate=16_000, layout="mono") for _ in range(2)]
        for stream, frequency in zip(streams, (220.0, 880.0), strict=True):
            samples = (sine(1, 16_000, 1, frequency) * 32767).astype(np.int16)
            frame = av.AudioFrame.from_ndarray(samples, format="s16", layout="mono")
            frame.sample_rate = 16_000
            container.mux(stream.encode(frame))
    assert np.abs(np.fft.rfft(read_recording(file).waveform)).argmax() == 220


def test_joined_recordings_may_change_rate_and_channels_in_the_middle() -> None:
    parts = [(48_000, 2), (44_100, 1), (32_000, 2)]
    joined = b"".join(
        encode(sine(1, rate, channels), rate, container="mp3", codec="libmp3lame", options={"write_xing": "0"})
        for rate, channels in parts
    )
    recording = read_recording(joined)
    assert recording.channels == 2
    assert_allclose(recording.seconds, 3, atol=0.2)
    for second in range(3):
        middle = recording.waveform[round((second + 0.3) * SAMPLE_RATE) : round((second + 0.8) * SAMPLE_RATE)]
        assert rms(middle) > 0.6 * RMS_OF_SINE  # FFmpeg spreads one channel over two at -3 dB each


# --- channels


def test_a_dead_channel_costs_no_level() -> None:
    sound = sine(1, 16_000, 2)
    sound[1] = 0
    assert_allclose(rms(read_recording(wav(sound)).waveform), RMS_OF_SINE, rtol=0.01)
    sound[1] = 1e-4 * np.random.default_rng(0).standard_normal(16_000)  # hiss is dead too
    assert_allclose(rms(read_recording(wav(sound)).waveform), RMS_OF_SINE, rtol=0.01)


def test_channels_that_would_cancel_are_turned_round() -> None:
    sound = sine(1, 16_000, 2)
    sound[1] *= -1
    assert_allclose(rms(read_recording(wav(sound)).waveform), RMS_OF_SINE, rtol=0.01)


def test_two_speakers_on_two_channels_are_both_heard() -> None:
    sound = np.concatenate([sine(1, 16_000), sine(1, 16_000, 1, 440.0)])
    spectrum = np.abs(np.fft.rfft(read_recording(wav(sound)).waveform))
    assert set(np.argsort(spectrum)[-2:]) == {220, 440}


def test_mixing_worked_out_by_hand() -> None:
    left = np.array([0.4, -0.4, 0.4, -0.4], np.float32)
    assert_allclose(mix(np.stack([left, left / 2])), left * 0.75, rtol=1e-6)
    assert_allclose(mix(np.stack([left, -left / 2])), left * 0.75, rtol=1e-6)
    assert_allclose(mix(np.stack([left + 0.1, 0 * left + 0.3])), left + 0.1, atol=1e-6)  # a dead channel
    assert_allclose(mix(left[None] * 5), left * 2.5)  # beyond full scale: the peak becomes 1
    assert_allclose(mix(np.zeros((2, 4), np.float32)), np.zeros(4))


def test_one_channel_is_read_as_it_was_recorded_direct_current_and_all() -> None:
    sound = sine(1, 16_000) * np.float32(0.5) + np.float32(0.3)
    np.testing.assert_allclose(read_recording(wav(sound)).waveform, sound[0], atol=2e-5)


def test_samples_beyond_full_scale_are_turned_down_and_not_clipped() -> None:
    waveform = read_recording(wav(sine(1, 16_000) * 20, codec="pcm_f32le")).waveform
    assert_allclose(np.abs(waveform).max(), 1, rtol=1e-6)
    assert_allclose(rms(waveform), np.sqrt(0.5), rtol=0.01)


@pytest.mark.filterwarnings("error")
def test_absurdly_large_samples_overflow_nothing() -> None:
    waveform = read_recording(wav(sine(1, 16_000, 2) * np.float32(1e37), codec="pcm_f32le")).waveform
    assert_allclose(np.abs(waveform).max(), 1, rtol=1e-6)


# --- refusals


def test_what_is_not_there_or_may_not_be_read_is_said(tmp_path: Path) -> None:
    with pytest.raises(errors.RecordingNotFound, match="no such file"):
        read_recording(tmp_path / "nothing.wav")
    with pytest.raises(errors.UnreadableRecording, match="folder"):
        read_recording(tmp_path)
    with pytest.raises(errors.UnreadableRecording):
        read_recording("a\0b")


def test_a_file_without_permission_is_unreadable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "secret.wav"
    path.write_bytes(wav(sine(1, 16_000)))

    def refuse(*_: object) -> None:  # the administrator, who may run the tests, may read everything
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("builtins.open", refuse)
    with pytest.raises(errors.UnreadableRecording, match="ermission"):
        read_recording(path)


@pytest.mark.parametrize(
    ("content", "error"),
    [
        (b"", errors.EmptyRecording),
        (b"Dear diary, today nobody spoke.\n" * 50, errors.NotMedia),
        (bytes(5000), errors.NotMedia),
        (b"RIFF\x10\0\0\0WAVE", errors.CorruptRecording),
        (silent_wav(0), errors.EmptyRecording),
        (encode_silent_video(1), errors.NoAudioStream),
    ],
    ids=["empty", "text", "zeros", "riff-head", "no-samples", "silent-video"],
)
def test_what_holds_no_sound_is_refused(content: bytes, error: type[Exception], tmp_path: Path) -> None:
    path = tmp_path / "recording"
    path.write_bytes(content)
    with pytest.raises(error) as caught:
        read_recording(path)
    assert "\n" not in str(caught.value)


def test_media_with_sound_is_told_by_its_content(tmp_path: Path) -> None:
    contents = {
        "whole": (wav(sine(1, 16_000)), True),
        "header only": (silent_wav(0), True),  # reading it says what is wrong
        "damaged": (b"RIFF\x10\0\0\0WAVE", True),
        "text.wav": (b"Dear diary,\n", False),
        "empty.wav": (b"", False),
        "mute.mp4": (encode_silent_video(1), False),
    }
    for name, (content, expected) in contents.items():
        (tmp_path / name).write_bytes(content)
        assert is_recording(tmp_path / name) == expected, name


CUT = [
    ("wav", "pcm_s16le", {}),
    ("flac", "flac", {"codec_format": "s16"}),
    ("mp3", "libmp3lame", {}),
    ("ogg", "libopus", {}),
    ("webm", "libopus", {}),
    ("mp4", "aac", {"video_codec": "mpeg4"}),
    ("matroska", "aac", {"video_codec": "mpeg4"}),
]


@pytest.mark.parametrize(("container", "codec", "more"), CUT, ids=[f[0] for f in CUT])
@pytest.mark.parametrize("share", [0.5, 0.8])
def test_a_recording_cut_off_is_refused_and_not_half_used(
    container: str, codec: str, more: dict[str, str], share: float
) -> None:
    content = encode(sine(4, 48_000), 48_000, container=container, codec=codec, **more)  # type: ignore[arg-type]
    read_recording(content)
    with pytest.raises(errors.CorruptRecording):
        read_recording(content[: int(len(content) * share)])


def test_a_streamed_wav_of_unknown_length_is_whole() -> None:
    content = bytearray(wav(sine(1, 16_000)))
    data = content.index(b"data")
    content[4:8] = content[data + 4 : data + 8] = b"\xff\xff\xff\xff"
    assert_allclose(read_recording(bytes(content)).seconds, 1)


def test_a_damaged_middle_is_refused() -> None:
    content = bytearray(encode(sine(4, 48_000), 48_000, container="flac", codec="flac", codec_format="s16"))
    noise = np.random.default_rng(0).integers(0, 256, len(content) // 2, np.uint8).tobytes()
    content[len(content) // 4 : len(content) // 4 + len(noise)] = noise
    with pytest.raises(errors.CorruptRecording):
        read_recording(bytes(content))


@pytest.mark.parametrize(("every", "refused"), [(1, True), (3, True), (100, False)])
def test_packets_that_cannot_be_decoded_are_refused_beyond_half_a_second(every: int, refused: bool) -> None:
    content = bytearray(encode(sine(4, 48_000), 48_000, container="adts", codec="aac"))  # states no length
    at = number = 0
    while at < len(content):
        length = (content[at + 3] & 3) << 11 | content[at + 4] << 3 | content[at + 5] >> 5  # ISO 13818-7, 6.2
        if number % every == every // 2:
            content[at + 7 : at + length] = b"\xff" * (length - 7)
        at, number = at + length, number + 1
    if refused:
        with pytest.raises(errors.CorruptRecording):
            read_recording(bytes(content))
    else:
        assert_allclose(read_recording(bytes(content)).seconds, 4, atol=0.1)


@pytest.mark.parametrize("rate", [10, 2_000_000_000])
def test_an_impossible_sample_rate_is_refused(rate: int) -> None:
    content = bytearray(wav(sine(1, 16_000)))
    content[24:28] = rate.to_bytes(4, "little")  # the rate's place in a WAV header
    with pytest.raises(errors.CorruptRecording, match="samples a second"):
        read_recording(bytes(content))


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_samples_that_are_not_numbers_are_refused(value: float) -> None:
    sound = sine(1, 16_000)
    sound[0, 7000] = value
    with pytest.raises(errors.CorruptRecording, match="finite"):
        read_recording(wav(sound, codec="pcm_f32le"))


def test_a_recording_over_the_limit_is_refused_by_its_header() -> None:
    with pytest.raises(errors.RecordingTooLong, match="3600 s"):
        read_recording(silent_wav(3600))


def test_a_header_that_lies_does_not_fill_the_memory() -> None:
    content = encode(sine(4, 44_100), 44_100, container="adts", codec="aac")  # states no length at all
    with pytest.raises(errors.RecordingTooLong, match="goes on"):
        read_recording(content, max_seconds=2)


def test_the_limit_itself_is_allowed() -> None:
    assert_allclose(read_recording(wav(sine(2, 16_000)), max_seconds=2).seconds, 2)


def test_an_endless_pipe_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    class Endless(io.RawIOBase):
        def read(self, size: int = -1) -> bytes:
            return bytes(size)

    monkeypatch.setattr("speech2face.audio.recording.MAX_PIPED_BYTES", 2**22)
    with pytest.raises(errors.RecordingTooLong, match="4 MiB"):
        read_recording(Endless())  # type: ignore[arg-type]
