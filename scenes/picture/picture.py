"""Picture: the pixels of one picture in the precision of its file, random batches and whole rows of them.

Coordinates: x to the right and y down, both in [0, 1]; the centre of pixel (column i, row j) of a W x H picture lies at
((i + 0.5) / W, (j + 0.5) / H). Values are float32 when read, 1 being white.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from render.colour import Space

BLOCK_PIXELS = 1 << 20
"""Pixels of a block of rows: 12 MiB as float32."""


@dataclass(frozen=True)
class PixelBatch:
    """xy: [B, 2] float32 pixel centres. rgb: [B, 3] float32 in the picture's space."""

    xy: Tensor
    rgb: Tensor

    def to(self, device: torch.device | str) -> PixelBatch:
        """The batch on `device`."""
        return PixelBatch(self.xy.to(device), self.rgb.to(device))


@dataclass(frozen=True)
class Picture:
    """A picture without alpha, upright.

    values: [H, W, C] with C = 3, or 1 for grey (read as three equal channels): uint8, uint16, float16 or float32 as the
    file had them; mapped from disk where they are many.
    space: what the numbers mean: display values of sRGB, or linear light (which may exceed 1).
    name: the file's, without its suffix.
    """

    values: NDArray[Any]
    space: Space
    name: str

    @property
    def height(self) -> int:
        """Rows of pixels."""
        return self.values.shape[0]

    @property
    def width(self) -> int:
        """Columns of pixels."""
        return self.values.shape[1]

    @property
    def quantised(self) -> bool:
        """Whether the values are integers, so that none lies outside of [0, 1]."""
        return self.values.dtype.kind == "u"

    @property
    def world_from_input(self) -> Tensor:
        """[4, 4] float32: pixels to the world in which the picture hangs, its middle at 0, its longer side 1 long."""
        longest = max(self.width, self.height)
        matrix = torch.diag(torch.tensor([1 / longest, 1 / longest, 1.0, 1.0]))
        matrix[0, 3], matrix[1, 3] = -self.width / (2 * longest), -self.height / (2 * longest)
        return matrix

    def batch(self, seed: int, step: int, count: int) -> PixelBatch:
        """`count` random pixels, with repetition, in the order of the file: a function of (seed, step).

        In order, they are read from disk, and later from a field's grids, with fewer jumps.
        """
        chosen = np.random.default_rng((seed, step)).integers(self.height * self.width, size=count)
        chosen.sort()
        rows, columns = np.divmod(chosen, self.width)
        xy = np.stack([(columns + 0.5) / self.width, (rows + 0.5) / self.height], axis=1)
        flat = self.values.reshape(-1, self.values.shape[2])
        return PixelBatch(torch.from_numpy(xy.astype(np.float32)), rgb_float(flat.take(chosen, axis=0)))

    def rows(self, first: int, last: int) -> Tensor:
        """[last - first, W, 3] float32: the rows from `first` up to `last`, without it."""
        return rgb_float(self.values[first:last])

    def blocks(self, pixels: int = BLOCK_PIXELS) -> Iterator[tuple[int, int]]:
        """(first, last) of consecutive blocks of rows of about so many pixels, and of one row at least."""
        step = max(1, pixels // self.width)
        for first in range(0, self.height, step):
            yield first, min(first + step, self.height)

    def mean(self) -> Tensor:
        """[3] float32: the mean colour, where a field may start."""
        total = torch.zeros(3, dtype=torch.float64)
        for first, last in self.blocks():
            total += self.rows(first, last).double().sum(dim=(0, 1))
        return (total / (self.height * self.width)).float()


def rgb_float(values: NDArray[Any]) -> Tensor:
    """[..., C] numbers of a file to [..., 3] float32: integers by their type's largest, grey three times."""
    floats = np.array(values, np.float32)
    if values.dtype.kind == "u":
        floats /= np.float32(np.iinfo(values.dtype).max)
    tensor = torch.from_numpy(floats)
    return tensor.expand(*tensor.shape[:-1], 3) if tensor.shape[-1] == 1 else tensor


def pixel_centres(first: int, last: int, width: int, height: int) -> Tensor:
    """[last - first, width, 2] float32 xy of the rows from `first` up to `last` of a picture of that size."""
    y, x = np.meshgrid((np.arange(first, last) + 0.5) / height, (np.arange(width) + 0.5) / width, indexing="ij")
    return torch.from_numpy(np.stack([x, y], axis=-1).astype(np.float32))
