"""composite: both implementations against the float64 reference, and what compositing must satisfy."""

import pytest
import torch

from kernels.composite import composite
from kernels.composite.cases import cases as composite_cases
from kernels.composite.cases import packed
from kernels.verify import assert_matches_reference, device_for, run, to_double

CASES = composite_cases()


def operator(case, backend=None):
    return lambda **inputs: composite(**inputs, threshold=case.threshold, backend=backend)


@pytest.mark.parametrize("backend", ["cpu", "gpu"])
@pytest.mark.parametrize("name", CASES)
def test_matches_the_reference(name, backend):
    case = CASES[name]
    assert_matches_reference(
        operator(case, backend), operator(case, "reference"), case.inputs, case.differentiable, device_for(backend)
    )


@pytest.mark.parametrize("threshold", [0.0, 0.3])
def test_gradients_are_the_derivatives(threshold):
    inputs = to_double(packed([4, 0, 7], scale=1.3, density=9.0, seed=2))
    start = inputs.pop("ray_start")
    leaves = [t.requires_grad_() for t in inputs.values()]
    names = list(inputs)

    def function(*given):
        return tuple(composite(**dict(zip(names, given, strict=True)), ray_start=start, threshold=threshold))

    assert torch.autograd.gradcheck(function, leaves)


@pytest.mark.parametrize("backend", ["cpu", "gpu"])
def test_a_homogeneous_medium_follows_beer_and_lambert(backend):
    edges = torch.linspace(1, 3, 101)
    found = composite(
        torch.full((100,), 0.7), torch.ones(100, 1), edges[:-1], edges[1:], torch.tensor([0, 100]), backend=backend
    )
    assert torch.allclose(found.opacity, 1 - torch.exp(torch.tensor([-1.4])), atol=1e-6)
    assert torch.allclose(found.values[:, 0], found.opacity)
    assert torch.allclose(found.weights.sum(), found.opacity[0])


@pytest.mark.parametrize("backend", ["cpu", "gpu"])
def test_a_stopped_ray_stays_stopped(backend):
    """With a scale of 3 the transmittance is -2, then +4: the third sample must not count again."""
    inputs = packed([3], scale=1.0)
    inputs["density"][:], inputs["alpha_scale"][:] = 1e9, 3.0
    inputs["t1"] = inputs["t0"] + 1
    assert composite(**inputs, backend=backend).weights.tolist() == [3, 0, 0]
    assert composite(**inputs, threshold=0, backend=backend).weights.tolist() == [3, -6, 12]


@pytest.mark.parametrize("backend", ["cpu", "gpu"])
def test_nan_stays_visible(backend):
    inputs = packed([20, 20])
    inputs["density"][5] = float("nan")
    found = composite(**inputs, backend=backend)
    assert found.values[0].isnan().all() and found.values[1].isfinite().all()


@pytest.mark.parametrize("backend", ["cpu", "gpu"])
def test_repeatable_whatever_the_threads_and_strides(backend):
    case = CASES["33 channels"]
    threads, results = torch.get_num_threads(), []
    try:
        for count in (1, 2):
            torch.set_num_threads(count)
            results.append(run(operator(case, backend), case.inputs, case.differentiable, device=device_for(backend)))
    finally:
        torch.set_num_threads(threads)
    strided = {k: torch.stack([v, v], dim=-1)[..., 0] for k, v in case.inputs.items()}
    results.append(run(operator(case, backend), strided, case.differentiable, device=device_for(backend)))
    assert all(torch.equal(results[0][k], other[k]) for other in results[1:] for k in other)


def test_wrong_shapes_are_refused():
    inputs = packed([3, 4])
    with pytest.raises(ValueError, match="t1: expected shape"):
        composite(**{**inputs, "t1": inputs["t1"][:-1]})
    with pytest.raises(ValueError, match="ray_start"):
        composite(**{**inputs, "ray_start": inputs["ray_start"].float()})
