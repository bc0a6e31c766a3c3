"""tile: which projected Gaussians touch which 16x16 tile of the picture, each tile's list sorted front to back."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor

from kernels.checks import check_shapes
from kernels.dispatch import Backend, choose_backend
from kernels.project import Projected

TILE = 16
"""Pixels along a tile's side; the vector width of the CPU kernels."""


class Tiles(NamedTuple):
    """Overlap lists in compressed rows, once by tile and once by Gaussian.

    gaussians: [M] int32, Gaussian of each instance; the instances of tile t are starts[t] : starts[t + 1], sorted by
    depth, ties by Gaussian index. Tiles are numbered row by row. starts: [T + 1] int64.
    slots: [M] int32, positions in `gaussians` of the instances of Gaussian n at slot_starts[n] : slot_starts[n + 1],
    with slot_starts [N + 1] int64: gradients are summed along it in one fixed order, whatever the threads.
    """

    gaussians: Tensor
    starts: Tensor
    slots: Tensor
    slot_starts: Tensor


def tile(projected: Projected, width: int, height: int, *, backend: Backend | None = None) -> Tiles:
    """Overlap lists for a picture of width x height pixels.

    The reference lists every tile that a splat's bounding box touches; the CPU version follows the ellipse's
    alpha = 1/255 contour row by row (as AccuTile and StopThePop do), so its lists are shorter, and still hold every
    pair that contributes. No gradients. Raises OverflowError when there are more than 2^31 - 1 instances.
    """
    check_shapes(
        centres=(projected.centres, "N 2"),
        factors=(projected.factors, "N 3"),
        extents=(projected.extents, "N 2"),
    )
    match choose_backend(projected.centres, backend):
        case "cpu":
            from kernels.tile import cpu

            return cpu.tile(projected, width, height)
        case "gpu":
            from kernels.tile import gpu

            return gpu.tile(projected, width, height)
        case _:
            from kernels.tile import reference

            return reference.tile(projected, width, height)
