"""The numbers of the multi-frame flow fields. They hold for all data; none was chosen for one scene."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields, replace
from typing import Any

from fields.flow_distance import DistanceKind
from fields.sceneflow_config import SceneFlowConfig


@dataclass(frozen=True)
class FloxelNumbers:
    """Of `fields.flow_floxel.FloxelField`. ValueError for a number out of range."""

    voxel: float = 0.5
    """Metres between the nodes of the grid of flow vectors."""
    reach: int = 2
    """Clouds to either side that a grid is fitted to."""
    distance: DistanceKind = "grid"
    """How the data term measures."""
    cell: float = 0.1
    """Metres between the nodes of the distance transform."""
    truncate: float = 2.0
    """Metres at which the distance is cut off."""
    cluster_cell: float = 0.5
    """Metres across a cell of the clustering: what is nearer hangs together."""
    cluster_least: int = 10
    """Points of the smallest cluster."""
    cluster_weight: float = 30.0
    """Of the variance of the flow inside clusters."""
    length_weight: float = 0.05
    """Of the flow's mean length."""
    static_speed: float = 0.05
    """Metres a step below which a point is judged to stand still (the benchmarks' 0.5 m/s)."""
    lr: float = 0.05
    """Of Adam, in metres a step; falls along a cosine to a hundredth over each grid's steps."""
    steps: int = 60
    """At most, for each grid."""
    first_steps: int = 120
    """At most, for the first one, which nothing leads to."""
    check_every: int = 20
    """Steps between two looks at whether anything still moves."""
    still: float = 0.005
    """A node whose vector has changed by fewer metres since the last look has come to rest."""
    moving_share: float = 0.001
    """A grid is finished when at most this share of its nodes has not come to rest."""

    def __post_init__(self) -> None:
        check_positive(self, zero=("cluster_weight", "length_weight", "static_speed", "still", "moving_share"))


@dataclass(frozen=True)
class EulerNumbers:
    """Of `fields.flow_euler.EulerField`. ValueError for a number out of range."""

    width: int = 128
    """Of each hidden layer."""
    depth: int = 8
    """Hidden layers."""
    rollout: int = 3
    """Euler steps each way, scored at each."""
    distance: DistanceKind = "exact"
    """How the data term measures."""
    cell: float = 0.2
    """Metres between the nodes of the distance transform, of which all clouds have one."""
    truncate: float = 2.0
    """Metres at which the distance is cut off."""
    points: int = 512
    """Drawn a step, from one cloud."""
    cycle_weight: float = 0.01
    """Of the distance after a step forth and a step back."""
    length_weight: float = 0.1
    """Of the flow's mean length; not in the paper, but without it what stands still drifts more and more."""
    speed_limit: float = 6.0
    """Metres a step above which speed costs."""
    static_speed: float = 0.05
    """Metres a step below which a point is judged to stand still (the benchmarks' 0.5 m/s)."""
    lr: float = 1e-3
    """Of Adam; falls along a cosine to a hundredth over `steps`."""
    steps: int = 3000
    """Of the whole sequence."""

    def __post_init__(self) -> None:
        check_positive(self, zero=("cycle_weight", "length_weight", "static_speed"))
        if self.width > 128:
            raise ValueError(f"width: expected at most 128, the widest layer of kernels.mlp, got {self.width}")


def floxel_numbers(config: SceneFlowConfig, clouds: int, steps: int) -> FloxelNumbers:
    """Those of a configuration; steps: of the whole run, of which each of so many clouds' grids has its share."""
    numbers, share = FloxelNumbers(**given(config, FloxelNumbers)), max(1, steps // clouds)
    return replace(numbers, steps=min(numbers.steps, share), first_steps=min(numbers.first_steps, share))


def euler_numbers(config: SceneFlowConfig, steps: int) -> EulerNumbers:
    """Those of a configuration; steps: at most, of the whole run."""
    numbers = EulerNumbers(**given(config, EulerNumbers))
    return replace(numbers, steps=max(1, min(numbers.steps, steps)))


def given(config: SceneFlowConfig, kind: type[FloxelNumbers | EulerNumbers]) -> dict[str, Any]:
    """The numbers of a kind that a configuration replaces."""
    names = [entry.name for entry in fields(kind)]
    return {name: value for name in names if (value := getattr(config, name, None)) is not None}


def check_positive(numbers: FloxelNumbers | EulerNumbers, zero: tuple[str, ...]) -> None:
    """ValueError naming a number that is not finite and above 0, or not at least 0 where `zero` names it."""
    for entry in fields(numbers):
        value = getattr(numbers, entry.name)
        if isinstance(value, str):
            continue
        if not math.isfinite(value) or value < 0 or (value == 0 and entry.name not in zero):
            wanted = "0 or more" if entry.name in zero else "a number above 0"
            raise ValueError(f"{entry.name}: expected {wanted}, got {value}")
