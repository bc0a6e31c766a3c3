"""The C++ networks as an autograd function.

Hidden activations are computed again rather than kept: a 64-wide layer costs 8 kflop a point again and 512 bytes of
traffic (and fresh pages) when kept, which comes to the same time, and without them a point needs no memory.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from kernels.native import NativeLibrary

LIBRARY = NativeLibrary(Path(__file__).with_name("cpu.cpp"))
LANES = 16
ACTIVATIONS = ("relu", "elu")


def padding(size: int) -> int:
    """What is missing to whole vectors."""
    return -size % LANES


def pack_columns(weights: Sequence[Tensor], biases: Sequence[Tensor | None]) -> Tensor:
    """[G, size]: of each layer the weights transposed, [in, padded(out)], and the bias, [padded(out)]."""
    parts = []
    for weight, bias in zip(weights, biases, strict=True):
        groups, out, _ = weight.shape
        bias = weight.new_zeros(groups, out) if bias is None else bias
        parts += [functional.pad(weight.mT, (0, padding(out))).flatten(1), functional.pad(bias, (0, padding(out)))]
    return torch.cat(parts, dim=1)


def pack_rows(weights: Sequence[Tensor]) -> Tensor:
    """[G, size]: of each layer the weights, [padded(out), padded(in)], and room for the bias, [padded(out)]."""
    parts = []
    for weight in weights:
        _, out, width = weight.shape
        wide = out + padding(out)
        matrix = functional.pad(weight, (0, padding(width), 0, padding(out)))
        parts += [matrix.flatten(1), weight.new_zeros(len(weight), wide)]
    return torch.cat(parts, dim=1)


def unpack_rows(packed: Tensor, widths: Sequence[int]) -> tuple[list[Tensor], list[Tensor]]:
    """Weights [G, out, in] and biases [G, out] out of what is laid out like `pack_rows`."""
    weights, biases, at = [], [], 0
    for width, out in pairwise(widths):
        rows, columns = out + padding(out), width + padding(width)
        weights.append(packed[:, at : at + rows * columns].unflatten(1, (rows, columns))[:, :out, :width])
        at += rows * columns
        biases.append(packed[:, at : at + out])
        at += rows
    return weights, biases


class _MLP(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, starts: Tensor, activation: str, *parameters: Tensor | None) -> Tensor:
        layers = len(parameters) // 2
        weights, biases = parameters[:layers], parameters[layers:]
        x, starts = x.contiguous(), starts.contiguous()
        columns = pack_columns(weights, biases)  # type: ignore[arg-type]
        widths = torch.tensor([x.shape[1], *(w.shape[1] for w in weights)])  # type: ignore[union-attr]
        y = x.new_empty(len(x), int(widths[-1]))
        kind = ACTIVATIONS.index(activation)
        LIBRARY.call("mlp_forward", x, starts, len(starts) - 1, columns, widths, layers, kind, y)
        ctx.save_for_backward(x, starts, widths, columns, *weights)
        ctx.kind = kind
        return y

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        x, starts, widths, columns, *weights = ctx.saved_tensors
        rows = pack_rows(weights)
        g_x = torch.empty_like(x) if ctx.needs_input_grad[0] else None
        g_rows = torch.empty_like(rows)
        LIBRARY.call(
            "mlp_backward", x, starts, len(starts) - 1, columns, rows, widths, len(weights), ctx.kind,
            gradients[0].contiguous(), g_x, g_rows,
        )  # fmt: skip
        g_weights, g_biases = unpack_rows(g_rows, widths.tolist())
        wanted = ctx.needs_input_grad[3:]
        return g_x, None, None, *(g if w else None for g, w in zip(g_weights + g_biases, wanted, strict=True))


def grouped_mlp(
    x: Tensor, group_starts: Tensor, weights: Sequence[Tensor], biases: Sequence[Tensor | None], activation: str
) -> Tensor:
    """See `kernels.mlp.grouped_mlp`."""
    return _MLP.apply(x, group_starts, activation, *weights, *biases)  # type: ignore[return-value]
