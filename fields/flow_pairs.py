"""PairFlow: neural scene-flow priors, a network for each pair of clouds (NSFP and FastNSF, Li et al. 2021 and 2023).

A deep ReLU network is too stiff to fit single points, and that alone makes the flow smooth: nothing else is asked of it
than that the first cloud, moved, lies on the second. Pairs are fitted one after the other, each from the same start.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from fields.flow_distance import DistanceGrid
from fields.flow_terms import chamfer_term, reverse_term
from fields.sceneflow_config import SceneFlowConfig
from kernels.mlp import mlp
from kernels.neighbours import PointIndex

WIDTHS = (3, *(128,) * 8, 3)
SHAPES = [shape for wide, narrow in pairwise(WIDTHS) for shape in ((narrow, wide), (narrow,))]
SIZE = sum(math.prod(shape) for shape in SHAPES)
LIMIT = 2.0
"""Square metres: squared distances from here on count as 0 in NSFP's Chamfer distance."""
CELL = 0.1
"""Metres a side of a cell of FastNSF's distance transform."""
TRUNCATION = 2.0
"""Metres: distances count as no more with FastNSF repaired."""
INVERSION_STEPS = 5
"""Fixed-point steps towards the point that a forward flow brings here, where there is no backward network."""


class Schedule(NamedTuple):
    """How a pair is fitted."""

    lr: float
    patience: int
    min_delta: float


class PairFlow(nn.Module):
    """Flow fields between successive clouds, presets `nsfp` and `fast`: see `fields.flow_field.FlowField`.

    clouds: T of [N, 3] float32, metres, in one frame. centres: [T, 3] in that frame, for a network sees coordinates
    relative to its second cloud's sensor. steps: of the whole run; a pair gets at most an equal share of them.

    ahead, back: a network for each interval, flat (back: nsfp only). interval: the one that is being fitted. iteration:
    its completed steps. best: [1 or 2, SIZE] its networks at `best_loss`. reference: the loss that a better one must
    undercut, and since when, `stale` steps, none has.
    """

    centres: Tensor
    interval: Tensor
    iteration: Tensor
    stale: Tensor
    best: Tensor
    best_loss: Tensor
    reference: Tensor

    def __init__(
        self, config: SceneFlowConfig, clouds: Sequence[Tensor], centres: Tensor, *, seed: int, steps: int
    ) -> None:
        super().__init__()
        self.config, self.count = config, len(clouds)
        self.most = max(1, min(config.pair_steps, steps // (self.count - 1)))
        for t, cloud in enumerate(clouds):
            self.register_buffer(f"cloud{t}", cloud[order_in_space(cloud)], persistent=False)
        self.register_buffer("centres", centres.to(clouds[0]), persistent=False)
        both = config.preset == "nsfp"
        start = torch_start(seed) if both else xavier_start(seed)
        intervals = range(self.count - 1)
        self.ahead = nn.ParameterList(nn.Parameter(start.clone()) for _ in intervals)
        self.back = nn.ParameterList(nn.Parameter(start.clone()) for _ in intervals if both)
        for name in ("interval", "iteration", "stale"):
            self.register_buffer(name, torch.tensor(0))
        for name in ("best_loss", "reference"):
            self.register_buffer(name, torch.tensor(math.inf, dtype=torch.float64))
        self.register_buffer("best", start.repeat(1 + both, 1))
        self.targets: tuple[int, Any] | None = None

    def pair(self, interval: int) -> tuple[Tensor, Tensor]:
        """The two clouds of an interval, relative to the second one's sensor."""
        first, second = (getattr(self, f"cloud{t}") for t in (interval, interval + 1))
        centre = self.centres[interval + 1]
        return first - centre, second - centre

    def schedule(self, interval: int) -> Schedule:
        """The published numbers for as many points, unless the configuration has others."""
        count = len(getattr(self, f"cloud{interval}"))
        if self.config.preset == "nsfp":
            own = Schedule(3e-3, 100, 1e-4) if count > 10_000 else Schedule(8e-3, 30, 1e-4)
        else:
            own = Schedule(8e-3, 10, 1e-3) if count > 8_192 else Schedule(1e-2, 5, 1e-3)
        given = {name: value for name in own._fields if (value := getattr(self.config, name)) is not None}
        return own._replace(**given)

    # --- what moves where --------------------------------------------------------------------------------------------

    def velocity(self, points: Tensor, t: float, direction: int) -> Tensor:
        """[N, 3] metres to the next whole time in a direction (1: later, -1: earlier) of [N, 3] points at time t.

        Zero in intervals that have not been fitted yet.
        """
        interval = min(max(math.floor(t) if direction > 0 else math.ceil(t) - 1, 0), self.count - 2)
        weights = self.weights(interval)
        if weights is None:
            return torch.zeros_like(points)
        here = points - self.centres[interval + 1]
        if direction > 0:
            return network(weights[0], here)
        if len(weights) > 1:
            return -network(weights[1], here)
        origin = here
        for _ in range(INVERSION_STEPS):
            origin = here - network(weights[0], origin)
        return origin - here

    def is_static(self, points: Tensor, t: float, direction: int) -> Tensor:
        """[N] bool, all false: the published priors judge nothing to stand still."""
        return torch.zeros(len(points), dtype=torch.bool, device=points.device)

    def weights(self, interval: int) -> list[Tensor] | None:
        """The networks of an interval, forward and perhaps backward; None before its first step."""
        current = int(self.interval)
        if interval < current:
            return [nets[interval].detach() for nets in (self.ahead, self.back) if len(nets)]
        if interval > current or math.isinf(float(self.best_loss)):
            return None
        return list(self.best)

    # --- fitting -----------------------------------------------------------------------------------------------------

    def loss(self, step: int) -> dict[str, Tensor]:
        """What keeps the moved first cloud from lying on the second one; notes the networks when it is the lowest."""
        interval = int(self.interval)
        source, target = self.pair(interval)
        moved = source + network(self.ahead[interval], source)
        if self.config.preset == "nsfp":
            indices = self.prepared(interval, lambda: (PointIndex(source), PointIndex(target)))
            returned = moved - network(self.back[interval], moved)
            terms = {
                "forward": chamfer_term(moved, target, indices[1], LIMIT),
                "backward": chamfer_term(returned, source, indices[0], LIMIT),
            }
        else:
            truncate = TRUNCATION if self.config.repairs else math.inf
            field: DistanceGrid = self.prepared(
                interval, lambda: DistanceGrid(target, beside=source, cell=self.config.cell or CELL, truncate=truncate)
            )
            terms = {"distance": field(moved).mean()}
            if self.config.repairs:
                terms["reverse"] = reverse_term(target, moved, TRUNCATION)
        self.note(interval, float(sum(term.detach() for term in terms.values())))
        return terms

    def prepared(self, interval: int, make: Callable[[], Any]) -> Any:
        """What the loss of an interval needs again and again, made once."""
        if self.targets is None or self.targets[0] != interval:
            self.targets = interval, make()
        return self.targets[1]

    @torch.no_grad()
    def note(self, interval: int, loss: float) -> None:
        """Keep the networks of the lowest loss, and count the steps without a better one."""
        if loss <= float(self.best_loss):
            self.best_loss.fill_(loss)
            for row, nets in enumerate((self.ahead, self.back)):
                if len(nets):
                    self.best[row] = nets[interval]
        if loss < float(self.reference) - self.schedule(interval).min_delta:
            self.reference.fill_(loss)
            self.stale.zero_()
        else:
            self.stale += 1

    def param_groups(self) -> list[dict[str, Any]]:
        """A group a pair; Adam as the releases have it."""
        groups = []
        for interval in range(self.count - 1):
            nets = [nets[interval] for nets in (self.ahead, self.back) if len(nets)]
            group: dict[str, Any] = {"params": nets, "name": f"pair {interval}", "lr": self.schedule(interval).lr}
            groups.append(group | {"eps": 1e-8, "weight_decay": 1e-4 if len(nets) > 1 else 0.0})
        return groups

    @torch.no_grad()
    def after_step(self, step: int) -> None:
        """Go on to the next pair when this one is done, which leaves it its best networks."""
        interval = int(self.interval)
        self.iteration += 1
        if int(self.stale) < self.schedule(interval).patience and int(self.iteration) < self.most:
            return
        for row, nets in enumerate((self.ahead, self.back)):
            if len(nets):
                nets[interval].copy_(self.best[row])
        self.interval += 1
        for name in ("iteration", "stale"):
            getattr(self, name).zero_()
        for name in ("best_loss", "reference"):
            getattr(self, name).fill_(math.inf)

    def finished(self, step: int) -> bool:
        """Whether all pairs are done."""
        return int(self.interval) >= self.count - 1


def order_in_space(points: Tensor) -> Tensor:
    """[N] int64: an order of points [N, 3] along a curve that fills space: neighbours in it are neighbours there.

    Networks are quicker on such points (`kernels/mlp/cpu.cpp`), and so is the search for neighbours.
    """
    low, high = points.amin(dim=0), points.amax(dim=0)
    cells = ((points - low) / (high - low).max().clamp(min=1e-6) * 1023).long()
    code = torch.zeros_like(cells[:, 0])
    for bit in range(10):
        for axis in range(3):
            code |= ((cells[:, axis] >> bit) & 1) << (3 * bit + axis)
    return torch.argsort(code, stable=True)


def network(flat: Tensor, points: Tensor) -> Tensor:
    """[N, 3] of the network with weights and biases `flat` [SIZE], layer after layer, at points [N, 3]."""
    parts = [part.view(shape) for part, shape in zip(flat.split([math.prod(s) for s in SHAPES]), SHAPES, strict=True)]
    return mlp(points, parts[::2], parts[1::2])


def torch_start(seed: int) -> Tensor:
    """[SIZE] torch's usual first values of linear layers, by a seed: uniform within 1 / sqrt(inputs)."""
    generator = torch.Generator().manual_seed(seed)
    parts = []
    for wide, narrow in pairwise(WIDTHS):
        bound = 1 / math.sqrt(wide)
        parts += [(2 * torch.rand(size, generator=generator) - 1) * bound for size in (wide * narrow, narrow)]
    return torch.cat(parts)


def xavier_start(seed: int) -> Tensor:
    """[SIZE] Xavier's uniform first values, by a seed, and biases of 0."""
    generator = torch.Generator().manual_seed(seed)
    parts = []
    for wide, narrow in pairwise(WIDTHS):
        bound = math.sqrt(6 / (wide + narrow))
        parts += [(2 * torch.rand(wide * narrow, generator=generator) - 1) * bound, torch.zeros(narrow)]
    return torch.cat(parts)
