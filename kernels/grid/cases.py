"""Points in dense, hashed and mixed levels, sizes around the vector's and the block's, and the ends of the domain."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from kernels.grid import FEATURES, Level, dense_levels, grid, hash_levels, plane_levels, table_rows

DIFFERENTIABLE = ("x", "table")
MIXED = hash_levels(4, 3, 40, 9)
"""Two dense levels, then two hashed ones."""


class GridCase(NamedTuple):
    """Tensors by name, and the levels."""

    inputs: dict[str, Tensor]
    levels: tuple[Level, ...]


def points(n: int, features: int, levels: tuple[Level, ...], dims: int = 3, seed: int = 0) -> GridCase:
    """`n` random points in the unit cube, and random features in the levels."""
    g = torch.Generator().manual_seed(seed)
    x, table = torch.rand(n, dims, generator=g), torch.randn(table_rows(levels), features, generator=g)
    return GridCase({"x": x, "table": table}, levels)


def at(x: Tensor, levels: tuple[Level, ...], features: int = 2) -> GridCase:
    """The given points in random levels."""
    case = points(0, features, levels, x.shape[1])
    return GridCase({**case.inputs, "x": x}, levels)


def cases() -> dict[str, GridCase]:
    """Cases by name."""
    found = {f"{n} points": points(n, 2, MIXED, seed=n) for n in (0, 1, 15, 16, 17, 127, 128, 129)}
    found |= {f"{f} features": points(70, f, MIXED, seed=f) for f in FEATURES}
    found |= {f"{f} features in 2-D": points(70, f, hash_levels(3, 4, 50, 8, 2), 2, seed=f) for f in FEATURES}
    found["dense"] = points(90, 2, dense_levels([2, 5, 9]))
    found["hashed"] = points(90, 2, tuple(Level((r,) * 3, (0, 1, 2), 256, True) for r in (20, 3000)))
    found["not cubic"] = points(90, 4, dense_levels([(3, 7, 5), (2, 4, 11)]))
    found["picture"] = points(90, 4, dense_levels([(13, 6)]), 2)
    found["two nodes"] = points(40, 1, dense_levels([2]))
    found["one row"] = points(40, 2, (Level((9, 9, 9), (0, 1, 2), 1, True),))
    found["planes"] = points(90, 8, plane_levels([5, 9]))
    found["swapped axes"] = points(40, 2, (Level((4, 9), (2, 0), 36), Level((5, 3), (1, 2), 16)))
    eighths = torch.cartesian_prod(*[torch.tensor([0.0, 0.125, 0.5, 0.875, 1.0])] * 3)
    found["on nodes and borders"] = at(eighths, (*dense_levels([9, 3]), Level((17,) * 3, (0, 1, 2), 128, True)))
    outside = 4 * points(120, 2, MIXED, seed=5).inputs["x"] - 1.5
    outside[0], outside[1] = torch.inf, -torch.inf
    found["outside"] = at(outside, MIXED)
    found["duplicates"] = at(points(3, 2, MIXED).inputs["x"].repeat(50, 1), MIXED)
    return found


def configurations() -> Iterator[Callable[[], object]]:
    """Every kernel for every number of features, axes and coordinates; one level is a constant of its own."""
    several = (
        lambda: dense_levels([3, 2], 2),
        lambda: plane_levels([3]),
        lambda: dense_levels([3, 2]),
    )
    for features in FEATURES:
        for dims, levels in zip((2, 3, 3), several, strict=True):
            yield _call(points(4, features, levels(), dims))
    yield _call(points(4, 4, dense_levels([(3, 2)]), 2))
    yield _call(points(4, 4, dense_levels([3])))


def _call(case: GridCase) -> Callable[[], object]:
    leaves = {name: value.requires_grad_() for name, value in case.inputs.items()}
    return lambda: grid(**leaves, levels=case.levels, backend="gpu").sum().backward()
