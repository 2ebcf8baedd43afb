"""A waveform as the bytes of a sound file, encoded in memory by FFmpeg."""

import io
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np

from speech2face.audio.recording import can_encode
from speech2face.audio.spectrogram import SAMPLE_RATE, SAMPLE_SCALE, FloatArray
from speech2face.errors import InvalidOption

BIT_RATE: Final = 64_000  # of lossy kinds: a voice at 16 kHz loses nothing that is heard
BLOCK_SAMPLES: Final = 60 * SAMPLE_RATE


class SoundKind(NamedTuple):
    """FFmpeg's names of a container and of the encoder that fills it, and the samples it takes."""

    container: str
    encoder: str
    sample_format: str


KINDS: Final = {
    ".wav": SoundKind("wav", "pcm_s16le", "s16"),
    ".flac": SoundKind("flac", "flac", "s16"),
    ".mp3": SoundKind("mp3", "libmp3lame", "s16p"),
    ".ogg": SoundKind("ogg", "libopus", "s16"),
    ".opus": SoundKind("ogg", "libopus", "s16"),
    ".m4a": SoundKind("ipod", "aac", "fltp"),
}
"""By the ending of a file's name."""


def sound_kind(path: Path) -> SoundKind:
    """Return the kind of file that the ending of a name asks for.

    Raises:
        InvalidOption: another ending than those of `KINDS`, or one whose encoder this PyAV does not have.
    """
    kind = KINDS.get(path.suffix.lower())
    if kind is None:
        raise InvalidOption(f"{path} says no kind of sound that can be written; end it in {', '.join(KINDS)}")
    if not can_encode(kind.encoder):
        raise InvalidOption(f"this PyAV has no encoder {kind.encoder}, which {path} needs; end the name in .wav")
    return kind


def encode_waveform(waveform: FloatArray, kind: SoundKind, *, comment: str = "") -> bytes:
    """Return a waveform, (samples,) in [-1, 1] at 16 kHz, as the bytes of a mono file whose comment says `comment`."""
    import av  # 50 ms, and not needed by whoever writes nothing

    buffer = io.BytesIO()
    with av.open(buffer, "w", format=kind.container) as sink:
        sink.metadata["comment"] = comment
        stream: Any = sink.add_stream(kind.encoder, rate=SAMPLE_RATE, layout="mono", format=kind.sample_format)
        if kind.sample_format != "s16" or "opus" in kind.encoder:
            stream.bit_rate = BIT_RATE
        stream.codec_context.open()
        frame_size = stream.codec_context.frame_size or None
        converter = av.AudioResampler(kind.sample_format, "mono", SAMPLE_RATE, frame_size=frame_size)
        for start in range(0, waveform.size, BLOCK_SAMPLES):
            part = waveform[start : start + BLOCK_SAMPLES]
            whole = np.clip(np.rint(part * SAMPLE_SCALE), -SAMPLE_SCALE, SAMPLE_SCALE - 1).astype(np.int16)
            frame = av.AudioFrame.from_ndarray(whole[None], format="s16", layout="mono")
            frame.sample_rate, frame.pts = SAMPLE_RATE, start
            for packet in converter.resample(frame):
                sink.mux(stream.encode(packet))
        for packet in converter.resample(None):
            sink.mux(stream.encode(packet))
        sink.mux(stream.encode(None))
    return buffer.getvalue()
