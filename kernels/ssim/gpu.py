"""SSIM in Triton, forward and backward, all moments of a block in one kernel.

A program makes ROWS rows of 54 columns of one channel. The vertical filter sums eleven loads of the picture (which lie
in L1 and L2 after the first), the horizontal one is a product with a banded matrix on the tensor cores, in three TF32
passes, which is accurate to float32. Zero padding is the mask of the loads.

Floor: 8 bytes in and 4 out a value forward, 16 out where a gradient is wanted; 24 in and 4 out backward: 0.05 ms each
for 1920x1080x3 at 3 TB/s. Arithmetic: about 150 operations a value in the vertical filter, 2000 on the tensor cores.
"""

# Triton's functions are not what their annotations say: the type checker sees neither tuples nor constants.
# pyright: reportGeneralTypeIssues=false

from __future__ import annotations

import functools
from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from kernels.launch import ceil_div, launch
from kernels.ssim.reference import C1, C2, RADIUS, SIGMA

ROWS, COLUMNS = 32, 64
"""Rows a program makes, and columns it reads; it makes COLUMNS - 2 RADIUS of them."""


@triton.jit
def band(window, RADIUS: tl.constexpr, COLUMNS: tl.constexpr):
    """[COLUMNS, COLUMNS] matrix that makes output column j from the input columns j to j + 2 RADIUS."""
    tap = tl.arange(0, COLUMNS)[:, None] - tl.arange(0, COLUMNS)[None, :]
    return tl.load(window + tap, mask=(tap >= 0) & (tap <= 2 * RADIUS), other=0.0)


@triton.jit
def corner(width, channels, ROWS: tl.constexpr, MADE: tl.constexpr):
    """First row, first column and channel of this program's block, in 64 bits; the channel runs fastest."""
    block = tl.program_id(0).to(tl.int64)
    across = tl.cdiv(width, MADE)
    return block // channels // across * ROWS, block // channels % across * MADE, block % channels


@triton.jit
def forward_kernel(
    image, target, window, similarity, partials, height, width, channels, plane, C1, C2,
    wants_partials: tl.constexpr, RADIUS: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr,
):  # fmt: skip
    """The map, and where wanted its derivatives by E[x], E[xx] and E[xy] as three maps of `plane` values."""
    first_row, first_column, channel = corner(width, channels, ROWS, COLUMNS - 2 * RADIUS)
    row, read = first_row + tl.arange(0, ROWS), first_column - RADIUS + tl.arange(0, COLUMNS)
    x = tl.zeros([ROWS, COLUMNS], tl.float32)
    y, xx, yy, xy = x, x, x, x
    for k in range(2 * RADIUS + 1):
        v = row + k - RADIUS
        inside = ((v >= 0) & (v < height))[:, None] & ((read >= 0) & (read < width))[None, :]
        at = (v[:, None] * width + read[None, :]) * channels + channel
        a, b = tl.load(image + at, mask=inside, other=0.0), tl.load(target + at, mask=inside, other=0.0)
        weight = tl.load(window + k)
        wa, wb = weight * a, weight * b
        x, y, xx, yy, xy = x + wa, y + wb, xx + wa * a, yy + wb * b, xy + wa * b
    taps = band(window, RADIUS, COLUMNS)
    x, y = tl.dot(x, taps, input_precision="tf32x3"), tl.dot(y, taps, input_precision="tf32x3")
    xx, yy = tl.dot(xx, taps, input_precision="tf32x3"), tl.dot(yy, taps, input_precision="tf32x3")
    xy = tl.dot(xy, taps, input_precision="tf32x3")

    a1, a2 = 2 * x * y + C1, 2 * (xy - x * y) + C2
    b1, b2 = x * x + y * y + C1, (xx - x * x) + (yy - y * y) + C2
    luminance = a1 / b1
    value = luminance * (a2 / b2)
    made = tl.arange(0, COLUMNS)
    inside = (row < height)[:, None] & ((made < COLUMNS - 2 * RADIUS) & (first_column + made < width))[None, :]
    at = (row[:, None] * width + first_column + made[None, :]) * channels + channel
    tl.store(similarity + at, value, mask=inside)
    if wants_partials:
        inverse1, inverse2 = 1.0 / b1, 1.0 / b2
        d_mean = 2 * (y * (a2 - a1) * inverse1 * inverse2 - x * value * (inverse1 - inverse2))
        tl.store(partials + at, d_mean, mask=inside)
        tl.store(partials + plane + at, -value * inverse2, mask=inside)
        tl.store(partials + 2 * plane + at, 2 * luminance * inverse2, mask=inside)


@triton.jit
def backward_kernel(
    image, target, window, partials, g_similarity, g_image, height, width, channels, plane,
    RADIUS: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr,
):  # fmt: skip
    """The gradient of the picture: the same filter over the incoming gradient times the derivatives."""
    first_row, first_column, channel = corner(width, channels, ROWS, COLUMNS - 2 * RADIUS)
    row, read = first_row + tl.arange(0, ROWS), first_column - RADIUS + tl.arange(0, COLUMNS)
    mean = tl.zeros([ROWS, COLUMNS], tl.float32)
    square, product = mean, mean
    for k in range(2 * RADIUS + 1):
        v = row + k - RADIUS
        inside = ((v >= 0) & (v < height))[:, None] & ((read >= 0) & (read < width))[None, :]
        at = (v[:, None] * width + read[None, :]) * channels + channel
        g = tl.load(window + k) * tl.load(g_similarity + at, mask=inside, other=0.0)
        mean += g * tl.load(partials + at, mask=inside, other=0.0)
        square += g * tl.load(partials + plane + at, mask=inside, other=0.0)
        product += g * tl.load(partials + 2 * plane + at, mask=inside, other=0.0)
    taps = band(window, RADIUS, COLUMNS)
    mean, square = tl.dot(mean, taps, input_precision="tf32x3"), tl.dot(square, taps, input_precision="tf32x3")
    product = tl.dot(product, taps, input_precision="tf32x3")
    made = tl.arange(0, COLUMNS)
    inside = (row < height)[:, None] & ((made < COLUMNS - 2 * RADIUS) & (first_column + made < width))[None, :]
    at = (row[:, None] * width + first_column + made[None, :]) * channels + channel
    a, b = tl.load(image + at, mask=inside, other=0.0), tl.load(target + at, mask=inside, other=0.0)
    tl.store(g_image + at, mean + 2 * a * square + b * product, mask=inside)


@functools.cache
def window_on(device: torch.device) -> Tensor:
    """The eleven weights of the window."""
    offsets = torch.arange(-RADIUS, RADIUS + 1, dtype=torch.float64)
    window = torch.exp(-offsets.square() / (2 * SIGMA**2))
    return (window / window.sum()).to(device, torch.float32)


def grid(height: int, width: int, channels: int) -> tuple[int]:
    """Programs that cover the picture."""
    return (ceil_div(height, ROWS) * ceil_div(width, COLUMNS - 2 * RADIUS) * channels,)


class _Ssim(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, image: Tensor, target: Tensor) -> Tensor:
        image, target = image.contiguous(), target.contiguous()
        result = torch.empty_like(image)
        partials = image.new_empty(3, *image.shape) if ctx.needs_input_grad[0] else None
        launch(
            forward_kernel, grid(*image.shape), image, target, window_on(image.device), result, partials, *image.shape,
            image.numel(), C1, C2, wants_partials=partials is not None, RADIUS=RADIUS, ROWS=ROWS, COLUMNS=COLUMNS,
            num_warps=8,
        )  # fmt: skip
        ctx.save_for_backward(image, target, partials)
        return result

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        image, target, partials = ctx.saved_tensors
        outgoing = torch.empty_like(image)
        launch(
            backward_kernel, grid(*image.shape), image, target, window_on(image.device), partials,
            gradients[0].contiguous(), outgoing, *image.shape, image.numel(), RADIUS=RADIUS, ROWS=ROWS, COLUMNS=COLUMNS,
            num_warps=8,
        )  # fmt: skip
        return outgoing, None


def ssim(image: Tensor, target: Tensor) -> Tensor:
    """See `kernels.ssim.ssim`."""
    return _Ssim.apply(image, target)  # type: ignore[return-value]
