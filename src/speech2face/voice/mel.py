"""Mel energies of the project's own STFT: the compact voice encoder's first, fixed layer."""

import numpy as np

from speech2face.audio.spectrogram import FFT_SIZE, FREQUENCIES, SAMPLE_RATE, FloatArray, stft

BANDS = 80
LOWEST_HZ = 30.0  # below any voice's fundamental, above the rumble of a hand on a microphone
HIGHEST_HZ = 7800.0
MEL_FLOOR = 1e-12  # power; far below 16-bit quantisation noise, so that only digital silence meets it


def mel(hertz: np.ndarray | float) -> np.ndarray:
    """Hertz to mel (O'Shaughnessy 1987, 2595 log10(1 + f/700))."""
    return np.asarray(2595.0 * np.log10(1.0 + np.asarray(hertz) / 700.0))


def mel_edges_hz() -> np.ndarray:
    """Where each filter begins, and after it the last two ends, (BANDS + 2,)."""
    edges_mel = np.linspace(mel(LOWEST_HZ), mel(HIGHEST_HZ), BANDS + 2)
    return np.asarray(700.0 * (10.0 ** (edges_mel / 2595.0) - 1.0))


def mel_centres_hz() -> np.ndarray:
    """Centre of each filter, (BANDS,)."""
    return mel_edges_hz()[1:-1]


def mel_filters() -> FloatArray:
    """Triangular filters of unit height, (BANDS, FREQUENCIES).

    Low filters are narrower than a bin; every filter is at least two bins wide on each side so none is empty.
    """
    edges_hz = mel_edges_hz()
    bin_hz = SAMPLE_RATE / FFT_SIZE
    centre = edges_hz[1:-1, None]
    below = np.maximum(centre - edges_hz[:-2, None], bin_hz)
    above = np.maximum(edges_hz[2:, None] - centre, bin_hz)
    hertz = np.arange(FREQUENCIES)[None] * bin_hz
    rising, falling = 1 - (centre - hertz) / below, 1 - (hertz - centre) / above
    return np.asarray(np.clip(np.minimum(rising, falling), 0, 1), np.float32)


def log_mel(waveform: FloatArray) -> FloatArray:
    """Natural logarithm of mel energies, (samples,) -> (frames, BANDS)."""
    transform = stft(waveform)
    power = transform.real**2 + transform.imag**2  # (frames, frequency)
    return np.log(power @ mel_filters().T + np.float32(MEL_FLOOR))
