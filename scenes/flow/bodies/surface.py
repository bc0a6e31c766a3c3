"""Surface: a cloud as the planes around its points, at which other points may lie, more or less."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from kernels.neighbours import PointIndex

NEIGHBOURS = 10
"""Points that make a plane, the point itself among them."""
SPACING_RANK = 8
"""The neighbour whose distance is the spacing: past those of one scan line, in the next line."""
CHUNK = 1 << 16
"""Points whose neighbourhoods are in memory at a time."""
SPACING_RANGE = (1e-3, 0.5)
"""Metres: least and most of a spacing."""


class Surface(NamedTuple):
    """points, normals: [N, 3]. spacing: [N] metres between the scan's lines and columns there. index: of the points."""

    points: Tensor
    normals: Tensor
    spacing: Tensor
    index: PointIndex

    def nearest(self, points: Tensor) -> Tensor:
        """[M] the nearest of the surface's points to each of [M, 3]."""
        return self.index.nearest(points).indices[:, 0]

    def only(self, rows: Tensor) -> Surface:
        """The planes of some of the points, at which alone others may lie."""
        points = self.points[rows]
        return Surface(points, self.normals[rows], self.spacing[rows], PointIndex(points))

    def misfit(self, points: Tensor, at: Tensor) -> Tensor:
        """[M] in 0 to 1: how far points [M, 3] are off the planes `at` [M], in spacings.

        Sideways a spacing costs nothing: where a scan has its points on a plane says nothing of the plane's motion.
        """
        off, beside, spacing = self.parts(points, at)
        over = (beside.norm(dim=1) - spacing).clamp(min=0)
        return ((off.square() + over.square()).sqrt() / spacing).clamp(max=1)

    def parts(self, points: Tensor, at: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """[M] metres from points [M, 3] to the planes `at`, [M, 3] the rest of the way, [M] the spacing there."""
        gap = self.points[at] - points
        off = (gap * self.normals[at]).sum(dim=1)
        return off, gap - off[:, None] * self.normals[at], self.spacing[at]


def surface_of(points: Tensor) -> Surface:
    """The surface of a cloud [N, 3], N >= 1."""
    index = PointIndex(points)
    normals, spacing = [], []
    for chunk in points.split(CHUNK):
        found = index.nearest(chunk, min(NEIGHBOURS, len(points)))
        around = points[found.indices]
        around = around - around.mean(dim=1, keepdim=True)
        normals.append(torch.linalg.eigh(around.transpose(1, 2) @ around).eigenvectors[:, :, 0])
        spacing.append(found.squared_distances[:, min(SPACING_RANK, len(points) - 1)].sqrt())
    return Surface(points, torch.cat(normals), torch.cat(spacing).clamp(*SPACING_RANGE), index)
