"""Checkpoints: everything a run needs to go on exactly, as safetensors and JSON, replaced atomically.

A run's `checkpoint/` holds one folder per saved step, `step-00003000/`, with `weights.safetensors` (parameters
and buffers, densifier statistics among them), `optimiser.safetensors` (moments by parameter name),
`random.safetensors` and `state.json`. A new one is written under a temporary name, flushed to the disk and
renamed once; only then are older ones removed. So at every instant at least one complete checkpoint exists,
and the highest step is the newest: a kill leaves at worst a temporary folder or a half-removed older one, and
the next write clears them away.
"""

from __future__ import annotations

import json
import os
import random
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

STEP_FOLDER = re.compile(r"step-(\d{8,})")


@dataclass(frozen=True)
class RandomState:
    """States of the generators of torch ("cpu", "cuda:0", ...: [S] uint8), numpy and python."""

    torch: Mapping[str, Tensor] = field(default_factory=dict)
    numpy: Mapping[str, Any] = field(default_factory=dict)
    python: list[Any] = field(default_factory=list)


@dataclass(frozen=True)
class Checkpoint:
    """A run between two steps.

    method: name of the method that was trained. step: steps completed. seconds: time spent training.
    weights: parameters and buffers by name, as in `state_dict`. optimiser: "<parameter>|<entry>" to tensor.
    schedule: learning rate of every parameter group in the last step, by name; the schedules themselves are
    functions of the step alone, so this is a record for readers. random: None leaves the generators alone.
    """

    method: str
    step: int
    seconds: float
    weights: Mapping[str, Tensor]
    optimiser: Mapping[str, Tensor] = field(default_factory=dict)
    schedule: Mapping[str, float] = field(default_factory=dict)
    random: RandomState | None = None


def write_checkpoint(folder: Path, checkpoint: Checkpoint) -> Path:
    """Save `checkpoint` in the run's checkpoint `folder` and remove older ones; returns the new step's folder.

    Raises OSError (disk full, quota, lost network disk) with every earlier checkpoint untouched and nothing
    left behind. A step that is saved already is not written again.
    """
    final = folder / f"step-{checkpoint.step:08d}"
    if not final.exists():
        temporary = folder / f"tmp-{os.getpid()}"
        folder.mkdir(parents=True, exist_ok=True)
        try:
            shutil.rmtree(temporary, ignore_errors=True)
            temporary.mkdir()
            _write_files(temporary, checkpoint)
            temporary.rename(final)
            _flush(folder)
        except OSError:
            shutil.rmtree(temporary, ignore_errors=True)
            raise
    for leftover in folder.iterdir():
        if leftover != final and (STEP_FOLDER.fullmatch(leftover.name) or leftover.name.startswith("tmp-")):
            shutil.rmtree(leftover, ignore_errors=True)
    return final


def latest(folder: Path) -> Path | None:
    """The folder of the newest complete checkpoint in a run's checkpoint `folder`, or None."""
    if not folder.is_dir():
        return None
    steps = [entry for entry in folder.iterdir() if STEP_FOLDER.fullmatch(entry.name)]
    return max(steps, key=lambda entry: int(entry.name.removeprefix("step-")), default=None)


def read_checkpoint(folder: Path, *, device: str | torch.device = "cpu") -> Checkpoint:
    """The newest checkpoint in a run's checkpoint `folder`, its weights and moments on `device`.

    Raises FileNotFoundError when there is none, ValueError naming the file when one is damaged.
    """
    for _ in range(3):  # a run that is still training may replace the folder while we read
        newest = latest(folder)
        if newest is None:
            break
        try:
            return _read_files(newest, str(device))
        except FileNotFoundError:
            if latest(folder) == newest:
                raise ValueError(
                    f"{newest}: a file of this checkpoint is missing; remove the folder to start the run again"
                ) from None
    raise FileNotFoundError(f"{folder}: holds no checkpoint; the run was stopped before its first one")


def capture_random() -> RandomState:
    """The present state of every global generator."""
    # numpy's global generator is saved for the sake of libraries that draw from it; we never do.
    kind, keys, position, has_gauss, gauss = np.random.get_state(legacy=True)  # noqa: NPY002
    states = {"cpu": torch.get_rng_state()}
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        states |= {f"cuda:{i}": state for i, state in enumerate(torch.cuda.get_rng_state_all())}
    version, words, gauss_next = random.getstate()
    return RandomState(
        torch=states,
        numpy={
            "kind": str(kind),
            "keys": [int(key) for key in np.asarray(keys)],
            "position": int(position),
            "has_gauss": int(has_gauss),
            "gauss": float(gauss),
        },
        python=[version, list(words), gauss_next],
    )


def restore_random(state: RandomState) -> None:
    """Set every global generator to a captured state."""
    for name, value in state.torch.items():
        if name == "cpu":
            torch.set_rng_state(value.cpu())
        elif torch.cuda.is_available():
            torch.cuda.set_rng_state(value.cpu(), name)
    numpy = state.numpy
    if numpy:
        keys = np.array(numpy["keys"], dtype=np.uint32)
        legacy = (numpy["kind"], keys, numpy["position"], numpy["has_gauss"], numpy["gauss"])
        np.random.set_state(legacy)  # noqa: NPY002
    if state.python:
        version, words, gauss_next = state.python
        random.setstate((version, tuple(words), gauss_next))


def _write_files(folder: Path, checkpoint: Checkpoint) -> None:
    state = checkpoint.random or RandomState()
    _save_tensors(folder / "weights.safetensors", checkpoint.weights)
    _save_tensors(folder / "optimiser.safetensors", checkpoint.optimiser)
    _save_tensors(folder / "random.safetensors", state.torch)
    document = {
        "method": checkpoint.method,
        "step": checkpoint.step,
        "seconds": checkpoint.seconds,
        "schedule": dict(checkpoint.schedule),
        "random": None if checkpoint.random is None else {"numpy": state.numpy, "python": state.python},
    }
    with open(folder / "state.json", "w", encoding="utf-8") as file:
        json.dump(document, file)
        file.flush()
        os.fsync(file.fileno())
    _flush(folder)


def _read_files(folder: Path, device: str) -> Checkpoint:
    try:
        document = json.loads((folder / "state.json").read_text(encoding="utf-8"))
        noise = document["random"]
        state = None
        if noise is not None:
            tensors = _load_tensors(folder / "random.safetensors", "cpu")
            state = RandomState(tensors, noise["numpy"], noise["python"])
        return Checkpoint(
            method=document["method"],
            step=int(document["step"]),
            seconds=float(document["seconds"]),
            weights=_load_tensors(folder / "weights.safetensors", device),
            optimiser=_load_tensors(folder / "optimiser.safetensors", device),
            schedule=document["schedule"],
            random=state,
        )
    except (json.JSONDecodeError, UnicodeDecodeError, KeyError, TypeError) as error:
        raise ValueError(
            f"{folder / 'state.json'}: damaged ({error!r}); remove {folder} to start the run again"
        ) from None


def _save_tensors(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Write and flush; OSError keeps its number where safetensors would hide it in a message."""
    plain = {name: tensor.detach().contiguous().cpu() for name, tensor in tensors.items()}
    try:
        save_file(plain, path)
    except SafetensorError as error:
        number = re.search(r"os error (\d+)", str(error))
        if number is None:
            raise
        raise OSError(int(number[1]), os.strerror(int(number[1])), str(path)) from None
    path.chmod(path.parent.stat().st_mode & 0o666)  # safetensors' files are readable by their owner alone
    _flush(path)


def _load_tensors(path: Path, device: str) -> dict[str, Tensor]:
    if not path.exists():
        raise FileNotFoundError(path)
    try:
        return {name: tensor.clone() for name, tensor in load_file(path, device=device).items()}
    except SafetensorError as error:
        raise ValueError(f"{path}: damaged ({error}); remove {path.parent} to start the run again") from None


def _flush(path: Path) -> None:
    """Ask the operating system to put a file (or a folder's list of names) on the disk now."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
