"""The Triton functions of blending: forward and backward.

One program composites half a 16x16 tile (and one block of channels) in chunks of B splats, on arrays [B, PIXELS]: whole
tiles would need more registers than there are. Products and sums along the list stay within a warp.

The exponent is written out, -|A d|^2 / 2 with d the offset of the pixel from the splat, as the reference has it. What
depends on the column or the row alone is shared between the pixels of a thread, which leaves about four instructions a
pair. As one product of six monomials of the pixel's position with six numbers of the splat (which tensor cores could
do) it would cost as much, since only three passes of TF32 keep float32, and lose accuracy: |v|^2 / 2, v = A times the
splat's position in the tile, cancels, and is up to 250 for splats in the list, without bound for those listed by box.
"""

# pyright: reportGeneralTypeIssues=false

from __future__ import annotations

import triton
import triton.language as tl

TILE = tl.constexpr(16)
PIXELS = tl.constexpr(128)
PARTS = tl.constexpr(2)
"""Programs a tile, of PIXELS each: half a tile leaves registers enough for the backward pass."""
WARPS = tl.constexpr(8)
ALPHA_MIN = tl.constexpr(1 / 255)
ALPHA_MAX = tl.constexpr(0.9900000095367432)
TRANSMITTANCE_MIN = tl.constexpr(1e-4)
HALF_LOG2_E = tl.constexpr(0.7213475204444817)
RECORD = tl.constexpr(8)
"""Floats of an instance's record: centre, factor, opacity; two are unused, so that a record is one sector."""
ROW = tl.constexpr(8)
"""Floats of an instance's geometry row; with e the gradient of the exponent and r = A d, sums over the tile's pixels of
e, e dx, e r1, e dx^2, e r1 dx, e r1 dy, |d loss / d centre x|, |d loss / d centre y|."""


@triton.jit
def products(factors, B: tl.constexpr):
    """Products of factors [B, P] along the list: of those before each, and of those up to each.

    One scan over (1, factor, 1, factor ...) gives both; multiplications by the constant 1 are folded away.
    """
    pairs = tl.join(tl.full([B, PIXELS], 1.0, tl.float32), factors)
    scanned = tl.cumprod(tl.reshape(tl.permute(pairs, (0, 2, 1)), (2 * B, PIXELS)), 0)
    return tl.split(tl.permute(tl.reshape(scanned, (B, 2, PIXELS)), (0, 2, 1)))


@triton.jit
def sums_behind(terms, B: tl.constexpr):
    """Sums of terms [B, P] along the list: from each on, and of those behind each; without subtracting."""
    pairs = tl.join(terms, tl.full([B, PIXELS], 0.0, tl.float32))
    scanned = tl.cumsum(tl.reshape(tl.permute(pairs, (0, 2, 1)), (2 * B, PIXELS)), 0, reverse=True)
    return tl.split(tl.permute(tl.reshape(scanned, (B, 2, PIXELS)), (0, 2, 1)))


@triton.jit
def gather_records(centres, factors, opacities, gaussians, m, records, BLOCK: tl.constexpr):
    """records [M, RECORD]: x, y, a00, a10, a11, opacity of the Gaussian of each instance, in the order of the lists.

    Read once at random here, they are read in order and at constant offsets by every pass over the lists.
    """
    i = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    valid = i < m
    g = tl.load(gaussians + i, mask=valid, other=0).to(tl.int64)
    row = records + i * RECORD
    for k in tl.static_range(2):
        tl.store(row + k, tl.load(centres + 2 * g + k, mask=valid), mask=valid)
    for k in tl.static_range(3):
        tl.store(row + 2 + k, tl.load(factors + 3 * g + k, mask=valid), mask=valid)
    tl.store(row + 5, tl.load(opacities + g, mask=valid), mask=valid)


@triton.jit
def offsets(row, x, y):
    """Of a chunk's records at all pixels: dy, r = A d (two), all [B, P], and A (three [B, 1]).

    Reads beyond the list, in the next tile's records or the buffer's tail, are masked by the opacity.
    """
    dx, dy = x[None, :] - tl.load(row)[:, None], y[None, :] - tl.load(row + 1)[:, None]
    a00, a10, a11 = tl.load(row + 2)[:, None], tl.load(row + 3)[:, None], tl.load(row + 4)[:, None]
    return dy, a00 * dx, a10 * dx + a11 * dy, a00, a10, a11


@triton.jit
def over_pixels(pairs, of_pixels, B: tl.constexpr, CHANNELS: tl.constexpr):
    """[B, P] times [P, CHANNELS]: every warp multiplies its own 32 pixels, then the products are added."""
    left = tl.permute(tl.reshape(pairs, (B, WARPS, PIXELS // WARPS)), (1, 0, 2))
    return tl.sum(tl.dot(left, tl.reshape(of_pixels, (WARPS, PIXELS // WARPS, CHANNELS)), input_precision="tf32x3"), 0)


@triton.jit
def over_rows(pairs, B: tl.constexpr):
    """[B, 16] sums over the rows of the tile of [B, P]: a product with ones where the column is right, 0 elsewhere."""
    ones = tl.where(tl.arange(0, PIXELS)[:, None] % TILE == tl.arange(0, 16)[None, :], 1.0, 0.0)
    return over_pixels(pairs, ones, B, 16)


@triton.jit
def code_features(indices, values, g, valid, channel, B: tl.constexpr, CHANNELS: tl.constexpr, CODES: tl.constexpr):
    """The [B, CHANNELS] dense features that the codes of a chunk stand for; equal indices add up."""
    dense = tl.zeros([B, CHANNELS], tl.float32)
    for k in tl.static_range(CODES):
        index = tl.load(indices + g * CODES + k, mask=valid, other=0).to(tl.int32)
        value = tl.load(values + g * CODES + k, mask=valid, other=0.0)
        dense += tl.where(index[:, None] == channel[None, :], value[:, None], 0.0)
    return dense


@triton.jit
def blend_forward(
    records,
    features,
    indices,
    background,
    gaussians,
    starts,
    width,
    height,
    columns,
    channels,
    blocks,
    image,
    alphas,
    finals,
    stops,
    medians,
    B: tl.constexpr,
    CHANNELS: tl.constexpr,
    CODES: tl.constexpr,
    MEDIAN: tl.constexpr,
):
    """One tile and one block of CHANNELS channels.

    features: [N, channels], or where CODES > 0 the values [N, CODES] of codes with `indices`. finals: [H, W] final
    transmittance, stops: [H, W] how many splats of the tile's list a pixel has passed before it stopped.
    """
    half, block = tl.program_id(0).to(tl.int64) // blocks, tl.program_id(0) % blocks
    tile, part = half // PARTS, half % PARTS
    p = tl.arange(0, PIXELS)
    column, row = (tile % columns) * TILE + p % TILE, (tile // columns) * TILE + part * (PIXELS // TILE) + p // TILE
    x, y = column.to(tl.float32) + 0.5, row.to(tl.float32) + 0.5
    inside = (column < width) & (row < height)
    channel = block * CHANNELS + tl.arange(0, CHANNELS)
    begin, end = tl.load(starts + tile), tl.load(starts + tile + 1)

    # `running` is the transmittance of a pixel that goes on, 0 once it has stopped; `final` is kept then.
    running = tl.where(inside, 1.0, 0.0)
    final = tl.full([PIXELS], 1.0, tl.float32)
    stop = tl.zeros([PIXELS], tl.int32)
    median = tl.full([PIXELS], -1, tl.int64)
    colour = tl.zeros([PIXELS, CHANNELS], tl.float32)
    at, alive = begin, tl.max(running, 0)
    while (at < end) & (alive > 0):
        i = at + tl.arange(0, B)
        valid = i < end
        g = tl.load(gaussians + i, mask=valid, other=0).to(tl.int64)
        row_of = records + i * RECORD
        _, r0, r1, _, _, _ = offsets(row_of, x, y)
        opacity = tl.where(valid, tl.load(row_of + 5), 0.0)[:, None]
        alpha = tl.minimum(opacity * tl.exp2((r0 * r0 + r1 * r1) * -HALF_LOG2_E), ALPHA_MAX)
        alpha = tl.where(alpha >= ALPHA_MIN, alpha, 0.0)
        before, after = products(1 - alpha, B)
        before, after = before * running[None, :], after * running[None, :]
        keep = after >= TRANSMITTANCE_MIN
        weight = tl.where(keep, alpha * before, 0.0)
        if CODES > 0:
            v = code_features(indices, features, g, valid, channel, B, CHANNELS, CODES)
        else:
            there = valid[:, None] & (channel[None, :] < channels)
            v = tl.load(features + g[:, None] * channels + channel[None, :], mask=there, other=0.0)
        colour = tl.dot(tl.trans(weight), v, colour, input_precision="tf32x3")
        if MEDIAN:
            first = tl.sum((after > 0.5).to(tl.int32), 0)
        final = tl.minimum(final, tl.min(tl.where(keep, after, 1.0), 0))
        if MEDIAN:
            median = tl.where((median < 0) & (final <= 0.5), at + first, median)
        stop += tl.sum(keep.to(tl.int32), 0)
        last = tl.min(after, 0)
        running = tl.where(last >= TRANSMITTANCE_MIN, last, 0.0)
        alive = tl.max(running, 0)
        at += B

    pixel = row * width + column
    if background is not None:
        shown = tl.load(background + channel, mask=channel < channels, other=0.0)
        colour += final[:, None] * shown[None, :]
    target = image + pixel[:, None] * channels + channel[None, :]
    tl.store(target, colour, mask=inside[:, None] & (channel[None, :] < channels))
    if block == 0:
        tl.store(alphas + pixel, 1 - final, mask=inside)
        tl.store(finals + pixel, final, mask=inside)
        tl.store(stops + pixel, stop, mask=inside)
        if MEDIAN:
            found = tl.load(gaussians + median, mask=inside & (median >= 0), other=-1)
            tl.store(medians + pixel, found, mask=inside)


@triton.jit
def store_geometry(
    geometry,
    i,
    valid,
    row_of,
    tile_x,
    g_exponent,
    r0,
    r1,
    dy,
    a00,
    a10,
    a11,
    B: tl.constexpr,
    ABSOLUTE: tl.constexpr,
):
    """Rows i [B] of `geometry`: sums over rows of pixels first, and then over columns with what depends on dx.

    All offsets are from the splat's own centre, so that sums stay as small as they can be.
    """
    dx = tile_x + 0.5 + tl.arange(0, 16)[None, :] - tl.load(row_of)[:, None]
    along = g_exponent * r1
    e, e_r1 = over_rows(g_exponent, B), over_rows(along, B)
    row = geometry + i * ROW
    tl.store(row, tl.sum(e, 1), mask=valid)
    tl.store(row + 1, tl.sum(e * dx, 1), mask=valid)
    tl.store(row + 2, tl.sum(e_r1, 1), mask=valid)
    tl.store(row + 3, tl.sum(e * dx * dx, 1), mask=valid)
    tl.store(row + 4, tl.sum(e_r1 * dx, 1), mask=valid)
    tl.store(row + 5, tl.sum(over_rows(along * dy, B), 1), mask=valid)
    if ABSOLUTE:
        tl.store(row + 6, tl.sum(over_rows(tl.abs(g_exponent * r0 * a00 + along * a10), B), 1), mask=valid)
        tl.store(row + 7, tl.sum(over_rows(tl.abs(along * a11), B), 1), mask=valid)


@triton.jit
def blend_backward(  # noqa: C901 (every branch but the loops is a choice at compile time)
    records,
    features,
    indices,
    background,
    gaussians,
    starts,
    width,
    height,
    columns,
    channels,
    g_image,
    g_alphas,
    finals,
    stops,
    geometry,
    rows,
    g_features,
    g_backgrounds,
    B: tl.constexpr,
    CHANNELS: tl.constexpr,
    CODES: tl.constexpr,
    GEOMETRY: tl.constexpr,
    ABSOLUTE: tl.constexpr,
    ATOMIC: tl.constexpr,
):
    """One tile, back to front, so that what lies behind a splat is a growing sum.

    geometry: [M, ROW], rows: [M, channels] (or [M, CODES]), one row an instance, zero where this kernel writes nothing;
    with ATOMIC the features' gradients are added to g_features [N, channels] instead. g_backgrounds: [tiles, channels].
    """
    tile, part = tl.program_id(0).to(tl.int64) // PARTS, tl.program_id(0).to(tl.int64) % PARTS
    p = tl.arange(0, PIXELS)
    column, row = (tile % columns) * TILE + p % TILE, (tile // columns) * TILE + part * (PIXELS // TILE) + p // TILE
    x, y = column.to(tl.float32) + 0.5, row.to(tl.float32) + 0.5
    inside = (column < width) & (row < height)
    pixel = row * width + column
    begin, end = tl.load(starts + tile), tl.load(starts + tile + 1)
    transmittance = tl.load(finals + pixel, mask=inside, other=1.0)
    stop = tl.load(stops + pixel, mask=inside, other=0)
    behind = -tl.load(g_alphas + pixel, mask=inside, other=0.0)
    if background is not None:
        for first in range(0, channels, CHANNELS):
            channel = first + tl.arange(0, CHANNELS)
            known = channel[None, :] < channels
            incoming = tl.load(
                g_image + pixel[:, None] * channels + channel[None, :], mask=inside[:, None] & known, other=0.0
            )
            shown = tl.load(background + channel, mask=channel < channels, other=0.0)
            behind += tl.sum(incoming * shown[None, :], 1)
            share = tl.sum(incoming * transmittance[:, None], 0)
            tl.store(g_backgrounds + (tile * PARTS + part) * channels + channel, share, mask=channel < channels)
    behind *= transmittance

    at = (tl.minimum(tl.max(stop, 0).to(tl.int64), end - begin) + B - 1) // B * B - B
    while at >= 0:
        position = at + tl.arange(0, B)
        i = begin + position
        valid = i < end
        g = tl.load(gaussians + i, mask=valid, other=0).to(tl.int64)
        row_of = records + i * RECORD
        dy, r0, r1, a00, a10, a11 = offsets(row_of, x, y)
        opacity = tl.where(valid, tl.load(row_of + 5), 0.0)[:, None]
        alpha = tl.minimum(opacity * tl.exp2((r0 * r0 + r1 * r1) * -HALF_LOG2_E), ALPHA_MAX)
        alpha = tl.where((alpha >= ALPHA_MIN) & (position[:, None] < stop[None, :]), alpha, 0.0)
        before, after = products(1 - alpha, B)
        transmittance = transmittance / tl.min(after, 0)
        before = before * transmittance[None, :]
        weight = alpha * before

        earned = tl.zeros([B, PIXELS], tl.float32)
        for first in range(0, channels, CHANNELS):
            channel = first + tl.arange(0, CHANNELS)
            known = channel[None, :] < channels
            incoming = tl.load(
                g_image + pixel[:, None] * channels + channel[None, :], mask=inside[:, None] & known, other=0.0
            )
            if GEOMETRY:
                if CODES > 0:
                    v = code_features(indices, features, g, valid, channel, B, CHANNELS, CODES)
                else:
                    there = valid[:, None] & known
                    v = tl.load(features + g[:, None] * channels + channel[None, :], mask=there, other=0.0)
                earned = tl.dot(v, tl.trans(incoming), earned, input_precision="tf32x3")
            share = over_pixels(weight, incoming, B, CHANNELS)
            if CODES > 0:
                for k in tl.static_range(CODES):
                    index = tl.load(indices + g * CODES + k, mask=valid, other=-1).to(tl.int32)
                    mine = tl.sum(tl.where(index[:, None] == channel[None, :], share, 0.0), 1)
                    here = valid & (index >= first) & (index < first + CHANNELS)
                    tl.store(rows + (i * PARTS + part) * CODES + k, mine, mask=here)
            elif ATOMIC:
                tl.atomic_add(
                    g_features + g[:, None] * channels + channel[None, :],
                    share,
                    mask=valid[:, None] & known,
                    sem="relaxed",
                )
            else:
                tl.store(
                    rows + (i * PARTS + part)[:, None] * channels + channel[None, :], share, mask=valid[:, None] & known
                )

        if GEOMETRY:
            from_here, past = sums_behind(weight * earned, B)
            g_alpha = before * earned - (past + behind[None, :]) / (1 - alpha)
            behind += tl.sum(tl.where(position[:, None] == at, from_here, 0.0), 0)
            g_exponent = tl.where(alpha < ALPHA_MAX, alpha * g_alpha, 0.0)
            tile_x = ((tile % columns) * TILE).to(tl.float32)
            store_geometry(
                geometry, i * PARTS + part, valid, row_of, tile_x, g_exponent, r0, r1, dy, a00, a10, a11, B, ABSOLUTE
            )
        at -= B
