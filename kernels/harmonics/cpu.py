"""The C++ harmonics as an autograd function."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from kernels.native import NativeLibrary

LIBRARY = NativeLibrary(Path(__file__).with_name("cpu.cpp"))


class _Harmonics(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, dc: Tensor, rest: Tensor, directions: Tensor, degree: int, mask: Tensor | None) -> Tensor:
        dc, rest, directions = dc.contiguous(), rest.contiguous(), directions.contiguous()
        colours = torch.empty_like(dc)
        stride = 3 * rest.shape[1]
        mask = None if mask is None else mask.contiguous()
        LIBRARY.call("harmonics_forward", dc, rest, directions, mask, len(dc), stride, degree, colours)
        ctx.save_for_backward(rest, directions, colours)
        ctx.degree = degree
        return colours

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        rest, directions, colours = ctx.saved_tensors
        g_dc, g_directions = torch.empty_like(colours), torch.empty_like(directions)
        g_rest = torch.empty_like(rest) if ctx.needs_input_grad[1] else None
        LIBRARY.call(
            "harmonics_backward", rest, directions, colours, gradients[0].contiguous(), len(rest), 3 * rest.shape[1],
            ctx.degree, g_dc, g_rest, g_directions,
        )  # fmt: skip
        return g_dc, g_rest, g_directions, None, None


def harmonics(dc: Tensor, rest: Tensor, directions: Tensor, degree: int, mask: Tensor | None) -> Tensor:
    """See `kernels.harmonics.harmonics`."""
    return _Harmonics.apply(dc, rest, directions, degree, mask)  # type: ignore[return-value]
