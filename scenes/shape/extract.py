"""Marching cubes over a signed distance function, in slabs, so that a fine grid never lies in memory whole."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from scenes.shape.mesh import NEEDED, Doubles, Faces

SignedField = Callable[[Tensor], Tensor]
"""[P, 3] float32 world points to [P] distances, negative inside; called on at most CHUNK points."""
CHUNK = 1 << 18
SLAB_NODES = 1 << 23
"""Grid nodes of a slab: 32 MiB of distances, and a few times that in the library."""


@torch.no_grad()
def field_values(field: SignedField, points: Tensor) -> Tensor:
    """[P] float32 of the field at [P, 3] points, chunk by chunk; ValueError for NaN or another shape."""
    values = [field(chunk).float() for chunk in points.split(CHUNK)]
    for value, chunk in zip(values, points.split(CHUNK), strict=True):
        if value.shape != chunk.shape[:1]:
            raise ValueError(f"signed field: expected [{len(chunk)}] for as many points, got {list(value.shape)}")
    result = torch.cat(values) if values else points.new_empty(0)
    if bool(result.isnan().any()):
        raise ValueError("signed field: some values are NaN; this model has diverged")
    return result


def marching_cubes(
    field: SignedField, resolution: int = 256, *, device: torch.device | str = "cpu"
) -> tuple[Doubles, Faces]:
    """The surface field = 0 in the cube [-1, 1]^3 as [V, 3] float64 world vertices and [F, 3] int64 faces.

    Lewiner et al. (2003), on `resolution` nodes a side, the outermost on the cube's faces; wound so that normals
    point to positive values. Slabs share a layer of nodes, where equal vertices become one: the mesh is that of the
    whole grid. Where the field is negative on the cube's faces the mesh is open. No surface gives no faces.
    Raises ValueError for fewer than 2 nodes, a field that is NaN or of another shape; ImportError naming the extra.
    """
    if resolution < 2:
        raise ValueError(f"resolution: expected 2 or more nodes a side, got {resolution}")
    try:
        from skimage import measure
    except ImportError as error:
        raise ImportError(f"marching cubes: scikit-image {NEEDED}") from error
    vertices, faces, count = [np.zeros((0, 3), np.float32)], [np.zeros((0, 3), np.int64)], 0
    for first, slab in slabs(field, resolution, device):
        if slab.min() <= 0 < slab.max():  # the library counts 0 to the inside
            found, triangles, _, _ = measure.marching_cubes(slab, 0.0, gradient_direction="descent")
            vertices.append(found + np.array([first, 0, 0], np.float32))
            faces.append(triangles + count)
            count += len(found)
    nodes, index = np.unique(np.concatenate(vertices), axis=0, return_inverse=True)
    joined = index.ravel()[np.concatenate(faces)].reshape(-1, 3)
    kept = (joined != np.roll(joined, 1, axis=1)).all(axis=1)  # a node of value 0 makes triangles without area
    return nodes.astype(np.float64) * (2 / (resolution - 1)) - 1, joined[kept]


def slabs(field: SignedField, resolution: int, device: torch.device | str) -> Iterator[tuple[int, NDArray[np.float32]]]:
    """(first layer, values [layers, resolution, resolution]) along x; each begins with the layer the last ended on."""
    ticks = torch.linspace(-1, 1, resolution, device=device)
    layers = max(1, SLAB_NODES // resolution**2)
    last: Tensor | None = None
    for first in range(0, resolution, layers):
        grid = torch.cartesian_prod(ticks[first : first + layers], ticks, ticks)
        values = field_values(field, grid).reshape(-1, resolution, resolution).cpu()
        slab = values if last is None else torch.cat([last, values])
        if len(slab) > 1:
            yield (first if last is None else first - 1), slab.numpy()
        last = values[-1:]
