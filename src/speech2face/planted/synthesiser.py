"""Source-filter synthesis of speech-like sound: glottal pulses and noise through formants, saying random syllables.

Source: Klatt and Klatt 1990 (KLGLOTT88 pulse, formant resonators); formants of vowels from Peterson and Barney 1952.
Filters vary in time, so they are applied to short overlapping windows as products of spectra (overlap-add).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from speech2face.audio.spectrogram import SAMPLE_RATE
from speech2face.planted.score import FRAME_RATE, Score, write_score
from speech2face.planted.traits import Voice

FloatArray = NDArray[np.float64]

FRAME = SAMPLE_RATE // FRAME_RATE  # samples from one window to the next
FFT_SIZE = 512  # two frames of sound and 22 ms for the formants to die away
FREQUENCY_HZ = np.fft.rfftfreq(FFT_SIZE, 1 / SAMPLE_RATE)
REFERENCE_TRACT_CENTIMETRES = 17.5  # the men of Peterson and Barney
OVERSAMPLING = 4  # a closing glottis is a corner, which would alias at 16 kHz
OPEN_QUOTIENT = 0.6
UPPER_FORMANTS_HZ = (3500.0, 4500.0, 5500.0, 6500.0, 7500.0)  # of a neutral tube; the lower three are the vowel's
CHANNEL_FROM_HZ = 100.0  # below it a channel is flat
CHANNEL_WAVES = 6  # half waves from there to 8 kHz: about one an octave
UPPER_BANDWIDTHS_HZ = (250.0, 300.0, 400.0, 500.0, 600.0)


def glottal_source(pitch_hz: FloatArray, voice: Voice, rng: np.random.Generator) -> FloatArray:
    """Derivative of the glottal flow, (samples,), for a pitch in Hz at every sample; about unit power."""
    length = pitch_hz.size
    at = np.cumsum(np.repeat(pitch_hz, OVERSAMPLING)) / (SAMPLE_RATE * OVERSAMPLING)  # periods since the beginning
    count = int(1.2 * at[-1]) + 10
    lengths = np.clip(1 + voice.jitter * rng.standard_normal(count), 0.7, 1.3)
    starts = np.cumsum(lengths) - lengths
    assert starts[-1] > at[-1], "jitter leaves the mean period as it is"
    period = np.repeat(np.arange(count), np.diff(np.searchsorted(at, starts), append=at.size))
    phase = (at - starts[period]) / (lengths[period] * OPEN_QUOTIENT)  # 0 to 1 while the glottis is open
    pulse = np.where(phase < 1, 2 * phase - 3 * phase**2, 0.0).astype(np.float32)
    spectrum = np.fft.rfft(pulse)[: length // 2 + 1]
    spectrum[0] = 0
    wave = np.fft.irfft(spectrum, length)
    return np.asarray(wave / np.sqrt(np.mean(wave**2)))


def resonance(formant_hz: FloatArray, bandwidth_hz: FloatArray) -> NDArray[np.complex64]:
    """Frequency response of second-order resonators of unit gain at 0 Hz, (...,) -> (..., frequency)."""
    radius = np.exp(-np.pi * bandwidth_hz / SAMPLE_RATE)[..., None]
    cosine = np.cos(2 * np.pi * formant_hz / SAMPLE_RATE)[..., None]
    delay = np.exp(-2j * np.pi * FREQUENCY_HZ / SAMPLE_RATE).astype(np.complex64)
    first, second = (-2 * radius * cosine).astype(np.float32), (radius**2).astype(np.float32)
    return np.asarray((1 + first + second) / (1 + first * delay + second * delay**2))


def vocal_tract(score: Score, voice: Voice) -> NDArray[np.complex64]:
    """Frequency response of the vocal tract, (frames, frequency)."""
    scale = REFERENCE_TRACT_CENTIMETRES / voice.tract_centimetres
    upper = np.array(UPPER_FORMANTS_HZ) * scale
    audible = upper < 0.48 * SAMPLE_RATE
    response = resonance(upper[audible], np.array(UPPER_BANDWIDTHS_HZ)[audible]).prod(axis=0)[None]
    for number in range(3):
        formant = score.formants_hz[:, number] * scale * (voice.front_cavity if number else 1.0)
        response = response * resonance(np.minimum(formant, 0.48 * SAMPLE_RATE), 50 + 0.04 * formant)
    return np.asarray(response)


def tilt(voice: Voice) -> FloatArray:
    """Gain of the glottal spectrum's fall, (frequency,): voice.tilt_db_per_octave above 500 Hz."""
    octaves = 0.5 * np.log2(1 + (FREQUENCY_HZ / 500.0) ** 2)
    return np.asarray(10 ** (-voice.tilt_db_per_octave * octaves / 20))


def frication(score: Score) -> NDArray[np.float32]:
    """Gain of the noise made at a narrow place, (frames, frequency): a band around its centre."""
    octaves = np.log2(np.maximum(FREQUENCY_HZ, 50.0) / score.frication_hz[:, None])
    band = np.exp(-0.5 * (octaves / score.frication_octaves[:, None]) ** 2)
    return np.asarray(score.frication[:, None] * band, dtype=np.float32)


def _windows(sound: FloatArray, frames: int) -> NDArray[np.complex64]:
    """Spectra of overlapping Hann windows that add up to the sound, (frames, frequency)."""
    hann = np.sin(np.pi * (np.arange(2 * FRAME) + 0.5) / (2 * FRAME)) ** 2
    cut = np.lib.stride_tricks.sliding_window_view(np.pad(sound, FRAME), 2 * FRAME)[::FRAME][:frames]
    return np.fft.rfft((cut * hann).astype(np.float32), FFT_SIZE, axis=1).astype(np.complex64, copy=False)


def _overlap_add(spectra: NDArray[np.complex64], samples: int) -> FloatArray:
    pieces = np.fft.irfft(spectra, FFT_SIZE, axis=1)  # (frames, FFT_SIZE)
    parts = -(-FFT_SIZE // FRAME)
    pieces = np.pad(pieces, ((0, 0), (0, parts * FRAME - FFT_SIZE))).reshape(len(pieces), parts, FRAME)
    whole = np.zeros((len(pieces) + parts, FRAME))
    for part in range(parts):
        whole[part : part + len(pieces)] += pieces[:, part]
    return whole.ravel()[FRAME : FRAME + samples]


def channel(rng: np.random.Generator, spread_db: float) -> FloatArray:
    """Gain of a random microphone and room, (frequency,): smooth over octaves, `spread_db` its standard deviation."""
    octaves = np.log2(np.maximum(FREQUENCY_HZ, CHANNEL_FROM_HZ) / CHANNEL_FROM_HZ)
    waves = np.arange(1, CHANNEL_WAVES + 1)[:, None]
    shapes = np.cos(np.pi * waves * octaves / octaves[-1])  # (waves, frequency), mean square about a half
    gain_db = spread_db * np.sqrt(2 / CHANNEL_WAVES) * rng.standard_normal(CHANNEL_WAVES) @ shapes
    return np.asarray(10 ** (gain_db / 20))


def synthesise(
    voice: Voice, seconds: float, rng: np.random.Generator, *, channel_db: float = 0.0
) -> NDArray[np.float32]:
    """A waveform of `seconds` seconds, (samples,), saying something random in this voice, as a microphone heard it.

    `channel_db` is how much microphones differ; 0 takes one without a sound of its own.
    """
    samples = round(seconds * SAMPLE_RATE)
    score = write_score(voice, -(-samples // FRAME) + 1, rng)
    frames = len(score.pitch_hz)
    pitch_hz = np.interp(np.arange(samples) / FRAME, np.arange(frames), score.pitch_hz)
    voiced = _windows(glottal_source(pitch_hz, voice, rng), frames)
    noise = _windows(rng.standard_normal(samples), frames)
    breath = 10 ** (voice.aspiration_db / 20) * (score.voicing + 2 * score.aspiration)
    source = score.voicing[:, None].astype(np.float32) * (tilt(voice).astype(np.float32) * voiced)
    source = source + breath[:, None].astype(np.float32) * noise
    spectra = source * vocal_tract(score, voice) + frication(score) * noise
    if channel_db:
        spectra = spectra * channel(rng, channel_db).astype(np.float32)
    return _record(_overlap_add(spectra, samples), rng)


def _record(sound: FloatArray, rng: np.random.Generator) -> NDArray[np.float32]:
    """Level of -26 to -22 dB of full scale, and a room's noise 30 to 50 dB below it."""
    level = 10 ** (rng.uniform(-26, -22) / 20)
    sound = sound * (level / np.sqrt(np.mean(sound**2)))
    spectrum = np.fft.rfft(rng.standard_normal(sound.size))
    spectrum /= np.sqrt(1 + np.fft.rfftfreq(sound.size, 1 / SAMPLE_RATE) / 300.0)  # rooms rumble
    room = np.fft.irfft(spectrum, sound.size)
    room *= level * 10 ** (-rng.uniform(30, 50) / 20) / np.sqrt(np.mean(room**2))
    return np.clip(sound + room, -1, 1).astype(np.float32)
