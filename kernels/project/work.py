"""Projection of scenes of Gaussians in a box before the camera; the median splat has a radius of about 5 pixels."""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor

from kernels.project import Lens, Projected, project, reference
from kernels.project.cases import DIFFERENTIABLE
from kernels.work import Floor, Work

CHUNK = 2**15
SCENES = ((50_000, 800, 600), (1_000_000, 1920, 1080))
"""Gaussians, width, height."""


def scene(gaussians: int, width: int, height: int, device: torch.device) -> tuple[dict[str, Tensor], Lens]:
    """Tensors of `project` by name, seed 0, and the lens; splats shrink as they grow in number."""
    g = torch.Generator().manual_seed(0)
    box, corner = torch.tensor([4.0, 3.0, 3.0]), torch.tensor([0.5, 0.5, -1.0])
    shrink = torch.tensor(gaussians / 50_000).log() / 3
    inputs = {
        "means": (torch.rand(gaussians, 3, generator=g) - corner) * box,
        "quaternions": torch.randn(gaussians, 4, generator=g),
        "log_scales": 0.5 * torch.randn(gaussians, 3, generator=g) - 4.1 - shrink,
        "opacity_logits": torch.randn(gaussians, generator=g),
        "camera_from_world": torch.eye(4),
    }
    lens = Lens(0.875 * width, 0.875 * width, width / 2, height / 2, width, height)
    return {name: tensor.to(device) for name, tensor in inputs.items()}, lens


def run(lens: Lens, **inputs: Tensor) -> tuple[Tensor, ...]:
    """The operator."""
    return tuple(project(**inputs, lens=lens))  # type: ignore[arg-type]


def plain(lens: Lens, camera_from_world: Tensor, **inputs: Tensor) -> tuple[Tensor, ...]:
    """The reference in chunks that stay in the cache."""
    chunks = zip(*(inputs[name].split(CHUNK) for name in DIFFERENTIABLE), strict=True)
    parts = [
        reference.project(m, q, s, o, camera_from_world, lens, eps2d=0.3, antialiased=False) for m, q, s, o in chunks
    ]
    return tuple(torch.cat([part[k] for part in parts]) for k in range(len(Projected._fields)))


def works(device: torch.device) -> list[Work]:
    """11 floats in and 9 out forward, 20 in (the parameters, extents and gradients) and 11 out backward.

    Operations are counted in cpu.cpp; exponentials are four, and a logarithm that costs as much.
    """
    found = []
    for n, width, height in SCENES:
        inputs, lens = scene(n, width, height, device)
        forward = Floor(bytes=n * (44 + 36), flops=n * 190, exps=n * 5)
        backward = Floor(bytes=n * (80 + 44), flops=n * 370, exps=n * 4)
        name = f"{n:,} Gaussians"
        calls = partial(run, lens), partial(plain, lens)
        found.append(
            Work("project", name, calls[0], inputs, DIFFERENTIABLE, forward, backward, calls[1], n, "Gaussians")
        )
    return found
