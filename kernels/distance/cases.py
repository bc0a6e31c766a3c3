"""Occupied cells: none, all, one, many, in lines, planes and boxes of sizes around the vector's."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor


def random_cells(shape: tuple[int, ...], share: float, seed: int = 0) -> Tensor:
    """Bool of a shape, of which about `share` is occupied."""
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed)) < share


def cases() -> dict[str, Tensor]:
    """Inputs of `distance_transform` by case name."""
    shapes = [(1, 1, 1), (3, 4, 5), (2, 17, 16), (9, 15, 33), (20, 3, 2), (1, 1, 70), (40, 1, 1), (6, 31)]
    found = {"x".join(map(str, s)): random_cells(s, 0.05, seed=i) for i, s in enumerate(shapes)}
    found["none"], found["all"] = torch.zeros(4, 5, 20).bool(), torch.ones(4, 5, 20).bool()
    found["empty"] = torch.zeros(0, 5, 3).bool()
    corner = torch.zeros(12, 13, 18).bool()
    corner[-1, 0, -1] = True
    found["one in a corner"] = corner
    found["half"] = random_cells((8, 9, 20), 0.5)
    return found


def configurations() -> Iterator[Callable[[], object]]:
    """The first pass and the others."""
    from kernels.distance import distance_transform

    yield lambda: distance_transform(random_cells((2, 3, 5), 0.3), backend="gpu")
