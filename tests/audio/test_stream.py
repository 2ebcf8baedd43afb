from fractions import Fraction

import av
import numpy as np
import pytest

from speech2face.audio.recording import StreamResampler, joined, read_recording
from speech2face.audio.spectrogram import FloatArray
from speech2face.audio.stream import PcmFormat, PcmStream
from speech2face.errors import CorruptRecording, InvalidOption
from tests.recordings import encode
from tests.voices import made_voice

CODECS = {"s16le": "pcm_s16le", "f32le": "pcm_f32le", "mulaw": "pcm_mulaw", "alaw": "pcm_alaw"}
WAV_HEADER_MARK = b"data"


def raw_samples(wav: bytes) -> bytes:
    """What a WAV file holds after its header."""
    return wav[wav.index(WAV_HEADER_MARK) + 8 :]


def streamed(source: PcmFormat, content: bytes, size: int) -> FloatArray:
    stream = PcmStream(source)
    return joined([*(stream.push(content[at : at + size]) for at in range(0, len(content), size)), stream.finish()])


@pytest.mark.parametrize("encoding", CODECS)
@pytest.mark.parametrize("sample_rate", [8_000, 16_000, 44_100, 48_000, 192_000])
def test_a_stream_gives_the_samples_of_the_same_recording(encoding: str, sample_rate: int) -> None:
    voice = made_voice(1.1)[None]
    wav = encode(voice, sample_rate, container="wav", codec=CODECS[encoding])
    whole = read_recording(wav).waveform
    got = streamed(PcmFormat(encoding, sample_rate), raw_samples(wav), 1000)[0]  # type: ignore[arg-type]
    assert got.shape == whole.shape
    np.testing.assert_allclose(got, whole, atol=2e-7, rtol=0)


@pytest.mark.parametrize("size", [1, 3, 777, 10**6])
def test_where_the_bytes_are_cut_changes_nothing(size: int) -> None:
    content = (made_voice(0.4) * 32767).astype("<i2").tobytes()
    source = PcmFormat("s16le", 44_100)
    np.testing.assert_array_equal(streamed(source, content, size), streamed(source, content, 4410))


def test_all_channels_are_kept_apart() -> None:
    voice = made_voice(0.5)
    loudness = np.linspace(0.1, 0.8, 8).astype(np.float32)
    content = (voice[:, None] * loudness).astype("<f4").tobytes()
    got = streamed(PcmFormat("f32le", 16_000, 8), content, 5000)
    np.testing.assert_allclose(got, voice * loudness[:, None], atol=1e-7)


def frame(samples: FloatArray, sample_rate: int, pts: int | None = None) -> av.AudioFrame:
    """One frame of interleaved channels, (samples, channels)."""
    made = av.AudioFrame.from_ndarray(
        samples.reshape(1, -1), format="flt", layout={1: "mono", 2: "stereo"}[samples.shape[1]]
    )
    made.sample_rate, made.pts = sample_rate, pts
    made.time_base = Fraction(1, sample_rate)
    return made


def test_jumps_in_time_stamps_are_not_filled() -> None:
    voice = made_voice(1.0)[:, None]
    resampler = StreamResampler()
    got = [block for pts in (0, 800_000, 16_000) for block in resampler.push(frame(voice, 16_000, pts))]
    np.testing.assert_array_equal(joined([*got, *resampler.finish()])[0], np.tile(voice[:, 0], 3))


@pytest.mark.parametrize("sample_rate", [8_000, 44_100])
def test_gathered_frames_give_the_same_samples_as_frames_one_by_one(sample_rate: int) -> None:
    voice = made_voice(1.0)[:, None]
    pieces = [voice[at : at + 160] for at in range(0, len(voice), 160)]
    at_once, gathering = StreamResampler(), StreamResampler(gathered_samples=5_000)
    one_by_one = [block for piece in pieces for block in at_once.push(frame(piece, sample_rate))]
    gathered = [block for piece in pieces for block in gathering.push(frame(piece, sample_rate))]
    assert len(gathered) < len(one_by_one) // 10
    np.testing.assert_array_equal(joined([*gathered, *gathering.finish()]), joined([*one_by_one, *at_once.finish()]))


def test_a_stream_that_changes_in_the_middle_keeps_the_channels_it_began_with() -> None:
    voice = made_voice(1.0)
    resampler = StreamResampler()
    got = resampler.push(frame(voice[:, None], 16_000)) + resampler.push(frame(np.stack([voice] * 2, 1), 48_000))
    all_of_it = joined([*got, *resampler.finish()])
    assert all_of_it.shape == (1, 16_000 + 16_000 // 3)
    np.testing.assert_allclose(all_of_it[0, :16_000], voice, atol=1e-7)


def test_half_a_sample_at_the_end_is_dropped() -> None:
    stream = PcmStream(PcmFormat("s16le", 16_000, 2))
    assert joined([stream.push(b"\0" * 4001), stream.finish()]).shape == (2, 1000)


@pytest.mark.parametrize(
    ("encoding", "codes", "values"),
    [
        ("mulaw", [0xFF, 0x7F, 0x80, 0x00], [0, 0, 32124, -32124]),  # ITU-T G.711, tables 2a and 2b
        ("alaw", [0xD5, 0x55, 0xAA, 0x2A], [8, -8, 32256, -32256]),  # tables 1a and 1b
    ],
)
def test_telephone_codes_expand_to_the_standards_values(encoding: str, codes: list[int], values: list[int]) -> None:
    got = streamed(PcmFormat(encoding, 16_000), bytes(codes), 4)  # type: ignore[arg-type]
    np.testing.assert_array_equal(got[0] * 32768, values)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_samples_that_are_no_numbers_are_refused(value: float) -> None:
    samples = np.zeros(1000, "<f4")
    samples[500] = value
    with pytest.raises(CorruptRecording, match="finite"):
        PcmStream(PcmFormat("f32le")).push(samples.tobytes())


@pytest.mark.parametrize(
    "fields", [("s24le", 16_000, 1), ("s16le", 7_999, 1), ("s16le", 192_001, 1), ("alaw", 8_000, 9)]
)
def test_a_format_that_cannot_be_is_refused_with_what_can(fields: tuple[str, int, int]) -> None:
    with pytest.raises(InvalidOption, match=r"s16le|8000 to 192000|1 to 8"):
        PcmFormat(*fields)  # type: ignore[arg-type]
