"""traverse: the samples of rays that lie in occupied cells of a grid, packed ray by ray.

The grid is `distances` [C, G, G, G] uint8, indexed [cascade, x, y, z]. Cascade c covers the box enlarged 2^c times
about its centre with G^3 cells. 0 marks an occupied cell, another number how many cells away the next
occupied one of that cascade is at least, in the largest of the three coordinates; `distance_grid` makes it.

Every ray has a fixed lattice of samples [t_k, t_{k+1}], k = 0, 1, ...: t_k = near + (k + phase) step, and where
cone t exceeds the step, lengths are cone t, up to an edge of the coarsest cells. A sample is kept if its midpoint lies
before `far` and in an occupied cell, of the smallest cascade that holds the midpoint and whose cells are not smaller
than the sample is long (to 0.1 %); outside all cascades there is nothing. The lattice position has a closed form, so
rays leap over empty cells (and through occupied ones) in whole steps: what is kept does not depend on the leaps, but
for midpoints within rounding of a cell's face, which may count to either side.
"""

from __future__ import annotations

from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor

from kernels.checks import check_shapes
from kernels.dispatch import Backend, choose_backend

LIMIT = 1024
"""Default for the most samples of a ray (Mueller et al. 2022)."""


class Traversed(NamedTuple):
    """t0, t1: [S] ends of the samples; rays: [S] int32, whose they are; ray_start: [R + 1] int64, ray r has the rows
    ray_start[r] : ray_start[r + 1]. counts: [R] int32 samples that each ray has, kept or not: where a capacity was
    given, counts.sum() > capacity tells that rays were dropped, and counts != ray_start.diff() which.
    """

    t0: Tensor
    t1: Tensor
    rays: Tensor
    ray_start: Tensor
    counts: Tensor


@torch.no_grad()
def traverse(
    origins: Tensor,
    directions: Tensor,
    near: Tensor,
    far: Tensor,
    distances: Tensor,
    box: Tensor,
    *,
    step: float,
    cone: float = 0.0,
    phases: Tensor | None = None,
    limit: int = LIMIT,
    capacity: int | None = None,
    backend: Backend | None = None,
) -> Traversed:
    """Samples of rays `origins` + t `directions` ([R, 3], unit) for t between `near` >= 0 and `far` [R].

    box: [2, 3] lowest and highest corner of cascade 0. step: length of a sample in t; cone: its growth with t.
    phases: [R] in [0, 1), None for 0. limit: at most so many samples a ray, the nearest. Deterministic, no gradients.

    Without a capacity the outputs fit, for which a GPU is waited for once. With one they have `capacity` rows, nothing
    is waited for, the first ray that does not fit and all behind it get no samples, and rows that are left are zero.
    """
    sizes = check_shapes(
        origins=(origins, "R 3"), directions=(directions, "R 3"), near=(near, "R"), far=(far, "R"), box=(box, "2 3")
    )
    if phases is not None:
        check_shapes(near=(near, "R"), phases=(phases, "R"))
    if distances.dtype != torch.uint8 or distances.dim() != 4 or len(set(distances.shape[1:])) != 1:
        raise ValueError(
            f"distances: expected [C, G, G, G] uint8 (see distance_grid), got {distances.dtype} {list(distances.shape)}"
        )
    check_cascades(distances)
    if not step > 0 or not 0 <= cone <= 1 or limit < 1 or (capacity is not None and capacity < 0):
        raise ValueError(f"expected step > 0, 0 <= cone <= 1, limit >= 1, got {step=}, {cone=}, {limit=}, {capacity=}")
    phases = torch.zeros_like(near) if phases is None else phases
    rays = tuple(t.contiguous() for t in (origins, directions, near, far, phases))
    arguments = (rays, distances.contiguous(), box.contiguous(), float(step), float(cone), limit, capacity)
    match choose_backend(origins, backend):
        case _ if sizes["R"] == 0:
            from kernels.traverse import reference

            return reference.traverse(*arguments)
        case "cpu":
            from kernels.traverse import cpu

            return cpu.traverse(*arguments)
        case "gpu":
            from kernels.traverse import gpu

            return gpu.traverse(*arguments)
        case _:
            from kernels.traverse import reference

            return reference.traverse(*arguments)


@torch.no_grad()
def distance_grid(occupied: Tensor, *, limit: int = 16, backend: Backend | None = None) -> Tensor:
    """The `distances` [C, G, G, G] uint8 of `occupied` [C, G, G, G] bool, exact up to `limit` (1 to 255).

    A cell is also taken as occupied if any cell inside it is in the next finer cascade, so that what is empty in one
    cascade is so in all finer ones.
    """
    if occupied.dtype != torch.bool or occupied.dim() != 4 or len(set(occupied.shape[1:])) != 1:
        raise ValueError(f"occupied: expected [C, G, G, G] bool, got {occupied.dtype} {list(occupied.shape)}")
    if not 1 <= limit <= 255:
        raise ValueError(f"limit: expected 1 to 255, got {limit}")
    check_cascades(occupied)
    occupied = _with_finer(occupied.contiguous())
    match choose_backend(torch.empty(0, device=occupied.device), backend):
        case "cpu":
            from kernels.traverse import cpu

            return cpu.distance_grid(occupied, limit)
        case "gpu":
            from kernels.traverse import gpu

            return gpu.distance_grid(occupied, limit)
        case _:
            from kernels.traverse import reference

            return reference.distance_grid(occupied, limit)


def first_rows(counts: Tensor, capacity: int | None) -> Tensor:
    """[R + 1] int64 `ray_start` of rays with `counts` samples; those that do not fit into `capacity` have none."""
    ends = counts.cumsum(0, dtype=torch.int64)
    if capacity is not None:
        ends = torch.where(ends <= capacity, ends, 0).cummax(0).values
    return torch.cat([ends.new_zeros(1), ends])


def check_cascades(grid: Tensor) -> None:
    """ValueError unless cells of neighbouring cascades can nest."""
    if len(grid) > 1 and grid.shape[1] % 4:
        raise ValueError(f"cells: with several cascades a multiple of 4 along a side, got {grid.shape[1]}")


def _with_finer(occupied: Tensor) -> Tensor:
    if len(occupied) == 1:
        return occupied
    occupied = occupied.clone()
    quarter = occupied.shape[1] // 4
    middle = slice(quarter, 3 * quarter)
    for finer, coarser in pairwise(occupied):
        pairs = finer[0::2] | finer[1::2]
        pairs = pairs[:, 0::2] | pairs[:, 1::2]
        coarser[middle, middle, middle] |= pairs[:, :, 0::2] | pairs[:, :, 1::2]
    return occupied
