"""The starter's voice encoder: a compact network from the spectrogram to what a voice tells.

Not from the paper (whose encoder has 148 million parameters and needs paired data): a convolutional stem over mel
energies, residual depthwise blocks along time (after ConvNeXt, Liu et al. 2022), and attentive statistics pooling
(Okabe et al. 2018) with bounded weights, so that the statistics of any number of segments simply add up.
"""

from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from speech2face.audio.spectrogram import COMPRESSION, FFT_SIZE, FREQUENCIES, SAMPLE_RATE, FloatArray, stft

RELATIVE_FLOOR = 1e-5  # -50 dB under the segment's mean mel energy: what codecs and quiet rooms leave there is noise


@dataclass(frozen=True)
class CompactConfig:
    """Sizes of the compact voice encoder."""

    stem_channels: tuple[int, int, int] = (24, 48, 64)
    channels: int = 256
    expansion: int = 2
    blocks: int = 5
    kernel: int = 7
    dilations: tuple[int, ...] = (1, 1, 2, 3, 4)
    attention_channels: int = 64
    embedding: int = 192
    hidden: int = 192
    age_bins: int = 18  # five years each, from AGE_LOWEST
    dropout: float = 0.25
    age_dropout: float = 0.5

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "CompactConfig":
        """From `to_dict`'s result."""
        stored: dict[str, Any] = {key: tuple(v) if isinstance(v, list) else v for key, v in values.items()}
        return cls(**stored)


class MelFront(nn.Module):
    """Compressed complex spectrogram -> level-free log mel energies; fixed, nothing is learned."""

    filters: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("filters", torch.from_numpy(mel_filters()), persistent=False)

    def energies(self, spectrogram: Tensor) -> Tensor:
        """(batch, 2, frequency, frames) -> mel energies (batch, BANDS, frames)."""
        power = spectrogram.abs().pow(2 / COMPRESSION).sum(dim=1)  # (batch, frequency, frames)
        energies: Tensor = self.filters @ power + MEL_FLOOR
        return energies

    @staticmethod
    def level_free(energies: Tensor) -> Tensor:
        """Mel energies -> logarithm relative to the segment's mean; a louder voice gives the same numbers.

        (batch, BANDS, frames) -> (batch, BANDS, frames).
        """
        mean = energies.mean(dim=(1, 2), keepdim=True)
        return torch.log(energies / mean + RELATIVE_FLOOR) * 0.25 + 1.0

    def forward(self, spectrogram: Tensor) -> Tensor:
        """(batch, 2, frequency, frames) -> (batch, BANDS, frames)."""
        return self.level_free(self.energies(spectrogram))


class Block(nn.Module):
    """Depthwise convolution along time, then two pointwise ones, around a residual."""

    def __init__(self, config: CompactConfig, dilation: int) -> None:
        super().__init__()
        channels, wide = config.channels, config.channels * config.expansion
        padding = (config.kernel - 1) // 2 * dilation
        self.depthwise = nn.Conv1d(
            channels, channels, config.kernel, padding=padding, dilation=dilation, groups=channels, bias=False
        )
        self.norm = nn.BatchNorm1d(channels)
        self.widen = nn.Conv1d(channels, wide, 1)
        self.narrow = nn.Conv1d(wide, channels, 1)
        self.dropout = nn.Dropout(config.dropout)
        nn.init.zeros_(self.narrow.weight)
        assert self.narrow.bias is not None
        nn.init.zeros_(self.narrow.bias)

    def forward(self, x: Tensor) -> Tensor:
        """(batch, channels, frames) -> the same shape."""
        hidden = functional.relu(self.widen(self.norm(self.depthwise(x))))
        changed: Tensor = x + self.dropout(self.narrow(hidden))
        return changed


class FrameEncoder(nn.Module):
    """Mel energies of one segment -> its moments: additive sums over frames, so that segments pool by addition."""

    def __init__(self, config: CompactConfig) -> None:
        super().__init__()
        first, second, third = config.stem_channels
        self.stem = nn.Sequential(
            nn.Conv2d(1, first, 3, stride=2, padding=1, bias=False),
            nn.BatchNorm2d(first),
            nn.ReLU(),
            nn.Conv2d(first, second, 3, stride=2, padding=1, bias=False),
            nn.BatchNorm2d(second),
            nn.ReLU(),
            nn.Conv2d(second, third, 3, stride=(2, 1), padding=1, bias=False),
            nn.BatchNorm2d(third),
            nn.ReLU(),
        )
        self.project = nn.Conv1d(third * BANDS // 8, config.channels, 1, bias=False)
        self.project_norm = nn.BatchNorm1d(config.channels)
        self.blocks = nn.Sequential(*[Block(config, dilation) for dilation in config.dilations[: config.blocks]])
        self.norm = nn.BatchNorm1d(config.channels)
        self.attention = nn.Sequential(
            nn.Conv1d(config.channels, config.attention_channels, 1),
            nn.Tanh(),
            nn.Conv1d(config.attention_channels, config.channels, 1),
            nn.Sigmoid(),
        )

    def forward(self, mel: Tensor) -> Tensor:
        """(batch, BANDS, frames) -> moments (batch, 3, channels): sums of weight, weighted value, weighted square."""
        x = self.stem(mel.unsqueeze(1)).flatten(1, 2)  # (batch, third * BANDS / 8, frames / 4)
        x = self.norm(self.blocks(self.project_norm(self.project(x))))  # (batch, channels, frames / 4)
        weight = self.attention(x).float()
        x = x.float()
        return torch.stack([weight.sum(-1), (weight * x).sum(-1), (weight * x * x).sum(-1)], dim=1)


class HeadOutputs(NamedTuple):
    """What a pooled voice tells."""

    speaker_embedding: Tensor  # (batch, embedding)
    gender_logit: Tensor  # (batch,) above zero: read as a woman's
    age_logits: Tensor  # (batch, age_bins)
    voice_logit: Tensor  # (batch,) above zero: a voice at all
    child_logit: Tensor  # (batch,) above zero: more likely under 13 than an adult, both being equally frequent


class VoiceHead(nn.Module):
    """Pooled moments -> speaker embedding and readings."""

    def __init__(self, config: CompactConfig) -> None:
        super().__init__()
        self.embed = nn.Linear(2 * config.channels, config.embedding)
        self.embed_norm = nn.BatchNorm1d(config.embedding)
        # Age has its own branch: there are labels of a thousand speakers only, so it is held back harder than the rest.
        self.read = self._branch(config, config.dropout)
        self.read_age = self._branch(config, config.age_dropout)
        self.gender = nn.Linear(config.hidden, 1)
        self.voice = nn.Linear(config.hidden, 1)
        self.child = nn.Linear(
            2 * config.channels, 1
        )  # fitted apart, on the finished encoder: `recipes/starter/child.py`
        self.age = nn.Linear(config.hidden, config.age_bins)

    @staticmethod
    def _branch(config: CompactConfig, dropout: float) -> nn.Sequential:
        return nn.Sequential(
            nn.BatchNorm1d(2 * config.channels),
            nn.Dropout(dropout),
            nn.Linear(2 * config.channels, config.hidden),
            nn.ReLU(),
            nn.Dropout(dropout),
        )

    def pooled(self, moments: Tensor) -> Tensor:
        """Weighted mean and standard deviation over all frames, (batch, 3, channels) -> (batch, 2 * channels)."""
        weight, value, square = moments.unbind(1)
        weight = weight + 1e-4
        mean = value / weight
        deviation = (square / weight - mean * mean).clamp(min=1e-5).sqrt()
        return torch.cat([mean, deviation], dim=1)

    def forward(self, moments: Tensor, age_gradient: float = 1.0) -> HeadOutputs:
        """Moments (batch, 3, channels) -> readings; `age_gradient` is the share of the age loss that reaches below."""
        pooled = self.pooled(moments)
        # The value is the same for any share.
        held = pooled if age_gradient == 1.0 else age_gradient * pooled + (1 - age_gradient) * pooled.detach()
        hidden = self.read(pooled)
        return HeadOutputs(
            speaker_embedding=self.embed_norm(self.embed(pooled)),
            gender_logit=self.gender(hidden).squeeze(1),
            age_logits=self.age(self.read_age(held)),
            voice_logit=self.voice(hidden).squeeze(1),
            child_logit=self.child(pooled).squeeze(1),
        )


class CompactVoiceEncoder(nn.Module):
    """Spectrogram of one segment -> readings; for several segments add the moments and call `head` once."""

    def __init__(self, config: CompactConfig) -> None:
        super().__init__()
        self.config = config
        self.front = MelFront()
        self.frames = FrameEncoder(config)
        self.head = VoiceHead(config)

    def moments(self, spectrogram: Tensor) -> Tensor:
        """(batch, 2, frequency, frames) -> (batch, 3, channels)."""
        result: Tensor = self.frames(self.front(spectrogram))
        return result

    def forward(self, spectrogram: Tensor) -> HeadOutputs:
        """(batch, 2, frequency, frames) -> what `VoiceHead.forward` gives."""
        result: HeadOutputs = self.head(self.moments(spectrogram))
        return result


def parameter_count(module: nn.Module) -> int:
    """Trainable parameters."""
    return int(np.sum([parameter.numel() for parameter in module.parameters() if parameter.requires_grad]))


# --------------------------------------------------------------------------------------------------
# Mel energies of the project's own STFT: the compact voice encoder's first, fixed layer.
# --------------------------------------------------------------------------------------------------

BANDS = 80
LOWEST_HZ = 30.0  # below any voice's fundamental, above the rumble of a hand on a microphone
HIGHEST_HZ = 7800.0
MEL_FLOOR = 1e-12  # power; far below 16-bit quantisation noise, so that only digital silence meets it


def mel(hertz: np.ndarray | float) -> np.ndarray:
    """Hertz to mel (O'Shaughnessy 1987, 2595 log10(1 + f/700))."""
    return np.asarray(2595.0 * np.log10(1.0 + np.asarray(hertz) / 700.0))


def mel_edges_hz() -> np.ndarray:
    """Where each filter begins, and after it the last two ends, (BANDS + 2,)."""
    edges_mel = np.linspace(mel(LOWEST_HZ), mel(HIGHEST_HZ), BANDS + 2)
    return np.asarray(700.0 * (10.0 ** (edges_mel / 2595.0) - 1.0))


def mel_centres_hz() -> np.ndarray:
    """Centre of each filter, (BANDS,)."""
    return mel_edges_hz()[1:-1]


def mel_filters() -> FloatArray:
    """Triangular filters of unit height, (BANDS, FREQUENCIES).

    Low filters are narrower than a bin; every filter is at least two bins wide on each side so none is empty.
    """
    edges_hz = mel_edges_hz()
    bin_hz = SAMPLE_RATE / FFT_SIZE
    centre = edges_hz[1:-1, None]
    below = np.maximum(centre - edges_hz[:-2, None], bin_hz)
    above = np.maximum(edges_hz[2:, None] - centre, bin_hz)
    hertz = np.arange(FREQUENCIES)[None] * bin_hz
    rising, falling = 1 - (centre - hertz) / below, 1 - (hertz - centre) / above
    return np.asarray(np.clip(np.minimum(rising, falling), 0, 1), np.float32)


def log_mel(waveform: FloatArray) -> FloatArray:
    """Natural logarithm of mel energies, (samples,) -> (frames, BANDS)."""
    transform = stft(waveform)
    power = transform.real**2 + transform.imag**2  # (frames, frequency)
    return np.log(power @ mel_filters().T + np.float32(MEL_FLOOR))
