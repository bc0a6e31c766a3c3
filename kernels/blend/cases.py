"""Inputs for blending: projected splats with features, sizes around the tile's, and the ends of the domain."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from kernels.project import Lens, reference
from kernels.project.cases import LENS, pose, random_cloud

DIFFERENTIABLE = ("centres", "factors", "opacities", "features", "background")


class BlendCase(NamedTuple):
    """`inputs` are the tensors by name (DIFFERENTIABLE, depths and extents)."""

    inputs: dict[str, Tensor]
    width: int
    height: int


def splats(n: int, channels: int, lens: Lens = LENS, seed: int = 0, log_scale: float = -2.0) -> BlendCase:
    """`n` random splats with `channels` features each on a picture of the lens's size."""
    return from_cloud(random_cloud(n, seed, log_scale), channels, lens, seed + 1)


def from_cloud(cloud: dict[str, Tensor], channels: int = 3, lens: Lens = LENS, seed: int = 0) -> BlendCase:
    """The given Gaussians, projected, with random features and background."""
    projected = reference.project(**cloud, camera_from_world=pose(), lens=lens, eps2d=0.3, antialiased=False)
    g = torch.Generator().manual_seed(seed)
    n = len(cloud["means"])
    inputs = {k: v.detach().clone() for k, v in projected._asdict().items()}
    inputs["features"] = torch.rand(n, channels, generator=g)
    inputs["background"] = torch.rand(channels, generator=g)
    return BlendCase(inputs, lens.width, lens.height)


def opaque_stack(n: int) -> BlendCase:
    """`n` opaque splats on one another: alpha is clamped to 0.99 and pixels stop early."""
    cloud = random_cloud(n, seed=11, log_scale=-0.5)
    cloud["opacity_logits"][:] = 7.6
    return from_cloud(cloud)


def duplicates() -> BlendCase:
    """Every splat three times at the same place and depth: order is by index."""
    case = splats(30, 3, seed=13)
    inputs = {k: v if k == "background" else v.repeat(3, *[1] * (v.dim() - 1)) for k, v in case.inputs.items()}
    inputs["features"] = torch.rand(90, 3, generator=torch.Generator().manual_seed(5))
    return BlendCase(inputs, case.width, case.height)


def cases() -> dict[str, BlendCase]:
    """Cases by name."""
    found = {f"{d} channels": splats(120, d, seed=d) for d in (1, 2, 3, 4, 5, 8, 17)}
    found["empty"] = splats(0, 3)
    found["one splat"] = splats(1, 3, seed=2)
    found["long lists"] = splats(1500, 3, seed=4, log_scale=-2.5)
    for width, height in ((1, 1), (16, 16), (17, 15), (1, 70)):
        lens = LENS._replace(width=width, height=height, cx=width / 2, cy=height / 2)
        found[f"{width}x{height} picture"] = splats(80, 3, lens=lens, seed=6)
    found["opaque stack"] = opaque_stack(60)
    found["duplicates"] = duplicates()
    needles = random_cloud(60, seed=3)
    needles["log_scales"][:, 0], needles["log_scales"][:, 1:] = 0.5, -7.0
    found["needles"] = from_cloud(needles)
    return found
