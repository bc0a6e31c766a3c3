"""grid: features at points, interpolated in dense grids, hash grids and planes of several resolutions.

One operator serves them all: a `Level` says how many nodes it has along which coordinates, and whether its rows are
addressed directly or by a hash (Mueller et al. 2022, section 3); a triplane is three levels of two axes each.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from kernels.checks import check_shapes
from kernels.dispatch import Backend, choose_backend
from kernels.grid.levels import Level, check_levels, dense_levels, hash_levels, plane_levels, table_rows

__all__ = ["Level", "dense_levels", "grid", "hash_levels", "plane_levels", "table_rows", "triplane"]
FEATURES = (1, 2, 4, 8, 16)


def grid(x: Tensor, table: Tensor, levels: Sequence[Level], *, backend: Backend | None = None) -> Tensor:
    """Features [P, len(levels) * F] at `x` [P, 2 or 3], those of the first level first.

    x: points of the unit cube; coordinates outside are clamped to it and have no gradient, those on its border have the
    gradient of the cell they touch. table: [table_rows(levels), F] with F of 1, 2, 4, 8 or 16.
    Each level interpolates linearly between the nodes of the cell in which the point lies; on a node, it is the cell
    above it. A point with a NaN coordinate has NaN features and gives no gradient.

    Differentiable once in `table` and `x` (twice with backend="reference"). On the CPU the gradients do not depend on
    the number of threads; on the GPU the table's is summed by atomic additions, in no fixed order.
    """
    sizes = check_shapes(x=(x, "P dims"), table=(table, "rows F"))
    levels = tuple(levels)
    if sizes["dims"] not in (2, 3):
        raise ValueError(f"x: expected points in 2-D or 3-D, got shape {list(x.shape)}")
    check_levels(levels, sizes["dims"])
    if sizes["rows"] != table_rows(levels):
        raise ValueError(f"table: the levels have {table_rows(levels)} rows, got {sizes['rows']}")
    if sizes["F"] not in FEATURES:
        raise ValueError(f"table: expected one of {FEATURES} features a row, got {sizes['F']}; pad with zeros")
    match choose_backend(table, backend):
        case "cpu":
            from kernels.grid import cpu

            return cpu.grid(x, table, levels)
        case "gpu":
            from kernels.grid import gpu

            return gpu.grid(x, table, levels)
        case _:
            from kernels.grid import reference

            return reference.grid(x, table, levels)


def triplane(x: Tensor, planes: Tensor, *, backend: Backend | None = None) -> Tensor:
    """Features [P, 3, F] at `x` [P, 3], bilinear in each of `planes` [3, R, R, F]; see `grid`.

    Plane k leaves out axis k: planes[0][z, y], planes[1][z, x], planes[2][y, x].
    """
    sizes = check_shapes(x=(x, "P 3"), planes=(planes, "3 R R F"))
    features = grid(x, planes.reshape(-1, sizes["F"]), plane_levels([sizes["R"]]), backend=backend)
    return features.reshape(-1, 3, sizes["F"])
