"""Scores of long trajectories and of accumulated clouds: by their definitions, and against exact motion."""

from dataclasses import replace

import numpy as np
import pytest

from scenes.flow.accumulation_scores import accumulation_scores, chamfer, true_places
from scenes.flow.select import crop, without_ground
from scenes.flow.sequence import Cloud, CloudSequence, Trajectories, moved
from scenes.flow.trajectory_scores import moving_objects, time_scores, trajectory_scores, true_paths
from scenes.synthetic import moving
from scenes.synthetic.moving import FlowConfig, demo_flow
from tests.scenes.moving_points import random_poses, seen_from, sequence

CONFIG = FlowConfig(frames=8, beams=24, columns=300)
STREET = without_ground(crop(demo_flow(CONFIG)))
WHOLE = STREET.in_one_frame(0)


def true_carry(points, s, t):
    """Where the points of one object of the street are at cloud t, by its labels."""
    cloud = WHOLE.clouds[s]
    number = cloud.instances[(cloud.points == points[0]).all(axis=1)][0]
    return true_places(STREET, number, points, s, t).astype(np.float32)


def test_measures_by_hand():
    truth = np.array([[1.0, 0, 0], [10, 0, 0], [20, 0, 0], [0, 0, 0]])
    guess = truth + [[0, 0.6, 0], [0.45, 0, 0], [0, 3.2, 0], [0.05, 0, 0]]
    found = time_scores(guess, truth)
    error = np.array([0.6, 0.45, 3.2, 0.05])  # and relative: 0.6, 0.045, 0.16, endless
    assert found.mse == pytest.approx((error**2).mean()) and found.mae == pytest.approx(error.mean())
    assert (found.acc_half, found.acc_one, found.outliers) == (0.5, 0.75, 0.75)
    angles = np.arctan([0.6, 0, 0.16]).sum() + np.pi / 2  # nothing has no direction
    assert found.angle == pytest.approx(angles / 4, abs=2e-4)


def test_the_relative_error_is_of_the_length_and_not_of_a_power_of_it():
    """An error of 1.04 m in 26 m along a diagonal is 4 %."""
    truth = 26 / np.sqrt(3) * np.ones((1, 3))
    assert time_scores(1.04 * truth, truth).acc_half == 1 and time_scores(1.06 * truth, truth).acc_half == 0


def test_true_trajectories_score_nothing_wrong_in_any_frame():
    """Also when sensor 0 is not at the origin."""
    scene = sequence(frames=5, count=40, seed=2)
    found = trajectory_scores(true_paths(scene).points, scene)
    assert found.all.mae < 1e-5 and found.moving.outliers == 0 and found.drift < 1e-5
    assert found.moving_points == 20 and len(found.times) == 4 and set(found.objects) == set(range(1, 40, 2))
    starts = scene.in_one_frame(0).clouds[0].points
    np.testing.assert_allclose(true_paths(scene).points[:, 0], starts, atol=1e-5)


def test_standing_still_drifts_by_what_was_travelled():
    scene = sequence(frames=5, count=40, seed=2)
    truth = true_paths(scene).points
    found = trajectory_scores(np.repeat(truth[:, :1], 5, axis=1), scene)
    travelled = np.linalg.norm(truth[:, -1] - truth[:, 0], axis=1)
    assert found.drift == pytest.approx(travelled[1::2].mean(), rel=1e-5)
    assert found.objects[7] == pytest.approx(travelled[7], rel=1e-5)
    assert found.moving.angle == pytest.approx(np.pi / 2) and found.all.mae < found.moving.mae
    assert [one.mae for one in found.times] == sorted(one.mae for one in found.times)


def test_places_that_are_not_known_do_not_count():
    scene = sequence(frames=4, count=30)
    valid = scene.trajectories.valid.copy()
    valid[5, 2:] = False
    valid[:, 3] = False
    partly = replace(scene, trajectories=Trajectories(scene.trajectories.points, valid))
    guess = true_paths(scene).points.copy()
    guess[5, 2:], guess[:, 3] = 1e6, 1e6
    found = trajectory_scores(guess, partly)
    assert found.all.mae < 1e-5 and len(found.times) == 2 and found.drift is None and "last cloud" in found.reason


def test_predictions_and_sequences_that_cannot_be_scored():
    scene = sequence(frames=4, count=30)
    truth = true_paths(scene).points
    with pytest.raises(ValueError, match=r"expected \[30, 4, 3\], got \[30, 3, 3\]"):
        trajectory_scores(truth[:, 1:], scene)
    with pytest.raises(ValueError, match="diverged"):
        trajectory_scores(np.where(truth > 5, np.nan, truth), scene)
    later = scene.steps(1)  # its trajectories were those of the first cloud
    assert trajectory_scores(truth[:, 1:], later).reason == "no trajectories among the labels"
    assert "no trajectories" in accumulation_scores(true_carry, later).reason


def test_true_flow_accumulates_exactly_and_no_flow_smears():
    found, smeared = accumulation_scores(true_carry, STREET), accumulation_scores(lambda points, s, t: points, STREET)
    assert set(found.objects) == set(smeared.objects) == set(moving_objects(STREET)) == set(range(1, 8))
    assert found.at == 4 and found.carried < 1e-5 and found.gain > 1e4
    assert smeared.gain == 1 and smeared.carried == found.still > 0.1
    for number, one in found.objects.items():
        assert one.points == sum((cloud.instances == number).sum() for cloud in STREET.clouds)
        assert one.carried < 1e-5 < 0.01 < one.single, number


def test_a_flow_twice_as_fast_smears_as_much_as_none():
    def twice(points, s, t):
        return 2 * true_carry(points, s, t) - points

    found = accumulation_scores(twice, STREET)
    assert found.objects[1].carried == pytest.approx(found.objects[1].still, rel=0.3)


@pytest.mark.parametrize("frames", [8, 20])
def test_true_places_are_those_of_the_things_themselves(frames, monkeypatch):
    """Of rigid ones exactly, of the bending one within centimetres."""
    marks, labelled = [], moving.labelled
    monkeypatch.setattr(moving, "labelled", lambda one, *rest: (marks.append(one), labelled(one, *rest))[1])
    scene = demo_flow(FlowConfig(frames=frames, beams=24, columns=300))
    whole, frame = scene.in_one_frame(0), np.linalg.inv(scene.world_from_sensor[0])
    last = frames - 1
    for number in range(1, 8):
        rows = whole.clouds[3].instances == number
        exact = moved(marks[3].at(scene.times[last])[rows], frame)
        off = np.linalg.norm(true_places(scene, number, whole.clouds[3].points[rows], 3, last) - exact, axis=1)
        assert off.mean() < 0.02 if number == 7 else off.max() < 1e-4, number


def rod(points):
    """A thing of these points that drives past a moving sensor, numbered 3."""
    poses = random_poses(3, turn=0.05)
    paths = np.stack([points + t * np.array([0.3, 0, 0]) for t in range(3)], axis=1)
    numbers = np.full(len(points), 3, np.int32)
    clouds = tuple(Cloud(seen_from(paths[:, t], poses[t]), instances=numbers) for t in range(3))
    known = Trajectories(paths.astype(np.float32), np.ones(paths.shape[:2], bool))
    return CloudSequence("rod", "a test", clouds, 0.1 * np.arange(3), poses, trajectories=known)


def test_what_does_not_tell_its_turn_is_left_out():
    line = np.linspace(0, 1, 20)[:, None] * [1.0, 2, 0]
    found = accumulation_scores(lambda points, s, t: points, rod(line))
    assert found.carried is None and "line" in found.left_out[3] and "no moving object" in found.reason
    wide = line + np.random.default_rng(0).uniform(-0.2, 0.2, line.shape)
    assert accumulation_scores(lambda points, s, t: points, rod(wide)).objects[3].still > 0.1


def test_chamfer_is_symmetric_and_in_metres():
    one, other = np.zeros((1, 3)), np.array([[3.0, 0, 0], [0, 4, 0]])
    assert chamfer(one, other) == chamfer(other, one) == pytest.approx(3 + 3.5)
