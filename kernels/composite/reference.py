"""Compositing on padded rays, [R, longest], in plain torch."""

from __future__ import annotations

import torch
from torch import Tensor

from kernels.composite import Composited


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
    counts = ray_start.diff()
    longest = int(counts.max()) if len(counts) else 0
    place = torch.arange(longest, device=density.device)
    there = place < counts[:, None]
    index = torch.where(there, ray_start[:-1, None] + place, 0)

    def padded(x: Tensor) -> Tensor:
        return torch.where(there.reshape(*there.shape, *[1] * (x.dim() - 1)), x[index], 0)

    alpha = -torch.expm1(-padded(density) * (padded(t1) - padded(t0)))
    if alpha_scale is not None:
        alpha = alpha * padded(alpha_scale)
    if threshold > 0:
        before = exclusive_product(1 - alpha)
        alpha = torch.where(before.cummin(dim=1).values >= threshold, alpha, 0) if longest else alpha
    weights = alpha * exclusive_product(1 - alpha)
    middle = (padded(t0) + padded(t1)) / 2
    packed = torch.zeros_like(density).index_put((index[there],), weights[there])
    return Composited(
        (weights[..., None] * padded(values)).sum(dim=1), weights.sum(dim=1), (weights * middle).sum(dim=1), packed
    )


def exclusive_product(factors: Tensor) -> Tensor:
    """[R, n] products of the factors before each one in its row."""
    ones = torch.ones_like(factors[:, :1])
    return torch.cat([ones, factors.cumprod(dim=1)], dim=1)[:, : factors.shape[1]]
