"""The autograd function around either implementation: what is allocated, saved and handed back is the same for both."""

from __future__ import annotations

from typing import Any, Protocol

import torch
from torch import Tensor

from kernels.composite import Composited


class Kernels(Protocol):
    """An implementation: `cpu` or `gpu`. tensors: density, values, t0, t1, alpha_scale or None, ray_start, contiguous.

    sizes: rays, samples, channels, threshold.
    """

    def forward(self, tensors: list[Any], sizes: tuple, out: tuple[Tensor, ...], transmittance: Tensor) -> None:
        """Fill `out` (values, opacity, depth, weights) and the transmittance [S] before each sample."""
        ...

    def backward(
        self, tensors: list[Any], sizes: tuple, transmittance: Tensor, given: list[Any], out: list[Any]
    ) -> None:
        """Fill `out`, the gradients of the first five tensors, from those of the outputs; the weights' may be None."""
        ...


class _Composite(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, kernels: Kernels, *arguments: Any) -> Any:
        *given, threshold = arguments
        tensors: list[Any] = [t if t is None else t.contiguous() for t in given]
        _, values, t0, _, _, start = tensors
        (samples, channels), rays = values.shape, len(start) - 1
        out = (values.new_empty(rays, channels), t0.new_empty(rays), t0.new_empty(rays), torch.empty_like(t0))
        transmittance = torch.empty_like(t0)
        sizes = (rays, samples, channels, float(threshold))
        kernels.forward(tensors, sizes, out, transmittance)
        ctx.save_for_backward(*tensors, transmittance)
        ctx.kernels, ctx.sizes = kernels, sizes
        ctx.set_materialize_grads(False)
        return out

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *gradients: Tensor | None) -> Any:
        *tensors, transmittance = ctx.saved_tensors
        t0, (rays, _, channels, _) = tensors[2], ctx.sizes
        given = [g if g is None else g.contiguous() for g in gradients]
        for i, shape in enumerate([(rays, channels), (rays,), (rays,)]):
            if given[i] is None:
                given[i] = t0.new_zeros(shape)
        out = [None if t is None else torch.empty_like(t) for t in tensors[:5]]
        ctx.kernels.backward(tensors, ctx.sizes, transmittance, given, out)
        return None, *out, None, None


def composite_with(
    kernels: Kernels,
    density: Tensor,
    values: Tensor,
    t0: Tensor,
    t1: Tensor,
    ray_start: Tensor,
    alpha_scale: Tensor | None,
    threshold: float,
) -> Composited:
    """See `kernels.composite.composite`."""
    return Composited(*_Composite.apply(kernels, density, values, t0, t1, alpha_scale, ray_start, threshold))
