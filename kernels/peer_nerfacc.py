"""A training step of a hash field with our kernels, and with nerfacc and torch, on the same rays, grid and weights.

The field: a hash grid of 16 levels x 2 features, a network 32-64-64-4 (density and colour). Ours is `traverse`, `grid`,
`mlp`, `composite`; the peer's are nerfacc's occupancy sampling and compositing and torch's linear layers, with our grid
(nerfacc has none), so that what differs is what the two libraries bring. The losses must agree.
"""

from __future__ import annotations

import importlib.util
import itertools
import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from kernels.composite import composite
from kernels.grid import grid, hash_levels, table_rows
from kernels.mlp import mlp
from kernels.peak import time_seconds
from kernels.traverse import distance_grid, traverse
from kernels.traverse.work import occupied_cells

MISSING = "nerfacc is not installed (it builds its CUDA code at first use): left out"
RAYS, CELLS, STEP = 8192, 128, math.sqrt(3) / 1024
LEVELS = hash_levels(16, 16, 2048, 19)
WIDTHS = (32, 64, 64, 4)


class Step(NamedTuple):
    """Milliseconds of a step forward and backward, and samples in it.

    theirs, difference: the peer's time and the relative difference of the losses; None without the peer.
    """

    samples: int
    ours: float
    theirs: float | None
    difference: float | None


class Field(NamedTuple):
    """Rays into the unit cube, target colours, the occupied cells, and the parameters."""

    origins: Tensor
    directions: Tensor
    target: Tensor
    occupied: Tensor
    table: Tensor
    weights: list[Tensor]
    biases: list[Tensor]

    def parameters(self) -> list[Tensor]:
        """What is trained."""
        return [self.table, *self.weights, *self.biases]


def make(device: torch.device) -> Field:
    """Seed 0."""
    g = torch.Generator().manual_seed(0)
    origins = 0.5 + 1.6 * torch.nn.functional.normalize(torch.randn(RAYS, 3, generator=g), dim=1)
    aims = 0.2 + 0.6 * torch.rand(RAYS, 3, generator=g)
    layers = list(itertools.pairwise(WIDTHS))
    tensors = [
        origins,
        torch.nn.functional.normalize(aims - origins, dim=1),
        torch.rand(RAYS, 3, generator=g),
        occupied_cells(0.1),
        0.1 * torch.randn(table_rows(LEVELS), 2, generator=g),
    ]
    weights = [(torch.randn(b, a, generator=g) * math.sqrt(2 / a)).to(device).requires_grad_() for a, b in layers]
    biases = [torch.zeros(b, device=device).requires_grad_() for _, b in layers]
    o, d, target, occupied, table = (t.to(device) for t in tensors)
    return Field(o, d, target, occupied, table.requires_grad_(), weights, biases)


def heads(raw: Tensor) -> tuple[Tensor, Tensor]:
    """Density and colour from the network's outputs [S, 4]."""
    return torch.nn.functional.softplus(raw[:, 0] + 2), raw[:, 1:].sigmoid()


def our_loss(field: Field, distances: Tensor, capacity: int | None) -> tuple[Tensor, int]:
    """The loss of a step, and its samples (with a capacity: rows)."""
    box = torch.tensor([[0.0] * 3, [1.0] * 3], device=distances.device)
    near = torch.zeros_like(field.origins[:, 0])
    found = traverse(field.origins, field.directions, near, near + 4, distances, box, step=STEP, capacity=capacity)
    middle = 0.5 * (found.t0 + found.t1)
    ray = found.rays.long()
    x = field.origins[ray] + middle[:, None] * field.directions[ray]
    density, colour = heads(mlp(grid(x, field.table, LEVELS), field.weights, field.biases))
    seen = composite(density, colour, found.t0, found.t1, found.ray_start, threshold=0.0)
    return (seen.values - field.target).square().mean(), len(found.t0)


def their_loss(field: Field, estimator) -> Tensor:
    """The same through nerfacc and torch."""
    import nerfacc  # type: ignore[import-not-found]

    ray, t0, t1 = estimator.sampling(
        field.origins, field.directions, near_plane=0.0, far_plane=4.0, render_step_size=STEP, stratified=False
    )
    x = field.origins[ray] + (0.5 * (t0 + t1))[:, None] * field.directions[ray]
    h = grid(x, field.table, LEVELS)
    for i, (weight, bias) in enumerate(zip(field.weights, field.biases, strict=True)):
        h = torch.nn.functional.linear(h, weight, bias)
        h = torch.relu(h) if i + 1 < len(field.weights) else h
    density, colour = heads(h)
    weights, _, _ = nerfacc.render_weight_from_density(t0, t1, density, ray_indices=ray, n_rays=RAYS)
    seen = nerfacc.accumulate_along_rays(weights, values=colour, ray_indices=ray, n_rays=RAYS)
    return (seen - field.target).square().mean()


def compare(device: torch.device, repeats: int) -> Step:
    """Time both; SystemExit when the losses disagree."""
    field = make(device)
    distances = distance_grid(field.occupied)
    with torch.no_grad():
        loss, samples = our_loss(field, distances, None)
    # As in training: room for somewhat more than the last step needed, so that nothing waits for a number.
    capacity = -(-samples * 9 // 8 // 1024) * 1024

    def step(forward: Callable[[], Tensor]) -> float:
        return 1e3 * time_seconds(lambda: torch.autograd.grad(forward(), field.parameters()), device, repeats)

    ours = step(lambda: our_loss(field, distances, capacity)[0])
    if importlib.util.find_spec("nerfacc") is None or device.type != "cuda":
        return Step(samples, ours, None, None)
    import nerfacc  # type: ignore[import-not-found]

    estimator = nerfacc.OccGridEstimator(torch.tensor([0.0, 0, 0, 1, 1, 1], device=device), resolution=CELLS).to(device)
    estimator.binaries = field.occupied.clone()
    estimator.eval()
    difference = abs(float(their_loss(field, estimator)) - float(loss)) / float(loss)
    if difference > 0.02:
        raise SystemExit(f"nerfacc: the losses differ by {difference:.1%}, so the two do not compute the same")
    return Step(samples, ours, step(lambda: their_loss(field, estimator)), difference)


def markdown(found: Step) -> str:
    """A sentence, with a note where nerfacc is missing."""
    words = (
        f"\nA training step of a hash field (16 levels x 2, network {'-'.join(map(str, WIDTHS))}), {RAYS} rays, "
        f"{found.samples} samples, forward and backward: {found.ours:.2f} ms"
    )
    if found.theirs is None:
        return f"{words}. {MISSING}.\n"
    times = found.theirs / found.ours
    agree = f"losses agree to {found.difference:.1e}"
    return f"{words}; nerfacc and torch {found.theirs:.2f} ms, {times:.1f} times as long; {agree}.\n"
