"""composite: transmittance, weights, colour and depth along rays of packed samples (Mildenhall et al. 2020).

A sample from t0 to t1 with density s has alpha = a (1 - exp(-s (t1 - t0))), where the optional factor a is 1 in
ordinary volume rendering. With T_i the product of (1 - alpha_j) over the ray's samples before i, its weight is
T_i alpha_i.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from kernels.checks import check_shapes
from kernels.dispatch import Backend, choose_backend


class Composited(NamedTuple):
    """values: [R, C] sums of weight times value. opacity: [R] sum of weights. weights: [S].

    depth: [R] sum of weight times the sample's middle (t0 + t1) / 2, in the unit of t: a distance times opacity.

    All four are differentiable. The background is the caller's: values + (1 - opacity) background.
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
    """Composite S packed samples along R rays.

    density: [S] a unit of t, not negative; values: [S, C]; t0, t1: [S] with t0 <= t1; ray_start: [R + 1] int64,
    the samples of ray r are ray_start[r] : ray_start[r + 1] in the order of t. Samples from ray_start[R] on are
    padding: weight and gradients zero, whatever they hold. alpha_scale: [S] the factors a, even above 1 (ProNeRF).

    A ray stops at the first sample with T_i below `threshold`, and stays stopped; with 0 it never stops. Differentiable
    in density, values, t0, t1 and alpha_scale; the gradient is in closed form without a division, so alpha = 1 is safe.
    """
    shapes = {"density": (density, "S"), "values": (values, "S C"), "t0": (t0, "S"), "t1": (t1, "S")}
    if alpha_scale is not None:
        shapes["alpha_scale"] = (alpha_scale, "S")
    check_shapes(**shapes, ray_start=(ray_start, "R1"))
    if ray_start.dtype != torch.int64 or len(ray_start) < 1:
        raise ValueError(f"ray_start: expected int64 [R + 1], got {ray_start.dtype} {list(ray_start.shape)}")
    if values.shape[1] < 1:
        raise ValueError(f"values: expected at least one channel, got shape {list(values.shape)}")
    arguments = (density, values, t0, t1, ray_start, alpha_scale, threshold)
    match choose_backend(density, backend):
        case "cpu":
            from kernels.composite import cpu

            return cpu.composite(*arguments)
        case "gpu":
            from kernels.composite import gpu

            return gpu.composite(*arguments)
        case _:
            from kernels.composite import reference

            return reference.composite(*arguments)
