"""What the fields of Gaussian units ask: signed distances, images, radiance with spherical harmonics.

The floor takes the cheaper, expanded form of the squared distances, though it cancels for sharp units: 4 flop a unit
and channel, an exponential a unit, 2 flop a unit and output; backward 8 (the gradients of features, centres and
scales as matrix products), nothing computed again, and 4.
"""

from __future__ import annotations

import torch
from torch import Tensor

from kernels.rbf import rbf
from kernels.rbf.cases import layer
from kernels.work import Floor, Work

CHUNK = 8192


def works(device: torch.device) -> list[Work]:
    """2^18 points; 32 channels, 64 units and 1 output; 18, 64 and 3; 32, 64 and 49."""
    return [
        _work("signed distance, D=32 N=64 C=1", 32, 64, 1, device),
        _work("image, D=18 N=64 C=3", 18, 64, 3, device),
        _work("radiance, D=32 N=64 C=49", 32, 64, 49, device),
    ]


def _work(name: str, channels: int, units: int, outputs: int, device: torch.device, points: int = 2**18) -> Work:
    inputs = layer(points, channels, units, outputs)
    moved = 4.0 * points
    return Work(
        operator="rbf",
        name=name,
        run=rbf,
        inputs={k: v.to(device) for k, v in inputs.items()},
        differentiable=tuple(inputs),
        forward=Floor(
            bytes=moved * (channels + outputs),
            flops=points * units * (4.0 * channels + 2 * outputs),
            exps=float(points) * units,
        ),
        backward=Floor(
            bytes=moved * (2 * channels + outputs),
            flops=points * units * (8.0 * channels + 4 * outputs),
        ),
        plain=_plain,
        items=points,
        unit="points",
    )


def _plain(features: Tensor, centres: Tensor, log_scales: Tensor, weights: Tensor, bias: Tensor) -> Tensor:
    """Squared distances by matrix products, about the mean centre, in chunks that stay in the caches."""
    middle = centres.mean(dim=0)
    near, squares = centres - middle, (2 * log_scales).exp()
    constant, linear = (squares * near.square()).sum(dim=1), (-2 * squares * near).T
    outputs = []
    for chunk in features.split(CHUNK):
        x = chunk - middle
        distance = torch.addmm(torch.addmm(constant, x.square(), squares.T), x, linear)
        phi = (-0.5 * distance.clamp(min=0)).exp()
        outputs.append(torch.addmm(bias, phi, weights.T))
    return torch.cat(outputs)
