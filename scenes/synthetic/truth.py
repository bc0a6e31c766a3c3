"""What is exactly true of a synthetic scene: geometry and ids at every pixel, and what the ids mean."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from render.camera import Camera
from scenes.scene import Scene, View
from scenes.synthetic.arrangement import World, arrange
from scenes.synthetic.config import config_of
from scenes.synthetic.tracer import CENTRE, lens, pixel_offsets, trace, world_normals


@dataclass(frozen=True)
class Truth:
    """Exact maps of one view. All but alpha are of the surface that the ray through the pixel's centre meets
    first.

    depth: [H, W] float32, z in the camera frame in world units, 0 where nothing is met.
    alpha: [H, W] float32, the share of the pixel that is covered, in steps of 1 / supersampling^2: the photo's
    alpha.
    normal: [H, W, 3] float32, unit, world coordinates, of the side that is seen; zero where nothing is met.
    object_ids, part_ids: [H, W] int32, 0 where nothing is met.
    """

    depth: Tensor
    alpha: Tensor
    normal: Tensor
    object_ids: Tensor
    part_ids: Tensor


@dataclass(frozen=True)
class Captions:
    """Plain English for the ids of `Truth`; 0, the background, has none. objects, parts: caption by id.

    object_of_part: which object each part belongs to.
    """

    objects: Mapping[int, str]
    parts: Mapping[int, str]
    object_of_part: Mapping[int, int]


def ground_truth(scene: Scene, view: View | Camera) -> Truth:
    """The exact maps of a synthetic scene from one of its views, or from any perspective camera in its world.

    ValueError for a scene that `demo_scene` did not make, or an orthographic camera.
    """
    config = config_of(scene)
    camera = view.camera if isinstance(view, View) else view
    return maps_of(arrange(config.layout, config.objects, config.seed), camera, config.supersampling)


def captions(scene: Scene) -> Captions:
    """The captions of a synthetic scene's objects and parts; ValueError for another scene."""
    config = config_of(scene)
    world = arrange(config.layout, config.objects, config.seed)
    return Captions(dict(world.object_captions), dict(world.part_captions), dict(world.object_of_part))


def maps_of(world: World, camera: Camera, side: int) -> Truth:
    """`Truth` of a world from a camera; geometry in float64, coverage as the photograph samples it."""
    exact = lens(camera, CENTRE, np.float64)
    depth, nearest = trace(world, exact)
    normal = world_normals(world, exact, depth, nearest)
    _, owner = trace(world, lens(camera, pixel_offsets(side)))
    covered = (owner[: side * side] >= 0).mean(axis=0, dtype=np.float32)
    # the last entry serves -1, nothing
    objects = np.array([surface.object_id for surface in world.surfaces] + [0], np.int32)
    parts = np.array([surface.part_id for surface in world.surfaces] + [0], np.int32)
    return Truth(
        torch.from_numpy(np.where(np.isfinite(depth[0]), depth[0], 0).astype(np.float32)),
        torch.from_numpy(covered),
        torch.from_numpy(normal[0].astype(np.float32)),
        torch.from_numpy(objects[nearest[0]]),
        torch.from_numpy(parts[nearest[0]]),
    )
