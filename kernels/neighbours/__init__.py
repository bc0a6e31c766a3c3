"""neighbours: the nearest points of a cloud, exactly, and what losses make of their distances."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from kernels.checks import check_shapes
from kernels.dispatch import Backend, choose_backend

MOST = 32
"""Neighbours that can be asked for."""


class Nearest(NamedTuple):
    """squared_distances: [M, k], ascending, in the square of the coordinates' unit.

    indices: [M, k] int64, those of equal distance in ascending order. Where there are fewer than k points: infinity
    and -1.
    """

    squared_distances: Tensor
    indices: Tensor


class PointIndex:
    """A cloud of points [N, 3], made ready once for many calls of `nearest`: what moves are the queries.

    On the CPU this is a k-d tree with 16 points a leaf and 16 children a node; elsewhere the points themselves.
    """

    def __init__(self, points: Tensor, *, backend: Backend | None = None) -> None:
        check_shapes(points=(points, "N 3"))
        if len(points) >= 2**31:
            raise ValueError(f"points: expected fewer than 2^31, got {len(points)}")
        self.points = points.detach()
        self.backend = choose_backend(points, backend)
        self.tree = None
        if self.backend == "cpu":
            from kernels.neighbours import cpu

            self.tree = cpu.build(self.points)

    def nearest(self, queries: Tensor, k: int = 1) -> Nearest:
        """See `nearest`."""
        check_shapes(queries=(queries, "M 3"), points=(self.points, "N 3"))
        if not 1 <= k <= MOST:
            raise ValueError(f"k: expected 1 to {MOST} neighbours, got {k}")
        queries = queries.detach()
        if self.tree is not None:
            from kernels.neighbours import cpu

            return cpu.nearest(self.tree, queries, k)
        if self.backend == "gpu":
            from kernels.neighbours import gpu

            return gpu.nearest(self.points, queries, k)
        from kernels.neighbours import reference

        return reference.nearest(self.points, queries, k)


def nearest(points: Tensor | PointIndex, queries: Tensor, k: int = 1, *, backend: Backend | None = None) -> Nearest:
    """The k nearest of `points` [N, 3] to each of `queries` [M, 3], without gradients.

    Exact in the arithmetic of float32; ties go to the smaller index. Points with a coordinate that is not finite are
    nobody's neighbours, queries with one have none. A cloud's own points find themselves: ask for one more and drop the
    first. For many queries of one cloud, pass a `PointIndex`.
    """
    index = points if isinstance(points, PointIndex) else PointIndex(points, backend=backend)
    return index.nearest(queries, k)


def nearest_squared(
    queries: Tensor, points: Tensor, *, index: PointIndex | None = None, backend: Backend | None = None
) -> Tensor:
    """[M] squared distance of each of `queries` [M, 3] to the nearest of `points` [N, 3].

    Differentiable in both, the assignment held fixed. index: of these points, if it exists already. Infinity, without a
    gradient, where there is no neighbour.
    """
    found = nearest(points if index is None else index, queries, backend=backend).indices[:, 0]
    there = found >= 0
    if len(points) == 0:
        return torch.full_like(queries[:, 0], math.inf)
    away = queries - points.index_select(0, found.clamp(min=0))
    return torch.where(there, torch.where(there[:, None], away, 0).square().sum(dim=1), math.inf)


def chamfer(a: Tensor, b: Tensor, *, limit: float = math.inf, backend: Backend | None = None) -> Tensor:
    """The symmetric Chamfer distance of [N, 3] and [M, 3], truncated (Li et al. 2021, "Neural Scene Flow Prior").

    The mean over a of the squared distance to b plus the mean over b of that to a. Squared distances of `limit` or more
    count as 0 and stay in the mean. Differentiable in both clouds. ValueError for an empty cloud.
    """
    if len(a) == 0 or len(b) == 0:
        raise ValueError(f"chamfer: expected points in both clouds, got {len(a)} and {len(b)}")
    sides = (nearest_squared(a, b, backend=backend), nearest_squared(b, a, backend=backend))
    near, back = (torch.where(side < limit, side, 0).mean() for side in sides)
    return near + back
