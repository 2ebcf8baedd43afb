"""What a real microphone, room and line do to a voice; nothing that would change its age or gender.

Pitch and speed stay as they are: a changed pitch would need a changed label.
"""

import io
from dataclasses import dataclass
from typing import Any

import av
import numpy as np
from scipy.ndimage import uniform_filter1d
from scipy.signal import fftconvolve

from speech2face.audio.spectrogram import SAMPLE_RATE, FloatArray
from speech2face.errors import MissingExtra
from speech2face.evaluation.encoding import can_encode
from speech2face.training.sounds import NOISES, Generator


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
