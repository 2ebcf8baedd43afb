import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from speech2face.audio.spectrogram import BANDS, MEL_FREQUENCIES, log_mel, mel_filters
from tests.voices import made_voice


def test_the_filters_have_equal_area_and_those_under_one_kilohertz_are_evenly_spaced() -> None:
    filters = mel_filters()
    assert filters.shape == (BANDS, MEL_FREQUENCIES) == (80, 201)
    peaks = (filters * np.arange(MEL_FREQUENCIES)).sum(1) / filters.sum(1) * 40  # hertz
    assert (np.diff(peaks) > 0).all()
    linear = peaks[(peaks > 200) & (peaks < 900)]
    np.testing.assert_allclose(np.diff(linear), 37.24, atol=6)  # 3016 Hz on the linear scale in 81 steps
    wide = filters[42:].sum(1) * 40  # area in hertz; narrow filters meet too few bins
    np.testing.assert_allclose(wide, 1.0, atol=0.03)


def test_it_is_the_front_end_of_whisper_as_torch_computes_it() -> None:
    torch = pytest.importorskip("torch", reason="the other implementation is torch; install the extra `train`")
    waveform = made_voice(2.0)
    transform = torch.stft(
        torch.from_numpy(waveform), 400, 160, window=torch.hann_window(400), center=True, return_complex=True
    )
    energies = torch.from_numpy(mel_filters()) @ transform[:, :-1].abs().square()  # (BANDS, frames)
    energies *= 0.1 / energies.mean()
    logarithm = energies.clamp(min=1e-10).log10()
    expected = (torch.maximum(logarithm, logarithm.max() - 8) + 4) / 4
    np.testing.assert_allclose(log_mel(waveform), expected.numpy(), atol=2e-4)


@settings(max_examples=20)
@given(st.floats(0.001, 30.0))
def test_a_louder_voice_gives_the_same_numbers(gain: float) -> None:
    np.testing.assert_allclose(log_mel(made_voice(1.0) * np.float32(gain)), log_mel(made_voice(1.0)), atol=1e-3)


@pytest.mark.parametrize("samples", [400, 401, 5000, 48_000])
def test_there_is_a_frame_every_ten_milliseconds(samples: int) -> None:
    heard = log_mel(made_voice(4.0)[:samples])
    assert heard.shape == (80, samples // 160)
    assert heard.dtype == np.float32 and heard.flags.c_contiguous


def test_silence_is_finite() -> None:
    assert np.isfinite(log_mel(np.zeros(16_000, np.float32))).all()
