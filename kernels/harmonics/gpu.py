"""Spherical harmonics in Triton, forward and backward: one lane a row.

Memory rules: at degree 3 a row is 204 bytes in and 12 out forward (a floor of 0.07 ms a million rows at 3 TB/s), 228 in
and 204 out backward, against about 200 and 700 operations. A lane walks along its own row, so one load of a warp
touches 32 cache lines that its next loads find in L1: the limit is L1's rate, about a third of the memory's. Spreading
a row over lanes instead costs every lane the whole basis, and comes out level.
"""

# Triton's functions are not what their annotations say: the type checker sees neither tuples nor constants.
# pyright: reportGeneralTypeIssues=false, reportAssignmentType=false

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from kernels.launch import ceil_div, launch

ROWS = 128
"""Rows a program, one a thread."""
C0 = tl.constexpr(0.28209479177387814)


@triton.jit
def first_band(b: tl.constexpr, x, y, z):
    """Value and derivatives by x, y, z (taken as independent) of basis function `b` of band 1, counted from 0."""
    none, one = x * 0, x * 0 + 0.4886025119029199
    if b == 0:
        return -one * y, none, -one, none
    elif b == 1:
        return one * z, none, none, one
    else:
        return -one * x, -one, none, none


@triton.jit
def second_band(b: tl.constexpr, x, y, z):
    """As `first_band`, for band 2."""
    m: tl.constexpr = 1.0925484305920792
    n: tl.constexpr = 0.31539156525252005
    o: tl.constexpr = 0.5462742152960396
    xx, yy, zz, none = x * x, y * y, z * z, x * 0
    if b == 0:
        return m * x * y, m * y, m * x, none
    elif b == 1:
        return -m * y * z, none, -m * z, -m * y
    elif b == 2:
        return n * (2 * zz - xx - yy), -2 * n * x, -2 * n * y, 4 * n * z
    elif b == 3:
        return -m * x * z, -m * z, none, -m * x
    else:
        return o * (xx - yy), 2 * o * x, -2 * o * y, none


@triton.jit
def third_band(b: tl.constexpr, x, y, z):
    """As `first_band`, for band 3."""
    d: tl.constexpr = 0.5900435899266435
    e: tl.constexpr = 2.890611442640554
    f: tl.constexpr = 0.4570457994644658
    g: tl.constexpr = 0.3731763325901154
    h: tl.constexpr = 1.445305721320277
    xx, yy, zz, none = x * x, y * y, z * z, x * 0
    if b == 0:
        return -d * y * (3 * xx - yy), -6 * d * x * y, -3 * d * (xx - yy), none
    elif b == 1:
        return e * x * y * z, e * y * z, e * x * z, e * x * y
    elif b == 2:
        return -f * y * (4 * zz - xx - yy), 2 * f * x * y, -f * (4 * zz - xx - 3 * yy), -8 * f * y * z
    elif b == 3:
        value, across = g * z * (2 * zz - 3 * xx - 3 * yy), -6 * g * z
        return value, across * x, across * y, g * (6 * zz - 3 * xx - 3 * yy)
    elif b == 4:
        return -f * x * (4 * zz - xx - yy), -f * (4 * zz - 3 * xx - yy), 2 * f * x * y, -8 * f * x * z
    elif b == 5:
        return h * z * (xx - yy), 2 * h * x * z, -2 * h * y * z, h * (xx - yy)
    else:
        return -d * x * (xx - 3 * yy), -3 * d * (xx - yy), 6 * d * x * y, none


@triton.jit
def fourth_band(b: tl.constexpr, x, y, z):
    """As `first_band`, for band 4."""
    p: tl.constexpr = 2.5033429417967046
    q: tl.constexpr = 1.7701307697799304
    r: tl.constexpr = 0.9461746957575601
    s: tl.constexpr = 0.6690465435572892
    t: tl.constexpr = 0.10578554691520431
    u: tl.constexpr = 0.47308734787878004
    w: tl.constexpr = 0.6258357354491761
    xx, yy, zz, none = x * x, y * y, z * z, x * 0
    one, three = 7 * zz - 1, 7 * zz - 3
    if b == 0:
        return p * x * y * (xx - yy), p * y * (3 * xx - yy), p * x * (xx - 3 * yy), none
    elif b == 1:
        edge = -q * y * (3 * xx - yy)
        return edge * z, -6 * q * x * y * z, -3 * q * z * (xx - yy), edge
    elif b == 2:
        return r * x * y * one, r * y * one, r * x * one, 14 * r * x * y * z
    elif b == 3:
        return -s * y * z * three, none, -s * z * three, -s * y * (21 * zz - 3)
    elif b == 4:
        return t * (zz * (35 * zz - 30) + 3), none, none, t * z * (140 * zz - 60)
    elif b == 5:
        return -s * x * z * three, -s * z * three, none, -s * x * (21 * zz - 3)
    elif b == 6:
        return u * (xx - yy) * one, 2 * u * x * one, -2 * u * y * one, 14 * u * z * (xx - yy)
    elif b == 7:
        edge = -q * x * (xx - 3 * yy)
        return edge * z, -3 * q * z * (xx - yy), 6 * q * x * y * z, edge
    else:
        value = w * (xx * (xx - 3 * yy) - yy * (3 * xx - yy))
        return value, w * x * (4 * xx - 12 * yy), w * y * (4 * yy - 12 * xx), none


@triton.jit
def basis(b: tl.constexpr, x, y, z):
    """Basis function `b` of the higher bands with its derivatives; what the caller does not use costs nothing."""
    if b < 3:
        return first_band(b, x, y, z)
    elif b < 8:
        return second_band(b - 3, x, y, z)
    elif b < 15:
        return third_band(b - 8, x, y, z)
    else:
        return fourth_band(b - 15, x, y, z)


@triton.jit
def unit_directions(directions, row, inside):
    """(x, y, z, 1 / length) of the rows; all zero for a direction of length zero."""
    x = tl.load(directions + 3 * row, mask=inside, other=0.0)
    y = tl.load(directions + 3 * row + 1, mask=inside, other=0.0)
    z = tl.load(directions + 3 * row + 2, mask=inside, other=0.0)
    length2 = x * x + y * y + z * z
    there = length2 > 0
    inverse = tl.where(there, 1.0 / tl.sqrt_rn(tl.where(there, length2, 1.0)), 0.0)
    return x * inverse, y * inverse, z * inverse, inverse


@triton.jit
def load_colour(p, inside):
    """Three adjacent floats a lane; zero outside."""
    red = tl.load(p, mask=inside, other=0.0)
    return red, tl.load(p + 1, mask=inside, other=0.0), tl.load(p + 2, mask=inside, other=0.0)


@triton.jit
def store_colour(p, red, green, blue, inside):
    """Three adjacent floats a lane."""
    tl.store(p, red, mask=inside)
    tl.store(p + 1, green, mask=inside)
    tl.store(p + 2, blue, mask=inside)


@triton.jit
def forward_kernel(
    dc, rest, directions, mask, colours, n, stored, used: tl.constexpr, masked: tl.constexpr, ROWS: tl.constexpr
):
    """Colours of `ROWS` rows; rows outside the mask read nothing and are 0."""
    row = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)
    inside = row < n
    shown = inside
    if masked:
        shown = inside & (tl.load(mask + row, mask=inside, other=0) != 0)
    red, green, blue = load_colour(dc + 3 * row, shown)
    red, green, blue = red * C0 + 0.5, green * C0 + 0.5, blue * C0 + 0.5
    x, y, z, inverse = unit_directions(directions, row, shown)
    for b in tl.static_range(used):
        value, _, _, _ = basis(b, x, y, z)
        value = tl.where(inverse > 0, value, 0.0)
        r, g, k = load_colour(rest + 3 * (row * stored + b), shown)
        red, green, blue = red + value * r, green + value * g, blue + value * k
    # Written as comparisons so that NaN becomes 0, as in the reference.
    red = tl.where(shown & (red > 0), red, 0.0)
    green = tl.where(shown & (green > 0), green, 0.0)
    blue = tl.where(shown & (blue > 0), blue, 0.0)
    store_colour(colours + 3 * row, red, green, blue, inside)


@triton.jit
def backward_kernel(
    rest, directions, colours, g_colours, g_dc, g_rest, g_directions, n, stored,
    used: tl.constexpr, wants_rest: tl.constexpr, ROWS: tl.constexpr,
):  # fmt: skip
    """Gradients of `ROWS` rows; those of the coefficients only where `wants_rest`."""
    row = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)
    inside = row < n
    # A channel at 0 was clamped, or its row masked.
    red, green, blue = load_colour(colours + 3 * row, inside)
    g_red, g_green, g_blue = load_colour(g_colours + 3 * row, inside)
    g_red, g_green = tl.where(red > 0, g_red, 0.0), tl.where(green > 0, g_green, 0.0)
    g_blue = tl.where(blue > 0, g_blue, 0.0)
    store_colour(g_dc + 3 * row, g_red * C0, g_green * C0, g_blue * C0, inside)
    x, y, z, inverse = unit_directions(directions, row, inside)
    gx, gy, gz = x * 0, x * 0, x * 0
    for b in tl.static_range(used):
        value, dx, dy, dz = basis(b, x, y, z)
        r, g, k = load_colour(rest + 3 * (row * stored + b), inside)
        earned = g_red * r + g_green * g + g_blue * k
        gx, gy, gz = gx + earned * dx, gy + earned * dy, gz + earned * dz
        if wants_rest:
            value = tl.where(inverse > 0, value, 0.0)
            store_colour(g_rest + 3 * (row * stored + b), value * g_red, value * g_green, value * g_blue, inside)
    # Through the normalisation: only the part across the direction counts.
    along = gx * x + gy * y + gz * z
    gx, gy, gz = (gx - along * x) * inverse, (gy - along * y) * inverse, (gz - along * z) * inverse
    store_colour(g_directions + 3 * row, gx, gy, gz, inside)


class _Harmonics(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, dc: Tensor, rest: Tensor, directions: Tensor, degree: int, mask: Tensor | None) -> Tensor:
        dc, rest, directions = dc.contiguous(), rest.contiguous(), directions.contiguous()
        mask = None if mask is None else mask.contiguous()
        colours = torch.empty_like(dc)
        n, stored = rest.shape[:2]
        launch(
            forward_kernel, (ceil_div(n, ROWS),), dc, rest, directions, mask, colours, n, stored,
            used=(degree + 1) ** 2 - 1, masked=mask is not None, ROWS=ROWS,
        )  # fmt: skip
        ctx.save_for_backward(rest, directions, colours)
        ctx.degree = degree
        return colours

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        rest, directions, colours = ctx.saved_tensors
        n, stored = rest.shape[:2]
        used = (ctx.degree + 1) ** 2 - 1
        g_dc, g_directions, g_rest = torch.empty_like(colours), torch.empty_like(directions), None
        if ctx.needs_input_grad[1]:
            g_rest = torch.zeros_like(rest) if stored > used else torch.empty_like(rest)
        launch(
            backward_kernel, (ceil_div(n, ROWS),), rest, directions, colours, gradients[0].contiguous(), g_dc, g_rest,
            g_directions, n, stored,
            used=used, wants_rest=g_rest is not None, ROWS=ROWS,
        )  # fmt: skip
        return g_dc, g_rest, g_directions, None, None


def harmonics(dc: Tensor, rest: Tensor, directions: Tensor, degree: int, mask: Tensor | None) -> Tensor:
    """See `kernels.harmonics.harmonics`."""
    return _Harmonics.apply(dc, rest, directions, degree, mask)  # type: ignore[return-value]
