"""The command line: quick to answer, forgiving about order, precise about what is wrong."""

import dataclasses
import json
import os
import subprocess
import sys
import warnings
from pathlib import Path

import pytest

import cli
from fields.commands import parse
from fields.config import SplatsConfig
from fields.options import TrainOptions, first_named, parse_train, run_command
from fields.rendering import picture_size
from tests.tiny_trainable import new_run, session, targets
from train import main as train_main
from train import train_run

ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize("words", [["--help"], ["train", "--help"], ["train", "splats", "--help"], ["resume", "-h"]])
def test_help_imports_nothing_heavy(words):
    code = f"""
import sys
import cli
try:
    cli.main({words!r})
except SystemExit as end:
    assert end.code == 0, end.code
heavy = {{"torch", "numpy", "scipy", "PIL", "safetensors", "imageio_ffmpeg", "matplotlib"}} & sys.modules.keys()
print("HEAVY", sorted(heavy))
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert "HEAVY []" in done.stdout, done.stderr
    assert "usage: fieldbench" in done.stdout


def test_help_names_every_flag_with_its_default(capsys):
    with pytest.raises(SystemExit):
        cli.main(["train", "splats", "--help"])
    text = capsys.readouterr().out
    for field in dataclasses.fields(SplatsConfig):
        assert f"--{field.name.replace('_', '-')}" in text, field
    for word in (
        "METHOD",
        "SCENE",
        "--out",
        "--steps",
        "--seed",
        "--device",
        "--split",
        "--view",
        "--max-size",
    ):
        assert word in text
    assert f"(default: {SplatsConfig().max_gaussians})" in " ".join(text.split())


@pytest.mark.parametrize(
    "words",
    [
        "train splats demo --steps 7 --sh-degree 2 --out x",
        "train --steps 7 splats --sh-degree 2 demo --out x",
        "--steps 7 --out x train --sh-degree 2 splats demo",
        "--out=x train splats --steps=7 demo --sh-degree=2",
    ],
)
def test_flags_may_stand_anywhere(words):
    options = parse(words.split())
    assert isinstance(options, TrainOptions)
    assert (options.method, options.scene, options.steps, options.out) == ("splats", "demo", 7, Path("x"))
    assert options.config == SplatsConfig(sh_degree=2)


def test_names_may_be_values():
    """A scene or a folder called like a command or a method."""
    options = parse(["train", "--out", "splats", "splats", "train"])
    assert isinstance(options, TrainOptions) and (options.out, options.scene) == (Path("splats"), "train")
    assert first_named(["--tensorboard", "splats"], ["splats"]) == "splats"
    render = parse(["-o", "out.mp4", "render", "--size", "80x60", "run"])
    assert isinstance(render, cli.Render) and (render.run, render.out) == (Path("run"), Path("out.mp4"))


def failing(words, capsys, main=cli.main):
    try:
        status = main(words.split())
    except SystemExit as end:
        status = end.code
    return status, " ".join(capsys.readouterr().err.replace("│", " ").split())


@pytest.mark.parametrize(
    ("words", "status", "expected"),
    [
        ("trian splats demo", 2, "unknown command 'trian'; did you mean train?"),
        ("train splts demo", 2, "unknown method 'splts'; did you mean splats?"),
        ("train splats demo --stps 3", 2, "--steps"),
        ("train splats demo --sh-degre 3", 2, "--sh-degree"),
        ("train splats demo --sh-degre=3", 2, "--sh-degree"),
        ("train splats demo --sh-degree 4", 2, "sh_degree: expected 0 to 3, got 4"),
        ("train splats demo --densify-every 0", 2, "densify_every: expected at least 1, got 0"),
        ("train splats demo --means-lr nan", 2, "means_lr: expected a finite number"),
        ("train splats demo --steps 0", 2, "--steps: expected 1 or more, got 0"),
        ("train splats demo --seed -1", 2, "--seed: expected 0 or more, got -1"),
        ("train splats demo --max-size 0", 2, "--max-size: expected 1 or more, got 0"),
        ("train splats demo --checkpoint-seconds nan", 2, "--checkpoint-seconds: expected 0 or more, got nan"),
        ("resume run --vew none", 2, "--view"),
        ("train splats", 2, "SCENE"),
        ("train splats demo --steps many", 2, "many"),
        ("train splats demo --densify mcm", 2, "mcmc"),
        ("train splats nowhere-at-all", 1, "scene nowhere-at-all: no such folder"),
        ("train splats demo --device cuda", 1, "no CUDA device"),
        ("train splats demo --split nowhere.json", 1, "nowhere.json: No such file"),
        ("resume nowhere", 1, "nowhere: not a run folder"),
        ("view nowhere", 1, "nowhere: no such"),
        ("view nowhere.ply", 1, "nowhere.ply: no such"),
        ("view .", 1, "not a run folder"),
        ("view splats.txt", 1, "expected a run folder, or a 3DGS PLY"),
        ("view points.ply", 1, "points.ply"),
        ("view points.ply --up upwards", 2, "--up"),
        ("bench viewer nowhere", 1, "nowhere: not a run folder"),
        ("evaluate nowhere", 1, "not a run folder"),
        ("render nowhere -o x.mp4", 1, "not a run folder"),
        ("export nowhere -o x.ply", 1, "not a run folder"),
    ],
)
def test_mistakes_get_one_clear_message(words, status, expected, capsys, tmp_path, monkeypatch):
    import torch

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    properties = "property float x\nproperty float y\nproperty float z"
    Path("points.ply").write_text(f"ply\nformat ascii 1.0\nelement vertex 1\n{properties}\nend_header\n0 0 0\n")
    Path("splats.txt").write_text("no splats")
    code, text = failing(words, capsys)
    assert (code, expected in text) == (status, True), text
    assert "Traceback" not in text


def test_a_missing_viewer_is_told_before_a_run_is_made(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delitem(sys.modules, "viewer.web", raising=False)
    monkeypatch.setitem(sys.modules, "viser", None)
    code, text = failing("train splats demo --view web --out run", capsys)
    assert code == 1 and "pip install -e '.[web]'" in text and not Path("run").exists()


def test_nearest_scene(capsys, tmp_path):
    (tmp_path / "garden").mkdir()
    code, text = failing(f"train splats {tmp_path}/gadren", capsys)
    assert code == 1 and f"did you mean {tmp_path}/garden?" in text


def test_a_used_folder_is_never_written_to(capsys, tmp_path):
    (tmp_path / "scene").mkdir()
    run = new_run(tmp_path / "run", steps=3)
    before = {p: p.read_bytes() for p in run.folder.rglob("*") if p.is_file()}
    code, text = failing(f"train splats {tmp_path}/scene --out {run.folder}", capsys)
    assert code == 1 and f"fieldbench resume {run.folder}" in text
    assert before == {p: p.read_bytes() for p in run.folder.rglob("*") if p.is_file()}


@pytest.mark.parametrize("command", ["resume {}", "evaluate {}", "render {} -o x.mp4", "export {} -o x.ply"])
def test_a_run_folder_of_another_method(capsys, tmp_path, command):
    run = new_run(tmp_path / "run", steps=2)
    for _ in train_run(session(run), targets):
        pass
    config = run.folder / "config.json"
    config.write_text(json.dumps({**json.loads(config.read_text()), "method": "nerf"}))
    before = {p: p.read_bytes() for p in run.folder.rglob("*") if p.is_file()}
    code, text = failing(command.format(run.folder), capsys)
    assert code == 1 and "method 'nerf': unknown; this version has: splats" in text and "config.json" in text
    assert before == {p: p.read_bytes() for p in run.folder.rglob("*") if p.is_file()}


def test_debug_shows_where(capsys, tmp_path):
    with pytest.raises(FileNotFoundError, match="not a run folder"):
        cli.main(["resume", str(tmp_path), "--debug"])


def test_train_py_takes_the_same_words_and_has_no_viewer(capsys):
    code, text = failing("splats demo --view web", capsys, train_main)
    assert code == 2 and "python train.py has no viewer" in text
    code, text = failing("--steps 3 splts demo", capsys, train_main)
    assert code == 2 and "did you mean splats" in text
    options = parse_train(["--steps", "3", "splats", "demo"], "python train.py")
    assert (options.method, options.scene, options.steps) == ("splats", "demo", 3)


def test_errors_become_messages_and_other_exceptions_do_not(capsys):
    def fail(error):
        def command():
            raise error

        return command

    assert run_command(fail(OSError(28, "checkpoint of step 3 not written; free 5 MB")), debug=False) == 1
    assert capsys.readouterr().err.startswith("error: checkpoint of step 3 not written; free 5 MB\n")
    assert run_command(fail(FileNotFoundError(2, "No such file or directory", "a.json")), debug=False) == 1
    assert "a.json" in capsys.readouterr().err
    assert run_command(fail(MemoryError("unable to allocate 5 PiB")), debug=False) == 1
    assert "allocate 5 PiB" in capsys.readouterr().err
    assert run_command(fail(KeyboardInterrupt()), debug=False) == 130
    with pytest.raises(AssertionError):
        run_command(fail(AssertionError("a mistake of ours")), debug=False)


def test_warnings_are_one_line_without_source(capsys):
    def command():
        warnings.warn("the point cloud is missing", stacklevel=1)
        return 0

    assert run_command(command, debug=False) == 0
    assert capsys.readouterr().err == "warning: the point cloud is missing\n"


@pytest.mark.parametrize("words", ["--help", "train --help", "trian", "train splats nöwhere"])
def test_a_terminal_without_unicode(words):
    environment = {**os.environ, "PYTHONIOENCODING": "ascii"}
    done = subprocess.run(
        [sys.executable, "-m", "cli", *words.split()], cwd=ROOT, env=environment, capture_output=True, text=True
    )
    assert "Traceback" not in done.stderr and done.stdout + done.stderr


def test_a_reader_that_has_gone():
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run(
        [sys.executable, "-m", "cli", "train", "splats", "--help"], cwd=ROOT, stdout=write, stderr=subprocess.PIPE
    )
    os.close(write)
    assert (done.returncode, done.stderr) == (141, b"")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"steps": "x"}, "steps: expected a whole number, got 'x'"),
        ({"device": "tpu"}, "device: expected cpu or cuda, got 'tpu'"),
        ({"facts": {}}, "facts: lacks commit"),
        ({"facts": []}, "not readable as a run's configuration"),
    ],
)
def test_a_damaged_config(capsys, tmp_path, change, message):
    run = new_run(tmp_path / "run", steps=2)
    config = run.folder / "config.json"
    config.write_text(json.dumps({**json.loads(config.read_text()), "method": "splats", "config": {}, **change}))
    code, text = failing(f"evaluate {run.folder}", capsys)
    assert code == 1 and "config.json" in text and message in text


@pytest.mark.parametrize("text", ["800", "axb", "0x5", "800x600x3", "-1x5"])
def test_picture_size(text):
    assert picture_size("800x600") == (800, 600)
    with pytest.raises(ValueError, match="expected WIDTHxHEIGHT"):
        picture_size(text)
