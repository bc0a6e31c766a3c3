"""A model for tests of the viewer: a wall at z = 0, red to the right and green upwards, seen exactly."""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, field

import numpy as np
import torch

from render.camera import camera_rays
from render.frame import Channel, Control, Frame
from render.layers import Lines, Pick
from scenes.measure import Score
from viewer.state import Viewpoint

FRONT = Viewpoint((0.0, 0.0, -2.0), (1.0, 0.0, 0.0, 0.0), 1.0, 64, 48)
"""Two units in front of the wall, looking at it."""


class Plane:
    """Notes the sizes it was rendered at; `before` runs before each picture."""

    def __init__(self, before: Callable[[], None] = lambda: None) -> None:
        self.channels = (
            Channel("rgb"),
            Channel("depth", range=None, unit="world units", colour_map="turbo"),
            Channel("alpha", colour_map="grey"),
        )
        self.controls = (Control("brightness", "slider", 1.0, (0.0, 1.0)),)
        self.before, self.sizes = before, []
        self.threads: set[str] = set()

    def render(self, camera, channels, settings) -> Frame:
        self.before()
        self.threads.add(threading.current_thread().name)
        self.sizes.append((camera.width, camera.height))
        rays = camera_rays(camera)
        t = -rays.origins[..., 2] / rays.directions[..., 2]
        hit = t > 0
        points = rays.origins + t[..., None] * rays.directions
        rgb = torch.stack([points[..., 0] + 0.5, 0.5 - points[..., 1], torch.full_like(t, 0.2)], dim=-1).clamp(0, 1)
        depth = t * (rays.directions @ camera.world_from_camera[:3, 2])
        found = {
            "rgb": rgb * hit[..., None] * settings.get("brightness", 1.0),
            "depth": (depth * hit)[..., None],
            "alpha": hit.float()[..., None],
        }
        return Frame({name: found[name] for name in channels})


class Drawn(Plane):
    """Draws a line as long as the "length" setting; notes in which threads, and how often."""

    def __init__(self, during=lambda settings: None):
        super().__init__()
        self.during, self.drawn, self.drew_in = during, 0, set()

    def layers(self, settings):
        self.drawn += 1
        self.drew_in.add(threading.current_thread().name)
        self.during(settings)
        ends = np.array([[[0, 0, 0], [settings.get("length", 1.0), 0, 0]]], np.float32)
        return [Lines("ruler", ends, np.full((1, 2, 3), 200, np.uint8), 2.0, shown=True)]

    def pick(self, camera, pixel, settings):
        if pixel[0] < 1:
            return None
        kept = (*settings.get("kept", ()), pixel)
        return Pick((0.0, 0.0, 0.0), 1.0, 1.0, f"{settings.get('length')}", {"kept": kept})


@dataclass(frozen=True)
class Step:
    """A report."""

    step: int
    steps: int = 1_000_000
    losses: Mapping[str, float] = field(default_factory=lambda: {"l1": 0.5})
    seconds: float = 0.0
    counts: Mapping[str, int] = field(default_factory=dict)
    score: Score | None = None
    loss: float = 0.5


def counting(limit: int = 1_000_000, log: list[str] | None = None) -> Generator[Step, None, None]:
    """Training that counts; tells in `log` in which thread it was closed."""
    try:
        for step in range(1, limit + 1):
            yield Step(step)
    except GeneratorExit:
        if log is not None:
            log.append(threading.current_thread().name)
        raise
