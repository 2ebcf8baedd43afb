"""What a real microphone, room and line do to a voice; nothing that would change its age or gender.

Pitch and speed stay as they are: a changed pitch would need a changed label.
"""

import io
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import av
import numpy as np
from scipy.ndimage import uniform_filter1d
from scipy.signal import fftconvolve

from speech2face.audio.recording import can_encode
from speech2face.audio.spectrogram import SAMPLE_RATE, FloatArray
from speech2face.errors import MissingExtra

# --- Sounds that are not speech, made by arithmetic: noises, tones, hums, music, clicks.
# They are mixed under voices, and alone they teach the voice encoder what is not a voice.

Generator = np.random.Generator
Sound = Callable[[int, Generator], FloatArray]


def _unit(waveform: np.ndarray) -> FloatArray:
    """Scale to a root mean square of 0.1, (samples,)."""
    rms = float(np.sqrt(np.mean(np.square(waveform)))) or 1.0
    return (waveform * (0.1 / rms)).astype(np.float32)


def coloured_noise(samples: int, rng: Generator) -> FloatArray:
    """Noise whose spectrum falls (or rises) by a random power of frequency: white, pink, brown and between."""
    spectrum = np.fft.rfft(rng.standard_normal(samples))
    slope = rng.uniform(-0.3, 1.2)
    frequency = np.maximum(np.arange(spectrum.size) / spectrum.size, 1e-3)
    return _unit(np.fft.irfft(spectrum * frequency ** (-slope), n=samples))


def band_noise(samples: int, rng: Generator) -> FloatArray:
    """Noise in one random band, its level drifting: wind, fans, hiss, applause."""
    spectrum = np.fft.rfft(rng.standard_normal(samples))
    hertz = np.linspace(0, SAMPLE_RATE / 2, spectrum.size)
    centre, width = 10 ** rng.uniform(2, 3.8), rng.uniform(0.3, 1.5)
    shaped = np.fft.irfft(spectrum * np.exp(-((np.log2(np.maximum(hertz, 1) / centre) / width) ** 2)), n=samples)
    rate = rng.uniform(0.2, 8)
    drift = 1 + rng.uniform(0, 0.95) * np.sin(2 * np.pi * (rate * np.arange(samples) / SAMPLE_RATE + rng.uniform()))
    return _unit(shaped * drift)


def hum(samples: int, rng: Generator) -> FloatArray:
    """Mains hum or an engine: harmonics of one low note, slightly unsteady."""
    base = rng.choice([50.0, 60.0, rng.uniform(30, 200)])
    wobble = 1 + rng.uniform(0, 0.01) * np.sin(2 * np.pi * rng.uniform(0.1, 3) * np.arange(samples) / SAMPLE_RATE)
    phase = 2 * np.pi * np.cumsum(base * wobble) / SAMPLE_RATE
    sound = np.zeros(samples)
    for harmonic in range(1, int(rng.integers(3, 30))):
        sound += rng.uniform(0, 1) / harmonic ** rng.uniform(0.5, 1.5) * np.sin(harmonic * phase + rng.uniform(0, 6))
    return _unit(sound + 0.02 * rng.standard_normal(samples))


def tone(samples: int, rng: Generator) -> FloatArray:
    """Sines: one, a dial pair, a sweep or beeps."""
    time = np.arange(samples) / SAMPLE_RATE
    kind = rng.integers(4)
    if kind == 0:
        sound = np.sin(2 * np.pi * rng.uniform(60, 4000) * time)
    elif kind == 1:
        sound = np.sin(2 * np.pi * rng.uniform(300, 1000) * time) + np.sin(2 * np.pi * rng.uniform(1000, 1800) * time)
    elif kind == 2:
        low, high = 10 ** rng.uniform(2, 2.8), 10 ** rng.uniform(2.8, 3.7)
        sound = np.sin(2 * np.pi * np.cumsum(low * (high / low) ** (time / time[-1])) / SAMPLE_RATE)
    else:
        beat = (time * rng.uniform(1, 6)) % 1 < rng.uniform(0.2, 0.7)
        sound = np.sin(2 * np.pi * rng.uniform(300, 3000) * time) * beat
    return _unit(sound + 10 ** rng.uniform(-4, -1.5) * rng.standard_normal(samples))


def clicks(samples: int, rng: Generator) -> FloatArray:
    """Typing, knocks, rain: short decaying bursts at random moments."""
    sound = 0.003 * rng.standard_normal(samples)
    for _ in range(int(samples / SAMPLE_RATE * 10 ** rng.uniform(0, 1.6)) + 1):
        start = int(rng.integers(samples))
        length = int(SAMPLE_RATE * 10 ** rng.uniform(-2.7, -0.8))
        burst = rng.standard_normal(length) * np.exp(-np.linspace(0, 6, length))
        if rng.uniform() < 0.5:
            ring = np.sin(2 * np.pi * 10 ** rng.uniform(2, 3.6) * np.arange(length) / SAMPLE_RATE)
            burst = ring * np.exp(-np.linspace(0, 6, length))
        sound[start : start + length] += rng.uniform(0.2, 1) * burst[: max(0, samples - start)]
    return _unit(sound)


def _note(hertz: float, samples: int, rng: Generator, brightness: float, attack_seconds: float) -> np.ndarray:
    time = np.arange(samples) / SAMPLE_RATE
    vibrato = 1 + rng.uniform(0, 0.008) * np.sin(2 * np.pi * rng.uniform(4, 7) * time)
    phase = 2 * np.pi * np.cumsum(hertz * vibrato) / SAMPLE_RATE
    note = np.zeros(samples)
    for harmonic in range(1, max(2, min(25, int(SAMPLE_RATE / 2 / hertz)))):
        note += harmonic**-brightness * np.sin(harmonic * phase + rng.uniform(0, 6))
    decay = np.exp(-time * rng.uniform(0.2, 6))
    return np.asarray(note * np.minimum(1, time / attack_seconds) * decay)


def music(samples: int, rng: Generator) -> FloatArray:
    """A few synthetic instruments playing notes of one scale over a beat, sometimes with drums."""
    sound = np.zeros(samples)
    root = 110 * 2 ** rng.uniform(-1, 1)
    scale = np.array([0, 2, 4, 5, 7, 9, 11] if rng.uniform() < 0.5 else [0, 2, 3, 5, 7, 8, 10])
    beat = int(SAMPLE_RATE * rng.uniform(0.15, 0.7))
    for _ in range(int(rng.integers(1, 3))):  # instruments
        brightness, attack = rng.uniform(0.6, 2.5), 10 ** rng.uniform(-2.3, -0.7)
        octave, voices, hold = int(rng.integers(0, 4)), int(rng.integers(1, 4)), rng.uniform(0.7, 3)
        for start in range(0, samples, beat * int(rng.integers(1, 3))):
            for _ in range(voices):
                semitone = int(rng.choice(scale)) + 12 * octave
                length = min(int(beat * hold), samples - start)
                if length > 32:
                    played = _note(root * 2 ** (semitone / 12), length, rng, brightness, attack)
                    sound[start : start + length] += rng.uniform(0.3, 1) * played
    if rng.uniform() < 0.5:
        for start in range(0, samples, beat):
            length = min(int(SAMPLE_RATE * rng.uniform(0.03, 0.2)), samples - start)
            sound[start : start + length] += (
                rng.uniform(0.5, 3) * rng.standard_normal(length) * np.exp(-np.linspace(0, 7, length))
            )
    return _unit(sound)


def birds(samples: int, rng: Generator) -> FloatArray:
    """Chirps, sirens, barks: short gliding harmonic calls with pauses; the closest thing to a voice that is none."""
    sound = 0.002 * rng.standard_normal(samples)
    position = int(rng.uniform(0, 0.3) * SAMPLE_RATE)
    while position < samples:
        length = min(int(SAMPLE_RATE * 10 ** rng.uniform(-1.4, 0)), samples - position)
        if length > 64:
            glide = 10 ** rng.uniform(2.2, 3.5) * np.exp(
                rng.uniform(-0.8, 0.8) * np.linspace(0, 1, length)
                + rng.uniform(0, 0.3) * np.sin(np.linspace(0, rng.uniform(0, 60), length))
            )
            phase = 2 * np.pi * np.cumsum(glide) / SAMPLE_RATE
            call = sum(rng.uniform(0, 1) / h * np.sin(h * phase) for h in range(1, int(rng.integers(2, 7))))
            sound[position : position + length] += call * np.hanning(length)
        position += length + int(SAMPLE_RATE * 10 ** rng.uniform(-1.5, 0))
    return _unit(sound)


NOISES: tuple[Sound, ...] = (coloured_noise, band_noise, hum, clicks, music)
NOT_VOICES: tuple[Sound, ...] = (coloured_noise, band_noise, hum, tone, clicks, music, music, music, birds)


def not_a_voice(samples: int, rng: Generator) -> FloatArray:
    """One sound without speech, or two mixed, (samples,), root mean square 0.1."""
    sound = NOT_VOICES[int(rng.integers(len(NOT_VOICES)))](samples, rng)
    if rng.uniform() < 0.3:
        sound = sound + rng.uniform(0.1, 1) * NOT_VOICES[int(rng.integers(len(NOT_VOICES)))](samples, rng)
    return _unit(sound)


def resample(waveform: FloatArray, source_rate: int, target_rate: int) -> FloatArray:
    """Resample with soxr, (samples,) -> (samples,)."""
    import soxr

    return np.asarray(soxr.resample(waveform, source_rate, target_rate, quality="HQ"), np.float32)


def mix(waveform: FloatArray, noise: FloatArray, snr_db: float) -> FloatArray:
    """Add noise at a signal-to-noise ratio measured over the whole, (samples,)."""
    signal_power = float(np.mean(np.square(waveform))) + 1e-12
    noise_power = float(np.mean(np.square(noise))) + 1e-12
    gain = np.sqrt(signal_power / noise_power * 10 ** (-snr_db / 10))
    return np.asarray(waveform + gain * noise[: waveform.size], np.float32)


def companded(waveform: FloatArray, law: str) -> FloatArray:
    """One pass through G.711: 8 kHz with `law` "mu" or "a", and back to 16 kHz, (samples,)."""
    narrow: np.ndarray = np.clip(resample(waveform, SAMPLE_RATE, 8000), -1, 1)
    # The 300 Hz edge of the telephone band: a second-order fall below it, in the spectrum.
    spectrum = np.fft.rfft(narrow)
    hertz = np.fft.rfftfreq(narrow.size, 1 / 8000)
    narrow = np.fft.irfft(spectrum * (1 / (1 + (220 / np.maximum(hertz, 1)) ** 4)) ** 0.5, n=narrow.size)
    magnitude, sign = np.abs(narrow), np.sign(narrow)
    if law == "mu":
        coded = np.log1p(255 * magnitude) / np.log(256)
        coded = np.round(coded * 127) / 127
        magnitude = np.expm1(coded * np.log(256)) / 255
    else:
        scale = 1 + np.log(87.6)
        coded = np.where(magnitude < 1 / 87.6, 87.6 * magnitude, 1 + np.log(np.maximum(87.6 * magnitude, 1))) / scale
        coded = np.round(coded * 127) / 127
        magnitude = np.where(coded * scale < 1, coded * scale, np.exp(coded * scale - 1)) / 87.6
    wide = resample((sign * magnitude).astype(np.float32), 8000, SAMPLE_RATE)
    return np.pad(wide, (0, max(0, waveform.size - wide.size)))[: waveform.size]


@dataclass(frozen=True)
class Codec:
    """A lossy codec as PyAV names it, with the rates it takes and the bit rates of poor connections."""

    encoder: str
    container: str
    sample_rates: tuple[int, ...]
    bit_rates: tuple[int, ...]
    sample_format: str = "s16"


CODECS = (
    Codec("libopus", "ogg", (16000,), (6000, 8000, 12000, 16000, 24000)),
    Codec("libopencore_amrnb", "amr", (8000,), (4750, 5900, 7400, 12200)),
    Codec("libmp3lame", "mp3", (16000,), (16000, 24000, 32000), "s16p"),
    Codec("aac", "mp4", (16000,), (16000, 24000, 32000), "fltp"),
)


def recoded(waveform: FloatArray, codec: Codec, sample_rate: int, bit_rate: int) -> FloatArray:
    """Encode and decode in memory, (samples,) -> about as many samples at 16 kHz.

    Raises:
        MissingExtra: this version of PyAV cannot encode it.
    """
    waveform = resample(waveform, SAMPLE_RATE, sample_rate) if sample_rate != SAMPLE_RATE else waveform
    if not can_encode(codec.encoder):
        raise MissingExtra(f"this PyAV has no encoder {codec.encoder}, which the poor channels need; install 'av<19'")
    buffer = io.BytesIO()
    with av.open(buffer, "w", format=codec.container) as sink:
        stream: Any = sink.add_stream(codec.encoder, rate=sample_rate)
        stream.bit_rate = bit_rate
        stream.codec_context.layout = "mono"
        stream.codec_context.format = codec.sample_format
        pcm = (np.clip(waveform, -1, 1) * 32767).astype(np.int16)[None]
        frame = av.AudioFrame.from_ndarray(pcm, format="s16", layout="mono")
        frame.sample_rate = sample_rate
        converter = av.AudioResampler(
            codec.sample_format, "mono", sample_rate, frame_size=stream.codec_context.frame_size
        )
        for part in [*converter.resample(frame), *converter.resample(None)]:
            sink.mux(stream.encode(part))
        sink.mux(stream.encode(None))
    buffer.seek(0)
    with av.open(buffer, "r") as source:
        converter = av.AudioResampler("flt", "mono", SAMPLE_RATE)
        decoded = [part for frame in source.decode(audio=0) for part in converter.resample(frame)]
        decoded += converter.resample(None)
    return np.concatenate([part.to_ndarray().reshape(-1) for part in decoded]).astype(np.float32)


def reverberated(waveform: FloatArray, rng: Generator) -> FloatArray:
    """A made room: a few early echoes and an exponentially falling, darkening tail, (samples,)."""
    decay_seconds = rng.uniform(0.1, 0.9)
    length = int(SAMPLE_RATE * decay_seconds)
    time = np.arange(length) / SAMPLE_RATE
    tail = rng.standard_normal(length) * np.exp(-6.9 * time / decay_seconds)
    smooth = int(rng.integers(1, 5))
    tail = np.convolve(tail, np.ones(smooth) / smooth, "same")
    tail[: int(SAMPLE_RATE * 0.003)] = 0
    direct_to_tail_db = rng.uniform(-3, 15)
    tail *= 10 ** (-direct_to_tail_db / 20) / (np.sqrt(np.sum(tail**2)) + 1e-9)
    tail[0] = 1.0
    for _ in range(int(rng.integers(0, 6))):
        tail[int(rng.integers(16, min(length, 800)))] += rng.uniform(-0.5, 0.5)
    return np.asarray(fftconvolve(waveform, tail.astype(np.float32))[: waveform.size], np.float32)


def equalised(waveform: FloatArray, rng: Generator) -> FloatArray:
    """A random smooth frequency response: a tilt and a few broad peaks and dips, (samples,)."""
    spectrum = np.fft.rfft(waveform)
    octave = np.log2(np.maximum(np.linspace(0, SAMPLE_RATE / 2, spectrum.size), 40) / 1000)
    gain_db = rng.uniform(-4, 4) * octave
    for _ in range(int(rng.integers(0, 4))):
        gain_db += rng.uniform(-9, 9) * np.exp(-(((octave - rng.uniform(-4, 3)) / rng.uniform(0.3, 1.5)) ** 2))
    if rng.uniform() < 0.3:  # a small microphone hears no bass
        gain_db -= 12 * np.maximum(0, np.log2(rng.uniform(80, 350) / 1000) - octave)
    if rng.uniform() < 0.3:  # a muffled one hears no treble
        gain_db -= rng.uniform(6, 40) * np.maximum(0, octave - np.log2(rng.uniform(2500, 7500) / 1000))
    shaped = np.fft.irfft(spectrum * 10 ** (np.clip(gain_db, -80, 24) / 20), n=waveform.size)
    return np.asarray(shaped, np.float32)


def clipped(waveform: FloatArray, rng: Generator) -> FloatArray:
    """Flatten the loudest samples, (samples,)."""
    limit = float(np.quantile(np.abs(waveform), rng.uniform(0.9, 0.998))) + 1e-6
    return np.asarray(np.clip(waveform, -limit, limit), np.float32)


def compressed(waveform: FloatArray, rng: Generator) -> FloatArray:
    """Automatic gain: loud passages turned down, soft ones up, over some 50 ms, (samples,)."""
    width = int(SAMPLE_RATE * rng.uniform(0.02, 0.2))
    power = uniform_filter1d(np.square(waveform), width)
    gain = (power / (power.max() + 1e-12) + 10 ** rng.uniform(-4, -2.5)) ** (-rng.uniform(0.1, 0.4))
    return np.asarray(waveform * gain, np.float32)


def telephone(waveform: FloatArray, rng: Generator) -> FloatArray:
    """A telephone line: G.711 or AMR at 8 kHz, (samples,)."""
    if rng.uniform() < 0.65:
        return companded(waveform, "mu" if rng.uniform() < 0.5 else "a")
    codec = CODECS[1]
    return recoded(waveform, codec, 8000, int(rng.choice(codec.bit_rates)))


def degraded(waveform: FloatArray, babble: FloatArray, rng: Generator) -> FloatArray:
    """One random microphone, room and line, (samples,); `babble` is other people's speech, at least as long."""
    if rng.uniform() < 0.4:
        waveform = reverberated(waveform, rng)
    if rng.uniform() < 0.5:
        waveform = equalised(waveform, rng)
    if rng.uniform() < 0.55:
        noise = babble if rng.uniform() < 0.2 else NOISES[int(rng.integers(len(NOISES)))](waveform.size, rng)
        waveform = mix(waveform, noise, rng.uniform(3, 30))
    if rng.uniform() < 0.15:
        waveform = compressed(waveform, rng)
    if rng.uniform() < 0.12:
        waveform = clipped(waveform, rng)
    peak = float(np.abs(waveform).max()) + 1e-9
    waveform = waveform * np.float32(10 ** rng.uniform(-1.2, 0) / peak)
    line = rng.uniform()
    if line < 0.3:
        return telephone(waveform, rng)
    if line < 0.5:
        codec = CODECS[int(rng.choice([0, 2, 3]))]
        return recoded(waveform, codec, codec.sample_rates[0], int(rng.choice(codec.bit_rates)))
    return waveform
