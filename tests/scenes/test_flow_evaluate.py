"""Scores of a model's flow: frames, the gate beside, baselines, looks, the report; with and without labels."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from scenes.flow.evaluate import (
    flow_look,
    flow_table,
    predicted_flow,
    remark_of,
    score_flow,
    scored_part,
    write_flow_scores,
)
from scenes.flow.report import write_flow_report
from scenes.flow.sequence import CloudSequence
from tests.scenes.moving_points import sequence

KEYS = [
    "epe3d",
    "acc_strict",
    "acc_relaxed",
    "outliers",
    "epe_fd",
    "epe_fs",
    "epe_bs",
    "bucket_dynamic",
    "angle_nsfp",
    "angle_av2",
]
FACTS = {
    "method": "sceneflow",
    "scene": "few points",
    "step": 1,
    "steps": 1,
    "seed": 0,
    "train_seconds": 1.0,
    "device": "cpu",
    "machine": "here",
    "threads": 1,
    "split": "all",
    "commit": None,
}


class Oracle(torch.nn.Module):
    """The true motion of `scene`'s points, found by the nearest one; gate: nothing moves."""

    def __init__(self, scene: CloudSequence) -> None:
        super().__init__()
        self.one = scene.in_one_frame(0)
        self.scale = torch.nn.Parameter(torch.tensor(1.0))

    def flow(self, points, t0, t1, gate=True):
        assert t1 == t0 + 1
        cloud = self.one.clouds[int(t0)]
        nearest = torch.cdist(points, torch.from_numpy(cloud.points)).argmin(dim=1)
        return (0.0 if gate else self.scale) * torch.from_numpy(cloud.flow)[nearest]


class Open(Oracle):
    """The same without a gate."""

    def flow(self, points, t0, t1, gate=True):
        return super().flow(points, t0, t1, gate=False)


@pytest.fixture(scope="module")
def scene():
    """Two still and moving classes under a sensor that moves and turns."""
    scene = sequence(frames=4, count=60)
    moving = [None if c.flow is None else np.linalg.norm(c.flow, axis=1) > 0.05 for c in scene.clouds]
    clouds = tuple(replace(c, dynamic=m) for c, m in zip(scene.clouds, moving, strict=True))
    return replace(scene, clouds=clouds)


def test_true_flow_in_the_world_scores_perfectly(scene, tmp_path):
    """Although the sensor turns between all clouds, so that every pair has a frame of its own."""
    told = []
    found = score_flow(Open(scene), scene, solve_seconds=2.5, pictures=tmp_path, report=told.append)
    assert found.scores.epe3d < 1e-5 and found.scores.acc_strict == 1 and told == [1, 2, 3]
    assert found.ungated == found.scores and found.baselines["zero"].epe3d > 0.1
    assert set(found.baselines) == {"zero", "rigid", "still"} and len(found.pairs) == 3
    numbers = np.concatenate([pair.source.instances for pair in scored_part(scene).pairs()])
    assert set(found.objects) == {*numbers.tolist()} - {0}
    assert found.scores.points == sum(len(pair.source.points) for pair in scored_part(scene).pairs())
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == [f"00{t}-{kind}.png" for t in range(3) for kind in ("after", "before", "error")]
    before, after = (np.asarray(Image.open(tmp_path / f"000-{kind}.png")) for kind in ("before", "after"))
    blue, orange = (lambda a: (a == (42, 111, 219)).all(-1).sum()), (lambda a: (a == (240, 140, 40)).all(-1).sum())
    assert blue(before) and orange(before) > 2 * orange(after), "moved points hide the target"


def test_what_is_gated_stands_beside_what_is_not(scene):
    found = score_flow(Oracle(scene), scene, solve_seconds=0.0)
    assert found.scores == found.baselines["zero"] and found.ungated.epe3d < 1e-5
    columns = [column.header for column in flow_table(found).columns]
    assert columns[:3] == ["score", "fitted", "fitted, no gate"]
    assert "3 pairs; solved in 0.0 s" in remark_of(found)


def test_metrics_json_has_what_was_promised(scene, tmp_path):
    found = score_flow(Oracle(scene), scene, solve_seconds=2.5)
    write_flow_scores(tmp_path / "metrics.json", found, {"method": "sceneflow", "seed": 3})
    read = json.loads((tmp_path / "metrics.json").read_text())
    for part in (read, read["without_gate"], *read["baselines"].values(), *read["pairs"]):
        assert all(isinstance(part[key], float) for key in KEYS if key not in part["reasons"])
    assert read["solve_seconds"] == 2.5 and read["seed"] == 3 and len(read["pairs"]) == 3
    assert read["epe3d"] == read["baselines"]["zero"]["epe3d"] > read["without_gate"]["epe3d"]
    assert set(read["objects"]) == {str(number) for number in found.objects}


def test_without_labels_scores_are_null_with_a_reason(scene, tmp_path):
    bare = replace(
        scene, clouds=tuple(type(c)(c.points, instances=c.instances) for c in scene.clouds), trajectories=None
    )
    found = score_flow(Open(scene), bare, solve_seconds=1.0, pictures=tmp_path)
    document = write_flow_scores(tmp_path / "metrics.json", found, {})
    assert all(document[key] is None and document["reasons"][key] == "no flow labels" for key in KEYS)
    assert document["objects"] == {} and flow_look(bare) is None
    assert "–" in str(list(flow_table(found).columns[1].cells)) and "no flow labels" in remark_of(found)
    assert not list(tmp_path.glob("*error.png"))


def test_labels_that_leave_nothing_to_score_do_not_stop_a_fit(scene):
    first = scene.clouds[0]
    assert first.flow is not None
    pair = scene.steps(0, 2)
    unknown = replace(pair, clouds=(replace(first, valid=np.zeros(len(first.points), bool)), pair.clouds[1]))
    found = score_flow(Open(scene), unknown, solve_seconds=1.0)
    assert flow_look(unknown) is None and found.scores.reasons["epe3d"] == "no point with a valid flow label"
    buried = replace(pair, clouds=(replace(first, ground=np.ones(len(first.points), bool)), pair.clouds[1]))
    assert flow_look(buried) is None
    with pytest.raises(ValueError, match=r"cloud 0: 0 of \d+ points are off the ground; check labels of ground"):
        score_flow(Open(scene), buried, solve_seconds=1.0)


def test_a_look_is_the_error_at_the_same_labelled_points(scene):
    look = flow_look(scene)
    assert look is not None and look(Open(scene)) < 1e-5
    everything = score_flow(Oracle(scene), scene, solve_seconds=0.0).scores.epe3d
    assert look(Oracle(scene)) == look(Oracle(scene)) == pytest.approx(everything, rel=0.2)


def test_flow_of_one_pair_is_in_the_second_sensor_s_frame(scene):
    pair = scene.pair(1)
    np.testing.assert_allclose(predicted_flow(Open(scene), scene, 1, pair), pair.source.flow, atol=1e-5)


def test_a_flow_that_is_not_finite_is_refused(scene):
    model = Open(scene)
    with torch.no_grad():
        model.scale.fill_(float("nan"))
    with pytest.raises(ValueError, match="NaN or infinity; the fit has diverged"):
        score_flow(model, scene, solve_seconds=0.0)


def test_the_report_stands_alone(scene, tmp_path):
    found = score_flow(Oracle(scene), scene, solve_seconds=2.5, pictures=tmp_path / "views")
    history = [{"step": step, "loss": 1 / step, "epe3d": 0.1} for step in range(1, 9)]
    write_flow_report(tmp_path / "report.html", found, FACTS, history, tmp_path / "views", remark_of(found))
    page = (tmp_path / "report.html").read_text()
    assert page.count("data:image/png;base64,") == 9 and 'src="http' not in page
    assert "fitted, no gate" in page and "end-point error" in page and "solved in 2.5 s" in page
