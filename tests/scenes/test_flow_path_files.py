"""Files of accumulated clouds and trajectories: they read back, here and by the readers of moving clouds."""

import numpy as np
import pytest

from scenes.flow.cloud_files import read_cloud
from scenes.flow.load import open_clouds
from scenes.flow.path_files import write_accumulated, write_trajectories
from scenes.point_cloud import read_vertices

TIMES = np.array([0.0, 0.1, 0.25])


def paths(count=6):
    """[count, 3, 3] places at three times, half of them still."""
    generator = np.random.default_rng(0)
    start, speed = generator.uniform(-5, 5, (2, count, 3))
    speed[::2] = 0
    return (start[:, None] + np.arange(3)[:, None] * speed[:, None]).astype(np.float32)


def test_trajectories_in_npz_are_moving_clouds(tmp_path):
    places = paths()
    write_trajectories(tmp_path / "paths.npz", places, TIMES)
    scene = open_clouds(tmp_path / "paths.npz")
    assert len(scene) == 3
    for t in range(3):
        np.testing.assert_array_equal(scene.clouds[t].points, places[:, t])
    for t in range(2):
        np.testing.assert_allclose(scene.clouds[t].points + scene.clouds[t].flow, places[:, t + 1], atol=1e-6)
    np.testing.assert_allclose(scene.trajectories.points, places, atol=1e-6)
    assert scene.trajectories.valid.all()


def test_trajectories_in_ply_are_joined_in_time(tmp_path):
    places = paths()
    write_trajectories(tmp_path / "paths.ply", places, TIMES)
    header, columns = read_vertices(tmp_path / "paths.ply")
    assert header.vertices == 18
    vertices = np.stack([columns[name] for name in "xyz"], axis=1)
    np.testing.assert_array_equal(vertices, places.reshape(-1, 3))
    np.testing.assert_array_equal(columns["seconds"], TIMES[columns["cloud"]])
    body = (tmp_path / "paths.ply").read_bytes()
    assert b"element edge 12\n" in body
    edges = np.frombuffer(body[-12 * 8 :], "<i4").reshape(-1, 2)
    assert (columns["point"][edges[:, 0]] == columns["point"][edges[:, 1]]).all()
    assert (columns["cloud"][edges[:, 1]] - columns["cloud"][edges[:, 0]] == 1).all() and len(
        np.unique(edges, axis=0)
    ) == 12


@pytest.mark.parametrize("name", ["cloud.npz", "cloud.ply", "CLOUD.PLY"])
def test_an_accumulated_cloud_reads_as_a_cloud(tmp_path, name):
    points, cloud = paths()[:, 0], np.array([0, 0, 2, 2, 1, 2])
    write_accumulated(tmp_path / name, points, cloud, TIMES, 1.5)
    np.testing.assert_array_equal(read_cloud(tmp_path / name).points, points)
    if name.endswith("npz"):
        found = np.load(tmp_path / name)
        assert found["at"] == 1.5 and (found["cloud"] == cloud).all() and (found["times"] == TIMES).all()
    else:
        header, columns = read_vertices(tmp_path / name)
        assert (columns["cloud"] == cloud).all() and (columns["seconds"] == TIMES[cloud]).all()
        assert "brought to time 1.5, counted in clouds" in header.comments


def test_another_suffix_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"paths.csv: expected a name that ends in .npz or .ply"):
        write_trajectories(tmp_path / "paths.csv", paths(), TIMES)


@pytest.mark.parametrize("name", ["out.ply", "out.npz"])
def test_what_cannot_be_written_leaves_the_old_file(tmp_path, name, monkeypatch):
    def full(descriptor):
        raise OSError(28, "No space left on device")

    (tmp_path / name).write_text("old")
    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="free at least"):
        write_trajectories(tmp_path / name, paths(), TIMES)
    assert [path.read_text() for path in tmp_path.iterdir()] == ["old"]
