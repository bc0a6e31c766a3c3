"""Configuration of scene flow: the motion of point clouds, fitted at run time."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import ClassVar, Literal

from fields.config import SubjectKind


@dataclass(frozen=True)
class SceneFlowConfig:
    """The motion of point clouds, fitted at run time without any training data (NSFP, Li et al. 2021, and after it).

    The steps of a run are an upper bound: every preset stops by itself.
    """

    method: ClassVar[str] = "sceneflow"
    subject: ClassVar[SubjectKind] = "clouds"
    kernels: ClassVar[tuple[str, ...]] = (
        "mlp",
        "neighbours",
        "distance",
        "grid",
        "project",
        "tile",
        "harmonics",
        "blend",
    )
    default_steps: ClassVar[Mapping[str, int]] = {"cpu": 100_000, "cuda": 100_000}

    preset: Literal["bodies", "nsfp", "fast", "floxel", "euler"] = "bodies"
    """bodies: what moves is found, followed and bent, our own; nsfp: Neural Scene Flow Prior (Li et al. 2021); fast:
    its distance-transform variant (Li et al. 2023); floxel: a voxel grid of flow over several clouds (Hoffmann et al.
    2025); euler: one field for a whole sequence (Vedder et al. 2025)."""
    lr: float | None = None
    """Learning rate; by default the preset's own, as all that follow without a number."""
    patience: int | None = None
    """Of nsfp and fast: a pair is done after so many steps in a row without a better loss."""
    min_delta: float | None = None
    """Of nsfp and fast: by how much a loss must be below the best one to be better."""
    pair_steps: int = 5_000
    """Of nsfp and fast: most steps of a pair; fewer where the run's own, shared among its pairs, do not suffice."""
    repairs: bool = True
    """Of fast: distances count up to 2 m only, and the second cloud's distances to the moved first one are added, which
    undoes the pull of the nearest points; --no-repairs is FastNSF as published."""
    cell: float | None = None
    """Of fast, floxel and euler: metres a side of a cell of the distance transform."""
    voxel: float | None = None
    """Of floxel: metres between the nodes of the grid of flow."""
    reach: int | None = None
    """Of floxel: clouds on either side that a grid is fitted to."""
    cluster_weight: float | None = None
    """Of floxel: of the variance of the flow within what hangs together."""
    rollout: int | None = None
    """Of euler: steps each way from a cloud that are followed."""
    points: int | None = None
    """Of euler: points of a step."""
    length_weight: float | None = None
    """Of floxel and euler: of the mean length of the flow."""
    static_speed: float | None = None
    """Of floxel and euler: metres a cloud step below which a point is judged to stand still."""

    def __post_init__(self) -> None:
        for name in ("patience", "pair_steps", "reach", "rollout", "points"):
            self._check(name, "at least 1", lambda value: value >= 1)
        for name in ("lr", "cell", "voxel"):
            self._check(name, "a positive number", lambda value: 0 < value < math.inf)
        for name in ("min_delta", "cluster_weight", "length_weight", "static_speed"):
            self._check(name, "0 or more", lambda value: 0 <= value < math.inf)
        for field in fields(self):
            presets = ONLY_OF.get(field.name, (self.preset,))
            if self.preset not in presets and getattr(self, field.name) != field.default:
                raise ValueError(f"{field.name}: only for {' and '.join(presets)}, not for preset {self.preset}")

    def _check(self, name: str, wanted: str, holds: Callable[[float], bool]) -> None:
        value = getattr(self, name)
        if value is not None and not holds(value):
            raise ValueError(f"{name}: expected {wanted}, got {value}")


PAIRS = ("nsfp", "fast")
ONLY_OF: Mapping[str, tuple[str, ...]] = {
    "lr": (*PAIRS, "floxel", "euler"),
    "patience": PAIRS,
    "min_delta": PAIRS,
    "pair_steps": PAIRS,
    "repairs": ("fast",),
    "cell": ("fast", "floxel", "euler"),
    "voxel": ("floxel",),
    "reach": ("floxel",),
    "cluster_weight": ("floxel",),
    "rollout": ("euler",),
    "points": ("euler",),
    "length_weight": ("floxel", "euler"),
    "static_speed": ("floxel", "euler"),
}
"""Options that only some presets have a use for."""
