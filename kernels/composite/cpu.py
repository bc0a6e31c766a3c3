"""The C++ compositing as an autograd function."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from kernels.composite import Composited
from kernels.native import NativeLibrary

LIBRARY = NativeLibrary(Path(__file__).with_name("cpu.cpp"))


class _Composite(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        density: Tensor,
        values: Tensor,
        t0: Tensor,
        t1: Tensor,
        scale: Tensor | None,
        ray_start: Tensor,
        threshold: float,
    ) -> Any:
        density, values, t0, t1, ray_start = (x.contiguous() for x in (density, values, t0, t1, ray_start))
        scale = None if scale is None else scale.contiguous()
        rays, (samples, channels) = len(ray_start) - 1, values.shape
        sums, opacity, depth = torch.empty(rays, channels), torch.empty(rays), torch.empty(rays)
        weights, transmittance = torch.empty(samples), torch.empty(samples)
        live = torch.empty(rays, dtype=torch.int32)
        LIBRARY.call(
            "composite_forward", density, values, t0, t1, ray_start, scale, float(threshold),
            rays, samples, channels, sums, opacity, depth, weights, transmittance, live,
        )  # fmt: skip
        ctx.save_for_backward(density, values, t0, t1, ray_start, scale, weights, transmittance, live)
        return sums, opacity, depth, weights

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        density, values, t0, t1, ray_start, scale, weights, transmittance, live = ctx.saved_tensors
        needed = ctx.needs_input_grad
        g_density, g_values = torch.empty_like(density), torch.empty_like(values)
        g_t0, g_t1 = (torch.empty_like(t0) if needed[i] else None for i in (2, 3))
        g_scale = torch.empty_like(t0) if needed[4] else None
        LIBRARY.call(
            "composite_backward", density, values, t0, t1, ray_start, scale, weights, transmittance, live,
            len(live), *values.shape, *(g.contiguous() for g in gradients), g_density, g_values, g_t0, g_t1, g_scale,
        )  # fmt: skip
        return g_density, g_values, g_t0, g_t1, g_scale, None, None


def composite(
    density: Tensor,
    values: Tensor,
    t0: Tensor,
    t1: Tensor,
    ray_start: Tensor,
    alpha_scale: Tensor | None,
    threshold: float,
) -> Composited:
    """See `kernels.composite.composite`."""
    return Composited(*_Composite.apply(density, values, t0, t1, alpha_scale, ray_start, threshold))
