"""What the systems ask of the networks: radiance fields, scene flow, deferred shading.

The floor is arithmetic: 2 flop a weight and point forward, 4 backward; and each point's input and output moved once.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise

import torch
from torch import Tensor
from torch.nn import functional

from kernels.mlp import Activation
from kernels.mlp.cases import MLPCase, network
from kernels.work import Floor, Work

CHUNK = 8192


def works(device: torch.device) -> list[Work]:
    """32-64-64-64-4, 32-64-16 and 125 networks of 41-16-16-3 at 2^18 points; 3-8x128-3 at 2^15."""
    each = [2**18 // 125] * 124
    each.append(2**18 - sum(each))
    return [
        _work("density and colour, 32-64-64-64-4", 2**18, [32, 64, 64, 64, 4], "relu", None, device),
        _work("density, 32-64-16", 2**18, [32, 64, 16], "relu", None, device),
        _work("flow, 3-8x128-3", 2**15, [3, *[128] * 8, 3], "relu", None, device),
        _work("deferred, 125 x 41-16-16-3", 2**18, [41, 16, 16, 3], "elu", each, device),
    ]


def _work(
    name: str,
    points: int,
    widths: Sequence[int],
    activation: Activation,
    groups: Sequence[int] | None,
    device: torch.device,
) -> Work:
    case = network(points, widths, activation, groups)
    flops = 2.0 * points * sum(a * b for a, b in pairwise(widths))
    moved = 4.0 * points
    return Work(
        operator="mlp",
        name=name,
        run=lambda **inputs: case.run(None, **inputs),
        inputs={k: v.to(device) for k, v in case.inputs.items()},
        differentiable=case.differentiable,
        forward=Floor(bytes=moved * (widths[0] + widths[-1]), flops=flops),
        backward=Floor(bytes=moved * (2 * widths[0] + widths[-1]), flops=2 * flops),
        plain=_plain(case, groups),
        items=points,
        unit="points",
    )


def _plain(case: MLPCase, groups: Sequence[int] | None) -> Callable[..., Tensor]:
    """F.linear and the activation, in chunks that stay in the caches or group by group."""
    activate = functional.relu if case.activation == "relu" else functional.elu

    def network_of(points: Tensor, parameters: list[tuple[Tensor, Tensor]]) -> Tensor:
        for layer, (weight, bias) in enumerate(parameters):
            points = functional.linear(points, weight, bias)
            if layer < len(parameters) - 1:
                points = activate(points)
        return points

    def plain(**inputs: Tensor) -> Tensor:
        layers = [(inputs[f"w{i}"], inputs[f"b{i}"]) for i in range(len(case.differentiable) // 2)]
        if groups is not None:
            own = [list(zip(w, b, strict=True)) for w, b in ((w.unbind(), b.unbind()) for w, b in layers)]
            pieces = inputs["x"].split(list(groups))
            return torch.cat([network_of(p, list(layers)) for p, *layers in zip(pieces, *own, strict=True)])
        return torch.cat([network_of(p, layers) for p in inputs["x"].split(CHUNK)])

    return plain
