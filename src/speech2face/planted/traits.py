"""Who a planted speaker is: latent traits, all standard normal and independent, and what they mean for a voice.

A voice follows the traits that are heard, a face those that are seen. The first heard ones are shared: the face shows
each of them too, but not alone (`world.py`). So the shared traits are all that a voice can tell of a face.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]

SHARED_TRAITS = ("pitch", "tract_length", "brightness")
HEARD_TRAITS = ("breathiness", "sibilance", "front_cavity", "speaking_rate", "intonation", "roughness")
"""Of the voice alone: whoever listens for the shared ones must not be misled by them."""
SEEN_TRAITS = 15
"""Number of traits of the face alone."""


@dataclass(frozen=True)
class Traits:
    """Latent traits of speakers, one row each."""

    shared: FloatArray
    """(speakers, len(SHARED_TRAITS))"""
    heard: FloatArray
    """(speakers, len(HEARD_TRAITS))"""
    seen: FloatArray
    """(speakers, SEEN_TRAITS)"""


def draw_traits(speakers: range, *, seed: int) -> Traits:
    """Traits of the speakers of these numbers: a speaker is the same in whatever company."""
    count, heard = len(SHARED_TRAITS), len(HEARD_TRAITS)
    drawn = np.stack(
        [np.random.default_rng([seed, speaker]).standard_normal(count + heard + SEEN_TRAITS) for speaker in speakers]
    )
    return Traits(drawn[:, :count], drawn[:, count : count + heard], drawn[:, count + heard :])


@dataclass(frozen=True)
class Voice:
    """What traits mean for the synthesiser, in the units of acoustics."""

    pitch_hz: float
    """Median of the fundamental frequency."""
    tract_centimetres: float
    """Vocal-tract length: all formants fall as it grows."""
    tilt_db_per_octave: float
    """Fall of the glottal spectrum above 500 Hz, besides the pulse's own."""
    aspiration_db: float
    """Level of breath noise relative to the voiced source."""
    sibilant_hz: float
    """Centre of the noise of an s."""
    front_cavity: float
    """Factor on the second and third formants alone."""
    syllables_per_second: float
    intonation_octaves: float
    """Standard deviation of the fundamental frequency within a phrase, about."""
    jitter: float
    """Standard deviation of the length of one glottal period, as a share of it."""


def voice_of(shared: FloatArray, heard: FloatArray) -> Voice:
    """The voice of one speaker, from (len(SHARED_TRAITS),) and (len(HEARD_TRAITS),) traits.

    In brackets what two standard deviations either way give.
    """
    pitch, length, brightness = (float(value) for value in shared)
    breathiness, sibilance, front, rate, intonation, roughness = (float(value) for value in heard)
    return Voice(
        pitch_hz=190.0 * 2 ** (0.4 * pitch),  # 109 to 331 Hz: a man to a small child
        tract_centimetres=15.5 * 2 ** (0.2 * length),  # 11.7 to 20.5 cm
        tilt_db_per_octave=4.0 - 3.0 * brightness,  # -2 to 10 dB
        aspiration_db=-28.0 + 3.0 * breathiness,  # -34 to -22 dB
        sibilant_hz=5200.0 * 2 ** (0.15 * sibilance),  # 4.2 to 6.4 kHz
        front_cavity=2 ** (0.03 * front),  # 0.96 to 1.04
        syllables_per_second=4.5 * 2 ** (0.15 * rate),  # 3.7 to 5.5
        intonation_octaves=0.12 * 2 ** (0.4 * intonation),  # 0.07 to 0.21
        jitter=0.01 * 2 ** (0.6 * roughness),  # 0.4 to 2.3 %
    )
