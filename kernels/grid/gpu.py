"""Interpolation in Triton: a program is a block of points in one level, the level on the slow axis of the launch.

Blocks of a level thus run together, and its rows stay in the second-level cache: 16 levels of 2^19 rows of 2 floats are
64 MB, one is 4 MB. Floor: each corner of a cell is one random 32-byte sector, 8 a point and level in 3-D (fewer where
x-neighbours share it), so 2^18 points in 16 levels read 1.07 GB of sectors from that cache; memory itself moves the
[P, 16 F] output and the touched rows once. The backward pass to the table adds as many sectors by atomics without
return. The one to the positions recomputes the cells, loops over the levels inside a program and needs no atomics.
"""

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor
from torch.autograd.function import once_differentiable

from kernels.grid.levels import Level, describe
from kernels.launch import ceil_div, launch

BLOCK = 128


@triton.jit
def _valid(x, point, there, DIMS: tl.constexpr):
    """Which points exist and have no NaN."""
    valid = there
    for k in tl.static_range(DIMS):  # type: ignore[reportGeneralTypeIssues]
        value = tl.load(x + point * DIMS + k, mask=there, other=0.0)
        valid = valid & (value == value)
    return valid


@triton.jit
def _axis(x, levels, level, point, valid, K: tl.constexpr, DIMS: tl.constexpr):
    """Lower node and fraction of the cell along axis K of a level."""
    last = tl.load(levels + level * 9 + 3 + K).to(tl.int32) - 1
    value = tl.load(x + point * DIMS + tl.load(levels + level * 9 + 6 + K), mask=valid, other=0.0)
    value = tl.where(value > 0.0, tl.where(value < 1.0, value, 1.0), 0.0)
    position = value * last.to(tl.float32)
    node = tl.minimum(position.to(tl.int32), last - 1)
    return node, position - node.to(tl.float32)


@triton.jit
def _locate(x, levels, level, point, valid, D: tl.constexpr, DIMS: tl.constexpr):
    """Nodes and fractions along the axes; in 2-D the third is 0, which changes neither rows nor weights."""
    i, u = _axis(x, levels, level, point, valid, 0, DIMS)  # type: ignore[reportGeneralTypeIssues]
    j, v = _axis(x, levels, level, point, valid, 1, DIMS)
    if D == 3:
        k, w = _axis(x, levels, level, point, valid, 2, DIMS)
    else:
        k, w = i * 0, u * 0.0
    return i, j, k, u, v, w


@triton.jit
def _row(levels, level, i, j, k):
    """Row of node (i, j, k) in the table, as int64."""
    offset, entries = tl.load(levels + level * 9), tl.load(levels + level * 9 + 1)
    hashed = tl.load(levels + level * 9 + 2)
    width = tl.load(levels + level * 9 + 3).to(tl.int32)
    height = tl.load(levels + level * 9 + 4).to(tl.int32)
    dense = i + width * (j + height * k)
    mixed = i.to(tl.uint32) ^ (j.to(tl.uint32) * 2654435761) ^ (k.to(tl.uint32) * 805459861)
    mixed = mixed & (entries - 1).to(tl.uint32)
    return offset + tl.where(hashed != 0, mixed.to(tl.int64), dense.to(tl.int64))


@triton.jit
def _along(upper: tl.constexpr, fraction):
    """Weight of the upper or lower node."""
    if upper:
        return fraction
    else:
        return 1.0 - fraction


@triton.jit
def grid_forward(
    x, table, levels, count, level_count, out,
    D: tl.constexpr, DIMS: tl.constexpr, F: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """out [count, level_count, F]."""
    level = tl.program_id(1).to(tl.int64)
    point = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    there = point < count
    valid = _valid(x, point, there, DIMS)
    i, j, k, u, v, w = _locate(x, levels, level, point, valid, D, DIMS)
    feature = tl.arange(0, F)[None, :]
    total = tl.zeros((BLOCK, F), tl.float32)
    for corner in tl.static_range(1 << D):  # type: ignore[reportGeneralTypeIssues]
        weight = _along(corner & 1, u) * _along(corner >> 1 & 1, v) * _along(corner >> 2, w)
        row = _row(levels, level, i + (corner & 1), j + (corner >> 1 & 1), k + (corner >> 2))
        total += weight[:, None] * tl.load(table + row[:, None] * F + feature, mask=valid[:, None], other=0.0)
    total = tl.where(valid[:, None], total, float("nan"))
    tl.store(out + (point * level_count + level)[:, None] * F + feature, total, mask=there[:, None])


@triton.jit
def grid_backward_table(
    x, levels, g_out, count, level_count, g_table,
    D: tl.constexpr, DIMS: tl.constexpr, F: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Adds to g_table [rows, F]."""
    level = tl.program_id(1).to(tl.int64)
    point = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    valid = _valid(x, point, point < count, DIMS)
    i, j, k, u, v, w = _locate(x, levels, level, point, valid, D, DIMS)
    feature = tl.arange(0, F)[None, :]
    g = tl.load(g_out + (point * level_count + level)[:, None] * F + feature, mask=valid[:, None], other=0.0)
    for corner in tl.static_range(1 << D):  # type: ignore[reportGeneralTypeIssues]
        weight = _along(corner & 1, u) * _along(corner >> 1 & 1, v) * _along(corner >> 2, w)
        row = _row(levels, level, i + (corner & 1), j + (corner >> 1 & 1), k + (corner >> 2))
        tl.atomic_add(g_table + row[:, None] * F + feature, weight[:, None] * g, mask=valid[:, None], sem="relaxed")


@triton.jit
def _sign(upper: tl.constexpr):
    """Derivative of the weight of the upper or lower node by the fraction."""
    return 2.0 * upper - 1.0


@triton.jit
def _to_axis(levels, level, slope, K: tl.constexpr, AXIS: tl.constexpr):
    """The derivative along axis K of a level, if that reads coordinate AXIS of the points, else 0."""
    scale = tl.load(levels + level * 9 + 3 + K).to(tl.float32) - 1.0
    return slope * tl.where(tl.load(levels + level * 9 + 6 + K) == AXIS, scale, 0.0)


@triton.jit
def _store_inside(x, g_x, point, there, g, K: tl.constexpr, DIMS: tl.constexpr):
    value = tl.load(x + point * DIMS + K, mask=there, other=0.0)
    tl.store(g_x + point * DIMS + K, tl.where((value >= 0.0) & (value <= 1.0), g, 0.0), mask=there)


@triton.jit
def grid_backward_x(
    x, table, levels, g_out, count, level_count, g_x,
    D: tl.constexpr, DIMS: tl.constexpr, F: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """g_x [count, DIMS]."""
    point = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    there = point < count
    valid = _valid(x, point, there, DIMS)
    feature = tl.arange(0, F)[None, :]
    gx = tl.zeros((BLOCK,), tl.float32)
    gy, gz = gx, gx
    for index in range(level_count):
        level = tl.cast(index, tl.int64)
        i, j, k, u, v, w = _locate(x, levels, level, point, valid, D, DIMS)
        g = tl.load(g_out + (point * level_count + level)[:, None] * F + feature, mask=valid[:, None], other=0.0)
        du = tl.zeros((BLOCK,), tl.float32)
        dv, dw = du, du
        for corner in tl.static_range(1 << D):  # type: ignore[reportGeneralTypeIssues]
            row = _row(levels, level, i + (corner & 1), j + (corner >> 1 & 1), k + (corner >> 2))
            values = tl.load(table + row[:, None] * F + feature, mask=valid[:, None], other=0.0)
            product = tl.sum(values * g, axis=1)
            a, b, c = _along(corner & 1, u), _along(corner >> 1 & 1, v), _along(corner >> 2, w)
            du += _sign(corner & 1) * b * c * product
            dv += a * _sign(corner >> 1 & 1) * c * product
            dw += a * b * _sign(corner >> 2) * product
        gx += _to_axis(levels, level, du, 0, 0) + _to_axis(levels, level, dv, 1, 0)
        gy += _to_axis(levels, level, du, 0, 1) + _to_axis(levels, level, dv, 1, 1)
        gz += _to_axis(levels, level, du, 0, 2) + _to_axis(levels, level, dv, 1, 2)
        if D == 3:
            gx += _to_axis(levels, level, dw, 2, 0)
            gy += _to_axis(levels, level, dw, 2, 1)
            gz += _to_axis(levels, level, dw, 2, 2)
    _store_inside(x, g_x, point, there, gx, 0, DIMS)
    _store_inside(x, g_x, point, there, gy, 1, DIMS)
    if DIMS == 3:
        _store_inside(x, g_x, point, there, gz, 2, DIMS)


class _Grid(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, table: Tensor, levels: tuple[Level, ...]) -> Tensor:
        x, table, described = x.contiguous(), table.contiguous(), describe(levels, x.device)
        count, features = len(levels), table.shape[1]
        ctx.constants = {"D": len(levels[0].axes), "DIMS": x.shape[1], "F": features, "BLOCK": BLOCK}
        out = torch.empty(len(x), count * features, device=x.device)
        blocks = ceil_div(len(x), BLOCK)
        launch(grid_forward, (blocks, count), x, table, described, len(x), count, out, **ctx.constants)
        ctx.save_for_backward(x, table, described)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        x, table, levels = ctx.saved_tensors
        g, blocks, count = gradients[0].contiguous(), ceil_div(len(x), BLOCK), len(levels)
        g_x = g_table = None
        if ctx.needs_input_grad[1]:
            g_table = torch.zeros_like(table)
            launch(grid_backward_table, (blocks, count), x, levels, g, len(x), count, g_table, **ctx.constants)
        if ctx.needs_input_grad[0]:
            g_x = torch.empty_like(x)
            launch(grid_backward_x, (blocks,), x, table, levels, g, len(x), count, g_x, **ctx.constants)
        return g_x, g_table, None


def grid(x: Tensor, table: Tensor, levels: tuple[Level, ...]) -> Tensor:
    """See `kernels.grid.grid`."""
    return _Grid.apply(x, table, levels)  # type: ignore[return-value]
