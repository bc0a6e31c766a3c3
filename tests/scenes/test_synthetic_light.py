"""Baked light against light summed sample by sample, coverage against geometry, textures against counting."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from render.camera import camera_from_fov, look_at
from scenes.synthetic.arrangement import Surface, World, arrange
from scenes.synthetic.assembly import paint, pose
from scenes.synthetic.lightmaps import LightConfig, bake, lookup
from scenes.synthetic.lights import received, sample_lights
from scenes.synthetic.photo import develop, photograph
from scenes.synthetic.shadows import LIFT, place_nodes, visibility
from scenes.synthetic.solids import Box, Cone, Disc, Ellipsoid, first_hit, normal_at
from scenes.synthetic.textures import (
    Checks,
    Dial,
    Dots,
    Flecks,
    Grain,
    Material,
    Pips,
    Plain,
    Print,
    Stripes,
    albedo,
)
from scenes.synthetic.torus import Torus
from scenes.synthetic.tracer import lens, pixel_offsets, screen_boxes, trace
from scenes.synthetic.truth import maps_of

UP = torch.tensor([0.0, 0.0, 1.0])
COARSE = LightConfig(spacing=0.03, key=12, lamp=2, sky=16)


def world_of(*pieces) -> World:
    """A world of (shape, pose) pieces: white, the first one a table, each other one an object of its own."""
    surfaces = tuple(Surface(shape, at, paint("white"), i + 1, i + 1) for i, (shape, at) in enumerate(pieces))
    names = {i + 1: f"a thing {i}" for i in range(len(pieces))}
    return World(surfaces, np.zeros((0, 4)), ((0.0, 0.0, 0.5, 0.5),), names, names, {i: i for i in names})


def still_life() -> World:
    """A table with a ball, a leaning box, a cup without a lid and a ring."""
    world = world_of(
        (Disc(0.8), pose()),
        (Ellipsoid(0.2, 0.2, 0.2), pose(-0.3, 0.2, 0.2)),
        (Box(0.1, 0.15, 0.2), pose(0.25, 0.2, 0.25, rx=20, rz=30)),
        (Cone(0.15, 0.2, 0.25, inward=True), pose(0.1, -0.35, 0.13)),
        (Cone(0.155, 0.205, 0.25), pose(0.1, -0.35, 0.13)),
        (Torus(0.15, 0.03), pose(-0.4, -0.3, 0.15, rx=70)),
    )
    return replace(world, lamps=np.array([[0.4, 0.5, 0.6, 0.05]]))


def brute_force_seen(world: World, points: np.ndarray, to_light: np.ndarray, own: int | None) -> np.ndarray:
    """[P, L]: whether nothing lies between each point and each sample; `own` is a surface not to test against."""
    seen = np.ones(to_light.shape[:2], bool)
    for index, surface in enumerate(world.surfaces):
        if index == own or surface.object_id == 1:
            continue
        turn, move = surface.world_from_local[:3, :3], surface.world_from_local[:3, 3]
        o, d = (points - move) @ turn, to_light @ turn
        t = first_hit(surface.shape, tuple(o.T[..., None]), tuple(np.moveaxis(d, -1, 0)), 0.0)  # type: ignore[arg-type]
        seen &= ~(t < 1)
    return seen


def test_visibility_is_that_of_testing_every_pair():
    world = still_life()
    nodes, lights = place_nodes(world, 0.05), sample_lights(world, 12, 2, 16)
    everything = slice(0, len(nodes.patches))
    seen = visibility(world, nodes, lights, everything)
    assert 0.2 < seen.mean() < 0.8
    wrong = 0
    for patch, result in zip(nodes.patches, seen, strict=True):
        owner = int(np.searchsorted(nodes.first_node, patch[0], side="right")) - 1
        points, normals = nodes.points[patch], nodes.normals[patch]
        to_light = np.stack(lights.towards(points), axis=-1)
        facing = np.einsum("plk,pk->pl", to_light, normals) > 0
        convex = isinstance(world.surfaces[owner].shape, (Ellipsoid, Box, Disc)) or owner == 4
        want = facing & brute_force_seen(world, points, to_light, owner if convex else None)
        wrong += int((want != result.T).sum())
    assert wrong <= 1e-4 * seen.size  # rays that graze an edge fall to either side


def test_light_between_the_nodes_comes_near_the_sum_of_the_samples():
    world = still_life()
    lights = sample_lights(world, COARSE.key, COARSE.lamp, COARSE.sky)
    rng = np.random.default_rng(0)
    radius, turn = 0.78 * np.sqrt(rng.uniform(size=2000)), rng.uniform(0, 2 * math.pi, 2000)
    p = (radius * np.cos(turn), radius * np.sin(turn), np.zeros(2000))
    points = np.stack(p, axis=1) + [0, 0, LIFT]
    to_light = np.stack(lights.towards(points), axis=-1)
    seen = brute_force_seen(world, points, to_light, 0)
    want = received(lights, points, np.tile([0.0, 0.0, 1.0], (2000, 1)), seen & (to_light[..., 2] > 0)).T
    errors = []
    for spacing in (0.04, 0.01):
        maps = bake(world, replace(COARSE, spacing=spacing))
        light, key_seen = lookup(maps, 0, world.surfaces[0], p)
        errors.append(np.abs(light - want).mean() / want.mean())
    assert errors[1] < 0.02
    assert errors[1] < 0.5 * errors[0]
    share = seen[:, : COARSE.key].mean(axis=1)
    assert np.abs(key_seen - share).mean() < 0.02
    # the shadows are there, and soft: full, none and much in between
    assert (share == 0).any()
    assert (share == 1).any()
    assert ((share > 0.2) & (share < 0.8)).sum() > 20


def test_the_number_of_threads_changes_no_bit():
    world = still_life()
    one, three = bake(world, COARSE, workers=1), bake(world, COARSE, workers=3)
    assert np.array_equal(one.irradiance, three.irradiance)
    assert np.array_equal(one.key_seen, three.key_seen)


def test_an_open_white_table_shows_its_irradiance():
    """Nothing hides the window or the sky: the centre of the table receives what the lights' sum says."""
    world = world_of((Disc(1.0), pose()))
    maps = bake(world, COARSE)
    lights = sample_lights(world, COARSE.key, COARSE.lamp, COARSE.sky)
    up = np.array([[0.0, 0.0, 1.0]])
    want = received(lights, np.zeros((1, 3)), up, np.ones((1, len(lights.target)), bool))[0]
    light, key_seen = lookup(maps, 0, world.surfaces[0], (np.zeros(1), np.zeros(1), np.zeros(1)))
    assert np.allclose(light[:, 0], want, rtol=1e-2)
    assert key_seen[0] == 1
    camera = camera_from_fov(look_at(torch.tensor([0.0, 0.0, 2.0]), torch.zeros(3), UP), 0.02, 8, 8)
    taken = photograph(world, maps, camera, 2)
    white = np.asarray(world.surfaces[0].material.texture.colour)  # type: ignore[union-attr]
    assert np.abs(taken.rgb_srgb.astype(int) - develop((white * want)[None])).max() <= 2


def test_a_sphere_covers_what_geometry_says():
    radius, distance, focal = 0.37, 2.3, 97.0
    world = world_of((Ellipsoid(radius, radius, radius), pose(0.2, -0.1, 0.4)))
    centre = torch.tensor([0.2, -0.1, 0.4])
    eye = centre + distance * torch.tensor([0.6, -0.48, 0.64])
    camera = camera_from_fov(look_at(eye, centre, UP), 2 * math.atan(0.5 * 65 / focal), 65, 49)
    truth = maps_of(world, camera, 4)
    assert truth.alpha.dtype == torch.float32
    seen_radius = focal * radius / math.sqrt(distance**2 - radius**2)
    assert float(truth.alpha.sum()) == pytest.approx(math.pi * seen_radius**2, rel=5e-3)
    steps = truth.alpha * 16
    assert torch.equal(steps, steps.round())
    # the sphere's nearest point is at the centre of the middle pixel
    assert float(truth.depth[24, 32]) == pytest.approx(distance - radius, abs=1e-4)
    to_eye = (eye - centre) / distance
    assert float(truth.normal[24, 32] @ to_eye) > 0.999999
    hit = truth.object_ids > 0
    assert torch.equal(hit, truth.depth > 0)
    assert torch.equal(hit, truth.normal.norm(dim=-1) > 0.5)
    assert (truth.alpha[hit] > 0.2).all()
    assert torch.equal(truth.object_ids[hit], torch.ones_like(truth.object_ids[hit]))


def test_boxes_on_the_screen_hold_every_hit():
    world = arrange("random", 8, 3)
    target = torch.tensor([0.1, 0.2, 0.2])
    for eye in ([1.5, -1.2, 0.8], [0.15, 0.3, 0.35]):  # from outside, and amidst the things
        camera = camera_from_fov(look_at(torch.tensor(eye), target, UP), 0.9, 40, 30)
        view = lens(camera, pixel_offsets(2))
        depth, nearest = trace(world, view)
        assert (nearest >= 0).any()
        best = np.full(depth.shape, np.inf, depth.dtype)
        for surface in world.surfaces:
            alone = replace(world, surfaces=(surface,))
            top, bottom, left, right = screen_boxes(alone, view)[0]
            o = (np.asarray(eye) - surface.world_from_local[:3, 3]) @ surface.world_from_local[:3, :3]
            m = surface.world_from_local[:3, :3].T @ view.world_from_camera[:3, :3]
            u, v = np.broadcast_arrays(view.u, view.v)
            d = tuple(m[i, 0] * u + m[i, 1] * v + m[i, 2] for i in range(3))
            t = first_hit(surface.shape, tuple(o), d, 0.01)  # type: ignore[arg-type]
            outside = np.isfinite(t)
            outside[:, top:bottom, left:right] = False
            assert not outside.any()
            best = np.minimum(best, t)
        assert (np.isfinite(best) == np.isfinite(depth)).mean() > 0.999
        both = np.isfinite(best) & np.isfinite(depth)
        assert np.quantile(np.abs(best[both] - depth[both]), 0.999) < 1e-4


def test_development_keeps_order_and_stays_below_white():
    ramp = develop(np.linspace(0, 1.6, 200)[:, None])[:, 0].astype(int)
    assert (np.diff(ramp) >= 0).all()
    assert ramp[0] == 0
    assert 250 < ramp[-1] <= 255
    assert develop(np.array([[0.2140]]))[0, 0] == 127  # sRGB's middle grey


TEXTURES = [
    Plain((0.2, 0.3, 0.4)),
    Stripes(((1.0, 0.0, 0.0), (0.0, 0.0, 1.0)), 0.1, "x"),
    Checks((0.0, 0.0, 0.0), (1.0, 1.0, 1.0), (0.1, 0.2)),
    Grain((0.6, 0.4, 0.2), (0.3, 0.2, 0.1), plank=0.2),
    Flecks((0.5, 0.5, 0.5), (0.9, 0.9, 0.9), 0.05),
    Print((1.0, 1.0, 1.0), (0.0, 0.0, 0.0), 0.05, 0.5, 0.5),
    Dial((1.0, 1.0, 1.0), (0.0, 0.0, 0.0), 0.5),
    Pips((1.0, 1.0, 1.0), (0.0, 0.0, 0.0), 0.5),
    Dots((1.0, 0.0, 0.0), (1.0, 1.0, 1.0), 9, 0.1, 0.02),
]


@pytest.mark.parametrize("texture", TEXTURES, ids=lambda texture: type(texture).__name__)
def test_textures_are_colours_and_only_soft_ones_are_smooth(texture):
    rng = np.random.default_rng(0)
    p = tuple(rng.uniform(-0.5, 0.5, (3, 4000)))
    colour = np.broadcast_to(albedo(texture, p), (3, 4000))  # type: ignore[arg-type]
    assert ((colour >= 0) & (colour <= 1)).all()
    near = tuple(c + 1e-5 for c in p)
    jump = np.quantile(np.abs(albedo(texture, near) - albedo(texture, p)), 0.99)  # type: ignore[arg-type]
    if Material(texture).crisp:
        assert len(np.unique(colour, axis=1).T) == 2
    else:
        assert jump < 1e-2


def test_opposite_faces_of_a_die_sum_to_seven():
    grid = np.linspace(-0.499, 0.499, 201)
    a, b = (c.ravel() for c in np.meshgrid(grid, grid))
    spots = []
    for axis in range(3):
        for side in (-0.5, 0.5):
            p = [a, b]
            p.insert(axis, np.full(a.shape, side))
            dark = albedo(Pips((1.0, 1.0, 1.0), (0.0, 0.0, 0.0), 0.5), tuple(p))[0] < 0.5  # type: ignore[arg-type]
            spots.append(float(dark.mean()) / (math.pi * 0.1**2))
    assert np.allclose(np.array(spots) - np.round(spots), 0, atol=0.15)
    counts = np.round(spots).astype(int)
    assert sorted(counts) == [1, 2, 3, 4, 5, 6]
    assert (counts.reshape(3, 2).sum(axis=1) == 7).all()


def test_normals_of_the_world_turn_with_the_object():
    turned = pose(0.1, 0.2, 0.3, rx=40, ry=-25, rz=70)
    world = world_of((Box(0.3, 0.2, 0.4), turned))
    corner = turned[:3, :3] @ np.array([1.5, -1.2, 1.3])  # three faces are seen from over a corner
    eye = torch.from_numpy(turned[:3, 3] + corner)
    camera = camera_from_fov(look_at(eye, torch.tensor([0.1, 0.2, 0.3]), UP), 0.6, 32, 32)
    truth = maps_of(world, camera, 1)
    found = np.unique(np.round(truth.normal[truth.object_ids > 0].numpy(), 4), axis=0)
    axes = np.concatenate([turned[:3, :3].T, -turned[:3, :3].T])
    assert len(found) == 3
    for n in found:
        assert np.abs(axes - n).max(axis=1).min() < 1e-3
        assert n @ corner > 0  # they look at the camera
    middle = normal_at(world.surfaces[0].shape, (np.array([0.3]), np.array([0.0]), np.array([0.0])))
    assert (middle[0][0], middle[1][0], middle[2][0]) == (1, 0, 0)
