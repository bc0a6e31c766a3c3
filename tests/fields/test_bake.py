"""The baked grid of a radiance field: agreement with the field, places, renewal, the exported file."""

import numpy as np
import pytest
import torch

from fields.bake import Baked, bake, grown
from fields.rbf import Rbf, batches
from fields.rbf_config import RbfConfig
from kernels.traverse import distance_grid
from render.metrics import psnr
from render.samplers import OccupancySampler
from tests.ball import RADIUS, ball_camera, ball_scene
from train import train

SMALL = RbfConfig(encoder="dense", parameters=100_000, batch=4096, samples_across=48, units=32, sh_degree=1)


@pytest.fixture(scope="module")
def scene():
    return ball_scene()


@pytest.fixture(scope="module")
def trained(scene):
    model = Rbf.from_scene(scene, SMALL, seed=1, steps=200)
    for _ in train(model, batches(scene, SMALL, seed=1, device="cpu"), steps=200):
        pass
    return model


@pytest.fixture(autouse=True)
def coarse_bakes(monkeypatch):
    """A grid of 65 nodes is baked in milliseconds, and finer than this field."""
    monkeypatch.setattr("fields.bake.NODES", 65)
    monkeypatch.setattr("fields.rbf.NODES", 65)
    monkeypatch.setattr("fields.bake.CELLS", 32)


def test_baked_pictures_agree_with_the_field_s(trained):
    """Measured with 65 nodes a side: 31.8 to 34.0 dB."""
    for turn in (0.05, 0.4, 0.8):
        camera = ball_camera(turn, 40)
        names = {"rgb", "alpha", "depth"}
        exact, baked = (trained.render(camera, names, {"baked": flag}) for flag in (False, True))
        assert psnr(baked.rgb, exact.rgb) > 28 and not torch.equal(baked.rgb, exact.rgb)
        assert float((baked["alpha"] - exact["alpha"]).abs().mean()) < 0.02
        solid = exact["alpha"] > 0.95
        assert float((baked["depth"] - exact["depth"])[solid].abs().mean()) < 0.05


def test_baked_numbers_are_the_field_s_at_the_nodes(trained):
    baked = trained.baked()
    assert isinstance(baked, Baked) and baked.rows.shape == (65**3,)
    kept = baked.rows.nonzero()[:, 0]
    assert 0 < len(kept) == len(baked.coefficients) - 1 < 65**3 // 2, "far from matter there is none"
    node = kept[:: max(1, len(kept) // 50)]
    ticks = torch.stack([node % 65, node // 65 % 65, node // 65**2], dim=1)
    points = baked.bounds[0] + ticks / 64 * (baked.bounds[1] - baked.bounds[0])
    raw = trained.raw(points).detach()
    density, values = baked(points, points, torch.zeros(len(points)))
    torch.testing.assert_close(values, raw, rtol=2e-3, atol=2e-3)
    wanted = trained.thickness(raw).clamp(min=1e-4 / baked.step)
    torch.testing.assert_close(density, wanted, rtol=2e-2, atol=1e-2)
    assert baked.bytes == sum(tensor.nbytes for tensor in (baked.logs, baked.rows, baked.coefficients, baked.distances))


def test_it_is_baked_anew_after_a_step(scene, trained):
    model = Rbf.from_weights(SMALL, trained.state_dict(), seed=1, steps=200)
    first = model.baked()
    model.render(ball_camera(0.1, 4), {"rgb"}, {"baked": True})
    assert model.baked() is first
    pixels = batches(scene, SMALL, seed=1, device="cpu")
    before = model.render(ball_camera(0.1, 8), {"rgb"}, {"baked": True}).rgb
    for _ in train(model, pixels, steps=1):
        pass
    assert model.baked() is not first
    assert not torch.equal(model.render(ball_camera(0.1, 8), {"rgb"}, {"baked": True}).rgb, before)


def test_a_field_without_matter_is_baked(scene):
    """Fog so thin is nothing."""
    model = Rbf.from_scene(scene, SMALL)
    frame = model.render(ball_camera(0.1, 8), {"rgb", "alpha"}, {"baked": True})
    assert bool((frame["rgb"] == 1).all()) and not frame["alpha"].any()
    assert len(model.baked().coefficients) == 1


class Brick:
    """A Bakeable with a solid brick away from the middle, whose coefficients are the coordinates."""

    def __init__(self):
        self.bounds, self.step_length = torch.tensor([[-1.0] * 3, [1.0] * 3]), 0.05
        self.low, self.high = torch.tensor([0.2, -0.8, -0.3]), torch.tensor([0.9, -0.5, 0.1])
        self.sampler = OccupancySampler(self.bounds, self.step_length, cells=16)
        centres = 2 * (torch.stack(torch.meshgrid(*[torch.arange(16) + 0.5] * 3, indexing="ij"), dim=-1) / 16) - 1
        near = ((centres > self.low - 0.13) & (centres < self.high + 0.13)).all(dim=-1)
        self.sampler.distances.copy_(distance_grid(near[None]))

    def inside(self, x):
        return ((x > self.low) & (x < self.high)).all(dim=1)

    def raw(self, x):
        return torch.cat([torch.where(self.inside(x), 3.0, -20.0)[:, None], x], dim=1)

    def thickness(self, raw):
        return raw[:, 0].exp() / self.step_length

    def decode(self, values, rays):
        return values[:, 1:]


def test_what_is_baked_lies_where_it_was():
    brick = Brick()
    baked = bake(brick)
    points = 2 * torch.rand(20_000, 3, generator=torch.Generator().manual_seed(0)) - 1
    low, high = baked.bounds
    assert bool((low < brick.low).all() and (high > brick.high).all()) and float((high - low).max()) < 1.3, "tight"
    node = float((high - low).max()) / 64
    deep = ((points > brick.low + node) & (points < brick.high - node)).all(dim=1)
    far = ((points < brick.low - node) | (points > brick.high + node)).any(dim=1)
    density, values = baked(points, points, torch.zeros(len(points)))
    assert int(deep.sum()) > 50 and bool((density[deep] * brick.step_length > 15).all())
    assert float(density[far].max()) * brick.step_length < 1.1e-4
    error = (values[deep, 1:] - points[deep]).abs()
    assert float(error.max()) < 0.51 * node + 1e-3, "the nearest node's"
    place = (points - low) / (high - low)
    inner = ((place > 0) & (place < 1)).all(dim=1)
    cell = (place * 32).long().clamp(0, 31)
    occupied = (baked.distances[0][cell.unbind(dim=1)] == 0) & inner
    assert bool(occupied[brick.inside(points)].all()) and float(occupied[far].float().mean()) < 0.1


def test_grown_cells():
    cells = torch.zeros(5, 5, 5, dtype=torch.bool)
    cells[2, 2, 0] = True
    expected = torch.zeros_like(cells)
    expected[1:4, 1:4, :2] = True
    assert torch.equal(grown(cells), expected)


def test_exported_numbers(trained, tmp_path):
    world_from_input = torch.diag(torch.tensor([2.0, 2.0, 2.0, 1.0]))
    line = trained.export(tmp_path / "ball.npz", world_from_input)
    with np.load(tmp_path / "ball.npz") as file:
        found = dict(file)
    assert found.keys() == {"bounds", "sample", "world_from_input", "log_thickness", "node", "harmonics"}
    count = len(found["node"])
    assert line == f"{tmp_path / 'ball.npz'}: {count:,} nodes of a grid of 65^3, harmonics of degree 1"
    assert found["log_thickness"].shape == (65, 65, 65) and found["log_thickness"].dtype == np.float16
    assert found["harmonics"].shape == (count, 12) and found["harmonics"].dtype == np.float16
    low, high = found["bounds"]
    np.testing.assert_array_equal(found["bounds"], trained.baked().bounds.numpy())
    np.testing.assert_array_equal(found["world_from_input"], world_from_input.numpy())
    z, y, x = np.unravel_index(found["node"], (65, 65, 65))
    points = torch.from_numpy(low + np.stack([x, y, z], axis=1) / 64 * (high - low)).float()
    raw = trained.raw(points).detach()
    np.testing.assert_allclose(found["harmonics"], raw[:, 1:], rtol=2e-3, atol=2e-3)
    thickness = np.exp(found["log_thickness"][z, y, x].astype(np.float32))
    wanted = (trained.thickness(raw) * float(found["sample"])).clamp(min=1e-4)
    np.testing.assert_allclose(thickness, wanted, rtol=2e-2, atol=1e-3)
    solid = np.linalg.norm(points[thickness > 1].numpy(), axis=1)
    assert len(solid) > 100 and np.quantile(solid, 0.95) < RADIUS + 0.1


def test_another_suffix_is_refused(trained, tmp_path):
    with pytest.raises(ValueError, match=r"out\.ply: .* exported as its baked grid; give a name that ends in \.npz"):
        trained.export(tmp_path / "out.ply", torch.eye(4))
    assert not list(tmp_path.iterdir())
