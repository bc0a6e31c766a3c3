"""Networks of the sizes that the systems use and awkward ones, points around the tiles' sizes, groups of all kinds."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor

from kernels.dispatch import Backend
from kernels.mlp import Activation, grouped_mlp, mlp


class MLPCase(NamedTuple):
    """Tensors by name: x, starts (of groups, if grouped), w0, b0, w1, ...; a layer's bias may be missing."""

    inputs: dict[str, Tensor]
    activation: Activation

    @property
    def differentiable(self) -> tuple[str, ...]:
        """All but the groups."""
        return tuple(name for name in self.inputs if name != "starts")

    def run(self, backend: Backend | None, **inputs: Tensor) -> Tensor:
        """The operator on tensors named like `inputs`."""
        layers = sum(name.startswith("w") for name in inputs)
        weights = [inputs[f"w{i}"] for i in range(layers)]
        biases = [inputs.get(f"b{i}") for i in range(layers)]
        if "starts" in inputs:
            starts = inputs["starts"]
            return grouped_mlp(inputs["x"], starts, weights, biases, activation=self.activation, backend=backend)
        return mlp(inputs["x"], weights, biases, activation=self.activation, backend=backend)


def network(
    points: int,
    widths: Sequence[int],
    activation: Activation = "relu",
    groups: Sequence[int] | None = None,
    seed: int = 0,
) -> MLPCase:
    """Random points through random weights that keep the size of activations; groups: points of each, or None."""
    g = torch.Generator().manual_seed(seed)
    lead = [] if groups is None else [len(groups)]
    inputs = {"x": torch.randn(points, widths[0], generator=g)}
    if groups is not None:
        inputs["starts"] = torch.tensor([0, *groups]).cumsum(0)
    for i, (width, out) in enumerate(pairwise(widths)):
        inputs[f"w{i}"] = torch.randn(*lead, out, width, generator=g) * (2 / width) ** 0.5
        inputs[f"b{i}"] = 0.3 * torch.randn(*lead, out, generator=g)
    return MLPCase(inputs, activation)


def cases() -> dict[str, MLPCase]:
    """Cases by name."""
    found = {f"{n} points": network(n, [5, 16, 3], seed=n) for n in (0, 1, 15, 16, 17, 100, 1000)}
    found["features to sigma and colour"] = network(130, [32, 64, 64, 64, 4], seed=1)
    found["density network"] = network(70, [32, 64, 16], seed=2)
    found["eight hidden layers of 128"] = network(40, [3, *[128] * 8, 3], seed=3)
    found["deferred, elu"] = network(200, [41, 16, 16, 3], "elu", seed=4)
    found["awkward widths"] = network(67, [3, 41, 5, 49, 1], "elu", seed=5)
    found["a linear map"] = network(33, [7, 19], seed=6)
    found["widest"] = network(20, [128, 128], seed=7)
    bare = network(50, [9, 24, 24, 2], seed=8)
    del bare.inputs["b0"], bare.inputs["b2"]
    found["some biases missing"] = bare
    kinks = network(64, [4, 8, 8, 2], "elu", seed=9)
    kinks.inputs["x"] *= 1e-4
    kinks.inputs["b0"] *= 0
    found["elu near zero"] = kinks
    far = network(64, [4, 8, 2], "elu", seed=10)
    far.inputs["x"] *= 1e3
    found["elu far out"] = far
    found["groups"] = network(430, [41, 16, 16, 3], "elu", groups=[100, 0, 1, 200, 0, 0, 129], seed=11)
    found["groups smaller than a tile"] = network(21, [6, 32, 5], groups=[1] * 15 + [0, 2, 4], seed=12)
    found["all groups empty"] = network(0, [6, 16, 5], groups=[0, 0, 0], seed=13)
    found["groups of linear maps"] = network(90, [5, 3], groups=[40, 50], seed=14)
    near = network(250, [3, 40, 40, 2], seed=15)
    near.inputs["x"] = near.inputs["x"] * 0.01 + torch.arange(250)[:, None].div(50).floor()
    found["near points, at which the same units sleep"] = near
    asleep = network(100, [3, 20, 16, 2], seed=16)
    asleep.inputs["b0"][::2] -= 100
    asleep.inputs["b1"] -= 100
    found["a layer that sleeps"] = asleep
    return found


def configurations() -> Iterator[Callable[[], object]]:
    """Forward and backward of the size classes and activations that the GPU version compiles apart."""
    shapes = (
        [3, 16, 16, 2],
        [32, 32, 5],
        [32, 64, 16],
        [32, 64, 64, 64, 4],
        [64, 64, 64],
        [3, *[128] * 8, 3],
        [128, 128, 128],
        [9, 4],
        [128, 128],
    )
    for widths in shapes:
        for activation in ("relu", "elu"):
            yield partial(_both_ways, network(130, widths, activation))
    yield partial(_both_ways, network(2, [32, 64, 64, 64, 4]))
    for widths in ([41, 16, 16, 3], [16, 48]):
        yield partial(_both_ways, network(130, widths, "elu", groups=[1, 129]))


def _both_ways(case: MLPCase) -> None:
    leaves = {k: v.requires_grad_(v.is_floating_point()) for k, v in case.inputs.items()}
    case.run("gpu", **leaves).sum().backward()
