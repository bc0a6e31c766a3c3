"""Compositing written out: all pixels of a tile against all splats of its list."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from kernels.blend import ALPHA_MAX, ALPHA_MIN, TRANSMITTANCE_MIN, Blended
from kernels.project import Projected
from kernels.tile import TILE, Tiles


class _RecordAbsolute(torch.autograd.Function):
    """Identity on per-pixel centres [P, n, 2] that adds the absolute gradients, summed over pixels, to a buffer."""

    @staticmethod
    def forward(ctx: Any, centres: Tensor, ids: Tensor, buffer: Tensor) -> Tensor:
        ctx.ids, ctx.buffer = ids, buffer
        return centres.clone()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        ctx.buffer.index_add_(0, ctx.ids, gradients[0].abs().sum(dim=0))
        return gradients[0], None, None


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
    columns, rows = -(-width // TILE), -(-height // TILE)
    found = []
    for row in range(rows):
        found_row = []
        for column in range(columns):
            t = row * columns + column
            ids = tiles.gaussians[tiles.starts[t] : tiles.starts[t + 1]].long()
            ys = torch.arange(row * TILE, min((row + 1) * TILE, height), device=features.device)
            xs = torch.arange(column * TILE, min((column + 1) * TILE, width), device=features.device)
            pixels = torch.cartesian_prod(ys, xs).reshape(-1, 2).flip(dims=[1]) + 0.5
            maps = _tile(projected, features, ids, pixels.to(features), background, absolute_gradients)
            found_row.append([m.reshape(len(ys), len(xs), *m.shape[1:]) for m in maps])
        found.append([torch.cat(parts, dim=1) for parts in zip(*found_row, strict=True)])
    image, alpha, index = (torch.cat(parts) for parts in zip(*found, strict=True))
    return Blended(image, alpha, index if median else None)


def blend_codes(
    projected: Projected, indices: Tensor, values: Tensor, entries: int, tiles: Tiles, width: int, height: int
) -> Blended:
    """See `kernels.blend.blend_codes`."""
    dense = values.new_zeros(len(values), entries).scatter_add(1, indices.long(), values)
    return blend(projected, dense, tiles, width, height, values.new_zeros(entries), None, False)


def _tile(
    projected: Projected,
    features: Tensor,
    ids: Tensor,
    pixels: Tensor,
    background: Tensor,
    absolute_gradients: Tensor | None,
) -> tuple[Tensor, Tensor, Tensor]:
    """Colours [P, D], alphas [P] and median Gaussians [P] of pixel positions [P, 2] under the splats `ids` in order."""
    centres = projected.centres[ids].expand(len(pixels), -1, -1)
    if absolute_gradients is not None and centres.requires_grad:
        centres = _RecordAbsolute.apply(centres, ids, absolute_gradients)
    d = pixels[:, None] - centres  # type: ignore[operator]
    a00, a10, a11 = projected.factors[ids].unbind(dim=1)
    r0, r1 = a00 * d[..., 0], a10 * d[..., 0] + a11 * d[..., 1]
    alpha = (projected.opacities[ids] * (-0.5 * (r0 * r0 + r1 * r1)).exp()).clamp(max=ALPHA_MAX)
    alpha = torch.where(alpha >= ALPHA_MIN, alpha, 0)
    inclusive = (1 - alpha).cumprod(dim=1)
    alpha = torch.where(inclusive >= TRANSMITTANCE_MIN, alpha, 0)
    inclusive = (1 - alpha).cumprod(dim=1)
    before = torch.cat([torch.ones_like(inclusive[:, :1]), inclusive[:, :-1]], dim=1)[:, : len(ids)]
    final = inclusive[:, -1] if len(ids) else torch.ones(len(pixels)).to(pixels)
    half = inclusive <= 0.5
    median = torch.full((len(pixels),), -1, dtype=torch.int32, device=pixels.device)
    if len(ids):
        median = torch.where(half.any(dim=1), ids[half.int().argmax(dim=1)].int(), median)
    return (alpha * before) @ features[ids] + final[:, None] * background, 1 - final, median
