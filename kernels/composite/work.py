"""Compositing as in training: 4096 rays with 64 samples on average, of uneven lengths."""

from __future__ import annotations

import torch
from torch import Tensor

from kernels.composite import Composited, composite
from kernels.work import Floor, Work

RAYS, SAMPLES = 4096, 1 << 18


def inputs(channels: int, device: torch.device) -> dict[str, Tensor]:
    """Random samples; lengths of rays vary between 32 and 96."""
    g = torch.Generator().manual_seed(0)
    counts = torch.randint(32, 97, (RAYS,), generator=g)
    counts[-1] += SAMPLES - counts.sum()
    counts[-1].clamp_(min=0)
    start = torch.cat([torch.zeros(1, dtype=torch.int64), counts.cumsum(0)]).clamp(max=SAMPLES)
    t0 = torch.rand(SAMPLES, generator=g)
    found = {
        "density": 2 * torch.rand(SAMPLES, generator=g),
        "values": torch.rand(SAMPLES, channels, generator=g),
        "t0": t0,
        "t1": t0 + 0.02,
        "ray_start": start,
    }
    return {k: v.to(device) for k, v in found.items()}


def plain(density: Tensor, values: Tensor, t0: Tensor, t1: Tensor, ray_start: Tensor) -> Composited:
    """Segmented sums of optical thickness, and reductions by ray (no early stop: nothing here is that dense)."""
    thickness = density * (t1 - t0)
    counts = ray_start.diff()
    owner = torch.repeat_interleave(torch.arange(len(counts), device=density.device), counts, output_size=len(density))
    before = thickness.double().cumsum(0) - thickness
    before = before - before[ray_start[:-1].clamp(max=len(density) - 1)][owner]
    weights = torch.exp(-before).float() * -torch.expm1(-thickness)
    columns = torch.cat([values, torch.ones_like(t0)[:, None], 0.5 * (t0 + t1)[:, None]], dim=1)
    sums = columns.new_zeros(len(counts), columns.shape[1]).index_add(0, owner, weights[:, None] * columns)
    return Composited(sums[:, :-2], sums[:, -2], sums[:, -1], weights)


def works(device: torch.device) -> list[Work]:
    """Three and sixteen channels. Floor: inputs, outputs and their gradients moved once, an exponential a sample."""
    found = []
    for channels in (3, 16):
        forward = Floor(bytes=4 * SAMPLES * (3 + channels + 1), flops=2 * SAMPLES * (channels + 8), exps=SAMPLES)
        backward = Floor(bytes=4 * SAMPLES * (4 + 2 * channels + 3), flops=SAMPLES * (4 * channels + 24), exps=SAMPLES)
        name = f"{SAMPLES} samples, {RAYS} rays, {channels} channels"
        differentiable = ("density", "values", "t0", "t1")
        arguments = inputs(channels, device)
        found.append(
            Work("composite", name, composite, arguments, differentiable, forward, backward, plain, SAMPLES, "samples")
        )
    return found
