"""The made voice whose readings are stored beside every release: the same on every machine."""

import numpy as np

from speech2face.audio.spectrogram import SAMPLE_RATE, FloatArray


def golden_speech() -> FloatArray:
    """Four seconds of a made voice, a buzz through three formants: the same on every machine, (samples,)."""
    time = np.arange(4 * SAMPLE_RATE) / SAMPLE_RATE
    phase = 2 * np.pi * np.cumsum(130 + 20 * np.sin(2 * np.pi * 2.5 * time)) / SAMPLE_RATE
    waveform = np.zeros_like(time)
    for harmonic in range(1, 50):
        hertz = 130.0 * harmonic
        gain = sum(a / (1 + ((hertz - f) / w) ** 2) for f, w, a in ((600, 90, 1.0), (1300, 120, 0.5), (2600, 200, 0.3)))
        waveform += gain * np.sin(harmonic * phase)
    waveform *= 0.6 + 0.4 * np.sin(2 * np.pi * 3 * time)
    return np.asarray(0.3 * waveform / np.abs(waveform).max(), np.float32)
