"""The microphones, rooms and lines that the starter's voices are heard through, in training and in its scores.

For training every channel is drawn anew for each voice; calibration and validation speakers are heard through fixed
ones, so that scores of different releases compare.
"""

from collections.abc import Callable, Sequence

import numpy as np
from scipy.signal import fftconvolve

from speech2face.audio.recording import can_encode
from speech2face.audio.spectrogram import SAMPLE_RATE, FloatArray
from speech2face.training import augment
from speech2face.training.augment import Codec, Generator, Sound, coloured_noise, companded, mix, recoded

NOISY_SNR_DB = 10.0  # of the fixed channel
CHANNELS = ("clean", "telephone", "noisy", "room", "codec", "loudspeaker", "noisy_again", "street")
FIXED = ("clean", "telephone", "noisy", "room")
"""Of calibration and validation speakers these are heard the same in every release."""

Babble = Callable[[int, int, Generator], FloatArray]
"""So many samples of so many other people talking at once."""


def wind(samples: int, rng: Generator) -> FloatArray:
    """Wind in a microphone: low rumble in gusts, (samples,)."""
    hertz = np.linspace(0, SAMPLE_RATE / 2, samples // 2 + 1)
    slope = rng.uniform(1.0, 1.8)
    rumble = np.fft.irfft(np.fft.rfft(rng.standard_normal(samples)) / np.maximum(hertz, 20) ** slope, n=samples)
    step = int(SAMPLE_RATE * rng.uniform(0.1, 0.6))
    gusts = np.abs(rng.standard_normal(samples // step + 2)) ** 1.5
    return _levelled(rumble * np.interp(np.arange(samples), np.arange(gusts.size) * step, gusts))


def traffic(samples: int, rng: Generator) -> FloatArray:
    """A road: a steady low roar and a few vehicles that pass, (samples,)."""
    hertz = np.linspace(0, SAMPLE_RATE / 2, samples // 2 + 1)

    def roar(corner_hz: float, slope: float) -> np.ndarray:
        spectrum = np.fft.rfft(rng.standard_normal(samples)) / (1 + (hertz / corner_hz) ** slope)
        sound = np.fft.irfft(spectrum, n=samples)
        return np.asarray(sound / np.std(sound))

    total = roar(rng.uniform(150, 600), rng.uniform(1.2, 2.0))
    seconds = np.arange(samples) / SAMPLE_RATE
    for _ in range(int(rng.integers(1, 4))):
        passes, lasts = rng.uniform(0, samples / SAMPLE_RATE), rng.uniform(0.4, 2.5)
        total += rng.uniform(1, 4) * roar(rng.uniform(300, 1200), 1.5) * np.exp(-(((seconds - passes) / lasts) ** 2))
    return _levelled(total)


def _levelled(sound: np.ndarray) -> FloatArray:
    """Scale to a standard deviation of 0.1, (samples,)."""
    return np.asarray(0.1 * sound / (np.std(sound) + 1e-9), np.float32)


NOISES: tuple[Sound, ...] = (*augment.NOISES, wind, traffic, wind, traffic)


def far_room(waveform: FloatArray, rng: Generator) -> FloatArray:
    """A microphone across a room: more of the room's echo than of the voice itself, (samples,)."""
    decay_seconds = rng.uniform(0.35, 1.1)
    time = np.arange(int(SAMPLE_RATE * decay_seconds)) / SAMPLE_RATE
    tail = rng.standard_normal(time.size) * np.exp(-6.9 * time / decay_seconds)
    smooth = int(rng.integers(1, 6))
    tail = np.convolve(tail, np.ones(smooth) / smooth, "same")
    tail[: int(SAMPLE_RATE * 0.004)] = 0
    tail *= 10 ** (-rng.uniform(-8, 2) / 20) / (np.sqrt(np.sum(tail**2)) + 1e-9)
    tail[0] = 1.0
    for _ in range(int(rng.integers(2, 7))):
        tail[int(rng.integers(16, 1200))] += rng.uniform(-0.6, 0.6)
    return np.asarray(fftconvolve(waveform, tail.astype(np.float32))[: waveform.size], np.float32)


def loudspeaker(waveform: FloatArray, rng: Generator) -> FloatArray:
    """Played by a small loudspeaker that is driven hard, and recorded again in a room, (samples,)."""
    hertz = np.linspace(0, SAMPLE_RATE / 2, waveform.size // 2 + 1)
    low, high = rng.uniform(150, 500), rng.uniform(4500, 7800)
    gain = 1 / np.sqrt(1 + (low / np.maximum(hertz, 1)) ** 6) / np.sqrt(1 + (hertz / high) ** 8)
    for _ in range(3):
        centre, width = rng.uniform(300, 6000), rng.uniform(0.15, 0.5)
        gain *= 10 ** (rng.uniform(-8, 8) / 20 * np.exp(-((np.log2(np.maximum(hertz, 40) / centre) / width) ** 2)))
    played = np.fft.irfft(np.fft.rfft(waveform) * gain, n=waveform.size)
    driven = np.tanh(played / (np.abs(played).max() + 1e-9) * rng.uniform(0.5, 2.5)).astype(np.float32)
    recorded = far_room(driven, rng) if rng.uniform() < 0.4 else augment.reverberated(driven, rng)
    return mix(recorded, coloured_noise(waveform.size, rng), rng.uniform(12, 35))


def coded(waveform: FloatArray, rng: Generator) -> FloatArray:
    """Through one of the lossy codecs at a low rate, (samples,)."""
    codecs = [codec for codec in augment.CODECS if can_encode(codec.encoder)]
    codec: Codec = codecs[int(rng.integers(len(codecs)))]
    return recoded(waveform, codec, codec.sample_rates[0], int(rng.choice(codec.bit_rates[:3])))


def in_noise(waveform: FloatArray, babble: Babble, rng: Generator, snr_db: float) -> FloatArray:
    """Before other people's talk or another noise, (samples,)."""
    size = waveform.size
    talking = rng.uniform() < 0.35
    noise = babble(int(rng.integers(2, 7)), size, rng) if talking else NOISES[rng.integers(len(NOISES))](size, rng)
    return mix(waveform, noise, snr_db)


def heard(waveform: FloatArray, channel: str, babble: Babble, rng: Generator, *, fixed: bool) -> FloatArray:
    """A voice through one of `CHANNELS`, (samples,) -> (samples,); `fixed` is that of the scores."""
    size = waveform.size
    if channel == "clean":
        return waveform
    waveform = waveform * np.float32(10 ** rng.uniform(-1.3, 0) / (np.abs(waveform).max() + 1e-9))
    if channel == "telephone":
        if fixed:
            return companded(waveform, "mu")
        return augment.telephone(augment.equalised(waveform, rng) if rng.uniform() < 0.4 else waveform, rng)
    if channel == "noisy" and fixed:
        noise = babble(4, size, rng) if rng.uniform() < 0.5 else coloured_noise(size, rng)
        return mix(waveform, noise, NOISY_SNR_DB)
    if channel in ("noisy", "noisy_again"):  # noise is what costs most: every voice is heard through two of them
        return in_noise(waveform, babble, rng, rng.uniform(2, 20))
    if channel == "street":  # out of doors, by whatever device is at hand
        outdoors = in_noise(waveform, babble, rng, rng.uniform(3, 18))
        outdoors = augment.equalised(outdoors, rng) if rng.uniform() < 0.5 else outdoors
        return augment.telephone(outdoors, rng) if rng.uniform() < 0.5 else coded(outdoors, rng)
    if channel == "room":
        room = far_room(waveform, rng)
        return room if fixed else mix(room, coloured_noise(size, rng), rng.uniform(12, 40))
    if channel == "codec":
        for change, share in ((augment.equalised, 0.5), (augment.clipped, 0.25), (augment.compressed, 0.25)):
            waveform = change(waveform, rng) if rng.uniform() < share else waveform
        return coded(waveform, rng)
    assert channel == "loudspeaker", channel
    return loudspeaker(waveform, rng)


def no_voice(rng: Generator) -> FloatArray:
    """A made sound without speech of 2 to 6 seconds, some of it through a poor microphone, (samples,)."""
    samples = int(SAMPLE_RATE * rng.uniform(2, 6))
    other = (wind, traffic)[int(rng.integers(2))]
    sound = other(samples, rng) if rng.uniform() < 0.2 else augment.not_a_voice(samples, rng)
    return augment.degraded(sound, sound, rng) if rng.uniform() < 0.4 else sound


def babble_of(voices: Callable[[int], FloatArray], rows: Sequence[int]) -> Babble:
    """What makes babble of the voices of some speakers, each as loud as the others."""

    def babble(count: int, samples: int, rng: Generator) -> FloatArray:
        total = np.zeros(samples, np.float32)
        for row in rng.choice(rows, count):
            voice = voices(int(row))
            total += np.resize(voice, samples) / (np.sqrt(np.mean(np.square(voice))) + 1e-6)
        return total

    return babble
