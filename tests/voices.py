"""Made voices for the core tests: a buzz through formants with syllables, which WebRTC's detector takes for speech."""

import numpy as np

from speech2face.audio.spectrogram import SAMPLE_RATE, FloatArray


def made_voice(seconds: float, pitch_hz: float = 120.0) -> FloatArray:
    """A steady babble of vowels, (samples,), peak 0.3; the same every time."""
    time = np.arange(int(seconds * SAMPLE_RATE)) / SAMPLE_RATE
    phase = 2 * np.pi * np.cumsum(pitch_hz * (1 + 0.15 * np.sin(2 * np.pi * 1.7 * time))) / SAMPLE_RATE
    waveform = np.zeros_like(time)
    for harmonic in range(1, int(4000 / pitch_hz)):
        hertz = pitch_hz * harmonic
        gain = np.zeros_like(time)
        for centre, width, swing in ((500, 80, 200), (1500, 100, 500), (2500, 150, 200)):
            moving = centre + swing * np.sin(2 * np.pi * (2.3 + centre / 3000) * time)
            gain += 1 / (1 + ((hertz - moving) / width) ** 2)
        waveform += gain * np.sin(harmonic * phase)
    waveform *= 0.55 + 0.45 * np.sin(2 * np.pi * 3.5 * time)
    return np.asarray(0.3 * waveform / np.abs(waveform).max(), np.float32)
