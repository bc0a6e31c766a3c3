"""Batches of rays: the cameras' own rays, what was seen along them, and nothing but seed and step to decide."""

from dataclasses import replace

import pytest
import torch

from render.camera import Camera, camera_rays, look_at
from scenes.ray_batches import RayPool, ray_batches
from scenes.scene import Pixels, Scene, Split, View

COUNT = 400


def camera(index: int) -> Camera:
    """Cameras of different sizes, lenses and poses, none with its principal point in the middle."""
    eye = torch.tensor([2.0 + index, 1.0 - index, 0.5])
    pose = look_at(eye, torch.tensor([0.1, 0.2, 0.0]), torch.tensor([0.0, 0.0, 1.0]))
    return Camera(pose, 7.0 + index, 6.0, 2.2, 3.1, 5 + index, 6 - index)


def pixels(index: int, alpha: bool, mask: bool) -> Pixels:
    """All pixels of a view differ."""
    lens = camera(index)
    generator = torch.Generator().manual_seed(index)
    planes = torch.randint(0, 256, (5, lens.height, lens.width), generator=generator, dtype=torch.uint8)
    return Pixels(planes[:3].permute(1, 2, 0).contiguous(), planes[3] if alpha else None, planes[4] if mask else None)


def make_scene(background="black", *, alpha=False, mask=False) -> Scene:
    """Four views, of which 0 is held out."""
    views = tuple(View(f"{i}", camera(i), lambda i=i: pixels(i, alpha, mask)) for i in range(4))
    split = Split(("3", "1", "2"), ("0",), ("0",))
    return Scene("s", "", views, split, torch.eye(4), torch.zeros(2, 3), background=background)


def chosen_pixels(scene, batch):
    """(row, column) of each ray, found by projecting its direction into its view's camera."""
    rows, columns = [], []
    for direction, view in zip(batch.directions, batch.view.tolist(), strict=True):
        lens = scene.view(scene.split.train[view]).camera
        local = lens.world_from_camera[:3, :3].T @ direction
        columns.append(round(float(local[0] / local[2] * lens.fx + lens.cx) - 0.5))
        rows.append(round(float(local[1] / local[2] * lens.fy + lens.cy) - 0.5))
    return rows, columns


@pytest.mark.parametrize("alpha", [False, True])
def test_rays_are_those_of_the_cameras_and_colours_those_of_the_pixels(alpha):
    scene = make_scene("white", alpha=alpha, mask=True)
    batch = ray_batches(scene, seed=0, count=COUNT)(3)
    rays = [camera_rays(scene.view(name).camera) for name in scene.split.train]
    images = [scene.view(name).load() for name in scene.split.train]
    seen = set()
    for i, (row, column) in enumerate(zip(*chosen_pixels(scene, batch), strict=True)):
        view = int(batch.view[i])
        seen.add((view, row, column))
        torch.testing.assert_close(batch.origins[i], rays[view].origins[row, column])
        torch.testing.assert_close(batch.directions[i], rays[view].directions[row, column], rtol=0, atol=1e-6)
        torch.testing.assert_close(batch.radius[i], rays[view].radius[row, column])
        image = images[view]
        share = 1.0 if image.alpha is None else float(image.alpha[row, column]) / 255
        expected = image.rgb_srgb[row, column] / 255 * share + batch.background_srgb[i] * (1 - share)
        torch.testing.assert_close(batch.rgb_srgb[i], expected, rtol=0, atol=1e-6)
        assert float(batch.mask[i]) == pytest.approx(float(image.mask[row, column]) / 255)
    assert len(seen) > 0.9 * sum(lens.width * lens.height for lens in map(camera, (1, 2, 3)))
    assert {view for view, _, _ in seen} == {0, 1, 2}


def test_shapes_and_types():
    batch = ray_batches(make_scene(), seed=0, count=7)(0)
    for name in ("origins", "directions", "rgb_srgb", "background_srgb"):
        assert getattr(batch, name).shape == (7, 3) and getattr(batch, name).dtype == torch.float32
    assert batch.radius.shape == batch.mask.shape == batch.view.shape == (7,)
    assert batch.view.dtype == torch.int64 and bool((batch.mask == 1).all())
    torch.testing.assert_close(batch.directions.norm(dim=1), torch.ones(7))


def test_transparent_views_lie_on_a_background_of_each_ray():
    batch = ray_batches(make_scene("white", alpha=True), seed=0, count=3000)(0)
    assert len(batch.background_srgb.unique(dim=0)) == 3000
    torch.testing.assert_close(batch.background_srgb.mean(dim=0), torch.full((3,), 0.5), rtol=0, atol=0.03)


@pytest.mark.parametrize(("background", "grey"), [("white", 1.0), ("black", 0.0)])
def test_opaque_views_lie_on_the_scene_s_background(background, grey):
    batch = ray_batches(make_scene(background), seed=0, count=9)(0)
    assert bool((batch.background_srgb == grey).all())


def test_a_random_background_of_opaque_views_is_one_a_step():
    batches = ray_batches(make_scene("random"), seed=0, count=9)
    colours = [batches(step).background_srgb.unique(dim=0) for step in range(5)]
    assert {len(colour) for colour in colours} == {1} and len(torch.cat(colours).unique(dim=0)) == 5


def test_a_batch_is_a_function_of_seed_and_step():
    scene = make_scene("white", alpha=True, mask=True)
    forward = ray_batches(scene, seed=5, count=50)
    first = [forward(step) for step in range(6)]
    again = ray_batches(scene, seed=5, count=50)
    for step in (4, 1, 5, 1):
        for name, value in vars(again(step)).items():
            assert torch.equal(value, getattr(first[step], name)), name
    others = [first[1], ray_batches(scene, seed=6, count=50)(0)]
    assert not any(torch.equal(first[0].directions, other.directions) for other in others)
    assert not any(torch.equal(first[0].background_srgb, other.background_srgb) for other in others)


def test_views_are_decoded_once():
    loads = []

    def counting(view):
        return replace(view, load=lambda: loads.append(view.name) or view.load())

    scene = make_scene()
    scene = replace(scene, views=tuple(counting(view) for view in scene.views))
    batches = ray_batches(scene, seed=0, count=5)
    for step in range(4):
        batches(step)
    assert sorted(loads) == ["1", "2", "3"], "each training view once, none held out"


def test_transparent_and_opaque_views_together():
    """What has no alpha is opaque."""
    scene = make_scene("white", alpha=True)
    views = tuple(replace(v, load=lambda: pixels(2, False, False)) if v.name == "2" else v for v in scene.views)
    pool = RayPool([replace(scene, views=views).view(name) for name in scene.split.train])
    assert pool.transparent and bool((pool.alpha[int(pool.starts[2]) :] == 255).all())
    assert torch.equal(pool.alpha[: int(pool.starts[1])], pixels(3, True, False).alpha.flatten())


def test_a_scene_without_training_views():
    with pytest.raises(ValueError, match=r"scene 's': its split has no training views"):
        ray_batches(replace(make_scene(), split=Split((), (), ("0",))), seed=0, count=5)


def test_more_pixels_than_memory(monkeypatch):
    monkeypatch.setattr("scenes.ray_batches.MOST_BYTES", 5 * (6 * 5 + 7 * 4 + 8 * 3))
    ray_batches(make_scene(), seed=0, count=5)
    monkeypatch.setattr("scenes.ray_batches.MOST_BYTES", 5 * (6 * 5 + 7 * 4 + 8 * 3) - 1)
    with pytest.raises(MemoryError, match=r"training views: .* need up to 0\.0 GB .* by --max-size"):
        ray_batches(make_scene(), seed=0, count=5)
