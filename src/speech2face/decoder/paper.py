"""The paper's face decoder, after Cole et al. 2017 (arXiv 1701.04851, Figure 3): landmarks and texture, then the warp.

Sizes that neither paper gives (the landmark network's, the number of landmarks) are listed in `docs/fidelity.md`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Any, Literal, NamedTuple, Protocol, overload

import torch
from pydantic import BaseModel, Field
from torch import Tensor, nn

from speech2face.decoder.warp import STIFFNESS_PIXELS, BorderedSpline
from speech2face.voice.encoder import read_example

KERNEL = 5  # of the transposed convolutions
DOUBLINGS = 4  # transposed convolutions of stride 2: 14 becomes 224
DOUBLED = 1 << DOUBLINGS  # 16
LANDMARK_STEP = 1 / 56  # of the picture: about the spread of a landmark over people, 4 of 224 pixels
NODE_PIXELS = 2  # the warp's flow is found at every second pixel


@dataclass(frozen=True)
class ConvolutionalFaceDecoderConfig:
    """Sizes of a ConvolutionalFaceDecoder; the defaults are the paper's."""

    embedding: int = 4096
    first: int = 1000
    """Width of the first layer, whose outputs the voice encoder's loss compares (Equation 1)."""
    landmarks: int = 68
    landmark_hidden: int = 256
    size: int = 224
    """Pixels of the face, both ways: 16 times the side of the first feature map."""
    base_channels: int = 256
    least_channels: int = 32
    border_per_side: int = 4
    """Points on each side of the picture that the warp does not move."""
    stiffness_pixels: float = STIFFNESS_PIXELS

    def __post_init__(self) -> None:
        if self.size < DOUBLED or self.size % DOUBLED:
            raise ValueError(f"the size is a multiple of {DOUBLED} pixels, not {self.size}")
        if min(self.embedding, self.first, self.landmarks, self.landmark_hidden, self.base_channels) < 1:
            raise ValueError(f"every size is at least 1: {self}")

    @property
    def start(self) -> int:
        """Side of the first feature map: 14."""
        return self.size // DOUBLED

    @property
    def channels(self) -> tuple[int, ...]:
        """Of the first feature map and after each doubling: 256, then max(256 / 2^i, 32)."""
        least = min(self.least_channels, self.base_channels)
        return tuple(max(self.base_channels // 2**number, least) for number in range(DOUBLINGS + 1))

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> ConvolutionalFaceDecoderConfig:
        """From `to_dict`'s result."""
        return cls(**values)


class DecodedFace(NamedTuple):
    """A face and what it was drawn from; a tuple, so that wrappers of networks can pass it on."""

    texture: Tensor
    """(batch, 3, size, size) in [0, 1], on the mean shape."""
    landmarks: Tensor
    """(batch, landmarks, 2), pixels."""
    face: Tensor
    """(batch, 3, size, size) in [0, 1]: the texture on the landmarks."""


class TextureNetwork(nn.Module):
    """First layer's outputs -> texture: a layer to 14 x 14 x 256, four transposed convolutions, a 1 x 1 convolution."""

    def __init__(self, config: ConvolutionalFaceDecoderConfig) -> None:
        super().__init__()
        self.start = config.start
        channels = config.channels
        self.spread = nn.Linear(config.first, channels[0] * config.start**2)
        self.doublings = nn.ModuleList(
            nn.ConvTranspose2d(below, above, KERNEL, stride=2, padding=2, output_padding=1)
            for below, above in pairwise(channels)
        )
        self.colour = nn.Conv2d(channels[-1], 3, 1)
        for doubling in self.doublings:
            _start_without_checkerboard(doubling)

    def forward(self, first: Tensor) -> Tensor:
        """(batch, first) -> (batch, 3, size, size) in [0, 1]."""
        x = torch.relu(self.spread(first)).reshape(first.shape[0], -1, self.start, self.start)
        for doubling in self.doublings:
            x = torch.relu(doubling(x))
        return torch.sigmoid(self.colour(x).float())  # bfloat16 has too few steps for a picture


def _start_without_checkerboard(doubling: nn.Module) -> None:
    """First weights that enlarge by repeating pixels, then convolve by a random 4 x 4 kernel: together 5 x 5.

    A kernel of 5 at stride 2 reaches some pixels more often than others. Weights drawn one by one make that a
    checkerboard, which training takes long to remove.
    """
    assert isinstance(doubling, nn.ConvTranspose2d) and doubling.bias is not None
    below, above, side = doubling.in_channels, doubling.out_channels, KERNEL - 1
    with torch.no_grad():
        random = torch.empty(below * above, 1, side, side).normal_(0.0, (2 / (below * side**2)) ** 0.5)
        kernel = nn.functional.conv2d(random, torch.ones(1, 1, 2, 2), padding=1)
        doubling.weight.copy_(kernel.reshape(below, above, KERNEL, KERNEL))
        doubling.bias.zero_()


class ConvolutionalFaceDecoder(nn.Module):
    """Face embedding -> canonical face."""

    mean_landmarks: Tensor

    def __init__(self, config: ConvolutionalFaceDecoderConfig, mean_landmarks: Tensor | None = None) -> None:
        """mean_landmarks (landmarks, 2), pixels: the mean shape; None where `load_state_dict` brings it."""
        super().__init__()
        self.config = config
        shape = torch.zeros(config.landmarks, 2) if mean_landmarks is None else mean_landmarks.float().clone()
        if shape.shape != (config.landmarks, 2):
            raise ValueError(f"the mean shape is ({config.landmarks}, 2), not {tuple(shape.shape)}")
        self.register_buffer("mean_landmarks", shape)
        self.first_layer = nn.Linear(config.embedding, config.first)
        self.landmark_network = nn.Sequential(
            nn.Linear(config.first, config.landmark_hidden),
            nn.ReLU(),
            nn.Linear(config.landmark_hidden, config.landmarks * 2),
        )
        self.texture_network = TextureNetwork(config)
        self.spline = BorderedSpline(
            config.size, config.size // NODE_PIXELS, config.border_per_side, config.stiffness_pixels
        )

    def landmarks(self, face_embedding: Tensor) -> Tensor:
        """(batch, embedding) -> (batch, landmarks, 2), pixels of the face."""
        return self._landmarks(torch.relu(self.first_layer(face_embedding)))

    def texture(self, face_embedding: Tensor) -> Tensor:
        """(batch, embedding) -> (batch, 3, size, size) in [0, 1], on the mean shape."""
        texture: Tensor = self.texture_network(torch.relu(self.first_layer(face_embedding)))
        return texture

    def parts(self, face_embedding: Tensor) -> DecodedFace:
        """(batch, embedding) -> texture, landmarks and face."""
        first = torch.relu(self.first_layer(face_embedding))  # (batch, first)
        landmarks, texture = self._landmarks(first), self.texture_network(first)
        mean = self.mean_landmarks.expand_as(landmarks)
        return DecodedFace(texture, landmarks, self.spline.move(texture, mean, landmarks))

    @overload
    def forward(self, face_embedding: Tensor, parts: Literal[False] = False) -> Tensor: ...
    @overload
    def forward(self, face_embedding: Tensor, parts: Literal[True]) -> DecodedFace: ...
    def forward(self, face_embedding: Tensor, parts: bool = False) -> Tensor | DecodedFace:
        """(batch, embedding) -> (batch, 3, size, size) in [0, 1]; with `parts`, also what it was drawn from."""
        decoded = self.parts(face_embedding)
        return decoded if parts else decoded.face

    def _landmarks(self, first: Tensor) -> Tensor:
        """(batch, first) -> (batch, landmarks, 2)."""
        moved: Tensor = self.landmark_network(first).float().reshape(-1, self.config.landmarks, 2)
        return self.mean_landmarks.float() + moved * (self.config.size * LANDMARK_STEP)


# --------------------------------------------------------------------------------------------------
# Face decoders as drivers: what one must bring, the paper's as the built-in one, and the check that anybody can run.
# docs/extending-face-decoder.md explains it with an example.
# --------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class FaceSizes:
    """What a face decoder must fit: the data's sizes."""

    embedding: int
    """Length of the face embedding."""
    landmarks: int
    size: int
    """Pixels of the face, both ways."""


class FaceNetwork(Protocol):
    """What `FaceDecoderDriver.build` returns: a torch module with these members."""

    first_layer: nn.Linear
    """Takes the face embedding; the voice encoder's loss compares embeddings in its outputs (Equation 1)."""
    landmark_network: nn.Module
    """Everything that only landmarks are drawn by; frozen where no term of the loss teaches it."""
    texture_network: nn.Module
    """Everything that only the texture is drawn by; frozen where no term of the loss teaches it."""
    mean_landmarks: Tensor
    """(landmarks, 2), pixels: the mean shape, a buffer."""
    spline: BorderedSpline
    """The warp between the mean shape and a face's own."""

    def __call__(self, face_embedding: Tensor, parts: bool = False) -> Tensor | DecodedFace:
        """(batch, embedding) -> (batch, 3, size, size) in [0, 1]; with `parts`, also what it was drawn from."""
        ...


class FaceDecoderDriver(Protocol):
    """A kind of face decoder: a module or an object with these four members."""

    settings: type[BaseModel]
    """The keys that it adds to the table [face] of a training's settings."""
    example: Mapping[str, Any]
    """Values of those keys that make a small network, for the conformance check."""
    source: str
    """A sentence for the model card: which network this is, and where it comes from."""

    def build(self, settings: Any, sizes: FaceSizes, mean_landmarks: Tensor | None) -> nn.Module:
        """Build the network; the mean shape is None where `load_state_dict` brings it.

        Raises:
            ValueError: it cannot draw faces of these sizes.
        """
        ...


class PaperDecoderSettings(BaseModel):
    """Sizes of the paper's face decoder; its input follows the face embedder, its picture the aligned faces."""

    first: int = Field(default=1000, ge=1)
    """Width of the first layer, in which the encoder's loss compares embeddings."""
    landmark_hidden: int = Field(default=256, ge=1)
    base_channels: int = Field(default=256, ge=1)


class PaperFaceDecoder:
    """The driver `paper`: landmarks and texture, then the warp."""

    settings = PaperDecoderSettings
    example: Mapping[str, Any] = {"first": 6, "landmark_hidden": 4, "base_channels": 4}
    source = "Face decoder after Cole et al. (CVPR 2017)"

    def build(
        self, settings: PaperDecoderSettings, sizes: FaceSizes, mean_landmarks: Tensor | None
    ) -> ConvolutionalFaceDecoder:
        """Build the network of Figure 3 in these sizes."""
        config = ConvolutionalFaceDecoderConfig(
            embedding=sizes.embedding,
            first=settings.first,
            landmarks=sizes.landmarks,
            landmark_hidden=settings.landmark_hidden,
            size=sizes.size,
            base_channels=settings.base_channels,
        )
        return ConvolutionalFaceDecoder(config, mean_landmarks)


PAPER = PaperFaceDecoder()
CHECK_SIZES = FaceSizes(embedding=7, landmarks=5, size=32)


def check_face_decoder(driver: FaceDecoderDriver) -> None:
    """Check that a driver keeps to `FaceDecoderDriver`, on a small network and two random face embeddings.

    Raises:
        AssertionError: with what is wrong.
    """
    settings, sizes = read_example(driver), CHECK_SIZES
    torch.manual_seed(0)
    shape = sizes.size * torch.rand(sizes.landmarks, 2)
    network: Any = driver.build(settings, sizes, shape)
    assert isinstance(network, nn.Module), "build must return a torch.nn.Module"
    for name in ("first_layer", "landmark_network", "texture_network", "mean_landmarks", "spline"):
        assert hasattr(network, name), f"the network has no member {name}"
    assert torch.allclose(network.mean_landmarks, shape), "mean_landmarks is not the mean shape that was given"
    width = network.first_layer.in_features
    assert width == sizes.embedding, f"first_layer takes {width} numbers, not the face embedding's {sizes.embedding}"
    embeddings = torch.randn(2, sizes.embedding)
    network.eval()
    with torch.no_grad():
        face, parts = network(embeddings), network(embeddings, parts=True)
        wanted = {"texture": (2, 3, sizes.size, sizes.size), "landmarks": (2, sizes.landmarks, 2)}
        for name, expected in (wanted | {"face": wanted["texture"]}).items():
            found = tuple(getattr(parts, name).shape)
            assert found == expected, f"{name} of two embeddings is {found}, not {expected}"
        for name in ("texture", "face"):
            picture = getattr(parts, name)
            assert 0 <= float(picture.min()) <= float(picture.max()) <= 1, f"{name} leaves 0 to 1"
        assert torch.equal(network(embeddings), face), "the same embeddings give another face"
        assert torch.allclose(parts.face, face), "the face is another one with parts=True"
        again: Any = driver.build(settings, sizes, None).eval()
        again.load_state_dict(network.state_dict())
        copied = torch.allclose(again(embeddings), face)
        assert copied, "a network with the same state_dict draws something else: some numbers are not in it"
    network.train()
    drawn = network(embeddings, parts=True)
    (drawn.texture.sum() + drawn.landmarks.sum()).backward()
    assert network.first_layer.weight.grad is not None, "no gradient reaches the first layer"
