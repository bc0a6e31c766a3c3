"""The doctor: every check fires on a scene made bad in one way, and is silent on the good one and on real scenes."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from render.camera import look_at
from scenes.doctor import Finding, examine, examine_folder
from scenes.scene import Pixels, PointCloud, Scene, Split, View
from scenes.synthetic import DemoConfig, demo_scene
from tests.scenes.findings import not_ok, one, only

DATA = Path(__file__).parents[2] / "../shared/data"
FLIP = torch.diag(torch.tensor([1.0, -1.0, -1.0, 1.0]))


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Scene:
    config = DemoConfig(views=21, test_views=3, width=96, height=72, supersampling=2, points=1500)
    return demo_scene(config, cache=tmp_path_factory.mktemp("demo"))


def moved(scene: Scene, change: Callable[[Tensor], Tensor], points: bool = True) -> Scene:
    """Every pose changed."""
    views = tuple(replace(v, camera=v.camera.moved(change(v.camera.world_from_camera))) for v in scene.views)
    return replace(scene, views=views, points=scene.points if points else None)


def developed(scene: Scene, change: Callable[[int, Pixels], Pixels]) -> Scene:
    """Every picture changed."""

    def loader(index: int, view: View) -> Callable[[], Pixels]:
        return lambda: change(index, view.load())

    return replace(scene, views=tuple(replace(v, load=loader(i, v)) for i, v in enumerate(scene.views)))


def test_the_good_scene_is_well(good: Scene) -> None:
    assert not_ok(examine(good)) == []
    assert {f.subject for f in examine(good)} == {"split", "lenses", "cameras", "poses", "copies", "pictures", "masks"}
    assert not_ok(examine(replace(good, points=None))) == []


@pytest.mark.parametrize(
    "name",
    ["fox", "llff_fern", "colmap_bust", "blender_lego_400", "blender_chair_400", "nerd_ethiopian_head_800"],
)
@pytest.mark.skipif(not DATA.is_dir(), reason="the shared test data is not on this machine")
def test_real_scenes_raise_no_false_alarm(name: str) -> None:
    scene, found = examine_folder((DATA / name).resolve(), max_size=200)
    assert scene is not None
    assert [f.subject for f in not_ok(found)] == (["missing"] if name == "fox" else [])


@pytest.mark.parametrize("name", ["llff_fern", "colmap_bust", "blender_lego_400", "fox", "nerd_ethiopian_head_800"])
@pytest.mark.skipif(not DATA.is_dir(), reason="the shared test data is not on this machine")
def test_real_scenes_with_flipped_axes_are_found(name: str) -> None:
    scene, _ = examine_folder((DATA / name).resolve(), max_size=200)
    assert scene is not None
    found = [f for f in examine(moved(scene, lambda pose: pose @ FLIP)) if f.subject == "poses"]
    # of COLMAP-like worlds without points nothing says which way is up, so that cameras might look outward
    assert found[0].level == ("warning" if name == "nerd_ethiopian_head_800" else "problem")
    assert "diag(1, -1, -1, 1)" in str(found[0])


# --- poses ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("points", [True, False])
def test_flipped_axes(good: Scene, points: bool) -> None:
    found = examine(moved(good, lambda pose: pose @ FLIP, points))
    one(found, "problem", "poses", "multiply every camera-to-world matrix by diag(1, -1, -1, 1)")


@pytest.mark.parametrize("points", [True, False])
@pytest.mark.parametrize("opengl", [True, False])
def test_inverted_matrices(good: Scene, points: bool, opengl: bool) -> None:
    """camera-from-world of OpenCV as COLMAP's files have it, or read through the axes of transforms.json."""
    turn = FLIP if opengl else torch.eye(4)
    found = examine(moved(good, lambda pose: torch.linalg.inv(pose) @ turn, points))
    one(found, "problem", "poses", "invert every matrix")


def test_pictures_of_other_poses(good: Scene) -> None:
    loads = [view.load for view in good.views]
    views = tuple(replace(v, load=loads[(i + 5) % len(loads)]) for i, v in enumerate(good.views))
    one(examine(replace(good, views=views)), "warning", "poses", "in the same order")


def test_pictures_upside_down(good: Scene) -> None:
    def turn(_: int, pixels: Pixels) -> Pixels:
        assert pixels.alpha is not None
        return Pixels(pixels.rgb_srgb.flip(0, 1), pixels.alpha.flip(0, 1))

    one(examine(developed(good, turn)), "problem", "poses", "turned upside down")


def test_points_elsewhere(good: Scene) -> None:
    assert good.points is not None
    away = PointCloud(good.points.xyz + 100, torch.full_like(good.points.xyz, 0.5))
    one(examine(replace(good, points=away)), "warning", "poses", "in the same coordinates")


def test_points_without_colours_are_no_alarm(good: Scene) -> None:
    assert good.points is not None
    grey = PointCloud(good.points.xyz, torch.full_like(good.points.xyz, 0.5))
    found = examine(replace(good, points=grey))
    assert not [f for f in not_ok(found) if f.subject == "poses"]
    one(examine(moved(replace(good, points=grey), lambda pose: pose @ FLIP)), "problem", "poses", "diag(1, -1, -1, 1)")


def outward(good: Scene, points: bool) -> Scene:
    """A room photographed from its middle: cameras on a small circle, looking away from it, upright."""
    views = []
    for index, view in enumerate(good.views):
        angle = torch.tensor(2 * torch.pi * index / len(good.views))
        ahead = torch.stack([angle.cos(), angle.sin(), torch.tensor(0.0)])
        pose = look_at(0.3 * ahead, 2 * ahead, torch.tensor([0.0, 0.0, 1.0]))
        views.append(replace(view, camera=view.camera.moved(pose)))
    directions = torch.nn.functional.normalize(torch.randn(2000, 3, generator=torch.Generator().manual_seed(0)), dim=1)
    cloud = PointCloud(3 * directions, torch.full((2000, 3), 0.5)) if points else None
    return replace(good, views=tuple(views), points=cloud)


@pytest.mark.parametrize("points", [True, False])
def test_a_room_from_its_middle_is_no_alarm(good: Scene, points: bool) -> None:
    found = examine(outward(good, points))
    assert not [f for f in not_ok(found) if f.subject in ("poses", "cameras")], found


# --- cameras -------------------------------------------------------------------------------------------------------


def with_camera(scene: Scene, count: int | None = None, **changes: float) -> Scene:
    views = [replace(v, camera=replace(v.camera, **changes)) for v in scene.views[:count]]
    return replace(scene, views=(*views, *scene.views[len(views) :]))


def test_lenses(good: Scene) -> None:
    one(examine(with_camera(good, fx=2.0, fy=2.0)), "warning", "lenses", "field of view outside 10° to 150°: 175°")
    first = good.views[0].camera
    one(examine(with_camera(good, 2, fy=1.2 * first.fx)), "warning", "lenses", "2 of 24 views have pixels")
    one(examine(with_camera(good, 1, cx=10.0)), "warning", "lenses", "cx and cy")


def test_cameras_at_one_place(good: Scene) -> None:
    def stay(pose: Tensor) -> Tensor:
        pose = pose.clone()
        pose[:3, 3] = torch.tensor([3.0, 0.0, 1.0])
        return pose

    one(examine(moved(good, stay, points=False)), "warning", "cameras", "at one place")

    def tremble(pose: Tensor) -> Tensor:
        pose = stay(pose)
        pose[:3, 3] += 1e-3 * pose[:3, 0]
        return pose

    one(examine(moved(good, tremble)), "warning", "cameras", "too little to tell depth")


def test_cameras_astray_and_upside_down(good: Scene) -> None:
    first = good.views[0]
    pose = first.camera.world_from_camera.clone()
    pose[:3, 3] *= 100
    away = replace(good, views=(replace(first, camera=first.camera.moved(pose)), *good.views[1:]))
    one(
        examine(away),
        "warning",
        "cameras",
        f"1 of 24 stand more than 10 times as far out as half of all ({first.name})",
    )
    pose = first.camera.world_from_camera @ torch.diag(torch.tensor([-1.0, -1.0, 1.0, 1.0]))
    turned = replace(good, views=(replace(first, camera=first.camera.moved(pose)), *good.views[1:]))
    one(examine(turned), "note", "cameras", "1 of 24 are upside down")


@pytest.mark.parametrize("points", [True, False])
def test_a_scene_nearer_than_the_near_plane(good: Scene, points: bool) -> None:
    def shrink(pose: Tensor) -> Tensor:
        pose = pose.clone()
        pose[:3, 3] *= 1e-3
        return pose

    assert good.points is not None
    cloud = PointCloud(good.points.xyz * 1e-3, good.points.rgb_srgb)
    tiny = replace(moved(good, shrink), bounds=good.bounds * 1e-3, points=cloud if points else None)
    one(examine(tiny), "warning", "cameras", "0.01")


def test_copies_and_leaks(good: Scene) -> None:
    copy = replace(good.views[1], name="z.png")
    more = replace(good, views=(*good.views, copy))
    only(
        examine(replace(more, split=replace(good.split, train=(*good.split.train, "z.png")))),
        "warning",
        "copies",
        "= z.png",
    )
    leak = replace(good.split, test=(*good.split.test, "z.png"))
    only(
        examine(replace(more, split=leak)),
        "warning",
        "split",
        "1 of 4 test views have the pose of a training view (z.png)",
    )
    later = replace(copy, camera=replace(copy.camera, time=1.0))
    assert not_ok(examine(replace(good, views=(*good.views, later)))) == []


def test_splits(good: Scene) -> None:
    names = [view.name for view in good.views]
    only(
        examine(replace(good, split=Split((*names[:20],), (), (names[0], *names[20:])))),
        "warning",
        "split",
        "trained on too",
    )
    only(examine(replace(good, split=Split((*names[:4],), (), (*names[4:],)))), "note", "split", "4 views to train on")
    only(examine(replace(good, split=Split((*names[1:],), (), (names[0],)))), "note", "split", "1 to score")
    one(examine(replace(good, split=Split((*names,), (), ()))), "problem", "split", "0 to score")


# --- pixels --------------------------------------------------------------------------------------------------------


def test_a_blurred_picture(good: Scene) -> None:
    def blur(index: int, pixels: Pixels) -> Pixels:
        if index != 3:
            return pixels
        planes = pixels.rgb_srgb.permute(2, 0, 1)[None].float()
        soft = torch.nn.functional.avg_pool2d(planes, 7, 1, 3, count_include_pad=False)
        return replace(pixels, rgb_srgb=soft[0].permute(1, 2, 0).to(torch.uint8))

    found = only(examine(developed(good, blur)), "warning", "pictures", "1 of 24 pictures have less than a tenth")
    assert good.views[3].name in found.text


def test_exposure(good: Scene) -> None:
    def expose(index: int, pixels: Pixels) -> Pixels:
        factor = {0: 8.0, 1: 0.3, 2: 0.0}.get(index, 1.0)
        return replace(pixels, rgb_srgb=(pixels.rgb_srgb * factor).clamp(0, 255).to(torch.uint8))

    found = examine(developed(good, expose))
    one(found, "note", "pictures", f"pure white over more than 25% ({good.views[0].name}")
    one(found, "note", "pictures", f"black over more than 50% ({good.views[2].name}")
    one(found, "note", "pictures", f"differ in brightness from the others: {good.views[2].name} by -")
    assert f"{good.views[1].name} by -" in " ".join(map(str, found))


def test_alpha_of_some_pictures(good: Scene) -> None:
    def some(index: int, pixels: Pixels) -> Pixels:
        return replace(pixels, alpha=None) if index < 2 else pixels

    one(examine(developed(good, some)), "warning", "pictures", "2 of 24 pictures have no transparency")

    def empty(index: int, pixels: Pixels) -> Pixels:
        assert pixels.alpha is not None
        return replace(pixels, alpha=pixels.alpha * 0) if index < 2 else pixels

    one(examine(developed(good, empty)), "warning", "pictures", "2 of 24 pictures are transparent all over")


def test_inverted_alpha_and_masks(good: Scene) -> None:
    def inverted(_: int, pixels: Pixels) -> Pixels:
        assert pixels.alpha is not None
        return replace(pixels, alpha=255 - pixels.alpha)

    one(examine(developed(good, inverted)), "warning", "masks", "alpha hide the middle of 24 of 24 pictures")

    def hide(_: int, pixels: Pixels) -> Pixels:
        assert pixels.alpha is not None
        return Pixels(pixels.rgb_srgb, None, 255 - pixels.alpha)

    one(examine(developed(good, hide)), "warning", "masks", "masks hide the middle of 24 of 24 pictures")

    def keep(_: int, pixels: Pixels) -> Pixels:
        return Pixels(pixels.rgb_srgb, None, pixels.alpha)

    assert not [f for f in not_ok(examine(developed(good, keep))) if f.subject == "masks"]


def blob(index: int, pixels: Pixels, inside: int) -> Tensor:
    """A disc at a place of its own in every picture, as of somebody who walks through."""
    height, width = pixels.rgb_srgb.shape[:2]
    x, y = np.random.default_rng(index).uniform(0.15, 0.85, 2) * [width, height]
    rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    disc = (rows - y) ** 2 + (columns - x) ** 2 < (0.2 * height) ** 2
    return torch.where(disc, inside, 255 - inside).to(torch.uint8)


def test_masks_of_what_is_to_be_ignored(good: Scene) -> None:
    def ignore(inside: int) -> list[Finding]:
        found = examine(developed(good, lambda i, p: Pixels(p.rgb_srgb, None, blob(i, p, inside))))
        return [finding for finding in not_ok(found) if finding.subject == "masks"]

    assert ignore(0) == []
    only(ignore(255), "warning", "masks", "keep only")
    cut_out = examine(developed(good, lambda i, p: Pixels(p.rgb_srgb, blob(i, p, 255))))
    one(cut_out, "warning", "masks", "cut out no common object")


def test_masks_that_hide_everything(good: Scene) -> None:
    def hide(index: int, pixels: Pixels) -> Pixels:
        return replace(pixels, mask=torch.full(pixels.rgb_srgb.shape[:2], 0 if index == 1 else 255, dtype=torch.uint8))

    one(
        examine(developed(good, hide)),
        "warning",
        "masks",
        f"1 of 24 masks hide their whole picture ({good.views[1].name})",
    )


def test_a_picture_that_cannot_be_loaded(good: Scene) -> None:
    def broken(index: int, pixels: Pixels) -> Pixels:
        if index == 2:
            raise ValueError("photo.png: the picture cannot be decoded")
        return pixels

    only(examine(developed(good, broken)), "problem", "pictures", "photo.png: the picture cannot be decoded")
