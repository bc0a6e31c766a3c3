"""The field of a picture: learning it, resuming, looking at it, windows and files of it, scores."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

import fields
from fields.optimise import begin, checkpoint_of, restore
from fields.rbf_config import RbfImageConfig
from fields.rbf_image import RbfImage
from render.camera import Camera
from render.colour import to_space
from scenes.picture.evaluate import evaluate_picture
from scenes.picture.picture import Picture, pixel_centres
from scenes.picture.read import open_picture
from scenes.picture.score import score_picture
from train import train

WIDTH, HEIGHT, STEPS = 48, 40, 250
SMALL = RbfImageConfig(parameters=12_000, batch=2048, units=32)


def disc(width=WIDTH, height=HEIGHT, kind=np.uint8):
    """Waves of colour, and on them a disc with a sharp edge."""
    x, y = pixel_centres(0, height, width, height).double().numpy().transpose(2, 0, 1)
    rgb = np.stack([0.5 + 0.4 * np.sin(9 * x), 0.5 + 0.4 * np.cos(7 * y), 0.5 + 0.3 * np.sin(5 * (x + y))], axis=-1)
    rgb[(x - 0.6) ** 2 + (y - 0.4) ** 2 < 0.05] = (0.9, 0.8, 0.1)
    return np.rint(rgb * np.iinfo(kind).max).astype(kind)


def learned(picture, config, *, seed=1, steps=STEPS):
    model = RbfImage.from_picture(picture, config, seed=seed, steps=steps)
    for _ in train(model, fields.batches(config, picture, seed=seed, device="cpu"), steps=steps):
        pass
    return model


@pytest.fixture(scope="module")
def picture():
    return Picture(disc(), "srgb", "disc")


@pytest.fixture(scope="module")
def trained(picture):
    return learned(picture, SMALL)


def whole(model):
    """[H, W, 3] the field at the pixel centres."""
    xy = pixel_centres(0, model.height, model.width, model.height).reshape(-1, 2)
    return model(xy).detach().reshape(model.height, model.width, 3)


def before(width, height, away=2.0):
    """A camera straight before a picture of that size, one of its pixels for each of its own."""
    pose = torch.eye(4)
    pose[2, 3] = -away
    focal = away * max(width, height)
    return Camera(pose, focal, focal, width / 2, height / 2, width, height)


# --- learning --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("config", [SMALL, replace(SMALL, encoder="hash"), replace(SMALL, loss="l1")])
def test_learns_a_picture(picture, config):
    before, after = (
        score_picture(model, picture)
        for model in (RbfImage.from_picture(picture, config, seed=1), learned(picture, config))
    )
    assert before.psnr < 14 and after.psnr > 30 and after.ssim > 0.95
    assert learned(picture, config, steps=1).counts()["parameters"] <= config.parameters


@pytest.mark.parametrize("decoder", ["linear", "mlp1", "siren"])
def test_other_decoders_learn_it_too(picture, decoder):
    config = replace(SMALL, decoder=decoder, decoder_lr=1e-3 if decoder == "siren" else 1e-2)
    assert score_picture(learned(picture, config), picture).psnr > 22


def test_learns_linear_light_beyond_white():
    values = 4 * disc(20, 30).astype(np.float32) / 255
    picture = Picture(values, "linear", "bright")
    model = learned(picture, SMALL)
    assert bool(model.linear) and int(model.bits) == 32
    assert float(whole(model).max()) > 2 and score_picture(model, picture).psnr > 25
    display = to_space(whole(model), "linear", "srgb").clamp(0, 1)
    seen = model.render(before(20, 30), {"rgb"}, {}).rgb
    torch.testing.assert_close(seen, display, rtol=0, atol=1e-3)
    assert float(seen.max()) == 1.0


def test_starts_as_the_mean_colour(picture):
    model = RbfImage.from_picture(picture, SMALL)
    mean = torch.from_numpy(disc().reshape(-1, 3).mean(axis=0) / 255).float()
    torch.testing.assert_close(model.start, mean)
    torch.testing.assert_close(whole(model).mean(dim=(0, 1)), mean, rtol=0, atol=0.03)


def test_the_loss_is_what_its_name_says(picture):
    batch = picture.batch(0, 0, 500)
    for name in ("l1", "l2"):
        model = RbfImage.from_picture(picture, replace(SMALL, loss=name))
        error = (model(batch.xy) - batch.rgb).detach().double()
        (found,) = model.loss(batch, 0).items()
        assert found[0] == name
        expected = error.abs().mean() if name == "l1" else error.square().mean()
        assert float(found[1].detach()) == pytest.approx(float(expected), rel=1e-5)


# --- states ----------------------------------------------------------------------------------------------------------


def test_a_resumed_run_equals_an_uninterrupted_one(picture, monkeypatch):
    monkeypatch.setattr("fields.rbf_network.RESEED_FIRST", 4)
    monkeypatch.setattr("fields.rbf_network.RESEED_EVERY", 3)
    config = replace(SMALL, batch=300)
    pixels = fields.batches(config, picture, seed=3, device="cpu")

    def fresh():
        model = RbfImage.from_picture(picture, config, seed=3, steps=16)
        with torch.no_grad():
            model.network.decoder.centres[:5] = 3.0  # they sleep until they are woken
        return model

    once = fresh()
    for _ in train(once, pixels, steps=16):
        pass
    assert bool((once.network.decoder.centres[:5] < 2).all()), "none was woken"
    first = fresh()
    state = begin(first)
    for _ in train(first, pixels, steps=6, state=state):
        pass
    saved = checkpoint_of(first, state, "rbf-image")
    second = RbfImage.from_weights(config, saved.weights, seed=3, steps=16)
    for _ in train(second, pixels, steps=16, state=restore(second, saved)):
        pass
    for name, value in once.state_dict().items():
        assert torch.equal(value, second.state_dict()[name]), name


def test_weights_make_the_same_field(trained):
    again = RbfImage.from_weights(SMALL, trained.state_dict(), seed=9, steps=1)
    assert torch.equal(whole(again), whole(trained)) and (again.width, again.height) == (WIDTH, HEIGHT)
    assert all(torch.equal(a, b) for a, b in zip(again.box(), trained.box(), strict=True))


def test_weights_of_another_model_are_refused(trained):
    with pytest.raises(ValueError, match="not those of rbf-image"):
        fields.load(SMALL, {}, seed=0, steps=1)
    with pytest.raises(ValueError, match="not those of rbf-image"):
        fields.load(replace(SMALL, units=16), trained.state_dict(), seed=0, steps=1)
    with pytest.raises(ValueError, match="(?s)not those of rbf-image: .*more"):
        fields.load(SMALL, {**trained.state_dict(), "more": torch.zeros(1)}, seed=0, steps=1)


def test_training_is_a_function_of_the_seed(picture):
    one, same, other = (learned(picture, SMALL, seed=seed, steps=5) for seed in (1, 1, 2))
    assert torch.equal(whole(one), whole(same)) and not torch.equal(whole(one), whole(other))


# --- looking ---------------------------------------------------------------------------------------------------------


def test_straight_before_it_one_sees_the_pixels(trained):
    frame = trained.render(before(WIDTH, HEIGHT), {"rgb", "alpha", "depth", "neuron"}, {"neuron": 5})
    torch.testing.assert_close(frame["rgb"], whole(trained).clamp(0, 1), rtol=0, atol=1e-4)
    assert bool((frame["alpha"] == 1).all())
    torch.testing.assert_close(frame["depth"], torch.full((HEIGHT, WIDTH, 1), 2.0))
    xy = pixel_centres(0, HEIGHT, WIDTH, HEIGHT).reshape(-1, 2)
    phi = trained.network.decoder.activity(trained.network.encoder(xy).detach())[:, 5]
    torch.testing.assert_close(frame["neuron"].reshape(-1), phi, rtol=0, atol=1e-4)


def test_beside_it_there_is_white(trained):
    camera = before(WIDTH, HEIGHT).resized(WIDTH // 2, HEIGHT // 2)
    camera = replace(camera, fx=camera.fx / 2, fy=camera.fy / 2)
    frame = trained.render(camera, {"rgb", "alpha", "depth", "neuron"}, {})
    assert [tuple(plane.shape) for plane in frame.channels.values()] == [(20, 24, 3), *[(20, 24, 1)] * 3]
    corner = {name: plane[0, 0].unique().tolist() for name, plane in frame.channels.items()}
    assert corner == {"rgb": [1.0], "alpha": [0.0], "depth": [0.0], "neuron": [0.0]}
    assert frame["alpha"][10, 12] == 1 and frame["rgb"].max() <= 1
    away = trained.render(camera.moved(torch.diag(torch.tensor([-1.0, 1.0, -1.0, 1.0]))), {"rgb", "neuron"}, {})
    assert bool((away["rgb"] == 1).all()) and not away["neuron"].any()


def test_channels_that_are_not_there(trained, picture):
    camera = before(4, 4)
    assert set(trained.render(camera, {"alpha"}, {}).channels) == {"alpha"}
    with pytest.raises(ValueError, match=r"rbf-image: no channel \['heat'\]; there are \['rgb', 'alpha', 'depth'"):
        trained.render(camera, {"rgb", "heat"}, {})
    for neuron in (-1, SMALL.units):
        with pytest.raises(ValueError, match=f"neuron {neuron}: this field has {SMALL.units} Gaussian units"):
            trained.render(camera, {"neuron"}, {"neuron": neuron})
    network = RbfImage.from_picture(picture, replace(SMALL, decoder="linear"))
    assert not network.controls and "neuron" not in {channel.name for channel in network.channels}
    with pytest.raises(ValueError, match="no channel"):
        network.render(camera, {"neuron"}, {})


def test_the_box_is_the_picture_in_the_world(trained, picture):
    low, high = trained.box()
    corners = torch.tensor([[0.0, 0.0, 0.0, 1.0], [WIDTH, HEIGHT, 0.0, 1.0]]) @ picture.world_from_input.T
    torch.testing.assert_close(torch.stack([low, high]), corners[:, :3])
    assert float((high - low).max()) == 1.0


# --- windows and files -----------------------------------------------------------------------------------------------


def test_the_window_of_all_is_the_field_at_the_pixels(trained):
    blocks = list(trained.window((0.0, 0.0, 1.0, 1.0), WIDTH, HEIGHT))
    assert torch.equal(torch.cat(blocks), whole(trained))


def test_a_window_zooms_in_block_by_block(trained, monkeypatch):
    monkeypatch.setattr("fields.rbf_image.EXPORT_ROWS_PIXELS", 100)
    blocks = list(trained.window((0.25, 0.5, 0.5, 0.75), 30, 20))
    assert len(blocks) == 7 and blocks[-1].shape == (2, 30, 3)
    x = 0.25 + 0.25 * (torch.arange(30) + 0.5) / 30
    y = 0.5 + 0.25 * (torch.arange(20) + 0.5) / 20
    xy = torch.stack(torch.meshgrid(x, y, indexing="xy"), dim=-1).reshape(-1, 2)
    expected = trained(xy).detach().reshape(20, 30, 3)
    torch.testing.assert_close(torch.cat(blocks), expected, rtol=0, atol=1e-4)


@pytest.mark.parametrize(("kind", "bits"), [(np.uint8, 8), (np.uint16, 16)])
def test_writes_png_of_the_picture_s_depth(kind, bits, tmp_path):
    model = learned(Picture(disc(20, 16, kind), "srgb", "disc"), SMALL, steps=30)
    line = model.export(tmp_path / "out.png", torch.eye(4))
    assert line == f"{tmp_path / 'out.png'}: 20x16, {bits} bits, sRGB"
    back = open_picture(tmp_path / "out.png")
    assert back.values.dtype == kind and back.values.shape == (16, 20, 3)
    largest = np.iinfo(kind).max
    expected = (whole(model).clamp(0, 1).double() * largest).round().numpy()
    assert np.abs(back.values.astype(np.float64) - expected).max() <= 1


def test_writes_openexr_in_linear_light(trained, tmp_path):
    pytest.importorskip("OpenEXR")
    assert trained.write(tmp_path / "out.exr", (0.0, 0.0, 0.5, 0.5), 24, 20).endswith("24x20, linear light")
    back = open_picture(tmp_path / "out.exr")
    expected = to_space(whole(trained)[:20, :24], "srgb", "linear")
    torch.testing.assert_close(back.rows(0, 20), expected, rtol=2e-3, atol=1e-3)


def test_pictures_of_linear_light_are_written_for_the_display(tmp_path):
    picture = Picture((disc(20, 16) / 255).astype(np.float16), "linear", "linear")
    model = learned(picture, SMALL, steps=30)
    model.export(tmp_path / "out.png", torch.eye(4))
    assert Image.open(tmp_path / "out.png").size == (20, 16)
    expected = to_space(whole(model), "linear", "srgb").clamp(0, 1)
    torch.testing.assert_close(open_picture(tmp_path / "out.png").rows(0, 16), expected, rtol=0, atol=1e-4)


def test_other_suffixes_are_refused(trained, tmp_path):
    with pytest.raises(ValueError, match=r"out\.jpg: pictures are written as \.png or \.exr; give such a name"):
        trained.export(tmp_path / "out.jpg", torch.eye(4))
    assert not list(tmp_path.iterdir())


# --- from end to end -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(1, 1, 3), (1, 1, 1), (1, 9, 3), (30, 1, 3)])
def test_the_smallest_pictures(shape, tmp_path):
    values = np.random.default_rng(0).integers(0, 256, shape).astype(np.uint8)
    picture = Picture(values, "srgb", "tiny")
    model = learned(picture, replace(SMALL, batch=64), steps=20)
    height, width = shape[:2]
    frame = model.render(before(width, height), {"rgb", "alpha", "depth", "neuron"}, {})
    assert frame.rgb.shape == (height, width, 3) and bool(frame.rgb.isfinite().all())
    model.export(tmp_path / "out.png", torch.eye(4))
    assert open_picture(tmp_path / "out.png").values.shape == (height, width, 3)
    assert score_picture(model, picture).psnr > (25 if height * width == 1 else 12)


def test_scored_on_all_pixels(trained, picture, tmp_path):
    scores = evaluate_picture(trained, picture, pictures=tmp_path)
    (view,) = scores.views
    truth = torch.from_numpy(disc()).double() / 255
    error = (whole(trained).clamp(0, 1).double() - truth).square().mean()
    assert view.name == "disc" and view.psnr == pytest.approx(float(-10 * error.log10()), abs=1e-3)
    assert 0.9 < view.ssim < 1 and view.lpips is None and scores.lpips_reason
    render, true, wrong = (open_picture(tmp_path / f"000-{kind}.png") for kind in ("render", "truth", "error"))
    assert np.array_equal(true.values, disc()) and wrong.values.shape == (HEIGHT, WIDTH, 3)
    expected = (whole(trained).clamp(0, 1) * 255).round().numpy()
    assert np.abs(render.values - expected).max() <= 1
