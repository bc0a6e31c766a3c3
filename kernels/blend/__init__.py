"""blend: front-to-back compositing of D feature channels of depth-sorted splats (Kerbl et al. 2023, section 6).

At a pixel, splat i has alpha_i = min(0.99, o_i exp(-|A_i d|^2 / 2)), d the offset of the pixel centre from the splat's;
alphas below 1/255 are dropped. With T_i the product of (1 - alpha_j) in front of it, the weight is alpha_i T_i. A pixel
stops before the first splat that would bring T below 1e-4, and stays stopped. What is left shows the background.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from kernels.checks import check_shapes
from kernels.dispatch import Backend, choose_backend
from kernels.project import Projected
from kernels.tile import TILE, Tiles

ALPHA_MIN = 1 / 255
ALPHA_MAX = 0.9900000095367432
"""0.99 as a float32: two clamped splats leave (1 - 0.99)^2, and in every precision that is just below the threshold."""
TRANSMITTANCE_MIN = 1e-4
MOST_FOR_ABSOLUTE = 8
"""Channels that are blended together, so that the absolute value of a pixel's gradient is that of all of them."""


MOST_CODES = 32
"""Codes a splat."""


class Blended(NamedTuple):
    """image: [H, W, D] features composited over the background. alpha: [H, W] = 1 - final transmittance.

    median: [H, W] int32, the Gaussian at which the transmittance first falls to 1/2 or below, -1 where it stays above;
    None when not asked for. No gradient.
    """

    image: Tensor
    alpha: Tensor
    median: Tensor | None


def blend(
    projected: Projected,
    features: Tensor,
    tiles: Tiles,
    width: int,
    height: int,
    background: Tensor,
    *,
    absolute_gradients: Tensor | None = None,
    median: bool = False,
    backend: Backend | None = None,
) -> Blended:
    """Composite `features` [N, D] of the splats in `tiles` over `background` [D].

    Differentiable in the projected centres, factors and opacities, the features and the background (the derivative is
    the true one: zero where alpha is clamped). absolute_gradients: [N, 2] or None; the backward pass adds to it
    the sum over pixels of |d loss / d centre| (AbsGS, Ye et al. 2024), which cancellation between pixels cannot hide.
    median: whether the Gaussian at the median depth is wanted.
    """
    check_shapes(
        centres=(projected.centres, "N 2"),
        factors=(projected.factors, "N 3"),
        opacities=(projected.opacities, "N"),
        features=(features, "N D"),
        background=(background, "D"),
    )
    if absolute_gradients is not None and features.shape[1] > MOST_FOR_ABSOLUTE:
        raise ValueError(
            f"absolute_gradients: with at most {MOST_FOR_ABSOLUTE} channels, got {features.shape[1]}; channels are "
            "blended in groups of that size, over which absolute values do not add up"
        )
    _check_tiles(tiles, width, height)
    arguments = (projected, features, tiles, width, height, background, absolute_gradients, median)
    match choose_backend(features, backend):
        case "cpu":
            from kernels.blend import cpu

            return cpu.blend(*arguments)
        case "gpu":
            from kernels.blend import gpu

            return gpu.blend(*arguments)
        case _:
            from kernels.blend import reference

            return reference.blend(*arguments)


def blend_codes(
    projected: Projected,
    indices: Tensor,
    values: Tensor,
    entries: int,
    tiles: Tiles,
    width: int,
    height: int,
    *,
    backend: Backend | None = None,
) -> Blended:
    """Composite sparse features over zero: [H, W, entries] of which splat i holds values[i, k] at indices[i, k].

    The picture is that of `blend` with the dense features [N, entries] that the codes stand for; equal indices of a
    splat add up (LangSplatV2, Li et al. 2025: K coefficients of L codebook entries; several codebooks are one with
    offsets added to the indices). indices: [N, K] uint8, int32 or int64 in [0, entries), not checked. values: [N, K].
    Differentiable in the values and the geometry, as `blend` is.
    """
    check_shapes(
        centres=(projected.centres, "N 2"),
        factors=(projected.factors, "N 3"),
        opacities=(projected.opacities, "N"),
        indices=(indices, "N K"),
        values=(values, "N K"),
    )
    if indices.dtype not in (torch.uint8, torch.int32, torch.int64):
        raise ValueError(f"indices: expected uint8, int32 or int64, got {indices.dtype}")
    if not 1 <= indices.shape[1] <= MOST_CODES or entries < 1:
        raise ValueError(f"expected 1 to {MOST_CODES} codes a splat and entries, got {indices.shape[1]} and {entries}")
    _check_tiles(tiles, width, height)
    arguments = (projected, indices, values, entries, tiles, width, height)
    match choose_backend(values, backend):
        case "cpu":
            from kernels.blend import cpu

            return cpu.blend_codes(*arguments)
        case "gpu":
            from kernels.blend import gpu

            return gpu.blend_codes(*arguments)
        case _:
            from kernels.blend import reference

            return reference.blend_codes(*arguments)


def _check_tiles(tiles: Tiles, width: int, height: int) -> None:
    expected = -(-width // TILE) * -(-height // TILE) + 1
    if len(tiles.starts) != expected:
        raise ValueError(
            f"tiles: made for another picture; {width}x{height} has {expected - 1} tiles, got {len(tiles.starts) - 1}"
        )
