"""The differentiable warp."""

import torch
from torch.testing import assert_close

from speech2face.decoder.warp import Places, fetch, invert_flow, warp

SIZE, NODES = 32, 16


def pixel_centres(size: int) -> torch.Tensor:
    """Centres of a size x size grid in grid_sample's units, -1 to 1 over the picture's edges: (size, size, 2)."""
    steps = (torch.arange(size) + 0.5) * (2.0 / size) - 1.0
    down, across = torch.meshgrid(steps, steps, indexing="ij")
    return torch.stack([across, down], dim=-1)


def picture() -> torch.Tensor:
    return torch.rand(1, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(0))


def test_a_flow_of_three_pixels_to_the_right_moves_every_column_by_three() -> None:
    flow = torch.zeros(1, 2, NODES, NODES)
    flow[:, 0] = 3 * 2.0 / SIZE
    moved = warp(picture(), flow)
    assert_close(moved[..., 3:], picture()[..., :-3], atol=1e-4, rtol=0)


def test_fetching_is_what_grid_sample_does_inside_and_beyond_the_border() -> None:
    shift = 12.0 * torch.randn(2, 2, SIZE, SIZE, generator=torch.Generator().manual_seed(1))
    textures = torch.rand(2, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(2))
    where = pixel_centres(SIZE) + shift.permute(0, 2, 3, 1) * (2.0 / SIZE)
    expected = torch.nn.functional.grid_sample(textures, where, align_corners=False, padding_mode="border")
    assert_close(fetch(textures, Places.from_shift(shift)), expected, atol=1e-4, rtol=0)


def test_forward_then_backward_flow_returns_to_the_start() -> None:
    centres = pixel_centres(NODES)
    flow = 0.1 * torch.stack([torch.sin(3 * centres[..., 1]), torch.cos(2 * centres[..., 0])])[None]
    backward = invert_flow(flow, steps=12)
    where = centres + backward.permute(0, 2, 3, 1)
    there = torch.nn.functional.grid_sample(flow, where, align_corners=False, padding_mode="border")
    assert_close(there + backward, torch.zeros_like(flow), atol=1e-4, rtol=0)
