"""Differentiable warp of a texture from the mean shape to a face's own shape."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from speech2face.face.appearance import border_points

INVERSION_STEPS = 4  # each divides the error by the flow's slope, about 4; 4 leave under a tenth of a pixel


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


# --------------------------------------------------------------------------------------------------
# Differentiable warp by a first-order polyharmonic spline (Cole et al. 2017; TensorFlow's `sparse_image_warp`).
# The picture is sampled backwards: f(y) = sum c_i |y - y_i| + v.y + b passes through the displacements at the points'
# *destinations* y_i, x and y apart, and is zero at points on the picture's border, so a point lands where it is sent
# and nothing can fold. The system depends on where the points go, so it is solved for each face. Fixing b by one
# border point turns the conditionally definite |y - y_i| into a positive definite kernel, which needs no pivoting:
# the solution is therefore also a short graph of plain arithmetic, and ONNX needs no solver.
# --------------------------------------------------------------------------------------------------

SOFTENING_PIXELS = 0.05  # rounds the cone's tip: |r| has no slope there
STIFFNESS_PIXELS = 0.1  # two points on one spot, as in closed lips, would have no solution


def solve_by_elimination(matrix: Tensor, right: Tensor) -> Tensor:
    """matrix^-1 right, (batch, n, columns), of positive definite matrices (batch, n, n): Gauss and Jordan, no pivoting.

    Each step divides the upper row by its pivot, clears the column above and below, and sends the row to the end.
    """
    rows = torch.cat([matrix, right], dim=2)
    for _ in range(matrix.shape[1]):
        first, rest = torch.split(rows, [1, rows.shape[1] - 1], dim=1)  # splitting exports as fewer nodes than slicing
        pivot, upper = torch.split(first, [1, rows.shape[2] - 1], dim=2)
        below, others = torch.split(rest, [1, rows.shape[2] - 1], dim=2)
        upper = upper / pivot
        rows = torch.cat([others - below * upper, upper], dim=1)
    return rows


def _solve(matrix: Tensor, right: Tensor) -> Tensor:
    """matrix^-1 right, (batch, n, columns)."""
    if torch.compiler.is_exporting():
        return solve_by_elimination(matrix, right)
    solved: Tensor = torch.linalg.solve_ex(matrix, right, check_errors=False)[0]  # a check would wait for the device
    return solved


def _distance(points: Tensor, others: Tensor, softening: float) -> Tensor:
    """Softened distances of (batch, points, 2) and (batch, others, 2): (batch, points, others)."""
    across = points[:, :, None, 0] - others[:, None, :, 0]
    down = points[:, :, None, 1] - others[:, None, :, 1]
    return (across * across + down * down + softening * softening).sqrt()


@dataclass(frozen=True)
class BorderedSpline:
    """The spline of a size x size picture whose border stays where it is; pixel centres are at whole numbers."""

    size: int
    nodes: int
    """The flow is found at nodes x nodes points and interpolated between them."""
    border_per_side: int = 4
    stiffness_pixels: float = STIFFNESS_PIXELS
    """0 passes exactly through all displacements; more gives way where close points disagree."""

    def displacements(self, controls: Tensor, moves: Tensor, where: Tensor) -> Tensor:
        """The spline at `where` (1, points, 2) that passes through `moves` at `controls`, (batch, controls, 2) each.

        Returns (batch, points, 2); everything in pixels. Computed in float32 whatever the surrounding precision.
        """
        with torch.autocast(controls.device.type, enabled=False):
            scale = float(self.size)  # numbers near one keep the system well conditioned
            return scale * self._interpolate(controls / scale, moves / scale, where / scale)

    def _interpolate(self, controls: Tensor, moves: Tensor, where: Tensor) -> Tensor:
        """`displacements`, with the picture's size as the unit of length."""
        softening = SOFTENING_PIXELS / self.size
        border = border_points(self.size - 1.0, margin_pixels=0.0, per_side=self.border_per_side) / self.size
        fixed = torch.tensor(border.tolist(), dtype=controls.dtype, device=controls.device)
        origin = fixed[:1]  # the corner at which b is fixed
        held = fixed[None, 1:].expand(controls.shape[0], -1, -1)
        points = torch.cat([held, controls], dim=1)  # (batch, held + controls, 2)
        values = torch.cat([torch.zeros_like(held), moves], dim=1)
        away = _distance(points, origin[None], softening) - softening  # (batch, points, 1)
        kernel = away + away.transpose(1, 2) + softening - _distance(points, points, softening)
        slack = torch.zeros(points.shape[1], dtype=points.dtype, device=points.device)
        slack[held.shape[1] :] = self.stiffness_pixels / self.size
        trend = points - origin
        solved = _solve(kernel + torch.diag(slack), torch.cat([values, trend], dim=2))
        plain, along = solved.narrow(2, 0, 2), solved.narrow(2, 2, 2)
        slope = _solve(trend.transpose(1, 2) @ along, trend.transpose(1, 2) @ plain)  # v, (batch, 2, 2)
        weights = plain - along @ slope
        bulk = (_distance(where, origin[None], softening) - softening) * weights.sum(1, keepdim=True)
        level = (away * weights).sum(1, keepdim=True) + softening * weights.sum(1, keepdim=True)
        return bulk + level - _distance(where, points, softening) @ weights + (where - origin) @ slope

    def flow(self, controls: Tensor, moves: Tensor) -> Tensor:
        """The spline on the grid, (batch, 2, nodes, nodes), in `decoder.warp`'s units (half the picture is 1)."""
        steps = torch.arange(self.nodes, dtype=torch.float32, device=controls.device)
        steps = (steps + 0.5) * (self.size / self.nodes) - 0.5  # centres of the nodes' squares, in pixels
        where = torch.stack([steps.repeat(self.nodes), steps.repeat_interleave(self.nodes)], dim=-1)[None]
        found = self.displacements(controls, moves, where) * (2.0 / self.size)
        return found.transpose(1, 2).reshape(-1, 2, self.nodes, self.nodes)

    def move(self, picture: Tensor, source: Tensor, destination: Tensor) -> Tensor:
        """The picture (batch, channels, size, size) with its points at `source` brought to `destination`.

        Both (batch, points, 2). With the mean shape as the source this draws a face from its texture; with the mean
        shape as the destination it takes a face's texture off.
        """
        destination = destination.float()
        backward = self.flow(destination, source.float() - destination)
        return fetch(picture, find_places(backward, self.size))
