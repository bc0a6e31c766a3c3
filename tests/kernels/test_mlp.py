"""mlp and grouped_mlp: both fast versions against the float64 reference, and what networks must satisfy."""

import pytest
import torch
from torch.nn import functional

from kernels.mlp import grouped_mlp, mlp
from kernels.mlp.cases import cases as mlp_cases
from kernels.mlp.cases import network
from kernels.verify import assert_matches_reference, device_for, run, to_double

CASES = mlp_cases()
BACKENDS = ("cpu", "gpu")


def operator(case, backend=None):
    return lambda **inputs: case.run(backend, **inputs)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("name", CASES)
def test_matches_the_reference(name, backend):
    case = CASES[name]
    implementation, reference = operator(case, backend), operator(case, "reference")
    assert_matches_reference(implementation, reference, case.inputs, case.differentiable, device_for(backend))


@pytest.mark.parametrize("activation", ["relu", "elu"])
def test_gradients_are_the_derivatives(activation):
    case = network(7, [3, 6, 5, 2], activation, groups=[3, 0, 4])
    inputs = to_double(case.inputs)
    leaves = [inputs[name].requires_grad_() for name in case.differentiable]

    def of_leaves(*leaves):
        return case.run(None, starts=inputs["starts"], **dict(zip(case.differentiable, leaves, strict=True)))

    assert torch.autograd.gradcheck(of_leaves, leaves)


@pytest.mark.parametrize("backend", [*BACKENDS, "reference"])
def test_groups_are_networks_of_their_own(backend):
    case, device = CASES["groups"], device_for(backend)
    inputs = {k: v.to(device) for k, v in case.inputs.items()}
    together = case.run(backend, **inputs)
    starts = case.inputs["starts"].tolist()
    for g, (begin, end) in enumerate(zip(starts, starts[1:], strict=False)):
        weights, biases = ([inputs[f"{kind}{i}"][g] for i in range(3)] for kind in "wb")
        alone = mlp(inputs["x"][begin:end], weights, biases, activation="elu", backend=backend)
        assert torch.allclose(together[begin:end], alone, atol=1e-6)


@pytest.mark.parametrize("backend", [*BACKENDS, "reference"])
def test_without_hidden_layers_it_is_linear(backend):
    x, w, b = (CASES["a linear map"].inputs[name].to(device_for(backend)) for name in ("x", "w0", "b0"))
    assert torch.allclose(mlp(x, [w], [b], backend=backend), functional.linear(x, w, b), atol=1e-5)
    assert torch.allclose(mlp(x, [w], backend=backend), functional.linear(x, w), atol=1e-5)


@pytest.mark.parametrize("backend", [*BACKENDS, "reference"])
@pytest.mark.parametrize("activation", ["relu", "elu"])
def test_nan_stays_in_its_row(backend, activation):
    case = network(40, [5, 16, 16, 3], activation)
    inputs = {k: v.to(device_for(backend)) for k, v in case.inputs.items()}
    clean = case.run(backend, **inputs)
    inputs["x"][7, 2] = torch.nan
    inputs["x"].requires_grad_()
    y = case.run(backend, **inputs)
    others = torch.arange(40, device=y.device) != 7
    assert y[7].isnan().all() and torch.equal(y[others], clean[others])
    y[others].sum().backward()
    assert inputs["x"].grad[others].isfinite().all()


@pytest.mark.parametrize("backend", BACKENDS)
def test_only_the_wanted_gradients(backend):
    case = CASES["density network"]
    everything = run(operator(case, backend), case.inputs, case.differentiable, device=device_for(backend))
    for wanted in (("x",), ("w0",), ("b1",), ("w1", "b0")):
        some = run(operator(case, backend), case.inputs, wanted, device=device_for(backend))
        assert all(torch.equal(some[f"grad {name}"], everything[f"grad {name}"]) for name in wanted)


@pytest.mark.parametrize("case", [network(5000, [5, 16, 3]), CASES["groups"]], ids=["5000 points", "groups"])
def test_no_dependence_on_threads_or_strides(case):
    threads, results = torch.get_num_threads(), []
    try:
        for count in (1, 2, 3):
            torch.set_num_threads(count)
            results.append(run(operator(case, "cpu"), case.inputs, case.differentiable))
    finally:
        torch.set_num_threads(threads)
    strided = {k: torch.stack([v, v], dim=-1)[..., 0] for k, v in case.inputs.items()}
    results.append(run(operator(case, "cpu"), strided, case.differentiable))
    assert all(torch.equal(results[0][k], other[k]) for other in results[1:] for k in other)


@pytest.mark.parametrize("backend", BACKENDS)
def test_strides_do_not_matter_and_runs_repeat(backend):
    case, device = CASES["groups smaller than a tile"], device_for(backend)
    first = run(operator(case, backend), case.inputs, case.differentiable, device=device)
    again = run(operator(case, backend), case.inputs, case.differentiable, device=device)
    strided = {k: torch.stack([v, v], dim=-1)[..., 0] for k, v in case.inputs.items()}
    third = run(operator(case, backend), strided, case.differentiable, device=device)
    assert all(torch.equal(first[k], again[k]) and torch.equal(first[k], third[k]) for k in first)


@pytest.mark.parametrize("isa", ["x86-64-v3"])
def test_narrower_vectors_give_the_same(isa, monkeypatch):
    from kernels.mlp import cpu
    from kernels.native import NativeLibrary, instruction_set

    if not instruction_set().startswith("x86-64-v"):
        pytest.skip("this processor has no such vectors")
    monkeypatch.setattr(cpu, "LIBRARY", NativeLibrary(cpu.LIBRARY.source, isa))
    for name in ("awkward widths", "groups", "1000 points"):
        case = CASES[name]
        assert_matches_reference(operator(case, "cpu"), operator(case, "reference"), case.inputs, case.differentiable)


def test_wrong_arguments_are_refused():
    x, w = torch.zeros(4, 3), torch.zeros(5, 3)
    with pytest.raises(ValueError, match=r"weights\[1\].*W1=5"):
        mlp(x, [w, torch.zeros(2, 6)])
    with pytest.raises(ValueError, match="1 to 128"):
        mlp(x, [torch.zeros(129, 3)])
    with pytest.raises(ValueError, match="biases: expected one"):
        mlp(x, [w], [None, None])
    with pytest.raises(ValueError, match=r"int64 \[3\] for 2 networks"):
        grouped_mlp(x, torch.tensor([0, 4]), [torch.zeros(2, 5, 3)])
    with pytest.raises(ValueError, match="activation"):
        mlp(x, [w], activation="tanh")
