"""Tile lists in Triton and torch's radix sorts: depth order first, instances in that order, a stable sort by tile.

Sorting the Gaussians by depth and the instances by a 16-bit tile id moves less than half of what one sort by a 64-bit
key does. An instance finds its Gaussian by binary search in the running count, so that a splat over the whole picture
is spread over as many lanes as it has tiles. Host synchronisation: one, to learn the number of instances.

Floor for N Gaussians and M instances: 32 N bytes of attributes, 96 N for four radix passes by depth, 4 M + 4 M for the
lists, and 56 M for two passes over 16-bit keys with the 64-bit positions that torch.sort gives.

The spans of a row are computed when counting and again when emitting, and must agree to the last bit. Therefore no sum
takes a product but by an explicit `tl.fma`: the compiler has nothing to contract in one kernel and not in the other.
"""

# Triton's functions are not what their annotations say: the type checker sees neither tuples nor constants.
# pyright: reportGeneralTypeIssues=false

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from kernels.launch import ceil_div, launch
from kernels.project import Projected
from kernels.tile import TILE, Tiles

LANES = 128
MARGIN = tl.constexpr(0.01)
"""Pixels, against rounding."""


@triton.jit
def load_ellipse(centres, factors, extents, g, inside):
    """(x, y), (a00, a10, a11), (half-width, half-height) of Gaussians `g`."""
    centre = tl.load(centres + 2 * g, mask=inside, other=0.0), tl.load(centres + 2 * g + 1, mask=inside, other=0.0)
    extent = tl.load(extents + 2 * g, mask=inside, other=0.0), tl.load(extents + 2 * g + 1, mask=inside, other=0.0)
    # Culled Gaussians have no factor: ones keep the divisions harmless.
    a00 = tl.load(factors + 3 * g, mask=inside & (extent[0] > 0), other=1.0)
    a10 = tl.load(factors + 3 * g + 1, mask=inside & (extent[0] > 0), other=0.0)
    a11 = tl.load(factors + 3 * g + 2, mask=inside & (extent[0] > 0), other=1.0)
    return centre, (a00, a10, a11), extent


@triton.jit
def tiles_between(low, high, count, TILE: tl.constexpr):
    """First and last of `count` tiles whose pixel centres may lie in [low, high]; last < first when there is none."""
    first = tl.floor(tl.ceil(low - 0.5) * (1.0 / TILE))
    last = tl.floor(tl.floor(high - 0.5) * (1.0 / TILE))
    first = tl.minimum(tl.maximum(first, 0.0), count * 1.0)
    last = tl.minimum(tl.maximum(last, -1.0), count - 1.0)
    return first.to(tl.int32), last.to(tl.int32)


@triton.jit
def row_range(centre, extent, rows, TILE: tl.constexpr):
    """First and last row of tiles that the box touches; an empty range for culled Gaussians."""
    first, last = tiles_between(centre[1] - extent[1] - MARGIN, centre[1] + extent[1] + MARGIN, rows, TILE)
    return first, tl.where(extent[0] > 0, last, -1)


@triton.jit
def edge(y, tau, norm2, flat, lean, sign: tl.constexpr):
    """Where the ellipse |A d|^2 = tau ends to the right (sign 1) or left (-1) at height `y` from its centre."""
    inside = tl.maximum(tl.fma(-(flat * y), flat * y, tau * norm2), 0.0)
    return tl.fma(-lean, y, sign * tl.sqrt_rn(inside)) / norm2


@triton.jit
def row_span(row, centre, factor, extent, columns, TILE: tl.constexpr):
    """First column and number of the tiles in `row` where the ellipse of alpha = 1/255 may cover a pixel centre.

    Inside a strip of rows the ellipse reaches furthest right at the height of its rightmost point, or at the nearest
    edge of the strip: two evaluations bound the run of tiles.
    """
    a00, a10, a11 = factor
    hx, hy = extent
    reach = hx * a00
    tau = reach * reach
    norm2, lean, flat = tl.fma(a00, a00, a10 * a10), a10 * a11, a00 * a11
    rightmost = -a10 * hx / a11
    top = (row * TILE).to(tl.float32) + 0.5 - centre[1]
    y0, y1 = tl.maximum(top - MARGIN, -hy), tl.minimum(top + (TILE - 1.0) + MARGIN, hy)
    right = tl.minimum(hx, edge(tl.minimum(tl.maximum(rightmost, y0), y1), tau, norm2, flat, lean, 1))
    left = tl.maximum(-hx, edge(tl.minimum(tl.maximum(-rightmost, y0), y1), tau, norm2, flat, lean, -1))
    # A needle's edges lose digits in proportion to its length.
    margin = tl.fma(hx + hy, 1e-4, MARGIN)
    low = centre[0] + tl.maximum(left - margin, -hx - MARGIN)
    high = centre[0] + tl.minimum(right + margin, hx + MARGIN)
    first, last = tiles_between(low, high, columns, TILE)
    return first, tl.where(y0 <= y1, tl.maximum(last - first + 1, 0), 0)


@triton.jit
def count_kernel(centres, factors, extents, counts, n, columns, rows, TILE: tl.constexpr, LANES: tl.constexpr):
    """Tiles of each Gaussian: a lane walks over the rows of tiles of its own."""
    g = tl.program_id(0).to(tl.int64) * LANES + tl.arange(0, LANES)
    inside = g < n
    centre, factor, extent = load_ellipse(centres, factors, extents, g, inside)
    row, last = row_range(centre, extent, rows, TILE)
    total = tl.zeros([LANES], tl.int64)
    left = tl.max(last - row, axis=0)
    while left >= 0:
        _, count = row_span(row, centre, factor, extent, columns, TILE)
        total += tl.where(row <= last, count, 0)
        row += 1
        left -= 1
    tl.store(counts + g, total, mask=inside)


@triton.jit
def emit_kernel(
    centres, factors, extents, order, ends, slot_starts, keys, gaussians, slots, n, total, columns, rows,
    TILE: tl.constexpr, LANES: tl.constexpr,
):  # fmt: skip
    """Instance s, in depth order: its tile, its Gaussian, and its place among the instances by Gaussian."""
    s = tl.program_id(0).to(tl.int64) * LANES + tl.arange(0, LANES)
    inside = s < total
    # The first rank whose running count exceeds s.
    low = tl.zeros([LANES], tl.int64)
    high = low + n - 1
    while tl.max(high - low, axis=0) > 0:
        middle = (low + high) // 2
        beyond = (tl.load(ends + middle, mask=inside, other=0) > s) | (low == high)
        low, high = tl.where(beyond, low, middle + 1), tl.where(beyond, middle, high)
    g = tl.load(order + low, mask=inside, other=0)
    before = tl.load(ends + low - 1, mask=inside & (low > 0), other=0)
    k = tl.where(inside, s - before, 0)
    tl.store(gaussians + s, g.to(tl.int32), mask=inside)
    tl.store(slots + s, (tl.load(slot_starts + g, mask=inside, other=0) + k).to(tl.int32), mask=inside)

    centre, factor, extent = load_ellipse(centres, factors, extents, g, inside)
    row, last = row_range(centre, extent, rows, TILE)
    first, count = row_span(row, centre, factor, extent, columns, TILE)
    further = inside & (k >= count) & (row < last)
    while tl.max(further.to(tl.int32), axis=0) > 0:
        k, row = tl.where(further, k - count, k), tl.where(further, row + 1, row)
        first, count = row_span(row, centre, factor, extent, columns, TILE)
        further = inside & (k >= count) & (row < last)
    tl.store(keys + s, (row * columns + first + k).to(keys.dtype.element_ty), mask=inside)


@triton.jit
def arrange_kernel(permutation, emitted, emitted_slots, gaussians, slots, total, LANES: tl.constexpr):
    """The Gaussian at each place of the sorted lists, and the place of each instance by Gaussian."""
    p = tl.program_id(0).to(tl.int64) * LANES + tl.arange(0, LANES)
    inside = p < total
    s = tl.load(permutation + p, mask=inside, other=0)
    tl.store(gaussians + p, tl.load(emitted + s, mask=inside, other=0), mask=inside)
    slot = tl.load(emitted_slots + s, mask=inside, other=0).to(tl.int64)
    tl.store(slots + slot, p.to(tl.int32), mask=inside)


def from_zero(counts: Tensor) -> Tensor:
    """[N + 1] running sums of [N] counts, beginning with 0."""
    return torch.cat([counts.new_zeros(1), counts.cumsum(dim=0)])


@torch.no_grad()
def tile(projected: Projected, width: int, height: int) -> Tiles:
    """See `kernels.tile.tile`. Waits once for the device, to learn how many instances there are."""
    centres, factors, depths, _, extents = (p.detach().contiguous() for p in projected)
    n, columns, rows = len(centres), ceil_div(width, TILE), ceil_div(height, TILE)
    counts = torch.empty(n, dtype=torch.int64, device=centres.device)
    launch(
        count_kernel, (ceil_div(n, LANES),), centres, factors, extents, counts, n, columns, rows, TILE=TILE, LANES=LANES
    )
    slot_starts = from_zero(counts)
    # Culled Gaussians go last; they have no tiles.
    order = torch.sort(torch.where(extents[:, 0] > 0, depths, torch.inf), stable=True).indices
    ends = counts[order].cumsum(dim=0)
    total = int(slot_starts[-1])
    if total >= 2**31:
        raise OverflowError(
            f"{total} Gaussian-tile pairs exceed 2^31 - 1: use fewer or smaller Gaussians or a smaller picture"
        )
    keys = centres.new_empty(total, dtype=torch.int16 if columns * rows <= 32767 else torch.int32)
    emitted, emitted_slots, gaussians, slots = (centres.new_empty(total, dtype=torch.int32) for _ in range(4))
    blocks = (ceil_div(total, LANES),)
    launch(
        emit_kernel, blocks, centres, factors, extents, order, ends, slot_starts, keys, emitted, emitted_slots, n,
        total, columns, rows, TILE=TILE, LANES=LANES,
    )  # fmt: skip
    keys, permutation = torch.sort(keys, stable=True)
    launch(arrange_kernel, blocks, permutation, emitted, emitted_slots, gaussians, slots, total, LANES=LANES)
    starts = torch.searchsorted(keys, torch.arange(columns * rows + 1, dtype=keys.dtype, device=keys.device))
    return Tiles(gaussians, starts, slots, slot_starts)
