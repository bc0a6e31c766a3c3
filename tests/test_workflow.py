"""The five commands on a folder of photos with the real method: train, stop, resume, evaluate, render, export."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import cli
from fields.checkpoint import latest
from fields.commands import parse
from fields.run import open_run
from fields.session import resume, start
from scenes.batches import view_batches
from tests.tiny_trainable import final_bytes
from train import train_run

FLAGS = "--steps 24 --random-points 300 --densify-every 4 --densify-start 3000 --densify-stop 27000 --sh-every 9000"


@pytest.fixture(scope="module")
def photos(tmp_path_factory) -> Path:
    """A Blender-style scene: a coloured ball on a transparent ground, seen from a ring."""
    folder = tmp_path_factory.mktemp("ball")
    size = 40
    y, x = np.mgrid[:size, :size] - size / 2 + 0.5
    ball = (x**2 + y**2 < 12**2).astype(np.uint8) * 255
    for part, count in (("train", 9), ("test", 3)):
        (folder / part).mkdir()
        frames = []
        for i in range(count):
            angle = 2 * math.pi * (i + 0.5 * (part == "test")) / count
            shade = 120 + 100 * np.sin(x / 4 + angle)
            picture = np.stack([shade, 255 - shade, 128 + 0 * shade, ball], axis=-1).round().astype(np.uint8)
            Image.fromarray(picture).save(folder / part / f"r_{i}.png")
            pose = np.eye(4)
            back = np.array([math.cos(angle), math.sin(angle), 0.4]) / math.sqrt(1.16)
            right = np.array([-math.sin(angle), math.cos(angle), 0.0])
            pose[:3, :3] = np.stack([right, np.cross(back, right), back], axis=1)
            pose[:3, 3] = 4 * back
            frames.append({"file_path": f"./{part}/r_{i}", "transform_matrix": pose.tolist()})
        document = {"camera_angle_x": 0.7, "frames": frames}
        (folder / f"transforms_{part}.json").write_text(json.dumps(document))
    return folder


def options(photos, out, extra):
    words = ["train", "splats", str(photos), "--out", str(out), *FLAGS.split(), *extra.split()]
    return parse(words)


def finish(session):
    batches = view_batches(session.subject, seed=session.run.seed, device="cpu")
    for _ in train_run(session, batches):
        pass
    return final_bytes(session.run)


@pytest.mark.parametrize("extra", ["", "--densify mcmc", "--absolute-gradients --antialiased --seed 3"])
def test_a_resumed_run_of_splats_is_bit_for_bit_the_same(photos, tmp_path, extra):
    whole = finish(start(options(photos, tmp_path / "whole", extra)))
    session = start(options(photos, tmp_path / "cut", extra))
    sizes = set()
    for stop in (1, 9, 17):
        reports = train_run(session, view_batches(session.subject, seed=session.run.seed, device="cpu"))
        for report in reports:
            sizes.add(report.counts["Gaussians"])
            if report.step == stop:
                break
        reports.close()
        session = resume(tmp_path / "cut")
        assert session.state.step == stop
    assert finish(session) == whole
    assert len(sizes) > 1, "densification took no part"


def test_another_seed_is_another_run(photos, tmp_path):
    assert finish(start(options(photos, tmp_path / "a", ""))) != finish(
        start(options(photos, tmp_path / "b", "--seed 1"))
    )


def test_the_five_commands(photos, tmp_path, capsys):
    run = tmp_path / "run"
    words = ["--steps", "24", "train", "splats", str(photos), "--out", str(run), "--random-points", "300"]
    assert cli.main(words) == 0
    assert "fieldbench evaluate" in capsys.readouterr().err
    assert cli.main(["resume", str(run)]) == 0  # nothing left to do

    assert cli.main(["evaluate", str(run)]) == 0
    out = capsys.readouterr().out
    scores = json.loads((run / "eval" / "metrics.json").read_text())
    assert f"{scores['psnr']:.2f}" in out and "test/r_0" in out and "no LPIPS" in out
    assert scores.keys() >= {
        "method", "scene", "split_file", "steps", "seed", "commit", "device", "machine", "threads",
        "train_seconds", "psnr", "ssim", "lpips", "lpips_reason", "psnr_masked", "ssim_masked", "views",
    }  # fmt: skip
    assert len(scores["views"]) == 3 and scores["steps"] == scores["step"] == 24 and scores["psnr"] > 10
    assert (run / "eval" / "report.html").stat().st_size > 5000
    assert len(list((run / "eval" / "views").glob("*.png"))) == 9

    frames = tmp_path / "frames"
    assert cli.main(["render", str(run), "-o", str(frames), "--frames", "3", "--size", "32x24"]) == 0
    assert [Image.open(p).size for p in sorted(frames.iterdir())] == [(32, 24)] * 3
    path = tmp_path / "camera_path.json"
    test = json.loads((photos / "transforms_test.json").read_text())["frames"][0]["transform_matrix"]
    steps = [{"camera_to_world": np.ravel(test).tolist(), "fov": math.degrees(0.7), "aspect": 1.0}]
    path.write_text(json.dumps({"camera_path": steps, "fps": 10}))
    assert cli.main(["render", str(run), "--path", str(path), "-o", str(tmp_path / "one"), "--size", "40x40"]) == 0
    ours = np.asarray(Image.open(tmp_path / "one" / "frame-00000.png")).astype(int)
    theirs = np.asarray(Image.open(run / "eval" / "views" / "000-render.png")).astype(int)
    assert np.abs(ours - theirs).max() <= 2  # the same camera by another way

    assert cli.main(["export", str(run), "-o", str(tmp_path / "out.ply")]) == 0
    assert (tmp_path / "out.ply").read_bytes().startswith(b"ply\n")


def test_scores_of_an_older_evaluation_do_not_linger(photos, tmp_path):
    run = tmp_path / "run"
    assert cli.main(["train", "splats", str(photos), "--out", str(run), "--steps", "2", "--random-points", "50"]) == 0
    assert cli.main(["evaluate", str(run), "--views", "train"]) == 0
    assert cli.main(["evaluate", str(run)]) == 0
    assert len(list((run / "eval" / "views").glob("*.png"))) == 9


def test_resuming_takes_the_thread_count_of_the_run(photos, tmp_path):
    session = start(options(photos, tmp_path / "run", ""))
    finish(session)
    before = torch.get_num_threads()
    document = json.loads((tmp_path / "run" / "config.json").read_text())
    assert document["threads"] == before
    (tmp_path / "run" / "config.json").write_text(json.dumps({**document, "threads": 1}))
    resume(tmp_path / "run")
    assert torch.get_num_threads() == 1
    torch.set_num_threads(before)


def test_a_run_of_a_gpu_is_looked_at_without_one_but_not_resumed(photos, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    run = tmp_path / "run"
    finish(start(options(photos, run, "--steps 2")))
    config = run / "config.json"
    config.write_text(json.dumps({**json.loads(config.read_text()), "device": "cuda"}))
    assert cli.main(["resume", str(run)]) == 1
    assert "sees no CUDA device here; resume it on" in capsys.readouterr().err
    assert cli.main(["export", str(run), "-o", str(tmp_path / "out.ply")]) == 0
    assert "it is loaded on the cpu" in capsys.readouterr().err


def test_checkpoint_of_a_missing_scene_is_kept(photos, tmp_path, capsys):
    moved = tmp_path / "moved"
    moved.symlink_to(photos)
    run = tmp_path / "run"
    start(options(moved, run, ""))
    config = run / "config.json"
    config.write_text(config.read_text().replace(str(photos), str(tmp_path / "gone")))
    assert cli.main(["resume", str(run)]) == 1
    text = capsys.readouterr().err
    assert "gone" in text and f"write its new place into {config}" in text
    assert latest(run / "checkpoint") is None and open_run(run).steps == 24
