"""grid: both kernels against the float64 reference, the hash against plain integers, and what interpolation must do."""

from pathlib import Path

import pytest
import torch

import kernels.grid.cpu
from kernels.grid import Level, dense_levels, grid, hash_levels, plane_levels, table_rows, triplane
from kernels.grid.cases import DIFFERENTIABLE, MIXED, at, points
from kernels.grid.cases import cases as grid_cases
from kernels.grid.reference import row_of
from kernels.native import NativeLibrary, instruction_set
from kernels.verify import assert_matches_reference, device_for, run, to_double

CASES = grid_cases()
BACKENDS = ("cpu", "gpu")


def operator(case, backend=None):
    return lambda **inputs: grid(**inputs, levels=case.levels, backend=backend)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("name", CASES)
def test_matches_the_reference(name, backend):
    case, device = CASES[name], device_for(backend)
    assert_matches_reference(
        operator(case, backend), operator(case, "reference"), case.inputs, DIFFERENTIABLE, device=device
    )


@pytest.mark.parametrize("isa", [i for i in ("x86-64", "x86-64-v3", "x86-64-v4") if i <= instruction_set()])
@pytest.mark.parametrize("name", ["1 features", "2 features", "8 features", "picture"])
def test_every_instruction_set_matches_the_reference(name, isa, monkeypatch):
    source = Path(kernels.grid.cpu.__file__).with_name("cpu.cpp")
    monkeypatch.setattr(kernels.grid.cpu, "LIBRARY", NativeLibrary(source, isa))
    case = CASES[name]
    assert_matches_reference(operator(case, "cpu"), operator(case, "reference"), case.inputs, DIFFERENTIABLE)


def hashed_by_hand(node, entries):
    total = 0
    for coordinate, prime in zip(node, (1, 2654435761, 805459861), strict=False):
        total ^= coordinate * prime % 2**32
    return total % entries


@pytest.mark.parametrize("backend", ("reference", *BACKENDS))
def test_the_hash_is_that_of_32_bit_integers(backend):
    # At a node the feature is that of its row, and the features are the rows' numbers. Products wrap many times over.
    level = Level((2**20 + 1,) * 3, (0, 1, 2), 2**14, True)
    g = torch.Generator().manual_seed(0)
    nodes = torch.randint(0, 2**20, (50, 3), generator=g)
    table = torch.arange(2.0**14)[:, None]
    device = device_for(backend)
    found = grid((nodes / 2**20).to(device), table.to(device), (level,), backend=backend)[:, 0].cpu()
    expected = [hashed_by_hand(node, 2**14) for node in nodes.tolist()]
    assert found.tolist() == expected
    assert row_of(level, nodes).tolist() == expected


@pytest.mark.parametrize("backend", BACKENDS)
def test_rows_of_dense_levels_are_those_of_a_tensor(backend):
    volume = torch.arange(3 * 4 * 5.0).reshape(3, 4, 5, 1)  # [depth, height, width, F]
    node = torch.tensor([[4, 1, 2], [0, 3, 1], [3, 2, 0]])
    device = device_for(backend)
    x = (node / torch.tensor([4.0, 3.0, 2.0])).to(device)
    found = grid(x, volume.reshape(-1, 1).to(device), dense_levels([(5, 4, 3)]), backend=backend)
    assert torch.allclose(found[:, 0].cpu(), volume[node[:, 2], node[:, 1], node[:, 0], 0], atol=1e-4)


@pytest.mark.parametrize("backend", ("reference", *BACKENDS))
def test_planes_are_linear_functions_of_their_coordinates(backend):
    rows, columns = torch.meshgrid(torch.linspace(0, 1, 7), torch.linspace(0, 1, 7), indexing="ij")
    planes = torch.stack([rows + 10 * columns, columns], dim=-1).expand(3, -1, -1, -1)
    x = points(20, 2, MIXED).inputs["x"]
    device = device_for(backend)
    found = triplane(x.to(device), planes.to(device), backend=backend).cpu()
    for k, (column, row) in enumerate(((1, 2), (0, 2), (0, 1))):
        expected = torch.stack([x[:, row] + 10 * x[:, column], x[:, column]], dim=1)
        assert torch.allclose(found[:, k], expected, atol=1e-5)


def test_dense_agrees_with_grid_sample():
    volume = torch.randn(1, 2, 4, 6, 5, generator=torch.Generator().manual_seed(1))
    x = points(50, 2, MIXED).inputs["x"]
    expected = torch.nn.functional.grid_sample(volume, 2 * x.reshape(1, 1, 1, -1, 3) - 1, align_corners=True)
    table = volume[0].permute(1, 2, 3, 0).reshape(-1, 2)
    assert torch.allclose(grid(x, table, dense_levels([(5, 6, 4)])), expected.reshape(2, -1).T, atol=1e-5)


@pytest.mark.parametrize("levels", [hash_levels(3, 2, 9, 4), dense_levels([(3, 5, 4)]), plane_levels([4])])
def test_gradients_are_the_derivatives(levels):
    case = points(6, 2, levels, seed=8)
    x, table = to_double(case.inputs).values()
    assert torch.autograd.gradcheck(
        lambda a, b: grid(a, b, levels), (x.requires_grad_(), table.requires_grad_()), eps=1e-7, atol=1e-5
    )


@pytest.mark.parametrize("backend", ("reference", *BACKENDS))
def test_nan_points_are_nan_without_gradient(backend):
    case = points(40, 2, MIXED, seed=2)
    bad = torch.arange(40) % 5 == 0
    x = case.inputs["x"].clone()
    x[bad, torch.arange(40)[bad] % 3] = torch.nan
    device = device_for(backend)
    found = run(operator(case, backend), {**case.inputs, "x": x}, DIFFERENTIABLE, device=device)
    assert found["output0"][bad].isnan().all()
    assert (found["grad x"][bad] == 0).all()
    x[bad] = 0.5
    filled = run(operator(case, backend), {**case.inputs, "x": x}, DIFFERENTIABLE, device=device)
    assert torch.equal(found["output0"][~bad], filled["output0"][~bad])
    assert torch.allclose(found["grad x"][~bad], filled["grad x"][~bad], rtol=1e-5)
    # The table's gradient is that of the valid points alone.
    leaf = case.inputs["table"].clone().to(device).requires_grad_()
    weights = torch.randn(40, 8, generator=torch.Generator().manual_seed(0), dtype=torch.float64)[~bad].float()
    (grid(x[~bad].to(device), leaf, case.levels, backend=backend) * weights.to(device)).sum().backward()
    assert torch.allclose(found["grad table"], leaf.grad.cpu(), atol=1e-5)


@pytest.mark.parametrize("backend", BACKENDS)
def test_only_the_gradients_asked_for(backend):
    case, device = points(20, 2, MIXED), device_for(backend)
    for name in DIFFERENTIABLE:
        leaves = {k: v.clone().to(device).requires_grad_(k == name) for k, v in case.inputs.items()}
        operator(case, backend)(**leaves).sum().backward()
        assert [k for k, v in leaves.items() if v.grad is not None] == [name]


def test_outside_there_is_no_gradient_and_on_the_border_the_cells():
    x = torch.tensor([[-0.5, 0.3, 0.3], [0.0, 0.3, 0.3], [1.0, 0.3, 0.3], [1.5, 0.3, 0.3]])
    case = at(x, dense_levels([3]))
    gradient = run(operator(case, "cpu"), case.inputs, DIFFERENTIABLE)["grad x"]
    assert (gradient[[0, 3], 0] == 0).all() and (gradient[[1, 2], 0] != 0).all() and (gradient[:, 1:] != 0).all()


@pytest.mark.parametrize("levels", [MIXED, dense_levels([4])])
def test_no_dependence_on_threads_batches_or_strides(levels):
    case = points(5000, 2, levels)
    threads, results = torch.get_num_threads(), []
    try:
        for count in (1, 2, 5):
            torch.set_num_threads(count)
            results.append(run(operator(case, "cpu"), case.inputs, DIFFERENTIABLE))
    finally:
        torch.set_num_threads(threads)
    strided = {k: torch.stack([v, v], dim=-1)[..., 0] for k, v in case.inputs.items()}
    results.append(run(operator(case, "cpu"), strided, DIFFERENTIABLE))
    assert all(torch.equal(results[0][k], other[k]) for other in results[1:] for k in other)


def test_more_points_than_a_batch():
    # 2^22 floats are kept at a time: 140 levels of 16 features make batches of 2048 points, the least there is.
    case = points(2048 + 17, 16, dense_levels([2] * 140, 2), 2)
    assert_matches_reference(operator(case, "cpu"), operator(case, "reference"), case.inputs, DIFFERENTIABLE)


def test_the_second_derivative_is_refused_by_the_kernels():
    case = points(4, 2, MIXED)
    x = case.inputs["x"].requires_grad_()
    squares = grid(x, case.inputs["table"], MIXED, backend="cpu").square().sum()
    (gradient,) = torch.autograd.grad(squares, x, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        gradient.sum().backward()


def test_levels_grow_geometrically_and_are_hashed_where_they_do_not_fit():
    levels = hash_levels(16, 16, 2048, 19)
    assert levels[0].resolution == (16,) * 3 and levels[-1].resolution == (2048,) * 3
    assert all(level.hashed == (level.resolution[0] ** 3 > 2**19) for level in levels)
    assert table_rows(levels) == sum(level.entries for level in levels)


@pytest.mark.parametrize(
    ("levels", "message"),
    [
        ((), "at least one"),
        (dense_levels([(1, 4, 4)]), "2 nodes"),
        ((Level((3, 3), (0, 0), 9),), "different axes"),
        ((Level((3, 3), (0, 3), 9),), "points in 3-D"),
        ((Level((3, 3), (0, 1), 8),), "9 nodes"),
        ((Level((3, 3), (0, 1), 12, True),), "power of two"),
        ((*dense_levels([4]), *plane_levels([4])), "same number"),
        (dense_levels([5]), "125 rows"),
    ],
)
def test_wrong_levels_are_refused(levels, message):
    with pytest.raises(ValueError, match=message):
        grid(torch.rand(2, 3), torch.rand(64, 2), levels)


def test_wrong_tensors_are_refused():
    with pytest.raises(ValueError, match="pad with zeros"):
        grid(torch.rand(2, 3), torch.rand(64, 3), dense_levels([4]))
    with pytest.raises(ValueError, match="2-D or 3-D"):
        grid(torch.rand(2, 4), torch.rand(64, 2), dense_levels([4]))
