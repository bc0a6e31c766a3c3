"""Baking: what a radiance field says, read off once at the nodes of a fine grid; no network is asked afterwards.

The logarithm of the density is interpolated between all nodes (the density itself would blur edges: 1 dB on lego).
Coefficients of colour are kept as half floats for the nodes near matter alone, in one list, and taken from the nearest
node: compositing blends neighbouring samples of a ray anyhow.
"""

from __future__ import annotations

import io
import math
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

NODES = 321
"""A side of the cube around what is occupied."""
CELLS = 160
"""A side of the occupancy grid."""
CHUNK = 1 << 17
LEAST_OPACITY = 0.1
"""Of a sample: cells in which no node has more are empty."""
EMPTY = math.log(1e-4)
"""Logarithm of the thickness of a sample where there is nothing; less would move edges inwards."""


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

    bounds: [2, 3] world. logs: [NODES^3, 1] float32, logarithms of the thickness of a sample, x fastest. rows:
    [NODES^3] int32, each node's row in coefficients [V, 1 + 3 K] float16 (row 0, of zeros, for nodes far from matter).
    distances: [1, G, G, G] uint8, see `kernels.traverse`. step: world length of a sample.
    """

    field: Bakeable
    bounds: Tensor
    logs: Tensor
    rows: Tensor
    coefficients: Tensor
    distances: Tensor
    step: float

    @property
    def bytes(self) -> int:
        """Of all its tensors."""
        return sum(tensor.nbytes for tensor in (self.logs, self.rows, self.coefficients, self.distances))

    def density(self, x: Tensor, radius: Tensor) -> Tensor:
        """See `VolumeField`."""
        return grid(self._inner(x), self.logs, dense_levels([NODES]))[:, 0].exp_() / self.step

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

        log_thickness: [NODES, NODES, NODES] float16, [z, y, x], of density times `sample`, a length in world units.
        node: [V] int32, the places in it that have harmonics [V, 3 K] float16, colour by colour. bounds: [2, 3] world.
        world_from_input: [4, 4].
        """
        kept = (self.rows > 0).nonzero()[:, 0]
        buffer = io.BytesIO()
        np.savez_compressed(
            buffer,
            bounds=self.bounds.cpu().numpy(),
            sample=self.step,
            world_from_input=world_from_input.cpu().numpy(),
            log_thickness=self.logs.reshape(NODES, NODES, NODES).half().cpu().numpy(),
            node=kept.int().cpu().numpy(),
            harmonics=self.coefficients[self.rows[kept].long(), 1:].cpu().numpy(),
        )
        write_whole(path, buffer.getbuffer())


@torch.no_grad()
def bake(field: Bakeable) -> Baked:
    """Ask the field at every node in or beside an occupied cell of its sampler; takes seconds."""
    cells = grown(field.sampler.distances[0] == 0)
    bounds, device = tight(cells, field.bounds), field.bounds.device
    asked = upsampled(cells, field.bounds, bounds).flatten().nonzero()[:, 0]
    ticks = torch.stack([asked % NODES, asked // NODES % NODES, asked // NODES**2], dim=1)
    places = bounds[0] + ticks / (NODES - 1) * (bounds[1] - bounds[0])
    raw = torch.cat([field.raw(chunk).half() for chunk in places.split(CHUNK)])
    logs = torch.full((NODES**3,), EMPTY, device=device)
    logs[asked] = (field.thickness(raw.float()) * field.step_length).log().clamp(min=EMPTY)
    near = (logs > math.log(LEAST_OPACITY)).reshape(NODES, NODES, NODES)
    kept = grown(near).flatten()[asked]  # a sample's nearest node may lie just outside of matter
    rows = torch.zeros(NODES**3, dtype=torch.int32, device=device)
    rows[asked[kept]] = torch.arange(1, int(kept.sum()) + 1, dtype=torch.int32, device=device)
    return Baked(
        field=field,
        bounds=bounds,
        logs=logs[:, None],
        rows=rows,
        coefficients=torch.cat([raw.new_zeros(1, raw.shape[1]), raw[kept]]),
        distances=distance_grid(occupied(near)),
        step=field.step_length,
    )


def grown(cells: Tensor) -> Tensor:
    """[A, B, C] bool with the neighbours of every set cell set too, those at corners among them."""
    return torch.nn.functional.max_pool3d(cells[None, None].float(), 3, 1, 1)[0, 0] > 0


def tight(cells: Tensor, bounds: Tensor) -> Tensor:
    """[2, 3] the cube around the set cells [x, y, z] of a grid over `bounds`; around all of it when none is set."""
    found = cells.nonzero() if bool(cells.any()) else torch.ones_like(cells).nonzero()
    size = (bounds[1] - bounds[0]) / len(cells)
    low, high = bounds[0] + found.amin(dim=0) * size, bounds[0] + (found.amax(dim=0) + 1) * size
    middle, half = 0.5 * (low + high), 0.5 * (high - low).max()
    return torch.stack([middle - half, middle + half])


def upsampled(cells: Tensor, bounds: Tensor, cube: Tensor) -> Tensor:
    """[NODES, NODES, NODES] bool, [z, y, x]: whether a node of `cube` lies in a set cell [x, y, z] of `bounds`."""
    share = torch.linspace(0, 1, NODES, device=cells.device)[:, None]
    place = (cube[0] + share * (cube[1] - cube[0]) - bounds[0]) / (bounds[1] - bounds[0])
    tick = (place * len(cells)).long().clamp(0, len(cells) - 1)
    inside = (place >= 0) & (place <= 1)
    x, y, z = (torch.where(inside[:, k], tick[:, k], -1) for k in range(3))
    found = cells[x][:, y][:, :, z] & (x >= 0)[:, None, None] & (y >= 0)[:, None] & (z >= 0)
    return found.permute(2, 1, 0)


def occupied(near: Tensor) -> Tensor:
    """[1, CELLS, CELLS, CELLS] bool, [x, y, z]: whether a cell has a node near matter; near: [z, y, x] of nodes."""
    stride = (NODES - 1) // CELLS
    cells = torch.nn.functional.max_pool3d(near[None, None].float(), stride + 1, stride)
    return (cells[0, 0] > 0).permute(2, 1, 0)[None].contiguous()
