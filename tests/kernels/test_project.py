"""project: C++ and Triton against the float64 reference, culling, and needles."""

import pytest
import torch

from kernels.project import Projected, project, reference
from kernels.project.cases import DIFFERENTIABLE, LENS, pose, random_cloud
from kernels.project.cases import cases as project_cases
from kernels.verify import assert_matches_reference, device_for, run, to_double

PROJECT = project_cases()


@pytest.mark.parametrize("backend", ["cpu", "gpu"])
@pytest.mark.parametrize("antialiased", [False, True])
@pytest.mark.parametrize("name", PROJECT)
def test_project_matches_the_reference(name, antialiased, backend):
    def operator(backend):
        return lambda **k: tuple(project(**k, lens=LENS, antialiased=antialiased, backend=backend))

    device = device_for(backend)
    assert_matches_reference(operator(backend), operator("reference"), PROJECT[name], DIFFERENTIABLE, device)


def test_project_gradients_are_the_derivatives():
    case = to_double(PROJECT["random 17"])

    def function(*parameters):
        found = reference.project(*parameters, case["camera_from_world"], LENS, eps2d=0.3, antialiased=True)
        return tuple(found[:4])

    inputs = [case[name].requires_grad_() for name in DIFFERENTIABLE]
    assert torch.autograd.gradcheck(function, inputs)


@pytest.mark.parametrize("backend", ["cpu", "gpu"])
def test_culled_rows_are_zero_with_zero_gradient(backend):
    case, device = PROJECT["degenerate"], device_for(backend)
    found = run(lambda **k: tuple(project(**k, lens=LENS, backend=backend)), case, DIFFERENTIABLE, device=device)
    culled = [0, 2, 4, 6, 8, 10, 12, 14]
    for value in found.values():
        assert torch.isfinite(value).all()
        assert (value[culled] == 0).all()
    assert (found["output4"][[1, 3, 5, 7, 9, 11, 13, 15, 16]] > 0).all()


@pytest.mark.parametrize("backend", ["cpu", "gpu"])
def test_a_needle_keeps_its_width(backend):
    """100,000 : 1 at 45 degrees: the factor's float32 error stays at rounding level, not at that of Sigma'."""
    case = random_cloud(200, seed=21)
    case["log_scales"][:, 0], case["log_scales"][:, 1:] = 1.5, -10.0
    single = on_device(case, backend)
    double = reference.project(**to_double(case), camera_from_world=pose(), lens=LENS, eps2d=0.3, antialiased=False)
    shows = double.extents[:, 0] > 0
    error = (single.factors.double() - double.factors)[shows].abs() / double.factors[shows].norm(dim=1, keepdim=True)
    assert shows.sum() > 50 and float(error.max()) < 1e-4


def on_device(case, backend):
    """The projection on a backend's own device, back on the CPU."""
    moved = {name: tensor.to(device_for(backend)) for name, tensor in {**case, "camera_from_world": pose()}.items()}
    return Projected(*(tensor.cpu() for tensor in project(**moved, lens=LENS, backend=backend)))
