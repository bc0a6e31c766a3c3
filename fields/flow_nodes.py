"""Nodes of deformation (Sumner et al. 2007): few points of each body whose displacements bend all of it."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from kernels.neighbours import PointIndex
from scenes.flow.bodies.fit import spline_basis

STRAY = 0.01
"""Share of a body's points at either end of an axis that its size leaves out."""
DIVISIONS = 8
"""Nodes along a body's diagonal, unless its points are too sparse for so many."""
POINT_SPACINGS = 3.0
"""Least distance of nodes, in local spacings of the points."""
BLENDED = 10
"""Nodes that move a point."""
WIDTH = 0.8
"""Standard deviation of a node's influence, in distances of nodes."""
LINKED = 6
"""Neighbours that a node is tied to."""
KNOTS_APART = 4.0
"""Clouds between two knots in time."""


class Nodes(NamedTuple):
    """Of all bodies, those of one body after another.

    places: [M, 3] metres in the body's frame. body: [M] int64. apart: [B] metres between the nodes of each body.
    """

    places: Tensor
    body: Tensor
    apart: Tensor


def place_nodes(points: Tensor, body: Tensor, spacing: Tensor, count: int) -> Nodes:
    """A node in each occupied voxel of each body, at the mean of its points.

    points: [P, 3] of all times in their body's frame. body: [P] int64. spacing: [P] metres between neighbours in a
    cloud. count: bodies, each of which has points.
    """
    places, owners, apart = [], [], []
    for b in range(count):
        rows = (body == b).nonzero()[:, 0]
        own, ordered = points[rows], points[rows].sort(dim=0).values
        low, high = ordered[int(STRAY * (len(own) - 1))], ordered[int((1 - STRAY) * (len(own) - 1))]
        step = max(float((high - low).norm()) / DIVISIONS, POINT_SPACINGS * float(spacing[rows].median()))
        _, voxel, filled = torch.unique(((own - low) / step).floor(), dim=0, return_inverse=True, return_counts=True)
        places.append(own.new_zeros(len(filled), 3).index_add_(0, voxel, own) / filled[:, None])
        owners.append(body.new_full((len(filled),), b))
        apart.append(step)
    return Nodes(torch.cat(places), torch.cat(owners), points.new_tensor(apart))


class Blend:
    """Which nodes move a point, and how much."""

    def __init__(self, nodes: Nodes) -> None:
        counts = torch.bincount(nodes.body, minlength=len(nodes.apart)).tolist()
        self.apart = nodes.apart
        self.indices = [PointIndex(places) for places in nodes.places.split(counts)]
        self.first = [sum(counts[:b]) for b in range(len(counts))]

    @torch.no_grad()
    def __call__(self, points: Tensor, body: Tensor) -> tuple[Tensor, Tensor]:
        """[N, K] int64 and [N, K]: the nodes of points [N, 3] of bodies [N], and their shares, which sum to 1."""
        rows = torch.zeros(len(points), BLENDED, dtype=torch.long, device=points.device)
        shares = points.new_zeros(len(points), BLENDED)
        for b in body.unique().tolist():
            mine = (body == b).nonzero()[:, 0]
            found = self.indices[b].nearest(points[mine], BLENDED + 1)
            squared = found.squared_distances - found.squared_distances[:, :1]
            weights = torch.exp(-squared / (2 * (WIDTH * self.apart[b]) ** 2))
            # less the first that is left out, so that nothing jumps where another takes its place
            weights = (weights[:, :-1] - weights[:, -1:]).clamp(min=1e-6)
            rows[mine] = found.indices[:, :-1].clamp(min=0) + self.first[b]
            shares[mine] = torch.where(found.indices[:, :-1] < 0, 0.0, weights)
        shares = shares / shares.sum(dim=1, keepdim=True)
        return rows, shares


def linked(nodes: Nodes) -> Tensor:
    """[E, 2] int64: the pairs of nodes that hold each other, of one body each."""
    counts = torch.bincount(nodes.body, minlength=len(nodes.apart)).tolist()
    first, pairs = 0, []
    for places in nodes.places.split(counts):
        pairs.append(links(places) + first)
        first += len(places)
    return torch.cat(pairs)


def links(places: Tensor) -> Tensor:
    """[E, 2] int64: each pair of nodes [M, 3] of which one is among the nearest of the other, once."""
    found = PointIndex(places).nearest(places, min(LINKED + 1, len(places))).indices[:, 1:]
    start = torch.arange(len(places), device=places.device)[:, None].expand_as(found)
    pairs = torch.stack([start.reshape(-1), found.reshape(-1)], dim=1)
    return pairs.sort(dim=1).values.unique(dim=0)


def basis(times: int) -> Tensor:
    """[T, S] float32: what each of S coefficients adds at each of T whole times.

    A uniform cubic B-spline; up to three times, where there is nothing to smooth, the displacement since the first.
    """
    whole = spline_basis(times, KNOTS_APART)
    return whole[:, 1:] if times <= 3 else whole
