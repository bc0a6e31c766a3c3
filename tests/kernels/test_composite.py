"""composite: C++ and Triton against the float64 reference, and what transmittance must satisfy."""

import pytest
import torch

from kernels.composite import composite
from kernels.composite.cases import cases as composite_cases
from kernels.composite.cases import rays
from kernels.verify import assert_matches_reference, device_for, run, to_double

CASES = composite_cases()


def operator(case, backend):
    return lambda **inputs: tuple(composite(**inputs, threshold=case.threshold, backend=backend))


@pytest.mark.parametrize("backend", ["cpu", "gpu"])
@pytest.mark.parametrize("name", CASES)
def test_matches_the_reference(name, backend):
    case = CASES[name]
    device = device_for(backend)
    assert_matches_reference(
        operator(case, backend), operator(case, "reference"), case.inputs, case.differentiable, device=device
    )


@pytest.mark.parametrize("name", ["5 rays", "factors"])
def test_gradients_are_the_derivatives(name):
    inputs = to_double(rays((4, 1, 0, 3, 2), 2) if name == "5 rays" else CASES["factors"].inputs)
    names = ["density", "values", "t0", "t1", *(["alpha_scale"] if name == "factors" else [])]
    if name == "factors":  # the first ray is enough
        inputs = {k: v[:12] for k, v in inputs.items() if k != "ray_start"} | {"ray_start": torch.tensor([0, 12])}
    leaves = [inputs[k].requires_grad_() for k in names]

    def function(*x):
        given = {**inputs, **dict(zip(names, x, strict=True))}
        return tuple(composite(**given, threshold=0.0, backend="reference"))

    assert torch.autograd.gradcheck(function, leaves)


@pytest.mark.parametrize("backend", ["cpu", "gpu"])
def test_a_homogeneous_medium_absorbs_as_beer_and_lambert_say(backend):
    n, density, length = 50, 0.7, 0.1
    t0 = torch.arange(n) * length
    ones = torch.ones(n, 1)
    start = torch.tensor([0, n])
    found = composite(
        *(x.to(device_for(backend)) for x in (torch.full((n,), density), ones, t0, t0 + length, start)),
        threshold=0.0, backend=backend,
    )  # fmt: skip
    assert float(found.opacity) == pytest.approx(1 - torch.exp(torch.tensor(-density * n * length)).item(), rel=1e-5)
    assert float(found.values) == pytest.approx(float(found.opacity), rel=1e-5)


@pytest.mark.parametrize("backend", ["cpu", "gpu"])
def test_a_ray_that_has_stopped_stays_stopped(backend):
    """Behind an opaque sample nothing has weight or gradient; in front of it all have."""
    case = CASES["opaque samples"]
    found = run(operator(case, backend), case.inputs, case.differentiable, device=device_for(backend))
    weights = found["output3"]
    assert (weights[3:6] == 0).all() and (weights[13:] == 0).all() and (weights[:3] > 0).all()
    for name in case.differentiable:
        assert (found[f"grad {name}"][3:6] == 0).all()


def test_a_ray_stops_at_the_first_sample_below_the_threshold():
    """Transmittance 1, 1/2, 1/4, 1/8: with a threshold of 1/4 the third sample still counts."""
    density = torch.full((6,), 0.6931472)
    t0 = torch.arange(6.0)
    for backend in ("reference", "cpu", "gpu"):
        device = device_for(backend)
        given = (density, torch.ones(6, 1), t0, t0 + 1, torch.tensor([0, 6]))
        weights = composite(*(x.to(device) for x in given), threshold=0.24, backend=backend).weights.cpu()
        assert torch.allclose(weights, torch.tensor([0.5, 0.25, 0.125, 0, 0, 0]), atol=1e-6)


def test_no_dependence_on_threads_or_strides():
    case = CASES["15 to 17 and 127 to 129 samples"]
    threads, results = torch.get_num_threads(), []
    try:
        for count in (1, 2, 3):
            torch.set_num_threads(count)
            results.append(run(operator(case, "cpu"), case.inputs, case.differentiable))
    finally:
        torch.set_num_threads(threads)
    strided = {k: torch.stack([v, v], dim=-1)[..., 0] for k, v in case.inputs.items()}
    for backend in ("cpu", "gpu"):
        given = run(operator(case, backend), case.inputs, case.differentiable, device=device_for(backend))
        again = run(operator(case, backend), strided, case.differentiable, device=device_for(backend))
        assert all(torch.equal(given[k], again[k]) for k in given)
    assert all(torch.equal(results[0][k], other[k]) for other in results[1:] for k in other)


def test_what_does_not_fit_is_refused():
    inputs = rays((3, 2))
    with pytest.raises(ValueError, match="t1"):
        composite(**{**inputs, "t1": inputs["t1"][:-1]})
    with pytest.raises(ValueError, match="int64"):
        composite(**{**inputs, "ray_start": inputs["ray_start"].int()})
