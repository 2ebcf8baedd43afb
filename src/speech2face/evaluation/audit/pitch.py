"""The pitch of a voice: the median fundamental frequency of its voiced stretches."""

from __future__ import annotations

import numpy as np

from speech2face.audio.spectrogram import SAMPLE_RATE, FloatArray

WINDOW = SAMPLE_RATE // 20  # 50 ms: three periods of the lowest voice
HOP = SAMPLE_RATE // 100
TRANSFORM = 2048  # at least window and longest lag together, so that nothing wraps round
RANGE_HZ = (60, 500)
VOICED = 0.5  # normalised autocorrelation; under it a frame has no pitch to speak of
OCTAVE_COST = 0.03  # what an octave further down has to earn: every multiple of a period repeats as well as it
QUIET_PERCENTILE = 30.0
LEAST_FRAMES = 10
MOST_SECONDS = 15.0  # beyond it the median no longer moves


def pitch_hz(speech: FloatArray) -> float:
    """Median fundamental in hertz of speech, (samples,) at 16 kHz; NaN where less than a tenth of a second is voiced.

    Autocorrelation over its window's own, with a small cost of low candidates (Boersma 1993, equations 9 and 25).
    """
    speech = speech[: int(MOST_SECONDS * SAMPLE_RATE)]
    if speech.size < WINDOW:
        return float("nan")
    window = np.hanning(WINDOW)
    frames = np.lib.stride_tricks.sliding_window_view(speech, WINDOW)[::HOP] * window
    shortest, longest = SAMPLE_RATE // RANGE_HZ[1], SAMPLE_RATE // RANGE_HZ[0]
    power = np.abs(np.fft.rfft(frames, TRANSFORM, axis=1)) ** 2
    own = np.fft.irfft(np.abs(np.fft.rfft(window, TRANSFORM)) ** 2)[: longest + 1]
    correlation = np.fft.irfft(power, axis=1)[:, : longest + 1]  # (frames, lags)
    normalised = correlation / (correlation[:, :1] + 1e-9) / (own / own[0])
    lags = np.arange(shortest, longest + 1)
    within = normalised[:, shortest:]
    best = (within - OCTAVE_COST * np.log2(lags / shortest)).argmax(1)
    strength = within[np.arange(len(within)), best]
    level = np.mean(frames**2, axis=1)
    voiced = (strength > VOICED) & (level > np.percentile(level, QUIET_PERCENTILE))
    if voiced.sum() < LEAST_FRAMES:
        return float("nan")
    return float(np.median(SAMPLE_RATE / lags[best[voiced]]))
