"""Every interval of every ray's lattice, looked up one by one."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from kernels.traverse import Traversed


def positions(u: Tensor, near: Tensor, step: float, cone: float) -> Tensor:
    """t at the lattice place u = k + phase, of any shape [R, ...], of rays that begin at near [R]."""
    near = near.reshape(-1, *[1] * (u.dim() - 1))
    linear = near + u * step
    if cone == 0:
        return linear
    knee = near.clamp(min=step / cone)
    beyond = u - (knee - near) / step
    return torch.where(beyond <= 0, linear, knee * torch.exp(beyond.clamp(min=0) * math.log1p(cone)))


def look_up(points: Tensor, distances: Tensor, box: Tensor) -> Tensor:
    """[...] uint8 entry of the smallest cascade that holds each point [..., 3]; 255 outside all of them."""
    cascades, size = distances.shape[:2]
    centre, half = (box[0] + box[1]) / 2, (box[1] - box[0]) / 2
    away = ((points - centre) / half).abs().amax(dim=-1)
    cascade = torch.where(away > 1, away.log2().ceil().clamp(min=0), 0).nan_to_num(nan=math.inf, posinf=1e9)
    inside = cascade < cascades
    cascade = torch.where(inside, cascade, 0).long()
    wide = 2.0 ** cascade[..., None].to(points)
    cell = (((points - centre) / (half * wide) + 1) * (size / 2)).nan_to_num(nan=0.0).clamp(0, size - 1).long()
    entry = distances[cascade, cell[..., 0], cell[..., 1], cell[..., 2]]
    return torch.where(inside, entry, 255)


def traverse(
    origins: Tensor,
    directions: Tensor,
    near: Tensor,
    far: Tensor,
    phases: Tensor,
    distances: Tensor,
    box: Tensor,
    step: float,
    cone: float,
    limit: int,
    capacity: int | None,
) -> Traversed:
    """See `kernels.traverse.traverse`."""
    usable = torch.isfinite(torch.cat([origins, directions, near[:, None], far[:, None], phases[:, None]], dim=1))
    usable = usable.all(dim=1) & (far > near)
    length = float((far - near)[usable].max()) if bool(usable.any()) else 0.0
    places = torch.arange(math.ceil(length / step) + 1, device=near.device) + phases[:, None]  # [R, K]
    t0, t1 = positions(places, near, step, cone), positions(places + 1, near, step, cone)
    middle = (t0 + t1) / 2
    points = origins[:, None] + middle[..., None] * directions[:, None]
    kept = (look_up(points, distances, box.to(points)) == 0) & (middle < far[:, None]) & usable[:, None]
    kept &= kept.cumsum(dim=1) <= limit
    ray = torch.nonzero(kept)[:, 0].to(torch.int32)
    total = kept.sum()
    start = torch.cat([kept.new_zeros(1, dtype=torch.int64), kept.sum(dim=1).cumsum(dim=0)])
    found = [t0[kept], t1[kept], ray]
    if capacity is not None:
        start = start.clamp(max=capacity)
        found = [torch.cat([x[:capacity], x.new_zeros(max(0, capacity - len(x)))]) for x in found]
    return Traversed(found[0], found[1], found[2], start, total)
