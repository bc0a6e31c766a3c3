"""drift: how far things at rest would move if nothing said that they rest."""

from __future__ import annotations

import torch
from torch import Tensor

from scenes.flow.bodies.fit import Schedule, Terms, fit_paths
from scenes.flow.bodies.hypotheses import FIT_POINTS, drawn
from scenes.flow.bodies.paths import at_rest
from scenes.flow.bodies.scan import components_of
from scenes.flow.bodies.surface import surface_of
from scenes.flow.bodies.track import LEAST_POINTS

SCHEDULE = Schedule(20, (4.0, 1.0))


@torch.no_grad()
def drift(cloud: Tensor, target: Tensor, seed: int = 0) -> Tensor:
    """[N, 3] metres from a cloud [N, 3] to a target [M, 3] that each component moves when fitted rigidly, from rest.

    Components of fewer than 5 points stay. What rests has no motion but zero in truth: this is the error that the
    judgement "it rests" spares, so figures with it and without can stand side by side.
    """
    component = torch.from_numpy(components_of(cloud.numpy()))
    sizes = torch.bincount(component)
    generator = torch.Generator().manual_seed(seed)
    order = torch.argsort(component, stable=True)
    members = [drawn(rows, FIT_POINTS, generator) for rows in order.split(sizes.tolist())]
    rows = torch.cat([chosen for chosen in members if len(chosen) >= LEAST_POINTS] or [order[:0]])
    centres = torch.zeros(len(sizes), 3).index_add_(0, component, cloud) / sizes[:, None]
    body, before = component[rows], torch.zeros(len(rows), dtype=torch.int64)
    surface = surface_of(target)
    terms = Terms(body, before, before + 1, cloud[rows])
    alive = torch.ones(len(sizes), 2, dtype=torch.bool)
    if len(rows) == 0:
        return torch.zeros_like(cloud)
    paths, _ = fit_paths(at_rest(centres, 2), terms, (surface, surface), torch.tensor([[0.0], [1.0]]), SCHEDULE, alive)
    return paths.carry(cloud, component, 0, 1) - cloud
