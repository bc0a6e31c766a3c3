"""The C++ tile lists: count, allocate, emit."""

from __future__ import annotations

from pathlib import Path

import torch

from kernels.native import NativeLibrary
from kernels.project import Projected
from kernels.tile import TILE, Tiles

LIBRARY = NativeLibrary(Path(__file__).with_name("cpu.cpp"))


@torch.no_grad()
def tile(projected: Projected, width: int, height: int) -> Tiles:
    """See `kernels.tile.tile`."""
    centres, factors, depths, _, extents = (p.detach().contiguous() for p in projected)
    n, columns, rows = len(centres), -(-width // TILE), -(-height // TILE)
    starts = torch.empty(columns * rows + 1, dtype=torch.int64)
    slot_starts = torch.empty(n + 1, dtype=torch.int64)
    job = torch.empty(1, dtype=torch.int64)
    total = LIBRARY.call("tile_count", centres, factors, depths, extents, n, columns, rows, starts, slot_starts, job)
    if total >= 2**31:
        LIBRARY.call("tile_emit", columns * rows, int(job), slot_starts, None, None)
        raise OverflowError(
            f"{total} Gaussian-tile pairs exceed 2^31 - 1: use fewer or smaller Gaussians or a smaller picture"
        )
    gaussians, slots = torch.empty(total, dtype=torch.int32), torch.empty(total, dtype=torch.int32)
    LIBRARY.call("tile_emit", columns * rows, int(job), slot_starts, gaussians, slots)
    return Tiles(gaussians, starts, slots, slot_starts)
