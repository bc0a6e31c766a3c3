"""Points of moving bodies, and where other clouds have something for them to lie on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from kernels.neighbours import PointIndex
from scenes.flow.bodies.surface import Surface

OFFSETS = (1, 2, 3)
"""Clouds between a point's own and one that it is compared with, either way."""
BUDGET = 30_000
"""Comparisons a step, about."""
FEWEST, MOST = 30, 3_000
"""Points of a body in a cloud that a step takes, if it has so many."""


class Draw(NamedTuple):
    """Comparisons [Q], in the order of `target`: row of the sample, and time of the cloud it is compared with."""

    rows: Tensor
    target: Tensor


class Samples:
    """Points of bodies at their times, of which each step takes a part, in turn.

    points: [P, 3] in the body's frame at that time. body, time: [P] int64. In groups, one a body and time, each in an
    order drawn by the seed.
    """

    def __init__(self, points: Tensor, body: Tensor, time: Tensor, alive: Tensor, seed: int) -> None:
        """alive: [B, T] bool, the times at which a body can be compared."""
        self.alive, times = alive, alive.shape[1]
        order = torch.randperm(len(points), generator=torch.Generator().manual_seed(seed)).to(points.device)
        order = order[torch.argsort((body * times + time)[order], stable=True)]
        self.points, self.body, self.time = points[order], body[order], time[order]
        _, self.sizes = torch.unique_consecutive(self.body * times + self.time, return_counts=True)
        self.starts = self.sizes.cumsum(0) - self.sizes
        both = [k * sign for k in OFFSETS if k < times for sign in (1, -1)]
        self.offsets = both if times > 2 else [1]  # of a pair, forward only: what the second cloud alone saw misleads
        self.taken = min(max(BUDGET // (len(self.sizes) * len(self.offsets)), FEWEST), MOST)

    def draw(self, step: int) -> Draw:
        """The next points of each group, each against all clouds that it can be compared with."""
        rank = torch.arange(self.taken, device=self.points.device)
        rows = self.starts[:, None] + (step * self.taken + rank) % self.sizes[:, None]
        rows = rows[rank < self.sizes[:, None]]
        offsets = torch.tensor(self.offsets, device=rows.device)
        rows = rows.repeat(len(offsets))
        target = self.time[rows] + offsets.repeat_interleave(len(rows) // len(offsets))
        inside = (target >= 0) & (target < self.alive.shape[1])
        rows, target = rows[inside], target[inside]
        known = self.alive[self.body[rows], target]
        rows, target = rows[known], target[known]
        order = torch.argsort(target, stable=True)
        return Draw(rows[order], target[order])


class Targets:
    """The points of all clouds on which moving things may lie, with spacing [S] and normals [S, 3]."""

    def __init__(self, surfaces: Sequence[Surface], seen: Sequence[Tensor]) -> None:
        """seen: of each cloud [N] bool; a cloud without any is not asked."""
        self.points = torch.cat([surface.points[mask] for surface, mask in zip(surfaces, seen, strict=True)])
        self.spacing = torch.cat([surface.spacing[mask] for surface, mask in zip(surfaces, seen, strict=True)])
        self.normals = torch.cat([surface.normals[mask] for surface, mask in zip(surfaces, seen, strict=True)])
        sizes = [int(mask.sum()) for mask in seen]
        self.indices = [PointIndex(points) for points in self.points.split(sizes)]
        self.first = [sum(sizes[:t]) for t in range(len(sizes))]

    def nearest(self, points: Tensor, time: Tensor) -> Tensor:
        """[Q] int64 row of the nearest target of each of points [Q, 3] in the cloud at its `time` [Q], ascending."""
        sizes = torch.bincount(time, minlength=len(self.indices)).tolist()
        found = [
            index.nearest(part).indices[:, 0] + first
            for index, first, part in zip(self.indices, self.first, points.detach().split(sizes), strict=True)
            if len(part)
        ]
        return torch.cat(found) if found else time
