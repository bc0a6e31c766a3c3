"""A run opened for work: started, resumed, or only loaded to be looked at."""

from __future__ import annotations

import difflib
import warnings
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from dataclasses import fields as fields_of
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

import fields
from fields.checkpoint import Checkpoint, latest, read_checkpoint
from fields.config import SplatsConfig, SubjectKind
from fields.optimise import TrainState, begin, restore
from fields.options import TrainOptions
from fields.recorder import summary_writer
from fields.run import Run, create_run, default_folder, open_run, refuse_used, seed_everything, subject_of
from fields.subject import BUNDLED, Axis, Source, Subject, open_source
from kernels.native import build_ahead
from scenes.load import MaskMeaning
from scenes.splat_ply import read_splat_ply

if TYPE_CHECKING:
    from fields.splats import Splats


ONLY_OF: Mapping[str, SubjectKind] = {
    "max_size": "scene",
    "masks": "scene",
    "split": "scene",
    "first": "clouds",
    "frames": "clouds",
    "up": "clouds",
}
"""Options of training that say what to read, by the kind of subject that has a use for them."""
NAMES: Mapping[SubjectKind, str] = {
    "scene": "a scene of photographs",
    "picture": "a picture",
    "shape": "a shape",
    "clouds": "moving clouds",
}


@dataclass
class Session:
    """A run opened for training: its folder, its subject, the model and how far it is."""

    run: Run
    subject: Subject
    model: Any
    state: TrainState


def start(options: TrainOptions[Any]) -> Session:
    """Open the subject, make the run folder and an untrained model."""
    config, device = options.config, options.device
    if device == "cuda" and not torch.cuda.is_available():
        raise ValueError(
            "--device cuda: torch sees no CUDA device here; use --device cpu, or install a CUDA build of torch"
        )
    if options.tensorboard:
        summary_writer()  # its absence is said before a run folder is made
    if options.out is not None:
        refuse_used(options.out)  # before a minute is spent on reading photos
    seed_everything(options.seed, device)
    refuse_useless(options)
    source = source_of(
        options.scene,
        config.subject,
        max_size=options.max_size,
        masks=options.masks,
        first=options.first,
        frames=options.frames,
        up=options.up,
    )
    building = build_ahead(config.kernels)
    subject = open_source(source, options.split)
    building.join()  # so that no compiling is counted as training
    steps = options.steps if options.steps is not None else config.default_steps[device]
    model = fields.build(config, subject, seed=options.seed, steps=steps).to(device)
    run = create_run(
        options.out or default_folder(subject.name, config.method),
        config=config,
        source=source,
        subject=subject,
        steps=steps,
        seed=options.seed,
        device=device,
        checkpoint_seconds=options.checkpoint_seconds,
        split_origin="the scene's own" if options.split is None else str(options.split),
    )
    return Session(run, subject, model, begin(model))


def resume(folder: Path) -> Session:
    """Open a run where its newest checkpoint left it, or at its beginning when there is none yet."""
    run = open_run(folder)
    if run.device == "cuda" and not torch.cuda.is_available():
        raise ValueError(
            f"{folder}: was trained on cuda and torch sees no CUDA device here; resume it on a machine that has one"
        )
    seed_everything(run.seed, run.device)
    torch.set_num_threads(run.threads)  # sums over threads are part of bit equality
    subject = subject_of(run)
    if latest(run.checkpoints) is None:
        model = fields.build(run.config, subject, seed=run.seed, steps=run.steps).to(run.device)
        return Session(run, subject, model, begin(model))
    model, checkpoint = load_model(run)
    return Session(run, subject, model, restore(model, checkpoint))


def load_model(run: Run) -> tuple[Any, Checkpoint]:
    """The model of a run's newest checkpoint and the checkpoint, on the run's device (without CUDA: the CPU)."""
    device = run.device
    if device == "cuda" and not torch.cuda.is_available():
        warnings.warn(
            f"{run.folder}: was trained on cuda, of which torch sees none here; it is loaded on the cpu", stacklevel=2
        )
        device = "cpu"
    checkpoint = read_checkpoint(run.checkpoints, device=device)
    if checkpoint.method != run.config.method:
        raise ValueError(
            f"{run.checkpoints}: a checkpoint of {checkpoint.method!r} in a run of {run.config.method!r}; "
            "put back the checkpoint that belongs here, or remove it to start the run again"
        )
    try:
        return fields.load(run.config, checkpoint.weights, seed=run.seed, steps=run.steps).to(device), checkpoint
    except ValueError as error:
        raise ValueError(f"{run.checkpoints}: {error}") from None


def load_file(path: Path) -> Splats:
    """The model in an exchange file, to be looked at: a 3DGS PLY, whichever program wrote it.

    Raises ValueError naming the file and what it lacks, FileNotFoundError with the nearest names.
    """
    from fields.splats import ROWS, Splats

    path = existing_place(path)
    if path.suffix.lower() != ".ply":
        raise ValueError(f"{path}: expected a run folder, or a 3DGS PLY (a name that ends in .ply)")
    cloud, antialiased = read_splat_ply(path)
    config = SplatsConfig(sh_degree=cloud.degree, max_gaussians=len(cloud), antialiased=antialiased, densify="none")
    return Splats(config, {name: getattr(cloud, name) for name in ROWS})


def refuse_useless(options: TrainOptions[Any]) -> None:
    """ValueError for an option about reading that what the method is trained on has no use for."""
    kind = options.config.subject
    for field in fields_of(options):
        wanted = ONLY_OF.get(field.name, kind)
        if wanted != kind and getattr(options, field.name) != field.default:
            raise ValueError(
                f"--{field.name.replace('_', '-')}: only for {NAMES[wanted]}; {options.config.method} is trained on "
                f"{NAMES[kind]}, so leave it out"
            )


def source_of(
    place: str,
    kind: SubjectKind,
    *,
    max_size: int | None = None,
    masks: MaskMeaning = "auto",
    first: int = 0,
    frames: int | None = None,
    up: Axis | None = None,
) -> Source:
    """What SCENE on the command line means; an error names the nearest folders, or what was wanted instead."""
    if BUNDLED.get(place, kind) != kind:
        bundled = [f", or `{name}`" for name, own in BUNDLED.items() if own == kind]
        what = {"scene": "a folder of photos with poses", "clouds": "a file or folder of clouds"}
        wanted = what.get(kind, f"the file of a {kind}") + "".join(bundled)
        raise ValueError(f"{place}: {NAMES[BUNDLED[place]]}; give {wanted}")
    if place in BUNDLED:
        return bundled_source(place, max_size, first, frames, up)
    path = existing_place(Path(place), kind)
    if kind in ("picture", "shape") and path.is_dir():
        raise ValueError(f"{place}: a folder; expected the file of a {kind}")
    return Source(str(path), max_size, masks, kind=kind, first=first, frames=frames, up=up)


def bundled_source(name: str, max_size: int | None, first: int, frames: int | None, up: Axis | None) -> Source:
    """One of `BUNDLED`: photographs are made of the size asked for, clouds as many as are asked for."""
    if BUNDLED[name] == "scene":
        from scenes.synthetic import DemoConfig

        default = DemoConfig()
        width = max_size or default.width
        demo = replace(default, width=width, height=round(width * default.height / default.width))
        return Source(name, demo=asdict(demo))
    from scenes.synthetic.moving import FlowConfig

    if up is not None:
        raise ValueError(f"--up {up}: {name} knows what is up; leave it out")
    flow = FlowConfig() if frames is None else FlowConfig(frames=first + frames)
    if first > flow.frames - 2:
        raise ValueError(f"--first {first}: {name} has {flow.frames} clouds, so expected at most {flow.frames - 2}")
    return Source(name, demo=asdict(flow), kind="clouds", first=first, frames=frames)


def existing_place(place: Path, kind: SubjectKind = "scene") -> Path:
    """The absolute path of a scene's folder (or of a file); FileNotFoundError names the nearest ones beside it."""
    if place.exists():
        return place.resolve()
    parent = place.parent if place.parent.is_dir() else Path(".")
    what = {"scene": "folder", "clouds": "file or folder"}.get(kind, "file")
    entries = [entry for entry in parent.iterdir() if ("folder" if entry.is_dir() else "file") in what]
    neighbours = sorted(entry.name for entry in entries if not entry.name.startswith("."))
    bundled = [name for name, own in BUNDLED.items() if own == kind]
    near = difflib.get_close_matches(place.name, [*neighbours, *bundled], n=3, cutoff=0.5)
    shown = [name if name in bundled else str(parent / name) for name in near]
    hint = f"did you mean {' or '.join(shown)}?" if near else f"there are {', '.join(neighbours[:8]) or f'no {what}s'}"
    note = "".join(f" (`{name}` is bundled)" for name in bundled)
    raise FileNotFoundError(f"{kind} {place}: no such {what} in {parent.resolve()}; {hint}{note}")
