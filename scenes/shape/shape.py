"""Shape: a mesh with its signed distance function, what a distance field is trained on."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from scenes.shape.distance import SignedDistance
from scenes.shape.mesh import Mesh, read_mesh


@dataclass(frozen=True)
class Shape:
    """A mesh in the cube [-1, 1]^3 and the exact distances to it. name: of its file."""

    name: str
    mesh: Mesh
    distance: SignedDistance

    @property
    def world_from_input(self) -> Tensor:
        """[4, 4] float32 similarity from the coordinates of the file."""
        return torch.from_numpy(self.mesh.world_from_input).float()


def open_shape(path: Path) -> Shape:
    """The shape in a mesh file; raises what `read_mesh` and `SignedDistance` raise."""
    mesh = read_mesh(path)
    return Shape(path.stem, mesh, SignedDistance(mesh))
