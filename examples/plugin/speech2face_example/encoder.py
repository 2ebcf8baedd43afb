"""A voice encoder on the energies of a few bands: their mean and deviation over time, then two layers."""

import torch
from pydantic import BaseModel, Field
from torch import Tensor, nn


class Settings(BaseModel):
    """What [voice] takes beside the name."""

    bands: int = Field(default=40, ge=1)
    hidden: int = Field(default=256, ge=1)


class BandEncoder(nn.Module):
    def __init__(self, bands: int, hidden: int, embedding: int) -> None:
        super().__init__()
        self.filters = nn.Conv1d(1, bands, 400, stride=160).requires_grad_(False)  # 25 ms every 10 ms, frozen
        self.first = nn.Linear(2 * bands, hidden)
        self.second = nn.Linear(hidden, embedding)

    def front_end(self, waveform: Tensor) -> Tensor:
        """(batch, samples) -> (batch, bands, frames)."""
        return torch.log(self.filters(waveform.unsqueeze(1)).square() + 1e-6)

    def pool(self, features: Tensor) -> Tensor:
        """(batch, bands, frames) -> (batch, 2 * bands): mean and mean of squares, which can be averaged over clips."""
        return torch.cat([features.mean(dim=2), features.square().mean(dim=2)], dim=1)

    def head(self, statistics: Tensor) -> Tensor:
        """(batch, 2 * bands) -> (batch, embedding)."""
        mean, squares = statistics.chunk(2, dim=1)
        deviation = (squares - mean.square()).clamp(min=1e-6).sqrt()
        return self.second(torch.relu(self.first(torch.cat([mean, deviation], dim=1))))

    def forward(self, features: Tensor) -> Tensor:
        return self.head(self.pool(features))


settings = Settings
example = {"bands": 4, "hidden": 8}
source = "Voice encoder on the energies of a few bands (an example)"


def build(chosen: Settings, embedding: int) -> nn.Module:
    return BandEncoder(chosen.bands, chosen.hidden, embedding)
