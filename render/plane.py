"""A picture that hangs in the world: what of the plane z = 0 a camera sees, with enough rays a pixel."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from render.camera import Camera, camera_rays

MOST_RAYS = 4
"""A side, of the rays of a pixel."""


@dataclass(frozen=True)
class PlaneView:
    """xy: [P, 2] points of the picture in [0, 1]^2 that are seen. rays: [H', W'] bool, which rays see one.

    often: rays a pixel, a side. depth: [H, W, 1] z in the camera's frame at the pixels' centres, 0 beside the picture.
    """

    xy: Tensor
    rays: Tensor
    often: int
    depth: Tensor

    def picture(self, values: Tensor, *, background: float) -> Tensor:
        """[H, W, C] means over the rays of each pixel of values [P, C]; rays beside the picture see `background`."""
        full = torch.full((*self.rays.shape, values.shape[1]), background, dtype=values.dtype, device=values.device)
        full[self.rays] = values
        if self.often == 1:
            return full
        height, width = (side // self.often for side in self.rays.shape)
        return full.reshape(height, self.often, width, self.often, -1).mean(dim=(1, 3))


def plane_view(camera: Camera, width: int, height: int, device: torch.device | str = "cpu") -> PlaneView:
    """What `camera` sees of a picture of width x height pixels in the plane z = 0, from either side.

    The picture's middle is the origin, its longer side has length 1, x goes to its right and y down. Where a camera's
    pixel covers several of the picture's, up to 4 x 4 rays stand for it, so that a reduced picture does not flicker.
    """
    xy, depth = _hits(camera, width, height, device)
    often = _rays_needed(xy, width, height)
    inside = ((xy >= 0) & (xy <= 1)).all(dim=-1)
    depth = torch.where(inside, depth, 0)[..., None]
    if often > 1:
        xy, _ = _hits(camera.resized(camera.width * often, camera.height * often), width, height, device)
        inside = ((xy >= 0) & (xy <= 1)).all(dim=-1)
    return PlaneView(xy[inside], inside, often, depth)


def _hits(camera: Camera, width: int, height: int, device: torch.device | str) -> tuple[Tensor, Tensor]:
    """[H, W, 2] places on the picture, NaN where a ray does not meet its plane, and their depth [H, W]."""
    rays = camera_rays(camera)
    origins, directions = rays.origins.to(device), rays.directions.to(device)
    t = -origins[..., 2] / directions[..., 2]
    t = torch.where((t > 0) & torch.isfinite(t), t, torch.nan)
    point = origins + t[..., None] * directions
    longest = max(width, height)
    xy = point[..., :2] * point.new_tensor([longest / width, longest / height]) + 0.5
    forward = camera.world_from_camera[:3, 2].to(directions)
    return xy, t * (directions @ forward)


def _rays_needed(xy: Tensor, width: int, height: int) -> int:
    """Rays a side so that neighbouring ones are about a pixel of the picture apart, in the middle of what is seen."""
    across = (xy[:, 1:] - xy[:, :-1]) * xy.new_tensor([width, height])
    inside = ((xy >= 0) & (xy <= 1)).all(dim=-1)[:, 1:]
    steps = across.norm(dim=-1)[inside]
    steps = steps[torch.isfinite(steps)]
    if len(steps) == 0:
        return 1
    return min(MOST_RAYS, max(1, math.ceil(float(steps.median()) - 0.05)))
