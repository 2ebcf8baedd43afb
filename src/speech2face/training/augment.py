"""More clips out of those there are: voices through rooms, microphones and lines, and faces between two faces.

Pitch and speed of a voice stay as they are, and so its age and gender: a changed pitch would need a changed label.
"""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import av
import numpy as np
import torch
from numpy.typing import NDArray
from scipy.ndimage import uniform_filter1d
from scipy.signal import fftconvolve
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d, pad

from speech2face.audio.recording import can_encode
from speech2face.audio.spectrogram import SAMPLE_RATE, FloatArray
from speech2face.data.clips import ClipDataset
from speech2face.data.manifest import Manifest, Part
from speech2face.data.members import Clip
from speech2face.data.record import MORPH_OF
from speech2face.data.shards import Place, write_shards
from speech2face.decoder.warp import BorderedSpline
from speech2face.errors import DatasetError, MissingExtra
from speech2face.face.detect import Picture
from speech2face.training.stages import TRAINING_SPLIT, to_unit

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


# --- Augmentation by random morphs of alike faces (Cole et al. 2017): new people between those of a data set.
#
# A seed face A is drawn, then B among its `NEIGHBOURS` nearest; landmarks and textures are interpolated by a random
# weight, and the face so made is set into A's photograph, brought to the new shape, by its gradients. As always in that
# way of blending, the surroundings decide the colours: they stay A's.

NEIGHBOURS = 200  # k of Cole et al.
LANDMARK_WEIGHT = 10.0  # lambda of Cole et al.
REFERENCE_PIXELS = 224  # their picture: landmarks count in its pixels, textures as its numbers in [0, 1]
DESCRIPTOR_PIXELS = 28  # textures are compared at this size, weighted so that distances stay about the same
HULL_MARGIN = -0.03  # of the picture: an outline that the mask cut through would leave a halo in the background


@dataclass(frozen=True, eq=False)
class Draw:
    """Which faces make a morph; places in the data set."""

    seed: int
    partner: int
    weight: float
    """Share of the partner, 0 to 1."""


def face_descriptors(landmarks: Tensor, textures: Tensor) -> Tensor:
    """Vectors, (batch, numbers), from which `nearest_faces` finds distances; see there.

    landmarks (batch, landmarks, 2) in pixels of the textures (batch, 3, size, size).
    """
    shape = landmarks.flatten(1) * (REFERENCE_PIXELS / textures.shape[-1])
    small = adaptive_avg_pool2d(textures, DESCRIPTOR_PIXELS).flatten(1) * (REFERENCE_PIXELS / DESCRIPTOR_PIXELS)
    return torch.cat([shape, small], dim=1)


def nearest_faces(descriptors: Tensor, face: int, landmarks: int, *, count: int = NEIGHBOURS) -> NDArray[np.intp]:
    """The faces nearest to one by lambda ||L_A - L_B|| + ||T_A - T_B||, nearest first, at most `count`, not itself."""
    difference = descriptors - descriptors[face]
    shape, texture = difference[:, : 2 * landmarks], difference[:, 2 * landmarks :]
    distance = LANDMARK_WEIGHT * shape.norm(dim=1) + texture.norm(dim=1)
    distance[face] = torch.inf
    order = torch.argsort(distance, stable=True)[: min(count, len(distance) - 1)]
    return np.asarray(order.cpu().numpy(), dtype=np.intp)


def draw_morph(descriptors: Tensor, landmarks: int, *, seed: int, number: int, neighbours: int = NEIGHBOURS) -> Draw:
    """What the morph of this number is made of: follows from the seed and the number alone."""
    random = np.random.default_rng((seed, number))
    face = int(random.integers(len(descriptors)))
    near = nearest_faces(descriptors, face, landmarks, count=neighbours)
    return Draw(face, int(random.choice(near)), float(random.random()))


@dataclass(frozen=True)
class Morpher:
    """Makes morphs of aligned faces on one mean shape."""

    mean_landmarks: Tensor
    """(landmarks, 2), pixels."""
    size: int
    """Pixels of the faces, both ways."""

    @property
    def spline(self) -> BorderedSpline:
        """The face decoder's warp, at every pixel."""
        return BorderedSpline(self.size, self.size)

    def textures(self, faces: Tensor, landmarks: Tensor) -> Tensor:
        """Faces (batch, 3, size, size) in [0, 1] brought to the mean shape."""
        return self.spline.move(faces, landmarks, self.mean_landmarks.expand_as(landmarks))

    def morph(
        self, faces: tuple[Tensor, Tensor], landmarks: tuple[Tensor, Tensor], weight: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Faces between A and B, (batch, 3, size, size), and their landmarks, (batch, landmarks, 2).

        `faces` and `landmarks` are A's and B's; weight (batch,) is B's share. With a share of 0 it is A's photograph.
        """
        share = weight[:, None, None]
        own = torch.lerp(landmarks[0], landmarks[1], share.expand_as(landmarks[0]))
        # Straight from each photograph to the new shape: by way of the mean shape it would be resampled twice.
        at_own = [self.spline.move(face, points, own) for face, points in zip(faces, landmarks, strict=True)]
        inner = torch.lerp(at_own[0], at_own[1], share[..., None].expand_as(at_own[0]))
        mask = hull_mask(own, self.size, margin_pixels=HULL_MARGIN * self.size)
        return blend_gradients(inner, at_own[0], mask), own


# --- A data set for the face decoder, enlarged by morphs (Cole et al. 2017 made about a million of 12,000 photographs).
# Written once, before the training: a morph's face embedding has to come from the face embedder that made the others,
# and that need not be one that runs inside the training.

Embed = Callable[[Picture], NDArray[np.float32] | None]
"""An aligned face (height, width, 3) -> its embedding, or None where no face is seen."""
FACE_PARTS: tuple[Part, ...] = ("face_embedding", "aligned_face", "landmarks")
ATTEMPTS = 3  # draws a morph wanted, before an embedder that sees no face in most of them is given up
READ_AT_ONCE = 32


@dataclass(frozen=True, eq=False)
class FaceSource:
    """The faces of one split of a data set, read when they are needed."""

    clips: ClipDataset
    licences: list[str]
    consents: list[str]

    @classmethod
    def open(cls, manifest: Manifest, split: str) -> FaceSource:
        """A split of a data set.

        Raises:
            DatasetError: it lacks embeddings, faces or landmarks, or its faces are not square.
        """
        clips = ClipDataset(manifest, split, parts=FACE_PARTS)
        if manifest.layout.face is not None and manifest.layout.face[0] != manifest.layout.face[1]:
            raise DatasetError(f"{manifest.storage}: faces of {manifest.layout.face} pixels; morphs need square ones")
        return cls(clips, *(manifest.column(name, split) for name in ("licence", "consent")))

    def batches(self) -> Iterator[tuple[Tensor, Tensor]]:
        """All faces in order, (batch, 3, size, size) in [0, 1], with their landmarks (batch, landmarks, 2)."""
        for start in range(0, len(self.clips), READ_AT_ONCE):
            batch = self.clips.batch(range(start, min(start + READ_AT_ONCE, len(self.clips))))
            yield to_unit(batch["aligned_face"]), batch["landmarks"]

    def photographs(self) -> Iterator[Clip]:
        """The clips as they are, less what a face decoder does not read."""
        table = self.clips.table
        for number in range(len(self.clips)):
            parts = self.clips[number]
            yield Clip(
                key=table.key_of(number),
                speaker=table.speakers[table.speaker[number]],
                split=table.splits[table.split[number]],
                face_embedding=parts["face_embedding"].numpy(),
                aligned_face=np.ascontiguousarray(parts["aligned_face"].permute(1, 2, 0).numpy()),
                landmarks=parts["landmarks"].numpy(),
                labels={MORPH_OF: ""},
                licence=self.licences[number],
                consent=self.consents[number],
            )

    def joined(self, column: list[str], faces: tuple[int, int]) -> str:
        """What holds for a morph of two faces: the licence, the consent of both."""
        return " and ".join(sorted({column[face] for face in faces}))


def make_morphs(
    source: FaceSource, embed: Embed, *, count: int, seed: int, neighbours: int = NEIGHBOURS
) -> Iterator[Clip]:
    """New people between those of the source, `count` of them; the same again from the same seed.

    Raises:
        DatasetError: fewer than two faces, or the embedder sees a face in too few of the morphs.
    """
    if len(source.clips) < 2:
        raise DatasetError("a morph needs two faces; the training split has fewer")
    mean = torch.cat([landmarks for _, landmarks in source.batches()]).mean(0)
    size = source.clips[0]["aligned_face"].shape[-1]
    morpher = Morpher(mean, size)
    described = [face_descriptors(points, morpher.textures(faces, points)) for faces, points in source.batches()]
    descriptors = torch.cat(described)
    made = 0
    for number in range(ATTEMPTS * count):
        if made == count:
            return
        draw = draw_morph(descriptors, len(mean), seed=seed, number=number, neighbours=neighbours)
        pair = source.clips.batch([draw.seed, draw.partner])
        faces, points = to_unit(pair["aligned_face"]), pair["landmarks"]
        morph, own = morpher.morph((faces[:1], faces[1:]), (points[:1], points[1:]), torch.tensor([draw.weight]))
        picture = morph[0].permute(1, 2, 0).mul(255).round().byte().contiguous().numpy()
        embedding = embed(picture)
        if embedding is None:
            continue
        made += 1
        both, table = (draw.seed, draw.partner), source.clips.table
        yield Clip(
            key=f"morph-{number:08d}",
            speaker=f"morph-{number:08d}",
            split=TRAINING_SPLIT,
            face_embedding=np.asarray(embedding, dtype=np.float32),
            aligned_face=picture,
            landmarks=own[0].numpy(),
            labels={MORPH_OF: " ".join(table.key_of(face) for face in both)},
            licence=source.joined(source.licences, both),
            consent=source.joined(source.consents, both),
        )
    raise DatasetError(
        f"the face embedder saw a face in only {made} of {ATTEMPTS * count} morphs; are these aligned as it expects?"
    )


def write_morphs(
    manifest: Manifest, folder: Place, embed: Embed, *, count: int, seed: int = 0, neighbours: int = NEIGHBOURS
) -> None:
    """A data set with the faces of another and `count` morphs of its training split's; waveforms are left behind.

    Raises:
        DatasetError: as `make_morphs`.
        OutputExists, CannotWrite: the folder holds a data set, or cannot be written.
    """

    def everything() -> Iterator[Clip]:
        for split in manifest.splits:
            yield from FaceSource.open(manifest, split).photographs()
        training = FaceSource.open(manifest, TRAINING_SPLIT)
        yield from make_morphs(training, embed, count=count, seed=seed, neighbours=neighbours)

    made_of = {"morphs": count, "morph_seed": seed, "morphs_of_manifest": manifest.sha256}
    write_shards(folder, everything(), embedder=manifest.embedder, statement=dict(manifest.statement) | made_of)


# --- Gradient-domain composition of two pictures (Perez et al. 2003), solved exactly by sine transforms, on any device.
# Only the gradients are pasted, not the colours, so no seam is left at the edge of the mask. The unknowns are all
# pixels but the picture's outermost, which stay the background's: on such a rectangle the Poisson equation is
# diagonal in sines, a few products of small matrices instead of the sparse system of 50,000 unknowns that an
# irregular boundary needs.

DIRECTIONS = 64  # of the half planes whose common part stands for a convex hull


def hull_mask(points: Tensor, size: int, *, margin_pixels: float = 0.0) -> Tensor:
    """1 inside the convex hull of points (batch, points, 2) grown by the margin, else 0: (batch, 1, size, size)."""
    angles = torch.arange(DIRECTIONS, device=points.device) * (2 * math.pi / DIRECTIONS)
    outward = torch.stack([angles.cos(), angles.sin()])  # (2, directions)
    reach = (points @ outward).amax(dim=1) + margin_pixels  # (batch, directions)
    steps = torch.arange(size, dtype=points.dtype, device=points.device)
    grid = torch.stack([steps.repeat(size), steps.repeat_interleave(size)], dim=-1)  # (size * size, 2)
    inside = ((grid @ outward)[None] <= reach[:, None]).all(dim=2)
    return inside.reshape(-1, 1, size, size).to(points.dtype)


def _sines(count: int, like: Tensor) -> tuple[Tensor, Tensor]:
    """The orthonormal sine transform (count, count), its own inverse, and the eigenvalues of -u'' in it, (count,)."""
    steps = torch.arange(1, count + 1, dtype=torch.float64)
    matrix = torch.sin(torch.outer(steps, steps) * (math.pi / (count + 1))) * math.sqrt(2 / (count + 1))
    eigenvalues = 2 - 2 * torch.cos(steps * (math.pi / (count + 1)))
    return matrix.to(like), eigenvalues.to(like)


def blend_gradients(inner: Tensor, background: Tensor, mask: Tensor) -> Tensor:
    """The picture with inner's gradients inside the mask, the background's outside, and the background's border.

    All (batch, channels, height, width), mask (batch, 1, height, width). Returned in [0, 1], as they are.
    """
    across, down = (_pasted(inner, background, mask, axis) for axis in (3, 2))
    divergence = (across[..., 1:-1, 1:] - across[..., 1:-1, :-1]) + (down[..., 1:, 1:-1] - down[..., :-1, 1:-1])
    border = background - pad(background[..., 1:-1, 1:-1], (1, 1, 1, 1))
    around = border[..., :-2, 1:-1] + border[..., 2:, 1:-1] + border[..., 1:-1, :-2] + border[..., 1:-1, 2:]
    right = around - divergence  # -laplace u = -divergence, what is known of u on the right
    rows, row_values = _sines(right.shape[-2], right)
    columns, column_values = _sines(right.shape[-1], right)
    waves = rows @ right @ columns / (row_values[:, None] + column_values[None])
    return (border + pad(rows @ waves @ columns, (1, 1, 1, 1))).clamp(0.0, 1.0)


def _pasted(inner: Tensor, background: Tensor, mask: Tensor, axis: int) -> Tensor:
    """Differences of neighbours along an axis: the inner picture's where both are inside the mask."""
    count = mask.shape[axis] - 1
    both = mask.narrow(axis, 0, count) * mask.narrow(axis, 1, count)
    return torch.lerp(background.diff(dim=axis), inner.diff(dim=axis), both.expand_as(inner.diff(dim=axis)))
