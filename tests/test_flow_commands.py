"""The commands on moving clouds: train to export, resuming, and what they say when something is off."""

import json
from pathlib import Path

import numpy as np
import pytest

import cli
from fields.checkpoint import latest, read_checkpoint
from fields.options import parse_train
from fields.session import start
from scenes.flow.load import open_clouds
from tests.commands import refused
from train import train_run

TRAIN = ["train", "sceneflow"]
SHORT = ["--preset", "fast", "--pair-steps", "3"]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "street"
    assert cli.main([*TRAIN, "demo-flow", "--frames", "3", *SHORT, "--out", str(out)]) == 0
    return out


def pair_file(path, **arrays):
    """An npz pair as NSFP writes them, with 40 points that move by 0.1 m."""
    points = np.random.default_rng(0).uniform(-5, 5, (40, 3)).astype(np.float32)
    np.savez(path, **({"pc1": points, "pc2": points + np.float32(0.1), "flow": np.full_like(points, 0.1)} | arrays))
    return path


# --- what works ------------------------------------------------------------------------------------------------------


def test_from_clouds_to_scores(run, capsys):
    document = json.loads((run / "config.json").read_text())
    assert document["scene"]["kind"] == "clouds" and document["scene"]["place"] == "demo-flow"
    assert document["scene"]["demo"]["frames"] == 3 and document["scene"]["frames"] == 3
    assert not (run / "split.json").exists() and latest(run / "checkpoint").name == "step-00000006"
    history = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert any("epe3d" in line for line in history) and history[-1]["step"] == 6, "a last look at an early end"
    assert cli.main(["evaluate", str(run)]) == 0
    said = capsys.readouterr().out
    scores = json.loads((run / "eval" / "metrics.json").read_text())
    assert scores["epe3d"] > 0 and scores["baselines"]["zero"]["epe_fd"] > 0.3 and len(scores["pairs"]) == 2
    assert f"{scores['epe3d']:.4f}" in said and "rigid" in said and "solved in" in said
    assert scores["solve_seconds"] > scores["train_seconds"] > 0 and scores["method"] == "sceneflow"
    page = (run / "eval" / "report.html").read_text()
    assert "data:image/png" in page and "what moves drifts" in page
    drift, gain = scores["trajectories"]["drift"], scores["accumulation"]["gain"]
    assert f"drifts {drift:.3f} m" in said.replace("\n", " ") and f"({gain:.1f} times)" in said and drift > 0.1


def test_export_and_render(run, tmp_path, capsys):
    assert cli.main(["export", str(run), "-o", str(tmp_path / "flow.npz")]) == 0
    assert "3 clouds, flow free of ego motion" in capsys.readouterr().out
    assert len(open_clouds(tmp_path / "flow.npz")) == 3
    assert cli.main(["render", str(run), "-o", str(tmp_path / "orbit"), "--frames", "2", "--size", "64x48"]) == 0
    assert len(list((tmp_path / "orbit").iterdir())) == 2
    assert ".csv; use .npz, .ply" in refused(["export", run, "-o", tmp_path / "flow.csv"], capsys)


def test_a_run_that_was_stopped_goes_on_exactly(run, tmp_path):
    """Stopped amid the first pair."""
    stopped = tmp_path / "run"
    words = ["sceneflow", "demo-flow", "--frames", "3", *SHORT, "--out", str(stopped)]
    reports = train_run(start(parse_train(words, "train")), lambda step: None)
    for _ in range(2):
        next(reports)
    reports.close()
    assert read_checkpoint(stopped / "checkpoint").step == 2
    assert cli.main(["resume", str(stopped)]) == 0
    ends = [read_checkpoint(folder / "checkpoint") for folder in (run, stopped)]
    assert ends[0].step == ends[1].step == 6
    for name, value in ends[0].weights.items():
        assert name == "setup_seconds" or np.array_equal(value, ends[1].weights[name]), name
    for name, value in ends[0].optimiser.items():
        assert np.array_equal(value, ends[1].optimiser[name]), name


def test_a_pair_in_a_file(tmp_path):
    out = tmp_path / "run"
    words = [*TRAIN, str(pair_file(tmp_path / "pair.npz")), "--preset", "nsfp", "--pair-steps", "3", "--up", "+z"]
    assert cli.main([*words, "--out", str(out)]) == 0
    assert json.loads((out / "config.json").read_text())["scene"]["up"] == "+z"


# --- what does not ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("train sceneflow demo", "demo: a scene of photographs; give a file or folder of clouds, or `demo-flow`"),
        ("train splats demo-flow", "demo-flow: moving clouds; give a folder of photos with poses, or `demo`"),
        ("train rbf-image demo-flow", "demo-flow: moving clouds; give the file of a picture"),
        ("train sceneflow demo-flow --max-size 100", "--max-size: only for a scene of photographs; sceneflow is"),
        ("train sceneflow demo-flow --split s.json", "--split: only for a scene of photographs; sceneflow is"),
        ("train rbf-image p.png --masks ignore", "--masks: only for a scene of photographs; rbf-image is trained on a"),
        ("train rbf-shape m.obj --max-size 9", "--max-size: only for a scene of photographs; rbf-shape is trained on"),
        ("train splats demo --frames 5", "--frames: only for moving clouds; splats is trained on a scene of"),
        ("train splats demo --up +z", "--up: only for moving clouds"),
        ("train sceneflow demo-flow --up +z", "demo-flow knows what is up; leave it out"),
        ("train sceneflow demo-flow --first 19", "--first 19: demo-flow has 20 clouds, so expected at most 18"),
        ("train sceneflow demo-flwo", "no such file or folder"),
    ],
)
def test_words_that_make_no_sense(words, said, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert said in refused([*words.split(), "--out", tmp_path / "run"], capsys)
    assert not (tmp_path / "run").exists()


def test_too_few_clouds(tmp_path, capsys):
    path = pair_file(tmp_path / "pair.npz")
    out = [*SHORT, "--out", tmp_path / "run"]
    assert "only 2 clouds from number 0 on, 5 were asked for" in refused([*TRAIN, path, "--frames", 5, *out], capsys)
    assert refused([*TRAIN, path, "--first", 1, *out], capsys)
    assert not (tmp_path / "run").exists()


def damaged(path):
    path.write_bytes(pair_file(path).read_bytes()[:-200])


POINTS = np.random.default_rng(1).uniform(-5, 5, (40, 3)).astype(np.float32)
BAD = {
    "empty": ({"pc1": POINTS[:0], "flow": POINTS[:0]}, "needs at least 3"),
    "one point": ({"pc1": POINTS[:1], "flow": POINTS[:1]}, "needs at least 3"),
    "nothing finite": ({"pc2": POINTS * np.float32(np.nan)}, "0 of 40 points are without NaN"),
    "kilometres apart": ({"pc2": POINTS + np.float32(5000)}, "m apart with ego motion taken out"),
    "labels of another length": ({"flow": POINTS[:-1]}, "flow has 39 rows for 40 points"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_clouds(name, tmp_path, capsys):
    arrays, said = BAD[name]
    path = pair_file(tmp_path / "pair.npz", **arrays)
    assert said in refused([*TRAIN, path, *SHORT, "--out", tmp_path / "run"], capsys)
    assert not (tmp_path / "run").exists()


def test_a_truncated_file(tmp_path, capsys):
    damaged(tmp_path / "pair.npz")
    assert "pair.npz" in refused([*TRAIN, tmp_path / "pair.npz", *SHORT, "--out", tmp_path / "run"], capsys)


def test_a_few_points_that_are_not_finite_are_dropped(tmp_path, capsys):
    points = POINTS.copy()
    points[3] = np.inf
    path = pair_file(tmp_path / "pair.npz", pc1=points)
    assert cli.main([*map(str, [*TRAIN, path, *SHORT, "--out", tmp_path / "run"])]) == 0
    assert "1 of 40 points dropped" in capsys.readouterr().err


def test_clouds_that_have_changed_or_gone(tmp_path, capsys):
    path, out = pair_file(tmp_path / "pair.npz"), tmp_path / "run"
    assert cli.main([*map(str, [*TRAIN, path, *SHORT, "--out", out])]) == 0
    pair_file(path, pc1=POINTS[:30], flow=POINTS[:30])
    assert "not the clouds that were fitted (2 with 70 points to fit, then 2 with 80)" in refused(
        ["evaluate", out], capsys
    )
    path.unlink()
    assert "write its new place into" in refused(["evaluate", out], capsys)
    assert cli.main(["export", str(out), "-o", str(tmp_path / "flow.npz")]) == 0, "the checkpoint holds the clouds"
    assert "Only the points that were fitted are written" in capsys.readouterr().err
    assert Path(tmp_path / "flow.npz").exists()
