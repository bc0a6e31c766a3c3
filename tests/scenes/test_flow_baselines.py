"""The rigid motion between clouds, and the flows that need no field."""

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from scenes.flow.baselines import baseline_flows, rigid_flow, still_flow, zero_flow
from scenes.flow.icp import rigid_motion
from scenes.flow.metrics import flow_scores
from scenes.flow.sequence import Cloud, Pair, moved
from scenes.synthetic.moving import FlowConfig, demo_flow
from tests.scenes.moving_points import sequence


def blob(count, seed):
    """Points on a closed surface without symmetry."""
    generator = np.random.default_rng(seed)
    away = generator.normal(size=(count, 3))
    away /= np.linalg.norm(away, axis=1, keepdims=True)
    radius = 2 + 0.5 * away[:, :1] + 0.4 * away[:, 1:2] * away[:, 2:] + 0.3 * np.sin(4 * away[:, :1])
    return (away * radius * (1.0, 0.7, 0.5)).astype(np.float32)


def motion(turn, shift):
    pose = np.eye(4)
    pose[:3, :3], pose[:3, 3] = Rotation.from_rotvec(turn).as_matrix(), shift
    return pose


def test_icp_finds_a_rigid_motion_of_another_sample():
    truth = motion((0.05, -0.1, 0.15), (0.2, -0.1, 0.3))
    found = rigid_motion(blob(4000, 0), moved(blob(4000, 1), truth))
    points = blob(1000, 2)
    assert np.abs(moved(points, found) - moved(points, truth)).max() < 0.01
    np.testing.assert_allclose(found[:3, :3].T @ found[:3, :3], np.eye(3), atol=1e-9)


def test_icp_is_repeatable_and_takes_few_points():
    source, target = blob(60, 0), blob(50, 1)
    np.testing.assert_array_equal(rigid_motion(source, target), rigid_motion(source, target))
    three = np.float32([[0, 0, 0], [1, 0, 0], [0, 1, 0]])
    assert np.isfinite(rigid_motion(three, three)).all()
    np.testing.assert_allclose(rigid_motion(np.zeros((3, 3), np.float32), np.zeros((3, 3), np.float32)), np.eye(4))


def test_icp_ignores_what_moves_by_itself():
    still, car = blob(3000, 0) * 5, blob(400, 1) + np.float32([3, 2, 6])
    truth = motion((0, 0, 0.02), (0.4, 0.1, 0))
    target = np.concatenate([moved(blob(3000, 3) * 5, truth), moved(car + np.float32([1.5, 0, 0]), truth)])
    found = rigid_motion(np.concatenate([still, car]), target)
    assert np.abs(moved(still, found) - moved(still, truth)).max() < 0.05


def test_zero_and_still_flows_are_ego_motion_and_its_absence():
    scene = sequence()
    pair = scene.pair()
    assert not zero_flow(pair).any()
    np.testing.assert_allclose(pair.total_flow(still_flow(pair)), 0, atol=1e-6)
    assert set(baseline_flows(pair)) == {"zero", "rigid", "still"}
    alike = Pair(Cloud(blob(50, 0)), Cloud(blob(50, 0)), np.eye(4), 0.1)
    assert set(baseline_flows(alike)) == {"zero", "rigid"}


def test_rigid_flow_is_ego_motion_where_poses_are_not_known():
    scene = demo_flow(FlowConfig(frames=2))
    pair = scene.pair()
    blind = Pair(scene.clouds[0], pair.target, np.eye(4), pair.dt)
    found = moved(scene.clouds[0].points, np.eye(4)) + rigid_flow(blind)
    static = scene.clouds[0].instances == 0
    error = np.linalg.norm(found - pair.source.points, axis=1)[static]
    assert np.median(error) < 0.1 * np.linalg.norm(still_flow(pair), axis=1)[static].mean()


def test_ego_motion_alone_scores_zero_on_what_stands_still():
    pair = demo_flow(FlowConfig(frames=2)).pair()
    scores = flow_scores([zero_flow(pair)], [pair])
    assert scores.epe_bs == 0.0 and scores.bucket_dynamic == pytest.approx(1.0)
    assert scores.epe_fd > 0.2
