"""All rays side by side, padded to the longest, and one step at a time through their samples."""

from __future__ import annotations

import torch
from torch import Tensor

from kernels.composite import DENSITY_MAX, Composited


def composite(
    density: Tensor,
    values: Tensor,
    t0: Tensor,
    t1: Tensor,
    ray_start: Tensor,
    alpha_scale: Tensor | None,
    threshold: float,
) -> Composited:
    """See `kernels.composite.composite`."""
    first, counts = ray_start[:-1], ray_start.diff()
    steps = torch.arange(int(counts.max()) if len(counts) else 0, device=density.device)
    there = steps < counts[:, None]
    rows = torch.where(there, first[:, None] + steps, 0)

    thickness = density.clamp(max=DENSITY_MAX) * (t1 - t0)
    scale = torch.ones_like(density) if alpha_scale is None else alpha_scale
    alpha = torch.where(there, (-scale * torch.expm1(-thickness))[rows], 0)
    keep = torch.where(there, ((1 - scale) + scale * torch.exp(-thickness))[rows], 1)  # 1 - alpha, uncancelled

    transmittance = density.new_ones(len(counts))
    going = torch.ones_like(counts, dtype=torch.bool)
    columns = []
    for i in range(len(steps)):
        going = going & ~(transmittance < threshold)
        columns.append(torch.where(going, transmittance * alpha[:, i], 0))
        transmittance = torch.where(going, transmittance * keep[:, i], transmittance)
    padded = torch.stack(columns, dim=1) if columns else alpha

    weights = torch.zeros_like(density).index_put((rows[there],), padded[there])
    middle = 0.5 * (t0 + t1)
    return Composited(
        (padded[..., None] * torch.where(there[..., None], values[rows], 0)).sum(dim=1),
        padded.sum(dim=1),
        (padded * torch.where(there, middle[rows], 0)).sum(dim=1),
        weights,
    )
