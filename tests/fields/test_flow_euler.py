"""EulerFlow on small clouds whose motion is known: rollouts, time and direction, exact repetition."""

import pytest
import torch

from fields.flow_euler import EulerField
from fields.flow_numbers import EulerNumbers
from tests.fields.bare_loop import fit

SMALL = EulerNumbers(width=32, depth=3, points=256, lr=3e-3, steps=300)
STEP = torch.tensor([0.3, -0.1, 0.0])
"""Metres that the body of `scene` moves from cloud to cloud."""


def scene(count=4, points=300):
    """A ball at successive times, seen at other points each time."""
    clouds = []
    for t in range(count):
        place = torch.randn(points, 3, generator=torch.Generator().manual_seed(t))
        clouds.append(torch.tensor([1.0, 2.0, 0.0]) + t * STEP + 0.8 * place / place.norm(dim=1, keepdim=True))
    return clouds


@pytest.fixture(scope="module")
def fitted():
    clouds = scene()
    field = EulerField(clouds, numbers=SMALL)
    state, _ = fit(field)
    return clouds, field, state


@torch.no_grad()
def test_rollouts_recover_a_constant_velocity_over_four_clouds(fitted):
    clouds, field, _ = fitted
    for first, direction in ((0, 1), (3, -1)):
        place = clouds[first]
        for k in range(3):
            place = place + field.velocity(place, float(first + direction * k), direction)
        error = place - clouds[first] - 3 * direction * STEP
        assert float(error.mean(dim=0).norm()) < 0.05  # the body, of 0.95 m
        assert float(error.norm(dim=1).mean()) < 0.16  # its points, which are seen 0.16 m apart
    assert not field.is_static(clouds[0], 0.0, 1).any()


def test_fitting_ends_after_its_steps(fitted):
    clouds, field, state = fitted
    assert state.step == SMALL.steps and field.finished(SMALL.steps) and not field.finished(SMALL.steps - 1)


def test_nothing_moves_before_the_first_step():
    clouds = scene()
    field = EulerField(clouds)
    assert [tuple(weight.shape) for weight in field.weights] == [(128, 5), *[(128, 128)] * 7, (3, 128)]
    assert not field.velocity(clouds[0], 0.5, 1).any() and field.is_static(clouds[0], 0.0, 1).all()


def test_rollouts_end_with_the_sequence():
    field = EulerField(scene(6), numbers=SMALL)
    assert list(field.times(1, 1)) == [1, 2, 3] and list(field.times(1, -1)) == [1]
    assert list(field.times(5, 1)) == [] and list(field.times(5, -1)) == [5, 4, 3]


def test_every_cloud_is_drawn_and_its_own_points_are():
    clouds = scene(3, 1000)
    field = EulerField(clouds, numbers=SMALL)
    drawn = [field.draw(step) for step in range(30)]
    assert {t for t, _ in drawn} == {0, 1, 2}
    for t, points in drawn:
        assert len(points) == SMALL.points and (points[:, None] == clouds[t]).all(dim=2).any(dim=1).all()


def test_too_fast_and_unreturning_flows_cost():
    """A field of 8 m forward and 8 m backward: 2 m above the limit, and it comes back to where it was."""
    field = EulerField(scene(2), numbers=SMALL)
    with torch.no_grad():
        for weight in field.weights:
            weight.zero_()
        field.biases[-1].copy_(torch.tensor([8.0, 0.0, 0.0]))
    losses = field.loss(0)
    assert float(losses["speed"].detach()) == pytest.approx(2 + 2)
    assert float(losses["length"].detach()) == pytest.approx(SMALL.length_weight * 8)
    assert float(losses["cycle"].detach()) == pytest.approx(SMALL.cycle_weight * 16)


def test_a_run_is_repeated_exactly_and_resumed_from_its_state_alone():
    clouds = scene()
    first, second, other = (EulerField(clouds, seed=seed, numbers=SMALL) for seed in (1, 1, 2))
    for field in (first, second, other):
        fit(field, 20)
    ours, theirs = first.state_dict(), second.state_dict()
    assert ours.keys() == theirs.keys() and all(torch.equal(ours[name], theirs[name]) for name in ours)
    assert not torch.equal(first.velocity(clouds[0], 0.0, 1), other.velocity(clouds[0], 0.0, 1))
    again = EulerField(clouds, seed=1, numbers=SMALL)
    again.load_state_dict(first.state_dict())
    assert torch.equal(again.velocity(clouds[0], 1.5, -1), first.velocity(clouds[0], 1.5, -1))
    assert torch.equal(again.loss(20)["distance"], first.loss(20)["distance"])


def test_bad_clouds_and_numbers_are_refused():
    with pytest.raises(ValueError, match="at least 2, got 1"):
        EulerField(scene(1))
    with pytest.raises(ValueError, match="width: expected at most 128"):
        EulerNumbers(width=256)
    with pytest.raises(ValueError, match="lr: expected a number above 0, got nan"):
        EulerNumbers(lr=float("nan"))
