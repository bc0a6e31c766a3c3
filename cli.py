"""The `fieldbench` command: thin subcommands over prepare, train, evaluate, render and export.

Nothing heavy is imported before a command runs, so that `fieldbench --help` answers at once.
"""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro
from tyro.conf import OmitArgPrefixes, OmitSubcommandPrefixes, Positional, arg, subcommand

from fields.options import (
    TrainOptions,
    complain,
    first_named,
    forgiving_output,
    parse_train,
    plain_words,
    run_command,
    without_equals,
)

RunFolder = Positional[Annotated[Path, arg(metavar="RUN")]]


@dataclass(frozen=True)
class Train:
    """Train a method on a scene: fieldbench train METHOD SCENE."""


@dataclass(frozen=True)
class Resume:
    """Go on with a run from its newest checkpoint, exactly as if it had never stopped."""

    run: RunFolder
    """Run folder."""
    view: Literal["web", "none"] = "none"
    """Viewer to open while training."""
    tensorboard: bool = False
    """Write curves for TensorBoard too (extra `tensorboard`)."""
    debug: bool = False
    """Show the traceback of an error."""


@dataclass(frozen=True)
class Evaluate:
    """Score a run on its held-out views: a table, eval/metrics.json and eval/report.html."""

    run: RunFolder
    """Run folder."""
    views: Literal["test", "val", "train"] = "test"
    """Which views of the split."""
    lpips: Literal["alex", "vgg"] = "alex"
    """Backbone of LPIPS (extra `metrics`)."""
    debug: bool = False
    """Show the traceback of an error."""


@dataclass(frozen=True)
class Render:
    """Render a camera path to a video or to PNG frames."""

    run: RunFolder
    """Run folder."""
    out: Annotated[Path, arg(aliases=("-o",), metavar="OUT")]
    """What to write: NAME.mp4, or a folder for PNG frames."""
    path: Annotated[str, arg(metavar="orbit|FILE")] = "orbit"
    """`orbit`, or a nerfstudio camera_path.json, or a transforms.json."""
    size: Annotated[str | None, arg(metavar="WxH")] = None
    """Picture size; by default that of the first training view."""
    frames: int = 120
    """Number of frames (of an orbit, or of a path with keyframes and no duration)."""
    fps: float | None = None
    """Frames a second; by default what the path's file says, else 30."""
    debug: bool = False
    """Show the traceback of an error."""


@dataclass(frozen=True)
class Export:
    """Write a run's model in an exchange format, in the coordinates of its input files."""

    run: RunFolder
    """Run folder."""
    out: Annotated[Path, arg(aliases=("-o",), metavar="FILE")]
    """File to write, as splats.ply."""
    debug: bool = False
    """Show the traceback of an error."""


@dataclass(frozen=True)
class Prepare:
    """Make a scene from photos or a video: structure from motion (extra `sfm`)."""

    source: Positional[Annotated[Path, arg(metavar="PHOTOS_OR_VIDEO")]]
    """Folder of photos, or a video file."""
    out: Annotated[Path, arg(aliases=("-o",), metavar="SCENE")]
    """Scene folder to make."""
    camera: Literal["auto", "shared", "each"] = "auto"
    """One lens for all photos, or one each; auto: shared if all have one size and EXIF names one camera, or none."""
    matching: Literal["auto", "exhaustive", "sequential"] = "auto"
    """Which photos are compared: all pairs, or neighbours by name; auto: all for photos, neighbours for a video."""
    frames: int = 120
    """Sharp frames to take from a video."""
    max_size: Annotated[int, arg(metavar="PX")] = 1600
    """Longer side at which features are looked for; the scene's photos keep their size."""
    seed: int = 0
    """Seed of everything random."""
    debug: bool = False
    """Show the traceback of an error."""


COMMANDS = ("train", "resume", "evaluate", "render", "export", "prepare")
Command = (
    Annotated[Train, subcommand("train")]
    | Annotated[Resume, subcommand("resume")]
    | Annotated[Evaluate, subcommand("evaluate")]
    | Annotated[Render, subcommand("render")]
    | Annotated[Export, subcommand("export")]
    | Annotated[Prepare, subcommand("prepare")]
)


def parse(words: Sequence[str]) -> TrainOptions[Any] | Resume | Evaluate | Render | Export | Prepare:
    """The command that `words` mean, its flags in any place; exits with a message when they make no sense."""
    name = first_named(words, COMMANDS)
    if name is None and (stray := plain_words(words)):
        complain(f"unknown command {stray[0]!r}", stray[0], COMMANDS, "commands")
    rest = without_equals(words)
    if name is not None:  # the command word first, so that flags before it are understood too
        free = [i for i, word in enumerate(rest) if word == name and (i == 0 or not rest[i - 1].startswith("-"))]
        rest.pop(free[0] if free else rest.index(name))
        if name == "train":
            return parse_train(rest, "fieldbench train")
        rest.insert(0, name)
    command: Any = Command
    return tyro.cli(
        command,
        args=rest,
        prog="fieldbench",
        description="Train, look at and score scene representations. Any command with --help says more.",
        config=(OmitArgPrefixes, OmitSubcommandPrefixes),
    )


def main(words: Sequence[str] | None = None) -> int:
    """The console script; exit status 0: done, 1: an error, 2: a wrong command line, 130: stopped by Ctrl-C."""
    with forgiving_output():
        options = parse(sys.argv[1:] if words is None else words)
        if isinstance(options, TrainOptions | Resume) and options.view == "web":
            print(
                "--view web: the web viewer arrives with the extra `web`, which is not there yet; use --view none",
                file=sys.stderr,
            )
            return 2
        return run_command(command_of(options), debug=options.debug)


def command_of(options: TrainOptions[Any] | Resume | Evaluate | Render | Export | Prepare) -> Callable[[], int]:
    """What to do for parsed options."""
    match options:
        case TrainOptions():
            return lambda: train(options)
        case Resume():
            return lambda: resume(options)
        case Evaluate():
            return lambda: evaluate(options)
        case Render():
            return lambda: render(options)
        case Export():
            return lambda: export(options)
        case Prepare():
            return lambda: prepare(options)


def train(options: TrainOptions[Any]) -> int:
    """`fieldbench train`."""
    from fields.session import start
    from train import run_to_end

    return run_to_end(start(options), tensorboard=options.tensorboard)


def resume(options: Resume) -> int:
    """`fieldbench resume`."""
    from fields import session
    from train import run_to_end

    return run_to_end(session.resume(options.run), tensorboard=options.tensorboard)


def evaluate(options: Evaluate) -> int:
    """`fieldbench evaluate`."""
    from rich.console import Console

    from fields.scoring import score_run
    from scenes.report import scores_table

    console = Console()
    scores, report = score_run(options.run, views=options.views, lpips_backbone=options.lpips, console=console)
    console.print(scores_table(scores))
    if scores.lpips_reason:
        console.print(f"no LPIPS: {scores.lpips_reason}", highlight=False, markup=False, soft_wrap=True)
    console.print(f"report: {report}", highlight=False, markup=False, soft_wrap=True)
    return 0


def render(options: Render) -> int:
    """`fieldbench render`."""
    from rich.console import Console
    from rich.progress import track

    from fields.run import open_run, scene_of
    from fields.session import load_model
    from render.paths import CameraPath, orbit, read_path
    from render.video import write_frames

    run = open_run(options.run)
    scene = scene_of(run)
    model, _ = load_model(run)
    cameras = [scene.view(name).camera for name in scene.split.train]
    width, height = (cameras[0].width, cameras[0].height) if options.size is None else picture_size(options.size)
    if options.path == "orbit":
        path = CameraPath(orbit(cameras, options.frames, width, height))
    else:
        file = Path(options.path)
        path = read_path(file, scene.world_from_input, frames=options.frames, width=width, height=height)
    fps = options.fps if options.fps is not None else path.fps or 30.0
    console = Console(stderr=True)
    shown = track(path.cameras, "rendering", console=console, disable=not console.is_terminal)
    pictures = (model.render(camera, {"rgb"}, {}).rgb for camera in shown)
    count = write_frames(options.out, pictures, fps)
    print(f"{options.out}: {count} frames of {width}x{height}")
    return 0


def picture_size(text: str) -> tuple[int, int]:
    """Width and height of a text like 800x600."""
    parts = text.lower().split("x")
    if len(parts) != 2 or not all(part.isdigit() and int(part) > 0 for part in parts):
        raise ValueError(f"--size {text}: expected WIDTHxHEIGHT in pixels, as 800x600")
    return int(parts[0]), int(parts[1])


def export(options: Export) -> int:
    """`fieldbench export`."""
    import torch

    from fields.run import open_run
    from fields.session import load_model

    run = open_run(options.run)
    model, _ = load_model(run)
    print(model.export(options.out, torch.tensor(run.world_from_input)))
    return 0


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


if __name__ == "__main__":
    sys.exit(main())
