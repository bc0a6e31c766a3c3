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
SCRATCH = 16
"""Floats a Gaussian-tile instance in the backward scratch: 8 of geometry, up to 8 channels at a time."""


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
    ) -> Any:
        inputs = tuple(t.contiguous() for t in (centres, factors, opacities, extents, features, background))
        (n, channels), (width, height) = features.shape, size
        image, alpha = torch.empty(height, width, channels), torch.empty(height, width)
        LIBRARY.call("blend_forward", *inputs, tiles.gaussians, tiles.starts, n, channels, width, height, image, alpha)
        ctx.save_for_backward(*inputs, *tiles, alpha)
        ctx.absolute_gradients = absolute_gradients
        return image, alpha

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        *inputs, gaussians, starts, slots, slot_starts, alpha = ctx.saved_tensors
        centres, factors, opacities, _, features, background = inputs
        g_image, g_alpha = (g.contiguous() for g in gradients)
        height, width, channels = g_image.shape
        outgoing = tuple(torch.empty_like(t) for t in (centres, factors, opacities, features, background))
        LIBRARY.call(
            "blend_backward",
            *inputs, gaussians, starts, slots, slot_starts,
            len(features), channels, width, height, alpha, g_image, g_alpha,
            torch.empty(len(gaussians) * SCRATCH), *outgoing, ctx.absolute_gradients,
        )  # fmt: skip
        return *outgoing, None, None, None, None


def blend(
    projected: Projected,
    features: Tensor,
    tiles: Tiles,
    width: int,
    height: int,
    background: Tensor,
    absolute_gradients: Tensor | None,
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
        )
    )
