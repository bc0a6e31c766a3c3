"""Scoring runs of a picture and of a shape: every file that is written, and what stands in it."""

import functools
import io
import json
import math

import numpy as np
import pytest
import torch
from PIL import Image
from rich.console import Console

import fields
from fields.commands import parse
from fields.scoring import score_run
from fields.session import load_model, start
from scenes.picture.picture import pixel_centres
from scenes.shape.evaluate import score_shape
from train import train_run

FACTS = {
    "method", "scene", "scene_path", "steps", "step", "seed", "params", "bytes", "commit", "device", "machine",
    "threads", "train_seconds",
}  # fmt: skip


def trained(words):
    """The run of a `train` command, trained to its end."""
    session = start(parse(["train", *map(str, words)]))
    for _ in train_run(session, fields.batches(session.run.config, session.subject, seed=0, device="cpu")):
        pass
    return session.run


def scored(run):
    """The document of a scored run, and its table and remark as text."""
    console = Console(record=True, width=160, file=io.StringIO())
    found = score_run(run.folder, console=console)
    console.print(found.table, found.remark)
    assert found.report == run.folder / "eval" / "report.html"
    return json.loads((run.folder / "eval" / "metrics.json").read_text()), console.export_text(), found


def bytes_of(run):
    model, _ = load_model(run)
    return sum(tensor.nbytes for tensor in model.state_dict().values())


@pytest.fixture(scope="module")
def picture_run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("picture")
    y, x = np.mgrid[:20, :24]
    rgb = np.stack([10 * x, 12 * y, 128 + 0 * x], axis=-1).astype(np.uint8)
    Image.fromarray(rgb).save(folder / "ramp.png")
    flags = ["--parameters", 8000, "--batch", 256, "--units", 16, "--steps", 40, "--out", folder / "run"]
    return trained(["rbf-image", folder / "ramp.png", *flags])


def test_a_run_of_a_picture(picture_run):
    document, text, found = scored(picture_run)
    assert document.keys() >= FACTS | {"psnr", "ssim", "lpips", "lpips_reason", "views"}
    assert (document["method"], document["scene"]) == ("rbf-image", "ramp")
    assert document["steps"] == document["step"] == 40 and document["train_seconds"] > 0
    assert 0.8 * 8000 < document["params"] <= 8000 and document["bytes"] == bytes_of(picture_run)
    assert document["bytes"] >= 4 * document["params"]
    assert (
        document["views_scored"] == "all pixels"
        and document["lpips"] is None
        and "pictures" in document["lpips_reason"]
    )
    (view,) = document["views"]
    assert view["name"] == "ramp" and view["psnr"] == document["psnr"] and 0.5 < document["ssim"] <= 1
    assert f"{document['psnr']:.2f}" in text and found.remark.startswith("no LPIPS: ")


def test_its_psnr_is_that_of_its_model_and_its_file(picture_run):
    document, _, _ = scored(picture_run)
    model, checkpoint = load_model(picture_run)
    truth = torch.from_numpy(np.asarray(Image.open(picture_run.source.place)).copy()).double() / 255
    guess = model(pixel_centres(0, 20, 24, 20).reshape(-1, 2)).detach().clamp(0, 1).double().reshape(20, 24, 3)
    assert document["psnr"] == pytest.approx(-10 * math.log10((guess - truth).square().mean()), abs=1e-3)
    assert document["train_seconds"] == checkpoint.seconds


def test_its_pictures_and_page(picture_run):
    views = picture_run.folder / "eval" / "views"
    views.mkdir(parents=True, exist_ok=True)
    (views / "007-render.png").write_bytes(b"of an older evaluation")
    scored(picture_run)
    assert sorted(path.name for path in views.iterdir()) == [f"000-{kind}.png" for kind in ("error", "render", "truth")]
    assert all(Image.open(path).size == (24, 20) for path in views.iterdir())
    page = (picture_run.folder / "eval" / "report.html").read_text()
    assert "ramp" in page and "PSNR" in page and "rbf-image" in page and len(page) > 5000


def test_a_run_of_a_shape(tmp_path, monkeypatch):
    pytest.importorskip("igl")
    pytest.importorskip("skimage")
    trimesh = pytest.importorskip("trimesh")
    monkeypatch.setattr("fields.looks.POINTS", 5000)
    monkeypatch.setattr(
        "fields.scoring.score_shape",
        functools.partial(score_shape, resolution=48, points=20_000, picture_size=24),
    )
    trimesh.creation.icosphere(subdivisions=3, radius=2.0).export(tmp_path / "ball.obj")
    flags = ["--parameters", 30_000, "--batch", 1024, "--units", 16, "--pool", 20_000, "--steps", 200]
    run = trained(["rbf-shape", tmp_path / "ball.obj", *flags, "--grid-lr", "0.02", "--out", tmp_path / "run"])
    document, text, found = scored(run)
    assert document.keys() >= FACTS | {"giou", "iou", "chamfer", "normal_consistency", "fscore", "tau", "views"}
    assert (document["method"], document["scene"], document["step"]) == ("rbf-shape", "ball", 200)
    assert document["params"] <= 30_000 and document["bytes"] == bytes_of(run) and document["train_seconds"] > 0
    assert document["iou"] > 0.9 and document["giou"] > 0.5 and document["normal_consistency"] > 0.8
    assert 0 < document["chamfer"] < 0.05 and 0 < document["fscore"] <= 1
    assert document["points"] == 20_000 and document["resolution"] == 48
    assert f"{document['iou']:.5f}" in text and "normal consistency" in text and not found.remark
    assert len(list((run.folder / "eval" / "views").glob("00?-*.png"))) == 9
    assert "ball" in found.report.read_text()
