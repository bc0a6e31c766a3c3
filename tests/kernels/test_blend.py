"""blend: C++ and Triton against the float64 reference, and what a picture must satisfy."""

import pytest
import torch

from kernels.blend import blend, blend_codes
from kernels.blend.cases import DIFFERENTIABLE, code_cases, lists_of, projected_of, splats
from kernels.blend.cases import cases as blend_cases
from kernels.project.cases import LENS
from kernels.tile import Tiles, tile
from kernels.verify import assert_matches_reference, device_for, run, to_double

BLEND, CODES = blend_cases(), code_cases()


def composite(case, backend, tile_backend="cpu", **options):
    """A function of the case's tensors that blends with fixed lists."""
    with torch.no_grad():
        lists = tile(projected_of(case.inputs), case.width, case.height, backend=tile_backend)

    def operator(**inputs):
        own = Tiles(*(t.to(inputs["centres"].device) for t in lists))
        size = (case.width, case.height)
        arguments = (projected_of(inputs), inputs["features"], own, *size, inputs["background"])
        found = blend(*arguments, backend=backend, **options)
        return tuple(found) if options.get("median") else tuple(found[:2])

    return operator


def composite_codes(case, entries, backend):
    """The same for sparse codes."""
    lists = lists_of(case)

    def operator(**inputs):
        own = Tiles(*(t.to(inputs["centres"].device) for t in lists))
        codes = (inputs["indices"], inputs["values"])
        found = blend_codes(projected_of(inputs), *codes, entries, own, case.width, case.height, backend=backend)
        return tuple(found[:2])

    return operator


@pytest.mark.parametrize("backend", ["cpu", "gpu"])
@pytest.mark.parametrize("name", BLEND)
def test_blend_matches_the_reference(name, backend):
    case = BLEND[name]
    device = device_for(backend)
    assert_matches_reference(
        composite(case, backend), composite(case, "reference"), case.inputs, DIFFERENTIABLE, device
    )


@pytest.mark.parametrize("backend", ["cpu", "gpu"])
@pytest.mark.parametrize("name", CODES)
def test_codes_match_the_reference(name, backend):
    case, entries = CODES[name]
    names = (*DIFFERENTIABLE[:3], "values")
    operators = (composite_codes(case, entries, kind) for kind in (backend, "reference"))
    assert_matches_reference(*operators, case.inputs, names, device_for(backend))


@pytest.mark.parametrize("backend", ["reference", "cpu", "gpu"])
@pytest.mark.parametrize("name", CODES)
def test_codes_are_their_dense_features(name, backend):
    case, entries = CODES[name]
    device = device_for(backend)
    inputs = {k: v.to(device) for k, v in case.inputs.items()}
    sparse, alpha = composite_codes(case, entries, backend)(**inputs)
    dense = torch.zeros(len(inputs["values"]), entries, device=device)
    dense.scatter_add_(1, inputs["indices"].long(), inputs["values"])
    inputs |= {"features": dense, "background": torch.zeros(entries, device=device)}
    expected = composite(case, backend)(**inputs)
    assert torch.allclose(sparse, expected[0], rtol=1e-5, atol=1e-6) and torch.allclose(alpha, expected[1])


def test_an_index_that_is_none_is_refused():
    case, entries = CODES["4 of 64"]
    inputs = {**case.inputs, "indices": case.inputs["indices"].int()}
    inputs["indices"][3, 1] = entries
    with pytest.raises(IndexError, match="0 to 63"):
        composite_codes(case, entries, "cpu")(**inputs)


@pytest.mark.parametrize("backend", ["cpu", "gpu"])
@pytest.mark.parametrize("name", ["3 channels", "opaque stack", "17x15 picture", "long lists", "duplicates", "empty"])
def test_the_median_is_where_half_the_light_is_gone(name, backend):
    case = BLEND[name]
    found = composite(case, backend, median=True)(**{k: v.to(device_for(backend)) for k, v in case.inputs.items()})
    truth = composite(case, "reference", median=True)(**to_double(case.inputs))
    index, expected = found[2].cpu(), truth[2]
    assert index.dtype == torch.int32 and ((index != expected).float().mean() < 2e-3)
    assert bool((expected >= 0).any()) or name == "empty"
    assert bool((index[found[1].cpu() < 0.499] == -1).all())


@pytest.mark.parametrize("backend", ["cpu", "gpu"])
def test_frozen_geometry_gives_the_same_gradients_of_features(backend):
    case = BLEND["17 channels"]
    names = ("features", "background")
    device = device_for(backend)
    whole = run(composite(case, backend), case.inputs, DIFFERENTIABLE, device=device)
    frozen = run(composite(case, backend), case.inputs, names, device=device)
    for name in names:
        assert torch.allclose(frozen[f"grad {name}"], whole[f"grad {name}"], rtol=1e-5, atol=1e-6)


def test_blend_gradients_are_the_derivatives():
    lens = LENS._replace(width=5, height=4, cx=2.5, cy=2.0, fx=6.0, fy=6.0)
    case = splats(4, 2, lens=lens, seed=9, log_scale=-0.3)
    inputs = to_double(case.inputs)
    operator = composite(case, "reference")
    names = DIFFERENTIABLE
    leaves = [inputs[name].requires_grad_() for name in names]
    assert torch.autograd.gradcheck(lambda *x: operator(**{**inputs, **dict(zip(names, x, strict=True))}), leaves)


def test_exact_lists_and_box_lists_give_the_same_picture():
    case = BLEND["long lists"]
    exact, boxes = composite(case, "cpu"), composite(case, "cpu", tile_backend="reference")
    for a, b in zip(exact(**case.inputs), boxes(**case.inputs), strict=True):
        assert torch.equal(a, b)


def test_absolute_gradients_are_the_per_pixel_sum():
    case = BLEND["3 channels"]
    sums = {}
    for backend in ("cpu", "gpu", "reference"):
        device = device_for(backend)
        own = torch.zeros(len(case.inputs["centres"]), 2, device=device)
        run(composite(case, backend, absolute_gradients=own), case.inputs, DIFFERENTIABLE, device=device)
        sums[backend] = own.cpu()
    for backend in ("cpu", "gpu"):
        assert torch.allclose(sums[backend], sums["reference"], rtol=1e-4, atol=1e-4 * float(sums["reference"].max()))
    assert float(sums["cpu"].max()) > 0


def test_empty_tiles_show_the_background_exactly():
    case = BLEND["empty"]
    image, alpha = composite(case, "cpu")(**case.inputs)
    assert torch.equal(image, case.inputs["background"].expand_as(image)) and not alpha.any()


def test_no_dependence_on_threads_or_on_the_order_of_gaussians():
    case = BLEND["long lists"]
    operator = composite(case, "cpu")
    threads = torch.get_num_threads()
    results = []
    try:
        for count in (1, 2, 3):
            torch.set_num_threads(count)
            results.append(run(operator, case.inputs, DIFFERENTIABLE))
    finally:
        torch.set_num_threads(threads)
    for other in results[1:]:
        assert all(torch.equal(results[0][k], other[k]) for k in other)
    order = torch.randperm(len(case.inputs["centres"]), generator=torch.Generator().manual_seed(0))
    shuffled = {k: v if k == "background" else v[order] for k, v in case.inputs.items()}
    image = composite(case._replace(inputs=shuffled), "cpu")(**shuffled)[0]
    assert torch.equal(image, results[0]["output0"])


def test_non_contiguous_inputs():
    case = BLEND["3 channels"]
    strided = {k: torch.stack([v, v], dim=-1)[..., 0] for k, v in case.inputs.items()}
    expected = run(composite(case, "cpu"), case.inputs, DIFFERENTIABLE)
    found = run(lambda **k: composite(case, "cpu")(**k), strided, DIFFERENTIABLE)
    assert all(torch.equal(expected[k], found[k]) for k in found)


def test_tiles_of_another_size_are_refused():
    case = BLEND["3 channels"]
    lists = tile(projected_of(case.inputs), 32, 32)
    with pytest.raises(ValueError, match="another picture"):
        blend(projected_of(case.inputs), case.inputs["features"], lists, 64, 48, case.inputs["background"])


def test_absolute_gradients_of_many_channels_are_refused():
    case = splats(5, 9)
    with pytest.raises(ValueError, match="at most 8 channels, got 9"):
        run(composite(case, "reference", absolute_gradients=torch.zeros(5, 2)), case.inputs, DIFFERENTIABLE)
