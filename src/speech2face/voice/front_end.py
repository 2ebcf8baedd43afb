"""The front end of `audio/spectrogram.py` for batches of waveforms, on the device where the network is.

Source: Speech2Face (Oh et al., CVPR 2019), section 3.1. Training computes spectrograms from stored waveforms, a
thirteenth of their size. It must agree with inference, so every constant comes from `audio/spectrogram.py` and a test
compares both.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from speech2face.audio.spectrogram import COMPRESSION, FFT_SIZE, HOP, SAMPLE_SCALE, WINDOW


def from_pcm(samples: Tensor) -> Tensor:
    """16-bit samples as stored in clips -> waveform, float32 in [-1, 1)."""
    assert samples.dtype == torch.int16, "16-bit samples are int16"
    return samples.float() / SAMPLE_SCALE


class SpectrogramFrontEnd(nn.Module):
    """Waveform -> compressed complex spectrogram; fixed, nothing is learned or stored."""

    window: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("window", torch.hann_window(WINDOW), persistent=False)  # periodic, as torch makes it

    def forward(self, waveform: Tensor) -> Tensor:
        """(batch, samples) float32 -> (batch, 2, frequency, frames) float32; channel 0 real, channel 1 imaginary.

        Frames are cut by hand: `torch.stft` frames by the FFT size and gives 597 or 601 of them for 6 s. Always in
        single precision: the power of 0.3 would raise the rounding of bfloat16 into the quiet bins.
        """
        assert waveform.ndim == 2 and waveform.dtype == torch.float32, "waveforms are (batch, samples) float32"
        assert waveform.shape[1] >= WINDOW, "shorter than one window"
        with torch.autocast(waveform.device.type, enabled=False):
            frames = waveform.unfold(1, WINDOW, HOP) * self.window.float()  # (batch, frames, WINDOW)
            transform = torch.fft.rfft(frames, n=FFT_SIZE)  # (batch, frames, frequency)
            parts = torch.view_as_real(transform).permute(0, 3, 2, 1)  # (batch, 2, frequency, frames)
            return torch.copysign(parts.abs().pow(COMPRESSION), parts).contiguous()
