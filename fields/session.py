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
from fields.config import SplatsConfig
from fields.optimise import TrainState, begin, restore
from fields.options import TrainOptions
from fields.recorder import summary_writer
from fields.run import (
    DEMO,
    Run,
    SceneSource,
    create_run,
    default_folder,
    open_run,
    open_source,
    refuse_used,
    scene_of,
    seed_everything,
)
from kernels.native import build_ahead
from scenes.load import MaskMeaning
from scenes.scene import Scene
from scenes.splat_ply import read_splat_ply

if TYPE_CHECKING:
    from fields.splats import Splats


@dataclass
class Session:
    """A run opened for training: its folder, its scene, the model and how far it is."""

    run: Run
    scene: Scene
    model: Any
    state: TrainState


def start(options: TrainOptions[Any]) -> Session:
    """Open the scene, make the run folder and an untrained model."""
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
    source = scene_source(options.scene, options.max_size, options.masks)
    build_ahead(config.kernels)
    scene = open_source(source, options.split)
    steps = options.steps if options.steps is not None else {"cpu": 3_000, "cuda": 30_000}[device]
    model = fields.build(config, scene, seed=options.seed, steps=steps).to(device)
    run = create_run(
        options.out or default_folder(scene.name, config.method),
        config=config,
        source=source,
        scene=scene,
        steps=steps,
        seed=options.seed,
        device=device,
        checkpoint_seconds=options.checkpoint_seconds,
        split_origin="the scene's own" if options.split is None else str(options.split),
    )
    return Session(run, scene, model, begin(model))


def resume(folder: Path) -> Session:
    """Open a run where its newest checkpoint left it, or at its beginning when there is none yet."""
    run = open_run(folder)
    if run.device == "cuda" and not torch.cuda.is_available():
        raise ValueError(
            f"{folder}: was trained on cuda and torch sees no CUDA device here; resume it on a machine that has one"
        )
    seed_everything(run.seed, run.device)
    torch.set_num_threads(run.threads)  # sums over threads are part of bit equality
    scene = scene_of(run)
    if latest(run.checkpoints) is None:
        model = fields.build(run.config, scene, seed=run.seed, steps=run.steps).to(run.device)
        return Session(run, scene, model, begin(model))
    model, checkpoint = load_model(run)
    return Session(run, scene, model, restore(model, checkpoint))


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

    path = existing_scene(path)
    if path.suffix.lower() != ".ply":
        raise ValueError(f"{path}: expected a run folder, or a 3DGS PLY (a name that ends in .ply)")
    cloud, antialiased = read_splat_ply(path)
    config = SplatsConfig(sh_degree=cloud.degree, max_gaussians=len(cloud), antialiased=antialiased, densify="none")
    return Splats(config, {name: getattr(cloud, name) for name in ROWS})


def scene_source(place: str, max_size: int | None, masks: MaskMeaning) -> SceneSource:
    """What SCENE on the command line means; FileNotFoundError names the nearest folders."""
    if place == DEMO:
        from scenes.synthetic import DemoConfig

        default = DemoConfig()
        width = max_size or default.width
        demo = replace(default, width=width, height=round(width * default.height / default.width))
        return SceneSource(DEMO, demo=asdict(demo))
    return SceneSource(str(existing_scene(Path(place))), max_size, masks)


def existing_scene(place: Path) -> Path:
    """The absolute path of a scene's folder (or file); FileNotFoundError names the nearest ones beside it."""
    if place.exists():
        return place.resolve()
    parent = place.parent if place.parent.is_dir() else Path(".")
    neighbours = sorted(entry.name for entry in parent.iterdir() if entry.is_dir() and not entry.name.startswith("."))
    near = difflib.get_close_matches(place.name, [*neighbours, DEMO], n=3, cutoff=0.5)
    shown = [name if name == DEMO else str(parent / name) for name in near]
    hint = f"did you mean {' or '.join(shown)}?" if near else f"there are {', '.join(neighbours[:8]) or 'no folders'}"
    raise FileNotFoundError(
        f"scene {place}: no such folder in {parent.resolve()}; {hint} (`{DEMO}` is the bundled scene)"
    )
