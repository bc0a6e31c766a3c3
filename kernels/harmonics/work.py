"""Colours of degree 3 for scenes of Gaussians."""

from __future__ import annotations

import torch
from torch import Tensor

from kernels.harmonics import harmonics, reference
from kernels.harmonics.cases import DIFFERENTIABLE, coefficients
from kernels.work import Floor, Work

DEGREE = 3
CHUNK = 2**15


def run(dc: Tensor, rest: Tensor, directions: Tensor) -> Tensor:
    """The operator."""
    return harmonics(dc, rest, directions, DEGREE)


def plain(dc: Tensor, rest: Tensor, directions: Tensor) -> Tensor:
    """The reference in chunks that stay in the cache."""
    parts = zip(dc.split(CHUNK), rest.split(CHUNK), directions.split(CHUNK), strict=True)
    return torch.cat([reference.harmonics(*part, degree=DEGREE, mask=None) for part in parts])


def works(device: torch.device) -> list[Work]:
    """Rows of 48 coefficients; bytes rule: all of them once, and their gradients."""
    found = []
    for n in (50_000, 1_000_000):
        inputs = {name: tensor.to(device) for name, tensor in coefficients(n, DEGREE, DEGREE).inputs.items()}
        forward = Floor(bytes=n * (12 + 180 + 12 + 12), flops=n * 170)
        backward = Floor(bytes=n * (180 + 12 + 12 + 12 + 12 + 180 + 12), flops=n * 480)
        found.append(Work("harmonics", f"{n:,} rows", run, inputs, DIFFERENTIABLE, forward, backward, plain, n, "rows"))
    return found
