"""project, tile and blend: the C++ version against the float64 reference, and what the lists must hold."""

import pytest
import torch

from kernels.blend import ALPHA_MIN, blend
from kernels.blend.cases import DIFFERENTIABLE as BLEND_DIFFERENTIABLE
from kernels.blend.cases import cases as blend_cases
from kernels.blend.cases import splats
from kernels.project import Projected, project, reference
from kernels.project.cases import DIFFERENTIABLE, LENS, pose, random_cloud
from kernels.project.cases import cases as project_cases
from kernels.tile import TILE, Tiles, tile
from kernels.tile.cases import cases as tile_cases
from kernels.verify import assert_matches_reference, device_for, run, to_double

PROJECT, TILES, BLEND = project_cases(), tile_cases(), blend_cases()


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


def lists(projected, width, height, backend):
    """The tile lists from a backend's own device, back on the CPU."""
    moved = Projected(*(tensor.to(device_for(backend)) for tensor in projected))
    return Tiles(*(tensor.cpu() for tensor in tile(moved, width, height, backend=backend)))


@pytest.mark.parametrize("backend", ["cpu", "gpu"])
@pytest.mark.parametrize("name", TILES)
def test_tile_lists_hold_every_contributing_pair_and_stay_inside_the_boxes(name, backend):
    projected = TILES[name]
    found = lists(projected, LENS.width, LENS.height, backend)
    boxes = tile(projected, LENS.width, LENS.height, backend="reference")
    columns = -(-LENS.width // TILE)
    for t in range(len(found.starts) - 1):
        listed = found.gaussians[found.starts[t] : found.starts[t + 1]].long()
        in_box = boxes.gaussians[boxes.starts[t] : boxes.starts[t + 1]].long()
        assert len(listed) == len(set(listed.tolist()))
        assert set(listed.tolist()) <= set(in_box.tolist()) | on_the_edge(projected, t, columns)
        assert contributing(projected, t, columns) <= set(listed.tolist())
        keys = [(float(projected.depths[g]), int(g)) for g in listed]
        assert keys == sorted(keys)


def alphas(projected: Projected, t: int, columns: int) -> torch.Tensor:
    """[256, N] alpha of every splat at every pixel of tile `t`, in float64."""
    y, x = divmod(t, columns)
    pixels = torch.cartesian_prod(torch.arange(TILE), torch.arange(TILE)).flip(dims=[1]).double()
    pixels = pixels + 0.5 + torch.tensor([x * TILE, y * TILE])
    d = pixels[:, None] - projected.centres.double()
    a = projected.factors.double()
    r0, r1 = a[:, 0] * d[..., 0], a[:, 1] * d[..., 0] + a[:, 2] * d[..., 1]
    return projected.opacities.double() * torch.exp(-0.5 * (r0 * r0 + r1 * r1)) * (projected.extents[:, 0] > 0)


def contributing(projected: Projected, t: int, columns: int) -> set[int]:
    return set(torch.nonzero((alphas(projected, t, columns) >= ALPHA_MIN * 1.001).any(dim=0))[:, 0].tolist())


def on_the_edge(projected: Projected, t: int, columns: int) -> set[int]:
    """Splats whose box ends within a hundredth of a pixel of the tile's first or last pixel centres."""
    y, x = divmod(t, columns)
    low = torch.tensor([x * TILE, y * TILE]) + 0.5
    inside = (projected.centres + projected.extents + 0.02 > low) & (
        projected.centres - projected.extents - 0.02 < low + TILE - 1
    )
    return set(torch.nonzero(inside.all(dim=1))[:, 0].tolist())


@pytest.mark.parametrize("name", TILES)
def test_slots_are_the_inverse_of_the_lists(name):
    for backend in ("cpu", "gpu", "reference"):
        found = lists(TILES[name], LENS.width, LENS.height, backend)
        assert found.gaussians.dtype == found.slots.dtype == torch.int32
        assert found.starts.dtype == found.slot_starts.dtype == torch.int64
        for g in range(len(TILES[name].centres)):
            slots = found.slots[found.slot_starts[g] : found.slot_starts[g + 1]].long()
            assert (found.gaussians[slots] == g).all()
        assert torch.equal(found.slots.sort().values.long(), torch.arange(len(found.gaussians)))


@pytest.mark.parametrize("name", TILES)
def test_both_backends_list_the_same(name):
    """The spans are the same arithmetic; a pair more or less within the margin for rounding does not count."""
    a, b = (lists(TILES[name], LENS.width, LENS.height, backend) for backend in ("cpu", "gpu"))
    assert len(a.starts) == len(b.starts) and len(a.slot_starts) == len(b.slot_starts)
    assert int((a.starts - b.starts).abs().max()) <= 1 + len(a.gaussians) // 1000


def a_row_of_splats(n):
    """`n` round splats of one depth, one after another along the row of tiles, 16 pixels apart."""
    centres = torch.stack([16 * torch.arange(n) + 8.0, torch.full((n,), 8.0)], dim=1)
    factors, extents = torch.tensor([1.0, 0.0, 1.0]).expand(n, 3), torch.full((n, 2), 3.0)
    return Projected(centres, factors, torch.ones(n), torch.full((n,), 0.5), extents)


@pytest.mark.parametrize("columns", [32767, 32768, 70000])
def test_tile_numbers_beyond_16_bits(columns):
    """The last tile of a picture whose tiles just fit, just do not fit, and overflow 16 bits unsigned too."""
    projected = Projected(*(tensor[-2:] for tensor in a_row_of_splats(columns)))
    for backend in ("cpu", "gpu"):
        found = lists(projected, 16 * columns, 16, backend)
        assert found.starts[[0, -3, -2, -1]].tolist() == [0, 0, 1, 2]
        assert found.gaussians.tolist() == [0, 1]


def test_one_splat_over_many_tiles_and_equal_depths():
    """Instances of one splat fill many blocks of lanes; equal depths keep the order of the Gaussians."""
    wide = Projected(
        torch.full((3, 2), 256.0), torch.tensor([0.01, 0.0, 0.01]).expand(3, 3), torch.ones(3), torch.full((3,), 0.9),
        torch.full((3, 2), 400.0),
    )  # fmt: skip
    for backend in ("cpu", "gpu"):
        found = lists(wide, 512, 512, backend)
        assert torch.equal(found.gaussians.view(-1, 3), torch.arange(3, dtype=torch.int32).expand(1024, 3))
        assert torch.equal(found.slots.view(3, -1).long(), 3 * torch.arange(1024) + torch.arange(3)[:, None])


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
    assert_matches_reference(composite(case, "cpu"), composite(case, "reference"), case.inputs, BLEND_DIFFERENTIABLE)


def test_blend_gradients_are_the_derivatives():
    lens = LENS._replace(width=5, height=4, cx=2.5, cy=2.0, fx=6.0, fy=6.0)
    case = splats(4, 2, lens=lens, seed=9, log_scale=-0.3)
    inputs = to_double(case.inputs)
    operator = composite(case, "reference")
    names = BLEND_DIFFERENTIABLE
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
        run(composite(case, backend, absolute_gradients=sums[backend]), case.inputs, BLEND_DIFFERENTIABLE)
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
            results.append(run(operator, case.inputs, BLEND_DIFFERENTIABLE))
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
    expected = run(composite(case, "cpu"), case.inputs, BLEND_DIFFERENTIABLE)
    found = run(lambda **k: composite(case, "cpu")(**k), strided, BLEND_DIFFERENTIABLE)
    assert all(torch.equal(expected[k], found[k]) for k in found)


def test_tiles_of_another_size_are_refused():
    case = BLEND["3 channels"]
    lists = tile(projected_of(case.inputs), 32, 32)
    with pytest.raises(ValueError, match="another picture"):
        blend(projected_of(case.inputs), case.inputs["features"], lists, 64, 48, case.inputs["background"])


def test_absolute_gradients_of_many_channels_are_refused():
    case = splats(5, 9)
    with pytest.raises(ValueError, match="at most 8 channels, got 9"):
        run(composite(case, "reference", absolute_gradients=torch.zeros(5, 2)), case.inputs, BLEND_DIFFERENTIABLE)
