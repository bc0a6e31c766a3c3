"""Traversal of a picture of 400x400 rays through 128^3 cells, of which shells of balls fill 5 or 20 %."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from kernels.traverse import LIMIT, Traversed, distance_grid, reference, traverse
from kernels.work import Floor, Work

SIDE, CELLS, STEP = 400, 128, math.sqrt(3) / 1024
CHUNK = 4096
"""Rays that the plain version tests at a time."""


def occupied_cells(share: float) -> Tensor:
    """[1, G, G, G] bool: about `share` of the cells lie in shells of twelve balls."""
    g = torch.Generator().manual_seed(0)
    axis = (torch.arange(CELLS) + 0.5) / CELLS
    cells = torch.stack(torch.meshgrid(axis, axis, axis, indexing="ij"), dim=-1)
    nearest = torch.full((CELLS,) * 3, 1e9)
    for centre, radius in zip(
        0.2 + 0.6 * torch.rand(12, 3, generator=g), 0.1 + 0.15 * torch.rand(12, generator=g), strict=True
    ):
        nearest = torch.minimum(nearest, ((cells - centre).norm(dim=-1) - radius).abs())
    return (nearest <= nearest.flatten().kthvalue(int(share * nearest.numel())).values)[None]


def inputs(share: float, device: torch.device) -> dict[str, Tensor]:
    """A camera outside the unit box that sees all of it."""
    axis = (torch.arange(SIDE) + 0.5) / SIDE - 0.5
    y, x = torch.meshgrid(axis, axis, indexing="ij")
    directions = torch.nn.functional.normalize(torch.stack([x, y, torch.ones_like(x)], dim=-1).reshape(-1, 3), dim=1)
    n = len(directions)
    found = {
        "origins": torch.tensor([0.45, 0.52, -1.2]).repeat(n, 1),
        "directions": directions,
        "near": torch.zeros(n),
        "far": torch.full((n,), 10.0),
        "phases": torch.rand(n, generator=torch.Generator().manual_seed(1)),
        "distances": distance_grid(occupied_cells(share)),
        "box": torch.tensor([[0.0, 0.0, 0.0], [1.0, 1.0, 1.0]]),
    }
    return {k: v.to(device) for k, v in found.items()}


def counts(find: Callable[..., Traversed], **arguments: Tensor) -> Tensor:
    """Samples of each ray, which is what is compared: a few lie within rounding of a cell's face."""
    return find(**arguments).counts.float()


def plain(
    origins: Tensor, directions: Tensor, near: Tensor, far: Tensor, phases: Tensor, distances: Tensor, box: Tensor
) -> Traversed:
    """Every lattice sample in the box is tested, some thousand rays at a time."""
    enter = ((box[:, None] - origins) / directions).amin(dim=0).amax(dim=1)
    skipped = ((enter - near) / STEP - phases - 0.5).floor().clamp(min=0)
    parts = []
    k = torch.arange(int(math.sqrt(3) / STEP) + 2, device=near.device)
    o, d = reference.grid_coordinates(origins, directions, box, CELLS)
    for begin in range(0, len(near), CHUNK):
        own = slice(begin, begin + CHUNK)
        position = skipped[own, None] + k + phases[own, None]
        t0, t1 = near[own, None] + position * STEP, near[own, None] + (position + 1) * STEP
        middle = 0.5 * (t0 + t1)
        point = o[own, None] + middle[..., None] * d[own, None]
        kept = reference.lookup(point, torch.zeros_like(middle, dtype=torch.int64), distances)[1]
        kept &= middle < far[own, None]
        parts.append((t0[kept], t1[kept], kept.nonzero()[:, 0].int() + begin, kept.sum(dim=1, dtype=torch.int32)))
    t0, t1, rays, counts = (torch.cat(p) for p in zip(*parts, strict=True))
    return Traversed(t0, t1, rays, torch.cat([counts.new_zeros(1, dtype=torch.int64), counts.cumsum(0)]), counts)


def works(device: torch.device) -> list[Work]:
    """Two occupancies. Floor: rays read, samples written, and one look-up where a ray enters or leaves what is kept."""
    found = []
    for share in (0.05, 0.2):
        arguments = inputs(share, device)
        run = partial(counts, partial(traverse, step=STEP, limit=LIMIT))
        kept = traverse(**arguments, step=STEP, limit=LIMIT)  # type: ignore[arg-type]
        runs = int((kept.t0[1:] - kept.t1[:-1] > 0.5 * STEP).sum()) + SIDE * SIDE
        floor = Floor(bytes=36 * SIDE * SIDE + 12 * len(kept.t0), gathers=2 * runs)
        name = f"{SIDE}x{SIDE} rays, {CELLS}^3 cells, {share:.0%} occupied, {len(kept.t0)} samples"
        found.append(
            Work("traverse", name, run, arguments, (), floor, None, partial(counts, plain), SIDE * SIDE, "rays")
        )
    return found
