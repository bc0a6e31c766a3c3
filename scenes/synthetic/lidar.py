"""A turning lidar in a synthetic street: which surface each of its rays meets first, exactly.

Rays are [beams, columns]: a beam has one elevation, a column one azimuth, all fired at the same moment. A thing is only
tried on the rays of the window that a sphere around it fills.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from scenes.synthetic.solids import Disc, Shape, first_hit, half_extent
from scenes.synthetic.street import Bending, Body, Matrix

Array = NDArray[np.float64]

NEAREST = 1.0
"""Metres within which the sensor sees nothing, as the roof it stands on."""


@dataclass(frozen=True)
class Lidar:
    """elevations: [beams] radians, rising. columns: directions around. farthest: metres."""

    elevations: Array
    columns: int
    farthest: float

    def directions(self) -> Array:
        """[beams, columns, 3] unit vectors in the sensor's frame, x ahead, z up."""
        azimuth = 2 * math.pi / self.columns * np.arange(self.columns)
        flat = np.cos(self.elevations)[:, None]
        tall = np.broadcast_to(np.sin(self.elevations)[:, None], (len(self.elevations), self.columns))
        return np.stack([flat * np.cos(azimuth), flat * np.sin(azimuth), tall], axis=-1)


@dataclass(frozen=True)
class Returns:
    """What the rays met. distance: [beams, columns] metres, infinity for nothing. thing: int index, -1 for nothing.

    face, u, v: of a bending thing, the triangle and the weights of its second and third corner.
    """

    distance: Array
    thing: NDArray[np.int64]
    face: NDArray[np.int64]
    u: Array
    v: Array


def scan(lidar: Lidar, pose: Matrix, things: Sequence[Body | Bending], seconds: float) -> Returns:
    """One turn of the sensor at `pose` [4, 4] (world from sensor), of the world at that time."""
    directions = lidar.directions()
    size = directions.shape[:2]
    seen = Returns(np.full(size, np.inf), np.full(size, -1), np.zeros(size, np.int64), np.zeros(size), np.zeros(size))
    for index, thing in enumerate(things):
        if isinstance(thing, Body):
            sensor_from_body = np.linalg.solve(pose, thing.pose(seconds))
            for shape, place in thing.parts:
                meet_solid(lidar, directions, shape, sensor_from_body @ place, index, seen)
        else:
            vertices = (thing.vertices(seconds) - pose[:3, 3]) @ pose[:3, :3]
            meet_mesh(lidar, directions, vertices, thing.faces, index, seen)
    beyond = seen.distance > lidar.farthest
    seen.distance[beyond], seen.thing[beyond] = np.inf, -1
    return seen


def meet_solid(lidar: Lidar, directions: Array, shape: Shape, place: Matrix, index: int, seen: Returns) -> None:
    """Enter the rays that meet an analytic solid at `place` (sensor's frame from the solid's) before anything else."""
    window = full_below(lidar) if isinstance(shape, Disc) and shape.outer > lidar.farthest else None
    if window is None:
        window = rays_around(lidar, place[:3, 3], float(np.linalg.norm(half_extent(shape))))
    if window[0].size == 0 or window[1].size == 0:
        return
    turned = directions[np.ix_(*window)] @ place[:3, :3]
    origin = -place[:3, 3] @ place[:3, :3]
    x, y, z = (np.asarray(value) for value in origin)
    distance = first_hit(shape, (x, y, z), (turned[..., 0], turned[..., 1], turned[..., 2]), NEAREST)
    enter(seen, window, distance, index)


def meet_mesh(
    lidar: Lidar, directions: Array, vertices: Array, faces: NDArray[np.int64], index: int, seen: Returns
) -> None:
    """Enter the rays that meet a triangle mesh, vertices [V, 3] in the sensor's frame (Moeller and Trumbore 1997)."""
    centre = (vertices.min(axis=0) + vertices.max(axis=0)) / 2
    window = rays_around(lidar, centre, float(np.linalg.norm(vertices - centre, axis=1).max()))
    if window[0].size == 0 or window[1].size == 0:
        return
    ray = directions[np.ix_(*window)]
    first, second, third = vertices[faces[:, 0]], vertices[faces[:, 1]], vertices[faces[:, 2]]
    e1, e2 = second - first, third - first
    normal = np.cross(e1, e2)
    # With the origin at the sensor all but the ray itself is known for each triangle.
    with np.errstate(divide="ignore", invalid="ignore"):
        scale = 1.0 / -(ray @ normal.T)
        u = (ray @ np.cross(first, e2).T) * scale
        v = (ray @ np.cross(e1, first).T) * scale
        distance = -(first * normal).sum(axis=1) * scale
    met = (u >= 0) & (v >= 0) & (u + v <= 1) & (distance > NEAREST)
    distance = np.where(met, distance, np.inf)
    face = distance.argmin(axis=-1)
    nearest = tuple(np.take_along_axis(values, face[..., None], axis=-1)[..., 0] for values in (distance, u, v))
    closer = enter(seen, window, nearest[0], index)
    rows, columns = np.nonzero(closer)
    place = window[0][rows], window[1][columns]
    seen.face[place], seen.u[place], seen.v[place] = face[closer], nearest[1][closer], nearest[2][closer]


def enter(seen: Returns, window: tuple[NDArray, NDArray], distance: Array, index: int) -> NDArray[np.bool_]:
    """Note a thing's distances where they are the nearest so far; returns where that is."""
    grid = np.ix_(*window)
    before = seen.distance[grid]
    closer = distance < before
    seen.distance[grid] = np.where(closer, distance, before)
    seen.thing[grid] = np.where(closer, index, seen.thing[grid])
    return closer


def full_below(lidar: Lidar) -> tuple[NDArray, NDArray]:
    """All rays that go down."""
    return np.flatnonzero(lidar.elevations < 0), np.arange(lidar.columns)


def rays_around(lidar: Lidar, centre: Array, radius: float) -> tuple[NDArray, NDArray]:
    """Beams and columns that can meet a sphere in the sensor's frame."""
    away, across = float(np.linalg.norm(centre)), float(np.hypot(centre[0], centre[1]))
    everywhere = np.arange(lidar.columns)
    if away - radius > lidar.farthest:
        return np.zeros(0, np.intp), everywhere
    if away <= radius:
        return np.arange(len(lidar.elevations)), everywhere
    middle, half = math.asin(float(centre[2]) / away), math.asin(radius / away)
    beams = np.flatnonzero(np.abs(lidar.elevations - middle) <= half)
    if across <= radius or middle + half > math.pi / 2 or middle - half < -math.pi / 2:
        return beams, everywhere
    step = 2 * math.pi / lidar.columns
    azimuth, spread = math.atan2(centre[1], centre[0]), math.asin(radius / across)
    columns = np.arange(math.floor((azimuth - spread) / step), math.ceil((azimuth + spread) / step) + 1)
    return beams, columns % lidar.columns if len(columns) < lidar.columns else everywhere
