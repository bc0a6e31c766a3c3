"""The record of a moving scene: frames, pairs, selections, and what it refuses to hold."""

from dataclasses import replace

import numpy as np
import pytest

from scenes.flow.select import crop, without_ground
from scenes.flow.sequence import Cloud, CloudSequence, is_moving, without_ego
from tests.scenes.moving_points import random_poses, sequence


def test_source_and_flow_land_on_the_target():
    scene = sequence()
    for t, pair in enumerate(scene.pairs()):
        np.testing.assert_allclose(pair.source.points + pair.source.flow, pair.target.points, atol=1e-5)
        still = np.linalg.norm(pair.source.flow, axis=1) == 0
        assert still.sum() == 15
        np.testing.assert_allclose(pair.source.points[still], pair.target.points[still], atol=1e-5)
        np.testing.assert_allclose(pair.sensor_points, scene.clouds[t].points, atol=1e-5)


def test_total_flow_is_the_way_from_sensor_frame_to_sensor_frame_and_back():
    scene = sequence()
    for t, pair in enumerate(scene.pairs()):
        total = pair.total_flow(pair.source.flow)
        np.testing.assert_allclose(scene.clouds[t].points + total, scene.clouds[t + 1].points, atol=2e-5)
        back = without_ego(scene.clouds[t].points, total, pair.ego)
        np.testing.assert_allclose(back, pair.source.flow, atol=2e-5)


@pytest.mark.parametrize("frame", [0, 2, 3])
def test_in_one_frame_only_what_moves_has_flow(frame):
    scene = sequence()
    one = scene.in_one_frame(frame)
    np.testing.assert_array_equal(one.clouds[frame].points, scene.clouds[frame].points)
    for t in range(3):
        here, there = one.clouds[t], one.clouds[t + 1]
        np.testing.assert_allclose(here.points + here.flow, there.points, atol=2e-5)
        np.testing.assert_allclose(one.pair(t).source.points, here.points, atol=2e-5)
    assert not one.sensor_moves and scene.sensor_moves


def test_in_one_frame_turns_up_with_the_sensor():
    scene = sequence()
    one = scene.in_one_frame(2)
    world_up = scene.world_from_sensor[0, :3, :3] @ scene.up
    np.testing.assert_allclose(one.world_from_sensor[0, :3, :3] @ one.up, world_up, atol=1e-9)


def test_trajectories_pass_through_what_the_sensor_sees():
    scene = sequence()
    for t, pose in enumerate(scene.world_from_sensor):
        seen = scene.clouds[t].points @ pose[:3, :3].T + pose[:3, 3]
        np.testing.assert_allclose(scene.trajectories.points[:, t], seen, atol=1e-5)


def test_keep_takes_labels_and_trajectories_along():
    scene = sequence()
    kept = scene.keep([cloud.classes == 1 for cloud in scene.clouds])
    for cloud, before in zip(kept.clouds, scene.clouds, strict=True):
        assert (cloud.classes == 1).all() and len(cloud.points) == 10
        np.testing.assert_array_equal(cloud.points, before.points[cloud.instances])
    np.testing.assert_array_equal(kept.trajectories.points, scene.trajectories.points[kept.clouds[0].instances])


def test_steps_is_a_part_of_the_sequence():
    scene = sequence(frames=6)
    part = scene.steps(2, 3)
    assert len(part) == 3 and part.trajectories is None
    np.testing.assert_array_equal(part.pair(1).source.points, scene.pair(3).source.points)
    assert scene.steps(0, 2).trajectories.points.shape == (30, 2, 3)


def test_crop_is_a_square_across_up():
    scene = sequence()
    points = np.array([[34.9, 34.9, 90], [35.1, 0, 0], [0, -35.1, 0], [-35, 35, -90], [0, 0, 0]], np.float32)
    clouds = tuple(replace(cloud, points=np.resize(points, cloud.points.shape)) for cloud in scene.clouds)
    poses = np.tile(np.eye(4), (4, 1, 1))
    tall = replace(scene, clouds=clouds, world_from_sensor=poses, trajectories=None)
    assert [len(cloud.points) for cloud in crop(tall).clouds] == [18] * 4
    sideways = replace(tall, up=(0.0, -1.0, 0.0))
    assert [len(cloud.points) for cloud in crop(sideways).clouds] == [12] * 4
    assert len(crop(replace(tall, up=None)).clouds[0].points) == 30
    with pytest.raises(ValueError, match="cloud 0: 0 of 30 points are within -1 m of the sensor"):
        crop(replace(tall, up=(0.0, 0.0, 1.0)), reach=-1.0)


def test_ground_is_left_out_by_label_where_there_is_one():
    scene = sequence()
    unlabelled = replace(scene.clouds[1], ground=None)
    mixed = replace(scene, clouds=(scene.clouds[0], unlabelled, *scene.clouds[2:]))
    # thirty points are no ground, so the unlabelled cloud keeps all of them
    assert [len(cloud.points) for cloud in without_ground(mixed).clouds] == [24, 30, 24, 24]
    assert [len(cloud.points) for cloud in without_ground(mixed, by="own").clouds] == [30] * 4


def test_moving_is_faster_than_half_a_metre_a_second():
    flow = np.array([[0.05, 0, 0], [0.0501, 0, 0], [0, -0.2, 0]], np.float32)
    assert is_moving(flow, 0.1).tolist() == [False, True, True]
    assert is_moving(flow, 0.5).tolist() == [False, False, False]


def cloud_of(count=5, offset=0.0):
    return Cloud(np.arange(3 * count, dtype=np.float32).reshape(count, 3) + np.float32(offset))


def two(clouds, times=(0.0, 0.1), poses=None):
    return CloudSequence("two", "file", clouds, np.array(times), random_poses(2) if poses is None else poses)


@pytest.mark.parametrize("count", [0, 1, 2])
def test_a_cloud_needs_three_points(count):
    with pytest.raises(ValueError, match=f"{count} points; motion needs at least 3"):
        cloud_of(count)


def test_a_cloud_refuses_labels_of_another_length():
    points = cloud_of().points
    with pytest.raises(ValueError, match=r"flow has shape \[4, 3\], its points ask for \[5, 3\]"):
        Cloud(points, flow=points[:4])
    with pytest.raises(ValueError, match=r"ground has shape \[4\]"):
        Cloud(points, ground=np.zeros(4, bool))


def test_a_sequence_refuses_what_is_none():
    pair = (cloud_of(), cloud_of())
    with pytest.raises(ValueError, match="1 cloud; motion is seen between at least 2"):
        two(pair[:1], times=(0.0,), poses=random_poses(1))
    with pytest.raises(ValueError, match="rising times"):
        two(pair, times=(0.1, 0.1))
    with pytest.raises(IndexError, match="no pair 1; it has 1"):
        two(pair).pair(1)


@pytest.mark.parametrize("fault", ["mirror", "scale", "nan", "last row", "count"])
def test_a_pose_must_be_rigid(fault):
    poses = random_poses(2)
    if fault == "mirror":
        poses[1, :3, 0] *= -1
    elif fault == "scale":
        poses[1, :3, :3] *= 1.01
    elif fault == "nan":
        poses[1, 0, 3] = np.nan
    elif fault == "last row":
        poses[1, 3, 0] = 0.5
    else:
        poses = poses[:1]
    with pytest.raises(ValueError, match="pose"):
        two((cloud_of(), cloud_of()), poses=poses)


def test_clouds_kilometres_apart_are_not_one_scene():
    poses = np.tile(np.eye(4), (2, 1, 1))
    with pytest.raises(ValueError, match=r"clouds 0 and 1 lie 5,\d{3} m apart .*check that both are in metres"):
        two((cloud_of(), cloud_of(offset=3000)), poses=poses)
    poses[1, :3, 3] = -3000  # the sensor was there: ego motion explains it
    assert len(two((cloud_of(), cloud_of(offset=3000)), poses=poses)) == 2
