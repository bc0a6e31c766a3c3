"""Signed distances from points to a mesh: exact distances to its triangles, the sign of the winding number.

The generalised winding number (Jacobson et al. 2013) counts how often the surface encloses a point: 1 inside and 0
outside of a closed mesh, in between near the holes of an open one. Inside is where it exceeds one half. It is
summed by the fast multipole-like expansion of Barill et al. (2018), exact for near triangles; docs/signals.md states
the error measured. Both come from libigl.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from scenes.shape.mesh import NEEDED, Doubles, Faces, Mesh

CHUNK = 1 << 20
"""Points a call of the library: bounds the memory, and costs nothing."""


class SignedDistance:
    """The signed distance function of a mesh; the tree over its triangles is built once.

    Raises ImportError naming the extra `shape` when libigl is absent.
    """

    def __init__(self, mesh: Mesh) -> None:
        self.mesh = mesh
        self.igl = import_igl()
        self.tree = self.igl.AABB()
        self.tree.init(mesh.vertices, mesh.faces)

    def __call__(self, points: NDArray[np.floating]) -> Doubles:
        """[P] float64 distances in world units of [P, 3] points, negative inside; ValueError for NaN or infinity."""
        signed = np.empty(len(check_points(points)))
        for part, chunk in in_space_order(points):
            signed[part] = np.sqrt(self.tree.squared_distance(self.mesh.vertices, self.mesh.faces, chunk)[0])
            inside = self.igl.fast_winding_number(self.mesh.vertices, self.mesh.faces, chunk) > 0.5
            signed[part[inside]] *= -1
        return signed

    def nearest(self, points: NDArray[np.floating]) -> tuple[Doubles, Faces]:
        """[P] float64 unsigned distances of [P, 3] points and [P] int64 indices of the nearest triangles."""
        distances, faces = np.empty(len(check_points(points))), np.empty(len(points), np.int64)
        for part, chunk in in_space_order(points):
            squared, faces[part], _ = self.tree.squared_distance(self.mesh.vertices, self.mesh.faces, chunk)
            distances[part] = np.sqrt(squared)
        return distances, faces

    def first_hits(self, origins: Doubles, directions: Doubles) -> tuple[Faces, Doubles]:
        """[R] int64 indices of the first triangles that rays [R, 3] meet, -1 for none, and [R] float64 t along them."""
        faces, t, _ = self.tree.intersect_ray_first(self.mesh.vertices, self.mesh.faces, origins, directions)
        return np.where(faces >= 0, faces, -1), np.where(faces >= 0, t, 0.0)


def import_igl() -> Any:
    """The libigl module; ImportError naming the extra when it is absent."""
    try:
        import igl  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise ImportError(f"signed distances: libigl {NEEDED}") from error
    return igl


def check_points(points: NDArray[np.floating]) -> NDArray[np.floating]:
    """The points; ValueError unless they are finite [P, 3]."""
    if points.ndim != 2 or points.shape[1] != 3:
        raise ValueError(f"points: expected [P, 3], got {list(points.shape)}")
    if not np.isfinite(points).all():
        raise ValueError("points: some are NaN or infinite, and have no distance")
    return points


def in_space_order(points: NDArray[np.floating]) -> list[tuple[NDArray[np.int64], Doubles]]:
    """Indices and float64 copies of the points in chunks along a Z curve.

    Neighbours then read the same branches of the tree from cache, which halves the time.
    """
    if len(points) == 0:
        return []
    low = points.min(axis=0)
    cells = ((points - low) * (1023 / max(float((points - low).max()), 1e-30))).astype(np.int64)
    order = np.argsort(spread_bits(cells[:, 0]) | spread_bits(cells[:, 1]) << 1 | spread_bits(cells[:, 2]) << 2)
    parts = np.split(order, range(CHUNK, len(order), CHUNK))
    return [(part, points[part].astype(np.float64)) for part in parts]


def spread_bits(values: NDArray[np.int64]) -> NDArray[np.int64]:
    """Numbers of 10 bits with two zeros put after each bit."""
    for shift, mask in ((16, 0x030000FF), (8, 0x0300F00F), (4, 0x030C30C3), (2, 0x09249249)):
        values = (values | values << shift) & mask
    return values
