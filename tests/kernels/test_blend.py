"""blend: the C++ version against the float64 reference, and what a picture must satisfy."""

import pytest
import torch

from kernels.blend import blend
from kernels.blend.cases import DIFFERENTIABLE, splats
from kernels.blend.cases import cases as blend_cases
from kernels.project import Projected
from kernels.project.cases import LENS
from kernels.tile import tile
from kernels.verify import assert_matches_reference, run, to_double

BLEND = blend_cases()


def composite(case, backend, tile_backend="cpu", **options):
    """A function of the case's tensors that blends with fixed lists."""
    with torch.no_grad():
        lists = tile(projected_of(case.inputs), case.width, case.height, backend=tile_backend)

    def operator(**inputs):
        background, features = inputs["background"], inputs["features"]
        return tuple(
            blend(
                projected_of(inputs),
                features,
                lists,
                case.width,
                case.height,
                background,
                backend=backend,
                **options,
            )
        )

    return operator


def projected_of(inputs):
    return Projected(*(inputs[name] for name in Projected._fields))


@pytest.mark.parametrize("name", BLEND)
def test_blend_matches_the_reference(name):
    case = BLEND[name]
    assert_matches_reference(composite(case, "cpu"), composite(case, "reference"), case.inputs, DIFFERENTIABLE)


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
    for backend in ("cpu", "reference"):
        sums[backend] = torch.zeros(len(case.inputs["centres"]), 2)
        run(composite(case, backend, absolute_gradients=sums[backend]), case.inputs, DIFFERENTIABLE)
    assert torch.allclose(sums["cpu"], sums["reference"], rtol=1e-4, atol=1e-4 * float(sums["reference"].max()))
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
