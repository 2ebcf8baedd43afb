"""The paper's voice encoder: Speech2Face (Oh et al., CVPR 2019), Table 1.

Convolutions are unpadded; the paper does not say, but every re-implementation reads it so (`docs/fidelity.md`). 6 s, or
598 frames, leave 6 time steps ("columns") of 57 frequencies. Every column sees `RECEPTIVE_FRAMES` frames and the next
one begins `COLUMN_HOP` frames later, whatever came before, so any longer duration works and a stream is exact.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Protocol

import torch
from pydantic import BaseModel, Field, model_validator
from torch import Tensor, nn

from speech2face.audio.spectrogram import COMPRESSION, FFT_SIZE, FREQUENCIES, HOP, SAMPLE_RATE, SAMPLE_SCALE, WINDOW
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

    def front_end(self, waveform: Tensor) -> Tensor:
        """(batch, samples) -> (batch, 2, frequency, frames); fixed, no part of the network's numbers."""
        spectrogram: Tensor = _front_end(waveform.device)(waveform)
        return spectrogram

    def pool(self, spectrogram: Tensor) -> Tensor:
        """(batch, 2, frequency, frames) -> mean column, (batch, channels, COLUMN_FREQUENCIES).

        Raises:
            SpeechTooShort: fewer than `RECEPTIVE_FRAMES` frames.
        """
        if spectrogram.shape[-1] < RECEPTIVE_FRAMES:
            raise SpeechTooShort(
                f"{spectrogram.shape[-1]} frames are too few for the voice encoder, which sees {RECEPTIVE_FRAMES}"
                " at once; repeat the speech until it is long enough, as the paper does"
            )
        return self.columns(spectrogram).mean(dim=-1)  # type: ignore[no-any-return]

    def forward(self, spectrogram: Tensor) -> Tensor:
        """(batch, 2, frequency, frames) -> (batch, embedding).

        Raises:
            SpeechTooShort: fewer than `RECEPTIVE_FRAMES` frames.
        """
        embedding: Tensor = self.head(self.pool(spectrogram))
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


@functools.cache
def _front_end(device: torch.device) -> SpectrogramFrontEnd:
    return SpectrogramFrontEnd().to(device)


# --------------------------------------------------------------------------------------------------
# Voice encoders as drivers: what one must bring, the paper's as the built-in one, and the check that anybody can run.
# docs/extending-voice-encoder.md explains it with an example.
# --------------------------------------------------------------------------------------------------


class VoiceNetwork(Protocol):
    """What `VoiceEncoderDriver.build` returns: a torch module with these four methods."""

    def front_end(self, waveform: Tensor) -> Tensor:
        """Turn sound, (batch, samples) float32 at 16 kHz, into the features that the network takes."""
        ...

    def pool(self, features: Tensor) -> Tensor:
        """Summarise features as one row of statistics a clip, (batch, ...).

        The statistics of several clips of one voice are averaged before `head` reads them. So a spread is kept as
        mean and mean of squares, and becomes a deviation in `head`.
        """
        ...

    def head(self, statistics: Tensor) -> Tensor:
        """Read a face embedding, (batch, embedding), off statistics."""
        ...

    def __call__(self, features: Tensor) -> Tensor:
        """Return `head(pool(features))`, (batch, embedding)."""
        ...


class VoiceEncoderDriver(Protocol):
    """A kind of voice encoder: a module or an object with these four members.

    A fifth, `begin(network, settings)`, is optional: it gives a built network its pre-trained weights, once, before a
    training begins. Whoever reads a checkpoint or a release needs none of the files that it reads.
    """

    settings: type[BaseModel]
    """The keys that it adds to the table [voice] of a training's settings."""
    example: Mapping[str, Any]
    """Values of those keys that make a small network, for the conformance check."""
    source: str
    """A sentence for the model card: which network this is, and where it comes from."""

    def build(self, settings: Any, embedding: int) -> nn.Module:
        """Build the network for face embeddings of this length; its first weights follow from torch's random state.

        Parts that are to stay as they are have `requires_grad` off. Everything that the network needs must be in its
        `state_dict`: a checkpoint is loaded into a freshly built network.
        """
        ...


class PaperEncoderSettings(BaseModel):
    """Sizes of the paper's voice encoder; its output follows the data's face embedder."""

    channels: tuple[int, ...] = VoiceEncoderConfig().channels
    hidden: int = Field(default=4096, ge=1)
    batch_norm: bool = True

    @model_validator(mode="after")
    def _nine_layers(self) -> PaperEncoderSettings:
        if len(self.channels) != len(TABLE_1) or min(self.channels, default=0) < 1:
            raise ValueError(f"channels are {len(TABLE_1)} numbers from 1, one a convolution of Table 1")
        return self


class PaperVoiceEncoder:
    """The driver `paper`: Table 1 on the compressed complex spectrogram, released as a stream of columns."""

    settings = PaperEncoderSettings
    example: Mapping[str, Any] = {"channels": (2,) * len(TABLE_1), "hidden": 4}
    source = "Voice encoder of Speech2Face (Oh et al., CVPR 2019, Table 1)"

    def build(self, settings: PaperEncoderSettings, embedding: int) -> VoiceEncoder:
        """Build Table 1 in these sizes."""
        return VoiceEncoder(VoiceEncoderConfig(settings.channels, settings.hidden, embedding, settings.batch_norm))


PAPER = PaperVoiceEncoder()
CHECK_SECONDS, CHECK_EMBEDDING = 6.0, 7
CLOSE = 1e-4  # of the largest number: rounding differs between one clip alone and the same clip in a batch


def check_voice_encoder(driver: VoiceEncoderDriver) -> None:
    """Check that a driver keeps to `VoiceEncoderDriver`, on a small network and two clips of noise.

    Raises:
        AssertionError: with what is wrong.
    """
    settings = read_example(driver)
    torch.manual_seed(0)
    built = driver.build(settings, CHECK_EMBEDDING)
    assert isinstance(built, nn.Module), "build must return a torch.nn.Module"
    network: Any = built
    for name in ("front_end", "pool", "head"):
        assert callable(getattr(network, name, None)), f"the network has no method {name}"
    assert any(parameter.requires_grad for parameter in network.parameters()), "nothing in the network can be trained"
    waveform = 0.1 * torch.randn(2, round(CHECK_SECONDS * SAMPLE_RATE), generator=torch.Generator().manual_seed(1))
    network.eval()
    with torch.no_grad():
        features = network.front_end(waveform)
        said, statistics = network(features), network.pool(features)
        assert said.shape == (2, CHECK_EMBEDDING), f"two clips give {tuple(said.shape)}, not (2, {CHECK_EMBEDDING})"
        assert said.dtype == torch.float32, f"the embedding is {said.dtype}, not float32"
        assert torch.isfinite(said).all(), "the embedding of noise is not finite"
        assert len(statistics) == 2, f"pool gives {tuple(statistics.shape)}, not a row for each of two clips"
        assert torch.allclose(network.head(statistics), said), "the network does not say head(pool(features))"
        assert torch.equal(network(network.front_end(waveform)), said), "the same clips give another answer"
        alone = network(network.front_end(waveform[:1]))[0]
        near = (alone - said[0]).abs().max() <= CLOSE * said.abs().max()
        assert near, "a clip's embedding depends on the other clips of its batch"
        again: Any = driver.build(settings, CHECK_EMBEDDING).eval()
        again.load_state_dict(network.state_dict())
        copied = torch.allclose(again(again.front_end(waveform)), said)
        assert copied, "a network with the same state_dict says something else: some numbers are not in it"
    network.train()
    network(network.front_end(waveform)).square().sum().backward()
    reached = any(parameter.grad is not None and bool(parameter.grad.any()) for parameter in network.parameters())
    assert reached, "no gradient reaches any parameter"


def read_example(driver: Any) -> BaseModel:
    """Return the settings of a driver's own example, after checking that the driver has what every network's has.

    Raises:
        AssertionError: with what is missing.
    """
    for name in ("settings", "example", "source", "build"):
        assert hasattr(driver, name), f"the driver has no member {name}"
    assert isinstance(driver.settings, type) and issubclass(driver.settings, BaseModel), "settings is a pydantic class"
    assert isinstance(driver.source, str) and driver.source, "source is a sentence for the model card"
    settings: BaseModel = driver.settings.model_validate(driver.example)
    again = driver.settings.model_validate(settings.model_dump(mode="json"))
    assert again == settings, "the settings are not the same after they were written as JSON and read again"
    return settings
