"""Terms of scene flow against brute force, and the clusters."""

import pytest
import torch

from fields.flow_terms import (
    chamfer_term,
    cluster_variance,
    clusters,
    cycle_term,
    length_term,
    reverse_term,
    speed_hinge,
)
from kernels.neighbours import PointIndex, chamfer


def cloud(count, seed=0, size=3.0):
    return size * torch.rand(count, 3, generator=torch.Generator().manual_seed(seed))


def brute_force(points, target):
    return torch.cdist(points.double(), target.double()).min(dim=1).values


def test_chamfer_and_reverse_terms_are_those_of_brute_force():
    warped, target = cloud(40, 2).requires_grad_(), cloud(30, 3)
    found = chamfer_term(warped, target, PointIndex(target), 0.5)
    torch.testing.assert_close(found, chamfer(warped, target, limit=0.5))
    expected = brute_force(target, warped.detach()).clamp(max=0.4).mean()
    torch.testing.assert_close(reverse_term(target, warped, 0.4).double(), expected)


def test_penalties():
    flow = torch.tensor([[3.0, 4.0, 0.0], [0.0, 0.0, 8.0], [0.0, 0.0, 0.0]], requires_grad=True)
    assert float(length_term(flow).detach()) == pytest.approx(13 / 3)
    assert float(speed_hinge(flow, 6.0).detach()) == pytest.approx((2 + 2) / 3)
    assert float(cycle_term(flow, flow + torch.tensor([0.0, 2.0, 0.0])).detach()) == pytest.approx(2.0)
    (length_term(flow) + speed_hinge(flow)).backward()
    assert flow.grad.isfinite().all() and not flow.grad[2].any()


def test_clusters_are_what_hangs_together():
    near, far = cloud(200, 4, 1.0), cloud(100, 5, 1.0) + 10
    stray = torch.tensor([[-20.0, 0.0, 0.0]])
    labels, count = clusters(torch.cat([near, far, stray]), 0.5, least=10)
    assert count == 2 and labels[300] == -1
    assert (labels[:200] == labels[0]).all() and (labels[200:300] == labels[200]).all() and labels[0] != labels[200]


def test_the_variance_is_zero_for_a_shift_of_each_cluster_and_pulls_strays_back():
    labels = torch.tensor([0, 0, 0, 1, 1, -1])
    shifts = torch.tensor([[1.0, 0, 0]] * 3 + [[0, 2.0, 0]] * 2 + [[9.0, 9, 9]])
    assert float(cluster_variance(shifts, labels, 2)) == 0
    flow = shifts.clone()
    flow[0, 2] = 3.0
    flow.requires_grad_()
    variance = cluster_variance(flow, labels, 2)
    assert float(variance.detach()) == pytest.approx((4 + 1 + 1) / 5)
    variance.backward()
    assert flow.grad[0, 2] > 0 and flow.grad[1, 2] < 0 and not flow.grad[3:].any()
    assert float(cluster_variance(shifts, torch.full((6,), -1), 0)) == 0
