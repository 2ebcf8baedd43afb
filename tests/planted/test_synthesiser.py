"""The synthesiser makes what it is asked for: pitch, formants, tilt, breath, and the same sound for the same seed."""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from recipes.planted.synthesiser import (
    FRAME_RATE,
    FREQUENCY_HZ,
    HEARD_TRAITS,
    SHARED_TRAITS,
    VOWELS_HZ,
    Score,
    Voice,
    glottal_source,
    synthesise,
    tilt,
    vocal_tract,
    voice_of,
    write_score,
)
from speech2face.audio.spectrogram import SAMPLE_RATE, stft

VOICE = voice_of(np.zeros(len(SHARED_TRAITS)), np.zeros(len(HEARD_TRAITS)))


def spoken(voice: Voice, seed: int = 0, seconds: float = 4.0) -> NDArray[np.float32]:
    return synthesise(voice, seconds, np.random.default_rng(seed))


def steady(formants_hz: tuple[float, float, float], frames: int = 4) -> Score:
    tracks = [np.ones(frames) for _ in range(6)]
    return Score(np.tile(np.array(formants_hz), (frames, 1)), *tracks)


def level_db(waveform: NDArray[np.float32], low_hz: float, high_hz: float) -> float:
    """Mean power of a band over the whole recording, relative to all of it."""
    power = (np.abs(stft(waveform)) ** 2).mean(0)
    frequency = np.linspace(0, SAMPLE_RATE / 2, power.size)
    return float(10 * np.log10(power[(frequency >= low_hz) & (frequency < high_hz)].sum() / power.sum()))


def test_the_same_seed_gives_the_same_recording_and_another_seed_another() -> None:
    assert spoken(VOICE).shape == (4 * SAMPLE_RATE,) and spoken(VOICE).dtype == np.float32
    np.testing.assert_array_equal(spoken(VOICE), spoken(VOICE))
    assert np.corrcoef(spoken(VOICE), spoken(VOICE, seed=1))[0, 1] < 0.2


def test_a_recording_stays_within_full_scale_and_is_never_digital_silence() -> None:
    waveform = spoken(VOICE)
    assert np.abs(waveform).max() <= 1
    blocks = waveform[: len(waveform) // 400 * 400].reshape(-1, 400)
    assert np.sqrt((blocks**2).mean(1)).min() > 1e-5


def test_the_glottal_source_has_the_pitch_that_was_asked_for() -> None:
    for pitch_hz in (100.0, 237.0):
        voice = replace(VOICE, jitter=0.0)
        source = glottal_source(np.full(SAMPLE_RATE, pitch_hz), voice, np.random.default_rng(0))
        spectrum = np.abs(np.fft.rfft(source * np.hanning(source.size)))  # 1 Hz a bin
        harmonics = [int(np.argmax(spectrum[h - 20 : h + 20])) + h - 20 for h in (int(pitch_hz), int(3 * pitch_hz))]
        np.testing.assert_allclose(harmonics, [pitch_hz, 3 * pitch_hz], atol=1.5)


def test_jitter_blurs_harmonics_and_leaves_the_mean_pitch() -> None:
    pitch = np.full(4 * SAMPLE_RATE, 150.0)
    rough = glottal_source(pitch, replace(VOICE, jitter=0.03), np.random.default_rng(0))
    clean = glottal_source(pitch, replace(VOICE, jitter=0.0), np.random.default_rng(0))

    def peak(source: NDArray[np.float64], harmonic: int) -> float:
        power = np.abs(np.fft.rfft(source * np.hanning(source.size))) ** 2
        band = power[4 * (150 * harmonic - 60) : 4 * (150 * harmonic + 60)]
        return float(band.max() / band.sum())

    assert peak(rough, 8) < 0.5 * peak(clean, 8)
    closures = np.flatnonzero((rough[1:] > -1.0) & (rough[:-1] <= -1.0))
    assert abs(closures.size - 4 * 150) < 20


def test_formants_lie_where_the_vowel_has_them() -> None:
    for vowel in (VOWELS_HZ[0], VOWELS_HZ[4]):
        voice = replace(VOICE, tract_centimetres=17.5, front_cavity=1.0)
        response = np.abs(vocal_tract(steady(tuple(vowel)), voice)[0])
        peaks = [k for k in range(1, response.size - 1) if response[k - 1] < response[k] > response[k + 1]]
        for formant in vowel:
            assert min(abs(FREQUENCY_HZ[peaks] - formant)) < 50


def test_a_longer_tract_lowers_all_formants_alike() -> None:
    def peak_hz(centimetres: float) -> float:
        voice = replace(VOICE, tract_centimetres=centimetres, front_cavity=1.0)
        return float(FREQUENCY_HZ[np.abs(vocal_tract(steady((700, 1800, 2900)), voice)[0]).argmax()])

    assert peak_hz(12.5) / peak_hz(17.5) - 17.5 / 12.5 < 0.06


def test_tilt_falls_by_the_decibels_asked_for_each_octave() -> None:
    gain_db = 20 * np.log10(tilt(replace(VOICE, tilt_db_per_octave=5.0)))
    two, four = np.searchsorted(FREQUENCY_HZ, [2000, 4000])
    np.testing.assert_allclose(gain_db[two] - gain_db[four], 5.0, atol=0.3)


def test_brightness_and_breath_are_heard_in_the_recording() -> None:
    dark, bright = (spoken(replace(VOICE, tilt_db_per_octave=db, aspiration_db=-60)) for db in (7.0, 0.0))
    assert level_db(bright, 1000, 3500) > level_db(dark, 1000, 3500) + 3
    clear, breathy = (spoken(replace(VOICE, aspiration_db=db)) for db in (-35.0, -8.0))
    assert level_db(breathy, 4000, 8000) > level_db(clear, 4000, 8000) + 6


def test_pitch_tracks_stay_around_the_speakers_median() -> None:
    score = write_score(VOICE, 20 * FRAME_RATE, np.random.default_rng(0))
    assert abs(np.log2(np.median(score.pitch_hz) / VOICE.pitch_hz)) < 0.06
    assert score.formants_hz.shape == (20 * FRAME_RATE, 3) and score.formants_hz.min() > 150


def test_content_is_drawn_anew_and_does_not_depend_on_a_length_not_yet_spoken() -> None:
    longer = write_score(VOICE, 3 * FRAME_RATE, np.random.default_rng(0)).voicing
    other = write_score(VOICE, 3 * FRAME_RATE, np.random.default_rng(1)).voicing
    assert 0.3 < longer.mean() < 0.8
    assert np.abs(longer - other).max() > 0.5
