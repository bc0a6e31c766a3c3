"""Packed rays: none, one, many samples a ray, opaque and empty ones, padding, factors, chunk and vector borders."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

DIFFERENTIABLE = ("density", "values", "t0", "t1")


class CompositeCase(NamedTuple):
    """`inputs` are the tensors by name; threshold: the stopping rule."""

    inputs: dict[str, Tensor]
    threshold: float = 0.0

    @property
    def differentiable(self) -> tuple[str, ...]:
        """Names of the inputs that have gradients."""
        return (*DIFFERENTIABLE, *(("alpha_scale",) if "alpha_scale" in self.inputs else ()))


def rays(
    counts: Sequence[int], channels: int = 3, seed: int = 0, thickness: float = 1.0, padding: int = 0
) -> dict[str, Tensor]:
    """Rays of the given numbers of samples, about `thickness` optically thick each, and `padding` samples of no ray."""
    g = torch.Generator().manual_seed(seed)
    start = torch.tensor([0, *counts]).cumsum(0)
    samples = int(start[-1]) + padding
    length = 0.05 + 0.1 * torch.rand(samples, generator=g)
    each = torch.repeat_interleave(torch.tensor(counts), torch.tensor(counts)) if counts else torch.zeros(0)
    each = torch.cat([each.float(), torch.ones(padding)]).clamp(min=1)
    t0 = torch.cat(
        [1.0 + length[a:b].cumsum(0) for a, b in zip([*start, samples], [*start[1:], samples, samples], strict=True)]
    )
    return {
        "density": thickness * 2 * torch.rand(samples, generator=g) / (each * 0.1),
        "values": torch.randn(samples, channels, generator=g),
        "t0": t0[:samples],
        "t1": t0[:samples] + length,
        "ray_start": start,
    }


def cases() -> dict[str, CompositeCase]:
    """Cases by name."""
    found = {f"{c} channels": CompositeCase(rays((5, 0, 17, 1), c, seed=c)) for c in (1, 2, 3, 4, 16, 17, 33)}
    found["no rays"] = CompositeCase(rays(()))
    found["rays without samples"] = CompositeCase(rays((0, 0, 0)))
    found["15 to 17 and 127 to 129 samples"] = CompositeCase(rays((15, 16, 17, 127, 128, 129)))
    found["three chunks"] = CompositeCase(rays((300, 3), thickness=2.0, seed=1))
    found["stops early"] = CompositeCase(rays((200, 40, 3), thickness=30.0, seed=2), threshold=1e-2)
    found["padding"] = CompositeCase(rays((4, 9), seed=3, padding=20), threshold=1e-4)
    empty, opaque = rays((6, 20), seed=4), rays((6, 20), seed=5)
    empty["density"][:] = 0
    found["empty space"] = CompositeCase(empty)
    opaque["density"][2] = 1e4
    opaque["density"][12] = 1e6
    found["opaque samples"] = CompositeCase(opaque, threshold=1e-4)
    found["opaque samples, never stopped"] = CompositeCase(opaque)
    thin = rays((40, 70), seed=6, thickness=1e-4)
    found["thin"] = CompositeCase(thin)
    still = rays((8,), seed=7)
    still["t1"][3] = still["t0"][3]
    found["a sample of length zero"] = CompositeCase(still)
    for name, most, threshold in (
        ("factors", 1.0, 0.0),
        ("factors above one", 2.5, 0.0),
        ("factors, stops", 2.5, 0.05),
    ):
        inputs = rays((12, 30, 1, 140), seed=8, thickness=1.5)
        inputs["alpha_scale"] = most * torch.rand(len(inputs["t0"]), generator=torch.Generator().manual_seed(9))
        found[name] = CompositeCase(inputs, threshold)
    return found


def configurations() -> Iterator[Callable[[], object]]:
    """Every block size, with and without factors, with and without gradients of the positions."""
    from kernels.composite import composite

    def call(channels: int, scaled: bool, positions: bool) -> None:
        inputs = rays((3,), channels)
        if scaled:
            inputs["alpha_scale"] = torch.ones(3)
        wanted = ("density", "values", *(("t0", "t1") if positions else ()))
        for name in wanted:
            inputs[name].requires_grad_()
        composite(**inputs, threshold=1e-4, backend="gpu").values.sum().backward()

    for channels in (1, 3, 8, 16, 48):
        for scaled, positions in ((False, False), (False, True), (True, True)):
            yield lambda c=channels, s=scaled, p=positions: call(c, s, p)
