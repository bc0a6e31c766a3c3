"""`fieldbench bench rbf`: its table, the files it keeps, and that it says before training what hinders it."""

import json
import sys

import numpy as np
import pytest
from PIL import Image

import cli
from tests.commands import refused


def ramp(side):
    y, x = np.mgrid[:side, :side]
    return np.stack([10 * x, 12 * y, 128 + 0 * x], axis=-1).astype(np.uint8)


DECODERS = {"gaussian", "linear", "mlp1", "mlp2", "siren"}


@pytest.fixture
def bench(tmp_path):
    path = tmp_path / "tiny.png"
    Image.fromarray(ramp(16)).save(path)
    return ["bench", "rbf", str(path), "--parameters", "8000", "--steps", "3", "--seeds", "2"]


def test_bench_prints_a_table(bench, tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)  # which only the plot needs
    assert cli.main(bench) == 0
    table = capsys.readouterr().out
    assert table.count("| numbers at most | encoder | decoder |") == 1 and "PSNR (dB)" in table
    rows = [line for line in table.splitlines() if line.startswith("| 8,000 |")]
    assert {row.split("|")[3].strip() for row in rows} == DECODERS and len(rows) == len(DECODERS)
    assert all(" ± " in row for row in rows)
    assert [path.name for path in tmp_path.iterdir()] == ["tiny.png"]


def test_bench_keeps_table_figures_and_plot(bench, tmp_path, capsys):
    pytest.importorskip("matplotlib")
    out = tmp_path / "found"
    assert cli.main([*bench, "--write", str(out)]) == 0
    table = capsys.readouterr().out
    assert table.count("| numbers at most |") == 1 and (out / "rbf-tiny-hash.md").read_text() in table
    trials = json.loads((out / "rbf-tiny-hash.json").read_text())["trials"]
    assert {(row["decoder"], row["seed"]) for row in trials} == {(name, seed) for name in DECODERS for seed in (0, 1)}
    assert len(trials) == 10 and all(0 < row["params"] <= 8000 and row["bytes"] > 0 for row in trials)
    assert Image.open(out / "rbf-tiny-hash.png").width > 500


def test_bench_says_at_once_that_it_cannot_plot(bench, tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    monkeypatch.setattr("fields.rbf_bench.compare", lambda *_: pytest.fail("trained for nothing"))
    said = refused([*bench, "--write", tmp_path / "found"], capsys)
    assert "pip install -e '.[plot]'" in said


def test_bench_says_at_once_which_budget_is_too_small(bench, capsys, monkeypatch):
    """Of 64 Gaussian units the centres and widths alone are 4,096 numbers."""
    monkeypatch.setattr("fields.rbf_bench.trial", lambda *_: pytest.fail("trained for nothing"))
    said = refused([*bench, "--parameters", 3000, 8000], capsys)
    assert "--parameters 3000: hash, gaussian: parameters: room for 0 grid nodes" in said


def test_bench_wants_files_of_one_kind(bench, tmp_path, capsys):
    said = refused([*bench[:3], tmp_path / "a.obj"], capsys)
    assert "expected pictures, or meshes, one or more of one kind" in said


def test_bench_compares_starts_on_a_patch_that_fits(bench, capsys, monkeypatch):
    bench = [*bench, "--decoders", "gaussian"]
    assert "tiny: the probe needs 96 x 96 pixels; give a larger picture" in refused([*bench, "--probe"], capsys)
    monkeypatch.setattr("fields.rbf_bench.PATCH", 16)
    monkeypatch.setattr("fields.rbf_bench.PROBE_STEPS", 4)
    capsys.readouterr()
    assert cli.main([*bench, "--probe"]) == 0
    table = capsys.readouterr().out
    assert "The probe, on the middle of tiny" in table and "| gaussian, released start | 1" in table
