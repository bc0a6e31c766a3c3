"""What passes between a face of the viewer and its worker, as plain data: requests, pictures, the state of a run."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import torch

from render.camera import Camera, pose_from_quaternion
from render.frame import Settings
from render.layers import ModelLayer
from scenes.measure import Score

MOST_PIXELS, MOST_SIDE = 4_000_000, 8_192
"""Of the largest picture that is rendered for a client; a larger canvas shows it enlarged."""
THIRDS = (1 / 3, 2 / 3)


class Report(Protocol):
    """What training tells after a step (`fields.progress.Progress` is one)."""

    @property
    def step(self) -> int:
        """Steps completed."""
        ...

    @property
    def steps(self) -> int:
        """Of so many."""
        ...

    @property
    def losses(self) -> Mapping[str, float]:
        """Newest losses by name, weighted."""
        ...

    @property
    def loss(self) -> float:
        """Their sum."""
        ...

    @property
    def seconds(self) -> float:
        """Time trained."""
        ...

    @property
    def counts(self) -> Mapping[str, int]:
        """What the model counts."""
        ...

    @property
    def score(self) -> Score | None:
        """Newest look at how good the model is."""
        ...


@dataclass(frozen=True)
class Viewpoint:
    """Where a person looks from, in the numbers their face reported; nothing is checked before `camera`.

    position: world units. wxyz: quaternion of world_from_camera. vertical_fov: radians. width, height: canvas pixels.
    """

    position: tuple[float, float, float]
    wxyz: tuple[float, float, float, float]
    vertical_fov: float
    width: int
    height: int

    def camera(self, scale: float = 1.0) -> Camera:
        """The camera, its picture `scale` times the canvas and at most MOST_PIXELS; ValueError for nonsense."""
        if not (0 < self.width < math.inf and 0 < self.height < math.inf):
            raise ValueError(f"canvas: expected a size in pixels, got {self.width} x {self.height}")
        if not 0 < self.vertical_fov < math.pi:
            raise ValueError(f"field of view: expected between 0 and 180 degrees, got {self.vertical_fov} radians")
        focal = 0.5 * self.height / math.tan(0.5 * self.vertical_fov)
        pose = pose_from_quaternion(torch.tensor(self.position), torch.tensor(self.wxyz))
        canvas = Camera(pose, focal, focal, self.width / 2, self.height / 2, self.width, self.height)
        scale = min(scale, self.largest_scale)
        return canvas.resized(max(1, round(self.width * scale)), max(1, round(self.height * scale)))

    @property
    def largest_scale(self) -> float:
        """Picture pixels per canvas pixel, a side, at which MOST_PIXELS or MOST_SIDE is reached; at most 1."""
        pixels = math.sqrt(MOST_PIXELS / (self.width * self.height))
        return min(1.0, pixels, MOST_SIDE / max(self.width, self.height))


@dataclass(frozen=True)
class Comparison:
    """A held-out view looked at beside its photograph, from its own camera.

    bounds: (a, b) in [0, 1], across the picture: render left of a, truth from a to b, error right of b.
    """

    view: str
    bounds: tuple[float, float] = THIRDS


@dataclass(frozen=True)
class Request:
    """All that decides what a client sees. settings: values of the model's controls, this client's own."""

    viewpoint: Viewpoint
    channel: str = "rgb"
    settings: Settings = field(default_factory=dict)
    comparison: Comparison | None = None


@dataclass(frozen=True)
class Picture:
    """What a client is shown.

    pixels: [H, W, 3] uint8 of the canvas's shape, or of a smaller one to be enlarged. step: of the model, None when it
    does not train. full: nothing sharper will follow. legend: what the colours mean, "" for plain colours.
    error: why there is no picture (it stands in the pixels too).
    """

    pixels: np.ndarray
    step: int | None
    full: bool
    legend: str = ""
    error: str | None = None


@dataclass(frozen=True)
class Overdrawn:
    """What a client's model draws over its picture. error: why it draws nothing, "" when it could."""

    layers: tuple[ModelLayer, ...] = ()
    error: str = ""


@dataclass(frozen=True)
class Status:
    """The worker at one moment. rate: steps a second of wall time. viewing: share of the last seconds' time that went
    into pictures. picture_seconds: that the newest full picture took. failure: why training ended early."""

    report: Report | None
    rate: float
    paused: bool
    ended: bool
    failure: str | None
    clients: int
    viewing: float
    picture_seconds: float | None
