"""Grids and rays: along axes and cell faces, from inside and outside, missing, ended early, through cascades."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor

from kernels.traverse import distance_grid


class TraverseCase(NamedTuple):
    """`inputs` are the tensors by name, `options` the numbers."""

    inputs: dict[str, Tensor]
    options: dict[str, Any]


def random_grid(size: int, share: float, cascades: int = 1, seed: int = 0) -> Tensor:
    """[cascades, size, size, size] bool, of which about `share` is occupied, in clumps."""
    g = torch.Generator().manual_seed(seed)
    coarse = torch.rand(cascades, *[-(-size // 2)] * 3, generator=g) < share
    return coarse.repeat_interleave(2, 1).repeat_interleave(2, 2).repeat_interleave(2, 3)[:, :size, :size, :size]


def random_rays(count: int, seed: int = 0, away: float = 2.0) -> dict[str, Tensor]:
    """Rays from a sphere of radius `away` about the origin towards points of the unit box."""
    g = torch.Generator().manual_seed(seed)
    origins = away * torch.nn.functional.normalize(torch.randn(count, 3, generator=g), dim=1)
    directions = torch.nn.functional.normalize(1.6 * torch.rand(count, 3, generator=g) - 0.8 - origins, dim=1)
    return {
        "origins": origins,
        "directions": directions,
        "near": 0.1 * torch.rand(count, generator=g),
        "far": 3 + torch.rand(count, generator=g),
        "phases": torch.rand(count, generator=g),
    }


def case(rays: dict[str, Tensor], occupied: Tensor, **options: Any) -> TraverseCase:
    """Rays through a grid over the box [-1, 1]^3."""
    box = torch.tensor([[-1.0] * 3, [1.0] * 3])
    return TraverseCase({**rays, "distances": distance_grid(occupied), "box": box}, {"step": 0.031, **options})


def along_axes() -> dict[str, Tensor]:
    """Rays along each axis both ways, through cell middles and along cell faces, and beside the box."""
    eye = torch.eye(3)
    directions = torch.cat([eye, -eye]).repeat(3, 1)
    across = directions.roll(1, 1).abs() + directions.roll(2, 1).abs()
    offset = torch.tensor([0.03, 0.25, 1.2]).repeat_interleave(6)[:, None] * across
    origins = -2.0 * directions + offset
    return {
        "origins": origins,
        "directions": directions,
        "near": torch.zeros(18),
        "far": torch.full((18,), 4.0),
        "phases": torch.full((18,), 0.37),
    }


def cases() -> dict[str, TraverseCase]:
    """Cases by name."""
    grid = random_grid(16, 0.1)
    found = {f"{n} rays": case(random_rays(n, seed=n), grid) for n in (0, 1, 63, 64, 65)}
    found["empty grid"] = case(random_rays(20), torch.zeros_like(grid))
    found["full grid"] = case(random_rays(20), torch.ones_like(grid))
    found["one cell a side"] = case(random_rays(20), torch.ones(1, 1, 1, 1, dtype=torch.bool))
    single = torch.zeros_like(grid)
    single[0, 9, 7, 6] = True
    found["one occupied cell"] = case(random_rays(50), single)
    found["odd size"] = case(random_rays(25, seed=3), random_grid(15, 0.2))
    found["along axes and faces"] = case(along_axes(), random_grid(16, 0.4, seed=2))
    inside = random_rays(25, seed=4, away=0.4)
    found["from inside"] = case(inside, grid)
    behind = random_rays(20, seed=5)
    found["looking away"] = case({**behind, "directions": -behind["directions"]}, grid)
    found["few samples a ray"] = case(random_rays(25, seed=6), random_grid(16, 0.5), limit=7)
    found["cut by far"] = case({**random_rays(25, seed=7), "far": torch.full((25,), 1.9)}, random_grid(16, 0.5))
    found["steps larger than cells"] = case(random_rays(25, seed=8), random_grid(32, 0.1), step=0.3)
    found["growing steps"] = case(random_rays(30, seed=9), grid, step=0.01, cone=0.02)
    cascades = random_grid(16, 0.05, cascades=3, seed=10)
    wide = {**random_rays(30, seed=10, away=3.0), "far": torch.full((30,), 9.0)}
    found["three cascades"] = case(wide, cascades)
    found["three cascades, growing steps"] = case(wide, cascades, step=0.01, cone=0.03)
    found["cascades of odd halves"] = case(wide, random_grid(10, 0.1, cascades=2, seed=11))
    broken = random_rays(12, seed=12)
    broken["origins"][2, 1], broken["directions"][5, 0] = float("nan"), float("nan")
    broken["far"][7], broken["near"][9] = float("inf"), float("nan")
    broken["far"][3] = -1.0
    found["broken rays"] = case(broken, random_grid(16, 0.5))
    return found


def configurations() -> Iterator[Callable[[], object]]:
    """The grid of the occupancy samplers, alone and in cascades, with even and growing steps."""
    from kernels.traverse import traverse

    for cascades in (1, 4):
        for cone in (0.0, 0.004):
            grid = torch.zeros(cascades, 128, 128, 128, dtype=torch.uint8)
            box = torch.tensor([[-1.0] * 3, [1.0] * 3])
            rays = {**random_rays(3), "near": torch.full((3,), 2.9)}
            options = {"step": 0.05, "cone": cone, "backend": "gpu"}
            yield lambda g=grid, b=box, r=rays, o=options: traverse(**r, distances=g, box=b, **o)
