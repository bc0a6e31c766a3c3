"""How far points are from a cloud: read off a grid, or exactly; truncated, and differentiable in the points.

Points are [N, 3] float32, distances [N] metres.
"""

from __future__ import annotations

import math
import warnings
from typing import Literal, Protocol

import torch
from torch import Tensor

from kernels.distance import distance_transform
from kernels.grid import dense_levels, grid
from kernels.neighbours import PointIndex, nearest_squared

MOST_CELLS = 1 << 28
"""Cells of all distance grids that are held at once, a gigabyte: one of 70 m by 70 m by 54 m at 0.1 m."""
DistanceKind = Literal["exact", "grid"]
"""`ExactDistance` or `DistanceGrid`."""


class Distance(Protocol):
    """Truncated distance to one cloud: `DistanceGrid` or `ExactDistance`."""

    def __call__(self, points: Tensor) -> Tensor:
        """[N] metres of points [N, 3]; the gradient is zero where the distance is cut off."""
        ...


class DistanceGrid:
    """The truncated distance to a cloud, read off its Euclidean distance transform (Li et al. 2023, "Fast NSF").

    As published the grid spans the box of the cloud, and of another one that will lie `beside` it, a cell wider all
    around; points are rounded to the nearest of its nodes, which are `cell` metres apart. A node holds the exact
    distance to the nearest node taken; between nodes it is linear in each axis, so wrong by at most about sqrt(3)
    cells, and not zero at the cloud's own points. Points outside are clamped to the box and have no gradient along that
    axis. truncate: metres at which it is cut off; infinite as published.

    Never more than `most_cells` cells: where the box would need more, the cells grow with a warning; `cell` is what
    they became. Building touches each cell a few times (floor: 8 bytes a cell), reading takes eight scattered floats a
    point, both in kernels (`distance`, `grid`). ValueError for an empty cloud or a bad number.
    """

    def __init__(
        self,
        cloud: Tensor,
        *,
        beside: Tensor | None = None,
        cell: float = 0.1,
        truncate: float = 2.0,
        most_cells: int = MOST_CELLS,
    ) -> None:
        if len(cloud) == 0:
            raise ValueError("cloud: expected points to measure distances to, got none")
        if not 0 < cell < math.inf:
            raise ValueError(f"cell: expected metres above 0, got {cell}")
        if not truncate > 0:
            raise ValueError(f"truncate: expected metres above 0, got {truncate}")
        cloud = cloud.detach()
        inside = cloud if beside is None else torch.cat([cloud, beside.detach()])
        box = torch.stack([inside.amin(dim=0), inside.amax(dim=0)])
        self.cell = affordable_cell(box, cell, most_cells)
        if self.cell > cell:
            sides = " x ".join(f"{side:,.0f}" for side in (box[1] - box[0]).tolist())
            warnings.warn(
                f"distance grid: a box of {sides} m has more than {most_cells:,} cells of {cell:g} m; they are "
                f"{self.cell:.3g} m wide. Crop the clouds for finer ones",
                stacklevel=2,
            )
        self.truncate = truncate
        low, nodes = nodes_of(box, self.cell)
        width, height, depth = nodes
        occupied = torch.zeros(depth, height, width, dtype=torch.bool, device=cloud.device)
        x, y, z = (cloud / self.cell - low).round().long().unbind(dim=1)
        occupied[z, y, x] = True
        self.low, self.span = low * self.cell, (low.new_tensor(nodes) - 1) * self.cell
        self.table = distance_transform(occupied, spacing=self.cell).view(-1, 1)
        self.levels = dense_levels([nodes])

    def __call__(self, points: Tensor) -> Tensor:
        """See `Distance`."""
        return grid((points - self.low) / self.span, self.table, self.levels)[:, 0].clamp(max=self.truncate)


def nodes_of(box: Tensor, cell: float) -> tuple[Tensor, tuple[int, int, int]]:
    """Of a grid around a box [2, 3]: its first node [3], in cells from the origin, and how many nodes each axis has."""
    low, high = (box[0] / cell - 1).floor(), (box[1] / cell + 1).ceil()
    x, y, z = ((high - low).long() + 2).tolist()
    return low, (x, y, z)


def affordable_cell(box: Tensor, cell: float, most_cells: int) -> float:
    """The smallest width of at least `cell`, in steps of 5 %, with which a box [2, 3] has few enough cells."""
    while math.prod(nodes_of(box, cell)[1]) > most_cells:
        cell *= 1.05
    return cell


class ExactDistance:
    """The truncated distance to a cloud's nearest point, exactly, by the k-d tree of `kernels.neighbours`.

    On one core a query costs about what a reading of `DistanceGrid` does (0.15 microseconds where points come in the
    order of the scan), memory is that of the points, and nothing is rounded. The nearest point is held fixed for the
    gradient, which is zero beyond `truncate` metres, and at the point itself.
    """

    def __init__(self, cloud: Tensor, *, truncate: float = 2.0) -> None:
        self.index, self.truncate = PointIndex(cloud), truncate

    def __call__(self, points: Tensor) -> Tensor:
        """See `Distance`."""
        return truncated_root(nearest_squared(points, self.index.points, index=self.index), self.truncate)


def truncated_root(squared: Tensor, truncate: float) -> Tensor:
    """sqrt of [N], at most `truncate`; without a gradient beyond it, and at 0, where the root has none."""
    return squared.clamp(min=1e-12, max=truncate**2).sqrt()


def distance_to(cloud: Tensor, kind: DistanceKind, *, cell: float, truncate: float, most_cells: int) -> Distance:
    """The distance to a cloud in one of the two ways; cell, most_cells: of the grid."""
    if kind == "exact":
        return ExactDistance(cloud, truncate=truncate)
    return DistanceGrid(cloud, cell=cell, truncate=truncate, most_cells=most_cells)
