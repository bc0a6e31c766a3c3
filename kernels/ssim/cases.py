"""Picture pairs: sizes around the window's and the vector's, constant and equal pictures."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from kernels.ssim import ssim

DIFFERENTIABLE = ("image",)


def pair(height: int, width: int, channels: int, seed: int = 0) -> dict[str, Tensor]:
    """A smooth-plus-noise picture and a disturbed copy."""
    g = torch.Generator().manual_seed(seed)
    ramp = torch.linspace(0, 1, max(width, 1))[None, :, None].expand(height, width, channels)
    target = (0.6 * ramp + 0.4 * torch.rand(height, width, channels, generator=g)).contiguous()
    return {
        "image": (target + 0.2 * torch.randn(height, width, channels, generator=g)).clamp(0, 1),
        "target": target,
    }


def cases() -> dict[str, dict[str, Tensor]]:
    """Inputs of `ssim` by case name."""
    sizes = [
        (1, 1, 1),
        (3, 7, 3),
        (11, 11, 3),
        (16, 16, 1),
        (37, 53, 3),
        (64, 5, 2),
        (5, 100, 4),
        (33, 55, 1),
        (32, 54, 1),
        (65, 109, 1),
    ]
    found = {f"{h}x{w}x{c}": pair(h, w, c, seed=h + w) for h, w, c in sizes}
    found["empty"] = pair(0, 5, 3)
    found["black"] = {"image": torch.zeros(20, 20, 3), "target": torch.zeros(20, 20, 3)}
    return found


def configurations() -> Iterator[Callable[[], object]]:
    """Calls that launch every Triton kernel in every configuration: with and without gradient, one channel or more."""
    for channels in (1, 3):
        yield lambda channels=channels: ssim(**pair(4, 5, channels), backend="gpu")
        yield lambda channels=channels: forward_and_backward(channels)


def forward_and_backward(channels: int) -> None:
    """One call on the GPU backend."""
    inputs = pair(4, 5, channels)
    ssim(inputs["image"].requires_grad_(), inputs["target"], backend="gpu").sum().backward()
