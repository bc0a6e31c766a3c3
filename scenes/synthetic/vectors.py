"""Vectors as tuples (x, y, z) of arrays that broadcast against each other."""

from __future__ import annotations

from typing import TypeAlias

import numpy as np

Vec: TypeAlias = "tuple[np.ndarray, np.ndarray, np.ndarray]"


def dot(a: Vec, b: Vec) -> np.ndarray:
    """Scalar product."""
    return a[0] * b[0] + a[1] * b[1] + a[2] * b[2]


def along(origin: Vec, direction: Vec, t: np.ndarray) -> Vec:
    """origin + t * direction."""
    return origin[0] + t * direction[0], origin[1] + t * direction[1], origin[2] + t * direction[2]


def normalised(v: Vec) -> Vec:
    """v / |v|."""
    scale = 1.0 / np.sqrt(dot(v, v))
    return v[0] * scale, v[1] * scale, v[2] * scale


def by_axis(axis: np.ndarray, x: np.ndarray, y: np.ndarray, z: np.ndarray) -> np.ndarray:
    """x where axis is 0, y where it is 1, z where it is 2."""
    return np.where(axis == 0, x, np.where(axis == 1, y, z))


def pick(v: Vec, rows: np.ndarray) -> Vec:
    """The given entries of each coordinate."""
    return v[0][rows], v[1][rows], v[2][rows]
