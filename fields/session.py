"""A run opened for work: started, resumed, or only loaded to be looked at."""

from __future__ import annotations

import difflib
import warnings
from dataclasses import asdict, dataclass, replace
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
from fields.subject import DEMO, Source, Subject, open_source
from kernels.native import build_ahead
from scenes.load import MaskMeaning
from scenes.splat_ply import read_splat_ply

if TYPE_CHECKING:
    from fields.splats import Splats


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
    source = source_of(options.scene, config.subject, options.max_size, options.masks)
    build_ahead(config.kernels)
    subject = open_source(source, options.split)
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


def source_of(place: str, kind: SubjectKind, max_size: int | None, masks: MaskMeaning) -> Source:
    """What SCENE on the command line means; an error names the nearest folders, or what was wanted instead."""
    if kind != "scene":
        if place == DEMO:
            raise ValueError(f"{DEMO}: a scene of photographs; give the file of a {kind}")
        path = existing_place(Path(place), kind)
        if path.is_dir():
            raise ValueError(f"{place}: a folder; expected the file of a {kind}")
        return Source(str(path), kind=kind)
    if place == DEMO:
        from scenes.synthetic import DemoConfig

        default = DemoConfig()
        width = max_size or default.width
        demo = replace(default, width=width, height=round(width * default.height / default.width))
        return Source(DEMO, demo=asdict(demo))
    return Source(str(existing_place(Path(place))), max_size, masks)


def existing_place(place: Path, kind: SubjectKind = "scene") -> Path:
    """The absolute path of a scene's folder (or of a file); FileNotFoundError names the nearest ones beside it."""
    if place.exists():
        return place.resolve()
    parent = place.parent if place.parent.is_dir() else Path(".")
    entries = [e for e in parent.iterdir() if e.is_dir() == (kind == "scene") and not e.name.startswith(".")]
    neighbours, bundled = sorted(entry.name for entry in entries), [DEMO] if kind == "scene" else []
    near = difflib.get_close_matches(place.name, [*neighbours, *bundled], n=3, cutoff=0.5)
    shown = [name if name in bundled else str(parent / name) for name in near]
    what = "folder" if kind == "scene" else "file"
    hint = f"did you mean {' or '.join(shown)}?" if near else f"there are {', '.join(neighbours[:8]) or f'no {what}s'}"
    note = f" (`{DEMO}` is the bundled scene)" if bundled else ""
    raise FileNotFoundError(f"{kind} {place}: no such {what} in {parent.resolve()}; {hint}{note}")
