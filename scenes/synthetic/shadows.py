"""Which light samples each node of a world's surfaces sees.

Nodes are grouped in small patches. For each occluder most patches are ruled out by bounding spheres, most
remaining pairs of patch and light sample by the occluder's bounding box; only what is left is tested by exact
intersection.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from scenes.synthetic.arrangement import TABLE_ID, Surface, World
from scenes.synthetic.charts import grid_size, node_points
from scenes.synthetic.lights import SKY_REACH, Lights
from scenes.synthetic.solids import first_hit, half_extent, normal_at, shadows_itself

PATCH = 8  # nodes along the side of a patch
LIFT = 8e-4  # shadow rays start this far above their surface
PAIRS = 512  # pairs of patch and light tested in one call: their arrays stay in the cache


@dataclass(frozen=True)
class Nodes:
    """points: [N, 3] float32 world positions, lifted off the surface; normals: [N, 3] float32.

    first_node: [S + 1] where each surface's nodes begin. patches: [P, PATCH^2] int32 node numbers, the last
    repeated to fill up; surface_of_patch: [P]; centre: [P, 3] and radius: [P] of each patch's bounding sphere.
    """

    points: np.ndarray
    normals: np.ndarray
    first_node: np.ndarray
    patches: np.ndarray
    surface_of_patch: np.ndarray
    centre: np.ndarray
    radius: np.ndarray


def place_nodes(world: World, spacing: float) -> Nodes:
    """The nodes of all surfaces, about `spacing` world units apart."""
    points, normals, patches, owners, first = [], [], [], [], [0]
    for index, surface in enumerate(world.surfaces):
        local = node_points(surface.shape, spacing)
        turn, move = surface.world_from_local[:3, :3], surface.world_from_local[:3, 3]
        normal = np.stack(normal_at(surface.shape, local), axis=1) @ turn.T
        points.append(np.stack(local, axis=1) @ turn.T + move + LIFT * normal)
        normals.append(normal)
        grouped = _group(*grid_size(surface.shape, spacing))
        patches.append(grouped + first[-1])
        owners.append(np.full(len(grouped), index))
        first.append(first[-1] + len(normal))
    all_points, all_patches = np.concatenate(points).astype(np.float32), np.concatenate(patches)
    members = all_points[all_patches]
    centre = (members.min(axis=1) + members.max(axis=1)) / 2
    radius = np.sqrt(np.square(members - centre[:, None]).sum(axis=2).max(axis=1))
    return Nodes(
        all_points,
        np.concatenate(normals).astype(np.float32),
        np.asarray(first),
        all_patches,
        np.concatenate(owners),
        centre,
        radius,
    )


def _group(faces: int, nv: int, nu: int) -> np.ndarray:
    """[P, PATCH^2] node numbers of a grid's square patches, short ones filled up with their last node."""
    numbers = np.arange(faces * nv * nu, dtype=np.int32).reshape(faces, nv, nu)
    patches = []
    for j in range(0, nv, PATCH):
        for i in range(0, nu, PATCH):
            block = numbers[:, j : j + PATCH, i : i + PATCH].reshape(faces, -1)
            patches.append(np.pad(block, ((0, 0), (0, PATCH * PATCH - block.shape[1])), mode="edge"))
    return np.concatenate(patches)


def visibility(world: World, nodes: Nodes, lights: Lights, block: slice) -> np.ndarray:
    """[P, L, PATCH^2] bool: whether each node of the patches in `block` faces the light sample and sees it."""
    points, normals = nodes.points[nodes.patches[block]], nodes.normals[nodes.patches[block]]
    facing = np.einsum("pnk,lk->pln", normals, lights.target)
    facing -= np.where(lights.directional[:, None], 0, np.einsum("pnk,pnk->pn", normals, points)[:, None])
    seen = facing > 0
    lit = seen.any(axis=2)  # the other pairs of patch and light need no test
    for index, occluder in enumerate(world.surfaces):
        # The table lies below every light, and what it hides of the sky it sends back as `lights.SKY_FLOOR`;
        # a bulb lets its own light out.
        if occluder.object_id == TABLE_ID or max(occluder.material.glow) >= 1:
            continue
        rows, light = _candidates(occluder, nodes, lights, block)
        wanted = lit[rows, light]
        if not shadows_itself(occluder.shape):
            wanted &= nodes.surface_of_patch[block][rows] != index
        _hide_behind(occluder, points, lights, rows[wanted], light[wanted], seen)
    return seen


def _hide_behind(
    occluder: Surface, points: np.ndarray, lights: Lights, rows: np.ndarray, light: np.ndarray, seen: np.ndarray
) -> None:
    """Clear in `seen` [P, L, n] what the surface hides from `points` [P, n, 3], for the pairs (rows, light)."""
    turn, move = occluder.world_from_local[:3, :3].astype(np.float32), occluder.world_from_local[:3, 3]
    used, rows_of_used = np.unique(rows, return_inverse=True)
    local = np.ascontiguousarray(((points[used] - move.astype(np.float32)) @ turn).transpose(2, 0, 1))
    # the vector to a sample is target - origin, with no origin to subtract for a direction
    target = lights.target - np.where(lights.directional[:, None], 0, move).astype(np.float32)
    target = (target @ turn)[light].T[..., None]
    point = np.where(lights.directional, np.float32(0), np.float32(1))[light, None]
    for first in range(0, len(rows), PAIRS):
        pairs = slice(first, first + PAIRS)
        x, y, z = (axis[rows_of_used[pairs]] for axis in local)
        d = (
            target[0, pairs] - point[pairs] * x,
            target[1, pairs] - point[pairs] * y,
            target[2, pairs] - point[pairs] * z,
        )
        seen[rows[pairs], light[pairs]] &= first_hit(occluder.shape, (x, y, z), d, 0.0) >= 1


def _candidates(occluder: Surface, nodes: Nodes, lights: Lights, block: slice) -> tuple[np.ndarray, np.ndarray]:
    """Pairs (patch within the block, light) whose rays may meet the bounding box of the occluder."""
    turn, move = occluder.world_from_local[:3, :3].astype(np.float32), occluder.world_from_local[:3, 3]
    extent = np.asarray(half_extent(occluder.shape), np.float32)
    size = float(np.linalg.norm(extent))
    offset, radius = nodes.centre[block] - move.astype(np.float32), nodes.radius[block]
    near = np.square(offset).sum(axis=1) < np.square(radius + SKY_REACH + size)
    for middle, spread in lights.lamps:
        ray = middle - nodes.centre[block]
        along = np.clip(-(offset * ray).sum(axis=1) / np.square(ray).sum(axis=1), 0, 1)
        near |= np.square(offset + along[:, None] * ray).sum(axis=1) < np.square(radius + size + spread)
    rows = np.flatnonzero(near)
    start, radius = offset[rows] @ turn, radius[rows, None]
    x, y, z = lights.towards(nodes.centre[block][rows])
    enter, leave = np.zeros_like(x), np.ones_like(x)
    for axis in range(3):
        step = turn[0, axis] * x + turn[1, axis] * y + turn[2, axis] * z
        inverse = 1 / np.where(np.abs(step) < 1e-9, np.float32(1e-9), step)
        middle = -start[:, None, axis] * inverse
        span = (extent[axis] + radius) * np.abs(inverse)
        enter, leave = np.maximum(enter, middle - span), np.minimum(leave, middle + span)
    row, light = np.nonzero(enter <= leave)
    return rows[row], light
