"""The same voice as it would have arrived otherwise: through a line, a codec, a room, noise, or cut short."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.signal import fftconvolve

from speech2face.audio.activity import find_speech
from speech2face.audio.spectrogram import SAMPLE_RATE, FloatArray
from speech2face.errors import InvalidOption
from speech2face.training.augmentation import CODECS, companded, mix, recoded

CLEAN = "clean"
OPUS_BITS_PER_SECOND = 6000  # the least that Opus takes: a poor connection of a messenger
ROOM_DECAY_SECONDS = 0.8  # until the echo has fallen by 60 dB: a large room with bare walls
ROOM_DIRECT_DB = -3.0  # the direct sound under the echo: some metres from the microphone
FAR_SNR_DB = 25.0

Change = Callable[[FloatArray, np.random.Generator], FloatArray]


@dataclass(frozen=True)
class Condition:
    """One way in which a recording arrives; `group` is "channel" or "speech heard".

    `cut_seconds`: only the first seconds of speech are heard, of those recordings that have as many.
    """

    name: str
    group: str
    change: Change
    cut_seconds: float | None = None


def _telephone(waveform: FloatArray, _: np.random.Generator) -> FloatArray:
    """8 kHz and G.711 mu-law."""
    return companded(waveform, "mu")


def _low_bitrate(waveform: FloatArray, _: np.random.Generator) -> FloatArray:
    """Opus at its lowest bit rate."""
    return recoded(waveform, CODECS[0], SAMPLE_RATE, OPUS_BITS_PER_SECOND)


def _far(waveform: FloatArray, rng: np.random.Generator) -> FloatArray:
    """Some metres away in a bare room: an exponentially falling echo louder than the voice itself, and room noise."""
    length = int(SAMPLE_RATE * ROOM_DECAY_SECONDS)
    falling = np.exp(-np.log(1000) * np.arange(length) / length)
    echo = rng.standard_normal(length) * falling
    echo[: SAMPLE_RATE // 200] = 0  # the first wall is not nearer than 5 ms
    echo *= 10 ** (-ROOM_DIRECT_DB / 20) / np.sqrt(np.square(echo).sum())
    echo[0] = 1.0
    sound = np.asarray(fftconvolve(waveform, echo)[: waveform.size], np.float32)
    sound *= float(np.abs(waveform).max()) / max(float(np.abs(sound).max()), 1e-9)
    return mix(sound, _pink_noise(waveform.size, rng), FAR_SNR_DB)


def _pink_noise(samples: int, rng: np.random.Generator) -> FloatArray:
    """Noise whose power falls with frequency, like the hum of most places, (samples,)."""
    spectrum = np.fft.rfft(rng.standard_normal(samples))
    hertz = np.fft.rfftfreq(samples, 1 / SAMPLE_RATE)
    return np.asarray(np.fft.irfft(spectrum / np.sqrt(np.maximum(hertz, 50.0)), samples), np.float32)


def _noisy(decibels: float) -> Change:
    def change(waveform: FloatArray, rng: np.random.Generator) -> FloatArray:
        return mix(waveform, _pink_noise(waveform.size, rng), decibels)

    return change


def _first(seconds: float) -> Change:
    def change(waveform: FloatArray, _: np.random.Generator) -> FloatArray:
        """Cut where so many seconds of speech have been heard; pauses stay."""
        wanted = round(seconds * SAMPLE_RATE)
        for start, stop in find_speech(waveform).spans:
            if stop - start >= wanted:
                return waveform[: start + wanted]
            wanted -= stop - start
        return waveform

    return change


def _same(waveform: FloatArray, _: np.random.Generator) -> FloatArray:
    return waveform


CONDITIONS = (
    Condition(CLEAN, "channel", _same),
    Condition("telephone", "channel", _telephone),
    Condition("low bit rate", "channel", _low_bitrate),
    Condition("far away", "channel", _far),
    Condition("noise 20 dB", "channel", _noisy(20.0)),
    Condition("noise 10 dB", "channel", _noisy(10.0)),
    Condition("noise 0 dB", "channel", _noisy(0.0)),
    Condition("first 2 s", "speech heard", _first(2.0), 2.0),
    Condition("first 3 s", "speech heard", _first(3.0), 3.0),
    Condition("first 6 s", "speech heard", _first(6.0), 6.0),
)


def choose_conditions(names: Sequence[str] | None) -> tuple[Condition, ...]:
    """The named conditions, `clean` always among them; None takes all.

    Raises:
        InvalidOption: an unknown name.
    """
    if names is None:
        return CONDITIONS
    known = {condition.name: condition for condition in CONDITIONS}
    unknown = [name for name in names if name not in known]
    if unknown:
        raise InvalidOption(f'there is no channel "{unknown[0]}"; there are {", ".join(known)}')
    return tuple(condition for condition in CONDITIONS if condition.name in {CLEAN, *names})
