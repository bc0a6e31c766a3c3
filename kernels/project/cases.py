"""Inputs for projection: random clouds and the ends of the domain."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from kernels.project import Lens, project

LENS = Lens(fx=60.0, fy=55.0, cx=32.5, cy=23.0, width=64, height=48)
DIFFERENTIABLE = ("means", "quaternions", "log_scales", "opacity_logits")


def pose() -> Tensor:
    """A camera looking at the origin from about 4 units away, rolled a little: [4, 4] camera_from_world."""
    a, b = 0.3, -0.2
    turn_y = torch.tensor([[math.cos(a), 0, math.sin(a)], [0, 1, 0], [-math.sin(a), 0, math.cos(a)]])
    turn_z = torch.tensor([[math.cos(b), -math.sin(b), 0], [math.sin(b), math.cos(b), 0], [0, 0, 1]])
    matrix = torch.eye(4)
    matrix[:3, :3] = turn_z @ turn_y
    matrix[:3, 3] = torch.tensor([0.1, -0.2, 4.0])
    return matrix


def random_cloud(n: int, seed: int, log_scale: float = -2.0) -> dict[str, Tensor]:
    """`n` Gaussians around the origin with scales around exp(log_scale)."""
    g = torch.Generator().manual_seed(seed)
    return {
        "means": torch.randn(n, 3, generator=g) * 0.8,
        "quaternions": torch.randn(n, 4, generator=g),
        "log_scales": log_scale + 0.6 * torch.randn(n, 3, generator=g),
        "opacity_logits": 1.5 * torch.randn(n, generator=g),
    }


def cases() -> dict[str, dict[str, Tensor]]:
    """Arguments of `project` (besides lens and options) by case name."""
    found = {f"random {n}": random_cloud(n, seed=n) for n in (1, 15, 16, 17, 100, 1000)}
    found["empty"] = random_cloud(0, seed=0)
    needles = random_cloud(40, seed=3)
    needles["log_scales"][:, 0] = 0.5
    needles["log_scales"][:, 1:] = -7.0
    found["needles"] = needles
    pancakes = random_cloud(40, seed=4)
    pancakes["log_scales"][:, 2] = -12.0
    found["pancakes"] = pancakes
    huge = random_cloud(30, seed=5)
    huge["log_scales"][:] = 2.5
    found["larger than the picture"] = huge
    beside = random_cloud(60, seed=6, log_scale=-0.5)
    beside["means"] = beside["means"] * torch.tensor([6.0, 5.0, 3.0])
    found["beside, behind and near the camera"] = beside
    found["at the near plane"] = at_the_near_plane()
    found["degenerate"] = degenerate()
    for case in found.values():
        case["camera_from_world"] = pose()
    return found


def at_the_near_plane() -> dict[str, Tensor]:
    """Before, on and behind the plane through the eye and the near plane, on the optical axis."""
    depths = torch.tensor([-0.02, -0.005, 0.0, 0.005, 0.0099, 0.0101, 0.02, 1.0])
    case = random_cloud(len(depths), seed=8, log_scale=-6.0)
    local = torch.stack([torch.zeros(8), torch.zeros(8), depths], dim=1)
    case["means"] = (local - pose()[:3, 3]) @ pose()[:3, :3]
    return case


def degenerate() -> dict[str, Tensor]:
    """Rows that must be culled without a trace, between rows that show."""
    case = random_cloud(24, seed=7)
    case["means"][:] *= 0.3
    case["opacity_logits"][:] = 1.0
    nan, inf = math.nan, math.inf
    case["quaternions"][0] = 0.0
    case["quaternions"][2] = nan
    case["means"][4, 1] = nan
    case["means"][6, 0] = inf
    case["log_scales"][8, 2] = nan
    case["log_scales"][10, 0] = inf
    case["opacity_logits"][12] = nan
    case["opacity_logits"][14] = -8.0  # alpha below 1/255
    case["opacity_logits"][16] = 20.0  # opaque in float32
    case["log_scales"][18] = -30.0  # smaller than anything
    case["quaternions"][20] *= 1e-3
    return case


def configurations() -> Iterator[Callable[[], object]]:
    """Calls that launch every Triton kernel in every configuration: with and without anti-aliasing."""
    for antialiased in (False, True):
        yield lambda antialiased=antialiased: forward_and_backward(antialiased)


def forward_and_backward(antialiased: bool) -> None:
    """One call on the GPU backend."""
    case = random_cloud(3, seed=0)
    means, quaternions, scales, logits = (case[name].requires_grad_() for name in DIFFERENTIABLE)
    found = project(means, quaternions, scales, logits, pose(), LENS, antialiased=antialiased, backend="gpu")
    sum(output.sum() for output in found[:4]).backward()  # type: ignore[union-attr]
