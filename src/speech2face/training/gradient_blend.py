"""Gradient-domain composition of two pictures (Perez et al. 2003), solved exactly by sine transforms, on any device.

Only the gradients are pasted, not the colours, so no seam is left at the edge of the mask. The unknowns are all pixels
but the picture's outermost, which stay the background's: on such a rectangle the Poisson equation is diagonal in sines,
a few products of small matrices instead of the sparse system of 50,000 unknowns that an irregular boundary needs.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn.functional import pad

DIRECTIONS = 64  # of the half planes whose common part stands for a convex hull


def hull_mask(points: Tensor, size: int, *, margin_pixels: float = 0.0) -> Tensor:
    """1 inside the convex hull of points (batch, points, 2) grown by the margin, else 0: (batch, 1, size, size)."""
    angles = torch.arange(DIRECTIONS, device=points.device) * (2 * math.pi / DIRECTIONS)
    outward = torch.stack([angles.cos(), angles.sin()])  # (2, directions)
    reach = (points @ outward).amax(dim=1) + margin_pixels  # (batch, directions)
    steps = torch.arange(size, dtype=points.dtype, device=points.device)
    grid = torch.stack([steps.repeat(size), steps.repeat_interleave(size)], dim=-1)  # (size * size, 2)
    inside = ((grid @ outward)[None] <= reach[:, None]).all(dim=2)
    return inside.reshape(-1, 1, size, size).to(points.dtype)


def _sines(count: int, like: Tensor) -> tuple[Tensor, Tensor]:
    """The orthonormal sine transform (count, count), its own inverse, and the eigenvalues of -u'' in it, (count,)."""
    steps = torch.arange(1, count + 1, dtype=torch.float64)
    matrix = torch.sin(torch.outer(steps, steps) * (math.pi / (count + 1))) * math.sqrt(2 / (count + 1))
    eigenvalues = 2 - 2 * torch.cos(steps * (math.pi / (count + 1)))
    return matrix.to(like), eigenvalues.to(like)


def blend_gradients(inner: Tensor, background: Tensor, mask: Tensor) -> Tensor:
    """The picture with inner's gradients inside the mask, the background's outside, and the background's border.

    All (batch, channels, height, width), mask (batch, 1, height, width). Returned in [0, 1], as they are.
    """
    across, down = (_pasted(inner, background, mask, axis) for axis in (3, 2))
    divergence = (across[..., 1:-1, 1:] - across[..., 1:-1, :-1]) + (down[..., 1:, 1:-1] - down[..., :-1, 1:-1])
    border = background - pad(background[..., 1:-1, 1:-1], (1, 1, 1, 1))
    around = border[..., :-2, 1:-1] + border[..., 2:, 1:-1] + border[..., 1:-1, :-2] + border[..., 1:-1, 2:]
    right = around - divergence  # -laplace u = -divergence, what is known of u on the right
    rows, row_values = _sines(right.shape[-2], right)
    columns, column_values = _sines(right.shape[-1], right)
    waves = rows @ right @ columns / (row_values[:, None] + column_values[None])
    return (border + pad(rows @ waves @ columns, (1, 1, 1, 1))).clamp(0.0, 1.0)


def _pasted(inner: Tensor, background: Tensor, mask: Tensor, axis: int) -> Tensor:
    """Differences of neighbours along an axis: the inner picture's where both are inside the mask."""
    count = mask.shape[axis] - 1
    both = mask.narrow(axis, 0, count) * mask.narrow(axis, 1, count)
    return torch.lerp(background.diff(dim=axis), inner.diff(dim=axis), both.expand_as(inner.diff(dim=axis)))
