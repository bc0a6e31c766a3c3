"""What is written down while a run trains: its history, looks at how good the model is, curves for TensorBoard.

Nothing here changes the model or takes part in its randomness: when it is switched off the weights are the
same.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from fields.history import History
from fields.looks import Look
from fields.progress import Progress, resident_bytes
from render.frame import Renderable
from scenes.measure import Score

RECORD_EVERY = 10
"""Steps between lines of the history."""
LOOK_SHARE = 0.05
"""Looks take at most this share of the time."""
LOOK_SECONDS = 2.0
"""Training time before the first look, and the least between two."""


class Recorder:
    """Writes `metrics.jsonl` in `folder`, after the lines up to and including `step`.

    look: how good the model is, asked now and then; no choice depends on it.
    """

    def __init__(
        self, folder: Path, look: Look | None, *, step: int, seconds: float, tensorboard: bool = False
    ) -> None:
        self.history = History(folder / "metrics.jsonl", step=step)
        self.look = look
        # Lines that an earlier attempt wrote beyond this step are hidden.
        curves = str(folder / "tensorboard")
        self.curves = summary_writer()(curves, purge_step=step + 1) if tensorboard else None
        self.looked_at, self.look_cost = seconds, 0.0
        self.score: Score | None = None

    def __call__(self, model: Renderable, progress: Progress) -> Progress:
        """Note a step; returns its report with the newest score."""
        last = progress.step == progress.steps
        if self._due(progress.seconds) or last:
            self._look(model, progress)
        if progress.step % RECORD_EVERY == 0 or last:
            scalars = {"loss": progress.loss, "memory_mb": resident_bytes() / 2**20}
            scalars |= {f"loss/{name}": value for name, value in progress.losses.items()}
            self._write(progress, scalars | {f"count/{name}": number for name, number in progress.counts.items()})
        return replace(progress, score=self.score)

    def flush(self) -> None:
        """Put the history on the disk now; OSError while there is no room for it."""
        self.history.flush()

    def close(self) -> None:
        """Let go of TensorBoard's files."""
        if self.curves is not None:
            self.curves.close()

    def _due(self, seconds: float) -> bool:
        wait = max(LOOK_SECONDS, self.look_cost * (1 / LOOK_SHARE - 1))
        return self.look is not None and seconds - self.looked_at >= wait

    def _look(self, model: Renderable, progress: Progress) -> None:
        if self.look is None:
            return
        started = time.perf_counter()
        self.score = Score(self.look.measure, self.look.score(model))
        self.look_cost = time.perf_counter() - started
        self.looked_at = progress.seconds
        self._write(progress, {self.score.measure.key: self.score.value})

    def _write(self, progress: Progress, scalars: Mapping[str, float]) -> None:
        self.history.append({"step": progress.step, "seconds": round(progress.seconds, 4), **scalars})
        if self.curves is not None:
            for name, value in scalars.items():
                self.curves.add_scalar(name, value, progress.step)


def summary_writer():
    """TensorBoard's writer, a class; ImportError names the extra."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        raise ImportError(
            "--tensorboard needs an extra: in Fieldbench's folder, pip install -e '.[tensorboard]'"
        ) from None
    return SummaryWriter
