"""How good a recording is for judging a voice: noise and bandwidth, measured, not guessed from the format."""

import numpy as np

from speech2face.audio.activity import FRAME, Activity
from speech2face.audio.spectrogram import FFT_SIZE, SAMPLE_RATE, FloatArray, stft

TELEPHONE_EDGE_HZ = 4000.0
VOICE_BAND_HZ = (300.0, 3400.0)
QUIET_SHARE = 0.05  # the quietest twentieth of the frames is the ground noise: nobody speaks without a gap
FLOOR_POWER = 1e-10  # -100 dBFS: below 16-bit quantisation, where digital silence would give minus infinity


def snr_db(activity: Activity) -> float:
    """Signal-to-noise ratio: level of the speech over the level of the quietest frames, in decibels.

    An upper bound for speech without gaps; digital silence in gaps counts as a clean recording.
    """
    count = activity.waveform.size // FRAME
    framed = activity.waveform[: count * FRAME].reshape(count, FRAME)
    power = np.mean(np.square(framed, dtype=np.float64), axis=1) + FLOOR_POWER
    speech_power = float(np.mean(np.square(activity.speech(), dtype=np.float64))) + FLOOR_POWER
    # Digital silence is a gate or a cut, not the room: it says nothing about the noise under the voice.
    audible = power[power > 10 * FLOOR_POWER]
    ground = float(np.quantile(audible, QUIET_SHARE)) if audible.size else FLOOR_POWER
    return 10 * float(np.log10(max(speech_power - ground, FLOOR_POWER) / ground))


def high_band_db(speech: FloatArray) -> float:
    """Power density above 4 kHz relative to that of the voice band, in decibels; a telephone has nothing there."""
    transform = stft(speech[: 4 * SAMPLE_RATE])  # four seconds tell the line; the rest only costs time
    power = np.mean(transform.real**2 + transform.imag**2, axis=0)  # (frequency,)
    hertz = np.arange(power.size) * SAMPLE_RATE / FFT_SIZE
    low, high = VOICE_BAND_HZ
    above = power[(hertz > TELEPHONE_EDGE_HZ * 1.06) & (hertz < 7600)].mean()
    within = power[(hertz >= low) & (hertz <= high)].mean()
    return 10 * float(np.log10((above + 1e-20) / (within + 1e-20)))
