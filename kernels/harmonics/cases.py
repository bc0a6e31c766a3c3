"""Coefficients and directions for every degree, sizes around the vector's, and the ends of the domain."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from kernels.harmonics import harmonics

DIFFERENTIABLE = ("dc", "rest", "directions")


class HarmonicsCase(NamedTuple):
    """Tensors by name, and the degree."""

    inputs: dict[str, Tensor]
    degree: int


def coefficients(n: int, stored: int, degree: int, seed: int = 0) -> HarmonicsCase:
    """`n` random rows that hold `stored` bands of which `degree` are used."""
    g = torch.Generator().manual_seed(seed)
    inputs = {
        "dc": 2 * torch.randn(n, 3, generator=g),
        "rest": torch.randn(n, (stored + 1) ** 2 - 1, 3, generator=g),
        "directions": 3 * torch.randn(n, 3, generator=g),
    }
    return HarmonicsCase(inputs, degree)


def cases() -> dict[str, HarmonicsCase]:
    """Cases by name."""
    found = {f"degree {d}": coefficients(100, d, d, seed=d) for d in range(5)}
    found |= {f"{n} rows": coefficients(n, 3, 3, seed=n) for n in (0, 1, 15, 16, 17, 1100)}
    found["degree 1 of 3"] = coefficients(50, 3, 1)
    tiny = coefficients(40, 3, 3)
    tiny.inputs["directions"][:20] *= 1e-6
    tiny.inputs["directions"][20:] *= 1e6
    found["tiny and huge directions"] = tiny
    axes = coefficients(6, 4, 4)
    axes.inputs["directions"] = torch.cat([torch.eye(3), -torch.eye(3)])
    found["along the axes"] = axes
    zero = coefficients(20, 2, 2)
    zero.inputs["directions"][::2] = 0
    found["zero directions"] = zero
    masked = coefficients(70, 3, 3)
    masked.inputs["mask"] = torch.arange(70) % 3 != 0
    found["masked"] = masked
    return found


def configurations() -> Iterator[Callable[[], object]]:
    """Calls that launch every Triton kernel in every configuration: degree, mask, gradient of the coefficients."""
    for degree in range(5):
        for masked in (False, True):
            yield lambda degree=degree, masked=masked: forward_and_backward(degree, masked)


def forward_and_backward(degree: int, masked: bool) -> None:
    """One call on the GPU backend; without a mask the coefficients want a gradient, with one they do not."""
    inputs = coefficients(3, degree, degree).inputs
    mask = torch.ones(3, dtype=torch.bool) if masked else None
    inputs["dc"].requires_grad_()
    inputs["rest"].requires_grad_(not masked)
    harmonics(**inputs, degree=degree, mask=mask, backend="gpu").sum().backward()
