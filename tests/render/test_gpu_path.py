"""Everything between a cloud and its gradients through the Triton kernels, the way of CUDA tensors (interpreted)."""

import torch

from kernels import dispatch
from kernels.project.cases import LENS, pose, random_cloud
from render.camera import Camera
from render.gaussians import GaussianCloud
from render.rasterize import rasterize

OPERATORS = ("project", "tile", "harmonics", "blend")


def draw(monkeypatch, backend):
    """A picture with all channels, and the gradients of the cloud, every operator by one backend."""
    for name in OPERATORS:
        monkeypatch.setattr(f"kernels.{name}.choose_backend", lambda tensor, asked=None: backend)
    g = torch.Generator().manual_seed(3)
    tensors = [
        *random_cloud(60, seed=2).values(),
        torch.randn(60, 3, generator=g),
        0.2 * torch.randn(60, 3, 3, generator=g),
    ]
    tensors = [t.requires_grad_() for t in tensors]
    camera = Camera(torch.linalg.inv(pose()), *LENS[:4], LENS.width, LENS.height)
    channels = {"rgb", "alpha", "depth", "median_depth", "normal"}
    drawn = rasterize(GaussianCloud(*tensors), camera, torch.full((3,), 0.5), channels=channels, antialiased=True)
    (drawn.rgb.square().sum() + drawn.depth.sum() + drawn.alpha.sum()).backward()
    return drawn, [t.grad for t in tensors]


def test_a_picture_and_its_gradients_are_those_of_the_cpu(monkeypatch):
    assert dispatch.choose_backend(torch.zeros(1)) == "cpu"
    mine, gradients = draw(monkeypatch, "gpu")
    expected, wanted = draw(monkeypatch, "cpu")
    for name in ("rgb", "alpha", "depth", "median_depth", "normal"):
        a, b = getattr(mine, name), getattr(expected, name)
        assert torch.allclose(a, b, atol=2e-4) or float(((a - b).abs() > 1e-3).float().mean()) < 2e-3, name
    assert bool((expected.median_depth > 0).any())
    for a, b in zip(gradients, wanted, strict=True):
        assert torch.allclose(a, b, rtol=1e-3, atol=1e-4 * float(b.abs().max()))
