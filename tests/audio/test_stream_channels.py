import numpy as np
import pytest

from speech2face.audio.recording import mix
from speech2face.audio.spectrogram import FloatArray
from speech2face.audio.stream import ChannelMix
from tests.voices import made_voice


def streamed(channels: FloatArray, size: int = 4000) -> FloatArray:
    stream = ChannelMix()
    return np.concatenate([stream.push(channels[:, at : at + size]) for at in range(0, channels.shape[1], size)])


VOICE = made_voice(2.0)
HISS = np.asarray(1e-4 * np.random.default_rng(0).standard_normal(VOICE.size), np.float32)


@pytest.mark.parametrize(
    "channels",
    [
        np.stack([VOICE, HISS]),
        np.stack([VOICE, -VOICE]),
        np.stack([HISS, VOICE * 0.5, VOICE]),
        np.stack([VOICE, VOICE]),
    ],
    ids=["one dead", "one inverted", "three", "the same"],
)
def test_channels_are_mixed_as_those_of_a_recording(channels: FloatArray) -> None:
    np.testing.assert_allclose(streamed(channels), mix(channels), atol=2e-3)


def test_one_channel_passes_as_it_is() -> None:
    np.testing.assert_array_equal(streamed(VOICE[None]), VOICE)


def test_samples_beyond_full_scale_are_brought_down_not_clipped() -> None:
    loud = streamed(np.stack([VOICE, VOICE]) * 9)
    assert np.abs(loud).max() <= 1.0
    assert np.corrcoef(loud[8000:], VOICE[8000:])[0, 1] > 0.999


def test_silence_in_all_channels_stays_silence() -> None:
    assert not streamed(np.zeros((2, 8000), np.float32)).any()
