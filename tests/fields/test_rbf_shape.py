"""The field of signed distances: learning a torus, resuming, pictures, exports, bad input."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from fields.optimise import begin, checkpoint_of, restore
from fields.rbf_config import RbfShapeConfig
from fields.rbf_shape import RbfShape, batches
from render.camera import camera_from_fov, look_at
from scenes.shape.mesh import make_mesh, read_mesh
from scenes.shape.pools import evaluation_pool
from scenes.shape.scores import inside_iou
from scenes.shape.shape import Shape
from train import train

igl = pytest.importorskip("igl")
trimesh = pytest.importorskip("trimesh")
STEPS = 600
SMALL = RbfShapeConfig(parameters=60_000, batch=2048, pool=100_000, resolution=64, units=32, grid_lr=2e-2)


@pytest.fixture(scope="module")
def shape():
    from scenes.shape.distance import SignedDistance

    torus = trimesh.creation.torus(0.6, 0.25, major_sections=48, minor_sections=24)
    mesh = make_mesh(np.asarray(torus.vertices) * 3 + [5, 0, 1], np.asarray(torus.faces))
    return Shape("torus", mesh, SignedDistance(mesh))


def learned(shape, config):
    model = RbfShape.from_shape(shape, config, seed=1, steps=STEPS)
    for _ in train(model, batches(shape, config, seed=1), steps=STEPS):
        pass
    return model


@pytest.fixture(scope="module")
def trained(shape):
    return learned(shape, SMALL)


def camera(size=40):
    eye = torch.tensor([0.5, 1.0, 2.6])
    return camera_from_fov(look_at(eye, torch.zeros(3), torch.tensor([0.0, 1.0, 0.0])), 0.7, size, size)


def test_learns_a_torus(trained, shape):
    assert inside_iou(trained, evaluation_pool(shape.distance, 50_000)) > 0.96
    assert trained.counts()["parameters"] <= SMALL.parameters


def test_learns_a_torus_with_hashed_levels(shape):
    """Less well: so small a budget leaves the fine levels a few thousand rows, in which points collide."""
    model = learned(shape, replace(SMALL, encoder="hash"))
    assert inside_iou(model, evaluation_pool(shape.distance, 50_000)) > 0.88


def test_export_is_the_torus_in_input_coordinates(trained, shape, tmp_path):
    pytest.importorskip("skimage")
    line = trained.export(tmp_path / "torus.ply", shape.world_from_input)
    assert "in input coordinates" in line
    back = read_mesh(tmp_path / "torus.ply")
    inverse = np.linalg.inv(shape.mesh.world_from_input)
    corners = np.stack([shape.mesh.vertices.min(axis=0), shape.mesh.vertices.max(axis=0)]) @ inverse[:3, :3].T
    vertices = (back.vertices - back.world_from_input[:3, 3]) / back.world_from_input[0, 0]
    found = np.stack([vertices.min(axis=0), vertices.max(axis=0)])
    np.testing.assert_allclose(found, corners + inverse[:3, 3], atol=0.06)


def test_export_without_a_surface_or_with_another_suffix(shape, tmp_path):
    pytest.importorskip("skimage")
    model = RbfShape.from_shape(shape, SMALL)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
        model.network.decoder.bias.fill_(0.5)
    with pytest.raises(ValueError, match="no surface; train further"):
        model.export(tmp_path / "none.ply", torch.eye(4))
    with pytest.raises(ValueError, match=r"exported as a mesh; use one of \.glb"):
        model.export(tmp_path / "none.png", torch.eye(4))
    assert not list(tmp_path.iterdir())


def test_pictures(trained):
    names = {channel.name for channel in trained.channels}
    frame = trained.render(camera(), names, {"slice axis": "x", "slice offset": 0.1})
    assert set(frame.channels) == names
    for name, picture in frame.channels.items():
        assert tuple(picture.shape) == (40, 40, 3 if name in ("rgb", "normal") else 1)
        assert picture.dtype == torch.float32 and picture.isfinite().all()
    hit = frame["alpha"][..., 0] > 0
    assert 0.05 < hit.float().mean() < 0.9
    assert (frame["rgb"][~hit] == 1).all() and (frame["depth"][hit] > 1).all()
    torch.testing.assert_close(frame["normal"][hit].norm(dim=-1), torch.ones(int(hit.sum())))
    assert (frame["distance"] < 0).any() and (frame["distance"] > 0).any()
    assert set(trained.render(camera(8), {"alpha"}, {}).channels) == {"alpha"}
    with pytest.raises(ValueError, match=r"no channel \['heat'\]"):
        trained.render(camera(8), {"heat"}, {})


def test_a_resumed_run_equals_an_uninterrupted_one(shape, monkeypatch):
    monkeypatch.setattr("fields.rbf_network.RESEED_FIRST", 4)
    monkeypatch.setattr("fields.rbf_network.RESEED_EVERY", 3)
    pool = batches(shape, SMALL, seed=3)

    def fresh():
        return RbfShape.from_shape(shape, SMALL, seed=3, steps=16)

    whole = fresh()
    for _ in train(whole, pool, steps=16):
        pass
    first = fresh()
    state = begin(first)
    for _ in train(first, pool, steps=6, state=state):
        pass
    saved = checkpoint_of(first, state, "rbf-shape")
    second = RbfShape.from_weights(SMALL, first.state_dict(), seed=3, steps=16)
    for _ in train(second, pool, steps=16, state=restore(second, saved)):
        pass
    for name, value in whole.state_dict().items():
        assert torch.equal(value, second.state_dict()[name]), name
    assert int(second.step) == 16


def test_weights_make_the_same_field(trained):
    again = RbfShape.from_weights(trained.config, trained.state_dict(), seed=9, steps=1)
    points = torch.rand(100, 3) * 2 - 1
    assert torch.equal(again(points), trained(points))
    assert all(torch.equal(a, b) for a, b in zip(again.box(), trained.box(), strict=True))


def test_weights_of_another_model_are_refused(trained):
    weights = trained.state_dict()
    with pytest.raises(KeyError, match="low"):
        RbfShape.from_weights(trained.config, {})
    with pytest.raises(ValueError, match="not those of this rbf-shape"):
        RbfShape.from_weights(RbfShapeConfig(parameters=90_000, units=32), weights)


def test_batches_are_a_function_of_seed_and_step(shape):
    one, two = batches(shape, SMALL, seed=5), batches(shape, SMALL, seed=5)
    assert torch.equal(one(7).points, two(7).points) and len(one(7)) == SMALL.batch
    assert not torch.equal(one(7).points, one(8).points)


@pytest.mark.parametrize(("option", "value"), [("pool", 3), ("resolution", 1), ("units", 0), ("parameters", 0)])
def test_bad_options(option, value):
    with pytest.raises(ValueError, match=f"{option}: expected"):
        RbfShapeConfig(**{option: value})


def test_a_budget_without_room_for_a_grid(shape):
    with pytest.raises(ValueError, match="room for"):
        RbfShape.from_shape(shape, RbfShapeConfig(parameters=2_200))
