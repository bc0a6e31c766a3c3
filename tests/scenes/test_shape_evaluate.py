"""Scores of a whole shape: a ball against the ball's mesh, its table, its page, shapes without a surface."""

import json
import math

import numpy as np
import pytest
import torch
from rich.console import Console

from scenes.shape.evaluate import VIEWS, score_shape, shape_table, write_shape_scores
from scenes.shape.mesh import make_mesh
from scenes.shape.report import write_shape_report
from scenes.shape.shape import Shape, open_shape

pytest.importorskip("igl")
pytest.importorskip("skimage")
trimesh = pytest.importorskip("trimesh")
SMALL = {"resolution": 48, "points": 20_000, "picture_size": 24}
FACTS = {
    "method": "rbf-shape",
    "scene": "<ball> & co",
    "step": 10,
    "steps": 20,
    "seed": 3,
    "train_seconds": 12.34,
    "device": "cpu",
    "machine": "a machine",
    "threads": 2,
    "split": "none",
    "commit": "0123456789abcdef",
}


@pytest.fixture(scope="module")
def shape():
    from scenes.shape.distance import SignedDistance

    ball = trimesh.creation.icosphere(subdivisions=4, radius=2.0)
    mesh = make_mesh(np.asarray(ball.vertices), np.asarray(ball.faces))
    return Shape("ball", mesh, SignedDistance(mesh))


def ball(radius):
    return lambda points: points.norm(dim=1) - radius


def test_the_right_ball_scores_well(shape, tmp_path):
    scores = score_shape(ball(0.9493), shape, pictures=tmp_path, **SMALL)
    assert scores.giou > 0.99 and scores.iou > 0.995
    assert scores.surface is not None
    assert scores.surface.chamfer < 2e-3 and scores.surface.fscore > 0.99
    assert scores.surface.normal_consistency > 0.995
    assert list(scores.views) == list(VIEWS) and max(scores.views.values()) < 0.02
    assert len(list(tmp_path.glob("00?-*.png"))) == 9


def test_a_smaller_ball_has_the_iou_of_its_volume(shape):
    scores = score_shape(ball(0.8), shape, **SMALL)
    assert scores.iou == pytest.approx((0.8 / 0.95) ** 3, abs=0.02)
    assert scores.surface is not None and scores.surface.chamfer == pytest.approx(0.15, abs=3e-3)
    assert scores.surface.fscore == 0 and not scores.views


def test_no_surface_is_told_not_raised(shape, tmp_path):
    scores = score_shape(lambda points: torch.ones(len(points)), shape, **SMALL)
    assert scores.surface is None and scores.iou == scores.giou == 0
    document = write_shape_scores(tmp_path / "scores.json", scores, FACTS)
    assert json.loads((tmp_path / "scores.json").read_text()) == document
    assert document["chamfer"] is None and document["points"] == 20_000
    assert "no surface in the cube" in printed(scores)


def test_a_field_that_diverged_is_refused(shape):
    with pytest.raises(ValueError, match="this model has diverged"):
        score_shape(lambda points: torch.full((len(points),), math.nan), shape, **SMALL)


def test_table_and_page(shape, tmp_path):
    scores = score_shape(ball(0.9), shape, pictures=tmp_path, **SMALL)
    text = printed(scores)
    assert f"{scores.giou:.5f}" in text and "marching cubes at 48, within 0.005" in text
    history = [{"step": step, "loss": 1 / step, "giou": 1 - 1 / step} for step in range(1, 9)]
    write_shape_report(tmp_path / "report.html", scores, FACTS, history, tmp_path)
    page = (tmp_path / "report.html").read_text()
    assert page.count('src="data:image/png;base64,') == 9 and "&lt;ball&gt; &amp; co" in page
    assert f"{scores.giou:.5f}" in page and page.count("<svg") == 2
    assert "not enough points" not in page


def test_open_shape(tmp_path):
    trimesh.creation.box((1, 2, 4)).export(tmp_path / "block.stl")
    shape = open_shape(tmp_path / "block.stl")
    assert shape.name == "block" and shape.world_from_input.dtype == torch.float32
    corner = shape.world_from_input @ torch.tensor([0.5, 1.0, 2.0, 1.0])
    assert corner[:3].norm().item() == pytest.approx(0.95, abs=1e-6)
    assert shape.distance(np.zeros((1, 3)))[0] < 0


def printed(scores):
    console = Console(width=120)
    with console.capture() as capture:
        console.print(shape_table(scores))
    return capture.get()
