"""Baking: what a radiance field says, read off once at the nodes of a fine grid, so that no network is asked afterwards.

Density is interpolated between all nodes. Coefficients of colour are kept as half floats for the nodes near matter alone,
in one list, and taken from the nearest node: neighbouring samples of a ray are blended by compositing anyhow.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from fields.harmonic_colours import harmonic_colours
from kernels.grid import dense_levels, grid
from kernels.traverse import distance_grid
from render.camera import Camera
from render.frame import Frame
from render.march import Bundle, Context, Samples, VolumeField, march_picture
from render.samplers import traverse_all
from scenes.whole_file import write_whole

if TYPE_CHECKING:
    from fields.rbf import Rbf

NODES = 257
"""A side: cells of a 256th of the box."""
CHUNK = 1 << 17
LEAST_OPACITY = 5e-3
"""Of a sample: cells in which no node has more are empty."""
INVISIBLE, THRESHOLD = 4e-3, 1e-2
"""Weight below which a sample's colour is not looked up; transmittance at which a ray ends."""
FAR = 1e4


@dataclass(frozen=True)
class Baked:
    """A VolumeField of looked-up numbers.

    bounds: [2, 3] world. density: [NODES^3, 1] float32 per world unit, x fastest. rows: [NODES^3] int32, the row of
    each node in coefficients [V, 3 K] float16, 0 for nodes that have none. distances: [1, G, G, G] uint8, see
    `kernels.traverse`. step: world length of a sample. degree: of the harmonics.
    """

    bounds: Tensor
    density_table: Tensor
    rows: Tensor
    coefficients: Tensor
    distances: Tensor
    step: float
    degree: int

    @property
    def bytes(self) -> int:
        """Of all its tensors."""
        tensors = (self.density_table, self.rows, self.coefficients, self.distances)
        return sum(tensor.nbytes for tensor in tensors)
