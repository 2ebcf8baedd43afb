"""A voice taken apart and put together: pitch and resonances are found and moved, and blocks change nothing."""

import numpy as np
import pytest

from speech2face.audio import vocoder
from speech2face.audio.spectrogram import SAMPLE_RATE, FloatArray, log_mel
from speech2face.audio.vocoder import VoiceChange, median_pitch, put_together, take_apart, track_pitch
from tests.voices import made_voice

RNG = np.random.default_rng(0)


def changed(waveform: FloatArray, change: VoiceChange) -> FloatArray:
    pitch = track_pitch(waveform)
    return put_together(take_apart(waveform, pitch), waveform.size, median_pitch(pitch), change)


def peak_hz(waveform: FloatArray) -> float:
    """Where the smoothed spectrum is highest, in hertz."""
    power = np.abs(np.fft.rfft(waveform)) ** 2
    width = int(200 * waveform.size / SAMPLE_RATE)
    smooth = np.convolve(power, np.hanning(width), "same")
    return float(np.fft.rfftfreq(waveform.size, 1 / SAMPLE_RATE)[smooth.argmax()])


def buzz(resonance_hz: float, pitch_hz: float = 110.0, seconds: float = 1.0) -> FloatArray:
    """A steady buzz with one resonance, (samples,)."""
    time = np.arange(int(seconds * SAMPLE_RATE)) / SAMPLE_RATE
    harmonics = pitch_hz * np.arange(1, int(7000 / pitch_hz))
    gains = 1 / (1 + ((harmonics - resonance_hz) / 150) ** 2)
    waves = np.sin(2 * np.pi * harmonics[:, None] * time + np.arange(harmonics.size)[:, None] ** 2)
    return np.asarray(0.1 * gains @ waves, np.float32)


@pytest.mark.parametrize("pitch_hz", [80.0, 120.0, 220.0, 340.0])
def test_the_pitch_of_a_made_voice_is_found(pitch_hz: float) -> None:
    found = track_pitch(made_voice(2, pitch_hz))
    assert np.mean(found > 0) > 0.8
    assert median_pitch(found) == pytest.approx(pitch_hz, rel=0.05)


def test_noise_and_silence_have_no_pitch() -> None:
    noise = RNG.standard_normal(SAMPLE_RATE).astype(np.float32)
    assert np.mean(track_pitch(noise) > 0) < 0.1
    silent = track_pitch(np.zeros(SAMPLE_RATE, np.float32))
    assert median_pitch(silent) is None


@pytest.mark.parametrize("samples", [1, 79, 80, 400, 4_321])
def test_the_length_is_kept_and_all_is_finite(samples: int) -> None:
    made = changed(made_voice(1)[:samples], VoiceChange(pitch_hz=160, formants=1.2, mcadams=0.8, breath=0.5))
    assert made.shape == (samples,) and np.isfinite(made).all()


def test_put_together_unchanged_it_sounds_much_as_before() -> None:
    voice = made_voice(2)
    before, after = log_mel(voice), log_mel(changed(voice, VoiceChange()))
    loud = before > np.percentile(before, 40)
    assert np.corrcoef(before[loud], after[loud])[0, 1] > 0.9


@pytest.mark.parametrize("wanted", [95.0, 180.0, 260.0])
def test_the_median_pitch_is_moved(wanted: float) -> None:
    found = track_pitch(changed(made_voice(2), VoiceChange(pitch_hz=wanted)))
    assert median_pitch(found) == pytest.approx(wanted, rel=0.05)


def test_a_flat_range_leaves_one_pitch() -> None:
    moving, flat = (track_pitch(changed(made_voice(2), VoiceChange(pitch_range=part))) for part in (1.0, 0.0))
    assert np.std(flat[flat > 0]) < 0.3 * np.std(moving[moving > 0])


@pytest.mark.parametrize("factor", [0.8, 1.25])
def test_resonances_move_by_their_factor(factor: float) -> None:
    before, after = buzz(1500), changed(buzz(1500), VoiceChange(formants=factor))
    assert peak_hz(before) == pytest.approx(1500, rel=0.05)
    assert peak_hz(after) == pytest.approx(1500 * factor, rel=0.08)


def test_the_mcadams_exponent_moves_low_resonances_up_and_high_ones_down() -> None:
    moved = [peak_hz(changed(buzz(hertz), VoiceChange(mcadams=0.8))) for hertz in (700, 5000)]
    expected = [(np.pi * hertz / 8000) ** 0.8 / np.pi * 8000 for hertz in (700, 5000)]
    assert moved == pytest.approx(expected, rel=0.1)


def test_all_breath_is_a_whisper() -> None:
    assert np.mean(track_pitch(changed(made_voice(2), VoiceChange(breath=1.0))) > 0) < 0.2


def test_the_result_does_not_depend_on_the_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    change = VoiceChange(pitch_hz=160, formants=1.1, breath=0.3)
    whole = changed(made_voice(1.5), change)
    monkeypatch.setattr(vocoder, "BLOCK_FRAMES", 64)
    np.testing.assert_allclose(changed(made_voice(1.5), change), whole, atol=2e-3)
