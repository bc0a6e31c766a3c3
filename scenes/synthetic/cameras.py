"""Where a synthetic scene is photographed from: a dome around the table, and close-ups of single objects."""

from __future__ import annotations

import math

import numpy as np
import torch

from render.camera import Camera, camera_from_fov, look_at
from scenes.synthetic.arrangement import World
from scenes.synthetic.config import DemoConfig
from scenes.synthetic.lights import GOLDEN_TURN

FIELD_OF_VIEW = math.radians(42)  # horizontal, of a 4:3 picture
DOME_RADIUS = 3.4
LOWEST, HIGHEST = math.radians(12), math.radians(66)  # elevations of the dome's rims
CLOSE_UP_EVERY = 8
UP = torch.tensor([0.0, 0.0, 1.0])
TRIES = 64  # for an eye that stands free


def cameras(config: DemoConfig, world: World) -> tuple[list[Camera], list[Camera]]:
    """Training and test cameras.

    Training eyes follow a golden spiral from the dome's lower rim to the upper, with some jitter; test eyes lie
    on the same spiral half-way between two training ones, over its whole height. One in CLOSE_UP_EVERY of each
    is a close-up.
    """
    rng = np.random.default_rng((config.seed, 1))
    phase = rng.uniform(0, 2 * math.pi)
    close, test_close = config.views // CLOSE_UP_EVERY, config.test_views // CLOSE_UP_EVERY
    dome, test_dome = config.views - close, config.test_views - test_close
    train = [_on_dome(config, i, dome, phase, rng) for i in range(dome)]
    test = []
    for j in range(test_dome):
        between = math.floor((j + 0.5) * (dome - 1) / test_dome) + 0.5
        test.append(_on_dome(config, between, dome, phase, rng))
    order = rng.permutation(len(world.places))
    for i in range(close + test_close):
        (train if i < close else test).append(_close_up(config, world, int(order[i % len(order)]), rng))
    return train, test


def _on_dome(config: DemoConfig, index: float, count: int, phase: float, rng: np.random.Generator) -> Camera:
    low, high = math.sin(LOWEST), math.sin(HIGHEST)
    elevation = math.asin(low + (high - low) * (index + 0.5) / count)
    azimuth = phase + GOLDEN_TURN * index
    target = np.array([0.0, 0.0, 0.17]) + rng.uniform(-0.05, 0.05, 3)
    return _camera(config, target, azimuth, elevation, DOME_RADIUS * rng.uniform(0.95, 1.05))


def _close_up(config: DemoConfig, world: World, place: int, rng: np.random.Generator) -> Camera:
    """A camera about 1.5 units from an object, on the outer side of the table, in free air."""
    x, y, height, radius = world.places[place]
    target = np.array([x, y, height / 2])
    distance = 0.8 + 2 * max(radius, height / 2)
    best, best_room = None, -math.inf
    for _ in range(TRIES):
        azimuth = math.atan2(y, x) + rng.uniform(-1.0, 1.0)
        camera = _camera(config, target, azimuth, math.radians(rng.uniform(18, 42)), distance)
        eye = camera.centre.numpy()
        room = min(max(math.hypot(eye[0] - a, eye[1] - b) - r, eye[2] - h) for a, b, h, r in world.places)
        if room > best_room:
            best, best_room = camera, room
        if room > 0.3:
            break
    assert best is not None  # TRIES is positive
    return best


def _camera(config: DemoConfig, target: np.ndarray, azimuth: float, elevation: float, distance: float) -> Camera:
    ring = math.cos(elevation)
    offset = np.array([ring * math.cos(azimuth), ring * math.sin(azimuth), math.sin(elevation)])
    pose = look_at(torch.from_numpy(target + distance * offset), torch.from_numpy(target), UP)
    # the field of view is that of a 4:3 picture; narrower and wider ones show more, so that none crops the table
    fov = 2 * math.atan(math.tan(FIELD_OF_VIEW / 2) * max(1.0, 3 * config.width / (4 * config.height)))
    return camera_from_fov(pose, fov, config.width, config.height)
