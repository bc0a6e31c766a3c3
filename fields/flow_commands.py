"""The subcommands of `fieldbench` that use a fitted scene flow. Nothing heavy is imported here."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import Positional, arg

FlowRun = Positional[Annotated[Path, arg(metavar="RUN")]]
OutFile = Positional[Annotated[Path, arg(metavar="OUT.npz|OUT.ply")]]


@dataclass(frozen=True)
class Accumulate:
    """Bring all clouds of a scene-flow run to one time: a dense cloud in which what moves is in one place."""

    run: FlowRun
    """Run folder of sceneflow."""
    out: OutFile
    """File to write: each point with the cloud that saw it; metres in the frame of the first sensor."""
    at: Annotated[float | None, arg(metavar="T")] = None
    """The time, counted in clouds from 0, fractions allowed; by default that of the middle cloud."""
    span: Annotated[float | None, arg(metavar="K")] = None
    """Only clouds that are at most so many away from the time; by default all."""
    still: Annotated[float | None, arg(metavar="M")] = None
    """Slower points (metres a cloud step) stand still, so that walls do not smear; by default 0.05. Only for presets
    that are integrated: the default one judges for itself what stands."""
    without_ground: bool = False
    """Only points that were fitted: no ground, and nothing out of reach, which else come along as static."""
    debug: bool = False
    """Show the traceback of an error."""


@dataclass(frozen=True)
class Trajectories:
    """Follow points through all clouds of a scene-flow run, forward and back in time."""

    run: FlowRun
    """Run folder of sceneflow."""
    out: OutFile
    """File to write: npz as MBNSF's benchmark, which reads back as moving clouds, or PLY with edges in time; metres in
    the frame of the first sensor."""
    at: Annotated[float, arg(metavar="T")] = 0.0
    """The time at which the points are where they are given, counted in clouds from 0, fractions allowed."""
    points: Annotated[Path | None, arg(metavar="FILE")] = None
    """Points to follow (PLY, PCD, npy, npz), anywhere, in the frame of the first sensor; by default those of the cloud
    at that time."""
    every: Annotated[int | None, arg(metavar="N")] = None
    """Every N-th point of the cloud; by default all."""
    method: Literal["euler", "rk4"] | None = None
    """How a field is integrated: the published Euler steps (default), or Runge-Kutta's."""
    debug: bool = False
    """Show the traceback of an error."""
