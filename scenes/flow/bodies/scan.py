"""Scan: a cloud in its components, and which of them may move, for they are not there before or after."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components
from scipy.spatial import KDTree
from torch import Tensor

from scenes.flow.bodies.surface import Surface, surface_of

REACH = 0.6
"""Metres between the means of two voxels of one component."""
MOST_VOXELS = 300_000
OFFSETS = (1, 2, 4)
"""Clouds earlier and later at which a component that stands still should be found again."""
MISFIT = 0.1
"""Mean misfit from which a component is not found again."""


class Scan(NamedTuple):
    """surface: of the cloud's points. component: [N] number of each point's component. sizes: [C] points of each.

    may_move: [C] bool.
    """

    surface: Surface
    component: Tensor
    sizes: Tensor
    may_move: Tensor

    @property
    def points(self) -> Tensor:
        """[N, 3]."""
        return self.surface.points

    @property
    def seen(self) -> Tensor:
        """[N] bool: points of components that may move."""
        return self.may_move[self.component]

    def mean(self, values: Tensor) -> Tensor:
        """[C] means over the components of values [N]."""
        return torch.zeros(len(self.sizes)).index_add_(0, self.component, values) / self.sizes


def least(values: Tensor, component: Tensor, count: int) -> Tensor:
    """[C] the least of values [M] of each of `count` components, infinity where there is none."""
    return torch.full((count,), torch.inf).scatter_reduce_(0, component, values, "amin")


def scans_of(clouds: Sequence[Tensor]) -> list[Scan]:
    """The scans of clouds [N, 3] float32 in one frame, in the order of time."""
    surfaces = [surface_of(cloud) for cloud in clouds]
    components = [torch.from_numpy(components_of(cloud.numpy())) for cloud in clouds]
    scans = []
    for t, (surface, component) in enumerate(zip(surfaces, components, strict=True)):
        sizes = torch.bincount(component).float()
        scan = Scan(surface, component, sizes, torch.ones_like(sizes, dtype=torch.bool))
        scans.append(scan._replace(may_move=absence(scan, t, surfaces) > MISFIT))
    return scans


def absence(scan: Scan, t: int, surfaces: Sequence[Surface]) -> Tensor:
    """[C] mean misfit at rest, in the direction of time that finds a component again, at the worst of the offsets.

    What gets hidden or comes into view stands still in one direction at least; what moves, in neither.
    """
    worst = torch.zeros(len(scan.sizes))
    for offset in OFFSETS:
        times = [s for s in (t - offset, t + offset) if 0 <= s < len(surfaces)]
        at_rest = [surfaces[s].misfit(scan.points, surfaces[s].nearest(scan.points)) for s in times]
        if at_rest:
            worst = torch.maximum(worst, torch.stack([scan.mean(misfit) for misfit in at_rest]).amin(dim=0))
    return worst


def components_of(points: np.ndarray) -> np.ndarray:
    """[N] int64, from 0: points [N, 3] that are joined by steps of `REACH` between voxels a third of it wide.

    Where there are more than `MOST_VOXELS` of those, both are made larger, so that memory is bounded.
    """
    reach = REACH
    while True:
        key = np.floor(points / (reach / 3)).astype(np.int64)
        kinds, voxel = np.unique(key, axis=0, return_inverse=True)
        if len(kinds) <= MOST_VOXELS:
            break
        reach *= 1.5
    voxel = voxel.reshape(-1)
    count = np.bincount(voxel)
    centres = np.stack([np.bincount(voxel, points[:, axis]) / count for axis in range(3)], axis=1)
    near = KDTree(centres).query_pairs(reach, output_type="ndarray")
    links = coo_matrix((np.ones(len(near), np.int8), (near[:, 0], near[:, 1])), shape=(len(centres), len(centres)))
    return connected_components(links, directed=False)[1].astype(np.int64)[voxel]
