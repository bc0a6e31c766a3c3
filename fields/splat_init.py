"""Where Gaussians start: at structure-from-motion points, or at random in the scene's bounds."""

from __future__ import annotations

import math

import torch
from scipy.spatial import KDTree
from torch import Tensor

from kernels.harmonics.reference import C0
from render.camera import project_points
from render.gaussians import GaussianCloud
from scenes.scene import PointCloud, Scene, View

CARVING_VIEWS = 24


def initial_cloud(
    scene: Scene, *, degree: int, most: int, random_points: int, opacity: float, scale: float, seed: int
) -> GaussianCloud:
    """At most `most` isotropic Gaussians of opacity `opacity`, as large as `scale` times the root mean square distance
    to the three nearest neighbours. A scene without a point cloud gets `random_points` in its bounds.
    """
    generator = torch.Generator().manual_seed(seed)
    points = scene.points or random_cloud(scene, min(random_points, most), generator)
    if len(points.xyz) > most:
        chosen = torch.randperm(len(points.xyz), generator=generator)[:most].sort().values
        points = PointCloud(points.xyz[chosen], points.rgb_srgb[chosen])
    n = len(points.xyz)
    log_scales = torch.log(scale * neighbour_distance(points.xyz, fallback=scene.extent * 0.1))
    quaternions = torch.zeros(n, 4)
    quaternions[:, 0] = 1
    return GaussianCloud(
        means=points.xyz.float().clone(),
        quaternions=quaternions,
        log_scales=log_scales[:, None].repeat(1, 3),
        opacity_logits=torch.full((n,), math.log(opacity / (1 - opacity))),
        dc=(points.rgb_srgb.float() - 0.5) / C0,
        rest=torch.zeros(n, (degree + 1) ** 2 - 1, 3),
    )


def neighbour_distance(xyz: Tensor, fallback: float) -> Tensor:
    """[N] root of the mean squared distance to the three nearest other points, at least 3e-4 of a unit;
    `fallback` for a point that has no neighbours.
    """
    k = min(4, len(xyz))
    if k < 2:
        return torch.full((len(xyz),), fallback)
    distance, _ = KDTree(xyz.numpy()).query(xyz.numpy(), k=k)
    squared = torch.from_numpy(distance[:, 1:] ** 2).mean(dim=1)
    return squared.clamp(min=1e-7).sqrt().float()


def random_cloud(scene: Scene, count: int, generator: torch.Generator) -> PointCloud:
    """`count` grey points, uniform in the scene's bounds; where the views have alpha, inside their visual hull.

    Carving is worth its second: points in empty space would have to be trained away.
    """
    low, high = scene.bounds[0], scene.bounds[1]
    by_name = {view.name: view for view in scene.views}
    views = [by_name[name] for name in scene.split.train]
    views = views[:: max(1, len(views) // CARVING_VIEWS)]
    kept, missing = [], count
    for attempt in range(64):
        xyz = low + torch.rand(4 * count, 3, generator=generator) * (high - low)
        inside = inside_hull(xyz, views)
        kept.append(xyz[inside][:missing])
        missing -= len(kept[-1])
        if missing == 0:
            break
        if attempt == 3 and missing > 0.99 * count:
            kept.append(xyz[:missing])  # masks agree on nothing: no hull to start from
            break
    xyz = torch.cat(kept)
    return PointCloud(xyz, torch.full_like(xyz, 0.5))


def inside_hull(xyz: Tensor, views: list[View]) -> Tensor:
    """[P] bool: inside the silhouette (alpha over one half) of every view that has alpha and the point in its frame."""
    inside = torch.ones(len(xyz), dtype=torch.bool)
    for view in views:
        alpha = view.load().alpha
        if alpha is None:
            continue
        pixel, depth = project_points(view.camera, xyz)
        column, row = pixel[:, 0].floor().long(), pixel[:, 1].floor().long()
        height, width = alpha.shape
        seen = (depth > 0) & (column >= 0) & (column < width) & (row >= 0) & (row < height)
        covered = alpha[row.clamp(0, height - 1), column.clamp(0, width - 1)] > 127
        inside &= ~seen | covered
    return inside
