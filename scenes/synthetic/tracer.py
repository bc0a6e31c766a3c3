"""Which surface of a synthetic world each sample of a picture sees, and at which depth: exact, by a z-buffer of
rays.

Rays have z = 1 in the camera frame, so the ray parameter is the depth itself. One array operation covers all
samples in the rectangle that a surface's bounding box fills on the screen. H, W: pixels; S: samples a pixel.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from render.camera import Camera
from scenes.synthetic.arrangement import Surface, World
from scenes.synthetic.solids import first_hit, half_extent, normal_at
from scenes.synthetic.vectors import Vec, along, dot

NEAR = 0.01  # nothing closer to the camera is seen
BLOCK = 1 << 15  # samples an operation: its arrays stay in the cache


@dataclass(frozen=True)
class Lens:
    """A pinhole camera as arrays. world_from_camera: [4, 4] float64.

    u: [S, 1, W] and v: [S, H, 1]: x / z and y / z in the camera frame of sample s in column x and row y.
    """

    world_from_camera: np.ndarray
    focal: tuple[float, float]
    centre: tuple[float, float]
    u: np.ndarray
    v: np.ndarray


def lens(camera: Camera, offsets: np.ndarray, dtype: type = np.float32) -> Lens:
    """The samples at `offsets` [S, 2], positions (x, y) in [0, 1) within every pixel.

    ValueError for an orthographic camera, which synthetic scenes do not have.
    """
    if camera.projection != "perspective":
        raise ValueError(f"camera: synthetic scenes are seen in perspective, got {camera.projection!r}")
    u = (np.arange(camera.width) + offsets[:, 0, None, None] - camera.cx) / camera.fx
    v = (np.arange(camera.height)[:, None] + offsets[:, 1, None, None] - camera.cy) / camera.fy
    pose = camera.world_from_camera.cpu().numpy().astype(np.float64)
    return Lens(pose, (camera.fx, camera.fy), (camera.cx, camera.cy), u.astype(dtype), v.astype(dtype))


def pixel_offsets(side: int) -> np.ndarray:
    """[side^2 + 1, 2] positions (x, y) in a pixel: one, jittered, in each of side x side cells, and last the
    centre.

    The jitter is the same in every pixel and every call.
    """
    cells = np.stack(np.meshgrid(np.arange(side), np.arange(side), indexing="xy"), axis=-1).reshape(-1, 2)
    jittered = (cells + np.random.default_rng(side).uniform(0.1, 0.9, cells.shape)) / side
    return np.concatenate([jittered, [[0.5, 0.5]]])


CENTRE = np.array([[0.5, 0.5]])  # the offsets of exact maps: pixel centres


def local_rays(surface: Surface, view: Lens) -> tuple[np.ndarray, np.ndarray]:
    """Camera centre [3] and the matrix [3, 3] from (u, v, 1) to ray directions, in the surface's frame."""
    turn, move = surface.world_from_local[:3, :3], surface.world_from_local[:3, 3]
    return turn.T @ (view.world_from_camera[:3, 3] - move), turn.T @ view.world_from_camera[:3, :3]


def directions(matrix: np.ndarray, u: np.ndarray, v: np.ndarray) -> Vec:
    """matrix @ (u, v, 1) in the precision of u."""
    m = matrix.astype(u.dtype)
    return (
        m[0, 0] * u + (m[0, 1] * v + m[0, 2]),
        m[1, 0] * u + (m[1, 1] * v + m[1, 2]),
        m[2, 0] * u + (m[2, 1] * v + m[2, 2]),
    )


def trace(world: World, view: Lens) -> tuple[np.ndarray, np.ndarray]:
    """Depth [S, H, W] (infinity: nothing) and number of the nearest surface, [S, H, W] int16, -1: none."""
    size = (len(view.u), view.v.shape[1], view.u.shape[2])
    depth = np.full(size, np.inf, view.u.dtype)
    nearest = np.full(size, -1, np.int16)
    for index, (surface, (top, bottom, left, right)) in enumerate(
        zip(world.surfaces, screen_boxes(world, view).tolist(), strict=True)
    ):
        if right <= left or bottom <= top:
            continue
        centre, matrix = local_rays(surface, view)
        x, y, z = centre.astype(view.u.dtype)
        step = max(1, BLOCK // (size[0] * (right - left)))
        for first in range(top, bottom, step):
            rows, columns = slice(first, min(first + step, bottom)), slice(left, right)
            d = directions(matrix, view.u[:, :, columns], view.v[:, rows])
            t = first_hit(surface.shape, (x, y, z), d, NEAR)
            closer = t < depth[:, rows, columns]
            np.copyto(depth[:, rows, columns], t, where=closer)
            np.copyto(nearest[:, rows, columns], np.int16(index), where=closer)
    return depth, nearest


def screen_boxes(world: World, view: Lens) -> np.ndarray:
    """[surfaces, 4] int: the pixels (top, bottom, left, right; ends excluded) that hold each surface's bounding
    box.

    All pixels for a box that reaches behind the camera, none for one that lies there.
    """
    signs = np.array([[x, y, z] for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)])
    extents = np.array([half_extent(surface.shape) for surface in world.surfaces])
    poses = np.stack([surface.world_from_local for surface in world.surfaces])
    corners = np.einsum("sij,skj->ski", poses[:, :3, :3], signs * extents[:, None]) + poses[:, None, :3, 3]
    local = (corners - view.world_from_camera[:3, 3]) @ view.world_from_camera[:3, :3]
    z = local[..., 2]
    height, width = view.v.shape[1], view.u.shape[2]
    position = local[..., :2] / np.maximum(z, NEAR)[..., None] * view.focal + view.centre
    low, high = np.floor(position.min(axis=1)), np.ceil(position.max(axis=1))
    behind = z <= NEAR
    low[behind.any(axis=1)], high[behind.any(axis=1)] = 0, (width, height)
    high[behind.all(axis=1)] = 0
    left, top = np.clip(low, 0, (width, height)).astype(int).T
    right, bottom = np.clip(high, 0, (width, height)).astype(int).T
    return np.stack([top, bottom, left, right], axis=1)


def world_normals(world: World, view: Lens, depth: np.ndarray, nearest: np.ndarray) -> np.ndarray:
    """[S, H, W, 3] unit normals in world coordinates at the traced samples, of the side that is seen; zero where
    nothing is hit.
    """
    result = np.zeros((*depth.shape, 3), depth.dtype)
    for index in np.unique(nearest[nearest >= 0]):
        surface = world.surfaces[index]
        here = nearest == index
        sample, row, column = np.nonzero(here)
        centre, matrix = local_rays(surface, view)
        x, y, z = centre.astype(depth.dtype)
        d = directions(matrix, view.u[sample, 0, column], view.v[sample, row, 0])
        n = normal_at(surface.shape, along((x, y, z), d, depth[here]))
        side = np.where(dot(n, d) > 0, -1, 1)[:, None]  # the inside shows through the open end of a wire
        result[here] = side * np.stack(n, axis=1) @ surface.world_from_local[:3, :3].T
    return result
