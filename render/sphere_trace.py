"""Sphere tracing (Hart 1996): pictures of the surface where a signed distance function is 0.

The world is the cube [-1, 1]^3 and the surface lies inside it. A learned field is not an exact distance, so a ray goes
a fraction of it at a time, and where it stepped over the surface the crossing is found between its last two points.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from render.camera import Camera, camera_rays
from render.colour import to_space
from render.frame import Control
from render.march import Bundle, bundle, inside_box

SignedField = Callable[[Tensor], Tensor]
"""[P, 3] float32 world points to [P] distances, negative inside."""
CUBE = torch.tensor([[-1.0] * 3, [1.0] * 3])
CHUNK = 1 << 16
"""Rays traced at once."""
MOST_STEPS = 128
FACTOR = 0.9
"""Of the field's value that a ray goes forward."""
SHORTEST, LONGEST = 1e-3, 0.25
"""World units of a step: below, grazing rays take for ever; above, a wrong value far away would jump over the shape."""
CLOSE = 2e-5
"""World units at which a ray has arrived."""
REFINEMENTS = 4
NORMAL_STEP = 2e-3
"""World units between a point and its neighbours where its normal is measured."""
CLAY = (0.80, 0.74, 0.68)
"""Colour of a shape in linear light."""
SLICE_CONTROLS = (
    Control("slice axis", "choice", "z", choices=("x", "y", "z")),
    Control("slice offset", "slider", 0.0, range=(-1.0, 1.0)),
)
"""Where the slice of `slice_picture` lies, its offset in half sides of the box."""


class Traced(NamedTuple):
    """Flat over the rays [R]: hit (bool), t (distance along the ray, 0 without a hit), positions [R, 3]."""

    hit: Tensor
    t: Tensor
    positions: Tensor


@torch.no_grad()
def trace(field: SignedField, rays: Bundle) -> Traced:
    """Where rays first meet the surface, or at once where they begin inside it; rays with an empty span miss.

    Rays that arrive or leave their span are not asked for again. Where the sign changes between two points the crossing
    between them is found by regula falsi (Illinois), so a thin part is not stepped over once a point lies in it.
    """
    live = (rays.far > rays.near).nonzero()[:, 0]
    hit, found = torch.zeros_like(rays.near, dtype=torch.bool), torch.zeros_like(rays.near)
    t, previous = rays.near[live], rays.near[live]
    before = torch.full_like(t, torch.inf)
    crossed: list[tuple[Tensor, ...]] = []
    for _ in range(MOST_STEPS):
        if len(live) == 0:
            break
        value = field(rays.origins[live] + t[:, None] * rays.directions[live])
        inside, near = value <= 0, value.abs() < CLOSE
        through = inside & before.isfinite() & ~near
        crossed.append(tuple(v[through] for v in (live, previous, before, t, value)))
        arrived = (inside | near) & ~through
        hit[live[arrived]], found[live[arrived]] = True, t[arrived]
        previous, before = t, value
        t = t + (FACTOR * value).clamp(SHORTEST, LONGEST)
        on = ~(inside | near) & (t < rays.far[live])
        live, t, previous, before = live[on], t[on], previous[on], before[on]
    which, *ends = (torch.cat(parts) for parts in zip(*crossed, strict=True)) if crossed else (live, t, t, t, t)
    hit[which], found[which] = True, crossing(field, rays.origins[which], rays.directions[which], *ends)
    return Traced(hit, found, rays.origins + found[:, None] * rays.directions)


def crossing(
    field: SignedField, origins: Tensor, directions: Tensor, a: Tensor, at_a: Tensor, b: Tensor, at_b: Tensor
) -> Tensor:
    """t [R] between `a`, where the field is `at_a` > 0, and `b`, where it is `at_b` <= 0, at which it is about 0."""
    if len(a) == 0:
        return a
    for _ in range(REFINEMENTS):
        middle = a + (b - a) * (at_a / (at_a - at_b)).clamp(0.02, 0.98)
        value = field(origins + middle[:, None] * directions)
        outside = value > 0
        # The end that stays counts half the next time, or one end would never move (the Illinois rule).
        at_a, at_b = torch.where(outside, value, 0.5 * at_a), torch.where(outside, 0.5 * at_b, value)
        a, b = torch.where(outside, middle, a), torch.where(outside, b, middle)
    return a + (b - a) * (at_a / (at_a - at_b).clamp(min=1e-12)).clamp(0, 1)


@torch.no_grad()
def normals(field: SignedField, positions: Tensor, step: float = NORMAL_STEP) -> Tensor:
    """[P, 3] unit gradients of the field at positions [P, 3], from differences over the corners of a tetrahedron.

    Four values of the field instead of the six of central differences, and as exact to second order.
    """
    corners = positions.new_tensor([[1, -1, -1], [-1, -1, 1], [-1, 1, -1], [1, 1, 1]])
    values = field((positions[:, None] + step * corners).reshape(-1, 3)).reshape(-1, 4)
    return torch.nn.functional.normalize(values @ corners, dim=1)


class Surface(NamedTuple):
    """Pictures [H, W, C]: alpha, depth (z in the camera's frame, 0 without a hit), normal (world, 0 without a hit).

    normal is None where it was not asked for; towards: [H, W, 3] from the surface to the camera.
    """

    alpha: Tensor
    depth: Tensor
    normal: Tensor | None
    towards: Tensor


@torch.no_grad()
def trace_picture(
    field: SignedField, camera: Camera, *, device: torch.device | str = "cpu", with_normals: bool = True
) -> Surface:
    """The surface as a camera sees it, CHUNK rays at once, on `device`; a camera inside the surface is hit at once."""
    rays = cube_rays(camera, device)
    forward = camera.world_from_camera[:3, 2].to(device)
    alpha, depth = rays.near.new_zeros(len(rays)), rays.near.new_zeros(len(rays))
    normal = torch.zeros_like(rays.directions)
    for part in torch.arange(len(rays), device=rays.near.device).split(CHUNK):
        found = trace(field, Bundle(*(value[part] for value in vars(rays).values())))
        seen = part[found.hit]
        alpha[seen], depth[seen] = 1.0, found.t[found.hit] * (rays.directions[seen] @ forward)
        if with_normals and len(seen):
            normal[seen] = normals(field, found.positions[found.hit])
    shape = (camera.height, camera.width, -1)
    return Surface(
        alpha.reshape(shape),
        depth.reshape(shape),
        normal.reshape(shape) if with_normals else None,
        -rays.directions.reshape(shape),
    )


def cube_rays(camera: Camera, device: torch.device | str, box: Tensor = CUBE) -> Bundle:
    """The rays of a camera, row by row, cut to `box` [2, 3]."""
    rays = bundle(camera_rays(camera), 0.0, torch.inf)
    rays = Bundle(*(value.to(device).contiguous() for value in vars(rays).values()))
    return inside_box(rays, box.to(rays.near))


def shaded(surface: Surface) -> Tensor:
    """[H, W, 3] display colours (sRGB) of clay under a headlight and a soft sky, over white; needs the normals."""
    if surface.normal is None:
        raise ValueError("shaded: the surface was traced without normals; ask for them")
    head = (surface.normal * surface.towards).sum(dim=-1, keepdim=True).clamp(min=0)
    sky = 0.5 + 0.5 * surface.normal @ surface.normal.new_tensor([0.35, 0.80, 0.49])
    light = surface.normal.new_tensor(CLAY) * (0.03 + 0.62 * head.square() + 0.35 * sky[..., None].square())
    return torch.where(surface.alpha > 0, to_space(light.clamp(0, 1), "linear", "srgb"), 1.0)


@torch.no_grad()
def slice_picture(
    field: SignedField,
    camera: Camera,
    axis: Literal["x", "y", "z"],
    offset: float,
    device: torch.device | str = "cpu",
    box: Tensor = CUBE,
) -> Tensor:
    """[H, W, 1] of the field on the plane `axis` = `offset` where a ray meets it in `box` [2, 3], 0 elsewhere."""
    rays, index = cube_rays(camera, device, box), "xyz".index(axis)
    slope = rays.directions[:, index]
    t = (offset - rays.origins[:, index]) / torch.where(slope.abs() > 1e-9, slope, torch.inf)
    points = rays.origins + t[:, None] * rays.directions
    low, high = box.to(points)
    rounding = 1e-6 * (high - low)
    inside = ((points >= low - rounding) & (points <= high + rounding)).all(dim=1)
    met = (slope.abs() > 1e-9) & (t > 0) & inside
    values = torch.zeros_like(t)
    for part in met.nonzero()[:, 0].split(CHUNK):
        values[part] = field(points[part])
    return values.reshape(camera.height, camera.width, 1)
