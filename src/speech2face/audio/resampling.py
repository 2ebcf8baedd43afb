"""Frames as FFmpeg decodes them become channels at 16 kHz, and channels become one waveform."""

from typing import TYPE_CHECKING

import numpy as np

from speech2face.audio.spectrogram import SAMPLE_RATE, FloatArray
from speech2face.config import MAX_RECORDING_CHANNELS, MAX_RECORDING_SECONDS
from speech2face.errors import CorruptRecording, RecordingTooLong

if TYPE_CHECKING:
    from av.audio.fifo import AudioFifo
    from av.audio.frame import AudioFrame
    from av.audio.layout import AudioLayout
    from av.audio.resampler import AudioResampler

DEAD_CHANNEL_DB = 30.0  # a channel this far under the loudest one carries cross-talk or hiss, not the voice
SAMPLE_RATES = range(1_000, 1_536_001)  # what hardware does, with room; beyond it a header is damaged, and takes ages
GATHERED_SAMPLES = 16_384  # a third of a second at 48 kHz, accordingly less of over `MAX_RECORDING_CHANNELS` channels
MOST_CHANNELS = 64  # the most that FFmpeg resamples; a damaged header states 65,535
# Some kilobytes of FLAC can claim half an hour of eight silent channels: 2 GB while they are mixed. So one channel may
# always be as long as the limit; beyond that a file may take what it would at 320 bit/s a channel, less than a voice.
FREE_BYTES = int(MAX_RECORDING_SECONDS) * SAMPLE_RATE * 4
BYTES_A_BYTE = 8 * SAMPLE_RATE * 4 // 320


class ChannelResampler:
    """Frames of any format, rate and layout in; all channels at 16 kHz out, as many as the first frame has.

    Frames are gathered before they are resampled: one by one, as small as decoders make them, the calls would take
    longer than the work.
    """

    def __init__(self, name: str, max_seconds: float, file_bytes: int | None = None) -> None:
        self.name = name
        self.max_seconds = max_seconds
        self.most_bytes = None if file_bytes is None else FREE_BYTES + BYTES_A_BYTE * file_bytes
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
            self.flush()
            self.format = found
            self._begin(frame)
        assert self.gathered is not None
        frame.pts = None  # gaps and jumps in time stamps are not filled: only what was recorded counts
        self.gathered.write(frame)
        channels = max(MAX_RECORDING_CHANNELS, frame.layout.nb_channels)
        if self.gathered.samples * channels >= GATHERED_SAMPLES * MAX_RECORDING_CHANNELS:
            self._resample()

    def finish(self) -> FloatArray:
        """Everything so far, (channels, samples)."""
        self.flush()
        return np.concatenate(self.blocks, axis=1) if self.blocks else np.zeros((1, 0), np.float32)

    def _begin(self, frame: "AudioFrame") -> None:
        from av.audio.fifo import AudioFifo
        from av.audio.resampler import AudioResampler

        if frame.sample_rate not in SAMPLE_RATES:
            raise CorruptRecording(f"{self.name} states {frame.sample_rate} samples a second; export it again")
        if frame.layout.nb_channels > MOST_CHANNELS:
            found = f"{frame.layout.nb_channels} channels, at most {MOST_CHANNELS} are read"
            raise CorruptRecording(f"{self.name} states {found}; export it again")
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

    def flush(self) -> None:
        """Resample what is still gathered into `blocks`, (channels, samples) each; the next frame begins anew."""
        if self.swr is not None:
            self._resample()
            self._keep(self.swr.resample(None))
            self.gathered = self.swr = None

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
            if self.most_bytes is not None and self.samples * block.shape[0] * block.itemsize > self.most_bytes:
                found = f"over {self.samples / SAMPLE_RATE:.0f} s in {block.shape[0]} channels"
                raise RecordingTooLong(f"{self.name} claims {found}: so few bytes hold no voice for so long")


def mix(channels: FloatArray) -> FloatArray:
    """All channels that carry sound in one, (channels, samples) -> (samples,) in [-1, 1].

    A dead channel would cost 6 dB and an inverted one everything, so the first is left out and the second turned
    round. Samples beyond full scale, which float formats allow, bring the whole down to it: nothing is clipped. One
    channel alone stays as it was recorded, direct current and all: only which channels live is judged without it.
    """
    return mix_blocks([channels])


def mix_blocks(blocks: list[FloatArray]) -> FloatArray:
    """The same of channels in pieces, (channels, samples) each and at least one; empties the list to spare memory."""
    loudest_sample = max(float(np.abs(block).max(initial=0.0)) for block in blocks)
    scale = np.float32(loudest_sample if loudest_sample > 1.0 else 1.0)  # squares must not overflow
    size = sum(block.shape[1] for block in blocks)
    total = np.sum([(block / scale).sum(axis=1, dtype=np.float64) for block in blocks], axis=0)
    centre = (total / max(size, 1)).astype(np.float32)[:, None]  # (channels, 1)
    energy = np.sum([_energy(block / scale - centre) for block in blocks], axis=0)
    live = energy > energy.max() * 10 ** (-DEAD_CHANNEL_DB / 10)
    if not live.any():
        return np.zeros(size, np.float32)
    loudest = int(energy.argmax())
    alike = np.zeros(int(live.sum()), np.float64)
    for block in blocks:
        centred = block / scale - centre
        alike += centred[live] @ centred[loudest]
    signs = np.where(alike < 0, -1.0, 1.0).astype(np.float32)
    mixed = np.empty(size, np.float32)
    at = 0
    while blocks:
        scaled = (blocks.pop(0) / scale)[live]
        mixed[at : at + scaled.shape[1]] = signs @ scaled / np.float32(len(scaled))
        at += scaled.shape[1]
    peak = float(np.abs(mixed).max(initial=0.0))  # the mean of what is within full scale, but for rounding
    return np.asarray(mixed / peak if peak > 1.0 else mixed, np.float32)


def _energy(channels: FloatArray) -> "np.ndarray":
    return np.asarray(np.einsum("cs,cs->c", channels, channels, dtype=np.float64))
