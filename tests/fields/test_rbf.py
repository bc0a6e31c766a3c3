"""The radiance field of Gaussian units: learning a ball, resuming, baking, channels, contraction, bad input."""

import math

import numpy as np
import pytest
import torch

from fields.optimise import begin, checkpoint_of, restore
from fields.rbf import MOST_RAYS, Rbf, batches
from fields.rbf_config import RbfConfig
from render.camera import camera_from_fov, camera_rays, look_at
from render.contraction import contract
from render.metrics import psnr
from scenes.evaluate import held_out_psnr, truth_of
from scenes.scene import Pixels, Scene, Split, View
from train import train

STEPS = 300
SMALL = RbfConfig(parameters=60_000, batch=4096, samples_across=48, units=32, grid_lr=2e-2)
RADIUS = 0.6


def ball(camera):
    """A ball at the origin, coloured by its normals, as pixels with alpha."""
    rays = camera_rays(camera)
    middle = -(rays.origins * rays.directions).sum(dim=-1)
    off = (rays.origins + middle[..., None] * rays.directions).norm(dim=-1)
    half = (RADIUS**2 - off.square()).clamp(min=0).sqrt()
    normal = (rays.origins + (middle - half)[..., None] * rays.directions) / RADIUS
    colour = (255 * (0.5 + 0.5 * normal)).round().clamp(0, 255).to(torch.uint8)
    return Pixels(colour, ((off < RADIUS) * 255).to(torch.uint8))


def ball_scene(opaque=False):
    views = []
    for i in range(14):
        turn = 2.4 * i
        eye = torch.tensor([2.6 * math.cos(turn), 2.6 * math.sin(turn), 1.8 * math.sin(1.3 * i)])
        camera = camera_from_fov(look_at(eye, torch.zeros(3), torch.tensor([0.0, 0.0, 1.0])), 0.8, 28, 24)
        pixels = ball(camera)
        if opaque:
            pixels = Pixels(pixels.rgb_srgb * (pixels.alpha[..., None] > 0))
        views.append(View(f"v{i:02d}", camera, lambda pixels=pixels: pixels))
    names = tuple(view.name for view in views)
    bounds = torch.tensor([[-1.0] * 3, [1.0] * 3])
    return Scene(
        "ball", "memory", tuple(views), Split(names[2:], (), names[:2]), torch.eye(4), bounds, background="white"
    )


def trained(scene, config, steps=STEPS):
    model = Rbf.from_scene(scene, config, seed=0, steps=steps)
    for _ in train(model, batches(scene, config, seed=0, device="cpu"), steps=steps):
        pass
    return model


@pytest.fixture(scope="module")
def scene():
    return ball_scene()


@pytest.fixture(scope="module")
def model(scene):
    return trained(scene, SMALL)


def test_learns_a_ball(model, scene):
    """Measured 26.5 dB; a white picture has 7.6 dB."""
    truths = [truth_of(scene.view(name).load(), "white") for name in scene.split.test]
    white = sum(psnr(torch.ones_like(truth), truth) for truth in truths) / len(truths)
    assert held_out_psnr(model, scene, scene.split.test) > max(22.0, white + 10)
    assert model.counts()["parameters"] <= SMALL.parameters
    assert float((model.sampler.distances == 0).float().mean()) < 0.6  # and nothing is sampled around it


def test_a_resumed_run_repeats_an_uninterrupted_one(scene):
    steps, half = 40, 21
    through = trained(scene, SMALL, steps)
    first = Rbf.from_scene(scene, SMALL, seed=0, steps=steps)
    state = begin(first)
    feed = batches(scene, SMALL, seed=0, device="cpu")
    for _ in train(first, feed, steps=half, state=state):
        pass
    saved = checkpoint_of(first, state, "rbf")
    again = Rbf.from_weights(SMALL, {k: v.clone() for k, v in saved.weights.items()}, seed=0, steps=steps)
    for _ in train(again, feed, steps=steps, state=restore(again, saved)):
        pass
    for name, tensor in through.state_dict().items():
        assert torch.equal(tensor, again.state_dict()[name]), name


def test_channels(model, scene):
    camera = scene.views[0].camera
    names = {channel.name for channel in model.channels}
    frame = model.render(camera, names, {"slice axis": "x", "slice offset": 0.1, "neuron": 3})
    wanted = {"rgb": 3, "alpha": 1, "depth": 1, "density": 1, "neuron": 1}
    assert {name: plane.shape[2] for name, plane in frame.channels.items()} == wanted
    assert all(plane.shape[:2] == (24, 28) and bool(plane.isfinite().all()) for plane in frame.channels.values())
    assert frame["alpha"][12, 14] > 0.9 and frame["alpha"][0, 0] < 0.1
    assert abs(float(frame["depth"][12, 14]) - (float(camera.centre.norm()) - RADIUS)) < 0.15
    with pytest.raises(ValueError, match="no channel"):
        model.render(camera, {"colour"}, {})
    with pytest.raises(ValueError, match="not a Gaussian unit"):
        model.render(camera, {"neuron"}, {"neuron": 32})


def test_baked_pictures_are_those_of_the_field(model, scene, tmp_path):
    camera = scene.views[0].camera
    plain, baked = (model.render(camera, {"rgb"}, {"baked": on}).rgb for on in (False, True))
    assert psnr(baked, plain) > 30
    model.export(tmp_path / "ball.npz", torch.eye(4))
    with np.load(tmp_path / "ball.npz") as found:
        assert found["harmonics"].shape == (len(found["node"]), 27) and len(found["node"]) > 100
        assert found["log_thickness"].ndim == 3
    with pytest.raises(ValueError, match="ends in .npz"):
        model.export(tmp_path / "ball.ply", torch.eye(4))


def test_a_step_makes_the_baked_grid_anew(scene):
    model = Rbf.from_scene(scene, SMALL, seed=0, steps=10)
    before = model.baked()
    assert model.baked() is before
    next(iter(train(model, batches(scene, SMALL, seed=0, device="cpu"), steps=10)))
    assert model.baked() is not before


def test_opaque_captures_are_contracted():
    scene = ball_scene(opaque=True)
    model = Rbf.from_scene(scene, SMALL, seed=0, steps=4)
    assert bool(model.contracted) and len(model.sampler.distances) > 1
    for _ in train(model, batches(scene, SMALL, seed=0, device="cpu"), steps=4):
        pass
    assert bool(model.render(scene.views[0].camera, {"rgb"}, {}).rgb.isfinite().all())
    with pytest.raises(ValueError, match="goes on outside"):
        model.baked()


def test_contraction():
    z = torch.tensor([[0.5, -0.2, 0.9], [2.0, 0.0, -1.0], [1e6, 1.0, 0.0]], dtype=torch.float64)
    found = contract(z)
    assert torch.equal(found[0], z[0])
    assert torch.allclose(found[1], torch.tensor([1.5, 0.0, -0.75], dtype=torch.float64))
    assert float(found[2].abs().max()) < 2


def test_rays_follow_the_samples(scene):
    """Fewer samples a ray, more rays: a step keeps about as many samples as are wanted."""
    model = Rbf.from_scene(scene, SMALL, seed=0, steps=STEPS)
    counts = [int(model.rays) for _ in train(model, batches(scene, SMALL, seed=0, device="cpu"), steps=60)]
    assert min(counts) >= 64 and max(counts) <= MOST_RAYS and counts[-1] > 2 * counts[1]


@pytest.mark.parametrize("decoder", ["linear", "mlp2", "siren"])
def test_rivals_train(scene, decoder):
    config = RbfConfig(parameters=60_000, batch=2048, samples_across=32, decoder=decoder)
    model = trained(scene, config, 3)
    assert "neuron" not in {channel.name for channel in model.channels}


@pytest.mark.parametrize("bad", [{"sh_degree": 4}, {"samples_across": 0}, {"units": 0}, {"batch": 0}])
def test_bad_options(bad):
    with pytest.raises(ValueError, match=next(iter(bad))):
        RbfConfig(**bad)
