"""Checkpoints: exact, and one complete one at every instant, wherever a process is killed."""

import contextlib
import random
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

import fields.checkpoint as module
from fields.checkpoint import (
    Checkpoint,
    capture_random,
    latest,
    read_checkpoint,
    restore_random,
    write_checkpoint,
)


class Killed(BaseException):
    """Stands for SIGKILL: nothing that tidies up may run."""


def some(step: int) -> Checkpoint:
    weights = {"a": torch.full((3, 2), float(step)), "part.count": torch.tensor(step)}
    return Checkpoint("splats", step, 1.5 * step, weights, {"a|exp_avg": torch.ones(3, 2)}, {"a": 0.1 + 0.2})


def test_round_trip_is_exact(tmp_path):
    awkward = torch.tensor([0.1, -0.0, 1e-45, 3.4e38])
    saved = Checkpoint("splats", 7, 0.1 + 0.2, {"w": awkward}, {}, {"w": 1e-5}, capture_random())
    write_checkpoint(tmp_path, saved)
    read = read_checkpoint(tmp_path)
    assert torch.equal(read.weights["w"].view(torch.int32), awkward.view(torch.int32))
    assert (read.method, read.step, read.seconds, read.schedule) == ("splats", 7, 0.1 + 0.2, {"w": 1e-5})


def test_the_newest_replaces_the_older_ones(tmp_path):
    for step in (9, 10, 1000):
        write_checkpoint(tmp_path, some(step))
    assert [entry.name for entry in tmp_path.iterdir()] == ["step-00001000"]
    assert read_checkpoint(tmp_path).weights["a"].unique().tolist() == [1000.0]


def test_random_states_of_all_three_libraries_come_back(tmp_path):
    rng = np.random.mtrand._rand
    torch.manual_seed(3), rng.seed(4), random.seed(5)
    torch.randn(3), rng.normal(), random.gauss(0, 1)  # odd counts leave half a pair in store
    write_checkpoint(tmp_path, Checkpoint("splats", 1, 0.0, {}, random=capture_random()))
    expected = torch.randn(5).tolist(), rng.normal(size=5).tolist(), [random.gauss(0, 1) for _ in range(5)]
    torch.manual_seed(0), rng.seed(0), random.seed(0)
    state = read_checkpoint(tmp_path).random
    assert state is not None
    restore_random(state)
    assert (
        torch.randn(5).tolist(),
        rng.normal(size=5).tolist(),
        [random.gauss(0, 1) for _ in range(5)],
    ) == expected


class Watch:
    """Wraps all that write_checkpoint does to the disk, and kills at one operation: before, after, half-way."""

    def __init__(self, patch: pytest.MonkeyPatch, victim: int, when: str) -> None:
        self.victim, self.when, self.count = victim, when, 0
        in_module, in_path = ("save_file", "_flush"), ("mkdir", "rename")
        targets = [(module, name) for name in in_module] + [(Path, name) for name in in_path]
        for owner, name in [*targets, (shutil, "rmtree")]:
            patch.setattr(owner, name, self.wrap(getattr(owner, name), name))

    def wrap(self, operation, name):
        def call(*args, **kwargs):
            mine = self.count == self.victim
            self.count += 1
            if mine and self.when == "before":
                raise Killed
            if mine and name == "rmtree" and Path(args[0]).exists():
                next(Path(args[0]).iterdir()).unlink()
                raise Killed
            result = operation(*args, **kwargs)
            if mine:
                raise Killed
            return result

        return call


@pytest.mark.parametrize("when", ["before", "after"])
def test_killed_at_any_file_operation(tmp_path, monkeypatch, when):
    """The newest checkpoint is then complete, old or new, and the next write works and clears up."""
    steps = set()
    for victim in range(100):
        folder = tmp_path / str(victim)
        write_checkpoint(folder, some(1))
        with monkeypatch.context() as patch:
            watch = Watch(patch, victim, when)
            with contextlib.suppress(Killed):
                write_checkpoint(folder, some(2))
        found = read_checkpoint(folder)
        assert found.weights["a"].unique().tolist() == [found.step]
        steps.add(found.step)
        write_checkpoint(folder, some(3))
        assert [entry.name for entry in folder.iterdir()] == ["step-00000003"]
        if watch.count <= victim:
            break
    assert victim > 8 and steps == {1, 2}


@pytest.mark.parametrize("place", ["save_file", "_flush"])
def test_a_full_disk_leaves_the_old_one_and_no_litter(tmp_path, monkeypatch, place):
    write_checkpoint(tmp_path, some(1))

    def full(*args):
        if place == "_flush":
            raise OSError(28, "No space left on device")
        raise module.SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")

    with monkeypatch.context() as patch, pytest.raises(OSError, match="No space left") as caught:
        patch.setattr(module, place, full)
        write_checkpoint(tmp_path, some(2))
    assert caught.value.errno == 28
    assert [entry.name for entry in tmp_path.iterdir()] == ["step-00000001"]
    assert read_checkpoint(tmp_path).step == 1


def test_a_limit_of_the_operating_system_is_an_oserror(tmp_path):
    """A real failing write: the file size limit of a child process."""
    code = """
import resource, signal, sys, torch
from pathlib import Path
from fields.checkpoint import Checkpoint, write_checkpoint
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, 10_000))
folder = Path(sys.argv[1])
write_checkpoint(folder, Checkpoint("splats", 1, 0.0, {"a": torch.ones(10)}))
try:
    write_checkpoint(folder, Checkpoint("splats", 2, 0.0, {"a": torch.ones(100_000)}))
except OSError as error:
    print(error.errno, [entry.name for entry in folder.iterdir()])
"""
    root = Path(__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], cwd=root, capture_output=True, text=True)
    assert done.stdout.strip() == "27 ['step-00000001']", done.stderr


@pytest.mark.parametrize("file", ["weights.safetensors", "optimiser.safetensors", "state.json"])
@pytest.mark.parametrize("damage", ["cut", "gone"])
def test_damage_is_named(tmp_path, file, damage):
    path = write_checkpoint(tmp_path, some(1)) / file
    if damage == "cut":
        path.write_bytes(path.read_bytes()[:-5])
    else:
        path.unlink()
    with pytest.raises(ValueError, match=r"step-00000001.*remove"):
        read_checkpoint(tmp_path)


def test_no_checkpoint(tmp_path):
    assert latest(tmp_path / "nowhere") is None
    with pytest.raises(FileNotFoundError, match="holds no checkpoint"):
        read_checkpoint(tmp_path)


def test_nothing_is_pickled(tmp_path):
    """A checkpoint is JSON and safetensors (a length, then a JSON header), no other file."""
    folder = write_checkpoint(tmp_path, some(1))
    for path in folder.iterdir():
        assert path.suffix in (".json", ".safetensors")
        start = path.read_bytes()[:9]
        assert start[:1] == b"{" or (path.suffix == ".safetensors" and start[8:9] == b"{")
