"""Floxels: flow vectors on a grid, fitted to several clouds at once (Hoffmann et al. 2025).

One grid a cloud: points of cloud t move by k times its flow until cloud t + k, for k from -2 to 2 (constant velocity
over five clouds). Only nodes beside points exist, since all others would never get a gradient.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from fields.flow_distance import MOST_CELLS, Distance, distance_to
from fields.flow_numbers import FloxelNumbers
from fields.flow_terms import cluster_variance, clusters, length_term
from kernels.neighbours import PointIndex

REACH_OF_NODES = 2.0
"""Metres: a point beside no node has the flow of the nearest node up to here, and none beyond."""
KEY_BITS = 20
"""Of each coordinate of a node's place: a million nodes to either side."""


@dataclass(frozen=True)
class Fit:
    """A grid that is being fitted: nodes and weights [N, 8] of its cloud, labels [N] and number of its clusters."""

    grid: int
    rows: Tensor
    weights: Tensor
    labels: Tensor
    clusters: int


class FloxelField(nn.Module):
    """One grid of flow vectors for each cloud, fitted one after the other, each from where the one before it leads.

    clouds: T float32 tensors [N, 3] in metres, in one frame in which only what moves, moves; times are counted in
    clouds, which must be evenly spaced in time for a constant velocity to make sense. State: `tables` (T parameters
    [nodes, 3], metres a step), and buffers `current` (the grid that is being fitted, T when all are), `started` (its
    first step), `best` and `best_loss` (kept of it), `seen` (its vectors at the last look). All else follows from the
    clouds. Nothing is random: the seed changes nothing, and is taken so that all flow fields are made alike.

    With two clouds the multi-frame term is that of a pair: cloud 0 is fitted to cloud 1 and the other way round.
    ValueError for fewer than 2 clouds.
    """

    current: Tensor
    started: Tensor
    best: Tensor
    best_loss: Tensor
    seen: Tensor

    def __init__(self, clouds: Sequence[Tensor], *, seed: int = 0, numbers: FloxelNumbers | None = None) -> None:
        super().__init__()
        if len(clouds) < 2:
            raise ValueError(f"clouds: expected at least 2, got {len(clouds)}; one alone shows no motion")
        self.numbers = numbers or FloxelNumbers()
        self.count = len(clouds)
        keys = [node_keys(cloud.detach(), self.numbers.voxel) for cloud in clouds]
        for t, (cloud, own) in enumerate(zip(clouds, keys, strict=True)):
            self.register_buffer(f"cloud{t}", cloud.detach(), persistent=False)
            self.register_buffer(f"keys{t}", own, persistent=False)
            self.register_buffer(f"trust{t}", node_trust(cloud.detach(), own, self.numbers.voxel), persistent=False)
        self.tables = nn.ParameterList([nn.Parameter(torch.zeros(len(own), 3, device=own.device)) for own in keys])
        most, device = max(len(own) for own in keys), clouds[0].device
        self.register_buffer("current", torch.tensor(0, device=device))
        self.register_buffer("started", torch.tensor(0, device=device))
        self.register_buffer("best", torch.zeros(most, 3, device=device))
        self.register_buffer("best_loss", torch.tensor(math.inf, device=device))
        self.register_buffer("seen", torch.zeros(most, 3, device=device))
        self._fit: Fit | None = None
        self._distances: dict[int, Distance] = {}

    # --- the flow ----------------------------------------------------------------------------------------------------

    @torch.no_grad()
    def velocity(self, points: Tensor, t: float, direction: int) -> Tensor:
        """[N, 3] metres a step of points [N, 3] at time t: the flow of grid floor(t); backward, of ceil(t), negated.

        Between nodes it is linear in each axis, see `weighted`; beside none of them it is that of the nearest within
        `REACH_OF_NODES`, else zero. Times outside the sequence are those of its ends.
        """
        grid = math.floor(t) if direction > 0 else math.ceil(t)
        grid = min(max(grid, 0), self.count - 1)
        return direction * self.read(grid, points)

    def is_static(self, points: Tensor, t: float, direction: int) -> Tensor:
        """[N] bool: points that move less than `numbers.static_speed` in a step."""
        return torch.linalg.vector_norm(self.velocity(points, t, direction), dim=1) < self.numbers.static_speed

    def read(self, grid: int, points: Tensor) -> Tensor:
        """[N, 3] the flow of one grid at points [N, 3]; see `velocity`."""
        table, keys = self.tables[grid].detach(), self.keys(grid)
        rows, weights = self.weighted(grid, points)
        flow = functional.embedding_bag(rows, table, per_sample_weights=weights, mode="sum")
        lost = torch.nonzero(weights.sum(dim=1) < 0.5)[:, 0]
        if len(lost):
            nearest = PointIndex(node_places(keys, self.numbers.voxel)).nearest(points[lost])
            near = nearest.squared_distances[:, 0] < REACH_OF_NODES**2
            flow[lost] = torch.where(near[:, None], table[nearest.indices[:, 0].clamp(min=0)], 0)
        return flow

    def weighted(self, grid: int, points: Tensor) -> tuple[Tensor, Tensor]:
        """Rows and weights [N, 8] with which points [N, 3] read a grid: trilinear, times how far nodes are trusted.

        They add up to 1, or are all 0 beside no node. A node that hardly any point reads takes any value in fitting;
        so it counts for little, also for the points themselves.
        """
        rows, weights = corners(points, self.keys(grid), self.numbers.voxel)
        weights = weights * self.get_buffer(f"trust{grid}")[rows]
        total = weights.sum(dim=1, keepdim=True)
        return rows, torch.where(total > 1e-6, weights / total.clamp(min=1e-6), 0)

    def cloud(self, t: int) -> Tensor:
        """[N, 3] the points of a cloud."""
        return self.get_buffer(f"cloud{t}")

    def keys(self, grid: int) -> Tensor:
        """[nodes] int64, ascending: the places of a grid's nodes."""
        return self.get_buffer(f"keys{grid}")

    # --- fitting -----------------------------------------------------------------------------------------------------

    def loss(self, step: int) -> dict[str, Tensor]:
        """Terms of the current grid: mean truncated distance to the clouds around it, variance in clusters, length."""
        numbers, t = self.numbers, int(self.current)
        table, fit = self.tables[t], self.fit(t)
        flow = functional.embedding_bag(fit.rows, table, per_sample_weights=fit.weights, mode="sum")
        offsets = [k for k in range(-numbers.reach, numbers.reach + 1) if k and 0 <= t + k < self.count]
        distances = [self.distance(t + k)(self.cloud(t) + k * flow).mean() for k in offsets]
        terms = {"distance": torch.stack(distances).mean()}
        terms["clusters"] = numbers.cluster_weight * cluster_variance(flow, fit.labels, fit.clusters)
        terms["length"] = numbers.length_weight * length_term(flow)
        self.keep_best(table, terms)
        return terms

    @torch.no_grad()
    def keep_best(self, table: Tensor, terms: dict[str, Tensor]) -> None:
        """Remember the vectors that `terms` were computed of, if their sum is the lowest so far."""
        total = torch.stack([*terms.values()]).sum()
        if total < self.best_loss:
            self.best_loss.copy_(total)
            self.best[: len(table)] = table

    def param_groups(self) -> list[dict[str, Any]]:
        """One group: grids that are not being fitted have no gradient, and Adam leaves them alone."""
        return [{"params": list(self.tables), "name": "floxels", "lr": self.numbers.lr, "schedule": self.schedule}]

    def schedule(self, step: int) -> float:
        """A cosine to a hundredth over each grid's steps."""
        share = min((step - int(self.started)) / self.most_steps(), 1.0)
        return 0.01 + 0.99 * (1 + math.cos(math.pi * share)) / 2

    def most_steps(self) -> int:
        """Steps that the current grid may take."""
        return self.numbers.first_steps if int(self.current) == 0 else self.numbers.steps

    @torch.no_grad()
    def after_step(self, step: int) -> None:
        """Go on to the next grid when this one has come to rest or had its steps; its best vectors are kept."""
        numbers, t = self.numbers, int(self.current)
        if t == self.count:
            return
        table, done = self.tables[t], step + 1 - int(self.started)
        if done % numbers.check_every and done < self.most_steps():
            return
        seen = self.seen[: len(table)]
        moving = torch.linalg.vector_norm(table - seen, dim=1) > numbers.still
        seen.copy_(table)
        if done >= self.most_steps() or int(moving.sum()) <= numbers.moving_share * len(table):
            table.copy_(self.best[: len(table)])
            self.go_on(step)

    def go_on(self, step: int) -> None:
        """Begin with the next grid at the step after `step`, from the flow that this one has brought there."""
        t = int(self.current)
        self.current.fill_(t + 1)
        self.started.fill_(step + 1)
        self.best_loss.fill_(math.inf)
        self.seen.zero_()
        self.best.zero_()
        if t + 1 < self.count:
            places = node_places(self.keys(t + 1), self.numbers.voxel)
            self.tables[t + 1].copy_(self.read(t, places - self.read(t, places)))

    def finished(self, step: int) -> bool:
        """Whether all grids are fitted."""
        return int(self.current) == self.count

    def fit(self, t: int) -> Fit:
        """What fitting grid t needs again at each step."""
        if self._fit is None or self._fit.grid != t:
            cloud, numbers = self.cloud(t), self.numbers
            rows, weights = self.weighted(t, cloud)
            self._fit = Fit(t, rows, weights, *clusters(cloud, numbers.cluster_cell, numbers.cluster_least))
        return self._fit

    def distance(self, t: int) -> Distance:
        """The truncated distance to cloud t; those out of reach of the current grid are dropped."""
        if t not in self._distances:
            first = int(self.current) - self.numbers.reach
            self._distances = {at: kept for at, kept in self._distances.items() if at >= first}
            self._distances[t] = distance_to(
                self.cloud(t),
                self.numbers.distance,
                cell=self.numbers.cell,
                truncate=self.numbers.truncate,
                most_cells=MOST_CELLS // (2 * self.numbers.reach + 1),
            )
        return self._distances[t]


def corner_keys(points: Tensor, voxel: float) -> tuple[Tensor, Tensor]:
    """Keys [N, 8] int64 of the corners of the voxels in which points [N, 3] lie, and their trilinear weights [N, 8]."""
    place = points / voxel
    cell = place.floor()
    fraction, cell = place - cell, cell.long() + (1 << KEY_BITS)
    corner = torch.tensor([[i >> 2 & 1, i >> 1 & 1, i & 1] for i in range(8)], device=points.device)
    node = cell[:, None] + corner
    weights = torch.where(corner == 1, fraction[:, None], 1 - fraction[:, None]).prod(dim=2)
    return (node[..., 0] << 2 * (KEY_BITS + 1) | node[..., 1] << KEY_BITS + 1 | node[..., 2]), weights


def node_keys(points: Tensor, voxel: float) -> Tensor:
    """[nodes] int64, ascending: all corners of the voxels that hold points. ValueError for points too far out."""
    if len(points) and float(points.abs().max()) >= voxel * ((1 << KEY_BITS) - 1):
        raise ValueError(
            f"points: expected coordinates below {voxel * (1 << KEY_BITS):,.0f} m for voxels of {voxel} m, got "
            f"{float(points.abs().max()):,.0f} m; shift the clouds to the origin"
        )
    return torch.unique(corner_keys(points, voxel)[0])


def node_places(keys: Tensor, voxel: float) -> Tensor:
    """[nodes, 3] where nodes lie, in metres."""
    mask, shift = (1 << KEY_BITS + 1) - 1, KEY_BITS + 1
    place = torch.stack([keys >> 2 * shift, keys >> shift & mask, keys & mask], dim=1)
    return (place - (1 << KEY_BITS)).float() * voxel


def node_trust(points: Tensor, keys: Tensor, voxel: float) -> Tensor:
    """[nodes] in (0, 1]: the trilinear weights that points [N, 3] have at a node, added up, and no more than 1."""
    rows, weights = corners(points, keys, voxel)
    total = weights.new_zeros(len(keys)).index_add(0, rows.reshape(-1), weights.reshape(-1))
    return total.clamp(min=1e-6, max=1)


def corners(points: Tensor, keys: Tensor, voxel: float) -> tuple[Tensor, Tensor]:
    """Rows [N, 8] of the nodes around points [N, 3], and trilinear weights [N, 8]: 0 for nodes that do not exist."""
    wanted, weights = corner_keys(points, voxel)
    rows = torch.searchsorted(keys, wanted).clamp(max=len(keys) - 1)
    return rows, torch.where(keys[rows] == wanted, weights, 0)
