"""A shape as a subject of training: a mesh in the world, with its signed distance function."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from scenes.shape.distance import SignedDistance
from scenes.shape.mesh import Mesh, read_mesh

UP = (0.0, 1.0, 0.0)
"""The direction that most meshes have upwards."""


@dataclass(frozen=True)
class Shape:
    """name: of the file, without its suffix. distance: the signed distance function of `mesh`, its tree built."""

    name: str
    mesh: Mesh
    distance: SignedDistance

    @property
    def world_from_input(self) -> Tensor:
        """[4, 4] float32 similarity from the coordinates of the file."""
        return torch.from_numpy(self.mesh.world_from_input).float()


def open_shape(path: Path) -> Shape:
    """The shape in a mesh file; raises what `read_mesh` and `SignedDistance` raise, and warns as they do."""
    mesh = read_mesh(path)
    return Shape(path.stem, mesh, SignedDistance(mesh))
