"""The common loop: what a method offers to be trained, one generator that trains it, runs that can be resumed.

`train` is the whole of training: batches in, one Progress a step out, and whoever pulls it (a progress bar, a
viewer) decides how fast. `train_run` adds what a run folder keeps: history, looks at held-out views,
checkpoints. `python train.py METHOD SCENE` trains without a viewer.
"""

from __future__ import annotations

import errno
import logging
import math
import os
import shlex
import sys
import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from typing import Any, Protocol

import torch
from rich.console import Console
from rich.logging import RichHandler
from torch import Tensor

import fields
from fields.checkpoint import latest, write_checkpoint
from fields.edits import RowEdit
from fields.looks import look_at
from fields.optimise import Optimisable, TrainState, apply_row_edit, begin, checkpoint_of
from fields.options import forgiving_output, parse_train, run_command
from fields.progress import Progress, show, stop_on_signal
from fields.recorder import RECORD_EVERY, Recorder
from fields.run import locked
from fields.session import Session, start
from render.frame import Renderable

log = logging.getLogger("fieldbench")


class Trainable(Renderable, Optimisable, Protocol):
    """What a method offers; an nn.Module whose state is its parameters and buffers, and nothing else.

    Steps count from 0. Randomness is a function of the seed and the step (or lives in a buffer), so that a
    resumed run repeats an uninterrupted one. Between `loss` and `after_step` gradients may be read from the
    parameters.
    """

    def loss(self, batch: Any, step: int) -> dict[str, Tensor]:
        """Named scalar losses, already weighted; their sum is minimised."""
        ...

    def after_step(self, step: int) -> RowEdit | None:
        """Called after the optimiser; may read .grad, gather statistics, and ask for rows to change."""
        ...

    def finished(self, step: int) -> bool:
        """Whether to stop early, after `step` completed steps; a function of the model's state."""
        ...

    def counts(self) -> Mapping[str, int]:
        """What to show of the model's size, as {"Gaussians": 41233}."""
        ...


def train(
    model: Trainable, batches: Callable[[int], Any], *, steps: int, state: TrainState | None = None
) -> Iterator[Progress]:
    """Train until `steps` are completed or the model has finished, yielding after every step.

    batches: the batch of a step, a function of the step alone. state: where to go on; it is kept up to date,
    so between two yields it and the model are all there is to save. Raises FloatingPointError, before anything
    is changed, naming the step and the term of a loss that is not finite.
    """
    state = begin(model) if state is None else state
    losses: dict[str, float] = {}
    on_cpu = all(parameter.device.type == "cpu" for _, parameter in model.named_parameters())
    while state.step < steps and not model.finished(state.step):
        started, step = time.perf_counter(), state.step
        # Gradients are cleared here and not after use, so that they stay readable until the next step.
        state.optimiser.zero_grad(set_to_none=True)
        for group, (rate, schedule) in zip(state.optimiser.param_groups, state.schedules, strict=True):
            group["lr"] = rate * schedule(step)
        terms = model.loss(batches(step), step)
        # Reading a loss waits for a GPU to catch up, so there only the steps that are written down are read.
        if on_cpu or (step + 1) % RECORD_EVERY == 0 or step + 1 == steps:
            losses = {name: float(term.detach()) for name, term in terms.items()}
            check_finite(losses, step)
        torch.stack([*terms.values()]).sum().backward()
        del terms  # the graph; a row edit below changes the shapes that it remembers
        state.optimiser.step()
        edit = model.after_step(step)
        if edit is not None:
            apply_row_edit(model, state.optimiser, edit)
        state.step += 1
        state.seconds += time.perf_counter() - started
        ended = model.finished(state.step)
        yield Progress(state.step, state.step if ended else steps, losses, state.seconds, model.counts())


def check_finite(losses: Mapping[str, float], step: int) -> None:
    """FloatingPointError naming the step and the terms that are NaN or infinite."""
    bad = [f"{name} = {value}" for name, value in losses.items() if not math.isfinite(value)]
    if bad:
        raise FloatingPointError(
            f"step {step}: the loss is not finite ({', '.join(bad)}); the last checkpoint is kept. "
            "Lower the learning rates, or look for NaN in the data"
        )


def train_run(
    session: Session, batches: Callable[[int], Any], *, tensorboard: bool = False
) -> Generator[Progress, None, None]:
    """Train a session to its end, keeping its run folder: one Progress a step.

    Checkpoints are written every `run.checkpoint_seconds`, at the end, and when the generator is closed
    (Ctrl-C in a terminal, a closed viewer). One that fails while training is a warning: the earlier one stays,
    and the next is tried in time. The last one failing is an OSError that says what to do. A model that
    diverges overwrites nothing.
    """
    run, model, state = session.run, session.model, session.state
    with locked(run):
        look = look_at(session.subject)
        recorder = Recorder(run.folder, look, step=state.step, seconds=state.seconds, tensorboard=tensorboard)
        saved_at = time.monotonic()
        try:
            for progress in train(model, batches, steps=run.steps, state=state):
                report = recorder(model, progress)
                if time.monotonic() - saved_at >= run.checkpoint_seconds:
                    try:
                        save(session, recorder)
                    except OSError as error:
                        log.warning("%s; training goes on, next try in %g s", error.strerror, run.checkpoint_seconds)
                    saved_at = time.monotonic()
                yield report
        except GeneratorExit:
            save(session, recorder)
            raise
        finally:
            recorder.close()
        save(session, recorder)


def save(session: Session, recorder: Recorder) -> None:
    """Write the history and a checkpoint; an OSError says which checkpoint is kept and what to do."""
    run, state = session.run, session.state
    try:
        recorder.flush()
        write_checkpoint(run.checkpoints, checkpoint_of(session.model, state, run.config.method))
    except OSError as error:
        kept = latest(run.checkpoints)
        size = sum(t.numel() * t.element_size() for t in session.model.state_dict().values()) * 3 / 2**20
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        raise OSError(
            error.errno,
            f"checkpoint of step {state.step} not written to {run.checkpoints}: "
            f"{os.strerror(error.errno or errno.EIO)}; "
            + (f"free at least {size + 1:.0f} MB there; " if full else "")
            + (f"{kept.name} is kept" if kept else "there is no earlier one"),
        ) from error


Reports = Generator[Progress, None, None]


def run_to_end(
    session: Session, *, tensorboard: bool = False, watched: Callable[[Reports], Reports] | None = None
) -> int:
    """Train a session in the terminal, to its end or to Ctrl-C; returns the exit status, 130 when stopped.

    watched: wraps the run for a viewer, which then pulls it and goes on after its end, until Ctrl-C.
    """
    run, console = session.run, Console(stderr=True)
    # Off a terminal a record is one line, however long; on one it must go around the bar.
    handler = RichHandler(console=console, show_path=False) if console.is_terminal else logging.StreamHandler()
    logging.basicConfig(format="%(message)s", handlers=[handler], force=True)
    console.print(f"run folder {run.folder}", highlight=False, markup=False, soft_wrap=True)
    batches = fields.batches(run.config, session.subject, seed=run.seed, device=run.device)
    with stop_on_signal() as stop:
        title = f"{run.config.method} {session.subject.name}"
        reports = train_run(session, batches, tensorboard=tensorboard)
        show(reports if watched is None else watched(reports), title, stop=stop, console=console)
        stopped = stop()
    ended = session.state.step >= run.steps or session.model.finished(session.state.step)
    if stopped and not ended:
        text = f"stopped at step {session.state.step}; go on with: fieldbench resume {shlex.quote(str(run.folder))}"
        console.print(text, highlight=False, markup=False, soft_wrap=True)
        return 130
    console.print(
        f"{session.state.step} steps in {session.state.seconds:.1f} s of training; score it with: "
        f"fieldbench evaluate {shlex.quote(str(run.folder))}",
        highlight=False,
        markup=False,
        soft_wrap=True,
    )
    return 0


def main(words: Sequence[str] | None = None) -> int:
    """`python train.py METHOD SCENE`: `fieldbench train` without a viewer."""
    with forgiving_output():
        options = parse_train(sys.argv[1:] if words is None else words, "python train.py")
        if options.view != "none":
            print("python train.py has no viewer; use: fieldbench train ... --view web", file=sys.stderr)
            return 2
        return run_command(lambda: run_to_end(start(options), tensorboard=options.tensorboard), debug=options.debug)


if __name__ == "__main__":
    sys.exit(main())
