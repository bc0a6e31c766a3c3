"""Where a person starts to look from, before they have moved."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from scenes.scene import Scene, View

Vector = tuple[float, float, float]


@dataclass(frozen=True)
class Home:
    """position, look_at: world units. up: of the world. vertical_fov: radians. size: how far across the scene is.
    view: the view whose camera this is, if it is one."""

    position: Vector
    look_at: Vector
    up: Vector
    vertical_fov: float
    size: float
    view: View | None = None


def home_of_scene(scene: Scene) -> Home:
    """At the first training camera; what is orbited lies on its axis, by the middle of all axes."""
    views = [scene.view(name) for name in scene.split.train]
    poses = torch.stack([view.camera.world_from_camera for view in views]).double()
    camera = views[0].camera
    focus = nearest_to_axes(poses[:, :3, 3], poses[:, :3, 2])
    eye, forward = poses[0, :3, 3], poses[0, :3, 2]
    distance = float((focus - eye) @ forward)
    if not 0.05 * scene.extent < distance < 20 * scene.extent:  # nearly parallel axes have no middle
        distance = scene.extent
    fov = 2 * math.atan(0.5 * camera.height / camera.fy)
    return Home(vector(eye), vector(eye + distance * forward), (0.0, 0.0, 1.0), fov, 2 * scene.extent, views[0])


def home_of_box(low: Tensor, high: Tensor, up: Vector) -> Home:
    """In front of a box [3], [3], a little above, far enough to see it whole."""
    middle, radius = (low + high).double() / 2, max(1e-6, float((high - low).double().norm()) / 2)
    axis = torch.tensor(up, dtype=torch.float64)
    side = torch.linalg.cross(axis, torch.tensor([0.0, 0.0, 1.0], dtype=torch.float64))
    if float(side.norm()) < 1e-6:
        side = torch.tensor([0.0, 1.0, 0.0], dtype=torch.float64)
    front = torch.nn.functional.normalize(torch.linalg.cross(axis, side), dim=0)
    direction = torch.nn.functional.normalize(front + 0.35 * axis, dim=0)
    fov = math.radians(50)
    return Home(vector(middle + direction * radius / math.sin(fov / 2)), vector(middle), up, fov, 2 * radius)


def nearest_to_axes(origins: Tensor, directions: Tensor) -> Tensor:
    """[3] the point with least squared distances to lines [V, 3], [V, 3] (unit directions), float64."""
    across = torch.eye(3, dtype=origins.dtype) - directions[:, :, None] * directions[:, None, :]
    return torch.linalg.lstsq(across.sum(dim=0), (across @ origins[:, :, None]).sum(dim=0)).solution[:, 0]


def vector(values: Tensor) -> Vector:
    """A tensor [3] as three floats."""
    x, y, z = values.tolist()
    return x, y, z
