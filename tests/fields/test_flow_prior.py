"""The prior corrects what observations leave open, and little of what they know."""

import pytest
import torch
from torch import Tensor, nn

from fields.flow_paths import integrate
from fields.flow_prior import FlowPrior, robust
from train import train

POINTS, TIMES = 60, 5
SPEED = torch.tensor([0.30, -0.10, 0.40])


def truth() -> Tensor:
    """[TIMES, POINTS, 3] points that all move alike."""
    start = 2 * torch.rand(POINTS, 3, generator=torch.Generator().manual_seed(0)) - 1
    return start + torch.arange(TIMES)[:, None, None] * SPEED


def exact(points: Tensor, t0: float, t1: float) -> Tensor:
    return ((t1 - t0) * SPEED).expand_as(points)


class Watched(nn.Module):
    """A dynamic scene seen by one camera that looks along z: only x and y of its points are observed at each time.

    All places begin at those of time 0, depth included, which nothing but the prior can move.
    """

    def __init__(self, prior: FlowPrior | None) -> None:
        super().__init__()
        self.prior, self.seen = prior, truth()[..., :2]
        self.places = nn.Parameter(truth()[:1].repeat(TIMES, 1, 1))

    def loss(self, batch: None, step: int) -> dict[str, Tensor]:
        terms = {"seen": (self.places[..., :2] - self.seen).square().sum(dim=-1).mean()}
        if self.prior is not None:
            terms["flow"] = self.prior.scene_term(self.places, range(TIMES))
        return terms

    def param_groups(self):
        # The first places are known; only later ones move.
        self.places.register_hook(lambda gradient: gradient * (torch.arange(TIMES) > 0)[:, None, None])
        return [{"params": [self.places], "lr": 0.02, "name": "places", "schedule": lambda step: 0.995**step}]

    def after_step(self, step: int) -> None:
        return None

    def finished(self, step: int) -> bool:
        return False

    def counts(self) -> dict[str, int]:
        return {"points": POINTS}


def trained(prior: FlowPrior | None) -> Tensor:
    """[TIMES, POINTS, 3] errors of the trained places."""
    model = Watched(prior)
    for _ in train(model, lambda step: None, steps=800):  # pyright: ignore
        pass
    return model.places.detach() - truth()


def test_a_prior_finds_the_motion_that_no_camera_sees():
    """Without it depth stays where it was, off by the whole way; with it within 5 % of that way."""
    without, with_prior = trained(None), trained(FlowPrior(exact, weight=0.1))
    way = float(SPEED[2]) * (TIMES - 1)
    assert without[-1, :, 2].abs().min() > 0.99 * way and without[..., :2].abs().max() < 0.01
    assert with_prior[-1, :, 2].abs().max() < 0.05 * way and with_prior[..., :2].abs().max() < 0.01


def test_a_flow_that_is_grossly_wrong_in_places_does_not_undo_what_is_seen():
    """For one point in ten it points metres away, yet what is seen stays within centimetres."""

    def partly_wrong(points: Tensor, t0: float, t1: float) -> Tensor:
        wrong = torch.arange(len(points)) % 10 == 0
        return exact(points, t0, t1) + 5.0 * wrong[:, None]

    errors = trained(FlowPrior(partly_wrong, weight=0.02))
    assert errors[..., :2].abs().max() < 0.05
    right = torch.arange(POINTS) % 10 != 0
    assert errors[-1, right, 2].abs().max() < 0.1


def test_points_without_trust_are_left_alone():
    places = truth().requires_grad_()
    trust = (torch.arange(POINTS) % 2).float()
    FlowPrior(lambda p, t0, t1: exact(p, t0, t1) + 1).scene_term(places, range(TIMES), trust).backward()
    moved = places.grad.abs().sum(dim=(0, 2))
    assert (moved[trust == 0] == 0).all() and (moved[trust == 1] > 0).all()
    nothing = FlowPrior(exact).scene_term(places, range(TIMES), 0 * trust)
    assert nothing.item() == 0


def test_points_do_not_wander_to_where_the_flow_suits_them():
    """The flow is read where they are; what pulls one end of a step pushes its other end."""
    places = truth().requires_grad_()
    FlowPrior(lambda p, t0, t1: (t1 - t0) * p).scene_term(places, range(TIMES)).backward()
    assert places.grad.abs().max() > 1e-4
    torch.testing.assert_close(places.grad.sum(dim=0), torch.zeros(POINTS, 3), atol=1e-6, rtol=0)


@pytest.mark.parametrize("times", [(0, 1, 2, 3, 4), (4, 3, 2, 1, 0), (0.5, 0.75, 1, 2.5, 4)])
def test_the_true_motion_costs_nothing_at_any_times(times):
    places = torch.stack([truth()[0] + t * SPEED for t in times])
    assert float(FlowPrior(exact).scene_term(places, times)) < 1e-6


def test_the_penalty_is_quadratic_then_linear_with_a_bounded_pull():
    residuals = torch.tensor([[1e-4, 0, 0], [0, 30.0, 40.0]], dtype=torch.float64, requires_grad=True)
    found = robust(residuals, 0.1)
    assert found.tolist() == pytest.approx([1e-8 / 0.2, 50 - 0.1], rel=1e-4)
    (gradient,) = torch.autograd.grad(found.sum(), residuals)
    assert float(gradient.norm(dim=1).max()) <= 1


def test_the_reverse_teaches_a_flow_the_motion_of_a_scene():
    """Gradients reach the flow and not the scene."""
    speed, places = nn.Parameter(torch.zeros(3)), truth().requires_grad_()

    def flow(points: Tensor, t0: float, t1: float) -> Tensor:
        return integrate(lambda p, t, direction: (direction * speed).expand_as(p), points, t0, t1) - points

    prior, optimiser = FlowPrior(flow), torch.optim.Adam([speed], lr=0.02)
    for _ in range(200):
        optimiser.zero_grad()
        prior.flow_term(places, range(TIMES)).backward()
        optimiser.step()
    torch.testing.assert_close(speed.detach(), SPEED, atol=0.01, rtol=0)
    assert places.grad is None


def test_what_does_not_fit():
    prior = FlowPrior(exact)
    with pytest.raises(ValueError, match=r"got \[5, 60, 3\] at 4 times"):
        prior.scene_term(truth(), range(4))
    with pytest.raises(ValueError, match=r"2 or more; got \[1, 60, 3\]"):
        prior.flow_term(truth()[:1], [0])
    with pytest.raises(ValueError, match=r"trust: expected \[60\].*got \[5\]"):
        prior.scene_term(truth(), range(5), torch.ones(5))
    with pytest.raises(ValueError, match="weight: expected a positive number, got -1"):
        FlowPrior(exact, weight=-1)
    with pytest.raises(ValueError, match="scale: expected a positive number, got nan"):
        FlowPrior(exact, scale=float("nan"))
