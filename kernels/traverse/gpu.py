"""Traversal in Triton: a lane a ray, all of a program's rays until the last is done.

Floor: 36 bytes a ray, 12 bytes a sample written, and one random byte an interval that is looked up. The walk runs
twice, to count and to write: the second finds the grid in the cache, and nothing waits for a number in between.
"""

from __future__ import annotations

import math

import torch
import triton
import triton.language as tl
from torch import Tensor

from kernels.launch import ceil_div, launch
from kernels.traverse import Traversed

RAYS = 64


@triton.jit
def _position(u, near, step, knee, at_knee, growth, CONE: tl.constexpr):
    t = near + u * step
    if CONE:
        t = tl.where(u <= at_knee, t, knee * tl.exp((u - at_knee) * growth))
    return t


@triton.jit
def _place(t, near, step, knee, at_knee, growth, CONE: tl.constexpr):
    u = (t - near) / step
    if CONE:
        u = tl.where(t <= knee, u, at_knee + tl.log(tl.maximum(t / knee, 1e-30)) / growth)
    return u


@triton.jit
def _finite(x):
    return tl.abs(x) < float("inf")


@triton.jit
def _cell(x, centre, reach, SIZE: tl.constexpr):
    """Index along an axis of a point in the cascade centre +- reach."""
    place = ((x - centre) / reach + 1.0) * (0.5 * SIZE)
    return tl.minimum(tl.maximum(place, 0.0), SIZE - 1.0).to(tl.int32)


@triton.jit
def _leaving(o, d, index, entry, centre, reach, SIZE: tl.constexpr):
    """Where the ray leaves the slab of cells around `index` that are known to be empty."""
    width = 2.0 * reach / SIZE
    first = tl.maximum(index - entry + 1, 0).to(tl.float32)
    last = tl.minimum(index + entry, SIZE).to(tl.float32)
    bound = centre - reach + width * tl.where(d > 0, last, first)
    return tl.where(tl.abs(d) > 1e-30, (bound - o) / tl.where(d == 0, 1.0, d), float("inf"))


@triton.jit
def _clip(o, d, enter, leave, centre, reach):
    """The part of enter .. leave inside the slab centre +- reach; empty when the ray passes beside it."""
    low, high = centre - reach, centre + reach
    along = d != 0
    safe = tl.where(along, d, 1.0)
    one, two = (low - o) / safe, (high - o) / safe
    enter = tl.where(along, tl.maximum(enter, tl.minimum(one, two)), enter)
    leave = tl.where(along, tl.minimum(leave, tl.maximum(one, two)), leave)
    return enter, tl.where(along | ((o >= low) & (o <= high)), leave, -float("inf"))


@triton.jit
def walk_kernel(
    origins, directions, near_, far_, phases, distances, box, counts, ray_start, t0_, t1_, rays_,
    rays, step, cone, growth, limit, capacity,
    CASCADES: tl.constexpr, SIZE: tl.constexpr, CONE: tl.constexpr, WRITE: tl.constexpr, RAYS: tl.constexpr,
):  # fmt: skip
    """Counts the samples of RAYS rays, or with WRITE puts those below `capacity` at their places."""
    ray = tl.program_id(0).to(tl.int64) * RAYS + tl.arange(0, RAYS)
    there = ray < rays
    ox = tl.load(origins + 3 * ray, mask=there, other=0.0)
    oy = tl.load(origins + 3 * ray + 1, mask=there, other=0.0)
    oz = tl.load(origins + 3 * ray + 2, mask=there, other=0.0)
    dx = tl.load(directions + 3 * ray, mask=there, other=0.0)
    dy = tl.load(directions + 3 * ray + 1, mask=there, other=0.0)
    dz = tl.load(directions + 3 * ray + 2, mask=there, other=0.0)
    near = tl.load(near_ + ray, mask=there, other=0.0)
    far = tl.load(far_ + ray, mask=there, other=0.0)
    phase = tl.load(phases + ray, mask=there, other=0.0)
    alive = there & _finite(ox) & _finite(oy) & _finite(oz) & _finite(dx) & _finite(dy) & _finite(dz)
    alive &= _finite(near) & _finite(far) & _finite(phase)
    ox, oy, oz = tl.where(alive, ox, 0.0), tl.where(alive, oy, 0.0), tl.where(alive, oz, 0.0)
    dx, dy, dz = tl.where(alive, dx, 0.0), tl.where(alive, dy, 0.0), tl.where(alive, dz, 0.0)
    near, far, phase = tl.where(alive, near, 0.0), tl.where(alive, far, 0.0), tl.where(alive, phase, 0.0)
    cx = 0.5 * (tl.load(box) + tl.load(box + 3))
    cy = 0.5 * (tl.load(box + 1) + tl.load(box + 4))
    cz = 0.5 * (tl.load(box + 2) + tl.load(box + 5))
    hx = 0.5 * (tl.load(box + 3) - tl.load(box))
    hy = 0.5 * (tl.load(box + 4) - tl.load(box + 1))
    hz = 0.5 * (tl.load(box + 5) - tl.load(box + 2))
    knee, at_knee = near, near * 0.0
    if CONE:
        knee = tl.maximum(near, step / cone)
        at_knee = (knee - near) / step
    # The widest cascade, a hair enlarged: intervals are still tested one by one.
    widest: tl.constexpr = 1.0001 * 2.0 ** (CASCADES - 1)
    enter, leave = _clip(ox, dx, near, far, cx, hx * widest)
    enter, leave = _clip(oy, dy, enter, leave, cy, hy * widest)
    enter, leave = _clip(oz, dz, enter, leave, cz, hz * widest)
    alive &= enter <= leave
    enter = tl.where(alive, enter, near)
    start = _place(enter, near, step, knee, at_knee, growth, CONE) - phase
    k = tl.maximum(tl.floor(tl.where(alive, start, 0.0)).to(tl.int32) - 1, 0)
    found = tl.zeros([RAYS], tl.int32)
    first = tl.zeros([RAYS], tl.int64)
    if WRITE:
        first = tl.load(ray_start + ray, mask=there, other=0)
    while tl.max(alive.to(tl.int32), 0) > 0:
        u = k.to(tl.float32) + phase
        t0 = _position(u, near, step, knee, at_knee, growth, CONE)
        t1 = _position(k.to(tl.float32) + 1.0 + phase, near, step, knee, at_knee, growth, CONE)
        t = 0.5 * (t0 + t1)
        alive &= (t < far) & (t <= leave)
        x, y, z = ox + t * dx, oy + t * dy, oz + t * dz
        away = tl.maximum(tl.maximum(tl.abs((x - cx) / hx), tl.abs((y - cy) / hy)), tl.abs((z - cz) / hz))
        cascade = tl.zeros([RAYS], tl.int32)
        wide = tl.full([RAYS], 1.0, tl.float32)
        for c in tl.static_range(CASCADES):
            further = away > 2.0**c
            cascade = tl.where(further, c + 1, cascade)
            wide = tl.where(further, 2.0 ** (c + 1), wide)
        inside = cascade < CASCADES
        i = _cell(x, cx, hx * wide, SIZE)
        j = _cell(y, cy, hy * wide, SIZE)
        m = _cell(z, cz, hz * wide, SIZE)
        row = ((cascade.to(tl.int64) * SIZE + i) * SIZE + j) * SIZE + m
        entry = tl.load(distances + row, mask=alive & inside, other=255).to(tl.int32)
        keep = alive & (entry == 0)
        if WRITE:
            place = first + found
            fits = keep & (place < capacity)
            tl.store(t0_ + place, t0, mask=fits)
            tl.store(t1_ + place, t1, mask=fits)
            tl.store(rays_ + place, ray.to(tl.int32), mask=fits)
        found += keep.to(tl.int32)
        alive &= found < limit
        out = tl.minimum(
            tl.minimum(
                _leaving(ox, dx, i, entry, cx, hx * wide, SIZE), _leaving(oy, dy, j, entry, cy, hy * wide, SIZE)
            ),
            tl.minimum(_leaving(oz, dz, m, entry, cz, hz * wide, SIZE), leave),
        )
        # The interval that holds the way out is tested again: rounding must not skip what lies behind it.
        jumps = alive & (entry > 0) & inside
        ahead = _place(tl.where(jumps, out, near), near, step, knee, at_knee, growth, CONE) - phase
        k = tl.where(jumps, tl.maximum(k + 1, tl.floor(ahead).to(tl.int32) - 1), k + 1)
    if not WRITE:
        tl.store(counts + ray, found, mask=there)


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
    rays = [t.contiguous() for t in (origins, directions, near, far, phases)]
    grid = [distances.contiguous(), box.to(near).contiguous()]
    count, device = len(near), near.device
    counts = torch.empty(count, dtype=torch.int32, device=device)
    numbers = (count, float(step), float(cone), math.log1p(cone), limit)
    constants = {"CASCADES": len(distances), "SIZE": distances.shape[1], "CONE": cone > 0, "RAYS": RAYS, "num_warps": 2}
    blocks = (ceil_div(count, RAYS),)
    launch(walk_kernel, blocks, *rays, *grid, counts, None, None, None, None, *numbers, 0, WRITE=False, **constants)
    start = torch.zeros(count + 1, dtype=torch.int64, device=device)
    torch.cumsum(counts, dim=0, dtype=torch.int64, out=start[1:])
    total = start[-1].clone()
    size = int(total) if capacity is None else capacity
    t0, t1 = (torch.zeros(size, device=device) for _ in range(2))
    ray = torch.zeros(size, dtype=torch.int32, device=device)
    launch(walk_kernel, blocks, *rays, *grid, None, start, t0, t1, ray, *numbers, size, WRITE=True, **constants)
    return Traversed(t0, t1, ray, start.clamp(max=size), total)
