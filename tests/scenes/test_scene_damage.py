"""Bad input: each kind gives one error that names the file and says what to do."""

import json
import struct
import warnings
from pathlib import Path

import numpy as np
import pytest
from capture_rig import (
    Rig,
    frames,
    orbit_rig,
    write_blender,
    write_colmap,
    write_llff,
    write_nerfstudio,
    write_pictures,
)

from scenes.load import open_scene
from scenes.scene import Split


def test_a_truncated_photograph_is_found_on_opening(tmp_path: Path) -> None:
    rig = orbit_rig(5, suffix=".jpg")
    write_colmap(tmp_path, rig)
    path = tmp_path / "images" / "view_02.jpg"
    path.write_bytes(path.read_bytes()[:700])
    with pytest.raises(ValueError, match=r"view_02\.jpg.*cannot be decoded.*export it again"):
        open_scene(tmp_path)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_nan_pose_in_transforms(tmp_path: Path, value: float) -> None:
    rig = orbit_rig(4)
    listed = frames(rig, "images")
    listed[2]["transform_matrix"][1][3] = value
    write_nerfstudio(tmp_path, rig, frames=listed)
    with pytest.raises(ValueError, match=r"transforms\.json: frame images/view_02\.png.*NaN or infinity"):
        open_scene(tmp_path)


def test_nan_pose_in_llff_and_colmap(tmp_path: Path) -> None:
    rig = orbit_rig(4)
    (tmp_path / "llff").mkdir()
    write_llff(tmp_path / "llff", rig)
    rows = np.load(tmp_path / "llff" / "poses_bounds.npy")
    rows[1, 3] = np.nan
    np.save(tmp_path / "llff" / "poses_bounds.npy", rows)
    with pytest.raises(ValueError, match=r"poses_bounds\.npy: row 1 \(view_01\.png\).*NaN"):
        open_scene(tmp_path / "llff")
    write_colmap(tmp_path / "colmap", rig)
    images = tmp_path / "colmap" / "sparse" / "0" / "images.bin"
    data = bytearray(images.read_bytes())
    data[12:20] = struct.pack("<d", np.nan)  # qw of the first image in the file, which is the last by name
    images.write_bytes(data)
    with pytest.raises(ValueError, match=r"images\.bin: image view_03\.png.*NaN"):
        open_scene(tmp_path / "colmap")


def test_two_images_of_one_name(tmp_path: Path) -> None:
    rig = orbit_rig(4)
    twice = Rig(("a.png", "b.png", "a.png", "c.png"), rig.poses)
    for text in (False, True):
        write_colmap(tmp_path / f"colmap{text}", twice, text=text)
        with pytest.raises(ValueError, match=r"images\.(bin|txt): 1 image names occur more than once: a\.png"):
            open_scene(tmp_path / f"colmap{text}")
    (tmp_path / "json").mkdir()
    write_nerfstudio(tmp_path / "json", twice)
    with pytest.raises(ValueError, match=r"transforms\.json.*more than once: images/a\.png"):
        open_scene(tmp_path / "json")


def test_two_frames_that_lead_to_one_file(tmp_path: Path) -> None:
    rig = orbit_rig(3)
    listed = frames(rig, "images")
    listed[1]["file_path"] = "other/images/view_00.png"
    write_nerfstudio(tmp_path, rig, frames=listed)
    with pytest.raises(ValueError, match=r"more than once: .*view_00\.png"):
        open_scene(tmp_path)


def test_missing_pictures_are_listed_once_and_the_rest_is_used(tmp_path: Path) -> None:
    rig = orbit_rig(8)
    write_nerfstudio(tmp_path, rig)
    for i in (1, 4, 6, 7):
        (tmp_path / "images" / rig.names[i]).unlink()
    with pytest.warns(UserWarning, match="pictures do not exist") as caught:
        scene = open_scene(tmp_path)
    (message,) = [str(warning.message) for warning in caught]
    assert "4 of its 8" in message and all(rig.names[i] in message for i in (1, 4, 6, 7))
    assert len(scene.views) == 4
    (tmp_path / "images" / rig.names[0]).unlink()
    with pytest.raises(ValueError, match=r"5 of its 8 .* Fewer than half are left"):
        open_scene(tmp_path)


def test_colmap_without_points_opens_with_a_warning(tmp_path: Path) -> None:
    model = write_colmap(tmp_path, orbit_rig(4), points=np.zeros((0, 3)))
    with pytest.warns(UserWarning, match=r"points3D\.bin: the model has no points"):
        assert open_scene(tmp_path).points is None
    (model / "points3D.bin").unlink()
    with pytest.warns(UserWarning, match=r"no points3D\.bin or \.txt"):
        assert open_scene(tmp_path).points is None


def test_colmap_points_that_are_nan_are_left_out(tmp_path: Path) -> None:
    cloud = np.random.default_rng(0).normal(0, 1, (20, 3))
    cloud[3, 1] = np.nan
    write_colmap(tmp_path, orbit_rig(4), points=cloud)
    with pytest.warns(UserWarning, match="1 of 20 points are NaN"):
        points = open_scene(tmp_path).points
    assert points is not None and len(points.xyz) == 19


def test_colmap_without_images(tmp_path: Path) -> None:
    model = write_colmap(tmp_path, orbit_rig(4))
    (model / "images.bin").write_bytes(struct.pack("<Q", 0))
    with pytest.raises(ValueError, match=r"images\.bin.*no registered images"):
        open_scene(tmp_path)
    (model / "images.bin").unlink()
    with pytest.raises(ValueError, match="incomplete COLMAP model"):
        open_scene(tmp_path)


@pytest.mark.parametrize("name", ["cameras.bin", "images.bin", "points3D.bin"])
def test_colmap_files_cut_anywhere_are_an_error(tmp_path: Path, name: str) -> None:
    """Every prefix of the file; none may give a scene, hang or allocate what its counts claim."""
    model = write_colmap(tmp_path, orbit_rig(2), points=np.random.default_rng(0).normal(0, 1, (3, 3)))
    whole = (model / name).read_bytes()
    for end in range(0, len(whole), 7):
        (model / name).write_bytes(whole[:end])
        with pytest.raises(ValueError, match=rf"{name}.*damaged or cut short"):
            open_scene(tmp_path)


@pytest.mark.parametrize("name", ["cameras.bin", "images.bin", "points3D.bin"])
def test_colmap_counts_too_large_for_the_file(tmp_path: Path, name: str) -> None:
    model = write_colmap(tmp_path, orbit_rig(2), points=np.zeros((3, 3)))
    whole = (model / name).read_bytes()
    for count in (10**6, 2**40, 2**64 - 1):
        (model / name).write_bytes(struct.pack("<Q", count) + whole[8:])
        with pytest.raises(ValueError, match=rf"{name}: it claims {count} entries"):
            open_scene(tmp_path)


def test_colmap_track_longer_than_the_file(tmp_path: Path) -> None:
    model = write_colmap(tmp_path, orbit_rig(2), points=np.zeros((2, 3)))
    data = bytearray((model / "points3D.bin").read_bytes())
    data[8 + 43 : 8 + 51] = struct.pack("<Q", 2**61)
    (model / "points3D.bin").write_bytes(data)
    with pytest.raises(ValueError, match=r"points3D\.bin: it ends within point 1"):
        open_scene(tmp_path)


def test_colmap_camera_model_that_is_not_read(tmp_path: Path) -> None:
    write_colmap(tmp_path / "bin", orbit_rig(2), camera=(15, "", (1.0, 2.0, 3.0)))
    with pytest.raises(ValueError, match=r"cameras\.bin: camera 5 has model number 15.*image_undistorter"):
        open_scene(tmp_path / "bin")
    write_colmap(tmp_path / "txt", orbit_rig(2), text=True, camera=(15, "FISHEYE", (1.0, 2.0, 3.0)))
    with pytest.raises(ValueError, match=r"cameras\.txt: camera 5.*FISHEYE.*image_undistorter"):
        open_scene(tmp_path / "txt")


def test_colmap_image_of_an_unknown_camera(tmp_path: Path) -> None:
    model = write_colmap(tmp_path, orbit_rig(2), text=True)
    (model / "cameras.txt").write_text("6 PINHOLE 64 48 60 60 32 24\n")
    with pytest.raises(ValueError, match=r"image view_00\.png refers to camera 5"):
        open_scene(tmp_path)


@pytest.mark.parametrize(("name", "line"), [("cameras", "1 PINHOLE wide"), ("images", "1 0 0"), ("points3D", "1 2")])
def test_colmap_text_lines_that_make_no_sense(tmp_path: Path, name: str, line: str) -> None:
    model = write_colmap(tmp_path, orbit_rig(2), text=True, points=np.zeros((2, 3)))
    path = model / f"{name}.txt"
    path.write_text(line + "\n" + path.read_text())
    with pytest.raises(ValueError, match=rf"{name}\.txt: line 1 is no"):
        open_scene(tmp_path)


def test_a_scene_of_one_view(tmp_path: Path) -> None:
    write_nerfstudio(tmp_path, orbit_rig(1))
    with pytest.raises(ValueError, match=r"1 view; a scene needs at least 2"):
        open_scene(tmp_path)


def test_no_scene_folder_names_the_nearest(tmp_path: Path) -> None:
    (tmp_path / "garden").mkdir()
    with pytest.raises(FileNotFoundError, match=r"gardn: no such scene folder; nearest in .*: garden"):
        open_scene(tmp_path / "gardn")


def test_a_folder_of_photographs_alone_says_what_was_looked_for(tmp_path: Path) -> None:
    write_pictures(tmp_path / "images", ["a.png", "b.png"], 8, 6)
    with pytest.raises(ValueError, match=r"transforms\.json.*sparse/0.*poses_bounds\.npy.*fieldbench prepare"):
        open_scene(tmp_path)


def test_a_folder_of_scenes_names_them(tmp_path: Path) -> None:
    (tmp_path / "lego").mkdir()
    write_blender(tmp_path / "lego", orbit_rig(2))
    with pytest.raises(ValueError, match="subfolders: lego"):
        open_scene(tmp_path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "not valid JSON"),
        ("[]", "expected a JSON object"),
        ("{}", "no 'frames'"),
        ('{"frames": [{"transform_matrix": []}]}', "frame 0 has no file_path"),
        (
            '{"fl_x": 1, "frames": [{"file_path": "images/a.png"}]}',
            "a.png.*pose must be|a.png.*transform_matrix",
        ),
        ('{"frames": [{"file_path": "images/a.png"}]}', "no focal length"),
    ],
)
def test_transforms_that_are_not_one(tmp_path: Path, content: str, message: str) -> None:
    write_pictures(tmp_path / "images", ["a.png"], 8, 6)
    (tmp_path / "transforms.json").write_text(content)
    with pytest.raises(ValueError, match=rf"transforms\.json.*({message})"):
        open_scene(tmp_path)


@pytest.mark.parametrize("array", [np.zeros((3, 16)), np.zeros(17), np.array([["a"] * 17])])
def test_poses_bounds_that_are_none(tmp_path: Path, array: np.ndarray) -> None:
    np.save(tmp_path / "poses_bounds.npy", array)
    with pytest.raises(ValueError, match=r"poses_bounds\.npy: expected an array of numbers \[N, 17\]"):
        open_scene(tmp_path)


def test_poses_bounds_never_unpickles(tmp_path: Path) -> None:
    np.save(tmp_path / "poses_bounds.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(ValueError, match=r"poses_bounds\.npy: no readable NumPy array"):
        open_scene(tmp_path)
    (tmp_path / "poses_bounds.npy").write_bytes(b"")
    with pytest.raises(ValueError, match=r"poses_bounds\.npy: no readable NumPy array"):
        open_scene(tmp_path)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"solid", "no PLY header"),
        (
            b"ply\nformat binary_little_endian 1.0\nelement vertex 9\nproperty float x\nend_header\n",
            "cut short",
        ),
        (b"ply\nformat ascii 1.0\nelement vertex 1\nproperty float x\nend_header\n1.0\n", "no y, z"),
    ],
)
def test_a_corrupt_point_cloud(tmp_path: Path, data: bytes, message: str) -> None:
    write_nerfstudio(tmp_path, orbit_rig(3), ply_file_path="cloud.ply")
    (tmp_path / "cloud.ply").write_bytes(data)
    with pytest.raises(ValueError, match=rf"cloud\.ply.*{message}"):
        open_scene(tmp_path)
    (tmp_path / "cloud.ply").unlink()
    with pytest.warns(UserWarning, match=r"cloud\.ply.*missing"):
        assert open_scene(tmp_path).points is None


def test_a_blender_scene_without_its_test_pictures_holds_out_others(tmp_path: Path) -> None:
    rig = orbit_rig(9)
    write_blender(tmp_path, rig)
    for name in rig.names:
        (tmp_path / "test" / name).unlink()
    with pytest.warns(UserWarning) as caught:
        split = open_scene(tmp_path).split
    assert len(caught) == 2 and "held out instead" in str(caught[1].message)
    assert split.test == ("train/view_00", "train/view_08") and not set(split.train) & set(split.test)


def test_one_picture_in_two_parts_with_unlike_poses(tmp_path: Path) -> None:
    rig = orbit_rig(3)
    write_blender(tmp_path, rig)
    content = json.loads((tmp_path / "transforms_train.json").read_text())
    (tmp_path / "transforms_test.json").write_text(json.dumps(content))
    with pytest.warns(UserWarning, match="3 of 3 test views are also training views"):
        open_scene(tmp_path)
    content["frames"][1]["transform_matrix"][0][3] += 0.5
    (tmp_path / "transforms_test.json").write_text(json.dumps(content))
    with pytest.raises(ValueError, match=r"transforms_test\.json: train/view_01 has another pose"):
        open_scene(tmp_path)


def test_a_split_of_unknown_views_names_the_nearest(tmp_path: Path) -> None:
    write_nerfstudio(tmp_path, orbit_rig(4))
    wanted = Split(("images/view_01.png",), (), ("images/veiw_02.png",))
    with pytest.raises(ValueError, match=r"'images/veiw_02\.png' \(nearest: images/view_02\.png"):
        open_scene(tmp_path, split=wanted)


def test_sizes_and_budgets_that_make_no_sense(tmp_path: Path) -> None:
    write_nerfstudio(tmp_path, orbit_rig(2))
    with pytest.raises(ValueError, match="max_size: expected at least 16"):
        open_scene(tmp_path, max_size=0)
    with pytest.raises(ValueError, match="memory_budget"):
        open_scene(tmp_path, memory_budget=-1)


def test_a_good_scene_opens_without_a_word(tmp_path: Path) -> None:
    write_nerfstudio(tmp_path, orbit_rig(9))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        open_scene(tmp_path)


def test_two_pictures_that_a_name_without_suffix_may_mean(tmp_path: Path) -> None:
    rig = orbit_rig(3)
    (tmp_path / "blender").mkdir()
    write_blender(tmp_path / "blender", rig)
    write_pictures(tmp_path / "blender" / "train", ["view_01.jpg"], 64, 48)
    with pytest.raises(ValueError, match=r"'train/view_01' may mean view_01\.png or view_01\.jpg"):
        open_scene(tmp_path / "blender")
    write_colmap(tmp_path / "colmap", Rig(("view_00.tif", "view_01.tif", "view_02.tif"), rig.poses), pictures=False)
    write_pictures(tmp_path / "colmap" / "images", [*rig.names, "view_01.jpg"], 64, 48)
    with pytest.raises(ValueError, match=r"'view_01\.tif' may mean view_01\.jpg or view_01\.png"):
        open_scene(tmp_path / "colmap")
    (tmp_path / "llff").mkdir()
    write_llff(tmp_path / "llff", Rig(("a.jpg", "a.png", "b.png"), rig.poses))
    with pytest.raises(ValueError, match=r"poses_bounds\.npy.*more than once: .*/a"):
        open_scene(tmp_path / "llff")


def test_a_file_in_place_of_the_folder(tmp_path: Path) -> None:
    write_nerfstudio(tmp_path, orbit_rig(2))
    with pytest.raises(NotADirectoryError, match=r"transforms\.json: a file, expected the scene's folder"):
        open_scene(tmp_path / "transforms.json")
