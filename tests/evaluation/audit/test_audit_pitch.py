"""The pitch tracker on voices whose pitch is known."""

import numpy as np
import pytest

from speech2face.audio.spectrogram import SAMPLE_RATE
from speech2face.evaluation.observations import pitch_hz
from tests.voices import made_voice


@pytest.mark.parametrize("hertz", [85.0, 120.0, 165.0, 210.0, 290.0])
def test_the_pitch_of_a_made_voice_is_found_within_three_percent(hertz: float) -> None:
    assert pitch_hz(made_voice(3.0, hertz)) == pytest.approx(hertz, rel=0.03)


def test_noise_under_the_voice_moves_it_little() -> None:
    voice = made_voice(3.0, 130.0)
    noise = np.random.default_rng(0).standard_normal(voice.size).astype(np.float32)
    noisy = voice + 0.1 * float(np.sqrt(np.mean(voice**2))) * noise
    assert pitch_hz(noisy) == pytest.approx(130.0, rel=0.05)


def test_noise_alone_and_almost_nothing_have_no_pitch() -> None:
    rng = np.random.default_rng(1)
    assert np.isnan(pitch_hz(rng.standard_normal(2 * SAMPLE_RATE).astype(np.float32)))
    assert np.isnan(pitch_hz(np.zeros(100, np.float32)))
    assert np.isnan(pitch_hz(np.zeros(SAMPLE_RATE, np.float32)))


def test_a_pure_octave_is_not_taken_for_its_lower_one() -> None:
    time = np.arange(2 * SAMPLE_RATE) / SAMPLE_RATE
    tone = sum(np.sin(2 * np.pi * 240 * n * time) / n for n in (1, 2, 3))
    assert pitch_hz(np.asarray(tone, np.float32)) == pytest.approx(240, rel=0.03)
