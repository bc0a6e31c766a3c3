"""Multilinear interpolation written out, one level and one corner of the cell at a time."""

from __future__ import annotations

import itertools

import torch
from torch import Tensor

from kernels.grid.levels import PRIMES, Level


def row_of(level: Level, node: Tensor) -> Tensor:
    """Row [P], counted from the level's first, of the nodes [P, D] (int64)."""
    if level.hashed:
        row = torch.zeros_like(node[:, 0])
        for coordinate, prime in zip(node.unbind(dim=1), PRIMES, strict=False):
            row = row ^ (coordinate * prime & 0xFFFFFFFF)
        return row % level.entries
    row, stride = torch.zeros_like(node[:, 0]), 1
    for coordinate, nodes in zip(node.unbind(dim=1), level.resolution, strict=True):
        row, stride = row + stride * coordinate, stride * nodes
    return row


def interpolate(x: Tensor, table: Tensor, level: Level) -> Tensor:
    """Features [P, F] of one level at `x` [P, dims] in the unit cube; `table` holds the level's rows only."""
    last = torch.tensor(level.resolution, device=x.device) - 1
    position = x[:, list(level.axes)] * last
    cell = torch.minimum(position.detach().long(), last - 1)
    fraction = position - cell
    features = torch.zeros(len(x), table.shape[1], dtype=table.dtype, device=table.device)
    for corner in itertools.product((0, 1), repeat=len(last)):
        upper = torch.tensor(corner, device=x.device)
        weight = torch.where(upper == 1, fraction, 1 - fraction).prod(dim=1)
        features = features + weight[:, None] * table[row_of(level, cell + upper)]
    return features


def grid(x: Tensor, table: Tensor, levels: tuple[Level, ...]) -> Tensor:
    """See `kernels.grid.grid`."""
    valid = ~x.isnan().any(dim=1, keepdim=True)
    inside = torch.where(valid, x, 0).clamp(0, 1)
    parts = table.split([level.entries for level in levels])
    found = [interpolate(inside, part, level) for part, level in zip(parts, levels, strict=True)]
    return torch.where(valid, torch.cat(found, dim=1), torch.nan)
