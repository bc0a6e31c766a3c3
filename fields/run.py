"""Run folders: what a training run keeps, so that it can be resumed, scored, rendered and explained later.

    config.json    method and its options, scene, steps, seed, device, threads, source commit, versions
    split.json     names of the training, validation and test views (of a scene)
    metrics.jsonl  history (fields/history.py)         checkpoint/  newest state (fields/checkpoint.py)
    eval/          scores, pictures, report            export/      models in exchange formats

A folder is made under a temporary name and renamed, so it is either complete or not there.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import platform
import random
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, Literal

import numpy as np
import safetensors
import torch

from fields import FieldConfig, config_from_json
from fields.subject import Source, Subject, open_source
from kernels.provenance import machine_name, source_commit
from scenes.scene import Scene
from scenes.splits import write_split


@dataclass(frozen=True)
class Run:
    """A run folder and what its config.json says. `facts` holds the rest: commit, versions, machine, date."""

    folder: Path
    config: FieldConfig
    source: Source
    world_from_input: list[list[float]]
    steps: int
    seed: int
    device: Literal["cpu", "cuda"]
    threads: int
    checkpoint_seconds: float
    facts: Mapping[str, Any]

    @property
    def checkpoints(self) -> Path:
        """Folder of the checkpoints."""
        return self.folder / "checkpoint"


def default_folder(scene: str, method: str) -> Path:
    """runs/SCENE-METHOD-TIME below the current folder."""
    return Path("runs") / f"{scene}-{method}-{datetime.now():%Y%m%d-%H%M%S}"


def create_run(
    folder: Path,
    *,
    config: FieldConfig,
    source: Source,
    subject: Subject,
    steps: int,
    seed: int,
    device: Literal["cpu", "cuda"],
    checkpoint_seconds: float = 30.0,
    split_origin: str = "the scene's own",
) -> Run:
    """Make a run folder; FileExistsError for one that is not empty says how to go on with what is in it.

    split_origin: where the split came from, for the record (the views themselves are kept in split.json).
    """
    if steps < 1:
        raise ValueError(f"steps: expected at least 1, got {steps}")
    refuse_used(folder)
    run = Run(
        folder=folder,
        config=config,
        source=source,
        world_from_input=subject.world_from_input.tolist(),
        steps=steps,
        seed=seed,
        device=device,
        threads=torch.get_num_threads(),
        checkpoint_seconds=checkpoint_seconds,
        facts={
            "scene_name": subject.name,
            "split_origin": split_origin,
            "commit": source_commit(),
            "machine": machine_name(),
            "versions": {
                "python": platform.python_version(),
                "torch": torch.__version__,
                "numpy": np.__version__,
                "safetensors": safetensors.__version__,
            },
            "created": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        },
    )
    temporary = folder.with_name(f"{folder.name}.tmp-{os.getpid()}")
    temporary.mkdir(parents=True)
    try:
        for name in ("checkpoint", "eval", "export"):
            (temporary / name).mkdir()
        if isinstance(subject, Scene):
            write_split(temporary / "split.json", subject.split)
        (temporary / "config.json").write_text(json.dumps(_document(run), indent=2) + "\n", encoding="utf-8")
        if folder.exists():
            folder.rmdir()
        temporary.rename(folder)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    return run


def refuse_used(folder: Path) -> None:
    """FileExistsError unless `folder` is free for a new run."""
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise FileExistsError(
            f"{folder} exists already and is not empty; go on with it by `fieldbench resume {folder}`, "
            "or give another --out"
        )


def open_run(folder: Path) -> Run:
    """The run in `folder`; an error names the file and what is wrong: no run folder, an unknown method, ..."""
    path = folder / "config.json"
    if not path.exists():
        raise FileNotFoundError(
            f"{folder}: not a run folder (it has no config.json); give a folder made by `fieldbench train`"
        )
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        check_document(document)
        return Run(
            folder=folder,
            config=config_from_json(document["method"], document["config"]),
            source=Source(**document["scene"]),
            world_from_input=document["world_from_input"],
            steps=document["steps"],
            seed=document["seed"],
            device=document["device"],
            threads=document["threads"],
            checkpoint_seconds=document["checkpoint_seconds"],
            facts=document["facts"],
        )
    except (json.JSONDecodeError, UnicodeDecodeError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(
            f"{path}: not readable as a run's configuration: {error!r}; restore the file as `fieldbench train` wrote it"
        ) from None
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def check_document(document: Mapping[str, Any]) -> None:
    """ValueError naming the first entry of a config.json that is no value of its kind."""
    for name in ("steps", "seed", "threads"):
        if type(document[name]) is not int or document[name] < (name != "seed"):
            raise ValueError(f"{name}: expected a whole number, got {document[name]!r}")
    if document["device"] not in ("cpu", "cuda"):
        raise ValueError(f"device: expected cpu or cuda, got {document['device']!r}")
    lacking = {"scene_name", "split_origin", "commit", "machine"} - document["facts"].keys()
    if lacking:
        raise ValueError(f"facts: lacks {', '.join(sorted(lacking))}; restore the file as it was written")


def subject_of(run: Run) -> Subject:
    """What a run was trained on, a scene under its own split; ValueError when the data have changed since."""
    try:
        subject = open_source(run.source, run.folder / "split.json")
    except FileNotFoundError as error:
        if Path(run.source.place).exists() or run.source.demo is not None:
            raise
        raise FileNotFoundError(
            f"{error}; put it back, or write its new place into {run.folder / 'config.json'}"
        ) from None
    if not torch.allclose(subject.world_from_input, torch.tensor(run.world_from_input), rtol=1e-5, atol=1e-6):
        raise ValueError(
            f"{run.source.place}: not what {run.folder} was trained with (its world_from_input differs: other cameras, "
            "another size); restore the files, or train anew"
        )
    return subject


@contextlib.contextmanager
def locked(run: Run) -> Iterator[None]:
    """Hold the run for writing; RuntimeError when another process trains it. A killed one lets go by itself."""
    import fcntl

    with open(run.folder / "lock", "w", encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise RuntimeError(f"{run.folder}: another process is training this run; wait for it or stop it") from None
        yield


def _document(run: Run) -> dict[str, Any]:
    return {
        "method": run.config.method,
        "config": dataclasses.asdict(run.config),
        "scene": dataclasses.asdict(run.source),
        "world_from_input": run.world_from_input,
        "steps": run.steps,
        "seed": run.seed,
        "device": run.device,
        "threads": run.threads,
        "checkpoint_seconds": run.checkpoint_seconds,
        "facts": run.facts,
    }


def seed_everything(seed: int, device: str) -> None:
    """Seed all global generators once, at the start of a program, and make torch deterministic on a CPU."""
    random.seed(seed)
    np.random.seed(seed % 2**32)  # noqa: NPY002 (ours never draw from it; a library in a method might)
    torch.manual_seed(seed)
    if device == "cpu":
        torch.use_deterministic_algorithms(True)
        # It would also fill fresh memory with NaN: a check for debugging, at a price in time.
        torch.utils.deterministic.fill_uninitialized_memory = False  # pyright: ignore[reportAttributeAccessIssue]
