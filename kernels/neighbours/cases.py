"""Clouds: even, uneven, flat, repeated, far away, broken, tiny."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor


def cloud(n: int, seed: int) -> Tensor:
    """[n, 3] float32 around the origin, dense near it and sparse far away, as a lidar sees."""
    g = torch.Generator().manual_seed(seed)
    direction = torch.nn.functional.normalize(torch.randn(n, 3, generator=g), dim=1)
    return direction * torch.exp(3 * torch.rand(n, 1, generator=g)) * torch.tensor([1.0, 1.0, 0.2])


def pair(n: int, m: int, seed: int = 0) -> dict[str, Tensor]:
    """`n` points and `m` queries."""
    return {"points": cloud(n, seed), "queries": cloud(m, seed + 1)}


def cases() -> dict[str, dict[str, Tensor]]:
    """Arguments of `nearest` by case name."""
    found = {f"{n} points": pair(n, 40, seed=n) for n in (1, 2, 15, 16, 17, 33, 64, 65, 300)}
    found |= {f"{m} queries": pair(90, m, seed=m) for m in (0, 1, 64, 129)}
    found["no points"] = pair(0, 5)
    found["a cloud and itself"] = {"points": cloud(100, 3), "queries": cloud(100, 3)}
    found["all points the same"] = {"points": torch.ones(70, 3), "queries": cloud(9, 4)}
    found["every point three times"] = {"points": cloud(40, 5).repeat(3, 1), "queries": cloud(30, 6)}
    lattice = torch.cartesian_prod(*[torch.arange(5.0)] * 3)
    found["a lattice, queries on it and halfway"] = {"points": lattice, "queries": torch.cat([lattice, lattice + 0.5])}
    flat = pair(120, 30, seed=7)
    flat["points"][:, 2] = 0
    found["a plane"] = flat
    outlier = pair(120, 30, seed=8)
    outlier["points"][5] = 1e6
    outlier["queries"][3] = -1e6
    found["an outlier"] = outlier
    broken = pair(90, 20, seed=9)
    broken["points"][3, 1], broken["points"][50, 0] = float("nan"), float("inf")
    broken["queries"][2, 2], broken["queries"][7, 0] = float("nan"), -float("inf")
    found["numbers that are not finite"] = broken
    found["only broken points"] = {"points": torch.full((20, 3), float("nan")), "queries": cloud(4, 1)}
    return found


def configurations() -> Iterator[Callable[[], object]]:
    """Every power of two of neighbours."""
    from kernels.neighbours import nearest

    for k in (1, 2, 4, 8, 16, 32):
        yield lambda k=k: nearest(cloud(40, 0), cloud(3, 1), k, backend="gpu")
