"""The commands on pictures and radiance fields: train to export, and what they say when something is off."""

import json

import numpy as np
import pytest
from PIL import Image

import cli
from scenes.picture.read import open_picture
from tests.ball import write_ball
from tests.commands import refused

SMALL = ["--parameters", "8000", "--batch", "256", "--units", "16"]


def ramp(width=24, height=20):
    y, x = np.mgrid[:height, :width]
    return np.stack([10 * x, 12 * y, 128 + 0 * x], axis=-1).astype(np.uint8)


@pytest.fixture(scope="module")
def picture(tmp_path_factory):
    path = tmp_path_factory.mktemp("pictures") / "ramp.png"
    Image.fromarray(ramp()).save(path)
    return path


@pytest.fixture(scope="module")
def run(picture, tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "ramp"
    assert cli.main(["train", "rbf-image", str(picture), *SMALL, "--steps", "150", "--out", str(out)]) == 0
    return out


# --- what works ------------------------------------------------------------------------------------------------------


def test_from_a_picture_to_its_scores(picture, run, capsys):
    document = json.loads((run / "config.json").read_text())
    assert document["method"] == "rbf-image" and document["scene"]["place"] == str(picture)
    assert document["scene"]["kind"] == "picture" and not (run / "split.json").exists()
    assert cli.main(["evaluate", str(run)]) == 0
    out = capsys.readouterr().out
    scores = json.loads((run / "eval" / "metrics.json").read_text())
    assert scores["psnr"] > 30 and f"{scores['psnr']:.2f}" in out and "no LPIPS" in out
    assert (run / "eval" / "report.html").exists()


def test_export_is_the_picture(run, tmp_path, capsys):
    assert cli.main(["export", str(run), "-o", str(tmp_path / "out.png")]) == 0
    assert "24x20, 8 bits, sRGB" in capsys.readouterr().out
    found = np.asarray(Image.open(tmp_path / "out.png")).astype(int)
    assert found.shape == (20, 24, 3) and np.abs(found - ramp()).mean() < 6


def test_render_writes_windows(run, tmp_path, capsys):
    """A window at its own size has the very pixels of the whole; a zoomed one as many as are asked for."""
    whole, part, zoom = (tmp_path / name for name in ("whole.png", "part.png", "zoom.png"))
    assert cli.main(["render", str(run), "-o", str(whole)]) == 0
    assert cli.main(["render", str(run), "-o", str(part), "--window", "0.25,0.5,0.75,1"]) == 0
    assert cli.main(["render", str(run), "-o", str(zoom), "--window", "0.25,0.5,0.75,1", "--size", "36x30"]) == 0
    assert "36x30" in capsys.readouterr().out
    whole, part, zoom = (np.asarray(Image.open(path)).astype(int) for path in (whole, part, zoom))
    assert whole.shape == (20, 24, 3) and np.abs(whole[10:, 6:18] - part).max() <= 1
    assert zoom.shape == (30, 36, 3) and np.abs(zoom[1::3, 1::3] - part).max() <= 1  # the middle of each 3 x 3


def test_render_writes_openexr(run, tmp_path):
    pytest.importorskip("OpenEXR")
    assert cli.main(["render", str(run), "-o", str(tmp_path / "out.exr")]) == 0
    assert open_picture(tmp_path / "out.exr").values.shape == (20, 24, 3)


def test_resume_finds_nothing_left_to_do(run, capsys):
    assert cli.main(["resume", str(run)]) == 0
    assert "150 steps" in capsys.readouterr().err


# --- what does not ---------------------------------------------------------------------------------------------------


def test_subjects_that_are_no_pictures(picture, tmp_path, capsys):
    train = ["train", "rbf-image"]
    out = ["--out", tmp_path / "run", "--steps", 2]
    assert "demo: a scene of photographs; give the file of a picture" in refused([*train, "demo", *out], capsys)
    assert "a folder; expected the file of a picture" in refused([*train, picture.parent, *out], capsys)
    said = refused([*train, picture.with_name("rmap.png"), *out], capsys)
    assert "no such file" in said and f"did you mean {picture}?" in said
    (tmp_path / "cut.png").write_bytes(picture.read_bytes()[:-30])
    said = refused([*train, tmp_path / "cut.png", *out], capsys)
    assert "cut.png: the picture cannot be decoded" in said and "copy or export it again" in said
    (tmp_path / "words.png").write_text("no picture at all")
    assert "words.png: the picture cannot be decoded" in refused([*train, tmp_path / "words.png", *out], capsys)
    assert not (tmp_path / "run").exists()


def test_a_scene_s_method_wants_no_picture(picture, tmp_path, capsys):
    said = refused(["train", "rbf", picture, "--out", tmp_path / "run", "--steps", 2], capsys)
    assert "ramp.png" in said and not (tmp_path / "run").exists()


def test_a_budget_without_room_for_a_grid(picture, tmp_path, capsys):
    words = ["train", "rbf-image", picture, "--parameters", 3000, "--steps", 2, "--out", tmp_path / "run"]
    assert "parameters: room for 0 grid nodes" in refused(words, capsys)
    assert not (tmp_path / "run").exists()


def test_a_run_folder_that_is_used(picture, run, capsys):
    assert f"fieldbench resume {run}" in refused(["train", "rbf-image", picture, "--out", run], capsys)


@pytest.mark.parametrize(
    "window", ["0,0,1", "0,0,1,1.5", "0,0,1.5,1", "-0.1,0,1,1", "0.5,0,0.5,1", "a,b,c,d", "0,0.9,1,0.1", "nan,0,1,1"]
)
def test_bad_windows(run, tmp_path, capsys, window):
    said = refused(["render", run, "-o", tmp_path / "out.png", "--window", window], capsys)
    assert f"--window {window}: expected LEFT,TOP,RIGHT,BOTTOM" in said
    assert not list(tmp_path.iterdir())


def test_renderings_that_a_picture_has_not(run, tmp_path, capsys):
    out = ["-o", tmp_path / "out.png"]
    assert "is a run of rbf-image, of which nothing is baked" in refused(["render", run, *out, "--baked"], capsys)
    assert "--path" in refused(["render", run, *out, "--path", "path.json"], capsys)
    assert "--size 12: expected WIDTHxHEIGHT" in refused(["render", run, *out, "--size", "12"], capsys)
    assert "written as .png or .exr" in refused(["render", run, "-o", tmp_path / "out.mp4"], capsys)
    assert "written as .png or .exr" in refused(["export", run, "-o", tmp_path / "out.jpg"], capsys)
    assert not list(tmp_path.iterdir())


def test_a_picture_that_has_gone(picture, tmp_path, capsys):
    moved, out = tmp_path / "moved.png", tmp_path / "run"
    moved.write_bytes(picture.read_bytes())
    assert cli.main(["train", "rbf-image", str(moved), *SMALL, "--steps", "2", "--out", str(out)]) == 0
    moved.unlink()
    said = refused(["evaluate", out], capsys)
    assert "moved.png" in said and f"write its new place into {out / 'config.json'}" in said
    Image.fromarray(ramp(24, 12)).save(moved)
    assert "not what" in refused(["evaluate", out], capsys)


# --- radiance fields -------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def ball_run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ball")
    write_ball(folder)
    flags = "--encoder dense --parameters 100000 --batch 4096 --samples-across 48 --units 16 --sh-degree 1 --steps 150"
    assert cli.main(["train", "rbf", str(folder), *flags.split(), "--out", str(folder / "run")]) == 0
    return folder / "run"


def test_a_radiance_field_from_photos_to_its_grid(ball_run, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("fields.bake.NODES", 65)
    monkeypatch.setattr("fields.bake.CELLS", 32)
    assert cli.main(["evaluate", str(ball_run)]) == 0
    scores = json.loads((ball_run / "eval" / "metrics.json").read_text())
    assert scores["method"] == "rbf" and scores["psnr"] > 18 and len(scores["views"]) == 2
    pictures = []
    for name, flags in (("exact", []), ("baked", ["--baked"])):
        out = tmp_path / name
        assert cli.main(["render", str(ball_run), "-o", str(out), "--frames", "2", "--size", "32x32", *flags]) == 0
        pictures.append(np.stack([np.asarray(Image.open(path)) for path in sorted(out.iterdir())]).astype(int))
    difference = np.abs(pictures[0] - pictures[1])
    assert pictures[0].shape == (2, 32, 32, 3) and 0 < difference.mean() < 8 < np.ptp(pictures[0])
    assert cli.main(["export", str(ball_run), "-o", str(tmp_path / "ball.npz")]) == 0
    assert "harmonics of degree 1" in capsys.readouterr().out
    assert np.load(tmp_path / "ball.npz")["harmonics"].shape[1] == 12


def test_windows_are_of_pictures(ball_run, tmp_path, capsys):
    said = refused(["render", ball_run, "-o", tmp_path / "out", "--window", "0,0,1,1"], capsys)
    assert "--window 0,0,1,1" in said and "is not of a picture; use --path" in said
    assert "ends in .npz" in refused(["export", ball_run, "-o", tmp_path / "out.ply"], capsys)
    assert not list(tmp_path.iterdir())
