"""The subcommands of `fieldbench` as dataclasses, and how the words of a command line become one of them.

Nothing heavy is imported here; tyro makes flags and help of the fields. `train` has its own (`fields.options`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, TypeAlias

import tyro
from tyro.conf import OmitArgPrefixes, OmitSubcommandPrefixes, Positional, arg, subcommand

from fields.flow_commands import Accumulate, Trajectories
from fields.options import TrainOptions, complain, first_named, parse_train, plain_words, without_equals

RunFolder = Positional[Annotated[Path, arg(metavar="RUN")]]


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


@dataclass(frozen=True)
class Train:
    """Train a method on a scene: fieldbench train METHOD SCENE."""


@dataclass(frozen=True)
class Resume:
    """Go on with a run from its newest checkpoint, exactly as if it had never stopped."""

    run: RunFolder
    """Run folder."""
    view: Literal["web", "none"] = "none"
    """Viewer to open while training (web: extra `web`)."""
    host: str = "127.0.0.1"
    """Address that the web viewer listens on; 0.0.0.0 lets other machines in."""
    port: int = 8080
    """Port of the web viewer; the next free one when it is in use."""
    tensorboard: bool = False
    """Write curves for TensorBoard too (extra `tensorboard`)."""
    debug: bool = False
    """Show the traceback of an error."""


@dataclass(frozen=True)
class View:
    """Look at a run's newest checkpoint, or at a 3DGS PLY file, in a browser (extra `web`)."""

    place: Positional[Annotated[Path, arg(metavar="RUN|FILE")]]
    """Run folder, or splats.ply."""
    up: Literal["-y", "+y", "-z", "+z", "-x", "+x"] = "-y"
    """Which way is up in a FILE, which does not say so (a run's scene knows); most trainers write -y."""
    host: str = "127.0.0.1"
    """Address to listen on; 0.0.0.0 lets other machines in."""
    port: int = 8080
    """Port; the next free one when it is in use."""
    debug: bool = False
    """Show the traceback of an error."""


@dataclass(frozen=True)
class Evaluate:
    """Score a run on held-out views, its picture, shape or clouds: a table, eval/metrics.json, eval/report.html."""

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
    """Render a camera path to a video or to PNG frames; moving clouds move meanwhile, coloured by direction."""

    run: RunFolder
    """Run folder."""
    out: Annotated[Path, arg(aliases=("-o",), metavar="OUT")]
    """What to write: NAME.mp4, or a folder for PNG frames; of a picture NAME.png or NAME.exr."""
    path: Annotated[str, arg(metavar="orbit|FILE")] = "orbit"
    """`orbit`, or a nerfstudio camera_path.json, or a transforms.json."""
    size: Annotated[str | None, arg(metavar="WxH")] = None
    """Picture size; by default that of the first training view, or of the window, else 800x800."""
    window: Annotated[str | None, arg(metavar="L,T,R,B")] = None
    """Of a picture: the part to write, in shares of it, as 0.2,0.3,0.4,0.5."""
    baked: bool = False
    """Of a radiance field: render its baked grid, many times faster and a little less exact."""
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
class BenchViewer:
    """What looking costs a run's training, and what it gives; nothing in the run's folder is changed."""

    run: RunFolder
    """Run folder."""
    seconds: float = 4.0
    """Length of a segment."""
    rounds: int = 5
    """Segments of each mode, in turns."""
    clients: int = 20
    """Clients of the crowd."""
    crowd_seconds: float = 0.0
    """Length of the crowd's visit; 0: none."""
    write: Path | None = None
    """Folder for the JSON and the Markdown table."""
    debug: bool = False
    """Show the traceback of an error."""


@dataclass(frozen=True)
class BenchRbf:
    """Gaussian units beside other decoders on pictures or meshes: a table and a plot (extra `plot`)."""

    files: Positional[Annotated[tuple[Path, ...], arg(metavar="PICTURE|MESH ...")]]
    """Pictures, or meshes; scores are means over them."""
    parameters: tuple[int, ...] = (50_000, 200_000, 1_000_000)
    """Budgets of trained numbers."""
    encoder: Literal["dictionary", "dense", "hash"] = "hash"
    """Encoder of all contenders."""
    decoders: tuple[Literal["gaussian", "linear", "mlp1", "mlp2", "siren", "instant-ngp"], ...] = (
        "gaussian",
        "linear",
        "mlp1",
        "mlp2",
        "siren",
        "instant-ngp",
    )
    """Contenders; instant-ngp: a hash grid with a network of two hidden layers, whatever the encoder of the others."""
    steps: int = 1000
    """Steps of each training."""
    seeds: int = 3
    """Trainings of each, with the seeds 0, 1, ..."""
    probe: bool = False
    """Also compare the starts of the Gaussian units on a patch of the first picture."""
    write: Path | None = None
    """Folder for the JSON, the Markdown table and the plot."""
    debug: bool = False
    """Show the traceback of an error."""

    def __post_init__(self) -> None:
        for name in ("steps", "seeds"):
            if getattr(self, name) < 1:
                raise ValueError(f"--{name}: expected 1 or more, got {getattr(self, name)}")


@dataclass(frozen=True)
class Bench:
    """Measure a part of Fieldbench."""

    what: Annotated[BenchViewer, subcommand("viewer")] | Annotated[BenchRbf, subcommand("rbf")]

    @property
    def debug(self) -> bool:
        """Show the traceback of an error."""
        return self.what.debug


@dataclass(frozen=True)
class Doctor:
    """Check this machine, and a scene before a long run; says what to do. Exit status 1 if there is a problem."""

    scene: Positional[Annotated[str | None, arg(metavar="SCENE")]] = None
    """A folder of photos with poses, a run folder, or `demo`; without it only the machine is looked at."""
    max_size: Annotated[int | None, arg(metavar="PX")] = None
    """As for training: photos are reduced to this length of their longer side."""
    masks: Literal["auto", "ignore", "cut-out"] = "auto"
    """As for training: what mask files mean."""
    debug: bool = False
    """Show the traceback of an error."""


COMMANDS = (
    *("prepare", "train", "resume", "view", "evaluate", "render", "export"),
    *("accumulate", "trajectories", "doctor", "bench"),
)
Command = (
    Annotated[Prepare, subcommand("prepare")]
    | Annotated[Train, subcommand("train")]
    | Annotated[Resume, subcommand("resume")]
    | Annotated[View, subcommand("view")]
    | Annotated[Evaluate, subcommand("evaluate")]
    | Annotated[Render, subcommand("render")]
    | Annotated[Export, subcommand("export")]
    | Annotated[Accumulate, subcommand("accumulate")]
    | Annotated[Trajectories, subcommand("trajectories")]
    | Annotated[Doctor, subcommand("doctor")]
    | Annotated[Bench, subcommand("bench")]
)
Options: TypeAlias = (
    Prepare
    | TrainOptions[Any]
    | Resume
    | View
    | Evaluate
    | Render
    | Export
    | Accumulate
    | Trajectories
    | Doctor
    | Bench
)
"""What a command line may mean."""


def parse(words: Sequence[str]) -> Options:
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
