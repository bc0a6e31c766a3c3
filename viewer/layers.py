"""What is drawn over the picture of a scene, as plain data: its cameras with their photographs, and its points."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import torch

from render.layers import ModelLayer, Points
from scenes.evaluate import truth_of
from scenes.scene import Scene, View

MOST_FRUSTUMS = 300
MOST_POINTS = 20_000
THUMBNAIL = 160
"""Pixels of a photograph's longer side in its frustum."""


@dataclass(frozen=True)
class Frustums:
    """Cameras to be drawn as pyramids `size` world units deep. held_out: whether training has not seen them.

    photo: a small picture of a view, [h, w, 3] uint8; it may take its time, and raise what reading raises.
    """

    name: str
    views: tuple[View, ...]
    size: float
    held_out: bool
    photo: Callable[[View], np.ndarray]


Layer: TypeAlias = Frustums | ModelLayer


def scene_layers(scene: Scene) -> list[Layer]:
    """Training and held-out cameras, and the points that training starts from (a sample, where there are many)."""
    train = set(scene.split.train)
    size = frustum_size(scene)

    def photo(view: View) -> np.ndarray:
        picture = truth_of(view.load(), scene.background)
        step = max(1, -(-max(picture.shape[:2]) // THUMBNAIL))
        small = torch.nn.functional.avg_pool2d(picture.permute(2, 0, 1), step, ceil_mode=True)
        return (small.permute(1, 2, 0).clamp(0, 1) * 255).round().to(torch.uint8).numpy()

    def frustums(name: str, *, held_out: bool) -> Frustums:
        views = tuple(view for view in scene.views if (view.name not in train) == held_out)
        stride = max(1, -(-len(views) // MOST_FRUSTUMS))
        return Frustums(name, views[::stride], size, held_out, photo)

    layers: list[Layer] = [frustums("training cameras", held_out=False), frustums("held-out cameras", held_out=True)]
    if scene.points is not None:
        stride = max(1, -(-len(scene.points.xyz) // MOST_POINTS))
        xyz, rgb = scene.points.xyz[::stride], scene.points.rgb_srgb[::stride]
        colours = (rgb.clamp(0, 1) * 255).round().to(torch.uint8).numpy()
        layers.append(Points("points", xyz.numpy(), colours, size * 0.03))
    return layers


def frustum_size(scene: Scene) -> float:
    """Depth of a camera's pyramid: half the usual distance between neighbours, small beside the scene."""
    centres = torch.stack([view.camera.centre for view in scene.views])
    if len(centres) < 2:
        return 0.1 * scene.extent
    nearest = torch.cdist(centres, centres).fill_diagonal_(float("inf")).min(dim=1).values
    return float(nearest.median().clamp(0.01 * scene.extent, 0.08 * scene.extent)) * 0.5
