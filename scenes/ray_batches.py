"""Batches of rays: random pixels of all training views, as a pure function of the step.

All training views are decoded once and kept as bytes: 3 to 5 a pixel, 48 MB for a hundred views of 400 x 400.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from scenes.batches import background_of_step, unit_float
from scenes.scene import Pixels, Scene, View

MOST_BYTES = 8 << 30
"""Of decoded training views: more is an error that says how to make them smaller."""


@dataclass(frozen=True)
class RayBatch:
    """Rays through pixel centres and what was seen along them.

    origins, directions (unit): [B, 3] world. radius: [B], see `render.camera.Rays`. rgb_srgb: [B, 3] over `background_srgb`
    [3]. mask: [B] weights in [0, 1]. view: [B] int64, index of the training view.
    """

    origins: Tensor
    directions: Tensor
    radius: Tensor
    rgb_srgb: Tensor
    background_srgb: Tensor
    mask: Tensor
    view: Tensor


class RayPool:
    """The pixels of views in one flat list, with the cameras they were seen by."""

    def __init__(self, views: list[View]) -> None:
        need = 5 * sum(view.camera.width * view.camera.height for view in views)
        if need > MOST_BYTES:
            raise MemoryError(
                f"training views: their pixels need up to {need / 1e9:.1f} GB of memory; reduce them by --max-size"
            )
        cameras = [view.camera for view in views]
        self.poses = torch.stack([camera.world_from_camera for camera in cameras])
        self.lens = torch.tensor([[c.fx, c.fy, c.cx, c.cy] for c in cameras])
        self.widths = torch.tensor([camera.width for camera in cameras])
        counts = [camera.width * camera.height for camera in cameras]
        self.starts = torch.tensor([0, *counts]).cumsum(0)
        self.rgb = torch.empty(int(self.starts[-1]), 3, dtype=torch.uint8)
        self.alpha = torch.full((len(self.rgb),), 255, dtype=torch.uint8)
        self.mask = torch.full((len(self.rgb),), 255, dtype=torch.uint8)
        for index, view in enumerate(views):
            self._fill(slice(int(self.starts[index]), int(self.starts[index + 1])), view.load())

    def _fill(self, rows: slice, pixels: Pixels) -> None:
        self.rgb[rows] = pixels.rgb_srgb.reshape(-1, 3)
        if pixels.alpha is not None:
            self.alpha[rows] = pixels.alpha.reshape(-1)
        if pixels.mask is not None:
            self.mask[rows] = pixels.mask.reshape(-1)

    def rays(self, chosen: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Origins, directions [B, 3], radius [B] and view [B] of pixels by their place in the list, [B] int64."""
        view = torch.searchsorted(self.starts, chosen, right=True) - 1
        row, column = (
            torch.div(chosen - self.starts[view], self.widths[view], rounding_mode="floor"),
            (chosen - self.starts[view]) % self.widths[view],
        )
        fx, fy, cx, cy = self.lens[view].unbind(dim=1)
        local = torch.stack([(column + 0.5 - cx) / fx, (row + 0.5 - cy) / fy, torch.ones_like(fx)], dim=1)
        length = local.norm(dim=1)
        poses = self.poses[view]
        directions = (poses[:, :3, :3] @ (local / length[:, None])[..., None])[..., 0]
        return poses[:, :3, 3], directions, (0.25 / fx + 0.25 / fy) / length, view


def ray_batches(
    scene: Scene, *, seed: int, count: int, device: torch.device | str = "cpu"
) -> Callable[[int], RayBatch]:
    """The function from step (0, 1, ...) to `count` random pixels on `device`, with repetition.

    Raises ValueError for a scene without training views, MemoryError when their pixels need more than 8 GiB.
    """
    views = [scene.view(name) for name in scene.split.train]
    if not views:
        raise ValueError(f"scene {scene.name!r}: its split has no training views")
    pool = RayPool(views)

    def batch(step: int) -> RayBatch:
        chosen = torch.from_numpy(np.random.default_rng((seed, 2, step)).integers(len(pool.rgb), size=count))
        background = background_of_step(scene, seed, step)
        image = torch.lerp(
            background.expand(count, 3), unit_float(pool.rgb[chosen]), unit_float(pool.alpha[chosen])[:, None]
        )
        origins, directions, radius, view = pool.rays(chosen)
        found = (origins, directions, radius, image, background, unit_float(pool.mask[chosen]), view)
        return RayBatch(*(tensor.to(device) for tensor in found))

    return batch
