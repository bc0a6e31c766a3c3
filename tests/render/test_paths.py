"""Camera paths: orbits that see their subject, splines through their keyframes, files in input coordinates."""

import json
import math

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from render.camera import Camera, camera_from_fov, look_at, project_points
from render.paths import OPENCV_FROM_OPENGL, orbit, read_path, spline

UP = torch.tensor([0.0, 0.0, 1.0])


def ring(azimuths, target=(1.0, 2.0, 0.5), radius=3.0, height=1.5, up=UP):
    """Cameras around a target, level, looking at it."""
    target = torch.tensor(target)
    eyes = [target + torch.tensor([radius * math.cos(a), radius * math.sin(a), height]) for a in azimuths]
    return [camera_from_fov(look_at(eye, target, up), 0.8, 100, 80) for eye in eyes]


def angles(path, target=(1.0, 2.0)):
    centres = torch.stack([camera.centre[:2] for camera in path]) - torch.tensor(target)
    return torch.atan2(centres[:, 1], centres[:, 0])


def test_orbit_keeps_the_circle_that_the_cameras_stand_on():
    cameras = ring([2 * math.pi * i / 7 for i in range(7)])
    path = orbit(cameras, 12, 64, 48)
    target = torch.tensor([1.0, 2.0, 0.5])
    for camera in path:
        assert float((camera.centre[:2] - target[:2]).norm()) == pytest.approx(3.0, abs=1e-4)
        assert float(camera.centre[2]) == pytest.approx(2.0, abs=1e-4)
        pixel, depth = project_points(camera, target)
        assert float(depth) > 0
        torch.testing.assert_close(pixel, torch.tensor([32.0, 24.0]), atol=1e-2, rtol=0)
        assert float(camera.world_from_camera[2, 1]) < 0  # upright: the image's down is the world's down
        assert 2 * math.atan(0.5 * camera.width / camera.fx) == pytest.approx(0.8, abs=1e-6)
    turns = torch.diff(angles(path), append=angles(path)[:1]) % (2 * math.pi)
    torch.testing.assert_close(turns, torch.full((12,), math.pi / 6), atol=1e-4, rtol=0)


def test_orbit_of_a_front_facing_rig_stays_in_front():
    """Cameras over 60 degrees: the path swings within them, comes back to its start, and sees the target."""
    path = orbit(ring([-0.5, -0.2, 0.1, 0.4, 0.5]), 40, 64, 48)
    swing = angles(path)
    assert float(swing.abs().max()) < 0.5 and float(swing.max() - swing.min()) > 0.6
    assert abs(float(swing[0] - swing[-1])) < 0.1


def test_orbit_of_parallel_cameras():
    """Axes that never meet (a rig that slides sideways): the path looks the way the cameras look."""
    eyes = [torch.tensor([x, 0.0, z]) for x in (-1.0, 0.0, 1.0) for z in (-0.5, 0.5)]
    cameras = [camera_from_fov(look_at(e, e + torch.tensor([0.0, 5.0, 0.0]), UP), 0.8, 64, 48) for e in eyes]
    for camera in orbit(cameras, 9, 64, 48):
        assert float(camera.world_from_camera[1, 2]) > 0.5
        assert float(camera.centre.norm()) < 3


@pytest.mark.parametrize("count", [1, 2])
def test_orbit_of_very_few_cameras(count):
    for camera in orbit(ring([0.3, 0.9][:count]), 5, 64, 48):
        assert bool(torch.isfinite(camera.world_from_camera).all())


def test_orbit_follows_the_rig_when_all_is_turned_and_scaled():
    """Up is what the cameras hold upwards, not the world's z."""
    cameras = ring([2 * math.pi * i / 9 for i in range(9)])
    turn = torch.from_numpy(Rotation.from_euler("xyz", [0.7, -0.4, 1.1]).as_matrix()).float()
    move = torch.eye(4)
    move[:3, :3] = turn
    moved = [camera.moved(move @ camera.world_from_camera) for camera in cameras]
    for a, b in zip(orbit(cameras, 6, 64, 48), orbit(moved, 6, 64, 48), strict=True):
        torch.testing.assert_close(move @ a.world_from_camera, b.world_from_camera, atol=1e-4, rtol=0)


def random_keyframes(count, seed=0):
    rng = np.random.default_rng(seed)
    frames = []
    for i in range(count):
        pose = torch.eye(4)
        pose[:3, :3] = torch.from_numpy(Rotation.random(rng=rng).as_matrix()).float()
        pose[:3, 3] = torch.from_numpy(rng.normal(size=3)).float()
        frames.append(Camera(pose, 50.0 + i, 50.0 + i, 32.0, 24.0, 64, 48, time=float(i)))
    return frames


@pytest.mark.parametrize("closed", [False, True])
def test_spline_passes_through_its_keyframes(closed):
    keys = random_keyframes(5)
    per_key = 6
    path = spline(keys, per_key * (5 if closed else 4) + (0 if closed else 1), closed=closed)
    for i, key in enumerate(keys):
        camera = path[per_key * i]
        torch.testing.assert_close(camera.world_from_camera, key.world_from_camera, atol=1e-5, rtol=0)
        assert (camera.fx, camera.time) == (pytest.approx(key.fx), pytest.approx(key.time))
    for camera in path:
        rotation = camera.world_from_camera[:3, :3]
        torch.testing.assert_close(rotation @ rotation.T, torch.eye(3), atol=1e-5, rtol=0)


def test_closed_spline_has_no_seam():
    """The largest step from frame to frame is nowhere near the seam's own: no jump in place or rotation."""
    path = spline(random_keyframes(4), 400, closed=True)
    poses = torch.stack([camera.world_from_camera for camera in path])
    steps = (poses - poses.roll(1, dims=0)).flatten(1).norm(dim=1)
    bends = (steps - steps.roll(1)).abs()
    assert float(steps[0]) <= float(steps.max()) and float(bends[0]) <= 1.5 * float(bends[20:-20].max())


def test_short_splines():
    (key,) = random_keyframes(1)
    assert spline([key], 3) == [key] * 3
    a, b = random_keyframes(2)
    middle = spline([a, b], 3)[1]
    torch.testing.assert_close(middle.centre, (a.centre + b.centre) / 2)
    assert len(spline([a, b], 8, closed=True)) == 8
    assert spline([a, a, b], 5)[1].world_from_camera.isfinite().all()
    with pytest.raises(ValueError, match="expected keyframes"):
        spline([], 3)


def similarity(scale=2.0):
    matrix = torch.eye(4)
    matrix[:3, :3] = scale * torch.from_numpy(Rotation.from_euler("z", 0.5).as_matrix()).float()
    matrix[:3, 3] = torch.tensor([1.0, -2.0, 3.0])
    return matrix


def opengl(camera):
    return (camera.world_from_camera.double().numpy() @ OPENCV_FROM_OPENGL).tolist()


def test_camera_path_of_nerfstudio(tmp_path):
    """A camera seen from its own frame stays put when file and world are related by a similarity."""
    camera = ring([0.4])[0]
    steps = [{"camera_to_world": np.ravel(opengl(camera)).tolist(), "fov": 60.0, "aspect": 1.5}]
    file = tmp_path / "camera_path.json"
    file.write_text(json.dumps({"camera_path": steps, "fps": 24.0, "keyframes": [], "seconds": 1}))
    path = read_path(file, similarity(), frames=10, width=120, height=80)
    assert path.fps == 24.0 and len(path.cameras) == 1
    read = path.cameras[0]
    assert (read.width, read.height) == (120, 80)
    assert 2 * math.degrees(math.atan(0.5 * 80 / read.fy)) == pytest.approx(60.0)
    point = torch.tensor([0.3, -0.2, 4.0])  # in the camera's frame; twice as far in a world twice as large
    seen_from = camera.world_from_camera @ torch.tensor([*point.tolist(), 1.0])
    in_world = (similarity() @ seen_from)[:3]
    pixel, depth = project_points(read, in_world)
    assert float(depth) == pytest.approx(8.0, abs=1e-4)
    torch.testing.assert_close(pixel, torch.tensor([60 + read.fx * 0.3 / 4, 40 - read.fy * 0.2 / 4]), atol=1e-3, rtol=0)


def test_keyframes_alone_are_splined(tmp_path):
    keys = [{"matrix": np.ravel(opengl(c)).tolist(), "fov": 50.0} for c in ring([0.0, 0.5, 1.0])]
    file = tmp_path / "path.json"
    file.write_text(json.dumps({"keyframes": keys, "fps": 10, "seconds": 2, "is_cycle": False}))
    path = read_path(file, torch.eye(4), frames=7, width=60, height=40)
    assert len(path.cameras) == 20
    torch.testing.assert_close(path.cameras[-1].centre, ring([1.0])[0].centre, atol=1e-4, rtol=0)
    file.write_text(json.dumps({"keyframes": keys}))
    assert len(read_path(file, torch.eye(4), frames=7, width=60, height=40).cameras) == 7


def test_frames_of_transforms_json(tmp_path):
    """Intrinsics scale with the picture; a file that gives an angle only keeps it."""
    camera = ring([0.4])[0]
    shot = {"file_path": "b.png", "transform_matrix": opengl(camera)}
    first = {**shot, "file_path": "a.png", "fl_x": 200.0}
    file = tmp_path / "transforms.json"
    file.write_text(
        json.dumps({"fl_x": 100.0, "fl_y": 110.0, "cx": 40.0, "cy": 32.0, "w": 100, "h": 80, "frames": [shot, first]})
    )
    a, b = read_path(file, torch.eye(4), frames=1, width=200, height=160).cameras
    assert (a.fx, b.fx, b.fy, b.cx, b.cy) == (400.0, 200.0, 220.0, 80.0, 64.0)
    torch.testing.assert_close(b.world_from_camera, camera.world_from_camera, atol=1e-5, rtol=0)
    file.write_text(json.dumps({"camera_angle_x": 0.8, "frames": [shot]}))
    (only,) = read_path(file, torch.eye(4), frames=1, width=200, height=160).cameras
    assert 2 * math.atan(100 / only.fx) == pytest.approx(0.8)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "not JSON"),
        ("[]", "expected a JSON object"),
        ("{}", "holds no camera_path"),
        ('{"camera_path": [{"fov": 50}]}', "camera_to_world"),
        ('{"camera_path": [{"fov": 50, "camera_to_world": [1, 2]}]}', "expected 16 numbers"),
        ('{"keyframes": [{"fov": 50, "matrix": [NaN,0,0,0,0,1,0,0,0,0,1,0]}]}', "contains NaN"),
        ('{"frames": [{"transform_matrix": [[1,0,0,0],[0,1,0,0],[0,0,1,0],[0,0,0,1]]}]}', "camera_angle_x"),
    ],
)
def test_bad_files_are_named(tmp_path, text, message):
    file = tmp_path / "path.json"
    file.write_text(text)
    with pytest.raises(ValueError, match=rf"path\.json.*{message}"):
        read_path(file, torch.eye(4), frames=3, width=10, height=10)
