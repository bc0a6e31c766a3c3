"""What a person can read and set, described once for every face: panels of inputs, readouts, plots and tables."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from render.frame import Control
from viewer.curves import Curves
from viewer.held_out import HeldOut
from viewer.seat import Seat
from viewer.state import THIRDS, Status
from viewer.worker import Worker


@dataclass(frozen=True)
class Input:
    """A control, and what a change of it (a click, for a button) does for the client who makes it."""

    control: Control
    effect: Callable[[Seat, Any], None]
    hint: str = ""


@dataclass(frozen=True)
class Readout:
    """A line of text that follows the state of the run."""

    text: Callable[[Status], str]


@dataclass(frozen=True)
class Plot:
    """A curve over steps. points: (step, value), oldest first."""

    name: str
    points: Callable[[], Sequence[tuple[int, float]]]
    logarithmic: bool = False


@dataclass(frozen=True)
class Table:
    """Rows that can be clicked. rows: (key, text), in order. most: rows that a face needs to show."""

    rows: Callable[[], Sequence[tuple[str, str]]]
    effect: Callable[[Seat, str], None]
    most: int


Element: TypeAlias = Input | Readout | Plot | Table


@dataclass(frozen=True)
class Panel:
    """shared: one for everybody (what belongs to the run), else each client has its own (what belongs to looking)."""

    title: str
    elements: tuple[Element, ...]
    shared: bool


def panels(worker: Worker) -> list[Panel]:
    """All panels that make sense for what the worker has: a run, held-out views, or only a model."""
    found = [picture_panel(worker)]
    if worker.report is not None:
        found.append(run_panel(worker))
    if worker.held_out is not None and worker.held_out.rows:
        found += [comparison_panel(), held_out_panel(worker.held_out)]
    if worker.training is not None or worker.curves.loss:
        found.append(curves_panel(worker.curves))
    return found


def run_panel(worker: Worker) -> Panel:
    """How the run goes, and its reins while there is something to train."""
    if worker.training is None:
        return Panel("Run", (Readout(run_text),), shared=True)
    return Panel(
        "Run",
        (
            Readout(run_text),
            Input(Control("Pause", "button", None), lambda seat, _: worker.pause(), "Train no further, go on looking"),
            Input(Control("Resume", "button", None), lambda seat, _: worker.resume()),
            Input(Control("Single step", "button", None), lambda seat, _: worker.step(), "Pause, and train one step"),
            Input(
                Control("pictures' share of time (%)", "slider", round(100 * worker.share), (5, 95)),
                lambda seat, percent: setattr(worker, "share", min(max(float(percent), 5), 95) / 100),
                "What looking may cost: the step rate falls by this share while somebody looks, and not at all else",
            ),
        ),
        shared=True,
    )


def run_text(status: Status) -> str:
    """Step, pace, loss, score, counts; what is going on in one word first."""
    report = status.report
    if report is None:
        return ""
    doing = "training"
    if status.failure is not None:
        doing = f"stopped: {status.failure}"
    elif status.ended:
        doing = "not training"
    elif status.paused:
        doing = "paused"
    lines = [f"{doing}, step {report.step:,} of {report.steps:,}"]
    if doing == "training":
        lines[0] += f", {status.rate:.1f} it/s"
    if report.losses:
        lines.append(f"loss {report.loss:.4f}" + "".join(f", {name} {v:.4f}" for name, v in report.losses.items()))
    if report.score is not None:
        lines.append(str(report.score))
    lines.append(", ".join(f"{number:,} {name}" for name, number in report.counts.items()))
    if doing == "training":
        lines.append(f"pictures take {status.viewing:.0%} of the time; {status.clients} looking")
    if status.picture_seconds is not None:
        lines.append(f"a full picture takes {1000 * status.picture_seconds:.0f} ms")
    return "\n".join(line for line in lines if line)


def picture_panel(worker: Worker) -> Panel:
    """What is looked at, and the model's own controls."""
    model = worker.model
    names = tuple(channel.name for channel in model.channels)

    def own_input(control: Control) -> Input:
        if control.kind == "button":
            return Input(control, lambda seat, _: seat.press(control.name))
        return Input(control, lambda seat, value: seat.set(control.name, value))

    own = tuple(own_input(control) for control in model.controls)
    channel = Input(Control("channel", "choice", names[0], choices=names), lambda seat, name: seat.show(name))
    return Panel("Picture", (channel, *own), shared=False)


def held_out_panel(held_out: HeldOut) -> Panel:
    """Held-out views, worst first; a click compares."""

    def summary(status: Status) -> str:
        rows = [row for row in held_out.by_error() if row.psnr is not None]
        if not rows:
            return "not scored yet"
        mean = sum(row.psnr or 0.0 for row in rows) / len(rows)
        steps = sorted(row.step or 0 for row in rows)
        age = f"step {steps[0]:,}" if steps[0] == steps[-1] else f"steps {steps[0]:,} to {steps[-1]:,}"
        return (
            f"mean {mean:.2f} dB over {len(rows)} of {len(held_out.rows)} views, {age}; worst first, click to compare"
        )

    def rows() -> list[tuple[str, str]]:
        return [
            (row.view, f"failed   {row.view}" if row.psnr is None else f"{row.psnr:.2f} dB   {row.view}")
            for row in held_out.by_error()
        ]

    def compare(seat: Seat, view: str) -> None:
        seat.compare(held_out.scene.view(view))

    table = Table(rows, compare, most=len(held_out.rows))
    return Panel("Held-out views", (Readout(summary), table), shared=True)


def comparison_panel() -> Panel:
    """The slider of a comparison."""
    return Panel(
        "Comparison",
        (
            Input(
                Control("render | truth | error", "range", THIRDS, (0.0, 1.0)),
                lambda seat, bounds: seat.slide(bounds),
                "Where a held-out view's render ends and its photograph, and then the error, begins",
            ),
        ),
        shared=False,
    )


def curves_panel(curves: Curves) -> Panel:
    """Loss and score over steps."""
    measure = curves.measure
    title = measure.label + (f" ({measure.unit.strip()})" if measure.unit else "")
    return Panel(
        "Curves",
        (Plot("loss", lambda: curves.loss, logarithmic=True), Plot(title, lambda: curves.score)),
        shared=True,
    )
