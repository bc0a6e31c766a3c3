"""The rows that `gpu_kernels` writes for every instance, summed per Gaussian in the order of its slots."""

# pyright: reportGeneralTypeIssues=false

from __future__ import annotations

import triton
import triton.language as tl

from kernels.blend.gpu_kernels import PARTS, ROW


@triton.jit
def sum_geometry(
    geometry,
    factors,
    opacities,
    slots,
    slot_starts,
    n,
    g_centres,
    g_factors,
    g_opacities,
    absolute,
    G: tl.constexpr,
    J: tl.constexpr,
):
    """Gradients of G Gaussians from the geometry rows of their instances, J at a time in the order of their slots.

    absolute: [N, 2], added to, or None.
    """
    gaussian = tl.program_id(0).to(tl.int64) * G + tl.arange(0, G)
    there = gaussian < n
    first = tl.load(slot_starts + gaussian, mask=there, other=0)
    count = tl.load(slot_starts + gaussian + 1, mask=there, other=0) - first
    e = tl.zeros([G], tl.float32)
    e_dx, e_r1, e_dx_dx, e_r1_dx, e_r1_dy = e, e, e, e, e
    abs_x, abs_y = e, e
    most = tl.max(count, 0)
    for j in range(0, most * PARTS, J):
        k = j + tl.arange(0, J)[None, :]
        mask = k < count[:, None] * PARTS
        slot = tl.load(slots + first[:, None] + k // PARTS, mask=mask, other=0).to(tl.int64)
        row = geometry + ROW * (slot * PARTS + k % PARTS)
        e += tl.sum(tl.load(row, mask=mask, other=0.0), 1)
        e_dx += tl.sum(tl.load(row + 1, mask=mask, other=0.0), 1)
        e_r1 += tl.sum(tl.load(row + 2, mask=mask, other=0.0), 1)
        e_dx_dx += tl.sum(tl.load(row + 3, mask=mask, other=0.0), 1)
        e_r1_dx += tl.sum(tl.load(row + 4, mask=mask, other=0.0), 1)
        e_r1_dy += tl.sum(tl.load(row + 5, mask=mask, other=0.0), 1)
        if absolute is not None:
            abs_x += tl.sum(tl.load(row + 6, mask=mask, other=0.0), 1)
            abs_y += tl.sum(tl.load(row + 7, mask=mask, other=0.0), 1)
    a00, a10 = tl.load(factors + 3 * gaussian, mask=there), tl.load(factors + 3 * gaussian + 1, mask=there)
    a11 = tl.load(factors + 3 * gaussian + 2, mask=there)
    opacity = tl.load(opacities + gaussian, mask=there, other=1.0)
    # An opacity of 0 never shows, so that e is 0 as well.
    tl.store(g_opacities + gaussian, e / tl.where(opacity > 0, opacity, 1.0), mask=there)
    tl.store(g_centres + 2 * gaussian, a00 * a00 * e_dx + a10 * e_r1, mask=there)
    tl.store(g_centres + 2 * gaussian + 1, a11 * e_r1, mask=there)
    tl.store(g_factors + 3 * gaussian, -a00 * e_dx_dx, mask=there)
    tl.store(g_factors + 3 * gaussian + 1, -e_r1_dx, mask=there)
    tl.store(g_factors + 3 * gaussian + 2, -e_r1_dy, mask=there)
    if absolute is not None:
        tl.store(absolute + 2 * gaussian, tl.load(absolute + 2 * gaussian, mask=there) + abs_x, mask=there)
        tl.store(absolute + 2 * gaussian + 1, tl.load(absolute + 2 * gaussian + 1, mask=there) + abs_y, mask=there)


@triton.jit
def sum_rows(
    rows,
    slots,
    slot_starts,
    n,
    channels,
    sums,
    G: tl.constexpr,
    J: tl.constexpr,
    CHANNELS: tl.constexpr,
):
    """sums [N, channels] = the sum of the instance rows [M, channels] of each Gaussian, in the order of its slots."""
    gaussian = tl.program_id(0).to(tl.int64) * G + tl.arange(0, G)
    there = gaussian < n
    channel = tl.arange(0, CHANNELS)
    first = tl.load(slot_starts + gaussian, mask=there, other=0)
    count = tl.load(slot_starts + gaussian + 1, mask=there, other=0) - first
    mask = there[:, None] & (channel[None, :] < channels)
    total = tl.zeros([G, CHANNELS], tl.float32)
    most = tl.max(count, 0)
    for j in range(0, most * PARTS, J):
        k = j + tl.arange(0, J)[None, :]
        valid = k < count[:, None] * PARTS
        slot = tl.load(slots + first[:, None] + k // PARTS, mask=valid, other=0).to(tl.int64)
        row = rows + (slot * PARTS + k % PARTS)[:, :, None] * channels + channel[None, None, :]
        total += tl.sum(tl.load(row, mask=valid[:, :, None] & (channel < channels)[None, None, :], other=0.0), 1)
    tl.store(sums + gaussian[:, None] * channels + channel[None, :], total, mask=mask)
