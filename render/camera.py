"""Cameras and rays: the one page of geometric conventions.

Axes are OpenCV's: x right, y down, z forward; `world_from_camera` maps camera to world coordinates.
The centre of the first pixel lies at (0.5, 0.5), so intrinsics scale with the image size and nothing is added.
Quaternions are (w, x, y, z). Ray directions have unit length and `t` is a distance along them in world units;
"depth" without further words is z in the camera frame. Angles are radians. Loaders convert at the border, nobody else.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor

from kernels.project.reference import rotation_matrices


@dataclass(frozen=True)
class Camera:
    """A pinhole (or orthographic) camera.

    world_from_camera: [4, 4] float32 rigid transform on the CPU.
    fx, fy, cx, cy: pixels; for an orthographic camera fx and fy are pixels per world unit.
    width, height: pixels. time: seconds or normalised, for scenes that move.
    """

    world_from_camera: Tensor
    fx: float
    fy: float
    cx: float
    cy: float
    width: int
    height: int
    time: float = 0.0
    projection: Literal["perspective", "orthographic"] = "perspective"

    def __post_init__(self) -> None:
        if tuple(self.world_from_camera.shape) != (4, 4):
            raise ValueError(
                f"world_from_camera: expected a 4x4 matrix, got shape {tuple(self.world_from_camera.shape)}"
            )
        if not bool(torch.isfinite(self.world_from_camera).all()):
            raise ValueError("world_from_camera: contains NaN or infinity; drop this view or repair its pose")
        if self.width < 1 or self.height < 1 or not (self.fx > 0 and self.fy > 0):
            raise ValueError(
                f"camera: size and focal lengths must be positive, got {self.width}x{self.height}, "
                f"fx={self.fx}, fy={self.fy}"
            )

    @property
    def camera_from_world(self) -> Tensor:
        """[4, 4] float32, the inverse pose (computed in float64)."""
        return torch.linalg.inv(self.world_from_camera.double()).float()

    @property
    def centre(self) -> Tensor:
        """[3] camera centre in world coordinates."""
        return self.world_from_camera[:3, 3]

    def resized(self, width: int, height: int) -> Camera:
        """The same view at another picture size; each axis scales by its actual ratio."""
        sx, sy = width / self.width, height / self.height
        return replace(
            self, fx=self.fx * sx, fy=self.fy * sy, cx=self.cx * sx, cy=self.cy * sy, width=width, height=height
        )

    def moved(self, world_from_camera: Tensor) -> Camera:
        """The same lens at another pose."""
        return replace(self, world_from_camera=world_from_camera)


@dataclass(frozen=True)
class Rays:
    """origins, directions: [..., 3] in world coordinates, directions of unit length.

    radius: [...] half a pixel's width a unit of distance (0 for an orthographic camera), or None for infinitely thin.
    """

    origins: Tensor
    directions: Tensor
    radius: Tensor | None = None


def camera_from_fov(
    world_from_camera: Tensor, horizontal_fov: float, width: int, height: int, time: float = 0.0
) -> Camera:
    """A camera with square pixels, its principal point at the centre; `horizontal_fov` in radians."""
    focal = 0.5 * width / math.tan(0.5 * horizontal_fov)
    return Camera(world_from_camera, focal, focal, width / 2, height / 2, width, height, time)


def pose_from_quaternion(position: Tensor, wxyz: Tensor) -> Tensor:
    """[4, 4] float32 `world_from_camera` of a camera at `position` [3] with rotation `wxyz` [4] of any length but 0."""
    length = float(wxyz.double().norm())
    if not (length > 0 and math.isfinite(length)):
        raise ValueError(f"rotation: expected a quaternion (w, x, y, z), got {wxyz.tolist()}")
    pose = torch.eye(4, dtype=torch.float64)
    pose[:3, :3] = rotation_matrices(wxyz.double() / length)
    pose[:3, 3] = position
    return pose.float()


def look_at(eye: Tensor, target: Tensor, up: Tensor) -> Tensor:
    """[4, 4] `world_from_camera` of a camera at `eye` that sees `target` at its centre with `up` upwards."""
    forward = torch.nn.functional.normalize((target - eye).double(), dim=0)
    right = torch.linalg.cross(forward, up.double())
    if float(right.norm()) < 1e-6:  # looking along `up`: any right-hand direction will do
        right = torch.linalg.cross(forward, up.double().roll(1))
    right = torch.nn.functional.normalize(right, dim=0)
    pose = torch.eye(4, dtype=torch.float64)
    pose[:3, :3] = torch.stack([right, torch.linalg.cross(forward, right), forward], dim=1)
    pose[:3, 3] = eye
    return pose.float()


def camera_rays(camera: Camera, pixels: Tensor | None = None) -> Rays:
    """Rays through pixel centres, [H, W, 3], or through the given positions `pixels` [..., 2] (x, y)."""
    if pixels is None:
        y, x = torch.meshgrid(
            torch.arange(camera.height, dtype=torch.float32) + 0.5,
            torch.arange(camera.width, dtype=torch.float32) + 0.5,
            indexing="ij",
        )
        pixels = torch.stack([x, y], dim=-1)
    pose = camera.world_from_camera.to(pixels.device)
    u = (pixels[..., 0] - camera.cx) / camera.fx
    v = (pixels[..., 1] - camera.cy) / camera.fy
    if camera.projection == "orthographic":
        origins = torch.stack([u, v, torch.zeros_like(u)], dim=-1) @ pose[:3, :3].T + pose[:3, 3]
        return Rays(origins, pose[:3, 2].expand_as(origins), torch.zeros_like(u))
    directions = torch.stack([u, v, torch.ones_like(u)], dim=-1) @ pose[:3, :3].T
    length = directions.norm(dim=-1)
    radius = (0.25 / camera.fx + 0.25 / camera.fy) / length
    return Rays(pose[:3, 3].expand_as(directions), directions / length[..., None], radius)


def project_points(camera: Camera, points: Tensor) -> tuple[Tensor, Tensor]:
    """World `points` [..., 3] to pixel positions [..., 2] and depths z [...]; the caller tests z > 0."""
    camera_from_world = camera.camera_from_world.to(points)
    local = points @ camera_from_world[:3, :3].T + camera_from_world[:3, 3]
    z = local[..., 2]
    scale = z if camera.projection == "perspective" else torch.ones_like(z)
    x = camera.fx * local[..., 0] / scale + camera.cx
    y = camera.fy * local[..., 1] / scale + camera.cy
    return torch.stack([x, y], dim=-1), z
