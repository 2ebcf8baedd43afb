"""A voice encoder that begins with pre-trained layers: Whisper's first ones, frozen, and a head that learns.

The layers are those of the starter (Radford et al. 2022, MIT licence). Ours, not the paper's: Oh et al. train all of
their 148 million numbers on 1.7 million clips. Here a few hundred thousand to a few million learn, so that thousands of
pairs are enough to begin with, under the paper's loss.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import onnx
import torch
from onnx import numpy_helper
from pydantic import BaseModel, Field
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional

from speech2face.audio.spectrogram import (
    BANDS,
    DECADES,
    HOP,
    LEAST_ENERGY,
    LEAST_VARIANCE,
    MEAN_ENERGY,
    MEL_FFT_SIZE,
    MEL_FREQUENCIES,
    mel_filters,
)
from speech2face.errors import WeightsError
from speech2face.models.attributes import VOICE_FRAMES, load_attribute_release
from speech2face.models.release import read_stored
from speech2face.training.settings import OptionalPath
from speech2face.voice.belief import BIN_CENTRES

# --- The starter's voice encoder: the first layers of Whisper's encoder, and heads on their mean and spread over
# time.
#
# The layers are those of OpenAI's Whisper base, frozen (Radford et al. 2022, "Robust Speech Recognition via
# Large-Scale Weak Supervision"; MIT licence). It is not the paper's encoder, which has 148 million parameters and
# needs pairs of voices and faces: this one needs labels of age and gender alone. Sums over frames are taken of every
# layer's output, so that any number of segments pools by addition.

FRAMES_PER_SECOND = 50
DISTANCE_SECONDS = (1.0, 10.0)  # between which the distance of a recording falls with its length
AGE_UNIT_YEARS = 10.0  # of the age logits at temperature 1: a normal distribution of this deviation


@dataclass(frozen=True)
class WhisperConfig:
    """Sizes of the truncated encoder and of its heads."""

    layers: int = 4
    width: int = 512
    attention_heads: int = 8
    positions: int = 1500  # in steps of 20 ms: 30 s
    speaker_embedding: int = 128
    distance_axes: int = 256

    @property
    def channels(self) -> int:
        """Outputs of all layers together."""
        return self.layers * self.width

    def to_dict(self) -> dict[str, Any]:
        """Return the sizes, JSON-ready."""
        return asdict(self)


class Block(nn.Module):
    """One pre-norm transformer block; its parameters have the names of OpenAI's code."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.attn = nn.ModuleDict(
            {name: nn.Linear(width, width, bias=name != "key") for name in ("query", "key", "value", "out")}
        )
        self.attn_ln = nn.LayerNorm(width)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))
        self.mlp_ln = nn.LayerNorm(width)

    def _heads(self, name: str, x: Tensor) -> Tensor:
        """(batch, steps, width) -> (batch, heads, steps, width / heads)."""
        projected: Tensor = self.attn[name](x)
        return projected.reshape(*x.shape[:2], self.heads, -1).transpose(1, 2)

    def forward(self, x: Tensor) -> Tensor:
        """(batch, steps, width) -> the same shape."""
        normed = self.attn_ln(x)
        query, key, value = (self._heads(name, normed) for name in ("query", "key", "value"))
        # (batch, heads, steps, steps)
        weights = torch.softmax(query @ key.transpose(2, 3) * query.shape[-1] ** -0.5, -1)
        x = x + self.attn["out"]((weights @ value).transpose(1, 2).flatten(2))
        changed: Tensor = x + self.mlp(self.mlp_ln(x))
        return changed


def sinusoids(length: int, width: int) -> Tensor:
    """Positions as sines and cosines of rising wavelengths, (length, width)."""
    rates = torch.exp(-np.log(10_000) / (width // 2 - 1) * torch.arange(width // 2))
    angles = torch.arange(length)[:, None] * rates[None]
    return torch.cat([angles.sin(), angles.cos()], 1)


class WhisperFrames(nn.Module):
    """Log-mel energies of one segment -> its moments: additive sums over frames, so that segments pool by addition."""

    positions: Tensor

    def __init__(self, config: WhisperConfig) -> None:
        super().__init__()
        self.conv1 = nn.Conv1d(BANDS, config.width, 3, padding=1)
        self.conv2 = nn.Conv1d(config.width, config.width, 3, stride=2, padding=1)
        self.blocks = nn.ModuleList([Block(config.width, config.attention_heads) for _ in range(config.layers)])
        self.register_buffer("positions", sinusoids(config.positions, config.width), persistent=False)

    def load_published(self, tensors: Mapping[str, Tensor]) -> None:
        """Take the layers that are here from the published encoder's tensors, whose names are the same."""
        self.load_state_dict({name: tensors[name].float() for name in self.state_dict()})

    def forward(self, log_mel: Tensor) -> Tensor:
        """(batch, BANDS, frames) -> moments (batch, 3, channels): count, sum and sum of squares of each output."""
        stem = functional.gelu(self.conv2(functional.gelu(self.conv1(log_mel))))  # (batch, width, frames / 2)
        x = stem.transpose(1, 2) + self.positions[: stem.shape[2]]
        outputs = []
        for block in self.blocks:
            x = block(x)
            outputs.append(x)
        values = torch.cat(outputs, -1)  # (batch, frames / 2, layers * width)
        counts = torch.full_like(values[:, :1], values.shape[1])
        # A product with ones is a sum, in a tenth of the time that ONNX Runtime's own takes.
        ones = torch.ones_like(values[:, None, :, 0])  # (batch, 1, frames / 2)
        return torch.cat([counts, ones @ values, ones @ values.square()], 1)


class HeadOutputs(NamedTuple):
    """What a pooled voice tells."""

    speaker_embedding: Tensor  # (batch, speaker_embedding), of unit length
    gender_logit: Tensor  # (batch,) above zero: read as a woman's
    voice_logit: Tensor  # (batch,) above zero: a voice at all
    child_logit: Tensor  # (batch,) above zero: more likely under 13 than an adult, both being equally frequent
    distance: Tensor  # (batch,) from the training recordings, 1 being that of a typical one as long
    age_logits: Tensor  # (batch, age bins)


class VoiceHead(nn.Module):
    """Pooled moments -> speaker embedding and readings; every reading is one linear line on standardised statistics."""

    centre: Tensor
    scale: Tensor
    age_shape: Tensor
    typical_distance: Tensor

    def __init__(self, config: WhisperConfig) -> None:
        super().__init__()
        self.config = config
        statistics = 2 * config.channels
        self.register_buffer("centre", torch.zeros(statistics))
        self.register_buffer("scale", torch.ones(statistics))
        self.embed = nn.Linear(statistics, config.speaker_embedding, bias=False)
        self.distance = nn.Linear(statistics, config.distance_axes, bias=False)  # principal axes, each over its spread
        self.lines = nn.Linear(statistics, 4)  # gender, age in years, voice, child
        # Of one second, and the power of the seconds by which it falls: little speech is less like the mean of much.
        self.register_buffer("typical_distance", torch.tensor([1.0, 0.0]))
        # From which age on years are stretched, by how much more, and how the spread grows with every ten of them.
        self.register_buffer("age_shape", torch.tensor([30.0, 0.0, 0.0]))

    @staticmethod
    def pooled(moments: Tensor) -> Tensor:
        """Mean and standard deviation over all frames, (batch, 3, channels) -> (batch, 2 * channels)."""
        count, value, square = moments.unbind(1)
        mean = value / count
        return torch.cat([mean, (square / count - mean * mean).clamp(min=LEAST_VARIANCE).sqrt()], 1)

    def stated_age(self, age: Tensor) -> Tensor:
        """The line's age -> what is stated, (batch,) -> (batch,); a regression draws the old towards the many young."""
        knee, expansion, _ = self.age_shape
        stated: Tensor = age + expansion * functional.relu(age - knee)
        return stated

    def age_logits(self, age: Tensor) -> Tensor:
        """The logarithm of a normal density around the stated age, up to a constant, (batch,) -> (batch, age bins)."""
        knee, _, growth = self.age_shape
        stated = self.stated_age(age)
        spread = AGE_UNIT_YEARS + growth * functional.relu(stated - knee)
        bins = torch.from_numpy(BIN_CENTRES).to(age)
        logits: Tensor = -0.5 * ((bins - stated[:, None]) / spread[:, None]).square()
        return logits

    def relative_distance(self, statistics: Tensor, frames: Tensor) -> Tensor:
        """Mean square along the principal axes beside what is typical of so many frames, (batch,)."""
        at_one_second, fall = self.typical_distance
        seconds = (frames / FRAMES_PER_SECOND).clamp(*DISTANCE_SECONDS)
        relative: Tensor = self.distance(statistics).square().mean(1) * seconds**fall / at_one_second
        return relative

    def forward(self, moments: Tensor) -> HeadOutputs:
        """Moments (batch, 3, channels) -> readings."""
        statistics = (self.pooled(moments) - self.centre) * self.scale
        gender, age, voice, child = self.lines(statistics).unbind(1)
        return HeadOutputs(
            speaker_embedding=functional.normalize(self.embed(statistics), dim=1),
            gender_logit=gender,
            voice_logit=voice,
            child_logit=child,
            distance=self.relative_distance(statistics, moments[:, 0, 0]),
            age_logits=self.age_logits(age),
        )


# --- The voice encoder of a training: the same layers in front of waveforms, and a head that learns.

VOICE_WEIGHTS = "voice.safetensors"
"""Of the starter: among them, what its statistics are around and how far apart."""
MOST_LAYERS = WhisperConfig().layers  # as many as the starter has, and has measured the statistics of
LEAST_MEAN_ENERGY = 1e-20  # of a silent clip, as in `log_mel`


class LogMel(nn.Module):
    """`log_mel` for batches of waveforms, by operations that every exporter knows: a test compares both."""

    transform: Tensor
    filters: Tensor

    def __init__(self) -> None:
        super().__init__()
        window = torch.hann_window(MEL_FFT_SIZE, dtype=torch.float64)  # periodic
        turns = torch.outer(torch.arange(MEL_FREQUENCIES), torch.arange(MEL_FFT_SIZE)).double()
        angle = 2 * torch.pi / MEL_FFT_SIZE * turns
        waves = torch.cat([angle.cos(), angle.sin()]) * window  # real parts, then imaginary ones
        self.register_buffer("transform", waves.float().unsqueeze(1), persistent=False)
        self.register_buffer("filters", torch.from_numpy(mel_filters()).unsqueeze(2), persistent=False)

    def forward(self, waveform: Tensor) -> Tensor:
        """(batch, samples) float32 -> (batch, BANDS, frames) float32, each clip brought to one mean energy."""
        frames = max(1, waveform.shape[1] // HOP)
        padded = functional.pad(waveform.unsqueeze(1), (MEL_FFT_SIZE // 2, MEL_FFT_SIZE // 2), mode="reflect")
        parts = functional.conv1d(padded, self.transform, stride=HOP)[:, :, :frames]
        real, imaginary = parts.square().chunk(2, dim=1)  # (batch, MEL_FREQUENCIES, frames) each
        energies = functional.conv1d(real + imaginary, self.filters)  # (batch, BANDS, frames)
        mean = energies.mean(dim=(1, 2), keepdim=True).clamp(min=LEAST_MEAN_ENERGY)
        logarithm = (energies * (MEAN_ENERGY / mean)).clamp(min=LEAST_ENERGY).log10()
        floor = logarithm.amax(dim=(1, 2), keepdim=True) - DECADES
        return (torch.maximum(logarithm, floor) + 4) / 4


class PretrainedVoiceEncoder(nn.Module):
    """Waveform -> face embedding: frozen layers, their mean and deviation over time, one or two layers that learn."""

    centre: Tensor
    scale: Tensor

    def __init__(self, layers: int, hidden: int, dropout: float, embedding: int) -> None:
        super().__init__()
        sizes = WhisperConfig(layers=layers)
        self.log_mel = LogMel()
        self.frames = WhisperFrames(sizes).requires_grad_(False)
        statistics = 2 * sizes.channels
        self.register_buffer("centre", torch.zeros(statistics))
        self.register_buffer("scale", torch.ones(statistics))
        self.dropout = nn.Dropout(dropout)
        self.first = nn.Linear(statistics, hidden) if hidden else nn.Identity()
        self.second = nn.Linear(hidden or statistics, embedding)

    def front_end(self, waveform: Tensor) -> Tensor:
        """(batch, samples) -> (batch, BANDS, frames), in single precision: rounded, quiet bands would be lost."""
        with _full_precision(waveform.device):
            energies: Tensor = self.log_mel(waveform)
        return energies

    def pool(self, features: Tensor) -> Tensor:
        """(batch, BANDS, frames) -> means and mean squares over time, (batch, 2, channels)."""
        count, value, square = self.frames(features).unbind(1)
        return torch.stack([value / count, square / count], 1)

    def head(self, statistics: Tensor) -> Tensor:
        """(batch, 2, channels) -> (batch, embedding)."""
        mean, square = statistics.unbind(1)
        deviation = (square - mean.square()).clamp(min=LEAST_VARIANCE).sqrt()
        x = self.dropout((torch.cat([mean, deviation], 1) - self.centre) * self.scale)
        if not isinstance(self.first, nn.Identity):
            x = self.dropout(torch.relu(self.first(x)))
        embedding: Tensor = self.second(x)
        return embedding

    def forward(self, features: Tensor) -> Tensor:
        """(batch, BANDS, frames) -> (batch, embedding)."""
        return self.head(self.pool(features))


@contextlib.contextmanager
def _full_precision(device: torch.device) -> Iterator[None]:
    """Without autocast where there is one; an exporter would otherwise meet a region that it cannot write."""
    if not torch.is_autocast_enabled(device.type):
        yield
        return
    with torch.autocast(device.type, enabled=False):
        yield


# --- Where the frozen layers come from: the starter's own, of eight bits, or the file that OpenAI published.


def shipped_layers() -> dict[str, Tensor]:
    """The layers inside the package, their matrices multiplied out from eight bits, under OpenAI's names.

    A matrix is known by the bias that is added to its product; keys alone have none, and read what queries read.

    Raises:
        WeightsError: the release inside the package is damaged.
    """
    graph = onnx.load(load_attribute_release().file(VOICE_FRAMES)).graph
    stored = {each.name: numpy_helper.to_array(each) for each in graph.initializer}
    readers = {name: node for node in graph.node for name in node.input}
    found = {name: value for name, value in stored.items() if name.startswith(("conv", "blocks."))}
    unnamed: dict[str, str] = {}  # quantised matrices without a bias, by what they are multiplied with
    block_of: dict[str, str] = {}
    for node in graph.node:
        if node.op_type != "MatMulInteger":
            continue
        read, matrix = node.input[0], node.input[1].removesuffix("_quantized")
        after = readers[node.output[0]]
        while after.op_type in ("Cast", "Mul"):
            after = readers[after.output[0]]
        bias = next((name for name in after.input if name.endswith(".bias") and name in stored), None)
        if bias is None or after.op_type != "Add":
            unnamed[read] = matrix
            continue
        found[bias.replace(".bias", ".weight")] = _multiplied_out(stored, matrix)
        if bias.endswith("query.bias"):
            block_of[read] = bias.removesuffix("query.bias")
    for read, matrix in unnamed.items():
        found[f"{block_of[read]}key.weight"] = _multiplied_out(stored, matrix)
    return {name: torch.from_numpy(np.array(value, np.float32)) for name, value in found.items()}


def _multiplied_out(stored: Mapping[str, np.ndarray], matrix: str) -> np.ndarray:
    """(in, out) of eight bits with a scale for each column -> (out, in)."""
    values = stored[f"{matrix}_quantized"].astype(np.float32) - stored[f"{matrix}_zero_point"].astype(np.float32)
    return np.asarray((values * stored[f"{matrix}_scale"]).T)


def published_layers(path: Path) -> dict[str, Tensor]:
    """The tensors of OpenAI's encoder, from a safetensors file with OpenAI's names.

    Raises:
        WeightsError: it is not there, or none.
    """
    try:
        return load_file(path)
    except (OSError, SafetensorError) as error:
        raise WeightsError(
            f"voice.weights: {path} is no safetensors file of Whisper base's encoder ({error}); leave the key out to"
            " begin with the layers inside the package"
        ) from error


# --- The driver.


class PretrainedSettings(BaseModel):
    """What [voice] takes beside the name."""

    layers: int = Field(default=MOST_LAYERS, ge=1, le=MOST_LAYERS)
    """Frozen blocks; the statistics of all of them are read."""
    hidden: int = Field(default=1024, ge=0)
    """Width of the layer before the last; 0 leaves one linear layer."""
    dropout: float = Field(default=0.2, ge=0, lt=1)
    """Of what both layers read, in training."""
    weights: OptionalPath = Field(default=None, exclude=True)
    """Safetensors of Whisper base's encoder under OpenAI's names; None takes the layers inside the package. Only a
    training that begins looks there, so the path is kept in neither checkpoints nor releases."""


class PretrainedEncoderDriver:
    """The driver `whisper`: the starter's frozen layers under a head that learns the paper's loss."""

    settings = PretrainedSettings
    example: Mapping[str, Any] = {"layers": 1, "hidden": 4}
    source = (
        "First layers of Whisper base's encoder, frozen (OpenAI, Radford et al. 2022, MIT licence; learned from 680,000"
        " hours of audio of the web whose list was not published and whose speakers were not asked), and layers on"
        " their mean and spread over time"
    )

    def build(self, settings: PretrainedSettings, embedding: int) -> PretrainedVoiceEncoder:
        """Build it in these sizes, all numbers at random."""
        return PretrainedVoiceEncoder(settings.layers, settings.hidden, settings.dropout, embedding)

    def begin(self, network: PretrainedVoiceEncoder, settings: PretrainedSettings) -> None:
        """Give a built network its pre-trained layers, and what the starter knows of their statistics.

        Raises:
            WeightsError: the file is missing, or not one of Whisper base's encoder.
        """
        tensors = shipped_layers() if settings.weights is None else published_layers(settings.weights)
        try:
            network.frames.load_published(tensors)
        except (KeyError, RuntimeError) as error:
            raise WeightsError(
                f"voice.weights: {settings.weights} is not Whisper base's encoder under OpenAI's names: {error}"
            ) from error
        stored = read_stored(load_attribute_release().file(VOICE_WEIGHTS), ("centre", "scale"))
        for name, values in stored.items():
            # The starter's are of more layers: of its means the first ones, and of its deviations.
            halves = torch.from_numpy(np.array(values, np.float32)).reshape(2, -1)
            getattr(network, name).copy_(halves[:, : network.centre.numel() // 2].flatten())


WHISPER = PretrainedEncoderDriver()
