import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

torch = pytest.importorskip("torch", reason="the front end on a device needs torch; install the extra `train`")

from speech2face.audio.spectrogram import COMPRESSION, WINDOW, spectrogram  # noqa: E402
from speech2face.voice.encoder import SpectrogramFrontEnd, from_pcm  # noqa: E402


def expanded(compressed: NDArray[np.float32]) -> NDArray[np.float64]:
    """Before compression, which turns rounding near zero into large differences."""
    return np.asarray(np.copysign(np.abs(compressed.astype(np.float64)) ** (1 / COMPRESSION), compressed))


def test_six_seconds_give_the_papers_598_by_257_by_2() -> None:
    assert SpectrogramFrontEnd()(torch.zeros(3, 96_000)).shape == (3, 2, 257, 598)


@settings(max_examples=20)
@given(samples=st.integers(WINDOW, 20_000), level=st.sampled_from([1e-4, 0.1, 1.0]), seed=st.integers(0, 99))
def test_training_and_inference_have_one_front_end(samples: int, level: float, seed: int) -> None:
    waveforms = (level * np.random.default_rng(seed).uniform(-1, 1, (2, samples))).astype(np.float32)
    batch = SpectrogramFrontEnd()(torch.from_numpy(waveforms)).numpy()
    for waveform, computed in zip(waveforms, batch, strict=True):
        expected = spectrogram(waveform)
        assert computed.shape == expected.shape
        np.testing.assert_allclose(expanded(computed), expanded(expected), atol=3e-5 * level)


def test_silence_is_zero_and_not_a_number_that_is_none() -> None:
    assert not SpectrogramFrontEnd()(torch.zeros(1, 1600)).any()


def test_the_sign_survives_compression() -> None:
    waveform = torch.rand(1, WINDOW, generator=torch.Generator().manual_seed(0)) - 0.5
    front = SpectrogramFrontEnd()
    torch.testing.assert_close(front(-waveform), -front(waveform))


def test_a_louder_voice_is_larger_by_the_power_of_three_tenths() -> None:
    waveform = torch.rand(1, 4000, generator=torch.Generator().manual_seed(0)) - 0.5
    front = SpectrogramFrontEnd()
    torch.testing.assert_close(front(waveform / 4), front(waveform) / 4**COMPRESSION)


def test_mixed_precision_around_it_changes_nothing() -> None:
    waveform = torch.rand(2, 4000, generator=torch.Generator().manual_seed(0)) - 0.5
    front = SpectrogramFrontEnd()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = front(waveform)
    assert inside.dtype == torch.float32
    torch.testing.assert_close(inside, front(waveform), atol=0, rtol=0)


def test_nothing_of_it_is_stored_with_the_weights() -> None:
    assert not SpectrogramFrontEnd().state_dict()


def test_other_types_and_less_than_a_window_are_programmers_errors() -> None:
    with pytest.raises(AssertionError, match="float32"):
        SpectrogramFrontEnd()(torch.zeros(1, 1600, dtype=torch.float64))
    with pytest.raises(AssertionError, match="one window"):
        SpectrogramFrontEnd()(torch.zeros(1, WINDOW - 1))


def test_full_scale_of_sixteen_bits_is_one() -> None:
    expected = torch.tensor([-1.0, 0.0, 0.5])
    torch.testing.assert_close(from_pcm(torch.tensor([-32768, 0, 16384], dtype=torch.int16)), expected, atol=0, rtol=0)
