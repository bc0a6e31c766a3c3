"""Integration of known fields, and what follows from it: paths, clouds in between, all clouds at one time."""

import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import Tensor

from fields import flow_paths
from fields.flow_paths import (
    accumulate,
    gated,
    integrate,
    interpolate,
    joined,
    left_out,
    round_trip,
    steps,
    trajectories,
)
from scenes.flow.sequence import Cloud, CloudSequence

TURN = 0.3
"""Radians a cloud step."""


def points_around(count: int = 50, seed: int = 0) -> Tensor:
    return 4 * torch.randn(count, 3, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def rotation(points: Tensor, t: float, direction: int) -> Tensor:
    """The velocity of turning about z."""
    return direction * TURN * torch.stack([-points[:, 1], points[:, 0], torch.zeros_like(points[:, 0])], dim=1)


def turned(points: Tensor, angle: float) -> Tensor:
    c, s = math.cos(angle), math.sin(angle)
    return points @ torch.tensor([[c, s, 0], [-s, c, 0], [0, 0, 1]], dtype=points.dtype)


def flow_of(velocity, method="euler"):
    return lambda points, t0, t1: integrate(velocity, points, t0, t1, method) - points


def error_after(method: str, finer: int) -> float:
    """Of a turn in one step, the field `finer` times slower and its path as many clouds longer."""
    points = points_around()
    found = integrate(lambda p, t, d: rotation(p, t, d) / finer, points, 0, finer, method)
    return float((found - turned(points, TURN)).norm(dim=1).max())


def test_both_methods_have_their_order_and_rk4_is_far_better():
    """Steps half as long: Euler's error halves, that of Runge-Kutta falls to a sixteenth."""
    assert error_after("rk4", 1) < 1e-3 * error_after("euler", 1)
    assert error_after("euler", 4) / error_after("euler", 8) == pytest.approx(2, rel=0.05)
    assert error_after("rk4", 4) / error_after("rk4", 8) == pytest.approx(16, rel=0.05)


@pytest.mark.parametrize("method", ["euler", "rk4"])
@pytest.mark.parametrize(("t0", "t1"), [(0, 5), (0.25, 3.5), (4.75, 0.5), (2.25, 2.5), (3, 3)])
def test_a_constant_is_integrated_exactly(method, t0, t1):
    """Also over fractions at both ends, and back."""
    speed = torch.tensor([1.0, -2.0, 0.5], dtype=torch.float64)
    points = points_around()
    found = integrate(lambda p, t, d: (d * speed).expand_as(p), points, t0, t1, method)
    torch.testing.assert_close(found, points + (t1 - t0) * speed, rtol=0, atol=1e-12)


@pytest.mark.parametrize(("method", "limit"), [("euler", 2.0), ("rk4", 2e-4)])
def test_forward_and_back_returns(method, limit):
    points = points_around()
    drift = round_trip(flow_of(rotation, method), points, 0.5, 4.25)
    assert float(drift.max()) < limit * float(points.norm(dim=1).max()) / 4
    assert float(drift.max()) > 0


@pytest.mark.parametrize("method", ["euler", "rk4"])
@pytest.mark.parametrize(("t0", "t1"), [(0.5, 3.25), (3.25, 0.5), (1, 3), (3, 1)])
def test_no_step_leaves_its_interval(method, t0, t1):
    """A pairwise field is asked about the interval that is travelled, and each interval counts its own share."""
    asked = []

    def velocity(points: Tensor, t: float, direction: int) -> Tensor:
        asked.append((math.floor(t) if direction > 0 else math.ceil(t) - 1, direction))
        return direction * torch.tensor([[10.0 ** asked[-1][0], 0, 0]])

    found = integrate(velocity, torch.zeros(1, 3), t0, t1, method)
    low, high = min(t0, t1), max(t0, t1)
    shares = [max(0.0, min(high, i + 1) - max(low, i)) for i in range(4)]
    expected = math.copysign(sum(share * 10**i for i, share in enumerate(shares)), t1 - t0)
    assert float(found[0, 0]) == pytest.approx(expected, rel=1e-6)
    assert len(asked) == (4 if method == "rk4" else 1) * len(steps(t0, t1))


def test_integration_is_differentiable():
    points = points_around(4).requires_grad_()
    assert torch.autograd.gradcheck(lambda p: integrate(rotation, p, 0.5, 2.0, "rk4"), points)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((-1, 2), "time -1: expected 0 or more"),
        ((0, math.nan), "time nan"),
        ((0, math.inf), "time inf"),
        ((0, 1, "rk2"), "'rk2': expected euler or rk4"),
    ],
)
def test_bad_times_and_methods(arguments, message):
    with pytest.raises(ValueError, match=message):
        integrate(rotation, points_around(), *arguments)


TIMES = (3.0, 0.0, 2.5, 1.25, 2.0, 4.0)


@pytest.mark.parametrize("t0", [0, 1.5, 2, 4])
def test_trajectories_are_the_flow_to_each_time(t0):
    """In any order, with other times between or not; from whole time to whole time or directly."""
    points, flow = points_around(), flow_of(rotation)
    direct = trajectories(flow, points, t0, TIMES)
    for i, t in enumerate(TIMES):
        torch.testing.assert_close(direct[:, i], integrate(rotation, points, t0, t))
        torch.testing.assert_close(direct[:, i], trajectories(flow, points, t0, [t], chained=True)[:, 0])
    torch.testing.assert_close(direct, trajectories(flow, points, t0, TIMES, chained=True))


def test_a_chain_walks_each_interval_once():
    walked = []

    def flow(points: Tensor, t0: float, t1: float) -> Tensor:
        walked.append((t0, t1))
        return torch.zeros_like(points)

    trajectories(flow, points_around(), 2, range(5), chained=True)
    assert sorted(walked) == [(1, 0), (2, 1), (2, 3), (3, 4)]


class Street:
    """Exactly known: a thing at y > 5 that drives along x, and a wall at y < 5 that stands; seen by a moving sensor."""

    STEP = torch.tensor([1.0, 0.0, 0.0])

    def __init__(self, count: int = 4) -> None:
        """Each cloud sees its own half of the thing and of the wall, and some ground that is not fitted."""
        generator = torch.Generator().manual_seed(1)
        self.thing = torch.rand(40, 3, generator=generator) + torch.tensor([0.0, 8.0, 0.0])
        self.wall = torch.rand(40, 3, generator=generator)
        self.ground = torch.rand(30, 3, generator=generator) - torch.tensor([0.0, 0.0, 3.0])
        self.clouds = [torch.cat([self.thing[s % 2 :: 2] + s * self.STEP, self.wall[s % 2 :: 2]]) for s in range(count)]

    @property
    def field(self):
        return self  # one that knows its flow between any two times

    def flow(self, points: Tensor, t0: float, t1: float) -> Tensor:
        return (t1 - t0) * self.STEP * (points[:, 1:2] > 5)

    def data(self) -> CloudSequence:
        """What was fitted, in the frames of a sensor that turns and drives, starting away from the origin."""
        poses = np.tile(np.eye(4), (len(self.clouds), 1, 1))
        for s, pose in enumerate(poses):
            c, sine = math.cos(0.1 * s + 0.4), math.sin(0.1 * s + 0.4)
            pose[:2, :2] = [[c, -sine], [sine, c]]
            pose[:3, 3] = 5 + 2 * s, 3, 1
        clouds = []
        for pose, fitted in zip(poses, self.clouds, strict=True):
            sensor_from_first = np.linalg.solve(pose, poses[0])
            points = torch.cat([fitted, self.ground]).numpy()
            clouds.append(Cloud((points @ sensor_from_first[:3, :3].T + sensor_from_first[:3, 3]).astype(np.float32)))
        return CloudSequence("street", "a test", tuple(clouds), np.arange(len(clouds)) * 0.1, poses)


def farthest(points: Tensor, among: Tensor) -> float:
    """Metres from a point to the nearest of `among`, for the worst of them."""
    return float(torch.cdist(points.double(), among.double()).min(dim=1).values.max())


@pytest.mark.parametrize("chunk", [7, 1 << 16])
@pytest.mark.parametrize("t", [0, 1.5, 3])
def test_accumulation_puts_each_thing_in_one_place(t, chunk, monkeypatch):
    """And leaves everything else, fitted or not, exactly where it was seen; in any chunks."""
    monkeypatch.setattr(flow_paths, "CHUNK", chunk)
    street = Street()
    parts = list(accumulate(street, street.data(), t))
    assert max(len(part.points) for part in parts) <= chunk
    assert all(len(part.cloud.unique()) == 1 for part in parts)
    points, cloud = joined(parts)
    assert cloud.bincount().tolist() == [len(one) + len(street.ground) for one in street.clouds]
    thing = points[:, 1] > 5
    assert farthest(points[thing], street.thing + t * street.STEP) < 1e-5
    assert farthest(street.thing + t * street.STEP, points[thing]) < 1e-5
    standing = torch.cat([street.wall, street.ground])
    assert farthest(points[~thing], standing) < 1e-5 and farthest(standing, points[~thing]) < 1e-5


class Creeping:
    """An integrated field of the street by which the wall creeps; of a part of the thing it says that it stands."""

    def velocity(self, points: Tensor, t: float, direction: int) -> Tensor:
        return direction * torch.where(points[:, 1:2] > 5, Street.STEP, 0.03 * Street.STEP)

    def is_static(self, points: Tensor, t: float, direction: int) -> Tensor:
        return points[:, 1] > 8.5


def test_what_creeps_does_not_smear():
    """Residual flow is nothing where clouds are accumulated; what the field judges to stand, stands everywhere."""
    street, field = Street(), Creeping()
    model = SimpleNamespace(clouds=street.clouds, flow=street.flow, field=field)
    points, cloud = joined(accumulate(model, None, 3))
    before = torch.cat(street.clouds)
    expected = ((3 - cloud)[:, None] * Street.STEP) * ((points[:, 1:2] > 5) & (points[:, 1:2] <= 8.5))
    torch.testing.assert_close(points, before + expected)
    assert torch.equal(points[points[:, 1] < 5], before[before[:, 1] < 5])
    crept, _ = joined(accumulate(model, None, 3, still=0))
    moved = crept - before
    assert float(moved[cloud == 0][:, 0].max()) == pytest.approx(3) and float(moved[before[:, 1] < 5].max()) > 0.08
    gentle = integrate(gated(field), before, 0, 3)
    torch.testing.assert_close(gentle[before[:, 1] > 8.5], before[before[:, 1] > 8.5], rtol=0, atol=0)


def test_accumulation_of_the_fitted_points_within_a_span():
    street = Street()
    points, cloud = joined(accumulate(street, None, 1.5, 0.5))
    assert cloud.bincount().tolist() == [0, 40, 40] and len(points) == 80
    still = points[points[:, 1] < 5]
    assert torch.isin(still, street.wall).all()


def test_what_was_left_out_is_found_by_place():
    street = Street()
    rest = left_out(street.data(), 2, street.clouds[2])
    assert farthest(rest, street.ground) < 1e-5 and len(rest) == len(street.ground)


def test_a_cloud_in_between_comes_from_both_neighbours():
    street = Street()
    points, cloud = interpolate(street, 1.25)
    assert cloud.unique().tolist() == [1, 2] and len(points) == 80
    assert farthest(points[points[:, 1] > 5], street.thing + 1.25 * street.STEP) < 1e-5
    whole, _ = interpolate(street, 2)
    assert torch.equal(whole, street.clouds[2])


@pytest.mark.parametrize("t", [-0.1, 3.01, math.nan])
def test_a_time_outside_the_sequence(t):
    street = Street()
    with pytest.raises(ValueError, match="expected 0 to 3, counted in clouds"):
        interpolate(street, t)
    with pytest.raises(ValueError, match="expected 0 to 3, counted in clouds"):
        next(accumulate(street, None, t))


def test_spans_and_data_that_do_not_fit():
    street = Street()
    with pytest.raises(ValueError, match="span -1: expected 0 or more"):
        next(accumulate(street, None, 1, -1))
    with pytest.raises(ValueError, match="no cloud is so near to time 1.5"):
        next(accumulate(street, None, 1.5, 0.2))
    with pytest.raises(ValueError, match="still nan: expected 0 or more"):
        next(accumulate(street, None, 1, still=math.nan))
    with pytest.raises(ValueError, match="2 clouds, the model was fitted to 4"):
        next(accumulate(street, street.data().steps(0, 2), 1))
