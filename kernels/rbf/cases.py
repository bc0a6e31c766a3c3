"""Layers of the systems' sizes and awkward ones; sharp, wide, coincident and far-away units."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

import torch
from torch import Tensor

from kernels.rbf import activations, rbf


def layer(
    points: int, channels: int, units: int, outputs: int, log_scale: float = -0.5, seed: int = 0
) -> dict[str, Tensor]:
    """Random features and a layer whose units some of them wake; no skip."""
    g = torch.Generator().manual_seed(seed)
    return {
        "features": torch.randn(points, channels, generator=g),
        "centres": torch.randn(units, channels, generator=g),
        "log_scales": log_scale
        - 0.5 * torch.tensor(channels / 4).log()
        + 0.2 * torch.randn(units, channels, generator=g),
        "weights": torch.randn(outputs, units, generator=g),
        "bias": torch.randn(outputs, generator=g),
    }


def with_skip(inputs: dict[str, Tensor], seed: int = 0) -> dict[str, Tensor]:
    """The affine term added."""
    g = torch.Generator().manual_seed(seed)
    shape = len(inputs["weights"]), inputs["features"].shape[1]
    return {**inputs, "skip": torch.randn(shape, generator=g)}


def cases() -> dict[str, dict[str, Tensor]]:
    """Inputs by name."""
    found = {f"{n} points": layer(n, 4, 8, 3, seed=n) for n in (0, 1, 15, 16, 17, 100, 1000)}
    found["signed distance"] = layer(150, 32, 64, 1, seed=1)
    found["image"] = layer(100, 18, 64, 3, seed=2)
    found["harmonics"] = layer(70, 32, 32, 49, seed=3)
    found["largest"] = with_skip(layer(40, 64, 128, 64, seed=4))
    found["smallest"] = with_skip(layer(20, 1, 1, 1, seed=5))
    found["skip"] = with_skip(layer(90, 10, 33, 5, seed=6))
    found["17 units"] = layer(90, 7, 17, 17, seed=7)
    bare = layer(30, 5, 12, 4, seed=8)
    del bare["bias"]
    found["no bias"] = bare
    # Features beside sharp units that lie far from the origin: the expanded square would lose four digits.
    sharp = layer(120, 6, 20, 2, seed=9)
    sharp["centres"] *= 10
    sharp["log_scales"] = torch.full_like(sharp["log_scales"], 5.0)
    sharp["features"] = sharp["centres"].repeat(6, 1) + 3e-3 * sharp["features"]
    found["sharp units"] = sharp
    found["wide units"] = layer(60, 6, 20, 2, log_scale=-6.0, seed=10)
    same = layer(60, 6, 20, 2, seed=11)
    same["centres"][:] = same["features"][0]
    found["coincident centres on a feature"] = same
    far = layer(60, 6, 20, 2, seed=12)
    far["features"][::2] += 1e3
    found["features far from all units"] = far
    return found


def differentiable(inputs: dict[str, Tensor]) -> tuple[str, ...]:
    """Everything."""
    return tuple(inputs)


def configurations() -> Iterator[Callable[[], object]]:
    """Forward and backward of every size class that the GPU version compiles apart."""
    for channels, units, outputs in ((2, 16, 1), (18, 64, 3), (32, 64, 1), (32, 32, 49), (64, 128, 64)):
        yield partial(_both_ways, layer(2, channels, units, outputs))
        yield partial(_both_ways, with_skip(layer(2, channels, units, outputs)))


def _both_ways(inputs: dict[str, Tensor]) -> None:
    rbf(**{k: v.requires_grad_() for k, v in inputs.items()}, backend="gpu").sum().backward()
    activations(inputs["features"], inputs["centres"], inputs["log_scales"], backend="gpu")
