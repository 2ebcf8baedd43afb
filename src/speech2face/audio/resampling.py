"""Frames as FFmpeg decodes them become channels at 16 kHz, and channels become one waveform."""

from typing import TYPE_CHECKING

import numpy as np

from speech2face.audio.spectrogram import SAMPLE_RATE, FloatArray
from speech2face.config import MAX_RECORDING_CHANNELS
from speech2face.errors import CorruptRecording, RecordingTooLong

if TYPE_CHECKING:
    from av.audio.fifo import AudioFifo
    from av.audio.frame import AudioFrame
    from av.audio.layout import AudioLayout
    from av.audio.resampler import AudioResampler

DEAD_CHANNEL_DB = 30.0  # a channel this far under the loudest one carries cross-talk or hiss, not the voice
SAMPLE_RATES = range(1_000, 1_536_001)  # what hardware does, with room; beyond it a header is damaged, and takes ages
GATHERED_SAMPLES = 16_384  # a third of a second at 48 kHz


class ChannelResampler:
    """Frames of any format, rate and layout in; all channels at 16 kHz out, as many as the first frame has.

    Frames are gathered before they are resampled: one by one, as small as decoders make them, the calls would take
    longer than the work.
    """

    def __init__(self, name: str, max_seconds: float) -> None:
        self.name = name
        self.max_seconds = max_seconds
        self.blocks: list[FloatArray] = []
        self.samples = 0
        self.gathered: AudioFifo | None = None
        self.swr: AudioResampler | None = None
        self.layout: AudioLayout | None = None
        self.format: tuple[str, str, int] | None = None
        self.sample_rate = 0  # of the first frame; what the container says may be that of a later part

    def add(self, frame: "AudioFrame") -> None:
        """Take the next frame."""
        # Joined Ogg and MP3 files change in the middle. AudioFifo trusts what it is given: it must not see that.
        found = (frame.format.name, frame.layout.name, frame.sample_rate)
        if self.gathered is None or found != self.format:
            self._flush()
            self.format = found
            self._begin(frame)
        assert self.gathered is not None
        frame.pts = None  # gaps and jumps in time stamps are not filled: only what was recorded counts
        self.gathered.write(frame)
        if self.gathered.samples >= GATHERED_SAMPLES:
            self._resample()

    def finish(self) -> FloatArray:
        """Everything so far, (channels, samples)."""
        self._flush()
        return np.concatenate(self.blocks, axis=1) if self.blocks else np.zeros((1, 0), np.float32)

    def _begin(self, frame: "AudioFrame") -> None:
        from av.audio.fifo import AudioFifo
        from av.audio.resampler import AudioResampler

        if frame.sample_rate not in SAMPLE_RATES:
            raise CorruptRecording(f"{self.name} states {frame.sample_rate} samples a second; export it again")
        self.layout = self.layout or frame.layout
        self.sample_rate = self.sample_rate or frame.sample_rate
        self.gathered = AudioFifo()
        self.swr = AudioResampler(format="flt", layout=self.layout, rate=SAMPLE_RATE)

    def _resample(self) -> None:
        assert self.gathered is not None
        assert self.swr is not None
        frame = self.gathered.read()
        if frame is not None:
            self._keep(self.swr.resample(frame))

    def _flush(self) -> None:
        if self.swr is not None:
            self._resample()
            self._keep(self.swr.resample(None))

    def _keep(self, frames: "list[AudioFrame]") -> None:
        for frame in frames:
            # Interleaved: PyAV 18 miscounts the planes of eight channels and more.
            interleaved = frame.to_ndarray().astype(np.float32, copy=False)  # (1, samples x channels)
            block = interleaved.reshape(-1, frame.layout.nb_channels).T  # (channels, samples)
            self.blocks.append(block)
            self.samples += block.shape[1]
            limit = self.max_seconds * min(1.0, MAX_RECORDING_CHANNELS / block.shape[0])
            if self.samples > limit * SAMPLE_RATE:
                raise RecordingTooLong(f"{self.name} goes on after {limit:.0f} s, the most that is read; cut it first")


def mix(channels: FloatArray) -> FloatArray:
    """All channels that carry sound in one, (channels, samples) -> (samples,) in [-1, 1].

    A dead channel would cost 6 dB and an inverted one everything, so the first is left out and the second turned
    round. Samples beyond full scale, which float formats allow, bring the whole down to it: nothing is clipped. One
    channel alone stays as it was recorded, direct current and all: only which channels live is judged without it.
    """
    loudest_sample = float(np.abs(channels).max(initial=0.0))
    scaled = channels / np.float32(loudest_sample) if loudest_sample > 1.0 else channels  # squares must not overflow
    centred = scaled - scaled.mean(axis=1, keepdims=True, dtype=np.float64).astype(np.float32)
    energy = np.einsum("cs,cs->c", centred, centred, dtype=np.float64)
    live = energy > energy.max() * 10 ** (-DEAD_CHANNEL_DB / 10)
    if not live.any():
        return np.zeros(channels.shape[1], np.float32)
    loudest = centred[int(energy.argmax())]
    signs = np.where(centred[live] @ loudest < 0, -1.0, 1.0).astype(np.float32)
    mixed = signs @ scaled[live] / np.float32(live.sum())  # (samples,)
    peak = float(np.abs(mixed).max())  # the mean of what is within full scale, but for rounding
    return np.asarray(mixed / peak if peak > 1.0 else mixed, np.float32)
