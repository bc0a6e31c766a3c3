"""`fieldbench accumulate` and `fieldbench trajectories`: from a run's folder to a file."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch

from fields.flow_commands import Accumulate, Trajectories
from fields.flow_paths import (
    STILL,
    Flow,
    Method,
    accumulate,
    carry,
    check_time,
    gated,
    integrate,
    is_exact,
    joined,
    round_trip,
    trajectories,
)
from fields.run import Run, open_run, subject_of
from fields.session import load_model
from scenes.flow.cloud_files import read_cloud
from scenes.flow.path_files import check_suffix, write_accumulated, write_trajectories
from scenes.flow.sequence import CloudSequence


def accumulate_run(options: Accumulate) -> str:
    """Write all clouds of a run carried to one time (by default that of the middle cloud); returns what was written.

    See `accumulate` and `write_accumulated`. Where the run's data have gone, only fitted points come along, with a
    warning. Raises ValueError for another suffix, times outside the sequence and runs of something else, OSError for
    files that cannot be written.
    """
    out = options.out
    check_suffix(out)
    run, model = open_flow(options.run)
    if options.still is not None and is_exact(model):
        raise ValueError(
            f"--still {options.still:g}: the preset {model.config.preset} judges for itself what stands; leave it out"
        )
    at = float(len(model.clouds) // 2) if options.at is None else options.at
    data = None if options.without_ground else data_of(run)
    still = STILL if options.still is None else options.still
    points, cloud = joined(accumulate(model, data, at, options.span, still=still))
    write_accumulated(out, points.cpu().numpy(), cloud.cpu().numpy(), seconds_of(model), at)
    return f"{out}: {len(points):,} points of {len(cloud.unique())} clouds, brought to time {at:g}, counted in clouds"


def trajectories_run(options: Trajectories) -> str:
    """Write where points are at all clouds' times; returns what was written, and how far they drift there and back.

    See `trajectories` and `write_trajectories`. Raises as `accumulate_run`.
    """
    out, at, every = options.out, options.at, options.every
    check_suffix(out)
    if options.points is not None and every is not None:
        raise ValueError("--points and --every: give one of them; a file's points are all followed")
    if every is not None and every < 1:
        raise ValueError(f"--every {every}: expected 1 or more")
    _, model = open_flow(options.run)
    last = len(model.clouds) - 1
    check_time(at, last + 1)
    flow = flow_by(model, options.method)
    if options.points is not None:
        start = torch.from_numpy(read_cloud(options.points).points).to(model.clouds[0])
    else:
        start = carry(flow, model.clouds[int(at)], int(at), at)[::every]
    places = trajectories(flow, start, at, [float(t) for t in range(last + 1)], chained=not is_exact(model))
    write_trajectories(out, places.cpu().numpy(), seconds_of(model))
    drift = round_trip(flow, start, at, 0.0 if at > last / 2 else float(last)).cpu().numpy()
    return (
        f"{out}: {len(start):,} points at {last + 1} times; to the farther end and back they drift by "
        f"{drift.mean():.3f} m on average, {np.quantile(drift, 0.95):.3f} m at 95 %"
    )


def open_flow(folder: Path) -> tuple[Run, Any]:
    """A run of scene flow and its newest model; ValueError for a run of anything else."""
    run = open_run(folder)
    if run.source.kind != "clouds":
        raise ValueError(f"{folder}: a run of {run.config.method}, in which nothing moves; give one of sceneflow")
    return run, load_model(run)[0]


def data_of(run: Run) -> CloudSequence | None:
    """The clouds that a run was fitted to; None with a warning where they have gone."""
    try:
        subject = subject_of(run)
    except FileNotFoundError as error:
        warnings.warn(f"{error}. Only the points that were fitted are written", stacklevel=2)
        return None
    assert isinstance(subject, CloudSequence)
    return subject


def flow_by(model: Any, method: Method | None) -> Flow:
    """The model's own flow, or that of its field by another way of integration; ValueError where there is none."""
    if method is not None and is_exact(model):
        raise ValueError(
            f"--method {method}: the preset {model.config.preset} knows its motion between any two times and "
            "integrates nothing; leave it out"
        )
    if method in (None, "euler"):
        return model.flow
    velocity = gated(model.field)
    return lambda points, t0, t1: integrate(velocity, points, t0, t1, method) - points


def seconds_of(model: Any) -> Any:
    """[T] float64 the clouds' times."""
    return model.times.cpu().numpy()
