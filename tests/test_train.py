"""The loop: resuming is exact, whatever interrupts it; what fails loses nothing written before."""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from rich.console import Console

import fields.checkpoint
from fields.checkpoint import latest, read_checkpoint
from fields.history import read_history
from fields.optimise import begin, checkpoint_of, restore
from fields.progress import show, stop_on_signal
from fields.run import open_run
from tests.tiny_trainable import final_bytes, load_blobs, new_blobs, new_run, session, targets
from train import train, train_run

STEPS = 23  # row edits after steps 5, 10, 15 and 20, a reset of moments among them


def finish(run):
    """Train a run to its end; the weights and moments on disk."""
    for _ in train_run(session(run), targets):
        pass
    return final_bytes(run)


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    return finish(new_run(tmp_path_factory.mktemp("whole") / "run", steps=STEPS))


def test_loss_falls_and_rows_change():
    torch.manual_seed(0)
    reports = list(train(new_blobs(), targets, steps=100))
    assert [r.step for r in reports] == list(range(1, 101))
    assert sum(r.loss for r in reports[-10:]) < 0.5 * sum(r.loss for r in reports[:10])
    assert len({r.counts["blobs"] for r in reports}) > 1
    assert reports[-1].seconds > 0


@pytest.mark.parametrize("stop", [1, 5, 12, 22])
def test_resumed_run_equals_the_uninterrupted_one(tmp_path, uninterrupted, stop):
    run = new_run(tmp_path / "run", steps=STEPS)
    reports = train_run(session(run), targets)
    for _ in range(stop):
        next(reports)
    reports.close()
    assert read_checkpoint(run.checkpoints).step == stop
    assert finish(run) == uninterrupted


def test_the_comparison_notices_a_lost_random_state(tmp_path, uninterrupted, monkeypatch):
    run = new_run(tmp_path / "run", steps=STEPS)
    reports = train_run(session(run), targets)
    next(reports)
    reports.close()
    monkeypatch.setattr("fields.optimise.restore_random", lambda state: None)
    assert finish(run) != uninterrupted


def test_schedules_are_functions_of_the_step():
    torch.manual_seed(0)
    model = new_blobs()
    state = begin(model)
    for _ in train(model, targets, steps=3, state=state):
        pass
    rates = {group["name"]: group["lr"] for group in state.optimiser.param_groups}
    assert rates == {"place": 0.05 * 0.99**2, "colour": 0.02}


def test_finished_stops_early_also_after_resuming():
    class Patient(type(new_blobs())):
        def finished(self, step: int) -> bool:
            return step >= 4

    model = Patient(torch.ones(4, 2), torch.ones(4, 3))
    state = begin(model)
    assert len(list(train(model, targets, steps=100, state=state))) == 4
    assert list(train(model, targets, steps=100, state=state)) == []


CHILD = """
import sys
from pathlib import Path
from tests.tiny_trainable import session, targets
from fields.run import open_run
from train import train_run
for progress in train_run(session(open_run(Path(sys.argv[1]))), targets):
    print(progress.step, flush=True)
"""


def test_killed_at_random_moments(tmp_path, uninterrupted):
    """SIGKILL while checkpoints are written after every step; then resumed, killed again, and finished."""
    run = new_run(tmp_path / "run", steps=STEPS, checkpoint_seconds=0.0)
    dice = random.Random(os.getpid())
    reached = []
    for _ in range(3):
        child = subprocess.Popen(
            [sys.executable, "-c", CHILD, str(run.folder)],
            cwd=Path(__file__).parents[1],
            stdout=subprocess.PIPE,
            text=True,
        )
        assert child.stdout is not None and child.stdout.readline()
        time.sleep(dice.uniform(0, 0.05))
        child.send_signal(signal.SIGKILL)
        child.wait()
        child.stdout.close()
        reached.append(read_checkpoint(run.checkpoints).step if latest(run.checkpoints) else 0)
    assert reached == sorted(reached)
    assert finish(open_run(run.folder)) == uninterrupted, reached
    steps = [record["step"] for record in read_history(run.folder / "metrics.jsonl") if "loss" in record]
    assert steps == [10, 20, 23]


def test_killed_before_the_first_checkpoint_starts_again(tmp_path, uninterrupted):
    run = new_run(tmp_path / "run", steps=STEPS)
    reports = train_run(session(run), targets)
    for _ in range(12):
        next(reports)
    # What a kill here would leave: a history with a torn last line, and no checkpoint.
    history = (run.folder / "metrics.jsonl").read_text() + '{"step": 12, "lo'
    reports.close()
    for file in run.checkpoints.iterdir():
        shutil.rmtree(file)
    (run.folder / "metrics.jsonl").write_text(history)
    assert finish(run) == uninterrupted
    steps = [record["step"] for record in read_history(run.folder / "metrics.jsonl") if "loss" in record]
    assert steps == [10, 20, 23]


def test_ctrl_c_writes_a_checkpoint_of_a_whole_step(tmp_path, uninterrupted):
    run = new_run(tmp_path / "run", steps=STEPS)

    def impatient(step):
        if step == 7:
            signal.raise_signal(signal.SIGINT)  # in the middle of step 8
        return targets(step)

    with stop_on_signal() as stop:
        last = show(train_run(session(run), impatient), "t", stop=stop, console=Console(quiet=True))
    assert last is not None and last.step == 8
    assert read_checkpoint(run.checkpoints).step == 8
    assert finish(run) == uninterrupted


def test_second_ctrl_c_interrupts_at_once():
    with pytest.raises(KeyboardInterrupt), stop_on_signal():
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def full_disk(path, *_, **__):
    raise OSError(28, "No space left on device", str(path))


def test_full_disk_keeps_the_old_checkpoint_and_training_goes_on(tmp_path, uninterrupted, monkeypatch, caplog):
    run = new_run(tmp_path / "run", steps=STEPS, checkpoint_seconds=0.0)
    reports = train_run(session(run), targets)
    for _ in range(4):
        next(reports)
    assert read_checkpoint(run.checkpoints).step == 4
    with monkeypatch.context() as patch:
        patch.setattr(fields.checkpoint, "_save_tensors", full_disk)
        for _ in range(6):
            next(reports)
        assert read_checkpoint(run.checkpoints).step == 4
        assert [p.name for p in run.checkpoints.iterdir()] == ["step-00000004"]
        assert "No space left" in caplog.text and "step-00000004 is kept" in caplog.text
    next(reports)  # room again
    assert read_checkpoint(run.checkpoints).step == 11
    for _ in reports:
        pass
    assert final_bytes(run) == uninterrupted


@pytest.mark.parametrize("ending", ["end", "close"])
def test_full_disk_at_the_last_checkpoint_is_an_error(tmp_path, monkeypatch, ending):
    run = new_run(tmp_path / "run", steps=6)
    reports = train_run(session(run), targets)
    next(reports)
    monkeypatch.setattr(fields.checkpoint, "_save_tensors", full_disk)
    with pytest.raises(OSError, match=r"step \d not written.*free at least \d+ MB there; there is no earlier one"):
        if ending == "close":
            reports.close()
        for _ in reports:
            pass


def test_full_disk_for_the_history_loses_no_line(tmp_path, monkeypatch):
    run = new_run(tmp_path / "run", steps=40)
    reports = train_run(session(run), targets)
    next(reports)
    with monkeypatch.context() as patch:
        patch.setattr("fields.history.open", full_disk, raising=False)
        for _ in range(25):
            next(reports)
    for _ in reports:
        pass
    steps = [record["step"] for record in read_history(run.folder / "metrics.jsonl") if "loss" in record]
    assert steps == [10, 20, 30, 40]


def test_diverging_loss_stops_and_keeps_the_last_good_checkpoint(tmp_path):
    run = new_run(tmp_path / "run", steps=STEPS, checkpoint_seconds=0.0)

    def poisoned(step):
        return targets(step) * (float("nan") if step == 6 else 1.0)

    with pytest.raises(FloatingPointError, match=r"step 6: .*l2 = nan"):
        for _ in train_run(session(run), poisoned):
            pass
    assert read_checkpoint(run.checkpoints).step == 6


def test_a_parameter_that_is_not_finite_is_never_saved():
    model = new_blobs()
    state = begin(model)
    with torch.no_grad():
        model.colour[0, 0] = float("inf")
    with pytest.raises(FloatingPointError, match="colour"):
        checkpoint_of(model, state, "splats")


def test_two_processes_cannot_train_one_run(tmp_path):
    run = new_run(tmp_path / "run")
    first = train_run(session(run), targets)
    next(first)
    with pytest.raises(RuntimeError, match="another process"):
        next(train_run(session(run), targets))
    first.close()
    assert next(train_run(session(run), targets)).step == 2


def test_a_finished_run_has_nothing_left_to_do(tmp_path):
    run = new_run(tmp_path / "run", steps=5)
    before = finish(run)
    assert list(train_run(session(run), targets)) == []
    assert final_bytes(run) == before


def test_moments_of_another_model_are_refused():
    state = begin(model := new_blobs())
    for _ in train(model, targets, steps=1, state=state):
        pass
    saved = checkpoint_of(model, state, "splats")

    class Other(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = torch.nn.Parameter(torch.ones(3))

        def param_groups(self):
            return [{"params": [self.weight], "lr": 1.0, "name": "weight"}]

    with pytest.raises(ValueError, match="another method"):
        restore(Other(), saved)
    again = restore(load_blobs(saved.weights), saved)
    assert again.step == 1


def test_looking_at_held_out_views_changes_nothing(tmp_path, uninterrupted, monkeypatch):
    monkeypatch.setattr("fields.recorder.LOOK_SECONDS", 0.0)
    monkeypatch.setattr("fields.recorder.LOOK_SHARE", 1.0)
    run = new_run(tmp_path / "run", steps=STEPS)
    assert finish(run) == uninterrupted
    looks = [r for r in read_history(run.folder / "metrics.jsonl") if "val_psnr" in r]
    assert len(looks) == STEPS


def test_history_of_a_run(tmp_path):
    run = new_run(tmp_path / "run", steps=20)
    finish(run)
    records = [json.loads(line) for line in (run.folder / "metrics.jsonl").read_text().splitlines()]
    losses = [r for r in records if "loss" in r]
    assert [r["step"] for r in losses] == [10, 20]
    assert losses[0].keys() >= {"step", "seconds", "loss", "loss/l2", "loss/small", "count/blobs", "memory_mb"}
    assert records[-2].keys() == {"step", "seconds", "val_psnr"}
