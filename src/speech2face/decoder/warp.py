"""Differentiable warp of a texture from the mean shape to a face's own shape."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

INVERSION_STEPS = 4  # each divides the error by the flow's slope, about 4; 4 leave under a tenth of a pixel


def pixel_centres(size: int) -> Tensor:
    """Centres of a size x size grid in grid_sample's units, -1 to 1 over the picture's edges: (size, size, 2)."""
    steps = (torch.arange(size) + 0.5) * (2.0 / size) - 1.0
    down, across = torch.meshgrid(steps, steps, indexing="ij")
    return torch.stack([across, down], dim=-1)


@dataclass(frozen=True)
class Places:
    """Where every pixel of a picture comes from, shared by all textures of one size."""

    size: int
    corner: Tensor
    """Flat index of the upper left of the four neighbours, (batch, 1, size * size)."""
    across: Tensor
    """Share of the right neighbours, (batch, 1, size * size)."""
    down: Tensor
    """Share of the lower neighbours, (batch, 1, size * size)."""

    @classmethod
    def from_shift(cls, shift: Tensor) -> Places:
        """shift (batch, 2, size, size): across and down, in pixels; beyond the border counts as on it."""
        size = shift.shape[-1]
        steps = torch.arange(size, dtype=torch.float32, device=shift.device)
        here = torch.stack([steps.repeat(size), steps.repeat_interleave(size)])  # (2, size * size)
        where = (shift.flatten(2) + here).clamp(0.0, size - 1.0)
        whole = where.floor().clamp(max=size - 2.0)  # so that every pixel has right and lower neighbours
        share = where - whole
        corner = whole.narrow(1, 1, 1) * size + whole.narrow(1, 0, 1)  # whole numbers, exact in float32
        return cls(size, corner.long(), share.narrow(1, 0, 1), share.narrow(1, 1, 1))


def fetch(texture: Tensor, places: Places) -> Tensor:
    """What grid_sample does to (batch, channels, size, size), twice as fast in ONNX Runtime as its GridSample."""
    size, channels = places.size, texture.shape[1]
    corner = places.corner if channels == 1 else places.corner.expand(-1, channels, -1)
    flat = texture.flatten(2)  # (batch, channels, size * size)
    reach = size * (size - 1) - 1  # one more than the last corner; four views share one index

    def neighbour(step: int) -> Tensor:
        return flat.narrow(2, step, reach).gather(2, corner)

    upper, lower = neighbour(0), neighbour(size)
    upper = upper + places.across * (neighbour(1) - upper)
    lower = lower + places.across * (neighbour(size + 1) - lower)
    return (upper + places.down * (lower - upper)).reshape(texture.shape)


def invert_flow(flow: Tensor, *, steps: int = INVERSION_STEPS) -> Tensor:
    """The backward flow of a forward one, both (batch, 2, nodes, nodes) in grid_sample's units.

    A point y of the face's own shape comes from x with x + flow(x) = y; x - y is found by fixed-point iteration,
    which converges wherever the flow's slope is under one, that is, wherever the picture does not fold.
    """
    forward = flow * (flow.shape[-1] / 2.0)  # in nodes
    backward = -forward
    for _ in range(steps):
        backward = -fetch(forward, Places.from_shift(backward))
    return backward * (2.0 / flow.shape[-1])


def find_places(backward: Tensor, size: int) -> Places:
    """Where the pixels of a picture of this size come from, by a backward flow (batch, 2, nodes, nodes)."""
    shift = backward * (size / 2.0)  # in pixels
    return Places.from_shift(interpolate(shift, size=(size, size), mode="bilinear", align_corners=False))


def warp(texture: Tensor, flow: Tensor) -> Tensor:
    """Move a texture (batch, channels, size, size) along a forward flow (batch, 2, nodes, nodes)."""
    return fetch(texture, find_places(invert_flow(flow), texture.shape[-1]))


class SplineWarp(nn.Module):
    """Warp by control points: a fixed linear map takes their displacements to a flow (Bookstein 1989)."""

    reference: Tensor
    spline: Tensor

    def __init__(self, reference: Tensor, spline: Tensor, size: int) -> None:
        """reference (controls, 2) pixels; spline (nodes**2, controls), see face.spline; size of the picture, pixels."""
        super().__init__()
        self.size = size
        self.nodes = round(spline.shape[0] ** 0.5)
        self.register_buffer("reference", reference.float())
        self.register_buffer("spline", spline.float())

    def flow(self, landmarks: Tensor) -> Tensor:
        """Landmarks (batch, controls, 2) in pixels to a forward flow (batch, 2, nodes, nodes)."""
        moved = torch.einsum("nc,bcd->bdn", self.spline, landmarks - self.reference)
        return moved.reshape(-1, 2, self.nodes, self.nodes) * (2.0 / self.size)

    def forward(self, texture: Tensor, landmarks: Tensor) -> Tensor:
        """The texture (batch, channels, size, size) with its reference points moved to the landmarks."""
        return warp(texture, self.flow(landmarks))
