"""Hypotheses of how components move: shifts searched exhaustively, fitted, and weighed against standing still."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from kernels.neighbours import PointIndex
from scenes.flow.bodies.fit import Schedule, Terms, fit_paths, sorted_terms
from scenes.flow.bodies.paths import Paths, at_rest
from scenes.flow.bodies.scan import Scan
from scenes.flow.bodies.surface import Surface

FARTHEST, STEP = 3.0, 0.25
"""Metres a cloud that shifts are searched up to, along both horizontal axes, and between them."""
SEARCH_POINTS = 128
"""Of a component, drawn at random, that a search looks at."""
FIT_POINTS = 300
"""Of a component, drawn at random, that a fit looks at."""
SLOW = 0.02
"""Misfit that a metre of shift costs in the search: the slower one of equals."""
APART = 0.6
"""Metres between the minima of a search."""
MINIMA = 3
"""Minima of a search that are fitted."""
WINDOW = (-4, -2, -1, 1, 2, 4)
"""Clouds that a steady motion is weighed at."""
OTHERS = 16
"""Nearest points among which one of another component is looked for."""
SCHEDULE = Schedule(20, (4.0, 1.0))


class Window(NamedTuple):
    """A scan and what is seen around it. offsets: [W] clouds from it. surfaces: there. rests: see `Rest`."""

    scan: Scan
    offsets: tuple[int, ...]
    surfaces: tuple[Surface, ...]
    rests: tuple[Rest, ...]


class Rest(NamedTuple):
    """For each point seen elsewhere, what explains it if nothing moves.

    first: [M] the scan's nearest point. other: [M] the nearest one of another component than that.
    """

    first: Tensor
    other: Tensor


def window_of(scans: Sequence[Scan], t: int, offsets: Sequence[int] = WINDOW) -> Window:
    """The clouds around scan t that there are."""
    scan = scans[t]
    there = tuple(k for k in offsets if 0 <= t + k < len(scans))
    surfaces = tuple(scans[t + k].surface for k in there)
    rests = []
    for surface in surfaces:
        near = scan.surface.index.nearest(surface.points, min(OTHERS, len(scan.points))).indices
        strange = scan.component[near] != scan.component[near[:, :1]]
        other = torch.where(strange.any(dim=1), strange.float().argmax(dim=1), near.shape[1] - 1)
        rests.append(Rest(near[:, 0], near.gather(1, other[:, None])[:, 0]))
    return Window(scan, there, surfaces, tuple(rests))


def searched(window: Window, components: Sequence[int], seed: int) -> Tensor:
    """[C, MINIMA, 3] metres a cloud: the shifts with the least misfit on one side of time, of each component."""
    forward = max(window.offsets) > 0
    sides = [(k, s) for k, s in zip(window.offsets, window.surfaces, strict=True) if (k > 0) == forward]
    ahead = torch.arange(-FARTHEST, FARTHEST + STEP / 2, STEP)
    shifts = torch.cartesian_prod(ahead, ahead, torch.tensor([-STEP, 0.0, STEP]))
    generator = torch.Generator().manual_seed(seed)
    found = []
    for component in components:
        points = drawn(window.scan.points[window.scan.component == component], SEARCH_POINTS, generator)
        cost = SLOW * shifts.norm(dim=1)
        for k, surface in sides:
            there = (points + k * shifts[:, None]).reshape(-1, 3)
            nearest = surface.index.nearest(there)
            width = surface.spacing[nearest.indices[:, 0]].clamp(min=0.6 * STEP * abs(k) ** 0.5)
            misfit = (nearest.squared_distances[:, 0].sqrt() / width).clamp(max=1)
            cost = cost + misfit.reshape(len(shifts), -1).mean(dim=1) / len(sides)
        minima = []
        for _ in range(MINIMA):
            best = shifts[int(cost.argmin())]
            minima.append(best)
            cost = torch.where((shifts - best).norm(dim=1) < APART, torch.inf, cost)
        found.append(torch.stack(minima))
    return torch.stack(found)


def fitted(window: Window, components: Sequence[int], shifts: Tensor, seed: int) -> Paths:
    """Paths [C * H, 1 + W] through the window of components that begin as steady shifts [C, H, 3], fitted.

    Time 0 is the scan itself, where they rest; time 1 + w is `offsets[w]`. First to the nearest cloud, then to all.
    """
    generator = torch.Generator().manual_seed(seed)
    offsets = torch.tensor([0, *window.offsets])
    hypotheses = shifts.shape[1]
    members = [window.scan.points[window.scan.component == component] for component in components]
    members = [drawn(points, FIT_POINTS, generator) for points in members]
    paths = at_rest(
        torch.stack([points.mean(dim=0) for points in members]).repeat_interleave(hypotheses, 0), len(offsets)
    )
    paths = paths._replace(centre=paths.centre + offsets[:, None] * shifts.reshape(-1, 1, 3))
    nearest = min(range(len(window.offsets)), key=lambda w: abs(window.offsets[w] - 0.5))
    basis, alive = offsets[:, None].float(), torch.ones(paths.centre.shape[:2], dtype=torch.bool)
    rounds = [[nearest]] if len(window.offsets) == 1 else [[nearest], list(range(len(window.offsets)))]
    for times in rounds:
        terms = [
            Terms(
                torch.full((len(points),), c * hypotheses + h),
                torch.zeros(len(points), dtype=torch.int64),
                torch.full((len(points),), w + 1),
                points,
            )
            for c, points in enumerate(members)
            for h in range(hypotheses)
            for w in times
        ]
        surfaces = (window.scan.surface, *window.surfaces)
        paths, _ = fit_paths(paths, sorted_terms(terms), surfaces, basis, SCHEDULE, alive)
    return paths


def drawn(points: Tensor, most: int, generator: torch.Generator) -> Tensor:
    """At most so many of the points, at random."""
    return points if len(points) <= most else points[torch.randperm(len(points), generator=generator)[:most]]


def energies(window: Window, components: Sequence[int], paths: Paths) -> Tensor:
    """[C] what speaks against components moving along `paths` [C, 1 + W]: their mean misfit in the window, minus what
    they explain there per point, beyond what other components explain if those rest. From -1 (or less) to 1.
    """
    scan = window.scan
    number = torch.full((len(scan.sizes),), -1)
    number[torch.as_tensor(components)] = torch.arange(len(components))
    rows = (number[scan.component] >= 0).nonzero()[:, 0]
    body = number[scan.component[rows]]
    total = torch.zeros(len(components))
    for w, (surface, rest) in enumerate(zip(window.surfaces, window.rests, strict=True)):
        there = paths.carry(scan.points[rows], body, 0, w + 1)
        total.index_add_(0, body, surface.misfit(there, surface.nearest(there)))
        explains = PointIndex(there).nearest(surface.points).indices[:, 0]
        mine = scan.component[rows[explains]]
        rests = torch.where(scan.component[rest.first] == mine, rest.other, rest.first)
        target = torch.arange(len(surface.points))
        before, after = surface.misfit(scan.points[rests], target), surface.misfit(there[explains], target)
        total.index_add_(0, body[explains], (after - before).clamp(max=0))
    return total / scan.sizes[torch.as_tensor(components)] / len(window.surfaces)
