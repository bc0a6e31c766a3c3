"""The C++ traversal: count, allocate, write."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from kernels.native import NativeLibrary
from kernels.traverse import Traversed, first_rows

LIBRARY = NativeLibrary(Path(__file__).with_name("cpu.cpp"))


def traverse(
    rays: tuple[Tensor, ...],
    distances: Tensor,
    box: Tensor,
    step: float,
    cone: float,
    limit: int,
    capacity: int | None,
) -> Traversed:
    """See `kernels.traverse.traverse`."""
    near = rays[2]
    arguments = (*rays, len(near), distances, box, *distances.shape[:2], step, cone, limit)
    counts = torch.empty(len(near), dtype=torch.int32)
    LIBRARY.call("traverse_count", *arguments, counts)
    ray_start = first_rows(counts, capacity)
    rows = int(ray_start[-1]) if capacity is None else capacity
    t0, t1, owner = near.new_empty(rows), near.new_empty(rows), torch.empty(rows, dtype=torch.int32)
    LIBRARY.call("traverse_write", *arguments, ray_start, rows, t0, t1, owner)
    return Traversed(t0, t1, owner, ray_start, counts)


def distance_grid(occupied: Tensor, limit: int) -> Tensor:
    """See `kernels.traverse.distance_grid`."""
    distances = torch.where(occupied, 0, limit).to(torch.uint8)
    for axis in (2, 1, 0):
        passed = torch.empty_like(distances)
        LIBRARY.call("distance_pass", distances, passed, occupied.shape[1], axis, len(occupied), limit)
        distances = passed
    return distances
