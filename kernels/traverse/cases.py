"""Rays and grids: random ones, cascades, growing samples, and the ends of the domain."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor

from kernels.traverse import distance_grid, traverse

BOX = torch.tensor([[-1.0, -0.8, -1.1], [1.0, 1.2, 0.9]])
"""A box that is not a cube's neighbour of the origin, so that axes cannot be confused."""


class TraverseCase(NamedTuple):
    """Tensors of `traverse` by name, and its options. on_faces: midpoints may lie on cells' faces."""

    inputs: dict[str, Tensor]
    options: dict[str, Any]
    on_faces: bool = False


def grid(cells: int, cascades: int, share: float, seed: int = 0, limit: int = 16) -> Tensor:
    """Distances to a random `share` of occupied cells, in clumps."""
    g = torch.Generator().manual_seed(seed)
    noise = torch.rand(cascades, 1, cells, cells, cells, generator=g)
    smooth = torch.nn.functional.avg_pool3d(noise, 3, stride=1, padding=1)[:, 0]
    kept = max(int(share * smooth.numel()), 0)
    bound = smooth.flatten().sort(descending=True).values[kept - 1] if kept else 2.0
    return distance_grid(smooth >= bound, limit=limit, backend="reference")


def rays(n: int, seed: int = 0, distance: float = 3.0) -> dict[str, Tensor]:
    """`n` rays from around BOX, and some from within, towards places in it; near 0.05, far 8."""
    g = torch.Generator().manual_seed(seed)
    origins = distance * torch.nn.functional.normalize(torch.randn(n, 3, generator=g), dim=1)
    origins[::4] *= 0.2 / distance
    target = BOX[0] + torch.rand(n, 3, generator=g) * (BOX[1] - BOX[0]) * 1.1
    return {
        "origins": origins,
        "directions": torch.nn.functional.normalize(target - origins, dim=1),
        "near": torch.full((n,), 0.05),
        "far": torch.full((n,), 8.0),
        "phases": torch.rand(n, generator=g),
    }


def case(n: int, distances: Tensor, *, on_faces: bool = False, seed: int = 0, **options: Any) -> TraverseCase:
    """`n` random rays through a grid; options have step 0.031 where nothing else is said."""
    inputs = {**rays(n, seed), "distances": distances, "box": BOX}
    return TraverseCase(inputs, {"step": 0.031, **options}, on_faces)


def along_axes() -> TraverseCase:
    """Both ways along every axis, in the middle of cells, on their faces, on the box and beside it."""
    found = case(0, grid(8, 1, 0.4, seed=3), on_faces=True, step=0.05)
    places = torch.tensor([0.0625, 0.5, 0.0, 1.0, 1.01])
    lines = []
    for axis in range(3):
        for sign in (1, -1):
            for u in places:
                for v in places:
                    start = torch.stack([u, v]).tolist()
                    start.insert(axis, -0.3 if sign > 0 else 1.3)
                    direction = [0.0, 0.0, 0.0]
                    direction[axis] = float(sign)
                    lines.append((start, direction))
    starts, directions = (torch.tensor(x) for x in zip(*lines, strict=True))
    origins = BOX[0] + starts * (BOX[1] - BOX[0])
    n = len(origins)
    ends = {"near": torch.zeros(n), "far": torch.full((n,), 9.0), "phases": torch.full((n,), 0.37)}
    return found._replace(inputs={**found.inputs, **ends, "origins": origins, "directions": directions})


def cases() -> dict[str, TraverseCase]:
    """Cases by name."""
    sparse = grid(16, 1, 0.05)
    found = {f"{n} rays": case(n, sparse, seed=n) for n in (0, 1, 15, 16, 17, 70)}
    found["half full"] = case(60, grid(16, 1, 0.5))
    found["empty grid"] = case(20, grid(8, 1, 0))
    found["full grid"] = case(20, grid(8, 1, 1.0))
    found["one cell"] = case(20, torch.zeros(1, 1, 1, 1, dtype=torch.uint8))
    found["small limit of distances"] = case(40, grid(16, 1, 0.01, limit=2))
    found["long steps"] = case(40, grid(16, 1, 0.3), step=0.4)
    found["short steps"] = case(12, grid(16, 1, 0.05), step=0.004)
    found["at most 5"] = case(60, grid(16, 1, 0.3), limit=5)
    found["cascades"] = case(60, grid(8, 3, 0.1, seed=2))
    found["cascades by length"] = case(60, grid(16, 4, 0.1, seed=2), step=0.3)
    found["growing"] = case(60, grid(16, 1, 0.2), cone=1 / 64)
    found["growing in cascades"] = case(60, grid(16, 4, 0.05, seed=5), cone=1 / 16, step=0.02)
    found["growing much"] = case(40, grid(16, 2, 0.3, seed=6), cone=0.5, step=0.01)
    near = case(60, grid(16, 1, 0.3))
    near.inputs["near"] = torch.linspace(0, 6, 60)
    near.inputs["far"] = torch.linspace(5, 1, 60)
    near.inputs["far"][-1] = float("inf")
    found["spans of all kinds"] = near
    unphased = case(30, grid(16, 1, 0.2))
    del unphased.inputs["phases"]
    found["no phases"] = unphased
    found["along the axes"] = along_axes()
    found["room"] = case(60, grid(16, 1, 0.2), capacity=100_000 // 20)
    found["no room"] = case(60, grid(16, 1, 0.2), capacity=200)
    found["no room at all"] = case(60, grid(16, 1, 0.2), capacity=0)
    return found


def configurations() -> Iterator[Callable[[], object]]:
    """Calls that launch every kernel in every configuration."""
    for cascades in (1, 2, 8):
        for cone in (0.0, 0.01):
            c = case(3, grid(4, cascades, 0.5), cone=cone)
            yield functools.partial(traverse, **c.inputs, **c.options, backend="gpu")
    yield functools.partial(distance_grid, torch.ones(1, 4, 4, 4, dtype=torch.bool), backend="gpu")
