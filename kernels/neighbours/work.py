"""Two sweeps of a lidar, 88,000 points each: the nearest neighbour and the eight nearest, and the Chamfer distance."""

from __future__ import annotations

import torch
from torch import Tensor

from kernels.neighbours import Nearest, chamfer, nearest
from kernels.neighbours.cases import cloud
from kernels.work import Floor, Work

POINTS = 88_000


def works(device: torch.device) -> list[Work]:
    """The limit on a CPU is the tree's: a random cache line a level of each query's way down, at least."""
    points, queries = cloud(POINTS, 0), cloud(POINTS, 1)
    inputs = {"points": points.to(device), "queries": queries.to(device)}
    found = [
        Work(
            "neighbours",
            f"{k} nearest of {POINTS} for {POINTS}",
            lambda k=k, **x: nearest(**x, k=k).squared_distances,
            inputs,
            (),
            floor(device, k, 1),
            None,
            lambda k=k, **x: chunked(**x, k=k).squared_distances,
            POINTS,
            "queries",
        )
        for k in (1, 8)
    ]
    both = {"a": inputs["points"], "b": inputs["queries"]}
    name = f"truncated Chamfer of {POINTS} and {POINTS}"
    backward = Floor(bytes=2.0 * POINTS * (12 * 3 + 8), gathers=2.0 * POINTS, atomics=6.0 * POINTS)
    found.append(
        Work(
            "neighbours",
            name,
            lambda a, b: chamfer(a, b, limit=2.0),
            both,
            ("a", "b"),
            floor(device, 1, 2),
            backward,
            chunked_chamfer,
            2 * POINTS,
            "queries",
        )
    )
    return found


def floor(device: torch.device, k: int, sides: int) -> Floor:
    """On a GPU all pairs (8 operations); on a CPU a build (17 levels of all points) and one path down the tree a query,
    of 14 levels of two boxes and at least two leaves of 16 points and k insertions.
    """
    if device.type == "cuda":
        return Floor(flops=8.0 * sides * POINTS**2)
    levels = 14
    build = Floor(bytes=32.0 * levels * POINTS)
    return Floor(
        bytes=sides * (build.bytes + POINTS * (12 + 12 * k)),
        flops=sides * POINTS * (levels * 2 * 15 + 2 * 16 * 8 + 4 * k),
        gathers=sides * POINTS * (levels + 2.0 * 4),
    )


def chunked(points: Tensor, queries: Tensor, k: int) -> Nearest:
    """All distances of 1,024 queries at a time."""
    parts = []
    for block in queries.split(1024):
        distances = torch.cdist(block, points, compute_mode="donot_use_mm_for_euclid_dist")
        parts.append(torch.topk(distances, k, dim=1, largest=False))
    values = torch.cat([p.values for p in parts]).square()
    return Nearest(values, torch.cat([p.indices for p in parts]))


def chunked_chamfer(a: Tensor, b: Tensor) -> Tensor:
    """The same from all distances."""

    def side(x: Tensor, y: Tensor) -> Tensor:
        with torch.no_grad():
            index = chunked(y, x, 1).indices[:, 0]
        squared = (x - y[index]).square().sum(dim=1)
        return torch.where(squared < 2.0, squared, 0).mean()

    return side(a, b) + side(b, a)
