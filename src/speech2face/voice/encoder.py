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

from speech2face.audio.spectrogram import FREQUENCIES
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
