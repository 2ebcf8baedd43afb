"""The starter's voice encoder: the first layers of Whisper's encoder, and heads on their mean and spread over time.

The layers are those of OpenAI's Whisper base, frozen (Radford et al. 2022, "Robust Speech Recognition via Large-Scale
Weak Supervision"; MIT licence). It is not the paper's encoder, which has 148 million parameters and needs pairs of
voices and faces: this one needs labels of age and gender alone. Sums over frames are taken of every layer's output, so
that any number of segments pools by addition.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from speech2face.voice.belief import BIN_CENTRES
from speech2face.voice.log_mel import BANDS
from speech2face.voice.segments import LEAST_VARIANCE

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
