"""The paper's voice encoder: Speech2Face (Oh et al., CVPR 2019), Table 1.

Convolutions are unpadded; the paper does not say, but every re-implementation reads it so (`docs/fidelity.md`). 6 s, or
598 frames, leave 6 time steps ("columns") of 57 frequencies. Every column sees `RECEPTIVE_FRAMES` frames and the next
one begins `COLUMN_HOP` frames later, whatever came before, so any longer duration works and a stream is exact.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn

from speech2face.audio.spectrogram import COMPRESSION, FFT_SIZE, FREQUENCIES, HOP, SAMPLE_SCALE, WINDOW
from speech2face.errors import SpeechTooShort

KERNEL = 4  # time and frequency, every convolution
POOL = 2  # along time only, so that frequency detail survives


@dataclass(frozen=True)
class Layer:
    """One convolution of Table 1 and what follows it."""

    stride: int = 1
    pooled: bool = False
    """A maximum over pairs of time steps comes after it."""


TABLE_1 = (
    Layer(),
    Layer(),
    Layer(pooled=True),
    Layer(pooled=True),
    Layer(pooled=True),
    Layer(pooled=True),
    Layer(),
    Layer(stride=2),
    Layer(stride=2),
)


def _columns(length: int, layers: tuple[Layer, ...] = TABLE_1, *, pool: int = POOL) -> int:
    """What is left of `length` time steps, or of frequencies where nothing is pooled."""
    for layer in layers:
        length = (length - KERNEL) // layer.stride + 1
        if layer.pooled:
            length //= pool
    return length


def column_count(frames: int) -> int:
    """Time steps before the average, at least 0: 598 frames give 6."""
    return max(0, (frames - RECEPTIVE_FRAMES) // COLUMN_HOP + 1)


def _receptive_field() -> tuple[int, int]:
    """Frames that one column sees, and frames from one column to the next."""
    seen, step = 1, 1
    for layer in TABLE_1:
        seen += (KERNEL - 1) * step
        step *= layer.stride
        if layer.pooled:
            seen += (POOL - 1) * step
            step *= POOL
    return seen, step


RECEPTIVE_FRAMES, COLUMN_HOP = _receptive_field()  # 259 frames (2.6 s), 64 frames (0.64 s)
COLUMN_FREQUENCIES = _columns(FREQUENCIES, pool=1)  # 57


@dataclass(frozen=True)
class VoiceEncoderConfig:
    """Sizes of the paper's voice encoder; the defaults are Table 1's."""

    channels: tuple[int, ...] = (64, 64, 128, 128, 128, 256, 512, 512, 512)
    hidden: int = 4096
    """Width of the first fully connected layer."""
    embedding: int = 4096
    """Length of the face embedding: 4096 is VGG-Face's fc7, 128 dlib's network."""
    batch_norm: bool = True
    """False is the paper's ablation, which collapses to one average face."""

    def __post_init__(self) -> None:
        if len(self.channels) != len(TABLE_1) or min(self.channels) < 1:
            raise ValueError(f"channels are {len(TABLE_1)} numbers from 1, one a convolution, not {self.channels}")

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return asdict(self) | {"channels": list(self.channels)}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> VoiceEncoderConfig:
        """From `to_dict`'s result."""
        return cls(**{**values, "channels": tuple(values["channels"])})


class Columns(nn.Module):
    """Spectrogram -> columns: the convolutions, each followed by ReLU, batch normalisation and, where due, a maximum.

    The last one has neither ReLU nor normalisation: they come after the average over time.
    """

    def __init__(self, config: VoiceEncoderConfig) -> None:
        super().__init__()
        self.convolutions = nn.ModuleList()
        self.norms = nn.ModuleList()
        below = 2  # real and imaginary parts
        for layer, channels in zip(TABLE_1, config.channels, strict=True):
            # The paper's order is convolution, ReLU, normalisation, so the convolution keeps its bias.
            self.convolutions.append(nn.Conv2d(below, channels, KERNEL, stride=layer.stride))
            below = channels
        for channels in config.channels[:-1]:
            self.norms.append(nn.BatchNorm2d(channels) if config.batch_norm else nn.Identity())

    def stage(self, number: int, x: Tensor) -> Tensor:
        """One row of Table 1, (batch, channels below, frequency, time) -> (batch, channels, frequency, time)."""
        layer = TABLE_1[number]
        x = self.convolutions[number](x)
        if number + 1 < len(TABLE_1):
            x = self.norms[number](torch.relu(x))
        return nn.functional.max_pool2d(x, (1, POOL)) if layer.pooled else x

    def forward(self, spectrogram: Tensor) -> Tensor:
        """(batch, 2, frequency, frames) -> (batch, channels, COLUMN_FREQUENCIES, columns)."""
        x = spectrogram
        for number in range(len(TABLE_1)):
            x = self.stage(number, x)
        return x


class Head(nn.Module):
    """Mean column -> face embedding: ReLU, normalisation, two fully connected layers."""

    def __init__(self, config: VoiceEncoderConfig) -> None:
        super().__init__()
        channels = config.channels[-1]
        self.norm = nn.BatchNorm2d(channels) if config.batch_norm else nn.Identity()
        self.first = nn.Linear(channels * COLUMN_FREQUENCIES, config.hidden)
        self.second = nn.Linear(config.hidden, config.embedding)

    def forward(self, mean_column: Tensor) -> Tensor:
        """(batch, channels, COLUMN_FREQUENCIES) -> (batch, embedding); linear at the end, so it may be negative."""
        x = self.norm(torch.relu(mean_column.unsqueeze(-1))).flatten(1)  # (batch, channels * COLUMN_FREQUENCIES)
        embedding: Tensor = self.second(torch.relu(self.first(x)))
        return embedding


class VoiceEncoder(nn.Module):
    """Spectrogram -> face embedding, for any duration from `RECEPTIVE_FRAMES` frames."""

    def __init__(self, config: VoiceEncoderConfig) -> None:
        super().__init__()
        self.config = config
        self.columns = Columns(config)
        self.head = Head(config)

    def forward(self, spectrogram: Tensor) -> Tensor:
        """(batch, 2, frequency, frames) -> (batch, embedding).

        Raises:
            SpeechTooShort: fewer than `RECEPTIVE_FRAMES` frames.
        """
        if spectrogram.shape[-1] < RECEPTIVE_FRAMES:
            raise SpeechTooShort(
                f"{spectrogram.shape[-1]} frames are too few for the voice encoder, which sees {RECEPTIVE_FRAMES}"
                " at once; repeat the speech until it is long enough, as the paper does"
            )
        embedding: Tensor = self.head(self.columns(spectrogram).mean(dim=-1))
        return embedding


# --------------------------------------------------------------------------------------------------
# The paper's voice encoder on a stream: every column once, as soon as its frames are there, and their running mean.
# All of Table 1's convolutions are unpadded, so this is exact: whatever the pieces, the embedding is that of the
# whole recording up to float rounding. Between two steps each layer keeps the last time steps of its input that the
# next output still needs, two or three, and nothing else.
# A step takes `COLUMN_HOP` frames, or a multiple, and gives one column, or as many. Before the first step the first
# layer keeps the recording's first `FIRST_FRAMES` frames and all others zeros; what grows out of the zeros are
# `WARM_UP_COLUMNS` columns, which are dropped. So one graph serves the start and what follows, also as ONNX.
# --------------------------------------------------------------------------------------------------

FIRST_FRAMES = KERNEL - TABLE_1[0].stride  # 3
WARM_UP_COLUMNS = (RECEPTIVE_FRAMES - FIRST_FRAMES) // COLUMN_HOP - 1  # 3
assert FIRST_FRAMES + (WARM_UP_COLUMNS + 1) * COLUMN_HOP == RECEPTIVE_FRAMES, "the first column ends with a step"
COLUMNS_AT_ONCE = 8  # 5 s in one step: bounds the memory of a long piece, and is large enough to be fast


class ColumnStep(nn.Module):
    """One step of the stream: new frames and what the layers kept -> new columns and what they keep now."""

    def __init__(self, columns: Columns) -> None:
        super().__init__()
        self.columns = columns

    def forward(self, frames: Tensor, *kept: Tensor) -> tuple[Tensor, ...]:
        """(batch, 2, frequency, COLUMN_HOP * new) -> columns (batch, channels, COLUMN_FREQUENCIES, new), then the kept.

        `kept` are as many tensors as layers, in the shapes of `start`.
        """
        keep = []
        x = frames
        for number, (layer, before) in enumerate(zip(TABLE_1, kept, strict=True)):
            x = torch.cat([before, x], dim=-1)
            keep.append(x[..., x.shape[-1] - (KERNEL - layer.stride) :])
            x = self.columns.stage(number, x)
        return x, *keep

    def start(self, first_frames: Tensor) -> tuple[Tensor, ...]:
        """What is kept before the first step, from a recording's (batch, 2, frequency, FIRST_FRAMES)."""
        assert first_frames.shape[1:] == (2, FREQUENCIES, FIRST_FRAMES)
        batch = first_frames.shape[0]
        return first_frames, *(first_frames.new_zeros(batch, *shape) for shape in self.kept_shapes()[1:])

    def kept_shapes(self) -> list[tuple[int, int, int]]:
        """(channels, frequency, time steps) of what each layer keeps."""
        shapes, frequencies = [], FREQUENCIES
        for layer, convolution in zip(TABLE_1, self.columns.convolutions, strict=True):
            assert isinstance(convolution, nn.Conv2d)
            shapes.append((convolution.in_channels, frequencies, KERNEL - layer.stride))
            frequencies = (frequencies - KERNEL) // layer.stride + 1
        return shapes


class ColumnStream:
    """Spectrogram pieces of any length in, the face embedding of all that was heard so far out."""

    def __init__(self, encoder: VoiceEncoder) -> None:
        """encoder: in evaluation, for in training every column depends on the others in its batch."""
        assert not encoder.training, "a stream needs the encoder in evaluation: encoder.eval()"
        self.encoder = encoder
        self.columns = 0
        """How many are in the mean."""
        self._step = ColumnStep(encoder.columns)
        self._kept: tuple[Tensor, ...] = ()
        self._waiting: list[Tensor] = []  # frames that do not make a step yet, in pieces as they came
        self._frames = 0  # heard in all
        self._done = 0  # of them given to a step, or to its start
        self._made = 0  # columns, the dropped ones too
        self._sum: Tensor | None = None  # of columns, (batch, channels, frequency)

    @property
    def frames(self) -> int:
        """Frames heard so far."""
        return self._frames

    @torch.inference_mode()
    def push(self, spectrogram: Tensor) -> int:
        """Hear a piece (batch, 2, frequency, any); returns how many columns became whole.

        The batch, mostly 1, is that many recordings of one length side by side.
        """
        assert spectrogram.ndim == 4 and spectrogram.shape[1:3] == (2, FREQUENCIES)
        self._frames += spectrogram.shape[-1]
        self._waiting.append(spectrogram)
        before = self.columns
        whole = (self._frames - FIRST_FRAMES) // COLUMN_HOP * COLUMN_HOP + FIRST_FRAMES
        steps = whole - self._done  # frames that can be given to the network
        if steps > 0:
            waiting = torch.cat(self._waiting, dim=-1)  # less than a step and the piece itself
            ready, rest = waiting[..., :steps], waiting[..., steps:]
            self._done += steps
            self._waiting = [rest.clone()]  # a view would hold all of it
            self._run(ready)
        return self.columns - before

    def mean_column(self) -> Tensor:
        """(batch, channels, COLUMN_FREQUENCIES), the mean of all columns so far.

        Raises:
            SpeechTooShort: there is none yet.
        """
        if self._sum is None or not self.columns:
            raise SpeechTooShort(
                f"{self._frames} frames are too few for the voice encoder, which sees {RECEPTIVE_FRAMES} at once;"
                " go on speaking, or repeat the speech until it is long enough, as the paper does"
            )
        return (self._sum / self.columns).float()

    @torch.inference_mode()
    def embedding(self) -> Tensor:
        """(batch, embedding), the face embedding of all that was heard so far.

        Raises:
            SpeechTooShort: fewer than `RECEPTIVE_FRAMES` frames so far.
        """
        found: Tensor = self.encoder.head(self.mean_column())
        return found

    def _run(self, frames: Tensor) -> None:
        """Steps over frames that make whole ones."""
        if not self._kept:
            self._kept = self._step.start(frames[..., :FIRST_FRAMES])
            frames = frames[..., FIRST_FRAMES:]
        for piece in torch.split(frames, COLUMNS_AT_ONCE * COLUMN_HOP, dim=-1):
            if piece.shape[-1]:
                columns, *kept = self._step(piece, *self._kept)
                self._kept = tuple(tensor.clone() for tensor in kept)  # views would hold all of their layers' inputs
                self._add(columns)

    def _add(self, columns: Tensor) -> None:
        grown_of_zeros = min(columns.shape[-1], max(0, WARM_UP_COLUMNS - self._made))
        self._made += columns.shape[-1]
        true = columns[..., grown_of_zeros:]
        # In double precision: hours of columns still add up.
        total = true.double().sum(dim=-1)
        self._sum = total if self._sum is None else self._sum + total
        self.columns += true.shape[-1]


class WaveformColumnStream:
    """Waveform pieces of any length in, the face embedding of all that was heard so far out."""

    def __init__(self, encoder: VoiceEncoder) -> None:
        parameter = next(encoder.parameters())
        self.stream = ColumnStream(encoder)
        self._front_end = SpectrogramFrontEnd().to(parameter.device)
        self._waiting: Tensor | None = None  # samples that the next frame begins with

    @property
    def columns(self) -> int:
        """How many are in the mean."""
        return self.stream.columns

    @torch.inference_mode()
    def push(self, waveform: Tensor) -> int:
        """Hear a piece (batch, samples) float32 at 16 kHz; returns how many columns became whole."""
        heard = waveform if self._waiting is None else torch.cat([self._waiting, waveform], dim=1)
        new = 0
        block = COLUMNS_AT_ONCE * COLUMN_HOP * HOP
        while heard.shape[1] >= WINDOW:
            piece = heard[:, : block + WINDOW - HOP]
            spectrogram = self._front_end(piece)
            new += self.stream.push(spectrogram)
            heard = heard[:, spectrogram.shape[-1] * HOP :]
        self._waiting = heard.clone()
        return new

    def embedding(self) -> Tensor:
        """(batch, embedding), the face embedding of all that was heard so far.

        Raises:
            SpeechTooShort: no column is whole yet, which takes 2.6 s.
        """
        return self.stream.embedding()


# --------------------------------------------------------------------------------------------------
# The front end of `audio/spectrogram.py` for batches of waveforms, on the device where the network is.
# Source: Speech2Face (Oh et al., CVPR 2019), section 3.1. Training computes spectrograms from stored waveforms, a
# thirteenth of their size. It must agree with inference, so every constant comes from `audio/spectrogram.py` and a
# test compares both.
# --------------------------------------------------------------------------------------------------


def from_pcm(samples: Tensor) -> Tensor:
    """16-bit samples as stored in clips -> waveform, float32 in [-1, 1)."""
    assert samples.dtype == torch.int16, "16-bit samples are int16"
    return samples.float() / SAMPLE_SCALE


class SpectrogramFrontEnd(nn.Module):
    """Waveform -> compressed complex spectrogram; fixed, nothing is learned or stored."""

    window: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("window", torch.hann_window(WINDOW), persistent=False)  # periodic, as torch makes it

    def forward(self, waveform: Tensor) -> Tensor:
        """(batch, samples) float32 -> (batch, 2, frequency, frames) float32; channel 0 real, channel 1 imaginary.

        Frames are cut by hand: `torch.stft` frames by the FFT size and gives 597 or 601 of them for 6 s. Always in
        single precision: the power of 0.3 would raise the rounding of bfloat16 into the quiet bins.
        """
        assert waveform.ndim == 2 and waveform.dtype == torch.float32, "waveforms are (batch, samples) float32"
        assert waveform.shape[1] >= WINDOW, "shorter than one window"
        with torch.autocast(waveform.device.type, enabled=False):
            frames = waveform.unfold(1, WINDOW, HOP) * self.window.float()  # (batch, frames, WINDOW)
            transform = torch.fft.rfft(frames, n=FFT_SIZE)  # (batch, frames, frequency)
            parts = torch.view_as_real(transform).permute(0, 3, 2, 1)  # (batch, 2, frequency, frames)
            return torch.copysign(parts.abs().pow(COMPRESSION), parts).contiguous()
