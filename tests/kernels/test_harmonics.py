"""harmonics: the C++ and Triton versions against the float64 reference, and what a basis must satisfy."""

import math

import pytest
import torch

from kernels.harmonics import harmonics
from kernels.harmonics.cases import DIFFERENTIABLE, coefficients
from kernels.harmonics.cases import cases as harmonics_cases
from kernels.harmonics.reference import basis
from kernels.verify import assert_matches_reference, device_for, run, to_double

CASES = harmonics_cases()


def operator(case, backend=None):
    return lambda **inputs: harmonics(**inputs, degree=case.degree, backend=backend)


@pytest.mark.parametrize("backend", ["cpu", "gpu"])
@pytest.mark.parametrize("name", CASES)
def test_matches_the_reference(name, backend):
    case = CASES[name]
    device = device_for(backend)
    assert_matches_reference(operator(case, backend), operator(case, "reference"), case.inputs, DIFFERENTIABLE, device)


def test_the_basis_is_orthonormal():
    g = torch.Generator().manual_seed(0)
    unit = torch.nn.functional.normalize(torch.randn(400_000, 3, generator=g, dtype=torch.float64), dim=1)
    values = basis(unit, 4)
    assert torch.allclose(4 * math.pi * values.T @ values / len(unit), torch.eye(25).double(), atol=0.03)


@pytest.mark.parametrize("degree", [1, 2, 3, 4])
def test_gradients_are_the_derivatives(degree):
    inputs = to_double(coefficients(5, degree, degree, seed=3).inputs)
    leaves = [inputs[name].requires_grad_() for name in DIFFERENTIABLE]
    assert torch.autograd.gradcheck(lambda *x: harmonics(*x, degree), leaves)


@pytest.mark.parametrize("backend", ["cpu", "gpu"])
def test_masked_rows_are_zero_without_gradient(backend):
    case = CASES["masked"]
    found = run(operator(case, backend), case.inputs, DIFFERENTIABLE, device=device_for(backend))
    assert all((value[~case.inputs["mask"]] == 0).all() for value in found.values())


def test_the_length_of_a_direction_does_not_matter():
    case = coefficients(30, 3, 3)
    scaled = {**case.inputs, "directions": case.inputs["directions"] * 7.5}
    assert torch.allclose(operator(case)(**case.inputs), operator(case)(**scaled), atol=1e-6)


@pytest.mark.parametrize("backend", ["cpu", "gpu"])
def test_coefficients_without_gradient(backend):
    """Frozen coefficients: their gradient is not made, the others stay the same."""
    case, device = CASES["17 rows"], device_for(backend)
    expected = run(operator(case, backend), case.inputs, DIFFERENTIABLE, device=device)
    found = run(operator(case, backend), case.inputs, ("dc", "directions"), device=device)
    assert all(torch.equal(found[name], expected[name]) for name in ("output0", "grad dc", "grad directions"))


def test_gpu_takes_strided_inputs_and_repeats():
    case, device = CASES["degree 2"], device_for("gpu")
    strided = {k: torch.stack([v, v], dim=-1)[..., 0] for k, v in case.inputs.items()}
    first = run(operator(case, "gpu"), case.inputs, DIFFERENTIABLE, device=device)
    for inputs in (case.inputs, strided):
        again = run(operator(case, "gpu"), inputs, DIFFERENTIABLE, device=device)
        assert all(torch.equal(first[k], again[k]) for k in first)


def test_no_dependence_on_threads_or_strides():
    case = CASES["1100 rows"]
    threads, results = torch.get_num_threads(), []
    try:
        for count in (1, 2):
            torch.set_num_threads(count)
            results.append(run(operator(case, "cpu"), case.inputs, DIFFERENTIABLE))
    finally:
        torch.set_num_threads(threads)
    strided = {k: torch.stack([v, v], dim=-1)[..., 0] for k, v in case.inputs.items()}
    results.append(run(operator(case, "cpu"), strided, DIFFERENTIABLE))
    assert all(torch.equal(results[0][k], other[k]) for other in results[1:] for k in other)


def test_a_degree_beyond_the_coefficients_is_refused():
    case = coefficients(4, 1, 1)
    with pytest.raises(ValueError, match="needs 8"):
        harmonics(**case.inputs, degree=2)
