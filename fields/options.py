"""The options of `fieldbench train`, and how words on a command line are understood.

Nothing heavy is imported here, so that `--help` answers at once. Flags may stand in any place; a misspelt
command, method or scene is answered with the nearest names (tyro does the same for flags).
"""

from __future__ import annotations

import contextlib
import difflib
import inspect
import io
import os
import signal
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Generic, Literal, TypeVar

import tyro
from tyro.conf import OmitArgPrefixes, Positional, arg

from fields import METHODS, config_type

Config = TypeVar("Config")


@dataclass(frozen=True)
class MethodFlags:
    """Stands for the flags of a method that has not been named yet; see `fieldbench train METHOD --help`."""


@dataclass(frozen=True)
class TrainOptions(Generic[Config]):
    """Train METHOD on SCENE and keep the run in a folder."""

    method: Positional[Annotated[str, arg(metavar="METHOD")]]
    """What to train."""
    scene: Positional[Annotated[str, arg(metavar="SCENE")]]
    """A folder of photos with poses (transforms.json, COLMAP, LLFF), or `demo` for the bundled scene; for rbf-image the
    file of a picture, for rbf-shape of a mesh, for sceneflow a file or folder of moving clouds, or `demo-flow`."""
    config: Annotated[Config, arg(name="")]
    out: Annotated[Path | None, arg(metavar="RUN")] = None
    """Run folder to make; by default runs/SCENE-METHOD-TIME."""
    steps: int | None = None
    """Total steps, the horizon of all schedules; by default what the method needs (docs/systems)."""
    seed: int = 0
    """Seed of everything random."""
    device: Literal["cpu", "cuda"] = "cpu"
    """Where to train. On a CPU the same command gives the same weights, bit for bit."""
    split: Annotated[Path | None, arg(metavar="FILE")] = None
    """JSON file with the train, val and test views; by default the scene's own split."""
    view: Literal["web", "none"] = "none"
    """Viewer to open while training (web: extra `web`)."""
    host: str = "127.0.0.1"
    """Address that the web viewer listens on; 0.0.0.0 lets other machines in."""
    port: int = 8080
    """Port of the web viewer; the next free one when it is in use."""
    max_size: Annotated[int | None, arg(metavar="PX")] = None
    """Reduce photos to this length of their longer side, by default 800; the bundled scene is made at it (320)."""
    masks: Literal["auto", "ignore", "cut-out"] = "auto"
    """What mask files mean: pixels to ignore, or an object's outline around which is nothing; auto looks at them."""
    first: int = 0
    """Of moving clouds: number of the first one to take, counted from 0."""
    frames: Annotated[int | None, arg(metavar="N")] = None
    """Of moving clouds: how many to take, at least 2; by default all that follow."""
    up: Literal["-y", "+y", "-z", "+z", "-x", "+x"] | None = None
    """Of moving clouds: which way is up, where the format does not say; the ground is looked for across it."""
    checkpoint_seconds: float = 30.0
    """Time between checkpoints."""
    tensorboard: bool = False
    """Write curves for TensorBoard too (extra `tensorboard`)."""
    debug: bool = False
    """Show the traceback of an error."""

    def __post_init__(self) -> None:
        least_values = {"steps": 1, "seed": 0, "max_size": 1, "first": 0, "frames": 2, "checkpoint_seconds": 0}
        for name, least in least_values.items():
            value = getattr(self, name)
            if value is not None and not least <= value < 2**63:
                raise ValueError(f"--{name.replace('_', '-')}: expected {least} or more, got {value}")


def parse_train(words: Sequence[str], prog: str) -> TrainOptions[Any]:
    """The options in `words`: METHOD SCENE and flags, in any order; exits with a message when wrong."""
    method = first_named(words, METHODS)
    if method is None and (stray := plain_words(words)):
        complain(f"unknown method {stray[0]!r}", stray[0], METHODS, "methods")
    if method is None:
        kind: Any = TrainOptions[MethodFlags]
        description = f"Train a METHOD ({', '.join(METHODS)}) on SCENE. Its own flags: {prog} METHOD --help"
    else:
        kind = TrainOptions[config_type(method)]
        description = inspect.getdoc(config_type(method))
    # Alone, or tyro would leave the words before it out of the help.
    args = ["--help"] if {"-h", "--help"} & set(words) else without_equals(words)
    try:
        return tyro.cli(kind, args=args, prog=prog, description=description, config=(OmitArgPrefixes,))
    except ValueError as error:  # of a configuration: a number out of its range
        print(error, file=sys.stderr)
        raise SystemExit(2) from None


def without_equals(words: Sequence[str]) -> list[str]:
    """--flag=value as two words; tyro finds no flag like a misspelt one that still carries its value."""
    return [part for word in words for part in (word.split("=", 1) if word.startswith("--") else [word])]


def first_named(words: Sequence[str], names: Sequence[str]) -> str | None:
    """The first of `names` among `words`; one after a flag, perhaps its value, only if there is no other."""
    found = [i for i, word in enumerate(words) if word in names]
    free = [i for i in found if i == 0 or not words[i - 1].startswith("-") or "=" in words[i - 1]]
    return words[(free or found)[0]] if found else None


def plain_words(words: Sequence[str]) -> list[str]:
    """The words that are neither flags nor directly follow one."""
    pairs = zip(["", *words], words, strict=False)
    return [word for before, word in pairs if not word.startswith("-") and not before.startswith("-")]


def complain(problem: str, word: str, names: Sequence[str], kind: str) -> None:
    """Print the problem, the nearest names and all names; exit with status 2."""
    near = difflib.get_close_matches(word, names, n=3, cutoff=0.5)
    hint = f"; did you mean {' or '.join(near)}?" if near else ""
    print(f"{problem}{hint} ({kind}: {', '.join(names)})", file=sys.stderr)
    raise SystemExit(2)


def run_command(command: Callable[[], int], *, debug: bool) -> int:
    """Run a command; a problem of the user's input or machine becomes one clean message and exit status 1."""
    import_torch()
    if debug:
        return command()
    try:
        with warnings.catch_warnings():
            warnings.showwarning = lambda message, *_, **__: print(f"warning: {message}", file=sys.stderr)
            return command()
    except BrokenPipeError:
        raise
    except (ValueError, OSError, ArithmeticError, RuntimeError, ImportError, MemoryError) as error:
        text = str(error)
        if isinstance(error, OSError) and error.strerror:  # whose own text begins with a number that helps nobody
            text = f"{error.filename}: {error.strerror}" if error.filename else error.strerror
        print(f"error: {text or type(error).__name__}\n(--debug shows where)", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130


def import_torch() -> None:
    """Import torch, ending at once on Ctrl-C: torch's own start loses a KeyboardInterrupt, or aborts on it.

    Its OpenMP threads are told to sleep when they are idle: spinning, they hold the cores that the kernels' own threads
    need, which cost a third of a step of 16,384 samples on two cores.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    handler = signal.getsignal(signal.SIGINT)
    if handler is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    try:
        import torch  # noqa: F401
    finally:
        signal.signal(signal.SIGINT, handler)


@contextlib.contextmanager
def forgiving_output() -> Iterator[None]:
    """Print "?" for what the terminal's encoding lacks; end in silence when a reader such as `head` has gone."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")
    try:
        try:
            yield
        finally:
            sys.stdout.flush()
    except BrokenPipeError:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        for stream in (sys.stdout, sys.stderr):  # or Python would try again, and complain, at its exit
            os.dup2(nowhere, stream.fileno())
        raise SystemExit(141) from None
