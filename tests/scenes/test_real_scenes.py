"""The real captures of the shared test data, where at hand: counts, sizes, points over their pictures."""

import warnings
from pathlib import Path

import numpy as np
import pytest
import torch

from render.camera import project_points
from scenes.load import open_scene
from scenes.scene import Scene

DATA = Path(__file__).parents[2] / "../shared/data"
pytestmark = pytest.mark.skipif(not DATA.is_dir(), reason="the shared test data is not on this machine")

# folder: views, train, test, width, height, points
FACTS = {
    "blender_lego_400": (125, 100, 25, 400, 400, None),
    "blender_chair_400": (125, 100, 25, 400, 400, None),
    "fox": (50, 43, 7, 450, 800, None),
    "colmap_bust": (23, 20, 3, 800, 526, 1443),
    "llff_fern": (20, 17, 3, 800, 600, 10091),
    "nerd_ethiopian_head_800": (66, 57, 9, 800, 800, None),
}


def open_quietly(name: str, cache: Path) -> Scene:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return open_scene(DATA / name, cache_dir=cache)


@pytest.mark.parametrize("name", FACTS)
def test_scene_opens_without_flags(tmp_path: Path, name: str) -> None:
    scene = open_quietly(name, tmp_path)
    camera = scene.views[0].camera
    found = (
        *(len(scene.views), len(scene.split.train), len(scene.split.test), camera.width, camera.height),
        None if scene.points is None else len(scene.points.xyz),
    )
    assert found == FACTS[name]
    assert scene.views[0].load().rgb_srgb.shape == (camera.height, camera.width, 3)


@pytest.mark.parametrize("name", ["colmap_bust", "llff_fern"])
def test_points_have_the_colours_of_the_pixels_they_fall_on(tmp_path: Path, name: str) -> None:
    """Twice as near as those of the mirrored picture: poses, axes, intrinsics and points belong together."""
    scene = open_quietly(name, tmp_path)
    assert scene.points is not None
    right, mirrored = [], []
    for view in scene.views[:5]:
        pixel, depth = project_points(view.camera, scene.points.xyz)
        column, row = pixel[:, 0].long(), pixel[:, 1].long()
        inside = (depth > 0) & (column >= 0) & (row >= 0)
        inside &= (column < view.camera.width) & (row < view.camera.height)
        picture = view.load().rgb_srgb.float() / 255
        for shown, errors in ((picture, right), (picture.flip(1), mirrored)):
            difference = shown[row[inside], column[inside]] - scene.points.rgb_srgb[inside]
            errors.append(float(difference.abs().median()))
    assert np.mean(right) < 0.5 * np.mean(mirrored)


def test_fox_names_its_missing_pictures_once(tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match="17 of its 67 pictures") as caught:
        open_scene(DATA / "fox", cache_dir=tmp_path)
    assert len(caught) == 1


def test_the_head_is_cut_out_by_its_masks(tmp_path: Path) -> None:
    scene = open_quietly("nerd_ethiopian_head_800", tmp_path)
    mask = scene.views[0].load().alpha
    assert mask is not None and 0.2 < float(mask.float().mean()) / 255 < 0.5
    assert torch.equal(scene.bounds[0], -scene.bounds[1]) and float(scene.bounds[1, 0]) < 0.4
