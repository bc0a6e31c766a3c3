"""Work of the sizes that fields have: 2^18 points in a hash grid, a dense grid and a triplane."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import grid_sample, normalize

from kernels.grid import Level, dense_levels, grid, hash_levels, plane_levels, reference, table_rows, triplane
from kernels.work import Floor, Work

POINTS = 2**18
CHUNK = 2**15
"""Points at a time in torch's formulation, whose temporaries then stay in cache."""


def random_points(device: torch.device) -> Tensor:
    """[POINTS, 3] without any order: the worst case for caches."""
    return torch.rand(POINTS, 3, generator=torch.Generator().manual_seed(0)).to(device)


def ray_points(device: torch.device) -> Tensor:
    """[POINTS, 3] along rays through the cube, 64 on each."""
    g = torch.Generator().manual_seed(1)
    origins = torch.rand(POINTS // 64, 1, 3, generator=g)
    directions = normalize(torch.randn(POINTS // 64, 1, 3, generator=g), dim=2)
    steps = torch.linspace(0, 0.5, 64)[:, None]
    return (origins + steps * directions).clamp(0, 1).reshape(-1, 3).to(device)


def _floors(levels: tuple[Level, ...], features: int, touched: int) -> tuple[Floor, Floor]:
    """Positions read and features written once; every corner one gather, and backward one scattered row.

    Backward moves the whole gradient of the table (it must be zeroed), the rows that are touched, and the gradients of
    features and positions.
    """
    corners = POINTS * len(levels) * 2 ** len(levels[0].resolution)
    moved = 4 * POINTS * (3 + len(levels) * features)
    rows = 4 * features * table_rows(levels)
    forward = Floor(bytes=moved + 4 * features * touched, flops=2 * corners * features, gathers=corners)
    operations = 4 * corners * features
    backward = Floor(moved + 12 * POINTS + 2 * rows, operations, 0.0, 2 * corners, corners * features)
    return forward, backward


def _gathered(x: Tensor, table: Tensor, levels: tuple[Level, ...]) -> Tensor:
    """The formulation by torch's gathers."""
    return torch.cat([reference.grid(part, table, levels) for part in x.split(CHUNK)])


def _sampled_volume(x: Tensor, table: Tensor, nodes: int) -> Tensor:
    volume = table.reshape(1, nodes, nodes, nodes, -1).permute(0, 4, 1, 2, 3)
    found = grid_sample(volume, (2 * x - 1).reshape(1, 1, 1, -1, 3), align_corners=True)
    return found.reshape(table.shape[1], -1).T


def _sampled_planes(x: Tensor, planes: Tensor) -> Tensor:
    coordinates = torch.stack([2 * x[:, axes] - 1 for axes in ([1, 2], [0, 2], [0, 1])])
    found = grid_sample(planes.permute(0, 3, 1, 2), coordinates[:, None], align_corners=True)
    return found[:, :, 0].permute(2, 0, 1)


def works(device: torch.device) -> list[Work]:
    """A hash grid at random points and along rays, a dense grid, a triplane."""
    g = torch.Generator().manual_seed(2)

    def features(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=g).to(device)

    def work(name: str, run: Any, plain: Any, inputs: dict[str, Tensor], floors: tuple[Floor, Floor]) -> Work:
        return Work("grid", name, run, inputs, tuple(inputs), *floors, plain, POINTS, "points")

    hashed, dense, planes = hash_levels(16, 16, 2048, 19), dense_levels([128]), plane_levels([512])
    scattered, found = random_points(device), []
    for name, x in (("random", scattered), ("rays", ray_points(device))):
        inputs = {"x": x, "table": features(table_rows(hashed), 2)}
        floors = _floors(hashed, 2, table_rows(hashed))
        run, plain = partial(grid, levels=hashed), partial(_gathered, levels=hashed)
        found.append(work(f"hash, 16 levels x 2, 2^19 rows, {name}", run, plain, inputs, floors))
    inputs = {"x": scattered, "table": features(128**3, 4)}
    floors = _floors(dense, 4, min(8 * POINTS, 128**3))
    run, plain = partial(grid, levels=dense), partial(_sampled_volume, nodes=128)
    found.append(work("dense, 128^3 x 4, random", run, plain, inputs, floors))
    inputs = {"x": scattered, "planes": features(3, 512, 512, 8)}
    found.append(work("triplane, 512^2 x 8, random", triplane, _sampled_planes, inputs, _floors(planes, 8, 3 * 512**2)))
    return found
