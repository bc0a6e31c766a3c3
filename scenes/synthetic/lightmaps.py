"""Soft shadows and ambient light of a world, baked into a grid of nodes over every surface.

The world is lit by fixed point samples of a round window and of the lamps' bulbs, and by directional samples of
the sky, which nearby surfaces may hide. Each sample's light at a node is visibility * cosine * falloff; the
sums are the lighting's definition, and all views read the same nodes, so they agree exactly.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import chain

import numpy as np

from scenes.synthetic.arrangement import Surface, World
from scenes.synthetic.charts import chart, grid_size
from scenes.synthetic.lights import received, sample_lights
from scenes.synthetic.processes import on_all_cores
from scenes.synthetic.shadows import place_nodes, visibility
from scenes.synthetic.vectors import Vec

BLOCK = 512  # patches a task


@dataclass(frozen=True)
class LightConfig:
    """spacing: of the nodes, world units. key, lamp, sky: samples of the window, each bulb, the sky."""

    spacing: float = 0.015
    key: int = 36
    lamp: int = 5
    sky: int = 32


@dataclass(frozen=True)
class Lightmaps:
    """irradiance: [3, N] float32 linear RGB at all nodes (divided by pi). key_seen: [N] float32, visible share
    of the window.

    first_node: [S + 1], where each surface's nodes begin; their order is that of `charts.node_points`.
    """

    irradiance: np.ndarray
    key_seen: np.ndarray
    first_node: np.ndarray
    spacing: float


def bake(world: World, config: LightConfig, workers: int = 2) -> Lightmaps:
    """Light at all nodes of all surfaces of the world, on `workers` cores (their number changes no bit)."""
    nodes = place_nodes(world, config.spacing)
    lights = sample_lights(world, config.key, config.lamp, config.sky)
    irradiance = np.zeros((3, len(nodes.points)), np.float32)
    key_seen = np.zeros(len(nodes.points), np.float32)

    def light(number: int) -> list[tuple[np.ndarray, np.ndarray]]:
        block = slice(number * BLOCK, (number + 1) * BLOCK)
        return [
            (
                received(lights, nodes.points[patch], nodes.normals[patch], seen_by_patch.T).T,
                seen_by_patch[: config.key].mean(axis=0),
            )
            for patch, seen_by_patch in zip(nodes.patches[block], visibility(world, nodes, lights, block), strict=True)
        ]

    lit = chain.from_iterable(on_all_cores(light, -(-len(nodes.patches) // BLOCK), workers))
    for patch, (light_there, key_there) in zip(nodes.patches, lit, strict=True):
        irradiance[:, patch], key_seen[patch] = light_there, key_there
    light_at = np.concatenate([irradiance, key_seen[None]])
    for index, surface in enumerate(world.surfaces):
        here = slice(nodes.first_node[index], nodes.first_node[index + 1])
        _fill_buried(light_at[:, here].reshape(4, *grid_size(surface.shape, config.spacing)))
    return Lightmaps(light_at[:3], light_at[3], nodes.first_node, config.spacing)


def _fill_buried(grid: np.ndarray) -> None:
    """Give nodes inside or under other things, which no light reaches, the mean of their lit neighbours, in
    place.

    grid: [4, faces, nv, nu]. Without this the interpolation would draw a dark saw-toothed rim round all that
    stands on something.
    """
    for _ in range(2):
        buried = ~grid[:3].any(axis=0)
        if not buried.any():
            return
        padded = np.pad(grid, ((0, 0), (0, 0), (1, 1), (1, 1)))
        lit = np.pad(~buried, ((0, 0), (1, 1), (1, 1)))
        total, count = np.zeros_like(grid), np.zeros(buried.shape, np.float32)
        for j in range(3):
            for i in range(3):
                total += padded[:, :, j : j + grid.shape[2], i : i + grid.shape[3]]
                count += lit[:, j : j + grid.shape[2], i : i + grid.shape[3]]
        grid[:, buried] = (total / np.maximum(count, 1))[:, buried]


def lookup(maps: Lightmaps, index: int, surface: Surface, p: Vec) -> tuple[np.ndarray, np.ndarray]:
    """Irradiance [3, n] and visible share of the window [n] at local points p of surface number `index`,
    bilinearly.
    """
    _, nv, nu = grid_size(surface.shape, maps.spacing)
    face, u, v = chart(surface.shape, p)
    u, v = np.clip(u, 0, 1) * (nu - 1), np.clip(v, 0, 1) * (nv - 1)
    i, j = np.minimum(u.astype(np.int32), nu - 2), np.minimum(v.astype(np.int32), nv - 2)
    u, v = u - i, v - j
    at = int(maps.first_node[index]) + (face * nv + j) * nu + i
    weights = (((1 - v) * (1 - u), 0), ((1 - v) * u, 1), (v * (1 - u), nu), (v * u, nu + 1))
    total = np.zeros((4, len(u)), u.dtype)
    for weight, step in weights:
        for channel in range(3):
            total[channel] += weight * maps.irradiance[channel].take(at + step)
        total[3] += weight * maps.key_seen.take(at + step)
    return total[:3], total[3]
