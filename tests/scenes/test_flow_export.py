"""Exports of moving clouds: round trips, and the layout that others expect."""

from dataclasses import replace

import numpy as np
import pytest

from scenes.flow.cloud_files import read_cloud
from scenes.flow.export import with_flow, write_av2_submission, write_flow_ply, write_npz
from scenes.flow.load import open_clouds
from scenes.point_cloud import read_vertices
from tests.scenes.moving_points import assert_same, sequence


@pytest.mark.parametrize("up", [(0.0, 0.0, 1.0), None])
def test_npz_round_trip_is_exact(tmp_path, up):
    scene = sequence(up=up)
    write_npz(tmp_path / "scene.npz", scene)
    found = open_clouds(tmp_path / "scene.npz")
    assert_same(found, scene)
    assert (found.class_names, found.up) == (scene.class_names, up)
    np.testing.assert_array_equal(found.trajectories.points, scene.trajectories.points)
    np.testing.assert_array_equal(found.trajectories.valid, scene.trajectories.valid)


def test_npz_keeps_what_is_not_valid_or_not_known(tmp_path):
    scene = sequence()
    known = np.ones((30, 4), bool)
    known[3, 2] = False
    first = replace(scene.clouds[0], valid=np.arange(30) != 4)
    third = replace(scene.clouds[2], flow=None, ground=None)
    scene = replace(
        scene,
        clouds=(first, scene.clouds[1], third, scene.clouds[3]),
        trajectories=replace(scene.trajectories, valid=known),
    )
    write_npz(tmp_path / "scene.npz", scene)
    found = open_clouds(tmp_path / "scene.npz")
    assert not found.clouds[0].valid[4] and found.clouds[0].valid.sum() == 29 and found.clouds[1].valid.all()
    assert found.clouds[2].flow is None or not found.clouds[2].valid.any()
    assert found.clouds[3].flow is None and not found.clouds[2].ground.any()
    np.testing.assert_array_equal(found.trajectories.valid, known)


def test_a_scene_without_labels_round_trips(tmp_path):
    scene = sequence()
    bare = replace(scene, clouds=tuple(type(c)(c.points) for c in scene.clouds), trajectories=None, class_names=())
    write_npz(tmp_path / "scene.npz", bare)
    assert_same(open_clouds(tmp_path / "scene.npz"), bare)


def test_predicted_flow_takes_the_place_of_labels(tmp_path):
    scene = sequence()
    flows = [np.full((30, 3), t, np.float32) for t in range(3)]
    write_npz(tmp_path / "scene.npz", with_flow(scene, flows))
    found = open_clouds(tmp_path / "scene.npz")
    assert [float(cloud.flow[0, 0]) for cloud in found.clouds[:3]] == [0, 1, 2]
    assert found.clouds[0].dynamic is None and found.clouds[0].valid is None
    np.testing.assert_array_equal(found.clouds[0].classes, scene.clouds[0].classes)
    with pytest.raises(ValueError, match="2 flows for 4 clouds; expected one for each step"):
        with_flow(scene, flows[:2])


def test_ply_has_flow_columns(tmp_path):
    cloud = sequence().clouds[0]
    write_flow_ply(tmp_path / "flow.ply", cloud.points, cloud.flow)
    header, columns = read_vertices(tmp_path / "flow.ply")
    assert [name for name, _ in header.fields] == ["x", "y", "z", "flow_x", "flow_y", "flow_z"]
    np.testing.assert_array_equal(columns["flow_y"], cloud.flow[:, 1])
    found = read_cloud(tmp_path / "flow.ply")
    np.testing.assert_array_equal(found.points, cloud.points)
    np.testing.assert_array_equal(found.flow, cloud.flow)
    with pytest.raises(ValueError, match=r"expected points and flow \[N, 3\]"):
        write_flow_ply(tmp_path / "flow.ply", cloud.points, cloud.flow[:5])


def test_av2_submission(tmp_path):
    pytest.importorskip("pyarrow")
    from pyarrow import feather

    scene = sequence(frames=2)
    pair = scene.pair()
    flow = pair.source.flow
    scored = np.arange(30) % 3 > 0
    path = write_av2_submission(tmp_path, "a-log", 315971435999927221, pair, flow, scored)
    assert path == tmp_path / "a-log" / "315971435999927221.feather"
    table = feather.read_table(path)
    assert [(name, str(table[name].type)) for name in table.column_names] == [
        ("flow_tx_m", "halffloat"),
        ("flow_ty_m", "halffloat"),
        ("flow_tz_m", "halffloat"),
        ("is_dynamic", "bool"),
    ]
    total = np.stack([table[f"flow_t{axis}_m"].to_numpy() for axis in "xyz"], axis=1).astype(np.float32)
    expected = (scene.clouds[1].points - scene.clouds[0].points)[scored]
    np.testing.assert_allclose(total, expected, rtol=2e-3, atol=1e-3)
    dynamic = np.linalg.norm(flow, axis=1)[scored] > 0.05
    np.testing.assert_array_equal(table["is_dynamic"].to_numpy(zero_copy_only=False), dynamic)
    with pytest.raises(ValueError, match="the mask has 29 rows, the sweep 30 points"):
        write_av2_submission(tmp_path, "a-log", 1, pair, flow, scored[:29])
    with pytest.raises(ValueError, match="expected finite flow"):
        write_av2_submission(tmp_path, "a-log", 1, pair, flow * np.float32(np.nan))
