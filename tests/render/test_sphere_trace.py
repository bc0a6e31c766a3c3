"""Sphere tracing: depths against geometry, thin parts, misses, cameras inside, slices."""

import math

import pytest
import torch

from render.camera import Camera, camera_from_fov, camera_rays, look_at
from render.sphere_trace import cube_rays, normals, shaded, slice_picture, trace, trace_picture

UP = torch.tensor([0.0, 1.0, 0.0])


def camera_at(eye, size=48, fov=0.7):
    return camera_from_fov(look_at(torch.tensor(eye), torch.zeros(3), UP), fov, size, size)


def ball(points):
    return points.norm(dim=1) - 0.6


def box(points, half=(0.5, 0.4, 0.3)):
    beyond = points.abs() - torch.tensor(half)
    return beyond.clamp(min=0).norm(dim=1) + beyond.amax(dim=1).clamp(max=0)


def plate(points):
    """Two thousandths thick."""
    return box(points, (0.5, 0.5, 0.001))


def ball_distance(camera: Camera):
    """[H, W] along the rays to the ball, NaN where they miss."""
    rays = camera_rays(camera)
    along = -(rays.origins * rays.directions).sum(-1)
    return along - (along**2 - (rays.origins**2).sum(-1) + 0.36).sqrt()


@pytest.mark.parametrize("factor", [1.0, 0.7, 1.1])
def test_ball_depth_normals_and_misses(factor):
    """Also for fields that are not quite distances: too small, and a tenth too large."""
    camera = camera_at((1.2, 0.9, 2.4))
    surface = trace_picture(lambda x: factor * ball(x), camera)
    truth = ball_distance(camera)
    hit = surface.alpha[..., 0] > 0
    rim = (hit != ~truth.isnan()).float().mean()
    assert rim < 0.01 and hit.any() and not hit.all()
    rays, both = camera_rays(camera), hit & ~truth.isnan()
    depth = truth * (rays.directions @ camera.world_from_camera[:3, 2])
    centre = both & (truth < truth[both].quantile(0.9))
    assert (surface.depth[..., 0] - depth)[centre].abs().max() < 5e-4
    positions = rays.origins + truth[..., None] * rays.directions
    assert surface.normal is not None
    assert ((surface.normal - positions / 0.6).norm(dim=-1))[centre].max() < 5e-3
    assert (surface.depth[~hit] == 0).all() and (surface.normal[~hit] == 0).all()


def test_box_front_is_flat():
    surface = trace_picture(box, camera_at((0.0, 0.0, 2.5)))
    middle = surface.depth[20:28, 20:28, 0]
    assert (middle - 2.2).abs().max() < 3e-4
    assert surface.normal is not None
    torch.testing.assert_close(surface.normal[24, 24], torch.tensor([0.0, 0.0, 1.0]), atol=1e-3, rtol=0)


@pytest.mark.parametrize("factor", [1.0, 1.1])
def test_a_thin_plate_has_no_holes(factor):
    surface = trace_picture(lambda x: factor * plate(x), camera_at((0.9, 0.6, 2.2)))
    frontal = trace_picture(lambda x: box(x, (0.5, 0.5, 0.01)), camera_at((0.9, 0.6, 2.2)))
    assert ((surface.alpha > 0) != (frontal.alpha > 0)).float().mean() < 0.03
    assert (surface.alpha[20:28, 20:28] == 1).all()
    assert (surface.depth - frontal.depth)[20:28, 20:28].abs().max() < 0.02


def test_a_step_over_the_surface_is_taken_back():
    """A field far too large jumps through the ball's front; the crossing is found all the same."""
    camera = camera_at((0.0, 0.0, 2.5), size=16, fov=0.2)
    surface = trace_picture(lambda x: torch.where(ball(x) > 0, 2.0, 1.0) * ball(x), camera)
    depth = ball_distance(camera) * (camera_rays(camera).directions @ camera.world_from_camera[:3, 2])
    assert (surface.depth[..., 0] - depth).abs().max() < 2e-3


def test_rays_beside_the_cube_are_not_asked():
    def never(points):
        raise AssertionError(f"asked for {len(points)} points")

    away = camera_from_fov(look_at(torch.tensor([0.0, 0.0, 3.0]), torch.tensor([0.0, 0.0, 9.0]), UP), 0.7, 8, 8)
    surface = trace_picture(never, away)
    assert not surface.alpha.any() and (shaded(surface) == 1).all()


def test_points_asked_for_lie_in_the_cube():
    def field(points):
        assert points.abs().max() <= 1 + 1e-4
        return ball(points)

    trace(field, cube_rays(camera_at((2.0, 1.5, 2.0)), "cpu"))


def test_a_camera_inside_the_surface_is_hit_at_once():
    surface = trace_picture(ball, camera_at((0.0, 0.0, 0.2), size=8))
    assert (surface.alpha == 1).all() and (surface.depth == 0).all()


def test_a_camera_inside_the_cube_sees_what_is_before_it():
    surface = trace_picture(ball, camera_at((0.0, 0.0, 0.9), size=9, fov=0.1))
    assert surface.depth[4, 4, 0].item() == pytest.approx(0.3, abs=5e-4)


def test_orthographic_depth():
    pose = look_at(torch.tensor([0.0, 0.0, 3.0]), torch.zeros(3), UP)
    camera = Camera(pose, 8.0, 8.0, 4.5, 4.5, 9, 9, projection="orthographic")
    surface = trace_picture(ball, camera)
    assert surface.depth[4, 4, 0].item() == pytest.approx(2.4, abs=5e-4)
    assert surface.depth[4, 7, 0].item() == pytest.approx(3 - math.sqrt(0.36 - (3 / 8) ** 2), abs=1e-3)


def test_normals_are_gradients():
    points = 0.6 * torch.nn.functional.normalize(torch.randn(50, 3, generator=torch.Generator().manual_seed(0)))
    torch.testing.assert_close(normals(ball, points), points / 0.6, atol=2e-3, rtol=0)


def test_shading_needs_normals():
    surface = trace_picture(ball, camera_at((0.0, 0.0, 2.5), size=8), with_normals=False)
    with pytest.raises(ValueError, match="without normals"):
        shaded(surface)


@pytest.mark.parametrize("axis", ["x", "y", "z"])
def test_slices_show_the_field_on_the_plane(axis):
    """The field of one coordinate is constant on its slice; rays beside the cube's square show 0."""
    camera = camera_at((1.9, 1.6, 2.1), size=32, fov=1.0)
    picture = slice_picture(lambda x: x[:, "xyz".index(axis)] + 2, camera, axis, 0.25)
    met = picture != 0
    assert met.any() and not met.all()
    torch.testing.assert_close(picture[met], torch.full_like(picture[met], 2.25), atol=1e-5, rtol=0)
    seen_from_within_the_plane = camera_at((0.0, 0.0, 2.5), size=9)
    assert slice_picture(lambda x: x[:, 0] + 2, seen_from_within_the_plane, "x", 1.0).isfinite().all()
