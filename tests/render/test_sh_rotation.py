"""Rotated harmonics are the rotated function, and a moved cloud seen by a moved camera is the same picture."""

import math
from dataclasses import replace

import pytest
import torch

from kernels.harmonics.reference import basis
from kernels.project.reference import rotation_matrices
from render.camera import Camera, camera_from_fov, look_at
from render.gaussians import GaussianCloud
from render.rasterize import rasterize
from render.sh_rotation import rotate_harmonics, rotation_quaternion, transform_gaussians

FIELDS = ("means", "quaternions", "log_scales", "opacity_logits", "dc", "rest")


def random_rotation(seed):
    quaternion = torch.randn(1, 4, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return rotation_matrices(torch.nn.functional.normalize(quaternion, dim=1))[0]


def similarity(seed, scale, translation=(0.5, -1.0, 2.0)):
    transform = torch.eye(4, dtype=torch.float64)
    transform[:3, :3] = scale * random_rotation(seed)
    transform[:3, 3] = torch.tensor(translation)
    return transform


def random_cloud(degree=4, n=40, dtype=torch.float32):
    g = torch.Generator().manual_seed(degree)

    def draw(*shape):
        return torch.randn(*shape, generator=g, dtype=torch.float64).to(dtype)

    return GaussianCloud(
        means=0.4 * draw(n, 3),
        quaternions=draw(n, 4),
        log_scales=0.5 * draw(n, 3) - 2,
        opacity_logits=draw(n),
        dc=draw(n, 3),
        rest=0.3 * draw(n, (degree + 1) ** 2 - 1, 3),
    )


def moved(camera, transform):
    """The camera carried along by a similarity."""
    scale = float(torch.linalg.det(transform[:3, :3])) ** (1 / 3)
    pose = transform @ camera.world_from_camera.double()
    pose[:3, :3] /= scale
    return camera.moved(pose.float())


def rounded_elsewhere(points, transform, scale):
    """Points as float32 knows them after scale and translation, brought back."""
    translation = transform[:3, 3]
    return (((scale * points.double() + translation).float().double() - translation) / scale).float()


def in_precision(cloud, dtype):
    return GaussianCloud(**{name: getattr(cloud, name).to(dtype) for name in FIELDS})


@pytest.mark.parametrize("degree", range(5))
def test_turned_coefficients_at_turned_directions(degree):
    g = torch.Generator().manual_seed(degree)
    rotation = random_rotation(degree)
    rest = torch.randn(6, (degree + 1) ** 2 - 1, 3, generator=g, dtype=torch.float64)
    directions = torch.nn.functional.normalize(torch.randn(50, 3, generator=g, dtype=torch.float64), dim=1)
    for precision, tolerance in ((torch.float64, 1e-12), (torch.float32, 1e-6)):
        turned = rotate_harmonics(rest.to(precision), rotation)
        assert turned.dtype == precision and turned.shape == rest.shape
        before = torch.einsum("pk,nkc->pnc", basis(directions, degree)[:, 1:], rest.to(precision).double())
        after = torch.einsum("pk,nkc->pnc", basis(directions @ rotation.T, degree)[:, 1:], turned.double())
        # coefficients of size 1 each round by half a unit; up to 24 of them meet in a sum
        torch.testing.assert_close(after, before, atol=tolerance, rtol=tolerance)


def test_rotations_compose_and_the_identity_changes_nothing():
    rest = random_cloud(dtype=torch.float64).rest
    first, second = random_rotation(1), random_rotation(2)
    both = rotate_harmonics(rotate_harmonics(rest, first), second)
    torch.testing.assert_close(both, rotate_harmonics(rest, second @ first), atol=1e-12, rtol=0)
    torch.testing.assert_close(rotate_harmonics(rest, torch.eye(3)), rest, atol=1e-14, rtol=0)
    cloud = random_cloud()
    assert transform_gaussians(cloud, torch.eye(4)) is cloud
    back = transform_gaussians(transform_gaussians(cloud, similarity(3, 2.5)), torch.linalg.inv(similarity(3, 2.5)))
    for name in FIELDS:  # a float32 stands between the two steps; the largest numbers are positions of about 4
        torch.testing.assert_close(getattr(back, name), getattr(cloud, name), atol=2e-6, rtol=1e-6)


@pytest.mark.parametrize(
    "rotation",
    [torch.eye(3), *(torch.diag(torch.tensor(d)) for d in ([1.0, -1, -1], [-1.0, 1, -1], [-1.0, -1, 1]))],
    ids=["identity", "half turn x", "half turn y", "half turn z"],
)
def test_quaternions_of_half_turns(rotation):
    quaternion = rotation_quaternion(rotation.double())
    torch.testing.assert_close(rotation_matrices(quaternion[None])[0], rotation.double(), atol=1e-15, rtol=0)


def test_quaternions_keep_their_length():
    cloud = random_cloud()
    turned = transform_gaussians(cloud, similarity(5, 1.0))
    torch.testing.assert_close(turned.quaternions.norm(dim=1), cloud.quaternions.norm(dim=1))
    expected = random_rotation(5) @ rotation_matrices(torch.nn.functional.normalize(cloud.quaternions.double(), dim=1))
    found = rotation_matrices(torch.nn.functional.normalize(turned.quaternions.double(), dim=1))
    torch.testing.assert_close(found, expected, atol=1e-6, rtol=0)


@pytest.mark.parametrize("antialiased", [False, True])
@pytest.mark.parametrize(("degree", "scale"), [(0, 1.0), (1, 0.4), (2, 3.0), (3, 1.0), (4, 2.5)])
def test_a_moved_cloud_seen_by_a_moved_camera(degree, scale, antialiased):
    """Tolerance: four times what float32 costs without any rotation, rounding of parameters included.

    A pixel in four hundred may miss it, by one splat whose alpha rounds to the other side of the cut at 1/255.
    """
    cloud, transform = random_cloud(degree), similarity(degree, scale)
    eye = torch.tensor([0.5, -2.5, 1.0])
    camera = camera_from_fov(look_at(eye, torch.zeros(3), torch.tensor([0.0, 0.0, 1.0])), 0.9, 40, 30)

    def draw(cloud: GaussianCloud, camera: Camera):
        background = torch.tensor([0.1, 0.5, 0.9]).to(cloud.means)
        drawn = rasterize(cloud, camera, background, channels={"depth"}, antialiased=antialiased)
        return {"rgb": drawn.rgb, "alpha": drawn.alpha, "depth": drawn.depth}

    truth = draw(in_precision(cloud, torch.float64), camera)
    pose = camera.world_from_camera.clone()
    pose[:3, 3] = rounded_elsewhere(camera.centre, transform, scale)
    rounded = replace(
        cloud,
        means=rounded_elsewhere(cloud.means, transform, scale),
        quaternions=0.7 * cloud.quaternions,
        log_scales=cloud.log_scales + math.log(scale) - math.log(scale),
    )
    single = draw(rounded, camera.moved(pose))
    given = draw(transform_gaussians(cloud, transform), moved(camera, transform))
    given["depth"] = given["depth"] / scale
    assert float(truth["alpha"].max()) > 0.9
    for name, expected in truth.items():
        own = float((single[name] - expected).abs().max())
        tolerance = 4 * own + 4 * torch.finfo(torch.float32).eps * float(expected.abs().max())
        error = (given[name] - expected).abs()
        assert float((error > tolerance).double().mean()) <= 1 / 400, (name, float(error.max()), tolerance)
    assert float((given["alpha"] - truth["alpha"]).abs().max()) <= 1.01 / 255


def test_the_picture_would_show_a_wrong_rotation():
    """The test above has teeth: without its harmonics turned, the moved cloud looks different."""
    cloud, transform = random_cloud(3), similarity(3, 1.0)
    eye = torch.tensor([0.5, -2.5, 1.0])
    camera = camera_from_fov(look_at(eye, torch.zeros(3), torch.tensor([0.0, 0.0, 1.0])), 0.9, 40, 30)
    turned = replace(transform_gaussians(cloud, transform), rest=cloud.rest)
    difference = (
        rasterize(turned, moved(camera, transform), torch.zeros(3)).rgb - rasterize(cloud, camera, torch.zeros(3)).rgb
    )
    assert float(difference.abs().max()) > 0.1


def test_rows_that_are_not_finite_spoil_only_themselves():
    cloud = random_cloud(2)
    means, rest = cloud.means.clone(), cloud.rest.clone()
    means[3, 1], rest[5, 2, 0] = math.nan, math.inf
    transform = similarity(1, 2.0)
    spoiled = transform_gaussians(replace(cloud, means=means, rest=rest), transform)
    whole = transform_gaussians(cloud, transform)
    good = torch.arange(len(cloud)) != 3
    assert torch.equal(spoiled.means[good], whole.means[good]) and bool(spoiled.means[3].isnan().any())
    good = torch.arange(len(cloud)) != 5
    assert torch.equal(spoiled.rest[good], whole.rest[good]) and not bool(spoiled.rest[5].isfinite().all())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (torch.diag(torch.tensor([1.0, 1, -1, 1])), "mirrors space"),
        (torch.diag(torch.tensor([1.0, 1, 1.01, 1])), "stretches by 2 to 2.02"),
        (torch.eye(4) + torch.eye(4).roll(1, dims=0) * torch.tensor([0.1, 0, 0, 0]), "stretches"),
        (torch.diag(torch.tensor([0.0, 0, 0, 1])), "stretches by 0 to 0"),
        (torch.full((4, 4), math.nan), "NaN or infinity"),
        (torch.diag(torch.tensor([1.0, 1, 1, 2])), "last row"),
        (torch.eye(3), "4x4"),
    ],
    ids=["mirror", "uneven", "shear", "zero", "nan", "projective", "3x3"],
)
def test_what_gaussians_cannot_follow_is_refused(change, message):
    transform = similarity(0, 2.0) @ change.double() if len(change) == 4 else change
    with pytest.raises(ValueError, match=message):
        transform_gaussians(random_cloud(1), transform)


def test_only_rotations_turn_harmonics():
    rest = random_cloud(2).rest
    for matrix, message in (
        (-torch.eye(3), "mirrors space"),
        (2 * torch.eye(3), "scales by 2"),
        (torch.full((3, 3), math.nan), "finite"),
    ):
        with pytest.raises(ValueError, match=message):
            rotate_harmonics(rest, matrix)
    with pytest.raises(ValueError, match=r"\[N, K - 1, C\]"):
        rotate_harmonics(rest[:, :5], torch.eye(3))
