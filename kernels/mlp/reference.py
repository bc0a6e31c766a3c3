"""Layer by layer, group by group."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional


def grouped_mlp(
    x: Tensor, group_starts: Tensor, weights: Sequence[Tensor], biases: Sequence[Tensor | None], activation: str
) -> Tensor:
    """See `kernels.mlp.grouped_mlp`."""
    activate = functional.relu if activation == "relu" else functional.elu
    sizes = group_starts.diff().tolist()
    outputs = []
    for group, points in enumerate(x.split(sizes)):
        for layer, (weight, bias) in enumerate(zip(weights, biases, strict=True)):
            points = functional.linear(points, weight[group], None if bias is None else bias[group])
            if layer < len(weights) - 1:
                points = activate(points)
        outputs.append(points)
    return torch.cat(outputs) if outputs else x.new_zeros(0, weights[-1].shape[1])
