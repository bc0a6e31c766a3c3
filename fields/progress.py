"""What a training run reports after each step, and how a terminal shows it.

On a terminal: a bar with steps a second and remaining time, under it loss, score, counts (of Gaussians,
...) and memory. Elsewhere (a file, a cluster's log): a plain line every ten seconds, and one at either end.
"""

from __future__ import annotations

import contextlib
import resource
import signal
import sys
import time
from collections.abc import Callable, Generator, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

import rich.progress
from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

from scenes.measure import Score

PLAIN_SECONDS = 10.0


@dataclass(frozen=True)
class Progress:
    """State of a run after a step.

    step: steps completed of `steps`, which are as many when the model has finished early. losses: newest values by
    name (weighted). seconds: time trained, without evaluation and checkpoints. counts: what the model counts, as
    {"Gaussians": 41233}. score: newest look at how good the model is, or None before the first.
    """

    step: int
    steps: int
    losses: Mapping[str, float]
    seconds: float
    counts: Mapping[str, int]
    score: Score | None = None

    @property
    def loss(self) -> float:
        """Sum of the losses."""
        return sum(self.losses.values())


def show(
    progress: Generator[Progress, None, None], title: str, *, stop: Callable[[], bool], console: Console
) -> Progress | None:
    """Pull a run to its end, or until `stop()`, showing how it goes; returns its last report (or None).

    The generator is closed at the end, which lets it write its checkpoint.
    """
    bar = console.is_terminal and not console.is_dumb_terminal
    display = _bar(title, console) if bar else _lines(title, console)
    last = None
    with contextlib.closing(progress) as reports, display as update:
        for report in reports:
            if report is not last:  # a viewer goes on reporting while the run rests
                update(report)
            last = report
            if stop():
                break
    return last


@contextlib.contextmanager
def stop_on_signal() -> Iterator[Callable[[], bool]]:
    """Turn the first Ctrl-C (or SIGTERM) into a question asked between steps; the second one interrupts.

    So a step is never cut in half, and the checkpoint that follows is exact.
    """
    asked = False

    def note(number: int, frame: FrameType | None) -> None:
        nonlocal asked
        if asked:
            raise KeyboardInterrupt
        asked = True

    before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield lambda: asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def resident_bytes() -> int:
    """Memory of this process in bytes (where /proc is missing: the highest so far)."""
    try:
        return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * resource.getpagesize()
    except OSError:
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak if sys.platform == "darwin" else peak * 1024


class _Rate:
    """Steps per second of training time, smoothed over the last few seconds."""

    def __init__(self) -> None:
        self.seen: list[tuple[float, int]] = []

    def __call__(self, progress: Progress) -> float:
        self.seen.append((progress.seconds, progress.step))
        while len(self.seen) > 2 and self.seen[-1][0] - self.seen[1][0] > 3.0:
            self.seen.pop(0)
        (t0, s0), (t1, s1) = self.seen[0], self.seen[-1]
        return (s1 - s0) / (t1 - t0) if t1 > t0 else 0.0


def describe(progress: Progress) -> str:
    """Loss, score, counts and memory in words."""
    score = "" if progress.score is None else f"  {progress.score}"
    counts = "".join(f"  {number:,} {name}" for name, number in progress.counts.items())
    loss = f"loss {progress.loss:.4f}" if progress.losses else "no loss yet"
    return f"{loss}{score}{counts}  {resident_bytes() / 2**20:,.0f} MB"


def _clock(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{seconds:02d}" if hours else f"{minutes}:{seconds:02d}"


def _pace(progress: Progress, rate: float) -> str:
    left = f"  {_clock((progress.steps - progress.step) / rate)} left" if rate > 0 else ""
    return f"{rate:.1f} it/s{left}"


@contextlib.contextmanager
def _bar(title: str, console: Console) -> Iterator[Callable[[Progress], None]]:
    columns = (
        rich.progress.TextColumn("{task.description}", style="bold", markup=False),
        rich.progress.BarColumn(bar_width=None),
        rich.progress.MofNCompleteColumn(),
        rich.progress.TextColumn("{task.fields[pace]}"),
    )
    rate, drawn_at = _Rate(), 0.0
    bar, state = rich.progress.Progress(*columns, expand=True), Text(no_wrap=True, overflow="ellipsis")
    task = bar.add_task(title, total=None, pace="")
    with Live(Group(bar, state), console=console, refresh_per_second=4):

        def update(progress: Progress) -> None:
            nonlocal drawn_at
            speed, now = rate(progress), time.monotonic()
            if now - drawn_at > 0.1 or progress.step == progress.steps:
                drawn_at = now
                bar.update(task, completed=progress.step, total=progress.steps, pace=_pace(progress, speed))
                state.plain = describe(progress)

        yield update


@contextlib.contextmanager
def _lines(title: str, console: Console) -> Iterator[Callable[[Progress], None]]:
    rate, printed_at, last, printed = _Rate(), -PLAIN_SECONDS, None, None

    def line(progress: Progress, speed: float) -> None:
        text = f"{title}  step {progress.step}/{progress.steps}  {_pace(progress, speed)}  {describe(progress)}"
        console.print(text, soft_wrap=True, highlight=False, markup=False)

    def update(progress: Progress) -> None:
        nonlocal printed_at, last, printed
        last, speed, now = progress, rate(progress), time.monotonic()
        if now - printed_at >= PLAIN_SECONDS or progress.step == progress.steps:
            printed_at, printed = now, progress
            line(progress, speed)

    yield update
    if last is not None and last is not printed:
        line(last, rate(last))
