"""distance: the exact Euclidean distance transform of a grid of cells."""

from __future__ import annotations

import torch
from torch import Tensor

from kernels.dispatch import Backend, choose_backend


def distance_transform(occupied: Tensor, *, spacing: float = 1.0, backend: Backend | None = None) -> Tensor:
    """[D, H, W] or [H, W] float32: the distance of each cell's middle to that of the nearest occupied one.

    occupied: bool of that shape. spacing: a cell's width, the unit of the result. 0 in occupied cells; infinite
    everywhere when there is none. Exact but for the last root, up to 4,096 cells a side. No gradients.
    """
    if occupied.dtype != torch.bool or occupied.dim() not in (2, 3):
        raise ValueError(f"occupied: expected bool [D, H, W] or [H, W], got {occupied.dtype} {list(occupied.shape)}")
    if not spacing > 0:
        raise ValueError(f"spacing: expected a positive number, got {spacing}")
    cells = occupied if occupied.dim() == 3 else occupied[None]
    match choose_backend(torch.empty(0, device=occupied.device), backend):
        case "cpu":
            from kernels.distance import cpu

            squared = cpu.squared_distances(cells)
        case "gpu":
            from kernels.distance import gpu

            squared = gpu.squared_distances(cells)
        case _:
            from kernels.distance import reference

            squared = reference.squared_distances(cells)
    return squared.sqrt_().mul_(spacing).reshape(occupied.shape)
