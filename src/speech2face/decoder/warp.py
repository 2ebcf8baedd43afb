"""Differentiable warp of a texture from the mean shape to a face's own shape."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import grid_sample, interpolate

INVERSION_STEPS = 4  # each divides the error by the flow's slope, about 4; 4 leave under a tenth of a pixel


def pixel_centres(size: int) -> Tensor:
    """Centres of a size x size grid in grid_sample's units, -1 to 1 over the picture's edges: (size, size, 2)."""
    steps = (torch.arange(size) + 0.5) * (2.0 / size) - 1.0
    down, across = torch.meshgrid(steps, steps, indexing="ij")
    return torch.stack([across, down], dim=-1)


def invert_flow(flow: Tensor, *, steps: int = INVERSION_STEPS) -> Tensor:
    """The backward flow of a forward one, both (batch, 2, nodes, nodes) in grid_sample's units.

    A point y of the face's own shape comes from x with x + flow(x) = y; x - y is found by fixed-point iteration,
    which converges wherever the flow's slope is under one, that is, wherever the picture does not fold.
    """
    centres = pixel_centres(flow.shape[-1]).to(flow)
    backward = -flow
    for _ in range(steps):
        where = centres + backward.permute(0, 2, 3, 1)  # (batch, nodes, nodes, 2)
        backward = -grid_sample(flow, where, mode="bilinear", padding_mode="border", align_corners=False)
    return backward


def move(texture: Tensor, backward: Tensor) -> Tensor:
    """Fetch every pixel of (batch, channels, size, size) from where a backward flow (batch, 2, nodes, nodes) says."""
    size = texture.shape[-1]
    fine = interpolate(backward, size=(size, size), mode="bilinear", align_corners=False)
    where = pixel_centres(size).to(texture) + fine.permute(0, 2, 3, 1)
    return grid_sample(texture, where, mode="bilinear", padding_mode="border", align_corners=False)


def warp(texture: Tensor, flow: Tensor) -> Tensor:
    """Move a texture (batch, channels, size, size) along a forward flow (batch, 2, nodes, nodes)."""
    return move(texture, invert_flow(flow))


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
