"""Floxels on small clouds whose motion is known; what is kept, what is repeated, and when fitting ends."""

import numpy as np
import pytest
import torch

from fields.flow_floxel import FloxelField, corners, node_keys, node_places
from fields.flow_numbers import FloxelNumbers
from fields.optimise import begin
from tests.fields.bare_loop import fit

STEP = torch.tensor([0.5, -0.2, 0.1])
"""Metres that the moving body of `scene` moves from cloud to cloud."""


def shell(count, centre, radius, seed):
    """Points on a sphere."""
    points = torch.randn(count, 3, generator=torch.Generator().manual_seed(seed))
    return centre + radius * points / points.norm(dim=1, keepdim=True)


def scene(count=4, points=400):
    """A body that moves and one that stands, seen at other points each time; the first cloud's moving rows lead."""
    moving, standing = torch.tensor([1.0, 2.0, 0.0]), torch.tensor([8.0, 2.0, 0.0])
    return [
        torch.cat([shell(points, moving + t * STEP, 0.8, 2 * t), shell(points, standing, 0.8, 2 * t + 1)])
        for t in range(count)
    ]


@pytest.fixture(scope="module")
def fitted():
    clouds = scene()
    field = FloxelField(clouds)
    state, _ = fit(field)
    return clouds, field, state


def test_a_shifted_body_is_recovered_and_a_standing_one_stays(fitted):
    clouds, field, _ = fitted
    for t, cloud in enumerate(clouds):
        for direction in (1, -1):
            flow = field.velocity(cloud, float(t), direction)
            assert float((flow[:400] - direction * STEP).norm(dim=1).mean()) < 0.03
            assert float(flow[400:].norm(dim=1).mean()) < 0.01
            static = field.is_static(cloud, float(t), direction)
            assert not static[:400].any() and static[400:].all()


def test_two_clouds_are_a_pair():
    clouds = scene(2)
    field = FloxelField(clouds)
    fit(field)
    for t, direction in ((0, 1), (1, -1)):
        flow = field.velocity(clouds[t], float(t), direction)
        assert float((flow[:400] - direction * STEP).norm(dim=1).mean()) < 0.06


def test_times_between_clouds_read_the_grid_that_the_direction_comes_from(fitted):
    clouds, field, _ = fitted
    points = clouds[1]
    assert torch.equal(field.velocity(points, 1.7, 1), field.velocity(points, 1.0, 1))
    assert torch.equal(field.velocity(points, 1.7, -1), field.velocity(points, 2.0, -1))
    assert torch.equal(field.velocity(points, 9.0, 1), field.velocity(points, 3.0, 1))


def test_places_beside_no_node_have_the_nearest_flow_and_far_ones_none(fitted):
    clouds, field, _ = fitted
    centre = clouds[0][:400].mean(dim=0)
    inside = field.velocity(torch.stack([centre, centre + torch.tensor([0.0, 0.0, 50.0])]), 0.0, 1)
    assert float((inside[0] - STEP).norm()) < 0.1 and not inside[1].any()
    assert field.velocity(torch.empty(0, 3), 0.0, 1).shape == (0, 3)


def test_fitting_ends_by_itself_and_says_so(fitted):
    clouds, field, state = fitted
    assert field.finished(state.step) and 4 * 20 <= state.step <= 120 + 3 * 60
    assert not FloxelField(clouds).finished(0)


def test_what_does_not_move_is_finished_at_the_first_look():
    cloud = scene(1)[0]
    field = FloxelField([cloud] * 3, numbers=FloxelNumbers(distance="exact"))
    state, _ = fit(field)
    assert state.step == 3 * field.numbers.check_every
    assert not field.velocity(cloud, 0.0, 1).any()


def test_a_grid_is_not_finished_while_a_few_points_still_move():
    """A body of one part in fifty moves on, long after the mean loss has come to rest."""
    clouds = [torch.cat([cloud[:40], cloud[400:]]) for cloud in scene(2, 2000)]
    for t in range(2):
        clouds[t] = torch.cat([shell(40, torch.tensor([1.0, 2.0, 0.0]) + t * STEP, 0.3, t), scene(1, 2000)[0][2000:]])
    field = FloxelField(clouds, numbers=FloxelNumbers(distance="exact"))
    fit(field)
    assert float((field.velocity(clouds[0], 0.0, 1)[:40] - STEP).norm(dim=1).mean()) < 0.1


def test_a_run_is_repeated_exactly_and_resumed_from_its_state_alone():
    clouds, numbers = scene(3, 100), FloxelNumbers(first_steps=30, steps=30)
    first, second = FloxelField(clouds, numbers=numbers), FloxelField(clouds, numbers=numbers)
    fit(first)
    fit(second)
    assert all(
        torch.equal(a, b) for a, b in zip(first.state_dict().values(), second.state_dict().values(), strict=True)
    )
    half = FloxelField(clouds, numbers=numbers)
    fit(half, 45)
    again = FloxelField(clouds, numbers=numbers)
    again.load_state_dict({name: value.clone() for name, value in half.state_dict().items()})
    assert torch.equal(again.velocity(clouds[0], 0.0, 1), half.velocity(clouds[0], 0.0, 1))
    ours, theirs = again.loss(45), half.loss(45)
    assert ours.keys() == theirs.keys() and all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_the_best_vectors_are_kept():
    """With a rate that overshoots at the end, the loss of what is kept is the lowest that was seen."""
    clouds = scene(2, 200)
    field = FloxelField(clouds, numbers=FloxelNumbers(lr=0.5, first_steps=25))
    state = begin(field)
    seen = []
    while int(field.current) == 0:
        state.optimiser.zero_grad(set_to_none=True)
        terms = field.loss(state.step)
        seen.append(float(sum(term.detach() for term in terms.values())))
        torch.stack([*terms.values()]).sum().backward()
        state.optimiser.step()
        field.after_step(state.step)
        state.step += 1
    field.current.zero_()
    kept = float(sum(term.detach() for term in field.loss(0).values()))
    assert kept == pytest.approx(min(seen), rel=1e-5) and kept < seen[-1]


def test_reading_is_trilinear():
    cloud = torch.from_numpy(np.random.default_rng(0).uniform(-3, 3, (50, 3)).astype(np.float32))
    keys = node_keys(cloud, 0.5)
    rows, weights = corners(cloud, keys, 0.5)
    places = node_places(keys, 0.5)
    assert torch.equal(keys, keys.unique()) and (weights >= 0).all()
    torch.testing.assert_close((places[rows] * weights[..., None]).sum(dim=1), cloud, atol=1e-5, rtol=0)


def test_bad_clouds_and_numbers_are_refused():
    with pytest.raises(ValueError, match="at least 2, got 1"):
        FloxelField(scene(1))
    with pytest.raises(ValueError, match="shift the clouds"):
        FloxelField([torch.full((3, 3), 1e7)] * 2)
    with pytest.raises(ValueError, match="voxel: expected a number above 0, got 0"):
        FloxelNumbers(voxel=0)
