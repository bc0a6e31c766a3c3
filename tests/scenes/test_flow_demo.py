"""The bundled sequence: its clouds lie on its things, its flow is exact, nothing is seen through anything."""

import numpy as np
import pytest
from scipy.spatial import KDTree

from scenes.flow.metrics import epe_by_instance
from scenes.synthetic.lidar import Lidar, rays_around, scan
from scenes.synthetic.moving import FlowConfig, demo_flow, elevations
from scenes.synthetic.solids import Box, Disc
from scenes.synthetic.street import CLASSES, Bending, Body, arc, at, still, street

SCENE = demo_flow()


def test_twenty_frames_of_five_to_twenty_thousand_points():
    assert len(SCENE) == 20 and all(5_000 <= len(cloud.points) <= 20_000 for cloud in SCENE.clouds)
    assert SCENE.clouds[-1].flow is None and SCENE.sensor_moves and SCENE.up == (0, 0, 1)
    assert SCENE.name == "demo-flow" and SCENE.class_names == CLASSES


def test_it_is_a_pure_function_of_its_configuration():
    config = FlowConfig(frames=2, beams=12, columns=60, seed=3, noise=0.01)
    one, other = demo_flow(config), demo_flow(config)
    for a, b in zip(one.clouds, other.clouds, strict=True):
        np.testing.assert_array_equal(a.points, b.points)
    others = demo_flow(FlowConfig(frames=2, beams=12, columns=60, seed=4, noise=0.01))
    assert not np.array_equal(others.clouds[1].instances, one.clouds[1].instances)


def test_everything_that_moves_is_seen_and_said_to_move():
    moving = len(street(0)[1])
    assert {type(thing) for thing in street(0)[1]} == {Body, Bending} and moving >= 6
    for number in range(1, moving + 1):
        counts = [(cloud.instances == number).sum() for cloud in SCENE.clouds]
        assert max(counts) >= 50 and min(counts) > 0, (number, counts)
    flows = np.concatenate([np.linalg.norm(cloud.flow, axis=1) for cloud in SCENE.clouds[:-1]])
    instances = np.concatenate([cloud.instances for cloud in SCENE.clouds[:-1]])
    dynamic = np.concatenate([cloud.dynamic for cloud in SCENE.clouds[:-1]])
    assert (flows[instances == 0] == 0).all() and not dynamic[instances == 0].any()
    np.testing.assert_array_equal(dynamic, flows > 0.05)
    assert dynamic[instances > 0].mean() > 0.8


def test_parked_cars_are_foreground_that_stands_still():
    cloud = SCENE.clouds[0]
    parked = (cloud.classes == 1) & (cloud.instances == 0)
    assert parked.sum() > 100 and not cloud.dynamic[parked].any()
    assert (cloud.classes[cloud.ground] == 0).all() and 0.2 < cloud.ground.mean() < 0.5


def test_flow_leads_onto_the_surfaces_of_the_next_cloud():
    """Seen again next time from nearly the same place, moved points lie among new ones; unmoved they do not."""
    for pair, nearer in ((SCENE.pair(0), 3), (SCENE.pair(10), 3)):
        target = KDTree(pair.target.points)
        dynamic = pair.source.dynamic
        flowed, _ = target.query(pair.source.points + pair.source.flow)
        stayed, _ = target.query(pair.source.points)
        assert nearer * np.median(flowed[dynamic]) < np.median(stayed[dynamic])


def test_rigid_things_move_rigidly_and_the_bending_one_does_not():
    bending = len(street(0)[1])  # the last
    for pair in (SCENE.pair(0), SCENE.pair(9)):
        for number in np.unique(pair.source.instances[pair.source.instances > 0]):
            rows = pair.source.instances == number
            before, after = pair.source.points[rows], pair.source.points[rows] + pair.source.flow[rows]
            left = before - before.mean(axis=0)
            u, _, v = np.linalg.svd(left.T @ (after - after.mean(axis=0)))
            turn = u @ np.diag([1, 1, np.linalg.det(u @ v)]) @ v
            residual = np.linalg.norm(left @ turn - (after - after.mean(axis=0)), axis=1).max()
            assert (residual > 0.02) if number == bending else (residual < 1e-4), number


def test_points_of_the_bending_thing_stay_on_its_skin():
    dancer, number = street(0)[1][-1], len(street(0)[1])
    for t in (0, 9):
        pair, pose = SCENE.pair(t), SCENE.world_from_sensor[t + 1]
        rows = pair.source.instances == number
        moved = (pair.source.points[rows] + pair.source.flow[rows]).astype(np.float64) @ pose[:3, :3].T + pose[:3, 3]
        corners = dancer.vertices(SCENE.times[t + 1])[dancer.faces]
        edges = np.stack([corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]], axis=2)
        local = np.einsum("fij,pfj->pfi", np.linalg.pinv(edges), moved[:, None] - corners[:, 0])
        away = np.linalg.norm(corners[:, 0] + np.einsum("fij,pfj->pfi", edges, local) - moved[:, None], axis=2)
        inside = (local > -1e-4).all(axis=2) & (local.sum(axis=2) < 1 + 1e-4)
        assert np.where(inside, away, np.inf).min(axis=1).max() < 1e-5


def test_trajectories_begin_with_the_cloud_and_follow_its_flow():
    paths, first = SCENE.trajectories.points, SCENE.clouds[0]
    pose = SCENE.world_from_sensor
    np.testing.assert_allclose(paths[:, 0], first.points @ pose[0][:3, :3].T + pose[0][:3, 3], atol=1e-5)
    moved = paths[:, 1] - paths[:, 0]
    np.testing.assert_allclose(moved @ pose[1][:3, :3], first.flow, atol=1e-5)
    assert (np.ptp(paths[first.instances == 0], axis=1) == 0).all()


@pytest.mark.parametrize("frame", [0, 12])
def test_points_are_where_their_things_are_and_nothing_is_in_front(frame):
    """Each ray against each surface, without the windows that make it quick."""
    standing, moving = street(0)
    things = (*standing, *moving)
    lidar = Lidar(elevations(10), 60, 60.0)
    pose, time = SCENE.world_from_sensor[frame], SCENE.times[frame]
    quick = scan(lidar, pose, things, time)
    everywhere = np.arange(10), np.arange(60)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("scenes.synthetic.lidar.rays_around", lambda *_: everywhere)
        patch.setattr("scenes.synthetic.lidar.full_below", lambda _: everywhere)
        slow = scan(lidar, pose, things, time)
    np.testing.assert_array_equal(quick.thing, slow.thing)
    np.testing.assert_allclose(quick.distance, slow.distance)
    seen = set(np.unique(quick.thing))
    assert len(seen) > 15 and -1 in seen


def test_a_box_hides_what_is_behind_it_and_the_range_ends():
    lidar = Lidar(np.radians([-10.0, 0.0, 10.0]), 4, 30.0)
    ground = Body(0, ((Disc(90.0), np.eye(4)),), still(np.eye(4)), ground=True)
    near, far = (Body(1, ((Box(1, 2, 9), at(x)),), still(np.eye(4))) for x in (6.0, 20.0))
    behind = Body(1, ((Box(1, 2, 9), at(-40.0)),), still(np.eye(4)))
    seen = scan(lidar, at(z=2.0), (ground, far, near, behind), 0.0)
    assert seen.thing[:, 0].tolist() == [2, 2, 2]  # ahead
    np.testing.assert_allclose(seen.distance[:, 0], 5 / np.cos(np.radians([10, 0, 10])))
    assert seen.thing[:, 2].tolist() == [0, -1, -1]  # back: the ground, and a box too far away
    np.testing.assert_allclose(seen.distance[0, 1], 2 / np.sin(np.radians(10)))


def test_rays_around_hold_a_sphere_across_the_seam():
    lidar = Lidar(np.radians(np.linspace(-20, 20, 41)), 360, 100.0)
    directions = lidar.directions()
    for centre in ([9.0, 0.0, 0.0], [-9.0, 0.1, 1.0], [3.0, -4.0, -1.0], [0.5, 0.0, 0.0], [0.4, 0.2, 3.0]):
        across = np.linalg.norm(np.cross(directions, centre), axis=-1)
        hit = (across < 1.0) & ((directions @ centre > 0) | (np.linalg.norm(centre) < 1))
        inside = np.zeros(hit.shape, bool)
        inside[np.ix_(*rays_around(lidar, np.array(centre), 1.0))] = True
        assert (inside | ~hit).all()


def test_an_arc_is_driven_at_its_speed():
    for turn in (0.0, 0.4, -1.0):
        path = arc(1.0, 2.0, 0.3, 5.0, turn)
        np.testing.assert_allclose(path(0.0), at(1.0, 2.0, 0.0, 0.3), atol=1e-12)
        before, after = path(1.0), path(1.0 + 1e-6)
        step = (after[:3, 3] - before[:3, 3]) / 1e-6
        np.testing.assert_allclose(step, 5.0 * before[:3, 0], atol=1e-4)


def test_noise_lies_along_the_rays():
    clean, noisy = (demo_flow(FlowConfig(frames=2, noise=noise)).clouds[0].points for noise in (0.0, 0.02))
    difference = noisy - clean
    away = np.linalg.norm(difference, axis=1)
    assert 0.018 < np.sqrt(np.square(away).mean()) < 0.022
    cosine = np.abs((difference * clean).sum(axis=1)) / np.linalg.norm(clean, axis=1)
    np.testing.assert_allclose(cosine, away, atol=1e-4)


def test_zero_flow_errs_by_each_thing_s_speed():
    pairs = [SCENE.pair(3)]
    errors = epe_by_instance([np.zeros_like(pairs[0].source.points)], pairs)
    assert len(errors) == 7 and all(error > 0.02 for error in errors.values())


@pytest.mark.parametrize("wrong", [{"frames": 1}, {"beams": 1.5}, {"seed": -1}, {"seconds": 0.0}, {"noise": -1.0}])
def test_values_that_make_no_sequence(wrong):
    with pytest.raises(ValueError, match="demo flow"):
        FlowConfig(**wrong)
