"""Sounds without a voice in them, made by addition: music with chords, a melody and drums; tones; noise; clicks.

Not the sounds the voice encoder is trained on (`training/sounds.py`): these only examine it.
"""

import numpy as np
from numpy.typing import NDArray

from speech2face.audio.spectrogram import SAMPLE_RATE

Sound = NDArray[np.float64]

BEAT_SECONDS = 0.5  # 120 beats a minute
CHORDS = ((57, 60, 64), (53, 57, 60), (48, 52, 55), (55, 59, 62))  # A minor, F, C, G as MIDI keys; a bar each
MELODY = (69, 72, 76, 74, 72, 69, 65, 67, 69, 67, 64, 60, 62, 64, 67, 71)  # one key a beat
PIANO_HARMONICS = (1.0, 0.5, 0.33, 0.2, 0.12, 0.07)
FLUTE_HARMONICS = (1.0, 0.35, 0.1)


def frequency_hz(key: int) -> float:
    """Frequency of a MIDI key in equal temperament: 69 is the A of 440 Hz."""
    return float(440.0 * 2 ** ((key - 69) / 12))


def note(key: int, seconds: float, harmonics: tuple[float, ...], decay_per_second: float) -> Sound:
    """One note with a soft attack and an exponential decay, (samples,)."""
    time = np.arange(round(seconds * SAMPLE_RATE)) / SAMPLE_RATE
    tone = sum(
        strength * np.sin(2 * np.pi * frequency_hz(key) * number * time)
        for number, strength in enumerate(harmonics, start=1)
    )
    return np.asarray(tone * np.minimum(1, time / 0.01) * np.exp(-decay_per_second * time))


def drum_beat(rng: np.random.Generator) -> Sound:
    """One beat: a kick that falls in pitch, a snare of noise half a beat later, (samples,)."""
    time = np.arange(round(BEAT_SECONDS * SAMPLE_RATE)) / SAMPLE_RATE
    kick = np.sin(2 * np.pi * (50 * time + 4 * (1 - np.exp(-30 * time)))) * np.exp(-12 * time)
    snare = rng.standard_normal(time.size) * np.exp(-25 * time) * 0.5
    half = time.size // 2
    kick[half:] += snare[: time.size - half]
    return np.asarray(kick)


def drums(seconds: float, rng: np.random.Generator) -> Sound:
    """A drum kit alone, (samples,)."""
    beats = int(np.ceil(seconds / BEAT_SECONDS))
    return np.concatenate([drum_beat(rng) for _ in range(beats)])[: round(seconds * SAMPLE_RATE)] * 0.4


def music(seconds: float, rng: np.random.Generator) -> Sound:
    """A small band: piano chords, a flute-like melody and drums, (samples,) with a peak of 0.5."""
    bars = []
    for bar in range(int(np.ceil(seconds / (4 * BEAT_SECONDS)))):
        chord = sum(note(key, 4 * BEAT_SECONDS, PIANO_HARMONICS, 1.0) for key in CHORDS[bar % len(CHORDS)])
        keys = [MELODY[(4 * bar + beat) % len(MELODY)] for beat in range(4)]
        melody = np.concatenate([note(key, BEAT_SECONDS, FLUTE_HARMONICS, 2.0) for key in keys])
        beats = np.concatenate([drum_beat(rng) for _ in range(4)])
        bars.append(0.5 * np.asarray(chord) + melody + beats)
    whole = np.concatenate(bars)[: round(seconds * SAMPLE_RATE)]
    return np.asarray(0.5 * whole / np.abs(whole).max())


def sine(seconds: float, frequency: float) -> Sound:
    """One tone of `frequency` hertz, (samples,)."""
    return np.asarray(0.5 * np.sin(2 * np.pi * frequency * np.arange(round(seconds * SAMPLE_RATE)) / SAMPLE_RATE))


def white_noise(seconds: float, rng: np.random.Generator) -> Sound:
    """Noise of equal power everywhere, (samples,) with a root mean square of 0.1."""
    return np.asarray(0.1 * rng.standard_normal(round(seconds * SAMPLE_RATE)))


def clicks(seconds: float) -> Sound:
    """A metronome: one click of 2 ms every half second, (samples,)."""
    sound = np.zeros(round(seconds * SAMPLE_RATE))
    for start in range(0, sound.size - 32, SAMPLE_RATE // 2):
        sound[start : start + 32] = 0.8
    return sound


def echo(sound: Sound, seconds: float, rng: np.random.Generator) -> Sound:
    """The sound in a large room whose echo dies by 60 dB in `seconds`, (samples,)."""
    time = np.arange(round(seconds * SAMPLE_RATE)) / SAMPLE_RATE
    response = rng.standard_normal(time.size) * 10 ** (-3 * time / seconds) * 0.05
    response[0] = 1.0
    size = sound.size + response.size
    wet = np.fft.irfft(np.fft.rfft(sound, size) * np.fft.rfft(response, size), size)[: sound.size]
    return np.asarray(wet * np.abs(sound).max() / np.abs(wet).max())
