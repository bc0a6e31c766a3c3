"""Flows that take no fitting of a field: what a method must beat before it has found anything that moves."""

from __future__ import annotations

import numpy as np

from scenes.flow.icp import rigid_motion
from scenes.flow.sequence import Floats, Pair, moved


def zero_flow(pair: Pair) -> Floats:
    """[N, 3] nothing moves. Where poses are known this is ego motion alone, the strongest of the trivial answers."""
    return np.zeros_like(pair.source.points)


def still_flow(pair: Pair) -> Floats:
    """[N, 3] nothing moves relative to the sensor: zero flow without ego motion taken out."""
    return pair.sensor_points - pair.source.points


def rigid_flow(pair: Pair) -> Floats:
    """[N, 3] everything moves as one body, found by `rigid_motion`: ego motion where the poses are not known."""
    return moved(pair.source.points, rigid_motion(pair.source.points, pair.target.points)) - pair.source.points


def baseline_flows(pair: Pair) -> dict[str, Floats]:
    """The baselines by name: "zero", "rigid", and "still" where ego motion is known."""
    flows = {"zero": zero_flow(pair), "rigid": rigid_flow(pair)}
    return flows if np.allclose(pair.ego, np.eye(4)) else {**flows, "still": still_flow(pair)}
