"""Moving bodies found in clouds whose motion is known."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from scenes.flow.bodies.drift import drift
from scenes.flow.bodies.find import Bodies, find_bodies
from scenes.flow.bodies.paths import rotation, rotation_vector
from scenes.flow.bodies.scan import components_of, scans_of


def box(count: int, size: tuple[float, float, float], seed: int) -> Tensor:
    """[count, 3] points on the six sides of a box around the origin."""
    generator = torch.Generator().manual_seed(seed)
    points = torch.rand(count, 3, generator=generator) - 0.5
    side = torch.randint(3, (count,), generator=generator)
    points[torch.arange(count), side] = torch.where(points[torch.arange(count), side] > 0, 0.5, -0.5)
    return points * torch.tensor(size)


def wall(seed: int) -> Tensor:
    """[800, 3] points of a wall 12 m behind everything."""
    place = torch.rand(800, 3, generator=torch.Generator().manual_seed(seed))
    return place * torch.tensor([20.0, 0.0, 3.0]) + torch.tensor([-10.0, 12.0, 0.0])


def driving(t: int) -> tuple[Tensor, Tensor]:
    """[3, 3] and [3]: the pose of a car that drives a bend, 0.6 m and 2 degrees a cloud."""
    angle = math.radians(2.0) * t
    radius = 0.6 / math.radians(2.0)
    return rotation(torch.tensor([0.0, 0.0, angle])), radius * torch.tensor([math.sin(angle), 1 - math.cos(angle), 0.0])


def street(times: int) -> tuple[list[Tensor], list[Tensor]]:
    """A car in a bend before a wall, sampled anew at each time; the clouds, and which points are the car's."""
    clouds, cars = [], []
    for t in range(times):
        turn, place = driving(t)
        car = box(600, (4.0, 1.8, 1.5), seed=t) @ turn.T + place
        clouds.append(torch.cat([car, wall(seed=100 + t)]))
        cars.append(torch.arange(len(clouds[-1])) < len(car))
    return clouds, cars


def step(bodies: Bodies, body: int, t: int) -> Tensor:
    """[4, 4] a body's motion from t to t + 1."""
    return bodies.poses[body, t + 1] @ bodies.poses[body, t].inverse()


def test_a_car_in_a_bend_is_one_body_and_its_path_is_known() -> None:
    clouds, cars = street(8)
    bodies = find_bodies(clouds)
    assert len(bodies.poses) == 1
    for owner, car in zip(bodies.owner, cars, strict=True):
        assert (owner[car] == 0).float().mean() > 0.98
        assert (owner[~car] == -1).all()
    for t in range(7):
        turn, place = driving(t)
        after, there = driving(t + 1)
        points = clouds[t][cars[t]]
        true = (points - place) @ turn @ after.T + there
        moved = points @ step(bodies, 0, t)[:3, :3].T + step(bodies, 0, t)[:3, 3]
        assert (moved - true).norm(dim=1).mean() < 0.02


def test_two_clouds_are_enough() -> None:
    clouds, cars = street(2)
    bodies = find_bodies(clouds)
    moved = step(bodies, 0, 0)
    turn, place = driving(1)
    error = clouds[0][cars[0]] @ (moved[:3, :3] - turn).T + moved[:3, 3] - place
    assert error.norm(dim=1).mean() < 0.06
    assert (bodies.owner[0][~cars[0]] == -1).all()


def test_nothing_moves_where_nothing_moves() -> None:
    clouds = [torch.cat([box(600, (4.0, 1.8, 1.5), seed=t), wall(seed=100 + t)]) for t in range(4)]
    bodies = find_bodies(clouds)
    assert len(bodies.poses) == 0
    assert all((owner == -1).all() for owner in bodies.owner)


def test_two_cars_that_pass_each_other_are_two_bodies() -> None:
    clouds = []
    for t in range(6):
        one = box(500, (4.0, 1.8, 1.5), seed=t) + torch.tensor([0.7 * t - 6.0, 0.0, 0.0])
        two = box(500, (4.0, 1.8, 1.5), seed=50 + t) + torch.tensor([6.0 - 0.7 * t, 3.5, 0.0])
        clouds.append(torch.cat([one, two, wall(seed=100 + t)]))
    bodies = find_bodies(clouds)
    assert len(bodies.poses) == 2
    speeds = sorted(float((step(bodies, body, 2)[:3, 3])[0]) for body in range(2))
    assert speeds == pytest.approx([-0.7, 0.7], abs=0.03)
    assert (bodies.owner[3][:500] == bodies.owner[3][0]).float().mean() > 0.98
    assert bodies.owner[3][0] != bodies.owner[3][500]


def test_a_body_hidden_for_a_while_stays_one() -> None:
    clouds = []
    for t in range(8):
        car = box(500, (2.0, 1.8, 1.5), seed=t) + torch.tensor([0.5 * t, 0.0, 0.0])
        clouds.append(torch.cat([car[: 4 if t == 4 else 500], wall(seed=100 + t)]))
    bodies = find_bodies(clouds)
    assert len(bodies.poses) == 1
    assert bodies.alive[0].all()
    assert torch.allclose(bodies.poses[0, 7, :3, 3] - bodies.poses[0, 0, :3, 3], torch.tensor([3.5, 0, 0]), atol=0.1)


def test_the_same_seed_gives_the_same_bodies() -> None:
    clouds, _ = street(3)
    one, two = find_bodies(clouds, seed=3), find_bodies(clouds, seed=3)
    assert torch.equal(one.poses, two.poses)
    assert all(torch.equal(a, b) for a, b in zip(one.owner, two.owner, strict=True))


@pytest.mark.parametrize("count", [3, 4, 30])
def test_tiny_and_degenerate_clouds_have_no_error(count: int) -> None:
    points = torch.rand(count, 3, generator=torch.Generator().manual_seed(0))
    for clouds in ([points, points + 0.1], [points, points], [torch.zeros(count, 3), torch.ones(count, 3)]):
        bodies = find_bodies(clouds)
        assert bodies.poses.isfinite().all()
        assert [len(owner) for owner in bodies.owner] == [count, count]


def test_components_are_joined_by_small_steps_only() -> None:
    line = np.stack([np.arange(0, 5, 0.3), np.zeros(17), np.zeros(17)], axis=1)
    found = components_of(np.concatenate([line, line + (0, 2, 0)]).astype(np.float32))
    assert len(set(found[:17])) == 1
    assert len(set(found[17:])) == 1
    assert found[0] != found[-1]


def test_what_comes_into_view_does_not_move() -> None:
    whole = wall(seed=7)
    clouds = [whole[whole[:, 0] < -5 + 3 * t] for t in range(5)]  # a curtain is drawn aside
    assert not scans_of(clouds)[2].may_move.any()  # seen before or after, at every offset
    assert len(find_bodies(clouds).poses) == 0


def test_drift_moves_components_onto_the_target() -> None:
    cloud = torch.cat([box(600, (4.0, 1.8, 1.5), seed=0), torch.rand(3, 3) + 20])
    target = box(600, (4.0, 1.8, 1.5), seed=1) + torch.tensor([0.1, 0.0, 0.0])
    found = drift(cloud, target)
    assert (found[:600] - torch.tensor([0.1, 0.0, 0.0])).norm(dim=1).mean() < 0.05
    assert (found[600:] == 0).all()


def test_rotation_vectors_are_the_logarithms_of_rotations() -> None:
    vectors = torch.randn(100, 3, generator=torch.Generator().manual_seed(0))
    turns = rotation(vectors.double().float())
    assert torch.allclose(turns @ turns.transpose(1, 2), torch.eye(3).expand(100, 3, 3), atol=1e-5)
    assert torch.allclose(rotation(rotation_vector(turns)), turns, atol=1e-3)
    small = 1e-4 * vectors
    assert torch.allclose(rotation_vector(rotation(small)), small, atol=2e-6)
