"""march: against closed forms, through its samplers, with gradients."""

import math

import pytest
import torch

from render.camera import camera_from_fov, camera_rays, look_at
from render.march import Context, Samples, bundle, inside_box, march, march_picture
from render.samplers import OccupancySampler, UniformSampler, from_edges, resample

BOX = torch.tensor([[-1.0, -1.0, -1.0], [1.0, 1.0, 1.0]])
BLACK = torch.zeros(3)


class Ball(torch.nn.Module):
    """A homogeneous ball of one colour, radius 0.6, at (0.1, 0, 0)."""

    def __init__(self, density=2.0):
        super().__init__()
        self.strength = torch.nn.Parameter(torch.tensor(density))
        self.colour = torch.nn.Parameter(torch.tensor([0.9, 0.5, 0.1]))
        self.asked = 0

    def density(self, x, radius):
        return self.strength * ((x - torch.tensor([0.1, 0, 0])).norm(dim=1) < 0.6)

    def __call__(self, x, d, radius):
        self.asked += len(x)
        return self.density(x, radius), self.colour.expand(len(x), 3)

    def decode(self, values, rays):
        return values


def view(width=20, height=16):
    pose = look_at(torch.tensor([0.3, -2.5, 0.4]), torch.zeros(3), torch.tensor([0.0, 0.0, 1.0]))
    return camera_from_fov(pose, 0.8, width, height)


def chords(rays):
    """Lengths of the rays within the ball."""
    to_ball = torch.tensor([0.1, 0, 0]) - rays.origins
    along = (to_ball * rays.directions).sum(dim=1)
    across2 = to_ball.square().sum(dim=1) - along**2
    return 2 * (0.36 - across2).clamp(min=0).sqrt()


def trained(steps=1, **options):
    sampler = OccupancySampler(BOX, 0.01, cells=32, **options)
    for step in range(steps):
        sampler.refresh(Ball(), 16 * step)
    return sampler


@pytest.mark.parametrize("sampler", [UniformSampler(400), trained(12)], ids=["uniform", "occupancy"])
@pytest.mark.parametrize("training", [False, True])
def test_a_ball_absorbs_what_its_chord_says(sampler, training):
    rays = inside_box(bundle(camera_rays(view()), 0.0, 10.0), BOX)
    context = Context(training, step=1, generator=torch.Generator().manual_seed(0))
    found = march(Ball(), sampler, rays, context, torch.ones(3), threshold=0)
    expected = 1 - torch.exp(-2 * chords(rays))
    # Cells at the rim, which the ball fills in part, are found by chance.
    assert (found.alpha - expected).abs().max() < (0.03 if isinstance(sampler, UniformSampler) else 0.12)
    assert (found.alpha - expected).abs().mean() < 0.006
    assert torch.allclose(found.rgb, found.alpha[:, None] * Ball().colour + (1 - found.alpha)[:, None], atol=1e-5)


def test_occupancy_keeps_all_that_uniform_steps_find():
    """Along the same lattice, samples of the full grid that have density are kept by the refreshed one."""
    ball, rays = Ball(), bundle(camera_rays(view()), 0.0, 10.0)
    everything, some = OccupancySampler(BOX, 0.01, cells=32), trained(8)
    full, kept = (s(rays, ball, Context()) for s in (everything, some))
    assert len(kept.t0) < 0.5 * len(full.t0)
    keys = [s.rays.double() * 1000 + s.t0 for s in (full, kept)]
    assert torch.isin(keys[1], keys[0]).all()
    x = rays.origins[full.rays] + 0.5 * (full.t0 + full.t1)[:, None] * rays.directions[full.rays]
    dense = (x - torch.tensor([0.1, 0, 0])).norm(dim=1) < 0.6 - 2 / 32  # a cell's diagonal deep: no chance is left
    assert torch.isin(keys[0][dense], keys[1]).all()


def test_refreshing_is_a_function_of_seed_and_step():
    straight, resumed = trained(20), trained(10)
    other = OccupancySampler(BOX, 0.01, cells=32)
    other.load_state_dict(resumed.state_dict())
    for step in range(10, 20):
        other.refresh(Ball(), 16 * step)
    assert all(
        torch.equal(a, b) for a, b in zip(straight.state_dict().values(), other.state_dict().values(), strict=True)
    )
    assert not torch.equal(straight.thickness, trained(20, seed=1).thickness) or straight.thickness.unique().numel() < 9


def test_a_part_of_the_cells_follows_after_the_warm_up():
    sampler = trained(17)
    before = sampler.thickness.clone()
    sampler.refresh(Ball(0.0), 256 + 16)
    assert torch.allclose(sampler.thickness, 0.95 * before)
    for step in range(300):
        sampler.refresh(Ball(0.0), 16 * (20 + step))
    assert (sampler.thickness < 1e-6).all()


def test_cascades_find_what_is_outside_the_box():
    sampler = OccupancySampler(BOX / 4, 0.01, cells=16, cascades=3)
    for step in range(12):
        sampler.refresh(Ball(), 16 * step)
    rays = bundle(camera_rays(view()), 0.0, 10.0)
    found = march(Ball(), sampler, rays, Context(), BLACK, threshold=0)
    error = (found.alpha - (1 - torch.exp(-2 * chords(rays)))).abs()
    assert error.max() < 0.12 and error.mean() < 0.006


def test_gradients_and_a_few_steps_find_the_ball():
    rays = inside_box(bundle(camera_rays(view()), 0.0, 10.0), BOX)
    target = march(Ball(), UniformSampler(48), rays, Context(), BLACK).rgb.detach()
    guess = Ball(0.5)
    with torch.no_grad():
        guess.colour.fill_(0.5)
    optimiser = torch.optim.Adam(guess.parameters(), lr=0.1)
    for step in range(500):
        context = Context(True, step, torch.Generator().manual_seed(step))
        loss = (march(guess, UniformSampler(48), rays, context, BLACK).rgb - target).square().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert guess.strength.item() == pytest.approx(2, abs=0.1)
    assert torch.allclose(guess.colour, Ball().colour, atol=0.03)


def test_asking_only_for_what_is_seen_changes_little():
    rays = inside_box(bundle(camera_rays(view()), 0.0, 10.0), BOX)
    all_asked, some_asked = Ball(20.0), Ball(20.0)
    expected = march(all_asked, UniformSampler(128), rays, Context(), BLACK).rgb
    found = march(some_asked, UniformSampler(128), rays, Context(), BLACK, invisible=1e-4).rgb
    assert torch.allclose(found, expected, atol=5e-3)
    assert some_asked.asked < 0.3 * all_asked.asked


def test_a_picture_has_depth_along_the_camera_and_does_not_depend_on_chunks():
    camera = view()
    ball = Ball(1e4)
    one, other = (
        march_picture(ball, UniformSampler(800), camera, near=1.0, far=4.0, background=BLACK, chunk=c)
        for c in (50, 9999)
    )
    assert all(torch.equal(one[name], other[name]) for name in ("rgb", "alpha", "depth"))
    rays = camera_rays(camera)
    to_ball = torch.tensor([0.1, 0, 0]) - rays.origins
    along = (to_ball * rays.directions).sum(dim=-1)
    half = chords(bundle(rays, 0, 1)).reshape(along.shape) / 2
    z = (along - half) * (rays.directions @ camera.world_from_camera[:3, 2])
    hit = half > 0.1
    assert hit.sum() > 30
    assert torch.allclose(one["depth"][..., 0][hit], z[hit], atol=0.01)
    assert (one["depth"][..., 0][half == 0] == 0).all()


@pytest.mark.parametrize("training", [False, True])
def test_resampling_follows_the_weights(training):
    rays = bundle(camera_rays(view(2, 2)), 0.5, 2.5)
    samples = from_edges(torch.linspace(0.5, 2.5, 11).expand(4, -1))
    weights = torch.zeros(4, 10)
    weights[0, 3], weights[1, [2, 7]] = 1, 0.5
    weights[2] = 0.2
    context = Context(training, generator=torch.Generator().manual_seed(0))
    found = resample(rays, samples, weights.flatten(), 100, context)
    t0, t1 = found.t0.reshape(4, 100), found.t1.reshape(4, 100)
    assert (t1 >= t0).all() and torch.equal(t0[:, 1:], t1[:, :-1])
    assert torch.allclose(t0[:, 0], torch.tensor(0.5)) and torch.allclose(t1[:, -1], torch.tensor(2.5))
    middle = (t0 + t1) / 2
    assert ((middle[0] > 1.1) & (middle[0] < 1.3)).sum() >= 97
    assert 47 <= ((middle[1] > 0.9) & (middle[1] < 1.1)).sum() <= 51
    assert torch.allclose(t1[2:] - t0[2:], torch.tensor(0.02), atol=0.021 if training else 1e-5)  # no weight: evenly


def test_resampling_packed_samples_of_any_number():
    rays = bundle(camera_rays(view(3, 1)), 0.5, 2.5)
    t = torch.tensor([1.0, 1.5, 2.0, 0.0])
    owner = torch.tensor([0, 2, 2, 0], dtype=torch.int32)
    samples = Samples(t, t + 0.25, owner, torch.tensor([0, 1, 1, 3]))  # ray 1 has none, and there is a row of padding
    found = resample(rays, samples, torch.tensor([0.3, 0.0, 0.7, 9.0]), 4, Context(), even=0)
    assert found.t0.tolist() == [1.0, 1.0625, 1.125, 1.1875, *[0.5] * 4, 2.0, 2.0625, 2.125, 2.1875]


def test_radius_is_half_a_pixel():
    rays = camera_rays(camera_from_fov(torch.eye(4), 2 * math.atan(0.5), 101, 3))
    assert rays.radius[1, 50] == pytest.approx(0.5 / 101, rel=1e-4)
    assert rays.radius[1, 0] < rays.radius[1, 50]
