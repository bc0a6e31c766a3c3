"""mlp: small multilayer perceptrons, all layers at once, so that hidden activations never lie in memory.

y = W_L a(... a(W_1 x + b_1) ...) + b_L, with the activation a after every layer but the last; what should follow the
last layer (a sigmoid, an exponential) is for the caller to add. One network for all points (`mlp`), or one for each
group of consecutive points (`grouped_mlp`: the deferred networks of SMERF, Duckworth et al. 2024, say).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, get_args

import torch
from torch import Tensor

from kernels.checks import check_shapes
from kernels.dispatch import Backend, choose_backend

Activation = Literal["relu", "elu"]
WIDEST = 128
"""The widest layer, input and output included, whose tile of activations fits a GPU's registers."""


def mlp(
    x: Tensor,
    weights: Sequence[Tensor],
    biases: Sequence[Tensor | None] | None = None,
    *,
    activation: Activation = "relu",
    backend: Backend | None = None,
) -> Tensor:
    """Outputs [P, O] of the network at the points x [P, I]; differentiable in points, weights and biases.

    weights: one [out, in] a layer, as torch.nn.Linear has them, of widths up to 128; a single one is a linear map.
    biases: [out] or None a layer, or None for all. A NaN in a point stays in that point's outputs. The backward pass
    computes the hidden activations again instead of keeping them; gradients do not depend on threads or scheduling.
    """
    starts = torch.tensor([0, len(x)], device=x.device)
    biases = [None] * len(weights) if biases is None else biases
    return grouped_mlp(
        x,
        starts,
        [w[None] for w in weights],
        [None if b is None else b[None] for b in biases],
        activation=activation,
        backend=backend,
    )


def grouped_mlp(
    x: Tensor,
    group_starts: Tensor,
    weights: Sequence[Tensor],
    biases: Sequence[Tensor | None] | None = None,
    *,
    activation: Activation = "relu",
    backend: Backend | None = None,
) -> Tensor:
    """Outputs [P, O]: the points x[group_starts[g]:group_starts[g + 1]] go through network g.

    x: [P, I], sorted by group. group_starts: [G + 1] int64 on x's device, ascending from 0 to P; groups may be empty.
    weights: one [G, out, in] a layer; biases: [G, out] or None a layer, or None for all. Otherwise as `mlp`.
    """
    biases = [None] * len(weights) if biases is None else list(biases)
    if not weights or len(biases) != len(weights):
        raise ValueError(
            f"biases: expected one (or None) for each of at least one layer, got {len(biases)}, weights: {len(weights)}"
        )
    shapes = {"x": (x, "P W0"), "group_starts": (group_starts, "G1")}
    for i, (weight, bias) in enumerate(zip(weights, biases, strict=True)):
        shapes[f"weights[{i}]"] = (weight, f"G W{i + 1} W{i}")
        if bias is not None:
            shapes[f"biases[{i}]"] = (bias, f"G W{i + 1}")
    sizes = check_shapes(**shapes)
    if sizes["G1"] != sizes["G"] + 1 or group_starts.dtype != torch.int64:
        raise ValueError(
            f"group_starts: expected int64 [{sizes['G'] + 1}] for {sizes['G']} networks, "
            f"got {group_starts.dtype} {list(group_starts.shape)}"
        )
    widths = [sizes[f"W{i}"] for i in range(len(weights) + 1)]
    if not 1 <= min(widths) <= max(widths) <= WIDEST:
        raise ValueError(f"weights: expected widths of 1 to {WIDEST}, got {widths}; wider layers fill a library's GEMM")
    if activation not in get_args(Activation):
        raise ValueError(f"activation: expected 'relu' or 'elu', got {activation!r}")
    match choose_backend(x, backend):
        case "cpu":
            from kernels.mlp import cpu

            return cpu.grouped_mlp(x, group_starts, weights, biases, activation)
        case "gpu":
            from kernels.mlp import gpu

            return gpu.grouped_mlp(x, group_starts, weights, biases, activation)
        case _:
            from kernels.mlp import reference

            return reference.grouped_mlp(x, group_starts, weights, biases, activation)
