"""A few points that a moving sensor sees at several times, with what is true of them: for the tests of scenes.flow."""

import numpy as np
from scipy.spatial.transform import Rotation

from scenes.flow.sequence import Cloud, CloudSequence, Trajectories


def random_poses(count, seed=0, turn=0.3):
    """[count, 4, 4] float64 rigid motions."""
    generator = np.random.default_rng(seed)
    poses = np.tile(np.eye(4), (count, 1, 1))
    poses[:, :3, :3] = Rotation.from_rotvec(turn * generator.standard_normal((count, 3))).as_matrix()
    poses[:, :3, 3] = generator.uniform(-5, 5, (count, 3))
    return poses


def seen_from(world, pose):
    """World points in a sensor's frame, float32."""
    return ((world - pose[:3, 3]) @ pose[:3, :3]).astype(np.float32)


def sequence(frames=4, count=30, seed=0, **facts):
    """Points on straight lines in the world, half of them still, seen by a sensor that moves and turns at random."""
    generator = np.random.default_rng(seed)
    start = generator.uniform(-8, 8, (count, 3))
    speed = np.where(np.arange(count)[:, None] % 2, generator.uniform(-0.5, 0.5, (count, 3)), 0.0)
    poses = random_poses(frames, seed)
    clouds = []
    for t in range(frames):
        flow = None
        if t + 1 < frames:
            flow = (speed @ poses[t + 1][:3, :3]).astype(np.float32)
        clouds.append(
            Cloud(
                seen_from(start + t * speed, poses[t]),
                flow,
                ground=np.arange(count) % 5 == 0,
                classes=(np.arange(count) % 3).astype(np.int32),
                instances=np.arange(count, dtype=np.int32),
            )
        )
    paths = (start[:, None] + np.arange(frames)[:, None] * speed[:, None]).astype(np.float32)
    facts = {"class_names": ("BACKGROUND", "CAR", "CAT"), "up": (0.0, 0.0, 1.0)} | facts
    return CloudSequence(
        "few points",
        "a test",
        tuple(clouds),
        0.1 * np.arange(frames),
        poses,
        trajectories=Trajectories(paths, np.ones(paths.shape[:2], bool)),
        **facts,
    )


def assert_same(found, expected, atol=0.0):
    """Two sequences hold the same clouds, labels, times and poses."""
    assert len(found) == len(expected)
    np.testing.assert_allclose(found.times, expected.times, atol=1e-9)
    np.testing.assert_allclose(found.world_from_sensor, expected.world_from_sensor, atol=max(atol, 1e-12))
    for one, other in zip(found.clouds, expected.clouds, strict=True):
        assert one.labels().keys() == other.labels().keys()
        np.testing.assert_allclose(one.points, other.points, atol=atol, rtol=0)
        for name, labels in other.labels().items():
            assert one.labels()[name].dtype == labels.dtype, name
            np.testing.assert_allclose(one.labels()[name], labels, atol=atol, rtol=0, err_msg=name)
