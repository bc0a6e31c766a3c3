"""Every lattice sample of every ray is tested; the distances serve only to tell 0 from the rest."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from kernels.traverse import Traversed, first_rows


def lattice(near: Tensor, position: Tensor, step: float, cone: float, longest: Tensor) -> Tensor:
    """t at lattice `position`s [R, K] (k + phase) of rays from `near` [R]: linear, then geometric, then linear."""
    near = near[:, None]
    if cone == 0:
        return near + position * step
    # The t from which lengths grow, and from which they do not any more, with their positions.
    a, b = near.clamp(min=step / cone), torch.maximum(near, longest / cone).clamp(min=step / cone)
    rate = math.log1p(cone)
    at_a = (a - near) / step
    at_b = at_a + (b / a).log() / rate
    growing = a * ((torch.minimum(position, at_b) - at_a) * rate).exp()
    return torch.where(position < at_a, near + position * step, growing + (position - at_b).clamp(min=0) * longest)


def cascade_of(point: Tensor, length: Tensor, edge: Tensor, cells: int, cascades: int) -> Tensor:
    """Index of the cascade for `point`s (cells of cascade 0 from the centre) in samples of a `length`."""
    reach = point.abs().amax(dim=-1)
    found = torch.zeros_like(reach, dtype=torch.int64)
    for c in range(cascades - 1):
        found += (reach >= 2**c * cells / 2) | (2**c * edge < 0.999 * length)
    return found


def lookup(point: Tensor, cascade: Tensor, distances: Tensor) -> tuple[Tensor, Tensor]:
    """Positions [..., 3] in cells of the `cascade`, and whether they are in its box and in an occupied cell."""
    cells = distances.shape[1]
    place = point / (2.0**cascade)[..., None].to(point) + cells / 2
    inside = ((place >= 0) & (place < cells)).all(dim=-1)
    i = torch.where(inside[..., None], place, 0).floor().long()
    return place, inside & (distances[cascade, i[..., 0], i[..., 1], i[..., 2]] == 0)


def longest_sample(box: Tensor, cells: int, cascades: int, step: float) -> tuple[Tensor, Tensor]:
    """Shortest edge of a cell of cascade 0, and the length up to which samples grow."""
    edge = (box[1] - box[0]).amin() / cells
    return edge, (edge * 2 ** (cascades - 1)).clamp(min=step)


def grid_coordinates(origins: Tensor, directions: Tensor, box: Tensor, cells: int) -> tuple[Tensor, Tensor]:
    """Rays in cells of cascade 0 from the centre."""
    scale = cells / (box[1] - box[0])
    return (origins - 0.5 * (box[0] + box[1])) * scale, directions * scale


def last_position(rays: tuple[Tensor, ...], box: Tensor, cascades: int, step: float) -> int:
    """A number of lattice samples that no ray has more of in its grid (lengths are at least `step`)."""
    origins, _, near, far, _ = rays
    corner = (box[1] - box[0]).norm() * 2 ** (cascades - 1)
    leaves = (origins - 0.5 * (box[0] + box[1])).norm(dim=1) + corner
    span = (torch.minimum(far, leaves) - near).clamp(min=0)
    return int(span.max() / step) + 2 if len(span) else 0


def traverse(
    rays: tuple[Tensor, ...],
    distances: Tensor,
    box: Tensor,
    step: float,
    cone: float,
    limit: int,
    capacity: int | None,
) -> Traversed:
    """See `kernels.traverse.traverse`; `rays` are origins, directions, near, far, phases."""
    origins, directions, near, far, phases = rays
    cascades, cells = distances.shape[:2]
    edge, longest = longest_sample(box, cells, cascades, step)
    origins, directions = grid_coordinates(origins, directions, box, cells)

    k = torch.arange(last_position(rays, box, cascades, step), device=near.device)
    position = k + phases[:, None]
    t0, t1 = (lattice(near, p, step, cone, longest) for p in (position, (k + 1) + phases[:, None]))
    middle = 0.5 * (t0 + t1)
    length = torch.minimum((cone * t0).clamp(min=step), longest)
    point = origins[:, None] + middle[..., None] * directions[:, None]
    kept = lookup(point, cascade_of(point, length, edge, cells, cascades), distances)[1] & (middle < far[:, None])
    kept &= kept.cumsum(dim=1) <= limit

    counts = kept.sum(dim=1, dtype=torch.int32)
    ray_start = first_rows(counts, capacity)
    kept &= (ray_start.diff() == counts)[:, None]
    rows = int(ray_start[-1]) if capacity is None else capacity

    def padded(found: Tensor) -> Tensor:
        return torch.nn.functional.pad(found, (0, rows - len(found)))

    owner = kept.nonzero()[:, 0].int()
    return Traversed(padded(t0[kept]), padded(t1[kept]), padded(owner), ray_start, counts)


def distance_grid(occupied: Tensor, limit: int) -> Tensor:
    """See `kernels.traverse.distance_grid`: the occupied cells are dilated by one cell, again and again."""
    reached = occupied[:, None].float()
    distances = torch.full_like(occupied, limit, dtype=torch.uint8)
    for d in range(limit):
        distances = torch.where((reached[:, 0] > 0) & (distances == limit), d, distances).to(torch.uint8)
        reached = torch.nn.functional.max_pool3d(reached, 3, stride=1, padding=1)
    return distances
