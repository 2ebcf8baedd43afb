"""Waveform to compressed complex spectrogram: the one front end of training and inference.

Source: Speech2Face (Oh et al., CVPR 2019), section 3.1: 16 kHz, Hann window of 25 ms, hop of 10 ms, 512 FFT bands, and
sgn(x)|x|^0.3 on the real and imaginary parts, so that 6 s give 598 x 257 x 2.
"""

from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

SAMPLE_RATE = 16_000
SAMPLE_SCALE = 32_768  # 16-bit samples are a waveform in [-1, 1) times this; exact for what was 16-bit before
WINDOW = SAMPLE_RATE * 25 // 1000  # 25 ms = 400 samples
HOP = SAMPLE_RATE * 10 // 1000  # 10 ms = 160 samples
FFT_SIZE = 512  # the window is padded with zeros on the right
FREQUENCIES = FFT_SIZE // 2 + 1  # 257 one-sided bins, 0 Hz and 8 kHz included
COMPRESSION = 0.3
FloatArray = NDArray[np.float32]
# Periodic, as torch.hann_window makes it by default.
_HANN: FloatArray = (0.5 - 0.5 * np.cos(2 * np.pi * np.arange(WINDOW) / WINDOW)).astype(np.float32)


def frame_count(samples: int) -> int:
    """Number of whole frames in `samples` samples; there is no padding, so 96,000 samples give 598."""
    return max(0, (samples - WINDOW) // HOP + 1)


def stft(waveform: FloatArray) -> NDArray[np.complex64]:
    """Uncompressed short-time Fourier transform, (samples,) -> (frames, frequency).

    Frames are cut by hand: the libraries' calls without centring frame by the FFT size and give 597 frames for 6 s.
    """
    assert waveform.ndim == 1 and waveform.dtype == np.float32, "a waveform is mono float32"
    assert waveform.size >= WINDOW, "shorter than one window"
    frames = np.lib.stride_tricks.sliding_window_view(waveform, WINDOW)[::HOP]  # (frames, WINDOW)
    return np.fft.rfft(frames * _HANN, n=FFT_SIZE, axis=1).astype(np.complex64, copy=False)


def spectrogram(waveform: FloatArray) -> FloatArray:
    """Compressed complex spectrogram, (samples,) -> (2, frequency, frames); channel 0 real, channel 1 imaginary."""
    transform = stft(waveform)
    parts = np.stack([transform.real.T, transform.imag.T])  # (2, frequency, frames)
    return np.ascontiguousarray(np.copysign(np.abs(parts) ** np.float32(COMPRESSION), parts), dtype=np.float32)


# --- Speech that is shorter than wanted is repeated, then cut: Speech2Face (Oh et al., CVPR 2019), section 3.1.

Numbers = TypeVar("Numbers", bound=np.generic)


def tile(waveform: NDArray[Numbers], samples: int) -> NDArray[Numbers]:
    """Exactly `samples` samples from the beginning of a waveform (..., any), repeated where it is shorter.

    Any type of sample, so that 16-bit sound stays 16-bit.
    """
    length = waveform.shape[-1]
    assert length > 0, "nothing to repeat"
    if length >= samples:
        return waveform[..., :samples]
    times: tuple[Any, ...] = (1,) * (waveform.ndim - 1) + (-(-samples // length),)
    return np.tile(waveform, times)[..., :samples]
