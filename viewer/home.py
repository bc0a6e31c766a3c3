"""Where a person starts to look from, before they have moved."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from scenes.normalize import Views, meeting_point
from scenes.scene import Scene, View
from viewer.seat import fov_to_see

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
    camera = views[0].camera
    eye, forward = camera.centre.double(), camera.world_from_camera[:3, 2].double()
    poses = np.stack([view.camera.world_from_camera.double().numpy() for view in views])
    focus = meeting_point(Views(poses, slopes=np.ones((len(poses), 2))))
    distance = scene.extent if focus is None else float((torch.from_numpy(focus) - eye) @ forward)
    if not 0.05 * scene.extent < distance < 20 * scene.extent:  # a middle behind the camera, or far away, is none
        distance = scene.extent
    fov = fov_to_see(camera, camera.width / camera.height)
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


def home_of_plane(low: Tensor, high: Tensor) -> Home:
    """Straight before a picture that fills the rectangle [3], [3] of the plane z = 0, y down, far enough to see it."""
    width, height, _ = (high - low).tolist()
    fov = math.radians(50)
    distance = 0.55 * max(width, height) / math.tan(fov / 2)
    x, y, _ = ((low + high) / 2).tolist()
    return Home((x, y, -distance), (x, y, 0.0), (0.0, -1.0, 0.0), fov, max(width, height))


def vector(values: Tensor) -> Vector:
    """A tensor [3] as three floats."""
    x, y, z = values.tolist()
    return x, y, z
