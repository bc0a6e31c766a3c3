"""BodyField: scene flow as rigid bodies that also bend, each carried by its poses and deformed by a few nodes."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from fields.edits import RowEdit
from fields.flow_carriers import carriers
from fields.flow_nodes import Blend, Nodes, basis, linked
from fields.flow_poses import between, placed, posed
from fields.flow_samples import Samples, Targets
from kernels.neighbours import PointIndex
from scenes.flow.bodies.drift import drift
from scenes.flow.bodies.find import Bodies
from scenes.flow.bodies.surface import Surface, surface_of

STEPS = 200
LR = 0.2
"""Of the displacements, in distances of nodes. The first steps are long on purpose: the loss rises before it falls, and
what has slid along itself comes loose; with a gentle start the shirt ends at 0.020 m, not at 0.015 to 0.018."""
KAPPA = 0.35
"""A distance along a target's normal counts 1 / KAPPA times."""
TANGENT = 0.05
"""Share of the squared distance across the normal that counts: more would tie the motion to the scan's pattern."""
SCALES = (8.0, 2.0)
"""Local spacings at which a comparison counts half, at first and in the last third."""
MEMBRANE, STRAIN, CREEP = 3.0, 300.0, 1.0
"""Weights of what resists: steps of displacement that differ among neighbours, change of the distance of neighbours,
and steps of displacement themselves, which says that what data leaves open moves with its body."""
FAVOUR = 1.5
"""A body is taken to stand, and only bend, unless moving it explains its clouds better by this factor."""
RIGID = 1.15
"""A body is taken not to bend unless bending explains its clouds better by this factor."""
LAST = 20
"""Steps, the last ones, in which bodies are also weighed without bending."""
ROUNDS, ROUNDS_FITTING = 8, 3
"""Fixed-point rounds towards the point at rest that a deformation brings here."""
REACH, REACH_SPACINGS = 2.0, 3.0
"""A point is a body's if the nearest fitted point is, and is nearer than the larger of these: metres, spacings."""
BUFFERS = ("owner", "seen", "of_body", "poses", "alive", "places", "carrier", "apart", "sparse", "energy", "rigid")


class BodyField(nn.Module):
    """The flow field of the preset `bodies`: see `fields.sceneflow.FlowField`.

    A carrier is a way in which a body may go: its poses, or for what stays where it is also standing still. Each has
    nodes of its own; which one a body takes is decided by how well it fits, see `chosen`.

    bend: [M, S, 3] displacements of the nodes in distances of nodes, coefficients in time. Buffers: owner, seen: [sum
    of N]. of_body: [C] the body of each carrier, poses: [C, T, 4, 4], alive: [C, T]. places, carrier, apart: the nodes.
    sparse: [C] spacing of a carrier's points in distances of its nodes. energy, rigid: [C] running means of what
    fitting has left, and of what it would leave without bending, which is not known before the last steps.
    """

    owner: Tensor
    seen: Tensor
    of_body: Tensor
    poses: Tensor
    alive: Tensor
    places: Tensor
    carrier: Tensor
    apart: Tensor
    sparse: Tensor
    energy: Tensor
    rigid: Tensor

    def __init__(self, clouds: Sequence[Tensor], state: Mapping[str, Tensor], *, seed: int = 0) -> None:
        """state: the buffers, and `bend`, by name; `from_bodies` makes them."""
        super().__init__()
        for name in BUFFERS:
            self.register_buffer(name, state[name].detach().clone())
        self.bend = nn.Parameter(state["bend"].detach().clone())
        self.clouds, self.seed, self.sizes = list(clouds), seed, [len(cloud) for cloud in clouds]
        self.surfaces: list[Surface] | None = None
        self.samples: tuple[Samples, Targets, Tensor] | None = None
        self.drifts: dict[tuple[int, int], Tensor] = {}
        self.blend: Blend | None = None

    @staticmethod
    def from_bodies(clouds: Sequence[Tensor], bodies: Bodies, *, seed: int = 0) -> BodyField:
        """The field whose bodies do not bend yet. clouds: T of [N, 3] float32, metres, in the world. See `carriers`."""
        surfaces = [surface_of(cloud) for cloud in clouds]
        field = BodyField(clouds, carriers(surfaces, bodies), seed=seed)
        field.surfaces = surfaces
        return field

    # --- what moves where --------------------------------------------------------------------------------------------

    def displacements(self) -> Tensor:
        """[M, T, 3] metres of each node at each whole time, in its body's frame."""
        scaled = self.bend * self.apart[self.carrier][:, None, None]
        return torch.einsum("msd,ts->mtd", scaled, basis(len(self.sizes)).to(scaled))

    def chosen(self) -> Tensor:
        """[B] int64: the carrier of each body: the one that stands, if there is one and it explains about as much."""
        count = int(self.of_body.amax()) + 1 if len(self.of_body) else 0
        best = torch.arange(count, device=self.owner.device)
        body = self.of_body[count:]
        stands = self.energy[count:] < FAVOUR * self.energy[body]
        best[body[stands]] = count + stands.nonzero()[:, 0]
        return best

    def body_of(self, points: Tensor, t: float) -> Tensor:
        """[N] int64: the body that points [N, 3] at time t belong to, -1 for what stands still: that of the nearest
        point of the cloud at the nearest whole time, carried to t, if it is near enough.
        """
        whole = math.floor(t + 0.5)
        surface, owner = self.surface(whole), self.owner.split(self.sizes)[whole]
        index = (
            surface.index if t == whole else PointIndex(surface.points + self.carried(surface.points, owner, whole, t))
        )
        found = index.nearest(points)
        nearest = found.indices[:, 0].clamp(min=0)
        reach = (REACH_SPACINGS * surface.spacing[nearest]).clamp(min=REACH)
        return torch.where(found.squared_distances[:, 0].sqrt() <= reach, owner[nearest], -1)

    @torch.no_grad()
    def flow(self, points: Tensor, t0: float, t1: float, gate: bool = True) -> Tensor:
        """[N, 3] metres that points [N, 3] of the world at time t0 move until t1, exactly.

        Between whole times poses turn at an even rate about the body's centre, which goes straight, and deformations
        change evenly; where no pose is known a body goes on as before. gate: static points get exactly 0, otherwise
        `drift`.
        """
        body = self.body_of(points, t0)
        moved = self.carried(points, body, t0, t1)
        return moved if gate else moved + torch.where((body < 0)[:, None], self.drift(points, t0, t1), 0.0)

    @torch.no_grad()
    def velocity(self, points: Tensor, t: float, direction: int) -> Tensor:
        """[N, 3] metres a step of time on the way to the next whole time in a direction; without the gate."""
        until = math.floor(t) + 1 if direction > 0 else math.ceil(t) - 1
        until = min(max(until, 0), len(self.sizes) - 1)
        return self.flow(points, t, until, gate=False) / max(abs(until - t), 1e-6)

    @torch.no_grad()
    def is_static(self, points: Tensor, t: float, direction: int) -> Tensor:
        """[N] bool: points [N, 3] at time t that belong to no body."""
        return self.body_of(points, t) < 0

    def carried(self, points: Tensor, body: Tensor, t0: float, t1: float) -> Tensor:
        """[N, 3] metres from t0 to t1 of points of bodies [N]; 0 where that is -1."""
        result = torch.zeros_like(points)
        rows = (body >= 0).nonzero()[:, 0]
        if t0 == t1 or len(rows) == 0:
            return result
        carrier = self.chosen()[body[rows]]
        bends = self.rigid.isfinite() & (RIGID * self.energy < self.rigid)
        moves = self.displacements().detach() * bends[self.carrier][:, None, None]
        here = placed(points[rows], posed(self.poses, t0)[carrier])
        start, end = (between(moves, t) for t in (t0, t1))
        nodes, shares = self.at_rest(here, carrier, start[:, None], torch.zeros_like(carrier))
        here = here + (shares[..., None] * (end - start)[nodes]).sum(dim=1)
        there = posed(self.poses, t1)[carrier]
        result[rows] = (there[:, :3, :3] @ here[..., None])[..., 0] + there[:, :3, 3] - points[rows]
        return result

    @torch.no_grad()
    def at_rest(
        self, here: Tensor, carrier: Tensor, moves: Tensor, time: Tensor, rounds: int = ROUNDS
    ) -> tuple[Tensor, Tensor]:
        """The nodes and shares (see `Blend`) of points, by where they are undeformed: here = rest + displacement(rest).

        here: [N, 3] in the carriers' frames. moves: [M, T, 3] displacements of all nodes; time: [N] which of them.
        """
        if self.blend is None:
            self.blend = Blend(Nodes(self.places, self.carrier, self.apart))
        nodes, shares = self.blend(here, carrier)
        for _ in range(rounds):
            nodes, shares = self.blend(here - (shares[..., None] * moves[nodes, time[:, None]]).sum(dim=1), carrier)
        return nodes, shares

    def surface(self, t: int) -> Surface:
        """The fitted cloud at a whole time."""
        if self.surfaces is None:
            self.surfaces = [surface_of(cloud) for cloud in self.clouds]
        return self.surfaces[t]

    def drift(self, points: Tensor, t0: float, t1: float) -> Tensor:
        """[N, 3] metres from t0 to t1 of points [N, 3] that ride on what stands still: what the gate hides."""
        here, direction = points, 1 if t1 >= t0 else -1
        for t in range(len(self.sizes)) if direction > 0 else reversed(range(len(self.sizes))):
            first, last = sorted((t, t + direction))
            share = min(max(t0, t1), last) - max(min(t0, t1), first)
            if share > 0 and 0 <= t + direction < len(self.sizes):
                nearest = self.surface(t).nearest(here)
                here = here + share * self.drift_of_cloud(t, t + direction)[nearest]
        return here - points

    def drift_of_cloud(self, t: int, until: int) -> Tensor:
        """[N, 3] metres from cloud t to its neighbour: see `scenes.flow.bodies.drift`. Found when first asked for."""
        if (t, until) not in self.drifts:
            first, second = self.clouds[t].cpu(), self.clouds[until].cpu()
            self.drifts[t, until] = drift(first, second, self.seed).to(self.clouds[t])
        return self.drifts[t, until]

    # --- fitting -----------------------------------------------------------------------------------------------------

    def loss(self, step: int) -> dict[str, Tensor]:
        """What keeps the bodies' points off the surfaces of the clouds around them in time, and what resists bending.

        Each term is a sum over carriers; notes what each carrier's own come to.
        """
        if len(self.places) == 0:
            return {"data": self.bend.sum()}
        moves = self.displacements()
        terms = {"data": self.data(moves, step)} | self.resistance(moves)
        with torch.no_grad():
            own = torch.stack(list(terms.values())).sum(dim=0)
            self.energy.copy_(own if step == 0 else torch.lerp(self.energy, own, 0.1))
            if step >= STEPS - LAST:
                stiff = self.data(torch.zeros_like(moves), step)
                self.rigid.copy_(torch.where(self.rigid.isinf(), stiff, torch.lerp(self.rigid, stiff, 0.1)))
        return {name: term.sum() for name, term in terms.items()}

    def data(self, moves: Tensor, step: int) -> Tensor:
        """[C] mean over comparisons of Geman and McClure's r^2 / (1 + r^2), r the distance in scaled spacings."""
        samples, targets, _ = self.material()
        rows, target = samples.draw(step)
        body, time = samples.body[rows], samples.time[rows]
        nodes, shares = self.rest_of(samples, rows, moves)
        gone = (shares[..., None] * (moves[nodes, target[:, None]] - moves[nodes, time[:, None]])).sum(dim=1)
        pose = self.poses[body, target]
        there = (pose[:, :3, :3] @ (samples.points[rows] + gone)[..., None])[..., 0] + pose[:, :3, 3]
        found = targets.nearest(there, target)
        gap = targets.points[found] - there
        along = (gap * targets.normals[found]).sum(dim=1)
        across = (gap.square().sum(dim=1) - along.square()).clamp(min=0)
        share = min(1.0, 1.5 * step / STEPS)
        scale = SCALES[0] * (SCALES[1] / SCALES[0]) ** share * targets.spacing[found]
        squared = (along.square() / KAPPA**2 + TANGENT * across) / scale.square()
        count = torch.bincount(body, minlength=len(self.of_body)).clamp(min=1)
        return moves.new_zeros(len(self.of_body)).index_add(0, body, squared / (1 + squared)) / count

    def rest_of(self, samples: Samples, rows: Tensor, moves: Tensor) -> tuple[Tensor, Tensor]:
        """`at_rest` of rows of the samples, each asked once."""
        once, back = rows.unique(return_inverse=True)
        here, carrier, time = samples.points[once], samples.body[once], samples.time[once]
        found = self.at_rest(here, carrier, moves.detach(), time, ROUNDS_FITTING)
        return found[0][back], found[1][back]

    def resistance(self, moves: Tensor) -> dict[str, Tensor]:
        """[C] each: the weighted terms `membrane`, `strain` (Green's, its steps in time) and `creep`."""
        edges = self.material()[2]
        ties = self.places[edges[:, 1]] - self.places[edges[:, 0]]
        lengths = ties.square().sum(dim=1)[:, None]
        pulls = moves[edges[:, 1]] - moves[edges[:, 0]]
        green = ((ties[:, None] + pulls).square().sum(dim=2) / lengths - 1) / 2
        membrane = pulls.diff(dim=1).square().sum(dim=2) / lengths
        creep = (moves.diff(dim=1) / self.apart[self.carrier][:, None, None]).square().sum(dim=2)
        carriers = self.carrier[edges[:, 0]]
        return {
            "membrane": MEMBRANE * self.sparse * self.mean(membrane, carriers),
            "strain": STRAIN * self.sparse * self.mean(green.diff(dim=1).square(), carriers),
            "creep": CREEP * self.sparse * self.mean(creep, self.carrier),
        }

    def mean(self, values: Tensor, carrier: Tensor) -> Tensor:
        """[C] the means over each carrier's rows of values [N, T]."""
        count = torch.bincount(carrier, minlength=len(self.of_body)).clamp(min=1)
        return values.new_zeros(len(self.of_body)).index_add(0, carrier, values.mean(dim=1)) / count

    def material(self) -> tuple[Samples, Targets, Tensor]:
        """The samples, their targets and the nodes' ties, made once."""
        if self.samples is None:
            points = torch.cat(self.clouds)
            time = torch.repeat_interleave(torch.arange(len(self.sizes)), torch.tensor(self.sizes)).to(points.device)
            row, carrier = (self.owner[:, None] == self.of_body).nonzero().unbind(dim=1)
            known = self.alive[carrier, time[row]]
            row, carrier = row[known], carrier[known]
            here = placed(points[row], self.poses[carrier, time[row]])
            samples = Samples(here, carrier, time[row], self.alive, self.seed)
            targets = Targets([self.surface(t) for t in range(len(self.sizes))], self.seen.split(self.sizes))
            self.samples = samples, targets, linked(Nodes(self.places, self.carrier, self.apart))
        return self.samples

    def param_groups(self) -> list[dict[str, Any]]:
        """The displacements, at a rate that rises at once and falls to nothing."""

        def schedule(step: int) -> float:
            return min(1.0, (step + 1) / 5) * (0.5 + 0.5 * math.cos(math.pi * min(step / STEPS, 1.0)))

        return [{"params": [self.bend], "name": "bend", "lr": LR, "schedule": schedule, "eps": 1e-8}]

    def after_step(self, step: int) -> RowEdit | None:
        """Nothing."""

    def finished(self, step: int) -> bool:
        """Whether the steps are done, or nothing moves."""
        return step >= STEPS or len(self.places) == 0
