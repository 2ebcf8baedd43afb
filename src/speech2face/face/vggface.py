"""VGG-Face: Deep Face Recognition (Parkhi, Vedaldi and Zisserman, BMVC 2015), table 3, configuration D (VGG-16).

The frozen teacher of Speech2Face: fc7 is the face embedding, fc8 its classification head over 2,622 identities. The
weights are a user's own file (`vggface_weights.py`); their licence is for non-commercial research.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

INPUT_PIXELS = 224
CONVOLUTIONS = (2, 2, 3, 3, 3)  # of 3 x 3 in each block, which ends with a maximum over 2 x 2
LEFT_PIXELS = INPUT_PIXELS // 2 ** len(CONVOLUTIONS)  # 7
MEAN_RED_GREEN_BLUE = (129.1863, 104.7624, 93.5940)
"""Mean colour of its training set on 0 to 255: all the input normalisation there is, no division."""


@dataclass(frozen=True)
class VGGFaceConfig:
    """Sizes of VGG-Face; anything but the defaults is for tests."""

    channels: tuple[int, ...] = (64, 128, 256, 512, 512)
    hidden: int = 4096
    identities: int = 2622

    def layers(self) -> Iterator[tuple[str, tuple[int, ...]]]:
        """Name and weight's shape of every layer in order: conv1_1 ... conv5_3, fc6, fc7, fc8."""
        below = 3
        for block, (count, channels) in enumerate(zip(CONVOLUTIONS, self.channels, strict=True), start=1):
            for number in range(1, count + 1):
                yield f"conv{block}_{number}", (channels, below, 3, 3)
                below = channels
        yield "fc6", (self.hidden, below * LEFT_PIXELS**2)
        yield "fc7", (self.hidden, self.hidden)
        yield "fc8", (self.identities, self.hidden)


def mean_colour() -> Tensor:
    """(3, 1, 1), what is subtracted from a picture."""
    return torch.tensor(MEAN_RED_GREEN_BLUE, device="cpu").reshape(3, 1, 1)


class VGGFace(nn.Module):
    """Face -> fc7, and by `head` to the logits of the identities.

    Dropout, which followed fc6 and fc7 in training, is left out: the teacher is frozen.
    """

    mean: Tensor

    def __init__(self, config: VGGFaceConfig | None = None) -> None:
        super().__init__()
        self.config = config or VGGFaceConfig()
        shapes = dict(self.config.layers())
        self.convolutions = nn.ModuleDict(
            {name: nn.Conv2d(s[1], s[0], 3, padding=1) for name, s in shapes.items() if name.startswith("conv")}
        )
        hidden = self.config.hidden
        self.fc6 = nn.Linear(shapes["fc6"][1], hidden)
        self.fc7 = nn.Linear(hidden, hidden)
        self.head = nn.Linear(hidden, self.config.identities)  # fc8
        self.register_buffer("mean", mean_colour(), persistent=False)

    def forward(self, face: Tensor) -> Tensor:
        """(batch, 3, 224, 224) red, green and blue in [0, 1] -> face embedding (batch, hidden), at least 0.

        The paper does not say whether fc7 is taken before or after its ReLU. It is taken after: only then is `head`
        of the embedding what the teacher itself answers, which the distillation term asks for.
        """
        assert face.shape[1:] == (3, INPUT_PIXELS, INPUT_PIXELS), "VGG-Face sees 224 x 224 in colour"
        x = face * 255 - self.mean
        for block, count in enumerate(CONVOLUTIONS, start=1):
            for number in range(1, count + 1):
                x = torch.relu(self.convolutions[f"conv{block}_{number}"](x))
            x = nn.functional.max_pool2d(x, 2)
        x = torch.relu(self.fc6(x.flatten(1)))  # (batch, channels * 7 * 7), channels slowest
        return torch.relu(self.fc7(x))
