"""The differentiable warp."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch.testing import assert_close

from speech2face.decoder.warp import Places, SplineWarp, fetch, invert_flow, pixel_centres, warp
from speech2face.face.align import border_points, pixel_grid, spline_map

SIZE, NODES = 32, 16


def picture() -> torch.Tensor:
    return torch.rand(1, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(0))


def spline_warp(reference: NDArray[np.float64]) -> SplineWarp:
    fixed = border_points(SIZE, margin_pixels=8.0, per_side=4)
    mapped = spline_map(reference, pixel_grid(SIZE, NODES), fixed=fixed)
    return SplineWarp(torch.from_numpy(reference), torch.from_numpy(mapped), SIZE)


def test_landmarks_on_the_mean_shape_change_nothing() -> None:
    reference = np.array([[10.0, 10.0], [22.0, 10.0], [16.0, 22.0]])
    moved = spline_warp(reference)(picture(), torch.from_numpy(reference).float()[None])
    assert_close(moved, picture(), atol=1e-5, rtol=0)


def test_a_flow_of_three_pixels_to_the_right_moves_every_column_by_three() -> None:
    flow = torch.zeros(1, 2, NODES, NODES)
    flow[:, 0] = 3 * 2.0 / SIZE
    moved = warp(picture(), flow)
    assert_close(moved[..., 3:], picture()[..., :-3], atol=1e-4, rtol=0)


def test_a_landmark_takes_the_texture_under_it_along() -> None:
    reference = np.array([[10.0, 10.0], [22.0, 10.0], [16.0, 22.0]])
    texture = torch.zeros(1, 1, SIZE, SIZE)
    texture[0, 0, 21:24, 15:18] = 1.0  # a spot on the third point
    goal = reference + np.array([[0.0, 0.0], [0.0, 0.0], [2.0, 1.0]])
    moved = spline_warp(reference)(texture, torch.from_numpy(goal).float()[None])[0, 0]
    weights = moved / moved.sum()
    steps = torch.arange(SIZE, dtype=torch.float32)
    assert abs(float((weights.sum(0) * steps).sum()) - 18.0) < 0.4
    assert abs(float((weights.sum(1) * steps).sum()) - 23.0) < 0.4


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


def test_the_warp_passes_gradients_to_the_landmarks() -> None:
    reference = np.array([[10.0, 10.0], [22.0, 10.0], [16.0, 22.0]])
    landmarks = torch.from_numpy(reference + 0.5).float()[None].requires_grad_()
    (spline_warp(reference)(picture(), landmarks) ** 2).sum().backward()
    assert landmarks.grad is not None
    assert bool((landmarks.grad != 0).any())
