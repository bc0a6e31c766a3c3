"""Plans for adding and removing Gaussians, as pure functions from tensors to a RowEdit.

Default: clone small and split large Gaussians of high screen-space gradient, prune faint and oversize ones
(Kerbl et al. 2023, section 5). MCMC: move dead Gaussians onto live ones and grow by a fixed rate, keeping the rendered
density (Kheradmand et al. 2024, equation 9).
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from fields.edits import RowEdit
from kernels.project.reference import rotation_matrices

SPLIT_SHRINK = 1.6
DEAD_OPACITY = 0.005
MAX_COPIES = 51


def clone_split_prune(
    parameters: Mapping[str, Tensor],
    gradient: Tensor,
    *,
    threshold: float,
    clone_below: float,
    prune_opacity: float,
    prune_scale: float | None,
    budget: int,
    generator: torch.Generator,
) -> RowEdit | None:
    """The default strategy's plan, or None when nothing changes.

    parameters: means, quaternions, log_scales, opacity_logits and others, all [N, ...]. gradient: [N] mean norm of the
    screen-space gradient in normalised device coordinates. clone_below, prune_scale: world units; None prunes no size.
    budget: rows allowed afterwards; when short, the rows of highest gradient grow.
    """
    scale = parameters["log_scales"].amax(dim=1).exp()
    pruned = parameters["opacity_logits"].sigmoid() < prune_opacity
    if prune_scale is not None:
        pruned |= scale > prune_scale
    growing = (gradient > threshold) & ~pruned
    room = budget - int((~pruned).sum())
    if int(growing.sum()) > room:
        # Rows over the budget wait for the next time: highest gradients first, ties by index.
        order = torch.argsort(torch.where(growing, gradient, -1.0), descending=True, stable=True)
        growing = torch.zeros_like(growing)
        growing[order[: max(room, 0)]] = True
    split = growing & (scale > clone_below)
    kept = torch.nonzero(~pruned & ~split)[:, 0]
    cloned = torch.nonzero(growing & ~split)[:, 0]
    halves = torch.nonzero(split)[:, 0].repeat(2)
    source = torch.cat([kept, cloned, halves])
    if len(source) == len(scale) and len(kept) == len(source):
        return None
    fresh = torch.arange(len(source), device=source.device) >= len(kept)
    values = {}
    if len(halves):
        means, log_scales = parameters["means"][source], parameters["log_scales"][source]
        first = len(kept) + len(cloned)
        means[first:] += _gaussian_offsets(parameters, halves, generator)
        log_scales[first:] -= math.log(SPLIT_SHRINK)
        values = {"means": means, "log_scales": log_scales}
    return RowEdit(tuple(parameters), source, fresh, values)


def _gaussian_offsets(parameters: Mapping[str, Tensor], rows: Tensor, generator: torch.Generator) -> Tensor:
    """[M, 3] random offsets drawn from the Gaussians of `rows`."""
    noise = torch.randn(len(rows), 3, generator=generator).to(parameters["means"])
    rotations = rotation_matrices(torch.nn.functional.normalize(parameters["quaternions"][rows], dim=1))
    return (rotations @ (noise * parameters["log_scales"][rows].exp())[..., None])[..., 0]


def reset_opacity(parameters: Mapping[str, Tensor], ceiling: float) -> RowEdit:
    """Lower every opacity to at most `ceiling` and forget its moments; Gaussians that matter recover within views."""
    logits = parameters["opacity_logits"]
    lowered = logits.clamp(max=math.log(ceiling / (1 - ceiling)))
    rows = torch.arange(len(logits), device=logits.device)
    return RowEdit(
        tuple(parameters),
        rows,
        torch.zeros(len(rows), dtype=torch.bool, device=logits.device),
        {"opacity_logits": lowered},
        reset=("opacity_logits",),
    )


def relocate_and_grow(
    parameters: Mapping[str, Tensor], *, growth: float, budget: int, generator: torch.Generator
) -> RowEdit | None:
    """The MCMC plan: rows of opacity up to 0.005 move onto live rows, then the count grows by `growth` up to `budget`.

    Live rows are drawn in proportion to opacity. A row and its copies together render as the row did before.
    """
    opacity = parameters["opacity_logits"].sigmoid()
    dead = opacity <= DEAD_OPACITY
    n = len(opacity)
    grown = min(budget, int(n * (1 + growth)))
    needed = int(dead.sum()) + max(grown - n, 0)
    if needed == 0 or bool(dead.all()):
        return None
    weights = torch.where(dead, 0.0, opacity).cpu().double()
    drawn = torch.multinomial(weights, needed, replacement=True, generator=generator).to(opacity.device)
    copies = torch.bincount(drawn, minlength=n)

    source = torch.arange(max(grown, n), device=opacity.device)
    source[torch.cat([torch.nonzero(dead)[:, 0], torch.arange(n, max(grown, n), device=opacity.device)])] = drawn
    touched = copies > 0
    count = (copies + 1).clamp(max=MAX_COPIES)
    new_opacity, ratio = share_density(opacity.double(), count)
    new_opacity = new_opacity.clamp(DEAD_OPACITY, 1 - torch.finfo(torch.float32).eps)
    logits = torch.where(touched, torch.logit(new_opacity).to(opacity), parameters["opacity_logits"])
    log_scales = parameters["log_scales"] + torch.where(touched, ratio.log(), 0.0).to(opacity)[:, None]
    return RowEdit(
        tuple(parameters),
        source,
        touched[source],
        {"opacity_logits": logits[source], "log_scales": log_scales[source]},
    )


def share_density(opacity: Tensor, count: Tensor) -> tuple[Tensor, Tensor]:
    """Opacity and scale factor for `count` coincident copies that look like one Gaussian of `opacity` [N] float64.

    opacity' = 1 - (1 - opacity)^(1 / count), and
    scale' / scale = opacity / sum_k C(count, k) (-1)^(k-1) opacity'^k / sqrt(k),
    the hockey-stick form of the paper's double sum.
    """
    new = 1 - (1 - opacity).pow(1 / count)
    total = torch.zeros_like(new)
    binomial = torch.ones_like(new)
    for k in range(1, int(count.max()) + 1):
        binomial = binomial * (count - k + 1).clamp(min=0) / k
        total += binomial * (-1) ** (k - 1) * new.pow(k) / math.sqrt(k)
    return new, opacity / total
