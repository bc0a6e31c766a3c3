"""The C++ Gaussian layer as an autograd function; activations are computed again in the backward pass."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from kernels.launch import ceil_div
from kernels.native import NativeLibrary

LIBRARY = NativeLibrary(Path(__file__).with_name("cpu.cpp"))
LANES, CHUNK, SLABS = 16, 64, 64
"""Lanes of a vector, points of a chunk, and about as many partial sums of gradients, whatever the number of threads."""


def padded(matrix: Tensor) -> Tensor:
    """Contiguous, with zeros up to whole vectors in the last dimension."""
    return functional.pad(matrix, (0, -matrix.shape[-1] % LANES)).contiguous()


class _RBF(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        features: Tensor,
        centres: Tensor,
        log_scales: Tensor,
        weights: Tensor,
        bias: Tensor | None,
        skip: Tensor | None,
    ) -> Tensor:
        features, scales = features.contiguous(), log_scales.exp()
        (outputs, units), (points, channels) = weights.shape, features.shape
        y = features.new_empty(points, outputs)
        offset = padded(weights.new_zeros(outputs) if bias is None else bias)
        skip_t = None if skip is None else padded(skip.T)
        LIBRARY.call(
            "rbf_forward", features, points, channels, units, outputs,
            padded(centres.T), padded(scales.T), padded(weights.T), offset, skip_t, y,
        )  # fmt: skip
        ctx.save_for_backward(features, centres, scales, weights, skip)
        return y

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        features, centres, scales, weights, skip = ctx.saved_tensors
        (outputs, units), (points, channels) = weights.shape, features.shape
        needs = ctx.needs_input_grad
        g_features = torch.empty_like(features) if needs[0] else None
        squares = scales.square()
        slab = CHUNK * max(16, ceil_div(points, CHUNK * SLABS))
        n, d, c = (size + -size % LANES for size in (units, channels, outputs))
        shapes = [(c, n), (channels, n), (channels, n), (c if skip is not None else 0, d), (c, 1)]
        sums = torch.zeros(ceil_div(points, slab), sum(a * b for a, b in shapes))
        LIBRARY.call(
            "rbf_backward", features, points, channels, units, outputs,
            padded(centres.T), padded(scales.T), padded(centres), padded(squares), padded(weights),
            None if skip is None else padded(skip), gradients[0].contiguous(), slab, sums, g_features,
        )  # fmt: skip
        parts = [p.view(s) for p, s in zip(sums.sum(dim=0).split([a * b for a, b in shapes]), shapes, strict=True)]
        g_weights, firsts, seconds, g_skip, g_bias = parts
        return (
            g_features,
            squares * firsts[:, :units].T,
            -squares * seconds[:, :units].T,
            g_weights[:outputs, :units],
            g_bias[:outputs, 0] if needs[4] else None,
            g_skip[:outputs, :channels] if needs[5] else None,
        )


def rbf(
    features: Tensor, centres: Tensor, log_scales: Tensor, weights: Tensor, bias: Tensor | None, skip: Tensor | None
) -> Tensor:
    """See `kernels.rbf.rbf`."""
    return _RBF.apply(features, centres, log_scales, weights, bias, skip)  # type: ignore[return-value]


def activations(features: Tensor, centres: Tensor, log_scales: Tensor) -> Tensor:
    """See `kernels.rbf.activations`."""
    phi = features.new_empty(len(features), len(centres))
    scales_t, (points, channels) = padded(log_scales.exp().T), features.shape
    LIBRARY.call(
        "rbf_activations", features.contiguous(), points, channels, len(centres), padded(centres.T), scales_t, phi
    )
    return phi
