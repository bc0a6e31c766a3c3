"""march: the one driver that takes rays through a volume, for training and for pictures.

A sampler says where along the rays to look, a field what is there, `kernels.composite` what is seen. What is composited
is up to the field: colours, or features that it decodes once a ray (deferred shading). `t` is in world units.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from kernels.composite import composite
from render.camera import Camera, Rays, camera_rays
from render.frame import Frame


@dataclass(frozen=True)
class Bundle:
    """A flat list of rays: origins, directions (unit) [R, 3]; near, far, radius (a unit of distance) [R]."""

    origins: Tensor
    directions: Tensor
    near: Tensor
    far: Tensor
    radius: Tensor

    def __len__(self) -> int:
        return len(self.near)


@dataclass(frozen=True)
class Samples:
    """Intervals along rays, packed: ray r has the rows ray_start[r] : ray_start[r + 1]; further rows are padding.

    t0, t1: [S]. rays: [S] int32, the ray of each. positions: [S, 3] where samples lie off their rays' midpoints.
    alpha_scale: [S] factors of alpha.
    """

    t0: Tensor
    t1: Tensor
    rays: Tensor
    ray_start: Tensor
    positions: Tensor | None = None
    alpha_scale: Tensor | None = None


@dataclass(frozen=True)
class Context:
    """What a sampler may depend on. generator: on the rays' device, for a training step's randomness.

    view: index of the view that the rays belong to, where they belong to one.
    """

    training: bool = False
    step: int = 0
    generator: torch.Generator | None = None
    view: int | None = None


class VolumeField(Protocol):
    """A scene as a density and whatever is composited with it."""

    def density(self, x: Tensor, radius: Tensor) -> Tensor:
        """[P] per world unit at `x` [P, 3], seen through cones of `radius` [P] there."""
        ...

    def __call__(self, x: Tensor, d: Tensor, radius: Tensor) -> tuple[Tensor, Tensor]:
        """Density [P] and values [P, C] at `x`, seen along `d` [P, 3]."""
        ...

    def decode(self, values: Tensor, rays: Bundle) -> Tensor:
        """Colours [R, 3] (weighted by opacity, no background) of composited `values` [R, C]."""
        ...


class Sampler(Protocol):
    """Where to look along rays: uniform, occupancy, proposal, projection-aware."""

    def __call__(self, rays: Bundle, field: VolumeField, context: Context) -> Samples:
        """Samples in order of depth along each ray."""
        ...


class Marched(NamedTuple):
    """rgb: [R, 3] over the background. alpha: [R]. depth: [R] sum of weight times t (divide by alpha for the mean).

    weights: [S] of the samples.
    """

    rgb: Tensor
    alpha: Tensor
    depth: Tensor
    samples: Samples
    weights: Tensor


def march(
    field: VolumeField,
    sampler: Sampler,
    rays: Bundle,
    context: Context,
    background: Tensor,
    *,
    threshold: float = 1e-4,
    invisible: float = 0.0,
) -> Marched:
    """Render `rays` over `background` ([3] or [R, 3]).

    threshold: a ray stops where less than that is left of it. invisible: when not training, samples whose weight is at
    most this are found by density alone and the field is not asked for their values (waits once for the device); 0
    asks for all values at once.
    """
    samples = sampler(rays, field, context)
    owner = samples.rays.long()
    middle = 0.5 * (samples.t0 + samples.t1)
    x = samples.positions
    if x is None:
        x = rays.origins[owner] + middle[:, None] * rays.directions[owner]
    radius, directions = rays.radius[owner] * middle, rays.directions[owner]

    def compose(density: Tensor, values: Tensor):
        scale = samples.alpha_scale
        return composite(
            density, values, samples.t0, samples.t1, samples.ray_start, alpha_scale=scale, threshold=threshold
        )

    if context.training or invisible <= 0:
        found = compose(*field(x, directions, radius))
        values = found.values
    else:
        density = field.density(x, radius)
        found = compose(density, density[:, None])
        seen = (found.weights > invisible).nonzero()[:, 0]
        _, some = field(x[seen], directions[seen], radius[seen])
        values = weighted_sums(some, found.weights[seen], owner[seen], found.opacity)
    rgb = field.decode(values, rays) + (1 - found.opacity)[:, None] * background
    return Marched(rgb, found.opacity, found.depth, samples, found.weights)


def weighted_sums(values: Tensor, weights: Tensor, owner: Tensor, opacity: Tensor) -> Tensor:
    """[R, C] sums of `values` [S, C] by `weights` [S] over the samples of each ray, scaled to the ray's opacity [R].

    owner: [S] int64, ascending. The scale gives the samples that were left out the mean of those that were not.
    """
    counts = torch.bincount(owner, minlength=len(opacity))
    rows = torch.cat([weights[:, None] * values, weights[:, None]], dim=1)
    sums = torch.segment_reduce(rows, "sum", lengths=counts, axis=0, unsafe=True)
    return sums[:, :-1] * (opacity / sums[:, -1].clamp(min=1e-10))[:, None]


def bundle(rays: Rays, near: float | Tensor, far: float | Tensor) -> Bundle:
    """Rays of any leading shape as a flat list, with their spans (numbers, or tensors of the leading shape)."""
    origins = rays.origins.reshape(-1, 3)
    flat = origins.new_zeros(len(origins))
    radius = flat if rays.radius is None else rays.radius.reshape(-1)
    spans = [t.reshape(-1).to(flat) if isinstance(t, Tensor) else torch.full_like(flat, t) for t in (near, far)]
    return Bundle(origins, rays.directions.reshape(-1, 3), spans[0], spans[1], radius)


def inside_box(rays: Bundle, box: Tensor) -> Bundle:
    """The same rays with their spans cut to `box` [2, 3]; one that misses it has an empty span."""
    inverse = 1 / torch.where(rays.directions.abs() > 1e-12, rays.directions, 1e-12)
    ends = (box[:, None] - rays.origins) * inverse
    near = torch.maximum(rays.near, ends.amin(dim=0).amax(dim=1))
    far = torch.minimum(rays.far, ends.amax(dim=0).amin(dim=1))
    return replace(rays, near=near, far=torch.maximum(near, far))


@torch.no_grad()
def march_picture(
    field: VolumeField,
    sampler: Sampler,
    camera: Camera,
    *,
    near: float,
    far: float,
    background: Tensor,
    chunk: int = 1 << 15,
    threshold: float = 1e-4,
    invisible: float = 0.0,
) -> Frame:
    """ "rgb", "alpha" and "depth" (z in the camera's frame, the mean over what is seen), `chunk` rays at once.

    background: [3]; the picture is made, and returned, on its device.
    """
    rays = bundle(camera_rays(camera), near, far)
    device, context = background.device, Context()
    forward = camera.world_from_camera[:3, 2].to(device)
    parts = []
    for begin in range(0, len(rays), chunk):
        some = Bundle(*(t[begin : begin + chunk].to(device) for t in vars(rays).values()))
        found = march(field, sampler, some, context, background, threshold=threshold, invisible=invisible)
        mean = torch.where(found.alpha > 0, found.depth / found.alpha.clamp(min=1e-10), 0)
        z = mean * (some.directions @ forward)
        parts.append(torch.cat([found.rgb, found.alpha[:, None], z[:, None]], dim=1))
    picture = torch.cat(parts).reshape(camera.height, camera.width, 5)
    return Frame({"rgb": picture[..., :3], "alpha": picture[..., 3:4], "depth": picture[..., 4:]})
