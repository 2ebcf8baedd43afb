import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from speech2face.audio.spectrogram import FREQUENCIES, HOP, SAMPLE_RATE, WINDOW, frame_count, spectrogram, stft


def test_six_seconds_give_the_papers_598_by_257() -> None:
    assert spectrogram(np.zeros(96_000, np.float32)).shape == (2, 257, 598)
    assert frame_count(96_000) == 598
    assert frame_count(48_000) == 298


@settings(max_examples=30)
@given(st.integers(WINDOW, 3 * SAMPLE_RATE))
def test_any_length_gives_as_many_frames_as_whole_windows_fit(samples: int) -> None:
    frames = spectrogram(np.ones(samples, np.float32)).shape[2]
    assert frames == frame_count(samples)
    assert (frames - 1) * HOP + WINDOW <= samples < frames * HOP + WINDOW


def test_a_sine_in_the_middle_of_a_bin_peaks_there() -> None:
    bin_hz = SAMPLE_RATE / 512
    time = np.arange(SAMPLE_RATE) / SAMPLE_RATE
    power = np.abs(stft(np.sin(2 * np.pi * 40 * bin_hz * time).astype(np.float32))) ** 2
    assert set(power.argmax(axis=1)) == {40}


def test_compression_keeps_the_sign_and_is_the_power_of_three_tenths() -> None:
    rng = np.random.default_rng(0)
    waveform = rng.standard_normal(WINDOW).astype(np.float32)
    # By the definition: one frame, periodic Hann window, zero padded on the right.
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(WINDOW) / WINDOW)
    expected = np.fft.fft(np.concatenate([waveform * window, np.zeros(112)]))[:FREQUENCIES]
    actual = spectrogram(waveform)[:, :, 0]
    np.testing.assert_allclose(actual[0], np.sign(expected.real) * np.abs(expected.real) ** 0.3, atol=2e-3)
    np.testing.assert_allclose(actual[1], np.sign(expected.imag) * np.abs(expected.imag) ** 0.3, atol=2e-2)


def test_less_than_one_window_is_a_programmers_error() -> None:
    with pytest.raises(AssertionError):
        stft(np.zeros(WINDOW - 1, np.float32))
