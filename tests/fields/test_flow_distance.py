"""Distances to a cloud: the grid against scipy's and brute force, where gradients end, and what does not fit."""

import math

import numpy as np
import pytest
import torch
from scipy.ndimage import distance_transform_edt, map_coordinates

from fields.flow_distance import DistanceGrid, ExactDistance


def cloud(count, seed=0, size=3.0):
    return size * torch.rand(count, 3, generator=torch.Generator().manual_seed(seed))


def brute_force(points, target):
    return torch.cdist(points.double(), target.double()).min(dim=1).values


@pytest.mark.parametrize("truncation", [math.inf, 0.5])
def test_the_grid_is_the_exact_transform(truncation):
    """As FastNSF has it, against scipy's, read trilinearly, clamped to the box of both clouds; flat beyond the end."""
    generator = torch.Generator().manual_seed(0)
    points, beside = (torch.rand(60, 3, generator=generator) * torch.tensor([3.0, 2.0, 1.0]) for _ in range(2))
    beside += 1.0
    cell = 0.1
    found = DistanceGrid(points, beside=beside, cell=cell, truncate=truncation)
    low = np.floor(torch.minimum(points.amin(0), beside.amin(0)).numpy() / cell - 1)
    high = np.ceil(torch.maximum(points.amax(0), beside.amax(0)).numpy() / cell + 1)
    free = np.ones((high - low).astype(int) + 2, bool)
    free[tuple(np.round(points.numpy() / cell - low).astype(int).T)] = False
    distances = distance_transform_edt(free) * cell
    queries = torch.rand(500, 3, generator=generator) * 6 - 1  # some outside
    place = np.clip(queries.double().numpy() / cell - low, 0, np.array(free.shape) - 1)
    expected = np.minimum(map_coordinates(distances, place.T, order=1), truncation)
    np.testing.assert_allclose(found(queries).numpy(), expected, atol=2e-4)
    inside = (beside - 0.05).requires_grad_()
    found(inside).sum().backward()
    assert inside.grad.abs().max() < 2 and (truncation < 1 or inside.grad.norm(dim=1).min() > 0.1)
    if truncation < 1:
        far = found(inside) >= truncation
        assert far.any() and not inside.grad[far].any(), "no slope beyond the truncation"


@pytest.mark.parametrize("cell", [0.05, 0.2])
def test_the_grid_is_the_distance_to_within_a_cell(cell):
    """A point is rounded by at most sqrt(3) / 2 cells, and as much again lies between a place and its nodes."""
    target, points = cloud(60), cloud(500, 1)
    read = DistanceGrid(target, cell=cell)(points)
    error = (read - brute_force(points, target)).abs()
    assert float(error.max()) <= 3**0.5 * cell and float(error.mean()) < 0.5 * cell


def test_the_exact_distance_is_exact():
    target, points = cloud(60), cloud(500, 1)
    torch.testing.assert_close(ExactDistance(target)(points).double(), brute_force(points, target), atol=1e-5, rtol=0)


@pytest.mark.parametrize("measure", [DistanceGrid, ExactDistance])
def test_the_gradient_points_away_from_the_cloud_and_ends_at_truncation(measure):
    target = torch.tensor([[0.0, 0.0, 0.0], [9.0, 0.0, 0.0]])
    points = torch.tensor([[1.03, 0.0, 0.0], [4.5, 0.0, 0.0]], requires_grad=True)
    distance = measure(target, truncate=2.0)(points)
    distance.sum().backward()
    assert float(distance[1].detach()) == 2.0
    torch.testing.assert_close(points.grad, torch.tensor([[1.0, 0.0, 0.0], [0.0, 0.0, 0.0]]), atol=0.06, rtol=0)


def test_points_outside_the_box_are_clamped_to_it():
    grid = DistanceGrid(cloud(50), cell=0.1)
    far = torch.tensor([[100.0, -100.0, 1e6]], requires_grad=True)
    (value,) = grid(far)
    value.backward()
    assert 0 <= float(value.detach()) <= 2 and not far.grad.any()


def test_a_large_box_gets_larger_cells_and_says_so():
    wide = torch.tensor([[0.0, 0.0, 0.0], [100.0, 100.0, 10.0]])
    with pytest.warns(UserWarning, match="a box of 100 x 100 x 10 m has more than 100,000 cells of 0.1 m") as caught:
        grid = DistanceGrid(wide, cell=0.1, most_cells=100_000)
    assert grid.table.numel() <= 100_000 and grid.cell > 0.1
    assert f"{grid.cell:.3g} m wide" in str(caught[0].message)
    near = wide[1:] - torch.tensor([[1.5, 0.0, 0.0]])
    assert abs(float(grid(near)[0]) - 1.5) < 3**0.5 * grid.cell


def test_bad_clouds_and_numbers_are_refused():
    with pytest.raises(ValueError, match="got none"):
        DistanceGrid(torch.empty(0, 3))
    with pytest.raises(ValueError, match="cell: expected metres above 0, got 0"):
        DistanceGrid(cloud(5), cell=0)
