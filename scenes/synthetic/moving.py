"""demo_flow: a bundled sequence of lidar clouds whose flow is known exactly, also of points that get hidden.

    scene = demo_flow()          # a `CloudSequence` like any other: clouds, poses, labels, trajectories

A car with a lidar on its roof drives down a street among traffic, walkers and one thing that bends. Every point keeps
to its surface: rigid things carry theirs along, the bending one by the corners of its triangle. Nothing is cached, for
making it takes about a second.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray

from scenes.flow.sequence import Cloud, CloudSequence, Trajectories, is_moving
from scenes.synthetic.lidar import Lidar, Returns, scan
from scenes.synthetic.street import CLASSES, Bending, Body, Matrix, arc, at, street

Array = NDArray[np.float64]

SOURCE = "synthetic flow:"
SENSOR_HEIGHT = 1.8
FARTHEST = 60.0
"""Metres that the lidar sees."""


@dataclass(frozen=True)
class FlowConfig:
    """What a synthetic sequence is made from. ValueError for values that make none."""

    frames: int = 20
    """Clouds."""
    seconds: float = 0.1
    """Between two clouds."""
    beams: int = 40
    columns: int = 500
    """Rays a turn are beams times columns."""
    seed: int = 0
    """Of the street's variations, and of the noise."""
    noise: float = 0.0
    """Metres, standard deviation along the rays."""

    def __post_init__(self) -> None:
        least = {"frames": 2, "beams": 2, "columns": 8, "seed": 0}
        for name, smallest in least.items():
            value = getattr(self, name)
            if type(value) is not int or value < smallest:
                raise ValueError(f"demo flow: {name}: expected a whole number, {smallest} or more, got {value!r}")
        if not (0 < self.seconds <= 1 and 0 <= self.noise <= 1):
            raise ValueError(
                f"demo flow: expected seconds in (0, 1] and noise in [0, 1], got {self.seconds} and {self.noise}"
            )


def demo_flow(config: FlowConfig | None = None) -> CloudSequence:
    """The bundled sequence, or the variant that `config` describes; a pure function of it.

    Labels of all clouds but the last: flow, class, instance (the moving things are 1, 2, ...), ground, dynamic.
    """
    config = config or FlowConfig()
    standing, moving = street(config.seed)
    things = (*standing, *moving)
    lidar = Lidar(elevations(config.beams), config.columns, FARTHEST)
    drive = arc(0.0, 0.0, 0.0, 6.0, 0.04)
    times = config.seconds * np.arange(config.frames)
    poses = np.stack([drive(time) @ at(z=SENSOR_HEIGHT) for time in times])
    generator = np.random.default_rng([config.seed, 1])
    clouds, trajectories = [], None
    for t, time in enumerate(times):
        returns = scan(lidar, poses[t], things, time)
        kept = returns.thing >= 0
        distance = returns.distance[kept] + config.noise * generator.standard_normal(int(kept.sum()))
        points = lidar.directions()[kept] * distance[:, None]
        marks = Marks(things, returns, kept, points @ poses[t][:3, :3].T + poses[t][:3, 3], time)
        following = poses[t + 1] if t + 1 < len(times) else None
        clouds.append(labelled(marks, points.astype(np.float32), len(standing), following, config.seconds))
        if t == 0:
            paths = np.stack([marks.at(later) for later in times], axis=1).astype(np.float32)
            trajectories = Trajectories(paths, np.ones(paths.shape[:2], bool))
    return CloudSequence(
        "demo-flow",
        SOURCE + json.dumps(asdict(config)),
        tuple(clouds),
        times,
        poses,
        class_names=CLASSES,
        up=(0.0, 0.0, 1.0),
        trajectories=trajectories,
    )


class Marks:
    """Points that stick to the things they were seen on, and so have a place at any time."""

    def __init__(
        self, things: Sequence[Body | Bending], returns: Returns, kept: NDArray[np.bool_], world: Array, time: float
    ) -> None:
        """kept: [beams, columns] the returns that count. world: [N, 3] their points at `time`."""
        self.things, self.world, self.time = things, world, time
        self.thing, self.face = returns.thing[kept], returns.face[kept]
        u, v = returns.u[kept], returns.v[kept]
        self.weights = np.stack([1 - u - v, u, v], axis=1)

    def at(self, time: float) -> Array:
        """[N, 3] world, float64."""
        result = self.world.copy()
        for index, thing in enumerate(self.things):
            rows = np.flatnonzero(self.thing == index)
            if len(rows) == 0:
                continue
            if isinstance(thing, Bending):
                corners = thing.faces[self.face[rows]]
                shift = thing.vertices(time)[corners] - thing.vertices(self.time)[corners]
                result[rows] += (self.weights[rows, :, None] * shift).sum(axis=1)
            else:
                before, after = thing.pose(self.time), thing.pose(time)
                if after is not before:
                    local = (result[rows] - before[:3, 3]) @ before[:3, :3]
                    result[rows] = local @ after[:3, :3].T + after[:3, 3]
        return result


def elevations(beams: int) -> Array:
    """[beams] radians, rising: from -18 to 6 degrees, two thirds of them between -9 and 1.5, where the traffic is."""
    return np.interp(np.linspace(0, 1, beams), (0.0, 0.22, 0.9, 1.0), np.radians((-18.0, -9.0, 1.5, 6.0)))


def labelled(marks: Marks, points: NDArray[np.float32], standing: int, following: Matrix | None, dt: float) -> Cloud:
    """The cloud with all labels; without flow for the last one, which `following`, the next pose, is None for."""
    things = marks.things
    classes = np.array([thing.category for thing in things], np.int32)[marks.thing]
    instances = np.maximum(marks.thing - standing + 1, 0).astype(np.int32)
    ground = np.array([isinstance(thing, Body) and thing.ground for thing in things])[marks.thing]
    if following is None:
        return Cloud(points, ground=ground, classes=classes, instances=instances)
    shift = marks.at(marks.time + dt) - marks.world
    flow = (shift @ following[:3, :3]).astype(np.float32)
    return Cloud(points, flow, None, ground, classes, is_moving(flow, dt), instances)
