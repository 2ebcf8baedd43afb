"""Who a planted speaker is: latent traits, all standard normal and independent, and what they mean for a voice.

A voice follows the traits that are heard, a face those that are seen. The first heard ones are shared: the face shows
each of them too, but not alone (`world.py`). So the shared traits are all that a voice can tell of a face.

Which ones are shared is the world's kind: those of the voice's spectrum, which an average over time shows, or those of
movement and rhythm, which no average over time does.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
Kind = Literal["spectrum", "movement"]

SHARED_TRAITS = ("pitch", "tract_length", "brightness")
HEARD_TRAITS = ("breathiness", "sibilance", "front_cavity", "speaking_rate", "intonation", "roughness")
"""Of the voice alone: whoever listens for the shared ones must not be misled by them."""
SHARED: dict[Kind, tuple[str, ...]] = {
    "spectrum": SHARED_TRAITS,
    "movement": ("speaking_rate", "formant_speed", "formant_direction"),
}
HEARD: dict[Kind, tuple[str, ...]] = {
    "spectrum": HEARD_TRAITS,
    "movement": (*SHARED_TRAITS, "breathiness", "sibilance", "front_cavity", "intonation", "roughness"),
}
SEEN_TRAITS = 15
"""Number of traits of the face alone."""
MEAN_RATE = 4.5
"""Syllables a second of a middling speaker."""


@dataclass(frozen=True)
class Traits:
    """Latent traits of speakers, one row each."""

    shared: FloatArray
    """(speakers, len(SHARED[kind]))"""
    heard: FloatArray
    """(speakers, len(HEARD[kind]))"""
    seen: FloatArray
    """(speakers, SEEN_TRAITS)"""


def draw_traits(speakers: range, *, seed: int, kind: Kind = "spectrum") -> Traits:
    """Traits of the speakers of these numbers: a speaker is the same in whatever company."""
    count, heard = len(SHARED[kind]), len(HEARD[kind])
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


@dataclass(frozen=True)
class MovingVoice(Voice):
    """A voice whose own way is how it moves: formants glide from vowel to vowel, whatever the syllables do meanwhile.

    Everything in a syllable, and every pause, is as much shorter as the syllables are faster.
    """

    glides_per_second: float
    """Movements of the formants from one vowel to the next."""
    rise_share: float
    """Duration of a glide by which the second formant rises, as a share of a rise and a fall together."""


def voice_of(shared: FloatArray, heard: FloatArray, kind: Kind = "spectrum") -> Voice:
    """The voice of one speaker, from (len(SHARED[kind]),) and (len(HEARD[kind]),) traits.

    In brackets what two standard deviations either way give.
    """
    values = [float(value) for value in (*shared, *heard)]
    trait = dict(zip((*SHARED[kind], *HEARD[kind]), values, strict=True))
    voice = Voice(
        pitch_hz=190.0 * 2 ** (0.4 * trait["pitch"]),  # 109 to 331 Hz: a man to a small child
        tract_centimetres=15.5 * 2 ** (0.2 * trait["tract_length"]),  # 11.7 to 20.5 cm
        tilt_db_per_octave=4.0 - 3.0 * trait["brightness"],  # -2 to 10 dB
        aspiration_db=-28.0 + 3.0 * trait["breathiness"],  # -34 to -22 dB
        sibilant_hz=5200.0 * 2 ** (0.15 * trait["sibilance"]),  # 4.2 to 6.4 kHz
        front_cavity=2 ** (0.03 * trait["front_cavity"]),  # 0.96 to 1.04
        syllables_per_second=MEAN_RATE * 2 ** (0.15 * trait["speaking_rate"]),  # 3.7 to 5.5
        intonation_octaves=0.12 * 2 ** (0.4 * trait["intonation"]),  # 0.07 to 0.21
        jitter=0.01 * 2 ** (0.6 * trait["roughness"]),  # 0.4 to 2.3 %
    )
    if kind == "spectrum":
        return voice
    return MovingVoice(
        **vars(voice) | {"syllables_per_second": MEAN_RATE * 2 ** (0.3 * trait["speaking_rate"])},  # 3.0 to 6.8
        glides_per_second=4.5 * 2 ** (0.4 * trait["formant_speed"]),  # 2.6 to 7.8
        rise_share=float(1 / (1 + np.exp(-0.8 * trait["formant_direction"]))),  # 0.17 to 0.83
    )
