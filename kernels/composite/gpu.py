"""The Triton compositing: one warp a ray, 32 samples of it at a time, joined by associative scans.

Floor: 12 bytes a sample of density, t0 and t1 and 4 C of values read, 8 written (weight, transmittance); backward reads
those and writes 12 + 4 C more. A few operations a byte, so memory rules. A warp a ray loads whole lines whatever the
lengths, and a long ray costs length / 32 steps; a lane a ray would load from 32 places and wait for the longest.
Scans are exclusive without a shift: their elements are pairs (all but the last, the last).
"""

# pyright: reportGeneralTypeIssues=false, reportOperatorIssue=false
from __future__ import annotations

from typing import Any

import triton
import triton.language as tl
from torch import Tensor

from kernels.launch import ceil_div, launch

TILE = 32
"""Samples at a time: the lanes of a warp."""
MOST_CHANNELS = 32
"""Channels a program of the forward pass: with a tile's samples they fill 32 registers of a lane."""
MOST_BACKWARD = 8
"""Channels at a time in the backward pass, which needs the registers; more are a loop."""


@triton.jit
def _exclusive_product(front_a, last_a, front_b, last_b):
    return front_a * last_a * front_b, last_b


@triton.jit
def _exclusive_affine(m_a, b_a, last_m_a, last_b_a, m_b, b_b, last_m_b, last_b_b):
    """Maps A -> m A + b, the earlier one applied first."""
    m, b = last_m_a * m_a, last_m_a * b_a + last_b_a
    return m_b * m, m_b * b + b_b, last_m_b, last_b_b


@triton.jit
def _opacity(density_ptr, t0_ptr, t1_ptr, scale_ptr, at, inside, SCALED: tl.constexpr):
    """density (cut off), t0, t1, scale, 1 - exp(-x), exp(-x) with x = density * length; rows outside are clear."""
    density = tl.load(density_ptr + at, mask=inside, other=0.0)
    density = tl.where(density > 3.4028234663852886e38, 3.4028234663852886e38, density)
    t0 = tl.load(t0_ptr + at, mask=inside, other=0.0)
    t1 = tl.load(t1_ptr + at, mask=inside, other=0.0)
    scale = tl.full(density.shape, 1.0, tl.float32)
    if SCALED:
        scale = tl.load(scale_ptr + at, mask=inside, other=1.0)
    x = density * (t1 - t0)
    clear = tl.exp(-x)
    series = (1 - x * (1 / 7)) * (1 / 6)
    series = (1 - x * series) * (1 / 5)
    series = (1 - x * series) * (1 / 4)
    series = (1 - x * series) * (1 / 3)
    series = (1 - x * series) * (1 / 2)
    opaque = tl.where(tl.abs(x) < 0.35, x * (1 - x * series), 1 - clear)
    return density, t0, t1, scale, opaque, clear


@triton.jit
def _padding(start_ptr, rays, samples):
    """This program's share [begin, end) of the rows that belong to no ray."""
    used = tl.load(start_ptr + rays)
    share = (samples - used + tl.num_programs(0) - 1) // tl.num_programs(0)
    begin = used + share * tl.program_id(0).to(tl.int64)
    return begin, tl.minimum(begin + share, samples)


@triton.jit
def _ray(start_ptr, rays):
    ray = tl.program_id(0).to(tl.int64)
    there = ray < rays  # without rays there is one program, for the padding
    begin = tl.load(start_ptr + ray, mask=there, other=0)
    return ray, there, begin, tl.load(start_ptr + ray + 1, mask=there, other=0)


@triton.jit
def forward_kernel(
    density_ptr, values_ptr, t0_ptr, t1_ptr, scale_ptr, start_ptr, rays, samples, channels, threshold,
    out_ptr, opacity_ptr, depth_ptr, weights_ptr, transmittance_ptr,
    SCALED: tl.constexpr, TILE: tl.constexpr, CHANNELS: tl.constexpr,
):  # fmt: skip
    """Program (r, j): ray r, the j-th group of channels; those of group 0 write what has no channels."""
    ray, there, begin, end = _ray(start_ptr, rays)
    first = tl.program_id(1) == 0
    lanes = tl.arange(0, TILE)
    channel = tl.program_id(1) * CHANNELS + tl.arange(0, CHANNELS)
    total, along = 0.0, 0.0
    summed = tl.zeros([CHANNELS], tl.float32)
    carry = 1.0
    going = 1
    for base in range(begin, end, TILE):
        at = base + lanes
        inside = at < end
        if going != 0:
            _, t0, t1, scale, opaque, clear = _opacity(density_ptr, t0_ptr, t1_ptr, scale_ptr, at, inside, SCALED)
            keep = (1 - scale) + scale * clear
            front, _ = tl.associative_scan((tl.full([TILE], 1.0, tl.float32), keep), 0, _exclusive_product)
            before = carry * front
            stopped = tl.cumsum((before < threshold).to(tl.int32), 0) > 0
            before = tl.where(stopped, 0.0, before)
            weight = before * scale * opaque
            total += tl.sum(weight, 0)
            along += tl.sum(weight * (0.5 * (t0 + t1)), 0)
            cell = at[:, None] * channels + channel[None, :]
            rows = tl.load(values_ptr + cell, mask=inside[:, None] & (channel < channels)[None, :], other=0.0)
            summed += tl.sum(weight[:, None] * rows, 0)
            carry = tl.sum(tl.where(lanes == TILE - 1, before * keep, 0.0), 0)
            going = ((tl.max(stopped.to(tl.int32), 0) == 0) & ((carry < threshold) == 0)).to(tl.int32)
            tl.store(weights_ptr + at, weight, mask=inside & first)
            tl.store(transmittance_ptr + at, before, mask=inside & first)
        else:
            tl.store(weights_ptr + at, tl.zeros([TILE], tl.float32), mask=inside & first)
            tl.store(transmittance_ptr + at, tl.zeros([TILE], tl.float32), mask=inside & first)
    tl.store(out_ptr + ray * channels + channel, summed, mask=(channel < channels) & there)
    tl.store(opacity_ptr + ray, total, mask=first & there)
    tl.store(depth_ptr + ray, along, mask=first & there)
    begin, end = _padding(start_ptr, rays, samples)
    for base in range(begin, end, TILE):
        tl.store(weights_ptr + base + lanes, tl.zeros([TILE], tl.float32), mask=(base + lanes < end) & first)


@triton.jit
def backward_kernel(
    density_ptr, values_ptr, t0_ptr, t1_ptr, scale_ptr, start_ptr, rays, samples, channels, threshold,
    transmittance_ptr, g_values_ptr, g_opacity_ptr, g_depth_ptr, g_weights_ptr,
    out_density_ptr, out_values_ptr, out_t0_ptr, out_t1_ptr, out_scale_ptr,
    SCALED: tl.constexpr, WEIGHTS: tl.constexpr, TILE: tl.constexpr, CHANNELS: tl.constexpr,
):  # fmt: skip
    """Program r: ray r from the back, the lanes of a tile in reverse."""
    ray, there, begin, end = _ray(start_ptr, rays)
    lanes = tl.arange(0, TILE)
    channel = tl.arange(0, CHANNELS)
    g_opacity = tl.load(g_opacity_ptr + ray, mask=there, other=0.0)
    g_depth = tl.load(g_depth_ptr + ray, mask=there, other=0.0)
    behind = 0.0
    for done in range(0, end - begin, TILE):
        at = end - 1 - done - lanes
        inside = at >= begin
        density, t0, t1, scale, opaque, clear = _opacity(density_ptr, t0_ptr, t1_ptr, scale_ptr, at, inside, SCALED)
        before = tl.load(transmittance_ptr + at, mask=inside, other=0.0)
        alpha = scale * opaque
        weight = before * alpha
        worth = g_opacity + g_depth * (0.5 * (t0 + t1))
        if WEIGHTS:
            worth += tl.load(g_weights_ptr + at, mask=inside, other=0.0)
        for group in range(0, channels, CHANNELS):
            real = group + channel < channels
            g = tl.load(g_values_ptr + ray * channels + group + channel, mask=real, other=0.0)
            cell = at[:, None] * channels + group + channel[None, :]
            both = inside[:, None] & real[None, :]
            worth += tl.sum(tl.load(values_ptr + cell, mask=both, other=0.0) * g[None, :], 1)
            tl.store(out_values_ptr + cell, weight[:, None] * g[None, :], mask=both)
        counts = inside & ((before < threshold) == 0)
        m = tl.where(counts, (1 - scale) + scale * clear, 1.0)
        b = tl.where(counts, alpha * worth, 0.0)
        one, none = tl.full([TILE], 1.0, tl.float32), tl.zeros([TILE], tl.float32)
        m_front, b_front, _, _ = tl.associative_scan((one, none, m, b), 0, _exclusive_affine)
        after = m_front * behind + b_front
        behind = tl.sum(tl.where(lanes == TILE - 1, m * after + b, 0.0), 0)
        g_alpha = tl.where(counts, before * (worth - after), 0.0)
        g_thickness = g_alpha * scale * clear
        half = 0.5 * g_depth * weight
        cut = density >= 3.4028234663852886e38
        tl.store(out_density_ptr + at, tl.where(cut, 0.0, g_thickness * (t1 - t0)), mask=inside)
        tl.store(out_t0_ptr + at, half - g_thickness * density, mask=inside)
        tl.store(out_t1_ptr + at, half + g_thickness * density, mask=inside)
        if SCALED:
            tl.store(out_scale_ptr + at, g_alpha * opaque, mask=inside)
    begin, end = _padding(start_ptr, rays, samples)
    for base in range(begin, end, TILE):
        at = base + lanes
        none = tl.zeros([TILE], tl.float32)
        tl.store(out_density_ptr + at, none, mask=at < end)
        tl.store(out_t0_ptr + at, none, mask=at < end)
        tl.store(out_t1_ptr + at, none, mask=at < end)
        if SCALED:
            tl.store(out_scale_ptr + at, none, mask=at < end)
        for group in range(0, channels, CHANNELS):
            cell = at[:, None] * channels + group + channel[None, :]
            real = (at < end)[:, None] & (group + channel < channels)[None, :]
            tl.store(out_values_ptr + cell, tl.zeros([TILE, CHANNELS], tl.float32), mask=real)


def constants(tensors: list[Any], most: int) -> dict[str, Any]:
    """What is chosen at compile time: whether alphas are scaled, and up to `most` channels at once."""
    channels = triton.next_power_of_2(max(tensors[1].shape[1], 1))
    return {"SCALED": tensors[4] is not None, "TILE": TILE, "CHANNELS": min(most, channels)}


def forward(tensors: list[Any], sizes: tuple, out: tuple[Tensor, ...], transmittance: Tensor) -> None:
    """See `kernels.composite.function.Kernels`."""
    chosen = constants(tensors, MOST_CHANNELS)
    rays, _, channels, _ = sizes
    grid = (max(rays, 1), max(ceil_div(channels, chosen["CHANNELS"]), 1))
    launch(forward_kernel, grid, *tensors, *sizes, *out, transmittance, num_warps=1, **chosen)


def backward(tensors: list[Any], sizes: tuple, transmittance: Tensor, given: list[Any], out: list[Any]) -> None:
    """See `kernels.composite.function.Kernels`."""
    chosen = {**constants(tensors, MOST_BACKWARD), "WEIGHTS": given[3] is not None}
    arguments = (*tensors, *sizes, transmittance, *given, *out)
    launch(backward_kernel, (max(sizes[0], 1),), *arguments, num_warps=1, **chosen)
