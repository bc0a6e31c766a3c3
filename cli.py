"""The `fieldbench` command: thin functions that wire scenes, models, the loop and the viewer together.

Nothing heavy is imported before a command runs, so that `fieldbench --help` answers at once.
"""

from __future__ import annotations

import contextlib
import os
import shlex
import sys
import time
import warnings
import webbrowser
from collections.abc import Callable, Generator, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from fields.commands import (
    Bench,
    BenchRbf,
    BenchViewer,
    Doctor,
    Evaluate,
    Export,
    Options,
    Prepare,
    Render,
    Resume,
    View,
    parse,
)
from fields.flow_commands import Accumulate, Trajectories
from fields.options import TrainOptions, forgiving_output, run_command

if TYPE_CHECKING:
    from fields.session import Session
    from fields.subject import Subject
    from train import Reports
    from viewer.held_out import HeldOut
    from viewer.home import Home, Vector
    from viewer.layers import Layer
    from viewer.web import WebViewer
    from viewer.worker import Worker

UP = (0.0, 0.0, 1.0)


def main(words: Sequence[str] | None = None) -> int:
    """The console script; exit status 0: done, 1: an error, 2: a wrong command line, 130: stopped by Ctrl-C."""
    with forgiving_output():
        options = parse(sys.argv[1:] if words is None else words)
        return run_command(command_of(options), debug=options.debug)


def command_of(options: Options) -> Callable[[], int]:
    """What to do for parsed options."""
    chosen = options.what if isinstance(options, Bench) else options
    actions: dict[type, Callable[[Any], int]] = {
        Prepare: prepare,
        TrainOptions: train,
        Resume: resume,
        View: view,
        Evaluate: evaluate,
        Render: render,
        Export: export,
        Accumulate: accumulate,
        Trajectories: trajectories,
        Doctor: doctor,
        BenchViewer: bench_viewer,
        BenchRbf: bench_rbf,
    }
    return lambda: actions[type(chosen)](chosen)


def prepare(options: Prepare) -> int:
    """`fieldbench prepare`."""
    from rich.console import Console

    from scenes.prepare import Preparation
    from scenes.prepare import prepare as make_scene
    from scenes.prepare_report import lines_of, warning_of
    from scenes.stages import shown_stages

    settings = Preparation(options.camera, options.matching, options.frames, options.max_size, options.seed)
    with shown_stages(Console(stderr=True)) as tell:
        report = make_scene(options.source, options.out, settings, tell)
    print("\n".join(lines_of(report)))
    if advice := warning_of(report):
        print(f"warning: {advice}", file=sys.stderr)
    print(f"next: fieldbench train splats {shlex.quote(str(options.out))}")
    return 0


def train(options: TrainOptions[Any]) -> int:
    """`fieldbench train`."""
    from fields.session import start

    check_viewer(options)  # what hinders it is said before a run folder is made
    return run(start(options), options)


def resume(options: Resume) -> int:
    """`fieldbench resume`."""
    from fields import session

    check_viewer(options)
    return run(session.resume(options.run), options)


def check_viewer(options: TrainOptions[Any] | Resume | View) -> None:
    """ImportError naming the extra, ValueError or OSError for an address that cannot be used, if a viewer is wanted."""
    if isinstance(options, View) or options.view == "web":
        import viewer.web  # noqa: F401
        from viewer.address import free_port

        free_port(options.host, options.port)


def run(session: Session, options: TrainOptions[Any] | Resume) -> int:
    """Train a session in the terminal, with the viewer that was asked for."""
    from train import run_to_end

    def watched(reports: Reports) -> Reports:
        from fields.history import read_history
        from fields.looks import measure_of
        from fields.progress import Progress
        from viewer.curves import Curves
        from viewer.worker import Worker

        subject, state = session.subject, session.state
        worker = Worker(
            session.model,
            training=reports,
            report=Progress(state.step, session.run.steps, {}, state.seconds, session.model.counts()),
            held_out=held_out_of(subject),
            curves=Curves(read_history(session.run.folder / "metrics.jsonl"), measure_of(subject)),
        )
        home, layers = surroundings(session.model, subject)
        with on_the_web(worker, subject.name, home, layers, options.host, options.port):
            yield from worker.reports()

    return run_to_end(session, tensorboard=options.tensorboard, watched=watched if options.view == "web" else None)


def view(options: View) -> int:
    """`fieldbench view`."""
    from fields.history import read_history
    from fields.looks import measure_of
    from fields.progress import Progress, stop_on_signal
    from fields.run import open_run, subject_of
    from fields.session import load_file, load_model
    from fields.subject import axis
    from viewer.curves import Curves
    from viewer.worker import Worker

    check_viewer(options)
    subject = report = None
    curves, up = Curves(), UP
    if options.place.is_dir():
        opened = open_run(options.place)
        model, checkpoint = load_model(opened)
        report = Progress(checkpoint.step, opened.steps, {}, checkpoint.seconds, model.counts())
        try:
            subject = subject_of(opened)
        except FileNotFoundError as error:
            warnings.warn(f"{error}. The model is shown without what it was trained on", stacklevel=2)
        curves = Curves(read_history(opened.folder / "metrics.jsonl"), measure_of(subject))
    else:
        model, up = load_file(options.place), axis(options.up)
    worker = Worker(model, report=report, held_out=held_out_of(subject), curves=curves)
    home, layers = surroundings(model, subject, up)
    if home.size < 0.1:
        warnings.warn(
            f"{options.place}: only {home.size:.2g} across; within 0.01 of the eye nothing is drawn", stacklevel=2
        )
    with stop_on_signal() as stop, on_the_web(worker, options.place.name, home, layers, options.host, options.port):
        while not stop():
            time.sleep(0.1)
    return 0


def surroundings(model: Any, subject: Subject | None, up: Vector = UP) -> tuple[Home, list[Layer]]:
    """Where a person starts to look from, and what is drawn over the picture."""
    from scenes.flow.sequence import CloudSequence
    from scenes.picture.picture import Picture
    from scenes.scene import Scene
    from scenes.shape import shape
    from viewer.home import home_of_box, home_of_plane, home_of_scene
    from viewer.layers import scene_layers

    match subject:
        case Scene():
            return home_of_scene(subject), scene_layers(subject)
        case Picture():
            return home_of_plane(*model.box()), []
        case shape.Shape():
            return home_of_box(*model.box(), up=shape.UP), []
        case CloudSequence():
            model.label(subject)
            return home_of_box(*model.box(), up=subject.upwards), []
        case _:
            return home_of_box(*model.box(), up=up), []


def held_out_of(subject: Subject | None) -> HeldOut | None:
    """The held-out views of a scene, which alone has some."""
    from scenes.scene import Scene
    from viewer.held_out import HeldOut

    return HeldOut(subject) if isinstance(subject, Scene) else None


@contextlib.contextmanager
def on_the_web(
    worker: Worker, title: str, home: Home, layers: list[Layer], host: str, port: int
) -> Iterator[WebViewer]:
    """A worker's web page for a while: its address is printed, and opened where there is a screen."""
    from viewer.panels import panels
    from viewer.web import WebViewer

    web = WebViewer(worker, title=title, home=home, layers=layers, panels=panels(worker), host=host, port=port)
    worker.start()
    print(f"viewer: {web.url} (Ctrl-C ends it)", file=sys.stderr, flush=True)
    if sys.platform in ("darwin", "win32") or os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"):
        webbrowser.open(web.url)
    try:
        yield web
    finally:
        web.close()
        worker.close()


def evaluate(options: Evaluate) -> int:
    """`fieldbench evaluate`."""
    from rich.console import Console

    from fields.scoring import score_run

    console = Console()
    scored = score_run(options.run, views=options.views, lpips_backbone=options.lpips, console=console)
    console.print(scored.table)
    if scored.remark:
        console.print(scored.remark, highlight=False, markup=False, soft_wrap=True)
    console.print(f"report: {scored.report}", highlight=False, markup=False, soft_wrap=True)
    return 0


def render(options: Render) -> int:
    """`fieldbench render`."""
    from fields.rendering import render_run

    print(
        render_run(
            options.run,
            options.out,
            path=options.path,
            size=options.size,
            frames=options.frames,
            fps=options.fps,
            window=options.window,
            baked=options.baked,
        )
    )
    return 0


def export(options: Export) -> int:
    """`fieldbench export`."""
    import torch

    from fields.flow_export import export_run
    from fields.run import open_run
    from fields.session import load_model

    run = open_run(options.run)
    model, _ = load_model(run)
    if run.source.kind == "clouds":
        print(export_run(run, model, options.out))
    else:
        print(model.export(options.out, torch.tensor(run.world_from_input)))
    return 0


def accumulate(options: Accumulate) -> int:
    """`fieldbench accumulate`."""
    from fields.flow_path_export import accumulate_run

    print(accumulate_run(options))
    return 0


def trajectories(options: Trajectories) -> int:
    """`fieldbench trajectories`."""
    from fields.flow_path_export import trajectories_run

    print(trajectories_run(options))
    return 0


def bench_rbf(options: BenchRbf) -> int:
    """`fieldbench bench rbf`."""
    from fields import rbf_bench
    from train import train as train_steps

    def trained(model: Any, batches: Callable[[int], Any], steps: int) -> None:
        for _ in train_steps(model, batches, steps=steps):
            pass

    rbf_bench.run(options, trained)
    return 0


def bench_viewer(options: BenchViewer) -> int:
    """`fieldbench bench viewer`."""
    import fields
    from fields import session
    from fields.progress import resident_bytes
    from kernels.bench import machine, publish
    from scenes.scene import Scene
    from train import train as train_steps
    from viewer import bench as viewer_bench
    from viewer.held_out import HeldOut
    from viewer.home import home_of_scene
    from viewer.layers import scene_layers
    from viewer.panels import panels
    from viewer.web import WebViewer
    from viewer.worker import Worker

    opened = session.resume(options.run)
    scene = opened.subject
    if not isinstance(scene, Scene):
        raise ValueError(f"{options.run}: not a run on photographs, between whose cameras the crowd could walk")
    home = home_of_scene(scene)
    batches = fields.batches(opened.run.config, scene, seed=opened.run.seed, device=opened.run.device)
    training = train_steps(opened.model, batches, steps=opened.state.step + 1_000_000, state=opened.state)
    report = next(training)

    def some() -> Generator[Any, None, None]:
        yield from iter(training.__next__, None)  # a viewer that closes this does not end the training

    def open_viewer() -> tuple[Worker[Any], WebViewer]:
        worker = Worker(opened.model, training=some(), report=report, held_out=HeldOut(scene), share=viewer_bench.SHARE)
        return worker, WebViewer(worker, title="bench", home=home, layers=scene_layers(scene), panels=panels(worker))

    parts = viewer_bench.Bench(
        lambda: next(training),
        lambda: opened.state.step,
        open_viewer,
        resident_bytes,
        radius=scene.extent * 0.9,
        centre=home.look_at,
    )
    text, found = parts.run(options.rounds, options.seconds, options.clients, options.crowd_seconds)
    counts = ", ".join(f"{number:,} {name}" for name, number in opened.model.counts().items())
    publish(options.write, "viewer-cpu", f"{machine()}. {scene.name}, {counts}.\n\n{text}", found)
    return 0


def doctor(options: Doctor) -> int:
    """`fieldbench doctor`."""
    from rich.console import Console
    from rich.text import Text

    from fields.doctor import diagnose, show

    with Console(stderr=True).status("looking", spinner="line") as status:
        groups = diagnose(
            options.scene,
            max_size=options.max_size,
            masks=options.masks,
            say=lambda what: status.update(Text(what)),
        )
    return show(groups, Console())


if __name__ == "__main__":
    sys.exit(main())
