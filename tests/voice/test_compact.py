from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

torch = pytest.importorskip("torch", reason="the voice encoder is torch; install the extra `train`")

from speech2face.audio.spectrogram import spectrogram  # noqa: E402
from speech2face.voice.compact import BANDS, CompactConfig, CompactVoiceEncoder, log_mel, mel_filters, parameter_count  # noqa: E402  # noqa: E402
from tests.voices import made_voice  # noqa: E402

SMALL = CompactConfig(stem_channels=(4, 6, 8), channels=16, blocks=2, attention_channels=8, embedding=12, hidden=10)


def encoder() -> CompactVoiceEncoder:
    torch.manual_seed(0)
    return CompactVoiceEncoder(SMALL).eval()


def heard(waveform: np.ndarray) -> Any:
    return torch.from_numpy(spectrogram(waveform.astype(np.float32)))[None]


def test_the_starters_size_is_between_one_and_two_million_parameters() -> None:
    assert 1_000_000 <= parameter_count(CompactVoiceEncoder(CompactConfig())) <= 2_000_000


def test_mel_energies_inside_the_network_are_those_of_training() -> None:
    waveform = made_voice(1.0)
    inside = encoder().front.energies(heard(waveform)).log()[0].T.numpy()
    np.testing.assert_allclose(inside, log_mel(waveform), atol=2e-3)


def test_every_mel_filter_hears_something_and_rises_in_frequency() -> None:
    filters = mel_filters()
    assert filters.shape == (BANDS, 257)
    assert (filters.sum(1) > 0.9).all()
    centres = (filters * np.arange(257)).sum(1) / filters.sum(1)
    assert (np.diff(centres) > 0).all()


@settings(max_examples=20, deadline=None)
@given(st.floats(0.003, 3.0))
def test_a_louder_voice_gives_the_same_readings(gain: float) -> None:
    model = encoder()
    with torch.inference_mode():
        reference = model(heard(made_voice(1.0)))
        louder = model(heard(made_voice(1.0) * np.float32(gain)))
    for expected, actual in zip(reference, louder, strict=True):
        torch.testing.assert_close(actual, expected, atol=2e-3, rtol=2e-3)


@settings(max_examples=10, deadline=None)
@given(st.integers(400 * 3, 30_000))
def test_any_length_gives_one_embedding(samples: int) -> None:
    with torch.inference_mode():
        embedding, gender, age, voice, child = encoder()(heard(made_voice(2.0)[:samples]))
    assert embedding.shape == (1, 12)
    assert age.shape == (1, 18)
    assert gender.shape == voice.shape == child.shape == (1,)
    assert all(torch.isfinite(output).all() for output in (embedding, gender, age, voice, child))


def test_moments_of_a_segment_heard_twice_pool_to_the_same_reading() -> None:
    model = encoder()
    with torch.inference_mode():
        moments = model.moments(heard(made_voice(2.0)))
        once, twice = model.head(moments), model.head(moments + moments)
    for expected, actual in zip(once, twice, strict=True):
        torch.testing.assert_close(actual, expected, atol=1e-4, rtol=1e-3)


def test_pooled_statistics_are_the_weighted_mean_and_deviation_by_hand() -> None:
    # One channel would do; two frames with weights 1 and 3 and values 2 and 6: mean 5, variance 3.
    sums = torch.tensor([4.0, 1 * 2 + 3 * 6, 1 * 4 + 3 * 36])
    moments = sums[None, :, None].expand(1, 3, SMALL.channels)
    pooled = encoder().head.pooled(moments)
    torch.testing.assert_close(pooled[0, 0], torch.tensor(5.0), atol=1e-3, rtol=0)
    torch.testing.assert_close(pooled[0, -1], torch.tensor(3.0).sqrt(), atol=1e-3, rtol=0)


def test_a_config_survives_json() -> None:
    assert CompactConfig.from_dict(SMALL.to_dict()) == SMALL
