"""Sound as it arrives, in pieces of any size, becomes a waveform: mono float32 at 16 kHz, as a recording's.

Resampling is FFmpeg's, as for a recording, so that the same samples come out; only what is known at the end of a
recording alone, such as which of its channels are dead, is decided on what was heard so far.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from speech2face.audio.spectrogram import SAMPLE_RATE, FloatArray
from speech2face.errors import CorruptRecording, InvalidOption

if TYPE_CHECKING:
    from av.audio.frame import AudioFrame

Encoding = Literal["s16le", "f32le", "mulaw", "alaw"]
SAMPLE_BYTES: dict[str, int] = {"s16le": 2, "f32le": 4, "mulaw": 1, "alaw": 1}
SAMPLE_RATES = range(8_000, 192_001)  # from a telephone to the fastest sound card
MAX_CHANNELS = 8
LEAST_RESAMPLED_SECONDS = 0.03  # smaller pieces wait for the next: the calls would take longer than the work


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
        if self.encoding not in SAMPLE_BYTES:
            raise InvalidOption(f'the encoding "{self.encoding}" is unknown; send one of {", ".join(SAMPLE_BYTES)}')
        if self.sample_rate not in SAMPLE_RATES:
            raise InvalidOption(
                f"{self.sample_rate} samples a second are outside {SAMPLE_RATES[0]} to {SAMPLE_RATES[-1]}"
            )
        if not 1 <= self.channels <= MAX_CHANNELS:
            raise InvalidOption(f"{self.channels} channels were stated; 1 to {MAX_CHANNELS} can be heard")

    @property
    def frame_bytes(self) -> int:
        """Bytes of one sample of every channel."""
        return SAMPLE_BYTES[self.encoding] * self.channels


def expand_mulaw(codes: np.ndarray) -> np.ndarray:
    """ITU-T G.711 mu-law, (any) uint8 -> int16."""
    inverted = ~codes.astype(np.uint8)
    exponent = (inverted >> 4) & 7
    magnitude = (((inverted & 15).astype(np.int32) << 3) + 0x84 << exponent) - 0x84
    return np.where(inverted & 0x80, -magnitude, magnitude).astype(np.int16)


def expand_alaw(codes: np.ndarray) -> np.ndarray:
    """ITU-T G.711 A-law, (any) uint8 -> int16."""
    toggled = codes.astype(np.uint8) ^ 0x55
    exponent = ((toggled >> 4) & 7).astype(np.int32)
    mantissa = (toggled & 15).astype(np.int32) << 4
    magnitude = np.where(exponent == 0, mantissa + 8, (mantissa + 0x108) << np.maximum(exponent - 1, 0))
    return np.where(toggled & 0x80, magnitude, -magnitude).astype(np.int16)


class StreamResampler:
    """Frames of one format in; all channels at 16 kHz out, at once."""

    def __init__(self) -> None:
        from av.audio.resampler import AudioResampler

        self._swr = AudioResampler(format="flt", rate=SAMPLE_RATE)

    def push(self, frame: "AudioFrame | None") -> FloatArray:
        """The next frame, or None for the end; what became ready, (channels, samples)."""
        blocks = []
        for ready in self._swr.resample(frame):
            interleaved = ready.to_ndarray().astype(np.float32, copy=False)  # (1, samples x channels)
            blocks.append(interleaved.reshape(-1, ready.layout.nb_channels).T)
        return np.concatenate(blocks, axis=1) if blocks else np.zeros((0, 0), np.float32)


class PcmStream:
    """Raw bytes in, cut anywhere; channels at 16 kHz out."""

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
        if len(self._waiting) < self._least_bytes:
            return np.zeros((self.source.channels, 0), np.float32)
        return self._take()

    def finish(self) -> FloatArray:
        """What is still on its way, (channels, samples); half a sample at the end is dropped."""
        ready = [self._take(), self._resampler.push(None)]
        blocks = [block for block in ready if block.size]
        return np.concatenate(blocks, axis=1) if blocks else np.zeros((self.source.channels, 0), np.float32)

    def close(self) -> None:
        """Nothing is held."""

    def _take(self) -> FloatArray:
        from av.audio.frame import AudioFrame

        whole = len(self._waiting) // self.source.frame_bytes * self.source.frame_bytes
        samples = self._samples(self._waiting[:whole])
        self._waiting = self._waiting[whole:]
        if not samples.size:
            return np.zeros((self.source.channels, 0), np.float32)
        layout = {1: "mono", 2: "stereo"}.get(self.source.channels, f"{self.source.channels}c")
        frame = AudioFrame.from_ndarray(
            samples[None], format="flt" if samples.dtype == np.float32 else "s16", layout=layout
        )
        frame.sample_rate = self.source.sample_rate
        ready = self._resampler.push(frame)
        return ready if ready.size else np.zeros((self.source.channels, 0), np.float32)

    def _samples(self, content: bytes) -> np.ndarray:
        if self.source.encoding == "mulaw":
            return expand_mulaw(np.frombuffer(content, np.uint8))
        if self.source.encoding == "alaw":
            return expand_alaw(np.frombuffer(content, np.uint8))
        if self.source.encoding == "s16le":
            return np.frombuffer(content, "<i2")
        samples = np.frombuffer(content, "<f4")
        if not np.isfinite(samples).all():
            raise CorruptRecording("the sound holds samples that are not finite numbers; send it again")
        return samples
