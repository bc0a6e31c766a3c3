"""Cloud, CloudSequence, Pair: what a moving scene is, whichever format it came from.

Frames. A cloud's points are in the frame of the sensor at its time; `world_from_sensor` carries them to one world.
**Flow is free of ego motion** and has the axes of the *next* cloud's sensor: point p of cloud t lies, one step later,
at `T p + flow` in the frame of cloud t + 1, where `T = inverse(world_from_sensor[t + 1]) @ world_from_sensor[t]`.
Things that stand still have zero flow. Where the poses are unknown they are the identity, T is too, and ego motion is
part of the flow.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Floats = NDArray[np.float32]
Bools = NDArray[np.bool_]
Matrix = NDArray[np.floating[Any]]

LEAST_POINTS = 3
"""Fewer points do not tell a rotation from a shift."""
LABELS = ("flow", "valid", "ground", "classes", "dynamic", "instances")
SWEEP_SECONDS = 0.1
"""Between two clouds whose times are unknown: the sweep of the usual lidar."""
MOVING_SPEED = 0.5
"""Metres a second of flow above which a point is dynamic (Argoverse 2: 0.05 m in 0.1 s)."""
FARTHEST_GAP = 100.0
"""Metres between the boxes of two successive clouds above which they do not show one scene."""


@dataclass(frozen=True)
class Cloud:
    """Points of one moment and what is known of each. ValueError when shapes differ or too few points are left.

    points: [N, 3] float32, metres, finite. flow: [N, 3] float32, metres to the next cloud, see this file's head.
    valid: [N] bool, whether the flow may be scored; None with flow: everywhere. ground: [N] bool.
    classes: [N] int32 into the sequence's `class_names`, 0 = background. dynamic: [N] bool, see `MOVING_SPEED`.
    instances: [N] int32, which object, the same number at all times; 0 = none.
    """

    points: Floats
    flow: Floats | None = None
    valid: Bools | None = None
    ground: Bools | None = None
    classes: NDArray[np.int32] | None = None
    dynamic: Bools | None = None
    instances: NDArray[np.int32] | None = None

    def __post_init__(self) -> None:
        count = len(self.points)
        if self.points.shape != (count, 3):
            raise ValueError(f"cloud: expected points [N, 3], got {list(self.points.shape)}")
        if count < LEAST_POINTS:
            raise ValueError(f"cloud: {count} points; motion needs at least {LEAST_POINTS}")
        for name, labels in self.labels().items():
            wanted = (count, 3) if name == "flow" else (count,)
            if labels.shape != wanted:
                raise ValueError(f"cloud: {name} has shape {list(labels.shape)}, its points ask for {list(wanted)}")

    def labels(self) -> dict[str, NDArray[Any]]:
        """What is known of each point, by name."""
        return {name: getattr(self, name) for name in LABELS if getattr(self, name) is not None}

    def rows(self, kept: NDArray[Any]) -> Cloud:
        """The points, with their labels, that a mask or an index selects."""
        return Cloud(self.points[kept], **{name: labels[kept] for name, labels in self.labels().items()})


@dataclass(frozen=True)
class Trajectories:
    """Where the points of the first cloud are at all times.

    points: [N, T, 3] float32 in the world. valid: [N, T] bool, whether that is known.
    """

    points: Floats
    valid: Bools


@dataclass(frozen=True)
class Pair:
    """Two successive clouds in one frame, the second sensor's; ego motion is already taken out.

    source: the first cloud carried over by `ego`, with its labels: `source.points + source.flow` lies on the target.
    target: the second cloud. ego: [4, 4], second sensor's frame from the first's (identity if unknown). dt: seconds.
    """

    source: Cloud
    target: Cloud
    ego: Matrix
    dt: float
    class_names: tuple[str, ...] = ()

    @property
    def sensor_points(self) -> Floats:
        """[N, 3] the source where the first sensor saw it, in that sensor's frame."""
        return moved(self.source.points, np.linalg.inv(self.ego))

    def total_flow(self, flow: Floats) -> Floats:
        """[N, 3] displacement with ego motion, from the first sensor's frame to the second's, of a flow without."""
        return self.source.points + flow - self.sensor_points


@dataclass(frozen=True)
class CloudSequence:
    """Clouds of one scene at successive times; two of them are a pair. ValueError saying what does not fit.

    times: [T] float64 seconds, rising. world_from_sensor: [T, 4, 4] float64, rigid; the identity where unknown.
    class_names: by class index, the background first. up: unit vector in the sensors' frame, None where it is unknown.
    trajectories: of the first cloud's points, where known.
    """

    name: str
    source: str
    clouds: tuple[Cloud, ...]
    times: NDArray[np.floating[Any]]
    world_from_sensor: Matrix
    class_names: tuple[str, ...] = ()
    up: tuple[float, float, float] | None = None
    trajectories: Trajectories | None = None

    def __post_init__(self) -> None:
        count = len(self.clouds)
        if count < 2:
            raise ValueError(f"{self.source}: {count} cloud; motion is seen between at least 2")
        if self.times.shape != (count,) or not bool((np.diff(self.times) > 0).all()):
            raise ValueError(f"{self.source}: expected {count} rising times in seconds, got {self.times}")
        check_poses(self.source, self.world_from_sensor, count)
        if self.up is not None and not (len(self.up) == 3 and abs(np.linalg.norm(self.up) - 1) < 1e-3):
            raise ValueError(f"{self.source}: up: expected a unit vector (x, y, z), got {self.up}")
        known, wanted = self.trajectories, (len(self.clouds[0].points), count)
        if known is not None and (known.valid.shape != wanted or known.points.shape != (*wanted, 3)):
            raise ValueError(
                f"{self.source}: trajectories: expected {[*wanted, 3]} for the first cloud's points, got "
                f"{list(known.points.shape)}"
            )
        for t in range(count - 1):
            check_gap(self.source, t, moved(self.clouds[t].points, self.ego_motion(t)), self.clouds[t + 1].points)

    def __len__(self) -> int:
        return len(self.clouds)

    @property
    def world_from_input(self) -> Tensor:
        """[4, 4] float32 identity: clouds keep the coordinates of their files."""
        return torch.eye(4)

    @property
    def upwards(self) -> tuple[float, float, float]:
        """Which way to hold the first cloud when looking at it: `up`, or against y, as cameras have it, if unknown."""
        return self.up or (0.0, -1.0, 0.0)

    @property
    def sensor_moves(self) -> bool:
        """Whether the poses differ; if not the sensor stands still, or its motion is unknown."""
        return not np.allclose(self.world_from_sensor, self.world_from_sensor[0], atol=1e-9)

    def ego_motion(self, t: int) -> Matrix:
        """[4, 4] the frame of sensor t + 1 from that of sensor t."""
        return np.linalg.solve(self.world_from_sensor[t + 1], self.world_from_sensor[t])

    def pair(self, t: int = 0) -> Pair:
        """Clouds t and t + 1 with ego motion taken out; IndexError when there is no such step."""
        if not 0 <= t < len(self) - 1:
            raise IndexError(f"{self.source}: no pair {t}; it has {len(self) - 1}, counted from 0")
        ego = self.ego_motion(t)
        source = replace(self.clouds[t], points=moved(self.clouds[t].points, ego))
        return Pair(source, self.clouds[t + 1], ego, float(self.times[t + 1] - self.times[t]), self.class_names)

    def pairs(self) -> Iterator[Pair]:
        """All successive pairs."""
        return (self.pair(t) for t in range(len(self) - 1))

    def in_one_frame(self, t: int = 0) -> CloudSequence:
        """The same scene with all clouds and flows in the frame of sensor t, so that only things that move, move."""
        frame_from_sensor = np.linalg.solve(self.world_from_sensor[t], self.world_from_sensor)
        clouds = []
        for i, cloud in enumerate(self.clouds):
            turn = frame_from_sensor[min(i + 1, len(self) - 1), :3, :3]
            flow = None if cloud.flow is None else (cloud.flow @ turn.T).astype(np.float32)
            clouds.append(replace(cloud, points=moved(cloud.points, frame_from_sensor[i]), flow=flow))
        poses = np.repeat(self.world_from_sensor[t : t + 1], len(self), axis=0)
        up = None if self.up is None else np.linalg.solve(self.world_from_sensor[t], self.world_from_sensor[0])[:3, :3]
        turned = None if up is None else tuple((up @ np.array(self.up)).tolist())
        return replace(self, clouds=tuple(clouds), world_from_sensor=poses, up=turned)

    def keep(self, masks: Sequence[NDArray[Any]]) -> CloudSequence:
        """Only the points that each cloud's mask or index selects; the trajectories follow the first cloud."""
        clouds = tuple(cloud.rows(mask) for cloud, mask in zip(self.clouds, masks, strict=True))
        known = self.trajectories
        if known is not None:
            known = Trajectories(known.points[masks[0]], known.valid[masks[0]])
        return replace(self, clouds=clouds, trajectories=known)

    def steps(self, first: int, count: int | None = None) -> CloudSequence:
        """`count` clouds (all that follow by default) from cloud `first`; trajectories only if that is the first."""
        chosen = slice(first, None if count is None else first + count)
        known = self.trajectories if first == 0 else None
        if known is not None:
            known = Trajectories(known.points[:, chosen], known.valid[:, chosen])
        return replace(
            self,
            clouds=self.clouds[chosen],
            times=self.times[chosen],
            world_from_sensor=self.world_from_sensor[chosen],
            trajectories=known,
        )


def moved(points: NDArray[Any], transform: Matrix) -> Floats:
    """[N, 3] float32: rigidly moved by a [4, 4] transform, computed in float64."""
    return (points @ transform[:3, :3].T + transform[:3, 3]).astype(np.float32)


def without_ego(points: Floats, total: NDArray[Any], ego: Matrix) -> Floats:
    """[N, 3] flow free of ego motion, from the total displacement of sensor-frame points: p + total - ego p."""
    return (points.astype(np.float64) + total - (points @ ego[:3, :3].T + ego[:3, 3])).astype(np.float32)


def is_moving(flow: Floats, dt: float) -> Bools:
    """[N] bool: faster than `MOVING_SPEED`. The flow must be free of ego motion."""
    return np.linalg.norm(flow, axis=1) > MOVING_SPEED * dt


def check_poses(source: str, poses: Matrix, count: int) -> None:
    """ValueError unless there are `count` rigid motions [4, 4]."""
    if poses.shape != (count, 4, 4) or not np.isfinite(poses).all():
        raise ValueError(f"{source}: expected {count} finite poses [4, 4], got an array of shape {list(poses.shape)}")
    turns = poses[:, :3, :3]
    rigid = np.abs(turns.transpose(0, 2, 1) @ turns - np.eye(3)).max(axis=(1, 2)) < 1e-3
    rigid &= (np.linalg.det(turns) > 0) & (np.abs(poses[:, 3] - (0, 0, 0, 1)).max(axis=1) < 1e-6)
    if not rigid.all():
        raise ValueError(
            f"{source}: pose {int(np.argmin(rigid))} is no rigid motion (rotation without mirror or scale, and shift)"
        )


def check_gap(source: str, t: int, first: Floats, second: Floats) -> None:
    """ValueError when clouds t and t + 1, ego motion taken out, are too far apart to show one scene."""
    below, above = second.min(axis=0) - first.max(axis=0), first.min(axis=0) - second.max(axis=0)
    gap = float(np.linalg.norm(np.maximum(0, np.maximum(below, above)).astype(np.float64)))
    if gap > FARTHEST_GAP:
        raise ValueError(
            f"{source}: clouds {t} and {t + 1} lie {gap:,.0f} m apart with ego motion taken out (at most "
            f"{FARTHEST_GAP:.0f} m is one scene); check that both are in metres and that the poses belong to them"
        )
