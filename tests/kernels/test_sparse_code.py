"""sparse_code and similarity: both kernels against the float64 reference, which takes the dense route."""

import pytest
import torch

from kernels.sparse_code import cpu, similarity, sparse_code
from kernels.sparse_code.cases import (
    DIFFERENTIABLE,
    DIFFERENTIABLE_SIMILARITY,
    cases,
    pixels,
    similarity_cases,
    sparse,
)
from kernels.sparse_code.products import products_of
from kernels.verify import assert_matches_reference, device_for, run, to_double

CASES, SIMILARITY_CASES = cases(), similarity_cases()
BACKENDS = ("cpu", "gpu")


def with_backend(operator, backend):
    return lambda **inputs: operator(**inputs, backend=backend)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("name", CASES)
def test_codes_match_the_reference(name, backend):
    given, truth = with_backend(sparse_code, backend), with_backend(sparse_code, "reference")
    assert_matches_reference(given, truth, CASES[name], DIFFERENTIABLE, device=device_for(backend))


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("name", SIMILARITY_CASES)
def test_similarity_matches_the_dense_route(name, backend):
    inputs, device = SIMILARITY_CASES[name], device_for(backend)
    given = run(with_backend(similarity, backend), inputs, DIFFERENTIABLE_SIMILARITY, device=device)
    truth = run(with_backend(similarity, "reference"), to_double(inputs), DIFFERENTIABLE_SIMILARITY)
    for key, expected in truth.items():
        size = 1 + expected.abs().amax(dim=-1, keepdim=True) if expected.numel() else 1
        if key == "grad codes":  # a cosine of order 1 has gradients of the inverse length of its code
            size = inputs["codes"].norm(dim=1, keepdim=True).pow(-1).nan_to_num(posinf=0) + expected.abs()
        assert ((given[key].double() - expected).abs() <= 1e-5 * size).all(), key


def test_gradients_are_the_derivatives():
    indices, *smooth = to_double(sparse(5, 3, 6, 4)).values()
    leaves = [leaf.requires_grad_() for leaf in smooth]
    assert torch.autograd.gradcheck(lambda *x: sparse_code(indices, *x), leaves)
    leaves = [leaf.requires_grad_() for leaf in to_double(pixels(4, 5, 6, 3)).values()]
    assert torch.autograd.gradcheck(similarity, leaves)


@pytest.mark.parametrize("backend", ("reference", *BACKENDS))
def test_similarity_is_the_cosine_of_the_features(backend):
    inputs, device = pixels(30, 16, 24, 5), device_for(backend)
    features = inputs["codes"] @ inputs["dictionary"]
    expected = torch.nn.functional.cosine_similarity(features[:, None], inputs["queries"][None], dim=2)
    found = similarity(**{k: v.to(device) for k, v in inputs.items()}, backend=backend)
    assert torch.allclose(found.cpu(), expected, atol=1e-5)


@pytest.mark.parametrize("backend", ("reference", *BACKENDS))
def test_what_has_no_length_is_similar_to_nothing(backend):
    inputs = pixels(20, 16, 24, 5)
    inputs["codes"][::2], inputs["queries"][1] = 0, 0
    found = run(with_backend(similarity, backend), inputs, ("codes",), device=device_for(backend))
    assert (found["output0"][::2] == 0).all() and (found["output0"][:, 1] == 0).all()
    assert (found["grad codes"][::2] == 0).all() and found["grad codes"].isfinite().all()


@pytest.mark.parametrize("backend", BACKENDS)
def test_nan_codes_are_nan_in_their_pixel_only(backend):
    inputs = pixels(20, 16, 24, 5)
    inputs["codes"][3, 7] = torch.nan
    found = similarity(**{k: v.to(device_for(backend)) for k, v in inputs.items()}, backend=backend).cpu()
    assert found[3].isnan().all() and found[torch.arange(20) != 3].isfinite().all()


@pytest.mark.parametrize("index", [-1, 6, 2**31 - 1])
def test_an_index_outside_is_told_on_the_cpu_and_adds_nothing_on_the_gpu(index):
    inputs = sparse(5, 3, 6, 20)
    expected = sparse_code(**{**inputs, "values": inputs["values"].index_fill(0, torch.tensor([2]), 0)})
    inputs["indices"][2] = index
    with pytest.raises(IndexError, match=r"3 of 15 lie outside \[0, 6\)"):
        sparse_code(**inputs, backend="cpu")
    device = device_for("gpu")
    found = run(with_backend(sparse_code, "gpu"), inputs, DIFFERENTIABLE, device=device)
    assert torch.allclose(found["output0"], expected, atol=1e-5) and found["grad dictionary"].isfinite().all()


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int16, torch.int32])
def test_any_integers_are_indices(dtype):
    inputs = sparse(20, 3, 6, 20)
    expected = sparse_code(**inputs)
    assert torch.equal(sparse_code(**{**inputs, "indices": inputs["indices"].to(dtype)}), expected)


def in_coefficients(codes, gram, products):
    return cpu._Similarity.apply(codes, gram, products)


def test_no_dependence_on_threads_or_strides():
    # Of `similarity` what is ours: torch's matrix products, which precede it, make no such promise.
    picture = pixels(3000, 20, 24, 5)
    gram, products = products_of(picture["dictionary"], picture["queries"])
    threads = torch.get_num_threads()
    for operator, inputs, names in (
        (with_backend(sparse_code, "cpu"), sparse(3000, 4, 20, 24), DIFFERENTIABLE),
        (in_coefficients, {"codes": picture["codes"], "gram": gram, "products": products}, ("codes",)),
    ):
        results = []
        try:
            for count in (1, 2, 3):
                torch.set_num_threads(count)
                results.append(run(operator, inputs, names))
        finally:
            torch.set_num_threads(threads)
        strided = {k: torch.stack([v, v], dim=-1)[..., 0] for k, v in inputs.items()}
        results.append(run(operator, strided, names))
        assert all(torch.equal(results[0][k], other[k]) for other in results[1:] for k in other)


def test_wrong_inputs_are_refused():
    inputs = sparse(5, 3, 6, 20)
    with pytest.raises(ValueError, match="integer dtype"):
        sparse_code(inputs["values"], inputs["values"], inputs["dictionary"])
    with pytest.raises(ValueError, match=r"\[Q D\] with D=24"):
        similarity(**{**pixels(4, 5, 24, 3), "queries": torch.rand(3, 23)})
