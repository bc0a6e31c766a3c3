"""Blending on a GPU as autograd functions; `gpu_kernels` and `gpu_sums` hold the Triton functions.

Floor: instructions. A pair of splat and pixel costs about 20 forward and 40 backward, one exponential, and 6 D tensor
core operations a product (one product of D channels forward, two backward; three passes of TF32 keep float32); bytes,
4 (6 + D) an instance and 4 D a pixel, are far below that. So alphas are computed anew for every block of 64
channels of the picture, and in the backward pass, where the gradients of the geometry need all channels of a pair,
once for all blocks.

Gradients of geometry, and of features up to 32 channels or codes, are written as one row an instance and summed per
Gaussian in the order of its slots: the same bits every time. Of more channels the features' gradients are added by
float32 atomics, one an instance and channel, so that their last bits depend on the order of the tiles.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from kernels.blend import Blended
from kernels.blend.gpu_kernels import PARTS, RECORD, ROW, WARPS, blend_backward, blend_forward, gather_records
from kernels.blend.gpu_sums import sum_geometry, sum_rows
from kernels.launch import ceil_div, launch
from kernels.project import Projected
from kernels.tile import TILE, Tiles

MOST_IN_ROWS = 32
"""Channels up to which the gradients of features are summed through instance rows."""
CHUNK = 16
"""Splats a program takes at a time."""
FORWARD_BLOCK, BACKWARD_BLOCK, MANY_CODES = 64, 32, 4
"""Channels of a block, so that what a thread keeps fits its registers: half of them forward with more codes than
MANY_CODES, and backward with atomics.
"""


class _Picture(NamedTuple):
    """What is blended besides tensors; entries: L of codes, 0 for dense features."""

    width: int
    height: int
    entries: int
    median: bool
    absolute: Tensor | None


def _block(channels: int, most: int) -> int:
    """Channels a program takes at a time: a power of two, at least what a matrix product needs, at most `most`."""
    return min(most, max(16, 1 << (channels - 1).bit_length()))


class _Blend(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        centres: Tensor,
        factors: Tensor,
        opacities: Tensor,
        features: Tensor,
        background: Tensor | None,
        indices: Tensor | None,
        tiles: Tiles,
        picture: _Picture,
    ) -> Any:
        splats = tuple(t.contiguous() for t in (centres, factors, opacities, features))
        indices = None if indices is None else indices.contiguous()
        background = None if background is None else background.contiguous()
        width, height = picture.width, picture.height
        channels = picture.entries or features.shape[1]
        codes = features.shape[1] if picture.entries else 0
        block = _block(channels, FORWARD_BLOCK if codes <= MANY_CODES else FORWARD_BLOCK // 2)
        columns, rows, blocks = ceil_div(width, TILE), ceil_div(height, TILE), ceil_div(channels, block)
        image = features.new_empty(height, width, channels)
        alpha, final = features.new_empty(height, width), features.new_empty(height, width)
        stops = features.new_empty(height, width, dtype=torch.int32)
        median = features.new_empty(height, width, dtype=torch.int32) if picture.median else None
        records = features.new_empty(len(tiles.gaussians) + CHUNK, RECORD.value)
        m = len(tiles.gaussians)
        launch(gather_records, (ceil_div(m, 256),), *splats[:3], tiles.gaussians, m, records, BLOCK=256)
        launch(
            blend_forward, (columns * rows * PARTS.value * blocks,),
            records, splats[3], indices, background, tiles.gaussians, tiles.starts, width, height, columns, channels,
            blocks, image, alpha, final, stops, median,
            B=CHUNK, CHANNELS=block, CODES=codes, MEDIAN=picture.median,
            num_warps=WARPS.value,
        )  # fmt: skip
        ctx.save_for_backward(*splats, records, background, indices, *tiles, final, stops)
        ctx.picture = picture
        if median is not None:
            ctx.mark_non_differentiable(median)
        return image, alpha, median

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        centres, factors, opacities, features, records, *rest = ctx.saved_tensors
        background, indices, gaussians, starts, slots, slot_starts, final, stops = rest
        picture: _Picture = ctx.picture
        g_image, g_alpha = gradients[0].contiguous(), gradients[1].contiguous()
        height, width, channels = g_image.shape
        (n, stored), m = features.shape, len(gaussians)
        columns, rows_of_tiles = ceil_div(width, TILE), ceil_div(height, TILE)
        geometry = any(ctx.needs_input_grad[:3])
        atomic = not picture.entries and channels > MOST_IN_ROWS
        block = _block(channels, BACKWARD_BLOCK // 2 if atomic else BACKWARD_BLOCK)
        absolute = picture.absolute if geometry else None
        moments = features.new_zeros(m * PARTS.value, ROW.value) if geometry else None
        rows = None if atomic else features.new_zeros(m * PARTS.value, stored)
        g_features = torch.zeros_like(features) if atomic else torch.empty_like(features)
        g_backgrounds = (
            None if background is None else features.new_empty(columns * rows_of_tiles * PARTS.value, channels)
        )
        launch(
            blend_backward, (columns * rows_of_tiles * PARTS.value,),
            records, features, indices, background, gaussians, starts, width, height, columns, channels,
            g_image, g_alpha, final, stops, moments, rows, g_features, g_backgrounds,
            B=CHUNK, CHANNELS=block, CODES=stored if picture.entries else 0, GEOMETRY=geometry,
            ABSOLUTE=absolute is not None, ATOMIC=atomic, num_warps=WARPS.value,
        )  # fmt: skip
        if rows is not None:
            launch(
                sum_rows, (ceil_div(n, 16),),
                rows, slots, slot_starts, n, stored, g_features,
                G=16, J=4, CHANNELS=1 << (stored - 1).bit_length(),
            )  # fmt: skip
        outgoing: tuple[Tensor | None, ...] = (None, None, None)
        if geometry:
            outgoing = tuple(torch.empty_like(t) for t in (centres, factors, opacities))
            launch(
                sum_geometry, (ceil_div(n, 16),),
                moments, factors, opacities, slots, slot_starts, n, *outgoing, absolute, G=16, J=8,
            )  # fmt: skip
        g_background = None if g_backgrounds is None else g_backgrounds.sum(dim=0)
        return *outgoing, g_features, g_background, None, None, None


def blend(
    projected: Projected,
    features: Tensor,
    tiles: Tiles,
    width: int,
    height: int,
    background: Tensor,
    absolute_gradients: Tensor | None,
    median: bool,
) -> Blended:
    """See `kernels.blend.blend`."""
    picture = _Picture(width, height, 0, median, absolute_gradients)
    centres, factors, _, opacities, _ = projected
    return Blended(*_Blend.apply(centres, factors, opacities, features, background, None, tiles, picture))


def blend_codes(
    projected: Projected, indices: Tensor, values: Tensor, entries: int, tiles: Tiles, width: int, height: int
) -> Blended:
    """See `kernels.blend.blend_codes`: a chunk's codes are expanded in registers, then multiplied as dense features."""
    picture = _Picture(width, height, entries, False, None)
    centres, factors, _, opacities, _ = projected
    return Blended(*_Blend.apply(centres, factors, opacities, values, None, indices, tiles, picture))
