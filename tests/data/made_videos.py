"""Videos made at test time: faces that move over a wall, with a voice; drawn by the shipped model, or photographs."""

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from PIL import Image, ImageFilter

from speech2face.audio.spectrogram import SAMPLE_RATE, FloatArray
from speech2face.face.detect import Picture

RATE = 25  # frames a second
WIDTH, HEIGHT = 640, 360
CODECS = {  # by container: pictures, sound
    ".mp4": ("libx264", "aac"),
    ".webm": ("libvpx", "libopus"),
    ".mkv": ("mpeg4", "pcm_s16le"),
}


@functools.cache
def drawn_face(age: float = 30.0, masculine: float = 0.0) -> Picture:
    """A face of the shipped model, (512, 512, 3): nobody's, and the detector takes it for a photograph."""
    from speech2face.models.attributes import load_attribute_model

    model = load_attribute_model()
    return np.ascontiguousarray(model.runtime.decode(model.release.population.embedding(age, masculine)))


@dataclass(frozen=True)
class Placed:
    """Where a face is in a frame."""

    face: Picture
    x: float = 0.5
    """Centre, as a share of the frame's width."""
    y: float = 0.5
    pixels: int = 300
    """Side of the picture of the face in the frame; the detector's square is about half of it."""
    roll_degrees: float = 0.0
    blur_pixels: float = 0.0


def scene(*placed: Placed, size: tuple[int, int] = (WIDTH, HEIGHT)) -> Picture:
    """A frame (height, width, 3): a plain wall with faces."""
    frame = Image.new("RGB", size, (214, 218, 218))
    for one in placed:
        face = Image.fromarray(one.face).resize((one.pixels, one.pixels), Image.Resampling.LANCZOS)
        face = face.rotate(one.roll_degrees, Image.Resampling.BICUBIC, fillcolor=(214, 218, 218))
        if one.blur_pixels:
            face = face.filter(ImageFilter.GaussianBlur(one.blur_pixels))
        frame.paste(face, (round(one.x * size[0] - one.pixels / 2), round(one.y * size[1] - one.pixels / 2)))
    return np.asarray(frame)


def write_video(
    path: Path,
    frame_at: Callable[[float], Picture] | None,
    *,
    seconds: float,
    waveform: FloatArray | None = None,
    rate: int = RATE,
    key_every: int = 50,
    codecs: tuple[str, str] | None = None,
) -> Path:
    """Encode pictures by their time in seconds, and a voice at 16 kHz; either may be left out."""
    video_codec, audio_codec = codecs or CODECS[path.suffix]
    with av.open(str(path), "w") as sink:
        video: Any = None
        if frame_at is not None:
            first = frame_at(0.0)
            video = sink.add_stream(video_codec, rate=rate)
            video.height, video.width = first.shape[:2]
            video.pix_fmt = "yuv420p"
            video.bit_rate = 1_500_000
            video.codec_context.gop_size = key_every
            if video_codec == "libx264":
                video.options = {"sc_threshold": "0", "preset": "ultrafast", "bf": "2"}
            if video_codec == "libvpx":
                video.options = {"deadline": "realtime", "cpu-used": "8"}
        if waveform is not None:
            _add_sound(sink, audio_codec, waveform)
        if frame_at is not None:
            for number in range(round(seconds * rate)):
                picture = frame_at(number / rate)
                frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
                frame.pts, frame.time_base = number, Fraction(1, rate)
                sink.mux(video.encode(frame))
            sink.mux(video.encode(None))
    return path


def _add_sound(sink: Any, codec: str, waveform: FloatArray) -> None:
    rate = 48_000 if codec == "libopus" else SAMPLE_RATE
    stream = sink.add_stream(codec, rate=rate, layout="mono")
    resampler = av.AudioResampler(format=stream.codec_context.format or "s16", layout="mono", rate=rate)
    frame = av.AudioFrame.from_ndarray(
        np.asarray(np.clip(waveform, -1, 1) * 32767, np.int16)[None], format="s16", layout="mono"
    )
    frame.sample_rate = SAMPLE_RATE
    fifo = av.AudioFifo()
    for part in (*resampler.resample(frame), *resampler.resample(None)):
        part.pts = None
        fifo.write(part)
    for part in fifo.read_many(stream.codec_context.frame_size or 1024, partial=True):
        sink.mux(stream.encode(part))
    sink.mux(stream.encode(None))


def write_wav(path: Path, waveform: FloatArray, *, channels: int = 1) -> Path:
    """16-bit PCM at 16 kHz; nothing but the standard library, and the header can be cut at will."""
    import wave

    with wave.open(str(path), "wb") as file:
        file.setnchannels(channels)
        file.setsampwidth(2)
        file.setframerate(SAMPLE_RATE)
        samples = np.asarray(np.clip(waveform, -1, 1) * 32767, "<i2")
        file.writeframes(np.repeat(samples, channels).tobytes())
    return path


def truncate(path: Path, share: float) -> Path:
    """Keep only the first part of a file's bytes."""
    content = path.read_bytes()
    path.write_bytes(content[: round(len(content) * share)])
    return path


def garble(path: Path, spans: Sequence[tuple[float, float]], seed: int = 0) -> Path:
    """Overwrite stretches of a file, given as shares of its length, with noise."""
    content, random = bytearray(path.read_bytes()), np.random.default_rng(seed)
    for start, stop in spans:
        first, last = round(start * len(content)), round(stop * len(content))
        content[first:last] = random.integers(0, 256, last - first).astype(np.uint8).tobytes()
    path.write_bytes(bytes(content))
    return path
