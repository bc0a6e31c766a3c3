"""Ground without labels: on hills, under cars, beside walls, with stray returns; and where there is none."""

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from scenes.flow.ground import find_ground
from scenes.synthetic.moving import FlowConfig, demo_flow


def hills(x, y):
    return 0.06 * x + 0.5 * np.sin(x / 12) * np.cos(y / 9) - 1.7


def landscape(seed=0):
    """A hilly ground with a car, a wall and a hedge on it, thinning out with distance; and which points are ground."""
    generator = np.random.default_rng(seed)
    flat = generator.normal(0, 14, (20000, 2))
    x, y = flat.T
    ground = np.stack([x, y, hills(x, y) + generator.normal(0, 0.02, len(x))], axis=1)
    under_car = (np.abs(x - 8) < 2.2) & (np.abs(y - 1) < 0.9)
    car = ground[under_car]
    car[:, 2] += 1.4
    wall = np.stack([generator.uniform(-30, 30, 3000), np.full(3000, 10.0), generator.uniform(0.35, 6, 3000)], axis=1)
    hedge = np.stack([*generator.uniform(-12, -9, (2, 2000)), generator.uniform(0.35, 1.5, 2000)], axis=1)
    for thing in (wall, hedge):
        thing[:, 2] += hills(thing[:, 0], thing[:, 1])
    points = np.concatenate([ground[~under_car], car, wall, hedge]).astype(np.float32)
    return points, np.arange(len(points)) < (~under_car).sum()


@pytest.mark.parametrize("seed", [0, 1])
def test_hills_are_ground_and_what_stands_on_them_is_not(seed):
    points, truth = landscape(seed)
    found = find_ground(points)
    near = np.abs(points[:, :2]).max(axis=1) < 30
    assert found[near & truth].mean() > 0.98
    assert found[near & ~truth].mean() < 0.02


def test_stray_returns_from_below_do_not_pull_the_ground_down():
    points, truth = landscape()
    generator = np.random.default_rng(3)
    stray = np.stack([*generator.uniform(-30, 30, (2, 40)), np.full(40, -9.0)], axis=1).astype(np.float32)
    found = find_ground(np.concatenate([points, stray]))[: len(points)]
    near = np.abs(points[:, :2]).max(axis=1) < 30
    assert found[near & truth].mean() > 0.97 and found[near & ~truth].mean() < 0.02


def test_ground_is_a_quarter_of_a_metre_thick_also_on_a_slope_and_beside_walls():
    """Low things count as ground up to there, however steep it is and whatever stands nearby."""
    generator = np.random.default_rng(5)
    x, y = generator.uniform(-25, 25, (2, 60000))
    base = 0.12 * x - 0.04 * y - 1.5
    above = generator.choice([0.0, 0.17, 0.33], 60000, p=[0.8, 0.1, 0.1])
    slope = np.stack([x, y, base + above], axis=1)
    wx, wy = generator.uniform(-20, 20, (2, 20000))
    wy = np.round(wy / 8) * 8  # walls that begin at the ground, every 8 m
    walls = np.stack([wx, wy, 0.12 * wx - 0.04 * wy - 1.5 + generator.uniform(0, 3, 20000)], axis=1)
    found = find_ground(np.concatenate([slope, walls]).astype(np.float32))[:60000]
    inside = np.maximum(np.abs(x), np.abs(y)) < 18
    shares = [found[inside & (above == height)].mean() for height in (0.0, 0.17, 0.33)]
    assert shares[0] > 0.99 and shares[1] > 0.9 and shares[2] < 0.1, shares


def test_any_direction_can_be_up():
    points, _ = landscape()
    camera = points[:, [1, 2, 0]] * np.float32([-1, -1, 1])  # x right, y down, z forward
    assert (find_ground(points) != find_ground(camera, (0.0, -1.0, 0.0))).mean() < 0.01
    turn = Rotation.from_euler("xyz", (0.5, -0.3, 1.0)).as_matrix()
    turned = (points @ turn.T).astype(np.float32)
    assert (find_ground(points) != find_ground(turned, tuple(turn[:, 2]))).mean() < 0.02
    with pytest.raises(ValueError, match="up: expected a unit vector"):
        find_ground(points, (0.0, 0.0, 2.0))


def test_an_object_has_no_ground():
    generator = np.random.default_rng(0)
    flat = np.stack([*generator.uniform(-1, 1, (2, 5000)), generator.normal(1.3, 0.01, 5000)], axis=1)
    assert not find_ground(flat.astype(np.float32)).any()
    assert not find_ground(flat[:3].astype(np.float32)).any()
    assert not find_ground((flat + 1000).astype(np.float32)).any()


def test_order_does_not_matter():
    points, _ = landscape()
    order = np.random.default_rng(0).permutation(len(points))
    np.testing.assert_array_equal(find_ground(points)[order], find_ground(points[order]))


def test_a_street_with_traffic_keeps_its_traffic():
    scene = demo_flow(FlowConfig(frames=2))
    for cloud in scene.clouds:
        found = find_ground(cloud.points)
        assert found[cloud.ground].mean() > 0.99
        assert found[cloud.instances > 0].mean() < 0.05
