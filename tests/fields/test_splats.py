"""The splat model: it learns held-out views, obeys its budget, and renders what its checkpoint says."""

import math
from dataclasses import replace

import pytest
import torch

from fields.config import SplatsConfig
from fields.splat_init import inside_hull, neighbour_distance
from fields.splats import ROWS, Splats, masked_mean
from render.camera import camera_from_fov, look_at
from render.gaussians import GaussianCloud
from render.rasterize import rasterize
from scenes.scene import Pixels, PointCloud, Scene, Split, View, ViewBatch
from train import train

UP = torch.tensor([0.0, 0.0, 1.0])


def ball_scene(views=12, size=40, points=True):
    """Photos with alpha of forty coloured blobs, rendered by our own rasterizer from a ring of cameras."""
    g = torch.Generator().manual_seed(0)
    truth = GaussianCloud(
        means=torch.randn(40, 3, generator=g) * 0.35,
        quaternions=torch.randn(40, 4, generator=g),
        log_scales=torch.full((40, 3), -2.2),
        opacity_logits=torch.full((40,), 3.0),
        dc=torch.rand(40, 3, generator=g) * 3 - 1.5,
        rest=torch.zeros(40, 0, 3),
    )
    found = []
    for i in range(views):
        angle = 2 * math.pi * i / views
        eye = torch.tensor([3 * math.cos(angle), 3 * math.sin(angle), 1.0])
        camera = camera_from_fov(look_at(eye, torch.zeros(3), UP), 0.7, size, size)
        drawn = rasterize(truth, camera, torch.zeros(3))
        alpha = drawn.alpha
        straight = (drawn.rgb / alpha.clamp(min=1e-3)[..., None]).clamp(0, 1)
        pixels = Pixels((255 * straight).round().byte(), (255 * alpha).round().byte())
        found.append(View(f"view{i:02d}", camera, lambda pixels=pixels: pixels))
    names = tuple(view.name for view in found)
    return Scene(
        name="blobs",
        source="test",
        views=tuple(found),
        split=Split(train=names[1::2] + names[2::4], val=names[:1], test=names[::4]),
        world_from_input=torch.eye(4),
        bounds=torch.tensor([[-1.2] * 3, [1.2] * 3]),
        points=PointCloud(truth.means + 0.05, torch.full((40, 3), 0.5)) if points else None,
        background="white",
    )


def batch(scene, name):
    view = scene.view(name)
    pixels = view.load()
    alpha = pixels.alpha.float()[..., None] / 255
    image = pixels.rgb_srgb.float() / 255 * alpha + (1 - alpha)
    return ViewBatch(view, 0, image, torch.ones(3))


def psnr(model, scene, names):
    errors = [
        (model.render(scene.view(n).camera, {"rgb"}, {}).rgb - batch(scene, n).image_srgb).square().mean()
        for n in names
    ]
    return -10 * math.log10(float(torch.stack(errors).mean()))


def fit(model, scene, steps):
    names = scene.split.train
    for _ in train(model, lambda step: batch(scene, names[step % len(names)]), steps=steps):
        assert len(model.means) <= model.config.max_gaussians


@pytest.mark.parametrize("strategy", ["default", "mcmc"])
def test_it_learns_held_out_views(strategy):
    scene = ball_scene()
    config = SplatsConfig(densify=strategy, max_gaussians=400, sh_degree=1, densify_every=20)
    model = Splats.from_scene(scene, config, seed=0, steps=600)
    before = psnr(model, scene, scene.split.test)
    fit(model, scene, 600)
    after = psnr(model, scene, scene.split.test)
    assert after > before + 6 and after > 24, (before, after)
    assert len(model.means) != 40


def test_a_model_made_from_its_own_tensors_renders_the_same():
    scene = ball_scene()
    model = Splats.from_scene(scene, SplatsConfig(), seed=0, steps=100)
    fit(model, scene, 20)
    tensors = {**dict(model.named_parameters()), **dict(model.named_buffers())}
    again = Splats(SplatsConfig(), tensors, seed=0, steps=100)
    camera = scene.views[0].camera
    for name in ("rgb", "alpha", "depth", "normal"):
        assert torch.equal(model.render(camera, {name}, {})[name], again.render(camera, {name}, {})[name])


def test_depth_and_normal_of_a_flat_disc():
    """A large thin disc facing the camera 2 units away: depth is 2, the normal points back at the camera."""
    flat = {
        "means": torch.zeros(1, 3),
        "quaternions": torch.tensor([[1.0, 0, 0, 0]]),
        "log_scales": torch.tensor([[0.0, 0.0, -6.0]]),
        "opacity_logits": torch.tensor([6.0]),
        "dc": torch.zeros(1, 3),
        "rest": torch.zeros(1, 15, 3),
    }
    camera = camera_from_fov(
        look_at(torch.tensor([0.0, 0.0, 2.0]), torch.zeros(3), torch.tensor([0.0, 1, 0])), 0.5, 9, 9
    )
    frame = Splats(SplatsConfig(), flat).render(camera, {"depth", "normal", "alpha"}, {})
    assert torch.allclose(frame["depth"], torch.tensor(2.0), atol=1e-5)
    assert torch.allclose(frame["normal"], torch.tensor([0.0, 0, 1]).expand(9, 9, 3), atol=1e-5)
    assert float(frame["alpha"].min()) > 0.8


def test_numbers_of_the_gaussians_are_drawn_beside_their_colours():
    scene = ball_scene()
    cloud = Splats.from_scene(scene, SplatsConfig(), seed=0, steps=10).cloud()
    camera = scene.views[0].camera
    plain = rasterize(cloud, camera, torch.zeros(3), channels={"depth", "normal"})
    values = torch.stack([plain.projected.depths, torch.full((len(cloud),), 3.0)], dim=1)
    drawn = rasterize(cloud, camera, torch.zeros(3), channels={"depth", "normal"}, values=values)
    assert torch.equal(drawn.rgb, plain.rgb) and torch.equal(drawn.normal, plain.normal)
    assert torch.allclose(drawn.values[..., 0], plain.depth, rtol=1e-5)
    there = plain.alpha >= 1 / 255
    assert torch.allclose(drawn.values[..., 1], 3.0 * there, rtol=1e-4) and bool(there.any())


def test_masked_pixels_do_not_matter():
    scene = ball_scene()
    model = Splats.from_scene(scene, SplatsConfig(ssim_weight=0.0), steps=100)
    one = batch(scene, "view01")
    mask = torch.zeros(40, 40)
    mask[10:20] = 1
    spoiled = one.image_srgb.clone()
    spoiled[20:] = 7.0
    losses = [
        float(model.loss(replace(one, image_srgb=image, mask=mask), 0)["l1"].detach())
        for image in (one.image_srgb, spoiled)
    ]
    assert losses[0] == losses[1] > 0
    assert float(masked_mean(torch.ones(40, 40, 3), mask)) == 1


def test_schedules_scale_with_the_run():
    model = Splats.from_scene(ball_scene(), SplatsConfig(), steps=3000)
    assert [model.degree_at(s) for s in (0, 99, 100, 250, 300, 2999)] == [0, 0, 1, 2, 3, 3]
    assert model.means_decay(0) == 1 and model.means_decay(3000) == pytest.approx(0.01)


def test_random_points_start_inside_the_silhouettes():
    scene = ball_scene(points=False)
    model = Splats.from_scene(scene, SplatsConfig(random_points=200), steps=100)
    assert len(model.means) == 200
    assert bool(inside_hull(model.means.detach(), [scene.view(n) for n in scene.split.train]).all())


def test_neighbour_distances():
    xyz = torch.tensor([[0.0, 0, 0], [1, 0, 0], [0, 2, 0], [0, 0, 2], [9, 9, 9]])
    assert float(neighbour_distance(xyz, 5.0)[0]) == pytest.approx(math.sqrt(3))
    assert float(neighbour_distance(xyz[:1], 5.0)) == 5
    assert float(neighbour_distance(torch.zeros(4, 3), 5.0).max()) < 1e-3


def test_no_gaussians_left_is_an_error_that_says_what_to_do():
    scene = ball_scene()
    model = Splats.from_scene(scene, SplatsConfig(densify_every=1), steps=3000)
    model.opacity_logits.data[:] = -9.0
    with pytest.raises(RuntimeError, match="prune_opacity"):
        for step in range(60):
            model.after_step(step)
    with pytest.raises(ValueError, match="no Gaussians"):
        Splats(SplatsConfig(), {name: getattr(model, name)[:0] for name in ROWS})


def test_unknown_channels_are_refused():
    model = Splats.from_scene(ball_scene(), SplatsConfig(), steps=10)
    with pytest.raises(ValueError, match="relevancy"):
        model.render(ball_scene().views[0].camera, {"relevancy"}, {})


def test_pruning_the_last_gaussian_says_what_to_do():
    scene = ball_scene()
    model = Splats.from_scene(scene, SplatsConfig(prune_opacity=0.99, densify_every=10), steps=300)
    with pytest.raises(RuntimeError, match=r"step 10: .*last Gaussian; lower prune_opacity \(0.99\)"):
        fit(model, scene, 300)
    assert len(model.means) == 40
