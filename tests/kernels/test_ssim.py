"""ssim: the C++ and Triton versions against the float64 reference, scikit-image, and what a similarity must satisfy."""

import pytest
import torch

from kernels.ssim import ssim
from kernels.ssim.cases import DIFFERENTIABLE, pair
from kernels.ssim.cases import cases as ssim_cases
from kernels.verify import assert_matches_reference, device_for, run, to_double

CASES = ssim_cases()


def operator(backend=None):
    return lambda **inputs: ssim(**inputs, backend=backend)


@pytest.mark.parametrize("backend", ["cpu", "gpu"])
@pytest.mark.parametrize("name", CASES)
def test_matches_the_reference(name, backend):
    device = device_for(backend)
    assert_matches_reference(operator(backend), operator("reference"), CASES[name], DIFFERENTIABLE, device)


def test_gpu_takes_strided_inputs_and_repeats():
    inputs, device = CASES["11x11x3"], device_for("gpu")
    strided = {k: torch.stack([v, v], dim=-1)[..., 0] for k, v in inputs.items()}
    first = run(operator("gpu"), inputs, DIFFERENTIABLE, device=device)
    for given in (inputs, strided):
        again = run(operator("gpu"), given, DIFFERENTIABLE, device=device)
        assert all(torch.equal(first[k], again[k]) for k in first)
    assert torch.equal(first["output0"], run(operator("gpu"), inputs, (), device=device)["output0"])


def test_gradients_are_the_derivatives():
    inputs = to_double(pair(6, 7, 2))
    assert torch.autograd.gradcheck(lambda x: ssim(x, inputs["target"]), [inputs["image"].requires_grad_()])


def test_agrees_with_scikit_image_inside_the_border():
    metrics = pytest.importorskip("skimage.metrics")
    inputs = pair(40, 50, 3)
    _, expected = metrics.structural_similarity(
        inputs["image"].double().numpy(), inputs["target"].double().numpy(), data_range=1.0, channel_axis=2,
        gaussian_weights=True, sigma=1.5, use_sample_covariance=False, full=True,
    )  # fmt: skip
    found = ssim(**inputs).double()
    assert torch.allclose(found[5:-5, 5:-5], torch.from_numpy(expected)[5:-5, 5:-5], atol=1e-5)


def test_a_picture_is_like_itself():
    target = pair(30, 30, 3)["target"]
    assert torch.allclose(ssim(target, target), torch.ones(30, 30, 3), atol=1e-5)


def test_no_dependence_on_threads_or_strides():
    inputs, threads, results = CASES["37x53x3"], torch.get_num_threads(), []
    try:
        for count in (1, 2):
            torch.set_num_threads(count)
            results.append(run(operator("cpu"), inputs, DIFFERENTIABLE))
    finally:
        torch.set_num_threads(threads)
    strided = {k: torch.stack([v, v], dim=-1)[..., 0] for k, v in inputs.items()}
    results.append(run(operator("cpu"), strided, DIFFERENTIABLE))
    assert all(torch.equal(results[0][k], other[k]) for other in results[1:] for k in other)
