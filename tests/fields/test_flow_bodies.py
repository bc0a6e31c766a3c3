"""BodyField: rigid bodies exactly, bending better than rigidly, what stands still not at all."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from fields import flow_bodies
from fields.flow_bodies import BodyField
from fields.flow_nodes import basis
from fields.flow_poses import filled, posed
from scenes.flow.bodies.find import Bodies

STEPS = flow_bodies.STEPS


def turned(angle: float, x: float = 0.0, y: float = 0.0) -> Tensor:
    """[4, 4] a turn about z, then a shift."""
    pose = torch.eye(4)
    c, s = math.cos(angle), math.sin(angle)
    pose[:2, :2] = torch.tensor([[c, -s], [s, c]])
    pose[:2, 3] = torch.tensor([x, y])
    return pose


def box(count: int = 400) -> Tensor:
    """[N, 3] points on a box 2 x 1 x 1 m."""
    generator = torch.Generator().manual_seed(1)
    points = torch.rand(count, 3, generator=generator) - 0.5
    axis = torch.randint(3, (count,), generator=generator)
    points[torch.arange(count), axis] = points[torch.arange(count), axis].sign() / 2
    return points * torch.tensor([2.0, 1.0, 1.0])


def wall() -> Tensor:
    """[N, 3] points of a wall 5 m from the origin."""
    y, z = torch.meshgrid(torch.linspace(-5, 5, 40), torch.linspace(-1, 1, 10), indexing="ij")
    return torch.stack([torch.full_like(y, 5.0), y, z], dim=-1).reshape(-1, 3)


def driving(times: int = 5) -> tuple[list[Tensor], Bodies, Tensor]:
    """A box that drives and turns before a wall. Returns the clouds, its body, and its true poses [T, 4, 4]."""
    poses = torch.stack([turned(0.05 * t, 0.3 * t, 0.02 * t * t) for t in range(times)])
    clouds, owner = [], []
    for pose in poses:
        clouds.append(torch.cat([box() @ pose[:3, :3].T + pose[:3, 3], wall()]))
        owner.append(torch.cat([torch.zeros(400, dtype=torch.long), torch.full((400,), -1)]))
    return clouds, Bodies(owner, poses[None], torch.ones(1, times, dtype=torch.bool), [o >= 0 for o in owner]), poses


def sheet(bend: float, shift: float = 0.0) -> Tensor:
    """[N, 3] a sheet 1 x 1 m, bent about its middle; of the same points whatever the bend, but for a shift of them."""
    u, v = torch.meshgrid(torch.linspace(-0.5, 0.5, 41) + shift, torch.linspace(-0.5, 0.5, 41) + shift, indexing="ij")
    return torch.stack([u - bend**2 * u**3 * 2 / 3, v, bend * u * u], dim=-1).reshape(-1, 3)


def bending() -> tuple[list[Tensor], Bodies, Tensor]:
    """A sheet that bends between two clouds, sampled at other points in the second. Returns its true flow too."""
    clouds = [sheet(0.0), sheet(0.4, shift=0.011)]
    masks = [torch.ones(len(cloud), dtype=torch.bool) for cloud in clouds]
    poses = torch.eye(4).repeat(1, 2, 1, 1)
    poses[:, 1, 2, 3] = clouds[1][:, 2].mean()
    bodies = Bodies([m.long() - 1 for m in masks], poses, torch.ones(1, 2, dtype=torch.bool), masks)
    return clouds, bodies, sheet(0.4) - sheet(0.0)


def fitted(field: BodyField, steps: int = STEPS) -> BodyField:
    """After some steps of the loop's optimiser."""
    groups = field.param_groups()
    schedules = [(group["lr"], group.pop("schedule")) for group in groups]
    optimiser = torch.optim.Adam(groups)
    for step in range(steps):
        for group, (rate, schedule) in zip(optimiser.param_groups, schedules, strict=True):
            group["lr"] = rate * schedule(step)
        optimiser.zero_grad()
        torch.stack(list(field.loss(step).values())).sum().backward()
        optimiser.step()
    return field


def test_rigid_body_moves_with_its_poses() -> None:
    clouds, bodies, poses = driving()
    field = BodyField.from_bodies(clouds, bodies)
    for t0, t1 in ((0, 1), (4, 1), (0, 4)):
        truth = box() @ poses[t1, :3, :3].T + poses[t1, :3, 3] - clouds[t0][:400]
        flow = field.flow(clouds[t0], t0, t1)
        torch.testing.assert_close(flow[:400], truth, atol=2e-5, rtol=0)
        assert (flow[400:] == 0).all()


def test_fitting_leaves_a_rigid_body_rigid() -> None:
    clouds, bodies, poses = driving()
    field = fitted(BodyField.from_bodies(clouds, bodies))
    truth = box() @ poses[3, :3, :3].T + poses[3, :3, 3] - clouds[2][:400]
    assert (field.flow(clouds[2], 2, 3)[:400] - truth).norm(dim=1).mean() < 0.005


def test_bending_sheet_is_followed_better_than_rigidly() -> None:
    clouds, bodies, truth = bending()
    field = BodyField.from_bodies(clouds, bodies)
    rigid = (field.flow(clouds[0], 0, 1) - truth).norm(dim=1).mean()
    bent = (fitted(field).flow(clouds[0], 0, 1) - truth).norm(dim=1).mean()
    assert bent < rigid / 2


def test_there_and_back_and_in_parts() -> None:
    clouds, bodies, _ = bending()
    field = fitted(BodyField.from_bodies(clouds, bodies))
    there = field.flow(clouds[0], 0, 1)
    torch.testing.assert_close(field.flow(clouds[0] + there, 1, 0), -there, atol=1e-4, rtol=0)
    half = field.flow(clouds[0], 0, 0.5)
    torch.testing.assert_close(half + field.flow(clouds[0] + half, 0.5, 1), there, atol=1e-4, rtol=0)
    torch.testing.assert_close(field.velocity(clouds[0], 0, 1), there)


def test_gate_hides_the_drift_of_what_stands() -> None:
    clouds, bodies, _ = driving(2)
    shift = torch.tensor([0.03, 0.0, 0.0])
    clouds[1][400:] += shift
    field = BodyField.from_bodies(clouds, bodies)
    assert field.is_static(clouds[0], 0, 1)[400:].all()
    assert (field.flow(clouds[0], 0, 1)[400:] == 0).all()
    assert (field.flow(clouds[0], 0, 1, gate=False)[400:, 0] - 0.03).abs().max() < 1e-3
    assert (field.flow(clouds[1], 1, 0, gate=False)[400:, 0] + 0.03).abs().max() < 1e-3
    assert (field.body_of(clouds[0] + torch.tensor([0.0, 0.0, 30.0]), 0) == -1).all()


def test_rebuilt_from_its_state_alone_and_deterministic() -> None:
    clouds, bodies, _ = driving()
    field, again = (fitted(BodyField.from_bodies(clouds, bodies), 5) for _ in range(2))
    assert all(torch.equal(value, again.state_dict()[name]) for name, value in field.state_dict().items())
    rebuilt = BodyField(clouds, field.state_dict())
    rebuilt.load_state_dict(field.state_dict())
    assert torch.equal(rebuilt.flow(clouds[1], 1, 2.5), field.flow(clouds[1], 1, 2.5))
    assert all(torch.equal(a, b) for a, b in zip(rebuilt.loss(7).values(), field.loss(7).values(), strict=True))


def test_nothing_that_moves() -> None:
    clouds, bodies, _ = driving(2)
    none = Bodies(
        [torch.full_like(o, -1) for o in bodies.owner], torch.zeros(0, 2, 4, 4), torch.zeros(0, 2) > 0, bodies.seen
    )
    field = BodyField.from_bodies(clouds, none)
    assert field.finished(0)
    assert (field.flow(clouds[0], 0, 1) == 0).all()
    field.loss(0)["data"].backward()


def test_thing_that_sways_in_its_place_is_carried_by_standing() -> None:
    """A pole whose pose, as found, slides along it while it stands: what is seen of it does not tell."""
    angle, height = torch.meshgrid(torch.linspace(0, 6, 16), torch.linspace(0, 3, 40), indexing="ij")
    pole = torch.stack([0.2 * angle.cos(), 0.2 * angle.sin(), height], dim=-1).reshape(-1, 3)
    poses = torch.eye(4).repeat(1, 6, 1, 1)
    poses[0, :, 2, 3] = 0.05 * torch.arange(6)
    masks = [torch.ones(len(pole), dtype=torch.bool)] * 6
    field = BodyField.from_bodies([pole] * 6, Bodies([m.long() - 1 for m in masks], poses, torch.ones(1, 6) > 0, masks))
    assert field.flow(pole, 2, 3).norm(dim=1).mean() > 0.04
    assert fitted(field, 20).flow(pole, 2, 3).norm(dim=1).mean() < 0.01


def test_poses_between_and_beyond_those_known() -> None:
    poses = torch.stack([turned(0.2 * t, t) for t in range(6)])[None]
    torch.testing.assert_close(posed(poses, 2.5)[0], turned(0.5, 2.5))
    alive = torch.tensor([[False, True, True, False, True, False]])
    torch.testing.assert_close(filled(torch.where(alive[..., None, None], poses, 0.0), alive), poses, atol=1e-4, rtol=0)


def test_splines_sum_to_one_and_follow_a_line() -> None:
    weights = basis(20)
    torch.testing.assert_close(weights.sum(dim=1), torch.ones(20))
    line = torch.linspace(0, 1, 20)
    solved = weights @ torch.linalg.lstsq(weights, line[:, None]).solution
    torch.testing.assert_close(solved[:, 0], line, atol=1e-4, rtol=0)
