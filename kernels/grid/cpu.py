"""The C++ interpolation as an autograd function."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from kernels.grid.levels import Level, describe
from kernels.native import NativeLibrary

LIBRARY = NativeLibrary(Path(__file__).with_name("cpu.cpp"))


class _Grid(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, table: Tensor, levels: tuple[Level, ...]) -> Tensor:
        x, table, levels_of = x.contiguous(), table.contiguous(), describe(levels, torch.device("cpu"))
        ctx.sizes = (*x.shape, len(levels[0].axes), len(levels), table.shape[1])
        out = torch.empty(len(x), len(levels) * table.shape[1])
        LIBRARY.call("grid_forward", x, table, levels_of, *ctx.sizes, out)
        ctx.save_for_backward(x, table, levels_of)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        x, table, levels_of = ctx.saved_tensors
        g_x = torch.empty_like(x) if ctx.needs_input_grad[0] else None
        g_table = torch.empty_like(table) if ctx.needs_input_grad[1] else None
        LIBRARY.call(
            "grid_backward", x, table, levels_of, gradients[0].contiguous(), *ctx.sizes, len(table), g_table, g_x
        )
        return g_x, g_table, None


def grid(x: Tensor, table: Tensor, levels: tuple[Level, ...]) -> Tensor:
    """See `kernels.grid.grid`."""
    return _Grid.apply(x, table, levels)  # type: ignore[return-value]
