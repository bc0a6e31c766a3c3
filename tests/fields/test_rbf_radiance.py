"""The radiance field: learning a ball, resuming, channels."""

from dataclasses import replace

import pytest
import torch

import fields
from fields.checkpoint import read_checkpoint, write_checkpoint
from fields.optimise import begin, checkpoint_of, restore
from fields.rbf import MOST_RAYS, NeuronField, Rbf, batches, harmonic_colours
from fields.rbf_config import RbfConfig
from kernels.traverse import distance_grid
from render.camera import camera_from_fov, look_at
from render.metrics import psnr
from scenes.evaluate import held_out_psnr, truth_of
from tests.ball import RADIUS, ball_camera, ball_scene
from train import train

SMALL = RbfConfig(encoder="dense", parameters=100_000, batch=4096, samples_across=48, units=32, sh_degree=1)


@pytest.fixture(scope="module")
def scene():
    return ball_scene()


def learned(scene, config, steps, seed=1):
    model = Rbf.from_scene(scene, config, seed=seed, steps=steps)
    for _ in train(model, fields.batches(config, scene, seed=seed, device="cpu"), steps=steps):
        pass
    return model


@pytest.fixture(scope="module")
def trained(scene):
    return learned(scene, SMALL, 200)


def mean_colour_psnr(scene):
    """PSNR on the test views of the training views' mean colour."""
    train_views, test_views = (
        torch.stack([truth_of(scene.view(name).load(), scene.background) for name in names])
        for names in (scene.split.train, scene.split.test)
    )
    colour = train_views.mean(dim=(0, 1, 2))
    return sum(psnr(colour.expand_as(view), view) for view in test_views) / len(test_views)


# --- learning --------------------------------------------------------------------------------------------------------


def test_learns_a_ball(trained, scene):
    """Measured: 29.4 dB where the mean colour has 10.8."""
    assert held_out_psnr(trained, scene, scene.split.test) > mean_colour_psnr(scene) + 14
    assert trained.counts()["parameters"] <= SMALL.parameters


def test_learns_a_ball_with_a_dictionary(scene):
    """Measured: 24.8 dB."""
    config = replace(SMALL, encoder="dictionary", parameters=60_000, sh_degree=0)
    model = learned(scene, config, 140)
    assert held_out_psnr(model, scene, scene.split.test) > mean_colour_psnr(scene) + 9
    assert model.counts()["parameters"] <= config.parameters


def test_starts_as_thin_grey_fog(scene):
    model = Rbf.from_scene(scene, SMALL, seed=1)
    frame = model.render(ball_camera(0.1), {"rgb", "alpha"}, {})
    assert float(frame["alpha"].min()) > 0.03 and float(frame["alpha"].max()) < 0.2  # all across the box
    assert float(frame["rgb"].min()) > 0.85 and float(frame["rgb"].max()) < 1
    points = 2 * torch.rand(1000, 3, generator=torch.Generator().manual_seed(0)) - 1
    raw = model.raw(points).detach()
    thickness = model.thickness(raw) * model.step_length
    assert float(thickness.min()) > 1e-3 and float(thickness.max()) < 1e-2
    grey = harmonic_colours(raw[:, 1:], torch.nn.functional.normalize(points, dim=1), SMALL.sh_degree)
    torch.testing.assert_close(grey, torch.full((1000, 3), 0.5), rtol=0, atol=0.1)


def test_harmonics_of_one_degree_by_hand():
    directions = torch.nn.functional.normalize(torch.randn(50, 3, generator=torch.Generator().manual_seed(0)), dim=1)
    coefficients = torch.randn(50, 12, generator=torch.Generator().manual_seed(1))
    x, y, z = directions.unbind(dim=1)
    y00, y1 = 0.28209479177387814, 0.4886025119029199
    values = torch.stack([y00 + 0 * x, -y1 * y, y1 * z, -y1 * x], dim=1)  # as 3DGS orders and signs them
    expected = torch.stack([(coefficients[:, 4 * c : 4 * c + 4] * values).sum(dim=1) for c in range(3)], dim=1)
    torch.testing.assert_close(harmonic_colours(coefficients, directions, 1), expected)


def test_pixels_that_are_masked_do_not_count(scene):
    model = Rbf.from_scene(scene, SMALL, seed=1)
    batch = batches(scene, SMALL, seed=0, device="cpu")(0)
    half = torch.arange(MOST_RAYS) % 2 == 0
    garbage = torch.where(half[:, None], batch.rgb_srgb, 100.0)
    masked = replace(batch, mask=half.float(), rgb_srgb=garbage)
    (loss,) = (value.detach() for value in model.loss(masked, 0).values())
    assert 0 < float(loss) < 1
    nothing = replace(batch, mask=torch.zeros(MOST_RAYS))
    assert float(model.loss(nothing, 0)["l2"].detach()) == 0


def test_a_step_takes_about_as_many_samples_as_it_should(scene, trained):
    """After 200 steps: the rays of a step times their samples."""
    assert 64 < int(trained.rays) < 4096
    seen = []
    model = Rbf.from_weights(SMALL, trained.state_dict(), seed=1, steps=200)
    forward = model.network.forward
    model.network.forward = lambda x: seen.append(len(x)) or forward(x)
    pixels = batches(scene, SMALL, seed=1, device="cpu")
    for step in (201, 202, 203):  # none at which the grid is refreshed
        model.loss(pixels(step), step)
    assert all(0.7 * SMALL.batch < count < 1.4 * SMALL.batch for count in seen), seen


def test_a_step_through_empty_space_is_survived(scene, monkeypatch):
    """Where all cells are empty, no ray has a sample; waking units, too, must bear that."""
    monkeypatch.setattr("fields.rbf_network.RESEED_FIRST", 1)
    monkeypatch.setattr("fields.rbf_network.RESEED_EVERY", 1)
    model = Rbf.from_scene(scene, SMALL, seed=1, steps=100)
    pixels = batches(scene, SMALL, seed=1, device="cpu")
    model.sampler.distances.copy_(distance_grid(torch.zeros(1, 64, 64, 64, dtype=torch.bool)))
    loss = model.loss(pixels(1), 1)["l2"]
    loss.backward()
    model.after_step(1)
    assert bool(loss.isfinite()) and all(bool(p.isfinite().all()) for p in model.parameters())


# --- states ----------------------------------------------------------------------------------------------------------


def test_a_resumed_run_equals_an_uninterrupted_one(scene, monkeypatch):
    """Cut between two refreshes of the occupancy grid, of which there is one more after it; units are woken, too."""
    monkeypatch.setattr("fields.rbf_network.RESEED_FIRST", 4)
    monkeypatch.setattr("fields.rbf_network.RESEED_EVERY", 3)
    config = replace(SMALL, batch=1500)
    pixels = batches(scene, config, seed=3, device="cpu")

    def fresh():
        return Rbf.from_scene(scene, config, seed=3, steps=40)

    whole = fresh()
    for _ in train(whole, pixels, steps=40):
        pass
    first = fresh()
    state = begin(first)
    for _ in train(first, pixels, steps=21, state=state):
        pass
    first.render(ball_camera(0.1, 8), {"rgb", "alpha", "neuron", "density"}, {})  # to look changes nothing
    saved = checkpoint_of(first, state, "rbf")
    assert {"rays", "bounds", "sampler.thickness", "sampler.distances"} <= saved.weights.keys()
    second = Rbf.from_weights(config, saved.weights, seed=3, steps=40)
    for _ in train(second, pixels, steps=40, state=restore(second, saved)):
        pass
    for name, value in whole.state_dict().items():
        assert torch.equal(value, second.state_dict()[name]), name
    assert int(whole.rays) != int(saved.weights["rays"]), "the buffer took no part"


def test_weights_make_the_same_field(trained):
    again = Rbf.from_weights(SMALL, trained.state_dict(), seed=9, steps=1)
    names = {channel.name for channel in trained.channels}
    one, two = (model.render(ball_camera(0.3), names, {}) for model in (again, trained))
    assert all(torch.equal(one[name], two[name]) for name in names)


def test_a_checkpoint_goes_to_the_disk_and_back(scene, tmp_path):
    """Of a new model, too, whose tensors came from the scene: none may share memory with another."""
    model = Rbf.from_scene(scene, SMALL)
    for _ in train(model, batches(scene, SMALL, seed=0, device="cpu"), steps=1, state=(state := begin(model))):
        pass
    write_checkpoint(tmp_path, checkpoint_of(model, state, "rbf"))
    back = read_checkpoint(tmp_path)
    assert back.step == 1 and all(torch.equal(back.weights[name], value) for name, value in model.state_dict().items())


def test_weights_of_another_model_are_refused(trained):
    for config, weights in ((SMALL, {}), (replace(SMALL, sh_degree=2), trained.state_dict())):
        with pytest.raises(ValueError, match="not those of rbf"):
            fields.load(config, weights, seed=0, steps=1)


# --- looking ---------------------------------------------------------------------------------------------------------


def test_channels(trained):
    names = {channel.name for channel in trained.channels}
    assert names == {"rgb", "alpha", "depth", "density", "neuron"}
    frame = trained.render(ball_camera(0.3, 32), names, {"neuron": 3})
    for name, plane in frame.channels.items():
        assert tuple(plane.shape) == (32, 32, 3 if name == "rgb" else 1), name
        assert plane.dtype == torch.float32 and bool(plane.isfinite().all())
    assert float(frame["rgb"].min()) >= 0 and float(frame["rgb"].max()) <= 1
    assert frame["alpha"][16, 16] > 0.95 and frame["alpha"][0, 0] < 0.05
    assert float(frame["depth"][16, 16]) == pytest.approx(3 - RADIUS, abs=0.12)
    assert float(frame["neuron"].min()) >= 0
    assert set(trained.render(ball_camera(0.3, 4), {"depth"}, {}).channels) == {"depth"}


def test_the_slice_shows_the_ball_s_inside(trained):
    """Seen from above, the plane z = 0: opaque on the ball's border, nothing outside it or beside the box."""
    pose = look_at(torch.tensor([0.0, 0.0, 6.0]), torch.zeros(3), torch.tensor([0.0, 1.0, 0.0]))
    camera = camera_from_fov(pose, 0.5, 61, 61)
    y, x = torch.meshgrid(torch.arange(61) - 30.0, torch.arange(61) - 30.0, indexing="ij")
    place = torch.stack([x, -y], dim=-1) * 6 / camera.fx
    radius = place.norm(dim=-1)
    plane = trained.render(camera, {"density"}, {"slice axis": "z", "slice offset": 0.0})["density"][..., 0]
    assert float(plane[(radius - RADIUS + 0.05).abs() < 0.05].mean()) > 0.5
    assert float(plane[(radius > 0.75) & (place.abs().amax(dim=-1) < 1)].mean()) < 0.1
    assert not plane[place.abs().amax(dim=-1) > 1.01].any()
    near_the_top = trained.render(camera, {"density"}, {"slice axis": "z", "slice offset": 0.95})["density"]
    assert float(near_the_top.mean()) < 0.2 * float(plane.mean())


def test_a_slice_is_the_opacity_of_a_sample(trained):
    pose = look_at(torch.tensor([0.0, 6.0, 0.0]), torch.zeros(3), torch.tensor([0.0, 0.0, 1.0]))
    plane = trained.render(camera_from_fov(pose, 0.1, 3, 3), {"density"}, {"slice axis": "y", "slice offset": 0.5})
    point = torch.tensor([[0.0, 0.5, 0.0]])
    opacity = 1 - torch.exp(-trained.density(point, torch.zeros(1)) * trained.step_length)
    torch.testing.assert_close(plane["density"][1, 1], opacity.detach(), rtol=1e-3, atol=1e-4)


def test_neurons(trained, scene):
    pictures = [trained.render(ball_camera(0.3), {"neuron"}, {"neuron": n})["neuron"] for n in range(SMALL.units)]
    assert sum(float(picture.max()) > 0.01 for picture in pictures) > 8, "most units take part"
    assert not torch.equal(pictures[0], pictures[1])
    point = torch.tensor([[0.1, 0.2, RADIUS]])
    density, activity = NeuronField(trained, 7)(point, point, torch.zeros(1))
    features = trained.network.encoder(trained.inner(point)).detach()
    torch.testing.assert_close(activity, trained.network.decoder.activity(features)[:, 7:8])
    torch.testing.assert_close(density, trained.density(point, torch.zeros(1)))
    for neuron in (-1, SMALL.units):
        with pytest.raises(ValueError, match=f"neuron {neuron}: not a Gaussian unit of this field; it has 32"):
            trained.render(ball_camera(0.3, 4), {"neuron"}, {"neuron": neuron})


def test_channels_that_are_not_there(trained, scene):
    with pytest.raises(ValueError, match=r"rbf: no channel \['heat'\]; there are \['rgb'"):
        trained.render(ball_camera(0.3, 4), {"heat"}, {})
    network = Rbf.from_scene(scene, replace(SMALL, decoder="mlp1"))
    assert "neuron" not in {channel.name for channel in network.channels}
    assert [control.name for control in network.controls] == ["baked", "slice axis", "slice offset"]
