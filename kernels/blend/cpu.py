"""The C++ compositing as an autograd function."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from kernels.blend import Blended
from kernels.native import NativeLibrary
from kernels.project import Projected
from kernels.tile import Tiles

LIBRARY = NativeLibrary(Path(__file__).with_name("cpu.cpp"))
CODES = NativeLibrary(Path(__file__).with_name("codes.cpp"))
GEOMETRY = 8
"""Floats of an instance's geometry in the backward scratch."""
GROUP = 16
"""Channels that are blended together at most; each has a float an instance in the backward scratch."""


class _Blend(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        centres: Tensor,
        factors: Tensor,
        opacities: Tensor,
        features: Tensor,
        background: Tensor,
        extents: Tensor,
        tiles: Tiles,
        size: tuple[int, int],
        absolute_gradients: Tensor | None,
        wants_median: bool,
    ) -> Any:
        inputs = tuple(t.contiguous() for t in (centres, factors, opacities, extents, features, background))
        (n, channels), (width, height) = features.shape, size
        image, alpha = torch.empty(height, width, channels), torch.empty(height, width)
        median = torch.empty(height, width, dtype=torch.int32) if wants_median else None
        lists = (tiles.gaussians, tiles.starts)
        LIBRARY.call("blend_forward", *inputs, *lists, n, channels, width, height, image, alpha, median)
        ctx.save_for_backward(*inputs, *tiles, alpha)
        ctx.absolute_gradients = absolute_gradients
        if median is not None:
            ctx.mark_non_differentiable(median)
        return image, alpha, median

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        *inputs, gaussians, starts, slots, slot_starts, alpha = ctx.saved_tensors
        centres, factors, opacities, _, features, background = inputs
        g_image, g_alpha = (g.contiguous() for g in gradients[:2])
        height, width, channels = g_image.shape
        outgoing = tuple(torch.empty_like(t) for t in (centres, factors, opacities, features, background))
        LIBRARY.call(
            "blend_backward",
            *inputs, gaussians, starts, slots, slot_starts,
            len(features), channels, width, height, alpha, g_image, g_alpha,
            torch.empty(len(gaussians) * (GEOMETRY + min(channels, GROUP))), *outgoing, ctx.absolute_gradients,
        )  # fmt: skip
        return *outgoing, None, None, None, None, None


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
    centres, factors, _, opacities, extents = projected
    return Blended(
        *_Blend.apply(
            centres,
            factors,
            opacities,
            features,
            background,
            extents,
            tiles,
            (width, height),
            absolute_gradients,
            median,
        )
    )


class _BlendCodes(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        centres: Tensor,
        factors: Tensor,
        opacities: Tensor,
        values: Tensor,
        indices: Tensor,
        extents: Tensor,
        tiles: Tiles,
        shape: tuple[int, int, int],
    ) -> Any:
        splats = tuple(t.contiguous() for t in (centres, factors, opacities, extents))
        codes = (indices.to(torch.int32).contiguous(), values.contiguous())
        width, height, entries = shape
        image, alpha = torch.empty(height, width, entries), torch.empty(height, width)
        lists = (tiles.gaussians, tiles.starts)
        CODES.call("codes_forward", *splats, *codes, *values.shape, entries, *lists, width, height, image, alpha)
        ctx.save_for_backward(*splats, *codes, *tiles, alpha)
        return image, alpha

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        *splats, indices, values, gaussians, starts, slots, slot_starts, alpha = ctx.saved_tensors
        g_image, g_alpha = (g.contiguous() for g in gradients)
        height, width, entries = g_image.shape
        outgoing = tuple(torch.empty_like(t) for t in (*splats[:3], values))
        scratch = torch.empty(len(gaussians) * (GEOMETRY + values.shape[1]))
        CODES.call(
            "codes_backward",
            *splats, indices, values, *values.shape, entries, gaussians, starts, slots, slot_starts, width, height,
            alpha, g_image, g_alpha, scratch, *outgoing,
        )  # fmt: skip
        return *outgoing, None, None, None, None


def blend_codes(
    projected: Projected, indices: Tensor, values: Tensor, entries: int, tiles: Tiles, width: int, height: int
) -> Blended:
    """See `kernels.blend.blend_codes`; IndexError for an index that is none."""
    if indices.numel() and not 0 <= int(indices.min()) <= int(indices.max()) < entries:
        raise IndexError(f"indices: expected 0 to {entries - 1}, got {int(indices.min())} to {int(indices.max())}")
    centres, factors, _, opacities, extents = projected
    found = _BlendCodes.apply(centres, factors, opacities, values, indices, extents, tiles, (width, height, entries))
    return Blended(*found, None)  # type: ignore[misc]
