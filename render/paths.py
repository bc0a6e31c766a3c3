"""Camera paths: an orbit around what a set of cameras looks at, a spline through keyframes, paths from files.

A path is a list of cameras, one a frame. Files keep poses in the coordinates of the input data, with OpenGL
camera axes (x right, y up, z back); they are brought into the world by `world_from_input`, a similarity.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.interpolate import CubicSpline
from scipy.spatial.transform import Rotation, RotationSpline
from torch import Tensor

from render.camera import Camera, look_at

OPENCV_FROM_OPENGL = np.diag([1.0, -1.0, -1.0, 1.0])
FULL_CIRCLE_GAP = math.radians(100)
"""Cameras whose azimuths leave a wider gap do not stand around their subject: the orbit swings instead."""


@dataclass(frozen=True)
class CameraPath:
    """Cameras frame by frame, and the frames a second that a file asks for (None: it does not say)."""

    cameras: list[Camera]
    fps: float | None = None


def orbit(cameras: Sequence[Camera], frames: int, width: int, height: int) -> list[Camera]:
    """A closed path around what `cameras` look at, at their mean height and distance and median field of view.

    Cameras all around give a full circle at even speed. Where they face the subject from one side (a gap of
    more than 100 degrees in azimuth), the path swings within the middle 80 % of what they cover, so that
    nobody sees the back that was never photographed.
    """
    if not cameras or frames < 1:
        raise ValueError(f"orbit: expected cameras and at least one frame, got {len(cameras)} and {frames}")
    poses = torch.stack([camera.world_from_camera for camera in cameras]).double()
    centres, forward = poses[:, :3, 3], poses[:, :3, 2]
    up = up_direction(poses)
    pivot = focus_point(centres, forward)
    offsets = centres - pivot
    heights = offsets @ up
    flat = offsets - heights[:, None] * up
    radius, raised = float(flat.norm(dim=1).mean()), float(heights.mean())
    if radius < 1e-6 * max(1.0, float(offsets.norm(dim=1).max())):  # all above one another: any direction is as good
        radius = max(abs(raised), 1e-3)
    east = perpendicular(up, flat[int(flat.norm(dim=1).argmax())])
    north = torch.linalg.cross(up, east)
    start, half = covered_arc(torch.atan2(flat @ north, flat @ east))
    turn = torch.arange(frames, dtype=torch.float64) * (2 * math.pi / frames)
    angles = start + turn if half is None else start + 0.8 * half * torch.sin(turn)
    fov = float(np.median([2 * math.atan(0.5 * camera.width / camera.fx) for camera in cameras]))
    focal = 0.5 * width / math.tan(0.5 * fov)
    path = []
    for angle in angles.tolist():
        eye = pivot + radius * (math.cos(angle) * east + math.sin(angle) * north) + raised * up
        path.append(
            Camera(look_at(eye, pivot, up), focal, focal, width / 2, height / 2, width, height, cameras[0].time)
        )
    return path


def around(low: Tensor, high: Tensor, up: Tensor, width: int, height: int) -> list[Camera]:
    """Eight cameras about a box [3], [3], a little above its middle (`up` [3] unit), far enough to see it whole."""
    middle, radius = (low + high).double() / 2, float((high - low).double().norm()) / 2
    fov = math.radians(40)
    distance, focal = radius / math.sin(fov / 2), 0.5 * min(width, height) / math.tan(fov / 2)
    east = perpendicular(up.double(), torch.tensor([0.3, 0.4, 0.5], dtype=torch.float64))
    north, cameras = torch.linalg.cross(up.double(), east), []
    for turn in range(8):
        angle = turn * math.pi / 4
        side = torch.nn.functional.normalize(math.cos(angle) * east + math.sin(angle) * north + 0.35 * up, dim=0)
        pose = look_at(middle + distance * side, middle, up)
        cameras.append(Camera(pose, focal, focal, width / 2, height / 2, width, height))
    return cameras


def up_direction(poses: Tensor) -> Tensor:
    """[3] unit vector that the cameras [N, 4, 4] hold upwards.

    Photographers keep the horizon level, so their right-hand axes are orthogonal to it; where all face the
    same way these do not determine it, and it is the mean of the cameras' own up axes.
    """
    mean = torch.nn.functional.normalize(-poses[:, :3, 1].sum(dim=0), dim=0)
    right = poses[:, :3, 0]
    values, vectors = torch.linalg.eigh(right.T @ right / len(right))
    if float(values[1]) < 0.02:
        return mean if float(mean.norm()) > 0.5 else -poses[0, :3, 1]
    up = vectors[:, 0]
    return up if float(up @ mean) >= 0 else -up


def focus_point(centres: Tensor, forward: Tensor) -> Tensor:
    """[3] the point nearest to all optical axes (centres, forward: [N, 3]), in the least-squares sense.

    Parallel axes meet nowhere; then it is the mean centre, moved forward by the cameras' own spread.
    """
    across = torch.eye(3, dtype=forward.dtype) - forward[:, :, None] * forward[:, None, :]
    normal = across.mean(dim=0)
    spread = float((centres - centres.mean(dim=0)).norm(dim=1).max())
    ahead = centres.mean(dim=0) + max(spread, 1e-3) * torch.nn.functional.normalize(forward.mean(dim=0), dim=0)
    if float(torch.linalg.eigvalsh(normal)[0]) < 1e-3:
        return ahead
    point = torch.linalg.solve(normal, (across @ centres[:, :, None]).mean(dim=0))[:, 0]
    in_front = ((point - centres) * forward).sum(dim=1) > 0
    return point if float(in_front.double().mean()) > 0.5 else ahead


def covered_arc(azimuths: Tensor) -> tuple[float, float | None]:
    """(start, None) for cameras all around, else (middle, half width) of the arc they cover, in radians."""
    ordered = torch.sort(azimuths).values
    gaps = torch.diff(ordered, append=ordered[:1] + 2 * math.pi)
    widest = int(gaps.argmax())
    gap = float(gaps[widest])
    if gap < FULL_CIRCLE_GAP:
        return float(azimuths[0]), None
    half = 0.5 * (2 * math.pi - gap)
    return float(ordered[widest]) + gap + half, half


def perpendicular(up: Tensor, towards: Tensor) -> Tensor:
    """[3] unit vector orthogonal to `up`, as near to `towards` as can be."""
    flat = towards - (towards @ up) * up
    if float(flat.norm()) < 1e-9:
        flat = torch.linalg.cross(up, up.roll(1) + torch.tensor([1.0, 0.0, 0.0], dtype=up.dtype))
    return torch.nn.functional.normalize(flat, dim=0)


def spline(keyframes: Sequence[Camera], frames: int, *, closed: bool = False) -> list[Camera]:
    """A smooth path through `keyframes` at equal times; its first and (unless closed) last frame are keyframes.

    Positions follow a natural (closed: periodic) cubic spline, rotations one of continuous angular velocity and
    acceleration (scipy's RotationSpline), fields of view and times straight lines. Picture size is the first
    one's.
    """
    if not keyframes or frames < 1:
        raise ValueError(f"spline: expected keyframes and at least one frame, got {len(keyframes)} and {frames}")
    first = keyframes[0]
    if len(keyframes) == 1:
        return [first] * frames
    around = [*keyframes, first] if closed else list(keyframes)
    knots = np.arange(len(around), dtype=np.float64)
    poses = torch.stack([camera.world_from_camera for camera in around]).double().numpy()
    place = CubicSpline(knots, poses[:, :3, 3], bc_type="periodic" if closed else "natural")
    turn = _rotation_spline(poses[:, :3, :3], closed)
    # One picture size: focal lengths are carried as multiples of the width.
    lens = np.array([[c.fx / c.width, c.fy / c.height, c.cx / c.width, c.cy / c.height, c.time] for c in around])
    path = []
    for u in np.linspace(0, knots[-1], frames, endpoint=not closed):
        pose = np.eye(4)
        pose[:3, :3], pose[:3, 3] = turn(u).as_matrix(), place(u)
        fx, fy, cx, cy, moment = (float(np.interp(u, knots, column)) for column in lens.T)
        w, h = first.width, first.height
        path.append(Camera(torch.from_numpy(pose).float(), fx * w, fy * h, cx * w, cy * h, w, h, moment))
    return path


def _rotation_spline(matrices: np.ndarray, closed: bool) -> RotationSpline:
    """Through the rotations at times 0, 1, ...; closed: keys repeat beyond both ends, for a smooth seam."""
    count = len(matrices)
    if not closed:
        return RotationSpline(np.arange(count), Rotation.from_matrix(matrices))
    beyond = min(3, count - 1)
    order = [*range(count - 1 - beyond, count - 1), *range(count), *range(1, 1 + beyond)]
    return RotationSpline(np.arange(-beyond, count + beyond), Rotation.from_matrix(matrices[order]))


def read_path(path: Path, world_from_input: Tensor, *, frames: int, width: int, height: int) -> CameraPath:
    """The cameras of a nerfstudio `camera_path.json`, or of a `transforms.json`, at the given size.

    A camera path that lists its frames keeps them all; one with keyframes only is splined, to `frames` or to
    what its fps and seconds say. ValueError names what is missing in the file.
    """
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: not JSON ({error}); expected a camera_path.json or transforms.json") from None
    if not isinstance(document, dict):
        raise ValueError(f"{path}: expected a JSON object as in camera_path.json or transforms.json")
    try:
        if document.get("camera_path"):
            steps = document["camera_path"]
            cameras = [_path_camera(step, "camera_to_world", world_from_input, width, height) for step in steps]
            return CameraPath(cameras, document.get("fps"))
        if document.get("keyframes"):
            keys = [_path_camera(key, "matrix", world_from_input, width, height) for key in document["keyframes"]]
            fps, seconds = document.get("fps"), document.get("seconds")
            count = round(fps * seconds) if fps and seconds else frames
            return CameraPath(spline(keys, max(count, 1), closed=bool(document.get("is_cycle"))), fps)
        if document.get("frames"):
            shots = sorted(document["frames"], key=lambda frame: str(frame.get("file_path", "")))
            return CameraPath([_shot_camera(shot, document, world_from_input, width, height) for shot in shots])
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path}: {error if isinstance(error, ValueError) else f'lacks or garbles {error}'}") from None
    raise ValueError(f"{path}: holds no camera_path, keyframes or frames")


def _path_camera(step: Mapping[str, Any], key: str, world_from_input: Tensor, width: int, height: int) -> Camera:
    """nerfstudio gives the vertical field of view in degrees."""
    focal = 0.5 * height / math.tan(math.radians(float(step["fov"])) / 2)
    pose = _world_from_camera(step[key], world_from_input)
    return Camera(pose, focal, focal, width / 2, height / 2, width, height, float(step.get("render_time", 0.0)))


def _shot_camera(
    shot: Mapping[str, Any], document: Mapping[str, Any], world_from_input: Tensor, width: int, height: int
) -> Camera:
    pose = _world_from_camera(shot["transform_matrix"], world_from_input)
    lens = {**document, **shot}
    if "fl_x" not in lens:
        focal = 0.5 * width / math.tan(float(lens["camera_angle_x"]) / 2)
        return Camera(pose, focal, focal, width / 2, height / 2, width, height)
    w, h, fx = float(lens["w"]), float(lens["h"]), float(lens["fl_x"])
    full = Camera(pose, fx, float(lens.get("fl_y", fx)), lens.get("cx", w / 2), lens.get("cy", h / 2), int(w), int(h))
    return replace(full.resized(width, height), time=float(shot.get("time", 0.0)))


def _world_from_camera(matrix: Any, world_from_input: Tensor) -> Tensor:
    """[4, 4] rigid pose from 16 numbers (or rows) with OpenGL axes, moved by the similarity."""
    values = np.asarray(matrix, dtype=np.float64)
    if values.size not in (12, 16):
        raise ValueError(f"pose: expected 16 numbers (row by row), got {values.size}")
    if not np.isfinite(values).all():
        raise ValueError("pose: contains NaN or infinity")
    pose = np.eye(4)
    pose[: values.size // 4] = values.reshape(-1, 4)
    moved = world_from_input.double().numpy() @ pose @ OPENCV_FROM_OPENGL
    u, _, vt = np.linalg.svd(moved[:3, :3])
    moved[:3, :3] = u @ vt
    return torch.from_numpy(moved).float()
