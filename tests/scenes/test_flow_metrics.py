"""Scores against values worked out by hand, and against the definitions of NSFP, av2-api and Bucket Normalized EPE."""

import math

import numpy as np
import pytest

from scenes.flow.classes import ARGOVERSE2
from scenes.flow.metrics import BUCKET_EDGES, epe_by_instance, flow_scores
from scenes.flow.sequence import Cloud, Pair


def pair_of(flow, **labels):
    flow = np.asarray(flow, np.float32)
    points = np.arange(flow.size, dtype=np.float32).reshape(flow.shape)
    names = labels.pop("class_names", ARGOVERSE2)
    return Pair(Cloud(points, flow, **labels), Cloud(points), np.eye(4), 0.1, names)


def scores(predicted, flow, **labels):
    return flow_scores([np.asarray(predicted, np.float32)], [pair_of(flow, **labels)])


def test_epe_and_accuracies_by_hand():
    truth = [[1, 0, 0], [1, 0, 0], [1, 0, 0], [0, 0, 0]]
    predicted = [[1, 0, 0], [1.04, 0, 0], [1.08, 0, 0], [0, 0.35, 0]]
    found = scores(predicted, truth)
    assert found.epe3d == pytest.approx((0 + 0.04 + 0.08 + 0.35) / 4, abs=1e-6)
    assert (found.acc_strict, found.acc_relaxed, found.outliers) == (0.5, 0.75, 0.25)
    assert found.points == 4


def test_either_threshold_is_enough():
    """Long flows count by relative error, short ones by absolute error; an outlier is one by either."""
    assert scores([[10.4, 0, 0]] * 3, [[10, 0, 0]] * 3).acc_strict == 1.0
    assert scores([[0.04, 0, 0]] * 3, [[0, 0, 0]] * 3).acc_strict == 1.0
    assert scores([[10.8, 0, 0]] * 3, [[10, 0, 0]] * 3).acc_relaxed == 1.0
    assert scores([[0.09, 0, 0]] * 3, [[0, 0, 0]] * 3).acc_relaxed == 1.0
    assert scores([[0.04, 0, 0]] * 3, [[0, 0, 0]] * 3).outliers == 1.0
    assert scores([[10.4, 0, 0]] * 3, [[10, 0, 0]] * 3).outliers == 1.0


def test_comparisons_are_strict():
    """Flows that float32 holds exactly and whose quotients are the doubles 0.05 and 0.1: neither below nor above."""
    twentieth = scores([[1.3125, 0, 0]] * 3, [[1.25, 0, 0]] * 3)
    assert (twentieth.acc_strict, twentieth.acc_relaxed) == (0.0, 1.0)
    tenth = scores([[1.375, 0, 0]] * 3, [[1.25, 0, 0]] * 3)
    assert (tenth.acc_relaxed, tenth.outliers) == (0.0, 0.0)


def test_angles_by_hand():
    right = scores([[0, 1, 0]] * 3, [[1, 0, 0]] * 3)
    assert right.angle_nsfp == pytest.approx(math.pi / 2)
    assert right.angle_av2 == pytest.approx(math.acos(0.01 / 1.01), abs=1e-6)
    half = scores([[0.1, 0, 0]] * 3, [[0, 0, 0]] * 3)
    assert half.angle_nsfp == pytest.approx(math.pi / 2)  # a zero vector is at right angles
    assert half.angle_av2 == pytest.approx(math.pi / 4, abs=1e-6)
    zero = scores(np.zeros((3, 3)), np.zeros((3, 3)))
    assert zero.angle_nsfp == pytest.approx(math.pi / 2) and zero.angle_av2 == 0.0
    same = scores([[2, 0, 0]] * 3, [[1, 0, 0]] * 3)
    assert same.angle_nsfp == pytest.approx(math.acos(1 - 1e-7))
    back = scores([[-2, 0, 0]] * 3, [[1, 0, 0]] * 3)
    assert back.angle_nsfp == pytest.approx(math.acos(-1 + 1e-7))


def test_threeway_by_hand():
    truth = np.zeros((5, 3))
    predicted = [[1, 0, 0], [2, 0, 0], [4, 0, 0], [8, 0, 0], [16, 0, 0]]
    labels = {
        "classes": np.array([19, 19, 17, 0, 0], np.int32),
        "dynamic": np.array([True, False, True, False, True]),
    }
    found = scores(predicted, truth, **labels)
    assert (found.epe_fd, found.epe_fs, found.epe_bs) == (2.5, 2.0, 8.0)
    assert found.epe_threeway == pytest.approx(12.5 / 3)


def test_points_without_a_valid_label_do_not_count():
    truth = np.zeros((4, 3))
    predicted = [[1, 0, 0], [1, 0, 0], [1, 0, 0], [9, 0, 0]]
    valid = np.array([True, True, True, False])
    assert scores(predicted, truth, valid=valid).epe3d == 1.0
    nothing = scores(predicted, truth, valid=np.zeros(4, bool))
    assert nothing.epe3d is None and nothing.reasons["epe3d"] == "no point with a valid flow label"


def test_buckets_by_hand():
    """Speeds 0.02 | 0.05, 0.07 | 3 fall in buckets 0, 1 and the last; each weighs alike, however many its points."""
    car, cone = 19, ARGOVERSE2.index("CONSTRUCTION_CONE")
    truth = [[0.02, 0, 0], [0.05, 0, 0], [0.07, 0, 0], [3.0, 0, 0], [1.0, 0, 0], [0, 0, 0], [1.0, 0, 0]]
    predicted = [[0.02, 0.01, 0], [0.05, 0.03, 0], [0.07, 0, 0], [3.0, 1.5, 0], [0, 0, 0], [0, 0.5, 0], [1.25, 0, 0]]
    found = scores(predicted, truth, classes=np.array([car, car, car, car, cone, 0, 0], np.int32))
    group = found.groups["car"]
    assert group.static_epe == pytest.approx(0.01, abs=1e-6)
    assert group.dynamic == pytest.approx(((0.03 + 0) / (0.05 + 0.07) + 1.5 / 3.0) / 2, abs=1e-6)
    assert found.groups["background"].static_epe == pytest.approx(0.5)
    assert set(found.groups) == {"background", "car"}  # the cone is in no group
    assert found.groups["background"].dynamic == 0.25 and found.bucket_dynamic == group.dynamic
    assert found.bucket_static == pytest.approx((0.01 + 0.5) / 2, abs=1e-6)


def test_buckets_have_the_published_edges_lower_ones_included():
    assert len(BUCKET_EDGES) == 52 and BUCKET_EDGES[1] == pytest.approx(0.04) and BUCKET_EDGES[50] == 2.0
    truth = [[2.0, 0, 0], [1.99, 0, 0], [5.0, 0, 0]]
    predicted = [[2.0, 0, 0], [1.99, 1.99, 0], [5.0, 0, 0]]
    found = scores(predicted, truth, classes=np.full(3, 19, np.int32))
    assert found.groups["car"].dynamic == pytest.approx(0.5)  # {1.99}: 1, {2, 5}: 0


def test_zero_flow_scores_one_in_every_group():
    generator = np.random.default_rng(0)
    truth = generator.normal(0, 0.5, (300, 3))
    classes = generator.choice([0, 17, 19, 3, 7], 300).astype(np.int32)
    found = scores(np.zeros((300, 3)), truth, classes=classes)
    assert set(found.groups) == {"background", "car", "pedestrian", "wheeled VRU", "other vehicles"}
    assert found.bucket_dynamic == pytest.approx(1.0)


def test_what_cannot_be_scored_is_none_with_a_reason():
    bare = scores(np.zeros((3, 3)), np.zeros((3, 3)))
    for name in ("epe_fd", "epe_fs", "epe_bs", "epe_threeway", "bucket_dynamic", "bucket_static"):
        assert getattr(bare, name) is None and bare.reasons[name] == "no class labels"
    classes = np.zeros(3, np.int32)
    assert scores(np.zeros((3, 3)), np.zeros((3, 3)), classes=classes).reasons["epe_fd"].startswith("no labels of")
    background = scores(np.zeros((3, 3)), np.zeros((3, 3)), classes=classes, dynamic=np.zeros(3, bool))
    assert background.epe_bs == 0.0 and background.reasons["epe_fd"] == "no such point"
    assert background.epe_threeway is None and background.bucket_dynamic is None
    points = np.zeros((3, 3), np.float32)
    unlabelled = flow_scores([points], [Pair(Cloud(points), Cloud(points), np.eye(4), 0.1)])
    assert unlabelled.points == 0 and set(unlabelled.reasons.values()) == {"no flow labels"}
    for found in (bare, background, unlabelled):
        values = found.as_json()
        numbers = [name for name in values if name not in ("points", "groups", "reasons")]
        assert all((values[name] is None) == (name in found.reasons) for name in numbers)


def test_pairs_are_pooled_by_points():
    one, other = pair_of(np.zeros((3, 3))), pair_of(np.zeros((9, 3)))
    found = flow_scores([np.full((3, 3), 4.0, np.float32), np.zeros((9, 3), np.float32)], [one, other])
    assert found.epe3d == pytest.approx(4.0 * math.sqrt(3) / 4) and found.points == 12


def test_errors_of_single_objects():
    truth = np.zeros((4, 3))
    pair = pair_of(truth, instances=np.array([0, 2, 2, 5], np.int32), valid=np.array([True, True, True, True]))
    predicted = np.array([[9, 0, 0], [1, 0, 0], [2, 0, 0], [7, 0, 0]], np.float32)
    assert epe_by_instance([predicted, predicted], [pair, pair]) == {2: 1.5, 5: 7.0}


def test_a_prediction_that_diverged_is_an_error():
    with pytest.raises(ValueError, match="pair 0: the predicted flow holds NaN"):
        scores([[np.nan, 0, 0]] * 3, np.zeros((3, 3)))
    with pytest.raises(ValueError, match=r"predicted \[2, 3\], its source is \[3, 3\]"):
        scores(np.zeros((2, 3)), np.zeros((3, 3)))
