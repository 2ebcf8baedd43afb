"""The first-order polyharmonic warp."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.testing import assert_close

from speech2face.decoder.warp import SOFTENING_PIXELS, BorderedSpline, solve_by_elimination
from speech2face.face.appearance import border_points

SIZE = 32
SPLINE = BorderedSpline(SIZE, nodes=SIZE)
EXACT = BorderedSpline(SIZE, nodes=SIZE, stiffness_pixels=0.0)
TRIANGLE = torch.tensor([[[10.0, 10.0], [22.0, 10.0], [16.0, 22.0]]])


def picture(channels: int = 3) -> Tensor:
    return torch.rand(1, channels, SIZE, SIZE, generator=torch.Generator().manual_seed(0))


def textbook_spline(
    controls: NDArray[np.float64], moves: NDArray[np.float64], where: NDArray[np.float64], border: NDArray[np.float64]
) -> NDArray[np.float64]:
    """f(x) = sum c_i |x - x_i| + v.x + b by the bordered system that is in every textbook, (points, 2)."""

    def kernel(some: NDArray[np.float64], others: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.asarray(np.sqrt(((some[:, None] - others[None]) ** 2).sum(-1) + SOFTENING_PIXELS**2))

    points = np.concatenate([border, controls])
    count = len(points)
    affine = np.concatenate([points, np.ones((count, 1))], axis=1)
    system = np.zeros((count + 3, count + 3))
    system[:count, :count] = kernel(points, points)
    system[:count, count:], system[count:, :count] = affine, affine.T
    wanted = np.concatenate([np.zeros((len(border), 2)), moves, np.zeros((3, 2))])
    weights = np.linalg.solve(system, wanted)
    return np.asarray(np.concatenate([kernel(where, points), where, np.ones((len(where), 1))], axis=1) @ weights)


def test_the_reduced_system_gives_the_textbooks_polyharmonic_spline() -> None:
    random = np.random.default_rng(0)
    controls, moves = random.uniform(4, 28, (12, 2)), random.normal(0, 2, (12, 2))
    where = random.uniform(0, SIZE - 1, (50, 2))
    border = border_points(SIZE - 1.0, margin_pixels=0.0, per_side=EXACT.border_per_side)
    found = EXACT.displacements(*(torch.from_numpy(points)[None] for points in (controls, moves, where)))
    np.testing.assert_allclose(found[0].numpy(), textbook_spline(controls, moves, where, border), atol=1e-9)


def test_the_spline_passes_through_its_points_and_holds_the_border() -> None:
    moves = torch.tensor([[[2.0, 0.0], [0.0, -1.0], [-1.5, 1.0]]])
    border = torch.from_numpy(border_points(SIZE - 1.0, margin_pixels=0.0, per_side=4)).float()[None]
    assert_close(EXACT.displacements(TRIANGLE, moves, TRIANGLE), moves, atol=1e-3, rtol=0)
    assert_close(EXACT.displacements(TRIANGLE, moves, border), torch.zeros_like(border), atol=1e-3, rtol=0)


def test_elimination_solves_what_the_library_solves() -> None:
    random = torch.Generator().manual_seed(1)
    factor = torch.randn(3, 9, 9, generator=random, dtype=torch.float64)
    matrix = factor @ factor.transpose(1, 2) + 0.1 * torch.eye(9, dtype=torch.float64)
    right = torch.randn(3, 9, 4, generator=random, dtype=torch.float64)
    assert_close(solve_by_elimination(matrix, right), torch.linalg.solve(matrix, right))


def test_points_that_stay_leave_the_picture_as_it_is() -> None:
    assert_close(SPLINE.move(picture(), TRIANGLE, TRIANGLE), picture(), atol=1e-5, rtol=0)


def test_one_point_moves_its_neighbourhood_and_not_the_far_corner() -> None:
    destination = TRIANGLE + torch.tensor([[[0.0, 0.0], [0.0, 0.0], [2.0, 1.0]]])
    moves = SPLINE.displacements(TRIANGLE, destination - TRIANGLE, torch.tensor([[[16.0, 23.0], [31.0, 0.0]]]))[0]
    assert_close(moves[0], torch.tensor([2.0, 1.0]), atol=0.5, rtol=0)
    assert_close(moves[1], torch.zeros(2), atol=1e-3, rtol=0)


def test_the_texture_under_a_point_lands_where_the_point_is_sent() -> None:
    texture = torch.zeros(1, 1, SIZE, SIZE)
    texture[0, 0, 21:24, 15:18] = 1.0  # a spot on the third point
    destination = TRIANGLE + torch.tensor([[[0.0, 0.0], [0.0, 0.0], [3.0, -2.0]]])
    moved = EXACT.move(texture, TRIANGLE, destination)[0, 0]
    assert float(moved[20, 19]) > 0.95  # a pixel centre: the spot's own middle
    assert float(moved[22, 16]) < 0.6  # and no longer where it was


def test_inner_points_that_move_together_carry_the_inside_along() -> None:
    steps = torch.linspace(6, 25, 6)
    source = torch.stack(torch.meshgrid(steps, steps, indexing="xy"), dim=-1).reshape(1, -1, 2)
    moved = EXACT.move(picture(), source, source + torch.tensor([1.0, 0.0]))
    difference = (moved[..., 10:22, 11:22] - picture()[..., 10:22, 10:21]).abs()
    assert float(difference.mean()) < 0.02  # a shift by one pixel changes a picture of noise by 0.33


def test_drawing_on_the_shape_and_taking_off_again_nearly_returns_the_texture() -> None:
    across, down = torch.meshgrid(torch.arange(SIZE) / 5.0, torch.arange(SIZE) / 7.0, indexing="xy")
    texture = (torch.sin(across) * torch.cos(down) * 0.5 + 0.5)[None, None]
    own = TRIANGLE + torch.tensor([[[3.0, 1.5], [-3.0, 3.0], [0.0, -4.0]]])
    face = SPLINE.move(texture, TRIANGLE, own)
    returned = SPLINE.move(face, own, TRIANGLE)
    # Each way has its own spline, through the same points: inverse at the points, nearly so between them.
    assert float((returned - texture).abs().mean()) < 0.4 * float((face - texture).abs().mean())


def test_two_points_on_one_spot_that_disagree_give_way_instead_of_tearing() -> None:
    controls = torch.tensor([[[16.0, 16.0], [16.0, 16.0], [8.0, 8.0]]])
    moves = torch.tensor([[[1.0, 0.0], [-1.0, 0.0], [0.0, 0.0]]])
    found = SPLINE.displacements(controls, moves, controls)
    assert_close(found, torch.zeros_like(found), atol=0.05, rtol=0)


def test_each_picture_of_a_batch_is_warped_by_its_own_points() -> None:
    both = torch.cat([TRIANGLE, TRIANGLE + 1.5])
    pictures = picture().expand(2, -1, -1, -1)
    together = SPLINE.move(pictures, TRIANGLE.expand(2, -1, -1), both)
    for number in range(2):
        alone = SPLINE.move(picture(), TRIANGLE, both[number : number + 1])
        assert_close(together[number : number + 1], alone, atol=1e-5, rtol=0)


def test_gradients_reach_points_and_texture_and_are_the_numerical_ones() -> None:
    spline = BorderedSpline(16, nodes=4, border_per_side=2)
    where = torch.tensor([[[4.3, 5.1], [9.2, 9.9], [12.0, 3.0]]], dtype=torch.float64)
    controls = torch.tensor([[[5.0, 5.0], [10.0, 9.0]]], dtype=torch.float64, requires_grad=True)
    moves = torch.tensor([[[0.5, -0.3], [0.2, 0.8]]], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda c, m: spline.displacements(c, m, where), (controls, moves))
    texture = picture().requires_grad_()
    landmarks = (TRIANGLE + 0.4).requires_grad_()
    face = SPLINE.move(texture, TRIANGLE, landmarks)
    for gradient in torch.autograd.grad(face.square().sum(), (texture, landmarks)):
        assert bool(gradient.isfinite().all())
        assert bool((gradient != 0).any())


def test_autocast_does_not_coarsen_the_points() -> None:
    destination = TRIANGLE + 1.0
    expected = SPLINE.flow(destination, TRIANGLE - destination)
    with torch.autocast("cpu", torch.bfloat16):
        assert_close(SPLINE.flow(destination, TRIANGLE - destination), expected)
