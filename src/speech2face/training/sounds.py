"""Sounds that are not speech, made by arithmetic: noises, tones, hums, music, clicks.

They are mixed under voices, and alone they teach the voice encoder what is not a voice.
"""

from collections.abc import Callable

import numpy as np

from speech2face.audio.spectrogram import SAMPLE_RATE, FloatArray

Generator = np.random.Generator
Sound = Callable[[int, Generator], FloatArray]


def _unit(waveform: np.ndarray) -> FloatArray:
    """Scale to a root mean square of 0.1, (samples,)."""
    rms = float(np.sqrt(np.mean(np.square(waveform)))) or 1.0
    return (waveform * (0.1 / rms)).astype(np.float32)


def coloured_noise(samples: int, rng: Generator) -> FloatArray:
    """Noise whose spectrum falls (or rises) by a random power of frequency: white, pink, brown and between."""
    spectrum = np.fft.rfft(rng.standard_normal(samples))
    slope = rng.uniform(-0.3, 1.2)
    frequency = np.maximum(np.arange(spectrum.size) / spectrum.size, 1e-3)
    return _unit(np.fft.irfft(spectrum * frequency ** (-slope), n=samples))


def band_noise(samples: int, rng: Generator) -> FloatArray:
    """Noise in one random band, its level drifting: wind, fans, hiss, applause."""
    spectrum = np.fft.rfft(rng.standard_normal(samples))
    hertz = np.linspace(0, SAMPLE_RATE / 2, spectrum.size)
    centre, width = 10 ** rng.uniform(2, 3.8), rng.uniform(0.3, 1.5)
    shaped = np.fft.irfft(spectrum * np.exp(-((np.log2(np.maximum(hertz, 1) / centre) / width) ** 2)), n=samples)
    rate = rng.uniform(0.2, 8)
    drift = 1 + rng.uniform(0, 0.95) * np.sin(2 * np.pi * (rate * np.arange(samples) / SAMPLE_RATE + rng.uniform()))
    return _unit(shaped * drift)


def hum(samples: int, rng: Generator) -> FloatArray:
    """Mains hum or an engine: harmonics of one low note, slightly unsteady."""
    base = rng.choice([50.0, 60.0, rng.uniform(30, 200)])
    wobble = 1 + rng.uniform(0, 0.01) * np.sin(2 * np.pi * rng.uniform(0.1, 3) * np.arange(samples) / SAMPLE_RATE)
    phase = 2 * np.pi * np.cumsum(base * wobble) / SAMPLE_RATE
    sound = np.zeros(samples)
    for harmonic in range(1, int(rng.integers(3, 30))):
        sound += rng.uniform(0, 1) / harmonic ** rng.uniform(0.5, 1.5) * np.sin(harmonic * phase + rng.uniform(0, 6))
    return _unit(sound + 0.02 * rng.standard_normal(samples))


def tone(samples: int, rng: Generator) -> FloatArray:
    """Sines: one, a dial pair, a sweep or beeps."""
    time = np.arange(samples) / SAMPLE_RATE
    kind = rng.integers(4)
    if kind == 0:
        sound = np.sin(2 * np.pi * rng.uniform(60, 4000) * time)
    elif kind == 1:
        sound = np.sin(2 * np.pi * rng.uniform(300, 1000) * time) + np.sin(2 * np.pi * rng.uniform(1000, 1800) * time)
    elif kind == 2:
        low, high = 10 ** rng.uniform(2, 2.8), 10 ** rng.uniform(2.8, 3.7)
        sound = np.sin(2 * np.pi * np.cumsum(low * (high / low) ** (time / time[-1])) / SAMPLE_RATE)
    else:
        beat = (time * rng.uniform(1, 6)) % 1 < rng.uniform(0.2, 0.7)
        sound = np.sin(2 * np.pi * rng.uniform(300, 3000) * time) * beat
    return _unit(sound + 10 ** rng.uniform(-4, -1.5) * rng.standard_normal(samples))


def clicks(samples: int, rng: Generator) -> FloatArray:
    """Typing, knocks, rain: short decaying bursts at random moments."""
    sound = 0.003 * rng.standard_normal(samples)
    for _ in range(int(samples / SAMPLE_RATE * 10 ** rng.uniform(0, 1.6)) + 1):
        start = int(rng.integers(samples))
        length = int(SAMPLE_RATE * 10 ** rng.uniform(-2.7, -0.8))
        burst = rng.standard_normal(length) * np.exp(-np.linspace(0, 6, length))
        if rng.uniform() < 0.5:
            ring = np.sin(2 * np.pi * 10 ** rng.uniform(2, 3.6) * np.arange(length) / SAMPLE_RATE)
            burst = ring * np.exp(-np.linspace(0, 6, length))
        sound[start : start + length] += rng.uniform(0.2, 1) * burst[: max(0, samples - start)]
    return _unit(sound)


def _note(hertz: float, samples: int, rng: Generator, brightness: float, attack_seconds: float) -> np.ndarray:
    time = np.arange(samples) / SAMPLE_RATE
    vibrato = 1 + rng.uniform(0, 0.008) * np.sin(2 * np.pi * rng.uniform(4, 7) * time)
    phase = 2 * np.pi * np.cumsum(hertz * vibrato) / SAMPLE_RATE
    note = np.zeros(samples)
    for harmonic in range(1, max(2, min(25, int(SAMPLE_RATE / 2 / hertz)))):
        note += harmonic**-brightness * np.sin(harmonic * phase + rng.uniform(0, 6))
    decay = np.exp(-time * rng.uniform(0.2, 6))
    return np.asarray(note * np.minimum(1, time / attack_seconds) * decay)


def music(samples: int, rng: Generator) -> FloatArray:
    """A few synthetic instruments playing notes of one scale over a beat, sometimes with drums."""
    sound = np.zeros(samples)
    root = 110 * 2 ** rng.uniform(-1, 1)
    scale = np.array([0, 2, 4, 5, 7, 9, 11] if rng.uniform() < 0.5 else [0, 2, 3, 5, 7, 8, 10])
    beat = int(SAMPLE_RATE * rng.uniform(0.15, 0.7))
    for _ in range(int(rng.integers(1, 3))):  # instruments
        brightness, attack = rng.uniform(0.6, 2.5), 10 ** rng.uniform(-2.3, -0.7)
        octave, voices, hold = int(rng.integers(0, 4)), int(rng.integers(1, 4)), rng.uniform(0.7, 3)
        for start in range(0, samples, beat * int(rng.integers(1, 3))):
            for _ in range(voices):
                semitone = int(rng.choice(scale)) + 12 * octave
                length = min(int(beat * hold), samples - start)
                if length > 32:
                    played = _note(root * 2 ** (semitone / 12), length, rng, brightness, attack)
                    sound[start : start + length] += rng.uniform(0.3, 1) * played
    if rng.uniform() < 0.5:
        for start in range(0, samples, beat):
            length = min(int(SAMPLE_RATE * rng.uniform(0.03, 0.2)), samples - start)
            sound[start : start + length] += (
                rng.uniform(0.5, 3) * rng.standard_normal(length) * np.exp(-np.linspace(0, 7, length))
            )
    return _unit(sound)


def birds(samples: int, rng: Generator) -> FloatArray:
    """Chirps, sirens, barks: short gliding harmonic calls with pauses; the closest thing to a voice that is none."""
    sound = 0.002 * rng.standard_normal(samples)
    position = int(rng.uniform(0, 0.3) * SAMPLE_RATE)
    while position < samples:
        length = min(int(SAMPLE_RATE * 10 ** rng.uniform(-1.4, 0)), samples - position)
        if length > 64:
            glide = 10 ** rng.uniform(2.2, 3.5) * np.exp(
                rng.uniform(-0.8, 0.8) * np.linspace(0, 1, length)
                + rng.uniform(0, 0.3) * np.sin(np.linspace(0, rng.uniform(0, 60), length))
            )
            phase = 2 * np.pi * np.cumsum(glide) / SAMPLE_RATE
            call = sum(rng.uniform(0, 1) / h * np.sin(h * phase) for h in range(1, int(rng.integers(2, 7))))
            sound[position : position + length] += call * np.hanning(length)
        position += length + int(SAMPLE_RATE * 10 ** rng.uniform(-1.5, 0))
    return _unit(sound)


NOISES: tuple[Sound, ...] = (coloured_noise, band_noise, hum, clicks, music)
NOT_VOICES: tuple[Sound, ...] = (coloured_noise, band_noise, hum, tone, clicks, music, music, music, birds)


def not_a_voice(samples: int, rng: Generator) -> FloatArray:
    """One sound without speech, or two mixed, (samples,), root mean square 0.1."""
    sound = NOT_VOICES[int(rng.integers(len(NOT_VOICES)))](samples, rng)
    if rng.uniform() < 0.3:
        sound = sound + rng.uniform(0.1, 1) * NOT_VOICES[int(rng.integers(len(NOT_VOICES)))](samples, rng)
    return _unit(sound)
