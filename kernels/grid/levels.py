"""The levels of a feature grid: where their nodes lie in space, and where their rows lie in the table."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

PRIMES = (1, 2654435761, 805459861)
"""Factors of the coordinates in the spatial hash (Mueller et al. 2022, equation 4; they take credit from Teschner)."""
MOST_ENTRIES = 2**30
"""Rows of one level: indices inside a level are 32-bit, the level's own place in the table is not."""


class Level(NamedTuple):
    """One grid. Its rows follow those of the level before it in the table.

    resolution: nodes along each of its 2 or 3 axes, at least 2; node i lies at i / (resolution - 1). axes: the
    coordinates of a point that it reads, one for each of `resolution`. entries: its rows. Dense levels hold node
    (i, j, k) in row i + resolution[0] (j + resolution[1] k), so a [depth, height, width, F] tensor, flattened, is the
    table of the level (width, height, depth). Hashed ones hold it in row (i xor 2654435761 j xor 805459861 k), in
    32-bit arithmetic, modulo `entries`, which is a power of two.
    """

    resolution: tuple[int, ...]
    axes: tuple[int, ...]
    entries: int
    hashed: bool = False


def dense_levels(resolutions: Sequence[int | tuple[int, ...]], dims: int = 3) -> tuple[Level, ...]:
    """Dense levels; an int stands for that many nodes along each of `dims` axes."""
    full = [(r,) * dims if isinstance(r, int) else r for r in resolutions]
    return tuple(Level(r, tuple(range(len(r))), math.prod(r)) for r in full)


def hash_levels(count: int, coarsest: int, finest: int, entries_log2: int, dims: int = 3) -> tuple[Level, ...]:
    """`count` cubic levels of geometrically growing resolution, hashed into 2^entries_log2 rows where they need more.

    Dense ones are padded to a multiple of 16 rows, so that no row of a later level straddles cache lines for it.
    """
    growth = (finest / coarsest) ** (1 / (count - 1)) if count > 1 else 1.0
    axes, levels = tuple(range(dims)), []
    for index in range(count):
        nodes = round(coarsest * growth**index)
        hashed = nodes**dims > 2**entries_log2
        entries = 2**entries_log2 if hashed else -(-(nodes**dims) // 16) * 16
        levels.append(Level((nodes,) * dims, axes, entries, hashed))
    return tuple(levels)


def plane_levels(resolutions: Sequence[int]) -> tuple[Level, ...]:
    """For each resolution the three axis-aligned planes (y, z), (x, z) and (x, y): plane k leaves out axis k."""
    return tuple(Level((r, r), axes, r * r) for r in resolutions for axes in ((1, 2), (0, 2), (0, 1)))


def table_rows(levels: Sequence[Level]) -> int:
    """Rows of the table that `levels` share."""
    return sum(level.entries for level in levels)


@functools.lru_cache(maxsize=256)
def check_levels(levels: tuple[Level, ...], dims: int) -> None:
    """Raise ValueError for levels that do not make sense with points of `dims` coordinates."""
    if not levels:
        raise ValueError("levels: expected at least one Level")
    for index, (resolution, axes, entries, hashed) in enumerate(levels):
        name = f"levels[{index}]"
        if len(resolution) not in (2, 3) or len(resolution) != len(levels[0].resolution):
            raise ValueError(f"{name}: expected 2 or 3 axes, the same number in all levels, got {resolution}")
        if min(resolution) < 2:
            raise ValueError(f"{name}: expected at least 2 nodes along each axis, got {resolution}")
        if len(axes) != len(resolution) or len(set(axes)) != len(axes) or not set(axes) <= set(range(dims)):
            raise ValueError(f"{name}: expected {len(resolution)} different axes of points in {dims}-D, got {axes}")
        if entries > MOST_ENTRIES:
            raise ValueError(f"{name}: expected at most {MOST_ENTRIES} entries, got {entries}")
        if hashed and (entries < 1 or entries & (entries - 1)):
            raise ValueError(f"{name}: expected a power of two of hashed entries, got {entries}")
        if not hashed and math.prod(resolution) > entries:
            raise ValueError(f"{name}: {resolution} has {math.prod(resolution)} nodes, got {entries} entries")


@functools.lru_cache(maxsize=256)
def describe(levels: tuple[Level, ...], device: torch.device) -> Tensor:
    """[len(levels), 9] int64 for the kernels: first row, entries, hashed, three resolutions, three axes."""
    rows, offset = [], 0
    for resolution, axes, entries, hashed in levels:
        padding = (0,) * (3 - len(axes))
        rows.append([offset, entries, hashed, *resolution, *padding, *axes, *padding])
        offset += entries
    return torch.tensor(rows, dtype=torch.int64, device=device)
