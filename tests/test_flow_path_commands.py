"""`fieldbench accumulate` and `fieldbench trajectories` on a small run of scene flow."""

import shutil

import numpy as np
import pytest
import torch

import cli
from fields.flow_path_scores import path_scores, remark_on_paths
from fields.flow_paths import STILL
from fields.run import open_run, subject_of
from fields.session import load_model
from scenes.flow.evaluate import scored_part
from scenes.flow.export import write_flow_ply, write_npz
from scenes.flow.load import open_clouds
from scenes.flow.sequence import CloudSequence
from scenes.point_cloud import read_point_cloud, read_vertices
from scenes.synthetic.moving import FlowConfig, demo_flow
from tests.commands import refused
from tests.tiny_trainable import new_run

FRAMES = 3


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """The folder of a run that has hardly been fitted, beside its data."""
    folder = tmp_path_factory.mktemp("flow")
    write_npz(folder / "street.npz", demo_flow(FlowConfig(frames=FRAMES, beams=16, columns=200)))
    words = f"train sceneflow {folder}/street.npz --preset fast --cell 0.5 --steps 30 --out {folder}/run"
    assert cli.main(words.split()) == 0
    return folder / "run"


def done(words, capsys):
    """What a command that succeeds says."""
    capsys.readouterr()
    assert cli.main([str(word) for word in words]) == 0
    return capsys.readouterr()


@pytest.mark.parametrize("at", [None, 0, 0.5, 2])
def test_accumulation_keeps_every_point_and_moves_only_fitted_ones(run, tmp_path, capsys, at):
    said = done(["accumulate", run, tmp_path / "all.ply", *([] if at is None else ["--at", at])], capsys)
    data = open_clouds(run.parent / "street.npz").in_one_frame(0)
    counts = [len(cloud.points) for cloud in data.clouds]
    assert f"{sum(counts):,} points of 3 clouds, brought to time {1 if at is None else at}," in said.out
    _, columns = read_vertices(tmp_path / "all.ply")
    assert np.bincount(columns["cloud"]).tolist() == counts
    points, model = np.stack([columns[axis] for axis in "xyz"], axis=1), load_model(open_run(run))[0]
    for t, cloud in enumerate(data.clouds):
        own = points[columns["cloud"] == t]
        fitted = len(model.clouds[t])
        seen = {tuple(row) for row in cloud.points.round(3)}
        assert sum(tuple(row) in seen for row in own[fitted:].round(3)) > 0.99 * (counts[t] - fitted)
        moved = model.flow(model.clouds[t], t, 1 if at is None else at).detach()
        carried = torch.from_numpy(own[:fitted]) - model.clouds[t]
        fast = carried.norm(dim=1) > 0
        if abs(t - (1 if at is None else at)) == 1:  # one step: either all of it or nothing
            torch.testing.assert_close(carried[fast], moved[fast], atol=1e-5, rtol=0)
            assert moved[~fast].norm(dim=1).max() < STILL + 1e-5 and fast.any() and not fast.all()


def test_accumulation_of_fitted_points_within_a_span(run, tmp_path, capsys):
    done(["accumulate", run, tmp_path / "some.npz", "--at", 0, "--span", 1, "--without-ground"], capsys)
    found, model = np.load(tmp_path / "some.npz"), load_model(open_run(run))[0]
    assert np.bincount(found["cloud"]).tolist() == [len(cloud) for cloud in model.clouds[:2]]


def test_without_the_data_only_fitted_points_come_along(run, tmp_path, capsys):
    shutil.copytree(run, tmp_path / "run")
    config = tmp_path / "run" / "config.json"
    config.write_text(config.read_text().replace("street.npz", "gone.npz"))
    said = done(["accumulate", tmp_path / "run", tmp_path / "fitted.ply"], capsys)
    assert "warning:" in said.err and "Only the points that were fitted" in said.err
    model = load_model(open_run(run))[0]
    assert len(read_point_cloud(tmp_path / "fitted.ply")[0]) == sum(len(cloud) for cloud in model.clouds)


@pytest.mark.parametrize("method", [None, "euler", "rk4"])
def test_trajectories_read_back_as_moving_clouds(run, tmp_path, capsys, method):
    words = ["trajectories", run, tmp_path / "paths.npz", "--every", 7, "--at", 1]
    said = done(words + ([] if method is None else ["--method", method]), capsys)
    model = load_model(open_run(run))[0]
    scene, start = open_clouds(tmp_path / "paths.npz"), model.clouds[1][::7]
    assert f"{len(start)} points at 3 times" in said.out and "drift" in said.out
    np.testing.assert_array_equal(scene.clouds[1].points, start.numpy())
    np.testing.assert_allclose(scene.trajectories.points[:, 1], start.numpy(), atol=1e-5)
    ahead = (start + model.flow(start, 1, 2)).detach().numpy()
    off = np.linalg.norm(scene.clouds[2].points - ahead, axis=1).max()
    assert off < 1e-5 if method != "rk4" else off > 1e-5


def test_points_of_a_file_are_followed_though_nothing_ever_saw_them(run, tmp_path, capsys):
    points = np.array([[5.0, 3, 1], [8, -2, 0.5], [0, 0, 3], [20, 4, 2]], np.float32)
    write_flow_ply(tmp_path / "mine.ply", points, points)
    done(["trajectories", run, tmp_path / "paths.ply", "--points", tmp_path / "mine.ply", "--at", 0.5], capsys)
    _, columns = read_vertices(tmp_path / "paths.ply")
    assert np.bincount(columns["point"]).tolist() == [FRAMES] * 4


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("accumulate RUN x.csv", "x.csv: expected a name that ends in .npz or .ply"),
        ("accumulate RUN x.ply --at 2.5", "time 2.5: expected 0 to 2, counted in clouds"),
        ("accumulate RUN x.ply --at nan", "time nan: expected 0 to 2"),
        ("accumulate RUN x.ply --span -1", "span -1.0: expected 0 or more"),
        ("accumulate RUN x.ply --at 0.5 --span 0.1", "no cloud is so near to time 0.5"),
        ("accumulate RUN RUN/config.json/x.ply", "config.json/x.ply: not written"),
        ("accumulate RUN x.ply --still -1", "still -1.0: expected 0 or more metres"),
        ("accumulate nowhere x.ply", "nowhere: not a run folder"),
        ("trajectories RUN x.txt", "x.txt: expected a name that ends in .npz or .ply"),
        ("trajectories RUN x.npz --at -1", "time -1: expected 0 to 2"),
        ("trajectories RUN x.npz --every 0", "--every 0: expected 1 or more"),
        ("trajectories RUN x.npz --every 2 --points y.ply", "--points and --every: give one of them"),
        ("trajectories RUN x.npz --points nowhere.ply", "nowhere.ply: No such file"),
        ("trajectories RUN x.npz --points RUN/config.json", "config.json: no point cloud that can be read here"),
    ],
)
def test_mistakes_get_one_clear_message(run, tmp_path, capsys, monkeypatch, words, message):
    monkeypatch.chdir(tmp_path)
    assert message in refused(words.replace("RUN", str(run)).split(), capsys)
    assert not list(tmp_path.iterdir())


def test_the_default_preset_refuses_what_only_integrated_ones_have_a_use_for(run, tmp_path, capsys):
    done(["train", "sceneflow", run.parent / "street.npz", "--steps", 2, "--out", tmp_path / "bodies"], capsys)
    said = refused(["accumulate", tmp_path / "bodies", tmp_path / "x.ply", "--still", 0.1], capsys)
    assert "--still 0.1: the preset bodies judges for itself what stands; leave it out" in said
    said = refused(["trajectories", tmp_path / "bodies", tmp_path / "x.npz", "--method", "rk4"], capsys)
    assert "--method rk4: the preset bodies knows its motion between any two times" in said


def test_a_run_in_which_nothing_moves(tmp_path, capsys):
    still = new_run(tmp_path / "run")
    for command in ("accumulate", "trajectories"):
        said = refused([command, still.folder, tmp_path / "x.ply"], capsys)
        assert "a run of splats, in which nothing moves; give one of sceneflow" in said


def test_scores_of_paths_are_plain_data_with_a_line_for_the_terminal(run):
    opened = open_run(run)
    sequence, model = subject_of(opened), load_model(opened)[0]
    assert isinstance(sequence, CloudSequence)
    paths, accumulation = path_scores(model, scored_part(sequence))
    assert paths.drift is not None and paths.drift == pytest.approx(paths.as_json()["drift"]) and len(paths.times) == 2
    assert accumulation.carried is not None and accumulation.as_json()["objects"]
    assert f"{paths.drift:.3f} m by the last cloud" in remark_on_paths(paths, accumulation)
    blind = path_scores(model, sequence.steps(1))  # its trajectories were of the cloud left out
    assert blind[0].drift is None and "no trajectories" in remark_on_paths(*blind)
