"""Packed samples of every shape: empty rays, one sample, sizes around the tile's, padding, and the ends of density."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from kernels.composite import composite

DIFFERENTIABLE = ("density", "values", "t0", "t1")


class CompositeCase(NamedTuple):
    """Tensors by name, and the threshold."""

    inputs: dict[str, Tensor]
    threshold: float = 1e-4

    @property
    def differentiable(self) -> tuple[str, ...]:
        """Inputs whose gradients are compared."""
        return (*DIFFERENTIABLE, "alpha_scale") if "alpha_scale" in self.inputs else DIFFERENTIABLE


def packed(
    counts: list[int],
    channels: int = 3,
    *,
    density: float = 1.0,
    scale: float | None = None,
    padding: int = 0,
    seed: int = 0,
) -> dict[str, Tensor]:
    """Rays with `counts` samples of random density (mean `density`) and length, `padding` rows behind."""
    g = torch.Generator().manual_seed(seed)
    total = sum(counts) + padding
    t0 = 0.2 + 0.1 * torch.arange(total) % 4 + 0.02 * torch.rand(total, generator=g)
    inputs = {
        "density": 2 * density * torch.rand(total, generator=g),
        "values": torch.randn(total, channels, generator=g),
        "t0": t0,
        "t1": t0 + 0.1 * torch.rand(total, generator=g),
        "ray_start": torch.tensor([0, *counts]).cumsum(0),
    }
    if scale is not None:
        inputs["alpha_scale"] = scale * torch.rand(total, generator=g)
    return inputs


def cases() -> dict[str, CompositeCase]:
    """Cases by name."""
    around = [0, 1, 15, 16, 17, 0, 31, 32, 33, 63, 64, 65, 0]
    found = {f"{c} channels": CompositeCase(packed(around, c, seed=c)) for c in (1, 3, 4, 5, 16, 33, 64)}
    found["no rays"] = CompositeCase(packed([]))
    found["no samples"] = CompositeCase(packed([0, 0, 0]))
    found["one sample"] = CompositeCase(packed([1]))
    found["long rays"] = CompositeCase(packed([300, 2, 150], density=3.0))
    found["stops early"] = CompositeCase(packed([60, 90, 40], density=60.0, seed=3))
    found["stops at once"] = CompositeCase(packed([40, 70], density=1e4, seed=4))
    found["never stops"] = CompositeCase(packed([60, 90, 40], density=60.0, seed=3), threshold=0.0)
    found["padding"] = CompositeCase(packed([20, 0, 40], padding=70, seed=5))
    found["only padding"] = CompositeCase(packed([], padding=40, seed=5))
    found["scaled"] = CompositeCase(packed([20, 50], density=9.0, scale=1.0, padding=3, seed=6))
    found["scaled above one"] = CompositeCase(packed([8, 40, 3], density=30.0, scale=1.6, seed=7), threshold=0.0)
    found["scaled above one, stops"] = CompositeCase(packed([8, 40, 3], density=30.0, scale=1.6, seed=7))
    thin = packed([40, 40], density=1e-5, seed=8)
    found["thin"] = CompositeCase(thin)
    ends = packed([40, 40], seed=9)
    ends["density"][::3] = 0
    ends["density"][5::7] = 1e4
    ends["density"][[30, 75]] = float("inf")
    ends["t1"][::5] = ends["t0"][::5]
    found["empty, opaque, infinite and of no length"] = CompositeCase(ends, threshold=0.0)
    return found


def configurations() -> Iterator[Callable[[], object]]:
    """Calls that launch every kernel in every configuration."""
    for channels in (1, 2, 3, 5, 16, 64):
        for scale in (None, 1.0):
            for with_weights in (False, True):
                yield functools.partial(_both_ways, packed([5, 3], channels, scale=scale), with_weights)


def _both_ways(inputs: dict[str, Tensor], with_weights: bool) -> None:
    inputs = {**inputs, "density": inputs["density"].requires_grad_()}
    found = composite(**inputs, backend="gpu")  # type: ignore[arg-type]
    (found.values.sum() + (found.weights.sum() if with_weights else 0)).backward()
