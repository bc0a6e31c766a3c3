"""The environment's findings, the memory forecast, and the command: what it prints, its exit status."""

import io
import re
import subprocess
import sys
from collections import namedtuple
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from rich.console import Console

import cli
from fields import doctor, environment, forecast
from fields.config import SplatsConfig
from fields.optimise import begin
from fields.splats import Splats
from kernels import native
from scenes.doctor import Finding
from scenes.scene import Scene
from scenes.synthetic import DemoConfig, demo_scene
from tests.scenes.capture_rig import orbit_rig, write_nerfstudio

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def scene(tmp_path_factory) -> Scene:
    config = DemoConfig(views=9, test_views=2, width=48, height=36, objects=6, supersampling=2, points=300)
    return demo_scene(config, cache=tmp_path_factory.mktemp("demo"))


def of(found: list[Finding], subject: str) -> Finding:
    (finding,) = (f for f in found if f.subject == subject)
    return finding


def test_this_machine_has_no_problem(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    told = []
    found = environment.examine_environment(told.append)
    assert [f for f in found if f.level == "problem"] == []
    assert of(found, "python").text.startswith(".".join(map(str, sys.version_info[:3])))
    if native.find_compiler():
        assert of(found, "kernels").level == "ok" and "building the kernel blend" in told


def test_a_missing_compiler(monkeypatch):
    monkeypatch.setattr(native, "find_compiler", lambda: None)
    (finding,) = environment.check_kernels()
    assert finding.level == "warning" and "pip install ziglang" in finding.advice


def test_a_compiler_that_fails_and_a_cache_that_cannot_be_written(monkeypatch, tmp_path):
    monkeypatch.setattr(native, "find_compiler", lambda: (sys.executable, "-c", "import sys; sys.exit('no C++17')"))
    monkeypatch.setattr(native, "cache_folder", lambda: tmp_path)
    (finding,) = environment.check_kernels()
    assert finding.level == "problem" and "no C++17" in finding.text and "another compiler" in finding.advice
    (tmp_path / "file").touch()
    monkeypatch.setattr(native, "cache_folder", lambda: tmp_path / "file/kernels")
    (finding,) = environment.check_kernels()
    assert finding.level == "problem" and "cache folder" in finding.advice


def test_cuda(monkeypatch):
    monkeypatch.setattr(torch.version, "cuda", None)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(environment.shutil, "which", lambda name: None)
    assert environment.check_device()[0].level == "ok"
    monkeypatch.setattr(environment.shutil, "which", lambda name: f"/bin/{name}")
    assert "CUDA build of torch" in environment.check_device()[0].advice
    monkeypatch.setattr(torch.version, "cuda", "12.8")
    assert "sees no GPU" in environment.check_device()[0].text
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    card = namedtuple("Card", "name total_memory")("Some GPU", 24 * 2**30)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda index: card)
    assert "CUDA 12.8: Some GPU with 24 GiB" in environment.check_device()[0].text


def test_more_threads_than_a_container_grants(monkeypatch):
    monkeypatch.setattr(torch, "get_num_threads", lambda: 16)
    monkeypatch.setattr(environment, "granted_cores", lambda: 2.0)
    (finding,) = environment.check_processor()
    assert finding.level == "warning" and "OMP_NUM_THREADS=2" in finding.advice
    monkeypatch.setattr(environment, "granted_cores", lambda: None)
    assert environment.check_processor()[0].level == "ok"


def test_little_memory_and_little_disk(monkeypatch, tmp_path):
    monkeypatch.setattr(environment, "free_memory", lambda: 2**30)
    assert environment.check_memory()[0].level == "warning"
    assert environment.check_disk(tmp_path / "a/b")[0].level in ("ok", "warning")
    monkeypatch.setattr(environment.shutil, "disk_usage", lambda place: namedtuple("Use", "free")(2**20))
    assert environment.check_disk(tmp_path / "a/b")[0].level == "warning"
    assert list(tmp_path.iterdir()) == []


def test_free_memory_is_that_of_the_machine_or_less():
    free = environment.free_memory()
    assert free is None or 0 < free < 2**50


def test_every_extra_of_the_project_is_looked_at():
    text = (ROOT / "pyproject.toml").read_text()
    section = text.split("[project.optional-dependencies]")[1].split("dev =")[0]
    listed = dict(re.findall(r'^(\w+) = \["(\w+)', section, re.MULTILINE))
    assert {extra.extra: extra.package for extra in environment.EXTRAS if extra.extra} == listed


def test_a_missing_extra_names_the_line_that_installs_it():
    finding = environment.check_extra(environment.Extra("no-such-package", "web", "a test"))
    assert (finding.level, finding.advice) == ("note", "in Fieldbench's folder, pip install -e '.[web]'")


def test_bytes_of_a_gaussian_are_those_of_a_model_in_training(scene):
    for degree in (0, 3):
        model = Splats.from_scene(scene, SplatsConfig(sh_degree=degree), steps=10)
        state = begin(model)
        for parameter in model.parameters():
            parameter.grad = torch.zeros_like(parameter)
        state.optimiser.step()
        moments = [t for entry in state.optimiser.state.values() for t in entry.values() if t.ndim]
        tensors = [*moments, *model.parameters(), *(p.grad for p in model.parameters())]
        rows = [t for t in (*tensors, model.gradient_sum, model.views_seen) if t is not None]
        assert sum(t.nbytes for t in rows) == len(model.means) * forecast.gaussian_bytes(degree)


def test_the_forecast(scene):
    (finding,) = forecast.forecast(scene, SplatsConfig(), 2**40)
    assert finding.level == "ok" and "100,000 Gaussians" in finding.text
    assert forecast.forecast(scene, SplatsConfig(), None)[0].level == "ok"
    (finding,) = forecast.forecast(scene, SplatsConfig(), 2**28)
    assert finding.level == "problem" and "--max-gaussians" in finding.advice and "256 MiB are free" in finding.text
    camera = scene.views[0].camera.resized(24_000, 18_000)
    large = replace(scene, views=tuple(replace(view, camera=camera) for view in scene.views))
    found = forecast.forecast(large, SplatsConfig(), None)
    assert [f.level for f in found] == ["note"] and "of which 1.0 GiB are kept" in found[0].text


# --- the command ---------------------------------------------------------------------------------------------------


@pytest.fixture
def quick(monkeypatch):
    """The environment is fine and takes no time."""
    monkeypatch.setattr(doctor, "examine_environment", lambda say: [Finding("ok", "python", "3")])


def run(words, capsys) -> tuple[int, str]:
    status = cli.main(["doctor", *words])
    return status, capsys.readouterr().out


def test_the_machine_alone(quick, capsys):
    assert run([], capsys) == (0, "environment\n  ok       python     3\nall is well\n")


def test_exit_status_of_a_sound_and_of_broken_scenes(quick, capsys, tmp_path):
    write_nerfstudio(tmp_path, orbit_rig(24))
    status, text = run([str(tmp_path), "--masks", "ignore", "--max-size", "64"], capsys)
    assert status == 0 and text.endswith("all is well\n"), text
    (tmp_path / "transforms.json").write_text("[]")
    status, text = run([str(tmp_path)], capsys)
    assert status == 1 and "  problem  scene      transforms.json: expected a JSON object" in text
    assert text.endswith("1 problem, 1 note\n")
    status, text = run([str(tmp_path / "nowhere")], capsys)
    assert status == 1 and "no such folder" in text
    status, text = run([str(tmp_path), "--max-size", "3"], capsys)
    assert status == 1


def test_a_run_folder(quick, capsys, tmp_path):
    write_nerfstudio(tmp_path / "scene", orbit_rig(24))
    words = ["train", "splats", str(tmp_path / "scene"), "--steps", "2", "--random-points", "50"]
    assert cli.main([*words, "--out", str(tmp_path / "run")]) == 0
    capsys.readouterr()
    status, text = run([str(tmp_path / "run")], capsys)
    assert status == 0 and "step 2 of 2: finished" in text and "24 cameras" in text
    (tmp_path / "scene/transforms.json").unlink()
    status, text = run([str(tmp_path / "run")], capsys)
    assert status == 1 and "problem  run" in text


def test_names_are_never_markup_and_long_findings_wrap_in_their_column(capsys):
    found = [Finding("problem", "files", "[red]odd[/] " + "word " * 40, "do [this]"), Finding("warning", "x", "y")]
    screen = Console(file=io.StringIO(), force_terminal=True, width=80, color_system=None)
    assert doctor.show({"scene [b]x[/b]": found}, screen) == 1
    lines = screen.file.getvalue().splitlines()
    assert lines[0] == "scene [b]x[/b]" and "[red]odd[/]" in lines[1] and lines[-1] == "1 problem, 1 warning"
    assert all(len(line) <= 80 for line in lines) and lines[2].startswith(" " * 20 + "word")
    plain = Console(file=io.StringIO(), width=80)
    assert doctor.show({"s": found[1:]}, plain) == 0
    assert plain.file.getvalue() == "s\n  warning  x          y\n1 warning\n"


def test_help_of_doctor_imports_nothing_heavy():
    code = "import sys, cli\ntry: cli.main(['doctor', '--help'])\nexcept SystemExit: print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout.endswith("False\n") and "--masks" in done.stdout, done.stderr
