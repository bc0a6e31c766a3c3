"""Compositing the scene of `kernels.project.work`: colours, 64 features, and sparse codes of 192 entries."""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor

from kernels.blend import ALPHA_MAX, ALPHA_MIN, TRANSMITTANCE_MIN, blend, blend_codes
from kernels.project import Lens, Projected, project
from kernels.project.work import scene
from kernels.tile import TILE, Tiles, tile
from kernels.work import Floor, Work

FORWARD_OPERATIONS, BACKWARD_OPERATIONS = 23, 61
"""Operations of a pair of splat and pixel but for its features: 4 for the exponent, 16 for the exponential, 3 for
transmittance; backward the replay's 23, and 38 for the gradients of the geometry.
"""
ELEMENTS = 1 << 24
"""Pairs that the plain version holds at a time."""


def works(device: torch.device) -> list[Work]:
    """Two operations a channel and pair forward, four backward; of sparse codes only the K that a splat has."""
    found = [dense(50_000, 800, 600, 3, device), dense(1_000_000, 1920, 1080, 3, device)]
    found += [dense(50_000, 800, 600, 64, device), sparse(50_000, 800, 600, 12, 192, device)]
    return found


def setting(gaussians: int, width: int, height: int, device: torch.device) -> tuple[Projected, Tiles, Lens, float, str]:
    """The projected scene, its lists, the number of pairs, and words for it."""
    parameters, lens = scene(gaussians, width, height, device)
    with torch.no_grad():
        projected = project(**parameters, lens=lens)  # type: ignore[arg-type]
    lists = tile(projected, width, height)
    pairs = float(len(lists.gaussians)) * TILE * TILE
    return (
        projected,
        lists,
        lens,
        pairs,
        f"{gaussians:,} Gaussians, {width}x{height}, {pairs / width / height:.0f} pairs a pixel",
    )


def floors(pairs: float, channels: int, picture: float) -> tuple[Floor, Floor]:
    """Forward and backward; `picture`: floats of the picture, written forward and read backward."""
    return (
        Floor(bytes=4 * picture, flops=pairs * (FORWARD_OPERATIONS + 2 * channels)),
        Floor(bytes=4 * picture, flops=pairs * (BACKWARD_OPERATIONS + 4 * channels)),
    )


def dense(gaussians: int, width: int, height: int, channels: int, device: torch.device) -> Work:
    """`channels` random features a splat."""
    projected, lists, lens, pairs, words = setting(gaussians, width, height, device)
    g = torch.Generator().manual_seed(5)
    inputs = {
        "centres": projected.centres,
        "factors": projected.factors,
        "opacities": projected.opacities,
        "features": torch.rand(gaussians, channels, generator=g).to(device),
    }

    def run(centres: Tensor, factors: Tensor, opacities: Tensor, features: Tensor) -> Tensor:
        splats = projected._replace(centres=centres, factors=factors, opacities=opacities)
        return blend(splats, features, lists, lens.width, lens.height, features.new_zeros(channels)).image

    name = f"{channels} channels, {words}"
    # Of the large scene torch would keep some 40 GB for the backward pass.
    other = partial(plain, lists=lists, lens=lens) if gaussians < 500_000 else None
    return Work(
        "blend",
        name,
        run,
        inputs,
        tuple(inputs),
        *floors(pairs, channels, float(width * height * channels)),
        other,
        pairs,
        "pairs",
    )


def sparse(gaussians: int, width: int, height: int, codes: int, entries: int, device: torch.device) -> Work:
    """Random codes, geometry frozen, as language features are trained; torch expands them to dense features."""
    projected, lists, lens, pairs, words = setting(gaussians, width, height, device)
    g = torch.Generator().manual_seed(6)
    indices = torch.randint(0, entries, (gaussians, codes), generator=g).to(torch.uint8).to(device)
    inputs = {"values": torch.rand(gaussians, codes, generator=g).to(device)}

    def run(values: Tensor) -> Tensor:
        return blend_codes(projected, indices, values, entries, lists, lens.width, lens.height).image

    def other(values: Tensor) -> Tensor:
        features = values.new_zeros(gaussians, entries).scatter_add(1, indices.long(), values)
        return plain(projected.centres, projected.factors, projected.opacities, features, lists, lens)

    name = f"{codes} codes of {entries}, {words}"
    return Work(
        "blend",
        name,
        run,
        inputs,
        ("values",),
        *floors(pairs, codes, float(width * height * entries)),
        other,
        pairs,
        "pairs",
    )


def plain(centres: Tensor, factors: Tensor, opacities: Tensor, features: Tensor, lists: Tiles, lens: Lens) -> Tensor:
    """Tiles of like length side by side, padded to the longest, as many as `ELEMENTS` pairs allow."""
    columns, rows = -(-lens.width // TILE), -(-lens.height // TILE)
    counts = lists.starts.diff()
    order = torch.argsort(counts, descending=True)
    offset = torch.arange(TILE * TILE, device=centres.device)
    image = features.new_zeros(rows * columns, TILE * TILE, features.shape[1])
    pictures, done = [], 0
    while done < len(order) and int(counts[order[done]]) > 0:
        longest = int(counts[order[done]])
        some = order[done : done + max(1, ELEMENTS // (longest * TILE * TILE))]
        done += len(some)
        place = torch.arange(longest, device=centres.device)
        there = place < counts[some, None]
        slots = torch.where(there, lists.starts[some, None] + place, 0)
        ids = lists.gaussians[slots].long()
        x = (some % columns * TILE)[:, None] + offset % TILE + 0.5
        y = (some // columns * TILE)[:, None] + offset // TILE + 0.5
        centre, factor = centres[ids], factors[ids]
        dx, dy = x[:, :, None] - centre[:, None, :, 0], y[:, :, None] - centre[:, None, :, 1]
        r0, r1 = factor[:, None, :, 0] * dx, factor[:, None, :, 1] * dx + factor[:, None, :, 2] * dy
        opacity = torch.where(there, opacities[ids], 0)[:, None]
        alpha = (opacity * torch.exp(-0.5 * (r0 * r0 + r1 * r1))).clamp(max=ALPHA_MAX)
        alpha = torch.where(alpha >= ALPHA_MIN, alpha, 0)
        after = (1 - alpha).cumprod(dim=2)
        alpha = torch.where(after >= TRANSMITTANCE_MIN, alpha, 0)
        before = torch.cat([torch.ones_like(after[:, :, :1]), after[:, :, :-1]], dim=2)
        pictures.append((some, torch.bmm(alpha * before, features[ids])))
    if pictures:
        image = image.index_copy(0, torch.cat([s for s, _ in pictures]), torch.cat([p for _, p in pictures]))
    picture = image.reshape(rows, columns, TILE, TILE, -1).transpose(1, 2).reshape(rows * TILE, columns * TILE, -1)
    return picture[: lens.height, : lens.width]
