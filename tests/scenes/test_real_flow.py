"""The real pairs of the shared test data, where at hand: the published facts of SOURCE.md, and the ground."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from scenes.flow.baselines import still_flow, zero_flow
from scenes.flow.ground import find_ground
from scenes.flow.load import open_clouds
from scenes.flow.metrics import flow_scores
from scenes.flow.select import crop, without_ground

DATA = Path(__file__).parents[2] / "../shared/data"
AV2, SHIRT = DATA / "av2_pair_7fab2350", DATA / "deepdeform_shirt_seq258"
pytestmark = pytest.mark.skipif(not DATA.is_dir(), reason="the shared test data is not on this machine")


def feathers(folder, *left_out):
    """The AV2 pair without its npz and the files left out, so that it is read as a log."""
    shutil.copytree(AV2, folder, ignore=shutil.ignore_patterns("*.npz", *left_out))
    return open_clouds(folder)


def test_trivial_baselines_have_the_published_scores():
    pair = without_ground(crop(open_clouds(AV2))).pair()
    dynamic, foreground = pair.source.dynamic, pair.source.classes > 0
    counts = [(foreground & dynamic).sum(), (foreground & ~dynamic).sum(), (~foreground).sum()]
    assert len(pair.source.points) == 74296 and counts == [1819, 6450, 66027]
    ego, still = (flow_scores([flow(pair)], [pair]) for flow in (zero_flow, still_flow))
    found = [[s.epe3d, s.acc_strict, s.epe_fd, s.epe_fs, s.epe_bs, s.epe_threeway] for s in (ego, still)]
    published = [[0.0170, 0.976, 0.6737, 0.0063, 0.0, 0.2267], [0.1404, 0.174, 0.6477, 0.0750, 0.1328, 0.2852]]
    np.testing.assert_allclose(found, published, atol=6e-4)


def test_ground_agrees_with_the_labels():
    """Of the map: what lies off the mapped road is not labelled, which costs precision."""
    cloud = open_clouds(AV2).clouds[0]
    near = np.abs(cloud.points[:, :2]).max(axis=1) <= 35
    found, label = find_ground(cloud.points)[near], cloud.ground[near]
    assert found[label].mean() > 0.98 and label[found].mean() > 0.92
    moving = (cloud.dynamic & ~cloud.ground)[near]
    assert found[moving].mean() < 0.005


def test_the_log_in_feather_files_is_the_pair(tmp_path):
    pytest.importorskip("pyarrow")
    pair, log = open_clouds(AV2).pair(), feathers(tmp_path / "log").pair()
    assert log.dt == pytest.approx(0.100196)
    np.testing.assert_allclose(log.ego, pair.ego, atol=1e-3)  # the npz keeps it in half precision
    np.testing.assert_allclose(log.source.points, pair.source.points, atol=1e-3)
    np.testing.assert_allclose(log.source.flow, pair.source.flow, atol=1e-3)
    for name in ("ground", "classes", "dynamic"):
        np.testing.assert_array_equal(log.source.labels()[name], pair.source.labels()[name])


def test_flow_from_boxes_is_the_labelled_flow(tmp_path):
    pytest.importorskip("pyarrow")
    label, boxes = (feathers(tmp_path / str(i), *out).pair().source for i, out in enumerate(((), ("flow_l*",))))
    apart = np.linalg.norm(label.flow - boxes.flow, axis=1)[boxes.valid] > 2e-3
    assert apart.sum() <= 20 and (label.classes != boxes.classes).sum() <= 20
    assert (label.dynamic != boxes.dynamic).sum() <= 20


def test_the_shirt():
    scene = without_ground(crop(open_clouds(SHIRT)))
    assert [len(cloud.points) for cloud in scene.clouds] == [51628, 95402]
    pair = scene.pair()
    assert flow_scores([zero_flow(pair)], [pair]).epe3d == pytest.approx(0.2345, abs=1e-4)
