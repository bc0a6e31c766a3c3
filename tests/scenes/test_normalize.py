"""world_from_input: invariant to the input's own similarity, level, centred; bounds hold what is looked at."""

import numpy as np
import pytest
from capture_rig import look_from, orbit_rig
from scipy.spatial.transform import Rotation

from scenes.normalize import Placement, Views, level_rotation, meeting_point, place

SLOPES = np.tile([0.5, 0.4], (9, 1))


def forward_poses(count: int = 9) -> np.ndarray:
    """Cameras on a 3x3 grid, all looking along +y from near (5, 0, 0)."""
    eyes = np.array([[5 + 0.2 * (i % 3), 0.0, 0.2 * (i // 3)] for i in range(count)])
    return np.stack([look_from(eye, eye + np.array([0.01, 1.0, 0.0]), np.array([0.0, 0.0, 1.0])) for eye in eyes])


def outward_poses(count: int = 9) -> np.ndarray:
    """Cameras at one place in a room, looking all around."""
    angles = np.linspace(0, 2 * np.pi, count, endpoint=False)
    around = np.stack([np.cos(angles), np.sin(angles), np.zeros(count)], axis=1)
    return np.stack([look_from(2 + 0.1 * d, 2 + d, np.array([0.0, 0.0, 1.0])) for d in around])


def in_world(placement: Placement, points: np.ndarray) -> np.ndarray:
    return points @ placement.world_from_input[:3, :3].T + placement.world_from_input[:3, 3]


def moved(poses: np.ndarray, rotation: np.ndarray, scale: float, shift: np.ndarray) -> np.ndarray:
    """The same capture in other input coordinates."""
    result = poses.copy()
    result[:, :3, :3] = rotation @ poses[:, :3, :3]
    result[:, :3, 3] = scale * poses[:, :3, 3] @ rotation.T + shift
    return result


def test_an_orbit_is_centred_on_what_it_looks_at_at_distance_one() -> None:
    poses = orbit_rig().poses
    placement = place(Views(poses, SLOPES), None, has_object_masks=False, keep_coordinates=False)
    centres = in_world(placement, poses[:, :3, 3])
    assert np.linalg.norm(in_world(placement, np.array([[1.0, 2.0, 0.5]]))) < 0.02
    assert np.median(np.linalg.norm(centres, axis=1)) == pytest.approx(1.0)
    assert np.allclose(placement.bounds.mean(axis=0), 0, atol=1e-9)
    assert placement.bounds[1, 0] == pytest.approx(2 * 0.5)


def test_up_becomes_z_and_the_input_frame_does_not_matter() -> None:
    poses = orbit_rig().poses
    points = np.array([1.0, 2.0, 0.5]) + np.random.default_rng(0).normal(0, 0.4, (200, 3))
    reference = place(Views(poses, SLOPES), points, has_object_masks=False, keep_coordinates=False)
    up = reference.world_from_input[:3, :3] @ [0, 0, 1.0]
    assert up[2] / np.linalg.norm(up) > 0.999
    for seed in range(5):
        rng = np.random.default_rng(seed)
        rotation, scale, shift = (
            Rotation.random(rng=rng).as_matrix(),
            float(rng.uniform(0.01, 100)),
            rng.normal(0, 9, 3),
        )
        other = moved(poses, rotation, scale, shift)
        cloud = scale * points @ rotation.T + shift
        placement = place(Views(other, SLOPES), cloud, has_object_masks=False, keep_coordinates=False)
        # equal up to a turn about the vertical, which nothing in a capture can fix
        ours, theirs = in_world(placement, cloud), in_world(reference, points)
        assert np.allclose(ours[:, 2], theirs[:, 2], atol=1e-6)
        assert np.allclose(np.linalg.norm(ours, axis=1), np.linalg.norm(theirs, axis=1), atol=1e-6)


def test_world_from_input_is_a_proper_similarity() -> None:
    for poses in (orbit_rig().poses, forward_poses(), outward_poses()):
        placement = place(Views(poses, SLOPES), None, has_object_masks=False, keep_coordinates=False)
        linear = placement.world_from_input[:3, :3]
        scale = np.linalg.norm(linear[0])
        assert np.allclose(linear @ linear.T, scale**2 * np.eye(3), atol=1e-9 * scale**2)
        assert np.linalg.det(linear) == pytest.approx(scale**3)
        assert np.isfinite(placement.bounds).all() and (placement.bounds[0] < placement.bounds[1]).all()


def test_cameras_pitched_down_do_not_tilt_the_world() -> None:
    """Seen from one side and from above, the mean of the cameras' up leans; their right axes do not."""
    target = np.zeros(3)
    eyes = [(3 * np.cos(a), 3 * np.sin(a), 4.0) for a in np.linspace(0, 0.6 * np.pi, 9)]
    poses = np.stack([look_from(np.array(eye), target, np.array([0.0, 0.0, 1.0])) for eye in eyes])
    mean_up = -poses[:, :3, 1].mean(axis=0)
    assert mean_up[2] / np.linalg.norm(mean_up) < 0.8
    assert (level_rotation(poses) @ [0, 0, 1.0])[2] > 0.9999


def test_upside_down_input_is_turned_over() -> None:
    poses = moved(orbit_rig().poses, np.diag([1.0, -1.0, -1.0]), 1.0, np.zeros(3))
    up = level_rotation(poses) @ np.array([0, 0, -1.0])
    assert up[2] > 0.999
    exact = np.stack([look_from(np.array([3.0, y, 0.0]), np.zeros(3), np.array([0, 0, -1.0])) for y in (-1, 1)])
    assert (level_rotation(exact) @ [0, 0, -1.0])[2] == pytest.approx(1.0)


def test_one_bad_camera_does_not_move_the_centre() -> None:
    poses = orbit_rig(30).poses
    good = meeting_point(Views(poses, SLOPES))
    poses[4] = look_from(np.array([50.0, 0, 0]), np.array([60.0, 9, 9]), np.array([0.0, 0, 1]))
    bad = meeting_point(Views(poses, SLOPES))
    assert good is not None and bad is not None
    assert np.linalg.norm(good - bad) < 0.05


def test_axes_that_do_not_meet_ahead_have_no_meeting_point() -> None:
    assert meeting_point(Views(forward_poses(), SLOPES)) is None
    assert meeting_point(Views(outward_poses(), SLOPES)) is None


def test_forward_capture_is_centred_ahead_by_its_depth_ranges() -> None:
    poses = forward_poses()
    ranges = np.tile([4.0, 12.0], (9, 1))
    placement = place(Views(poses, SLOPES, ranges), None, has_object_masks=False, keep_coordinates=False)
    centres = in_world(placement, poses[:, :3, 3])
    assert np.median(np.linalg.norm(centres, axis=1)) == pytest.approx(1.0)
    # half-way in disparity between 4 and 12 is 6: the near plane lies at 4 / 6 of the unit, the far at 2
    y = in_world(placement, np.array([[5.2, 4.0, 0.2], [5.2, 12.0, 0.2]]))[:, 1]
    assert y == pytest.approx([4 / 6 - 1, 1.0], abs=0.02)
    low, high = placement.bounds
    assert low[1] < y[0] and high[1] > y[1]
    assert (in_world(placement, poses[:, :3, 3])[:, 1] < low[1]).all()  # no point starts at the cameras


def test_points_set_centre_and_bounds_of_a_forward_capture() -> None:
    points = np.random.default_rng(0).uniform([3, 8, -1], [7, 10, 1], (500, 3))
    points[:3] = 1e4  # strays
    placement = place(Views(forward_poses(), SLOPES), points, has_object_masks=False, keep_coordinates=False)
    assert np.abs(in_world(placement, np.median(points, axis=0)[None])).max() < 1e-9
    assert np.abs(placement.bounds).max() < 0.5


def test_a_room_is_measured_by_its_points() -> None:
    points = np.random.default_rng(0).normal(0, 1, (500, 3))
    points = 2 + 5 * points / np.linalg.norm(points, axis=1, keepdims=True)
    placement = place(Views(outward_poses(), SLOPES), points, has_object_masks=False, keep_coordinates=False)
    distance = np.linalg.norm(in_world(placement, points), axis=1)
    assert np.median(distance) == pytest.approx(1.0, abs=0.05)
    assert (placement.bounds[0] < -0.9).all() and (placement.bounds[1] > 0.9).all()


def test_a_synthetic_scene_keeps_its_world_and_its_object_is_bounded() -> None:
    """As in the NeRF scenes: cameras 4 from the origin, half field of view 19.8 degrees, content in 1.5."""
    eyes = 4.0 * np.array([[1, 0, 0], [0, 1, 0], [-1, 0, 0.2], [0, -0.9, 0.5], [0.6, 0.6, 0.5]])
    poses = np.stack([look_from(eye, np.zeros(3), np.array([0.0, 0, 1])) for eye in eyes])
    slopes = np.tile([0.36, 0.36], (5, 1))
    placement = place(Views(poses, slopes), None, has_object_masks=True, keep_coordinates=True)
    assert np.array_equal(placement.world_from_input, np.eye(4))
    assert placement.bounds[1] == pytest.approx(1.512, abs=0.1)


def test_all_cameras_at_one_point_still_give_a_world() -> None:
    poses = np.stack([np.eye(4)] * 3)
    placement = place(Views(poses, SLOPES[:3]), None, has_object_masks=False, keep_coordinates=False)
    assert np.isfinite(placement.world_from_input).all() and np.isfinite(placement.bounds).all()
