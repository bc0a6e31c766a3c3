"""A picture in the plane z = 0 as cameras see it: places, sides, rays a pixel, depth."""

import math
from dataclasses import replace

import pytest
import torch

from render.camera import Camera
from render.plane import MOST_RAYS, plane_view
from scenes.picture.picture import pixel_centres

WIDTH, HEIGHT = 24, 10


def before(width=WIDTH, height=HEIGHT, *, away=2.0, span=1.0, sideways=(0.0, 0.0)):
    """A camera straight before the picture whose pixels cover `span` of its longer side, seen from z < 0."""
    pose = torch.eye(4)
    pose[:3, 3] = torch.tensor([*sideways, -away])
    focal = away * max(width, height) / span
    return Camera(pose, focal, focal, width / 2, height / 2, width, height)


def behind():
    """The same picture from z > 0, with y down: turned about the y axis."""
    camera = before()
    pose = torch.diag(torch.tensor([-1.0, 1.0, -1.0, 1.0]))
    pose[2, 3] = 2.0
    return camera.moved(pose)


def turned(angle, eye):
    """Looking along (sin angle, 0, cos angle) from `eye`."""
    pose = torch.eye(4)
    c, s = math.cos(angle), math.sin(angle)
    pose[:3, :3] = torch.tensor([[c, 0.0, s], [0.0, 1.0, 0.0], [-s, 0.0, c]])
    pose[:3, 3] = torch.tensor(eye)
    return before().moved(pose)


@pytest.mark.parametrize("size", [(24, 10), (10, 24), (1, 1), (7, 7)])
def test_straight_before_it_a_camera_sees_the_pixel_centres(size):
    view = plane_view(before(*size), *size)
    assert view.often == 1 and bool(view.rays.all())
    expected = pixel_centres(0, size[1], *size).reshape(-1, 2)
    torch.testing.assert_close(view.xy, expected, rtol=0, atol=1e-6)
    torch.testing.assert_close(view.depth, torch.full((size[1], size[0], 1), 2.0))


def test_an_orthographic_camera_sees_them_too():
    camera = replace(before(), fx=24.0, fy=24.0, projection="orthographic")
    view = plane_view(camera, WIDTH, HEIGHT)
    torch.testing.assert_close(view.xy, pixel_centres(0, HEIGHT, WIDTH, HEIGHT).reshape(-1, 2), rtol=0, atol=1e-6)


def test_from_behind_it_is_mirrored():
    view = plane_view(behind(), WIDTH, HEIGHT)
    expected = pixel_centres(0, HEIGHT, WIDTH, HEIGHT).flip(1).reshape(-1, 2)
    torch.testing.assert_close(view.xy, expected, rtol=0, atol=1e-6)
    torch.testing.assert_close(view.depth, torch.full((HEIGHT, WIDTH, 1), 2.0))


@pytest.mark.parametrize(
    ("angle", "eye"),
    [(math.pi, (0.0, 0.0, -2.0)), (0.0, (0.0, 0.0, 1.0)), (0.0, (5.0, 0.0, -2.0)), (math.pi / 2, (-3.0, 0.0, 0.0))],
    ids=["turned away", "past it", "beside it", "edge-on, in its plane"],
)
def test_nothing_is_seen(angle, eye):
    view = plane_view(turned(angle, eye), WIDTH, HEIGHT)
    assert len(view.xy) == 0 and not view.rays.any() and not view.depth.any()
    picture = view.picture(torch.zeros(0, 3), background=0.75)
    assert picture.shape == (HEIGHT, WIDTH, 3) and bool((picture == 0.75).all())


def test_from_the_side_the_middle_is_where_it_should_be():
    """45 degrees: the nearer edge is nearer and larger, and all places lie where the ray meets the plane."""
    angle = math.pi / 4
    camera = turned(angle, (-math.sin(angle) * 2, 0.0, -math.cos(angle) * 2)).resized(49, 21)
    view = plane_view(camera, WIDTH, HEIGHT)
    assert view.often == 1
    depth = view.depth[10, :, 0]
    seen = depth > 0
    assert depth[24] == pytest.approx(2.0, abs=1e-5)
    assert bool((depth[seen].diff() > 0).all())  # its right lies farther away
    u = (torch.arange(49) + 0.5 - 24.5) / camera.fx
    t = 2 / (1 - u)  # the ray (sin + u cos, ., cos - u sin) from the eye reaches z = 0
    torch.testing.assert_close(depth[seen], t[seen], rtol=1e-4, atol=0)
    row = torch.full((21, 49, 2), torch.nan)
    row[view.rays] = view.xy
    x = (-math.sin(angle) * 2 + t * (math.sin(angle) + u * math.cos(angle))) + 0.5
    torch.testing.assert_close(row[10, seen, 0], x[seen], rtol=0, atol=1e-4)


def test_pixels_beside_the_picture_see_the_background():
    camera = before(48, 48, span=2.0)  # twice the picture's width across: pixels are as large as its own
    view = plane_view(camera, WIDTH, HEIGHT)
    assert view.often == 1
    expected = torch.zeros(48, 48, dtype=torch.bool)
    expected[19:29, 12:36] = True
    assert torch.equal(view.rays, expected)
    assert torch.equal(view.depth[..., 0] > 0, expected)
    values = torch.rand(len(view.xy), 2, generator=torch.Generator().manual_seed(0))
    picture = view.picture(values, background=0.25)
    assert torch.equal(picture[19:29, 12:36].reshape(-1, 2), values)
    assert bool((picture[~expected] == 0.25).all())


@pytest.mark.parametrize(("share", "often"), [(0.5, 2), (1 / 3, 3), (0.25, 4), (0.1, MOST_RAYS), (2.0, 1)])
def test_a_reduced_picture_is_averaged(share, often):
    """Checks of single pixels, seen `share` as large: the mean of the pixels that a ray each stands for."""
    side = 48
    size = round(side * share)
    view = plane_view(before(size, size), side, side)
    assert view.often == often and view.rays.shape == (size * often, size * often)
    assert view.depth.shape == (size, size, 1)
    values = view.xy[:, :1] + 10 * view.xy[:, 1:]
    picture = view.picture(values, background=0.0)[..., 0]
    centres = pixel_centres(0, size, size, size)  # the mean of a linear function is its value in the middle
    torch.testing.assert_close(picture, centres[..., 0] + 10 * centres[..., 1], rtol=0, atol=1e-4)


def test_checks_turn_grey_when_they_are_as_fine_as_half_a_pixel():
    side = 32
    view = plane_view(before(16, 16), side, side)
    column, row = (view.xy * side).floor().long().unbind(dim=1)
    picture = view.picture(((column + row) % 2)[:, None].float(), background=0.0)
    assert bool((picture == 0.5).all())


def test_pixels_across_the_edge_are_mixed():
    """Four rays a pixel: of those across the picture's left edge two see it."""
    camera = before(8, 8, span=16 / 12)
    view = plane_view(camera, 24, 24)
    assert view.often == 4
    seen = view.picture(torch.ones(len(view.xy), 1), background=0.0)[..., 0]
    assert seen[4].tolist() == [0, 1, 1, 1, 1, 1, 1, 0] and seen[0].tolist() == [0] * 8
    shifted = plane_view(before(8, 8, span=16 / 12, sideways=(1 / 12, 0.0)), 24, 24)
    seen = shifted.picture(torch.ones(len(shifted.xy), 1), background=0.0)[..., 0]
    assert seen[4].tolist() == pytest.approx([0.5, 1, 1, 1, 1, 1, 0.5, 0])
