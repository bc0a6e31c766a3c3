"""The Triton traversal: a ray a lane, the same turn of the loop as on the CPU; count, sum up, write.

Floor: 12 bytes a sample written, 36 a ray read twice, and a look-up of one byte a cell or empty cube crossed, of which
those of neighbouring rays lie together (a grid of 128^3 is 2 MB and stays in the second-level cache). The loop is
bound by latency: few rays a program keep the wait for the longest ray short, many programs hide the look-ups.
"""

# pyright: reportGeneralTypeIssues=false, reportOperatorIssue=false
from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from kernels.launch import ceil_div, launch
from kernels.traverse import Traversed, first_rows

RAYS = 32
"""Rays a program: a warp's, so that none waits for another warp."""
CELLS = 1024
"""Cells a program in a pass of the distance transform."""


@triton.jit
def _t(k, near, phase, a, at_a, at_b, step, rate, longest, CONE: tl.constexpr):
    """t of lattice sample k: linear up to a, geometric up to b, linear behind."""
    p = k + phase
    linear = near + p * step
    if CONE:
        growing = a * tl.exp2((tl.minimum(p, at_b) - at_a) * rate)
        return tl.where(p < at_a, linear, growing + tl.maximum(p - at_b, 0.0) * longest)
    return linear


@triton.jit
def _first_from(t, near, phase, a, at_a, b, step, rate, longest, cone, CONE: tl.constexpr):
    """A k such that the midpoints of all samples before it lie before t."""
    p = (t - near) / step
    if CONE:
        growing = at_a + tl.log2(tl.maximum(tl.minimum(t, b), a) / a) / rate + tl.maximum(t - b, 0.0) / longest
        p = tl.where(t > a, growing, p)
    p = p - phase - (0.5 + 0.25 * cone)
    return tl.ceil(tl.minimum(tl.maximum(p, 0.0), 1073741824.0))


@triton.jit
def _slab(o, d, outer, enter, leave):
    """The span narrowed to where |o + t d| < outer, and 1 / |d|."""
    inverse = tl.where(tl.abs(d) > 1e-30, 1.0 / tl.where(tl.abs(d) > 1e-30, d, 1.0), 1e30)
    one, other = (-outer - o) * inverse, (outer - o) * inverse
    return tl.maximum(enter, tl.minimum(one, other)), tl.minimum(leave, tl.maximum(one, other)), tl.abs(inverse)


@triton.jit
def _way_out(place, corner, d, inverse, cube, cells):
    """Cells of cascade 0 along the ray until the cube of cells around `corner` is left on this axis, times 2^-c."""
    up = tl.minimum(corner + 1.0 + cube, cells) - place
    down = place - tl.maximum(corner - cube, 0.0)
    return (tl.where(d < 0, down, up) - 0.00390625) * inverse


@triton.jit
def traverse_kernel(  # noqa: C901
    origins_ptr, directions_ptr, near_ptr, far_ptr, phases_ptr, rays, distances_ptr, box_ptr, cells, step, cone, rate,
    limit, counts_ptr, start_ptr, t0_ptr, t1_ptr, owner_ptr,
    CASCADES: tl.constexpr, CONE: tl.constexpr, WRITE: tl.constexpr, RAYS: tl.constexpr,
):  # fmt: skip
    """Counts the samples of RAYS rays, or writes those of the rays that have room."""
    ray = tl.program_id(0).to(tl.int64) * RAYS + tl.arange(0, RAYS)
    there = ray < rays
    near = tl.load(near_ptr + ray, mask=there, other=0.0)
    far = tl.load(far_ptr + ray, mask=there, other=0.0)
    phase = tl.load(phases_ptr + ray, mask=there, other=0.0)
    size = cells.to(tl.float32)
    half = 0.5 * size
    outer = half * (1 << (CASCADES - 1))
    low_x, low_y, low_z = tl.load(box_ptr), tl.load(box_ptr + 1), tl.load(box_ptr + 2)
    high_x, high_y, high_z = tl.load(box_ptr + 3), tl.load(box_ptr + 4), tl.load(box_ptr + 5)
    edge = tl.minimum(tl.minimum(high_x - low_x, high_y - low_y), high_z - low_z) / size
    longest = tl.maximum(edge * (1 << (CASCADES - 1)), step)
    scale_x, scale_y, scale_z = size / (high_x - low_x), size / (high_y - low_y), size / (high_z - low_z)
    ox = (tl.load(origins_ptr + 3 * ray, mask=there, other=0.0) - 0.5 * (low_x + high_x)) * scale_x
    oy = (tl.load(origins_ptr + 3 * ray + 1, mask=there, other=0.0) - 0.5 * (low_y + high_y)) * scale_y
    oz = (tl.load(origins_ptr + 3 * ray + 2, mask=there, other=0.0) - 0.5 * (low_z + high_z)) * scale_z
    dx = tl.load(directions_ptr + 3 * ray, mask=there, other=0.0) * scale_x
    dy = tl.load(directions_ptr + 3 * ray + 1, mask=there, other=0.0) * scale_y
    dz = tl.load(directions_ptr + 3 * ray + 2, mask=there, other=0.0) * scale_z
    enter, leave = tl.full([RAYS], -1e30, tl.float32), tl.full([RAYS], 1e30, tl.float32)
    enter, leave, inverse_x = _slab(ox, dx, outer, enter, leave)
    enter, leave, inverse_y = _slab(oy, dy, outer, enter, leave)
    enter, leave, inverse_z = _slab(oz, dz, outer, enter, leave)

    a, at_a, b, at_b = near, near, near, near
    if CONE:
        a = tl.maximum(near, step / cone)
        b = tl.maximum(a, longest / cone)
        at_a = (a - near) / step
        at_b = at_a + tl.log2(b / a) / rate
    end = tl.minimum(far, leave + tl.abs(leave) * 1e-5)
    enter = enter - tl.abs(enter) * 1e-5
    k = tl.maximum(_first_from(enter, near, phase, a, at_a, b, step, rate, longest, cone, CONE) - 1.0, 0.0)
    room = tl.full([RAYS], limit, tl.int32)
    at = tl.zeros([RAYS], tl.int64)
    if WRITE:
        at = tl.load(start_ptr + ray, mask=there, other=0)
        room = (tl.load(start_ptr + ray + 1, mask=there, other=0) - at).to(tl.int32)
    total = tl.zeros([RAYS], tl.int32)
    t0 = _t(k, near, phase, a, at_a, at_b, step, rate, longest, CONE)
    t1 = _t(k + 1.0, near, phase, a, at_a, at_b, step, rate, longest, CONE)
    middle = 0.5 * (t0 + t1)
    alive = there & (enter < end) & (middle < end) & (room > 0)
    while tl.max(alive.to(tl.int32), 0) > 0:
        x, y, z = ox + dx * middle, oy + dy * middle, oz + dz * middle
        factor, cell = tl.full([RAYS], 1.0, tl.float32), tl.full([RAYS], 0, tl.int32)
        if CASCADES > 1:
            reach = tl.maximum(tl.maximum(tl.abs(x), tl.abs(y)), tl.abs(z))
            length = tl.full([RAYS], 0.999, tl.float32) * step
            if CONE:
                length = 0.999 * tl.minimum(tl.maximum(cone * t0, step), longest)
            for c in tl.static_range(CASCADES - 1):
                coarser = (reach >= half * (1 << c)) | (edge * (1 << c) < length)
                factor = tl.where(coarser, factor * 0.5, factor)
                cell += coarser.to(tl.int32)
        x, y, z = x * factor + half, y * factor + half, z * factor + half
        inside = alive & (x >= 0) & (x < size) & (y >= 0) & (y < size) & (z >= 0) & (z < size)
        i, j, m = (
            tl.where(inside, x, 0.0).to(tl.int32),
            tl.where(inside, y, 0.0).to(tl.int32),
            tl.where(inside, z, 0.0).to(tl.int32),
        )
        place = ((cell * cells + i) * cells + j).to(tl.int64) * cells + m
        distance = tl.load(distances_ptr + place, mask=inside, other=1).to(tl.int32)
        cube = tl.maximum(distance - 1, 0).to(tl.float32)
        leap = _way_out(x, i.to(tl.float32), dx, inverse_x, cube, size)
        leap = tl.minimum(leap, _way_out(y, j.to(tl.float32), dy, inverse_y, cube, size))
        leap = tl.minimum(leap, _way_out(z, m.to(tl.float32), dz, inverse_z, cube, size))
        target = middle + tl.maximum(leap, 0.0) / factor
        if CONE and CASCADES > 1:  # longer samples may belong to the next cascade
            target = tl.where(cell < CASCADES - 1, tl.minimum(target, edge / factor / cone * 0.998), target)
        stop = _first_from(target, near, phase, a, at_a, b, step, rate, longest, cone, CONE)
        stop = tl.where(inside, tl.maximum(stop, k + 1.0), k + 1.0)
        # One by one through the run of an occupied cell, in one leap through empty ones.
        emitting = inside & (distance == 0)
        k = tl.where(emitting, k, stop)
        while tl.max(emitting.to(tl.int32), 0) > 0:
            if WRITE:
                tl.store(t0_ptr + at, t0, mask=emitting)
                tl.store(t1_ptr + at, t1, mask=emitting)
                tl.store(owner_ptr + at, ray.to(tl.int32), mask=emitting)
                at += emitting.to(tl.int64)
            total += emitting.to(tl.int32)
            k = tl.where(emitting, k + 1.0, k)
            t0 = tl.where(emitting, t1, t0)
            t1 = tl.where(emitting, _t(k + 1.0, near, phase, a, at_a, at_b, step, rate, longest, CONE), t1)
            emitting = emitting & (k < stop) & (0.5 * (t0 + t1) < end) & (total < room)
        t0 = _t(k, near, phase, a, at_a, at_b, step, rate, longest, CONE)
        t1 = _t(k + 1.0, near, phase, a, at_a, at_b, step, rate, longest, CONE)
        middle = 0.5 * (t0 + t1)
        alive = alive & (middle < end) & (k < 1073741824.0) & (total < room)
    if not WRITE:
        tl.store(counts_ptr + ray, total, mask=there)


@triton.jit
def distance_kernel(in_ptr, out_ptr, count, cells, stride, limit, CELLS: tl.constexpr):
    """Along one axis: the least over j of max(|j|, in at j cells away)."""
    cell = tl.program_id(0).to(tl.int64) * CELLS + tl.arange(0, CELLS)
    there = cell < count
    place = (cell // stride) % cells
    found = tl.load(in_ptr + cell, mask=there, other=255).to(tl.int32)
    for j in range(1, limit):
        up = tl.load(in_ptr + cell + j * stride, mask=there & (place + j < cells), other=255).to(tl.int32)
        down = tl.load(in_ptr + cell - j * stride, mask=there & (place >= j), other=255).to(tl.int32)
        found = tl.minimum(found, tl.maximum(tl.minimum(up, down), j))
    tl.store(out_ptr + cell, tl.minimum(found, limit).to(tl.uint8), mask=there)


def traverse(
    rays: tuple[Tensor, ...],
    distances: Tensor,
    box: Tensor,
    step: float,
    cone: float,
    limit: int,
    capacity: int | None,
) -> Traversed:
    """See `kernels.traverse.traverse`."""
    near, cascades = rays[2], len(distances)
    rate = float(torch.log2(torch.tensor(1 + cone, dtype=torch.float64)))
    arguments: tuple[Any, ...] = (*rays, len(near), distances, box, distances.shape[1], step, cone, rate, limit)
    constants = {"CASCADES": cascades, "CONE": cone > 0, "RAYS": RAYS}
    programs = (ceil_div(len(near), RAYS),)
    counts = torch.empty(len(near), dtype=torch.int32, device=near.device)
    launch(
        traverse_kernel, programs, *arguments, counts, None, None, None, None, WRITE=False, num_warps=1, **constants
    )  # fmt: skip
    ray_start = first_rows(counts, capacity)
    if capacity is None:
        rows = int(ray_start[-1])  # waits for the GPU
        t0, t1 = near.new_empty(rows), near.new_empty(rows)
        owner = torch.empty(rows, dtype=torch.int32, device=near.device)
    else:
        t0, t1 = near.new_zeros(capacity), near.new_zeros(capacity)
        owner = torch.zeros(capacity, dtype=torch.int32, device=near.device)
    launch(
        traverse_kernel, programs, *arguments, None, ray_start, t0, t1, owner, WRITE=True, num_warps=1, **constants
    )  # fmt: skip
    return Traversed(t0, t1, owner, ray_start, counts)


def distance_grid(occupied: Tensor, limit: int) -> Tensor:
    """See `kernels.traverse.distance_grid`."""
    distances = torch.where(occupied, 0, limit).to(torch.uint8)
    cells = occupied.shape[1]
    for stride in (1, cells, cells * cells):
        passed = torch.empty_like(distances)
        grid = (ceil_div(occupied.numel(), CELLS),)
        launch(distance_kernel, grid, distances, passed, occupied.numel(), cells, stride, limit, CELLS=CELLS)
        distances = passed
    return distances
