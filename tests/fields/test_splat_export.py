"""An exported model, read back, shows the same picture to cameras in the coordinates of the input files."""

import warnings

import pytest
import torch

from fields.config import SplatsConfig
from fields.splats import Splats
from kernels.project.reference import rotation_matrices
from render.camera import camera_from_fov, look_at
from render.rasterize import rasterize
from scenes.splat_ply import read_splat_ply


def small_model(antialiased):
    g = torch.Generator().manual_seed(0)
    n = 30
    tensors = {
        "means": 0.4 * torch.randn(n, 3, generator=g),
        "quaternions": torch.randn(n, 4, generator=g),
        "log_scales": 0.5 * torch.randn(n, 3, generator=g) - 2,
        "opacity_logits": torch.randn(n, generator=g),
        "dc": torch.randn(n, 3, generator=g),
        "rest": 0.3 * torch.randn(n, 15, 3, generator=g),
        "background_srgb": torch.tensor([0.1, 0.5, 0.9]),
    }
    return Splats(SplatsConfig(antialiased=antialiased), tensors)


@pytest.mark.parametrize("antialiased", [False, True])
def test_an_exported_model_looks_the_same_in_input_coordinates(tmp_path, antialiased):
    """Colours agree to 1e-5, but for a pixel in a hundred where a splat's alpha rounds across the cut at 1/255."""
    model = small_model(antialiased)
    quaternion = torch.tensor([[0.3, -0.5, 0.7, 0.4]], dtype=torch.float64)
    rotation = rotation_matrices(torch.nn.functional.normalize(quaternion, dim=1))[0]
    scale, translation = 0.4, torch.tensor([0.3, -0.2, 0.5], dtype=torch.float64)
    world_from_input = torch.eye(4)
    world_from_input[:3, :3], world_from_input[:3, 3] = scale * rotation, translation

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        line = model.export(tmp_path / "splats.ply", world_from_input)
        cloud, mode = read_splat_ply(tmp_path / "splats.ply")
    assert "30 Gaussians, degree 3" in line and mode is antialiased and len(cloud) == 30
    for eye in ([0.5, -2.5, 1.0], [2.0, 1.5, -0.5]):
        pose = look_at(torch.tensor(eye), torch.zeros(3), torch.tensor([0.0, 0.0, 1.0]))
        camera = camera_from_fov(pose, 0.9, 40, 30)
        input_pose = pose.double()
        input_pose[:3, :3] = rotation.T @ input_pose[:3, :3]
        input_pose[:3, 3] = rotation.T @ (input_pose[:3, 3] - translation) / scale
        expected = model.render(camera, {"rgb"}, {}).rgb
        drawn = rasterize(cloud, camera.moved(input_pose.float()), model.background_srgb, antialiased=mode)
        error = (drawn.rgb.clamp(0, 1) - expected).abs()
        assert float((error > 1e-5).double().mean()) <= 0.01 and float(error.max()) < 4 / 255
        assert float(expected.std()) > 0.1


def test_without_normalisation_the_parameters_are_exported_as_they_are(tmp_path):
    model = small_model(False)
    model.export(tmp_path / "splats.ply", torch.eye(4))
    cloud, _ = read_splat_ply(tmp_path / "splats.ply")
    for name in ("means", "quaternions", "log_scales", "opacity_logits", "dc", "rest"):
        assert torch.equal(getattr(cloud, name), getattr(model, name))


def test_another_suffix_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"ends in \.ply"):
        small_model(antialiased=False).export(tmp_path / "splats.obj", torch.eye(4))
    assert not list(tmp_path.iterdir())
