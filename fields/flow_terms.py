"""Terms of scene-flow losses: how well a cloud lies on warped points, and what a likely flow is.

Differentiable scalars (or one number a point) in metres or square metres, of points [N, 3] float32 in one frame.
"""

from __future__ import annotations

import numpy as np
import torch
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.spatial import KDTree
from torch import Tensor

from fields.flow_distance import truncated_root
from kernels.neighbours import PointIndex, nearest_squared


def reverse_term(target: Tensor, warped: Tensor, truncate: float = 2.0) -> Tensor:
    """Mean truncated distance in metres of the target's points [M, 3] to the nearest of the warped ones [N, 3].

    It holds warped points where the target has some, which a one-directional term does not. The tree is built anew for
    each call, as the warped points move (floor: sorting N points; then as `fields.flow_distance.ExactDistance`).
    """
    return truncated_root(nearest_squared(target, warped), truncate).mean()


def chamfer_term(warped: Tensor, target: Tensor, index: PointIndex, limit: float = 2.0) -> Tensor:
    """`kernels.neighbours.chamfer` in square metres with the target's tree, which does not change, already built.

    limit: squared distances of this much or more count as zero (Li et al. 2021: 2 square metres, so 1.41 m).
    """
    sides = nearest_squared(warped, target, index=index), nearest_squared(target, warped)
    near, back = (torch.where(side < limit, side, 0).mean() for side in sides)
    return near + back


def cycle_term(start: Tensor, returned: Tensor) -> Tensor:
    """Mean distance in metres between points [N, 3] and where a step forth and a step back have taken them."""
    return torch.linalg.vector_norm(returned - start, dim=1).mean()


def length_term(flow: Tensor) -> Tensor:
    """Mean length in metres of flows [N, 3]: an L1 norm over points, under which those that need not move stay."""
    return torch.linalg.vector_norm(flow, dim=1).mean()


def speed_hinge(flow: Tensor, limit: float = 6.0) -> Tensor:
    """Mean of excess + excess^2 / 2 over flows [N, 3], of lengths above `limit` metres a step (EulerFlow)."""
    excess = (torch.linalg.vector_norm(flow, dim=1) - limit).clamp(min=0)
    return (excess + excess.square() / 2).mean()


def cluster_variance(flow: Tensor, labels: Tensor, count: int) -> Tensor:
    """Mean squared distance of flows [N, 3] from their cluster's mean flow, over the points in clusters (Floxels).

    labels: [N] int64 in [0, count), or -1 for points in none. It pulls clusters towards a common shift; a rotation of
    angle a costs about a^2 times the cluster's mean squared radius. Zero where there is no cluster.
    """
    rows = torch.nonzero(labels >= 0)[:, 0]
    if len(rows) == 0:
        return flow.new_zeros(())
    inside, own = flow.index_select(0, rows), labels[rows]
    sizes = torch.bincount(own, minlength=count).clamp(min=1).to(flow)
    means = flow.new_zeros(count, 3).index_add(0, own, inside) / sizes[:, None]
    return (inside - means.index_select(0, own)).square().sum(dim=1).mean()


def clusters(points: Tensor, cell: float = 0.4, least: int = 10) -> tuple[Tensor, int]:
    """Labels [N] int64 of points [N, 3] by connected parts, -1 in parts of fewer than `least` points; and their count.

    Parts are connected cells: cubes of `cell` metres with points in them, that touch at least in a corner. It stands
    in for DBSCAN with eps of about `cell`, in time linear in the points, and like that it merges what nearly touches.
    """
    places = np.floor(points.detach().cpu().numpy().astype(np.float64) / cell).astype(np.int64)
    cells, cell_of = np.unique(places, axis=0, return_inverse=True)
    joined = KDTree(cells).query_pairs(1.8, output_type="ndarray")  # the far corner of a cube is sqrt(3) away
    graph = coo_array((np.ones(len(joined), bool), (joined[:, 0], joined[:, 1])), shape=(len(cells),) * 2)
    part = connected_components(graph, directed=False)[1][cell_of.reshape(-1)]
    large = np.bincount(part) >= least
    number = np.where(large, np.cumsum(large) - 1, -1)
    return torch.from_numpy(number[part].astype(np.int64)).to(points.device), int(large.sum())
