"""EulerFlow: one network for the motion of a whole sequence, fitted through Euler rollouts (Vedder et al. 2025).

The network is the right-hand side of an ODE: v(x, t, direction) in metres a step. From a cloud's points it is followed
three steps each way, and wherever it leads must lie on the cloud of that time.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from fields.flow_distance import MOST_CELLS, Distance, distance_to
from fields.flow_numbers import EulerNumbers
from fields.flow_terms import cycle_term, length_term, speed_hinge
from kernels.mlp import mlp

INPUTS = 5
"""x, y, z in metres; the time as t / (T - 1) - 0.5; the direction, 1 or -1."""


class EulerField(nn.Module):
    """A ReLU network of place, time and direction, and its loss over rollouts of the clouds.

    clouds: T float32 tensors [N, 3] in metres, in one frame in which only what moves, moves; times are counted in
    clouds. Weights start Xavier-uniform from the seed, biases at zero; the cloud and the points of a step are drawn by
    (seed, step), so that a resumed run repeats an uninterrupted one. State: `weights` and `biases` (parameters, one
    [out, in] and [out] a layer).

    As published but for four things. Three make minutes of a day on a processor: each step follows some points of one
    cloud and not all points of a window of five; the learning rate is higher and falls; the output layer starts at
    zero, so that nothing moves before something is seen to. And length costs a little, see the numbers.

    ValueError for fewer than 2 clouds.
    """

    def __init__(self, clouds: Sequence[Tensor], *, seed: int = 0, numbers: EulerNumbers | None = None) -> None:
        super().__init__()
        if len(clouds) < 2:
            raise ValueError(f"clouds: expected at least 2, got {len(clouds)}; one alone shows no motion")
        self.numbers = numbers or EulerNumbers()
        self.seed = seed
        self.count = len(clouds)
        for t, cloud in enumerate(clouds):
            self.register_buffer(f"cloud{t}", cloud.detach(), persistent=False)
        widths = [INPUTS, *[self.numbers.width] * self.numbers.depth, 3]
        generator = torch.Generator().manual_seed(seed)
        self.weights, self.biases = nn.ParameterList(), nn.ParameterList()
        for inputs, outputs in pairwise(widths):
            bound = math.sqrt(6 / (inputs + outputs))
            start = bound * (2 * torch.rand(outputs, inputs, generator=generator) - 1)
            self.weights.append(nn.Parameter(start.to(clouds[0].device)))
            self.biases.append(nn.Parameter(torch.zeros(outputs, device=clouds[0].device)))
        with torch.no_grad():
            self.weights[-1].zero_()
        self._distances: dict[int, Distance] = {}

    def velocity(self, points: Tensor, t: float, direction: int) -> Tensor:
        """[N, 3] metres a step of points [N, 3] at time t when going forward (direction 1) or back (-1)."""
        moment = points.new_tensor([t / (self.count - 1) - 0.5, direction]).expand(len(points), 2)
        return mlp(torch.cat([points, moment], dim=1), list(self.weights), list(self.biases))

    @torch.no_grad()
    def is_static(self, points: Tensor, t: float, direction: int) -> Tensor:
        """[N] bool: points that move less than `numbers.static_speed` in a step."""
        return torch.linalg.vector_norm(self.velocity(points, t, direction), dim=1) < self.numbers.static_speed

    # --- fitting -----------------------------------------------------------------------------------------------------

    def loss(self, step: int) -> dict[str, Tensor]:
        """Terms of a cloud's points: mean distance along both rollouts, a step's round trip, length, and speeding."""
        t, start = self.draw(step)
        distances, flows, cycles = [], [], []
        for direction in (1, -1):
            place = start
            for at in self.times(t, direction):
                flows.append(self.velocity(place, at, direction))
                place = place + flows[-1]
                distances.append(self.distance(at + direction)(place).mean())
                if at == t:
                    cycles.append(cycle_term(start, place + self.velocity(place, t + direction, -direction)))
        flow = torch.cat(flows)
        return {
            "distance": torch.stack(distances).mean(),
            "cycle": self.numbers.cycle_weight * torch.stack(cycles).mean(),
            "length": self.numbers.length_weight * length_term(flow),
            "speed": speed_hinge(flow, self.numbers.speed_limit),
        }

    def times(self, t: int, direction: int) -> range:
        """Where the steps of a rollout from time t begin, as many as the sequence has room for."""
        room = self.count - 1 - t if direction > 0 else t
        return range(t, t + direction * min(self.numbers.rollout, room), direction)

    def draw(self, step: int) -> tuple[int, Tensor]:
        """The cloud of a step and its points [P, 3]: by (seed, step), every cloud as often as any other."""
        generator = torch.Generator().manual_seed((self.seed * 1_000_003 + step) % 2**63)
        t = int(torch.randint(self.count, (1,), generator=generator))
        cloud = self.get_buffer(f"cloud{t}")
        if len(cloud) <= self.numbers.points:
            return t, cloud
        rows = torch.randint(len(cloud), (self.numbers.points,), generator=generator)
        return t, cloud[rows.sort().values.to(cloud.device)]

    def param_groups(self) -> list[dict[str, Any]]:
        """One group of all layers."""
        parameters = [*self.weights, *self.biases]
        return [{"params": parameters, "name": "network", "lr": self.numbers.lr, "schedule": self.schedule}]

    def schedule(self, step: int) -> float:
        """A cosine to a hundredth over all steps."""
        return 0.01 + 0.99 * (1 + math.cos(math.pi * min(step / self.numbers.steps, 1.0))) / 2

    def after_step(self, step: int) -> None:
        """Nothing to do."""

    def finished(self, step: int) -> bool:
        """Whether all steps are done."""
        return step >= self.numbers.steps

    def distance(self, t: int) -> Distance:
        """The truncated distance to cloud t; all clouds' grids together have no more cells than one may have alone."""
        if t not in self._distances:
            self._distances[t] = distance_to(
                self.get_buffer(f"cloud{t}"),
                self.numbers.distance,
                cell=self.numbers.cell,
                truncate=self.numbers.truncate,
                most_cells=MOST_CELLS // self.count,
            )
        return self._distances[t]
