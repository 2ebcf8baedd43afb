"""A voice encoder that begins with pre-trained layers: Whisper's first ones, frozen, and a head that learns.

The layers are those of the starter (`voice/whisper.py`; Radford et al. 2022, MIT licence). Ours, not the paper's: Oh et
al. train all of their 148 million numbers on 1.7 million clips. Here a few hundred thousand to a few million learn, so
that thousands of pairs are enough to begin with, under the paper's loss.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from onnx import numpy_helper
from pydantic import BaseModel, Field
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional

from speech2face.errors import WeightsError
from speech2face.models.attributes import VOICE_FRAMES, load_attribute_release
from speech2face.models.release import read_stored
from speech2face.training.settings import OptionalPath
from speech2face.voice.log_mel import (
    DECADES,
    FFT_SIZE,
    FREQUENCIES,
    HOP,
    LEAST_ENERGY,
    MEAN_ENERGY,
    mel_filters,
)
from speech2face.voice.segments import LEAST_VARIANCE
from speech2face.voice.whisper import WhisperConfig, WhisperFrames

VOICE_WEIGHTS = "voice.safetensors"
"""Of the starter: among them, what its statistics are around and how far apart."""
MOST_LAYERS = WhisperConfig().layers  # as many as the starter has, and has measured the statistics of
LEAST_MEAN_ENERGY = 1e-20  # of a silent clip, as in `log_mel`


class LogMel(nn.Module):
    """`voice/log_mel.py` for batches of waveforms, by operations that every exporter knows: a test compares both."""

    transform: Tensor
    filters: Tensor

    def __init__(self) -> None:
        super().__init__()
        window = torch.hann_window(FFT_SIZE, dtype=torch.float64)  # periodic
        angle = 2 * torch.pi / FFT_SIZE * torch.outer(torch.arange(FREQUENCIES), torch.arange(FFT_SIZE)).double()
        waves = torch.cat([angle.cos(), angle.sin()]) * window  # real parts, then imaginary ones
        self.register_buffer("transform", waves.float().unsqueeze(1), persistent=False)
        self.register_buffer("filters", torch.from_numpy(mel_filters()).unsqueeze(2), persistent=False)

    def forward(self, waveform: Tensor) -> Tensor:
        """(batch, samples) float32 -> (batch, BANDS, frames) float32, each clip brought to one mean energy."""
        frames = max(1, waveform.shape[1] // HOP)
        padded = functional.pad(waveform.unsqueeze(1), (FFT_SIZE // 2, FFT_SIZE // 2), mode="reflect")
        parts = functional.conv1d(padded, self.transform, stride=HOP)[:, :, :frames]
        real, imaginary = parts.square().chunk(2, dim=1)  # (batch, FREQUENCIES, frames) each
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
