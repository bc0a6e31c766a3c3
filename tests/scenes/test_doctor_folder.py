"""The doctor on folders: what lies on disk, and scenes that a reader refuses."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from scenes.doctor import examine_folder
from tests.scenes.capture_rig import (
    orbit_rig,
    write_blender,
    write_colmap,
    write_llff,
    write_nerfstudio,
    write_pictures,
)
from tests.scenes.findings import not_ok, one, only


def write_noise(root: Path) -> None:
    """A scene of noise, whose pictures and poses are sound."""
    write_nerfstudio(root, orbit_rig(24))


def test_a_sound_folder_in_every_format(tmp_path: Path) -> None:
    for write in (
        write_noise,
        lambda root: write_llff(root, orbit_rig(24)),
        lambda root: write_colmap(root, orbit_rig(24)),
    ):
        shutil.rmtree(tmp_path / "scene", ignore_errors=True)
        (tmp_path / "scene").mkdir()
        write(tmp_path / "scene")
        scene, found = examine_folder(tmp_path / "scene")
        assert scene is not None
        # noise has no colours that points could share
        assert [f for f in not_ok(found) if f.subject != "poses"] == []


def test_pictures_without_poses(tmp_path: Path) -> None:
    write_noise(tmp_path)
    write_pictures(tmp_path / "images", ["extra.png", "view_00_depth_0001.png", "view_01.normal.png"], 64, 48)
    only(
        examine_folder(tmp_path)[1],
        "note",
        "unposed",
        "1 of 25 pictures on disk have no pose and are not used (images/extra",
    )
    write_pictures(tmp_path / "images", [f"other/{i}.png" for i in range(5)], 64, 48)
    only(examine_folder(tmp_path)[1], "warning", "unposed", "6 of 30 pictures on disk have no pose")


def test_missing_pictures(tmp_path: Path) -> None:
    write_noise(tmp_path)
    (tmp_path / "images/view_03.png").unlink()
    only(
        examine_folder(tmp_path)[1],
        "warning",
        "missing",
        "1 of 24 pictures named in transforms.json do not exist (images/view_03",
    )


def test_too_many_missing_pictures_do_not_hide_the_rest(tmp_path: Path) -> None:
    write_noise(tmp_path)
    for index in range(14):
        (tmp_path / f"images/view_{index:02d}.png").unlink()
    write_pictures(tmp_path / "images", ["extra.png"], 64, 48)
    scene, found = examine_folder(tmp_path)
    assert scene is None
    one(found, "problem", "scene", "Fewer than half are left")
    one(found, "note", "unposed", "extra.png")


def test_copies_of_pictures(tmp_path: Path) -> None:
    write_noise(tmp_path)
    shutil.copy(tmp_path / "images/view_03.png", tmp_path / "images/view_04.png")
    only(
        examine_folder(tmp_path)[1], "warning", "copies", "2 pictures are copies of one another (images/view_03.png = "
    )
    shutil.copy(tmp_path / "images/view_00.png", tmp_path / "images/view_01.png")  # the first is a test view
    only(examine_folder(tmp_path)[1], "warning", "copies", "in train and test at once")


def test_mask_files(tmp_path: Path) -> None:
    write_noise(tmp_path)
    (tmp_path / "masks").mkdir()
    white = Image.fromarray(np.full((48, 64), 255, np.uint8))
    white.save(tmp_path / "masks/mask_of_0.png")
    only(examine_folder(tmp_path)[1], "warning", "masks", "name them as their pictures: view_00.png")
    white.save(tmp_path / "masks/view_00.png")
    only(examine_folder(tmp_path)[1], "note", "masks", "23 of 24 pictures have no mask")
    white.resize((30, 30)).save(tmp_path / "masks/view_00.png")
    one(examine_folder(tmp_path)[1], "problem", "pictures", "the mask is 30x30")
    shutil.move(tmp_path / "masks", tmp_path / "mask")
    only(examine_folder(tmp_path)[1], "note", "masks", "the folder mask is not looked at")


def test_a_larger_model_beside_the_one_that_is_read(tmp_path: Path) -> None:
    rig = orbit_rig(24)
    write_colmap(tmp_path, rig)
    write_colmap(tmp_path, replace(rig, names=rig.names[:3]), model_folder="sparse/1", pictures=False, text=True)
    one(examine_folder(tmp_path)[1], "note", "model", "COLMAP made 2 models of the pictures (views in 0: 24, 1: 3)")
    shutil.move(tmp_path / "sparse/0", tmp_path / "sparse/2")
    shutil.move(tmp_path / "sparse/1", tmp_path / "sparse/0")
    one(examine_folder(tmp_path)[1], "warning", "model", "put model 2 in the place of 0")


def test_warnings_of_readers(tmp_path: Path) -> None:
    write_colmap(tmp_path, orbit_rig(24), points=np.zeros((0, 3)))
    only(examine_folder(tmp_path)[1], "warning", "scene", "the model has no points")


def test_the_same_poses_in_train_and_test(tmp_path: Path) -> None:
    write_blender(tmp_path, orbit_rig(24), mode="RGB")
    one(examine_folder(tmp_path)[1], "warning", "split", "24 of 24 test views have the pose of a training view")


def break_json(root: Path) -> None:
    (root / "transforms.json").write_text("{")


def break_pose(root: Path) -> None:
    content = json.loads((root / "transforms.json").read_text())
    content["frames"][3]["transform_matrix"][0][0] = float("nan")
    (root / "transforms.json").write_text(json.dumps(content))


def cut_short(root: Path) -> None:
    picture = root / "images/view_05.png"
    picture.write_bytes(picture.read_bytes()[:500])


def crop(root: Path) -> None:
    write_pictures(root / "images", ["view_05.png"], 40, 48)


def remove_cameras(root: Path) -> None:
    (root / "transforms.json").unlink()


@pytest.mark.parametrize(
    ("damage", "text"),
    [
        (break_json, "transforms.json: not valid JSON"),
        (break_pose, "frame images/view_03.png: the pose contains NaN"),
        (cut_short, "images/view_05.png: the picture cannot be decoded"),
        (crop, "the picture is 40x48 but its intrinsics are for 64x48"),
        (remove_cameras, "fieldbench prepare"),
    ],
)
def test_what_a_reader_refuses_is_a_problem_and_pictures_are_still_checked(tmp_path: Path, damage, text: str) -> None:
    write_noise(tmp_path)
    damage(tmp_path)
    scene, found = examine_folder(tmp_path)
    assert scene is None
    one(found, "problem", "scene", text)
    assert any(f.subject == "files" for f in found)
    told = " ".join(map(str, found)).replace(f"fieldbench prepare {tmp_path}", "")  # a command to copy
    assert str(tmp_path) not in told


def test_folders_that_are_none(tmp_path: Path) -> None:
    one(examine_folder(tmp_path)[1], "problem", "scene", "no scene found")
    one(examine_folder(tmp_path / "nowhere")[1], "problem", "scene", "no such scene folder")
    (tmp_path / "file").write_text("x")
    one(examine_folder(tmp_path / "file")[1], "problem", "scene", "expected the scene's folder")
