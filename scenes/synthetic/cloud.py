"""A sparse point cloud such as structure from motion would leave: where pictures have corners, and never quite
exact.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from render.camera import Camera
from scenes.scene import PointCloud

SIDE_NOISE = 0.4  # standard deviation across the ray, in pixels
DEPTH_NOISE = 1.2  # and along it, in what a pixel spans at that depth: triangulation is weakest there
OUTLIERS = 0.01  # share of points that are nowhere near a surface
SURPLUS = 3  # candidates drawn for every point kept


def sparse_cloud(
    photos: Sequence[tuple[Camera, np.ndarray, np.ndarray]], bounds: np.ndarray, count: int, seed: int
) -> PointCloud:
    """`count` points from the training photos, each (camera, sRGB [H, W, 3] uint8, depth [H, W] with 0 for
    nothing).

    Pixels are drawn in proportion to the picture's gradient (features sit on texture), lifted by their depth,
    moved by noise, and thinned so that they spread evenly; OUTLIERS of them lie anywhere in `bounds` [2, 3].
    Fewer come back only if the photos do not hold that many pixels with a surface.
    """
    rng = np.random.default_rng((seed, 2))
    wrong = round(OUTLIERS * count)
    wanted = -(-SURPLUS * (count - wrong) // len(photos))
    features = [_features(camera, rgb, depth, wanted, rng) for camera, rgb, depth in photos]
    exact, xyz, colour = (np.concatenate(parts) for parts in zip(*features, strict=True))
    kept = _spread(exact, count - wrong, rng)
    stray = rng.uniform(bounds[0], bounds[1], (wrong, 3))
    xyz = np.concatenate([xyz[kept], stray]).astype(np.float32)
    colour = np.concatenate([colour[kept], rng.uniform(0, 1, (wrong, 3))]).astype(np.float32)
    return PointCloud(torch.from_numpy(xyz), torch.from_numpy(colour))


def _features(
    camera: Camera, rgb: np.ndarray, depth: np.ndarray, wanted: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """At most `wanted` surface points of a photo: exact [n, 3], noisy [n, 3], and their colours [n, 3] in [0, 1]."""
    grey = rgb.astype(np.float32).mean(axis=2) / 255
    steep = np.hypot(*np.gradient(grey)) + 0.01  # even plain surfaces yield a few
    weight = np.where(depth > 0, steep, 0).ravel()
    wanted = min(wanted, int(np.count_nonzero(weight)))
    if wanted == 0:
        return np.zeros((0, 3)), np.zeros((0, 3)), np.zeros((0, 3))
    chosen = rng.choice(weight.size, wanted, replace=False, p=weight / weight.sum())
    row, column = np.divmod(chosen, camera.width)
    pixel, z = np.stack([column, row], axis=1) + 0.5, depth.ravel()[chosen].astype(np.float64)
    noisy_pixel = pixel + rng.normal(0, SIDE_NOISE, pixel.shape)
    noisy_z = z * (1 + rng.normal(0, DEPTH_NOISE / camera.fx, wanted))
    return _lifted(camera, pixel, z), _lifted(camera, noisy_pixel, noisy_z), rgb.reshape(-1, 3)[chosen] / 255.0


def _lifted(camera: Camera, pixel: np.ndarray, z: np.ndarray) -> np.ndarray:
    """World points [n, 3] at the depths z [n] behind pixel positions [n, 2]."""
    pose = camera.world_from_camera.numpy().astype(np.float64)
    sideways = (pixel - [camera.cx, camera.cy]) / [camera.fx, camera.fy] * z[:, None]
    return np.concatenate([sideways, z[:, None]], axis=1) @ pose[:3, :3].T + pose[:3, 3]


def _spread(xyz: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """Row numbers of `count` points: the first in each cell of the coarsest grid with enough cells."""
    order = rng.permutation(len(xyz))
    if len(xyz) <= count:
        return order
    low, high, first = 0.0, float(np.ptp(xyz, axis=0).max()), order
    for _ in range(24):  # halve the interval of cell sizes
        cell = (low + high) / 2
        _, occupied = np.unique(np.floor(xyz[order] / cell).astype(np.int64), axis=0, return_index=True)
        if len(occupied) >= count:
            low, first = cell, order[np.sort(occupied)]
        else:
            high = cell
    return first[:count]
