"""SceneFlow: the model around a flow field: its frame, times, the gate, exports, pictures, and exact resuming."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from fields import flow_paths
from fields.flow_export import export_flow, fitted_rows
from fields.flow_paths import is_exact
from fields.optimise import begin, checkpoint_of, restore
from fields.sceneflow import SceneFlow
from fields.sceneflow_config import SceneFlowConfig
from render.camera import camera_from_fov, look_at
from scenes.flow.load import open_clouds
from scenes.flow.sequence import Cloud, CloudSequence, moved
from scenes.point_cloud import read_vertices
from scenes.synthetic.moving import FlowConfig, demo_flow
from tests.scenes.moving_points import sequence as few_points
from train import train

FAST = SceneFlowConfig(preset="fast", pair_steps=4)


class Wind(nn.Module):
    """Everything moves by (t, 0, 1) a step from time t on; what lies below 0 is judged to stand still."""

    def __init__(self):
        super().__init__()
        self.asked = []

    def velocity(self, points, t, direction):
        self.asked.append(len(points))
        return direction * torch.tensor([t, 0.0, 1.0]).expand(len(points), 3)

    def is_static(self, points, t, direction):
        return points[:, 2] < 0


def blown(sequence=None):
    model = SceneFlow.from_clouds(sequence or few_points(), FAST)
    model.field = Wind()
    return model


@pytest.fixture(scope="module")
def scene():
    return demo_flow(FlowConfig(frames=3, beams=16, columns=120))


def test_the_world_is_the_frame_of_the_first_sensor():
    scene = few_points(up=None)  # nothing is cropped, no ground is looked for
    model = SceneFlow.from_clouds(scene, FAST)
    assert [len(cloud) for cloud in model.clouds] == [30] * 4 and model.times.dtype == torch.float64
    np.testing.assert_allclose(model.times, scene.times)
    still = np.arange(30) % 2 == 0
    for cloud in model.clouds:
        np.testing.assert_allclose(cloud[still], scene.clouds[0].points[still], atol=1e-4)
    for own, given in zip(model.fitted().clouds, scene.clouds, strict=True):
        np.testing.assert_allclose(own.points, given.points, atol=1e-4)


def test_the_ground_and_what_is_far_are_not_fitted(scene):
    model = SceneFlow.from_clouds(scene, FAST)
    rows = fitted_rows(scene)
    for t, (cloud, kept) in enumerate(zip(scene.clouds, rows, strict=True)):
        pose = np.linalg.solve(scene.world_from_sensor[0], scene.world_from_sensor[t])
        np.testing.assert_allclose(model.clouds[t], moved(cloud.points[kept], pose), atol=1e-5)
        assert np.abs(cloud.points[kept][:, :2]).max() <= 35 and cloud.ground[kept].mean() < 0.1 < cloud.ground.mean()
    assert 0 < float(model.setup_seconds) < 60


def test_flow_goes_through_the_times_between():
    model, points = blown(), torch.tensor([[0.0, 0.0, 1.0], [0.0, 0.0, -5.0]])
    free = model.flow(points, 0.0, 3.0, gate=False)
    torch.testing.assert_close(free, torch.tensor([[3.0, 0.0, 3.0]] * 2))  # 0 + 1 + 2 along x
    torch.testing.assert_close(model.flow(points, 0.0, 3.0)[0], free[0])
    assert torch.equal(model.flow(points, 0.0, 3.0)[1], torch.zeros(3)), "gated: exactly zero"
    torch.testing.assert_close(model.flow(points, 0.5, 1.25, gate=False)[0], torch.tensor([0.5, 0.0, 0.75]))
    torch.testing.assert_close(model.flow(points, 2.0, 0.5, gate=False)[0], torch.tensor([-2.5, 0.0, -1.5]))
    assert not model.flow(points, 1.5, 1.5).any()
    with pytest.raises(ValueError, match="time 4: expected 0 to 3, counted in clouds"):
        model.flow(points, 0, 4)


class Lift(nn.Module):
    """Knows that everything rises by 1 m a step, and nothing besides."""

    def __init__(self):
        super().__init__()
        self.asked = []

    def flow(self, points, t0, t1, gate=True):
        self.asked.append(len(points))
        return (t1 - t0) * torch.tensor([0.0, 0.0, 1.0 if gate else 2.0]).expand(len(points), 3)


@pytest.mark.parametrize("field", [Wind, Lift])
def test_a_field_is_asked_about_a_bounded_number_of_points(field, monkeypatch):
    """And answers the same; one that knows its flow between any two times is asked for just that."""
    points, model = few_points().clouds[0].points, blown()
    points, model.field = torch.from_numpy(points), field()
    whole = model.flow(points, 0.5, 2.0)
    monkeypatch.setattr(flow_paths, "CHUNK", 7)
    assert torch.equal(model.flow(points, 0.5, 2.0), whole) and whole.any()
    assert max(model.field.asked[-5:]) == 7
    assert is_exact(model) == (field is Lift)
    if field is Lift:
        assert torch.equal(model.flow(points, 2.0, 0.5, gate=False), -2 * whole) and (whole[:, 2] == 1.5).all()
    assert model.flow(points[:0], 0, 1).shape == (0, 3)


def learn(model, state=None, steps=100):
    state = begin(model) if state is None else state
    for _ in train(model, lambda step: None, steps=steps, state=state):
        pass
    return state


@pytest.mark.parametrize("preset", ["nsfp", "fast"])
@pytest.mark.parametrize("stop", [2, 4, 6])  # amid the first pair, between pairs, amid the second
def test_resuming_is_exact(scene, preset, stop):
    config = replace(FAST, preset=preset)
    whole = SceneFlow.from_clouds(scene, config, seed=5)
    learn(whole)
    assert whole.finished(8) and int(whole.field.interval) == 2
    first = SceneFlow.from_clouds(scene, config, seed=5)
    saved = checkpoint_of(first, learn(first, steps=stop), "sceneflow")
    saved = replace(saved, weights={name: tensor.clone() for name, tensor in saved.weights.items()})
    second = SceneFlow.from_weights(config, saved.weights, seed=5)
    state = learn(second, restore(second, saved))
    assert state.step == 8
    for name, value in whole.state_dict().items():
        assert name == "setup_seconds" or torch.equal(value, second.state_dict()[name]), name


@pytest.mark.parametrize(("preset", "steps"), [("floxel", 18), ("euler", 12)])
def test_fields_of_whole_sequences_are_presets_too(scene, preset, steps):
    """A run's steps bound theirs, also in a resumed run; and a configuration's numbers replace the preset's."""
    config = SceneFlowConfig(preset=preset, lr=0.02)
    whole = SceneFlow.from_clouds(scene, config, seed=5, steps=steps)
    state = learn(whole, steps=steps)
    assert whole.finished(state.step) and state.step == steps and whole.field.numbers.lr == 0.02
    first = SceneFlow.from_clouds(scene, config, seed=5, steps=steps)
    saved = checkpoint_of(first, learn(first, steps=steps // 2), "sceneflow")
    saved = replace(saved, weights={name: tensor.clone() for name, tensor in saved.weights.items()})
    second = SceneFlow.from_weights(config, saved.weights, seed=5, steps=steps)
    learn(second, restore(second, saved), steps=steps)
    points = whole.clouds[0]
    assert torch.equal(whole.flow(points, 0, 2, gate=False), second.flow(points, 0, 2, gate=False))
    assert whole.flow(points, 0, 2, gate=False).any()
    still = whole.field.is_static(points, 0.0, 1)
    assert still.any() and not whole.flow(points, 0, 1)[still].any()


def test_a_checkpoint_alone_makes_the_model(scene):
    model = SceneFlow.from_clouds(scene, FAST)
    learn(model)
    again = SceneFlow.from_weights(FAST, model.state_dict())
    points = model.clouds[0]
    assert torch.equal(model.flow(points, 0, 2), again.flow(points, 0, 2)) and model.flow(points, 0, 2).any()
    weights = model.state_dict()
    with pytest.raises(RuntimeError, match=r"field\.back"):
        SceneFlow.from_weights(replace(FAST, preset="nsfp"), weights)


def test_what_a_run_reports(scene):
    model = SceneFlow.from_clouds(scene, FAST)
    reports = list(train(model, lambda step: None, steps=100))
    assert [report.step for report in reports] == list(range(1, 9))
    assert reports[-1].steps == 8 and reports[0].steps == 100, "a run that ends early is at its end"
    assert model.counts() == {"points": sum(map(len, model.clouds)), "parameters": 2 * 116_483}


def test_a_picture_shows_the_points_where_they_are_at_the_time(scene):
    """What is looked at is `fields.flow_view`'s, whose own tests say more."""
    model = blown(scene)
    low, high = model.box()
    share = ((low <= model.points) & (model.points <= high)).float().mean(dim=0)
    assert bool((share > 0.88).all()) and float(share.min()) < 0.92, "nine tenths, or more where many are at one place"
    pose = look_at(torch.tensor([0.0, 0.0, 60.0]), torch.zeros(3), torch.tensor([0.0, 1.0, 0.0]))
    camera = camera_from_fov(pose, 1.2, 80, 60)
    before = model.render(camera, {"rgb", "alpha", "depth"}, {"show": "interpolated"})
    after = model.render(camera, {"rgb"}, {"show": "interpolated", "time": 0.9})
    assert before.rgb.shape == (60, 80, 3) and before["depth"].shape == before["alpha"].shape == (60, 80, 1)
    assert not torch.equal(before.rgb, after.rgb)
    with pytest.raises(ValueError, match="no channel"):
        model.render(camera, {"flow"}, {})


# --- exports ---------------------------------------------------------------------------------------------------------


def test_exports_hold_the_flow_of_every_point(scene, tmp_path):
    """Wind of the world's z, in the frames of the second sensors; zero where nothing was fitted."""
    model = blown(scene)
    rows = fitted_rows(scene)
    export_flow(model, scene, tmp_path / "flow.npz", fitted=rows)
    read = open_clouds(tmp_path / "flow.npz")
    assert [len(cloud.points) for cloud in read.clouds] == [len(cloud.points) for cloud in scene.clouds]
    turn = np.linalg.solve(scene.world_from_sensor[0], scene.world_from_sensor[1])[:3, :3]
    points = moved(scene.clouds[0].points, np.eye(4))
    expected = np.where(points[:, 2:] < 0, 0, np.array([0.0, 0.0, 1.0])) @ turn
    mask = np.isin(np.arange(len(points)), rows[0])
    np.testing.assert_allclose(read.clouds[0].flow, np.where(mask[:, None], expected, 0), atol=1e-5)
    assert "2 files" in export_flow(model, scene, tmp_path / "flow.ply")
    header, columns = read_vertices(tmp_path / "flow-000.ply")
    assert header.vertices == len(points) and np.isclose(columns["flow_z"], 1, atol=1e-3).any()


def test_a_submission_for_argoverse(scene, tmp_path):
    feather = pytest.importorskip("pyarrow.feather")
    export_flow(blown(scene), scene, tmp_path / "all")
    names = sorted(path.name for path in (tmp_path / "all" / "demo-flow").iterdir())
    assert names == ["0.feather", "100000000.feather"]
    table = feather.read_table(tmp_path / "all" / "demo-flow" / "0.feather")
    assert table.num_rows == len(scene.clouds[0].points)


def test_other_suffixes_are_refused(scene, tmp_path):
    with pytest.raises(ValueError, match=r"not written as \.csv; use \.npz, \.ply, or a folder"):
        SceneFlow.from_clouds(scene, FAST).export(tmp_path / "flow.csv", torch.eye(4))
    assert not list(tmp_path.iterdir())


def test_a_checkpoint_exports_what_it_has(scene, tmp_path):
    model = blown(scene)
    model.export(tmp_path / "flow.npz", torch.eye(4))
    assert [len(cloud.points) for cloud in open_clouds(tmp_path / "flow.npz").clouds] == model.sizes.tolist()


# --- bad input -------------------------------------------------------------------------------------------------------


def test_nothing_left_to_fit_is_an_error():
    points = np.random.default_rng(0).uniform(50, 60, (40, 3)).astype(np.float32)
    far = CloudSequence("far", "test", (Cloud(points),) * 2, np.arange(2.0), np.stack([np.eye(4)] * 2), up=(0, 0, 1.0))
    with pytest.raises(ValueError, match="cloud 0: 0 of 40 points are within 35 m"):
        SceneFlow.from_clouds(far, FAST)


@pytest.mark.parametrize(
    "option",
    [("patience", 0), ("pair_steps", 0), ("lr", 0.0), ("cell", -1.0), ("min_delta", -1e-3)]
    + [("voxel", math.inf), ("reach", 0), ("rollout", 0), ("points", 0), ("static_speed", -1.0)],
)
def test_numbers_out_of_range(option):
    with pytest.raises(ValueError, match=f"{option[0]}: expected"):
        SceneFlowConfig(**dict([option]))


def test_options_of_other_presets_are_refused():
    with pytest.raises(ValueError, match="voxel: only for floxel, not for preset fast"):
        SceneFlowConfig(preset="fast", voxel=1.0)
    with pytest.raises(ValueError, match="repairs: only for fast, not for preset nsfp"):
        SceneFlowConfig(preset="nsfp", repairs=False)
