"""The Gaussian layer in Triton.

Floor: F and y moved once; a unit and channel cost 3 operations of the float32 units forward (difference, scaling,
square and sum). On an H100 (67 Tflop/s, 33.5 T instructions/s), D = 32, N = 64: 6144 instructions, so 0.18 ns, against
0.04 ns for the 132 bytes of a point: arithmetic rules. Tensor cores would need the expanded square, s^2 F^2 - 2 s^2 F c
+ s^2 c^2, whose terms cancel where units are sharp (log scale 5: s^2 F^2 = 22000 F^2, four digits lost), whatever
the precision of the product; only the last step, phi W^T, is theirs.

Backward, in three loops without any sum across threads: h = phi dL/dphi [P, N] is formed by library products, then the
features' gradient sums over units, and the units' gradients over points, a buffer a program, added up by torch in
order: no atomics. [P, N] tensors exist in the backward pass only.
"""

# pyright: reportGeneralTypeIssues=false
# Loops over tl.range exist in Triton's compiler only.

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from kernels.launch import ceil_div, launch

PRECISION = "tf32x3"
TILE = 64
"""Points of a tile where the features' gradient is summed."""
PROGRAMS = 528
"""Programs that share the points where units' gradients are summed: four for each of an H100's multiprocessors."""
TOGETHER = 8
"""Points whose loads are under way at once there."""


@triton.jit
def _activate(
    features, centres, scales, rows, units, points, channels, n_units, TILE: tl.constexpr, UNITS: tl.constexpr
):  # fmt: skip
    """phi of a tile of points; units beyond the last are 0."""
    inside, there = rows < points, units < n_units
    square = tl.zeros((TILE, UNITS), tl.float32)
    for d in tl.range(channels, loop_unroll_factor=2):
        x = tl.load(features + rows * channels + d, mask=inside, other=0.0)
        centre = tl.load(centres + units * channels + d, mask=there, other=0.0)
        scale = tl.load(scales + units * channels + d, mask=there, other=0.0)
        away = (x[:, None] - centre[None, :]) * scale[None, :]
        square += away * away
    return tl.where(there[None, :], tl.exp(-0.5 * square), 0.0)


@triton.jit
def _forward(
    features, centres, scales, weights, bias, skip, y, points, channels, n_units, outputs,
    TILE: tl.constexpr, UNITS: tl.constexpr, CHANNELS: tl.constexpr, OUTPUTS: tl.constexpr, SKIP: tl.constexpr,
    PRECISION: tl.constexpr,
):  # fmt: skip
    rows = tl.program_id(0).to(tl.int64) * TILE + tl.arange(0, TILE)
    units, outs = tl.arange(0, UNITS), tl.arange(0, OUTPUTS)
    inside, present = (rows < points)[:, None], outs < outputs
    sums = tl.zeros((TILE, OUTPUTS), tl.float32) + tl.load(bias + outs, mask=present, other=0.0)[None, :]
    if SKIP:
        ds = tl.arange(0, CHANNELS)
        there = ds < channels
        x = tl.load(features + rows[:, None] * channels + ds[None, :], mask=inside & there[None, :], other=0.0)
        affine = skip + outs[None, :] * channels + ds[:, None]
        affine = tl.load(affine, mask=present[None, :] & there[:, None], other=0.0)
        sums = tl.dot(x, affine, sums, input_precision=PRECISION)
    phi = _activate(features, centres, scales, rows, units, points, channels, n_units, TILE, UNITS)
    matrix = weights + outs[None, :] * n_units + units[:, None]
    matrix = tl.load(matrix, mask=present[None, :] & (units < n_units)[:, None], other=0.0)
    sums = tl.dot(phi, matrix, sums, input_precision=PRECISION)
    tl.store(y + rows[:, None] * outputs + outs[None, :], sums, mask=inside & present[None, :])


@triton.jit
def _activations(
    features, centres, scales, phi, points, channels, n_units, TILE: tl.constexpr, UNITS: tl.constexpr
):  # fmt: skip
    rows = tl.program_id(0).to(tl.int64) * TILE + tl.arange(0, TILE)
    units = tl.arange(0, UNITS)
    values = _activate(features, centres, scales, rows, units, points, channels, n_units, TILE, UNITS)
    inside = (rows < points)[:, None] & (units < n_units)[None, :]
    tl.store(phi + rows[:, None] * n_units + units[None, :], values, mask=inside)


@triton.jit
def _to_features(
    features, centres, squares, h, g_features, points, channels, n_units, TILE: tl.constexpr, CHANNELS: tl.constexpr
):  # fmt: skip
    """g_features -= sum over units of h s^2 (F - c); what is there is the part through the affine term."""
    rows = tl.program_id(0).to(tl.int64) * TILE + tl.arange(0, TILE)
    ds = tl.arange(0, CHANNELS)
    present = ds < channels
    places = rows[:, None] * channels + ds[None, :]
    inside = (rows < points)[:, None] & present[None, :]
    x = tl.load(features + places, mask=inside, other=0.0)
    gradient = tl.load(g_features + places, mask=inside, other=0.0)
    for n in tl.range(n_units, loop_unroll_factor=2):
        weight = tl.load(h + rows * n_units + n, mask=rows < points, other=0.0)
        centre = tl.load(centres + n * channels + ds, mask=present, other=0.0)
        square = tl.load(squares + n * channels + ds, mask=present, other=0.0)
        gradient -= (x - centre[None, :]) * square[None, :] * weight[:, None]
    tl.store(g_features + places, gradient, mask=inside)


@triton.jit
def _to_units(
    features, centres, h, firsts, seconds, points, channels, n_units, share,
    UNITS: tl.constexpr, CHANNELS: tl.constexpr, TOGETHER: tl.constexpr,
):  # fmt: skip
    """Sums over a program's points of h (F - c) and h (F - c)^2, for a block of the units."""
    part = tl.program_id(0).to(tl.int64)
    units, ds = tl.program_id(1) * UNITS + tl.arange(0, UNITS), tl.arange(0, CHANNELS)
    there, present = units < n_units, ds < channels
    inside = there[:, None] & present[None, :]
    places = units[:, None] * channels + ds[None, :]
    centre = tl.load(centres + places, mask=inside, other=0.0)
    first = tl.zeros((UNITS, CHANNELS), tl.float32)
    second = tl.zeros((UNITS, CHANNELS), tl.float32)
    for start in range(part * TOGETHER, points, share * TOGETHER):
        for k in tl.static_range(TOGETHER):
            p = start + k
            weight = tl.load(h + p * n_units + units, mask=there & (p < points), other=0.0)
            x = tl.load(features + p * channels + ds, mask=present & (p < points), other=0.0)
            away = x[None, :] - centre
            weighted = weight[:, None] * away
            first += weighted
            second += weighted * away
    target = part * n_units * channels + places
    tl.store(firsts + target, first, mask=inside)
    tl.store(seconds + target, second, mask=inside)


def _padded(size: int) -> int:
    """The power of two, at least 16, that holds `size`."""
    return max(16, 1 << (size - 1).bit_length())


def _tile(units: int) -> dict[str, int]:
    """Points and warps for which a tile of activations leaves registers free."""
    return {"TILE": 64 if units <= 64 else 32, "UNITS": _padded(units), "num_warps": 4 if units <= 32 else 8}


def activations(features: Tensor, centres: Tensor, log_scales: Tensor) -> Tensor:
    """See `kernels.rbf.activations`."""
    phi = features.new_empty(len(features), len(centres))
    (points, channels), units = features.shape, len(centres)
    constants = _tile(units)
    launch(
        _activations, (ceil_div(points, constants["TILE"]),), features.contiguous(), centres.contiguous(),
        log_scales.exp().contiguous(), phi, points, channels, units, **constants,
    )  # fmt: skip
    return phi


class _RBF(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        features: Tensor,
        centres: Tensor,
        log_scales: Tensor,
        weights: Tensor,
        bias: Tensor | None,
        skip: Tensor | None,
    ) -> Tensor:
        features, centres, log_scales, weights = (t.contiguous() for t in (features, centres, log_scales, weights))
        (outputs, units), (points, channels) = weights.shape, features.shape
        offset = weights.new_zeros(outputs) if bias is None else bias.contiguous()
        skip = None if skip is None else skip.contiguous()
        y = features.new_empty(points, outputs)
        constants = _tile(units)
        launch(
            _forward, (ceil_div(points, constants["TILE"]),),
            features, centres, log_scales.exp(), weights, offset, skip, y, points, channels, units, outputs,
            CHANNELS=_padded(channels), OUTPUTS=_padded(outputs), SKIP=skip is not None, PRECISION=PRECISION,
            **constants,
        )  # fmt: skip
        ctx.save_for_backward(features, centres, log_scales, weights, skip)
        return y

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        features, centres, log_scales, weights, skip = ctx.saved_tensors
        needs, g_y = ctx.needs_input_grad, gradients[0].contiguous()
        (_, units), (points, channels) = weights.shape, features.shape
        phi = activations(features, centres, log_scales)
        h = (g_y @ weights).mul_(phi)
        squares = (2 * log_scales).exp()
        g_features = g_centres = g_scales = None
        if needs[0]:
            g_features = torch.zeros_like(features) if skip is None else g_y @ skip
            launch(
                _to_features, (ceil_div(points, TILE),), features, centres, squares, h, g_features,
                points, channels, units, TILE=TILE, CHANNELS=_padded(channels), num_warps=4 if channels <= 32 else 8,
            )  # fmt: skip
        if needs[1] or needs[2]:
            share, block = min(ceil_div(points, TOGETHER), PROGRAMS), 32
            firsts = features.new_empty(share, units, channels)
            seconds = torch.empty_like(firsts)
            launch(
                _to_units, (share, ceil_div(units, block)), features, centres, h, firsts, seconds,
                points, channels, units, share, UNITS=block, CHANNELS=_padded(channels), TOGETHER=TOGETHER,
                num_warps=4 if channels <= 32 else 8,
            )  # fmt: skip
            g_centres, g_scales = squares * firsts.sum(dim=0), -squares * seconds.sum(dim=0)
        g_weights = g_y.T @ phi if needs[3] else None
        g_bias = g_y.sum(dim=0) if needs[4] else None
        g_skip = g_y.T @ features if needs[5] else None
        return g_features, g_centres, g_scales, g_weights, g_bias, g_skip


def rbf(
    features: Tensor, centres: Tensor, log_scales: Tensor, weights: Tensor, bias: Tensor | None, skip: Tensor | None
) -> Tensor:
    """See `kernels.rbf.rbf`."""
    return _RBF.apply(features, centres, log_scales, weights, bias, skip)  # type: ignore[return-value]
