"""traverse: where rays meet the occupied cells of a grid, as packed samples (Mueller et al. 2022, appendix E).

The grid is one tensor of bytes, `distances` [C, G, G, G]: 0 in an occupied cell, else the Chebyshev distance in cells
to the nearest occupied one, or less. Cascade c covers the box enlarged 2^c times about its centre; a point belongs to
the smallest cascade that holds it. A ray has a lattice of intervals [t_k, t_(k+1)], t_k = near + (k + phase) step,
whose steps grow in proportion to t once `cone` t exceeds `step`; the intervals whose middle lies in an occupied cell
and before `far` are its samples. Empty space is left in jumps of whole intervals: that changes the time, nothing else.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from kernels.checks import check_shapes
from kernels.dispatch import Backend, choose_backend

FURTHEST = 15
"""The largest distance that `distance_grid` looks for: further jumps are rare, and looking costs time."""


class Traversed(NamedTuple):
    """t0, t1: [S] float32 ends of the samples along their rays. rays: [S] int32, the ray of each.

    ray_start: [R + 1] int64, the samples of ray r are ray_start[r] : ray_start[r + 1]. total: [] int64, the samples
    that there would be without a capacity. With one, S is the capacity, and rows from ray_start[R] on are zero.
    """

    t0: Tensor
    t1: Tensor
    rays: Tensor
    ray_start: Tensor
    total: Tensor


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
    limit: int = 1024,
    capacity: int | None = None,
    backend: Backend | None = None,
) -> Traversed:
    """Samples of R rays in the occupied cells; no gradients.

    origins, directions: [R, 3], directions of unit length; near, far: [R] along the rays, world units. distances:
    [C, G, G, G] uint8, axes in the order cascade, x, y, z (see `distance_grid`); box: [2, 3] lower and upper corner of
    cascade 0. step: world units, above 0; cone: growth of the step with t. phases: [R] in [0, 1) or None (zeros).
    limit: a ray ends after so many samples. A ray with a NaN or an infinite number has none.

    capacity: None for as many samples as there are (on a GPU this waits for their number); else the samples beyond it
    are cut off at the end of the list, and nothing waits.
    """
    sizes = check_shapes(
        origins=(origins, "R 3"),
        directions=(directions, "R 3"),
        near=(near, "R"),
        far=(far, "R"),
        box=(box, "2 3"),
        distances=(distances, "C G G G"),
    )
    if phases is None:
        phases = torch.zeros_like(near)
    check_shapes(near=(near, "R"), phases=(phases, "R"))
    if distances.dtype != torch.uint8:
        raise ValueError(f"distances: expected uint8 (see distance_grid), got {distances.dtype}")
    if not 1 <= sizes["G"] <= 1024:
        raise ValueError(f"distances: expected 1 to 1024 cells a side, got {sizes['G']}")
    if not (step > 0 and cone >= 0 and limit >= 1):
        raise ValueError(f"expected step > 0, cone >= 0 and limit >= 1, got {step}, {cone} and {limit}")
    if capacity is not None and not 0 <= capacity < 2**31:
        raise ValueError(f"capacity: expected 0 to 2^31 - 1, got {capacity}")
    o, d, n, f, p, cells, b = (t.detach() for t in (origins, directions, near, far, phases, distances, box))
    arguments = (o, d, n, f, p, cells, b, step, cone, limit, capacity)
    match choose_backend(origins, backend):
        case "cpu":
            from kernels.traverse import cpu

            return cpu.traverse(*arguments)
        case "gpu":
            from kernels.traverse import gpu

            return gpu.traverse(*arguments)
        case _:
            from kernels.traverse import reference

            return reference.traverse(*arguments)


def distance_grid(occupied: Tensor, *, furthest: int = FURTHEST) -> Tensor:
    """[C, G, G, G] uint8 for `traverse` from [C, G, G, G] bool, on any device: Chebyshev distances up to `furthest`.

    A cell of a coarser cascade counts as occupied when a finer cascade has an occupied cell in it: else a jump through
    the coarse one could pass over it.
    """
    size = check_shapes(occupied=(occupied, "C G G G"))["G"]
    if not 1 <= furthest <= 254:
        raise ValueError(f"furthest: expected 1 to 254, got {furthest}")
    if len(occupied) < 1 or size < 1 or (len(occupied) > 1 and size % 2):
        raise ValueError(
            f"occupied: expected cells, an even number a side of several cascades, got {list(occupied.shape)}"
        )
    nested = [occupied[0]]
    for coarse in occupied[1:]:
        nested.append(coarse.clone())
        # The finer cascade is the middle half of this one: its cell i lies in cell (2 i + G) / 4 here.
        places = torch.div(2 * torch.nonzero(nested[-2]) + size, 4, rounding_mode="floor")
        nested[-1][tuple(places.T)] = True
    near = torch.stack(nested)
    result = torch.full(near.shape, furthest, dtype=torch.uint8, device=near.device)
    result[near] = 0
    for distance in range(1, furthest):
        grown = dilated(near)
        result[grown & ~near] = distance
        near = grown
    return result


def dilated(near: Tensor) -> Tensor:
    """[C, G, G, G] bool: a cell, or one of its 26 neighbours."""
    for axis in (1, 2, 3):
        low, high = near.narrow(axis, 0, near.shape[axis] - 1), near.narrow(axis, 1, near.shape[axis] - 1)
        grown = near.clone()
        grown.narrow(axis, 1, near.shape[axis] - 1).logical_or_(low)
        grown.narrow(axis, 0, near.shape[axis] - 1).logical_or_(high)
        near = grown
    return near
