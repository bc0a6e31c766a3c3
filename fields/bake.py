"""Baking: what a radiance field says, read off once at the nodes of a fine grid; no network is asked afterwards.

Density is interpolated between all nodes. Coefficients of colour are kept as half floats for the nodes near matter
alone, in one list, and taken from the nearest node: compositing blends neighbouring samples of a ray anyhow.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from kernels.grid import dense_levels, grid
from kernels.traverse import distance_grid, traverse
from render.march import Bundle, Context, Samples, VolumeField
from render.samplers import OccupancySampler
from scenes.whole_file import write_whole

NODES = 257
"""A side: cells of a 256th of the box."""
CELLS = 128
"""A side of the occupancy grid."""
CHUNK = 1 << 17
LEAST_OPACITY = 1e-2
"""Of a sample: cells in which no node has more are empty."""


class Bakeable(Protocol):
    """What a field must offer: `raw` [P, 1 + 3 K] at world points, of which `thickness` makes densities [P]."""

    bounds: Tensor
    step_length: float
    sampler: OccupancySampler

    def raw(self, x: Tensor) -> Tensor:
        """See the class."""
        ...

    def thickness(self, raw: Tensor) -> Tensor:
        """See the class."""
        ...

    def decode(self, values: Tensor, rays: Bundle) -> Tensor:
        """See `VolumeField`."""
        ...


@dataclass(frozen=True)
class Baked:
    """A VolumeField, and the Sampler of its own cells, out of looked-up numbers.

    bounds: [2, 3] world. densities: [NODES^3, 1] float32 per world unit, x fastest. rows: [NODES^3] int32, each node's
    row in coefficients [V, 1 + 3 K] float16 (row 0, of zeros, for nodes far from matter). distances: [1, G, G, G]
    uint8, see `kernels.traverse`. step: world length of a sample.
    """

    field: Bakeable
    bounds: Tensor
    densities: Tensor
    rows: Tensor
    coefficients: Tensor
    distances: Tensor
    step: float

    @property
    def bytes(self) -> int:
        """Of all its tensors."""
        return sum(tensor.nbytes for tensor in (self.densities, self.rows, self.coefficients, self.distances))

    def density(self, x: Tensor, radius: Tensor) -> Tensor:
        """See `VolumeField`."""
        return grid(self._inner(x), self.densities, dense_levels([NODES]))[:, 0]

    def __call__(self, x: Tensor, d: Tensor, radius: Tensor) -> tuple[Tensor, Tensor]:
        """Density [P] and coefficients [P, 1 + 3 K]."""
        inner = self._inner(x)
        node = (inner.clamp(0, 1) * (NODES - 1)).round().long()
        flat = node[:, 0] + NODES * (node[:, 1] + NODES * node[:, 2])
        return self.density(x, radius), self.coefficients[self.rows[flat].long()].float()

    def decode(self, values: Tensor, rays: Bundle) -> Tensor:
        """Colours, as the field's own."""
        return self.field.decode(values, rays)

    def samples(self, rays: Bundle, field: VolumeField, context: Context) -> Samples:
        """A `Sampler`: steps through the occupied cells."""
        found = traverse(
            rays.origins, rays.directions, rays.near, rays.far, self.distances, self.bounds, step=self.step
        )
        return Samples(found.t0, found.t1, found.rays, found.ray_start)

    def _inner(self, x: Tensor) -> Tensor:
        return (x - self.bounds[0]) / (self.bounds[1] - self.bounds[0])

    def write(self, path: Path, world_from_input: Tensor) -> None:
        """Write the numbers as NumPy's .npz.

        density: [NODES, NODES, NODES] float16 per world unit, [z, y, x]. node: [V] int32, the places in it that have
        harmonics [V, 3 K] float16, colour by colour. bounds: [2, 3] world. world_from_input: [4, 4].
        """
        kept = (self.rows > 0).nonzero()[:, 0]
        buffer = io.BytesIO()
        np.savez_compressed(
            buffer,
            bounds=self.bounds.cpu().numpy(),
            world_from_input=world_from_input.cpu().numpy(),
            density=self.densities.reshape(NODES, NODES, NODES).half().cpu().numpy(),
            node=kept.int().cpu().numpy(),
            harmonics=self.coefficients[self.rows[kept].long(), 1:].cpu().numpy(),
        )
        write_whole(path, buffer.getbuffer())


@torch.no_grad()
def bake(field: Bakeable) -> Baked:
    """Ask the field at every node in or beside an occupied cell of its sampler; takes seconds."""
    bounds, device = field.bounds, field.bounds.device
    asked = upsampled(grown(field.sampler.distances[0] == 0)).flatten().nonzero()[:, 0]
    ticks = torch.stack([asked % NODES, asked // NODES % NODES, asked // NODES**2], dim=1)
    raw = torch.cat(
        [field.raw(bounds[0] + chunk / (NODES - 1) * (bounds[1] - bounds[0])).half() for chunk in ticks.split(CHUNK)]
        or [torch.zeros(0, field.raw(bounds[:1]).shape[1], dtype=torch.half, device=device)]
    )
    density = torch.zeros(NODES**3, device=device)
    density[asked] = field.thickness(raw.float())
    near = (density > LEAST_OPACITY / field.step_length).reshape(NODES, NODES, NODES)
    kept = grown(near).flatten()[asked]  # a sample's nearest node may lie just outside of matter
    rows = torch.zeros(NODES**3, dtype=torch.int32, device=device)
    rows[asked[kept]] = torch.arange(1, int(kept.sum()) + 1, dtype=torch.int32, device=device)
    return Baked(
        field=field,
        bounds=bounds,
        densities=density[:, None],
        rows=rows,
        coefficients=torch.cat([raw.new_zeros(1, raw.shape[1]), raw[kept]]),
        distances=distance_grid(occupied(near)),
        step=field.step_length,
    )


def grown(cells: Tensor) -> Tensor:
    """[A, B, C] bool with the neighbours of every set cell set too, those at corners among them."""
    return torch.nn.functional.max_pool3d(cells[None, None].float(), 3, 1, 1)[0, 0] > 0


def upsampled(cells: Tensor) -> Tensor:
    """[NODES, NODES, NODES] bool, [z, y, x]: whether the cell [x, y, z] that holds a node is set."""
    ticks = torch.arange(NODES, device=cells.device) * len(cells) // (NODES - 1)
    ticks = ticks.clamp(max=len(cells) - 1)
    return cells[ticks][:, ticks][:, :, ticks].permute(2, 1, 0)


def occupied(near: Tensor) -> Tensor:
    """[1, CELLS, CELLS, CELLS] bool, [x, y, z]: whether a cell has a node near matter; near: [z, y, x] of nodes."""
    stride = (NODES - 1) // CELLS
    cells = torch.nn.functional.max_pool3d(near[None, None].float(), stride + 1, stride)
    return (cells[0, 0] > 0).permute(2, 1, 0)[None].contiguous()
