"""A scene flow that is known exactly: a box of points at constant velocity, before a wall that stands still."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from fields.flow_view import FlowView
from render.camera import Camera, camera_from_fov, look_at

HALF = 0.5
"""Of the box's sides, metres."""
START = (-1.5, 0.0, 0.0)
VELOCITY = (1.0, 0.0, 0.0)
"""Metres a cloud."""


class MovingBox(nn.Module):
    """The box starts at START among `frames` clouds 0.1 s apart, seen from -y with z up; the wall is at y = 4.

    calls: what `flow` was asked: (points, t0, t1).
    """

    def __init__(self, velocity=VELOCITY, frames=4, labelled=True, wrong=0.0, points=800) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.velocity = torch.tensor(velocity)
        wall = torch.rand(points, 3, generator=generator) * torch.tensor([8.0, 0.1, 4.0]) + torch.tensor([-4, 4, -2])
        self.clouds, self.calls = [], []
        for t in range(frames):
            box = (torch.rand(points, 3, generator=generator) * 2 - 1) * HALF + self.centre(t)
            self.clouds.append(torch.cat([box, wall]))
        self.times = torch.arange(frames, dtype=torch.float64) * 0.1
        truth = [self.moves(cloud, t)[:, None] * self.velocity for t, cloud in enumerate(self.clouds[:-1])]
        for flow in truth:
            flow[: points // 2] += torch.tensor([0.0, 0.0, wrong])
            flow[-10:] = torch.nan
        self.view = FlowView(self, body=lambda points, t: self.moves(points, t).long() * 8 - 1)
        if labelled:
            self.view.label(truth)

    def centre(self, t: float) -> Tensor:
        return torch.tensor(START) + self.velocity * t

    def moves(self, points: Tensor, t: float) -> Tensor:
        """[N] 1 for points of the box at time t, else 0."""
        return ((points - self.centre(t)).abs().amax(dim=1) <= HALF + 1e-4).float()

    def flow(self, points: Tensor, t0: float, t1: float, gate: bool = True) -> Tensor:
        self.calls.append((len(points), t0, t1))
        return self.moves(points, t0)[:, None] * self.velocity * (t1 - t0)

    @property
    def channels(self):
        return self.view.channels

    @property
    def controls(self):
        return self.view.controls

    def render(self, camera, channels, settings):
        return self.view.render(camera, channels, settings)

    def layers(self, settings):
        return self.view.layers(settings)

    def pick(self, camera, pixel, settings):
        return self.view.pick(camera, pixel, settings)

    def box(self) -> tuple[Tensor, Tensor]:
        return torch.tensor([-3.0, -1.0, -2.0]), torch.tensor([3.0, 4.1, 2.0])


def front(distance: float = 9.0, size: tuple[int, int] = (240, 160)) -> Camera:
    """A camera at y = -distance that looks along y, x to the right, z upwards."""
    pose = look_at(torch.tensor([0.0, -distance, 0.0]), torch.zeros(3), torch.tensor([0.0, 0.0, 1.0]))
    return camera_from_fov(pose, 1.0, *size)
