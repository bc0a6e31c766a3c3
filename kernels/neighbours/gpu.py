"""Nearest points by comparing all pairs in Triton.

Floor: N M pairs of 8 operations; for 88,000 x 88,000 that is 62 Gflop, a millisecond of an H200, and there is no tree
to build or to diverge on. Distances are sums of squared differences: the expanded form would lose the digits of what is
near. The k > 1 nearest are a list a query of which the worst is replaced; once it is full, few of a block enter it.
"""

# pyright: reportGeneralTypeIssues=false

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from kernels.launch import ceil_div, launch
from kernels.neighbours import Nearest


@triton.jit
def _squared(points, at, n, qx, qy, qz):
    """[QUERIES, POINTS] squared distances, infinite where a number is not finite or a point is none."""
    there = at < n
    x = tl.load(points + 3 * at, mask=there, other=float("inf"))
    y = tl.load(points + 3 * at + 1, mask=there, other=0.0)
    z = tl.load(points + 3 * at + 2, mask=there, other=0.0)
    dx, dy, dz = x[None, :] - qx[:, None], y[None, :] - qy[:, None], z[None, :] - qz[:, None]
    squared = dx * dx + dy * dy + dz * dz
    return tl.where(squared < float("inf"), squared, float("inf"))


@triton.jit
def nearest_kernel(
    points, queries, squared, indices, n, m, k, K: tl.constexpr, QUERIES: tl.constexpr, POINTS: tl.constexpr
):
    """QUERIES queries against all points, POINTS at a time; K: k rounded up to a power of two."""
    query = tl.program_id(0).to(tl.int64) * QUERIES + tl.arange(0, QUERIES)
    here = query < m
    qx = tl.load(queries + 3 * query, mask=here, other=float("nan"))
    qy = tl.load(queries + 3 * query + 1, mask=here, other=float("nan"))
    qz = tl.load(queries + 3 * query + 2, mask=here, other=float("nan"))
    if K == 1:
        # Every lane keeps the best of its own places; they are compared once, at the end.
        lane = tl.arange(0, POINTS)
        best = tl.full([QUERIES, POINTS], float("inf"), tl.float32)
        block = tl.full([QUERIES, POINTS], 0, tl.int32)
        for start in range(0, n, POINTS):
            values = _squared(points, start + lane, n, qx, qy, qz)
            closer = values < best
            block = tl.where(closer, start, block)
            best = tl.where(closer, values, best)
        value = tl.min(best, 1)
        index = tl.min(tl.where(best == value[:, None], block + lane[None, :], 2147483647), 1)
        tl.store(squared + query, value, mask=here)
        tl.store(indices + query, tl.where(value < float("inf"), index, -1).to(tl.int64), mask=here)
    else:
        slot = tl.arange(0, K)
        # Slots beyond k hold what nothing replaces.
        values = tl.where(slot[None, :] < k, float("inf"), -1.0) + tl.zeros([QUERIES, K], tl.float32)
        ids = tl.where(slot[None, :] < k, 2147483647, -1) + tl.zeros([QUERIES, K], tl.int32)
        for start in range(0, n, POINTS):
            at = start + tl.arange(0, POINTS)
            candidates = _squared(points, at, n, qx, qy, qz)
            worst = tl.max(values, 1)
            value, place = tl.min(candidates, 1, return_indices=True)
            while tl.max((value < worst).to(tl.int32), 0) > 0:
                enters = value < worst
                # Of equally bad ones the last in order of index goes.
                last = tl.max(tl.where(values == worst[:, None], ids, -2), 1)
                replaced = enters[:, None] & (values == worst[:, None]) & (ids == last[:, None])
                replaced &= tl.cumsum(replaced.to(tl.int32), 1) == 1
                values = tl.where(replaced, value[:, None], values)
                ids = tl.where(replaced, start + place[:, None], ids)
                candidates = tl.where(tl.arange(0, POINTS)[None, :] == place[:, None], float("inf"), candidates)
                worst = tl.max(values, 1)
                value, place = tl.min(candidates, 1, return_indices=True)
        values = tl.where(slot[None, :] < k, values, float("inf"))
        ids = tl.where(slot[None, :] < k, ids, 2147483647)
        for j in range(k):  # in order of distance, then of index
            value = tl.min(values, 1)
            index = tl.min(tl.where(values == value[:, None], ids, 2147483647), 1)
            tl.store(squared + query * k + j, value, mask=here)
            tl.store(indices + query * k + j, tl.where(value < float("inf"), index, -1).to(tl.int64), mask=here)
            taken = (values == value[:, None]) & (ids == index[:, None])
            values = tl.where(taken, float("inf"), values)
            ids = tl.where(taken, 2147483647, ids)


def nearest(points: Tensor, queries: Tensor, k: int) -> Nearest:
    """See `kernels.neighbours.nearest`."""
    m, slots = len(queries), 1
    while slots < k:
        slots *= 2
    squared = torch.empty(m, k, device=queries.device)
    indices = torch.empty(m, k, dtype=torch.int64, device=queries.device)
    wide = {"QUERIES": 64 if k == 1 else 32, "POINTS": 32}
    launch(
        nearest_kernel, (ceil_div(m, wide["QUERIES"]),), points.contiguous(), queries.contiguous(), squared, indices,
        len(points), m, k, K=slots, **wide,
    )  # fmt: skip
    return Nearest(squared, indices)
