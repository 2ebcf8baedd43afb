"""Channels as they arrive become one waveform: the rule of `audio/resampling.mix` with what is known so far."""

import numpy as np

from speech2face.audio.resampling import DEAD_CHANNEL_DB
from speech2face.audio.spectrogram import FloatArray


class ChannelMix:
    """Which channels carry the voice, and which of them are inverted, by all that was heard so far."""

    def __init__(self) -> None:
        self._samples = 0
        self._sums = np.zeros(0)  # (channels,)
        self._products = np.zeros((0, 0))  # (channels, channels), not yet without direct current
        self._peak = 1.0

    @property
    def changes_nothing(self) -> bool:
        """Whether all sound so far was one channel within full scale: it came out as it went in."""
        return not self._samples and self._peak == 1.0

    def push(self, channels: FloatArray) -> FloatArray:
        """The next piece, (channels, samples) -> (samples,) in [-1, 1]."""
        self._peak = max(self._peak, float(np.abs(channels).max(initial=0.0)))
        scaled = channels / np.float32(self._peak) if self._peak > 1.0 else channels
        if len(scaled) == 1:
            mono: FloatArray = scaled[0]
            return mono
        if not self._samples:
            self._sums, self._products = np.zeros(len(scaled)), np.zeros((len(scaled),) * 2)
        exact = scaled.astype(np.float64)
        self._samples += scaled.shape[1]
        self._sums += exact.sum(axis=1)
        self._products += exact @ exact.T
        mean = self._sums / self._samples
        covariance = self._products - self._samples * np.outer(mean, mean)
        energy = np.diag(covariance)
        live = energy > energy.max() * 10 ** (-DEAD_CHANNEL_DB / 10)
        if not live.any():
            return np.zeros(scaled.shape[1], np.float32)
        signs = np.where(covariance[:, int(energy.argmax())] < 0, -1.0, 1.0)
        weights = np.where(live, signs, 0.0) / live.sum()
        return np.asarray(np.clip(weights @ exact, -1.0, 1.0), np.float32)
