"""A seat at the viewer: one client's viewpoint, settings and comparison; every change of them becomes a request."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Hashable
from typing import Any

import numpy as np

from render.camera import Camera
from render.layers import Pick
from scenes.scene import View
from viewer.client import Deliver, Overdraw
from viewer.state import THIRDS, Comparison, Request, Viewpoint
from viewer.worker import Worker

SAME_ANGLE, SAME_PLACE = 2e-3, 1e-3
"""Radians, and distance in multiples of that to the origin, within which a camera has not been moved."""


class Seat:
    """Belongs to one client of a face.

    deliver: shows a picture. jump: moves the client's camera to a view, in the face's own way. overdraw: shows what the
    model draws over the picture.
    """

    def __init__(
        self,
        worker: Worker,
        client: Hashable,
        deliver: Deliver,
        jump: Callable[[View], None],
        overdraw: Overdraw | None = None,
    ) -> None:
        self.worker, self.client, self._jump = worker, client, jump
        self.deliver, self.overdraw = deliver, overdraw
        self.viewpoint: Viewpoint | None = None
        self.channel = worker.model.channels[0].name
        self.settings: dict[str, Any] = {}
        self.bounds = THIRDS
        self.comparison: View | None = None
        self._arrived = self._left = False
        self._lock = threading.RLock()  # cameras come in one thread, what is clicked in others

    def move(self, viewpoint: Viewpoint) -> None:
        """The client's camera is here now; leaving the pose of a comparison ends it."""
        with self._lock:
            self.viewpoint = viewpoint
            if self.comparison is not None:
                here = same_pose(viewpoint, self.comparison.camera)
                if self._arrived and not here:
                    self.comparison = None
                self._arrived = here or self._arrived  # before it arrives, poses from before the jump may come in
            self.ask()

    def show(self, channel: str) -> None:
        """Look at another channel."""
        with self._lock:
            self.channel = channel
            self.ask()

    def set(self, control: str, value: Any) -> None:
        """Give a control of the model another value, for this client."""
        with self._lock:
            self.settings = {**self.settings, control: value}
            self.ask()

    def press(self, control: str) -> None:
        """Press a button of the model: its value is how often this client has."""
        with self._lock:
            self.set(control, int(self.settings.get(control, 0)) + 1)

    def jump(self, view: View) -> None:
        """Go to the camera of a view."""
        with self._lock:
            self.comparison = None
        self._jump(view)

    def compare(self, view: View) -> None:
        """Go to the camera of a view and lay the picture beside its photograph."""
        with self._lock:
            self.comparison, self._arrived = view, False
        self._jump(view)
        self.ask()

    def slide(self, bounds: tuple[float, float]) -> None:
        """Move the bounds between render, truth and error."""
        with self._lock:
            self.bounds = bounds
            if self.comparison is not None:
                self.ask()

    def pick(self, pixel: tuple[float, float], answer: Callable[[Pick | str], None]) -> None:
        """Ask what lies at `pixel`, (0, 0) to (1, 1) across the canvas; settings that come with it are taken over."""

        def take(found: Pick | str) -> None:
            if isinstance(found, Pick) and found.settings:
                with self._lock:
                    self.settings = {**self.settings, **found.settings}
                    self.ask()
            answer(found)

        if self.viewpoint is not None:
            self.worker.pick(self.viewpoint, pixel, take, lambda: self.settings)

    def ask(self) -> None:
        """Hand the worker what this client wants to see now."""
        with self._lock:
            if self.viewpoint is None or self._left:
                return
            comparison = None if self.comparison is None else Comparison(self.comparison.name, self.bounds)
            request = Request(self.viewpoint, self.channel, self.settings, comparison)
            self.worker.ask(self.client, request, self.deliver, self.overdraw)

    def leave(self) -> None:
        """The client has gone; what is still under way of it asks for nothing more."""
        with self._lock:
            self._left = True
            self.worker.forget(self.client)


def same_pose(viewpoint: Viewpoint, camera: Camera) -> bool:
    """Whether a viewpoint is the pose of a camera, up to what a round trip through a browser changes."""
    try:
        pose = viewpoint.camera().world_from_camera.numpy()
    except ValueError:  # no camera at all; whoever draws it will say so
        return False
    wanted = camera.world_from_camera.numpy()
    turn = float(np.clip((np.trace(pose[:3, :3].T @ wanted[:3, :3]) - 1) / 2, -1, 1))
    near = np.linalg.norm(pose[:3, 3] - wanted[:3, 3]) <= SAME_PLACE * max(1.0, float(np.linalg.norm(wanted[:3, 3])))
    return math.acos(turn) < SAME_ANGLE and bool(near)


def fov_to_see(camera: Camera, aspect: float) -> float:
    """Vertical field of view, in radians, at which a canvas (`aspect`: width over height) shows a camera's picture."""
    return 2 * math.atan(max(0.5 * camera.height / camera.fy, 0.5 * camera.width / camera.fx / aspect))
