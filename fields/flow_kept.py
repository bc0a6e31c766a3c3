"""Flows that are looked at again and again while a model is fitted: computed at most once a training step."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable

import torch
from torch import Tensor

from fields.flow_field import MovingClouds
from fields.flow_paths import trajectories

MOST_KEPT = 128
"""Tensors that are kept; those that were not used for longest go first."""


class KeptFlows:
    """Flows of a model by what they are of. Not for two threads at once.

    version: to be counted up whenever the model's flow has changed.
    """

    def __init__(self, model: MovingClouds) -> None:
        self.model, self.version = model, 0
        self.found: OrderedDict[Hashable, tuple[tuple[int, torch.device], Tensor]] = OrderedDict()

    def per_step(self, cloud: int, stride: int, *, gate: bool, stale: bool) -> Tensor:
        """[M, 3] metres a step of every `stride`-th point of a cloud: to the next one, of the last from the one before.

        stale: what was computed at an earlier training step will do.
        """

        def compute() -> Tensor:
            last = cloud == len(self.model.clouds) - 1
            flow = self.model.flow(self.model.clouds[cloud][::stride], cloud, cloud - 1 if last else cloud + 1, gate)
            return -flow if last else flow

        return self._kept(("per step", cloud, stride, gate), compute, stale=stale)

    def carried(self, cloud: int, time: float, stride: int, *, gate: bool, stale: bool) -> Tensor:
        """[M, 3] where every `stride`-th point of a cloud is at `time`."""
        points = self.model.clouds[cloud][::stride]
        if time == cloud:
            return points
        return self._kept(
            ("carried", cloud, time, stride, gate),
            lambda: points + self.model.flow(points, float(cloud), time, gate),
            stale=stale,
        )

    def path(self, point: tuple[float, float, float], cloud: int, first: int, last: int, *, gate: bool) -> Tensor:
        """[last - first + 1, 3] where a point that is at `point` at the time of a cloud is from `first` to `last`."""

        def flow(points: Tensor, t0: float, t1: float) -> Tensor:
            return self.model.flow(points, t0, t1, gate)

        def compute() -> Tensor:
            start = self.model.clouds[cloud].new_tensor([point])
            times = [float(t) for t in range(first, last + 1)]
            return trajectories(flow, start, float(cloud), times)[0]

        return self._kept(("path", point, cloud, first, last, gate), compute, stale=False)

    def _kept(self, key: Hashable, compute: Callable[[], Tensor], *, stale: bool) -> Tensor:
        now = (self.version, self.model.clouds[0].device)
        known = self.found.get(key)
        if known is None or known[0][1] != now[1] or (known[0] != now and not stale):
            with torch.no_grad():
                known = (now, compute())
            self.found[key] = known
        self.found.move_to_end(key)
        while len(self.found) > MOST_KEPT:
            self.found.popitem(last=False)
        return known[1]
