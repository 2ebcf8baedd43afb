"""Media whose pictures and sound both tell the time, with time stamps as streams, cameras and recorders write them."""

from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np

from speech2face.audio.spectrogram import SAMPLE_RATE, FloatArray
from speech2face.face.detect import Picture

CODECS = {
    ".ts": ("libx264", "aac"),
    ".mp4": ("libx264", "aac"),
    ".flv": ("libx264", "aac"),
    ".mkv": ("libx264", "pcm_s16le"),
    ".webm": ("libvpx", "libopus"),
    ".mpg": ("mpeg2video", "mp2"),
    ".avi": ("mpeg4", "pcm_s16le"),
}
RATE = 10  # pictures a second; MPEG-1 and 2 know 25 and more only
RATES = {".mpg": 25}
TONE_HZ, RISE_HZ = 200.0, 100.0  # at second 0, and so much more each second
CLOCK_SECONDS = 20.0  # the darkest picture is that of second 0, the lightest this one's
TICKS = 90_000


def clock(seconds: float) -> Picture:
    """A picture (64, 96, 3) whose grey tells the time."""
    return np.full((64, 96, 3), 16 + round(seconds / CLOCK_SECONDS * 220), np.uint8)


def time_shown(picture: Picture) -> float:
    """What the clock shows, to a tenth of a second or two."""
    return (float(picture.mean()) - 16) / 220 * CLOCK_SECONDS


def chirp(start: float, stop: float) -> FloatArray:
    """A tone whose pitch tells the time."""
    time = np.arange(round(start * SAMPLE_RATE), round(stop * SAMPLE_RATE)) / SAMPLE_RATE
    return np.asarray(0.4 * np.sin(2 * np.pi * (TONE_HZ * time + RISE_HZ / 2 * time**2)), np.float32)


def time_heard(waveform: FloatArray, at: float = 0.0) -> float:
    """When the tone `at` seconds into the waveform was sounded, from half a second of it."""
    piece = waveform[round(at * SAMPLE_RATE) :][: SAMPLE_RATE // 2]
    spectrum = np.abs(np.fft.rfft(piece * np.hanning(piece.size), 16 * piece.size))
    peak = float(np.argmax(spectrum)) * SAMPLE_RATE / (16 * piece.size)
    return (peak - TONE_HZ) / RISE_HZ - piece.size / SAMPLE_RATE / 2


@dataclass(frozen=True)
class Streamed:
    """What is in a media and how its stamps are written; second 0 is that of the clock and the tone."""

    pictures: tuple[float, float] | None = (0.0, 8.0)
    sound: tuple[float, float] | None = (0.0, 8.0)
    key_every: float = 2.0
    """Seconds between key frames, from the first picture on."""
    shift_seconds: float = 0.0
    """Second 0 gets this stamp."""
    options: dict[str, str] = field(default_factory=dict)
    """Of the container."""


def write_streamed(path: Path, streamed: Streamed, waveform: FloatArray | None = None, still: Any = None) -> Path:
    """Encode it as the name's ending says; a voice and a picture may stand in for the clocks."""
    picture_codec, sound_codec = CODECS[path.suffix]
    formats = {".ts": "mpegts", ".mpg": "mpeg"}
    with av.open(str(path), "w", format=formats.get(path.suffix), options=streamed.options) as sink:
        rate = RATES.get(path.suffix, RATE)
        video = None if streamed.pictures is None else _add_pictures(sink, picture_codec, rate, streamed, still)
        audio = None if streamed.sound is None else _add_sound(sink, sound_codec)
        packets: list[Any] = []
        if video is not None:
            packets += _pictures(video, rate, streamed, still)
        if audio is not None:
            packets += _sound(audio, streamed, waveform)
        for packet in sorted(packets, key=lambda each: each.dts * each.time_base):
            sink.mux(packet)
    return path


def _add_pictures(sink: Any, codec: str, rate: int, streamed: Streamed, still: Any) -> Any:
    video = sink.add_stream(codec, rate=rate)
    video.height, video.width = clock(0.0).shape[:2] if still is None else still.shape[:2]
    video.pix_fmt = "yuv420p"
    video.bit_rate = 1_500_000
    video.codec_context.gop_size = round(streamed.key_every * rate)
    if codec == "libx264":
        video.options = {"sc_threshold": "0", "preset": "ultrafast", "bf": "2", "b-adapt": "0"}
    if codec == "libvpx":
        video.options = {"deadline": "realtime", "cpu-used": "8"}
    if codec == "mpeg2video":
        video.options = {"sc_threshold": "1000000000"}
    return video


def _pictures(video: Any, rate: int, streamed: Streamed, still: Any) -> list[Any]:
    assert streamed.pictures is not None
    start, stop = streamed.pictures
    packets = []
    for number in range(round(start * rate), round(stop * rate)):
        at = number / rate
        frame = av.VideoFrame.from_ndarray(clock(at) if still is None else still, format="rgb24")
        frame.pts, frame.time_base = number + round(streamed.shift_seconds * rate), Fraction(1, rate)
        packets += video.encode(frame)
    return [*packets, *video.encode(None)]


def _add_sound(sink: Any, codec: str) -> Any:
    return sink.add_stream(codec, rate=48_000 if codec in ("libopus", "mp2") else SAMPLE_RATE, layout="mono")


def _sound(audio: Any, streamed: Streamed, waveform: FloatArray | None) -> list[Any]:
    assert streamed.sound is not None
    start, stop = streamed.sound
    sounded = chirp(start, stop) if waveform is None else waveform[: round((stop - start) * SAMPLE_RATE)]
    context = audio.codec_context
    resampler = av.AudioResampler(format=context.format or "s16", layout="mono", rate=context.rate)
    frame = av.AudioFrame.from_ndarray((sounded * 32767).astype(np.int16)[None], format="s16", layout="mono")
    frame.sample_rate = SAMPLE_RATE
    fifo = av.AudioFifo()
    for part in (*resampler.resample(frame), *resampler.resample(None)):
        part.pts = None
        fifo.write(part)
    packets, at = [], round((start + streamed.shift_seconds) * context.rate)
    for part in fifo.read_many(context.frame_size or 1024, partial=True):
        part.pts, part.time_base = at, Fraction(1, context.rate)
        at += part.samples
        packets += audio.encode(part)
    return [*packets, *audio.encode(None)]
