"""blend: front-to-back compositing of D feature channels of depth-sorted splats (Kerbl et al. 2023, section 6).

At a pixel, splat i has alpha_i = min(0.99, o_i exp(-|A_i d|^2 / 2)), d the offset of the pixel centre from the splat's;
alphas below 1/255 are dropped. With T_i the product of (1 - alpha_j) in front of it, the weight is alpha_i T_i. A pixel
stops before the first splat that would bring T below 1e-4, and stays stopped. What is left shows the background.
"""

from __future__ import annotations

from typing import NamedTuple

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


class Blended(NamedTuple):
    """image: [H, W, D] features composited over the background. alpha: [H, W] = 1 - final transmittance."""

    image: Tensor
    alpha: Tensor


def blend(
    projected: Projected,
    features: Tensor,
    tiles: Tiles,
    width: int,
    height: int,
    background: Tensor,
    *,
    absolute_gradients: Tensor | None = None,
    backend: Backend | None = None,
) -> Blended:
    """Composite `features` [N, D] of the splats in `tiles` over `background` [D].

    Differentiable in the projected centres, factors and opacities, the features and the background (the derivative is
    the true one: zero where alpha is clamped). absolute_gradients: [N, 2] or None; the backward pass adds to it
    the sum over pixels of |d loss / d centre| (AbsGS, Ye et al. 2024), which cancellation between pixels cannot hide.
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
    expected = -(-width // TILE) * -(-height // TILE) + 1
    if len(tiles.starts) != expected:
        raise ValueError(
            f"tiles: made for another picture; {width}x{height} has {expected - 1} tiles, got {len(tiles.starts) - 1}"
        )
    arguments = (projected, features, tiles, width, height, background, absolute_gradients)
    match choose_backend(features, backend):
        case "cpu":
            from kernels.blend import cpu

            return cpu.blend(*arguments)
        case _:
            from kernels.blend import reference

            return reference.blend(*arguments)
