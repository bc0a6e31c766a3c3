"""rasterize(): the one driver over the splat kernels, for training and for looking alike."""

from __future__ import annotations

from collections.abc import Set
from typing import NamedTuple

import torch
from torch import Tensor

from kernels.blend import blend
from kernels.harmonics import harmonics
from kernels.project import Lens, Projected, project
from kernels.project.reference import rotation_matrices
from kernels.tile import tile
from render.camera import Camera
from render.gaussians import GaussianCloud


class Rasterized(NamedTuple):
    """rgb: [H, W, 3] sRGB over the background. alpha: [H, W].

    depth: [H, W] expected z in world units, 0 where alpha is below 1/255, or None when not asked for.
    median_depth: [H, W] z of the Gaussian at which half the light is gone, 0 where more than that passes, or None.
    normal: [H, W, 3] expected world normal of unit length (0 where nothing is), or None.
    values: [H, W, D] expected value of the Gaussians' own numbers, 0 where alpha is below 1/255, or None.
    projected: the screen-space Gaussians; `centres` carries gradients, which densification reads.
    """

    rgb: Tensor
    alpha: Tensor
    depth: Tensor | None
    median_depth: Tensor | None
    normal: Tensor | None
    values: Tensor | None
    projected: Projected


def rasterize(
    cloud: GaussianCloud,
    camera: Camera,
    background_srgb: Tensor,
    *,
    channels: Set[str] = frozenset({"rgb"}),
    degree: int | None = None,
    antialiased: bool = False,
    eps2d: float = 0.3,
    values: Tensor | None = None,
    absolute_gradients: Tensor | None = None,
) -> Rasterized:
    """Draw a cloud as `camera` sees it, differentiably in the cloud's tensors and the background [3].

    channels: which of "rgb", "alpha", "depth", "median_depth", "normal" are wanted; rgb and alpha always come.
    degree: harmonics up to this degree only (None: all). values: [N, D] any numbers, drawn beside the colours.
    absolute_gradients: see `kernels.blend.blend`.
    Raises ValueError for an orthographic camera, which EWA splatting here does not cover.
    """
    if camera.projection != "perspective":
        raise ValueError("rasterize: splats need a perspective camera, got an orthographic one")
    lens = Lens(camera.fx, camera.fy, camera.cx, camera.cy, camera.width, camera.height)
    projected = project(
        cloud.means,
        cloud.quaternions,
        cloud.log_scales,
        cloud.opacity_logits,
        camera.camera_from_world.to(cloud.means),
        lens,
        eps2d=eps2d,
        antialiased=antialiased,
    )
    if projected.centres.requires_grad:
        projected.centres.retain_grad()
    visible = projected.extents[:, 0] > 0
    view = cloud.means - camera.centre.to(cloud.means)
    features = [harmonics(cloud.dc, cloud.rest, view, cloud.degree if degree is None else degree, mask=visible)]
    if "depth" in channels:
        features.append(projected.depths[:, None])
    if "normal" in channels:
        features.append(normals(cloud, view))
    if values is not None:
        features.append(values)
    backgrounds = [background_srgb] + [background_srgb.new_zeros(f.shape[1]) for f in features[1:]]
    tiles = tile(projected, camera.width, camera.height)
    image, alpha, median = blend(
        projected,
        torch.cat(features, dim=1) if len(features) > 1 else features[0],
        tiles,
        camera.width,
        camera.height,
        torch.cat(backgrounds) if len(backgrounds) > 1 else background_srgb,
        absolute_gradients=absolute_gradients,
        median="median_depth" in channels,
    )
    rgb, extra = image[..., :3], image[..., 3:]
    depth = normal = drawn_values = None
    share = (alpha >= 1 / 255) / alpha.clamp(min=1e-6)
    if "depth" in channels:
        depth, extra = extra[..., 0] * share, extra[..., 1:]
    if "normal" in channels:
        normal, extra = torch.nn.functional.normalize(extra[..., :3], dim=-1), extra[..., 3:]
    if values is not None:
        drawn_values = extra * share[..., None]
    median_depth = None
    if median is not None:
        depths = torch.cat([projected.depths, projected.depths.new_zeros(1)])  # index -1: no Gaussian
        median_depth = depths[median.long()]
    return Rasterized(rgb, alpha, depth, median_depth, normal, drawn_values, projected)


def normals(cloud: GaussianCloud, view: Tensor) -> Tensor:
    """[N, 3] the shortest axis of each Gaussian, turned against the viewing directions `view` [N, 3]."""
    rotations = rotation_matrices(torch.nn.functional.normalize(cloud.quaternions, dim=1))
    shortest = cloud.log_scales.argmin(dim=1)
    axes = rotations.gather(2, shortest[:, None, None].expand(-1, 3, 1))[..., 0]
    return torch.where((axes * view).sum(dim=1, keepdim=True) > 0, -axes, axes)
