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
    def forward(ctx: Any, *arguments: Any) -> Any:
        *given, threshold = arguments
        tensors: list[Any] = [t if t is None else t.contiguous() for t in given]
        _, values, t0, _, _, start = tensors
        (samples, channels), rays = values.shape, len(start) - 1
        out = (values.new_empty(rays, channels), t0.new_empty(rays), t0.new_empty(rays), torch.empty_like(t0))
        transmittance = torch.empty_like(t0)
        sizes = (rays, samples, channels, float(threshold))
        LIBRARY.call("composite_forward", *tensors, *sizes, *out, transmittance)
        ctx.save_for_backward(*tensors, transmittance)
        ctx.sizes = sizes
        ctx.set_materialize_grads(False)
        return out

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *gradients: Tensor | None) -> Any:
        *tensors, transmittance = ctx.saved_tensors
        density, values, t0, t1, scale, _ = tensors
        rays, _, channels, _ = ctx.sizes
        given = [g if g is None else g.contiguous() for g in gradients]
        for i, shape in enumerate([(rays, channels), (rays,), (rays,)]):
            if given[i] is None:
                given[i] = t0.new_zeros(shape)
        out = [None if t is None else torch.empty_like(t) for t in (density, values, t0, t1, scale)]
        LIBRARY.call("composite_backward", *tensors, *ctx.sizes, transmittance, *given, *out)
        return *out, None, None


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
