"""A fitted flow in files that others read: npz, PLY, the Argoverse 2 scene-flow challenge."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from fields.run import Run, subject_of
from scenes.flow.argoverse2 import find_sweeps
from scenes.flow.evaluate import FlowModel, predicted_flow
from scenes.flow.export import with_flow, write_av2_submission, write_flow_ply, write_npz
from scenes.flow.select import crop, without_ground
from scenes.flow.sequence import CloudSequence

Rows = NDArray[np.int32]


def export_run(run: Run, model: Any, path: Path) -> str:
    """Write the flow of all points of what a run was trained on, see `export_flow`; where that has gone, of the points
    that the model keeps, with a warning.
    """
    try:
        sequence = subject_of(run)
    except FileNotFoundError as error:
        warnings.warn(f"{error}. Only the points that were fitted are written", stacklevel=2)
        return model.export(path, torch.tensor(run.world_from_input))
    assert isinstance(sequence, CloudSequence)
    fitted = check_fitted(model, sequence)
    return export_flow(model, sequence, path, first=run.source.first, fitted=fitted, device=model.points.device)


def export_flow(
    model: FlowModel,
    sequence: CloudSequence,
    path: Path,
    *,
    first: int = 0,
    fitted: Sequence[Rows] | None = None,
    device: torch.device | str = "cpu",
) -> str:
    """Write the flow of all points of a sequence of the model's clouds; returns a line that says what was written.

    NAME.npz: the sequence with its flow, free of ego motion. NAME.ply: points and flow, each in the frame of the second
    sensor; of more than two clouds NAME-000.ply and so on. A folder: a submission to the Argoverse 2 challenge, for
    which `first` is the number of the sequence's first sweep in its log. fitted: of each cloud the rows whose motion
    was looked for, the others get flow 0; None: all. ValueError for another suffix.
    """
    if path.suffix.lower() not in ("", ".npz", ".ply"):
        raise ValueError(f"{path}: flow is not written as {path.suffix}; use .npz, .ply, or a folder (Argoverse 2)")
    pairs = list(sequence.pairs())
    flows = [predicted_flow(model, sequence, t, pair, device=device) for t, pair in enumerate(pairs)]
    if fitted is not None:
        for flow, rows in zip(flows, fitted, strict=False):
            flow[np.delete(np.arange(len(flow)), rows)] = 0
    match path.suffix.lower():
        case ".npz":
            write_npz(path, with_flow(sequence, flows))
            return f"{path}: {len(sequence)} clouds, flow free of ego motion in metres"
        case ".ply":
            for t, (pair, flow) in enumerate(zip(pairs, flows, strict=True)):
                name = path if len(flows) == 1 else path.with_name(f"{path.stem}-{t:03d}{path.suffix}")
                write_flow_ply(name, pair.source.points, flow)
            return f"{path}: {len(flows)} files of points with flow_x, flow_y, flow_z in metres"
        case _:
            for stamp, pair, flow in zip(timestamps_ns(sequence, first), pairs, flows, strict=False):
                write_av2_submission(path, sequence.name, stamp, pair, flow)
            return f"{path}: {len(flows)} sweeps of {sequence.name} for the Argoverse 2 challenge, all points of each"


def fitted_rows(sequence: CloudSequence) -> list[Rows]:
    """Of each cloud the rows that `SceneFlow.from_clouds` fits: within reach, and not on the ground."""
    clouds = (replace(cloud, instances=np.arange(len(cloud.points), dtype=np.int32)) for cloud in sequence.clouds)
    kept = without_ground(crop(replace(sequence, clouds=tuple(clouds))), by="own")
    return [cloud.instances for cloud in kept.clouds if cloud.instances is not None]


def check_fitted(model: Any, sequence: CloudSequence) -> list[Rows]:
    """`fitted_rows`; ValueError when they are not as many as the model was fitted to: the files have changed."""
    rows = fitted_rows(sequence)
    found, known = [len(own) for own in rows], model.sizes.tolist()
    if found != known:
        raise ValueError(
            f"{sequence.source}: not the clouds that were fitted ({len(found)} with {sum(found):,} points to fit, then "
            f"{len(known)} with {sum(known):,}); restore the files, or train anew"
        )
    return rows


def timestamps_ns(sequence: CloudSequence, first: int) -> list[int]:
    """Of an Argoverse 2 log the names of its sweeps, else the times since the first cloud; nanoseconds."""
    sweeps = find_sweeps(Path(sequence.source)) if Path(sequence.source).is_dir() else []
    if sweeps:
        return [int(path.stem) for path in sweeps[first : first + len(sequence)]]
    return [round(seconds * 1e9) for seconds in sequence.times.tolist()]
