"""composite: transmittance, weights, values, opacity and depth along packed samples of rays (Max 1995; NeRF).

The samples of ray r are rows ray_start[r] : ray_start[r + 1], in order of depth. Sample i covers [t0_i, t1_i] and has

    alpha_i = scale_i (1 - exp(-density_i (t1_i - t0_i))),  T_i = prod over j < i of (1 - alpha_j),  w_i = T_i alpha_i.

The gradient needs no division: with e_i the derivative of the loss in w_i and A_i what the samples behind i are worth
to it, seen from just behind i, A_{i-1} = alpha_i e_i + (1 - alpha_i) A_i, the derivative in alpha_i is T_i (e_i - A_i).
So it is exact where alpha is 1, and for scales above 1, where T may change its sign.
"""

from __future__ import annotations

import math
from typing import NamedTuple

from torch import Tensor

from kernels.checks import check_shapes
from kernels.dispatch import Backend, choose_backend

DENSITY_MAX = 3.4028234663852886e38
"""Densities are cut off here, so that infinity means opaque and not NaN; it has no gradient."""


class Composited(NamedTuple):
    """values: [R, C] sums of w_i values_i, the background not included. opacity: [R] sums of w_i.

    depth: [R] sums of w_i (t0_i + t1_i) / 2, not divided by opacity. weights: [S] the w_i.
    """

    values: Tensor
    opacity: Tensor
    depth: Tensor
    weights: Tensor


def composite(
    density: Tensor,
    values: Tensor,
    t0: Tensor,
    t1: Tensor,
    ray_start: Tensor,
    *,
    alpha_scale: Tensor | None = None,
    threshold: float = 1e-4,
    backend: Backend | None = None,
) -> Composited:
    """Composite `values` [S, C] with `density` [S] (per unit of t) over intervals `t0`, `t1` [S] of rays.

    ray_start: [R + 1] int64, not decreasing, from 0; rows from ray_start[-1] on are padding, with weight 0 and no
    gradient. alpha_scale: [S] factors of alpha, or None for 1. threshold: a ray stops before the first sample with
    T_i < threshold; 0 means never. The background is the caller's: values + (1 - opacity) * background.
    All outputs are differentiable (once) in density, values, t0, t1 and alpha_scale.
    """
    check_shapes(
        density=(density, "S"),
        values=(values, "S C"),
        t0=(t0, "S"),
        t1=(t1, "S"),
        **({} if alpha_scale is None else {"alpha_scale": (alpha_scale, "S")}),
    )
    if ray_start.dim() != 1 or len(ray_start) == 0 or ray_start.is_floating_point():
        raise ValueError(f"ray_start: expected [R + 1] int64, got {ray_start.dtype} {list(ray_start.shape)}")
    threshold = threshold if threshold > 0 else -math.inf  # with scales above 1, T may be negative
    arguments = (density, values, t0, t1, ray_start.long(), alpha_scale, threshold)
    match choose_backend(density, backend):
        case "cpu":
            from kernels.composite import cpu, function

            return function.composite_with(cpu, *arguments)
        case "gpu":
            from kernels.composite import function, gpu

            return function.composite_with(gpu, *arguments)
        case _:
            from kernels.composite import reference

            return reference.composite(*arguments)
