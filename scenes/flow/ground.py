"""Which points of a lidar cloud are ground, without labels: a height map that is never steep, and what lies on it.

The lowest returns of square-metre cells give a first map. Cells under a car or a canopy have no ground among their
returns; a lower envelope of limited slope (erosion by a cone) bridges them. Around that envelope the height is then
estimated again, smoothly, from all returns near it, then twice more from those closer still, so that the feet of things
do not lift it. Points close to that surface, or under it, are ground.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from scenes.flow.sequence import Bools, Floats

CELL = 1.0
"""Metres a side of a cell of the height map."""
FARTHEST = 120.0
"""Metres from the sensor, along either horizontal axis, beyond which nothing is called ground."""
SLOPE = 0.15
"""Steepest ground, metres of height a metre."""
BRIDGE = 8
"""Cells over which the envelope reaches below things that hide the ground."""
LOW_SHARE = 0.05
"""Share of a cell's returns, the lowest, that may be stray."""
NEAR = 0.3
"""Metres from the envelope within which returns shape the first surface."""
BANDS = (0.2, 0.1, 0.1)
"""Metres above each surface up to which returns shape the next; twice that far below it."""
THICKNESS = 0.25
"""Metres above the last surface up to which points are ground."""
STRAY = 0.15
"""Metres, beside the slope, within which the low returns of two cells agree."""
SMOOTHING = 1.0
"""Cells, standard deviation of the surface's smoothing."""
LEAST_CELLS, LEAST_SHARE = 50, 0.05
"""Square metres and share of the points that a ground has at least: a cloud of one object has none."""


def find_ground(points: Floats, up: tuple[float, float, float] = (0.0, 0.0, 1.0)) -> Bools:
    """[N] bool of [N, 3] sensor-frame points, metres; up: unit vector. All false where there is no wide ground."""
    across, height = horizontal(points, up)
    inside = np.flatnonzero(np.abs(across).max(axis=1) < FARTHEST)
    ground = np.zeros(len(points), bool)
    if len(inside) == 0:
        return ground
    across, height = across[inside], height[inside]
    low_corner = np.floor(across.min(axis=0) / CELL)
    position = across / CELL - low_corner
    cells = position.astype(np.intp)
    shape = tuple((cells.max(axis=0) + 1).tolist())
    index = np.asarray(np.ravel_multi_index((cells[:, 0], cells[:, 1]), shape))
    envelope = lower_envelope(without_strays(lows(index, height, shape)))
    shaping = np.abs(height - envelope.ravel()[index]) < NEAR
    above, known = above_surface(position, index, height, shaping, shape)
    for band in BANDS:
        above, known = above_surface(position, index, height, known & (above < band) & (above > -2 * band), shape)
    found = known & (above < THICKNESS)
    if np.unique(index[found]).size >= LEAST_CELLS and found.mean() >= LEAST_SHARE:
        ground[inside] = found
    return ground


def horizontal(points: Floats, up: tuple[float, float, float]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Coordinates [N, 2] across and heights [N] along `up`."""
    direction = np.array(up, np.float64)
    length = np.linalg.norm(direction)
    if not 0.99 < length < 1.01:
        raise ValueError(f"up: expected a unit vector, got {up}")
    direction /= length
    helper = np.eye(3)[np.argmin(np.abs(direction))]
    first = np.cross(helper, direction)
    first /= np.linalg.norm(first)
    basis = np.stack([first, np.cross(direction, first)], axis=1)
    return (points @ basis).astype(np.float32), (points @ direction).astype(np.float32)


def lows(index: NDArray[np.intp], height: NDArray[np.float32], shape: tuple[int, ...]) -> NDArray[np.float64]:
    """[cells] the height below which `LOW_SHARE` of each cell's returns lie, infinity in empty cells."""
    order = np.lexsort((height, index))
    ordered = index[order]
    starts = np.flatnonzero(np.diff(ordered, prepend=-1))
    counts = np.diff(starts, append=len(ordered))
    result = np.full(shape, np.inf)
    result.ravel()[ordered[starts]] = height[order[starts + (LOW_SHARE * counts).astype(np.intp)]]
    return result


def without_strays(low: NDArray[np.float64]) -> NDArray[np.float64]:
    """The map without cells, as of reflections from below the street, that fewer than two others nearby agree with."""
    padded = np.pad(low, 2, constant_values=np.inf)
    agreeing = np.zeros(low.shape, np.int64)
    rows, columns = low.shape
    with np.errstate(invalid="ignore"):
        for i in range(5):
            for j in range(5):
                if (i, j) != (2, 2):
                    away = SLOPE * CELL * np.hypot(i - 2, j - 2)
                    agreeing += np.abs(padded[i : i + rows, j : j + columns] - low) < STRAY + away
    return np.where(agreeing >= 2, low, np.inf)


def lower_envelope(low: NDArray[np.float64]) -> NDArray[np.float64]:
    """[cells] the highest map nowhere steeper than `SLOPE` and nowhere above `low`, over a reach of `BRIDGE` cells."""
    offsets = np.arange(-BRIDGE, BRIDGE + 1) * CELL
    cone = -SLOPE * np.hypot(offsets[:, None], offsets[None])
    return ndimage.grey_erosion(low, structure=cone, mode="constant", cval=np.inf)


def above_surface(
    position: NDArray[np.float32],
    index: NDArray[np.intp],
    height: NDArray[np.float32],
    shaping: Bools,
    shape: tuple[int, ...],
) -> tuple[NDArray[np.float64], Bools]:
    """[N] heights above the surface that the `shaping` points define, and whether it is known there."""
    surface, known = smooth_surface(index[shaping], height[shaping], shape)
    here = ndimage.map_coordinates(surface, (position - 0.5).T, order=1, mode="nearest")
    return np.asarray(height - here, np.float64), known.ravel()[index]


def smooth_surface(
    index: NDArray[np.intp], height: NDArray[np.float32], shape: tuple[int, ...]
) -> tuple[NDArray[np.float64], Bools]:
    """[cells] heights averaged over nearby cells, each weighing alike, and where any has a return."""
    size = int(np.prod(shape))
    counts = np.bincount(index, minlength=size)
    sums = np.bincount(index, weights=height, minlength=size)
    weight = (counts > 0).astype(np.float64)
    mean = np.divide(sums, counts, out=np.zeros(size), where=counts > 0)
    weights = ndimage.gaussian_filter(weight.reshape(shape), SMOOTHING, mode="constant")
    heights = ndimage.gaussian_filter((weight * mean).reshape(shape), SMOOTHING, mode="constant")
    known = weights > 1e-3
    return np.divide(heights, weights, out=np.zeros(shape), where=known), known
