"""The volume of a lidar sweep at 0.1 m: 60 x 700 x 700 cells, occupied near the ground."""

from __future__ import annotations

import torch
from torch import Tensor

from kernels.distance import distance_transform
from kernels.work import Floor, Work

SHAPE = (60, 700, 700)


def works(device: torch.device) -> list[Work]:
    """Floor: a byte read and a float written a cell, and a read and a write more for each further axis."""
    g = torch.Generator().manual_seed(0)
    occupied = torch.rand(SHAPE, generator=g) < 0.02 * torch.exp(-torch.arange(60.0) / 5)[:, None, None]
    cells = float(occupied.numel())
    name = f"{'x'.join(map(str, SHAPE))} cells, {int(occupied.sum())} occupied"
    floor = Floor(bytes=cells * (1 + 4 + 2 * 8))
    return [Work("distance", name, run, {"occupied": occupied.to(device)}, (), floor, None, shifted, cells, "cells")]


def run(occupied: Tensor) -> Tensor:
    """The operator."""
    return distance_transform(occupied)


def shifted(occupied: Tensor) -> Tensor:
    """Whole-volume minima with shifted copies along each axis, until the shift exceeds every distance."""
    best = torch.where(occupied, 0.0, torch.inf)
    for axis in (2, 1, 0):
        line = best.clone()
        count = occupied.shape[axis]
        for step in range(1, count):
            if step * step >= float(best.max()):
                break
            for ahead in (False, True):
                low, high = (0, step) if ahead else (step, 0)
                target, source = best.narrow(axis, low, count - step), line.narrow(axis, high, count - step)
                torch.minimum(target, source + step * step, out=target)
    return best.sqrt()
