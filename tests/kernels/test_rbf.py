"""rbf: both fast versions against the float64 reference, and what Gaussian units must satisfy."""

import pytest
import torch

from kernels.rbf import activations, rbf
from kernels.rbf.cases import cases as rbf_cases
from kernels.rbf.cases import differentiable, layer, with_skip
from kernels.verify import assert_matches_reference, device_for, run, to_double

CASES = rbf_cases()
BACKENDS = ("cpu", "gpu")


def operator(backend=None):
    return lambda **inputs: rbf(**inputs, backend=backend)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("name", CASES)
def test_matches_the_reference(name, backend):
    inputs = CASES[name]
    device = device_for(backend)
    assert_matches_reference(operator(backend), operator("reference"), inputs, differentiable(inputs), device)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("name", ["0 points", "17 units", "sharp units", "largest", "features far from all units"])
def test_activations_match_the_reference(name, backend):
    inputs = {k: CASES[name][k] for k in ("features", "centres", "log_scales")}
    assert_matches_reference(
        lambda **x: activations(**x, backend=backend),
        lambda **x: activations(**x, backend="reference"),
        inputs,
        (),
        device_for(backend),
    )


def test_it_is_the_formula():
    x = to_double(with_skip(layer(3, 4, 5, 2)))
    y = rbf(**x)
    for p in range(3):
        for c in range(2):
            total = x["bias"][c] + x["skip"][c] @ x["features"][p]
            for n in range(5):
                away = x["log_scales"][n].exp() * (x["features"][p] - x["centres"][n])
                total += x["weights"][c, n] * torch.exp(-away @ away / 2)
            assert torch.isclose(y[p, c], total)


def test_gradients_are_the_derivatives():
    inputs = to_double(with_skip(layer(6, 3, 5, 2)))
    leaves = [v.requires_grad_() for v in inputs.values()]
    assert torch.autograd.gradcheck(rbf, leaves)


@pytest.mark.parametrize("backend", [*BACKENDS, "reference"])
def test_far_units_are_silent_and_near_ones_full(backend):
    inputs = {k: v.to(device_for(backend)) for k, v in CASES["sharp units"].items()}
    near, far = inputs["centres"], inputs["centres"] + 100
    phi = activations(near, inputs["centres"], inputs["log_scales"], backend=backend)
    assert (phi.diagonal() == 1).all()
    assert (activations(far, inputs["centres"], inputs["log_scales"], backend=backend) == 0).all()
    bias = inputs["bias"].expand(len(far), -1)
    assert torch.equal(rbf(**{**inputs, "features": far}, backend=backend), bias)


@pytest.mark.parametrize("backend", [*BACKENDS, "reference"])
def test_nan_stays_in_its_row(backend):
    inputs = {k: v.to(device_for(backend)) for k, v in with_skip(layer(40, 5, 20, 3)).items()}
    clean = rbf(**inputs, backend=backend)
    inputs["features"][7, 2] = torch.nan
    y = rbf(**inputs, backend=backend)
    others = torch.arange(40, device=y.device) != 7
    assert y[7].isnan().all() and torch.equal(y[others], clean[others])


@pytest.mark.parametrize("backend", BACKENDS)
def test_only_the_wanted_gradients(backend):
    inputs = CASES["skip"]
    everything = run(operator(backend), inputs, differentiable(inputs), device=device_for(backend))
    for name in inputs:
        some = run(operator(backend), inputs, (name,), device=device_for(backend))
        assert torch.equal(some[f"grad {name}"], everything[f"grad {name}"])


def test_no_dependence_on_threads():
    inputs = with_skip(layer(5000, 6, 20, 3))
    threads, results = torch.get_num_threads(), []
    try:
        for count in (1, 2, 3):
            torch.set_num_threads(count)
            results.append(run(operator("cpu"), inputs, differentiable(inputs)))
    finally:
        torch.set_num_threads(threads)
    assert all(torch.equal(results[0][k], other[k]) for other in results[1:] for k in other)


@pytest.mark.parametrize("backend", BACKENDS)
def test_strides_do_not_matter_and_runs_repeat(backend):
    inputs, device = CASES["skip"], device_for(backend)
    first = run(operator(backend), inputs, differentiable(inputs), device=device)
    again = run(operator(backend), inputs, differentiable(inputs), device=device)
    strided = {k: torch.stack([v, v], dim=-1)[..., 0] for k, v in inputs.items()}
    third = run(operator(backend), strided, differentiable(inputs), device=device)
    assert all(torch.equal(first[k], again[k]) and torch.equal(first[k], third[k]) for k in first)


def test_narrower_vectors_give_the_same(monkeypatch):
    from kernels.native import NativeLibrary, instruction_set
    from kernels.rbf import cpu

    if not instruction_set().startswith("x86-64-v"):
        pytest.skip("this processor has no such vectors")
    monkeypatch.setattr(cpu, "LIBRARY", NativeLibrary(cpu.LIBRARY.source, "x86-64-v3"))
    for name in ("skip", "largest", "sharp units"):
        inputs = CASES[name]
        assert_matches_reference(operator("cpu"), operator("reference"), inputs, differentiable(inputs))


def test_wrong_arguments_are_refused():
    inputs = layer(4, 3, 5, 2)
    with pytest.raises(ValueError, match="log_scales.*N=5"):
        rbf(**{**inputs, "log_scales": torch.zeros(6, 3)})
    with pytest.raises(ValueError, match="1 to 128 units, got 129"):
        activations(torch.zeros(4, 3), torch.zeros(129, 3), torch.zeros(129, 3))
