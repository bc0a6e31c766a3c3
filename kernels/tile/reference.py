"""Tile lists from bounding boxes, by sorting all (tile, depth, Gaussian) triples."""

from __future__ import annotations

import torch

from kernels.project import Projected
from kernels.tile import TILE, Tiles


@torch.no_grad()
def tile(projected: Projected, width: int, height: int) -> Tiles:
    """See `kernels.tile.tile`."""
    columns, rows = -(-width // TILE), -(-height // TILE)
    device = projected.centres.device
    size = torch.tensor([columns, rows], device=device)
    # A pixel at i + 1/2 is covered when low <= i + 1/2 <= high.
    low, high = projected.centres - projected.extents, projected.centres + projected.extents
    first = torch.div((low - 0.5).ceil(), TILE, rounding_mode="floor").clamp(min=0)
    last = torch.div((high - 0.5).floor(), TILE, rounding_mode="floor")
    first, last = first.to(torch.int64), torch.minimum(last.to(torch.int64), size - 1)
    visible = (projected.extents > 0).all(dim=1)
    spans = torch.where(visible[:, None], (last - first + 1).clamp(min=0), 0)
    counts = spans.prod(dim=1)
    gaussian = torch.repeat_interleave(torch.arange(len(counts), device=device), counts)
    slot_starts = torch.cat([counts.new_zeros(1), counts.cumsum(dim=0)])
    k = torch.arange(len(gaussian), device=device) - slot_starts[gaussian]
    tiles = (first[gaussian, 1] + k // spans[gaussian, 0].clamp(min=1)) * columns
    tiles = tiles + first[gaussian, 0] + k % spans[gaussian, 0].clamp(min=1)

    order = torch.argsort(projected.depths[gaussian], stable=True)
    order = order[torch.argsort(tiles[order], stable=True)]
    slots = torch.empty_like(order)
    slots[order] = torch.arange(len(order), device=device)
    histogram = torch.bincount(tiles, minlength=columns * rows)
    starts = torch.cat([histogram.new_zeros(1), histogram.cumsum(dim=0)])
    return Tiles(gaussian[order].to(torch.int32), starts, slots.to(torch.int32), slot_starts)
