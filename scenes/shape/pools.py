"""Pools of points with their signed distances: what a shape is trained on, and what it is scored on.

All draws come from NumPy's PCG64 of the given seed, so a pool is a function of mesh, count and seed. A pool is float32:
distances belong to the rounded points, except for those on the surface, whose distance is 0 by construction.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from scenes.shape.distance import SignedDistance
from scenes.shape.mesh import Doubles, Faces, Mesh

NEAR_SIGMAS = (0.003, 0.01, 0.05)
"""Standard deviations in world units of the training points around the surface, a third of them each. Without the
widest, grids as fine as the surface needs make bubbles farther from it (armadillo: volume IoU 0.9966, not 0.9989)."""
EVALUATION_SIGMA = 0.01
EVALUATION_COUNT = 2_000_000


@dataclass(frozen=True)
class Pool:
    """points: [P, 3] float32 in world units. distances: [P] float32, negative inside."""

    points: Tensor
    distances: Tensor

    def __len__(self) -> int:
        return len(self.distances)

    def batch(self, seed: int, step: int, count: int) -> Pool:
        """`count` random entries, with repetition: a function of (seed, step)."""
        chosen = np.random.default_rng((seed, step)).integers(len(self), size=count)
        index = torch.from_numpy(chosen).to(self.points.device)
        return Pool(self.points[index], self.distances[index])

    def to(self, device: torch.device | str) -> Pool:
        """The pool on `device`."""
        return Pool(self.points.to(device), self.distances.to(device))


def surface_points(mesh: Mesh, count: int, random: np.random.Generator) -> tuple[Doubles, Faces]:
    """[count, 3] float64 points, uniform by area on the mesh, and [count] the triangles they lie on."""
    areas = np.linalg.norm(mesh.crosses, axis=1)
    cumulated = np.cumsum(areas)
    faces = np.searchsorted(cumulated, random.random(count) * cumulated[-1], side="right").clip(max=len(areas) - 1)
    root, v = np.sqrt(random.random((count, 1))), random.random((count, 1))
    a, b, c = (mesh.vertices[mesh.faces[faces, i]] for i in range(3))
    return (1 - root) * a + root * (1 - v) * b + root * v * c, faces


def training_pool(distance: SignedDistance, count: int, seed: int) -> Pool:
    """1/4 of the points on the surface, 3/5 beside it by normal noise of NEAR_SIGMAS, the rest uniform in the cube.

    Normal noise is drawn on all three axes. The kinds follow one another; `Pool.batch` mixes them.
    """
    random = np.random.default_rng((seed, 0))
    on, near = count // 4, count * 3 // 5
    surface, _ = surface_points(distance.mesh, on, random)
    start, _ = surface_points(distance.mesh, near, random)
    sigmas = np.resize(NEAR_SIGMAS, near)[:, None]
    off = [start + sigmas * random.standard_normal((near, 3)), random.uniform(-1, 1, (count - on - near, 3))]
    rest = measured(distance, np.concatenate(off))
    return Pool(
        torch.cat([torch.from_numpy(surface.astype(np.float32)), rest.points]),
        torch.cat([torch.zeros(on), rest.distances]),
    )


def evaluation_pool(distance: SignedDistance, count: int = EVALUATION_COUNT, seed: int = 0) -> Pool:
    """The pool of gIoU: a fifth uniform in [-1, 1]^3, the rest on the surface plus N(0, 0.01) on each axis."""
    random = np.random.default_rng((seed, 1))
    uniform = count // 5
    start, _ = surface_points(distance.mesh, count - uniform, random)
    near = start + EVALUATION_SIGMA * random.standard_normal(start.shape)
    return measured(distance, np.concatenate([random.uniform(-1, 1, (uniform, 3)), near]))


def uniform_pool(distance: SignedDistance, count: int, seed: int = 0) -> Pool:
    """The pool of the volume IoU: uniform in [-1, 1]^3."""
    return measured(distance, np.random.default_rng((seed, 2)).uniform(-1, 1, (count, 3)))


def measured(distance: SignedDistance, points: Doubles) -> Pool:
    """The points as float32, with the distances of exactly those."""
    rounded: NDArray[np.float32] = points.astype(np.float32)
    return Pool(torch.from_numpy(rounded), torch.from_numpy(distance(rounded).astype(np.float32)))
