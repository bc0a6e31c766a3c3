"""Tile lists of the scenes that projection is measured with."""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor

from kernels.project import Projected, project
from kernels.project.work import SCENES, scene
from kernels.tile import TILE, Tiles, tile
from kernels.work import Floor, Work

MARGIN = 0.01


def run(width: int, height: int, **inputs: Tensor) -> Tiles:
    """The operator."""
    return tile(Projected(**inputs), width, height)


def tiles_between(low: Tensor, high: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """First tile whose pixel centres may lie in [low, high], and how many of the `count` there are."""
    first = ((low - 0.5).ceil() / TILE).floor().clamp(0, count)
    last = ((high - 0.5).floor() / TILE).floor().clamp(-1, count - 1)
    return first.long(), (last - first + 1).clamp(min=0).long()


def row_spans(centre: Tensor, factor: Tensor, extent: Tensor, row: Tensor, columns: int) -> tuple[Tensor, Tensor]:
    """First column and number of tiles that the ellipses reach in their rows of tiles, as the other versions do."""
    (x, y), (a00, a10, a11), (hx, hy) = centre.unbind(1), factor.unbind(1), extent.unbind(1)
    norm2, lean, flat, tau = a00 * a00 + a10 * a10, a10 * a11, a00 * a11, (hx * a00).square()
    rightmost = -a10 * hx / a11
    y0 = torch.maximum(row * TILE + 0.5 - y - MARGIN, -hy)
    y1 = torch.minimum(row * TILE + TILE - 0.5 - y + MARGIN, hy)

    def edge(height: Tensor, sign: int) -> Tensor:
        height = torch.minimum(torch.maximum(height, y0), y1)
        return (-lean * height + sign * (tau * norm2 - (flat * height).square()).clamp(min=0).sqrt()) / norm2

    margin = MARGIN + 1e-4 * (hx + hy)
    right = torch.minimum(torch.minimum(hx, edge(rightmost, 1)) + margin, hx + MARGIN)
    left = torch.maximum(torch.maximum(-hx, edge(-rightmost, -1)) - margin, -hx - MARGIN)
    first, count = tiles_between(x + left, x + right, columns)
    return first, torch.where(y0 <= y1, count, 0)


def plain(width: int, height: int, **inputs: Tensor) -> Tiles:
    """Visible Gaussians by depth, then their rows, then their tiles, each as one flat list; one stable sort by tile."""
    projected, columns, rows = Projected(**inputs), -(-width // TILE), -(-height // TILE)
    n = len(projected.centres)
    shown = torch.nonzero(projected.extents[:, 0] > 0)[:, 0]
    shown = shown[torch.sort(projected.depths[shown], stable=True).indices]
    middle, half = projected.centres[shown, 1], projected.extents[shown, 1] + MARGIN
    first_row, heights = tiles_between(middle - half, middle + half, rows)
    owner = torch.repeat_interleave(heights)
    starts = heights.cumsum(0) - heights
    row = first_row[owner] + torch.arange(len(owner), device=owner.device) - starts[owner]
    g = shown[owner]
    first, count = row_spans(projected.centres[g], projected.factors[g], projected.extents[g], row, columns)
    run_of = torch.repeat_interleave(count)
    k = torch.arange(len(run_of), device=run_of.device)
    tiles = (row * columns + first - (count.cumsum(0) - count))[run_of] + k
    gaussians = g[run_of]
    tiles, order = torch.sort(tiles.to(torch.int16 if columns * rows <= 32767 else torch.int32), stable=True)
    counts = torch.bincount(gaussians, minlength=n)
    slot_starts = torch.cat([counts.new_zeros(1), counts.cumsum(0)])
    depth_starts = counts[shown].cumsum(0) - counts[shown]
    natural = (slot_starts[shown] - depth_starts)[owner[run_of]] + k
    slots = torch.empty_like(order)
    slots[natural[order]] = k
    starts = torch.searchsorted(tiles, torch.arange(columns * rows + 1, dtype=tiles.dtype, device=tiles.device))
    return Tiles(gaussians[order].int(), starts, slots.int(), slot_starts)


def works(device: torch.device) -> list[Work]:
    """Per Gaussian 32 bytes in, 8 out, and a sort of depth and index by 32 bits: four passes that read and write 8.

    Per instance 8 bytes out, and a sort by tile id of 16 bits with the Gaussian: two passes that read and write 6.
    """
    found = []
    for n, width, height in SCENES:
        parameters, lens = scene(n, width, height, device)
        inputs = project(**parameters, lens=lens)._asdict()  # type: ignore[arg-type]
        instances = len(run(width, height, **inputs).gaussians)
        floor = Floor(bytes=n * (32 + 8 + 4 * 2 * 8) + instances * (8 + 2 * 2 * 6))
        name = f"{n:,} Gaussians, {instances:,} instances, {width}x{height}"
        calls = partial(run, width, height), partial(plain, width, height)
        found.append(Work("tile", name, calls[0], inputs, (), floor, None, calls[1], instances, "instances"))
    return found
