"""The published priors between pairs: networks, losses, stopping and the best flow, against plain torch."""

import math

import pytest
import torch
from torch import nn

from fields.flow_pairs import SHAPES, SIZE, PairFlow, network, order_in_space, torch_start, xavier_start
from fields.sceneflow_config import SceneFlowConfig
from kernels.neighbours import chamfer
from tests.fields.bare_loop import fit


def clouds(count=2, points=200, seed=0):
    """A cloud that moves 0.2 m along x a step."""
    generator = torch.Generator().manual_seed(seed)
    shifts = torch.arange(count)[:, None, None] * torch.tensor([0.2, 0.0, 0.0])
    return list(torch.rand(points, 3, generator=generator) * torch.tensor([4.0, 2.0, 1.0]) + shifts)


def field(preset, count=2, steps=1000, centres=None, **options):
    config = SceneFlowConfig(preset=preset, **options)
    given = torch.zeros(count, 3) if centres is None else centres
    return PairFlow(config, clouds(count), given, seed=3, steps=steps)


def as_torch(flat):
    """The same network of torch.nn layers."""
    layers = []
    for shape in SHAPES[::2]:
        layers += [nn.Linear(shape[1], shape[0]), nn.ReLU()]
    net = nn.Sequential(*layers[:-1])
    parts = flat.split([math.prod(shape) for shape in SHAPES])
    with torch.no_grad():
        for parameter, part in zip(net.parameters(), parts, strict=True):
            parameter.copy_(part.view(parameter.shape))
    return net


def test_the_network_is_the_published_one():
    """Eight hidden layers of 128, ReLU, 116,483 numbers."""
    assert SIZE == 116_483
    flat, x = torch_start(0), torch.randn(50, 3)
    torch.testing.assert_close(network(flat, x), as_torch(flat)(x), atol=1e-6, rtol=1e-5)


def test_starts_are_spread_as_published():
    torch_parts, xavier_parts = (
        start(1).split([math.prod(shape) for shape in SHAPES]) for start in (torch_start, xavier_start)
    )
    for i, shape in enumerate(SHAPES[::2]):
        weight, bias = torch_parts[2 * i], torch_parts[2 * i + 1]
        bound = shape[1] ** -0.5
        assert max(weight.abs().max(), bias.abs().max()) <= bound < 1.05 * weight.abs().max() + 1e-2
        weight, bias = xavier_parts[2 * i], xavier_parts[2 * i + 1]
        bound = math.sqrt(6 / sum(shape))
        assert weight.abs().max() <= bound < 1.1 * weight.abs().max() and not bias.any()
    assert not torch.equal(torch_start(1), torch_start(2)) and torch.equal(torch_start(1), torch_start(1))


def test_nsfp_is_two_truncated_chamfer_distances():
    pairs = field("nsfp", centres=torch.tensor([[9.0, 0.0, 0.0], [1.0, 2.0, 3.0]]))
    first, second = (cloud - torch.tensor([1.0, 2.0, 3.0]) for cloud in clouds())
    first[0] += torch.tensor([20.0, 0, 0])  # farther than the limit from everything
    pairs.cloud0 = first + torch.tensor([1.0, 2.0, 3.0])
    ahead, back = as_torch(pairs.ahead[0].detach()), as_torch(pairs.back[0].detach())
    with torch.no_grad():
        moved = first + ahead(first)
        expected = [chamfer(moved, second, limit=2.0), chamfer(moved - back(moved), first, limit=2.0)]
        found = list(pairs.loss(0).values())
    torch.testing.assert_close(torch.stack(found), torch.stack(expected), rtol=1e-4, atol=1e-6)


def test_the_backward_network_starts_as_a_copy():
    pairs = field("nsfp", 3)
    assert len(pairs.ahead) == len(pairs.back) == 2
    for net in (*pairs.ahead, *pairs.back):
        assert torch.equal(net, pairs.ahead[0]), "each pair starts alike"
    assert len(field("fast").back) == 0


def test_fast_as_published_and_repaired():
    published, repaired = field("fast", repairs=False), field("fast")
    assert set(published.loss(0)) == {"distance"} and set(repaired.loss(0)) == {"distance", "reverse"}
    far = clouds()[0] + torch.tensor([0.0, 0.0, 30.0])
    for pairs in (published, repaired):
        pairs.cloud0, pairs.targets = far, None
    with torch.no_grad():
        assert float(published.loss(0)["distance"]) > 20
        assert [float(term) for term in repaired.loss(0).values()] == pytest.approx([2.0, 2.0])


@pytest.mark.parametrize("preset", ["nsfp", "fast"])
def test_finds_a_shift_both_ways(preset):
    pairs = field(preset, steps=150, patience=1000)
    fit(pairs, 150)
    assert pairs.finished(150)
    first, second = clouds()
    truth = torch.tensor([0.2, 0.0, 0.0])
    for points, t, direction in ((first, 0.0, 1), (second, 1.0, -1)):
        error = (pairs.velocity(points, t, direction) - direction * truth).norm(dim=1)
        assert error.median() < 0.1, (preset, direction)


def test_stops_when_patience_is_over_and_keeps_the_best():
    """Steps that only make things worse: the first networks are the best, and they are what remains."""
    pairs = field("fast", repairs=False, patience=4, lr=50.0)
    start = pairs.ahead[0].detach().clone()
    _, losses = fit(pairs, 100)
    assert min(losses) == losses[0] and len(losses) == 5, "the first one, and four without a better"
    assert pairs.finished(5) and torch.equal(pairs.ahead[0].detach(), start)


def test_small_gains_do_not_count_but_are_kept():
    """A loss that falls by less than min_delta is not better for patience, yet its networks are kept."""
    pairs = field("nsfp", patience=3, min_delta=10.0, lr=1e-3)
    _, losses = fit(pairs, 100)
    assert len(losses) == 4 and min(losses) < losses[0]
    weights = pairs.ahead[0].detach()
    fresh = field("nsfp", patience=3, min_delta=10.0, lr=1e-3)
    with torch.no_grad():
        fresh.ahead[0].copy_(weights)
        fresh.back[0].copy_(pairs.back[0])
        assert float(sum(fresh.loss(0).values())) == pytest.approx(min(losses), rel=1e-5)


def test_pairs_follow_one_another():
    """Each has its own networks, untouched by the others' steps, and shares the run's steps."""
    pairs = field("fast", 4, steps=30)
    assert pairs.most == 10
    seen = []
    groups = [dict(group) for group in pairs.param_groups()]
    assert [group["name"] for group in groups] == ["pair 0", "pair 1", "pair 2"]
    assert pairs.velocity(torch.ones(5, 3), 2.0, 1).abs().sum() == 0, "not fitted yet"
    optimiser = torch.optim.Adam(groups)
    while not pairs.finished(len(seen)):
        before = [net.detach().clone() for net in pairs.ahead]
        seen.append(int(pairs.interval))
        optimiser.zero_grad(set_to_none=True)
        sum(pairs.loss(len(seen)).values()).backward()
        optimiser.step()
        changed = [not torch.equal(a, b) for a, b in zip(before, pairs.ahead, strict=True)]
        assert changed == [i == seen[-1] for i in range(3)]
        pairs.after_step(len(seen))
    assert seen == sorted(seen) and set(seen) == {0, 1, 2} and len(seen) <= 30


def test_schedules_follow_the_size_of_the_cloud():
    def schedule(preset, points, **options):
        config = SceneFlowConfig(preset=preset, **options)
        cloud = torch.rand(points, 3)
        return tuple(PairFlow(config, [cloud, cloud], torch.zeros(2, 3), seed=0, steps=10).schedule(0))

    assert schedule("nsfp", 20_000) == (3e-3, 100, 1e-4) and schedule("nsfp", 2048) == (8e-3, 30, 1e-4)
    assert schedule("fast", 20_000) == (8e-3, 10, 1e-3) and schedule("fast", 8192) == (1e-2, 5, 1e-3)
    assert schedule("fast", 10, patience=7, lr=0.1) == (0.1, 7, 1e-3)
    groups = field("nsfp").param_groups() + field("fast").param_groups()
    assert [(group["eps"], group["weight_decay"]) for group in groups] == [(1e-8, 1e-4), (1e-8, 0.0)]


def test_order_in_space_keeps_neighbours_together():
    points = torch.rand(4000, 3, generator=torch.Generator().manual_seed(0))
    order = order_in_space(points)
    assert torch.equal(order.sort().values, torch.arange(4000))

    def stride(p):
        return (p[1:] - p[:-1]).norm(dim=1).mean()

    assert stride(points[order]) < 0.2 * stride(points)
    assert len(order_in_space(torch.zeros(5, 3))) == 5
