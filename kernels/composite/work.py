"""A training batch of rays: 4,096 of 32 to 96 samples, colours or features."""

from __future__ import annotations

import torch
from torch import Tensor

from kernels.composite import Composited, composite
from kernels.work import Floor, Work

RAYS = 4096


def works(device: torch.device) -> list[Work]:
    """Colours (3 channels) and deferred features (16)."""
    return [work(channels, device) for channels in (3, 16)]


def work(channels: int, device: torch.device) -> Work:
    """Floor: samples and rays read and written once; backward reads weights and transmittances too."""
    g = torch.Generator().manual_seed(0)
    counts = torch.randint(32, 97, (RAYS,), generator=g)
    start = torch.cat([torch.zeros(1, dtype=torch.int64), counts.cumsum(0)])
    samples = int(start[-1])
    t0 = torch.arange(samples) * 0.01
    inputs = {
        "density": 2 * torch.rand(samples, generator=g),
        "values": torch.rand(samples, channels, generator=g),
        "t0": t0,
        "t1": t0 + 0.01,
        "ray_start": start,
    }
    return Work(
        "composite",
        f"{samples} samples of {RAYS} rays, {channels} channels",
        lambda **x: composite(**x, threshold=0.0),
        {k: v.to(device) for k, v in inputs.items()},
        ("density", "values"),
        Floor(bytes=4.0 * samples * (3 + channels + 2), flops=2.0 * samples * channels, exps=samples),
        Floor(bytes=4.0 * samples * (3 + channels + 3 + 1 + channels), flops=4.0 * samples * channels, exps=samples),
        segmented,
        samples,
        "samples",
    )


def segmented(density: Tensor, values: Tensor, t0: Tensor, t1: Tensor, ray_start: Tensor) -> Composited:
    """Optical depths summed over all samples in float64, less the sum at the start of the ray."""
    depth = density * (t1 - t0)
    through = torch.cumsum(depth, dim=0, dtype=torch.float64)
    counts = ray_start.diff()
    ray = torch.repeat_interleave(torch.arange(len(counts), device=density.device), counts, output_size=len(density))
    before = through - depth
    before = (before - before[ray_start[:-1]][ray]).float()
    weights = torch.exp(-before) * -torch.expm1(-depth)
    middle = 0.5 * (t0 + t1)

    def sums(x: Tensor) -> Tensor:
        return x.new_zeros(len(counts), *x.shape[1:]).index_add(0, ray, x)

    return Composited(sums(weights[:, None] * values), sums(weights), sums(weights * middle), weights)
