"""Compositing in Triton: one program a ray, which walks its samples in chunks that it scans.

Floor: every input and output once, (4 + C) floats a sample forward and about twice that backward; a multiply-add a
channel. Samples of a ray lie side by side, so loads coalesce. A chunk's transmittances are a scan of products, and the
backward recurrence A' = alpha e + (1 - alpha) A (see cpu.cpp) a scan of affine maps from the far end. No atomics.
"""

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from kernels.composite import Composited
from kernels.launch import ceil_div, launch


@triton.jit
def _smaller(a, b):
    return tl.minimum(a, b)


@triton.jit
def _compose(slope_far, offset_far, slope_near, offset_near):
    """One affine map after another; the scan runs from the far end of the ray."""
    return slope_far * slope_near, offset_far * slope_near + offset_near


@triton.jit
def _opacity(density, t0, t1, at, mask):
    """1 - exp(-density (t1 - t0)), with a small relative error for thin samples too; 0 outside of the mask."""
    x = tl.load(t1 + at, mask=mask, other=0.0) - tl.load(t0 + at, mask=mask, other=0.0)
    x *= tl.load(density + at, mask=mask, other=0.0)
    p = x * (1.0 / 5040) - 1.0 / 720
    p = p * x + 1.0 / 120
    p = p * x - 1.0 / 24
    p = p * x + 1.0 / 6
    p = p * x - 0.5
    p = p * x + 1.0
    return tl.where(x < 0.4, p * x, 1.0 - tl.exp(-x))


@triton.jit
def forward_kernel(
    density, values, t0, t1, ray_start, scale, out_values, opacity, depth, weights, transmittance, live,
    threshold, channels, SCALED: tl.constexpr, CHUNK: tl.constexpr, CHANNELS: tl.constexpr,
):  # fmt: skip
    """Ray program_id(0), channels of block program_id(1); the first block also writes what has no channels."""
    ray, block = tl.program_id(0).to(tl.int64), tl.program_id(1)
    lane, channel = tl.arange(0, CHUNK), block * CHANNELS + tl.arange(0, CHANNELS)
    start, last = tl.load(ray_start + ray), tl.load(ray_start + ray + 1)
    sums = tl.zeros([CHANNELS], tl.float32)
    covered = tl.zeros([CHUNK], tl.float32)
    distance = tl.zeros([CHUNK], tl.float32)
    through, lowest, count = 1.0, 1.0, 0
    while (start < last) & ((threshold <= 0) | (lowest >= threshold)):
        at = start + lane
        mask = at < last
        alpha = _opacity(density, t0, t1, at, mask)
        if SCALED:
            alpha *= tl.load(scale + at, mask=mask, other=0.0)
        product = through * tl.cumprod(1.0 - alpha, 0)
        before = tl.where(lane == 0, through, tl.gather(product, tl.maximum(lane - 1, 0), 0))
        least = before
        if SCALED:  # a factor above 1 makes products negative, from where they may rise again
            least = tl.associative_scan(before, 0, _smaller)
        alive = mask & ((threshold <= 0) | (least >= threshold))
        weight = tl.where(alive, alpha * before, 0.0)
        covered += weight
        distance += weight * 0.5 * (tl.load(t0 + at, mask=mask, other=0.0) + tl.load(t1 + at, mask=mask, other=0.0))
        count += tl.sum(alive.to(tl.int32), 0)
        tl.store(weights + at, weight, mask=mask & (block == 0))
        tl.store(transmittance + at, before, mask=mask & (block == 0))
        shown = alive[:, None] & (channel < channels)[None, :]
        row = tl.load(values + at[:, None] * channels + channel[None, :], mask=shown, other=0.0)
        sums += tl.sum(weight[:, None] * row, 0)
        through = tl.sum(tl.where(lane == CHUNK - 1, product, 0.0), 0)
        lowest = tl.minimum(tl.min(tl.where(mask, least, 1.0), 0), through)
        start += CHUNK
    while start < last:  # behind the chunk in which the ray stopped
        tl.store(weights + start + lane, tl.zeros([CHUNK], tl.float32), mask=(start + lane < last) & (block == 0))
        start += CHUNK
    tl.store(out_values + ray * channels + channel, sums, mask=channel < channels)
    if block == 0:
        tl.store(opacity + ray, tl.sum(covered, 0))
        tl.store(depth + ray, tl.sum(distance, 0))
        tl.store(live + ray, count)


@triton.jit
def backward_kernel(
    density, values, t0, t1, ray_start, scale, weights, transmittance, live,
    g_out_values, g_opacity, g_depth, g_weights, g_density, g_values, g_t0, g_t1, g_scale,
    channels, SCALED: tl.constexpr, CHUNK: tl.constexpr, CHANNELS: tl.constexpr,
):  # fmt: skip
    """Ray program_id(0), from its last chunk to its first; samples behind the stop get zeros."""
    ray = tl.program_id(0).to(tl.int64)
    lane, channel = tl.arange(0, CHUNK), tl.arange(0, CHANNELS)
    first, last = tl.load(ray_start + ray), tl.load(ray_start + ray + 1)
    end = first + tl.load(live + ray)
    g_covered, g_distance = tl.load(g_opacity + ray), tl.load(g_depth + ray)
    behind = 0.0
    start = first + (last - first + CHUNK - 1) // CHUNK * CHUNK - CHUNK
    while start >= first:
        at = start + lane
        mask, alive = at < last, at < end
        near, far = tl.load(t0 + at, mask=mask, other=0.0), tl.load(t1 + at, mask=mask, other=0.0)
        opaque = _opacity(density, t0, t1, at, alive)
        factor = tl.full([CHUNK], 1.0, tl.float32)
        if SCALED:
            factor = tl.load(scale + at, mask=alive, other=0.0)
        weight = tl.load(weights + at, mask=alive, other=0.0)
        earned = tl.load(g_weights + at, mask=alive, other=0.0) + g_covered + g_distance * 0.5 * (near + far)
        for c in range(0, channels, CHANNELS):
            inside = (c + channel) < channels
            g_row = tl.load(g_out_values + ray * channels + c + channel, mask=inside, other=0.0)
            place = at[:, None] * channels + (c + channel)[None, :]
            row = tl.load(values + place, mask=alive[:, None] & inside[None, :], other=0.0)
            earned += tl.sum(row * g_row[None, :], 1)
            tl.store(g_values + place, weight[:, None] * g_row[None, :], mask=mask[:, None] & inside[None, :])
        alpha = opaque * factor
        # A in front of each sample, itself included; behind it, that of the next.
        slope, offset = tl.associative_scan(
            (1.0 - alpha, tl.where(alive, alpha * earned, 0.0)), 0, _compose, reverse=True
        )
        front = slope * behind + offset
        beyond = tl.where(lane == CHUNK - 1, behind, tl.gather(front, tl.minimum(lane + 1, CHUNK - 1), 0))
        through = tl.load(transmittance + at, mask=alive, other=0.0)
        g_alpha = tl.where(alive, through * (earned - beyond), 0.0)
        g_tau = g_alpha * factor * (1.0 - opaque)
        g_length = g_tau * tl.load(density + at, mask=alive, other=0.0)
        g_middle = 0.5 * g_distance * weight
        tl.store(g_density + at, g_tau * (far - near), mask=mask)
        if g_t0 is not None:
            tl.store(g_t0 + at, g_middle - g_length, mask=mask)
        if g_t1 is not None:
            tl.store(g_t1 + at, g_middle + g_length, mask=mask)
        if SCALED:
            tl.store(g_scale + at, g_alpha * opaque, mask=mask)
        start -= CHUNK
        behind = tl.sum(tl.where(lane == 0, front, 0.0), 0)


def blocks(channels: int) -> dict[str, int]:
    """Samples of a chunk and channels of a block, so that a tile of values takes 8 registers a thread."""
    wide = 1
    while wide < min(channels, 16):
        wide *= 2
    return {"CHUNK": max(32, min(128, 512 // wide)), "CHANNELS": wide, "num_warps": 2}


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
        sums, opacity, depth = values.new_empty(rays, channels), values.new_empty(rays), values.new_empty(rays)
        # Zeros where no ray reaches: padding up to a fixed capacity.
        weights, transmittance = values.new_zeros(samples), values.new_empty(samples)
        live = torch.empty(rays, dtype=torch.int32, device=values.device)
        sizes = blocks(channels)
        launch(
            forward_kernel, (rays, ceil_div(channels, sizes["CHANNELS"])), density, values, t0, t1, ray_start, scale,
            sums, opacity, depth, weights, transmittance, live, float(threshold), channels,
            SCALED=scale is not None, **sizes,
        )  # fmt: skip
        ctx.save_for_backward(density, values, t0, t1, ray_start, scale, weights, transmittance, live)
        return sums, opacity, depth, weights

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        density, values, t0, t1, ray_start, scale, weights, transmittance, live = ctx.saved_tensors
        needed, sizes = ctx.needs_input_grad, blocks(values.shape[1])
        g_density, g_values = torch.zeros_like(density), torch.zeros_like(values)
        g_t0, g_t1 = (torch.zeros_like(t0) if needed[i] else None for i in (2, 3))
        g_scale = None if scale is None else torch.zeros_like(t0)
        launch(
            backward_kernel, (len(live),), density, values, t0, t1, ray_start, scale, weights, transmittance, live,
            *(g.contiguous() for g in gradients), g_density, g_values, g_t0, g_t1, g_scale, values.shape[1],
            SCALED=scale is not None, **sizes,
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
