"""Sound as it arrives, in pieces of any size, becomes channels at 16 kHz, as a recording does at once.

Resampling is FFmpeg's, with the settings used for a recording, so that the same samples come out however they are cut.
"""

import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol

import numpy as np

from speech2face.audio.arguments import whole_number
from speech2face.audio.spectrogram import SAMPLE_RATE, FloatArray
from speech2face.errors import CorruptRecording, InvalidOption

if TYPE_CHECKING:
    from av.audio.frame import AudioFrame
    from av.audio.layout import AudioLayout
    from av.audio.resampler import AudioResampler

Encoding = Literal["s16le", "f32le", "mulaw", "alaw"]
SAMPLE_BYTES: dict[str, int] = {"s16le": 2, "f32le": 4, "mulaw": 1, "alaw": 1}
SAMPLE_RATES = range(8_000, 192_001)  # from a telephone to the fastest sound card
MAX_CHANNELS = 8
LEAST_RESAMPLED_SECONDS = 0.03  # smaller pieces wait for the next: the calls would take longer than the work
LAYOUTS = ("mono", "stereo", "2.1", "quad", "5.0", "5.1", "6.1", "7.1")  # FFmpeg's for one to eight; all are kept apart


class SoundStream(Protocol):
    """Bytes in, cut anywhere; channels at 16 kHz out."""

    def push(self, chunk: bytes) -> FloatArray:
        """The next bytes; what became ready, (channels, samples).

        Raises:
            CorruptRecording, RecordingTooLong: the sound is damaged, or swells beyond what is read.
        """
        ...

    def finish(self) -> FloatArray:
        """The end; what was still on its way, (channels, samples)."""
        ...

    def close(self) -> None:
        """Let go of everything; harmless when done twice."""
        ...


@dataclass(frozen=True)
class PcmFormat:
    """Raw samples, channels interleaved."""

    encoding: Encoding = "s16le"
    sample_rate: int = SAMPLE_RATE
    channels: int = 1

    def __post_init__(self) -> None:
        """Refuse what cannot be.

        Raises:
            InvalidOption: with what is possible.
        """
        if not isinstance(self.encoding, str) or self.encoding not in SAMPLE_BYTES:
            raise InvalidOption(f'the encoding "{self.encoding}" is unknown; send one of {", ".join(SAMPLE_BYTES)}')
        rate = whole_number("sample_rate", self.sample_rate, -sys.maxsize, sys.maxsize)
        if rate not in SAMPLE_RATES:
            raise InvalidOption(
                f"{self.sample_rate} samples a second are outside {SAMPLE_RATES[0]} to {SAMPLE_RATES[-1]};"
                " resample before sending"
            )
        if not 1 <= whole_number("channels", self.channels, -sys.maxsize, sys.maxsize) <= MAX_CHANNELS:
            raise InvalidOption(f"{self.channels} channels were stated; 1 to {MAX_CHANNELS} can be heard")

    @property
    def frame_bytes(self) -> int:
        """Bytes of one sample of every channel."""
        return SAMPLE_BYTES[self.encoding] * self.channels


def expand_mulaw(codes: np.ndarray) -> np.ndarray:
    """ITU-T G.711, table 2a: mu-law codes (any) uint8 -> int16."""
    inverted = ~codes.astype(np.uint8)
    exponent = (inverted >> 4) & 7
    magnitude = ((((inverted & 15).astype(np.int32) << 3) + 0x84) << exponent) - 0x84
    return np.where(inverted & 0x80, -magnitude, magnitude).astype(np.int16)


def expand_alaw(codes: np.ndarray) -> np.ndarray:
    """ITU-T G.711, table 1a: A-law codes (any) uint8 -> int16."""
    toggled = codes.astype(np.uint8) ^ 0x55
    exponent = ((toggled >> 4) & 7).astype(np.int32)
    mantissa = (toggled & 15).astype(np.int32) << 4
    magnitude = np.where(exponent == 0, mantissa + 8, (mantissa + 0x108) << np.maximum(exponent - 1, 0))
    return np.where(toggled & 0x80, magnitude, -magnitude).astype(np.int16)


class StreamResampler:
    """Frames of any format and rate in; all channels at 16 kHz out, as many as the first frame has."""

    def __init__(self) -> None:
        self._swr: AudioResampler | None = None
        self._format: tuple[str, str, int] | None = None
        self._layout: AudioLayout | None = None

    def push(self, frame: "AudioFrame") -> FloatArray:
        """The next frame; what became ready, (channels, samples)."""
        from av.audio.resampler import AudioResampler

        blocks = []
        found = (frame.format.name, frame.layout.name, frame.sample_rate)
        if found != self._format:  # joined Ogg streams change in the middle
            blocks.append(self.finish())
            self._format, self._layout = found, self._layout or frame.layout
            self._swr = AudioResampler(format="flt", layout=self._layout, rate=SAMPLE_RATE)
        frame.pts = None  # gaps and jumps in time stamps are not filled: only what was recorded counts
        assert self._swr is not None
        return joined([*blocks, *map(_channels, self._swr.resample(frame))])

    def finish(self) -> FloatArray:
        """What the filter still holds, (channels, samples)."""
        if self._swr is None:
            return np.zeros((1, 0), np.float32)
        ready, self._swr, self._format = self._swr.resample(None), None, None
        return joined([_channels(frame) for frame in ready])


def _channels(frame: "AudioFrame") -> FloatArray:
    interleaved = frame.to_ndarray().astype(np.float32, copy=False)  # (1, samples x channels)
    return interleaved.reshape(-1, frame.layout.nb_channels).T  # (channels, samples)


def joined(blocks: list[FloatArray]) -> FloatArray:
    """Blocks (channels, samples) one after the other, those without samples left out."""
    filled = [block for block in blocks if block.size]
    return np.concatenate(filled, axis=1) if filled else np.zeros((1, 0), np.float32)


class PcmStream:
    """Raw samples as bytes, cut anywhere."""

    def __init__(self, source: PcmFormat) -> None:
        self.source = source
        self._waiting = b""
        self._resampler = StreamResampler()
        self._least_bytes = int(LEAST_RESAMPLED_SECONDS * source.sample_rate) * source.frame_bytes

    def push(self, chunk: bytes) -> FloatArray:
        """The next bytes; what became ready, (channels, samples).

        Raises:
            CorruptRecording: samples that are not finite numbers.
        """
        self._waiting += chunk
        return self._take() if len(self._waiting) >= self._least_bytes else np.zeros((1, 0), np.float32)

    def finish(self) -> FloatArray:
        """What is still on its way, (channels, samples); half a sample at the end is dropped."""
        return joined([self._take(), self._resampler.finish()])

    def close(self) -> None:
        """Nothing is held but memory."""
        self._waiting = b""

    def _take(self) -> FloatArray:
        from av.audio.frame import AudioFrame

        whole = len(self._waiting) // self.source.frame_bytes * self.source.frame_bytes
        samples = self._samples(self._waiting[:whole])
        self._waiting = self._waiting[whole:]
        if not samples.size:
            return np.zeros((1, 0), np.float32)
        frame = AudioFrame.from_ndarray(
            samples[None],
            format="flt" if samples.dtype == np.float32 else "s16",
            layout=LAYOUTS[self.source.channels - 1],
        )
        frame.sample_rate = self.source.sample_rate
        return self._resampler.push(frame)

    def _samples(self, content: bytes) -> np.ndarray:
        """Interleaved samples, (samples x channels,): int16, or float32 as it came."""
        if self.source.encoding == "s16le":
            return np.frombuffer(content, "<i2")
        if self.source.encoding == "mulaw":
            return expand_mulaw(np.frombuffer(content, np.uint8))
        if self.source.encoding == "alaw":
            return expand_alaw(np.frombuffer(content, np.uint8))
        samples = np.frombuffer(content, "<f4")
        if not np.isfinite(samples).all():
            raise CorruptRecording("the sound holds samples that are not finite numbers; send it again")
        return samples
