"""From the arrays of a file to a `Cloud`: types, shapes, and what happens to points that are no points."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scenes.flow.sequence import LEAST_POINTS, Bools, Cloud, Floats

FARTHEST = 1e9
"""Metres: more than any frame on Earth asks for. Farther numbers stand for what was not measured, and cubes of them
overflow in float32.
"""


def clean_cloud(
    where: str,
    points: NDArray[Any],
    *,
    flow: NDArray[Any] | None = None,
    valid: NDArray[Any] | None = None,
    ground: NDArray[Any] | None = None,
    classes: NDArray[Any] | None = None,
    dynamic: NDArray[Any] | None = None,
    instances: NDArray[Any] | None = None,
) -> Cloud:
    """The cloud of arrays as a file holds them. `where` names file and array in messages.

    Rows of points with NaN, infinity or a number beyond `FARTHEST` are dropped with their labels, and counted in one
    warning. Such rows of flow become zero and not valid: no label. ValueError for a wrong shape or type, labels of
    another length, or fewer than 3 points left.
    """
    xyz = coordinates(where, points)
    count = len(xyz)
    labels: dict[str, NDArray[Any] | None] = {
        "valid": flags(f"{where}: valid", valid, count),
        "ground": flags(f"{where}: ground", ground, count),
        "dynamic": flags(f"{where}: dynamic", dynamic, count),
        "classes": numbers(f"{where}: classes", classes, count),
        "instances": numbers(f"{where}: instances", instances, count),
    }
    if flow is not None:
        vectors = coordinates(f"{where}: flow", flow)
        if len(vectors) != count:
            raise ValueError(
                f"{where}: flow has {len(vectors)} rows for {count} points; expected one for each point, in their order"
            )
        known = finite(vectors)
        if not known.all():
            vectors = np.where(known[:, None], vectors, np.float32(0))
            labels["valid"] = known if labels["valid"] is None else known & labels["valid"]
        labels["flow"] = vectors
    kept = finite(xyz)
    left = int(kept.sum())
    if left < LEAST_POINTS:
        what = "points" if left == count else f"of {count} points are without NaN, infinity and numbers beyond 1e9 m"
        raise ValueError(f"{where}: {left} {what}; a cloud needs at least {LEAST_POINTS}")
    if left < count:
        what = "which hold NaN or infinity, or lie beyond 1e9 m"
        warnings.warn(f"{where}: {count - left} of {count} points dropped, {what}", stacklevel=3)
        xyz = xyz[kept]
        labels = {name: None if rows is None else rows[kept] for name, rows in labels.items()}
    return Cloud(xyz, **labels)  # pyright: ignore[reportArgumentType]


def coordinates(where: str, array: NDArray[Any]) -> Floats:
    """[N, 3] float32 of numbers [N, 3 or more], whose further columns (intensity and the like) are left out."""
    if array.ndim != 2 or array.shape[1] < 3 or array.dtype.kind not in "fiu":
        raise ValueError(f"{where}: expected numbers [N, 3], got {array.dtype} {list(array.shape)}")
    with np.errstate(over="ignore"):
        return np.ascontiguousarray(array[:, :3], dtype=np.float32)


def finite(array: NDArray[Any]) -> Bools:
    """Whether the vectors along the last axis are without NaN, infinity and numbers beyond `FARTHEST`."""
    return np.asarray((np.abs(array) <= FARTHEST).all(axis=-1))


def column(where: str, array: NDArray[Any], count: int) -> NDArray[Any]:
    """[count] of an array [count] or [count, 1]; ValueError when it has another length."""
    flat = array[:, 0] if array.ndim == 2 and array.shape[1] == 1 else array
    if flat.shape != (count,) or flat.dtype.kind not in "biuf":
        raise ValueError(f"{where}: got {array.dtype} {list(array.shape)}, expected one for each of {count} points")
    return flat


def numbers(where: str, array: NDArray[Any] | None, count: int) -> NDArray[np.int32] | None:
    """[count] int32 of numbers in any type."""
    return None if array is None else column(where, array, count).astype(np.int32)


def flags(where: str, array: NDArray[Any] | None, count: int) -> Bools | None:
    """[count] bool of flags in any type."""
    return None if array is None else column(where, array, count).astype(bool)


def mask_of_indices(where: str, indices: NDArray[Any], count: int) -> Bools:
    """[count] bool, true at the given indices; ValueError when one lies outside."""
    flat = indices.reshape(-1)
    if flat.size and (flat.dtype.kind not in "iu" or int(flat.min()) < 0 or int(flat.max()) >= count):
        raise ValueError(f"{where}: expected indices of {count} points, got {indices.dtype} {list(indices.shape)}")
    mask = np.zeros(count, bool)
    mask[flat.astype(np.int64)] = True
    return mask
