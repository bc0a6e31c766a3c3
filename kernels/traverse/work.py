"""A picture of 400x400 rays through an occupancy grid of 128^3 cells, sparse and fuller, at 1,024 steps a diagonal."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from kernels.traverse import Traversed, distance_grid, traverse
from kernels.work import Floor, Work

SIDE, CELLS = 400, 128
STEP = 2 * math.sqrt(3) / 1024


def works(device: torch.device) -> list[Work]:
    """A thin shell (1.5 % of the cells) and a thick one (15 %)."""
    return [work(thickness, device) for thickness in (0.02, 0.25)]


def shell(thickness: float) -> Tensor:
    """[1, G, G, G] bool: cells within `thickness` of a sphere of radius 0.6 about the origin of [-1, 1]^3."""
    axis = (torch.arange(CELLS) + 0.5) * (2 / CELLS) - 1
    radius = torch.cartesian_prod(axis, axis, axis).norm(dim=1).reshape(1, CELLS, CELLS, CELLS)
    return (radius - 0.6).abs() < thickness


def work(thickness: float, device: torch.device) -> Work:
    """Floor: 36 bytes a ray, 12 a sample, and a random byte for each interval kept; skipping looks up a few more."""
    occupied = shell(thickness)
    place = (torch.arange(SIDE) + 0.5) / SIDE - 0.5
    pixels = torch.cartesian_prod(place, place)
    directions = torch.nn.functional.normalize(torch.cat([pixels, torch.ones(len(pixels), 1)], dim=1), dim=1)
    origins = torch.tensor([0.0, 0.0, -2.5]).expand_as(directions).contiguous()
    rays = len(origins)
    inputs = {
        "origins": origins,
        "directions": directions,
        "near": torch.full((rays,), 0.5),
        "far": torch.full((rays,), 5.0),
        "distances": distance_grid(occupied),
        "box": torch.tensor([[-1.0] * 3, [1.0] * 3]),
    }
    samples = float(run(**inputs).sum())
    return Work(
        "traverse",
        f"{rays} rays, {float(occupied.float().mean()):.1%} of {CELLS}^3 cells, {samples:.0f} samples",
        run,
        {k: v.to(device) for k, v in inputs.items()},
        (),
        Floor(bytes=36.0 * rays + 12.0 * samples, gathers=samples),
        None,
        lookup,
        samples,
        "samples",
    )


def run(origins: Tensor, directions: Tensor, near: Tensor, far: Tensor, distances: Tensor, box: Tensor) -> Tensor:
    """The operator. What is compared is the number of samples a ray: a few lie within rounding of a cell's face."""
    return traverse(origins, directions, near, far, distances, box, step=STEP).ray_start.diff().float()


def lookup(origins: Tensor, directions: Tensor, near: Tensor, far: Tensor, distances: Tensor, box: Tensor) -> Tensor:
    """All intervals inside the box, looked up 4,096 rays at a time."""
    centre, half = (box[0] + box[1]) / 2, (box[1] - box[0]) / 2
    inverse = 1 / directions
    one, two = (box[0] - origins) * inverse, (box[1] - origins) * inverse
    enter = torch.maximum(torch.minimum(one, two).amax(dim=1), near)
    leave = torch.minimum(torch.maximum(one, two).amin(dim=1), far)
    first = ((enter - near) / STEP).floor().clamp(min=0)
    count = torch.where(leave > enter, ((leave - enter) / STEP).ceil() + 1, 0)
    parts = []
    for begin in range(0, len(origins), 4096):
        block = slice(begin, begin + 4096)
        k = first[block, None] + torch.arange(int(count[block].max()), device=origins.device)
        t0 = near[block, None] + k * STEP
        middle = t0 + 0.5 * STEP
        cells = (
            ((origins[block, None] + middle[..., None] * directions[block, None] - centre) / half + 1) * (CELLS / 2)
        ).floor()
        inside = ((cells >= 0) & (cells < CELLS)).all(dim=-1) & (middle < far[block, None])
        x, y, z = cells.clamp(0, CELLS - 1).long().unbind(dim=-1)
        kept = inside & (distances[0].reshape(-1)[(x * CELLS + y) * CELLS + z] == 0)
        rays, _ = torch.nonzero(kept, as_tuple=True)
        parts.append((t0[kept], near[block][rays] + (k[kept] + 1) * STEP, rays.int() + begin, kept.sum(dim=1)))
    t0, t1, rays, counts = (torch.cat(part) for part in zip(*parts, strict=True))
    start = torch.cat([counts.new_zeros(1), counts.cumsum(dim=0)])
    return Traversed(t0, t1, rays, start, start[-1]).ray_start.diff().float()
