"""One rig in every format opens to the same cameras, points, pictures (up to the world_from_input)."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from capture_rig import (
    CLOUD,
    GL_FROM_CV,
    Rig,
    frames,
    orbit_rig,
    write_blender,
    write_colmap,
    write_llff,
    write_nerfstudio,
    write_pictures,
)
from PIL import Image

from render.camera import project_points
from scenes.load import open_scene
from scenes.scene import Scene

WRITERS: dict[str, Callable[[Path, Rig], object]] = {
    "nerfstudio": write_nerfstudio,
    "blender": write_blender,
    "colmap binary": write_colmap,
    "colmap text": lambda root, rig: write_colmap(root, rig, text=True),
    "colmap in its own folder": lambda root, rig: write_colmap(root, rig, model_folder="colmap/sparse/0"),
    "llff": write_llff,
}


def index_in(rig: Rig, view_name: str) -> int:
    stems = [Path(name).stem for name in rig.names]
    return stems.index(Path(view_name).stem)


def assert_sees_the_rig(scene: Scene, rig: Rig) -> None:
    """Every view projects input points, taken to the scene's world, where the rig says."""
    similarity = scene.world_from_input.double()
    scale = similarity[0, :3].norm()
    for view in scene.views:
        index = index_in(rig, view.name)
        pose = rig.poses[index]
        assert (view.camera.width, view.camera.height) == (rig.width, rig.height)
        expected = similarity @ torch.from_numpy(pose)
        expected[:3, :3] /= scale
        assert torch.allclose(view.camera.world_from_camera.double(), expected, atol=1e-5)
        for point in CLOUD[:5]:
            world = similarity[:3, :3] @ torch.from_numpy(point) + similarity[:3, 3]
            pixel, depth = project_points(view.camera, world.float())
            assert np.allclose(pixel.numpy(), rig.pixel(index, point), atol=1e-3)
            assert float(depth) > 0


@pytest.mark.parametrize("name", WRITERS)
def test_every_format_opens_to_the_same_cameras(tmp_path: Path, name: str) -> None:
    rig = orbit_rig()
    WRITERS[name](tmp_path, rig)
    scene = open_scene(tmp_path)
    assert_sees_the_rig(scene, rig)
    assert [view.name for view in scene.views] == sorted(view.name for view in scene.views)
    for view in scene.views:
        assert int(view.load().rgb_srgb[0, 0, 0]) == 10 * index_in(rig, view.name)
    assert scene.name == tmp_path.name


def test_blender_keeps_its_world_its_split_and_is_white(tmp_path: Path) -> None:
    rig = orbit_rig(6)
    write_blender(tmp_path, rig)
    scene = open_scene(tmp_path)
    assert torch.equal(scene.world_from_input, torch.eye(4))
    assert scene.background == "white"
    assert scene.split.train == tuple(f"train/view_{i:02d}" for i in range(6))
    assert scene.split.test == tuple(f"test/view_{i:02d}" for i in range(6))
    assert set(scene.split.val) < set(scene.split.test) and len(scene.split.val) == 5

    write_blender(tmp_path, rig, parts=("val",))
    assert open_scene(tmp_path).split.val == tuple(f"val/view_{i:02d}" for i in range(6))


@pytest.mark.parametrize("text", [False, True])
def test_colmap_points_come_along(tmp_path: Path, text: bool) -> None:
    write_colmap(tmp_path, orbit_rig(), text=text)
    scene = open_scene(tmp_path)
    assert scene.points is not None
    back = torch.linalg.inv(scene.world_from_input.double())
    xyz = scene.points.xyz.double() @ back[:3, :3].T + back[:3, 3]
    assert np.allclose(xyz.numpy(), CLOUD, atol=1e-5)
    assert torch.allclose(scene.points.rgb_srgb[:, 1] * 255, torch.arange(40.0))
    inside = (scene.points.xyz >= scene.bounds[0]) & (scene.points.xyz <= scene.bounds[1])
    assert float(inside.float().mean()) > 0.95


def test_llff_takes_the_points_of_an_incomplete_model(tmp_path: Path) -> None:
    rig = orbit_rig()
    write_llff(tmp_path, rig)
    model = write_colmap(tmp_path, rig, pictures=False)
    (model / "images.bin").unlink()
    scene = open_scene(tmp_path)
    assert scene.points is not None and len(scene.points.xyz) == 40
    assert scene.source == str(tmp_path)
    assert_sees_the_rig(scene, rig)


def test_llff_wants_as_many_pictures_as_rows(tmp_path: Path) -> None:
    write_llff(tmp_path, orbit_rig())
    (tmp_path / "images" / "view_03.png").unlink()
    with pytest.raises(ValueError, match=r"9 rows.*8 in images"):
        open_scene(tmp_path)


def test_reduced_copies_are_used_when_they_are_large_enough(tmp_path: Path) -> None:
    rig = orbit_rig(4)
    write_llff(tmp_path, rig)
    write_pictures(tmp_path / "images_2", [f"image{i:03d}.png" for i in range(4)], 32, 24)
    half = open_scene(tmp_path, max_size=32)
    assert [view.name for view in half.views] == [f"image{i:03d}.png" for i in range(4)]
    camera = half.views[0].camera
    assert (camera.width, camera.fx, camera.cx, camera.cy) == (32, 30.0, 16.0, 12.0)
    assert half.views[0].load().rgb_srgb.shape == (24, 32, 3)
    assert not (tmp_path / ".fieldbench_cache").exists()
    assert open_scene(tmp_path).views[0].camera.width == 64


def test_colmap_pairs_renamed_copies_by_order_and_others_by_stem(tmp_path: Path) -> None:
    rig = orbit_rig(4, suffix=".jpg")
    write_colmap(tmp_path, rig, pictures=False)
    write_pictures(tmp_path / "images_4", [f"image{i:03d}.png" for i in range(4)], 16, 12)
    scene = open_scene(tmp_path)
    assert [view.name for view in scene.views] == list(rig.names)
    assert [int(view.load().rgb_srgb[0, 0, 0]) for view in scene.views] == [0, 10, 20, 30]
    write_pictures(tmp_path / "images_2", ["view_03.png", "view_02.png", "view_01.png", "view_00.png"], 32, 24)
    assert [int(view.load().rgb_srgb[0, 0, 0]) for view in open_scene(tmp_path).views] == [30, 20, 10, 0]


def test_colmap_names_in_subfolders_and_with_spaces(tmp_path: Path) -> None:
    rig = orbit_rig(4)
    names = ("left/1.png", "left/b 2.png", "right/1.png", "right/b 2.png")
    for text in (False, True):
        root = tmp_path / str(text)
        write_colmap(root, Rig(names, rig.poses), text=text)
        write_pictures(root / "masks", ["left/1.png.png", "left/b 2.png", "right/1.jpg"], 64, 48, "L")
        scene = open_scene(root)
        assert tuple(view.name for view in scene.views) == names
        assert [view.load().mask is not None for view in scene.views] == [True, True, True, False]


def test_undistorted_workspace_uses_its_own_pictures(tmp_path: Path) -> None:
    rig = orbit_rig(4)
    write_pictures(tmp_path / "images", rig.names, 80, 60)
    write_colmap(tmp_path, rig, model_folder="dense/sparse", pictures=False)
    write_pictures(tmp_path / "dense" / "images", rig.names, 64, 48)
    assert open_scene(tmp_path).views[0].camera.width == 64


def test_large_photographs_are_reduced_with_their_intrinsics(tmp_path: Path) -> None:
    rig = orbit_rig(3)
    write_nerfstudio(tmp_path, Rig(rig.names, rig.poses, 900.0, 1200, 900))
    default = open_scene(tmp_path).views[0]
    assert (default.camera.width, default.camera.height, default.camera.fx) == (800, 600, 600.0)
    assert default.load().rgb_srgb.shape == (600, 800, 3)
    whole = open_scene(tmp_path, max_size=2000).views[0]
    assert (whole.camera.width, whole.camera.fx) == (1200, 900.0)
    assert not list(tmp_path.glob("*.png"))


def test_nerfstudio_per_frame_lenses_times_and_distortion(tmp_path: Path) -> None:
    rig = orbit_rig(3)
    write_nerfstudio(tmp_path, rig, k1=0.1)
    content = json.loads((tmp_path / "transforms.json").read_text())
    content["frames"][1].update({"fl_x": 70.0, "fl_y": 71.0, "cx": 30.0, "cy": 25.0, "k1": 0.0, "time": 0.5})
    (tmp_path / "transforms.json").write_text(json.dumps(content))
    scene = open_scene(tmp_path)
    camera = scene.views[1].camera
    assert (camera.fx, camera.fy, camera.cx, camera.cy, camera.time) == (70.0, 71.0, 30.0, 25.0, 0.5)
    assert scene.views[0].camera.fx == 60.0
    assert scene.views[0].load().mask is not None  # undistorted, its corners fall outside
    assert scene.views[1].load().mask is None


@pytest.mark.parametrize(
    "top",
    [
        {"camera_model": "OPENCV_FISHEYE", "k1": 0.05},
        {"is_fisheye": True, "k1": 0.05},
        {"camera_model": "FISHEYE"},
    ],
)
def test_fisheyes_are_undistorted(tmp_path: Path, top: dict) -> None:
    write_nerfstudio(tmp_path, orbit_rig(3), **top)
    view = open_scene(tmp_path).views[0]
    with Image.open(tmp_path / "images" / "view_00.png") as picture:
        stored = np.asarray(picture)
    assert not np.array_equal(view.load().rgb_srgb.numpy(), stored)
    assert view.camera.fx == 60.0


@pytest.mark.parametrize(
    ("top", "message"),
    [
        ({"camera_model": "EQUIRECTANGULAR"}, "EQUIRECTANGULAR.*undistort"),
        ({"orthographic": True}, "orthographic"),
        ({"rolling_shutter": [0, 0, 0.03, 0]}, "rolling_shutter"),
        ({"k4": 0.1}, "k4 = 0.1"),
        ({"fl_x": None}, "fl_x must be a finite number"),
        ({"fl_x": float("nan")}, "fl_x must be a finite number"),
        ({"w": 48, "h": 100}, "picture is 64x48 but its intrinsics are for 48x100"),
    ],
)
def test_cameras_that_are_not_read_name_file_and_frame(tmp_path: Path, top: dict, message: str) -> None:
    write_nerfstudio(tmp_path, orbit_rig(3), **top)
    with pytest.raises(ValueError, match=message) as failure:
        open_scene(tmp_path)
    assert "view_00.png" in str(failure.value)


def test_harmless_keys_of_instant_ngp_are_let_pass(tmp_path: Path) -> None:
    write_nerfstudio(tmp_path, orbit_rig(3), rolling_shutter=[0, 0, 0, 0], aabb_scale=4, is_fisheye=False)
    assert len(open_scene(tmp_path).views) == 3


def test_paths_from_elsewhere_and_without_suffix(tmp_path: Path) -> None:
    rig = orbit_rig(3)
    write_nerfstudio(tmp_path, rig, frames=frames(rig, "/somewhere/else/images", keep_suffix=False))
    assert len(open_scene(tmp_path).views) == 3
    write_nerfstudio(tmp_path, rig, frames=frames(rig, ".\\images"))
    assert [view.name for view in open_scene(tmp_path).views] == [f"images/{name}" for name in rig.names]


def test_masks_that_frames_name(tmp_path: Path) -> None:
    rig = orbit_rig(3)
    listed = [dict(frame, mask_path=f"cut/{i}.png") for i, frame in enumerate(frames(rig, "images"))]
    write_nerfstudio(tmp_path, rig, frames=listed)
    write_pictures(tmp_path / "cut", ["0.png", "1.png", "2.png"], 64, 48, "L")
    mask = open_scene(tmp_path).views[2].load().mask
    with Image.open(tmp_path / "cut" / "2.png") as picture:
        assert mask is not None and np.array_equal(mask.numpy(), np.asarray(picture))
    (tmp_path / "cut" / "1.png").unlink()
    with pytest.raises(ValueError, match=r"view_01.*cut/1\.png.*restore"):
        open_scene(tmp_path)


def test_nerfstudio_split_lists(tmp_path: Path) -> None:
    rig = orbit_rig(4)
    names = [f"images/{name}" for name in rig.names]
    write_nerfstudio(tmp_path, rig, train_filenames=names[:2], val_filenames=names[2:3], test_filenames=names[3:])
    split = open_scene(tmp_path).split
    assert (split.train, split.val, split.test) == (tuple(names[:2]), tuple(names[2:3]), tuple(names[3:]))
    write_nerfstudio(tmp_path, rig, train_filenames=["images/none.png"])
    with pytest.raises(ValueError, match=r"train_filenames lists images/none\.png"):
        open_scene(tmp_path)


APPLIED = np.array([[0.0, 1.0, 0.0, 0.3], [1.0, 0.0, 0.0, -0.2], [0.0, 0.0, -1.0, 0.1]])


def write_ply(path: Path, xyz: np.ndarray) -> None:
    rows = "\n".join(f"{x!r} {y!r} {z!r} 9 99 {i}" for i, (x, y, z) in enumerate(xyz.tolist()))
    colours = "".join(f"property uchar {name}\n" for name in ("red", "green", "blue"))
    axes = "".join(f"property double {name}\n" for name in "xyz")
    path.write_text(f"ply\nformat ascii 1.0\nelement vertex {len(xyz)}\n{axes}{colours}end_header\n{rows}\n")


@pytest.mark.parametrize("source", ["ply in the file's world", "ply in the original world", "colmap model"])
def test_points_of_a_transforms_file(tmp_path: Path, source: str) -> None:
    """However the cloud got there, it ends up where the cameras look."""
    rig = orbit_rig(6)
    original = (CLOUD - APPLIED[:, 3]) @ APPLIED[:, :3]  # APPLIED takes these to CLOUD
    top: dict = {"applied_transform": APPLIED.tolist()}
    if source == "colmap model":
        write_colmap(tmp_path, rig, model_folder="colmap/sparse/0", points=original, pictures=False)
    else:
        top["ply_file_path"] = "cloud.ply"
        write_ply(tmp_path / "cloud.ply", original if "original" in source else CLOUD)
    write_nerfstudio(tmp_path, rig, **top)
    scene = open_scene(tmp_path)
    assert scene.points is not None
    back = torch.linalg.inv(scene.world_from_input.double())
    xyz = scene.points.xyz.double() @ back[:3, :3].T + back[:3, 3]
    assert np.allclose(xyz.numpy(), CLOUD, atol=1e-5)


def rotated_exif() -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = 6  # turn clockwise to see it upright
    return exif


@pytest.mark.parametrize("stated", ["upright", "as stored", "not at all"])
def test_exif_follows_the_size_that_intrinsics_are_for(tmp_path: Path, stated: str) -> None:
    rig = orbit_rig(3)
    write_nerfstudio(tmp_path, rig)
    pixels = np.arange(64 * 48 * 3, dtype=np.uint8).reshape(48, 64, 3)
    for name in rig.names:
        Image.fromarray(pixels).save(tmp_path / "images" / name, exif=rotated_exif())
    content = json.loads((tmp_path / "transforms.json").read_text())
    if stated == "upright":
        content.update(w=48, h=64, cx=24.0, cy=32.0)
    elif stated == "not at all":
        content = {"camera_angle_x": 0.8, "frames": content["frames"]}
    (tmp_path / "transforms.json").write_text(json.dumps(content))
    view = open_scene(tmp_path).views[0]
    expected = pixels if stated == "as stored" else np.rot90(pixels, -1)
    assert np.array_equal(view.load().rgb_srgb.numpy(), expected)
    assert (view.camera.height, view.camera.width) == expected.shape[:2]


def test_colmap_takes_half_turned_photographs_as_stored(tmp_path: Path) -> None:
    rig = orbit_rig(3)
    write_colmap(tmp_path, rig)
    exif = Image.Exif()
    exif[0x0112] = 3
    pixels = np.arange(64 * 48 * 3, dtype=np.uint8).reshape(48, 64, 3)
    Image.fromarray(pixels).save(tmp_path / "images" / rig.names[0], exif=exif)
    assert np.array_equal(open_scene(tmp_path).views[0].load().rgb_srgb.numpy(), pixels)


def test_poses_with_a_scaled_rotation_are_cleaned(tmp_path: Path) -> None:
    rig = orbit_rig(4)
    scaled = frames(rig, "images")
    for frame in scaled:
        matrix = np.array(frame["transform_matrix"])
        matrix[:3, :3] *= 2.5
        frame["transform_matrix"] = matrix[:3].tolist()
    write_nerfstudio(tmp_path, rig, frames=scaled)
    assert_sees_the_rig(open_scene(tmp_path), rig)
    mirrored = frames(rig, "images")
    mirrored[2]["transform_matrix"] = (rig.poses[2] @ GL_FROM_CV @ np.diag([1, 1, -1, 1])).tolist()
    write_nerfstudio(tmp_path, rig, frames=mirrored)
    with pytest.raises(ValueError, match=r"view_02.*mirrors"):
        open_scene(tmp_path)


def test_raw_photographs_beside_undistorted_ones_are_left_alone(tmp_path: Path) -> None:
    """The folders that the 3DGS preparation leaves: input/ has the same names at another size and shape."""
    rig = orbit_rig(4)
    write_colmap(tmp_path, rig)
    write_pictures(tmp_path / "input", rig.names, 1000, 700)
    assert open_scene(tmp_path).views[0].camera.width == 64


def test_photographs_in_input_alone(tmp_path: Path) -> None:
    rig = orbit_rig(4)
    write_colmap(tmp_path, rig, pictures=False)
    write_pictures(tmp_path / "input", rig.names, 64, 48)
    assert_sees_the_rig(open_scene(tmp_path), rig)
