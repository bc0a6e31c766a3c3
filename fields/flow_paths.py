"""What a fitted flow field is for: paths of any points, a cloud at any time, all clouds at one time.

Times and points are as in `fields.flow_field`. A *velocity* is that of a flow field: where points at `points` at time t
go, in metres a cloud step, when they travel forward (+1) or backward (-1) in time. A *flow* is a displacement in metres
of points from one time to another, as `SceneFlow.flow`.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Literal, NamedTuple, TypeAlias

import numpy as np
import torch
from torch import Tensor

from fields.flow_field import ExactFlow, FittedClouds, FlowField, MovingClouds
from kernels.neighbours import nearest
from scenes.flow.sequence import CloudSequence, moved

Velocity: TypeAlias = Callable[[Tensor, float, int], Tensor]
Flow: TypeAlias = Callable[[Tensor, float, float], Tensor]
Method: TypeAlias = Literal["euler", "rk4"]

CHUNK = 1 << 16
"""Points that a field is asked about at once, so that memory does not grow with the clouds."""
STILL = 0.05
"""Metres a cloud step: slower residual flow of integrated fields is taken for none where clouds are accumulated, or
walls would smear."""
SAME_POINT = 1e-3
"""Metres within which a point of the data is one of the fitted cloud, which went through another frame."""


class Carried(NamedTuple):
    """Points brought to one time. points: [N, 3] float32 world metres. cloud: [N] int64, which cloud saw them."""

    points: Tensor
    cloud: Tensor


def integrate(velocity: Velocity, points: Tensor, t0: float, t1: float, method: Method = "euler") -> Tensor:
    """[N, 3] where `points` at time t0 are at time t1 (earlier or later), differentiable in them.

    Steps end at whole times, where fields that are fitted pair by pair change: one step a cloud interval, shorter ones
    at both ends. euler: `p + h v(p, t)`, what NSFP and its successors publish, and what a pairwise field was fitted
    for: there a whole step is the fit itself. rk4: the classical Runge-Kutta step of 4 evaluations, for fields whose
    `velocity` really is one, with error O(h^4) in place of O(h). Its last evaluation is just before the step's end, so
    that it belongs to the same interval. The field is asked about `CHUNK` points at a time. ValueError for times that
    are negative or not finite, and other methods.
    """
    for t in (t0, t1):
        if not (math.isfinite(t) and t >= 0):
            raise ValueError(f"time {t}: expected 0 or more, counted in clouds")
    if method not in ("euler", "rk4"):
        raise ValueError(f"method {method!r}: expected euler or rk4")

    def along(places: Tensor) -> Tensor:
        for start, end in steps(t0, t1):
            places = places + step(velocity, places, start, end, method)
        return places

    return in_chunks(along, points)


def in_chunks(function: Callable[[Tensor], Tensor], points: Tensor) -> Tensor:
    """A function of points [N, ...], each on its own, asked about `CHUNK` of them at a time."""
    return torch.cat([function(part) for part in points.split(CHUNK)])


def steps(t0: float, t1: float) -> list[tuple[float, float]]:
    """The way from t0 to t1 cut at the whole times between them; no steps where both are the same."""
    low, high = min(t0, t1), max(t0, t1)
    stops = [low, *map(float, range(math.floor(low) + 1, math.ceil(high))), high]
    if t1 < t0:
        stops.reverse()
    return list(itertools.pairwise(stops)) if t0 != t1 else []


def step(velocity: Velocity, points: Tensor, start: float, end: float, method: Method) -> Tensor:
    """[N, 3] displacement over one step inside one cloud interval."""
    direction, size = (1 if end > start else -1), abs(end - start)
    first = velocity(points, start, direction)
    if method == "euler":
        return size * first
    middle, last = (start + end) / 2, math.nextafter(end, start)
    second = velocity(points + size / 2 * first, middle, direction)
    third = velocity(points + size / 2 * second, middle, direction)
    fourth = velocity(points + size * third, last, direction)
    return size / 6 * (first + 2 * second + 2 * third + fourth)


def gated(field: FlowField, still: float = 0.0) -> Velocity:
    """The velocity of a field, exactly zero on what it judges to stand still and what is slower than `still` metres a
    cloud step."""

    def velocity(points: Tensor, t: float, direction: int) -> Tensor:
        speed = field.velocity(points, t, direction)
        static = field.is_static(points, t, direction) | (speed.norm(dim=1) < still)
        return torch.where(static[:, None], 0.0, speed)

    return velocity


def steady_flow(model: FittedClouds, still: float = STILL) -> Flow:
    """The flow of a model for long ways, on which nothing creeps: residual motion slower than `still` counts as none.

    A field that knows its flow between any two times has its own rule for what stands, which is used alone.
    """
    if is_exact(model):
        return model.flow
    velocity = gated(model.field, still)
    return lambda points, t0, t1: integrate(velocity, points, t0, t1) - points


def is_exact(model: FittedClouds) -> bool:
    """Whether a `SceneFlow`'s field knows its flow between any two times, so that nothing is integrated."""
    return isinstance(model.field, ExactFlow)


def carry(flow: Flow, points: Tensor, t0: float, t1: float) -> Tensor:
    """[N, 3] positions at t1 of points at t0, without gradients."""
    with torch.no_grad():
        return points + flow(points, t0, t1)


def trajectories(flow: Flow, points: Tensor, t0: float, times: Sequence[float], *, chained: bool = False) -> Tensor:
    """[N, len(times), 3] positions at all `times` of [N, 3] points at t0: any points, also never observed ones.

    chained: go from whole time to whole time and to each of `times` from the last one passed, which for flows that are
    integrated is the same at a cost that grows with the number of clouds and not its square. Flows that are known
    exactly between any two times must not be, as they would lose track of a point and have to find it again.
    Which other times are asked for never changes the answer. Without gradients.
    """
    result = points.new_empty(len(points), len(times), 3)
    if not chained:
        for i, t in enumerate(times):
            result[:, i] = carry(flow, points, t0, t)
        return result
    for ahead in (True, False):
        here, at = points, t0
        chosen = [i for i, t in enumerate(times) if (t >= t0) == ahead]
        for i in sorted(chosen, key=lambda i: abs(times[i] - t0)):
            for start, end in steps(at, times[i]):
                there = carry(flow, here, start, end)
                if end == times[i]:
                    result[:, i] = there
                if end == int(end):
                    here, at = there, end
            if at == times[i]:
                result[:, i] = here
    return result


def round_trip(flow: Flow, points: Tensor, t0: float, t1: float) -> Tensor:
    """[N] metres between points and where they are after travelling from t0 to t1 and back: drift without any truth.

    Zero for a flow that is its own inverse; it bounds nothing, but what drifts here has drifted there or back.
    """
    return (carry(flow, carry(flow, points, t0, t1), t1, t0) - points).norm(dim=1)


def check_time(t: float, clouds: int) -> None:
    """ValueError unless t lies within a sequence of so many clouds."""
    if not 0 <= t <= clouds - 1:
        raise ValueError(f"time {t:g}: expected 0 to {clouds - 1}, counted in clouds (fractions lie between two)")


def interpolate(model: MovingClouds, t: float) -> Carried:
    """The cloud at time t: the one before carried forward and the one after carried back, together.

    At a whole time it is that cloud itself. ValueError for a time outside the sequence.
    """
    check_time(t, len(model.clouds))
    return joined(
        Carried(carry(model.flow, model.clouds[s], s, t), marks(model.clouds[s], s))
        for s in sorted({math.floor(t), math.ceil(t)})
    )


def accumulate(
    model: FittedClouds, sequence: CloudSequence | None, t: float, span: float | None = None, *, still: float = STILL
) -> Iterator[Carried]:
    """All clouds at most `span` clouds away from time t (by default all), carried to t, in chunks.

    What stands still stays exactly where it was seen, so that walls do not smear (`steady_flow`). sequence: the data
    that were fitted; what the model left out of them (ground, points out of reach) comes along as static, ego motion
    taken out. None: only the fitted points. A chunk holds points of one cloud. `joined` makes one cloud of all.
    ValueError for a time outside the sequence, a negative span, or data of another length.
    """
    count = len(model.clouds)
    check_time(t, count)
    if span is not None and not span >= 0:
        raise ValueError(f"span {span}: expected 0 or more clouds on either side")
    if sequence is not None and len(sequence) != count:
        raise ValueError(f"{sequence.source}: {len(sequence)} clouds, the model was fitted to {count}; give its data")
    if not still >= 0:
        raise ValueError(f"still {still}: expected 0 or more metres a step")
    flow = steady_flow(model, still)
    chosen = [s for s in range(count) if span is None or abs(s - t) <= span]
    if not chosen:
        raise ValueError(f"span {span:g}: no cloud is so near to time {t:g}; give at least 0.5")
    for s in chosen:
        fitted = model.clouds[s]
        for part in fitted.split(CHUNK):
            yield Carried(carry(flow, part, s, t), marks(part, s))
        if sequence is not None:
            for part in left_out(sequence, s, fitted).split(CHUNK):
                yield Carried(part, marks(part, s))


def left_out(sequence: CloudSequence, s: int, fitted: Tensor) -> Tensor:
    """[M, 3] world: the points of cloud s that are not among the `fitted` ones."""
    world_from_sensor = np.linalg.solve(sequence.world_from_sensor[0], sequence.world_from_sensor[s])
    points = torch.from_numpy(moved(sequence.clouds[s].points, world_from_sensor)).to(fitted.device)
    return points[nearest(fitted, points).squared_distances[:, 0] > SAME_POINT**2]


def marks(points: Tensor, cloud: int) -> Tensor:
    """[N] int64: which cloud points are of."""
    return torch.full((len(points),), cloud, dtype=torch.int64, device=points.device)


def joined(parts: Iterable[Carried]) -> Carried:
    """One cloud of all parts."""
    points, cloud = zip(*parts, strict=True)
    return Carried(torch.cat(points), torch.cat(cloud))
